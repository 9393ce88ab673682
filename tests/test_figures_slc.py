"""Figures of the stacked network: what is drawn is what the tables say."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from rhmlib import figures_slc, fits, schematics, schematics_slc, slc_fits


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def runs(**columns):
    """Rows of every combination, with an accuracy that grows with n."""
    names = {"v": [8], "m": [2], "L": [3], "level": [2], "n": [32, 64, 128], "grammar_seed": [0, 1]} | columns
    table = pd.DataFrame(
        [dict(zip(names, values, strict=True)) for values in itertools.product(*names.values())]
    )
    share = table["n"] / table["n"].max()
    return table.assign(hungarian_accuracy=0.5 * share, majority_accuracy=0.9 * share, probe_accuracy=share)


def test_errors_beside_counting_add_up_to_one():
    table = runs(level=[1, 2])
    figure = figures_slc.levels_beside(table, table)
    assert [ax.get_title() for ax in figure.axes] == ["level 1", "level 2"]
    top = figure.axes[1].collections[-1].get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(1)
    assert figure.axes[1].lines[0].get_ydata().tolist() == pytest.approx([0.125, 0.25, 0.5])


def test_two_depths_have_two_units():
    curve_of = fits.curves(runs(L=[3, 4], m=[2, 4]), by=["L", "m"], metric="probe_accuracy")
    left, right = figures_slc.two_units(curve_of).axes[:2]
    assert left.lines[0].get_xdata()[0] == right.lines[0].get_xdata()[0] == 32 / 64
    assert left.lines[3].get_xdata()[0] == 4 * right.lines[3].get_xdata()[0]


def test_bars_of_variants_are_means():
    table = runs(n=[64], stop_gradient=["none", "modules"], ema=[0.99, 0.0], aggregation=["sum", "upgrad"],
                 w_clust=[1.0])  # fmt: skip
    table["hungarian_accuracy"] = np.where(table["ema"] > 0, 0.8, 0.3)
    (ax,) = figures_slc.variants(table).axes
    assert [round(bar.get_height(), 2) for bar in ax.patches] == [0.8, 0.8, 0.8, 0.8, 0.3, 0.3, 0.3, 0.3]


def test_weights_at_which_it_collapses():
    table = runs(n=[64], stop_gradient=["modules", "modules+clusterer"], ema=[0.99, 0.0], w_clust=[1.0, 10.0])
    ax = plt.figure().subplots()
    figures_slc.collapse_weight(table, ax)
    assert [len(line.get_xdata()) for line in ax.lines] == [2, 4] * 4


def test_exponents_are_drawn_where_identified():
    k, none = fits.Estimate(3.1, 2.9, 3.3), fits.Estimate.missing("too few")
    rows = {(8, 3, "probe"): {"all": k, "f <= 1/4": none, "P (1-f)": k}}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["v", "L", "judge"])
    ax = plt.figure().subplots()
    figures_slc.exponents(table, "probe", ax)
    assert len(ax.containers) == 2
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["$v=8$, $L=3$"]


def test_maps_of_margins_and_bars_of_the_first_weight():
    table = slc_fits.error_parts(
        runs(n=[64], margin=[0.5, 0.8], w_sep_end=[0.4, 1.6], w_sep=[16.0], n_over_vm3=[4.0])
    )
    maps = figures_slc.margins(table)
    assert [ax.get_title() for ax in maps.axes] == ["right", "split", "confused"]
    bars = figures_slc.first_separation(table).axes[0].patches
    assert sum(bar.get_height() for bar in bars) == pytest.approx(1)


def test_schematics_are_drawn():
    words = {text.get_text() for ax in schematics_slc.relatives().axes for text in ax.texts}
    assert {"student", "teacher", "cluster", "level 3"} <= words
    four = schematics_slc.variants().axes
    assert [ax.get_title() for ax in four] == [
        "data2vec", "a head a level", "stack of data2vecs", "local contrast",
    ]  # fmt: skip
    heads = [sum(text.get_text() in ("p", "$W$") for text in ax.texts) for ax in four]
    assert heads == [1, 3, 2, 2]
    assert schematics.slc().axes
    assert schematics_slc.module().axes
    (ax,) = schematics_slc.slices(s=2, position=0).axes
    assert "if it stands at 1" in {text.get_text() for text in ax.texts}


def test_both_settings_of_a_grammar_are_joined():
    table = runs(n=[64], m=[2, 3], settings=["usual", "bolder"])
    table["likeness"] = 0.7 + 0.1 * table["grammar_seed"]
    table["hungarian_accuracy"] = np.where(table["settings"] == "bolder", 1.0, 0.8)
    figure = figures_slc.seeds_by_likeness(table)
    assert [ax.get_title() for ax in figure.axes] == ["$m = 2$", "$m = 3$"]
    joined, other, first, second = figure.axes[0].lines[:4]
    assert joined.get_xdata().tolist() == pytest.approx([0.7, 0.7])
    assert other.get_xdata().tolist() == pytest.approx([0.8, 0.8])
    assert first.get_ydata().tolist() == pytest.approx([0.8, 0.8])
    assert second.get_ydata().tolist() == pytest.approx([1.0, 1.0])
