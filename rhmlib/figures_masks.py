"""Figures of what masks hide: a token's own subtree, the rest of the string, or both."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import gmean

from rhmlib.figures import interval_bars, known_and_beyond, level_color, log_ticks
from rhmlib.looks import NAMES

# What is hidden at the rate: its name, colour and marker.
_MASKS = {
    "own": ("its own subtree", "#0072B2", "o"),
    "rest": ("the rest of the string", "#D55E00", "s"),
    "both": ("both", "0.35", "D"),
}


def _hidden(table: pd.DataFrame, mask: str) -> pd.DataFrame:
    """Rows of one kind of mask, with its rate; no rate belongs to all kinds."""
    own, rest = table["own_rate"], table["rest_rate"]
    chosen = {"own": rest == 0, "rest": own == 0, "both": own == rest}[mask]
    return table[chosen].assign(rate=np.maximum(own, rest)[chosen])


def split_rates(measured: pd.DataFrame, needed: pd.DataFrame, strings: float) -> Figure:
    """Draw strings that theory asks for, and measured synonym scores, against the rate of hidden tokens.

    Parameters
    ----------
    measured : DataFrame
        Rows of `split_masks` of one checkpoint: own_rate, rest_rate, level, synonym_score.
    needed : DataFrame
        Strings, a row a setting, grammar and level: own_rate, rest_rate, level, strings.
    strings : float
        P of the measured runs.

    Returns
    -------
    Figure
        A column a level of `needed`. Above: geometric mean over grammars; dashed: P. Below: mean and 95 %
        interval over grammars.
    """
    levels = sorted(needed["level"].unique())
    figure, axes = plt.subplots(
        2, len(levels), figsize=(0.6 + 4 * len(levels), 5.8), sharex=True, sharey="row", squeeze=False
    )
    for level, (ax, below) in zip(levels, axes.T, strict=True):
        theory, runs = (table[table["level"] == level] for table in (needed, measured))
        for mask, (name, color, marker) in _MASKS.items():
            mean = _hidden(theory, mask).groupby("rate")["strings"].agg(gmean)
            ax.plot(mean.index, mean, color=color, marker=marker, linestyle="-", label=name)
            by = _hidden(runs, mask).groupby("rate")["synonym_score"]
            bars = interval_bars(by, low=-1)
            below.errorbar(by.mean().index, by.mean(), yerr=bars, color=color, marker=marker, capsize=3)
        ax.axhline(strings, color="0.3", linestyle="--", linewidth=1)
        ax.annotate("$P$ that was run", (0.02, strings), xycoords=("axes fraction", "data"), xytext=(0, 3),
                    textcoords="offset points", fontsize=9, color="0.3")  # fmt: skip
        ax.set(yscale="log", title=f"level {level}")
        log_ticks(ax.yaxis)
        below.set(xlabel="rate of hidden tokens")
    axes[0, 0].set(ylabel="strings needed")
    axes[1, 0].set(ylabel="synonym score", ylim=(-0.2, 1.03))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), title="hidden:", loc="outside right center")
    return figure


def thresholds_against_theory(table: pd.DataFrame) -> Figure:
    """Draw strings that levels took under hidden blocks against those that theory asks for.

    Parameters
    ----------
    table : DataFrame
        As :func:`rhmlib.separation.block_thresholds` returns, of levels below the root, with `asked`, what
        theory asks for in the same unit, and `least_asked`, what it would if all targets of a block told
        something new.

    Returns
    -------
    Figure
        A panel an objective; colour: the level; at `asked`, with a line to `least_asked`. Bars: 95 %
        intervals over grammars. Open arrows: beyond the sizes that were run. Dashed: where both are equal.
    """
    objectives = [name for name in NAMES if name in set(table["objective"])]
    figure, axes = plt.subplots(
        1,
        len(objectives),
        figsize=(4.3 * len(objectives) + 0.6, 4.2),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    top = int(table["level"].max()) + 1
    for ax, objective in zip(axes[0], objectives, strict=True):
        for level, part in table[table["objective"] == objective].groupby("level"):
            color = level_color(int(level), top)
            aside = 1.04 ** (int(level) - top / 2)  # levels ask for the same at times
            x = part["asked"] * aside
            known_and_beyond(ax, x, part, color=color, marker="o", label=f"level {level}", linestyle="none")
            there = part["strings"].clip(part["least"], part["most"])
            ax.hlines(there, part["least_asked"] * aside, x, color=color, linewidth=1, alpha=0.6)
        ends = table["least_asked"].min() / 1.5, table["asked"].max() * 1.5
        ax.plot(ends, ends, color="0.5", linestyle="--", linewidth=1)
        ax.set(xscale="log", yscale="log", title=NAMES[objective], xlabel="asked for, $/\\,v m^3$")
        for axis in (ax.xaxis, ax.yaxis):
            log_ticks(axis)
    axes[0, 0].set_ylabel("took, $P^*/\\,v m^3$")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center")
    return figure


def scores_against_theory(cells: pd.DataFrame) -> Figure:
    """Draw synonym scores against the strings that theory asks for, over those that there were.

    Parameters
    ----------
    cells : DataFrame
        A row a mask and level: `mask` (what was hidden, at most six kinds), level, `asked` (strings over P),
        synonym_score.

    Returns
    -------
    Figure
        Colour: the level; marker: what was hidden. The vertical line is where theory asks for P.
    """
    figure, ax = plt.subplots(figsize=(7.6, 4.4))
    top = int(cells["level"].max()) + 1
    for (mask, part), marker in zip(cells.groupby("mask", sort=False), "osD^vP", strict=False):
        colors = [level_color(int(level), top) for level in part["level"]]
        ax.scatter(
            part["asked"], part["synonym_score"], c=colors, marker=marker, s=36, alpha=0.85, linewidths=0
        )
        ax.scatter([], [], color="0.4", marker=marker, s=36, label=mask)
    for level in sorted(cells["level"].unique()):
        look: dict[str, Any] = {"marker": "_", "s": 120, "linewidths": 3}
        ax.scatter([], [], color=level_color(int(level), top), label=f"level {level}", **look)
    ax.axvline(1, color="0.3", linestyle="--", linewidth=1)
    ax.set_xscale("log")
    log_ticks(ax.xaxis)
    ax.set(
        xlabel="strings that theory asks for, over those that there were",
        ylabel="synonym score",
        ylim=(-0.12, 1.03),
    )
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right center", fontsize=9)
    return figure
