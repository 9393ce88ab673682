"""What a student can know at most of a hidden token's ancestors, by exact inference (paper, Section 5).

A student that has learnt the rules of levels 1 .. k can put the tokens under one level-k symbol together, and
no more. What it can know of a hidden leaf is then what follows from the visible leaves of the leaf's own
block of s**k. The learnable step from k to k+1 is what the next larger block adds.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rhmlib.belief_propagation import posterior, token_predictions
from rhmlib.grammar import Grammar
from rhmlib.sampling import Sample

Bools = NDArray[np.bool_]


def random_masks(
    n: int, length: int, probability: float, rng: np.random.Generator
) -> tuple[Bools, NDArray[np.intp]]:
    """Hide every token with some probability, at least one a string, and choose one of the hidden.

    Parameters
    ----------
    n, length : int
        Strings, and tokens a string.
    probability : float
    rng : numpy.random.Generator

    Returns
    -------
    array of bool, shape (n, length)
    array of int, shape (n,)
        The chosen leaves.
    """
    mask = rng.random((n, length)) < probability
    mask[np.arange(n), rng.integers(length, size=n)] |= ~mask.any(1)
    return mask, (rng.random((n, length)) * mask).argmax(1)


def block_masks(n: int, length: int, size: int, rng: np.random.Generator) -> tuple[Bools, NDArray[np.intp]]:
    """Hide one aligned block of `size` tokens a string, and choose one of them; as :func:`random_masks`."""
    block = rng.integers(length // size, size=n)
    mask = np.arange(length) // size == block[:, None]
    return mask, block * size + rng.integers(size, size=n)


def known(
    grammar: Grammar, sample: Sample, mask: Bools, place: NDArray[np.intp], height: int
) -> list[NDArray[np.float64]]:
    """Laws of a leaf's ancestors given the visible leaves of its block of s**height.

    Parameters
    ----------
    grammar : Grammar
    sample : Sample
        n strings.
    mask : array of bool, shape (n, s**L)
        True where a token is hidden.
    place : array of int, shape (n,)
    height : int
        0 .. L; 0 is no context.

    Returns
    -------
    list of L arrays of float64, shape (n, v)
        Of the ancestors of levels 0 .. L-1.
    """
    size = grammar.s**height
    outside = np.arange(grammar.n_tokens) // size != place[:, None] // size
    levels = posterior(grammar, sample.tokens, mask | outside, levels=range(grammar.L)).levels
    strings = np.arange(len(sample))
    return [levels[a][strings, place // grammar.s**a] for a in range(grammar.L)]


def accuracy_and_share(laws: NDArray[np.float64], marginal: NDArray[np.float64]) -> tuple[float, float]:
    """How well laws tell a symbol.

    Parameters
    ----------
    laws : array of float64, shape (n, v)
        Exact conditional laws, given n contexts drawn from their own law.
    marginal : array of float64, shape (v,)

    Returns
    -------
    accuracy : float
        Of the best guess.
    share : float
        Of the variance of the symbol's one-hot vector that the conditional mean explains, 0 .. 1.
    """
    rest = 1 - np.sum(marginal**2)
    return float(laws.max(1).mean()), float((np.sum(laws**2, 1).mean() - np.sum(marginal**2)) / rest)


def limits(
    grammar: Grammar,
    n: int,
    rng: np.random.Generator,
    *,
    mask_probability: float = 0.15,
    mask_block: int | None = None,
) -> pd.DataFrame:
    """Tell what can be known of a hidden leaf's ancestors from contexts of every height.

    Parameters
    ----------
    grammar : Grammar
    n : int
        Strings over which exact posteriors are averaged.
    rng : numpy.random.Generator
    mask_probability : float
    mask_block : int, optional
        If k, one aligned block of s**k tokens is hidden instead.

    Returns
    -------
    DataFrame
        Columns level (0 .. L-1), height (0 .. L), accuracy and share, as :func:`accuracy_and_share`.

    Examples
    --------
    >>> grammar = Grammar.random(v=4, m=2, s=2, L=3, seed=0)
    >>> table = limits(grammar, 200, np.random.default_rng(0))
    >>> len(table)
    12
    """
    sample = grammar.sample(n, rng)
    if mask_block is None:
        mask, place = random_masks(n, grammar.n_tokens, mask_probability, rng)
    else:
        mask, place = block_masks(n, grammar.n_tokens, grammar.s**mask_block, rng)
    rows = []
    for height in range(grammar.L + 1):
        for level, laws in enumerate(known(grammar, sample, mask, place, height)):
            accuracy, share = accuracy_and_share(laws, grammar.marginals(level))
            rows.append({"level": level, "height": height, "accuracy": accuracy, "share": share})
    return pd.DataFrame(rows)


def steps(table: pd.DataFrame) -> pd.DataFrame:
    """What each rule adds: the share at height k+1 less that at height k, of every level's latent.

    Parameters
    ----------
    table : DataFrame
        As :func:`limits` returns.

    Returns
    -------
    DataFrame
        A row a level of the target, a column k = 0 .. L-1: what there is to gain in the step that finds
        level k+1.
    """
    wide = table.pivot_table(index="level", columns="height", values="share")
    gained = wide.diff(axis=1).iloc[:, 1:]
    return gained.set_axis([int(k) - 1 for k in gained.columns], axis=1)


def lifted(grammar: Grammar, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Shares of a latent that other latents of its level explain: the problem of each phase.

    Parameters
    ----------
    grammar : Grammar
    n : int
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        A row a level l = 0 .. L-2, a column a number of generations up, 1 .. L-l: of the block of
        s**generations level-l variables around the latent all are visible but itself. From 2 on they
        include its cousins.
    """
    sample = grammar.sample(n, rng)
    rows = []
    for level in range(grammar.L - 1):
        above = Grammar(grammar.rules[level:])
        marginal = grammar.marginals(level)
        row: dict[str | int, float] = {"level": level}
        for height in range(1, above.L + 1):
            laws = token_predictions(above, sample.levels[level], height=height)
            row[height] = accuracy_and_share(laws.reshape(-1, grammar.v), marginal)[1]
        rows.append(row)
    return pd.DataFrame(rows).set_index("level")
