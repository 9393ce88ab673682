"""Exponents, thresholds and kinds of error, on made-up tables whose answers are known."""

import math

import numpy as np
import pandas as pd
import pytest

from rhmlib import fits, slc_fits


def table(power=3.0, factor=True, v=16, ms=(2, 3, 4, 6), Ls=(3,), lag=1.0):
    """Probe accuracy is one function of P (1-f) / (v m^power); matching needs `lag` times as many strings."""
    rows = []
    for L in Ls:
        for m in ms:
            star = v * m**power / ((1 - m / v) if factor else 1)
            for n in (v * m**3 * np.array([0.25, 0.5, 1, 2, 4, 8])).astype(int):
                for seed in range(3):
                    probe, code = (1 / (1 + (times * star / n) ** 2) + 0.002 * seed for times in (1.0, lag))
                    rows.append({"v": v, "m": m, "L": L, "level": L - 1, "n": n, "grammar_seed": seed,
                                 "probe_accuracy": probe, "hungarian_accuracy": code,
                                 "majority_accuracy": probe, "codes_used": v})  # fmt: skip
    return pd.DataFrame(rows)


def test_an_exponent_above_three_can_be_the_factor():
    found = slc_fits.exponents(table(), np.random.default_rng(0), n_bootstrap=10).loc[(16, 3, "probe")]
    assert found["all"].low > 3.05
    assert found["P (1-f)"].value == pytest.approx(3, abs=0.02)
    assert 3 < found["f <= 1/4"].value < found["all"].value
    assert found["P*"].value > 3
    assert found["spread at 3"] > 1
    assert found["spread at 4"] == found["spread at L+1"] > found["spread at 3"]


def test_an_exponent_without_the_factor_is_found_as_it_is():
    found = slc_fits.exponents(table(4, factor=False), np.random.default_rng(0), n_bootstrap=10)
    assert found.loc[(16, 3, "matching"), "all"].value == pytest.approx(4, abs=0.02)
    assert found.loc[(16, 3, "matching"), "P (1-f)"].high < 4


def test_one_sparse_grammar_gives_no_exponent():
    found = slc_fits.exponents(table(v=8, ms=(2, 3, 4)), np.random.default_rng(0), n_bootstrap=5)
    assert not found.loc[(8, 3, "probe"), "f <= 1/4"].identified


def test_best_checkpoints_have_the_seed_of_their_replica():
    rows = pd.DataFrame(
        {
            "checkpoint": ["best", "last", "best"],
            "grammar_seed": 3,
            "replica": [0, 1, 1],
            "level": [1, 2, 2],
            "L": 3,
        }
    )
    best = slc_fits.best_of(rows)
    assert best["grammar_seed"].tolist() == [3, 4]
    assert slc_fits.top_level(best)["grammar_seed"].tolist() == [4]


def test_curves_of_two_depths_meet_in_their_own_unit_alone():
    both = fits.curves(table(3, factor=False, Ls=(3, 4)), by=["L", "m"], metric="probe_accuracy")
    assert slc_fits.gap_in_units(both, lambda key: 3) < 0.02
    assert slc_fits.gap_in_units(both, lambda key: key[0]) > 0.1


def curve(star, sizes=(1, 2, 4, 8, 16)):
    steps = np.array(sizes, dtype=float)
    return fits.Curve(steps, np.array([1 / (1 + (star / steps) ** 4)] * 3), v=4, m=2)


def test_ratio_of_thresholds():
    rng = np.random.default_rng(0)
    found = slc_fits.threshold_ratio(curve(2), curve(4), 0.5, rng, n_bootstrap=20)
    assert found.low == found.high == pytest.approx(2)
    assert found.value == pytest.approx(2)
    assert not slc_fits.threshold_ratio(curve(2), curve(400), 0.5, rng, n_bootstrap=20).identified
    assert not slc_fits.threshold_ratio(curve(0.01), curve(2), 0.5, rng, n_bootstrap=20).identified


def test_errors_are_confused_or_split():
    runs = pd.DataFrame({"hungarian_accuracy": [0.6, 1.0], "majority_accuracy": [0.9, 1.0]})
    parts = slc_fits.error_parts(runs)
    assert parts["confused"].tolist() == pytest.approx([0.1, 0])
    assert parts["split"].tolist() == pytest.approx([0.3, 0])


def test_thresholds_beside_and_the_errors_between_them():
    counted, network = table(), table(lag=2.0)
    beside = slc_fits.thresholds_beside(network, counted)
    assert beside["ratio"].dropna().tolist() == pytest.approx([2.0] * 4, rel=0.1)
    assert (
        slc_fits.thresholds_beside(network, counted, metric="probe_accuracy")["ratio"].tolist() == [1.0] * 4
    )
    between = slc_fits.share_of_splitting(slc_fits.error_parts(network), beside)
    assert len(between) == 4
    assert (between["split"] > 0.1).all()


def test_a_threshold_that_is_not_crossed_has_no_ratio():
    beside = slc_fits.thresholds_beside(table(lag=1e6), table())
    assert beside["SLC"].isna().all()
    assert beside["ratio"].isna().all()


def test_verdicts_are_counted():
    known = [fits.Estimate(3.1, 2.9, 3.3), fits.Estimate(3.5, 3.2, 3.8), fits.Estimate(2.5, 2.2, 2.8)]
    text = slc_fits.tally([*known, fits.Estimate.missing("why")])
    assert text == "contains 3 in 1 of 3, lies above it in 1 and below it in 1"
    assert math.isnan(fits.Estimate.missing("why").value)
