"""Exact laws, posteriors and entropies against full enumeration, sampling, and their definitions.

Every string of a tiny grammar is listed with its latents, all equally likely, so that each law is a
count; nothing of the code under test is used for that.
"""

import itertools
import math
import time

import numpy as np
import pytest
from scipy.special import logsumexp

from rhmlib.belief_propagation import log_likelihood, posterior, token_predictions
from rhmlib.entropies import block_strings, entropy, entropy_staircase
from rhmlib.exact import (
    common_ancestor,
    context_blocks,
    contexts,
    cousin_law,
    covariance,
    node_law,
    pair_law,
    path_law,
    sibling_law,
    signal,
    target_covariance,
    tree_distance,
    tuple_contexts,
    tuple_law,
    tuple_token_law,
)
from rhmlib.grammar import Grammar
from rhmlib.ilc import IterativeLatentClustering

TINY = [(3, 2, 2, 2), (4, 2, 2, 3), (3, 3, 3, 2)]
TOLERANCE = {"rtol": 0, "atol": 1e-12}
FROZEN_MLM = [1.1284508284003363, 0.8332854254696631, 0.4368492882175701, 0.23898594515409735]


def enumerate_levels(grammar):
    """All derivations: a list of arrays (n_strings, s**(L - l)), l = 0 .. L, equally likely."""
    v, m, s, L = grammar.v, grammar.m, grammar.s, grammar.L
    levels = [np.arange(v)[:, None]]
    for level in range(L - 1, -1, -1):
        top = levels[0]
        choices = np.array(list(itertools.product(range(m), repeat=top.shape[1])))
        below = grammar.rules[level][top[:, None], choices[None]].reshape(-1, top.shape[1] * s)
        levels = [below] + [np.repeat(x, len(choices), axis=0) for x in levels]
    assert len(levels[0]) == grammar.n_strings
    return levels


@pytest.fixture(scope="module", params=TINY, ids=str)
def tiny(request):
    v, m, s, L = request.param
    grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=11)
    return grammar, enumerate_levels(grammar)


@pytest.fixture(scope="module")
def large():
    grammar = Grammar.random(v=16, m=4, s=2, L=4, seed=0)
    return grammar, grammar.sample(200_000, np.random.default_rng(1))


def nodes(grammar):
    return [(level, i) for level in range(grammar.L + 1) for i in range(grammar.s ** (grammar.L - level))]


def count_pairs(x, y, v, w=None):
    return np.bincount(x.astype(int) * (w or v) + y, minlength=v * (w or v)).reshape(v, -1) / len(x)


def rule_of(grammar, levels, level, patch):
    s = grammar.s
    return grammar.rule_index(levels[level][:, patch * s : (patch + 1) * s], level)


# ---------------------------------------------------------------- laws


def test_node_and_tuple_laws_are_the_counts(tiny):
    grammar, levels = tiny
    for level, symbols in enumerate(levels):
        law = node_law(grammar, level)
        counted = [np.bincount(x, minlength=grammar.v) / len(x) for x in symbols.T]
        np.testing.assert_allclose(law, counted, **TOLERANCE)
        np.testing.assert_allclose(law.mean(axis=0), grammar.marginals(level), **TOLERANCE)
    for level in range(grammar.L):
        law = tuple_law(grammar, level)
        for patch, row in enumerate(law):
            rules = rule_of(grammar, levels, level, patch)
            counted = np.bincount(rules, minlength=grammar.v * grammar.m) / len(rules)
            np.testing.assert_allclose(row, counted, **TOLERANCE)


def test_pair_law_of_every_two_nodes(tiny):
    grammar, levels = tiny
    for first, second in itertools.product(nodes(grammar), repeat=2):
        counted = count_pairs(levels[first[0]][:, first[1]], levels[second[0]][:, second[1]], grammar.v)
        np.testing.assert_allclose(pair_law(grammar, first, second), counted, **TOLERANCE)


