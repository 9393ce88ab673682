"""Iterative Latent Clustering from inside: each level's contexts, clusters and errors as n grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA

from rhmlib import exact
from rhmlib.grammar import Grammar
from rhmlib.ilc import IterativeLatentClustering
from rhmlib.metrics import contingency, hungarian_accuracy
from rhmlib.sampling import Sample

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """What ILC sees and finds at one level, from n strings.

    Attributes
    ----------
    n : int
    level : int
        Level of the tuples, 0 .. L-2; their parents are of level + 1.
    points : array of float64, shape (D, 2)
        Empirical context vectors of the D tuples that were seen, in the plane of the exact centres.
    centres : array of float64, shape (v, 2)
        Exact context vectors of the parents, in that plane; the same for every n.
    parents : array of int, shape (D,)
        True parent of a tuple. Where the codes below are wrong a tuple of codes may stand for
        several true ones: the parent that it has most often.
    right : array of bool, shape (D,)
        Whether the tuple's cluster is the one that stands for this parent.
    counts : array of int64, shape (D,)
        How often the tuple was counted.
    accuracy : float
        Hungarian accuracy of the level-(level + 1) codes of fresh strings.
    distance : float
        Mean distance of a context vector to the exact centre of its parent, in the whole space.
    """

    n: int
    level: int
    points: Floats
    centres: Floats
    parents: NDArray[np.intp]
    right: NDArray[np.bool_]
    counts: NDArray[np.int64]
    accuracy: float
    distance: float


def steps(
    grammar: Grammar,
    sizes: Sequence[int],
    rng: np.random.Generator,
    *,
    targets: exact.Targets = "all",
    n_test: int = 1000,
    random_state: int = 0,
) -> dict[int, list[Step]]:
    """Run ILC on growing samples, the smaller ones contained in the larger, and keep what it sees.

    Parameters
    ----------
    grammar : Grammar
    sizes : sequence of int
        Numbers of strings n.
    rng : numpy.random.Generator
        Draws the strings.
    targets : {"one", "all"}
        As in :class:`rhmlib.ilc.IterativeLatentClustering`.
    n_test : int
        Fresh strings that are scored.
    random_state : int
        Seed of k-means.

    Returns
    -------
    dict of n to list of L-1 Steps

    Raises
    ------
    ValueError
        If `sizes` is empty or holds a number below 1.
    """
    if not sizes or min(sizes) < 1:
        raise ValueError(f"sizes must be at least one number >= 1. Found sizes={list(sizes)}.")
    strings, fresh = grammar.sample(max(sizes), rng), grammar.sample(n_test, rng)
    exact_centres = [
        exact.contexts(grammar, level, targets).parent_contexts for level in range(grammar.L - 1)
    ]
    planes = [PCA(n_components=2, svd_solver="full").fit(mu[~np.isnan(mu).any(1)]) for mu in exact_centres]
    out = {}
    for n in sizes:
        ilc = IterativeLatentClustering(v=grammar.v, s=grammar.s, targets=targets, random_state=random_state)
        ilc.fit(strings[:n].tokens)
        out[n] = _levels(ilc, strings[:n], fresh, exact_centres, planes)
    return out


def _levels(
    ilc: IterativeLatentClustering, train: Sample, fresh: Sample, mus: Sequence[Floats], planes: Sequence[Any]
) -> list[Step]:
    """One step a level."""
    v, s = train.grammar.v, train.grammar.s
    codes = [train.tokens, *ilc.transform(train.tokens)]
    found = [fresh.tokens, *ilc.transform(fresh.tokens)]
    names = [np.arange(v), *(renaming(a, z, v) for a, z in zip(found[1:], fresh.levels[1:-1], strict=True))]
    out = []
    for level, (mu, plane) in enumerate(zip(mus, planes, strict=True)):
        vectors = _renamed(ilc.contexts_[level], names[level])
        parents = true_parents(ilc.tuples_[level], codes[level], train.levels[level + 1], v, s)
        step = Step(
            n=len(train),
            level=level,
            points=plane.transform(vectors),
            centres=plane.transform(np.nan_to_num(mu, nan=float(np.nanmean(mu)))),
            parents=parents,
            right=names[level + 1][ilc.labels_[level]] == parents,
            counts=ilc.counts_[level],
            accuracy=hungarian_accuracy(found[level + 1], fresh.levels[level + 1]),
            distance=float(np.nanmean(np.linalg.norm(vectors - mu[parents], axis=1))),
        )
        out.append(step)
    return out


def renaming(codes: NDArray[Any], latents: NDArray[Any], v: int) -> NDArray[np.intp]:
    """Symbol that each code stands for under the best one-to-one matching, shape (v,).

    Parameters
    ----------
    codes, latents : arrays of int below v, of one shape
    v : int

    Returns
    -------
    array of int
        A permutation of 0 .. v-1; a code that does not occur gets a symbol that is left.
    """
    seen = contingency(codes, latents)
    table = np.zeros((v, v), dtype=np.int64)
    table[: seen.shape[0], : seen.shape[1]] = seen
    return np.asarray(linear_sum_assignment(table, maximize=True)[1], dtype=np.intp)


def true_parents(
    tuples: NDArray[Any], codes: NDArray[Any], latents: NDArray[Any], v: int, s: int
) -> NDArray[np.intp]:
    """True parent that each tuple of codes has most often, shape (D,).

    Parameters
    ----------
    tuples : array of int, shape (D, s)
        Each occurs in `codes`.
    codes : array of int, shape (n, k s)
    latents : array of int, shape (n, k)
        True symbols one level up.
    """
    digits = v ** np.arange(s - 1, -1, -1)
    occurring = codes.reshape(*latents.shape, s).astype(np.intp) @ digits
    _, where = np.unique(occurring, return_inverse=True)
    table = contingency(where.reshape(latents.shape), latents)
    rows = np.searchsorted(np.unique(occurring), tuples.astype(np.intp) @ digits)
    return np.asarray(table[rows].argmax(axis=1))


def _renamed(contexts: Floats, names: NDArray[np.intp]) -> Floats:
    """Order the entries of every block of the context vectors by symbol instead of by code."""
    blocks = contexts.reshape(len(contexts), -1, len(names))
    out = np.empty_like(blocks)
    out[..., names] = blocks
    return out.reshape(contexts.shape)
