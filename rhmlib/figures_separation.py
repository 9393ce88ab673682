"""Figures of the separation: thresholds of all objectives, losses on a staircase, blocks beside theory."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter
from scipy.stats import gmean

from rhmlib.figures import interval_bars, known_and_beyond, level_color, log_ticks
from rhmlib.looks import LOOKS, NAMES, PREDICTED
from rhmlib.staircases import MaskedStaircase


def headline(table: pd.DataFrame, *, v: int, m: int, L: int) -> Figure:
    """Draw P* against m at one depth, and against depth at one m, for every objective.

    Parameters
    ----------
    table : DataFrame
        As :func:`rhmlib.separation.thresholds` returns.
    v, m, L : int
        What is kept fixed.

    Returns
    -------
    Figure
        Bars: 95 % intervals. Arrows: beyond the sizes that were run. Grey lines: v m^3, v m^L, v m^(L+1).
    """
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.6), sharey=True)
    for ax, variable, fixed in ((axes[0], "m", ("L", L)), (axes[1], "L", ("m", m))):
        part = table[(table["v"] == v) & (table[fixed[0]] == fixed[1])]
        names = [name for name in NAMES if name in set(part["objective"])]
        for place, name in enumerate(names):
            rows = part[part["objective"] == name].sort_values(variable)
            # Aside a little, so that none hides another.
            shift = place / max(1, len(names) - 1) - 0.5
            x = rows[variable] * np.exp(0.05 * shift) if variable == "m" else rows[variable] + 0.16 * shift
            color, marker = LOOKS[name]
            known_and_beyond(ax, x, rows, color=color, marker=marker, label=NAMES[name], linewidth=1.3)
        _laws(ax, part, variable, v, m, L)
        ax.set(yscale="log", title=f"${fixed[0]} = {fixed[1]}$, $v = {v}$")
    axes[0].set(xlabel="rules a symbol, $m$", ylabel="strings, $P^*$")
    axes[1].set(xlabel="depth, $L$")
    _grouped_legend(figure)
    return figure


def _grouped_legend(figure: Figure) -> None:
    """Objectives under what they predict."""
    handles: dict[str, Artist] = {}
    for ax in figure.axes:
        handles |= dict(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    entries: list[tuple[Artist, str]] = []
    headings = []
    for predicted, names in PREDICTED.items():
        shown = [NAMES[name] for name in names if NAMES[name] in handles]
        if shown:
            headings.append(len(entries))
            entries += [(Line2D([], [], linestyle="none"), f"Predict {predicted}:")]
            entries += [(handles[label], label) for label in shown]
    legend = figure.legend(*zip(*entries, strict=True), loc="outside right center", fontsize=9)
    for place in headings:
        legend.get_texts()[place].set_fontweight("bold")


def _laws(ax: Axes, part: pd.DataFrame, variable: str, v: int, m: int, L: int) -> None:
    values = sorted(part[variable].unique())
    if not values:
        return
    end = values[-1] * 1.04 if variable == "m" else values[-1] + 0.15
    x = np.linspace(values[0], end, 50)
    for name, power in (("$v m^3$", 3.0), ("$v m^L$", None), ("$v m^{L+1}$", 1.0)):
        depth = L if variable == "m" else x
        exponent = 3.0 if power == 3 else depth + (power or 0)
        base = x if variable == "m" else m
        y = v * base**exponent * np.ones_like(x)
        ax.plot(x, y, color="0.6", linestyle=":", linewidth=1, zorder=0)
        ax.annotate(
            name,
            (1.0, y[-1]),
            xycoords=("axes fraction", "data"),
            xytext=(2, 0),
            textcoords="offset points",
            fontsize=8,
            color="0.4",
            va="center",
            annotation_clip=False,
        )
    if variable == "m":
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(FixedLocator(values))
    ax.set_xlim(right=end)


def loss_on_staircase(table: pd.DataFrame, stairs: Mapping[int, MaskedStaircase]) -> Figure:
    """Draw the test loss of masked-token prediction against strings seen, on the exact steps.

    Parameters
    ----------
    table : DataFrame
        Rows "curve" of online runs of one shape, that differ in their seeds and length alone: grammar_seed,
        steps, L, level, strings_seen, loss, synonym_score.
    stairs : mapping of grammar_seed to MaskedStaircase
        Of the same grammars and mask rate.

    Returns
    -------
    Figure
        Above: the loss, a line a run, and the mean step over grammars. Below: the synonym score of each
        level below the root, mean over grammars; a dot where it first reaches one half.
    """
    L = int(table["L"].iloc[0])
    figure, (ax, below) = plt.subplots(
        2, 1, figsize=(6.4, 5.6), sharex=True, gridspec_kw={"height_ratios": (3, 2)}
    )
    first = table[table["level"] == 1].sort_values("strings_seen")
    for _, run in first.groupby(["grammar_seed", "steps"]):
        ax.plot(run["strings_seen"], run["loss"], color="0.25", linewidth=1.2, alpha=0.8)
    steps = np.mean([stairs[seed].mean for seed in sorted(first["grammar_seed"].unique())], axis=0)
    for k, height in enumerate(steps):
        color = "0.5" if k == 0 else level_color(k, L)
        ax.axhline(height, color=color, linestyle="--", linewidth=1.2)
        text = "no rule" if k == 0 else "level 1" if k == 1 else f"levels 1 to {k}"
        ax.annotate(text, (1.01, height), xycoords=("axes fraction", "data"), color="0.2", fontsize=9,
                    va="center", annotation_clip=False)  # fmt: skip
    ax.set(ylabel="test loss, nats", xscale="log")
    log_ticks(ax.xaxis)
    for level, rows in table[table["level"] < L].groupby("level"):
        mean = rows.groupby("strings_seen")["synonym_score"].mean()
        below.plot(mean.index, mean, color=level_color(int(level), L), label=f"level {level}")
        reached = mean[mean >= 0.5]
        below.plot(reached.index[:1], reached[:1], marker="o", color=level_color(int(level), L))
    below.set(xlabel="strings seen", ylabel="synonym score", ylim=(-0.1, 1.03))
    below.legend(fontsize=9)
    return figure


def blocks_beside_theory(measured: pd.DataFrame, needed: pd.DataFrame) -> Figure:
    """Draw the strings that theory asks for, and the measured probes, against the size of the hidden block.

    Parameters
    ----------
    measured : DataFrame
        Rows of `encoder` at one v and L and one n for each m: checkpoints "best", columns objective, m, n,
        mask_block, level, probe_accuracy.
    needed : DataFrame
        As :func:`rhmlib.block_theory.block_strings_needed` returns, of several grammars; and m.

    Returns
    -------
    Figure
        A row for each m. Left: v m / signal, the most over the levels up to each; dashed: the n that was run.
        Right: the root's probe, by objective; dotted, before training.
    """
    L = int(measured["L"].iloc[0])
    rules = sorted(measured["m"].unique())
    figure, axes = plt.subplots(
        len(rules), 2, figsize=(8.6, 0.8 + 2.9 * len(rules)), sharex=True, squeeze=False
    )
    for (ax, right), m in zip(axes, rules, strict=True):
        here, there = measured[measured["m"] == m], needed[needed["m"] == m]
        for level, part in there.groupby("level"):
            found = part.groupby("block")["strings"].agg(gmean)
            ax.plot(found.index, found, marker="o", color=level_color(int(level), L), label=f"level {level}")
        strings = here["n"].iloc[0]
        ax.axhline(strings, color="0.3", linestyle="--", linewidth=1)
        ax.annotate("$P$ that was run", (0.98, strings), xycoords=("axes fraction", "data"), xytext=(0, -3),
                    textcoords="offset points", fontsize=9, color="0.3", ha="right", va="top")  # fmt: skip
        ax.set(yscale="log", ylabel=f"strings needed, $m = {m:g}$")
        best = here[(here["checkpoint"] == "best") & (here["level"] == L)]
        for objective, rows in best.groupby("objective"):
            color, marker = LOOKS[str(objective)]
            by = rows.groupby("mask_block")["probe_accuracy"]
            right.errorbar(by.mean().index, by.mean(), yerr=interval_bars(by), color=color,
                           marker=marker, capsize=3, label=NAMES[str(objective)])  # fmt: skip
        bare = here.loc[(here["checkpoint"] == "untrained") & (here["level"] == L), "probe_accuracy"]
        right.axhline(bare.mean(), color="0.5", linestyle=":", linewidth=1)
        right.set(ylabel="probe, root", ylim=(0, 1.03))
    for each in axes[-1]:
        each.set(xlabel="hidden block $s^k$, $k$", xticks=sorted(needed["block"].unique()))
    for each in axes[0]:
        each.legend(fontsize=9)
    return figure
