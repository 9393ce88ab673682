"""The exact staircase of masked-token prediction under random masks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhmlib.belief_propagation import posterior
from rhmlib.entropies import entropy
from rhmlib.grammar import Grammar

# Posteriors computed at once.
_CHUNK = 4096


@dataclass(frozen=True)
class MaskedStaircase:
    """Loss of the best predictor of masked tokens that knows the lowest levels of the grammar.

    Attributes
    ----------
    mean : array of float64, shape (L + 1,)
        In nats. Step k is the loss of a predictor that knows the rules of the levels 1 .. k, and so can
        use what is visible of the block of s**k tokens around a masked one, and no more. Step
        0 knows only how often each token occurs at each place; step L is Bayes-optimal.
    stderr : array of float64, shape (L + 1,)
        Standard errors over strings and masks.
    """

    mean: NDArray[np.float64]
    stderr: NDArray[np.float64]


def masked_staircase(grammar: Grammar, tokens: ArrayLike, masks: ArrayLike) -> MaskedStaircase:
    """Average exact posteriors over given strings and masks.

    Parameters
    ----------
    grammar : Grammar
    tokens : array of int, shape (n, s**L)
        Strings, drawn from the grammar.
    masks : array of bool, shape (n, s**L)
        True where a token is hidden, at least one in all. Drawn as the learner's.

    Returns
    -------
    MaskedStaircase

    Raises
    ------
    ValueError
        If shapes differ, nothing is hidden, or a string is not the grammar's.

    Notes
    -----
    The mean over masked tokens of the entropy of the exact posterior of the token, given the visible
    tokens of its block; it varies less than the loss itself, and has the same mean. Tokens
    count alike, as in the learner's loss. O(M s**L v m s) time a step, for M masked tokens.

    Examples
    --------
    >>> grammar = Grammar.random(v=4, m=2, s=2, L=2, seed=0)
    >>> tokens = grammar.sample(200, np.random.default_rng(0)).tokens
    >>> masks = np.random.default_rng(1).random(tokens.shape) < 0.3
    >>> steps = masked_staircase(grammar, tokens, masks).mean
    >>> bool((np.diff(steps) < 0).all())
    True
    """
    given, hidden = np.asarray(tokens), np.asarray(masks)
    if given.shape != hidden.shape or given.ndim != 2 or given.shape[1] != grammar.n_tokens:
        raise ValueError(
            f"tokens and masks must have shape (n, s**L) = (n, {grammar.n_tokens}). "
            f"Found {given.shape} and {hidden.shape}."
        )
    if hidden.dtype != bool or not hidden.any():
        raise ValueError(f"masks must be of dtype bool and hide something. Found dtype {hidden.dtype}.")
    strings, places = hidden.nonzero()
    cases = given[strings], hidden[strings], places
    found = [entropy(block_laws(grammar, *cases, k)) for k in range(grammar.L + 1)]
    mean = np.array([float(h.mean()) for h in found])
    error = np.array([float(h.std(ddof=1)) / math.sqrt(len(h)) if len(h) > 1 else math.inf for h in found])
    return MaskedStaircase(mean, error)


def block_laws(
    grammar: Grammar, tokens: NDArray[Any], hidden: NDArray[np.bool_], places: NDArray[np.intp], k: int
) -> NDArray[np.float64]:
    """Exact law of a token of each string, given what is visible of its block of s**k.

    Parameters
    ----------
    grammar : Grammar
    tokens : array of int, shape (M, s**L)
    hidden : array of bool, shape (M, s**L)
        True where a token is hidden.
    places : array of int, shape (M,)
        Which token of each string.
    k : int
        0 .. L.

    Returns
    -------
    array of float64, shape (M, v)
    """
    size = grammar.s**k
    outside = np.arange(grammar.n_tokens) // size != (places // size)[:, None]
    parts = []
    for start in range(0, len(tokens), _CHUNK):
        part = slice(start, start + _CHUNK)
        laws = posterior(grammar, tokens[part], hidden[part] | outside[part], levels=[0]).tokens
        parts.append(laws[np.arange(len(laws)), places[part]])
    return np.concatenate(parts)
