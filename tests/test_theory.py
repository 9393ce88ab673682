"""Closed forms against exact laws, the bound against its proof, predicted ILC against measured."""

import math

import numpy as np
import pytest
from scipy.stats import poisson
from sklearn.cluster import kmeans_plusplus

from rhmlib.exact import contexts, signal
from rhmlib.grammar import Grammar
from rhmlib.ilc import IterativeLatentClustering
from rhmlib.ilc_theory import (
    mean_inverse_count,
    noise_dimensions,
    predicted_accuracy,
    predicted_threshold,
    seeding_misses,
)
from rhmlib.theory import (
    assumption_constants,
    attenuation,
    correlation_strength,
    recovery_bound,
    sample_complexity,
    supervised_strength,
)

FROZEN_ALL = [0.9987004161752012, 0.4977812692948879]
FROZEN_ONE = [0.9919217525361979, 0.6637521316328159]


def grammars(v, m, s, L, n):
    return [Grammar.random(v=v, m=m, s=s, L=L, seed=seed) for seed in range(n)]


# ---------------------------------------------------------------- sample complexities


def test_sample_complexities_are_the_papers():
    shape = {"v": 16, "m": 4, "s": 2, "L": 5}
    gap = 1 - 4 / 16
    assert [sample_complexity("supervised", **shape, level=l) for l in range(1, 6)] == [
        16 * 4**k for k in (5, 4, 3, 2, 1)
    ]
    assert [sample_complexity("token", **shape, level=l) for l in (1, 2, 3, 4)] == [
        16 * 4**k / gap for k in (3, 4, 5, 6)
    ]
    assert {sample_complexity("latent", **shape, level=l) for l in (1, 2, 3, 4)} == {16 * 4**3 / gap}
    assert sample_complexity("supervised", **shape) == 16 * 4**5
    assert sample_complexity("token", **shape, finite_f=False) == 16 * 4**6
    assert sample_complexity("token", **shape, level=1) == sample_complexity("latent", **shape)
    assert sample_complexity("latent", v=4, m=4, s=2, L=3) == math.inf


@pytest.mark.parametrize(
    ("setting", "level", "strength"),
    [
        ("latent", 1, lambda v, m, s, L: correlation_strength(v, m, s, edges=3)),
        ("token", 3, lambda v, m, s, L: correlation_strength(v, m, s, edges=5)),
        ("supervised", 1, lambda v, m, s, L: supervised_strength(v, m, edges=L - 1)),
    ],
)
def test_complexity_is_where_signal_meets_noise(setting, level, strength):
    """Signal C**2 against the noise P(u) P(z) / n = 1 / (v**2 m n) of an empirical correlation."""
    v, m, s, L = 4096, 64, 2, 4
    crossing = 1 / (v**2 * m) / strength(v, m, s, L)
    assert crossing == pytest.approx(sample_complexity(setting, v=v, m=m, s=s, L=L, level=level), rel=0.01)


# ---------------------------------------------------------------- correlation strengths


@pytest.mark.parametrize(("v", "m", "s", "L"), [(32, 8, 2, 4), (16, 4, 2, 4), (8, 4, 3, 3)])
def test_strengths_against_exact_means_over_grammars(v, m, s, L):
    many = grammars(v, m, s, L, 30)
    for level, token_level, top in [(0, 0, 2), (0, 1, 2), (0, 0, L), (1, 0, L), (1, 1, L), (0, 0, 3)]:
        exact = np.mean([signal(g, level, token_level, top) for g in many])
        edges = 2 * top - level - 1 - token_level
        assert exact == pytest.approx(correlation_strength(v, m, s, edges=edges, depth=L - top), rel=0.2)
    for level in range(L):
        exact = np.mean([signal(g, level, L, L) for g in many])
        assert exact == pytest.approx(supervised_strength(v, m, edges=L - 1 - level), rel=0.12)


