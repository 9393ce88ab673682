"""Comparisons of objectives, on made-up tables."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from rhmlib import figures_encoder, figures_tuning
from rhmlib.fits import Collapse, Estimate


def online_rows(m, seed, scores, sizes=(10.0, 100.0, 1000.0)):
    return [
        {"checkpoint": "curve", "level": 2, "n": np.nan, "v": 8, "m": m, "L": 2, "grammar_seed": seed,
         "strings_seen": size, "probe_accuracy": score}
        for size, score in zip(sizes, scores, strict=False)
    ]  # fmt: skip


def test_a_run_that_ended_early_keeps_its_last_value_online():
    rows = (
        online_rows(2, 0, [0.2, 0.5, 0.9])
        + online_rows(2, 1, [0.4, 1.0])
        + online_rows(3, 0, [0.1, 0.2, 0.3])
    )
    table = pd.DataFrame(rows)
    table = pd.concat([table, table.assign(checkpoint="best"), table.assign(n=5.0), table.assign(level=1)])
    found = figures_encoder.online_curves(table, 2)
    assert set(found) == {(2,), (3,)}
    curve = found[2,]
    assert curve.sizes.tolist() == [10, 100, 1000]
    assert curve.mean().tolist() == pytest.approx([0.3, 0.75, 0.95])
    with pytest.raises(ValueError, match="table must hold runs on fresh strings"):
        figures_encoder.online_curves(table[table["n"].notna()], 2)


def test_scores_are_drawn_against_strings_a_panel_a_level_and_a_line_an_m():
    rows = [
        {"checkpoint": checkpoint, "L": 3, "level": level, "m": m, "n_over_vm3": x, "grammar_seed": seed,
         "synonym_score": np.nan if level == 3 else 0.1 * x}
        for checkpoint in ("best", "untrained") for level in (1, 2, 3)
        for m in (2, 3) for x in (1.0, 2.0) for seed in (0, 1)
    ]  # fmt: skip
    figure = figures_encoder.levels_against_strings(pd.DataFrame(rows))
    assert [ax.get_title() for ax in figure.axes] == ["level 1", "level 2"]
    assert len(figure.axes[0].containers) == 2
    plt.close(figure)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (2.5, 3.4, "v m³"),
        (4.2, 5.5, "v m⁵"),
        (2.5, 5.5, "both"),
        (3.3, 3.9, "neither; nearer to 3"),
    ],
)
def test_a_law_is_named_by_the_interval(low, high, words):
    fit = Collapse(Estimate((low + high) / 2, low, high), np.zeros(1), np.zeros(1), {})
    assert figures_encoder.law_verdict(fit, 4) == words


def test_a_fit_without_an_exponent_decides_nothing():
    fit = Collapse(Estimate.missing("flat"), np.zeros(1), np.zeros(1), {})
    assert figures_encoder.law_verdict(fit, 4) == "undecided"


def test_settings_are_cut_in_halves_by_the_trials():
    table = pd.DataFrame(
        {
            "lr": [0.1, 0.2, 0.3, 0.4, 0.5],
            "ema": [0.9, 0.9, 0.99, 0.99, 0.99],
            "intermediate": ["0.2 0.3", "0.6", "0.9", "1.0", "0.95"],
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures_tuning, "searched", lambda _: ["lr", "ema"])
        found = figures_tuning.by_setting(table, runs=1, good=0.5)
    assert found.loc[("lr", "0.1 to 0.3"), "mean"] == pytest.approx(1.7 / 3)
    assert found.loc[("ema", "0.99"), "lowest"] == pytest.approx(0.9)
    assert found.loc[("ema", "0.9"), "reach 0.5"] == pytest.approx(0.5)


def test_exponents_are_fitted_where_there_are_two_values_of_m():
    """Accuracy is a function of P / (v m^3) by construction; at v = 16 there is but one m."""
    sizes = np.array([0.5, 1, 2, 4, 8])
    rows = [
        {"v": v, "m": m, "L": 4, "level": level, "n": x * v * m**3, "grammar_seed": seed, "steps": 1,
         "probe_accuracy": 0.1 + 0.9 / (1 + np.exp(-2 * np.log(x / 2) - 0.05 * seed))}
        for v, ms in ((8, (2, 3, 4)), (16, (4,)))
        for m in ms for level in (3, 4) for x in sizes for seed in range(3)
    ]  # fmt: skip
    found = figures_encoder.collapses(pd.DataFrame(rows), np.random.default_rng(0), n_bootstrap=20)
    assert list(found) == [(8, 4)]
    assert found[8, 4].k.value == pytest.approx(3, abs=0.05)
    table = figures_encoder.collapse_table(found)
    assert table.loc[(8, 4), "law"] == "v m³"
    assert table.loc[(8, 4), "at L+1"] > table.loc[(8, 4), "spread at 3"]


def test_levels_over_training_are_drawn_with_the_untrained_encoder():
    rows = [
        {"objective": name, "L": 2, "level": level, "grammar_seed": seed, "strings_seen": seen,
         "checkpoint": "untrained" if seen == 0 else "curve", "synonym_score": 0.2,
         "probe_accuracy": 0.1 * level if seen == 0 else 0.9}
        for name in ("mlm", "data2vec") for level in (1, 2) for seed in (0, 1) for seen in (0, 10, 100)
    ]  # fmt: skip
    figure = figures_encoder.levels_over_training(pd.DataFrame(rows))
    dotted = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert dotted == pytest.approx([0.1, 0.2])
    assert min(line.get_xdata().min() for line in figure.axes[0].lines if line.get_linestyle() == "-") == 10


def test_the_scores_of_blocks_are_drawn_after_and_before_training():
    rows = [
        {"n_over_vm3": size, "L": 3, "level": level, "block": block, "step": step, "grammar_seed": seed,
         "synonym_score": 0.0 if step == 0 else 0.1 * level + 0.2 * block + 0.01 * seed}
        for size in (2.0, 6.0) for level in (1, 2) for block in (0, 1)
        for step in (0, 5, 10) for seed in (0, 2)
    ]  # fmt: skip
    figure = figures_encoder.scores_of_blocks(pd.DataFrame(rows))
    assert [ax.get_title() for ax in figure.axes] == ["$P = 2\\,v m^3$", "$P = 6\\,v m^3$"]
    solid = [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]
    assert [line.get_ydata().tolist() for line in solid] == [
        pytest.approx([0.11, 0.31]), pytest.approx([0.21, 0.41])
    ]  # fmt: skip
    assert solid[0].get_xdata().tolist() == [1, 2]