def test_tuple_token_law_of_every_pair_and_the_label(tiny):
    grammar, levels = tiny
    v, m, s = grammar.v, grammar.m, grammar.s
    for level in range(grammar.L):
        for patch in range(s ** (grammar.L - level - 1)):
            rules = rule_of(grammar, levels, level, patch)
            for token in nodes(grammar):
                inside = token[0] <= level and token[1] // s ** (level + 1 - token[0]) == patch
                if inside:
                    with pytest.raises(ValueError, match=r"token must lie outside .* Found patch="):
                        tuple_token_law(grammar, (level, patch), token)
                    continue
                law = tuple_token_law(grammar, (level, patch), token)
                counted = np.zeros((v * m, v))
                np.add.at(counted, (rules, levels[token[0]][:, token[1]]), 1 / len(rules))
                np.testing.assert_allclose(law, counted, **TOLERANCE)


def test_path_and_sibling_laws_are_conditional(tiny):
    grammar, levels = tiny
    v, s, L = grammar.v, grammar.s, grammar.L
    for path in itertools.product(range(s), repeat=L):
        leaf = sum(j * s ** (L - 1 - h) for h, j in enumerate(path))
        joint = count_pairs(levels[L][:, 0], levels[0][:, leaf], v)
        np.testing.assert_allclose(path_law(grammar, L, path), joint * v, **TOLERANCE)
    assert (path_law(grammar, 1, []) == np.eye(v)).all()
    law = sibling_law(grammar, L - 1, 0, s - 1)
    np.testing.assert_allclose(law.sum(axis=(1, 2)), 1, **TOLERANCE)
    counted = count_pairs(levels[L - 1][:, 0], levels[L - 1][:, s - 1], v)
    np.testing.assert_allclose(law.mean(axis=0), counted, **TOLERANCE)


def test_distance_and_ancestor():
    grammar = Grammar.random(v=4, m=2, s=3, L=3, seed=0)
    assert common_ancestor(grammar, (0, 0), (0, 8)) == (2, 0)
    assert tree_distance(grammar, (0, 0), (0, 8)) == 4
    assert tree_distance(grammar, (1, 0), (0, 2)) == 1
    assert tree_distance(grammar, (3, 0), (0, 26)) == 3
    assert tree_distance(grammar, (2, 1), (2, 1)) == 0


def test_covariance_is_centred_and_signal_is_its_mean_square(tiny):
    grammar, _ = tiny
    s, L = grammar.s, grammar.L
    groups = {}
    for level in range(L):
        for patch in range(s ** (L - level - 1)):
            for token in nodes(grammar):
                try:
                    joint = tuple_token_law(grammar, (level, patch), token)
                except ValueError:
                    continue
                c = covariance(joint)
                np.testing.assert_allclose(c.sum(axis=0), 0, **TOLERANCE)
                np.testing.assert_allclose(c.sum(axis=1), 0, **TOLERANCE)
                top = common_ancestor(grammar, (level + 1, patch), token)[0]
                groups.setdefault((level, token[0], top), []).append((c**2).mean())
    assert len(groups) >= 5
    for key, squares in groups.items():
        assert signal(grammar, *key) == pytest.approx(np.mean(squares), rel=1e-10, abs=1e-18)


def test_full_grammars_have_independent_tokens():
    """At f = 1 and a uniform root every tuple is equally likely: no signal, but the label's remains."""
    grammar = Grammar.random(v=4, m=4, s=2, L=3, seed=0)
    assert signal(grammar, 0, 0, 2) < 1e-30
    assert contexts(grammar, 0, "all").distances.max() < 1e-15
    assert signal(grammar, 0, 3, 3) > 1e-6


# ---------------------------------------------------------------- contexts


