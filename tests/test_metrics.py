"""Agreement up to renaming: hand-made cases and the properties that define each metric."""

import itertools

import numpy as np
import pytest

from rhmlib.metrics import codes_used, contingency, hungarian_accuracy, level_metrics, majority_accuracy


def test_renaming_changes_nothing():
    rng = np.random.default_rng(0)
    latents = rng.integers(0, 5, size=(100, 4))
    codes = rng.permutation(5)[latents]
    assert hungarian_accuracy(codes, latents) == majority_accuracy(codes, latents) == 1


def test_hungarian_is_the_best_permutation():
    rng = np.random.default_rng(1)
    latents = rng.integers(0, 4, size=200)
    codes = np.where(rng.random(200) < 0.5, latents, rng.integers(0, 4, size=200))
    best = max(np.mean(np.array(p)[codes] == latents) for p in itertools.permutations(range(4)))
    assert hungarian_accuracy(codes, latents) == pytest.approx(best, abs=1e-12)


def test_over_splitting_costs_hungarian_but_not_majority():
    latents = np.repeat([0, 1], 50)
    codes = np.concatenate([np.zeros(50), np.repeat([1, 2], 25)]).astype(int)
    assert hungarian_accuracy(codes, latents) == 0.75
    assert majority_accuracy(codes, latents) == 1
    assert codes_used(codes) == 3


def test_merging_costs_both():
    latents = np.repeat([0, 1], 50)
    row = level_metrics(np.zeros(100, dtype=int), latents)
    assert row == {"hungarian_accuracy": 0.5, "majority_accuracy": 0.5, "codes_used": 1}


def test_contingency_counts():
    assert contingency([0, 0, 2], [1, 0, 1]).tolist() == [[1, 1], [0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("codes", "latents", "text"),
    [
        ([0, 1], [0, 1, 2], "one shape"),
        ([], [], "non-empty"),
        ([0.5], [0], "codes must hold non-negative integers"),
        ([0], [-1], "latents must hold non-negative integers"),
    ],
)
def test_bad_arrays_are_named(codes, latents, text):
    with pytest.raises(ValueError, match=text):
        hungarian_accuracy(codes, latents)
