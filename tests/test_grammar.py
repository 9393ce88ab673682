"""Properties of the definition in Section 2: distinct rules, unambiguous parents, counting."""

import itertools

import numpy as np
import pytest

from rhmlib.grammar import Grammar, check_shape


@pytest.mark.parametrize(("v", "m", "s", "L"), [(2, 1, 2, 1), (16, 4, 2, 4), (5, 25, 3, 2), (300, 3, 2, 2)])
def test_rules_are_distinct_tuples_in_range(v, m, s, L):
    grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=3)
    assert len(grammar.rules) == L
    for rules in grammar.rules:
        assert rules.shape == (v, m, s)
        assert rules.max() < v
        assert len(np.unique(rules.reshape(-1, s), axis=0)) == v * m


def test_same_seed_same_grammar_other_seed_another():
    a, b, c = (Grammar.random(v=8, m=4, s=2, L=3, seed=seed) for seed in (0, 0, 1))
    assert a == b
    assert hash(a) == hash(b)
    assert a != c


def test_a_seed_may_be_a_generator_that_advances():
    rng = np.random.default_rng(0)
    assert Grammar.random(v=8, m=4, s=2, L=3, seed=rng) != Grammar.random(v=8, m=4, s=2, L=3, seed=rng)


def test_first_tuples_are_uniform_over_all_tuples():
    """Each of the v**s tuples is grammatical with probability f."""
    seeds = 400
    hits = np.zeros(9)
    for seed in range(seeds):
        rules = Grammar.random(v=3, m=2, s=2, L=1, seed=seed).rules[0].reshape(-1, 2)
        hits[rules[:, 0] * 3 + rules[:, 1]] += 1
    f = 2 / 3
    assert np.abs(hits / seeds - f).max() < 5 * np.sqrt(f * (1 - f) / seeds)


@pytest.mark.parametrize(("v", "m", "s"), [(8, 4, 2), (4, 3, 3), (80, 2, 4)])
def test_parent_inverts_rules(v, m, s):
    grammar = Grammar.random(v=v, m=m, s=s, L=2, seed=0)
    for level, rules in enumerate(grammar.rules):
        parents = np.broadcast_to(np.arange(v)[:, None], (v, m))
        assert (grammar.parent(rules, level) == parents).all()
        assert (grammar.rule_index(rules, level) == np.arange(v * m).reshape(v, m)).all()


def test_counts_of_strings_match_enumeration():
    grammar = Grammar.random(v=3, m=2, s=2, L=2, seed=1)
    strings = set()
    for root, k in itertools.product(range(3), range(2)):
        for ks in itertools.product(range(2), repeat=2):
            children = grammar.rules[1][root, k]
            strings.add(tuple(t for c, r in zip(children, ks, strict=True) for t in grammar.rules[0][c, r]))
    assert grammar.n_strings == len(strings) == 3 * 2**3
    assert Grammar.random(v=16, m=4, s=2, L=4, seed=0).n_strings == 16 * 4**15


def test_marginals_match_enumeration_and_sum_to_one():
    grammar = Grammar.random(v=5, m=3, s=2, L=3, seed=1)
    tokens = grammar.sample(200_000, np.random.default_rng(0)).levels
    for level in range(4):
        p = grammar.marginals(level)
        assert p.sum() == pytest.approx(1, abs=1e-12)
        seen = np.bincount(tokens[level].reshape(-1), minlength=5) / tokens[level].size
        assert np.abs(seen - p).max() < 0.01


def test_rules_cannot_be_changed():
    grammar = Grammar.random(v=4, m=2, s=2, L=2, seed=0)
    with pytest.raises(ValueError, match="read-only"):
        grammar.rules[0][0, 0, 0] = 1
    with pytest.raises(AttributeError, match="immutable"):
        grammar.v = 5


def test_save_and_load(tmp_path):
    grammar = Grammar.random(v=4, m=2, s=2, L=2, seed=0)
    grammar.save(tmp_path / "grammar.npz")
    assert Grammar.load(tmp_path / "grammar.npz") == grammar
    np.savez(tmp_path / "other.npz", x=np.zeros(2))
    with pytest.raises(ValueError, match=r"Grammar\.save"):
        Grammar.load(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("shape", "error", "text"),
    [
        ((16, 17, 2, 4), ValueError, "m must be at most .* = 16.*Found m=17"),
        ((1, 1, 2, 4), ValueError, "v must be .*Found v=1"),
        ((8, 0, 2, 4), ValueError, "m must be .*Found m=0"),
        ((8, 4, 1, 4), ValueError, "s must be .*Found s=1"),
        ((8, 4, 2, 0), ValueError, "L must be .*Found L=0"),
        ((8, 4, 2, 40), ValueError, "L must satisfy .*Found L=40"),
        ((8.0, 4, 2, 3), TypeError, "v must be an integer.*Found v=8.0"),
        ((8, "4", 2, 3), TypeError, "m must be an integer.*Found m='4'"),
        ((8, True, 2, 3), TypeError, "m must be an integer.*Found m=True"),
    ],
)
def test_bad_shapes_are_named(shape, error, text):
    with pytest.raises(error, match=text):
        check_shape(*shape)


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ([], "rules must hold one array per level"),
        ([np.zeros((2, 2))], "one shape"),
        ([np.array([[[0, 1]], [[0, 1]]])], "Found a tuple twice"),
        ([np.array([[[0, 2]], [[0, 1]]])], "integers in 0..1"),
        ([np.array([[[0.0, 1]], [[1, 1]]])], "integers in 0..1"),
    ],
)
def test_bad_rules_are_named(rules, text):
    with pytest.raises(ValueError, match=text):
        Grammar(rules)


def test_bad_tuples_are_named():
    grammar = Grammar(rules=[np.array([[[0, 1]], [[1, 1]]])])
    assert grammar.parent([0, 1], 0) == 0
    with pytest.raises(ValueError, match=r"Found the tuple \(0, 0\)"):
        grammar.parent([[0, 1], [0, 0]], 0)
    with pytest.raises(ValueError, match="Found level=1"):
        grammar.parent([0, 1], 1)
    with pytest.raises(ValueError, match="last dimension s=2"):
        grammar.parent([0, 1, 1], 0)
    with pytest.raises(ValueError, match=r"symbols in 0\.\.1"):
        grammar.parent([0, 2], 0)
