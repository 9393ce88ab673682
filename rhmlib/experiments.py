"""What a sweep can run: experiments, by name.

An experiment is a class of frozen settings with a method `run` that returns rows. A new one is a
module with such a class and a line in `LEARNERS`; anything importable, ``"package.module:Class"``,
may be named in a sweep file too.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib
import importlib.util
import json
import math
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from rhmlib import provenance, reach
from rhmlib.parameters import suggestion

# Loaded when first used: a learner that needs numpy alone does not pay for torch.
LEARNERS = {
    "bench": "rhmlib.experiment_bench:BenchExperiment",
    "bench_shipped": "rhmlib.experiment_shipped:ShippedExperiment",
    "ilc": "rhmlib.experiment_ilc:ILCExperiment",
    "ilc_prediction": "rhmlib.experiment_prediction:PredictionExperiment",
    "data2vec_step": "rhmlib.experiment_step_times:Data2VecStepExperiment",
    "drawn_counts": "rhmlib.experiment_drawn_counts:DrawnCountsExperiment",
    "encoder": "rhmlib.experiment_encoder:EncoderExperiment",
    "latent": "rhmlib.experiment_latent:LatentExperiment",
    "online": "rhmlib.experiment_online:OnlineExperiment",
    "phases": "rhmlib.experiment_phases:PhasesExperiment",
    "pooled_tokens": "rhmlib.experiment_pooled_tokens:PooledTokensExperiment",
    "replica_step": "rhmlib.experiment_replica_steps:ReplicaStepExperiment",
    "real_trees": "rhmlib.experiment_real_trees:RealTreesExperiment",
    "root_probes": "rhmlib.experiment_root_probes:RootProbesExperiment",
    "synonym_blocks": "rhmlib.experiment_synonym_blocks:SynonymBlocksExperiment",
    "slc": "rhmlib.experiment_slc:SLCExperiment",
    "slc_step": "rhmlib.experiment_step_times:SLCStepExperiment",
    "slc_counts": "rhmlib.experiment_slc_counts:SLCCountsExperiment",
    "slc_distinct": "rhmlib.experiment_slc_distinct:SLCDistinctExperiment",
    "split_masks": "rhmlib.experiment_split_masks:SplitMasksExperiment",
    "token_ilc": "rhmlib.experiment_token_ilc:TokenILCExperiment",
    "token_ilc_prediction": "rhmlib.experiment_token_theory:TokenPredictionExperiment",
    "token_lift": "rhmlib.experiment_token_theory:LiftExperiment",
}

# What a row says of how it was made, after its settings and its measurements.
PROVENANCE = (
    "seconds",
    "peak_memory_mb",
    "device_name",
    "platform",
    "versions",
    "commit",
    "dirty",
    "config_hash",
    "code_hash",
    "status",
    "error",
)
# Columns that neither a setting nor a measurement may be called.
RESERVED = frozenset({"learner", "stale", *PROVENANCE})
SEEDS = ("grammar_seed", "data_seed", "model_seed")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


class Experiment(Protocol):
    """What a class must have to be an experiment.

    It is a pydantic dataclass, frozen, keyword-only, strict and closed to unknown fields; its
    fields are numbers, texts, flags or None, with one line of meaning each, and they determine the
    result on a given platform. The code that counts for it is its own module, and what that
    imports of rhmlib.

    Attributes
    ----------
    tolerances : dict of str to float
        The metric columns of the rows. The value is the absolute difference that an audit allows
        where it cannot ask for equality: on another platform, or off the CPU.
    """

    tolerances: ClassVar[Mapping[str, float]]

    def run(self) -> list[dict[str, Any]]:
        """Do the experiment; one row a level, a checkpoint or both."""
        ...  # pragma: no cover

    # Optional: cost() -> float, in any unit that grows as the time does (default: 1);
    # resources() -> dict, what a run needs of a cluster's worker (default: a GPU if device is cuda);
    # added, a class variable: names of settings that came when there were runs already, which keep their
    # rows and their hash (such a setting enters both only where it has not its default);
    # resumable = True, a class variable: run(checkpoint=path) goes on from that file, and saves there.


def load(learner: str) -> type[Experiment]:
    """Import an experiment.

    Parameters
    ----------
    learner : str
        A name of `LEARNERS`, or ``"package.module:Class"``.

    Returns
    -------
    type
        The class.

    Raises
    ------
    ValueError
        If there is none of that name, or it is no experiment.
    """
    module, name = _address(learner)
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"learner must be importable. Found learner={learner!r}: {error}.") from None
    missing = [part for part in ("run", "tolerances") if not hasattr(found, part)]
    if missing or not dataclasses.is_dataclass(found) or not hasattr(found, "__pydantic_fields__"):
        raise ValueError(
            f"learner must be a pydantic dataclass with 'run' and 'tolerances'. Found learner={learner!r}."
        )
    taken = RESERVED & {field.name for field in dataclasses.fields(found)}
    if taken:
        raise ValueError(f"settings must not be called {', '.join(sorted(RESERVED))}. Found {min(taken)!r}.")
    return cast("type[Experiment]", found)


def _address(learner: object) -> tuple[str, str]:
    """Module and class that a learner's name stands for."""
    if not isinstance(learner, str) or (":" not in learner and learner not in LEARNERS):
        hint = suggestion(str(learner), LEARNERS)
        raise ValueError(
            f"learner must be a known one or 'package.module:Class'. Found learner={learner!r}. {hint}"
        )
    module, _, name = LEARNERS.get(learner, learner).partition(":")
    return module, name


