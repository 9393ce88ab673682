"""Correlations in parse trees of real code: Python's own standard library, read by `ast` and `tokenize`.

The paper's main lesson is that latents of one level are far more correlated with each other than with
tokens. Here it meets trees that nobody designed for it. A visible token (a keyword, an operator, NAME,
NUMBER or STRING) is a leaf of height 0; its latents are the syntax nodes above it, each with a type (Call,
BinOp, If, ...) and a height, the longest way down to a token. Only counts leave this module, and no text of
the library.

Two symbols of a pair are compared by their mutual information with pairs of the same *stratum* (heights of
both, steps from each up to their lowest common ancestor), less that of pairs that are shuffled within file
and stratum: what a file's own vocabulary makes alike, and most of the bias of counting, go out with it.

**Predicted before anything was measured** (the model's lesson, carried over as it is):

1. Information falls with the tree distance d, from 2 to 8, for pairs of tokens, of a token and a node, and
   of nodes of equal height: the slope of log information against d is negative, with its 95 % interval, for
   all three.
2. In the model distance alone counts, not the kind of symbol: the three slopes agree within a factor of
   1.5, and at equal d informations agree within a factor of 3.
3. Of one and the same pair of nodes, of equal height h = 2, 3, 4, their types tell more about each other
   than one type about a token below the other node, and this more than two tokens below; the ratio of the
   first to the last grows with h. At h = 1 a type is little more than a name for its token: no advantage is
   predicted there.
4. Tuples of token types, clustered by contexts of latents (types of the neighbouring nodes), agree better
   with the type of the node above them than by contexts of tokens (one under each of the same neighbours),
   at every size of the corpus, and get to the accuracy that tokens have at the largest size from at most a
   quarter of the tuples. Against the two tokens that stand beside the tuple the outcome is open: they are a
   stronger rival, as the model has no punctuation. Latents are predicted to win, with less confidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from rhmlib.syntax_trees import Ints, Trees

Floats = NDArray[np.float64]
KINDS = ("tokens", "token and node", "nodes")
DISTANCES, HEIGHTS = range(2, 9), (1, 2, 3, 4)
# Pairs that a stratum must have.
LEAST = 500


# ---------------------------------------------------------------- pairs and their information


def _below(trees: Trees, node: Ints, steps: int, rng: np.random.Generator) -> Ints:
    """Walk down by random children, `steps` times; -1 where there are none left."""
    for _ in range(steps):
        step = (rng.random(len(node)) * trees.count[node]).astype(np.intp)
        node = np.where((node >= 0) & (trees.count[node] > 0), trees.first[node] + step, -1)
    return node


def tokens_below(trees: Trees, node: Ints, rng: np.random.Generator) -> Ints:
    """Walk down from each node by random children to a token."""
    while (inner := trees.count[node] > 0).any():
        node = np.where(inner, _below(trees, node, 1, rng), node)
    return node


def draw_pairs(
    trees: Trees, up: int, down: int, heights: tuple[int, int], n: int, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Draw pairs of nodes, the second to the right of the first.

    Parameters
    ----------
    trees : Trees
    up, down : int
        Steps from the first to the lowest common ancestor, and from there to the second: up + down is the
        tree distance.
    heights : (int, int)
        Of the two nodes.
    n : int
        First nodes that are tried, at most; each has one partner, or none.
    rng : numpy.random.Generator

    Returns
    -------
    first, second : arrays of int, shape (pairs,)
    """
    left = np.flatnonzero(trees.height == heights[0])
    if len(left) > n:
        left = np.sort(rng.choice(left, n, replace=False))
    branch = left
    for _ in range(up - 1):
        branch = np.where(branch >= 0, trees.parent[branch], -1)
    top = np.where(branch >= 0, trees.parent[branch], -1)
    further = np.where(top >= 0, trees.first[top] + trees.count[top] - 1 - branch, 0)
    left, branch, further = (part[further > 0] for part in (left, branch, further))
    right = _below(trees, branch + 1 + (rng.random(len(left)) * further).astype(np.intp), down - 1, rng)
    fits = (right >= 0) & (trees.height[right] == heights[1])
    return left[fits], right[fits]


