"""The bench: how many strings a learner needs, level by level.

A learner is a class, made without arguments, with two methods::

    class Mine:
        def fit(self, tokens, rng, budget): ...     # tokens: integers (n, s**L)
        def encode(self, tokens): ...               # -> floats (n, width) or (n, s**L, width)

It never sees a latent. The bench trains it on grammars of several shapes and sizes, and asks a linear probe
to read the latents of every level off what `encode` says of held-out strings. From where the probe's
accuracy crosses 75 % it takes thresholds, and from these exponents.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, cast

import numpy as np
import pandas as pd
import torch
import yaml
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from rhmlib import fits, grids
from rhmlib import results as tables
from rhmlib.encoder_probes import probe_levels
from rhmlib.grammar import Grammar, check_shape

ACCURACY = 0.75
_STRINGS, _LEARNER = 1, 2

SCALES: dict[str, dict[str, Any]] = {
    "quick": {
        "replicates": 2,
        "fixed": {"v": 8, "s": 2, "L": 3, "steps": 500, "n_test": 1000},
        "grid": {"m": [2, 3, 4], "n": {"per_vm3": [0.125, 0.5, 2, 8]}},
    },
    "book": {
        "replicates": 3,
        "fixed": {"v": 8, "s": 2, "steps": 2000},
        "blocks": [
            {"grid": {"L": [2], "m": [3, 4, 5], "n": {"per_vm3": [0.25, 0.5, 1]}}},
            {"grid": {"L": [3], "m": [2, 3, 4, 5], "n": {"per_vm3": [0.5, 1, 2, 4, 8, 16]}}},
            {"grid": {"L": [4, 5], "m": [3, 4], "n": {"per_vm3": [0.5, 1, 2, 4, 8, 16, 32]}}},
        ],
    },
    "gpu": {
        "replicates": 3,
        "fixed": {"v": 16, "s": 2, "steps": 20000},
        "grid": {"L": [3, 4, 5], "m": [3, 4, 6], "n": {"per_vm3": [0.5, 1, 2, 4, 8, 16, 32]}},
    },
}


# ---------------------------------------------------------------- the protocol


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True))
class Budget:
    """What a learner may know and spend.

    Attributes
    ----------
    steps : int
        Optimiser steps, for learners that take steps.
    v, s, L : int
        Symbols, branching and depth. The number of rules and the latents it has to find.
    """

    steps: int
    v: int
    s: int
    L: int


class Learner(Protocol):
    """What a class must have to be benched."""

    def fit(self, tokens: NDArray[Any], rng: np.random.Generator, budget: Budget) -> Any:
        """Learn from distinct strings, integers of shape (n, s**L)."""
        ...  # pragma: no cover

    def encode(self, tokens: NDArray[Any]) -> ArrayLike:
        """Describe strings: floats, shape (n, width), or (n, s**L, width) for one description a leaf."""
        ...  # pragma: no cover


def load(name: str) -> Callable[[], Learner]:
    """Import a learner's class, and check that it has the protocol.

    Parameters
    ----------
    name : str
        ``"package.module:Class"``.

    Raises
    ------
    ValueError
        Saying what is missing.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ValueError(f"learner must be 'package.module:Class'. Found {name!r}.")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"learner must be importable. Found {name!r}: {error}.") from None
    if not inspect.isclass(found):
        raise ValueError(f"learner must be a class. Found {name!r}, a {type(found).__name__}.")
    for method, call in (("fit", "fit(tokens, rng, budget)"), ("encode", "encode(tokens)")):
        if not callable(getattr(found, method, None)):
            raise ValueError(f"learner must have a method {call}. Found none in {name!r}.")
        arguments = [None] * (1 + call.count(",") + 1)
        try:
            inspect.signature(getattr(found, method)).bind(*arguments)
        except TypeError as error:
            raise ValueError(
                f"{method} of a learner must be callable as {call}. Found {name!r}: {error}."
            ) from None
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise ValueError(
            f"learner must be made without arguments. Found {name!r}: {error}; give them defaults."
        ) from None
    return cast(Callable[[], Learner], found)


