"""Figures of the tax on tokens: thresholds level by level, measured and predicted."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import gmean

from rhmlib.figures import level_color, log_ticks
from rhmlib.looks import LOOKS, NAMES


def thresholds_against_depth(
    measured: pd.DataFrame,
    predicted: pd.DataFrame,
    objectives: Sequence[str],
    asked: pd.DataFrame | None = None,
) -> Figure:
    """Draw P* of the deepest level below the root against the depth of the tree, a panel for each m.

    Parameters
    ----------
    measured, predicted : DataFrame
        Of one v; as :func:`rhmlib.separation.thresholds` returns, the measured ones of runs that are
        :func:`rhmlib.separation.completed`.
    objectives : sequence of str
        What to draw, keys of :data:`rhmlib.looks.NAMES`.
    asked : DataFrame, optional
        What an argument about scales asks for: objective, m, L, strings.

    Returns
    -------
    Figure
        In units of v m^3. Markers: measured, with 95 % intervals over grammars where the sizes that were run
        identify them; open markers: from drawn counts. Lines: predicted; dashed: asked for.
    """
    rules = sorted(measured["m"].unique())
    figure, axes = plt.subplots(
        1, len(rules), figsize=(2.4 * len(rules) + 0.6, 3.9), sharex=True, sharey=True, squeeze=False
    )
    for ax, m in zip(axes[0], rules, strict=True):
        for objective in objectives:
            here, there = (
                table[(table["m"] == m) & (table["objective"] == objective)].sort_values("L")
                for table in (measured, predicted)
            )
            color, marker = LOOKS[objective]
            unit = float(measured["v"].iloc[0]) * float(m) ** 3
            ax.plot([], [], marker, color=color, label=NAMES[objective])
            known = here[here["low"].notna()]
            by_counts = known["drawn"] if "drawn" in known else np.zeros(len(known), dtype=bool)
            for kind, part in known.groupby(by_counts):
                bars = np.abs(part[["low", "high"]].sub(part["strings"], axis=0)).T / unit
                fill = "white" if kind else color
                ax.errorbar(
                    part["L"], part["strings"] / unit, yerr=bars, fmt=marker, capsize=2, color=color, mfc=fill
                )
            line = there[np.isfinite(there["strings"]) & (there["strings"] > 0)]
            ax.plot(line["L"], line["strings"] / unit, color=color, linewidth=1.2)
            if asked is not None:
                scale = asked[(asked["m"] == m) & (asked["objective"] == objective)].sort_values("L")
                ax.plot(scale["L"], scale["strings"] / unit, color=color, linewidth=1.2, linestyle="--")
        ax.set(title=f"$m = {m}$", xlabel="depth, $L$", xticks=sorted(measured["L"].unique()), yscale="log")
    axes[0, 0].set_ylabel("strings, $P^*\\,/\\,v m^3$")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def strings_by_mask(table: pd.DataFrame) -> Figure:
    """Draw the strings v m / S that a learner which pools needs, by random masks and by place.

    Parameters
    ----------
    table : DataFrame
        Rows of `token_lift` at one (v, m, L): m, L, level, mask, size, signal. Of the masks, "random" (size:
        the rate) and "causal" (size: the place of the token in its subtree).

    Returns
    -------
    Figure
        In units of v m^3; geometric mean over grammars.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.7), sharey=True)
    L = int(table["L"].iloc[0])
    strings = table.assign(strings=1 / (table["signal"] * table["m"] ** 2))
    labels = {"random": "rate of hidden tokens", "causal": "place of the predicted token"}
    for ax, (mask, label) in zip(axes, labels.items(), strict=True):
        for level, part in strings[strings["mask"] == mask].groupby("level"):
            mean = part.groupby("size")["strings"].agg(gmean)
            ax.plot(mean.index, mean, marker="o", color=level_color(int(level), L), label=f"level {level}")
        ax.set(xlabel=label, yscale="log")
        log_ticks(ax.yaxis)
    axes[1].set_xticks(sorted(strings.loc[strings["mask"] == "causal", "size"].unique()))
    axes[0].set_ylabel("strings $/\\,v m^3$")
    axes[0].legend(fontsize=9)
    return figure
