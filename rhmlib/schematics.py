"""Schematics: boxes and arrows that show who predicts what from what."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from rhmlib.figures import LEARNER_COLORS

_GREY = "0.35"


def _box(ax: Axes, x: float, y: float, text: str, color: str, *, width: float = 1.5) -> None:
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - 0.3), width, 0.6, boxstyle="round,pad=0.03", facecolor=color, edgecolor="none"
        )
    )
    ax.text(x, y, text, ha="center", va="center", color="white", fontsize=10)


def _arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], color: str, line: str = "-"
) -> None:
    ax.annotate(
        "",
        xy=end,
        xytext=start,
        arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.4, "linestyle": line},
    )


def slc(modules: int = 2) -> Figure:
    """Draw the stack of predictors and clusterers, and what each is trained against (Figs 7 and 8).

    Parameters
    ----------
    modules : int
        L-1, the modules shown.

    Returns
    -------
    Figure
    """
    figure, ax = plt.subplots(figsize=(7.4, 1.6 + 1.5 * modules))
    blue, green, orange = (LEARNER_COLORS[name] for name in ("latents", "slc", "tokens"))
    for k in range(modules):
        y = 1.7 * k
        ax.text(-2.3, y, f"$h^{{({k})}}$", ha="center", va="center", fontsize=13)
        _arrow(ax, (-1.75, y), (-0.85, y), _GREY)
        _box(ax, 0, y, "predictor", blue)
        _arrow(ax, (0.85, y), (1.75, y), _GREY)
        ax.text(1.3, y + 0.16, "//", ha="center", fontsize=12, color=orange)
        _box(ax, 2.6, y, "clusterer", green)
        _box(ax, 6.6, y, "the cousins' tokens,\nas the teacher names them", "0.45", width=3.2)
        ax.annotate(
            "prediction loss",
            xy=(0, y + 0.33), xytext=(6.6, y + 0.33), ha="center", va="bottom", fontsize=9, color=blue,
            arrowprops={
                "arrowstyle": "-|>", "color": blue, "lw": 1.4, "linestyle": "--",
                "connectionstyle": "arc3,rad=0.16",
            },
        )  # fmt: skip
        ax.text(
            2.6,
            y - 0.62,
            "similarity and separation losses",
            ha="center",
            va="center",
            fontsize=9,
            color=green,
        )
        if k + 1 < modules:
            ax.plot([3.45, 4.1, 4.1, -2.3, -2.3], [y, y, y + 0.95, y + 0.95, y + 1.2], color=_GREY, lw=1.4)
            _arrow(ax, (-2.3, y + 1.15), (-2.3, y + 1.45), _GREY)
            ax.text(-1.6, y + 1.03, "//", ha="center", va="center", fontsize=12, color=orange)
    ax.set(xlim=(-3.2, 8.4), ylim=(-1, 1.7 * (modules - 1) + 1.2))
    ax.set_axis_off()
    ax.grid(False)
    return figure


def data2vec() -> Figure:
    """Draw student, teacher and target of data2vec (Fig. 4, left).

    Returns
    -------
    Figure
    """
    figure, ax = plt.subplots(figsize=(7.2, 3.2))
    blue, grey = LEARNER_COLORS["latents"], "0.45"
    for y, name, color, symbols in (
        (1.7, "student", blue, ["a", "b", "?", "d", "a", "?", "c", "b"]),
        (0.0, "teacher", grey, ["a", "b", "c", "d", "a", "a", "c", "b"]),
    ):
        for i, symbol in enumerate(symbols):
            hidden = symbol == "?"
            ax.text(
                -3.6 + 0.3 * i, y, symbol, ha="center", va="center", fontsize=12,
                color=LEARNER_COLORS["tokens"] if hidden else "black",
                weight="bold" if hidden else "normal",
            )  # fmt: skip
        _arrow(ax, (-1.3, y), (-0.85, y), _GREY)
        _box(ax, 0, y, name, color)
    _arrow(ax, (0.85, 1.7), (2.0, 1.7), _GREY)
    _box(ax, 2.8, 1.7, "linear head", blue)
    _arrow(ax, (0.85, 0.0), (1.6, 0.0), _GREY)
    _box(ax, 2.8, 0.0, "mean of the\nnormalised levels", grey, width=2.3)
    _arrow(ax, (2.8, 1.35), (2.8, 0.4), LEARNER_COLORS["tokens"], "--")
    ax.text(2.95, 0.87, "smooth L1 at the hidden tokens", va="center", fontsize=10)
    _arrow(ax, (0, 1.35), (0, 0.4), _GREY, ":")
    ax.text(0.12, 0.87, "moving average", va="center", fontsize=10)
    ax.set(xlim=(-4, 6), ylim=(-0.6, 2.3))
    ax.set_axis_off()
    ax.grid(False)
    return figure
