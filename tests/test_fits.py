"""Synthetic curves with known answers, and curves that have none: then no number may come out."""

import math

import numpy as np
import pandas as pd
import pytest

from rhmlib.fits import Curve, Estimate, collapse, crossing, curves, draw_grammars, exponent, threshold

MS = (2, 3, 4, 6, 8)


def sigmoid_curve(v, m, k, rng, *, noise=0.03, grammars=10, shift=0.0, x=None):
    """Accuracy 1 / (1 + (v m**k / P)**2), with a random threshold a grammar."""
    x = np.geomspace(0.1, 60, 12) if x is None else x
    sizes = np.ceil(x * v * m**k)
    jitter = np.exp(rng.normal(shift, noise, size=(grammars, 1)))
    accuracy = 1 / (1 + (v * m**k * jitter / sizes) ** 2) + rng.normal(0, noise / 5, (grammars, len(sizes)))
    return Curve(sizes, accuracy, v, m)


def family(k, rng, **kwargs):
    return {m: sigmoid_curve(16, m, k, rng, **kwargs) for m in MS}


def test_crossing_interpolates_on_log_size():
    assert crossing([1, 100], [0.0, 1.0], 0.5) == pytest.approx(10)
    assert crossing([1, 10, 100], [0.2, 0.9, 0.4], 0.6) == pytest.approx(10 ** (0.4 / 0.45))  # made rising
    assert crossing([1, 10], [0.1, 0.2], 0.5) == math.inf
    assert crossing([1, 10], [0.6, 0.9], 0.5) == 0


def test_threshold_covers_the_truth():
    rng = np.random.default_rng(0)
    found = [threshold(sigmoid_curve(16, 4, 3, rng, noise=0.3), 0.5, rng, n_bootstrap=300) for _ in range(40)]
    hits = sum(estimate.contains(16 * 4**3) for estimate in found)
    assert hits >= 32  # a 95 % interval from ten grammars; 32 of 40 is far below chance for a sound one
    assert all(estimate.low < estimate.high for estimate in found)


@pytest.mark.parametrize("grammars", [3, 10])
def test_means_of_drawn_grammars_vary_as_means_of_new_ones_would(grammars):
    rng = np.random.default_rng(2)
    values = rng.normal(size=grammars)
    means = [values[draw_grammars(grammars, rng)].mean() for _ in range(20_000)]
    assert np.var(means) == pytest.approx(values.var(ddof=1) / grammars, rel=0.05)
    assert draw_grammars(1, rng).tolist() == [0]


@pytest.mark.parametrize("k", [3.0, 4.5])
def test_exponent_and_collapse_find_the_truth(k):
    rng = np.random.default_rng(1)
    data = family(k, rng)
    for estimate in (exponent(data, 0.75, rng, n_bootstrap=200), collapse(data, rng, n_bootstrap=60).k):
        assert estimate.identified
        assert estimate.value == pytest.approx(k, abs=0.08)
        assert estimate.contains(k)


def test_a_rival_exponent_collapses_worse():
    rng = np.random.default_rng(2)
    fit = collapse(family(3.0, rng), rng, rivals=(3.0, 5.0), n_bootstrap=40)
    assert fit.rivals[3.0].value < 2
    assert fit.rivals[5.0].low > 20
    assert fit.grid[fit.spread.argmin()] == pytest.approx(fit.k.value, abs=0.1)


def test_depth_slope_is_zero_for_curves_that_do_not_move():
    rng = np.random.default_rng(3)
    by_depth = {L: sigmoid_curve(16, 4, 3, rng) for L in (3, 4, 5, 6)}
    slope = exponent(by_depth, 0.75, rng, variable=lambda L, _: L, log=False, n_bootstrap=200)
    assert slope.contains(0)
    assert slope.high - slope.low < 0.1


