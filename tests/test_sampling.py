"""The sampler against the grammar's own law: every derivation, uniform, at every level."""

import numpy as np
import pytest
import torch

from rhmlib.grammar import Grammar
from rhmlib.sampling import SampleStream, derive, resample_rules, sample, sample_unique
from rhmlib.sampling_torch import TorchSampler

SHAPES = [
    (16, 4, 2, 4),
    (16, 4, 2, 5),
    (8, 3, 3, 3),
    (300, 5, 2, 3),
    (5, 2, 4, 2),
    (6, 5, 2, 1),
    (16, 16, 2, 3),
]


def assert_is_derivation(drawn):
    grammar = drawn.grammar
    for level in range(grammar.L):
        children = drawn.levels[level].reshape(len(drawn), -1, grammar.s)
        assert (grammar.parent(children, level) == drawn.levels[level + 1]).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_levels_are_derivations_of_the_right_shape_and_dtype(shape):
    v, m, s, L = shape
    grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=1)
    drawn = sample(grammar, 700, np.random.default_rng(0))
    assert [x.shape for x in drawn.levels] == [(700, s ** (L - level)) for level in range(L + 1)]
    assert all(x.dtype == (np.uint8 if v <= 256 else np.uint16) for x in drawn.levels)
    assert drawn.tokens is drawn.levels[0]
    assert drawn.root.shape == (700,)
    assert_is_derivation(drawn)


@pytest.mark.parametrize(("v", "m", "s", "L"), [(3, 2, 2, 2), (2, 2, 3, 2), (3, 3, 2, 3)])
def test_every_string_is_equally_likely(v, m, s, L):
    """Chi-square of string counts against uniform, over the whole language."""
    grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=0)
    total = grammar.n_strings
    drawn = sample(grammar, 40 * total, np.random.default_rng(0))
    counts = np.unique(drawn.tokens, axis=0, return_counts=True)[1]
    assert len(counts) == total
    chi2 = ((counts - 40) ** 2 / 40).sum()
    assert abs(chi2 - (total - 1)) < 5 * np.sqrt(2 * (total - 1))


def test_nodes_choose_rules_independently():
    """Pairs of rules at two nodes of a level are uniform over all m*m pairs."""
    grammar = Grammar.random(v=8, m=3, s=2, L=4, seed=0)
    drawn = sample(grammar, 90_000, np.random.default_rng(0))
    rule = grammar.rule_index(drawn.tokens.reshape(len(drawn), -1, 2), 0) % 3
    for a, b in ((0, 1), (0, 7), (2, 3)):
        pairs = np.bincount(rule[:, a] * 3 + rule[:, b], minlength=9)
        assert np.abs(pairs - 10_000).max() < 5 * 100


def test_same_generator_state_same_strings():
    grammar = Grammar.random(v=8, m=4, s=2, L=3, seed=0)
    a, b = (grammar.sample(100, np.random.default_rng(5)) for _ in range(2))
    assert (a.tokens == b.tokens).all()
    assert (a.tokens != grammar.sample(100, np.random.default_rng(6)).tokens).any()


@pytest.mark.parametrize(
    ("v", "m", "s", "L", "n"), [(3, 2, 2, 2, 24), (8, 2, 2, 3, 500), (16, 8, 2, 6, 5000)]
)
def test_unique_strings_are_distinct_derivations(v, m, s, L, n):
    drawn = sample_unique(Grammar.random(v=v, m=m, s=s, L=L, seed=0), n, np.random.default_rng(0))
    assert len(np.unique(drawn.tokens, axis=0)) == len(drawn) == n
    assert_is_derivation(drawn)


def test_unique_draws_again_where_strings_repeat(monkeypatch):
    """Languages too large to be numbered: repeats are replaced, first occurrences kept."""
    grammar = Grammar.random(v=2, m=1, s=2, L=6, seed=0)  # two strings: repeats are certain
    monkeypatch.setattr(Grammar, "n_strings", property(lambda self: 1 << 63))
    drawn = sample_unique(grammar, 2, np.random.default_rng(0))
    assert len(np.unique(drawn.tokens, axis=0)) == 2