def enumerated_contexts(grammar, levels, level, targets):
    """E[e_Z | T = u] from all strings; blocks that are never seen are NaN."""
    v, m, s = grammar.v, grammar.m, grammar.s
    grandparents = 1 if targets == "one" else s ** (grammar.L - level - 2)
    out = []
    for p, q, t in context_blocks(s, targets):
        joint = np.zeros((v * m, v))
        for g in range(grandparents):
            rules = rule_of(grammar, levels, level, g * s + p)
            np.add.at(joint, (rules, levels[level][:, g * s * s + q * s + t]), 1.0)
        with np.errstate(invalid="ignore"):
            out.append(joint / joint.sum(axis=1, keepdims=True))
    return np.concatenate(out, axis=1)


@pytest.mark.parametrize("targets", ["one", "all"])
def test_contexts_of_every_tuple_and_lemma_1(tiny, targets):
    grammar, levels = tiny
    for level in range(grammar.L - 1):
        law = contexts(grammar, level, targets)
        counted = enumerated_contexts(grammar, levels, level, targets)
        np.testing.assert_allclose(tuple_contexts(grammar, level, targets), counted, **TOLERANCE)
        by_parent = np.repeat(law.parent_contexts, grammar.m, axis=0)
        seen = ~np.isnan(counted)
        np.testing.assert_allclose(by_parent[seen], counted[seen], **TOLERANCE)
        np.testing.assert_allclose(law.joint.sum(axis=(1, 2)), 1, **TOLERANCE)
        np.testing.assert_allclose(law.covariance_columns.sum(axis=2), 0, **TOLERANCE)
        assert law.tuple_law.sum() == pytest.approx(1)


@pytest.mark.parametrize(("v", "m", "s", "L"), [(16, 4, 2, 4), (8, 8, 2, 5), (6, 5, 3, 3), (32, 16, 2, 3)])
def test_synonyms_have_identical_contexts(v, m, s, L):
    """Lemma 1, from the sum over derivations, which does not assume it."""
    for seed, level in itertools.product(range(3), range(L - 1)):
        grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=seed)
        c = tuple_contexts(grammar, level, "all").reshape(v, m, -1)
        assert np.nanmax(np.abs(c - c[:, :1]), initial=0) < 1e-14
        sums = c.reshape(v * m, -1, v).sum(axis=2)
        np.testing.assert_allclose(sums[~np.isnan(sums)], 1, rtol=0, atol=1e-13)


def test_a_symbol_that_never_occurs_has_no_context():
    rules0 = [[[0, 0], [0, 1]], [[1, 0], [1, 1]]]
    grammar = Grammar([rules0, [[[0, 0]] * 1 + [[0, 1]], [[1, 0], [1, 1]]]])
    law = contexts(grammar, 0)
    assert np.isfinite(law.parent_contexts).all()
    lopsided = Grammar([[[[0, 0]], [[1, 1]], [[2, 2]]], [[[0, 1]], [[0, 2]], [[1, 0]]]])
    mu = contexts(lopsided, 0).parent_contexts  # 2 is never first
    assert np.isnan(mu[2]).all()
    assert np.isfinite(mu[:2]).all()
    both = contexts(lopsided, 0, "all")
    np.testing.assert_allclose(both.parent_contexts[2, :3], both.joint[0].sum(axis=0))  # imputed


def test_target_covariance_is_that_of_the_enumerated_targets(tiny):
    grammar, levels = tiny
    v, s = grammar.v, grammar.s
    for level, p in itertools.product(range(grammar.L - 1), range(s)):
        found = target_covariance(grammar, level, p, grandparent=0)
        cousins = [q for q in range(s) if q != p]
        tokens = np.concatenate([levels[level][:, q * s : q * s + s] for q in cousins], axis=1)
        one_hot = np.eye(v)[tokens].reshape(len(tokens), -1)
        parents = levels[level + 1][:, p]
        for a in range(v):
            if (parents == a).any():
                counted = np.cov(one_hot[parents == a].T, bias=True)
                np.testing.assert_allclose(found[a], counted, **TOLERANCE)
            else:
                assert np.isnan(found[a]).all()


