"""Figures of encoders: data2vec's parts, levels over training, what masks do, refreshed teachers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rhmlib.figures import LEARNER_COLORS, interval_bars, level_color, log_ticks
from rhmlib.fits import Collapse, Curve, collapse, curves
from rhmlib.looks import LOOKS, NAMES


def levels_over_training(table: pd.DataFrame, by: str = "objective") -> Figure:
    """Draw probe accuracy (above) and synonym score (below) of each level against strings seen.

    Parameters
    ----------
    table : DataFrame
        Checkpoints "curve" of runs that differ in their seeds and in `by` alone; and "untrained", if those
        are to be drawn.
    by : str
        Column: a panel beside each other for each of its values.

    Returns
    -------
    Figure
        Dotted: the untrained encoder.
    """
    L = int(table["L"].iloc[0])
    bare = table[table["checkpoint"] == "untrained"]
    table = table[table["checkpoint"] != "untrained"]
    panels = list(table.groupby(by, sort=False))
    figure, axes = plt.subplots(
        2, len(panels), figsize=(max(5.4, 3.7 * len(panels)), 5.4), sharex="col", sharey="row", squeeze=False
    )
    for column, (value, part) in enumerate(panels):
        for row, metric in enumerate(("probe_accuracy", "synonym_score")):
            ax = axes[row, column]
            for level, rows in part.groupby("level"):
                if metric == "synonym_score" and level == L:
                    continue
                color = level_color(int(level), L)
                for _, run in rows.groupby("grammar_seed"):
                    ax.plot(run["strings_seen"], run[metric], color=color, linewidth=0.6, alpha=0.5)
                mean = rows.groupby("strings_seen")[metric].mean()
                ax.plot(mean.index, mean, color=color, label=f"level {level}")
                before = bare.loc[(bare[by] == value) & (bare["level"] == level), metric].mean()
                ax.axhline(before, color=color, linestyle=":", linewidth=1)
            ax.set_xscale("log")
            log_ticks(ax.xaxis)
        axes[0, column].set(title=NAMES.get(str(value), str(value)))
        axes[1, column].set(xlabel="strings seen")
    axes[0, 0].set(ylabel="probe accuracy", ylim=(0, 1.03))
    axes[1, 0].set(ylabel="synonym score")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=L)
    return figure


def levels_against(
    table: pd.DataFrame, x: str, *, label: str, metric: str = "probe_accuracy", levels: tuple[int, ...] = ()
) -> Figure:
    """Draw a metric of each level against a setting, a panel an objective, with the untrained encoder.

    Parameters
    ----------
    table : DataFrame
        Checkpoints "best" and "untrained".
    x : str
        Column of the setting.
    label : str
        What its axis says.
    metric : str
    levels : tuple of int, optional
        Those that are drawn; all from 2 on if left out.

    Returns
    -------
    Figure
    """
    L = int(table["L"].iloc[0])
    objectives = [name for name in NAMES if name in set(table["objective"])]
    figure, axes = plt.subplots(
        1, len(objectives), figsize=(3.7 * len(objectives), 3.6), sharey=True, squeeze=False
    )
    for ax, objective in zip(axes[0], objectives, strict=True):
        part = table[table["objective"] == objective]
        for level in levels or range(2, L + 1):
            color = level_color(level, L)
            rows = part[part["level"] == level]
            best = rows[rows["checkpoint"] == "best"].groupby(x)[metric]
            ax.errorbar(
                best.mean().index, best.mean(), yerr=interval_bars(best),
                marker="o", capsize=3, color=color, label=f"level {level}",
            )  # fmt: skip
            floor = rows[rows["checkpoint"] == "untrained"][metric].mean()
            ax.axhline(floor, color=color, linestyle=":", linewidth=1)
        ax.set(title=NAMES[objective], xlabel=label)
        ax.set_xticks(sorted(part[x].unique()))
    axes[0, 0].set(ylabel="probe accuracy", ylim=(0, 1.03))
    axes[0, -1].legend()
    return figure


def objectives_beside(
    curves: Mapping[str, Mapping[tuple[float, ...], tuple[np.ndarray, np.ndarray]]], *, ylabel: str
) -> Figure:
    """Draw mean accuracy against P / (v m^3), a panel a setting, a colour an objective.

    Parameters
    ----------
    curves : mapping of objective to mapping of (m, L) to arrays (K,) and (seeds, K)
        Sizes in units of v m^3, and accuracies.
    ylabel : str

    Returns
    -------
    Figure
        Dotted lines: the sizes v m^L (supervised) and v m^(L+1) (tokens), where on the axis.
    """
    keys = sorted({key for part in curves.values() for key in part}, key=lambda key: (key[1], key[0]))
    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(2.2 + 2.5 * columns, 0.4 + 2.9 * rows), sharey=True, squeeze=False
    )
    axes = grid.flat[: len(keys)]
    for ax in grid.flat[len(keys) :]:
        ax.set_visible(False)
    for ax, key in zip(axes, keys, strict=True):
        m, L = key
        for objective, part in curves.items():
            if key not in part:
                continue
            sizes, accuracy = part[key]
            color, marker = LOOKS[objective]
            mean = np.nanmean(accuracy, 0)
            ax.plot(sizes, mean, marker=marker, color=color, label=NAMES[objective])
            ax.fill_between(sizes, np.nanmin(accuracy, 0), np.nanmax(accuracy, 0), color=color, alpha=0.15)
        ax.axvline(m ** (L - 2), color="0.5", linestyle=":", linewidth=1)
        ax.set_xscale("log", base=2)
        ax.set(title=f"$m={m:g}$, $L={L:g}$", xlabel="$P\\,/\\,v m^3$")
    for ax in grid[:, 0]:
        ax.set(ylabel=ylabel, ylim=(0, 1.03))
    handles = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    order = [name for name in NAMES.values() if name in handles]
    figure.legend([handles[name] for name in order], order, loc="outside right center", fontsize=9)
    return figure


def encoders_beside(parts: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the root's probe and the synonyms of the level below it against P / (v m^3), a line an encoder.

    Parameters
    ----------
    parts : mapping of str to DataFrame
        By name, checkpoints "best" at one v, m and L, of several n.

    Returns
    -------
    Figure
        Means, and the range over grammars. The dotted line is at 75 %.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.7), sharex=True)
    for (name, part), style, marker in zip(parts.items(), ("-", "--", ":"), ("o", "s", "D"), strict=False):
        L = int(part["L"].iloc[0])
        for ax, level, metric in ((axes[0], L, "probe_accuracy"), (axes[1], L - 1, "synonym_score")):
            found = part[part["level"] == level].groupby("n_over_vm3")[metric].agg(["mean", "min", "max"])
            color = LEARNER_COLORS["data2vec"]
            ax.plot(found.index, found["mean"], linestyle=style, marker=marker, color=color, label=name)
            ax.fill_between(found.index, found["min"], found["max"], color=color, alpha=0.12)
            ax.set(xlabel="$P\\,/\\,v m^3$", ylim=(min(0, found["min"].min() - 0.03), 1.03))
    axes[0].axhline(0.75, color="0.5", linestyle=":", linewidth=1)
    axes[0].set_xscale("log", base=2)
    axes[0].set(ylabel="root accuracy")
    axes[1].set(ylabel="synonym score, level $L-1$")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(parts))
    return figure


def token_targets(measured: pd.DataFrame, predicted: pd.DataFrame) -> Figure:
    """Draw accuracy of the deepest level but the root against n / (v m^3), by target, a panel a depth.

    Parameters
    ----------
    measured, predicted : DataFrame
        Tables of `token_ilc` and `token_ilc_prediction` at one v and m: targets, L, level, n_over_vm3,
        grammar_seed, hungarian_accuracy. Rows of `pooled_tokens` may be there as the target "pooled".

    Returns
    -------
    Figure
        Markers: measured, mean and 95 % interval over grammars. Lines: predicted from exact laws.
    """
    names = {
        "latents_all": ("latents", LEARNER_COLORS["latents"]),
        "pooled": ("token and neighbours, pooled", LOOKS["pooled"][0]),
        "conditional": ("token and neighbours, cell by cell", LEARNER_COLORS["data2vec"]),
        "tokens_all": ("tokens", LEARNER_COLORS["tokens"]),
    }
    depths = sorted(measured["L"].unique())
    figure, axes = plt.subplots(1, len(depths), figsize=(3.4 * len(depths), 3.8), sharey=True, squeeze=False)
    for ax, L in zip(axes[0], depths, strict=True):
        for target, (name, color) in names.items():
            here, there = (
                table[(table["L"] == L) & (table["level"] == L - 1) & (table["targets"] == target)]
                for table in (measured, predicted)
            )
            if here.empty:
                continue
            by = here.groupby("n_over_vm3")["hungarian_accuracy"]
            ax.errorbar(
                by.mean().index,
                by.mean(),
                yerr=interval_bars(by),
                fmt="o",
                capsize=2,
                color=color,
                label=name,
            )
            # Beyond its last size a prediction says "learnt".
            wide = there.pivot(index="grammar_seed", columns="n_over_vm3", values="hungarian_accuracy")
            line = wide.fillna(1.0).mean()
            ax.plot(line.index, line, color=color)
        ax.set_xscale("log", base=2)
        low, high = measured[measured["L"] == L]["n_over_vm3"].agg(["min", "max"])
        ax.set(title=f"$L={L}$, level {L - 1}", xlabel="$P\\,/\\,v m^3$", xlim=(low / 1.5, high * 1.5))
    axes[0, 0].set(ylabel="accuracy", ylim=(0, 1.05))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def lift_against_block(table: pd.DataFrame) -> Figure:
    """Draw what a cousin's latent tells about a masked token against the size of the hidden block.

    Parameters
    ----------
    table : DataFrame
        Rows of `token_lift` at one (v, m, L), mask "block": level, size, information, latent_information.

    Returns
    -------
    Figure
    """
    figure, ax = plt.subplots(figsize=(6.0, 3.8))
    L = int(table["L"].iloc[0])
    for level, part in table.groupby("level"):
        share = part["information"] / part["latent_information"]
        mean = share.groupby(part["size"]).mean()
        ax.plot(mean.index, mean, marker="o", color=level_color(int(level), L), label=f"level {level}")
    ax.set(
        xlabel="hidden: one aligned block of $s^k$ leaves, $k$", ylabel="share of the latent's information",
        yscale="log",
    )  # fmt: skip
    ax.set_xticks(sorted(table["size"].unique()))
    ax.legend()
    return figure


def online_curves(table: pd.DataFrame, level: int, metric: str = "probe_accuracy") -> dict[Any, Curve]:
    """Curves of a metric against strings seen, of runs that see every string once, one curve an m.

    Parameters
    ----------
    table : DataFrame
        Checkpoints "curve" of runs with n left out, at one v and L.
    level : int
    metric : str

    Returns
    -------
    dict of (m,) to Curve
        A run that ended early, as all its probes were perfect, keeps its last value.
    """
    part = table[(table["level"] == level) & (table["checkpoint"] == "curve") & table["n"].isna()]
    if part.empty:
        raise ValueError("table must hold runs on fresh strings (n left out). Found none.")
    return curves(part, by=["m"], metric=metric, size="strings_seen", fill=True)


def levels_against_strings(table: pd.DataFrame, metric: str = "synonym_score") -> Figure:
    """Draw a metric of each level against P / (v m^3), a panel a level, a line an m (Fig. 5).

    Parameters
    ----------
    table : DataFrame
        Checkpoints "best" and "untrained", at one v and L, of several n and m.
    metric : str

    Returns
    -------
    Figure
        Dotted: the untrained encoder.
    """
    L = int(table["L"].iloc[0])
    levels = sorted(table[table[metric].notna()]["level"].unique())
    figure, axes = plt.subplots(1, len(levels), figsize=(3.2 * len(levels), 3.4), sharey=True, squeeze=False)
    for ax, level in zip(axes[0], levels, strict=True):
        part = table[table["level"] == level]
        for m, style in zip(sorted(part["m"].unique()), ("-", "--", ":", "-."), strict=False):
            rows = part[part["m"] == m]
            found = rows[rows["checkpoint"] == "best"].groupby("n_over_vm3")[metric]
            ax.errorbar(
                found.mean().index, found.mean(), yerr=interval_bars(found, low=-1),
                marker="o", capsize=2, color=level_color(int(level), L), linestyle=style, label=f"$m={m}$",
            )  # fmt: skip
        floor = part[part["checkpoint"] == "untrained"][metric].mean()
        ax.axhline(floor, color="0.5", linestyle=":", linewidth=1)
        ax.set_xscale("log", base=2)
        ax.set(title=f"level {level}", xlabel="$P\\,/\\,v m^3$", ylim=(min(-0.08, floor - 0.05), 1.03))
    axes[0, 0].set(ylabel=metric.replace("_", " "))
    axes[0, -1].legend()
    return figure


def scores_of_blocks(table: pd.DataFrame) -> Figure:
    """Draw the synonym score of each level in each block after training, a panel a number of strings.

    Parameters
    ----------
    table : DataFrame
        Rows of `synonym_blocks` of one shape: n_over_vm3, L, level, block, step, grammar_seed, synonym_score.

    Returns
    -------
    Figure
        Mean and range over grammars. Dotted: the untrained encoder. The last block is the end: what the
        head reads.
    """
    L, sizes = int(table["L"].iloc[0]), sorted(table["n_over_vm3"].unique())
    figure, axes = plt.subplots(
        1, len(sizes), figsize=(0.8 + 2.8 * len(sizes), 3.4), sharey=True, squeeze=False
    )
    for ax, size in zip(axes[0], sizes, strict=True):
        part = table[table["n_over_vm3"] == size]
        for level, rows in part.groupby("level"):
            color = level_color(int(level), L)
            after = rows[rows["step"] == rows["step"].max()].groupby("block")["synonym_score"]
            mean = after.mean()
            ax.plot(mean.index + 1, mean, marker="o", color=color, label=f"level {level}")
            ax.fill_between(mean.index + 1, after.min(), after.max(), color=color, alpha=0.18, linewidth=0)
            before = rows[rows["step"] == 0].groupby("block")["synonym_score"].mean()
            ax.plot(before.index + 1, before, color=color, linestyle=":", linewidth=1)
        ticks = sorted(part["block"].unique() + 1)
        ax.set(title=f"$P = {size:g}\\,v m^3$", xlabel="block")
        ax.set_xticks(ticks, [*(f"{k}" for k in ticks[:-1]), "end"])
    axes[0, 0].set(ylabel="synonym score", ylim=(-0.1, 1.03))
    axes[0, 0].legend(fontsize=9)
    return figure


def collapses(
    best: pd.DataFrame, rng: np.random.Generator, *, n_bootstrap: int = 200
) -> dict[tuple[int, int], Collapse]:
    """Fit the exponent of the root's probe at each v and L that has at least two values of m.

    Parameters
    ----------
    best : DataFrame
        Checkpoints "best" of one objective, one training a run (see :func:`rhmlib.trainings.longest`).
    rng : numpy.random.Generator
    n_bootstrap : int

    Returns
    -------
    dict of (v, L) to Collapse
        With the rivals 2, 3, 4 and L+1.
    """
    found = {}
    root = best[best["level"] == best["L"]]
    for (v, L), part in root.groupby(["v", "L"]):
        if part["m"].nunique() > 1:
            curve_of = curves(part, by=["m"], metric="probe_accuracy")
            rivals = tuple(sorted({2, 3, 4, int(L) + 1}))
            fit = collapse(curve_of, rng, rivals=rivals, n_bootstrap=n_bootstrap)
            found[int(v), int(L)] = fit
    return found


def collapse_table(fits: Mapping[tuple[int, int], Collapse]) -> pd.DataFrame:
    """List exponents, the spread at others as a multiple of the least, and which law they speak for."""
    rows = []
    for (v, L), fit in fits.items():
        spreads = {f"spread at {k}": round(fit.rivals[k].value, 1) for k in (2, 3, 4)}
        tokens = round(fit.rivals[L + 1].value, 1)
        rows.append(
            {"v": v, "L": L, "best k": str(fit.k), **spreads, "at L+1": tokens, "law": law_verdict(fit, L)}
        )
    return pd.DataFrame(rows).set_index(["v", "L"])


def law_verdict(fit: Collapse, L: int) -> str:
    """Say which of the laws v m³ and v m^(L+1) a collapse is compatible with.

    Parameters
    ----------
    fit : Collapse
    L : int

    Returns
    -------
    str
        By whether the interval of the exponent holds 3 and L+1; such as ``"v m³"``.
    """
    if not fit.k.identified:
        return "undecided"
    latent, token = fit.k.contains(3), fit.k.contains(L + 1)
    if latent and not token:
        return "v m³"
    if token and not latent:
        return "v m" + str(L + 1).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    if latent and token:
        return "both"
    nearer = "3" if abs(fit.k.value - 3) < abs(fit.k.value - L - 1) else "L+1"
    return f"neither; nearer to {nearer}"
