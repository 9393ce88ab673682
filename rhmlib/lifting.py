"""What a cousin tuple tells about a target that is a sum of linear traces (paper, Section 5, Phase l)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rhmlib import exact
from rhmlib.exact import Node
from rhmlib.grammar import Grammar

Floats = NDArray[np.float64]


def context_vectors(grammar: Grammar, patch: Node, level: int, leaf: int) -> Floats:
    """c(u) = P(level-`level` ancestor of a leaf | tuple at a patch is u).

    Parameters
    ----------
    grammar : Grammar
    patch : (level, index)
        Level of the tuple's symbols, and number of the patch.
    level : int
    leaf : int

    Returns
    -------
    array of float64, shape (v * m, v)
        Rows in the order of rules; NaN where the tuple never occurs there.
    """
    joint = exact.tuple_token_law(grammar, patch, (level, leaf // grammar.s**level))
    total = joint.sum(axis=1, keepdims=True)
    return np.divide(joint, total, out=np.full_like(joint, np.nan), where=total > 0)


def lifted_map(grammar: Grammar, level: int, leaf: int, maps: Sequence[Floats]) -> Floats:
    """A = B_l + sum over a < l of B_a M_a: what of a target a level-l latent moves.

    Parameters
    ----------
    grammar : Grammar
    level : int
        l.
    leaf : int
    maps : sequence of arrays, shape (d, v)
        B_0 .. B_l.

    Returns
    -------
    array of float64, shape (d, v)
        For every tuple u that hides nothing of the leaf's level-l subtree, the mean of
        B_0 e_0 + .. + B_l e_l given u is A c(u), because the ancestors below level l depend on u only
        through the level-l ancestor. M_a is the channel from it down to level a.
    """
    if len(maps) != level + 1:
        raise ValueError(f"maps must hold level + 1 = {level + 1} arrays. Found {len(maps)}.")
    total = np.zeros((maps[0].shape[0], grammar.v))
    for a, b in enumerate(maps):
        path = [leaf // grammar.s**h % grammar.s for h in range(level - 1, a - 1, -1)]
        total += b @ exact.path_law(grammar, level, path).T
    return total


def counted_means(
    grammar: Grammar, patch: Node, leaf: int, maps: Sequence[Floats], n: int, rng: np.random.Generator
) -> Floats:
    """Mean of B_0 e_0 + .. + B_l e_l over the strings that have each tuple, by counting.

    Parameters
    ----------
    grammar, patch, leaf, maps
        As in :func:`lifted_map` and :func:`context_vectors`.
    n : int
        Strings.
    rng : numpy.random.Generator

    Returns
    -------
    array of float64, shape (v * m, d)
        NaN where a tuple was not seen.
    """
    sample = grammar.sample(n, rng)
    level, index = patch
    target = sum(b.T[sample.levels[a][:, leaf // grammar.s**a]] for a, b in enumerate(maps))
    rules = grammar.rule_index(sample.levels[level].reshape(n, -1, grammar.s)[:, index], level)
    sums = np.zeros((grammar.v * grammar.m, maps[0].shape[0]))
    np.add.at(sums, rules, target)
    with np.errstate(invalid="ignore"):
        return sums / np.bincount(rules, minlength=len(sums))[:, None]


def least_gain(b: Floats) -> float:
    """Least |B w| over vectors w of length 1 with sum 0: above zero where B loses no difference of laws."""
    v = b.shape[1]
    basis = np.linalg.qr(np.eye(v) - 1 / v)[0][:, : v - 1]
    return float(np.linalg.svd(b @ basis, compute_uv=False)[-1])