def test_cousin_law_averages_over_grandparents():
    grammar = Grammar.random(v=6, m=3, s=2, L=4, seed=1)
    block = (1, 0, 1)
    each = [cousin_law(grammar, 1, block, grandparent=g) for g in range(2)]
    np.testing.assert_allclose(cousin_law(grammar, 1, block), np.mean(each, axis=0), **TOLERANCE)
    direct = pair_law(grammar, (2, 3), (1, 5))  # parent at position 1 under grandparent 1; its cousin's token
    np.testing.assert_allclose(each[1], direct, **TOLERANCE)


def deviation(counted, expected_counts):
    """Largest deviation in standard errors, where at least 25 are expected."""
    n = expected_counts.sum()
    p = expected_counts / n
    enough = expected_counts >= 25
    return np.max(np.abs(counted - expected_counts)[enough] / np.sqrt(n * p * (1 - p))[enough])


def test_laws_against_sampling(large):
    grammar, sample = large
    n, v = len(sample), grammar.v
    for level, symbols in enumerate(sample.levels):
        counted = np.stack([np.bincount(x, minlength=v) for x in symbols.T])
        assert all(deviation(c, n * p) < 4 for c, p in zip(counted, node_law(grammar, level), strict=True))
    for patch, token in [
        ((0, 0), (0, 2)),
        ((0, 3), (0, 15)),
        ((1, 0), (1, 3)),
        ((2, 1), (0, 0)),
        ((0, 0), (4, 0)),
    ]:
        rules = rule_of(grammar, sample.levels, *patch)
        counted = np.zeros((v * grammar.m, v))
        np.add.at(counted, (rules, sample.levels[token[0]][:, token[1]]), 1)
        assert deviation(counted, n * tuple_token_law(grammar, patch, token)) < 4


