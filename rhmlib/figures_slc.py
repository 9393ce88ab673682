"""Figures of the stacked network (SLC): its training, its modules, its code budget."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rhmlib.figures import level_color


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
