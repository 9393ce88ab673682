"""One step of ILC on real code: tuples of tokens, clustered by what is beside them.

See :mod:`rhmlib.real_trees` for what was predicted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score

from rhmlib.metrics import level_metrics
from rhmlib.real_trees import tokens_below
from rhmlib.syntax_trees import Ints, Trees

CONTEXTS = ("latents", "tokens", "beside")
# Longest tuple that is clustered, counts of a rare one, and numbers of tuples that are counted.
LONGEST, RARE = 5, 10
SIZES = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)


def tuple_table(trees: Trees, rng: np.random.Generator) -> dict[str, Ints]:
    """List tuples of 2 to `LONGEST` tokens that are all that is below a node, with their contexts.

    Returns
    -------
    dict of str to array
        `tuple` (the token types in one number), `type` (of the node), `file`, and for each of `CONTEXTS` an
        array of shape (tuples, 2), left and right: the type of the nearest node beside, a random token below
        that node, and the token beside; the number of names where there is none.
    """
    base, nothing = len(trees.names) + 1, len(trees.names)
    at = np.flatnonzero((trees.count > 1) & (trees.leaves >= 2) & (trees.leaves <= LONGEST))
    code = np.zeros(len(at), dtype=np.int64)
    for i in range(LONGEST):
        inside = i < trees.leaves[at]
        symbol = trees.text[np.minimum(trees.start[at] + i, len(trees.text) - 1)]
        code = code * base + np.where(inside, symbol + 1, 0)
    context = {name: np.full((len(at), 2), nothing) for name in CONTEXTS}
    ends = np.searchsorted(trees.file, np.arange(trees.file.max() + 2))
    roots = ends[:-1]
    for side, step in enumerate((-1, 1)):
        token = trees.start[at] - 1 if step < 0 else trees.start[at] + trees.leaves[at]
        root = roots[trees.file[at]]
        there = (token >= trees.start[root]) & (token < trees.start[root] + trees.leaves[root])
        context["beside"][there, side] = trees.text[token[there]]
        near = _beside(trees, at, step)
        there = near >= 0
        context["latents"][there, side] = trees.symbol[near[there]]
        context["tokens"][there, side] = trees.symbol[tokens_below(trees, near[there], rng)]
    return {"tuple": code, "type": trees.symbol[at], "file": trees.file[at], **context}


def _beside(trees: Trees, node: Ints, step: int) -> Ints:
    """Nearest sibling on one side that is no token, of the node or of its lowest ancestor with siblings."""
    up = trees.parent[node]
    while (alone := (up >= 0) & (trees.count[up] == 1)).any():
        node, up = np.where(alone, up, node), np.where(alone, trees.parent[up], up)
    low, high = trees.first[up], trees.first[up] + trees.count[up]
    near = node + step
    last = len(trees.count) - 1
    while (skip := (near >= low) & (near < high) & (trees.count[np.clip(near, 0, last)] == 0)).any():
        near = np.where(skip, near + step, near)
    return np.where((up >= 0) & (near >= low) & (near < high), near, -1)


def cluster_tuples(
    train: dict[str, Ints], test: dict[str, Ints], context: str, v: int, seed: int
) -> dict[str, Any]:
    """Cluster tuples by the mean of their contexts, as ILC does, and score the codes on other tuples.

    Parameters
    ----------
    train, test : dict
        As :func:`tuple_table` returns.
    context : str
        One of `CONTEXTS`.
    v : int
        Codes, at most.
    seed : int
        Of k-means. A tuple weighs as much as it occurs.

    Returns
    -------
    dict
        Of :func:`rhmlib.metrics.level_metrics`, and adjusted mutual information of codes and types, on all of
        `test` and on tuples that were counted `RARE` times at most. Tuples that were never seen have the code
        of the mean context.
    """
    tuples, at, counts = np.unique(train["tuple"], return_inverse=True, return_counts=True)
    width = int(max(train[context].max(), test[context].max())) + 1
    mean = np.zeros((len(tuples), 2 * width))
    for side in (0, 1):
        np.add.at(mean, (at, side * width + train[context][:, side]), 1)
    mean /= counts[:, None]
    found = KMeans(min(v, len(np.unique(mean, axis=0))), n_init=10, random_state=seed)
    labels = found.fit_predict(mean, sample_weight=counts)
    fallback = found.predict(np.average(mean, axis=0, weights=counts)[None])[0]
    where = np.minimum(np.searchsorted(tuples, test["tuple"]), len(tuples) - 1)
    codes = np.where(tuples[where] == test["tuple"], labels[where], fallback).astype(np.intp)
    often = np.where(tuples[where] == test["tuple"], counts[where], 0)
    rare = (often > 0) & (often <= RARE)
    agreement = {
        name: float(adjusted_mutual_info_score(test["type"][which], codes[which])) if which.any() else None
        for name, which in (("adjusted_information", often >= 0), ("rare_information", rare))
    }
    return {**level_metrics(codes, test["type"]), **agreement}


def agreement_table(trees: Trees, n_test: int, seed: int) -> list[dict[str, Any]]:
    """Cluster the first tuples of the files, by each context and at each size, and score the last `n_test`.

    Returns
    -------
    list of dict
        Quantity "agreement", the context as `kind`, `tuples` (counted), and value, the Hungarian accuracy,
        with the other metrics; of no context: "best", where each tuple has the type that it has most often
        among those counted, and "one code", the share of the most frequent type.
    """
    table = tuple_table(trees, np.random.default_rng([seed, 1]))
    table["type"] = np.unique(table["type"], return_inverse=True)[1]
    order = np.argsort(table["file"], kind="stable")
    n_test = min(n_test, len(order) // 3)
    limit = table["file"][order[-n_test]]  # no file is on both sides
    rest = order[table["file"][order] < limit]
    test = {name: part[order[-n_test:]] for name, part in table.items()}
    v = int(table["type"].max()) + 1
    rows: list[dict[str, Any]] = []
    for size in [n for n in SIZES if n <= len(rest)]:
        train = {name: part[rest[:size]] for name, part in table.items()}
        row = {"quantity": "agreement", "tuples": size}
        for context in CONTEXTS:
            found = cluster_tuples(train, test, context, v, seed)
            rows.append({**row, "kind": context, "value": found.pop("hungarian_accuracy"), **found})
        rows.append({**row, "kind": "best", "value": _best(train, test, v)})
        rows.append({**row, "kind": "one code", "value": float(np.bincount(test["type"]).max() / n_test)})
    return rows


def _best(train: dict[str, Ints], test: dict[str, Ints], v: int) -> float:
    """Accuracy on `test` where each tuple has the type that it has most often in `train`."""
    tuples, at = np.unique(train["tuple"], return_inverse=True)
    counts = np.bincount(at * v + train["type"], minlength=len(tuples) * v).reshape(-1, v)
    where = np.minimum(np.searchsorted(tuples, test["tuple"]), len(tuples) - 1)
    known = tuples[where] == test["tuple"]
    return float((known & (counts.argmax(1)[where] == test["type"])).mean())
