"""Conditional entropies of a token, and the staircase of losses that they make (paper, Section 2)."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhmlib.belief_propagation import block_predictions, token_predictions
from rhmlib.exact import check_level, node_law
from rhmlib.grammar import Grammar

Floats = NDArray[np.float64]
Objective = Literal["mlm", "ntp"]


def entropy(law: ArrayLike) -> Floats:
    """Shannon entropy in nats along the last axis, with 0 log 0 = 0."""
    law = np.asarray(law, dtype=float)
    return -np.sum(law * np.log(np.where(law > 0, law, 1)), axis=-1)


@dataclass(frozen=True)
class Staircase:
    """Entropy of a token given growing contexts.

    Attributes
    ----------
    objective : {"mlm", "ntp"}
    mean : array of float64, shape (L + 1,)
        H_k in nats: mean over positions i of H(x_i | context of height k).
    stderr : array of float64, shape (L + 1,)
        Standard error over sampled strings; 0 where exact.
    exact : array of bool, shape (L + 1,)
        True where H_k was summed over all contexts.
    by_position : array of float64, shape (L + 1, s**L)
        The same for each position.
    """

    objective: Objective
    mean: Floats
    stderr: Floats
    exact: NDArray[np.bool_]
    by_position: Floats


def block_strings(grammar: Grammar, height: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """All strings of s**height tokens that one level-`height` symbol can make.

    Returns
    -------
    tokens : array, shape (K, s**height)
        K = v * m**((s**height - 1) / (s - 1)) strings, each once: the grammar is unambiguous.
    symbols : array, shape (K,)
        The symbol that makes each; all the strings of one symbol are equally likely.

    Notes
    -----
    O(K s**height) time and memory: for tiny blocks only.
    """
    height = check_level(grammar, height)
    strings = np.arange(grammar.v)[:, None]
    symbols = np.arange(grammar.v)
    for level in range(height - 1, -1, -1):
        width = strings.shape[1]
        choice = np.array(list(itertools.product(range(grammar.m), repeat=width)), dtype=np.intp)
        strings = grammar.rules[level][strings[:, None, :], choice[None]]  # (K, choices, width, s)
        strings = strings.reshape(-1, width * grammar.s)
        symbols = np.repeat(symbols, len(choice))
    return strings, symbols


def _n_block_strings(grammar: Grammar, height: int) -> int:
    return grammar.v * grammar.m ** ((grammar.s**height - 1) // (grammar.s - 1))


def _exact_by_position(grammar: Grammar, height: int, causal: bool) -> Floats:
    """H_k at every position by summing over all strings of each block."""
    if height == 0:
        return entropy(node_law(grammar, 0))
    strings, symbols = block_strings(grammar, height)
    part = Grammar(grammar.rules[:height])
    repeats = len(strings) // grammar.v
    out = []
    for prior in node_law(grammar, height):
        weight = prior[symbols] / repeats
        used = weight > 0
        laws = block_predictions(part, strings[used], height, prior[None], causal=causal)
        out.append(weight[used] @ entropy(laws))
    return np.concatenate(out)


def entropy_staircase(
    grammar: Grammar,
    objective: Objective,
    n: int,
    rng: np.random.Generator,
    *,
    max_exact: int = 1 << 16,
) -> Staircase:
    """Loss of the best learner that sees a context of height k, for k = 0 .. L.

    A learner that has acquired the levels below k can use the block of s**k tokens around a token;
    with "mlm" all of it but the token, with "ntp" what precedes the token. As it acquires levels, its
    cross-entropy goes down from step to step.

    Parameters
    ----------
    grammar : Grammar
    objective : {"mlm", "ntp"}
    n : int
        Sampled strings for the heights that are not enumerated.
    rng : numpy.random.Generator
    max_exact : int
        Enumerate a height if its blocks have at most this many strings in all; 0 to sample every
        height above 0.

    Returns
    -------
    Staircase

    Raises
    ------
    ValueError
        If the objective is not one of these or n < 2.

    Notes
    -----
    Exact where enumerated, else the mean over strings of the exact posterior's entropy, which is
    unbiased and varies less than the loss itself. O(n s**L v m s) time a height.
    """
    if objective not in ("mlm", "ntp"):
        raise ValueError(f'objective must be "mlm" or "ntp". Found objective={objective!r}.')
    if n < 2:
        raise ValueError(f"n must be at least 2. Found n={n}.")
    causal, L, s = objective == "ntp", grammar.L, grammar.s
    counts = [_n_block_strings(grammar, k) * s ** (L - k) for k in range(L + 1)]
    exact = np.array([k == 0 or counts[k] <= max_exact for k in range(L + 1)])
    by_position, stderr = np.empty((L + 1, s**L)), np.zeros(L + 1)
    tokens = np.empty((0, s**L)) if exact.all() else grammar.sample(n, rng).tokens
    for k in range(L + 1):
        if exact[k]:
            by_position[k] = _exact_by_position(grammar, k, causal)
            continue
        h = entropy(token_predictions(grammar, tokens, height=k, causal=causal))  # (n, s**L)
        by_position[k] = h.mean(axis=0)
        stderr[k] = h.mean(axis=1).std(ddof=1) / math.sqrt(n)
    return Staircase(objective, by_position.mean(axis=1), stderr, exact, by_position)
