"""Comparisons of objectives, on made-up tables."""

import numpy as np
import pandas as pd
import pytest

from rhmlib import figures_encoder


def test_the_better_weight_decay_is_kept_for_each_setting():
    rows = [
        {"objective": "mlm", "k": k, "weight_decay": decay, "L": 2, "level": level, "checkpoint": checkpoint,
         "probe_accuracy": score if level == 2 else 1 - score}
        for k, decay, score in ((0, 0.3, 0.9), (0, 1.0, 0.5), (1, 0.3, 0.2), (1, 1.0, 0.4))
        for level in (1, 2)
        for checkpoint in ("best", "curve")
    ]  # fmt: skip
    kept = figures_encoder.better_decay(pd.DataFrame(rows), ["objective", "k"])
    assert len(kept) == 8
    assert dict(zip(kept["k"], kept["weight_decay"], strict=True)) == {0: 0.3, 1: 1.0}


def test_ratios_of_thresholds():
    sizes = np.array([1.0, 2.0, 4.0, 8.0])
    early = np.array([[0.25, 0.75, 1.0, 1.0]] * 3)
    late = np.array([[0.25, 0.25, 0.75, 1.0]] * 3)
    never = np.full((3, 4), 0.2)
    first = {(3, 4): (sizes, early), (4, 4): (sizes, early)}
    second = {(3, 4): (sizes, late), (4, 4): (sizes, never)}
    table = figures_encoder.threshold_ratios(first, second, 0.75, np.random.default_rng(0), n_bootstrap=20)
    assert table["ratio"].tolist() == ["2.00 [2.00, 2.00]", "outside of the sizes"]
    assert table["first"].tolist() == pytest.approx([2, 2])
