"""Figures and tables of step times, and of masks against theory, on small tables."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from rhmlib import figures_encoder, figures_masks, figures_steps


def test_replicas_are_drawn_beside_the_plain_loop():
    rows = [
        {"machine": machine, "stop_gradient": stop, "aggregation": losses, "n_replicas": count,
         "writing": writing, "milliseconds": 8.0 / count if writing == "library" else 10.0}
        for machine in ("a core", "a GPU")
        for stop, losses in (("none", "sum"), ("none", "upgrad"), ("modules+clusterer", "sum"))
        for count in (8, 1) for writing in ("library", "plain")
    ]  # fmt: skip
    figure = figures_steps.replicas(pd.DataFrame(rows))
    assert [ax.get_title() for ax in figure.axes] == ["a core", "a GPU"]
    lines = [line.get_ydata().tolist() for line in figure.axes[0].lines]
    assert lines.count([8.0, 1.0]) == 3
    assert lines.count([10.0]) == 3
    plt.close(figure)


def test_step_times_are_listed_by_writing_and_by_part():
    shared = {"machine": "a core", "architecture": "tree", "width": 8, "batch_size": 4, "dtype": "float32"}
    steps = [
        {**shared, "part": "step", "writing": w, "milliseconds": t}
        for w, t in zip(("library", "plain", "products"), (2.0, 5.0, 0.5), strict=True)
    ]
    parts = [
        {**shared, "part": p, "writing": "library", "milliseconds": t}
        for p, t in (("teacher", 1.0), ("clipping", 3.0))
    ]
    table = pd.DataFrame([*steps, *parts])
    [row] = figures_steps.beside_plain(table).to_dict("records")
    assert row["plain / library"] == pytest.approx(2.5)
    assert row["share"] == "25%"
    [row] = figures_steps.shares(table).to_dict("records")
    assert row == {"teacher": "25%", "clipping": "75%"}


def test_scores_stand_against_what_theory_asks_for():
    cells = pd.DataFrame(
        {"mask": ["a", "a", "b"], "level": [1, 2, 1], "asked": [0.1, 10, 1], "synonym_score": [0.9, 0.0, 0.5]}
    )
    figure = figures_masks.scores_against_theory(cells)
    points = np.concatenate([dots.get_offsets() for dots in figure.axes[0].collections])
    assert {(0.1, 0.9), (10, 0), (1, 0.5)} <= {tuple(point) for point in points.tolist()}
    plt.close(figure)


def test_encoders_are_drawn_beside_each_other():
    rows = [
        {"L": 2, "level": level, "n_over_vm3": x, "probe_accuracy": x / 4, "synonym_score": x / 8,
         "grammar_seed": seed}
        for level in (1, 2) for x in (1, 2, 4) for seed in (0, 1)
    ]  # fmt: skip
    figure = figures_encoder.encoders_beside({"one": pd.DataFrame(rows), "other": pd.DataFrame(rows)})
    root, synonyms = figure.axes
    assert [line.get_label() for line in root.lines[:2]] == ["one", "other"]
    assert np.allclose(root.lines[0].get_ydata(), [0.25, 0.5, 1])
    assert np.allclose(synonyms.lines[0].get_ydata(), [0.125, 0.25, 0.5])
    plt.close(figure)