# ---------------------------------------------------------------- settings


def field_names(learner: str) -> tuple[str, ...]:
    """Names of an experiment's settings, in their order."""
    return tuple(field.name for field in dataclasses.fields(cast(Any, load(learner))))


def defaults(learner: str) -> dict[str, Any]:
    """Settings that have a default, and it."""
    fields = cast(Any, load(learner)).__pydantic_fields__
    return {name: info.default for name, info in fields.items() if not info.is_required()}


def added(learner: str) -> frozenset[str]:
    """Settings that came when there were runs already; see :class:`Experiment`."""
    return frozenset(getattr(load(learner), "added", ()))


def configure(learner: str, values: Mapping[str, Any]) -> Any:
    """Make an experiment's settings, checked.

    Parameters
    ----------
    learner : str
    values : mapping of str to value
        Numbers written as text ("1e-3", which YAML takes for one) are read as such where a
        floating-point number is due.

    Returns
    -------
    Experiment

    Raises
    ------
    ValueError
        If a name is unknown or missing, or a value not allowed; the message names the first one.
    """
    given = dict(values)
    for name, (hint, _) in _adapters(learner).items():
        value = given.get(name)
        if float in (hint, *get_args(hint)) and isinstance(value, str) and _NUMBER.fullmatch(value):
            given[name] = float(value)
    try:
        config = load(learner)(**given)
    except ValidationError as error:
        raise ValueError(_explain(error, learner)) from None
    for name, value in config_values(config).items():
        if not isinstance(value, bool | int | float | str | None) or value == "":
            raise ValueError(f"{name} must be a number, a text, a flag or None. Found {name}={value!r}.")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} must be finite. Found {name}={value!r}.")
    return config


def configure_from_text(learner: str, texts: Mapping[str, str]) -> Any:
    """Make settings from the texts of a table's cells; an empty one stands for None.

    Of a setting that runs of an earlier time did not have, an empty one stands for the default.

    Raises
    ------
    ValueError
        As :func:`configure`.
    """
    adapters = _adapters(learner)
    typed: dict[str, Any] = {}
    untold = added(learner)
    for name, text in texts.items():
        if not text and name in untold:
            continue
        hint, adapter = adapters.get(name, (str, TypeAdapter(str)))
        if not text and type(None) in get_args(hint):
            typed[name] = None
            continue
        try:
            typed[name] = adapter.validate_strings(text)
        except ValidationError as error:
            allowed = error.errors()[0]["msg"].replace("Input should be", "must be")
            raise ValueError(f"{name} {allowed}. Found {name}={text!r}.") from None
    return configure(learner, typed)


@lru_cache(maxsize=64)
def _adapters(learner: str) -> dict[str, tuple[Any, TypeAdapter[Any]]]:
    """Type of each setting, and what reads one from a text."""
    hints = get_type_hints(load(learner))
    return {name: (hints[name], TypeAdapter(hints[name])) for name in field_names(learner)}


