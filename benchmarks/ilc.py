"""One ILC fit against the plain way to write it (dictionaries and loops), in one run.

Run with one thread on an idle machine: OMP_NUM_THREADS=1 python benchmarks/ilc.py
"""

import time
from collections import defaultdict

import numpy as np
from sklearn.cluster import KMeans

from rhmlib import Grammar, IterativeLatentClustering
from rhmlib.metrics import hungarian_accuracy

REPEATS = 3


def plain_ilc(tokens, v, s, random_state):
    """Algorithm 1 with all cousin targets, one string and one tuple at a time."""
    while tokens.shape[1] > s:
        contexts = defaultdict(lambda: np.zeros((s, s - 1, s, v)))
        for string in tokens:
            for start in range(0, len(string), s * s):
                patches = string[start : start + s * s].reshape(s, s)
                for p in range(s):
                    for i, q in enumerate(q for q in range(s) if q != p):
                        contexts[tuple(patches[p])][p, i, np.arange(s), patches[q]] += 1
        seen = list(contexts)
        counts = np.stack([contexts[u] for u in seen])
        total = counts.sum(axis=-1, keepdims=True)
        mean = counts.sum(axis=0) / counts.sum(axis=(0, -1), keepdims=True)[0]
        vectors = np.where(total > 0, counts / np.maximum(total, 1), mean).reshape(len(seen), -1)
        labels = KMeans(v, n_init=10, random_state=random_state).fit(vectors).labels_
        code = dict(zip(seen, labels, strict=True))
        tokens = np.array([[code[tuple(u)] for u in string.reshape(-1, s)] for string in tokens])
    return tokens


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(m):
    grammar = Grammar.random(v=16, m=m, s=2, L=4, seed=0)
    tokens = grammar.sample(16 * 16 * m**3, np.random.default_rng(0)).tokens
    ilc = IterativeLatentClustering(v=16, targets="all", random_state=0)
    assert hungarian_accuracy(ilc.fit(tokens).predict(tokens), plain_ilc(tokens, 16, 2, 0)) > 0.99
    ours = [seconds(lambda: ilc.fit(tokens)) for _ in range(REPEATS)]
    plain = [seconds(lambda: plain_ilc(tokens, 16, 2, 0)) for _ in range(REPEATS)]
    print(
        f"{grammar}, {len(tokens):,} strings: rhmlib {np.median(ours):.3f} s, "
        f"plain {np.median(plain):.2f} s, ratio {np.median(plain) / np.median(ours):.0f}"
    )


if __name__ == "__main__":
    for m in (4, 8):
        compare(m)
