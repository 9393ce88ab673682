"""What token ILC counts at its top level, drawn from its exact law instead of counted in strings.

With the levels below given, the deepest level under the root is learnt from two tables: tuples of the
root's first child against targets below its second child, and the other way round. Their law needs
no strings. How often each pair of tuples stands under the root is multinomial; given that, what is below
one tuple does not depend on what is below the other, and the strings in which a node carries a
symbol are dealt to that symbol's m rules by a multinomial again, from the top down to the leaves. So it
does not matter how many strings there are, or hardly (see the class), and trees come into reach whose
latents take 10**8 strings to find.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rhmlib.grammar import Grammar
from rhmlib.metrics import hungarian_accuracy
from rhmlib.sampling import Sample, _check_count, _check_rng
from rhmlib.token_ilc import (
    CONDITIONAL,
    TokenILC,
    TokenTargets,
    check_targets,
    isometric,
    mean_targets,
    target_level,
)

Ints = NDArray[np.int64]


def check_counted(s: int, L: int) -> None:
    """Raise a ValueError if counts of such a tree cannot be drawn."""
    if s != 2:
        raise ValueError(f"s must be 2: counts of three cousins or more are not independent. Found s={s}.")
    if L < 2:
        raise ValueError(f"L must be at least 2, or there is nothing to cluster. Found L={L}.")


def draw_pairs(grammar: Grammar, n: int, rng: np.random.Generator) -> Ints:
    """Draw how often each pair of tuples stands under the root of n strings.

    Parameters
    ----------
    grammar : Grammar
        Of s = 2 and L >= 2.
    n : int
        Strings.
    rng : numpy.random.Generator

    Returns
    -------
    array of int64, shape (v m, v m)
        First child's tuple, second child's; tuples of level L-2 are numbered by their rules, a m + k.
    """
    check_counted(grammar.s, grammar.L)
    v, m = grammar.v, grammar.m
    first, second = np.moveaxis(grammar.rules[-1].reshape(-1, 2), 1, 0)
    drawn = rng.multinomial(n, np.full(v * m**3, 1 / (v * m**3))).reshape(v * m, m, m)
    table = np.zeros((v, m, v, m), dtype=np.int64)
    table[first, :, second, :] = drawn  # no pair of children has two parents
    return table.reshape(v * m, v * m)


def draw_below(
    grammar: Grammar, counts: Ints, level: int, bottom: int, rng: np.random.Generator
) -> list[Ints]:
    """Draw how often each symbol stands at each level-`bottom` node below a node, key by key.

    Parameters
    ----------
    grammar : Grammar
    counts : array of int64, shape (D, v)
        In how many strings the node carries each symbol, for each of D keys that do not depend on what is
        below the node.
    level, bottom : int
        Of the node, and of those below.
    rng : numpy.random.Generator

    Returns
    -------
    list of s**(level - bottom) arrays, shape (D, v)
        Nodes from left to right; their joint law is that of strings.
    """
    if level == bottom:
        return [counts]
    v, m = grammar.v, grammar.m
    rules = rng.multinomial(counts, np.full(m, 1 / m)).reshape(len(counts), v * m)
    children = grammar.rules[level - 1].reshape(v * m, grammar.s)
    return [
        below
        for symbols in children.T
        for below in draw_below(grammar, rules @ np.eye(v, dtype=np.int64)[symbols], level - 1, bottom, rng)
    ]


def residuals(counts: Ints, starts: Ints, sizes: Ints) -> NDArray[np.float64]:
    """Counts of cells minus what their visible rest leaves to expect.

    Parameters
    ----------
    counts : array of int64, shape (D, K)
        Of D tuples with K cells (visible rest, target), cells of one rest side by side.
    starts, sizes : arrays of int64, shape (R,)
        The first cell of each rest, and how many cells it has.

    Returns
    -------
    array of float64, shape (D, K)
    """
    seen = counts.sum(axis=0)
    law = seen / np.maximum(1, np.repeat(np.add.reduceat(seen, starts), sizes))
    expected = np.repeat(np.add.reduceat(counts, starts, axis=1), sizes, axis=1) * law
    return np.asarray(counts - expected)


class DrawnTokenILC:
    """Token ILC of level L-1 from counts of n strings that are drawn and never written.

    Parameters
    ----------
    targets : str
        A mode of :mod:`rhmlib.token_ilc`.
    n_init : int, default=10
        Restarts of k-means.
    random_state : int, optional
        Seed of k-means.

    Attributes
    ----------
    tuples_ : array of int64, shape (D,)
        The tuples of level L-2 that were seen, in base v, ascending.
    points_ : array of float64, shape (D, K)
        Their contexts; for modes with visible siblings in the coordinates of
        :func:`rhmlib.token_ilc.isometric`, those of each sibling of level L-2 for itself.

    Notes
    -----
    The same learner as :class:`rhmlib.token_ilc.TokenILC` with true inputs, and in law the same result.
    O(2**L v**3 m**2) time whatever n is. "conditional" has a cell for each way through the rules:
    O(v**2 m**L) counts are drawn, O(v**3 m**(L+1)) operations go into products of contexts, and a v-th of the
    counts is in memory.

    Examples
    --------
    >>> from rhmlib import Grammar
    >>> grammar = Grammar.random(v=16, m=4, s=2, L=7, seed=0)
    >>> rng = np.random.default_rng(0)
    >>> learner = DrawnTokenILC(random_state=0).fit(grammar, 10**8, rng)
    >>> learner.score(grammar.sample(200, rng))
    1.0
    """

    def __init__(
        self, *, targets: TokenTargets = "tokens_all", n_init: int = 10, random_state: int | None = None
    ) -> None:
        self.targets = check_targets(targets)
        self.n_init = _check_count("n_init", n_init)
        self.random_state = random_state

    def fit(self, grammar: Grammar, n: int, rng: np.random.Generator) -> Self:
        """Learn level L-1 from counts of n strings.

        Raises
        ------
        ValueError
            If s is not 2, L < 2 or n < 1.
        """
        check_counted(grammar.s, grammar.L)
        _check_count("n", n)
        _check_rng(rng)
        codes = grammar.tuple_code(grammar.rules[grammar.L - 2].reshape(-1, 2))
        table = draw_pairs(grammar, n, rng)
        tables = [table] if self.targets == "tokens_one" else [table, table.T]
        seen = np.flatnonzero(np.any([each.any(axis=1) for each in tables], axis=0))
        seen = seen[np.argsort(codes[seen])]
        self.tuples_ = codes[seen]
        parts = self._cells if self.targets in CONDITIONAL else self._targets
        self.points_ = np.hstack([part[seen] for each in tables for part in parts(grammar, each, rng)])
        clusterer = TokenILC(targets=self.targets, n_init=self.n_init, random_state=self.random_state)
        self._parser = clusterer._cluster(grammar, self.tuples_, self.points_)
        return self

    def _targets(
        self, grammar: Grammar, table: Ints, rng: np.random.Generator
    ) -> Iterator[NDArray[np.float64]]:
        """Contexts of tuples from how often each stands beside each cousin, target by target."""
        level = grammar.L - 2
        children = grammar.rules[level].reshape(-1, 2)
        one = self.targets == "tokens_one"
        for symbols in children.T[:1] if one else children.T:
            counts = table @ np.eye(grammar.v, dtype=np.int64)[symbols]
            below = draw_below(grammar, counts, level, target_level(self.targets, level), rng)
            yield from map(mean_targets, below[:1] if one else below)

    def _cells(
        self, grammar: Grammar, table: Ints, rng: np.random.Generator
    ) -> Iterator[NDArray[np.float64]]:
        """Isometric coordinates of contexts, for each first symbol of the visible rest by itself."""
        v, m, level = grammar.v, grammar.m, grammar.L - 2
        children = grammar.rules[level].reshape(-1, 2).astype(np.int64)
        total = np.maximum(1, table.sum(axis=1, keepdims=True))
        for sibling in range(v):
            columns = np.flatnonzero(children[:, 1] == sibling)
            counts, node, rest = table[:, columns], children[columns, 0], np.zeros_like(columns)
            if not counts.any():
                continue
            for below in range(level - 1, target_level(self.targets, level) - 1, -1):
                counts = rng.multinomial(counts, np.full(m, 1 / m)).reshape(len(table), -1)
                pairs = grammar.rules[below][node].reshape(-1, 2).astype(np.int64)
                rest, node = np.repeat(rest, m) * v + pairs[:, 1], pairs[:, 0]
            # Rest and target together tell all rules in between, so that every column is a cell of its own.
            order = np.argsort(rest)
            _, starts, sizes = np.unique(rest[order], return_index=True, return_counts=True)
            yield isometric(residuals(counts[:, order], starts, sizes) / total)

    def transform(self, sample: Sample) -> NDArray[Any]:
        """Decode the true codes of level L-2 into level L-1, shape (n, 2)."""
        return self._parser(sample.levels[sample.grammar.L - 2])

    def score(self, sample: Sample) -> float:
        """Hungarian accuracy of level L-1."""
        return hungarian_accuracy(self.transform(sample), sample.levels[sample.grammar.L - 1])
