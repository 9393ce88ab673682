"""A hidden token as target, read through its neighbours, with all readings of one latent pooled.

Take the top level of a tree whose lower levels are known. One leaf x is hidden, the rest w of its
subtree is visible. With x, the subtree has a level-l symbol z on top; without it, the codes of the
levels below leave a choice of symbols, Pr(z | w). What the tuple beside it adds to that choice is its
context. Tuples are counted with z, whatever w was: this is what pooling means. Where w leaves no
choice, nothing is counted.

Beside it stand "conditional" of :mod:`rhmlib.token_ilc`, which pools nothing, and "lifted", which
counts z whether or not w has given it away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rhmlib import exact
from rhmlib.grammar import Grammar
from rhmlib.ilc import _tuple_codes
from rhmlib.metrics import hungarian_accuracy
from rhmlib.sampling import Sample, _check_count
from rhmlib.token_ilc import TokenILC

Floats = NDArray[np.float64]
Codes = NDArray[Any]


def choices(levels: Sequence[Codes], v: int, s: int, prior: Floats) -> Floats:
    """Law of the symbol on top of each subtree when its first leaf is hidden.

    Parameters
    ----------
    levels : sequence of array of int
        True codes of the subtrees: levels[k] of shape (n, s**(height - k)), k = 0 .. height.
    v, s : int
    prior : array of float64, shape (n, v)
        Law of the symbol given all that is known beside its subtree.

    Returns
    -------
    array of float64, shape (n, v)
        Pr(z | w), by the rules that were counted in `levels` themselves.

    Notes
    -----
    O(height n v**2) time.
    """
    law = np.ones((len(prior), v))
    for below, above in pairwise(levels):
        law = _up(law, _siblings(below[:, :s], v), _counted_rules(below, above, v, s))
    law *= prior
    return np.asarray(law / law.sum(axis=1, keepdims=True))


def token_signal(sample: Sample) -> float:
    """Mean of |Pr(x | w, c) - Pr(x | w)|**2 over strings, with exact posteriors.

    Here x is the first leaf, w the rest of its half of the string (of the subtree under the root's first
    child) and c the root's second child.

    Parameters
    ----------
    sample : Sample
        Of L >= 2. The true latents stand for w, which determines those beside the path.

    Returns
    -------
    float
        As `signal` of :func:`rhmlib.tax.lift` at level L-1 with x alone hidden, for many strings: those
        that leave no choice of x are dropped on the way up.
    """
    grammar = sample.grammar
    v, s, top = grammar.v, grammar.s, grammar.L - 1
    kept = np.arange(len(sample.levels[0]))
    path = np.tile(np.eye(v), (len(kept), 1, 1))  # Pr(x, siblings | symbol above)
    for k in range(top):
        path = _up(path, _siblings(sample.levels[k][kept, :s], v), _true_rules(grammar, k))
        open_ = (path.sum(axis=2) > 0).sum(axis=1) > 1
        kept, path = kept[open_], path[open_]
    joint = path @ exact.pair_law(grammar, (top, 0), (top, 1))
    joint /= joint.sum(axis=(1, 2), keepdims=True)
    latent = joint.sum(axis=1, keepdims=True)
    added = joint / np.where(latent > 0, latent, 1) - joint.sum(axis=2, keepdims=True)
    return float((added**2 * latent).sum() / len(sample.levels[0]))


def _up(law: Floats, siblings: NDArray[np.intp], rules: Floats) -> Floats:
    """Take what is known of a first child, (n, .., v), to its parent."""
    order = np.argsort(siblings, kind="stable")  # few siblings, so many strings at once
    edges = np.searchsorted(siblings[order], np.arange(len(rules) + 1))
    found = law[order]
    for code, (start, stop) in enumerate(pairwise(edges)):
        part = found[start:stop]
        found[start:stop] = (part.reshape(-1, part.shape[-1]) @ rules[code]).reshape(part.shape)
    back = np.empty_like(found)
    back[order] = found
    return back


def _siblings(tuples: Codes, v: int) -> NDArray[np.intp]:
    """Number the last s-1 symbols of tuples, (n, s) -> (n,)."""
    return _tuple_codes(tuples[:, 1:], v, tuples.shape[1] - 1)[:, 0]


def _counted_rules(below: Codes, above: Codes, v: int, s: int) -> Floats:
    """Pr(first child, its siblings | parent) as counted, indexed [siblings, first child, parent]."""
    tuples = below.reshape(-1, s)
    keys = (_siblings(tuples, v) * v + tuples[:, 0]) * v + above.reshape(-1)
    count = np.bincount(keys, minlength=v ** (s + 1)).reshape(-1, v, v).astype(float)
    return count / np.maximum(1, count.sum(axis=(0, 1)))


def _true_rules(grammar: Grammar, level: int) -> Floats:
    """As :func:`_counted_rules`, of the grammar."""
    v, m, s = grammar.v, grammar.m, grammar.s
    tuples = grammar.rules[level].reshape(-1, s)
    table = np.zeros((v ** (s - 1), v, v))
    np.add.at(table, (_siblings(tuples, v), tuples[:, 0], np.repeat(np.arange(v), m)), 1 / m)
    return table


class PooledTokenILC:
    """The top level of ILC when a single hidden token is the target and its readings are pooled.

    Levels 1 .. L-2 are given, as in :class:`rhmlib.token_ilc.TokenILC` with true inputs; level L-1 is
    learnt.

    Parameters
    ----------
    n_init : int, default=10
        Restarts of k-means.
    random_state : int, optional
        Seed of k-means.

    Attributes
    ----------
    contexts_ : array of float64, shape (D, K)
        Of the D tuples of level L-2 that were seen: the mean of (one-hot z - Pr(z | w)), a block of
        v**s entries (siblings of z, z) for each pair of positions of tuple and cousin.
    tuples_ : array of int64, shape (D,)
        The tuples, in base v.

    Notes
    -----
    The mean is the gradient, at nothing learnt, of the log-loss of predicting x with logits of (tuple,
    siblings of z, z): that of a network which reads through its codes of the levels below.
    O(n L v**2) time.

    Examples
    --------
    >>> from rhmlib import Grammar
    >>> train = Grammar.random(v=8, m=4, s=2, L=3, seed=0).sample(20000, np.random.default_rng(0))
    >>> PooledTokenILC(random_state=0).fit(train).score(train)
    1.0
    """

    def __init__(self, *, n_init: int = 10, random_state: int | None = None) -> None:
        self.n_init = _check_count("n_init", n_init)
        self.random_state = random_state

    def fit(self, sample: Sample) -> Self:
        """Learn level L-1 from strings with their levels 0 .. L-2.

        Raises
        ------
        ValueError
            If L < 2.
        """
        grammar = sample.grammar
        if grammar.L < 2:
            raise ValueError(f"sample must have L >= 2, or there is nothing to cluster. Found L={grammar.L}.")
        v, s = grammar.v, grammar.s
        rows = _tuple_codes(sample.levels[grammar.L - 2], v, s)
        self.tuples_ = np.unique(rows)
        parts = []
        for p, q, residual in self._residuals(sample):
            at = np.searchsorted(self.tuples_, rows[:, p])
            siblings = _siblings(self._subtrees(sample, q)[-1], v)
            table = np.zeros((len(self.tuples_), v ** (s - 1), v))
            np.add.at(table, (at, siblings), residual)
            total = np.bincount(at, minlength=len(table))
            parts.append(table.reshape(len(table), -1) / np.maximum(1, total)[:, None])
        self.contexts_ = np.hstack(parts)
        clusterer = TokenILC(n_init=self.n_init, random_state=self.random_state)
        self._parser = clusterer._cluster(grammar, self.tuples_, self.contexts_)
        return self

    def _subtrees(self, sample: Sample, q: int) -> list[Codes]:
        """Codes below the q-th child of the root, levels 0 .. L-2."""
        s, L = sample.grammar.s, sample.grammar.L
        widths = [s ** (L - 1 - k) for k in range(L - 1)]
        return [sample.levels[k][:, q * w : (q + 1) * w] for k, w in enumerate(widths)]

    def _residuals(self, sample: Sample) -> Iterator[tuple[int, int, Floats]]:
        """For each pair of positions: what of z its neighbours left open, shape (n, v)."""
        v, s = sample.grammar.v, sample.grammar.s
        for q in range(s):
            *below, top = self._subtrees(sample, q)
            siblings, target = _siblings(top, v), top[:, 0].astype(np.intp)
            count = np.bincount(siblings * v + target, minlength=v**s).reshape(-1, v).astype(float)
            prior = (count / np.maximum(1, count.sum(axis=1, keepdims=True)))[siblings]
            first = [codes[:, : codes.shape[1] // s] for codes in below]
            residual = -choices([*first, top[:, :1]], v, s, prior)
            residual[np.arange(len(residual)), target] += 1
            for p in range(s):
                if p != q:
                    yield p, q, residual

    def transform(self, sample: Sample) -> Codes:
        """Decode the true codes of level L-2 into level L-1, shape (n, s)."""
        return self._parser(sample.levels[sample.grammar.L - 2])

    def score(self, sample: Sample) -> float:
        """Hungarian accuracy of level L-1."""
        return hungarian_accuracy(self.transform(sample), sample.levels[sample.grammar.L - 1])
