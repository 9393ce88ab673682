"""A prediction of ILC's accuracy from exact laws alone: no string is drawn, nothing is clustered.

K-means with v codes errs, once tuples are seen often enough, not by calling a tuple by a wrong code but
by spending a code badly: it merges two parents with close contexts and spends the free code on
splitting a third one, whose contexts are noisy. Sum-of-squares energies decide: a merge of clusters a, b
costs M = h |c_a - c_b|**2, a split S | S' gains G = h' |c_S - c_S'|**2, and the r-th swap happens if the r-th
largest gain exceeds the r-th smallest cost. Both are quadratic forms in multinomial noise with known mean
and variance. Errors of one level enter the next through the exact law of the wrong codes.
No constant is fitted. The approximations: gains and costs are independent gamma variables; noise is
isotropic in an effective number of dimensions; strings repeat independently for every grandparent; of
all ways to err, the likeliest one is carried to the next level.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import comb, expi, gammaincc, ndtr

from rhmlib.exact import Targets, contexts, target_covariance
from rhmlib.grammar import Grammar

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

_GRID = 120  # prices at which the distributions of gains and costs are compared
_PRUNE = 1e-3  # histories less likely than this are left out
_NORMAL = np.polynomial.hermite_e.hermegauss(15)  # nodes and weights of a normal average


def mean_inverse_count(expected: Floats) -> Floats:
    """E[1/N given N >= 1] for a Poisson count N of the given mean."""
    mean = np.maximum(expected, 1e-9)
    small = np.minimum(mean, 500.0)  # expi overflows above 700
    exact = np.exp(-small) * (expi(small) - np.log(small) - np.euler_gamma) / -np.expm1(-small)
    return np.where(mean < 500, exact, 1 / mean + 1 / mean**2)


@lru_cache(maxsize=256)
def noise_dimensions(grammar: Grammar, level: int, targets: Targets) -> tuple[float, ...]:
    """Effective dimension (tr S)**2 / tr S**2 of the noise S of one context, per tuple position.

    The mean over parents, weighted by their probability; v - 1 for a uniform target token.
    """
    law = contexts(grammar, level, targets)
    positions = sorted({p for p, _, _ in law.blocks})
    grandparent, width = (0, grammar.v) if targets == "one" else (None, None)
    out = []
    for p, weight in zip(positions, law.parent_law[:: len(law.blocks) // len(positions)], strict=True):
        s = target_covariance(grammar, level, p, grandparent=grandparent)[weight > 0, :width, :width]
        trace, square = np.trace(s, axis1=1, axis2=2), np.einsum("aij,aij->a", s, s)
        dims = np.divide(trace**2, square, out=np.ones_like(trace), where=square > 1e-14)
        out.append(float(np.average(dims, weights=weight[weight > 0])))
    return tuple(out)


@dataclass(frozen=True)
class _Points:
    """The tuples of codes that k-means sees at one level; N of them, at P counted positions.

    emission (v, N): P(tuple | its parent); law (P, N); context (N, P, K); parent (N,), the likeliest;
    spread (P, N): trace of the covariance of one observation; gap (P, N): squared distance to the
    mean context, which stands in where a tuple was not seen; dims (P,); draws a string; weight (N,):
    law over all positions of the tree; mean (P, K).
    """

    emission: Floats
    law: Floats
    context: Floats
    parent: Ints
    spread: Floats
    gap: Floats
    dims: Floats
    draws: int
    weight: Floats
    mean: Floats


def _emission(grammar: Grammar, level: int, channel: Floats) -> Floats:
    """P(tuple of codes | parent), shape (v, N), for codes that symbols emit with P = channel[symbol]."""
    support = [np.flatnonzero(row) for row in channel]
    index: dict[tuple[int, ...], int] = {}
    entries = []
    for a, rules in enumerate(grammar.rules[level]):
        for rule in rules:
            for codes in itertools.product(*(support[b] for b in rule)):
                p = math.prod(channel[b, c] for b, c in zip(rule, codes, strict=True)) / grammar.m
                entries.append((a, index.setdefault(codes, len(index)), p))
    rows, columns, values = zip(*entries, strict=True)
    out = np.zeros((grammar.v, len(index)))
    np.add.at(out, (np.array(rows), np.array(columns)), values)
    return out


def _points(grammar: Grammar, level: int, targets: Targets, channel: Floats) -> _Points:
    law = contexts(grammar, level, targets)
    emission = _emission(grammar, level, channel)
    per_position = len(law.blocks) // len({p for p, _, _ in law.blocks})
    joint = np.einsum("an,iaz->inz", emission, law.joint @ channel)  # (blocks, N, codes)
    mass = joint.sum(axis=2, keepdims=True)
    mean = joint.sum(axis=1)[:, None]
    context = np.where(mass > 0, joint / np.where(mass > 0, mass, 1), mean)
    spread, gap = 1 - (context**2).sum(axis=2), ((context - mean) ** 2).sum(axis=2)
    n = emission.shape[1]

    def by_position(x: Floats) -> Floats:
        return x.reshape(-1, per_position, n).sum(axis=1)

    weight = grammar.marginals(level + 1)[:, None] * emission
    return _Points(
        emission=emission,
        law=mass[::per_position, :, 0],
        context=np.moveaxis(context, 1, 0).reshape(n, len(law.blocks) // per_position, -1),
        parent=weight.argmax(axis=0),
        spread=by_position(spread),
        gap=by_position(gap),
        dims=np.array(noise_dimensions(grammar, level, targets)),
        draws=law.draws,
        weight=weight.sum(axis=0),
        mean=mean.reshape(len(law.blocks) // per_position, -1),
    )


@dataclass(frozen=True)
class _Clusters:
    """The right partition of the tuples that are seen, with its noise.

    members: indices of points; centre (C, P, K); noise (P, N): mean squared error of a context;
    centre_noise (C, P).
    """

    members: list[Ints]
    centre: Floats
    noise: Floats
    centre_noise: Floats

    @property
    def size(self) -> Floats:
        return np.array([len(c) for c in self.members], dtype=float)


def _cluster(points: _Points, n: float) -> _Clusters:
    expected = n * points.draws * points.law  # (P, N)
    seen = np.flatnonzero(expected.sum(axis=0) > math.log(2))  # more likely than not
    unseen = np.exp(-expected)
    noise = (1 - unseen) * points.spread * mean_inverse_count(expected) + unseen * points.gap
    noise = np.where(points.law > 0, noise, 0)  # a block that is never seen is imputed, exactly
    members = [seen[points.parent[seen] == a] for a in np.unique(points.parent[seen])]
    centre = np.stack([points.context[c].mean(axis=0) for c in members])
    centre_noise = np.stack([noise[:, c].sum(axis=1) / len(c) ** 2 for c in members])
    return _Clusters(members, centre, noise, centre_noise)


@dataclass(frozen=True)
class _Energies:
    """Gains of splits or costs of merges: gamma variables of known mean and variance, (items,)."""

    mean: Floats
    variance: Floats

    def above(self, price: Floats) -> Floats:
        """P(energy > price), shape (items, prices)."""
        mean, variance = np.maximum(self.mean, 1e-12), np.maximum(self.variance, 1e-24)
        shape = np.minimum(mean**2 / variance, 1e6)[:, None]
        return gammaincc(shape, shape * price / mean[:, None])


def _energies(h: Floats, signal: Floats, noise: Floats, dims: Floats) -> _Energies:
    """Law of h |d + e|**2; h (items,), signal |d|**2 and noise tr Cov(e) per position, (items, P)."""
    mean = h * (signal + noise).sum(axis=1)
    return _Energies(mean, h**2 * ((2 * noise**2 + 4 * signal * noise) / dims).sum(axis=1))


@dataclass(frozen=True)
class _Splits:
    """The ways to split one cluster.

    members: its points, the noisiest first; single: gain of each against the rest; group: gains of k
    against the rest for k = 2 .. size // 2, of which there are `number`, all alike.
    """

    members: Ints
    single: _Energies
    group: _Energies
    number: Floats

    def pays(self, price: Floats) -> tuple[Floats, Floats]:
        """P(the j-th split gains more than the price), j = 1 .. size - 1, and P(it is a group)."""
        single = self.single.above(price)
        none_single = np.prod(1 - single, axis=0)
        tail = np.minimum(self.group.above(price), 1 - 1e-15)
        none_group = np.exp((self.number[:, None] * np.log1p(-tail)).sum(axis=0))
        later = np.sort(single, axis=0)[::-1][1 : len(self.members) - 1]
        return np.concatenate([(1 - none_single * none_group)[None], later]), 1 - none_group


def _splits(points: _Points, clusters: _Clusters, c: int) -> _Splits | None:
    """The splits of cluster c; None if it is a single tuple."""
    members = clusters.members[c]
    size = len(members)
    if size < 2:
        return None
    members = members[np.argsort(-clusters.noise[:, members].sum(axis=0), kind="stable")]
    noise = clusters.noise[:, members].T  # (size, P)
    rest = size / (size - 1)  # x - mean of the others = rest * (x - mean of all)
    signal = rest**2 * ((points.context[members] - clusters.centre[c]) ** 2).sum(axis=2)
    others = (noise.sum(axis=0) - noise) / (size - 1) ** 2
    single = _energies(np.full(size, 1 / rest), signal, noise + others, points.dims)
    if size == 2:  # one split, not two
        single = _Energies(single.mean[:1], single.variance[:1])
    k = np.arange(2, size // 2 + 1)
    h = k * (size - k) / size
    group = _energies(h, np.zeros((len(k), 1)), noise.mean(axis=0) / h[:, None], points.dims)
    return _Splits(members, single, group, comb(size, k) / np.where(2 * k == size, 2, 1))


def _merges(points: _Points, clusters: _Clusters) -> tuple[Ints, Ints, _Energies]:
    """Cost of joining each pair of clusters: first, second, energies."""
    size = clusters.size
    a, b = np.triu_indices(len(size), 1)
    h = size[a] * size[b] / (size[a] + size[b])
    signal = ((clusters.centre[a] - clusters.centre[b]) ** 2).sum(axis=2)
    noise = clusters.centre_noise[a] + clusters.centre_noise[b]
    return a, b, _energies(h, signal, noise, points.dims)


def _count_law(probability: Floats, most: int) -> Floats:
    """P(at least r of independent events), r = 0 .. most; (events, prices) -> (most + 1, prices)."""
    law = np.zeros((most + 1, probability.shape[1]))
    law[0] = 1
    for p in probability:
        up = law * p
        law -= up
        law[1:] += up[:-1]
        law[most] += up[most]
    return np.cumsum(law[::-1], axis=0)[::-1]


@dataclass(frozen=True)
class _Balance:
    """Splits against merges at a grid of prices of one code.

    price (prices,). Per cluster: splits; pays (events, prices), P(gain > price); grouped (prices,).
    Per pair first, second: cost, its mean; merge (pairs, prices), P(cost < price).
    at_least[r]: P(at least r codes are spent on splits).
    """

    price: Floats
    splits: list[_Splits | None]
    pays: list[Floats]
    grouped: list[Floats]
    first: Ints
    second: Ints
    cost: Floats
    merge: Floats
    at_least: Floats


def _balance(points: _Points, clusters: _Clusters, v: int) -> _Balance:
    count = len(clusters.members)
    splits = [_splits(points, clusters, c) for c in range(count)]
    first, second, merges = _merges(points, clusters)
    gains = np.concatenate([x.mean for w in splits if w for x in (w.single, w.group)] + [np.zeros(0)])
    price = _prices(gains, merges.mean)
    laws = [w.pays(price) if w else (np.zeros((0, _GRID)), np.zeros(_GRID)) for w in splits]
    merge = 1 - merges.above(price)
    # A pair is counted at its second cluster, so that at most count - 1 merges can happen.
    joined = np.stack([1 - np.prod(1 - merge[second == c], axis=0) for c in range(count)])
    pays, cheap = _count_law(np.concatenate([p for p, _ in laws]), v), _count_law(joined, v)
    free = v - count
    at_least = np.ones(v)
    for r in range(free + 1, v):
        at_least[r] = np.sum(pays[r] * np.diff(cheap[r - free], prepend=0.0).clip(min=0))
    return _Balance(
        price, splits, [p for p, _ in laws], [g for _, g in laws], first, second, merges.mean, merge, at_least
    )


def _prices(gains: Floats, costs: Floats) -> Floats:
    """Prices that cover all gains and the lower half of the costs."""
    energies = np.concatenate([gains, costs])
    low = 0.2 * float(energies.min(initial=np.inf, where=energies > 0))
    top = 4 * max(gains.max(initial=0), float(np.median(costs)) if len(costs) else 0)
    return np.geomspace(min(max(low, 1e-9), 1.0), max(top, 1e-8), _GRID)


def _nearest_seed(squared: Floats, noise: float, dims: float) -> tuple[Floats, Floats]:
    """E[squared distance of a point to the nearest of t seeds], t = 1 .. C-1, shape (C - 1, C) each.

    For a cluster without a seed, and for one that has a seed. A seed of another cluster b is at
    |d|**2 + 2 noise on average; the minimum is over t seeds in C - 1 places.
    """
    count = len(squared)
    mean = squared * (1 - np.eye(count)) + 2 * noise
    variance = (8 * (mean - 2 * noise) * noise + 8 * noise**2) / dims
    shape = np.minimum(mean**2 / np.maximum(variance, 1e-24), 1e6)[..., None]
    x = np.linspace(0, mean.max() + 4 * math.sqrt(variance.max()), 64)
    log_tail = np.log(np.maximum(gammaincc(shape, shape * x / np.maximum(mean, 1e-12)[..., None]), 1e-300))
    own = log_tail[np.arange(count), np.arange(count)]
    share = np.arange(1, count)[:, None, None] / (count - 1)
    others = log_tail.sum(axis=1) - own
    without = np.trapezoid(np.exp(share * others), x, axis=-1)
    having = np.trapezoid(np.exp(own + (share - 1 / (count - 1)) * others), x, axis=-1)
    return without, having


def seeding_misses(sizes: Floats, squared: Floats, noise: float, dims: float, n_init: int) -> Floats:
    """P(k-means++ leaves at least k clusters without a seed in all its restarts), k = 0 .. C - 1.

    Seeds are drawn with probability proportional to the squared distance D**2 to the nearest seed, so a
    seed falls into a new cluster with probability q = (D**2 of the clusters without a seed) / (all D**2).
    Of the 2 + floor(log C) candidates that scikit-learn tries, one in a new cluster is taken if there is
    one; clusters far from all others go first.

    Parameters
    ----------
    sizes : array, shape (C,)
        Points a cluster; their mean is used.
    squared : array, shape (C, C)
        Squared distances of the centres.
    noise : float
        Mean squared distance of a point to its centre.
    dims : float
        Effective dimension of the noise.
    n_init : int
        Restarts.

    Returns
    -------
    array of float64, shape (C,)
    """
    count, size = len(sizes), float(np.mean(sizes))
    if count < 2:
        return np.ones(1)
    without, having = _nearest_seed(squared, noise, dims)
    covered = np.arange(1, count)
    hard = np.cumsum(np.sort(without, axis=1), axis=1)[covered - 1, count - covered - 1] * size
    wasted = covered * (size - 1) * having.mean(axis=1)
    new = hard / np.maximum(hard + wasted, 1e-300)
    missed = (1 - new) ** (2 + int(math.log(count)))
    return _count_law(missed[:, None], count - 1)[:, 0] ** n_init


def _seeding(points: _Points, clusters: _Clusters, n_init: int) -> Floats:
    flat = clusters.centre.reshape(len(clusters.members), -1)
    squared = ((flat[:, None] - flat[None]) ** 2).sum(axis=2)
    noise = clusters.noise[:, np.concatenate(clusters.members)].mean(axis=1)  # (P,)
    square = float(np.sum(noise**2 / points.dims))
    dims = float(noise.sum()) ** 2 / square if square > 0 else 1.0
    return seeding_misses(clusters.size, squared, float(noise.sum()), dims, n_init)


def _moves(points: _Points, clusters: _Clusters) -> tuple[Floats, Ints]:
    """P(k-means gains by moving a tuple to another cluster), and the likeliest one; (N,) each.

    Moving x from a to b changes the sum of squares by h_b |x - c_b|**2 - h_a |x - c_a'|**2, where c_a' is
    the centre of the others and h = size / (size + 1) without x: a quadratic form in three noises.
    The noises of x and of c_a' are common to all b.
    """
    size, n = clusters.size, points.emission.shape[1]
    leave = (size / (size + 1))[:, None]
    chance, target = np.zeros(n), np.zeros(n, dtype=np.intp)
    for a, members in enumerate(clusters.members):
        if len(members) < 2 or len(size) < 2:
            continue
        x, own = points.context[members][:, None], clusters.noise[:, members].T[:, None]  # (size, 1, P)
        stay = (len(members) - 1) / len(members)
        near = ((x - clusters.centre[a]) ** 2).sum(axis=3) / stay**2
        home = own + (clusters.centre_noise[a] - own / len(members) ** 2) / stay**2
        far = ((x - clusters.centre) ** 2).sum(axis=3)  # (size, C, P)
        away = own + clusters.centre_noise
        mean = (leave * (far + away) - stay * (near + home)).sum(axis=2)
        common = 2 * ((stay * home) ** 2 + (leave * own) ** 2 - 2 * leave * stay * own**2)
        common = common + 2 * leave**2 * far * own + 4 * stay**2 * near * home
        special = 2 * leave**2 * (away**2 - own**2) + leave**2 * far * (4 * away - 2 * own)
        loads = [np.sqrt(np.maximum((y / points.dims).sum(axis=2), 1e-24)) for y in (common, special)]
        mean[:, a] = np.inf
        chance[members] = _any_negative(mean, *loads)
        target[members] = (mean / np.hypot(*loads)).argmin(axis=1)
    return chance, target


def _any_negative(mean: Floats, common: Floats, special: Floats) -> Floats:
    """P(some mean + common * z + special * y < 0), one normal z a row and one y an entry."""
    z = (mean[..., None] + common[..., None] * _NORMAL[0]) / special[..., None]
    return np.maximum(1 - np.prod(ndtr(z), axis=1) @ (_NORMAL[1] / _NORMAL[1].sum()), 0)


@dataclass(frozen=True)
class _Errors:
    """All that can go wrong at one level, with its probabilities."""

    points: _Points
    clusters: _Clusters
    balance: _Balance
    moved: Floats  # (N,) P(tuple is moved)
    target: Ints
    v: int

    @property
    def free(self) -> int:
        """Codes that no parent needs, since some parent's tuples were never seen."""
        return self.v - len(self.clusters.members)

    def swaps(self, n_init: int) -> tuple[float, int]:
        """P(any swap, paid for or left by the seeding), and their typical number if there are any.

        The two are not added: the seeding leaves out what is cheapest to merge.
        """
        paid = self.balance.at_least[self.free + 1 :]
        left = _seeding(self.points, self.clusters, n_init)[1:]
        some = 1 - (1 - paid[:1].sum()) * (1 - left[:1].sum())
        if some <= 0:
            return 0.0, 1
        return float(some), max(1, round(float(max(paid.sum(), left.sum()) / some)))

    def codes(self, swaps: int, moves: int) -> Ints:
        """Code of every point in the likeliest partition with so many swaps and moved tuples."""
        balance, count = self.balance, len(self.clusters.members)
        expected = sum(p.sum(axis=0) for p in balance.pays)
        at = int(np.abs(expected - self.free - swaps).argmin())
        stands_for, freed = self._merge(balance.merge[:, at], swaps)
        code = np.full(len(self.moved), -1)
        for c, members in enumerate(self.clusters.members):
            code[members] = stands_for[c]
        who = np.argsort(-self.moved)[:moves]
        code[who] = stands_for[self.target[who]]
        self._split(code, at, [*range(count, self.v), *freed][: self.free + swaps])
        nearest = int(((self.clusters.centre - self.points.mean) ** 2).sum(axis=(1, 2)).argmin())
        code[code < 0] = stands_for[nearest]  # ILC's rule for tuples that were not seen
        return code

    def _merge(self, likely: Floats, number: int) -> tuple[Ints, list[int]]:
        """Join the likeliest pairs; return the cluster that stands for each, and the freed ones."""
        stands_for = np.arange(len(self.clusters.members))
        freed: list[int] = []
        for e in np.lexsort((self.balance.cost, -likely)):
            if len(freed) == number:
                break
            a, b = stands_for[self.balance.first[e]], stands_for[self.balance.second[e]]
            if a != b:
                stands_for[stands_for == b] = a
                freed.append(int(b))
        return stands_for, freed

    def _split(self, code: Ints, at: int, new: list[int]) -> None:
        """Give new codes to the likeliest splits at one price."""
        owner = np.concatenate([np.full(len(p), c) for c, p in enumerate(self.balance.pays)]).astype(int)
        likely = np.concatenate([p[:, at] for p in self.balance.pays])
        times = np.bincount(owner[np.argsort(-likely, kind="stable")[: len(new)]], minlength=1)
        for c in np.flatnonzero(times):
            splits = self.balance.splits[c]
            assert splits is not None  # a single tuple has no events
            if times[c] == 1 and self.balance.grouped[c][at] > 0.5:
                k = 2 + int((splits.number * splits.group.above(self._price(at))[:, 0]).argmax())
                code[splits.members[:k]] = new.pop()
                continue
            for i in range(times[c]):
                code[splits.members[i]] = new.pop()

    def _price(self, at: int) -> Floats:
        return self.balance.price[at : at + 1]