def test_threshold_never_reached_is_not_a_number():
    rng = np.random.default_rng(4)
    low = Curve(np.array([1.0, 10, 100]), np.full((5, 3), 0.2), 16, 2)
    estimate = threshold(low, 0.75, rng)
    assert not estimate.identified
    assert estimate.value == math.inf
    assert "never reached" in str(estimate)
    assert not exponent({m: Curve(low.sizes, low.accuracy, 16, m) for m in MS}, 0.75, rng).identified
    fit = collapse({m: Curve(low.sizes, low.accuracy, 16, m) for m in MS}, rng, n_bootstrap=5)
    assert fit.k.reason == "no curve rises by 0.3"


def test_threshold_below_the_smallest_size_is_not_a_number():
    high = Curve(np.array([1.0, 10]), np.full((5, 2), 0.9), 16, 2)
    assert "smallest size" in threshold(high, 0.5, np.random.default_rng(0)).reason


def test_grammars_that_disagree_on_reaching_it_are_not_a_number():
    """Half the grammars never rise: the mean crosses now and then, and the fit must not pretend."""
    accuracy = np.repeat([[0.1, 0.1, 0.1], [0.1, 0.9, 1.0]], 3, axis=0)
    curve = Curve(np.array([1.0, 10, 100]), accuracy, 16, 2)
    assert "of resamples do not cross" in threshold(curve, 0.5, np.random.default_rng(0)).reason


def test_noise_alone_identifies_nothing():
    rng = np.random.default_rng(5)
    noise = {m: Curve(np.geomspace(10, 1e4, 8), rng.uniform(0, 1, (4, 8)), 16, m) for m in (2, 3)}
    assert not exponent(noise, 0.5, rng, n_bootstrap=100).identified
    assert not collapse(noise, rng, n_bootstrap=60).k.identified


def test_one_m_identifies_no_exponent():
    rng = np.random.default_rng(6)
    only = {4: sigmoid_curve(16, 4, 3, rng)}
    assert "three are needed" in exponent(only, 0.75, rng).reason
    assert "two values of m" in collapse(only, rng, n_bootstrap=5).k.reason


def test_same_generator_same_interval():
    data = family(3.0, np.random.default_rng(7))
    a, b = (exponent(data, 0.75, np.random.default_rng(0), n_bootstrap=50) for _ in range(2))
    assert a == b


def test_curves_from_a_table():
    rows = [
        {"v": 8, "m": m, "n": n, "grammar_seed": g, "hungarian_accuracy": n / 100 + g / 1000}
        for m in (2, 3)
        for n in (50, 10)
        for g in (0, 1)
    ]
    out = curves(pd.DataFrame(rows))
    assert list(out) == [(8, 2), (8, 3)]
    np.testing.assert_allclose(out[8, 2].accuracy, [[0.1, 0.5], [0.101, 0.501]])
    with pytest.raises(ValueError, match="one row a run"):
        curves(pd.DataFrame(rows + rows))
    with pytest.raises(ValueError, match=r"Missing: \['m'\]"):
        curves(pd.DataFrame(rows).drop(columns="m"))


def test_missing_runs_are_left_out_of_the_mean():
    curve = Curve(np.array([1.0, 2]), np.array([[0.2, np.nan], [0.4, 0.8]]), 8, 2)
    np.testing.assert_allclose(curve.mean(), [0.3, 0.8])


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Curve(np.array([2.0, 1]), np.zeros((2, 2)), 8, 2), "ascending"),
        (lambda: Curve(np.array([1.0, 2]), np.zeros((2, 3)), 8, 2), "shape"),
        (
            lambda: threshold(Curve(np.array([1.0]), np.zeros((1, 1)), 8, 2), 1.5, np.random.default_rng()),
            "accuracy",
        ),
    ],
)
def test_bad_arguments_are_named(build, text):
    with pytest.raises(ValueError, match=text):
        build()


def test_estimates_print_with_their_interval():
    assert str(Estimate(3.017, 2.9, 3.1)) == "3.02 [2.90, 3.10]"
    assert str(Estimate.missing("too few")) == "not identified (too few)"
