"""The vocabulary of the book's parameters: one name means one thing in every chapter.

A chapter's ``parameters`` cell, a parameter file and the command line may use the names of
`CATALOGUE` and no others. A new name is one line there.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from rhmlib.grammar import check_shape

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_DEVICE = r"^(auto|cpu|mps|cuda(:\d+)?)$"


def _repr(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


@dataclass(frozen=True)
class Parameter:
    """One name of the vocabulary.

    Attributes
    ----------
    name : str
    kind : str
        ``"integer"``, ``"number"``, ``"list of integers"``, ``"choice"``, ...
    allowed : str
        What a value must be, to follow the words "must be" in an error.
    meaning : str
        One line.
    annotation : object
        The pydantic type that checks a value.
    """

    name: str
    kind: str
    allowed: str
    meaning: str
    annotation: Any

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.annotation)

    def check(self, value: object) -> Any:
        """Return `value` in this parameter's type.

        Raises
        ------
        ValueError
            If it has another type or is out of range; the message names the parameter, what is
            allowed and what was found.
        """
        try:
            return self._adapter.validate_python(value)
        except ValidationError:
            raise ValueError(
                f"{self.name} must be {self.allowed}. Found {self.name}={_repr(value)}."
            ) from None


# ---------------------------------------------------------------- kinds of parameters


def _number_from_text(value: object) -> object:
    """Read "1e-3": YAML 1.1 calls it a text, as it has no dot."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    return value