def _errors(points: _Points, n: float, v: int) -> _Errors:
    clusters = _cluster(points, n)
    return _Errors(points, clusters, _balance(points, clusters, v), *_moves(points, clusters), v)


def _branches(points: _Points, n: float, v: int, n_init: int) -> list[tuple[float, Ints]]:
    """Probability and codes of three outcomes: all right, only tuples moved, codes badly spent."""
    errors = _errors(points, n, v)
    any_swap, swaps = errors.swaps(n_init)
    still = float(np.exp(np.log1p(-np.minimum(errors.moved, 1 - 1e-12)).sum()))
    expected = float(errors.moved.sum())
    moved = max(1, round(expected / (1 - still))) if still < 1 else 0
    outcomes = [
        ((1 - any_swap) * still, 0, 0),
        ((1 - any_swap) * (1 - still), 0, moved),
        (any_swap, swaps, 0),
    ]
    return [(p, errors.codes(r, j)) for p, r, j in outcomes if p > 0]


def _channel(points: _Points, code: Ints, v: int) -> Floats:
    """P(code | symbol) one level up."""
    channel = np.zeros((v, v))
    np.add.at(channel.T, code, points.emission.T)
    return channel


def _hungarian(weight: Floats) -> float:
    rows, columns = linear_sum_assignment(weight, maximize=True)
    return float(weight[rows, columns].sum())


