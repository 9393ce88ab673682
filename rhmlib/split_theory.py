"""Strings that masked prediction needs, level by level, when tokens are hidden at two rates."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from rhmlib.grammar import Grammar
from rhmlib.split_masks import SplitMasking
from rhmlib.staircases import block_laws
from rhmlib.tax import strings_needed


def step_signals(
    grammar: Grammar, tokens: ArrayLike, hidden: ArrayLike, asked: ArrayLike
) -> NDArray[np.float64]:
    """Mean square by which the cousins at each level move the best prediction of a hidden token.

    Parameters
    ----------
    grammar : Grammar
    tokens : array of int, shape (n, s**L)
        Strings, drawn from the grammar.
    hidden, asked : array of bool, shape (n, s**L)
        What is hidden, and which token of each string is asked for: exactly one, and hidden.

    Returns
    -------
    array of float64, shape (L,)
        At place l, E |p_(l+1) - p_l|**2, where p_k is the law of the token given what is visible of its
        block of s**k tokens. If all of a cousin is visible, this is E |P(x|w, y) - P(x|w)|**2 for
        the level-l cousins y.

    Raises
    ------
    ValueError
        If shapes differ, or a string has not exactly one token asked for.

    Notes
    -----
    O(n s**L v m s) time a level.
    """
    given, mask, wanted = np.asarray(tokens), np.asarray(hidden), np.asarray(asked)
    if not given.shape == mask.shape == wanted.shape or given.ndim != 2:
        raise ValueError(
            "tokens, hidden and asked must have one shape (n, s**L). "
            f"Found {given.shape}, {mask.shape} and {wanted.shape}."
        )
    if not (wanted.sum(1) == 1).all() or not mask[wanted].all():
        raise ValueError("asked must name one hidden token in each string. Found other numbers.")
    places = wanted.argmax(1)
    laws = [block_laws(grammar, given, mask, places, k) for k in range(grammar.L + 1)]
    return np.array([((b - a) ** 2).sum(1).mean() for a, b in itertools.pairwise(laws)])


def split_strings_needed(
    grammar: Grammar, split: SplitMasking, *, n: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Strings at which each level can be learned under such masks.

    Parameters
    ----------
    grammar : Grammar
    split : SplitMasking
    n : int
        Strings over which signals are averaged.
    seed : int
        Of the strings and of the masks.

    Returns
    -------
    DataFrame
        Columns level (1 .. L-1), own (v m / signal, :func:`rhmlib.tax.strings_needed`) and strings
        (the most over the levels up to it).
    """
    tokens = grammar.sample(n, np.random.default_rng(seed)).tokens
    hidden, asked = split.draw(n, torch.Generator().manual_seed(seed))
    signals = step_signals(grammar, tokens, hidden.numpy(), asked.numpy())
    own = [strings_needed(grammar, float(signal)) for signal in signals[1:]]
    return pd.DataFrame({"level": range(1, grammar.L), "own": own, "strings": np.maximum.accumulate(own)})