def _explain(error: ValidationError, learner: str) -> str:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    name = ".".join(str(part) for part in first["loc"][:1])
    if first["type"] == "value_error" and not name:
        return message
    if first["type"] == "unexpected_keyword_argument":
        return f"{name!r} is no setting of {learner!r}. {suggestion(name, field_names(learner))}"
    if first["type"] in ("missing", "missing_keyword_only_argument"):
        return f"{name} must be given. Found no value."
    allowed = message.replace("Input should be", "must be")
    allowed = allowed if allowed.startswith("must be") else f"must be valid: {allowed}"
    return f"{name} {allowed}. Found {name}={first['input']!r}."


def config_values(config: object) -> dict[str, Any]:
    """Return an experiment's settings as a flat dictionary, in the order of the fields."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(cast(Any, config))}


def recorded_values(learner: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a row tells and its hash is of: all but those `added` that have their default."""
    untold = added(learner)
    if not untold:
        return dict(values)
    default = defaults(learner)
    return {name: v for name, v in values.items() if name not in untold or v != default[name]}


def config_hash(learner: str, config: object) -> str:
    """Hash of a learner and all its settings: what makes two runs the same run.

    Returns
    -------
    str
        Twelve hex digits.
    """
    values = recorded_values(learner, config_values(config))
    text = json.dumps([learner, values], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def cost(config: Any) -> float:
    """Return what the experiment says it costs, in its own unit, positive; 1 where it says nothing."""
    return max(float(config.cost()), 1e-9) if hasattr(config, "cost") else 1.0


def resources(config: Any) -> dict[str, float]:
    """Return what a run needs of a cluster's worker, such as ``{"GPU": 1}``."""
    if hasattr(config, "resources"):
        return dict(config.resources())
    return {"GPU": 1.0} if str(getattr(config, "device", "cpu")).startswith("cuda") else {}


# ---------------------------------------------------------------- code


def code_hash(learner: str) -> str:
    """Hash of the code that an experiment's rows depend on; nothing is imported for it.

    Parameters
    ----------
    learner : str

    Returns
    -------
    str
        Twelve hex digits: :func:`rhmlib.reach.code_hash` of the experiment's class. Of a module outside
        rhmlib its source counts, those of the modules that it imports and that are neither installed nor of
        the standard library, and the modules of rhmlib that these import.

    Raises
    ------
    ValueError
        If there is no such learner or module.
    """
    module, name = _address(learner)
    if module.startswith("rhmlib."):
        return reach.code_hash(module, name)
    sources: dict[str, str] = {}
    imported: set[str] = set()
    queue = [module]
    while queue:
        name = queue.pop()
        path = _own_source(name)
        if path is None or name in sources:
            continue
        sources[name], of_library, others = _source(name, str(path), path.stat().st_mtime_ns)
        imported |= of_library
        queue += others
    if module not in sources:
        raise ValueError(f"learner must be in a module with a source. Found learner={learner!r}.")
    library = provenance.code_hash(*imported) if imported else ""
    own = sources.pop(module)
    return hashlib.sha256(f"{library}{own}{''.join(sorted(sources.values()))}".encode()).hexdigest()[:12]


def _own_source(module: str) -> Path | None:
    """File of a module that somebody writes: neither of rhmlib, nor installed, nor of Python's own."""
    top = module.partition(".")[0]
    if top == "rhmlib" or top in sys.stdlib_module_names:
        return None
    try:
        package = importlib.util.find_spec(top)
        if package is None or _is_installed(package):
            return None  # to look for a module inside would import the package
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin or _is_installed(spec):
        return None
    path = Path(spec.origin)
    return path if path.suffix == ".py" and path.is_file() else None


def _is_installed(spec: ModuleSpec) -> bool:
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return any({"site-packages", "dist-packages"} & set(Path(place).parts) for place in places)


@lru_cache(maxsize=64)
def _source(module: str, path: str, mtime_ns: int) -> tuple[str, frozenset[str], tuple[str, ...]]:
    """Syntax of a source outside rhmlib, what it imports of rhmlib, and all other modules that it may."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    package = module if Path(path).stem == "__init__" else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(base, package) if node.level else base
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}  # a name may be a module
    return ast.dump(tree), provenance.imported_modules(tree), tuple(sorted(names - {module}))
