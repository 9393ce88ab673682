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
    _Counts,
    check_targets,
    isometric,
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
    O(2**L v**3 m**2) time whatever n is. "conditional" has a cell for each way through the rules: at most
    min(n, v m**(L+1)) of them are drawn, O(v**3 m**(L+1)) operations go into products of contexts, and a v-th
    of the cells times v m tuples is in memory.

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
        level = grammar.L - 2
        table = draw_pairs(grammar, n, rng)
        codes = grammar.tuple_code(grammar.rules[level].reshape(-1, 2))
        counter = _Counts(grammar.v, 2, level, self.targets)
        tables = [table] if self.targets == "tokens_one" else [table, table.T]
        seen = np.any([each.any(axis=1) for each in tables], axis=0)
        self.tuples_ = np.sort(codes[seen])
        self.points_ = np.hstack(
            [part for each in tables for part in self._parts(grammar, each, codes, counter, rng)]
        )
        clusterer = TokenILC(targets=self.targets, n_init=self.n_init, random_state=self.random_state)
        self._parser = clusterer._cluster(grammar, self.tuples_, self.points_)
        return self

    def _parts(
        self, grammar: Grammar, table: Ints, codes: Ints, counter: _Counts, rng: np.random.Generator
    ) -> Iterator[NDArray[np.float64]]:
        """Contexts from the counts of pairs of tuples, column after column."""
        if self.targets not in CONDITIONAL:
            for keys, counts in self._targets(grammar, table, codes, counter.cells, rng):
                yield counter._means(self.tuples_, keys, counts)
            return
        order = np.argsort(codes)
        total = table.sum(axis=1)[order]
        total = total[np.isin(codes[order], self.tuples_)]
        for keys, counts in self._cells(grammar, table, codes, rng):
            part = counter._residuals(self.tuples_, keys, counts).toarray()
            seen = np.bincount(
                np.searchsorted(self.tuples_, keys // counter.cells), weights=counts, minlength=len(total)
            )
            yield isometric(part * (seen / np.maximum(1, total))[:, None])

    def _targets(
        self, grammar: Grammar, table: Ints, codes: Ints, cells: int, rng: np.random.Generator
    ) -> Iterator[tuple[Ints, Ints]]:
        """Keys (tuple, target) and their counts, target by target."""
        level, bottom = grammar.L - 2, target_level(self.targets, grammar.L - 2)
        children = grammar.rules[level].reshape(-1, 2)
        one = self.targets == "tokens_one"
        for symbols in children.T[:1] if one else children.T:
            counts = table @ np.eye(grammar.v, dtype=np.int64)[symbols]
            below = draw_below(grammar, counts, level, bottom, rng)
            for found in below[:1] if one else below:
                row, target = np.nonzero(found)
                yield codes[row] * cells + target, found[row, target]

    def _cells(
        self, grammar: Grammar, table: Ints, codes: Ints, rng: np.random.Generator
    ) -> Iterator[tuple[Ints, Ints]]:
        """Keys (tuple, visible rest, target) and their counts, by the first symbol of the rest."""
        v, m, level = grammar.v, grammar.m, grammar.L - 2
        children = grammar.rules[level].reshape(-1, 2).astype(np.int64)
        for sibling in range(v):
            row, column = np.nonzero(table * (children[:, 1] == sibling))
            if not len(row):
                continue
            counts, key, node = table[row, column], codes[row] * v + sibling, children[column, 0]
            for below in range(level - 1, target_level(self.targets, level) - 1, -1):
                drawn = rng.multinomial(counts, np.full(m, 1 / m))
                at, rule = np.nonzero(drawn)
                counts = drawn[at, rule]
                pair = grammar.rules[below][node[at], rule].astype(np.int64)
                key, node = key[at] * v + pair[:, 1], pair[:, 0]
            yield key * v + node, counts

    def transform(self, sample: Sample) -> NDArray[Any]:
        """Decode the true codes of level L-2 into level L-1, shape (n, 2)."""
        return self._parser(sample.levels[sample.grammar.L - 2])

    def score(self, sample: Sample) -> float:
        """Hungarian accuracy of level L-1."""
        return hungarian_accuracy(self.transform(sample), sample.levels[sample.grammar.L - 1])