def test_leading_orders():
    v, m = 10**5, 100
    f = m / v
    assert correlation_strength(v, m, 2, edges=3) == pytest.approx((1 - f) / (v**3 * m**4), rel=0.001)
    assert correlation_strength(v, m, 2, edges=6) == pytest.approx((1 - f) / (v**3 * m**7), rel=0.001)
    assert supervised_strength(v, m, edges=3) == pytest.approx(1 / (v**3 * m**5), rel=0.001)
    assert attenuation(8, 1) == 1
    assert correlation_strength(4, 4, 2, edges=3) == 0


def test_covariance_scale_is_the_same_at_every_level():
    """Self-similarity: m**2 |mu_a - p|**2 is near 1 - f at each level of each mode's first block."""
    v, m, L = 32, 8, 4
    for level in range(L - 1):
        scale = []
        for grammar in grammars(v, m, 2, L, 20):
            law = contexts(grammar, level)
            scale.append(np.nanmean(((law.parent_contexts - law.mean_context) ** 2).sum(axis=1)))
        assert m**2 * np.mean(scale) == pytest.approx(1 - m / v, rel=0.2)


# ---------------------------------------------------------------- Assumption 1 and Theorem 2


def test_assumption_constants_are_their_definition():
    grammar = Grammar.random(v=16, m=8, s=2, L=4, seed=0)
    for level in range(3):
        law = contexts(grammar, level)
        found = assumption_constants(grammar, level=level)
        p = law.parent_law[0] / 8
        assert found.c_bal == pytest.approx(16 * 8 * p.min())
        mu = law.parent_contexts
        least = min(np.linalg.norm(mu[a] - mu[b]) for a in range(16) for b in range(a))
        assert found.separation == pytest.approx(least)
        assert found.separation == pytest.approx(np.linalg.norm(mu[found.pair[0]] - mu[found.pair[1]]))
        assert found.c_sep == pytest.approx(found.separation * 8 / math.sqrt(0.5))
    whole = assumption_constants(grammar)
    each = [assumption_constants(grammar, level=level) for level in range(3)]
    assert whole.c_bal == min(c.c_bal for c in each)
    assert whole.c_sep == min(c.c_sep for c in each)
    assert whole.holds
    assert assumption_constants(grammar, "all").c_sep > whole.c_sep


def test_a_missing_symbol_breaks_the_assumption_and_all_targets_repair_it():
    failing = [g for g in grammars(16, 2, 2, 4, 12) if not assumption_constants(g).holds]
    assert len(failing) >= 6  # m = 2: position 0 misses some symbols in most grammars
    assert sum(assumption_constants(g, "all").holds for g in failing) >= 4
    constants = assumption_constants(failing[0])
    assert min(constants.c_bal, constants.separation) < 1e-9


def test_full_grammar_is_not_separated():
    constants = assumption_constants(Grammar.random(v=4, m=4, s=2, L=3, seed=0))
    assert not constants.holds
    assert constants.c_sep == 0
    assert constants.c_bal == pytest.approx(1)


def test_bound_is_its_formula_and_scales_as_v_m3():
    shape = {"v": 16, "m": 8, "s": 2, "L": 4}
    bound = recovery_bound(**shape, c_bal=0.5, c_sep=1.0, delta=0.1)
    log = math.log(2 * 3 * 16 * 8 / 0.1)
    assert bound.counts == pytest.approx(8 * 16 * 8 / 0.5 * log)
    assert bound.separation == pytest.approx(128 * 16 * 8**3 * (1 + math.sqrt(log)) ** 2 / (0.5 * 0.5))
    assert bound.total == bound.separation
    doubled = recovery_bound(v=64, m=16, s=2, L=4, c_bal=0.5, c_sep=1.0, delta=0.1)
    assert doubled.total / bound.total == pytest.approx(64 * 16**3 / 0.75 / (16 * 8**3 / 0.5), rel=0.4)
    assert recovery_bound(**shape, c_bal=0, c_sep=1).total == math.inf
    assert recovery_bound(**shape, c_bal=1, c_sep=0).total == math.inf
    assert recovery_bound(v=16, m=16, s=2, L=4, c_bal=1, c_sep=1).total == math.inf


