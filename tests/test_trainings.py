"""Which of several trainings of a setting is shown."""

from __future__ import annotations

import pandas as pd
import pytest

from rhmlib import trainings


def test_the_better_weight_decay_is_kept_for_each_setting():
    rows = [
        {"objective": "mlm", "k": k, "weight_decay": decay, "L": 2, "level": level, "checkpoint": checkpoint,
         "probe_accuracy": score if level == 2 else 1 - score}
        for k, decay, score in ((0, 0.3, 0.9), (0, 1.0, 0.5), (1, 0.3, 0.2), (1, 1.0, 0.4))
        for level in (1, 2)
        for checkpoint in ("best", "curve")
    ]  # fmt: skip
    kept = trainings.better_decay(pd.DataFrame(rows), ["objective", "k"])
    assert len(kept) == 8
    assert dict(zip(kept["k"], kept["weight_decay"], strict=True)) == {0: 0.3, 1: 1.0}


def test_the_longest_training_is_kept_for_each_setting():
    rows = [
        {"m": m, "n": n, "steps": steps, "level": level}
        for m, n, steps in ((2, 8, 100), (2, 8, 200), (2, 16, 100), (3, 8, 50))
        for level in (1, 2)
    ]
    kept = trainings.longest(pd.DataFrame(rows), ["m", "n"])
    assert len(kept) == 6
    found = kept[["m", "n", "steps"]].drop_duplicates().to_numpy().tolist()
    assert found == [[2, 8, 200], [2, 16, 100], [3, 8, 50]]


def test_objectives_in_step_have_trainings_of_the_same_lengths_where_both_were_trained():
    trained = {
        ("a", 8): (100, 200), ("b", 8): (100,), ("c", 8): (400,),  # c is not compared
        ("a", 16): (200,),  # alone
        ("a", 32): (200,), ("b", 32): (100,),  # nothing in common
    }  # fmt: skip
    rows = [
        {"objective": name, "n": n, "steps": steps, "level": level}
        for (name, n), lengths in trained.items()
        for steps in lengths
        for level in (1, 2)
    ]
    kept = trainings.in_step(pd.DataFrame(rows, index=range(7, 7 + len(rows))), ["n"], ("a", "b"))
    assert len(kept) == 12
    left = [(row["objective"], row["n"], row["steps"]) for row in rows if row not in kept.to_dict("records")]
    assert left == [("a", 8, 200)] * 2


def test_prolonged_trainings_stand_beside_the_ones_before():
    rows = [
        {"m": m, "n": n, "steps": steps, "grammar_seed": seed, "probe_accuracy": steps / 100 + seed / 10}
        for m, n, steps, seeds in (
            (2, 8, 10, (0, 1)),
            (2, 8, 20, (0, 1)),
            (2, 8, 40, (1, 2)),
            (3, 8, 10, (0,)),
        )
        for seed in map(int, seeds)
    ]
    found = trainings.prolonged(pd.DataFrame(rows), ["m", "n"])
    assert found.to_dict("index") == {
        (2, 8): {"fewer": 20, "more": 40, "before": pytest.approx(0.3), "after": pytest.approx(0.5)}
    }
    assert trainings.prolonged(pd.DataFrame(rows[-1:]), ["m", "n"]).empty


def test_the_last_gain_is_that_of_the_last_two_evaluations_of_each_run():
    rows = [
        {"n": n, "grammar_seed": seed, "step": step, "probe_accuracy": value}
        for n, seed, values in ((8, 0, (0.1, 0.5, 0.6)), (8, 1, (0.9, 0.2, 0.5)), (16, 0, (0.0, 1.0)))
        for step, value in enumerate(values)
    ]
    gains = trainings.last_gain(pd.DataFrame(rows).sample(frac=1, random_state=0), ["n"])
    assert gains.round(9).to_dict() == {8: 0.2, 16: 1.0}
