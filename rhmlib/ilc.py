"""Iterative Latent Clustering (paper, Section 3, Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.utils.validation import check_is_fitted, validate_data

from rhmlib.grammar import symbol_dtype
from rhmlib.metrics import hungarian_accuracy
from rhmlib.sampling import Sample

Tokens = NDArray[Any]
_CHUNK_TOKENS = 1 << 20


def _as_tokens(chunk: Any) -> Any:
    return chunk.tokens if isinstance(chunk, Sample) else chunk


def _depth(length: int, s: int) -> int:
    """Return L with s**L = length, or 0 where there is none."""
    L = round(math.log(length, s)) if length > 1 else 0
    return L if s**L == length else 0


class _Parser:
    """One recovered level: a map from s-tuples of level-l codes to level-(l+1) codes.

    Attributes
    ----------
    tuples : array of int64, shape (D,)
        Codes in base v of the D tuples that were seen, ascending.
    labels : array, shape (D,)
    fallback : int
        Label of tuples that were never seen.
    """

    def __init__(
        self, v: int, s: int, tuples: NDArray[np.int64], labels: NDArray[Any], fallback: int
    ) -> None:
        self.v, self.s = v, s
        self.tuples, self.labels, self.fallback = tuples, labels.astype(symbol_dtype(v)), fallback
        self._table: NDArray[Any] | None = None
        if v**s <= 1 << 22:
            self._table = np.full(v**s, fallback, dtype=symbol_dtype(v))
            self._table[tuples] = self.labels

    def __call__(self, tokens: Tokens) -> Tokens:
        """Map (n, k s) codes to (n, k) codes of the next level."""
        codes = _tuple_codes(tokens, self.v, self.s)
        if self._table is not None:
            return np.take(self._table, codes)
        at = np.minimum(np.searchsorted(self.tuples, codes), len(self.tuples) - 1)
        found = self.tuples[at] == codes
        return np.where(found, self.labels[at], self.labels.dtype.type(self.fallback))


def _tuple_codes(tokens: Tokens, v: int, s: int) -> NDArray[np.intp]:
    """Number the consecutive s-tuples of each row, (n, k s) -> (n, k)."""
    codes = tokens[:, ::s].astype(np.intp)
    for i in range(1, s):
        codes *= v
        codes += tokens[:, i::s]
    return codes


class IterativeLatentClustering(TransformerMixin, BaseEstimator):
    """Recover the non-root latents of an RHM, level after level, by clustering contexts.

    At level l the tokens of level l are known. Each s-tuple u of them is described by its empirical
    context vector, the mean one-hot vector of tokens in cousin tuples (same grandparent, other
    parent). Synonyms have the same expected context, so k-means with v clusters groups them; the
    cluster is the level-(l+1) token. This repeats for l = 0 .. L-2.

    Parameters
    ----------
    v : int, optional
        Symbols a level, i.e. clusters. By default one more than the largest token of X (for a
        stream it must be given).
    s : int, default=2
        Branching of the tree.
    targets : {"one", "all"}, default="one"
        "one": Algorithm 1 as written, the first tuple of a string and the first token of its first
        cousin, so one count a string. "all": every tuple at every position, and all tokens of all
        its cousins; contexts are kept apart by the tuple's position under its grandparent.
    n_init : int, default=10
        Restarts of k-means.
    random_state : int, RandomState instance or None, default=None
        Seed of k-means.
    memory_mb : float, default=512
        Where X is a stream, decoded levels are kept once they fit into this much memory; until
        then each level reads the stream again.

    Attributes
    ----------
    v_, L_ : int
        Symbols and depth.
    n_features_in_ : int
        Length of a string, s**L.
    contexts_ : list of L-1 arrays, shape (D_l, k)
        Empirical context vectors of the D_l tuples seen at level l; k = v for "one" and
        s (s-1) s v for "all".
    counts_ : list of L-1 arrays, shape (D_l,)
        How often each tuple was counted.
    tuples_ : list of L-1 arrays, shape (D_l, s)
        The tuples, in codes of level l.
    labels_ : list of L-1 arrays, shape (D_l,)
        Their level-(l+1) codes.

    Notes
    -----
    O(n s**L) time a pass; an array needs one pass in all, a stream up to L-1. Beyond the data,
    memory is O(D v s**3) for D distinct tuples a level (at most v m once lower levels are right).

    Fewer distinct contexts than v: k-means then gets as many clusters as there are distinct
    contexts, so fewer than v codes are used. A tuple that was not seen during `fit` gets the code whose
    centre is nearest to the mean context.

    References
    ----------
    Section 3, Algorithm 1; Theorem 1: about v m**3 strings suffice at every level.

    Examples
    --------
    >>> from rhmlib import Grammar
    >>> grammar = Grammar.random(v=8, m=2, s=2, L=3, seed=0)
    >>> train = grammar.sample(2000, np.random.default_rng(0))
    >>> ilc = IterativeLatentClustering(v=8, targets="all", random_state=0).fit(train.tokens)
    >>> ilc.score(train.tokens, train.levels)
    1.0
    """

    def __init__(
        self,
        *,
        v: int | None = None,
        s: int = 2,
        targets: Literal["one", "all"] = "one",
        n_init: int = 10,
        random_state: int | np.random.RandomState | None = None,
        memory_mb: float = 512,
    ) -> None:
        self.v = v
        self.s = s
        self.targets = targets
        self.n_init = n_init
        self.random_state = random_state
        self.memory_mb = memory_mb

    def fit(self, X: ArrayLike | Iterable[Any], y: object = None) -> Self:
        """Learn the levels 1 .. L-1.

        Parameters
        ----------
        X : array of int, shape (n, s**L), or a re-iterable of such chunks
            Strings. A stream (such as :class:`rhmlib.sampling.SampleStream`) may yield arrays or
            samples, the same ones at every iteration.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter or X is out of range: a length that is no power of s (with L >= 2),
            symbols that are no integers in 0 .. v-1, or a stream that can be read only once.
        """
        self._check_parameters()
        source: Iterable[Tokens] = self._open(X)
        self.contexts_: list[NDArray[np.float64]] = []
        self.counts_: list[NDArray[np.int64]] = []
        self.tuples_: list[NDArray[Any]] = []
        self.labels_: list[NDArray[Any]] = []
        self._parsers: list[_Parser] = []
        pending: list[_Parser] = []  # levels found but not yet applied to `source`
        for _ in range(self.L_ - 1):
            tuples, counts, contexts = self._count(_parse(source, pending))
            parser = self._cluster(tuples, contexts)
            pending = [*pending, parser]
            self._parsers.append(parser)
            self.contexts_.append(contexts)
            self.counts_.append(counts)
            digits = self.v_ ** np.arange(self.s - 1, -1, -1)
            self.tuples_.append((tuples[:, None] // digits % self.v_).astype(symbol_dtype(self.v_)))
            self.labels_.append(parser.labels)
            if isinstance(source, list) or self._fits_memory(len(pending)):
                source, pending = list(_parse(source, pending)), []
        return self

    def transform(self, X: ArrayLike) -> list[Tokens]:
        """Decode strings into every recovered level.

        Parameters
        ----------
        X : array of int, shape (n, s**L)

        Returns
        -------
        list of L-1 arrays
            Codes of levels 1 .. L-1, shapes (n, s**(L-1)) .. (n, s).
        """
        check_is_fitted(self)
        tokens = self._check_chunk(_as_tokens(X))
        out = []
        for parser in self._parsers:
            tokens = parser(tokens)
            out.append(tokens)
        return out

    def predict(self, X: ArrayLike) -> Tokens:
        """Decode strings into the highest recovered level, L-1, shape (n, s)."""
        return self.transform(X)[-1]

    def level_scores(self, X: ArrayLike, levels: Sequence[ArrayLike]) -> list[float]:
        """Return the Hungarian accuracy of each level 1 .. L-1; arguments as in :meth:`score`."""
        codes = self.transform(X)
        latents = list(levels)
        if len(latents) == self.L_ + 1:
            latents = latents[1:-1]
        if len(latents) != self.L_ - 1:
            raise ValueError(
                f"levels must hold the true levels 0..{self.L_} or 1..{self.L_ - 1}. "
                f"Found {len(latents)} arrays."
            )
        return [hungarian_accuracy(c, z) for c, z in zip(codes, latents, strict=True)]

    def score(self, X: ArrayLike, levels: Sequence[ArrayLike]) -> float:
        """Return the mean over levels 1 .. L-1 of the Hungarian accuracy.

        Parameters
        ----------
        X : array of int, shape (n, s**L)
        levels : sequence of arrays
            The true latents: all levels 0 .. L as in ``sample.levels``, or levels 1 .. L-1.

        Returns
        -------
        float
        """
        return float(np.mean(self.level_scores(X, levels)))

    def _check_parameters(self) -> None:
        for name, least in (("s", 2), ("n_init", 1), ("v", 2)):
            value = getattr(self, name)
            if name == "v" and value is None:
                continue
            if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be an integer >= {least}. Found {name}={value!r}.")
        if self.targets not in ("one", "all"):
            raise ValueError(f'targets must be "one" or "all". Found targets={self.targets!r}.')
        if not self.memory_mb > 0:
            raise ValueError(f"memory_mb must be positive. Found memory_mb={self.memory_mb!r}.")

    def _open(self, X: Any) -> Iterable[Tokens]:
        """Check X, set v_, L_ and return it as chunks of rows: a list for an array, else a stream."""
        X = _as_tokens(X)
        if isinstance(X, Iterator):
            raise TypeError(
                "X must be an array or a re-iterable stream: every level reads it again. Found an iterator."
            )
        if hasattr(X, "shape") or isinstance(X, list | tuple) or not isinstance(X, Iterable):
            tokens = self._check_array(X, reset=True)
            self._set_shape(tokens.shape[1], int(tokens.max()) + 1)
            self._check_range(tokens)
            rows = max(1, _CHUNK_TOKENS // tokens.shape[1])
            self.n_samples_ = len(tokens)
            return [tokens[i : i + rows] for i in range(0, len(tokens), rows)]
        if self.v is None:
            raise ValueError("v must be given where X is a stream. Found v=None.")
        first = next(iter(X), None)
        if first is None:
            raise ValueError("X must hold at least one chunk. Found an empty stream.")
        self._set_shape(self._check_array(_as_tokens(first), reset=True).shape[1], int(self.v))
        self.n_samples_ = sum(len(chunk) for chunk in X)
        return _Stream(X, self)

    def _set_shape(self, length: int, symbols: int) -> None:
        self.v_ = int(self.v) if self.v is not None else max(2, symbols)
        self.L_ = _depth(length, self.s)
        if self.L_ < 2:
            raise ValueError(
                f"X must hold strings of length s**L with s={self.s} and L >= 2. Found length {length}."
            )

    def _check_array(self, X: Any, *, reset: bool = False) -> Tokens:
        """Check that X is a 2-d array of integers; with `reset`, take its width as that of all strings."""
        X = validate_data(self, X, reset=reset, dtype=None)
        if X.dtype.kind not in "iu":
            raise ValueError(f"X must hold integers (symbols 0..v-1). Found dtype {X.dtype}.")
        return X

    def _check_range(self, X: Tokens) -> None:
        if X.min() < 0 or X.max() >= self.v_:
            raise ValueError(
                f"X must hold symbols in 0..{self.v_ - 1} (v={self.v_}). "
                f"Found values in [{X.min()}, {X.max()}]."
            )

    def _check_chunk(self, X: Any) -> Tokens:
        X = self._check_array(X)
        self._check_range(X)
        return X

    def _fits_memory(self, level: int) -> bool:
        size = self.n_samples_ * self.s ** (self.L_ - level) * symbol_dtype(self.v_).itemsize
        return size <= self.memory_mb * 2**20

    def _blocks(self) -> list[tuple[int, int, int]]:
        """Targets as (position p of the tuple, position q of its cousin, token t of the cousin)."""
        if self.targets == "one":
            return [(0, 1, 0)]
        s = self.s
        return [(p, q, t) for p in range(s) for q in range(s) if q != p for t in range(s)]

    def _count(
        self, chunks: Iterable[Tokens]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Count tuples with their targets; return tuples seen, how often, and context vectors."""
        v, s, blocks = self.v_, self.s, self._blocks()
        tables: list[NDArray[np.int64]] = []
        seen = np.empty(0, dtype=np.int64)
        for tokens in chunks:
            if self.targets == "one":
                tokens = tokens[:, : s * s]
            codes = _tuple_codes(tokens, v, s)
            new = np.setdiff1d(_distinct(codes, v**s), seen)
            if new.size:
                merged = np.union1d(seen, new)
                rows = np.searchsorted(merged, seen)
                tables = [_spread(table, rows, len(merged)) for table in tables]
                seen = merged
            if not tables:
                tables = [np.zeros((len(seen), v), dtype=np.int64) for _ in blocks]
            row = _rank(codes, seen, v**s) * v
            for table, (p, q, t) in zip(tables, blocks, strict=True):
                cell = row[:, p::s] + tokens[:, q * s + t :: s * s]
                table += np.bincount(cell.reshape(-1), minlength=table.size).reshape(table.shape)
        return self._contexts(seen, tables)

    def _contexts(
        self, seen: NDArray[np.int64], tables: list[NDArray[np.int64]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Normalise counts to context vectors; drop tuples never counted; impute missing blocks."""
        totals = np.stack([table.sum(axis=1) for table in tables])  # (blocks, D)
        used = totals.sum(axis=0) > 0
        parts = []
        for table, total in zip(tables, totals, strict=True):
            mean = table.sum(axis=0) / max(1, total.sum())
            part = np.where(total[:, None] > 0, table / np.maximum(1, total)[:, None], mean)
            parts.append(part[used])
        per_tuple = 1 if self.targets == "one" else (self.s - 1) * self.s
        return seen[used], totals.sum(axis=0)[used] // per_tuple, np.concatenate(parts, axis=1)

    def _cluster(self, tuples: NDArray[np.int64], contexts: NDArray[np.float64]) -> _Parser:
        k = min(self.v_, len(np.unique(contexts, axis=0)))
        means = KMeans(n_clusters=k, n_init=self.n_init, random_state=self.random_state).fit(contexts)
        distance = np.linalg.norm(means.cluster_centers_ - contexts.mean(axis=0), axis=1)
        return _Parser(self.v_, self.s, tuples, means.labels_, int(distance.argmin()))


class _Stream:
    """A user's stream as checked chunks of tokens, re-iterable."""

    def __init__(self, chunks: Iterable[Any], estimator: IterativeLatentClustering) -> None:
        self.chunks, self.estimator = chunks, estimator

    def __iter__(self) -> Iterator[Tokens]:
        for chunk in self.chunks:
            yield self.estimator._check_chunk(_as_tokens(chunk))


def _parse(source: Iterable[Tokens], parsers: Sequence[_Parser]) -> Iterator[Tokens]:
    for tokens in source:
        for parser in parsers:
            tokens = parser(tokens)
        yield tokens


def _distinct(codes: NDArray[np.intp], total: int) -> NDArray[np.int64]:
    """Distinct values below `total`, ascending."""
    if total <= 1 << 22:
        present = np.zeros(total, dtype=bool)
        present[codes] = True
        return np.flatnonzero(present)
    return np.unique(codes)


def _rank(codes: NDArray[np.intp], seen: NDArray[np.int64], total: int) -> NDArray[np.intp]:
    """Index of each code in `seen`, which holds all of them."""
    if total <= 1 << 22:
        table = np.zeros(total, dtype=np.intp)
        table[seen] = np.arange(len(seen))
        return np.take(table, codes)
    return np.searchsorted(seen, codes)


def _spread(table: NDArray[np.int64], rows: NDArray[np.intp], n: int) -> NDArray[np.int64]:
    out = np.zeros((n, table.shape[1]), dtype=table.dtype)
    out[rows] = table
    return out
