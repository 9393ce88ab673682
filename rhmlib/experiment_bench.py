"""A learner on the bench: the protocol, what is checked of it, and one run.

A learner is a class, made without arguments, with two methods::

    class Mine:
        def fit(self, tokens, rng, budget): ...     # tokens: int64, shape (n, s**L)
        def encode(self, tokens): ...               # -> floats, in one of three shapes

`encode` describes strings, shape (n, width); or their leaves, (n, s**L, width); or the nodes of the
levels 1, 2 .. up to any level, a list of arrays (n, s**(L-l), width), with widths of their own. A learner
never sees a latent; but a class that says ``labels = True`` is given the roots of its strings,
``fit(tokens, rng, budget, labels)``, and counts as supervised.
"""

from __future__ import annotations

import importlib
import inspect
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from rhmlib.grammar import Grammar, check_shape
from rhmlib.sampling import Sample

_STRINGS, _LEARNER = 1, 2
# Features (n, width), and the latents (n,) that they should tell.
Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]


# ---------------------------------------------------------------- the protocol


class ProtocolError(ValueError):
    """What a learner does is not what the bench asks for."""


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
        """Learn from distinct strings, integers of shape (n, s**L).

        A class with ``labels = True`` gets a fourth argument, the strings' roots, shape (n,).
        """
        ...  # pragma: no cover

    def encode(self, tokens: NDArray[Any]) -> ArrayLike | Sequence[ArrayLike]:
        """Describe strings: floats, shape (n, width); or leaves, (n, s**L, width); or a list of levels."""
        ...  # pragma: no cover


def wants_labels(learner: object) -> bool:
    """Whether a learner, or its class, asks for the roots of its strings.

    Raises
    ------
    ValueError
        If its attribute `labels` is neither True nor False.
    """
    wish = getattr(learner, "labels", False)
    if not isinstance(wish, bool):
        raise ProtocolError(f"labels of a learner must be True or False. Found labels={wish!r}.")
    return wish


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
    except Exception as error:
        raise ValueError(
            f"learner must be importable. Found {name!r}: {type(error).__name__}: {error}{_where(error)}."
        ) from None
    if not inspect.isclass(found):
        raise ValueError(f"learner must be a class. Found {name!r}, a {type(found).__name__}.")
    fit = "fit(tokens, rng, budget, labels)" if wants_labels(found) else "fit(tokens, rng, budget)"
    for method, call in (("fit", fit), ("encode", "encode(tokens)")):
        _check_method(found, name, method, call)
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise ValueError(
            f"learner must be made without arguments. Found {name!r}: {error}; give them defaults."
        ) from None
    return cast(Callable[[], Learner], found)


def _where(error: Exception) -> str:
    """File and line of an error that a learner's module raised, as far as it has one."""
    if isinstance(error, SyntaxError):
        return ""  # says so itself
    last = traceback.extract_tb(error.__traceback__)[-1]
    inside = last.filename.startswith("<") or last.filename in (__file__, importlib.__file__)
    return "" if inside else f" ({last.filename}, line {last.lineno})"


def _check_method(found: type, name: str, method: str, call: str) -> None:
    if not callable(getattr(found, method, None)):
        raise ValueError(f"learner must have a method {call}. Found none in {name!r}.")
    arguments = [None] * (1 + call.count(",") + 1)
    try:
        inspect.signature(getattr(found, method)).bind(*arguments)
    except TypeError as error:
        hint = ""
        if "labels" in str(error):
            hint = " A class that needs the roots says so: labels = True."
        raise ValueError(
            f"{method} of a learner must be callable as {call}. Found {name!r}: {error}.{hint}"
        ) from None


def fit(learner: Learner, sample: Sample, rng: np.random.Generator, budget: Budget) -> NDArray[np.int64]:
    """Train a learner on a sample's tokens, with the roots if it asks for them; return the tokens it got."""
    tokens = sample.tokens.astype(np.int64)
    more = [sample.root.astype(np.int64)] if wants_labels(type(learner)) else []
    learner.fit(tokens, rng, budget, *more)
    return tokens


def nodes_of(learner: Learner, tokens: NDArray[Any], name: str, s: int = 2) -> list[NDArray[np.float32]]:
    """Call `encode`, check what it returns, and make it descriptions of the nodes of every level.

    Returns
    -------
    list of L arrays of float32, shape (n, nodes, width)
        Levels 1 .. L. Of strings: one node a level. Of leaves: the mean over the leaves of each node. Of
        levels: as they are; above the last one a node is described by its children, side by side.

    Raises
    ------
    ValueError
        If a shape is wrong, or a value is not a finite number.
    """
    found: Any = learner.encode(tokens.astype(np.int64))
    n, leaves = tokens.shape
    L = round(math.log(leaves, s))
    parts = [_shape(part) for part in found] if isinstance(found, list | tuple) else []
    if parts and all(part is not None and len(part) == 3 for part in parts):
        return _nodes_of_levels([np.asarray(part) for part in found], n, s, L, name)
    shape = _shape(found)
    right = shape is not None and (len(shape) == 2 or (len(shape) == 3 and shape[1] == leaves))
    if shape is None or not right or shape[0] != n or shape[-1] < 1:
        what = str(shape) if shape else f"a {type(found).__name__}"
        if shape is None:
            what += f" of shapes {', '.join(map(str, parts[:4]))}{', ..' if len(parts) > 4 else ''}"
        raise ProtocolError(
            f"encode must return shape (n, width) = ({n}, width), or (n, s**L, width) = "
            f"({n}, {leaves}, width), or a list of arrays (n, s**(L-l), width), one a level. "
            f"Found {what} from {name!r}."
        )
    features = _real(np.asarray(found), name)
    if features.ndim == 2:
        return [features[:, None]] * L
    return [features.reshape(n, -1, s**level, features.shape[2]).mean(2) for level in range(1, L + 1)]