def test_the_bounds_good_event_happens():
    """At n = total every oracle context is within Delta / 8, which is what the proof promises."""
    grammar = Grammar.random(v=6, m=3, s=2, L=3, seed=4)
    constants = assumption_constants(grammar)
    assert constants.holds
    n = recovery_bound(v=6, m=3, s=2, L=3, c_bal=constants.c_bal, c_sep=constants.c_sep, delta=0.05).total
    rng = np.random.default_rng(0)
    for level in range(2):
        law = contexts(grammar, level)
        counts = rng.multinomial(math.ceil(n), law.tuple_law)
        mu = np.repeat(law.parent_contexts, 3, axis=0)
        found = rng.multinomial(counts, mu) / counts[:, None]
        assert np.linalg.norm(found - mu, axis=1).max() < constants.separation / 8


# ---------------------------------------------------------------- predicted ILC


def test_mean_inverse_count_of_a_poisson():
    mean = np.array([0.01, 0.5, 3.0, 40.0, 700.0])
    k = np.arange(1, 2000)[:, None]
    p = poisson.pmf(k, mean)
    np.testing.assert_allclose(mean_inverse_count(mean), (p / k).sum(axis=0) / p.sum(axis=0), rtol=1e-5)


def test_noise_dimensions_of_a_nearly_uniform_target():
    grammar = Grammar.random(v=16, m=16, s=2, L=3, seed=0)  # f = 1: independent uniform tokens
    assert noise_dimensions(grammar, 0, "one") == pytest.approx((15,))
    assert noise_dimensions(grammar, 0, "all") == pytest.approx((30, 30))