def test_derive_enumerates_the_language():
    grammar = Grammar.random(v=3, m=2, s=2, L=2, seed=1)
    drawn = derive(grammar, np.arange(grammar.n_strings))
    assert len(np.unique(drawn.tokens, axis=0)) == grammar.n_strings
    assert_is_derivation(drawn)
    with pytest.raises(ValueError, match=r"index must be in 0\.\.23"):
        derive(grammar, np.array([24]))
    with pytest.raises(ValueError, match="2\\*\\*62"):
        derive(Grammar.random(v=8, m=8, s=2, L=6, seed=0), np.array([0]))


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_synonym_swap_keeps_what_is_above_and_changes_every_tuple(level):
    grammar = Grammar.random(v=16, m=4, s=2, L=4, seed=0)
    before = grammar.sample(300, np.random.default_rng(0))
    after = resample_rules(before, level, np.random.default_rng(1))
    assert_is_derivation(after)
    for above in range(level, 5):
        assert (after.levels[above] == before.levels[above]).all()
    old, new = (x.levels[level - 1].reshape(300, -1, 2) for x in (before, after))
    assert (old != new).any(axis=-1).all()


def test_swapped_rules_are_uniform_over_the_others():
    grammar = Grammar.random(v=4, m=4, s=2, L=1, seed=0)
    before = grammar.sample(30_000, np.random.default_rng(0))
    after = resample_rules(before, 1, np.random.default_rng(1))
    old, new = (grammar.rule_index(x.tokens[:, None], 0)[:, 0] % 4 for x in (before, after))
    counts = np.bincount((new - old) % 4, minlength=4)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 10_000).max() < 5 * 100
    free = resample_rules(before, 1, np.random.default_rng(1), distinct=False)
    assert ((free.tokens == before.tokens).all(axis=1).mean() - 1 / 4) < 0.02


def test_stream_repeats_itself_and_follows_the_law():
    grammar = Grammar.random(v=8, m=4, s=2, L=3, seed=0)
    stream = SampleStream(grammar, 1000, seed=1, chunk=300)
    first, second = (np.concatenate([part.tokens for part in stream]) for _ in range(2))
    assert first.shape == (1000, 8)
    assert (first == second).all()
    assert len(np.unique(first[:300], axis=0)) > 250
    assert (first[:300] != first[300:600]).any()


def test_torch_twin_is_a_derivation_with_the_same_law():
    grammar = Grammar.random(v=3, m=2, s=2, L=2, seed=0)
    levels = TorchSampler(grammar).sample(40 * 24, torch.Generator().manual_seed(0))
    levels = [x.numpy() for x in levels]
    for level in range(2):
        assert (grammar.parent(levels[level].reshape(960, -1, 2), level) == levels[level + 1]).all()
    counts = np.unique(levels[0], axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert abs(((counts - 40) ** 2 / 40).sum() - 23) < 5 * np.sqrt(46)


def test_torch_twin_needs_no_host():
    """Runs on a fake device: a mix of devices or a host synchronisation would raise."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    grammar = Grammar.random(v=8, m=4, s=2, L=3, seed=0)
    sampler = TorchSampler(grammar)
    with FakeTensorMode(allow_non_fake_inputs=True):
        levels = sampler.sample(5, torch.Generator())
    assert [tuple(x.shape) for x in levels] == [(5, 8), (5, 4), (5, 2), (5, 1)]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda g, rng: sample(g, 0, rng), ValueError, "n must be a positive integer. Found n=0"),
        (lambda g, rng: sample(g, 2.5, rng), TypeError, "n must be .*Found n=2.5"),
        (lambda g, rng: sample(g, 5, 0), TypeError, "rng must be a numpy.random.Generator.*Found int"),
        (lambda g, rng: sample_unique(g, 25, rng), ValueError, "n must be at most .* 24 .*Found n=25"),
        (lambda g, rng: resample_rules(sample(g, 5, rng), 0, rng), ValueError, "level must be in 1..2"),
        (lambda g, rng: sample(g, 5, rng)[0], TypeError, "index must be"),
        (lambda g, rng: SampleStream(g, 5, 0, chunk=0), ValueError, "chunk must be"),
        (lambda g, rng: TorchSampler(g).sample(0, torch.Generator()), ValueError, "n must be"),
    ],
)
def test_bad_arguments_are_named(call, error, text):
    grammar = Grammar.random(v=3, m=2, s=2, L=2, seed=0)
    with pytest.raises(error, match=text):
        call(grammar, np.random.default_rng(0))


def test_no_second_rule_to_swap_to():
    drawn = Grammar.random(v=3, m=1, s=2, L=2, seed=0).sample(5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="distinct must be False where m = 1"):
        resample_rules(drawn, 1, np.random.default_rng(0))