def predicted_accuracy(grammar: Grammar, n: float, targets: Targets = "one", *, n_init: int = 10) -> Floats:
    """Predict ILC's Hungarian accuracy of the levels 1 .. L-1, without running it.

    Parameters
    ----------
    grammar : Grammar
    n : float
        Number of strings.
    targets : {"one", "all"}
        As in :class:`rhmlib.ilc.IterativeLatentClustering`.
    n_init : int, default=10
        Restarts of k-means.

    Returns
    -------
    array of float64, shape (L - 1,)
        Expected accuracy of a fit to n independent strings.

    Raises
    ------
    ValueError
        If n is not positive, L < 2 or the mode is unknown.

    Notes
    -----
    Up to 3**(L-1) histories of errors, fewer where some are unlikely; about 10 ms each at v=16, m=8.
    """
    if not n > 0:
        raise ValueError(f"n must be positive. Found n={n}.")
    if grammar.L < 2:
        raise ValueError(f"grammar must have L >= 2, or there is nothing to cluster. Found L={grammar.L}.")
    accuracy = np.zeros(grammar.L - 1)

    def descend(level: int, channel: Floats, probability: float) -> None:
        points = _points(grammar, level, targets, channel)
        branches = _branches(points, n, grammar.v, n_init)
        kept = [(p, code) for p, code in branches if p * probability >= _PRUNE] or [
            max(branches, key=lambda b: b[0])
        ]
        total = sum(p for p, _ in kept)
        for p, code in kept:
            up = _channel(points, code, grammar.v)
            share = probability * p / total
            accuracy[level] += share * _hungarian(grammar.marginals(level + 1)[:, None] * up)
            if level < grammar.L - 2:
                descend(level + 1, up, share)

    descend(0, np.eye(grammar.v), 1.0)
    return accuracy


