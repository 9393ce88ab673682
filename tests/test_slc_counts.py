"""SLC with a last weight of separation that follows the counts."""

import pytest
from pydantic import ValidationError

from rhmlib.experiment_slc import SLCExperiment
from rhmlib.experiment_slc_counts import SLCCountsExperiment

SMALL = {
    "v": 6, "m": 3, "L": 2, "n": 64, "n_replicas": 2, "steps": 200, "n_evaluations": 3, "n_val": 50,
    "n_test": 50, "w_sep": 4.0, "device": "cpu", "grammar_seed": 0, "data_seed": 0, "model_seed": 0,
}  # fmt: skip


def test_the_last_weight_follows_the_root_of_the_count():
    # 64 strings of 4 tokens have 128 patches, of 18 codes.
    experiment = SLCCountsExperiment(**SMALL, w_sep_end=0.6, count=128 / 18 / 4)
    assert experiment.separation(0) == pytest.approx(4.0)
    assert experiment.separation(199) == pytest.approx(1.2)
    # The weight that the docstring gives at 16 v m**3 strings.
    for m in (2, 3, 4):
        large = SLCCountsExperiment(**{**SMALL, "v": 8, "m": m, "L": 4, "n": 16 * 8 * m**3})
        assert large.separation(199) == pytest.approx(m / 4)


def test_at_the_count_of_the_data_it_trains_as_the_plain_experiment_does():
    def last(rows):
        return [row for row in rows if row["checkpoint"] == "last"]

    plain = last(SLCExperiment(**SMALL, w_sep_end=0.6).run())
    assert last(SLCCountsExperiment(**SMALL, w_sep_end=0.6, count=128 / 18).run()) == plain
    assert last(SLCCountsExperiment(**SMALL, w_sep_end=0.6, count=1e6).run()) != plain


def test_the_best_checkpoint_has_the_largest_matched_accuracy_on_validation_strings():
    rows = SLCCountsExperiment(**{**SMALL, "n_evaluations": 8}, curve=True).run()
    for replica in range(2):
        curve = [row for row in rows if row["checkpoint"] == "curve" and row["replica"] == replica]
        (best,) = (row for row in rows if row["checkpoint"] == "best" and row["replica"] == replica)
        accuracy = {row["step"]: row["hungarian_accuracy"] for row in curve}
        assert accuracy[best["step"]] == max(accuracy.values())


def test_counts_need_a_fixed_set_of_strings():
    with pytest.raises(ValidationError, match="online must be false"):
        SLCCountsExperiment(**SMALL, online=True)