def _list_from_tuple(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _range_words(low: float | None, high: float | None, above: float | None, below: float | None) -> str:
    lower = f">= {low}" if low is not None else f"> {above}" if above is not None else ""
    upper = f"<= {high}" if high is not None else f"< {below}" if below is not None else ""
    return " and ".join(word for word in (lower, upper) if word)


def _integer(name: str, meaning: str, low: int = 1, high: int | None = None) -> Parameter:
    words = _range_words(low, high, None, None)
    return Parameter(
        name, "integer", f"an integer {words}", meaning, Annotated[int, Field(strict=True, ge=low, le=high)]
    )


def _number(
    name: str,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Parameter:
    field = Field(strict=True, ge=low, le=high, gt=above, lt=below, allow_inf_nan=False)
    kind = Annotated[float, BeforeValidator(_number_from_text), field]
    return Parameter(
        name, "number", f"a finite number {_range_words(low, high, above, below)}".rstrip(), meaning, kind
    )


def _list(make: Callable[..., Parameter], name: str, meaning: str, **limits: Any) -> Parameter:
    item = make(name, meaning, **limits)
    items: Any = GenericAlias(list, (item.annotation,))
    kind = Annotated[items, BeforeValidator(_list_from_tuple), Field(strict=True, min_length=1)]
    each = item.allowed.split(" ", 1)[1].replace("integer", "integers").replace("number", "numbers")
    return Parameter(name, f"list of {item.kind}s", f"a list of {each}, with at least one", meaning, kind)


_integers = partial(_list, _integer)
_numbers = partial(_list, _number)


def _choice(name: str, meaning: str, *choices: str) -> Parameter:
    words = " or ".join(repr(choice) for choice in choices)
    return Parameter(name, "choice", words, meaning, Literal[choices])


def _flag(name: str, meaning: str) -> Parameter:
    return Parameter(name, "flag", "true or false", meaning, Annotated[bool, Field(strict=True)])


def _text(name: str, meaning: str, pattern: str, allowed: str) -> Parameter:
    return Parameter(name, "text", allowed, meaning, Annotated[str, Field(strict=True, pattern=pattern)])


# ---------------------------------------------------------------- the catalogue

_PARAMETERS = (
    # the shape of the RHM; the plural is the list of values that a chapter compares
    _integer("v", "symbols a level", 2),
    _integer("m", "production rules a symbol", 1),
    _integer("s", "branching: symbols that a rule produces", 2),
    _integer("L", "depth: levels above the visible tokens", 1),
    _integers("vs", "several values of v", low=2),
    _integers("ms", "several values of m", low=1),
    _integers("ss", "several values of s", low=2),
    _integers("Ls", "several values of L", low=1),
    # how much data
    _integer("n", "strings that a learner gets", 1),
    _integers("ns", "several values of n", low=1),
    _integer("n_strings", "strings drawn for a picture or an estimate", 1),
    _integer("n_test", "strings held out for scores", 1),
    _integer("n_signal", "strings over which a signal is averaged", 2),
    _integer("n_grammars", "grammars drawn for each point", 1),
    _integer("n_sizes", "sizes of the training set on a curve", 2),
    _integer("n_bootstrap", "bootstrap resamples behind an interval", 10),
    _choice("counted", "what is counted in trees of code", "pairs", "tuples"),
    _integer("n_files", "files of code that are counted at most", 3),
    _integer("n_pairs", "nodes that are tried as the first of a pair, in each stratum", 1),
    _integer("chunk", "strings held in memory at once", 1),
    _numbers("multiples", "sizes of the training set in units of v m³", above=0),
    # seeds
    _integer("grammar_seed", "seed of the production rules", 0, 2**63 - 1),
    _integer("data_seed", "seed of the sampled strings", 0, 2**63 - 1),
    _integer("model_seed", "seed of what the learner draws", 0, 2**63 - 1),
    # iterative latent clustering
    _choice("targets", "what a tuple's context is made of: one cousin token, or all of them", "one", "all"),
    _choice(
        "inputs", "levels below the one that is learnt: the true ones, or those found", "true", "recovered"
    ),
    _integer("n_init", "restarts of k-means, of which the best is kept", 1),
    _integer("max_iter", "iterations of k-means at most", 1),
    _integer("level", "level that a picture shows, 0 for the tokens", 0),
    _number("threshold", "accuracy at which a level counts as learnt", above=0, high=1),
    # where and how long to compute
    _text("device", "where tensors live", _DEVICE, "'auto', 'cpu', 'mps', 'cuda' or 'cuda:N'"),
    _choice("dtype", "floating-point type", "float32", "float64", "bfloat16"),
    _integer("n_jobs", "processes that share the work", 1),
    _choice("sweep_scale", "scale of the sweeps whose tables are drawn", "book", "gpu"),
    _number("limit_minutes", "minutes after which no new run is started", above=0),
    # training by gradient
    _integer("steps", "optimiser steps", 1),
    _integer("repeats", "rounds of a timing", 1),
    _integer("epochs", "passes over the training set", 1),
    _integer("batch_size", "strings in a batch", 1),
    _integer("n_replicas", "independent models trained side by side", 1),
    _number("lr", "learning rate", above=0),
    _integer("warmup_steps", "steps over which the learning rate rises", 0),
    _number("weight_decay", "weight decay", low=0),
    _number("ema", "decay of the teacher's moving average", low=0, high=1),
    _number("temperature", "softmax temperature", low=0),
    _integer("width", "width of a layer", 1),
    _integer("hidden", "width inside a block", 1),
    _integer("n_blocks", "blocks of an encoder", 1),
    _integer("n_heads", "attention heads", 1),
    _choice("layer_norm", "LayerNorms before attention and FFN, or after their sums", "pre", "post"),
    _number("linear_std", "deviation of an encoder's initial linear weights", above=0),
    _number("token_std", "deviation of initial embeddings of tokens", above=0),
    _number("position_std", "deviation of initial embeddings of positions", above=0),
    _flag("normalise_layers", "LayerNorm of each level or block of the target"),
    _flag("normalise_target", "LayerNorm of the target as a whole"),
    _integer("head_depth", "layers of the regression head", 1),
    _number("clip", "largest norm of the gradient, 0 for any", low=0),
    _number("adam_beta1", "AdamW's decay of the mean gradient", low=0, below=1),
    _number("adam_beta2", "AdamW's decay of the mean square", low=0, below=1),
    _integer("top_k", "last layers averaged into the target", 1),
    _number("beta", "where the smooth L1 loss turns from square to linear", low=0),
    _number("mask_probability", "rate of masked tokens", above=0, high=1),
    _integer("mask_span", "tokens masked together", 1),
    _integer("mask_block", "k where one aligned block of s^k tokens is masked", 0),
    _integer("own_level", "height of the subtree that counts as a masked token's own", 1),
    _number("own_rate", "rate at which other tokens of it are masked", low=0, high=1),
    _number("rest_rate", "rate at which tokens outside it are masked", low=0, high=1),
    _integer("omit_level", "a level or block left out of the target", 0),
    _number("stop_at", "accuracy of all probes that ends a run", above=0),
    _integer("strings", "strings shown in training, repeats counted", 1),
    _integer("n_masks", "masked copies of a string in a batch", 1),
    _choice("descent", "what moves the blocks' matrices: Muon, or AdamW as all else", "muon", "adamw"),
    _number("muon_lr", "learning rate of Muon", above=0),
    _flag("compiled", "whether blocks are compiled"),
    _integer("n_root", "labelled strings for the probes of the root", 1),
    _integer("refresh", "steps that a frozen teacher lasts, 0 for a moving average", 0),
    _choice("teacher", "how data2vec's teacher follows its student", "average", "phases", "frozen"),
    _choice("part", "what is left of data2vec's target", "whole", "without", "upto"),
    _integer("cut_level", "level at which the target is cut", 0),
    _integer("phases", "phases of a training", 1),
    _choice("contrast", "loss of local contrast", "hinge", "softmax"),
    _choice(
        "schedule", "modules of a stack: trained at once, or one after the other", "concurrent", "sequential"
    ),
    _integer("phase_steps", "optimiser steps a phase", 1),
    _integer("probe_steps", "optimiser steps of a probe", 1),
    _number("dropout", "dropout of the transformer", low=0, below=1),
    _choice("objective", "what a learner predicts", "data2vec", "mlm", "ntp", "supervised"),
    _choice("architecture", "MLPs along the tree, or the transformer", "tree", "transformer"),
    _number("margin", "similarity above which two codes attract each other", low=-1, high=1),
    _number("w_sim", "weight of the similarity loss", low=0),
    _number("w_sep", "weight of the separation loss at the first step", low=0),
    _number("w_sep_end", "weight of the separation loss at the last step", low=0),
    _number("count", "patches a code at which the last weight of separation is w_sep_end", above=0),
    _number("w_norm", "weight of the norm loss", low=0),
    _number("w_clust", "weight of the clustering losses as a whole", low=0),
    _integer("d_h", "codes a level", 2),
    _choice("activation", "activation function", "gelu", "relu", "silu"),
    _number("gain", "factor on the clusterer's initial first layer", low=0),
    _choice("stop_gradient", "where gradients stop", "none", "modules", "modules+clusterer"),
    _choice("aggregation", "sum of the losses, or Jacobian descent", "sum", "upgrad"),
    _number("prior", "weight of the mean target where a patch never stands, 0 for none", low=0),
    _integer("n_patches", "patches of a batch in each clustering loss", 2),
    _number("eps", "epsilon of AdamW", above=0),
    _integer("min_steps", "steps before training may stop early", 1),
    _integer("n_evaluations", "log-spaced steps of evaluation", 1),
    _text("entry", "class of a learner on the bench", r"^[\w.]+:\w+$", "'package.module:Class'"),
    _text("source", "hash of the file that it is written in", r"^[0-9a-f]*$", "a hexadecimal number"),
    _flag("curve", "whether to keep a row for every evaluation"),
    _flag("online", "fresh strings at every step instead of a fixed set"),
    _integer("n_val", "strings for validation", 1),
    _integer("n_probe", "labelled training strings for the probe, at most", 1),
)

CATALOGUE: dict[str, Parameter] = {parameter.name: parameter for parameter in _PARAMETERS}


def rows() -> list[dict[str, str]]:
    """Describe the catalogue, one row a parameter, for a page or a listing.

    Returns
    -------
    list of dict
        With the keys ``name``, ``type``, ``allowed`` and ``meaning``.
    """
    return [
        {"name": item.name, "type": item.kind, "allowed": item.allowed, "meaning": item.meaning}
        for item in CATALOGUE.values()
    ]


# ---------------------------------------------------------------- checks


def suggestion(name: str, names: Collection[str]) -> str:
    """Words that help who mistyped: the nearest of `names`, then all of them.

    Parameters
    ----------
    name : str
        What was found.
    names : collection of str
        What is allowed.

    Returns
    -------
    str
        Such as ``"Did you mean 'm' or 'ms'? Allowed: L, m, ms, v."``
    """
    folded: dict[str, list[str]] = {}
    for candidate in names:
        folded.setdefault(candidate.casefold(), []).append(candidate)
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)
    hint = " or ".join(repr(candidate) for key in near for candidate in folded[key])
    everything = ", ".join(sorted(names, key=str.casefold)) or "none"
    return (f"Did you mean {hint}? " if hint else "") + f"Allowed: {everything}."


def check_value(name: str, value: object) -> Any:
    """Check one value against the catalogue.

    Raises
    ------
    ValueError
        If the catalogue has no such name, or the value is not allowed.
    """
    if name not in CATALOGUE:
        raise ValueError(f"{name!r} is no parameter of the book. {suggestion(name, CATALOGUE)}")
    return CATALOGUE[name].check(value)


def resolve(defaults: Mapping[str, Any], *overrides: Mapping[str, Any], chapter: str = "") -> dict[str, Any]:
    """Lay overrides over a chapter's defaults and check the result.

    Parameters
    ----------
    defaults : mapping of str to value
        What the chapter's ``parameters`` cell assigns.
    *overrides : mapping of str to value
        Later ones win.
    chapter : str
        For error messages.

    Returns
    -------
    dict
        Every name of `defaults`, in their order, with checked values.

    Raises
    ------
    ValueError
        If an override is no parameter of the chapter, a name is not in the catalogue, a value is
        not allowed, or the values make no RHM together.
    """
    values = dict(defaults)
    for override in overrides:
        for name, value in override.items():
            if name not in defaults:
                whose = f"chapter {chapter!r}" if chapter else "the chapter"
                raise ValueError(f"{name!r} is no parameter of {whose}. {suggestion(name, defaults)}")
            values[name] = value
    values = {name: check_value(name, value) for name, value in values.items()}
    check_shapes(values)
    return values


def check_shapes(values: Mapping[str, Any]) -> None:
    """Check that v, m, s, L, and the lists of them, make Random Hierarchy Models.

    Each list is combined with the single values of the other three; where there is no single
    value, with each of theirs.

    Raises
    ------
    ValueError
        As :func:`rhmlib.grammar.check_shape`.
    """
    for shape in sorted(set(_shapes(values))):
        check_shape(*shape)


def _shapes(values: Mapping[str, Any]) -> Iterator[tuple[int, int, int, int]]:
    singles = {name: [values[name]] for name in "vmsL" if name in values}
    lists = {name: values[f"{name}s"] for name in "vmsL" if f"{name}s" in values}
    known = {"L": [1], "s": [2]} | lists | singles  # chapters without s have s = 2
    if not {"v", "m"} <= known.keys():
        return
    for varied in [{}, *({name: found} for name, found in lists.items())]:
        choice = known | varied
        yield from itertools.product(choice["v"], choice["m"], choice["s"], choice["L"])


# ---------------------------------------------------------------- parameter files


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, where plain YAML keeps the last in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(text: str, where: str) -> Any:
    """Parse YAML, with an error of one line that says where.

    Parameters
    ----------
    text : str
    where : str
        Name of the source for the message.

    Raises
    ------
    ValueError
        If the text is no YAML, or a mapping has a key twice.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ValueError(f"{where}{at} must be YAML. Found: {' '.join(problem.split())}.") from None


def read_file(path: str | Path, chapters: Collection[str]) -> dict[str, dict[str, Any]]:
    """Read and check a parameter file.

    The file is flat (``name: value``) or has one section a chapter; the section ``common``
    holds for each chapter that has the parameter.

    Parameters
    ----------
    path : path
    chapters : collection of str
        Names that a section may have.

    Returns
    -------
    dict
        Section name to checked values. A flat file has the one section ``""``.

    Raises
    ------
    ValueError
        If the path is no file, the file is no YAML of that form, a section is no chapter, a
        name is not in the catalogue, or a value is not allowed.
    """
    content = read_yaml(_read_text(Path(path)), str(path))
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError(f"{path} must map names to values. Found {_repr(content)}.")
    if not _is_sectioned(content, path):
        content = {"": content}
    for section, values in content.items():
        if section and section != "common" and section not in chapters:
            raise ValueError(
                f"{path}: {section!r} is no chapter. {suggestion(section, ['common', *chapters])}"
            )
        content[section] = _checked(values or {}, path, section)
    return content


def _read_text(path: Path) -> str:
    if not path.exists():
        raise ValueError(f"parameter file must exist. Found no file {path}.")
    if not path.is_file():
        raise ValueError(f"parameter file must be a file. Found a directory at {path}.")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"parameter file must be readable UTF-8 text. Found {path}: {error}.") from None


def _is_sectioned(content: Mapping[str, Any], path: str | Path) -> bool:
    # An empty section, `rhm:`, is read as None; no parameter may be None either.
    nested = [name for name, value in content.items() if value is None or isinstance(value, dict)]
    if nested and len(nested) < len(content):
        plain = next(name for name in content if name not in nested)
        raise ValueError(
            f"{path} must be all flat or all in sections of chapters. "
            f"Found the section {nested[0]!r} beside the value {plain!r}."
        )
    return bool(nested)


def _checked(values: Mapping[Any, Any], path: str | Path, section: str) -> dict[str, Any]:
    where = f"{path}, section {section!r}" if section else str(path)
    try:
        return {str(name): check_value(str(name), value) for name, value in values.items()}
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def for_chapter(
    content: Mapping[str, Mapping[str, Any]], chapter: str, names: Collection[str]
) -> dict[str, Any]:
    """Select from a parameter file what concerns one chapter.

    Parameters
    ----------
    content : mapping
        What :func:`read_file` returned.
    chapter : str
    names : collection of str
        The chapter's parameters; names of ``common`` outside them are left out.

    Returns
    -------
    dict
        ``common`` first, then the chapter's own section (or the flat file's values) over it.
    """
    common = {name: value for name, value in content.get("common", {}).items() if name in names}
    return {**common, **content.get("", {}), **content.get(chapter, {})}
