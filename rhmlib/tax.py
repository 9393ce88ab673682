"""What token targets cost, and what visible neighbours give back (paper, Section 2, eq. (1)).

Three things, from exact laws:

- the accuracy of token ILC (:mod:`rhmlib.token_ilc`) at each level, by the machinery that predicts ILC's
  (:mod:`rhmlib.ilc_theory`) with other means and covariances;
- the information that the cousin's latent carries about a masked token beyond the visible rest of the
  token's own subtree, under any mask;
- what that implies for the number of strings: a scaling argument, stated in :func:`strings_needed`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from rhmlib import exact
from rhmlib.belief_propagation import posterior
from rhmlib.entropies import _n_block_strings, block_strings, entropy
from rhmlib.grammar import Grammar, check_shape
from rhmlib.ilc_theory import _branches, _channel, _hungarian, _Points
from rhmlib.token_ilc import CONDITIONAL, TokenTargets, check_targets, isometric, target_level

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


# ---------------------------------------------------------------- (a) token ILC: means and noise


@dataclass(frozen=True)
class TokenContexts:
    """Exact law of what token ILC counts for the tuples at one position under their grandparent.

    Attributes
    ----------
    parent_law : array of float64, shape (v,)
        P(tuple's parent is a).
    mean : array of float64, shape (v, K)
        Expected context given the parent; zero where the parent never occurs. For the conditional
        modes in :func:`rhmlib.token_ilc.isometric` coordinates: distances and norms hold, entries mean
        nothing.
    average : array of float64, shape (K,)
        The mean over parents, in the same coordinates.
    spread : array of float64, shape (v,)
        Trace of the covariance of one observation given the parent.
    dims : float
        (tr S)**2 / tr S**2 of that covariance S, averaged over parents: the effective number of
        dimensions of the noise.
    """

    parent_law: Floats
    mean: Floats
    average: Floats
    spread: Floats
    dims: float

    @property
    def distances(self) -> Floats:
        """Distances of the parents' means, shape (v, v); NaN for parents that never occur."""
        square = ((self.mean[:, None] - self.mean[None]) ** 2).sum(axis=-1)
        seen = self.parent_law > 0
        return np.sqrt(np.where(seen[:, None] & seen, square, np.nan))

    @property
    def signal(self) -> float:
        """Mean over parents of |mean - average|**2, weighted by their probability."""
        return float(self.parent_law @ ((self.mean - self.average) ** 2).sum(axis=1))


def _moments(grammar: Grammar, level: int, bottom: int) -> tuple[Floats, Floats]:
    """First and second moments of all level-`bottom` symbols below one level-`level` symbol, one-hot.

    Returns arrays of shape (v, K) and (v, K, K), K = s**(level - bottom) v.
    """
    v, m, s = grammar.v, grammar.m, grammar.s
    first, second = np.eye(v), np.zeros((v, v, v))
    second[np.arange(v), np.arange(v), np.arange(v)] = 1
    for below in range(bottom, level):
        k = first.shape[1]
        f, g = np.zeros((v, s, k)), np.zeros((v, s, k, s, k))
        for a, rules in enumerate(grammar.rules[below]):
            for rule in rules:
                f[a] += first[rule] / m
                product = np.multiply.outer(first[rule], first[rule])
                for j, b in enumerate(rule):
                    product[j, :, j] = second[b]
                g[a] += product / m
        first, second = f.reshape(v, s * k), g.reshape(v, s * k, s * k)
    return first, second


def _cousin_rules(grammar: Grammar, level: int, position: int, grandparents: Floats) -> Any:
    """Parents of the tuple and of its cousins under every rule of the grandparent, and its weight."""
    rules = grammar.rules[level + 1].reshape(-1, grammar.s)
    others = [q for q in range(grammar.s) if q != position]
    return rules[:, position], rules[:, others], np.repeat(grandparents / grammar.m, grammar.m)


def _plain(grammar: Grammar, level: int, position: int, bottom: int, one: bool) -> TokenContexts:
    """The modes that count targets alone."""
    v = grammar.v
    laws = exact.node_law(grammar, level + 2)
    own, cousins, weight = _cousin_rules(grammar, level, position, laws[0] if one else laws.mean(axis=0))
    if one:  # first cousin, its first leaf
        down = exact.path_law(grammar, level + 1, [0] * (level + 1 - bottom))
        first, cousins = down, cousins[:, :1]
        second = np.einsum("ai,ij->aij", down, np.eye(v))
    else:
        first, second = _moments(grammar, level + 1, bottom)
    k, c = first.shape[1], cousins.shape[1]
    law, mean, square = np.zeros(v), np.zeros((v, c * k)), np.zeros((v, c, k, c, k))
    for a, others, w in zip(own, cousins, weight, strict=True):
        law[a] += w
        mean[a] += w * first[others].reshape(-1)
        product = np.multiply.outer(first[others], first[others])
        for j, b in enumerate(others):
            product[j, :, j] = second[b]
        square[a] += w * product
    average = mean.sum(axis=0) / law.sum()
    some = np.where(law > 0, law, 1)
    mean /= some[:, None]
    trace, power = np.zeros(v), np.zeros(v)
    for a in np.flatnonzero(law):
        s_a = square[a].reshape(c * k, c * k) / law[a] - np.outer(mean[a], mean[a])
        trace[a], power[a] = np.trace(s_a), (s_a**2).sum()
    return TokenContexts(law, mean, average, trace, _dimensions(law, trace, power))


def _dimensions(law: Floats, trace: Floats, power: Floats) -> float:
    dims = np.divide(trace**2, power, out=np.ones_like(trace), where=power > 1e-14)
    return float(np.average(dims, weights=law))


@dataclass(frozen=True)
class _Cells:
    """Cells (visible rest, target) of the first target below a symbol b, siblings visible.

    owner (cells,): b, which the cell determines; each has the probability m**-height given b.
    rest (cells,): number of the visible rest; target (cells,).
    """

    owner: NDArray[np.intp]
    rest: NDArray[np.intp]
    target: NDArray[np.intp]
    probability: float


def _cells(grammar: Grammar, level: int, bottom: int) -> _Cells:
    """Enumerate the rules along the path of first children from `level` down to `bottom`."""
    v, m, s = grammar.v, grammar.m, grammar.s
    owner, node, rest = np.arange(v), np.arange(v), np.zeros(v, dtype=np.int64)
    for below in range(level - 1, bottom - 1, -1):
        tuples = grammar.rules[below][node].reshape(-1, s).astype(np.int64)
        owner, rest, node = np.repeat(owner, m), np.repeat(rest, m), tuples[:, 0]
        for i in range(1, s):
            rest = rest * v + tuples[:, i]
        rest = np.unique(rest, return_inverse=True)[1].astype(np.int64)  # numbers stay small
    return _Cells(owner, rest, node.astype(np.intp), float(m) ** -(level - bottom))


def _residual(grammar: Grammar, level: int, position: int, bottom: int) -> TokenContexts:
    """The modes that pair a target with its visible siblings.

    For s > 2 the noises of different cousins are taken as independent.
    """
    v = grammar.v
    law, means, trace, power = np.zeros(v), [], np.zeros(v), np.zeros(v)
    cells = _cells(grammar, level + 1, bottom)
    count, rests = len(cells.owner), int(cells.rest.max()) + 1
    among = sparse.csr_array((np.ones(count), (np.arange(count), cells.rest)), shape=(count, rests))
    grandparents = exact.node_law(grammar, level + 2).mean(axis=0)
    own, cousins, weight = _cousin_rules(grammar, level, position, grandparents)
    for q in range(cousins.shape[1]):
        joint = np.zeros((v, v))
        np.add.at(joint, (own, cousins[:, q]), weight)
        law = joint.sum(axis=1)
        given = joint / np.where(law > 0, law, 1)[:, None]  # P(b | a)
        p = joint.sum(axis=0)[cells.owner] * cells.probability
        pi = p / np.maximum((among.T @ p)[cells.rest], 1e-300)  # P(target | rest) of each cell
        square = among.T @ pi**2  # per rest
        at_cells = given[:, cells.owner] * cells.probability  # (v, cells)
        at_rests = (among.T @ at_cells.T).T  # P(rest | a)
        mean = at_cells - at_rests[:, cells.rest] * pi
        means.append(sparse.csr_array(mean))
        norm = (mean**2).sum(axis=1)
        trace += 1 - 2 * at_cells @ pi + at_rests @ square - norm
        # S is diagonal blocks, one a rest, less mean mean^T. A block is, with w = P(rest | a) and
        # q = P(target | rest, a) w: diag(q) - q pi^T - pi q^T + w pi pi^T.
        for a in np.flatnonzero(law):
            x, w = at_cells[a], at_rests[a]
            dot = among.T @ (x * pi)
            blocks = (
                among.T @ (x**2 - 4 * x**2 * pi + 2 * x * w[cells.rest] * pi**2)
                + 2 * (among.T @ x**2) * square
                + 2 * dot**2
                - 4 * w * dot * square
                + w**2 * square**2
            )
            along = mean[a] * x - x * (among.T @ (pi * mean[a]))[cells.rest]
            along = along - pi * (among.T @ (x * mean[a]))[cells.rest]
            along = along + w[cells.rest] * pi * (among.T @ (pi * mean[a]))[cells.rest]
            power[a] += blocks.sum() - 2 * along @ mean[a] + norm[a] ** 2
    average = np.zeros(means[0].shape[1] * len(means))  # residuals have mean zero
    points = isometric(sparse.vstack([sparse.hstack(means), average[None]]).tocsr())
    return TokenContexts(law, points[:-1], points[-1], trace, _dimensions(law, trace, power))


@lru_cache(maxsize=256)
def token_contexts(
    grammar: Grammar, level: int, targets: TokenTargets, *, position: int = 0
) -> TokenContexts:
    """Exact means and noise of token ILC's contexts.

    Parameters
    ----------
    grammar : Grammar
    level : int
        Level of the tuples, 0 .. L-2.
    targets : str
        A mode of :mod:`rhmlib.token_ilc`.
    position : int, default=0
        Position of the tuple under its grandparent, 0 .. s-1; only 0 for "tokens_one".

    Returns
    -------
    TokenContexts

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    O(v m (s**(l+1) v)**2) time for "tokens_all", O(v**2 m**(l+1)) for "conditional".
    """
    check_targets(targets)
    level = exact.check_level(grammar, level, most=grammar.L - 2)
    one = targets == "tokens_one"
    most = 0 if one else grammar.s - 1
    if not 0 <= position <= most:
        raise ValueError(f"position must be in 0..{most} for {targets!r}. Found position={position}.")
    bottom = target_level(targets, level)
    if targets in CONDITIONAL:
        return _residual(grammar, level, position, bottom)
    return _plain(grammar, level, position, bottom, one)


def _token_points(grammar: Grammar, level: int, targets: TokenTargets) -> _Points:
    """What k-means sees, for tuples of true symbols."""
    v, m = grammar.v, grammar.m
    positions = 1 if targets == "tokens_one" else grammar.s
    laws = [token_contexts(grammar, level, targets, position=p) for p in range(positions)]
    width = max(law.mean.shape[1] for law in laws)
    mean = np.zeros((v, positions, width))
    average = np.zeros((positions, width))
    for p, law in enumerate(laws):
        k = law.mean.shape[1]
        average[p, :k] = law.average
        mean[:, p, :k] = np.where(law.parent_law[:, None] > 0, law.mean, law.average)
    emission = np.kron(np.eye(v), np.full((1, m), 1 / m))
    weight = grammar.marginals(level + 1)[:, None] * emission
    return _Points(
        emission=emission,
        law=np.stack([np.repeat(law.parent_law / m, m) for law in laws]),
        context=np.repeat(mean, m, axis=0),
        parent=np.repeat(np.arange(v), m),
        spread=np.stack([np.repeat(law.spread, m) for law in laws]),
        gap=np.repeat(((mean - average) ** 2).sum(axis=2).T, m, axis=1),
        dims=np.array([law.dims for law in laws]),
        draws=1 if targets == "tokens_one" else grammar.s ** (grammar.L - level - 2),
        weight=weight.sum(axis=0),
        mean=average,
    )


def predicted_level_accuracy(
    grammar: Grammar, n: float, targets: TokenTargets, level: int, *, n_init: int = 10
) -> float:
    """Predict token ILC's Hungarian accuracy at one level whose inputs are true, without running it.

    Parameters
    ----------
    grammar : Grammar
    n : float
        Number of strings.
    targets : str
        A mode of :mod:`rhmlib.token_ilc`.
    level : int
        Level of the latents, 1 .. L-1.
    n_init : int, default=10
        Restarts of k-means.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    As :func:`rhmlib.ilc_theory.predicted_accuracy`, with its approximations and no fitted constant. That
    noise is isotropic in its effective dimensions is a rougher statement where there are many rare cells.
    """
    level = exact.check_level(grammar, level, least=1, most=grammar.L - 1)
    if not n > 0:
        raise ValueError(f"n must be positive. Found n={n}.")
    points = _token_points(grammar, level - 1, check_targets(targets))
    weight = grammar.marginals(level)[:, None]
    branches = _branches(points, n, grammar.v, n_init)
    total = sum(p for p, _ in branches)
    return sum(p * _hungarian(weight * _channel(points, code, grammar.v)) for p, code in branches) / total


def predicted_level_threshold(
    grammars: Grammar | Sequence[Grammar],
    targets: TokenTargets,
    level: int,
    *,
    accuracy: float = 0.9,
    n_init: int = 10,
    max_multiple: float = 1 << 16,
) -> float:
    """Predict the number of strings at which token ILC with true inputs learns one level.

    Parameters
    ----------
    grammars : Grammar or sequence of Grammar
        Of one shape; their mean accuracy counts.
    targets : str
        A mode of :mod:`rhmlib.token_ilc`.
    level : int
        1 .. L-1.
    accuracy : float, default=0.9
        In (0, 1).
    n_init : int, default=10
    max_multiple : float, default=65536
        The search ends at this multiple of v m**3.

    Returns
    -------
    float
        The first crossing on a grid of factors 2 from v m**3 / 16 on, log-linear in between; ``inf`` if
        there is none.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    many = [grammars] if isinstance(grammars, Grammar) else list(grammars)
    shapes = {(g.v, g.m, g.s, g.L) for g in many}
    if len(shapes) != 1:
        raise ValueError(f"grammars must be of one shape (v, m, s, L). Found {sorted(shapes)}.")
    if not 0 < accuracy < 1:
        raise ValueError(f"accuracy must be in (0, 1). Found accuracy={accuracy}.")
    scale = many[0].v * many[0].m ** 3

    def mean(n: float) -> float:
        return float(np.mean([predicted_level_accuracy(g, n, targets, level, n_init=n_init) for g in many]))

    before, n = 0.0, scale / 16
    while (reached := mean(n)) < accuracy:
        before, n = reached, 2 * n
        if n > scale * max_multiple:
            return math.inf
    return n * 0.5 ** ((reached - accuracy) / (reached - before))


# ---------------------------------------------------------------- (b) what visible neighbours do


def block_mask(s: int, level: int, position: int, k: int) -> Bools:
    """Hide the aligned block of s**k leaves around a leaf of a subtree of height `level`.

    Returns
    -------
    array of bool, shape (s**level,)
        True where hidden.

    Raises
    ------
    ValueError
        If k or the position is out of range.
    """
    if not 0 <= k <= level:
        raise ValueError(f"k must be in 0..{level}. Found k={k}.")
    _check_position(s, level, position)
    return np.arange(s**level) // s**k == position // s**k


def causal_mask(s: int, level: int, position: int) -> Bools:
    """Hide a leaf and all to the right of it, as next-token prediction does; as :func:`block_mask`."""
    _check_position(s, level, position)
    return np.arange(s**level) >= position


def random_masks(s: int, level: int, position: int, rate: float, n: int, rng: np.random.Generator) -> Bools:
    """Hide a leaf, and each other one with a probability.

    Returns
    -------
    array of bool, shape (n, s**level)

    Raises
    ------
    ValueError
        If the rate is not in 0..1 or the position is out of range.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be in 0..1. Found rate={rate}.")
    _check_position(s, level, position)
    mask = rng.random((n, s**level)) < rate
    mask[:, position] = True
    return mask


def _check_position(s: int, level: int, position: int) -> None:
    if not 0 <= position < s**level:
        raise ValueError(f"position must be in 0..{s**level - 1}. Found position={position}.")


@dataclass(frozen=True)
class Lift:
    """What the cousin's latent tells about a masked token, given the visible rest of its subtree.

    Attributes
    ----------
    information : float
        I(x; c | w) in nats: x the masked token, w the visible rest of its own level-l subtree, c the
        level-l symbol of the other subtree.
    token_entropy : float
        H(x | w) in nats: what is left to predict.
    signal : float
        E |P(x | w, c) - P(x | w)|**2, over w and c: the mean square of what the predictor must add.
    stderr : tuple of float
        Standard errors of the three; 0 where exact.
    exact : bool
        True if all strings were enumerated.
    """

    information: float
    token_entropy: float
    signal: float
    stderr: tuple[float, float, float]
    exact: bool


def joint_with_cousin(
    grammar: Grammar, level: int, tokens: ArrayLike, mask: ArrayLike, position: int, pair: ArrayLike
) -> Floats:
    """P(masked token, cousin's symbol | visible rest of the token's own subtree), exactly.

    Parameters
    ----------
    grammar : Grammar
    level : int
        Height of the subtree, 1 .. L-1.
    tokens : array of int, shape (n, s**level)
        Leaves of the subtree.
    mask : array of bool, shape (n, s**level)
        True where hidden; the token at `position` must be.
    position : int
    pair : array of float64, shape (v, v)
        Joint law of the symbol on top of the subtree and the cousin's symbol.

    Returns
    -------
    array of float64, shape (n, v, v)
        Indexed [string, token, cousin's symbol].

    Notes
    -----
    The subtrees beside the path from the token upwards enter by their upward messages, which are their
    posteriors under a uniform prior. O(n s**level v m + n level v**2 m) time.
    """
    tokens, mask, pair = np.asarray(tokens), np.asarray(mask), np.asarray(pair)
    v, m, s = grammar.v, grammar.m, grammar.s
    if not mask[:, position].all():
        raise ValueError(f"mask must hide the token at the position. Found it visible at {position}.")
    path = np.tile(np.eye(v), (len(tokens), 1, 1))  # P(token, visible part below | symbol on the path)
    for k in range(level):
        node = position // s**k
        rules = grammar.rules[k].astype(np.intp)
        weight = np.ones((len(tokens), v, m))
        for i in range(s):
            sibling = node - node % s + i
            if sibling == node:
                continue
            leaves = slice(sibling * s**k, (sibling + 1) * s**k)
            weight *= _message(grammar, k, tokens[:, leaves], mask[:, leaves])[:, rules[:, :, i]]
        path = np.einsum("nak,nxak->nxa", weight, path[:, :, rules[:, :, node % s]])
        path /= path.max(axis=(1, 2), keepdims=True)
    joint = path @ pair
    return np.asarray(joint / joint.sum(axis=(1, 2), keepdims=True))


def _message(grammar: Grammar, height: int, tokens: NDArray[Any], mask: Bools) -> Floats:
    """P(visible tokens | symbol above them) up to a factor a string, shape (n, v)."""
    if height == 0:
        return np.asarray(mask | (tokens == np.arange(grammar.v)), dtype=float)
    return posterior(Grammar(grammar.rules[:height]), tokens, mask, levels=[height]).root


def lift(
    grammar: Grammar,
    level: int,
    mask: ArrayLike,
    position: int,
    *,
    own: int = 1,
    cousin: int = 0,
    rng: np.random.Generator | None = None,
    n: int = 4000,
    max_exact: int = 1 << 16,
) -> Lift:
    """Measure what visible neighbours of a masked token leave for its cousins to tell.

    Parameters
    ----------
    grammar : Grammar
    level : int
        Level l of the latents, 1 .. L-1: the subtree that holds the token has height l, and the
        cousin's symbol c is of level l. The two subtrees are children of the first node of level l+1.
    mask : array of bool, shape (s**l,) or (n, s**l)
        True where a leaf of the subtree is hidden. Rows are masks of their own for the sampled strings.
    position : int
        The masked token, 0 .. s**l - 1, hidden by every mask.
    own, cousin : int
        Positions of the two subtrees. By default the token's is the second child: as in next-token
        prediction the cousin lies to the left.
    rng : numpy.random.Generator, optional
        For strings, where they are sampled; needed then.
    n : int, default=4000
        Strings that are sampled with a mask common to all of them.
    max_exact : int, default=65536
        With one common mask, all strings of the subtree are summed over if there are at most so many.

    Returns
    -------
    Lift

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    The posteriors are exact. Where strings are sampled, the averages over the visible rest are Monte Carlo
    means with standard errors.
    """
    level = exact.check_level(grammar, level, least=1, most=grammar.L - 1)
    v, s = grammar.v, grammar.s
    hidden = np.asarray(mask)
    if hidden.dtype != bool or hidden.ndim not in (1, 2) or hidden.shape[-1] != s**level:
        raise ValueError(
            f"mask must be of dtype bool and shape ({s**level},) or (n, {s**level}). "
            f"Found dtype {hidden.dtype}, shape {hidden.shape}."
        )
    _check_position(s, level, position)
    if own == cousin or not all(0 <= x < s for x in (own, cousin)):
        raise ValueError(f"own and cousin must differ and be in 0..{s - 1}. Found {own} and {cousin}.")
    pair = exact.pair_law(grammar, (level, own), (level, cousin))
    enumerated = hidden.ndim == 1 and _n_block_strings(grammar, level) <= max_exact
    if enumerated:
        tokens, symbols = block_strings(grammar, level)
        weight = pair.sum(axis=1)[symbols] * v / len(tokens)
        tokens, weight = tokens[weight > 0], weight[weight > 0]
    else:
        if rng is None:
            raise ValueError("rng must be given where strings are sampled. Found rng=None.")
        n = n if hidden.ndim == 1 else len(hidden)
        leaves = grammar.sample(n, rng).tokens
        tokens = leaves[:, own * s**level : (own + 1) * s**level]
        weight = np.full(n, 1 / n)
    hidden = np.broadcast_to(hidden, tokens.shape)
    values = np.concatenate(
        [
            _values(
                joint_with_cousin(grammar, level, tokens[i : i + 512], hidden[i : i + 512], position, pair)
            )
            for i in range(0, len(tokens), 512)
        ]
    )
    mean = weight @ values
    errors = np.zeros(3) if enumerated else values.std(axis=0, ddof=1) / math.sqrt(len(values))
    information, token_entropy, signal = (float(x) for x in mean)
    stderr = (float(errors[0]), float(errors[1]), float(errors[2]))
    return Lift(information, token_entropy, signal, stderr, enumerated)


def _values(joint: Floats) -> Floats:
    """Mutual information, entropy of the token and signal of each joint law, shape (n, 3)."""
    token, latent = joint.sum(axis=2), joint.sum(axis=1)
    information = entropy(token) + entropy(latent) - entropy(joint.reshape(len(joint), -1))
    given = joint / np.where(latent > 0, latent, 1)[:, None]
    signal = (((given - token[..., None]) ** 2).sum(axis=1) * latent).sum(axis=1)
    return np.stack([information, entropy(token), signal], axis=1)


def other_readings(v: int, m: int, s: int, level: int) -> float:
    """Expected number of other tokens that fit the visible rest of a subtree of height `level`: v f**level.

    Each of v tokens makes a grammatical tuple with the visible siblings with probability f, its
    parent does so one level up, and so on. Well above 1, the masked token shows much of what a cousin's
    latent tells about its neighbour; below, the rest gives the token away, and what is left for the
    cousin to tell falls by about f a level, so that hiding more leaves can help. To leading order in
    large v: a scaling argument.

    Parameters
    ----------
    v, m, s : int
    level : int

    Examples
    --------
    >>> [other_readings(16, 4, 2, level) for level in (1, 2, 3)]
    [4.0, 1.0, 0.25]
    """
    v, m, s, level = check_shape(v, m, s, level)
    return float(v * (m / v ** (s - 1)) ** level)


def strings_needed(grammar: Grammar, signal: float) -> float:
    """Strings at which a signal of one context shows: v m / signal (a scaling argument, no prediction).

    Each of the v m tuples must be seen about 1 / signal times, as in
    :mod:`rhmlib.signals`. With the signal of :func:`lift` this is a learner that shares what it finds
    over all visible rests, so that they cost no cells; one that keeps a cell for each visible rest is
    :func:`predicted_level_threshold` of "conditional". Constants of order one, the steps of an optimiser
    and the need to learn the levels below first are all left out.
    """
    if not signal >= 0:
        raise ValueError(f"signal must be non-negative. Found signal={signal}.")
    return math.inf if signal == 0 else grammar.v * grammar.m / signal


def lift_table(
    grammars: Sequence[Grammar], *, rates: Sequence[float], n: int, rng: np.random.Generator
) -> pd.DataFrame:
    """What the cousins tell about a masked token, by level and mask, for several grammars.

    Masks: one aligned block of s**k leaves, k = 0 .. l; all from the token on, for the first, middle and
    last token (next-token prediction); random ones at each rate. Tokens at the first leaf of
    the subtree where not said otherwise.

    Parameters
    ----------
    grammars : sequence of Grammar
    rates : sequence of float
        Mask rates in 0..1.
    n : int
        Strings sampled where they are not enumerated.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        Columns grammar (its number), level, mask ("block", "causal", "random"), size (k, the
        token's position, the rate), information, stderr, latent_information (I of the two level-l
        symbols: the most that can be told), token_entropy, signal and strings (:func:`strings_needed`).
    """
    rows: list[dict[str, Any]] = []
    for number, grammar in enumerate(grammars):
        s = grammar.s
        for level in range(1, grammar.L):
            joint = exact.pair_law(grammar, (level, 1), (level, 0))
            cap = float(entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1)) - entropy(joint.reshape(-1)))
            last = s**level - 1
            masks: list[tuple[str, float, int, Bools]] = [
                ("block", k, 0, block_mask(s, level, 0, k)) for k in range(level + 1)
            ]
            masks += [("causal", i, i, causal_mask(s, level, i)) for i in sorted({0, last // 2, last})]
            masks += [("random", r, 0, random_masks(s, level, 0, r, n, rng)) for r in rates]
            for name, size, position, mask in masks:
                found = lift(grammar, level, mask, position, rng=rng, n=n)
                rows.append(
                    {
                        "grammar": number,
                        "level": level,
                        "mask": name,
                        "size": size,
                        "information": found.information,
                        "stderr": found.stderr[0],
                        "latent_information": cap,
                        "token_entropy": found.token_entropy,
                        "signal": found.signal,
                        "strings": strings_needed(grammar, found.signal),
                    }
                )
    return pd.DataFrame(rows)
