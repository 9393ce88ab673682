"""Schematics of the stacked network, its relatives, and variants of data2vec: who predicts what from what."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from rhmlib.figures import LEARNER_COLORS

_GREY, _DARK = "0.55", "0.3"
_BLUE, _GREEN, _ORANGE = (LEARNER_COLORS[name] for name in ("latents", "slc", "tokens"))
_Point = tuple[float, float]


def _box(
    ax: Axes, at: _Point, text: str, color: str, size: _Point = (1.5, 0.6), *, filled: bool = True
) -> None:
    (x, y), (width, height) = at, size
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0.03",
            facecolor=color if filled else "white", edgecolor=color, linewidth=1.3,
        )
    )  # fmt: skip
    ax.text(x, y, text, ha="center", va="center", color="white" if filled else "black", fontsize=9)


def _arrow(
    ax: Axes,
    start: _Point,
    end: _Point,
    color: str = _DARK,
    line: str = "-",
    bend: float = 0,
    zorder: float = 3,
) -> None:
    style = {"arrowstyle": "-|>", "color": color, "lw": 1.3, "linestyle": line, "shrinkA": 0, "shrinkB": 0}
    if bend:
        style["connectionstyle"] = f"arc3,rad={bend}"
    ax.annotate("", xy=end, xytext=start, arrowprops=style, zorder=zorder)


def _blank(ax: Axes, xlim: _Point, ylim: _Point) -> None:
    ax.set(xlim=xlim, ylim=ylim)
    ax.set_axis_off()
    ax.grid(False)


# ---------------------------------------------------------------- one module (Fig. 7)


def module() -> Figure:
    """Draw one module of SLC: its layers, the shapes that pass, and where its two losses attach.

    Returns
    -------
    Figure
    """
    figure, ax = plt.subplots(figsize=(7.6, 4.1))
    _row(ax, 2.6, "predictor", _BLUE, ["$W_1$\nkernel $s$,\nstride $s$", "$W_2$", "$W_3$"])
    _row(ax, 0.0, "clusterer", _GREEN, ["$V_1$", "$V_2$"])
    _shape(ax, (-1.2, 2.6), "$h^{(\\ell)}$", "$s^{L-\\ell} \\times d_h$")
    _shape(
        ax, (8.9, 2.6), "$P^{(\\ell)}$", "$s^{L-\\ell-1} \\times$\n$s \\times (s-1) \\times s \\times d_h$"
    )
    _shape(ax, (-1.2, 0.0), "vec$\\,P^{(\\ell)}$", "$s^{L-\\ell-1} \\times s^2 (s-1)\\, d_h$")
    _shape(ax, (6.2, 0.0), "$q^{(\\ell)}$", "$s^{L-\\ell-1} \\times d_h$")
    _shape(ax, (9.4, 0.0), "$h^{(\\ell+1)}$", "$s^{L-\\ell-1} \\times d_h$")
    _arrow(ax, (6.75, 0.0), (8.7, 0.0))
    ax.text(7.7, 0.12, "softmax$(\\cdot/\\tau)$", ha="center", va="bottom", fontsize=9)
    ax.plot([8.9, 8.9, -1.2, -1.2], [1.75, 1.35, 1.35, 0.75], color=_DARK, lw=1.3)
    _arrow(ax, (-1.2, 0.8), (-1.2, 0.4))
    ax.text(4.0, 1.35, "//", ha="center", va="center", fontsize=13, color=_ORANGE)
    ax.text(4.2, 1.47, "gradients may be stopped here", fontsize=8.5, color=_ORANGE, va="bottom")
    ax.text(-2.1, 3.35, "//", ha="center", va="center", fontsize=13, color=_ORANGE)
    ax.text(-1.9, 3.3, "and here", fontsize=8.5, color=_ORANGE, va="center")
    above = (
        "prediction loss (5): the slice at the\npatch's place, against the teacher's\n"
        "$h^{(\\ell)}$ of the cousins"
    )
    ax.text(8.9, 3.5, above, ha="center", va="bottom", fontsize=8.5, color=_BLUE)
    below = "clustering loss (8): pairs of $q$, against\nthe similarity of the teacher's $P^{(\\ell)}$"
    ax.text(6.2, -0.85, below, ha="center", va="top", fontsize=8.5, color=_GREEN)
    _blank(ax, (-2.6, 10.6), (-1.6, 4.6))
    return figure


def _row(ax: Axes, y: float, name: str, color: str, layers: list[str]) -> None:
    """Draw the layers of a part between x = 0 and 8, with activations between and a softmax at the end."""
    step = 2.6 if len(layers) == 3 else 2.4
    ax.text(0.2, y + 0.78, name, color=color, fontsize=10, va="bottom", weight="bold")
    _arrow(ax, (-0.5, y), (0.1, y))
    for i, text in enumerate(layers):
        x = 1.05 + step * i
        _box(ax, (x, y), text, color, (1.75, 0.95) if len(text) > 6 else (1.2, 0.95))
        half = 0.95 if len(text) > 6 else 0.65
        _arrow(ax, (x + half, y), (x + step - 0.68, y))
        word = "softmax" if i == len(layers) - 1 else "act"
        ax.text(x + (half + step - 0.68) / 2, y + 0.1, word, ha="center", va="bottom", fontsize=8.5)


def _shape(ax: Axes, at: _Point, name: str, shape: str) -> None:
    ax.text(*at, name, ha="center", va="center", fontsize=12)
    ax.text(at[0], at[1] - 0.3, shape, ha="center", va="top", fontsize=8.5, color=_DARK)


# ---------------------------------------------------------------- what a patch predicts (Fig. 8)


def slices(s: int = 3, position: int = 1, d_h: int = 5) -> Figure:
    """Draw the predictions of one patch: a slice for each place where it might stand; one enters the loss.

    Parameters
    ----------
    s : int
        Branching.
    position : int
        Where the patch stands under its grandparent.
    d_h : int
        Codes, the bars of a predicted distribution. Their heights are made up.

    Returns
    -------
    Figure
    """
    figure, ax = plt.subplots(figsize=(7.2, 4.3))
    x = np.arange(s * s, dtype=float) + 0.6 * (np.arange(s * s) // s)
    _family(ax, x, s, position)
    heights = np.random.default_rng(3).dirichlet(np.full(d_h, 0.6), (s, s * s))
    for b in range(s):
        y = -2.1 - 1.15 * b
        used = b == position
        for i in range(s * s):
            if i // s != b:
                _histogram(ax, (x[i], y), heights[b, i], _BLUE if used else "0.8")
        ax.text(x[0] - 0.8, y + 0.3, f"if it stands at {b}", ha="right", va="center", fontsize=9,
                color="black" if used else _GREY)  # fmt: skip
        if used:
            ax.add_patch(
                Rectangle(
                    (x[0] - 0.6, y - 0.12), x[-1] - x[0] + 1.2, 0.92, fill=False, edgecolor=_BLUE, lw=1.5
                )
            )
            ax.text(x[-1] + 0.75, y + 0.3, "enters the loss", va="center", fontsize=9, color=_BLUE)
    for i in range(s * s):
        if i // s != position:
            _arrow(ax, (x[i], -0.4), (x[i], -2.1 - 1.15 * position + 0.86), _ORANGE, ":", zorder=0.5)
    _blank(ax, (x[0] - 4.4, x[-1] + 3.4), (-2.4 - 1.15 * (s - 1), 2.5))
    return figure


def _family(ax: Axes, x: np.ndarray, s: int, position: int) -> None:
    """Draw a grandparent, its s patches and their tokens; the patch that predicts is filled."""
    middle = x.reshape(s, s).mean(1)
    for b in range(s):
        ax.plot([x.mean(), middle[b]], [2.1, 1.15], color=_GREY, lw=1, zorder=0)
        for token in x[b * s : (b + 1) * s]:
            ax.plot([middle[b], token], [1.15, 0], color=_GREY, lw=1, zorder=0)
    ax.scatter([x.mean()], [2.1], s=120, color=_GREY)
    ax.scatter(middle, np.full(s, 1.15), s=120, color=[_BLUE if b == position else _GREY for b in range(s)])
    own = np.arange(s * s) // s == position
    ax.scatter(x[own], np.zeros(s), s=150, color=_BLUE)
    ax.scatter(x[~own], np.zeros(s * (s - 1)), s=150, facecolor="white", edgecolor=_ORANGE, linewidth=2)
    ax.text(x[0] - 0.8, 2.1, "grandparent", ha="right", va="center", fontsize=9)
    ax.text(x[0] - 0.8, 1.15, "parents", ha="right", va="center", fontsize=9)
    ax.text(x[0] - 0.8, 0, "tokens $h^{(\\ell)}$ of $s$ patches", ha="right", va="center", fontsize=9)
    ax.text(x[-1] + 0.75, 0, "targets, as the\nteacher gives them", va="center", fontsize=9, color=_ORANGE)


def _histogram(ax: Axes, at: _Point, heights: np.ndarray, color: str) -> None:
    width = 0.8 / len(heights)
    # White behind the bars: an arrow to another row passes below them.
    ax.add_patch(Rectangle((at[0] - 0.45, at[1] - 0.1), 0.9, 0.85, color="white", lw=0, zorder=0.7))
    for k, height in enumerate(heights):
        ax.add_patch(
            Rectangle((at[0] - 0.4 + k * width, at[1]), 0.85 * width, 0.65 * height, color=color, lw=0)
        )
    ax.plot([at[0] - 0.42, at[0] + 0.42], [at[1], at[1]], color=color, lw=1)


# ---------------------------------------------------------------- relatives (Fig. 6)

_STUDENT, _TEACHER = 0.0, 3.2
_ABOVE_TOKENS = {k: f"level {k + 1}" for k in range(3)}
_FROM_TOKENS = {0: "tokens", 1: "level 1", 2: "level 2"}


def relatives() -> Figure:
    """Draw H-JEPA, V-JEPA 2.1, Bootleg and SLC side by side: what is predicted from what (Fig. 6).

    Returns
    -------
    Figure
    """
    panels = {"H-JEPA": _h_jepa, "V-JEPA 2.1": _v_jepa, "Bootleg": _bootleg, "SLC": _slc}
    return _side_by_side(panels, height=2.9)


def _side_by_side(panels: Mapping[str, Callable[[Axes], None]], *, height: float) -> Figure:
    """Draw a panel for each title."""
    figure, axes = plt.subplots(1, len(panels), figsize=(8.6, height))
    for ax, (name, draw) in zip(axes, panels.items(), strict=True):
        draw(ax)
        ax.set_title(name, fontsize=11)
        _blank(ax, (-0.9, 4.1), (-0.75, 3.4))
    return figure


def _towers(ax: Axes, names: Mapping[int, str] = _ABOVE_TOKENS) -> None:
    """Draw the levels of the student (left) and of its teacher (right)."""
    _column(ax, _STUDENT, _GREEN, "student", names)
    _column(ax, _TEACHER, _GREY, "teacher", names)


def _column(ax: Axes, x: float, color: str, word: str, names: Mapping[int, str]) -> None:
    """Draw levels, named by their height, each fed by the one below."""
    for k, name in names.items():
        _box(ax, (x, 1.5 * k), name, color, (1.35, 0.5))
        if k - 1 in names:
            _arrow(ax, (x, 1.5 * k - 1.2), (x, 1.5 * k - 0.3))
    ax.text(x, -0.62, word, ha="center", fontsize=9, color=_DARK)


def _h_jepa(ax: Axes) -> None:
    _towers(ax)
    for k in range(3):
        _predictor(ax, (1.6, 1.5 * k))
        _arrow(ax, (0.72, 1.5 * k), (1.35, 1.5 * k), _BLUE)
        _arrow(ax, (1.85, 1.5 * k), (2.45, 1.5 * k), _BLUE, "--")


def _v_jepa(ax: Axes) -> None:
    _towers(ax)
    _predictor(ax, (1.6, 1.5))
    for k in range(3):
        _arrow(ax, (0.72, 1.5 * k), (1.36, 1.5 + 0.15 * (k - 1)), _BLUE)
        _arrow(ax, (1.84, 1.5 + 0.15 * (k - 1)), (2.46, 1.5 * k), _BLUE, "--")


def _bootleg(ax: Axes) -> None:
    _towers(ax)
    _predictor(ax, (1.6, 3.0))
    _arrow(ax, (0.72, 3.0), (1.35, 3.0), _BLUE)
    for k in range(3):
        _arrow(ax, (1.84, 3.0 + 0.15 * (k - 2)), (2.46, 1.5 * k), _BLUE, "--")


def _slc(ax: Axes) -> None:
    for k in range(3):
        _box(ax, (_STUDENT, 1.5 * k), f"level {k}", _GREEN, (1.35, 0.5))
        _box(ax, (_TEACHER, 1.5 * k), f"level {k}", _GREY, (1.35, 0.5))
        _predictor(ax, (1.6, 1.5 * k))
        _arrow(ax, (0.72, 1.5 * k), (1.35, 1.5 * k), _BLUE)
        _arrow(ax, (1.85, 1.5 * k), (2.45, 1.5 * k), _BLUE, "--")
        if k < 2:
            _arrow(ax, (1.6, 1.5 * k + 0.27), (0.35, 1.5 * k + 1.22), _GREEN)
            _arrow(ax, (_TEACHER, 1.5 * k + 0.3), (_TEACHER, 1.5 * k + 1.2))
    ax.text(1.25, 0.88, "cluster", fontsize=8.5, color=_GREEN, va="center")
    ax.text(1.25, 2.38, "cluster", fontsize=8.5, color=_GREEN, va="center")
    ax.text(_STUDENT, -0.62, "student", ha="center", fontsize=9, color=_DARK)
    ax.text(_TEACHER, -0.62, "teacher", ha="center", fontsize=9, color=_DARK)


def _predictor(ax: Axes, at: _Point, letter: str = "p") -> None:
    ax.scatter(*at, s=260, color=_BLUE, zorder=3)
    ax.text(*at, letter, color="white", ha="center", va="center", fontsize=9, zorder=4, style="italic")


# ---------------------------------------------------------------- variants of data2vec


def variants() -> Figure:
    """Draw data2vec, a head a level, a stack and local contrast side by side: what is predicted from what.

    Returns
    -------
    Figure
    """
    panels = {
        "data2vec": _one_target,
        "a head a level": _head_a_level,
        "stack of data2vecs": _stack,
        "local contrast": _contrast,
    }
    return _side_by_side(panels, height=3.0)


def _mean(ax: Axes, at: _Point, levels: tuple[int, ...]) -> None:
    """Draw a target: the mean over levels of the teacher."""
    for k in levels:
        _arrow(ax, (_TEACHER - 0.7, 1.5 * k), (at[0] + 0.12, at[1] + 0.08 * (1.5 * k - at[1])))
    ax.scatter(*at, s=70, facecolor="white", edgecolor=_DARK, linewidth=1.3, zorder=4)


def _one_target(ax: Axes) -> None:
    _towers(ax, _FROM_TOKENS)
    for k in range(3):
        _arrow(ax, (0.72, 1.5 * k), (1.02, 1.5 + 0.2 * (k - 1)), _BLUE)
    _predictor(ax, (1.2, 1.5))
    _mean(ax, (2.05, 1.5), (0, 1, 2))
    _arrow(ax, (1.42, 1.5), (1.9, 1.5), _BLUE, "--")


def _head_a_level(ax: Axes) -> None:
    _towers(ax, _FROM_TOKENS)
    ax.plot([1.05, 1.05], [0, 3], color=_BLUE, lw=1.3)
    for k in range(3):
        ax.plot([0.72, 1.05], [1.5 * k, 1.5 * k], color=_BLUE, lw=1.3)
        _arrow(ax, (1.05, 1.5 * k), (1.5, 1.5 * k), _BLUE)
        _predictor(ax, (1.72, 1.5 * k))
        _arrow(ax, (1.95, 1.5 * k), (2.48, 1.5 * k), _BLUE, "--")


def _stack(ax: Axes) -> None:
    _column(ax, _TEACHER, _GREY, "teacher", _FROM_TOKENS)
    for k in (1, 2):
        y = 1.5 * k
        _column(ax, _STUDENT, _GREEN, "modules" if k == 1 else "", {k: _FROM_TOKENS[k]})
        _arrow(ax, (_TEACHER - 0.7, y - 1.35), (0.25, y - 0.3), _GREEN)
        _arrow(ax, (0.72, y), (0.98, y), _BLUE)
        _predictor(ax, (1.2, y))
        _mean(ax, (2.05, y - 0.3), (k - 1, k))
        _arrow(ax, (1.41, y - 0.06), (1.9, y - 0.25), _BLUE, "--")


def _contrast(ax: Axes) -> None:
    for x, word in ((_STUDENT, "a node"), (_TEACHER, "its sibling")):
        _column(ax, x, _GREEN, word, _FROM_TOKENS)
        ax.text(x, 2.18, "//", ha="center", va="center", fontsize=12, color=_ORANGE)
    for k in (1, 2):
        _arrow(ax, (0.72, 1.5 * k), (1.36, 1.5 * k), _BLUE)
        _arrow(ax, (_TEACHER - 0.72, 1.5 * k), (1.84, 1.5 * k), _BLUE)
        _predictor(ax, (1.6, 1.5 * k), "$W$")
