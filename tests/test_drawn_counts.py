"""Counts that are drawn have the law of counts of strings."""

import numpy as np
import pytest
from scipy import sparse

from rhmlib import Grammar, experiments
from rhmlib.drawn_counts import DrawnTokenILC, draw_below, draw_pairs
from rhmlib.tax import token_contexts
from rhmlib.token_ilc import TARGETS, TokenILC


def _gram(points):
    points = points.toarray() if sparse.issparse(points) else points
    return points @ points.T


def _repeated(grammar, n, targets, of_strings, repeats):
    """Gram matrices of contexts: from strings, or drawn. Tuples that were not seen have zeros."""
    found = np.zeros((repeats, grammar.v**2, grammar.v**2))
    for seed in range(repeats):
        rng = np.random.default_rng([seed, of_strings])
        if of_strings:
            learner = TokenILC(targets=targets, n_init=1, random_state=0).fit(grammar.sample(n, rng))
            tuples, points = learner.tuples_[-1] @ [grammar.v, 1], learner.contexts_[-1]
        else:
            drawn = DrawnTokenILC(targets=targets, n_init=1, random_state=0).fit(grammar, n, rng)
            tuples, points = drawn.tuples_, drawn.points_
        found[seed][np.ix_(tuples, tuples)] = _gram(points)
    return found


@pytest.mark.parametrize("targets", TARGETS)
def test_products_of_contexts_have_the_law_of_strings(targets):
    """Their means see how counts go together in pairs, their variances how products do."""
    grammar = Grammar.random(v=3, m=2, s=2, L=4, seed=2)
    strings, drawn = (_repeated(grammar, 60, targets, which, 400) for which in (True, False))
    for moment in (1, 2):
        a, b = (np.mean(x**moment, axis=0) for x in (strings, drawn))
        error = np.sqrt((np.var(strings**moment, axis=0) + np.var(drawn**moment, axis=0)) / 400)
        used = error > 0
        assert (a[~used] == b[~used]).all()
        z = (a - b)[used] / error[used]
        assert np.abs(z).max() < 4.5
        assert np.mean(z**2) < 2


@pytest.mark.parametrize(("L", "targets"), [(2, "tokens_all"), (3, "latents_all")])
def test_both_halves_of_a_string_are_counted_together(L, targets):
    """Contexts of tuples of the first half go with those of the second half as they do in strings."""
    grammar = Grammar.random(v=3, m=2, s=2, L=L, seed=2)
    products = []
    for of_strings in (True, False):
        found = []
        for seed in range(500):
            rng = np.random.default_rng([seed, of_strings])
            if of_strings:
                learner = TokenILC(targets=targets, n_init=1, random_state=0).fit(grammar.sample(60, rng))
                found.append(learner.contexts_[-1])
            else:
                drawn = DrawnTokenILC(targets=targets, n_init=1, random_state=0)
                found.append(drawn.fit(grammar, 60, rng).points_)
        every = np.array([x for x in found if len(x) == grammar.v * grammar.m])  # nearly all
        assert len(every) > 490
        off = every - every.mean(axis=0)
        half = off.shape[2] // 2
        products.append(np.einsum("nik,njl->nijkl", off[..., :half], off[..., half:]).reshape(len(off), -1))
    error = np.sqrt(sum(x.var(axis=0) / len(x) for x in products))
    used = error > 0
    z = (products[0].mean(axis=0) - products[1].mean(axis=0))[used] / error[used]
    assert np.mean(z**2) < 1.5
    # Were they drawn apart, it would show.
    assert np.mean((products[0].mean(axis=0)[used] / error[used]) ** 2) > 3


@pytest.mark.parametrize("targets", TARGETS)
def test_distances_of_many_strings_are_the_exact_ones(targets):
    grammar = Grammar.random(v=6, m=3, s=2, L=4, seed=1)
    learner = DrawnTokenILC(targets=targets, n_init=1, random_state=0)
    learner.fit(grammar, 10**9, np.random.default_rng(0))
    gram = _gram(learner.points_)
    square = np.diag(gram)[:, None] + np.diag(gram) - 2 * gram
    positions = [0] if targets == "tokens_one" else [0, 1]
    exact = sum(token_contexts(grammar, 2, targets, position=p).distances ** 2 for p in positions)
    digits = np.stack([learner.tuples_ // 6, learner.tuples_ % 6], axis=1)
    parents = grammar.parent(digits, 2).astype(int)
    expected = exact[np.ix_(parents, parents)]
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(square, expected, atol=1e-2 * expected.max())


def test_every_string_is_counted_once():
    grammar = Grammar.random(v=5, m=2, s=2, L=3, seed=0)
    rng = np.random.default_rng(0)
    table = draw_pairs(grammar, 1000, rng)
    assert table.sum() == 1000
    first = table @ np.eye(5, dtype=int)[grammar.rules[1].reshape(-1, 2)[:, 0]]
    leaves = draw_below(grammar, first, 1, 0, rng)
    assert len(leaves) == 2
    for counts in leaves:
        assert (counts.sum(axis=1) == table.sum(axis=1)).all()
    # A pair of leaves comes from a rule.
    assert set(np.flatnonzero(leaves[0].sum(axis=0))) <= set(grammar.rules[0][..., 0].ravel())


@pytest.mark.parametrize(
    ("shape", "n", "text"),
    [
        ({"v": 4, "m": 2, "s": 3, "L": 2}, 5, r"s must be 2.* Found s=3"),
        ({"v": 4, "m": 2, "s": 2, "L": 1}, 5, r"L must be at least 2.* Found L=1"),
        ({"v": 4, "m": 2, "s": 2, "L": 2}, 0, r"n must be a positive integer. Found n=0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(shape, n, text):
    with pytest.raises(ValueError, match=text):
        DrawnTokenILC().fit(Grammar.random(**shape, seed=0), n, np.random.default_rng(0))


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"targets must be one of .* Found targets='latent'"):
        DrawnTokenILC(targets="latent")
    with pytest.raises(ValueError, match=r"n_init must be a positive integer. Found n_init=0"):
        DrawnTokenILC(n_init=0)


def test_the_experiment():
    values = {"v": 16, "m": 4, "L": 6, "n": 2**26, "n_test": 300, "targets": "tokens_all"}
    config = experiments.configure("drawn_counts", {**values, **dict.fromkeys(experiments.SEEDS, 0)})
    (row,) = config.run()
    assert (row["level"], row["n_over_vm3"]) == (5, 2**16)
    assert row["hungarian_accuracy"] == 1
    assert config.run() == [row]
    assert row.keys() >= config.tolerances.keys()
    assert config.cost() > 0
    with pytest.raises(ValueError, match=r"s must be 2"):
        experiments.configure("drawn_counts", {**values, "s": 3, **dict.fromkeys(experiments.SEEDS, 0)})
