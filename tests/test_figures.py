"""What figures share: ink, intervals, ticks."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from rhmlib import figures, looks


@pytest.fixture
def ax():
    _, ax = plt.subplots()
    yield ax
    plt.close("all")


def contrast_on_white(color):
    part = np.array(plt.matplotlib.colors.to_rgb(color))
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return 1.05 / (linear @ (0.2126, 0.7152, 0.0722) + 0.05)


@pytest.mark.parametrize("L", [2, 3, 4, 6])
def test_levels_can_be_told_from_white(L):
    assert min(contrast_on_white(figures.level_color(level, L)) for level in range(L + 1)) >= 3


def test_no_two_objectives_look_alike():
    assert len(set(looks.LOOKS.values())) == len(looks.LOOKS) == len(looks.NAMES)
    assert sorted(name for names in looks.PREDICTED.values() for name in names) == sorted(looks.NAMES)
    assert len({color for color, _ in looks.LOOKS.values()}) == len(looks.LOOKS)


@pytest.mark.parametrize(
    ("color", "ink"), [("white", "black"), ("#FDE725", "black"), ("#440154", "white"), ("#00204D", "white")]
)
def test_ink_stands_out(color, ink):
    assert figures.ink_on(color) == ink


def test_values_are_written_in_ink_that_stands_out_and_gaps_left(ax):
    image = ax.imshow([[0.0, 1.0], [np.nan, 0.5]], cmap="cividis", vmin=0, vmax=1)
    figures.write_values(image, [[0.0, 1.0], [np.nan, 0.5]])
    assert [(text.get_text(), text.get_color()) for text in ax.texts][:2] == [
        ("0.00", "white"),
        ("1.00", "black"),
    ]
    assert len(ax.texts) == 3


def test_bars_end_where_accuracies_do():
    below, above = figures.error_bars([0.5, 0.99, 0.02], [0.1, 0.05, 0.05])
    assert below == pytest.approx([0.1, 0.05, 0.02])
    assert above == pytest.approx([0.1, 0.01, 0.05])


def test_bars_of_few_grammars_are_those_of_students_t():
    scores = pd.DataFrame({"n": [1, 1, 1, 2], "score": [0.4, 0.5, 0.6, 0.7]}).groupby("n")["score"]
    below, above = figures.interval_bars(scores)
    assert below == pytest.approx([4.3027 * 0.1 / 3**0.5, np.nan], rel=1e-4, nan_ok=True)
    assert above == pytest.approx(below, nan_ok=True)


@pytest.mark.parametrize(
    ("limits", "labels"),
    [
        ((1.5, 40), ["3", "10", "30"]),
        ((150, 700), ["200", "500"]),
        ((0.5, 2000), ["1", "10", "100", "1000"]),
    ],
)
def test_no_log_axis_has_a_single_label(ax, limits, labels):
    ax.set(xscale="log", xlim=limits)
    figures.log_ticks(ax.xaxis)
    ax.figure.canvas.draw()
    ticks = [x for x in ax.xaxis.get_majorticklocs() if limits[0] <= x <= limits[1]]
    assert ticks == pytest.approx([float(label) for label in labels])
