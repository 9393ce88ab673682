"""Figures of the stacked network (SLC): its parts, its training, its code budget."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from rhmlib.figures import LEARNER_COLORS, level_color

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


def architecture(modules: int = 2) -> Figure:
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


def dynamics(table: pd.DataFrame) -> Figure:
    """Draw accuracy and prediction loss of every level over training (Fig. 10).

    Parameters
    ----------
    table : DataFrame
        Rows of one run: checkpoint "curve", a row a replica, level and step.

    Returns
    -------
    Figure
        Two panels that share the axis of steps; thin lines are replicas, thick ones their mean.
    """
    L = int(table["L"].iloc[0])
    figure, axes = plt.subplots(2, 1, figsize=(6.4, 5.6), sharex=True)
    for ax, metric in zip(axes, ("hungarian_accuracy", "prediction_loss"), strict=True):
        for level, part in table.groupby("level"):
            wide = part.pivot(index="step", columns="replica", values=metric)
            color = level_color(int(level), L)
            ax.plot(wide.index, wide, color=color, linewidth=0.6, alpha=0.5)
            ax.plot(wide.index, wide.mean(axis=1), color=color, label=f"level {level}")
        ax.set_xscale("log")
    axes[0].set(ylabel="accuracy", ylim=(0, 1.03))
    axes[0].legend(loc="upper left")
    axes[1].set(xlabel="step", ylabel="prediction loss (nats)")
    return figure


def code_budget(table: pd.DataFrame) -> Figure:
    """Draw probe and matching accuracy of the top latent against d_h, a panel each.

    Parameters
    ----------
    table : DataFrame
        Rows of the top level: v, m, n, d_h, probe_accuracy, hungarian_accuracy.

    Returns
    -------
    Figure
    """
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.4), sharey=True)
    for ax, metric, name in zip(
        axes, ("probe_accuracy", "hungarian_accuracy"), ("probe", "matching"), strict=True
    ):
        for (n, part), marker in zip(table.groupby("n"), "osD^", strict=False):
            grouped = part.groupby("d_h")[metric]
            mean, half = grouped.mean(), 1.96 * grouped.sem()
            unit = part["v"].iloc[0] * part["m"].iloc[0] ** 3
            ax.errorbar(
                mean.index, mean, yerr=half, marker=marker, capsize=3, label=f"$P={n / unit:g}\\,v m^3$"
            )
        ax.set(xlabel="codes a level $d_h$", title=name)
        ax.set_xscale("log", base=2)
        ax.set_xticks(sorted(table["d_h"].unique()), [f"{int(d)}" for d in sorted(table["d_h"].unique())])
    axes[0].set(ylabel="accuracy of the top latent")
    axes[1].legend(loc="lower left")
    return figure


def thresholds_beside(
    slc: dict[tuple[float, ...], float], ilc: dict[tuple[float, ...], float]
) -> pd.DataFrame:
    """List thresholds of SLC as multiples of ILC's, for the settings that both have.

    Parameters
    ----------
    slc, ilc : dict
        (m, L) to the strings at which the accuracy is reached; NaN where it is not.

    Returns
    -------
    DataFrame
        m, L, SLC, ILC, and their ratio.
    """
    keys = sorted(set(slc) & set(ilc))
    rows = [(m, L, slc[m, L], ilc[m, L], slc[m, L] / ilc[m, L]) for m, L in keys]
    table = pd.DataFrame(rows, columns=["m", "L", "SLC", "ILC", "ratio"])
    return table.replace([np.inf, -np.inf], np.nan)
