"""Tokens a second of the sampler against int64 fancy indexing, the field's usual way, in one run.

Run with one thread on an idle machine: OMP_NUM_THREADS=1 python benchmarks/sampling.py
"""

import time

import numpy as np

from rhmlib import Grammar
from rhmlib.sampling import sample

N, REPEATS = 1_000_000, 7


def fancy_indexing(rules, v, n, rng):
    """Sample by int64 fancy indexing, all latents kept: the plain way to write it."""
    levels = [rng.integers(0, v, size=(n, 1))]
    for table in reversed(rules):
        choice = rng.integers(0, table.shape[1], size=levels[-1].shape)
        levels.append(table[levels[-1], choice].reshape(n, -1))
    return levels


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main():
    grammar = Grammar.random(v=16, m=4, s=2, L=4, seed=0)
    rules = [r.astype(np.int64) for r in grammar.rules]
    rng = np.random.default_rng(0)
    ours, plain = [], []
    for _ in range(REPEATS):  # in turn, so that a change of the machine's speed meets both
        ours.append(seconds(lambda: sample(grammar, N, rng)))
        plain.append(seconds(lambda: fancy_indexing(rules, grammar.v, N, rng)))
    tokens = N * grammar.n_tokens
    print(f"{grammar}, {N:,} strings, median of {REPEATS}")
    print(f"rhmlib          {tokens / np.median(ours) / 1e6:7.0f} million tokens/s")
    print(f"fancy indexing  {tokens / np.median(plain) / 1e6:7.0f} million tokens/s")
    print(f"ratio           {np.median(np.array(plain) / np.array(ours)):7.1f}")


if __name__ == "__main__":
    main()
