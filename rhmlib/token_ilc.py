"""ILC whose targets are tokens, with and without their visible siblings (paper, Section 2, eq. (1)).

Algorithm 1 describes a tuple by the level-l symbols of its cousins. Here two things are changed, one at
a time: what stands for the cousin (a symbol of level l, or a leaf token below it), and whether the
target is read together with its visible siblings or alone.

=============  ======================  =====================================================
targets        target                  beside it
=============  ======================  =====================================================
latents_all    level-l symbol          nothing (this is ILC)
tokens_one     first leaf, once a      nothing
               string
tokens_all     every leaf              nothing
lifted         first level-l symbol    its siblings, level-l symbols
conditional    first leaf              its siblings, leaves; its parent's siblings, level-1
                                       symbols; .. up to the level-l symbols
=============  ======================  =====================================================

"Conditional" is masked-token prediction with one leaf masked, without a network: what the learner
may use beside its target are the codes that it has of the visible rest of the target's subtree. It
counts every pair (token, visible rest) as a cell of its own. "Lifted" is the same learner if it pools
the cells that its own codes of the levels up to l take for the same level-l symbol.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import KMeans

from rhmlib.grammar import Grammar, symbol_dtype
from rhmlib.ilc import _Parser, _tuple_codes
from rhmlib.metrics import hungarian_accuracy
from rhmlib.sampling import Sample, _check_count

TokenTargets = Literal["latents_all", "tokens_one", "tokens_all", "lifted", "conditional"]
Inputs = Literal["true", "recovered"]
TARGETS: tuple[TokenTargets, ...] = get_args(TokenTargets)
INPUTS: tuple[Inputs, ...] = get_args(Inputs)
CONDITIONAL: tuple[TokenTargets, ...] = ("lifted", "conditional")

Codes = NDArray[Any]
_DENSE = 1 << 20  # counts of so many cells are kept as an array, of more as a list of those seen


def check_targets(targets: str) -> TokenTargets:
    """Return the mode, or raise a ValueError if it is none."""
    if targets not in TARGETS:
        raise ValueError(f"targets must be one of {', '.join(TARGETS)}. Found targets={targets!r}.")
    return targets


def target_level(targets: TokenTargets, level: int) -> int:
    """Level of the target of a level-`level` tuple: the tuple's own, or the leaves'."""
    return level if targets in ("latents_all", "lifted") else 0


def token_blocks(s: int, level: int, targets: TokenTargets) -> tuple[tuple[int, int, int], ...]:
    """List what is counted as (position p of the tuple, position q of its cousin, target t in the cousin).

    Parameters
    ----------
    s : int
    level : int
        Level of the tuples.
    targets : str
        A mode of this module.

    Returns
    -------
    tuple of (p, q, t)
        t numbers the descendants of the cousin's parent at :func:`target_level`.
    """
    if targets == "tokens_one":
        return ((0, 1, 0),)
    leaves = 1 if targets in CONDITIONAL else s ** (level + 1 - target_level(targets, level))
    return tuple((p, q, t) for p in range(s) for q in range(s) if q != p for t in range(leaves))


class _Tally:
    """How often each key below `total` was seen."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.dense = np.zeros(total if total <= _DENSE else 0, dtype=np.int64)
        self.parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self.waiting = 0

    def add(self, keys: NDArray[np.int64]) -> None:
        if len(self.dense):
            self.dense += np.bincount(keys, minlength=self.total)
            return
        self.parts.append(np.unique(keys, return_counts=True))
        self.waiting += len(self.parts[-1][0])
        if self.waiting > len(self.parts[0][0]) + _DENSE:  # seldom enough to cost no more than `unique`
            self._merge()

    def _merge(self) -> None:
        keys, at = np.unique(np.concatenate([keys for keys, _ in self.parts]), return_inverse=True)
        counts = np.bincount(at, weights=np.concatenate([counts for _, counts in self.parts]))
        self.parts, self.waiting = [(keys, counts.astype(np.int64))], 0

    def seen(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Keys with a positive count, ascending, and the counts."""
        if len(self.dense):
            keys = np.flatnonzero(self.dense)
            return keys, self.dense[keys]
        self._merge()
        return self.parts[0]


class _Counts:
    """Counts of tuples with their targets at one level, block by block."""

    def __init__(self, v: int, s: int, level: int, targets: TokenTargets) -> None:
        self.v, self.s, self.level, self.targets = v, s, level, targets
        self.blocks = token_blocks(s, level, targets)
        self.target_level = target_level(targets, level)
        given = (s - 1) * (level + 1 - self.target_level) if targets in CONDITIONAL else 0
        self.cells = v ** (given + 1)
        if v**s * self.cells > 1 << 62:
            raise ValueError(
                f"targets must have at most 2**62 cells. Found v**s * v**{given + 1} with v={v}, s={s}, "
                f"targets={targets!r} at level {level}."
            )
        self.tallies = [_Tally(v**s * self.cells) for _ in self.blocks]

    def add(self, levels: Sequence[Codes]) -> None:
        """Count strings given as their levels 0 .. l, each of shape (n, s**(L - level))."""
        s, top = self.s, self.level + 2
        if self.targets == "tokens_one":
            levels = [codes[:, : s ** (top - k)] for k, codes in enumerate(levels[: self.level + 1])]
        rows = _tuple_codes(levels[self.level], self.v, s).astype(np.int64) * self.cells
        # (strings, grandparents, children of a grandparent, descendants of a child)
        below = [
            codes.reshape(len(codes), -1, s, s ** (self.level + 1 - k))
            for k, codes in enumerate(levels[: self.level + 1])
        ]
        for tally, (p, q, t) in zip(self.tallies, self.blocks, strict=True):
            keys = rows[:, p::s] + self._cell(below, q, t)
            tally.add(keys.reshape(-1))

    def _cell(self, below: Sequence[Codes], q: int, t: int) -> NDArray[np.int64]:
        target = below[self.target_level][:, :, q, t].astype(np.int64)
        if self.targets not in CONDITIONAL:
            return target
        rest = np.zeros_like(target)
        for k in range(self.level, self.target_level - 1, -1):
            for i in range(1, self.s):  # the path goes through first children, t = 0
                rest = rest * self.v + below[k][:, :, q, i]
        return rest * self.v + target

    def contexts(self) -> tuple[NDArray[np.int64], Any]:
        """Tuples that were seen, and their context vectors (an array, or sparse where conditional)."""
        found = [tally.seen() for tally in self.tallies]
        tuples = np.unique(np.concatenate([keys // self.cells for keys, _ in found]))
        make = self._residuals if self.targets in CONDITIONAL else self._means
        parts = [make(tuples, keys, counts) for keys, counts in found]
        return tuples, sparse.hstack(parts).tocsr() if self.targets in CONDITIONAL else np.hstack(parts)

    def _means(
        self, tuples: NDArray[np.int64], keys: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        table = np.zeros((len(tuples), self.v), dtype=np.int64)
        table[np.searchsorted(tuples, keys // self.cells), keys % self.cells] = counts
        return mean_targets(table)

    def _residuals(
        self, tuples: NDArray[np.int64], keys: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> sparse.csr_array:
        """Mean of (one-hot target - its law given the visible rest), one row of cells per visible rest.

        It is the gradient of the log-loss of a table of logits (tuple, visible rest, target) where the
        learner predicts from the visible rest alone; zero where a tuple was never seen in this block.
        """
        row = np.searchsorted(tuples, keys // self.cells)
        cells, column = np.unique(keys % self.cells, return_inverse=True)
        _, rest = np.unique(cells // self.v, return_inverse=True)
        seen = np.bincount(column, weights=counts)
        law = seen / np.bincount(rest, weights=seen)[rest]
        total = np.bincount(row, weights=counts, minlength=len(tuples))
        shape = (len(tuples), len(cells))
        joint = sparse.csr_array((counts / total[row], (row, column)), shape=shape)
        columns = np.arange(len(cells))
        among = sparse.csr_array((np.ones(len(cells)), (columns, rest)), shape=(len(cells), rest.max() + 1))
        given_rest = sparse.csr_array((law, (rest, columns)), shape=among.shape[::-1])
        return (joint - (joint @ among) @ given_rest).tocsr()


def mean_targets(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean one-hot target of each tuple; the mean over all tuples where one was never seen.

    Parameters
    ----------
    counts : array of int64, shape (D, v)
        Of each tuple with each target.

    Returns
    -------
    array of float64, shape (D, v)
    """
    total = counts.sum(axis=1, keepdims=True)
    mean = counts.sum(axis=0) / max(1, total.sum())
    return np.where(total > 0, counts / np.maximum(1, total), mean)


def isometric(contexts: Any) -> NDArray[np.float64]:
    """Points with the distances of the rows of a wide matrix, in as many dimensions as it has rows.

    Parameters
    ----------
    contexts : array or sparse array of float64, shape (D, K)

    Returns
    -------
    array of float64, shape (D, min(D, K))
        The rows themselves where K <= D.
    """
    rows, columns = contexts.shape
    if columns <= rows:
        return np.asarray(contexts.toarray() if sparse.issparse(contexts) else contexts)
    gram = contexts @ contexts.T
    values, vectors = np.linalg.eigh(gram.toarray() if sparse.issparse(gram) else gram)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))