def _shape(found: Any) -> tuple[int, ...] | None:
    """Shape of what can be an array, None of a list whose parts have different ones."""
    try:
        return tuple(np.shape(found))
    except ValueError:
        return None


def _nodes_of_levels(
    found: list[NDArray[Any]], n: int, s: int, L: int, name: str
) -> list[NDArray[np.float32]]:
    wanted = [(n, s ** (L - level)) for level in range(1, L + 1)]
    shapes = [part.shape for part in found]
    if len(found) > L or any(x[:2] != y or not x[2] for x, y in zip(shapes, wanted, strict=False)):
        raise ProtocolError(
            f"encode must return at most L = {L} levels, of shapes "
            f"{', '.join(f'({a}, {b}, width)' for a, b in wanted)}. Found {shapes} from {name!r}."
        )
    levels = [_real(part, name) for part in found]
    while len(levels) < L:
        levels.append(levels[-1].reshape(n, levels[-1].shape[1] // s, -1))
    return levels


def _real(features: NDArray[Any], name: str) -> NDArray[np.float32]:
    if features.dtype.kind not in "biuf":
        raise ProtocolError(f"encode must return real numbers. Found dtype {features.dtype} from {name!r}.")
    with np.errstate(over="ignore"):
        single = features.astype(np.float32)
    if not np.isfinite(single).all():
        worst = features[~np.isfinite(single)].flat[0]
        raise ProtocolError(f"encode must return finite numbers, in float32. Found {worst} from {name!r}.")
    return single


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
    source: str = Field(default="", description="hash of its code")
    v: int = Field(ge=2, description="symbols a level")
    m: int = Field(ge=1, description="production rules a symbol")
    s: int = Field(default=2, ge=2, description="branching: symbols that a rule produces")
    L: int = Field(ge=2, description="depth: levels above the visible tokens")
    n: int = Field(ge=1, description="distinct training strings")
    steps: int = Field(default=2000, ge=1, description="optimiser steps that a learner may take")
    n_val: int = Field(default=200, ge=2, description="strings for validation of the probe")
    n_test: int = Field(default=2000, ge=2, description="strings on which accuracy is reported")
    n_probe: int = Field(default=2000, ge=2, description="labelled strings for the probes, at most")
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

    def labels(self, level: int) -> int:
        """Labelled strings for the probe of a level: half of the strings that a level-l node can make.

        At least 8 v, at most `n_probe`. With more, a linear probe of a wide random encoder reads the
        level by heart.
        """
        kinds = self.v * self.m ** ((self.s**level - 1) // (self.s - 1))
        return min(self.n_probe, max(8 * self.v, kinds // 2))

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
        fit(learner, train, np.random.default_rng([self.model_seed, _LEARNER]), budget)
        found = [nodes_of(learner, sample.tokens, self.entry, self.s) for sample in held]
        rows = []
        for level in range(1, self.L + 1):
            labelled, checks, tests = (
                _one_node_each(nodes[level - 1], sample.levels[level])
                for nodes, sample in zip(found, held, strict=True)
            )
            most = self.labels(level)
            few = labelled[0][:most], labelled[1][:most]
            accuracy = ridge_accuracy(few, checks, tests, self.v)
            share = self.n / (self.v * self.m**3)
            rows.append({"level": level, "n_over_vm3": share, "probe_accuracy": accuracy})
        return rows


def _one_node_each(nodes: NDArray[np.float32], latents: NDArray[Any]) -> Labelled:
    """Features (n, width) and latents (n,) of a node of each string, at places in turn."""
    string = np.arange(len(nodes))
    place = string % nodes.shape[1]
    return nodes[string, place], latents[string, place].astype(np.int64)


def ridge_accuracy(train: Labelled, validation: Labelled, test: Labelled, classes: int) -> float:
    """Test accuracy of a linear probe: ridge regression on the classes, its strength chosen by validation.

    Parameters
    ----------
    train, validation, test : pairs of arrays (n, width) and of int (n,)
    classes : int

    Notes
    -----
    With few labels this is steadier than a probe that is stopped early. O(n width min(n, width)) time.
    """
    features, labels = train
    mean = features.mean(0)
    scale = max(float((features - mean).std()), 1e-12)
    left, sizes, right = np.linalg.svd((features - mean) / scale, full_matrices=False)
    targets = left.T @ (np.eye(classes)[labels] - 1 / classes)

    def score(part: Labelled, strength: float) -> float:
        weight = right.T @ (targets * (sizes / (sizes**2 + strength))[:, None])
        return float((((part[0] - mean) / scale @ weight).argmax(1) == part[1]).mean())

    strengths = [len(labels) * 10.0**k for k in range(-4, 3)]
    return score(test, max(reversed(strengths), key=lambda strength: score(validation, strength)))
