"""The linear probe, against scikit-learn and by its properties."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from rhmlib.probes import fit_linear

torch.set_num_threads(1)


def clouds(n, seed, spread=0.5, classes=3, d=5):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(classes, d))
    labels = rng.integers(0, classes, size=n)
    return torch.tensor(centres[labels] + spread * rng.normal(size=(n, d))), torch.tensor(labels)


def stacked(n, *seeds, spread=0.5):
    parts = [clouds(n, seed, spread) for seed in seeds]
    return torch.stack([p[0] for p in parts]), torch.stack([p[1] for p in parts])


def test_separable_features_are_learnt():
    probe = fit_linear(*stacked(200, 0, 1, spread=0.05), *stacked(100, 2, 3, spread=0.05), classes=3)
    assert probe.score(*stacked(100, 4, 5, spread=0.05)).tolist() == [1, 1]


def test_accuracy_is_that_of_a_converged_regression():
    train, check, test = (
        stacked(400, 0, 1, spread=1.0),
        stacked(400, 2, 3, spread=1.0),
        stacked(2000, 4, 5, spread=1.0),
    )
    scores = fit_linear(*train, *check, classes=3).score(*test)
    for r in range(2):
        reference = LogisticRegression(max_iter=1000).fit(train[0][r], train[1][r])
        assert scores[r].item() == pytest.approx(reference.score(test[0][r], test[1][r]), abs=0.015)


def test_replicas_do_not_mix_and_padding_does_not_count():
    (x, y), (cx, cy) = stacked(50, 0, 1), stacked(50, 2, 3)
    both = fit_linear(x, y, cx, cy, classes=3)
    y_padded, x_padded = y[1:].clone(), x[1:].clone()
    alone = fit_linear(x[1:], y[1:], cx[1:], cy[1:], classes=3)
    assert torch.allclose(both.weight[1:], alone.weight)
    x_padded = torch.cat([x_padded, torch.full((1, 7, 5), 99.0).double()], 1)
    y_padded = torch.cat([y_padded, torch.full((1, 7), -1)], 1)
    padded = fit_linear(x_padded, y_padded, cx[1:], cy[1:], classes=3)
    assert torch.allclose(padded.weight, alone.weight, atol=1e-9)


def test_validation_stops_a_probe_that_has_nothing_to_learn():
    x, y = stacked(20, 0)
    noise = torch.randint(3, y.shape, generator=torch.Generator().manual_seed(0))
    probe = fit_linear(x, noise, *stacked(500, 1), classes=3, steps=300)
    assert probe.steps.item() < 100


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"features and labels must have shapes \(R, N, d\) and \(R, N\)"):
        fit_linear(
            torch.zeros(2, 3, 4),
            torch.zeros(3).long(),
            torch.zeros(2, 3, 4),
            torch.zeros(2, 3).long(),
            classes=2,
        )
