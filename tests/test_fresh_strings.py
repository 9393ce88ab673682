"""Thresholds in fresh strings, from tables whose law is known."""

import itertools

import numpy as np
import pandas as pd
import pytest

from rhmlib import figures_fresh, fresh_strings

SIZES = np.geomspace(100, 1e6, 30).round()


def table(power=3.0, binds="strings", objectives=("data2vec", "mlm")):
    """Accuracies of four grammars that pass one half at 16 m**power strings, or after as many batches."""
    rows = []
    batch_sizes = [8, 32, 128]
    for objective, L, m, batch, r in itertools.product(objectives, (3, 4), (3, 4, 6), batch_sizes, range(4)):
        if batch != 32 and (L, m) != (3, 3):
            continue
        scale = 16 * m**power * (1 + 0.05 * r) * (2 if objective == "mlm" else 1)
        scale *= 1 if binds == "strings" else batch / 32
        for size, level in itertools.product(SIZES, range(1, L + 1)):
            accuracy = 1 / (1 + (scale / size) ** 2)
            rows.append(
                {"objective": objective, "L": L, "m": m, "v": 16, "n": np.nan, "replica": r, "n_replicas": 4}
                | {"descent": "muon", "n_masks": 8, "batch_size": batch, "width": 128, "step": size / batch}
                | {"strings_seen": size, "level": level, "probe_accuracy": accuracy, "collapsed": False}
                | {"root_mlp": accuracy if level == L else np.nan, "synonym_score": accuracy, "loss": 1.0}
            )
    return pd.DataFrame(rows)


@pytest.mark.parametrize("power", [3.0, 4.0])
def test_the_power_is_found(power):
    found = fresh_strings.chapter_findings(table(power), np.random.default_rng(0))
    for estimate in found.powers.values():
        assert estimate.value == pytest.approx(power, abs=0.05)
    assert list(found.beside.values()) == pytest.approx([2] * len(found.beside), rel=0.02)
    assert found.grammars == 4
    assert found.collapsed == 0


def test_the_size_of_a_batch_tells_strings_from_steps():
    strings = fresh_strings.batches(table()).loc[3]
    assert strings[8] == pytest.approx(strings[128], rel=0.02)
    steps = fresh_strings.batches(table(binds="steps")).loc[3]
    assert steps[128] / steps[8] == pytest.approx(16, rel=0.05)


def test_controls_do_not_enter_the_thresholds():
    whole = table()
    recipe = whole[whole["batch_size"] == 32]
    pd.testing.assert_frame_equal(fresh_strings.of_recipe(whole), recipe)


def test_a_level_that_is_not_reached_is_told():
    low = table().query("strings_seen < 300 and batch_size == 32")
    found = fresh_strings.thresholds(low, np.random.default_rng(0))
    assert not any(estimate.identified for estimate in found["strings"])


def test_every_glued_number_has_a_text():
    glued = fresh_strings.chapter_findings(table(), np.random.default_rng(0)).glued()
    assert glued["fresh-power-data2vec-4-level3"].startswith("2.99 [")
    assert all(str(text) for text in glued.values())


def test_figures_have_a_line_for_every_curve():
    data = table().query("batch_size == 32")
    drawn = figures_fresh.accuracy_against_fresh_strings(data)
    assert [len(ax.lines) for ax in drawn.axes] == [7, 7, 7, 7]
    strings = fresh_strings.thresholds(data, np.random.default_rng(0))
    assert len(figures_fresh.strings_against_rules(strings).axes) == 2