def test_seeding_against_k_means_plus_plus():
    rng = np.random.default_rng(0)
    v, m, dims, noise = 16, 8, 40, 0.1
    seeded, predicted = [], []
    for _ in range(25):
        centres = rng.normal(size=(v, dims)) / math.sqrt(2 * dims)
        x = centres[:, None] + rng.normal(size=(v, m, dims)) * math.sqrt(noise / dims)
        squared = ((centres[:, None] - centres) ** 2).sum(axis=-1)
        predicted.append(seeding_misses(np.full(v, m), squared, noise, dims, 1))
        for seed in range(12):
            _, index = kmeans_plusplus(x.reshape(-1, dims), v, random_state=seed)
            seeded.append(len(set(index // m)))
    missing = v - np.array(seeded)
    law = np.mean(predicted, axis=0)
    assert law[0] == 1
    assert abs(np.mean(missing >= 1) - law[1]) < 0.15
    assert abs(np.mean(missing >= 2) - law[2]) < 0.15
    restarts = seeding_misses(np.full(v, m), squared, noise, dims, 3)
    np.testing.assert_allclose(restarts, predicted[-1] ** 3, atol=1e-12)


@pytest.mark.parametrize(("v", "m", "s", "L", "targets"), [(16, 4, 2, 4, "all"), (8, 4, 3, 3, "one")])
def test_prediction_rises_from_chance_to_one(v, m, s, L, targets):
    grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=5)
    assert assumption_constants(grammar, targets).holds
    scale = v * m**3
    levels = np.array([predicted_accuracy(grammar, x * scale, targets) for x in (0.05, 1, 8, 1000)])
    assert levels.shape == (4, L - 1)
    assert (levels[0] < 0.6).all()
    assert (np.diff(levels, axis=0)[[0, 2]] > -0.02).all()
    np.testing.assert_allclose(levels[-1], 1, atol=1e-6)


def test_prediction_without_a_symbol_stays_below_one():
    failing = next(g for g in grammars(16, 2, 2, 4, 12) if assumption_constants(g).c_bal == 0)
    levels = predicted_accuracy(failing, 1e7, "one")
    assert levels.min() < 0.99
    assert predicted_threshold(failing, "one", accuracy=0.999, max_multiple=64) == math.inf
    # What it predicts instead is the share of the symbols that do occur.
    law = contexts(failing, 0).parent_law[0]
    missing = failing.marginals(1)[law == 0].sum()
    assert levels[0] <= 1 - missing + 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("m", "targets"), [(6, "one"), (3, "all"), (6, "all")])
def test_threshold_within_a_factor_of_the_measured_one(m, targets):
    """The mean over levels reaches 95 % within a factor 1.5 of where it is measured to."""
    many = grammars(16, m, 2, 4, 5)
    predicted = predicted_threshold(many, targets, accuracy=0.95)
    accuracy = {}
    for factor in (1 / 1.5, 1.5):
        n = round(factor * predicted)
        scores = []
        for seed, grammar in enumerate(many):
            train = grammar.sample(n, np.random.default_rng([seed, 0]))
            test = grammar.sample(1000, np.random.default_rng([seed, 1]))
            ilc = IterativeLatentClustering(v=16, targets=targets, random_state=0).fit(train.tokens)
            scores.append(ilc.score(test.tokens, test.levels))
        accuracy[factor] = np.mean(scores)
    assert accuracy[1 / 1.5] < 0.95 < accuracy[1.5]


def test_threshold_is_where_the_prediction_crosses():
    many = grammars(8, 4, 2, 3, 2)
    n = predicted_threshold(many, "all", accuracy=0.9, level=2)
    step = math.sqrt(2)
    below, above = (np.mean([predicted_accuracy(g, x, "all")[1] for g in many]) for x in (n / step, n * step))
    assert below < 0.9 < above
    assert predicted_threshold(many[:1], "all") == predicted_threshold(many[0], "all")


def test_more_restarts_help():
    grammar = Grammar.random(v=32, m=4, s=2, L=3, seed=0)
    one, many = (predicted_accuracy(grammar, 4 * 32 * 64, "all", n_init=k).mean() for k in (1, 30))
    assert one < many


def test_frozen_predictions():
    grammar = Grammar.random(v=8, m=4, s=2, L=3, seed=0)
    np.testing.assert_allclose(predicted_accuracy(grammar, 1024, "all"), FROZEN_ALL, atol=1e-6)
    np.testing.assert_allclose(predicted_accuracy(grammar, 4096, "one"), FROZEN_ONE, atol=1e-6)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda g: sample_complexity("both", v=4, m=2, s=2, L=3),
            r"setting must be .* Found setting=\'both\'",
        ),
        (
            lambda g: sample_complexity("token", v=4, m=2, s=2, L=3, level=3),
            r"level must be in 1\.\.2 for token with L=3\. Found level=3",
        ),
        (lambda g: sample_complexity("token", v=4, m=5, s=2, L=3), r"m must be at most .* Found m=5"),
        (lambda g: correlation_strength(4, 2, 2, edges=1), r"edges must be at least 2 .* Found edges=1"),
        (lambda g: correlation_strength(4, 2, 2, edges=2, depth=-1), r"depth .* Found depth=-1"),
        (lambda g: supervised_strength(4, 2, edges=-1), r"edges must be at least 0\. Found edges=-1"),
        (lambda g: recovery_bound(v=4, m=2, s=2, L=1, c_bal=1, c_sep=1), r"L must be at least 2.* Found L=1"),
        (
            lambda g: recovery_bound(v=4, m=2, s=2, L=3, c_bal=1, c_sep=1, delta=2),
            r"delta must be in \(0, 1\)\. Found delta=2",
        ),
        (
            lambda g: recovery_bound(v=4, m=2, s=2, L=3, c_bal=-1, c_sep=1),
            r"c_bal must be non-negative\. Found c_bal=-1",
        ),
        (lambda g: assumption_constants(g, level=2), r"level must be in 0\.\.1 .* Found level=2"),
        (lambda g: predicted_accuracy(g, 0), r"n must be positive\. Found n=0"),
        (lambda g: predicted_accuracy(g, 10, "two"), r"targets must be .* Found targets='two'"),
        (lambda g: predicted_threshold(g, accuracy=1), r"accuracy must be in \(0, 1\)\. Found accuracy=1"),
        (lambda g: predicted_threshold(g, level=3), r"level must be in 1\.\.2 for L=3\. Found level=3"),
        (
            lambda g: predicted_threshold([g, Grammar.random(v=5, m=2, s=2, L=3, seed=0)]),
            r"grammars must be of one shape .* Found \[\(4, 2, 2, 3\), \(5, 2, 2, 3\)\]",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Grammar.random(v=4, m=2, s=2, L=3, seed=0))
