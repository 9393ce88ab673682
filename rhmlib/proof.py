"""The steps of the recovery proof, each as something that can be measured (paper, Appendix B)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans

from rhmlib import exact, theory
from rhmlib.grammar import Grammar
from rhmlib.ilc import IterativeLatentClustering
from rhmlib.metrics import contingency

Floats = NDArray[np.float64]


def synonym_gap(grammar: Grammar, level: int, targets: exact.Targets = "one") -> float:
    """Largest difference between entries of two synonyms' context vectors: zero, says Lemma 1.

    The vectors are summed over all derivations (:func:`rhmlib.exact.tuple_contexts`), so that the lemma
    could fail here.
    """
    contexts = exact.tuple_contexts(grammar, level, targets)
    groups = contexts.reshape(grammar.v, grammar.m, -1)
    gaps = np.ptp(groups, axis=1)
    return float(gaps[~np.isnan(gaps)].max())


def parent_gap(grammar: Grammar, level: int, targets: exact.Targets = "one") -> float:
    """Mean distance between context vectors of different parents, to compare a gap of zero with."""
    distance = exact.contexts(grammar, level, targets).distances
    return float(np.nanmean(distance[np.triu_indices(grammar.v, 1)]))


def constants_table(
    shapes: Iterable[tuple[int, int, int]], L: int, seeds: Iterable[int], modes: Iterable[exact.Targets]
) -> pd.DataFrame:
    """Assumption 1's constants of random grammars of several shapes (v, m, s).

    Returns
    -------
    DataFrame
        Columns v, m, s, f, L, grammar_seed, targets, c_bal, c_sep and holds; a row a grammar and mode.
    """
    rows: list[dict[str, Any]] = []
    seeds, modes = list(seeds), list(modes)
    for v, m, s in shapes:
        for seed in seeds:
            grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=seed)
            shape = {"v": v, "m": m, "s": s, "f": grammar.f, "L": L, "grammar_seed": seed}
            for targets in modes:
                found = theory.assumption_constants(grammar, targets)
                row = {"targets": targets, "c_bal": found.c_bal, "c_sep": found.c_sep, "holds": found.holds}
                rows.append({**shape, **row})
    return pd.DataFrame(rows)


def concentration_radius(N: float, eta: float) -> float:
    """Radius of Lemma 2 with its constants: (1 + sqrt(log(1 / eta))) / sqrt(N).

    Parameters
    ----------
    N : float
        Number of times that the tuple was seen.
    eta : float
        Probability of failure, in (0, 1).

    Notes
    -----
    E|c_hat - c| <= N^(-1/2), and changing one of the N targets moves |c_hat - c| by at most sqrt(2) / N,
    so that McDiarmid gives P(|c_hat - c| > N^(-1/2) + t) <= exp(-N t^2).
    """
    if N < 1 or not 0 < eta < 1:
        raise ValueError(f"N must be >= 1 and eta in (0, 1). Found N={N}, eta={eta}.")
    return float((1 + np.sqrt(np.log(1 / eta))) / np.sqrt(N))


def scaled_deviations(mu: ArrayLike, N: int, draws: int, rng: np.random.Generator) -> Floats:
    """Draw sqrt(N) |c_hat - mu|, c_hat the mean of N one-hot vectors with mean mu, shape (draws,)."""
    mu = np.asarray(mu, dtype=float)
    c_hat = rng.multinomial(N, mu / mu.sum(), size=draws) / N
    return np.sqrt(N) * np.linalg.norm(c_hat - mu, axis=1)


def deviation_tail(x: ArrayLike) -> Floats:
    """Lemma 2's bound on P(sqrt(N) |c_hat - c| > x): exp(-(x - 1)^2) for x > 1, else 1."""
    return np.exp(-(np.maximum(np.asarray(x, dtype=float) - 1, 0) ** 2))


@dataclass(frozen=True)
class InductionStep:
    """One level of the induction, on one data set.

    Attributes
    ----------
    level : int
        Level of the tuples, 0 .. L-2.
    inherited : bool
        Whether the codes of this level are the true symbols, renamed.
    difference : float
        Largest difference between the context vectors that ILC computes from its own codes and
        those computed from the true symbols, after undoing the renaming; NaN if not inherited.
    accuracy : float
        Hungarian accuracy of the next level.
    """

    level: int
    inherited: bool
    difference: float
    accuracy: float


