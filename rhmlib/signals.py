"""Strength of the correlations that each learning setting lives on (paper, Section 2 and Fig. 1).

The *relative signal* of an observable Z for level-l tuples is the mean over tuples u of
|c(u) - p|^2, c(u) = E[e_Z | T = u]. About v m / signal strings are needed to see it: each of the v m
tuples must occur 1 / signal times. The law of the paper is signal ~ m^-r, r the number of
production rules between the tuple's parent and Z that the learner has to average over, times (1 - f)
where the way turns round at a common ancestor.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rhmlib import exact
from rhmlib.grammar import Grammar

SETTINGS = ("supervised", "tokens", "latents")


def rules_between(setting: str, level: int, L: int) -> int:
    """Number r of unseen rules between a level-`level` tuple's parent and its nearest observable.

    Parameters
    ----------
    setting : {"supervised", "tokens", "latents"}
        Observable: the root; a token below the nearest cousin; a symbol of the nearest cousin.
    level : int
        Level of the tuple's symbols.
    L : int

    Returns
    -------
    int
        L - level - 1, level + 2 and 2. The setting needs v m^(r + 1) strings at this level.
    """
    if setting not in SETTINGS:
        raise ValueError(f"setting must be one of {SETTINGS}. Found setting={setting!r}.")
    return {"supervised": L - level - 1, "tokens": level + 2, "latents": 2}[setting]


def relative_signal(grammar: Grammar, setting: str, level: int) -> float:
    """Exact relative signal of a setting at one level.

    Returns
    -------
    float
        Mean over tuples and pairs of positions of sum_z C(u, z)^2 / P(u)^2, with P(u) = 1 / (v m).
    """
    if setting == "supervised":
        square = exact.signal(grammar, level, grammar.L, grammar.L)
    else:
        square = exact.signal(grammar, level, 0 if setting == "tokens" else level, level + 2)
    return square * grammar.v * (grammar.v * grammar.m) ** 2


def token_signal(grammar: Grammar, ancestor: int) -> float:
    """Relative signal of visible tuples and a token, whose branches meet at level `ancestor` >= 2."""
    return exact.signal(grammar, 0, 0, ancestor) * grammar.v * (grammar.v * grammar.m) ** 2


def distance_table(
    v: int, m: int, s: int, L: int, seeds: Iterable[int], n: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Correlation of the first token with the first token of each farther subtree, exact and counted.

    Parameters
    ----------
    v, m, s, L : int
    seeds : iterable of int
        Grammar seeds.
    n : int
        Strings that are counted for each grammar.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        Columns grammar_seed, ancestor (level of the lowest common ancestor), distance (edges
        between the two tokens), rules, exact and counted: the mean over the token's symbols of
        |c(x) - p|^2 with P(x) = 1 / v. What noise adds to the counted square is subtracted, so
        that it scatters around the exact value and may be negative.
    """
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=seed)
        tokens = grammar.sample(n, rng).tokens
        for ancestor in range(1, L + 1):
            other = s ** (ancestor - 1)
            joint = exact.pair_law(grammar, (0, 0), (0, other))
            cell = tokens[:, 0].astype(np.intp) * v + tokens[:, other]
            seen = np.bincount(cell, minlength=v * v).reshape(v, v) / n
            row = {
                "grammar_seed": seed,
                "ancestor": ancestor,
                "distance": 2 * ancestor,
                "rules": 2 * ancestor - 1,
            }
            square = float((exact.covariance(joint) ** 2).sum())
            counted = float((exact.covariance(seen) ** 2).sum()) - _noise(joint) / n
            rows.append({**row, "exact": square * v, "counted": counted * v})
    return pd.DataFrame(rows)


def _noise(joint: NDArray[np.float64]) -> float:
    """Variance of one string's (1[x = i] - P(i)) (1[y = j] - Q(j)), summed over the cells i, j."""
    parts = [1 - 2 * law + (law**2).sum() for law in (joint.sum(1), joint.sum(0))]
    return float((joint * np.outer(*parts)).sum() - (exact.covariance(joint) ** 2).sum())


def closed_form(setting: str, level: int, v: int, m: int, s: int, L: int) -> float:
    """The paper's scale of the relative signal: m^-r, times (1 - f) unless the setting is supervised."""
    turn = 1.0 if setting == "supervised" else 1 - m / v ** (s - 1)
    return turn * m ** -float(rules_between(setting, level, L))


def signal_table(v: int, ms: Iterable[int], s: int, L: int, seeds: Iterable[int]) -> pd.DataFrame:
    """Exact relative signals over grammars, settings and levels.

    Returns
    -------
    DataFrame
        Columns m, grammar_seed, setting, level, rules, signal, scale (the closed form) and strings
        (v m / signal); a row for each tuple level 0 .. L-2.
    """
    rows: list[dict[str, Any]] = []
    seeds = list(seeds)
    for m in ms:
        for seed in seeds:
            grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=seed)
            for setting in SETTINGS:
                for level in range(L - 1):
                    value = relative_signal(grammar, setting, level)
                    rows.append(
                        {
                            "m": m,
                            "grammar_seed": seed,
                            "setting": setting,
                            "level": level,
                            "rules": rules_between(setting, level, L),
                            "signal": value,
                            "scale": closed_form(setting, level, v, m, s, L),
                            "strings": v * m / value,
                        }
                    )
    return pd.DataFrame(rows)


def norm_table(shapes: Iterable[tuple[int, int]], s: int, L: int, seeds: Iterable[int]) -> pd.DataFrame:
    """Centred context norms |mu_a - p|^2 in units of (1 - f) / m^2, for shapes (v, m).

    Returns
    -------
    DataFrame
        Columns v, m, f, grammar_seed, level and ratio (the mean over parents).
    """
    rows = []
    seeds = list(seeds)
    for v, m in shapes:
        for seed in seeds:
            grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=seed)
            for level in range(L - 1):
                value = relative_signal(grammar, "latents", level) * m**2 / (1 - grammar.f)
                rows.append(
                    {"v": v, "m": m, "f": grammar.f, "grammar_seed": seed, "level": level, "ratio": value}
                )
    return pd.DataFrame(rows)


def sampled_covariance(grammar: Grammar, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Compare exact and counted C(u, z) for the first visible tuple and the first token of its cousin.

    Returns
    -------
    DataFrame
        Columns exact, counted and error (the standard error of the count); v m * v rows.
    """
    tokens = grammar.sample(n, rng).tokens
    joint = exact.tuple_token_law(grammar, (0, 0), (0, grammar.s))
    rule = grammar.rule_index(tokens[:, : grammar.s], 0)
    cell = rule * grammar.v + tokens[:, grammar.s]
    counted = np.bincount(cell, minlength=joint.size).reshape(joint.shape) / n
    return pd.DataFrame(
        {
            "exact": exact.covariance(joint).reshape(-1),
            "counted": exact.covariance(counted).reshape(-1),
            "error": np.sqrt(joint * (1 - joint) / n).reshape(-1),
        }
    )
