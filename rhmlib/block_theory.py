"""Strings that masked prediction needs, level by level, when one aligned block of tokens is hidden."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rhmlib import exact
from rhmlib.grammar import Grammar
from rhmlib.tax import strings_needed


def outside_signal(grammar: Grammar, level: int, block: int) -> float:
    """Mean square of what the nearest visible level-l symbol tells of a token in a hidden block around it.

    Parameters
    ----------
    grammar : Grammar
    level : int
        l, 1 .. block: the block hides all nearer symbols of this level.
    block : int
        The token's aligned block of s**block leaves is hidden, 1 .. L-1.

    Returns
    -------
    float
        E |P(x | y) - P(x)|**2 over y, the level-l symbol on top of the first s**l leaves beside the block.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    block = exact.check_level(grammar, block, least=1, most=grammar.L - 1)
    level = exact.check_level(grammar, level, least=1, most=block)
    joint = exact.pair_law(grammar, (0, 0), (level, grammar.s ** (block - level)))
    return _signal(joint)


def _signal(joint: NDArray[np.float64]) -> float:
    token, symbol = joint.sum(1), joint.sum(0)
    given = joint / np.where(symbol > 0, symbol, 1)
    return float((((given - token[:, None]) ** 2).sum(0) * symbol).sum())


def block_strings_needed(grammar: Grammar, lift: pd.DataFrame) -> pd.DataFrame:
    """Strings at which each level can be learned, for every size of the hidden block.

    A level-l symbol is learned as a tuple of level-(l-1) symbols that tells of the hidden token; that
    takes about v m / signal strings (:func:`rhmlib.tax.strings_needed`), and the levels below. At
    l >= k the tuple stands beside the token's own subtree, whose visible rest lifts the token; at l < k the
    nearest visible one is farther away.

    Parameters
    ----------
    grammar : Grammar
    lift : DataFrame
        Rows of the experiment `token_lift` of this grammar: level, mask, size, signal.

    Returns
    -------
    DataFrame
        Columns block (k), level, own (strings for this level alone) and strings (the most over the levels
        up to it).
    """
    blocks = lift[lift["mask"] == "block"]
    signals = {(int(r["size"]), int(r["level"])): float(r["signal"]) for _, r in blocks.iterrows()}
    rows = []
    for block in sorted({k for k, _ in signals if k < grammar.L}):
        most = 0.0
        for level in range(1, grammar.L):
            signal = signals[block, level] if level >= block else outside_signal(grammar, level, block)
            own = strings_needed(grammar, signal)
            most = max(most, own)
            rows.append({"block": block, "level": level, "own": own, "strings": most})
    return pd.DataFrame(rows)


def blocks_of_grammars(lift: pd.DataFrame) -> pd.DataFrame:
    """Do :func:`block_strings_needed` for many grammars.

    Parameters
    ----------
    lift : DataFrame
        Rows of the experiment `token_lift`.

    Returns
    -------
    DataFrame
        Its columns, and v, m, L and grammar_seed.
    """
    parts = []
    for (v, m, s, L, seed), part in lift.groupby(["v", "m", "s", "L", "grammar_seed"]):
        grammar = Grammar.random(v=int(v), m=int(m), s=int(s), L=int(L), seed=int(seed))
        parts.append(block_strings_needed(grammar, part).assign(v=v, m=m, L=L, grammar_seed=seed))
    return pd.concat(parts, ignore_index=True)