def predicted_threshold(
    grammars: Grammar | Sequence[Grammar],
    targets: Targets = "one",
    *,
    accuracy: float = 0.95,
    level: int | None = None,
    n_init: int = 10,
    max_multiple: float = 1024,
) -> float:
    """Predict the number of strings at which ILC reaches an accuracy.

    Parameters
    ----------
    grammars : Grammar or sequence of Grammar
        Of one shape (v, m, s, L); the mean accuracy of several is what a figure's point shows.
    targets : {"one", "all"}
    accuracy : float, default=0.95
        In (0, 1).
    level : int, optional
        1 .. L-1; by default the mean over these levels.
    n_init : int, default=10
    max_multiple : float, default=1024
        The search ends at this multiple of v m**3.

    Returns
    -------
    float
        By log-linear interpolation on a grid of factors sqrt(2); ``inf`` if the accuracy is not
        reached, as where Assumption 1 fails.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    many = [grammars] if isinstance(grammars, Grammar) else list(grammars)
    first = _check_threshold(many, accuracy, level)
    scale = float(first.v * first.m**3)

    def mean(n: float) -> float:
        levels = np.mean([predicted_accuracy(g, n, targets, n_init=n_init) for g in many], axis=0)
        return float(levels.mean() if level is None else levels[level - 1])

    low = high = scale
    at_low = at_high = mean(scale)
    while at_high < accuracy:
        low, at_low, high = high, at_high, 2 * high
        if high > scale * max_multiple:
            return math.inf
        at_high = mean(high)
    while at_low >= accuracy and low > 1:
        low, high, at_high = low / 2, low, at_low
        at_low = mean(low)
    middle = math.sqrt(low * high)
    at_middle = mean(middle)
    if at_middle < accuracy:
        low, at_low = middle, at_middle
    else:
        high, at_high = middle, at_middle
    share = (accuracy - at_low) / (at_high - at_low) if at_high > at_low else 0.0
    return low * (high / low) ** min(max(share, 0.0), 1.0)


def _check_threshold(grammars: list[Grammar], accuracy: float, level: int | None) -> Grammar:
    shapes = {(g.v, g.m, g.s, g.L) for g in grammars}
    if len(shapes) != 1:
        raise ValueError(f"grammars must be of one shape (v, m, s, L). Found {sorted(shapes)}.")
    if not 0 < accuracy < 1:
        raise ValueError(f"accuracy must be in (0, 1). Found accuracy={accuracy}.")
    L = grammars[0].L
    if level is not None and not 1 <= level <= L - 1:
        raise ValueError(f"level must be in 1..{L - 1} for L={L}. Found level={level}.")
    return grammars[0]
