"""Synonym scores of all blocks of an encoder."""

from __future__ import annotations

import pytest

from rhmlib.experiment_encoder import EncoderExperiment
from rhmlib.experiment_synonym_blocks import SynonymBlocksExperiment

SETTINGS = {
    "objective": "data2vec", "v": 6, "m": 2, "L": 3, "n": 48, "width": 16, "steps": 8, "n_evaluations": 2,
    "batch_size": 16, "n_val": 60, "n_test": 20, "n_probe": 20, "device": "cpu", "grammar_seed": 0,
    "data_seed": 1, "model_seed": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    return SynonymBlocksExperiment(**SETTINGS, architecture="transformer", n_blocks=3).run()


def test_every_level_is_scored_in_every_block_at_every_evaluation(rows):
    found = [(row["step"], row["level"], row["block"]) for row in rows]
    assert found == [(step, level, block) for step in (0, 1, 8) for level in (1, 2) for block in range(4)]
    assert all(row["strings_seen"] == 16 * row["step"] and row["n_over_vm3"] == 1 for row in rows)


def test_the_run_is_repeated_exactly(rows):
    assert SynonymBlocksExperiment(**SETTINGS, architecture="transformer", n_blocks=3).run() == rows


def test_training_is_that_of_the_plain_experiment():
    ours = SynonymBlocksExperiment(**SETTINGS).run()
    plain = [
        row for row in EncoderExperiment(**SETTINGS).run() if row["checkpoint"] in ("untrained", "curve")
    ]
    for row in ours:  # one block a level in a tree encoder
        (same,) = (x for x in plain if (x["step"], x["level"]) == (row["step"], row["level"]))
        # Strings and rules of the scores are drawn anew.
        assert row["synonym_raw"] == pytest.approx(same["synonym_raw"], abs=0.25)