def deranged(file: Ints, rng: np.random.Generator) -> Ints:
    """Give each pair a partner of the same file: never itself, or -1 where the file has no other."""
    order = np.lexsort((rng.random(len(file)), file))
    sizes = np.bincount(file)[file[order]]
    begins = np.searchsorted(file[order], file[order])
    following = order[begins + (np.arange(len(order)) - begins + 1) % sizes]
    partner = np.empty(len(file), dtype=np.intp)
    partner[order] = np.where(sizes > 1, following, -1)
    return partner


def information(x: ArrayLike, y: ArrayLike, file: Ints, weights: Floats) -> Floats:
    """Mutual information in nats, corrected after Miller and Madow, under several weightings of the files.

    Parameters
    ----------
    x, y : arrays of int, shape (pairs,)
    file : array of int, shape (pairs,)
    weights : array, shape (weightings, files)
        How often each file counts; a row of ones for the sample itself.

    Returns
    -------
    array, shape (weightings,)
    """
    x, y = (np.unique(np.asarray(part), return_inverse=True)[1] for part in (x, y))
    cells, cell = np.unique(x * (y.max() + 1) + y, return_inverse=True)
    counts = csr_matrix((np.ones(len(cell)), (file, cell)), shape=(weights.shape[1], len(cells)))
    joint = np.asarray((counts.T @ weights.T).T)
    one = np.ones(len(cells))
    sides = [csr_matrix((one, (np.arange(len(cells)), s))) for s in divmod(cells, y.max() + 1)]
    return sum(_entropy(np.asarray(joint @ side)) for side in sides) - _entropy(joint)


def _entropy(counts: Floats) -> Floats:
    """Entropy in nats of each row of counts, with half an occupied cell less one over their number added."""
    total = counts.sum(1)
    log = np.log(counts, where=counts > 0, out=np.zeros_like(counts))
    return np.log(total) - (counts * log).sum(1) / total + ((counts > 0).sum(1) - 1) / (2 * total)


def connected(
    x: Ints, y: Ints, file: Ints, weights: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Information of pairs, less that of pairs shuffled within their file.

    Returns
    -------
    connected, shuffled, null : arrays, shape (weightings,)
        The difference, what was subtracted, and the information of pairs shuffled over all files, which is
        0 but for noise. A file that is drawn twice adds counts and no cells, which biases resamples: their
        differences are shifted so that their mean is the sample's.
    """
    partner = deranged(file, rng)
    x, y, file, other = (part[partner >= 0] for part in (x, y, file, y[partner]))
    shuffled = information(x, other, file, weights)
    null = information(x, rng.permutation(y), file, weights)
    found = information(x, y, file, weights) - shuffled
    found[1:] += found[0] - found[1:].mean() if len(found) > 1 else 0.0
    return found, shuffled, null


def strata(kind: str, distance: int, heights: Iterable[int]) -> list[tuple[int, int, tuple[int, int]]]:
    """All (up, down, heights) of one kind of pairs at a distance."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}. Found kind={kind!r}.")
    sides = {
        "tokens": [(0, 0)],
        "token and node": [pair for h in heights for pair in ((0, h), (h, 0))],
        "nodes": [(h, h) for h in heights],
    }[kind]
    return [(up, distance - up, pair) for up in range(1, distance) for pair in sides]


def file_weights(files: int, n_bootstrap: int, rng: np.random.Generator) -> Floats:
    """Once all files, then `n_bootstrap` times as many drawn with replacement, (1 + n_bootstrap, files)."""
    drawn = rng.multinomial(files, np.full(files, 1 / files), size=n_bootstrap)
    return np.vstack([np.ones(files), drawn]).astype(np.float64)