class TokenILC:
    """ILC with other targets: level after level, cluster tuples by contexts that are made of tokens.

    Parameters
    ----------
    targets : {"latents_all", "tokens_one", "tokens_all", "lifted", "conditional"}
        What the context of a level-l tuple is made of; see the module. Blocks for different positions
        of tuple, cousin and target are kept apart, as in ILC.
    inputs : {"true", "recovered"}
        The codes of levels 1 .. l, of tuples and of visible siblings: the true latents, which isolates
        each level, or what the learner found below (then it reads tokens only).
    n_init : int, default=10
        Restarts of k-means.
    random_state : int, optional
        Seed of k-means.

    Attributes
    ----------
    contexts_ : list of L-1 arrays, shape (D_l, K_l)
        Of the D_l tuples seen at level l; sparse for "lifted" and "conditional".
    tuples_ : list of L-1 arrays, shape (D_l, s)
    labels_ : list of L-1 arrays, shape (D_l,)
        Their level-(l+1) codes.

    Notes
    -----
    "latents_all" gives the contexts of :class:`rhmlib.ilc.IterativeLatentClustering` with "all". K-means
    runs on :func:`isometric` coordinates where contexts are longer than there are tuples.
    One pass over the strings with true inputs, L-1 with recovered ones.

    Examples
    --------
    >>> from rhmlib import Grammar
    >>> train = Grammar.random(v=8, m=2, s=2, L=3, seed=0).sample(4000, np.random.default_rng(0))
    >>> TokenILC(targets="tokens_all", random_state=0).fit(train).level_scores(train)
    [1.0, 1.0]
    """

    def __init__(
        self,
        *,
        targets: TokenTargets = "tokens_all",
        inputs: Inputs = "true",
        n_init: int = 10,
        random_state: int | None = None,
    ) -> None:
        check_targets(targets)
        if inputs not in INPUTS:
            raise ValueError(f"inputs must be one of {', '.join(INPUTS)}. Found inputs={inputs!r}.")
        self.targets = targets
        self.inputs = inputs
        self.n_init = _check_count("n_init", n_init)
        self.random_state = random_state

    def fit(self, samples: Sample | Iterable[Sample]) -> Self:
        """Learn the levels 1 .. L-1.

        Parameters
        ----------
        samples : Sample or re-iterable of Samples of one grammar
            Such as :class:`rhmlib.sampling.SampleStream`. Latents are read with true inputs only.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If `samples` is no Sample and can be read only once: levels read it again.
        ValueError
            If it is empty, or L < 2.
        """
        if isinstance(samples, Iterator):
            raise TypeError("samples must be a Sample or re-iterable. Found an iterator.")
        chunks = [samples] if isinstance(samples, Sample) else samples
        first = next(iter(chunks), None)
        if first is None:
            raise ValueError("samples must hold at least one Sample. Found none.")
        grammar = first.grammar
        if grammar.L < 2:
            raise ValueError(
                f"samples must have L >= 2, or there is nothing to cluster. Found L={grammar.L}."
            )
        self._parsers: list[_Parser] = []
        self.contexts_: list[Any] = []
        self.tuples_: list[Codes] = []
        for counts in self._counted(grammar, chunks):
            tuples, contexts = counts.contexts()
            self._parsers.append(self._cluster(grammar, tuples, contexts))
            self.contexts_.append(contexts)
            digits = grammar.v ** np.arange(grammar.s - 1, -1, -1)
            self.tuples_.append((tuples[:, None] // digits % grammar.v).astype(symbol_dtype(grammar.v)))
        self.labels_ = [parser.labels for parser in self._parsers]
        return self

    def _counted(self, grammar: Grammar, chunks: Iterable[Sample]) -> Iterator[_Counts]:
        """Counts of each level: all in one pass, or a pass each once the levels below are there."""
        counts = [_Counts(grammar.v, grammar.s, level, self.targets) for level in range(grammar.L - 1)]
        if self.inputs == "true":
            for chunk in chunks:
                for each in counts:
                    each.add(chunk.levels)
            yield from counts
            return
        for each in counts:
            for chunk in chunks:
                each.add(self._parse(chunk))
            yield each

    def _cluster(self, grammar: Grammar, tuples: NDArray[np.int64], contexts: Any) -> _Parser:
        points = isometric(contexts)
        k = min(grammar.v, len(np.unique(points.round(6), axis=0)))
        means = KMeans(n_clusters=k, n_init=self.n_init, random_state=self.random_state).fit(points)
        distance = np.linalg.norm(means.cluster_centers_ - points.mean(axis=0), axis=1)
        return _Parser(grammar.v, grammar.s, tuples, means.labels_, int(distance.argmin()))

    def _parse(self, sample: Sample) -> list[Codes]:
        """Tokens and the codes of the levels that were recovered so far."""
        levels = [sample.tokens]
        for parser in self._parsers:
            levels.append(parser(levels[-1]))
        return levels

    def transform(self, sample: Sample) -> list[Codes]:
        """Decode strings into the levels 1 .. L-1.

        Parameters
        ----------
        sample : Sample
            With true inputs, level l+1 is decoded from the sample's true level l, else from its tokens.

        Returns
        -------
        list of L-1 arrays
        """
        if self.inputs == "recovered":
            return self._parse(sample)[1:]
        return [parser(codes) for parser, codes in zip(self._parsers, sample.levels, strict=False)]

    def level_scores(self, sample: Sample) -> list[float]:
        """Hungarian accuracy of each level 1 .. L-1."""
        true = sample.levels[1:-1]
        return [hungarian_accuracy(c, z) for c, z in zip(self.transform(sample), true, strict=True)]