@pytest.mark.parametrize("targets", ["one", "all"])
def test_contexts_are_what_ilc_counts(large, targets):
    grammar, sample = large
    ilc = IterativeLatentClustering(v=16, targets=targets, n_init=1, random_state=0).fit(
        sample.tokens[:50_000]
    )
    law = contexts(grammar, 0, targets)
    rules = grammar.rule_index(ilc.tuples_[0], 0)
    per_string = law.tuple_law * law.draws * (1 if targets == "one" else 2)
    expected = 50_000 * per_string[rules]
    # Strings repeat within a grandparent's level only weakly: counts are binomial to a good approximation.
    assert np.abs(ilc.counts_[0] - expected).max() < 6 * np.sqrt(expected.max())
    mu = law.parent_contexts[rules // grammar.m]
    blocks = len(law.blocks) // (1 if targets == "one" else 2)
    noise = np.sqrt(np.einsum("ij,ij->i", ilc.contexts_[0] - mu, ilc.contexts_[0] - mu) / blocks)
    per_block = np.sqrt((1 if targets == "one" else 4) / expected)  # E|noise|^2 <= 1/N a block, Lemma 2
    assert np.all(noise < 3 * per_block)


# ---------------------------------------------------------------- belief propagation


def enumerated_posterior(grammar, levels, string, hidden):
    fits = (levels[0] == string)[:, ~hidden].all(axis=1)
    laws = [
        np.stack([np.bincount(x[fits], minlength=grammar.v) / fits.sum() for x in symbols.T])
        for symbols in levels
    ]
    return laws, math.log(fits.mean())


def test_posterior_of_everything_under_random_masks(tiny):
    grammar, levels = tiny
    rng = np.random.default_rng(5)
    which = rng.integers(len(levels[0]), size=24)
    tokens = levels[0][which]
    mask = rng.random((24, grammar.n_tokens)) < rng.random((24, 1))
    mask[0], mask[1] = True, False
    got = posterior(grammar, tokens, mask)
    for b in range(24):
        laws, log_p = enumerated_posterior(grammar, levels, tokens[b], mask[b])
        assert got.log_likelihood[b] == pytest.approx(log_p, abs=1e-12)
        for level, law in enumerate(laws):
            np.testing.assert_allclose(got.levels[level][b], law, **TOLERANCE)
    np.testing.assert_allclose(log_likelihood(grammar, tokens, mask), got.log_likelihood, **TOLERANCE)


def test_masks_broadcast_and_masked_values_are_not_read(tiny):
    grammar, levels = tiny
    tokens, masks = levels[0][::5][:5].astype(int), np.eye(grammar.n_tokens, dtype=bool)
    together = posterior(grammar, tokens[:, None], masks, levels=[0, grammar.L])
    assert together.tokens.shape == (5, grammar.n_tokens, grammar.n_tokens, grammar.v)
    assert together.root.shape == (5, grammar.n_tokens, grammar.v)
    assert set(together.levels) == {0, grammar.L}
    with pytest.raises(KeyError):
        _ = posterior(grammar, tokens, levels=[0]).root  # never another level's law
    for i, mask in enumerate(masks):
        blanked = np.where(mask, -1, tokens)
        np.testing.assert_array_equal(posterior(grammar, blanked, mask).root, together.root[:, i])
    alone = token_predictions(grammar, tokens)
    for i in range(grammar.n_tokens):
        np.testing.assert_allclose(alone[:, i], together.tokens[:, i, i], **TOLERANCE)


def test_token_predictions_of_blocks_and_of_the_past(tiny):
    grammar, levels = tiny
    s, n = grammar.s, grammar.n_tokens
    tokens = levels[0][::5][:12]
    for height, causal in itertools.product(range(grammar.L + 1), (False, True)):
        laws = token_predictions(grammar, tokens, height=height, causal=causal)
        for i in range(n):
            block = np.arange(n) // s**height == i // s**height
            visible = block & (np.arange(n) < i if causal else np.arange(n) != i)
            for b, string in enumerate(tokens):
                expected, _ = enumerated_posterior(grammar, levels, string, ~visible)
                np.testing.assert_allclose(laws[b, i], expected[0][i], **TOLERANCE)


def test_deep_trees_against_log_domain_messages():
    """L = 10: 1,024 tokens, log-likelihoods near -1,100, far below what float64 can hold."""
    grammar = Grammar.random(v=16, m=4, s=2, L=10, seed=0)
    sample = grammar.sample(3, np.random.default_rng(0))
    mask = np.random.default_rng(1).random(sample.tokens.shape) < [[0.0], [0.5], [0.9]]
    got = posterior(grammar, sample.tokens, mask)
    one_hot = np.where(np.arange(16) == sample.tokens[..., None], 0.0, -np.inf)
    message = np.where(mask[..., None], 0.0, one_hot)  # (B, nodes, v)
    for rules in grammar.rules:
        left, right = message[:, ::2], message[:, 1::2]
        message = logsumexp(left[..., rules[..., 0]] + right[..., rules[..., 1]], axis=-1) - math.log(4)
    reference = logsumexp(message[:, 0], axis=-1) - math.log(16)
    np.testing.assert_allclose(got.log_likelihood, reference, rtol=1e-12)
    np.testing.assert_allclose(got.root, np.exp(message[:, 0] - reference[:, None]) / 16, rtol=0, atol=1e-11)
    for law in got.levels.values():
        np.testing.assert_allclose(law.sum(axis=-1), 1, rtol=1e-12)
    assert got.log_likelihood[0] == pytest.approx(-math.log(16) - 1023 * math.log(4))


def test_visible_strings_are_parsed_and_calibrated(large):
    grammar, sample = large
    part = sample[:4000]
    got = posterior(grammar, part.tokens)
    for level, law in got.levels.items():
        assert (law.argmax(axis=-1) == part.levels[level]).all()
        np.testing.assert_allclose(law.max(axis=-1), 1, atol=1e-12)
    mask = np.random.default_rng(0).random((4000, 16)) < 0.5
    root = posterior(grammar, part.tokens, mask, levels=[4]).root
    p = root[np.arange(4000), part.root]  # mean probability of the truth = mean probability of the guess ...
    expected = (root**2).sum(axis=1)  # ... if the posterior is calibrated
    error = np.std(p - expected) / math.sqrt(4000)
    assert abs(np.mean(p - expected)) < 4 * error
    assert 0 < error < 0.02


def test_what_cannot_be_is_refused(tiny):
    grammar, _ = tiny
    codes = np.setdiff1d(np.arange(grammar.v**grammar.s), grammar.tuple_code(grammar.rules[0]))
    string = np.zeros(grammar.n_tokens, dtype=int)
    string[: grammar.s] = codes[0] // grammar.v ** np.arange(grammar.s - 1, -1, -1) % grammar.v
    string[grammar.s :] = np.tile(grammar.rules[0][0, 0], grammar.n_tokens // grammar.s - 1)
    assert log_likelihood(grammar, string) == -np.inf
    with pytest.raises(ValueError, match=r"tokens must be a string of the grammar .* Found string 0"):
        posterior(grammar, string[None])
    with pytest.raises(ValueError, match=r"tokens must be a string of the grammar"):
        token_predictions(grammar, string[None])


def test_naive_ratio_and_speed():
    """All single-token maskings of 1,024 strings; the bound is loose, benchmarks/ measures."""
    grammar = Grammar.random(v=16, m=4, s=2, L=4, seed=0)
    tokens = grammar.sample(1024, np.random.default_rng(0)).tokens
    start = time.perf_counter()
    laws = token_predictions(grammar, tokens)
    assert laws.shape == (1024, 16, 16)
    assert time.perf_counter() - start < 2


# ---------------------------------------------------------------- entropies


def enumerated_entropy(grammar, levels, i, visible):
    """H(x_i | visible tokens) from the counts of all strings."""
    context = levels[0][:, visible]
    _, group = np.unique(context, axis=0, return_inverse=True)
    joint = np.zeros((group.max() + 1, grammar.v))
    np.add.at(joint, (group.reshape(-1), levels[0][:, i]), 1 / len(context))
    p = joint[joint > 0]
    marginal = joint.sum(axis=1)
    return -(p * np.log(p)).sum() + (marginal * np.log(marginal)).sum()


@pytest.mark.parametrize("objective", ["mlm", "ntp"])
def test_staircase_by_enumeration(tiny, objective):
    grammar, levels = tiny
    n = grammar.n_tokens
    stairs = entropy_staircase(grammar, objective, 2, np.random.default_rng(0))
    assert stairs.exact.all()
    assert (stairs.stderr == 0).all()
    for height in range(grammar.L + 1):
        for i in range(n):
            block = np.arange(n) // grammar.s**height == i // grammar.s**height
            visible = block & (np.arange(n) != i if objective == "mlm" else np.arange(n) < i)
            expected = enumerated_entropy(grammar, levels, i, visible)
            assert stairs.by_position[height, i] == pytest.approx(expected, abs=1e-12)
    assert (np.diff(stairs.mean) <= 1e-12).all()
    if objective == "ntp":  # the chain rule: the losses of a string add up to its entropy
        assert n * stairs.mean[-1] == pytest.approx(math.log(grammar.n_strings), abs=1e-10)


@pytest.mark.parametrize("objective", ["mlm", "ntp"])
def test_sampled_stairs_agree_with_the_exact_ones(objective):
    grammar = Grammar.random(v=8, m=3, s=2, L=3, seed=0)
    exact = entropy_staircase(grammar, objective, 2, np.random.default_rng(0))
    sampled = entropy_staircase(grammar, objective, 3000, np.random.default_rng(1), max_exact=0)
    assert exact.exact.all()
    assert list(sampled.exact) == [True, False, False, False]
    assert (np.abs(sampled.mean - exact.mean)[1:] < 4 * sampled.stderr[1:]).all()
    assert (sampled.stderr[1:] > 0).all()
    assert (sampled.stderr[1:] < 0.02).all()


def test_frozen_staircase():
    grammar = Grammar.random(v=4, m=2, s=2, L=3, seed=0)
    stairs = entropy_staircase(grammar, "mlm", 2, np.random.default_rng(0))
    np.testing.assert_allclose(stairs.mean, FROZEN_MLM, atol=1e-9)


def test_block_strings_are_all_and_distinct():
    grammar = Grammar.random(v=4, m=2, s=2, L=3, seed=0)
    strings, symbols = block_strings(grammar, 2)
    assert strings.shape == (4 * 2**3, 4)
    assert len(np.unique(strings, axis=0)) == len(strings)
    parents = grammar.parent(strings.reshape(-1, 2, 2), 0)
    assert (grammar.parent(parents, 1) == symbols).all()


def test_entropy_of_uniform_and_sure():
    np.testing.assert_allclose(entropy([[0.25] * 4, [1, 0, 0, 0]]), [math.log(4), 0])


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: node_law(g, 4), r"level must be in 0\.\.3 for L=3\. Found level=4"),
        (lambda g: node_law(g, 0.5), r"level must be an integer in 0\.\.3\. Found level=0\.5"),
        (lambda g: contexts(g, 2), r"level must be in 0\.\.1 .* Found level=2"),
        (lambda g: contexts(g, 0, "some"), r'targets must be "one" or "all"\. Found targets=\'some\''),
        (lambda g: pair_law(g, (0, 8), (0, 0)), r"first must be a pair .* Found first=\(0, 8\)"),
        (lambda g: tuple_token_law(g, (0, 4), (0, 0)), r"patch must .* Found patch=\(0, 4\)"),
        (lambda g: path_law(g, 1, [0, 0]), r"path must hold at most 1 .* Found path=\[0, 0\]"),
        (lambda g: sibling_law(g, 0, 0, 2), r"second must be in 0\.\.1\. Found second=2"),
        (lambda g: cousin_law(g, 0, (0, 0, 1)), r"block must be .* Found block=\(0, 0, 1\)"),
        (lambda g: cousin_law(g, 0, (0, 1, 1), grandparent=2), r"grandparent must be in 0\.\.1\. Found"),
        (lambda g: signal(g, 0, 0, 1), r"ancestor must be .* Found ancestor=1"),
        (
            lambda g: posterior(g, np.zeros(7, int)),
            r"tokens must be integers .* Found dtype int64, shape \(7,\)",
        ),
        (lambda g: posterior(g, np.zeros(8)), r"tokens must be integers .* Found dtype float64"),
        (lambda g: posterior(g, np.full(8, 4)), r"tokens must hold symbols in 0\.\.3 .* \[4, 4\]"),
        (lambda g: posterior(g, np.zeros(8, int), np.zeros(8)), r"mask must be of dtype bool .* float64"),
        (
            lambda g: posterior(g, np.zeros((2, 8), int), np.zeros((3, 8), bool)),
            r"mask must broadcast with tokens\. Found shapes \(3, 8\) and \(2, 8\)",
        ),
        (
            lambda g: token_predictions(g, np.zeros(8, int), height=4),
            r"height must be in 0\.\.3\. Found height=4",
        ),
        (lambda g: entropy_staircase(g, "bert", 9, None), r'objective must be "mlm" or "ntp"\. Found'),
        (lambda g: entropy_staircase(g, "mlm", 1, None), r"n must be at least 2\. Found n=1"),
    ],
)
def test_bad_input_is_named(call, message):
    grammar = Grammar.random(v=4, m=2, s=2, L=3, seed=0)
    with pytest.raises((ValueError, TypeError), match=message):
        call(grammar)