def with_interval(values: Floats) -> dict[str, float]:
    """Value of the sample, and 95 % of those of the resamples after it."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return {"value": float(values[0]), "low": float(low), "high": float(high)}


def information_table(
    trees: Trees, n: int, weights: Floats, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Connected information against distance, its slopes, and what they are to each other.

    Returns
    -------
    list of dict
        `quantity`, `kind`, `height` (0: all together), `distance`, and value, low and high. Quantities:
        "information" (also pairs, shuffled, null, and entropy, the mean of both symbols'), "slope" (of its
        logarithm, a step), and "slope to tokens" and "times tokens" (over those of pairs of tokens).
    """
    known: dict[tuple[str, int, int], Floats] = {}
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        for distance in DISTANCES:
            parts = [_stratum(trees, one, n, weights, rng) for one in strata(kind, distance, HEIGHTS)]
            for height in (0, *HEIGHTS) if kind == "nodes" else (0,):
                mine = [part for part in parts if part and height in (0, part["height"])]
                if not mine:
                    continue
                share = np.array([part["pairs"] for part in mine])
                mean = {
                    name: (np.array([part[name] for part in mine]) * share).sum(0) / share.sum(0)
                    for name in ("connected", "shuffled", "null", "entropy")
                }
                known[kind, height, distance] = mean["connected"]
                row = {"quantity": "information", "kind": kind, "height": height, "distance": distance}
                rest = {name: float(mean[name][0]) for name in ("shuffled", "null", "entropy")}
                rows.append(
                    {**row, **with_interval(mean["connected"]), "pairs": int(share[:, 0].sum()), **rest}
                )
    slopes = {
        key: slope([known[*key, d] for d in DISTANCES])
        for key in {(kind, height) for kind, height, _ in known}
        if all((*key, d) in known for d in DISTANCES)
    }
    for (kind, height), found in sorted(slopes.items()):
        row = {"kind": kind, "height": height, "distance": 0}
        rows.append({"quantity": "slope", **row, **with_interval(found)})
        if ("tokens", 0) in slopes:
            rows.append({"quantity": "slope to tokens", **row, **with_interval(found / slopes["tokens", 0])})
    for (kind, height, d), found in known.items():
        if ("tokens", 0, d) not in known:
            continue
        row = {"quantity": "times tokens", "kind": kind, "height": height, "distance": d}
        rows.append({**row, **with_interval(found / known["tokens", 0, d])})
    return rows


def slope(values: Sequence[Floats]) -> Floats:
    """Least-squares slope of log information against distance, (distances, W) -> (W,)."""
    y = np.log(np.maximum(np.array(values), 1e-6))
    x = np.arange(len(values)) - (len(values) - 1) / 2
    return x @ y / (x @ x)


def _stratum(
    trees: Trees, one: tuple[int, int, tuple[int, int]], n: int, weights: Floats, rng: np.random.Generator
) -> dict[str, Any]:
    """Information of the pairs of one stratum; nothing where there are too few."""
    left, right = draw_pairs(trees, *one, n, rng)
    if len(left) < LEAST:
        return {}
    symbols = trees.symbol[left], trees.symbol[right]
    file = trees.file[left]
    names = ("connected", "shuffled", "null")
    found = dict(zip(names, connected(*symbols, file, weights, rng), strict=True))
    entropy = sum(_entropy(np.bincount(s)[None].astype(np.float64)) for s in symbols) / 2
    pairs = weights @ np.bincount(file, minlength=weights.shape[1])
    return {**found, "entropy": np.broadcast_to(entropy, len(weights)), "pairs": pairs, "height": one[2][0]}


def matched_table(trees: Trees, n: int, weights: Floats, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Information of types, of a type and a token, and of tokens, at the very same pairs of nodes.

    Returns
    -------
    list of dict
        As of :func:`information_table`, for nodes of equal height and as many steps up as down: quantity
        "matched" with the kinds "nodes", "token and node" (mean of both ways) and "tokens" (a random one
        below each node), and "advantage": nodes over tokens.
    """
    rows: list[dict[str, Any]] = []
    for height in HEIGHTS:
        for steps in (1, 2, 3):
            pair = draw_pairs(trees, steps, steps, (height, height), n, rng)
            if len(pair[0]) < LEAST:
                continue
            a, b = (trees.symbol[node] for node in pair)
            x, y = (trees.symbol[tokens_below(trees, node, rng)] for node in pair)
            file = trees.file[pair[0]]
            found = {
                name: np.mean([connected(*one, file, weights, rng)[0] for one in both], axis=0)
                for name, both in zip(KINDS, ([(x, y)], [(a, y), (x, b)], [(a, b)]), strict=True)
            }
            row = {"height": height, "distance": 2 * steps, "pairs": len(a)}
            rows += [
                {"quantity": "matched", "kind": kind, **row, **with_interval(values)}
                for kind, values in found.items()
            ]
            ratio = found["nodes"] / np.maximum(found["tokens"], 1e-6)
            rows.append({"quantity": "advantage", "kind": "nodes", **row, **with_interval(ratio)})
    return rows
