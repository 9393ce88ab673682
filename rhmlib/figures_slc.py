"""Figures of the stacked network's tables: training, exponents, variants of gradients, code budget."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rhmlib.figures import LEARNER_COLORS, interval_bars, level_color, log_ticks, m_color, write_values
from rhmlib.fits import Curve

# Numbers of strings, all of SLC: greens that differ in lightness.
_SIZES = (LEARNER_COLORS["slc"], "#00382A", "#4C9C84", "0.5")
# Right, split, confused: see rhmlib.slc_fits.error_parts.
_PARTS = ("#009E73", "#A6DCC9", "#E8B39B")


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
        log_ticks(ax.xaxis)
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
        for (n, part), marker, color in zip(table.groupby("n"), "osD^", _SIZES, strict=False):
            grouped = part.groupby("d_h")[metric]
            mean = grouped.mean()
            unit = part["v"].iloc[0] * part["m"].iloc[0] ** 3
            ax.errorbar(
                mean.index, mean, yerr=interval_bars(grouped), marker=marker, capsize=3,
                color=color, label=f"$P={n / unit:g}\\,v m^3$",
            )  # fmt: skip
        ax.set(xlabel="codes a level $d_h$", title=name)
        ax.set_xscale("log", base=2)
        ax.set_xticks(sorted(table["d_h"].unique()), [f"{int(d)}" for d in sorted(table["d_h"].unique())])
    axes[0].set(ylabel="accuracy of the top latent")
    axes[1].legend(loc="lower left")
    return figure


# ---------------------------------------------------------------- how many strings


def exponents(table: pd.DataFrame, judge: str, ax: Axes) -> None:
    """Draw fitted exponents with intervals, a row for each alphabet and depth, for one judge.

    Parameters
    ----------
    table : DataFrame
        As :func:`rhmlib.slc_fits.exponents` returns.
    judge : str
    ax : Axes
    """
    part = table.xs(judge, level="judge")
    ways = {"all": ("all $m$", "o"), "f <= 1/4": ("$f\\leq 1/4$", "s"), "P (1-f)": ("$P(1-f)$", "D")}
    colors = ("#0072B2", "#CC79A7", "#009E73")
    for (name, (label, mark)), color, shift in zip(ways.items(), colors, (0.22, 0, -0.22), strict=True):
        kept = [(i + shift, k) for i, k in enumerate(part[name][::-1]) if k.identified]
        if kept:
            y, x = [i for i, _ in kept], [k.value for _, k in kept]
            error = [[max(0, k.value - k.low) for _, k in kept], [max(0, k.high - k.value) for _, k in kept]]
            ax.errorbar(x, y, xerr=error, fmt=mark, color=color, capsize=3, label=label)
    ax.axvline(3, color="0.3", linestyle="--", linewidth=1.2)
    names = [f"$v={v}$, $L={L}$" for v, L in part.index][::-1]
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="exponent $k$ of $m$", title=judge, ylim=(-0.5, len(names) - 0.5))


def two_units(curve_of: Mapping[tuple[float, float], Curve], ylabel: str = "probe accuracy") -> Figure:
    """Draw accuracy against P / (v m^3) and, beside it, against P / (v m^L) (Fig. 11, right).

    Parameters
    ----------
    curve_of : mapping of (L, m) to Curve
    ylabel : str
    """
    figure, axes = plt.subplots(1, 2, figsize=(9.2, 3.7), sharey=True)
    depths = sorted({L for L, _ in curve_of})
    lines = dict(zip(depths, ("-", "--", ":"), strict=False))
    for ax, name in zip(axes, ("3", "L"), strict=True):
        for (L, m), curve in curve_of.items():
            x = curve.sizes / (curve.v * curve.m ** (3 if name == "3" else L))
            label = f"$L={L:g}$, $m={m:g}$"
            ax.plot(x, curve.mean(), marker="o", color=m_color(m), linestyle=lines[L], label=label)
        ax.set(xscale="log", ylim=(0, 1.03), xlabel=f"$P\\,/\\,v\\,m^{{{name}}}$")
        log_ticks(ax.xaxis)
    axes[0].set_ylabel(ylabel)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=9)
    return figure


def levels_beside(slc: pd.DataFrame, ilc: pd.DataFrame) -> Figure:
    """Draw, level by level, where SLC's errors lie, and ILC on the same grammars.

    Parameters
    ----------
    slc, ilc : DataFrame
        Rows of one alphabet, m and depth.

    Returns
    -------
    Figure
        A panel a level. Areas: shares of the places that are right under the matching, that have
        one of several codes of the right latent (split), and whose code stands for another latent
        (confused). Line: ILC, matched.
    """
    unit = slc["v"].iloc[0] * slc["m"].iloc[0] ** 3
    levels = sorted(slc["level"].unique())
    figure, axes = plt.subplots(1, len(levels), figsize=(3.1 * len(levels), 3.2), sharey=True)
    for ax, level in zip(axes, levels, strict=True):
        found = slc[slc["level"] == level].groupby("n")[["hungarian_accuracy", "majority_accuracy"]].mean()
        x = found.index.to_numpy(float) / unit
        right, known = found["hungarian_accuracy"], found["majority_accuracy"]
        ax.stackplot(
            x, right, known - right, 1 - known, colors=_PARTS,
            labels=("SLC: right", "SLC: split", "SLC: confused"),
        )  # fmt: skip
        other = ilc[ilc["level"] == level].groupby("n")["hungarian_accuracy"].mean()
        ax.plot(
            other.index.to_numpy(float) / unit, other, "o-", color=LEARNER_COLORS["ilc"], label="ILC: right"
        )
        ax.set(xscale="log", xlim=(x.min(), x.max()), ylim=(0, 1), title=f"level {level}")
        log_ticks(ax.xaxis)
        ax.set_xlabel("$P\\,/\\,v\\,m^3$")
        ax.grid(visible=False)
    axes[0].set_ylabel("share of places")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=9)
    return figure


# ---------------------------------------------------------------- gradients (Fig. 9)

# (stop_gradient, whether there is a teacher): the paper's four in its order, then the two that it leaves out.
_VARIANTS = {
    ("none", True): "all gradients",
    ("modules", True): "stopped between\nmodules",
    ("modules", False): "… and\nno teacher",
    ("modules+clusterer", False): "… and stopped before\nthe clusterer",
    ("none", False): "all gradients,\nno teacher",
    ("modules+clusterer", True): "all stops,\nteacher",
}


def variants(table: pd.DataFrame, metric: str = "hungarian_accuracy") -> Figure:
    """Draw the accuracy of the gradient variants: a panel a weight of the clustering losses (Fig. 9).

    Parameters
    ----------
    table : DataFrame
        Rows of the top level, with stop_gradient, ema, w_clust, aggregation and `metric`.
    metric : str

    Returns
    -------
    Figure
        Bars: means. Dots: replicas. Hatched: Jacobian descent (UPGrad) instead of the sum of losses.
    """
    weights = sorted(table["w_clust"].unique())
    figure, axes = plt.subplots(1, len(weights), figsize=(4.7 * len(weights), 4.3), sharey=True)
    for ax, weight in zip(np.atleast_1d(axes), weights, strict=True):
        part = table[table["w_clust"] == weight]
        for i, (stop, teacher) in enumerate(_VARIANTS):
            rows = part[(part["stop_gradient"] == stop) & ((part["ema"] > 0) == teacher)]
            for aggregation, shift, hatch in (("sum", -0.19, ""), ("upgrad", 0.19, "////")):
                values = rows[rows["aggregation"] == aggregation][metric].to_numpy(float)
                if len(values):
                    _bar(ax, i + shift, values, "#009E73" if i < 4 else "0.65", hatch)
        ax.set_xticks(range(len(_VARIANTS)), list(_VARIANTS.values()), rotation=50, ha="right", fontsize=8.5)
        ax.set(title=f"clustering losses × {weight:,g}", ylim=(0, 1.05))
        ax.grid(visible=False, axis="x")
    np.atleast_1d(axes)[0].set_ylabel("accuracy of the top latent")
    return figure


def _bar(ax: Axes, at: float, values: NDArray[np.float64], color: str, hatch: str) -> None:
    ax.bar(
        at, values.mean(), width=0.36, color=color, alpha=0.75, hatch=hatch, edgecolor="white", linewidth=0
    )
    spread = np.linspace(-0.1, 0.1, len(values)) if len(values) > 1 else np.zeros(1)
    ax.plot(at + spread, values, "o", color="black", markersize=2.5)


def collapse_weight(table: pd.DataFrame, ax: Axes, metric: str = "hungarian_accuracy") -> None:
    """Draw accuracy against the weight of the clustering losses, with and without a teacher.

    Parameters
    ----------
    table : DataFrame
        Rows of the top level of runs by the sum of losses, with gradients stopped between modules or
        before the clusterer too.
    ax : Axes
    metric : str
    """
    kinds = (
        ("modules", True, "stopped between modules", "#009E73", "-"),
        ("modules", False, "… and no teacher", "#D55E00", "-"),
        ("modules+clusterer", True, "stopped before the clusterer too", "#009E73", "--"),
        ("modules+clusterer", False, "… and no teacher", "#D55E00", "--"),
    )
    for stop, teacher, name, color, line in kinds:
        rows = table[(table["stop_gradient"] == stop) & ((table["ema"] > 0) == teacher)]
        group = rows.groupby("w_clust")[metric]
        mean = group.mean()
        ax.plot(mean.index, mean, marker="o", color=color, linestyle=line, label=name)
        ax.plot(rows["w_clust"], rows[metric], "o", color=color, markersize=2.5, alpha=0.5)
    ax.set(
        xscale="log",
        ylim=(0, 1.05),
        xlabel="weight of the clustering losses",
        ylabel="accuracy of the top latent",
    )
    ax.legend(fontsize=9, handlelength=3)


# ---------------------------------------------------------------- merging and splitting


def margins(table: pd.DataFrame) -> Figure:
    """Draw how margin and final weight of separation part the errors of the top level.

    Parameters
    ----------
    table : DataFrame
        As :func:`rhmlib.slc_fits.error_parts` returns, of the top level and one n; with the columns
        margin and w_sep_end.

    Returns
    -------
    Figure
        Three maps over margin and weight: right, split, confused.
    """
    figure, axes = plt.subplots(1, 3, figsize=(9.2, 2.7), sharey=True)
    panels = {"hungarian_accuracy": "right", "split": "split", "confused": "confused"}
    for ax, (column, title) in zip(axes, panels.items(), strict=True):
        wide = table.pivot_table(index="margin", columns="w_sep_end", values=column)
        write_values(ax.imshow(wide, cmap="cividis", vmin=0, vmax=1, aspect="auto", origin="lower"), wide)
        ax.set_xticks(range(len(wide.columns)), [f"{x:g}" for x in wide.columns])
        ax.set_yticks(range(len(wide.index)), [f"{x:g}" for x in wide.index])
        ax.set(title=title, xlabel="separation at the end")
        ax.grid(visible=False)
    axes[0].set_ylabel("margin")
    return figure


def first_separation(table: pd.DataFrame) -> Figure:
    """Draw the kinds of error of the top level against the first weight of separation, a panel a size.

    Parameters
    ----------
    table : DataFrame
        As :func:`rhmlib.slc_fits.error_parts` returns, of the top level; columns w_sep and n_over_vm3.
    """
    sizes = sorted(table["n_over_vm3"].unique())
    figure, axes = plt.subplots(1, len(sizes), figsize=(3.6 * len(sizes), 3.0), sharey=True, squeeze=False)
    for ax, size in zip(axes[0], sizes, strict=True):
        found = (
            table[table["n_over_vm3"] == size]
            .groupby("w_sep")[["hungarian_accuracy", "split", "confused"]]
            .mean()
        )
        at, bottom = np.arange(len(found)), np.zeros(len(found))
        for column, color, name in zip(found, _PARTS, ("right", "split", "confused"), strict=True):
            ax.bar(at, found[column], bottom=bottom, color=color, label=name)
            bottom += found[column].to_numpy()
        ax.set_xticks(at, [f"{x:g}" for x in found.index])
        ax.set(title=f"$P = {size:g}\\,v m^3$", xlabel="separation at the start", ylim=(0, 1))
        ax.grid(visible=False)
    axes[0, 0].set_ylabel("share of places")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", fontsize=9)
    return figure


# Shapes, edges, faces and sizes of the markers of up to four settings.
_SEED_MARKERS = (
    ("o", LEARNER_COLORS["slc"], "none", 10),
    ("o", LEARNER_COLORS["slc"], LEARNER_COLORS["slc"], 7),
    ("o", "black", "black", 3.5),
    ("X", "#d55e00", "#d55e00", 6),
)


def seeds_by_likeness(table: pd.DataFrame) -> Figure:
    """Draw the top level's accuracy of single grammars against how alike their two most similar latents are.

    Parameters
    ----------
    table : DataFrame
        Rows of the top level: m, settings (a name), likeness, hungarian_accuracy.

    Returns
    -------
    Figure
        A panel an m. Markers of up to four settings, in order of appearance: large and open, filled,
        small and black, a cross; a line joins those of a grammar.
    """
    names = list(table["settings"].unique())
    ms = sorted(table["m"].unique())
    figure, axes = plt.subplots(1, len(ms), figsize=(3.0 * len(ms), 3.0), sharey=True, squeeze=False)
    for ax, m in zip(axes[0], ms, strict=True):
        part = table[table["m"] == m]
        for _, pair in part.groupby("grammar_seed"):
            ax.plot(pair["likeness"], pair["hungarian_accuracy"], color="0.75", linewidth=0.8, zorder=1)
        for name, (shape, edge, fill, size) in zip(names, _SEED_MARKERS[: len(names)], strict=True):
            rows = part[part["settings"] == name]
            ax.plot(
                rows["likeness"], rows["hungarian_accuracy"], marker=shape, markerfacecolor=fill,
                markersize=size, color=edge, linestyle="none", label=name, clip_on=False,
            )  # fmt: skip
        ax.axhline(0.95, color="0.6", linestyle=":", linewidth=1)
        ax.set(title=f"$m = {m}$", xlabel="largest similarity", ylim=(0.5, 1.0))
    axes[0, 0].set_ylabel("accuracy, top latent")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(names), fontsize=9
    )
    return figure
