"""A learner's rehearsal: a few strings, in ways that show a broken protocol before any work starts."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhmlib.experiment_bench import Budget, Learner, ProtocolError, fit, load, nodes_of, wants_labels
from rhmlib.grammar import Grammar
from rhmlib.sampling import Sample

# Strings, symbols and depth; more strings than a usual batch has, or its order is that of all.
_SHAPES = ((32, 4, 2), (320, 5, 3))
# Differences in units of a level's standard deviation: of one fit, and of two with equal seeds.
_SAME, _TWIN = 1e-3, 1e-4


def rehearse(name: str) -> None:
    """Fit and encode a few strings.

    Parameters
    ----------
    name : str
        ``"package.module:Class"``.

    Raises
    ------
    ValueError
        Saying what is wrong.
    """
    made = load(name)
    for n, v, L in _SHAPES:
        grammar = Grammar.random(v=v, m=2, s=2, L=L, seed=0)
        data = grammar.sample(n, np.random.default_rng(0), unique=True)
        try:
            with _kept_generators():
                _rehearse(made, name, data, Budget(steps=2, v=v, s=2, L=L))
        except ProtocolError:
            raise
        except Exception as error:
            raise ValueError(
                f"learner must run on {n} strings of {data.tokens.shape[1]} tokens with 2 steps. "
                f"Found {name!r}: {type(error).__name__}: {error}."
            ) from error


def _rehearse(made: Callable[[], Learner], name: str, data: Sample, budget: Budget) -> None:
    learner, twin, other, late = (made() for _ in range(4))
    if wants_labels(learner) != wants_labels(type(learner)):
        raise ProtocolError(
            "labels must be said in the class body, where they are asked for before a learner is made. "
            f"Found {name!r} with another value in an instance."
        )
    used = _fit(learner, name, data, budget, rng=0, seed=1)
    few = data.tokens[:32]
    first = nodes_of(learner, few, name)  # before others are fitted, which may share a class's state
    _check_function_of_strings(learner, name, few, first)
    used_by_twin = _fit(twin, name, data, budget, rng=0, seed=2)
    _check_generators(name, used, used_by_twin, _fit(other, name, data, budget, rng=1, seed=1))
    if not _close(first, nodes_of(twin, few, name), _TWIN):
        raise ProtocolError(
            "fit must draw what is random from its rng, so that a run can be made again, and keep what it "
            f"learns in self. Found {name!r} otherwise: two fits of the same strings describe them otherwise."
        )
    _fit(late, name, data, budget, rng=0, seed=1)
    nodes_of(late, data.tokens[::-1].copy(), name)
    if not _close(first, nodes_of(late, few, name), _TWIN):
        raise ProtocolError(
            "encode must not learn: what it describes must not depend on what it was shown before. "
            f"Found {name!r} otherwise."
        )


def _fit(
    learner: Learner, name: str, data: Sample, budget: Budget, *, rng: int, seed: int
) -> dict[str, bytes]:
    """Fit, and return the states of the global generators that were used."""
    _seed_generators(seed)
    before = _generators()
    given = fit(learner, data, np.random.default_rng(rng), budget)
    if not np.array_equal(given, data.tokens):
        raise ProtocolError(f"fit must leave its tokens as they are. Found them changed by {name!r}.")
    return {library: state for library, state in _generators().items() if state != before.get(library)}


def _check_generators(
    name: str, used: dict[str, bytes], twin: dict[str, bytes], other: dict[str, bytes]
) -> None:
    """Refuse global generators, unless they are seeded from the learner's own one."""
    for library, state in used.items():
        if twin.get(library) != state:
            raise ProtocolError(
                "fit must draw what is random from its rng, or seed from it what else it draws from. "
                f"Found {name!r} drawing from the global generator of {library}."
            )
        if other.get(library) == state:
            raise ProtocolError(
                f"fit must take the seed of the global generator of {library} from its rng. "
                f"Found {name!r} with a seed that is always the same."
            )


def _check_function_of_strings(
    learner: Learner, name: str, few: NDArray[Any], first: list[NDArray[np.float32]]
) -> None:
    n = len(few)
    every = np.arange(n)
    for chosen in (every, every[::-1], every[n // 3 : n // 2], every[-1:], every[:1]):
        if not _close([x[chosen] for x in first], nodes_of(learner, few[chosen], name), _SAME, first):
            raise ProtocolError(
                "encode must be a function of each string: neither random, nor of its place or of the other "
                f"strings. Found {name!r} otherwise."
            )


def _close(
    a: list[NDArray[np.float32]],
    b: list[NDArray[np.float32]],
    tolerance: float,
    scale_of: list[NDArray[np.float32]] | None = None,
) -> bool:
    return len(a) == len(b) and all(
        x.shape == y.shape and np.abs(x - y).max() <= tolerance * max(float(z.std()), 1e-30)
        for x, y, z in zip(a, b, scale_of or a, strict=True)
    )


# ---------------------------------------------------------------- global generators


def _generators() -> dict[str, bytes]:
    """States of the global generators of libraries that are loaded."""
    states = {"random": pickle.dumps(random.getstate()), "numpy": pickle.dumps(np.random.get_state())}  # noqa: NPY002
    if "torch" in sys.modules:
        import torch

        states["torch"] = torch.get_rng_state().numpy().tobytes()
    return states


def _seed_generators(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)


@contextmanager
def _kept_generators() -> Iterator[None]:
    """Leave the global generators as they were found."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch_state = sys.modules["torch"].get_rng_state() if "torch" in sys.modules else None
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        if torch_state is not None:
            sys.modules["torch"].set_rng_state(torch_state)