def induction(
    grammar: Grammar, n: int, rng: np.random.Generator, *, random_state: int = 0
) -> list[InductionStep]:
    """Follow the induction of Theorem 2: own codes give the oracle's context vectors, renamed.

    Parameters
    ----------
    grammar : Grammar
    n : int
        Strings.
    rng : numpy.random.Generator
    random_state : int
        Of k-means.

    Returns
    -------
    list of InductionStep
        One a level 0 .. L-2.
    """
    sample = grammar.sample(n, rng)
    ilc = IterativeLatentClustering(v=grammar.v, s=grammar.s, random_state=random_state).fit(sample.tokens)
    codes = [sample.tokens, *ilc.transform(sample.tokens)]
    scores = ilc.level_scores(sample.tokens, sample.levels)
    steps = []
    for level in range(grammar.L - 1):
        table = contingency(codes[level], sample.levels[level])
        inherited = bool((np.count_nonzero(table, axis=1) <= 1).all())
        difference = np.nan
        if inherited:
            oracle = IterativeLatentClustering(v=grammar.v, s=grammar.s, random_state=random_state)
            oracle.fit(sample.levels[level])
            difference = _renamed_difference(ilc, oracle, level, table)
        steps.append(InductionStep(level, inherited, difference, scores[level]))
    return steps


def _renamed_difference(
    ilc: IterativeLatentClustering, oracle: IterativeLatentClustering, level: int, table: NDArray[np.int64]
) -> float:
    """Largest entry of |own - oracle| once own tuples and targets carry the true names."""
    padded = np.zeros((max(table.shape),) * 2, dtype=np.int64)
    padded[: table.shape[0], : table.shape[1]] = table
    name = linear_sum_assignment(padded, maximize=True)[1]
    own = {tuple(name[u]): c for u, c in zip(ilc.tuples_[level], ilc.contexts_[level], strict=True)}
    worst = 0.0
    for u, c in zip(oracle.tuples_[0], oracle.contexts_[0], strict=True):
        worst = max(worst, float(np.abs(own[tuple(u)] - c[name[: len(c)]]).max()))
    return worst


def clustering_success(
    centres: ArrayLike,
    m: int,
    radius: float,
    trials: int,
    rng: np.random.Generator,
    *,
    toward_nearest: bool = False,
    n_init: int = 10,
) -> float:
    """Fraction of trials in which k-means finds the true partition of displaced points.

    Tests Assumption 2: m points a centre, all displaced by `radius` times the least distance Delta
    between centres. The paper assumes success for radius <= 1/8.

    Parameters
    ----------
    centres : array of shape (v, k)
        Pairwise different.
    m : int
        Points a centre.
    radius : float
        Displacement in units of Delta.
    trials : int
    rng : numpy.random.Generator
    toward_nearest : bool
        Displace every point along the line to the nearest other centre, toward it or away from it,
        instead of in a random direction.
    n_init : int
        Restarts of k-means.

    Returns
    -------
    float
    """
    centres = np.asarray(centres, dtype=float)
    v = len(centres)
    distance = np.linalg.norm(centres[:, None] - centres[None], axis=-1) + np.diag(np.full(v, np.inf))
    delta, truth, wins = float(distance.min()), np.repeat(np.arange(v), m), 0
    if not delta > 0:
        raise ValueError("centres must be pairwise different. Found two that are equal.")
    for _ in range(trials):
        if toward_nearest:
            step = np.repeat(centres[distance.argmin(axis=1)] - centres, m, axis=0)
            step *= rng.choice((-1.0, 1.0), size=(v * m, 1))
        else:
            step = rng.normal(size=(v * m, centres.shape[1]))
        step *= radius * delta / np.linalg.norm(step, axis=1, keepdims=True)
        seed = int(rng.integers(2**31))
        points = centres[truth] + step
        if len(np.unique(points, axis=0)) < v:
            continue
        table = contingency(KMeans(v, n_init=n_init, random_state=seed).fit(points).labels_, truth)
        wins += bool((np.count_nonzero(table, axis=1) == 1).all() and len(table) == v)
    return wins / trials