def features_of(learner: Learner, tokens: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Call `encode`, and check what it returns.

    Raises
    ------
    ValueError
        If the shape is wrong, a value is not finite, or a second call says something else.
    """
    features = np.asarray(learner.encode(tokens.copy()))
    n, leaves = tokens.shape
    right = features.ndim == 2 or (features.ndim == 3 and features.shape[1] == leaves)
    if not right or len(features) != n or features.shape[-1] < 1:
        raise ValueError(
            f"encode must return shape (n, width) = ({n}, width) "
            f"or (n, s**L, width) = ({n}, {leaves}, width). "
            f"Found {features.shape} from {name!r}."
        )
    if not np.issubdtype(features.dtype, np.number) or not np.isfinite(features).all():
        raise ValueError(f"encode must return finite numbers. Found others from {name!r}.")
    return features.astype(np.float32)


def rehearse(name: str) -> None:
    """Fit and encode a few strings, so that what is wrong shows before any work starts.

    Raises
    ------
    ValueError
        Saying what is wrong.
    """
    made = load(name)()
    grammar = Grammar.random(v=4, m=2, s=2, L=2, seed=0)
    data = grammar.sample(32, np.random.default_rng(0), unique=True)
    given = data.tokens.copy()
    try:
        made.fit(given, np.random.default_rng(0), Budget(steps=2, v=4, s=2, L=2))
        first = features_of(made, data.tokens[:8], name)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"learner must run on 32 strings of 4 tokens with 2 steps. Found {name!r}: "
            f"{type(error).__name__}: {error}."
        ) from error
    if not np.array_equal(given, data.tokens):
        raise ValueError(f"fit must leave its tokens as they are. Found them changed by {name!r}.")
    again = features_of(made, data.tokens[:8], name)
    alone = features_of(made, data.tokens[:3], name)
    if not (np.allclose(first, again, atol=1e-4) and np.allclose(first[:3], alone, atol=1e-3)):
        raise ValueError(
            "encode must be a function of each string: neither random, nor of the other strings. "
            f"Found {name!r} otherwise."
        )


# ---------------------------------------------------------------- a run


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class BenchExperiment:
    """Train a learner on n distinct strings, and probe the latents of every level.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`.
    """

    tolerances: ClassVar[Mapping[str, float]] = {"n_over_vm3": 1e-9, "probe_accuracy": 0.3}

    entry: str = Field(description="class of the learner, 'package.module:Class'")
    source: str = Field(description="hash of the file that it is written in")
    v: int = Field(ge=2, description="symbols a level")
    m: int = Field(ge=1, description="production rules a symbol")
    s: int = Field(default=2, ge=2, description="branching: symbols that a rule produces")
    L: int = Field(ge=2, description="depth: levels above the visible tokens")
    n: int = Field(ge=1, description="distinct training strings")
    steps: int = Field(default=2000, ge=1, description="optimiser steps that a learner may take")
    n_val: int = Field(default=1000, ge=2, description="strings for validation of the probe")
    n_test: int = Field(default=2000, ge=2, description="strings on which accuracy is reported")
    n_probe: int = Field(default=2000, ge=2, description="labelled strings for the probes")
    grammar_seed: int = Field(ge=0, description="seed of the production rules")
    data_seed: int = Field(ge=0, description="seed of the strings")
    model_seed: int = Field(ge=0, description="seed of what the learner draws")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shape(self.v, self.m, self.s, self.L)
        strings = self.v * self.m ** ((self.s**self.L - 1) // (self.s - 1))
        if self.n > strings:
            raise ValueError(f"n must be at most the number of strings, {strings}. Found n={self.n}.")
        return self

    def cost(self) -> float:
        """Tokens that are read, with an allowance for what does not depend on n."""
        return float((self.n + 1e4) * self.s**self.L)

    def run(self) -> list[dict[str, Any]]:
        """Fit and probe.

        Returns
        -------
        list of dict
            For each level 1 .. L: `level`, `n_over_vm3` and `probe_accuracy` on test strings.
        """
        learner = load(self.entry)()
        grammar = Grammar.random(v=self.v, m=self.m, s=self.s, L=self.L, seed=self.grammar_seed)
        rng = np.random.default_rng([self.data_seed, _STRINGS])
        train = grammar.sample(self.n, rng, unique=True)
        held = [grammar.sample(count, rng) for count in (self.n_probe, self.n_val, self.n_test)]
        budget = Budget(steps=self.steps, v=self.v, s=self.s, L=self.L)
        learner.fit(train.tokens.copy(), np.random.default_rng([self.model_seed, _LEARNER]), budget)

        def nodes(tokens: torch.Tensor) -> list[torch.Tensor]:
            found = torch.from_numpy(features_of(learner, tokens.numpy(), self.entry))
            if found.ndim == 2:  # of strings: what they tell of the first node
                return [found[None, :, None]] * self.L
            return [found.unflatten(1, (-1, self.s**level)).mean(2)[None] for level in range(1, self.L + 1)]

        unit = self.v * self.m**3
        return [
            {"level": row["level"], "n_over_vm3": self.n / unit, "probe_accuracy": row["probe_accuracy"]}
            for row in probe_levels(nodes, held[0], held[1], held[2])
        ]


# ---------------------------------------------------------------- the bench


def sweep_file(name: str, root: str | Path | None = None) -> Path:
    """Check a learner, and write the sweep file that benches it.

    Parameters
    ----------
    name : str
        ``"package.module:Class"``.
    root : path, optional
        See :func:`rhmlib.grids.find_root`.

    Returns
    -------
    Path
        A file for :func:`rhmlib.sweeps.sweep`; the table has its name, ``bench_CLASS``.
    """
    rehearse(name)
    source = inspect.getsourcefile(cast(type, load(name)))
    text = Path(source).read_bytes() if source else b""
    given = {"entry": name, "source": hashlib.sha256(text).hexdigest()[:12]}
    scales = {}
    for scale, content in SCALES.items():
        scales[scale] = {**content, "fixed": {**content["fixed"], **given}}
    word = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.partition(":")[2]).lower()
    path = grids.find_root(root) / "_build" / "bench" / f"bench_{word}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"title": f"Bench of {name}", "learner": "bench", "scales": scales}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def thresholds(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Strings at which the probe of each level reaches 75 %, with intervals.

    Parameters
    ----------
    table : DataFrame
        Rows of `bench` of one learner.
    rng : numpy.random.Generator
        Of the bootstrap.

    Returns
    -------
    DataFrame
        m, L, level, and `strings` and `multiple` (of v m^3), texts with 95 % intervals, or why there is none.
    """
    rows = []
    for (m, L, level), part in table.groupby(["m", "L", "level"]):
        [curve] = fits.curves(part, by=["m"], metric="probe_accuracy").values()
        found = fits.threshold(curve, ACCURACY, rng)
        unit = curve.v * m**3
        multiple = fits.Estimate(found.value / unit, found.low / unit, found.high / unit)
        rows.append(
            {
                "m": m,
                "L": L,
                "level": level,
                "strings": found.format(0),
                "multiple": str(multiple) if found.identified else "",
            }
        )
    return pd.DataFrame(rows)


def exponents(table: pd.DataFrame, rng: np.random.Generator) -> dict[str, str]:
    """Fit exponents of P*, of the deepest level below the root, and of the root.

    Parameters
    ----------
    table : DataFrame
        Rows of `bench` of one learner.
    rng : numpy.random.Generator
        Of the bootstrap.

    Returns
    -------
    dict of str to str
        What is fitted, and the estimate with its interval, or why there is none.
    """
    found = {}
    for name, offset in (("level L-1", 1), ("root", 0)):
        rows = table[table["level"] == table["L"] - offset]
        for L, part in rows.groupby("L"):
            curves = fits.curves(part, by=["m"], metric="probe_accuracy")
            found[f"{name}, L={L}: exponent of m"] = str(fits.exponent(curves, ACCURACY, rng))
        for m, part in rows.groupby("m"):
            if part["L"].nunique() > 2:
                curves = fits.curves(part, by=["L"], metric="probe_accuracy")
                slope = fits.exponent(curves, ACCURACY, rng, variable=lambda key, _: key[0], log=False)
                law = f" (tokens would pay {math.log(m):.2f})"
                found[f"{name}, m={m}: log P* a level of depth"] = f"{slope}{law}"
    return found


def report(path: Path, scale: str, root: str | Path | None = None) -> str:
    """Describe a bench's table as a page of Markdown.

    Parameters
    ----------
    path : Path
        As :func:`sweep_file` returns.
    scale : str
    root : path, optional
    """
    rng = np.random.default_rng(0)
    table = tables.read(path, scale=scale, root=root)
    lines = [f"# {table['entry'].iloc[0]}, scale {scale}", ""]
    lines += ["Distinct strings at which a linear probe reads the latents of a level with 75 % accuracy.", ""]
    lines += ["| m | L | level | strings | in v m^3 |", "|---|---|---|---|---|"]
    for row in thresholds(table, rng).itertuples():
        lines.append(f"| {row.m} | {row.L} | {row.level} | {row.strings} | {row.multiple} |")
    lines += ["", "| fit | estimate |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in exponents(table, rng).items()]
    return "\n".join([*lines, ""])
