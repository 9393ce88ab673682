"""Time belief propagation on all single-token maskings against a plain loop over strings.

    python benchmarks/belief_propagation.py [--strings 1024] [--v 16] [--m 4] [--L 4] [--naive 24]

Three ways to the law of every token given the others: the messages of one full pass, which exclude
the token itself (`token_predictions`); one problem per (string, masked position), vectorised
(`posterior` with a batch of masks); and messages in Python loops, one string, mask, node and rule at a
time, timed on a few strings and scaled up. Run it with OMP_NUM_THREADS=1 for one core.
"""

import argparse
import time

import numpy as np

from rhmlib.belief_propagation import posterior, token_predictions
from rhmlib.grammar import Grammar


def naive_prediction(grammar, string, hidden):
    """Law of the hidden token of one string by upward and downward messages in plain loops."""
    v, m, s, L = grammar.v, grammar.m, grammar.s, grammar.L
    up = [[np.ones(v) if i == hidden else np.eye(v)[x] for i, x in enumerate(string)]]
    for level in range(L):
        messages = []
        for i in range(s ** (L - level - 1)):
            message = np.zeros(v)
            for a in range(v):
                for k in range(m):
                    weight = 1 / m
                    for j, b in enumerate(grammar.rules[level][a, k]):
                        weight *= up[level][i * s + j][b]
                    message[a] += weight
            messages.append(message / message.sum())
        up.append(messages)
    down = np.full(v, 1 / v)
    for level in range(L - 1, -1, -1):
        node = hidden // s**level
        below = np.zeros(v)
        for a in range(v):
            for k in range(m):
                weight = down[a]
                for j, b in enumerate(grammar.rules[level][a, k]):
                    if j != node % s:
                        weight *= up[level][node - node % s + j][b]
                below[grammar.rules[level][a, k][node % s]] += weight
        down = below / below.sum()
    return down


def best_of(call, repeats=3):
    """Return the shortest time of a call and what it returns."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return min(times), result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("strings", 1024), ("v", 16), ("m", 4), ("s", 2), ("L", 4), ("naive", 24)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    grammar = Grammar.random(v=args.v, m=args.m, s=args.s, L=args.L, seed=0)
    tokens = grammar.sample(args.strings, np.random.default_rng(0)).tokens
    masks = np.eye(grammar.n_tokens, dtype=bool)
    problems = args.strings * grammar.n_tokens

    shared, laws = best_of(lambda: token_predictions(grammar, tokens))
    batched, result = best_of(lambda: posterior(grammar, tokens[:, None], masks, levels=[0]))
    everything, _ = best_of(lambda: posterior(grammar, tokens[:, None], masks))
    start = time.perf_counter()
    plain = [[naive_prediction(grammar, x, i) for i in range(grammar.n_tokens)] for x in tokens[: args.naive]]
    naive = (time.perf_counter() - start) * args.strings / args.naive

    batch = np.moveaxis(np.diagonal(result.tokens, axis1=1, axis2=2), -1, 1)
    error = max(np.abs(laws[: args.naive] - plain).max(), np.abs(laws - batch).max())
    print(
        f"{grammar}: {args.strings} strings, {problems} single-token maskings; largest difference {error:.1e}"
    )
    rows = [
        ("one pass, messages that exclude the token", shared),
        ("one problem a masking, tokens only", batched),
        ("one problem a masking, all levels", everything),
        (f"plain loops (scaled from {args.naive} strings)", naive),
    ]
    for name, seconds in rows:
        print(f"  {name:45s} {seconds:9.3f} s   {naive / seconds:8.0f} x")


if __name__ == "__main__":
    main()
