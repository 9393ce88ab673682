"""Figures of data2vec in phases: levels by replacements, traces in targets, cuts, what can be known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray

from rhmlib.figures import interval_bars, level_color, log_ticks, write_values

_TEACHERS = {
    "phases": "replaced after every phase",
    "frozen": "never replaced",
    "average": "moving average",
}
_COLORS = {"phases": "#E69F00", "frozen": "#0072B2", "average": "#009E73"}
_STYLES: tuple[Any, ...] = ("-", "--", ":", "-.")


def levels_learnt(table: pd.DataFrame, bar: float) -> pd.DataFrame:
    """Count the levels that are learnt after each phase: those whose synonym score has reached a bar.

    Parameters
    ----------
    table : DataFrame
        Rows of :class:`rhmlib.experiment_phases.PhasesExperiment`.
    bar : float

    Returns
    -------
    DataFrame
        Columns teacher, grammar_seed, phase, levels: of levels 1, 2, .., as many as are learnt without a gap.
    """
    scored = table[table["synonym_score"].notna()]
    keys = ["teacher", "grammar_seed", "phase"]
    wide = scored.pivot_table(index=keys, columns="level", values="synonym_score").sort_index(axis=1)
    learnt = (wide >= bar).cummin(axis=1).sum(axis=1)
    return learnt.rename("levels").astype(int).reset_index()


def progress(tables: Sequence[pd.DataFrame], bars: Sequence[float]) -> pd.DataFrame:
    """Tell what is learnt after how many steps, by teacher: means over grammars.

    Parameters
    ----------
    tables : sequence of DataFrame
        Rows of :class:`rhmlib.experiment_phases.PhasesExperiment`; in each, phases are of one length.
    bars : sequence of float
        Scores from which a level counts, as in :func:`levels_learnt`.

    Returns
    -------
    DataFrame
        Index teacher, steps, from the end of the first phase on; columns: probes of level L-1 and of the
        root, synonym scores of the levels, and numbers of levels.
    """
    rows = []
    for table in tables:
        L = int(table["L"].iloc[0])
        keys = ["teacher", "phase"]
        counts = {bar: levels_learnt(table, bar).groupby(keys)["levels"].mean() for bar in bars}
        for (teacher, phase), part in table[table["phase"] > 0].groupby(keys):
            probe, score = (part.groupby("level")[x].mean() for x in ("probe_accuracy", "synonym_score"))
            row = {"teacher": _TEACHERS[teacher], "steps": int(part["step"].iloc[0])}
            row |= {f"probe, level {L - 1}": probe[L - 1], "probe, root": probe[L]}
            row |= {f"score, level {level}": score[level] for level in range(1, L)}
            rows.append(row | {f"levels from {bar:g}": counts[bar][teacher, phase] for bar in bars})
    return pd.DataFrame(rows).set_index(["teacher", "steps"]).sort_index()


def levels_against_replacements(
    table: pd.DataFrame, bars: Sequence[float], others: Sequence[pd.DataFrame] = ()
) -> Figure:
    """Draw synonym scores and probes after each phase, and the number of levels learnt.

    Parameters
    ----------
    table : DataFrame
        As in :func:`levels_learnt`, with the teachers "phases" and "frozen".
    bars : sequence of float
        Scores from which a level counts.
    others : sequence of DataFrame
        More rows for the panel of the root against steps, with phases of another length.

    Returns
    -------
    Figure
        Above: synonym scores by teacher, and levels learnt against replacements, beside one level in the
        first phase and one more for every replacement. Below: linear probes, and that of the root against
        steps. Lines: means over grammars; points: single grammars.
    """
    L = int(table["L"].iloc[0])
    figure, axes = plt.subplots(2, 3, figsize=(10.8, 6.6))
    for column, name in enumerate(("phases", "frozen")):
        part = table[table["teacher"] == name]
        _by_phase(part, "synonym_score", L, axes[0, column])
        _by_phase(part, "probe_accuracy", L, axes[1, column])
        for bar in bars:
            axes[0, column].axhline(bar, color="0.6", linewidth=1, zorder=1)
        axes[0, column].set(title=_TEACHERS[name])
        axes[1, column].set(xlabel="phases done")
    axes[0, 0].set(ylabel="synonym score")
    axes[1, 0].set(ylabel="linear probe")
    axes[1, 0].legend(loc="lower right")
    _count({bar: levels_learnt(table, bar) for bar in bars}, L, axes[0, 2])
    _root([table, *others], L, axes[1, 2])
    return figure


def _by_phase(table: pd.DataFrame, metric: str, L: int, ax: Axes) -> None:
    for level in range(1, L + 1):
        rows = table[(table["level"] == level) & table[metric].notna()]
        color = level_color(level, L)
        ax.plot(rows["phase"], rows[metric], "o", color=color, markersize=3, alpha=0.5)
        mean = rows.groupby("phase")[metric].mean()
        ax.plot(mean.index, mean, color=color, label="root" if level == L else f"level {level}")
    ax.set(ylim=(-0.08, 1.03))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _count(counts: Mapping[float, pd.DataFrame], L: int, ax: Axes) -> None:
    last = 0
    for (bar, learnt), style in zip(counts.items(), ("--", "-", "-."), strict=False):
        phased = learnt[(learnt["teacher"] == "phases") & (learnt["phase"] > 0)]
        replaced = phased["phase"] - 1  # before the phase that was just done
        mean = phased["levels"].groupby(replaced).mean()
        ax.plot(replaced, phased["levels"], "o", color=_COLORS["phases"], markersize=3, alpha=0.5)
        ax.plot(mean.index, mean, style, color=_COLORS["phases"], label=f"score from {bar:g}")
        last = max(last, int(mean.index.max()))
    at = np.arange(last + 1)
    ax.plot(at, np.minimum(at + 1, L - 1), color="0.3", linestyle=":", label="predicted")
    ax.set(xlabel="replacements of the teacher", ylabel="levels learnt", ylim=(-0.1, L - 0.7))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="lower right")


def _root(tables: Sequence[pd.DataFrame], L: int, ax: Axes) -> None:
    rows = pd.concat(tables)
    rows = rows[rows["level"] == L]
    for (name, words), marker in zip(_TEACHERS.items(), "so^", strict=True):
        part = rows[rows["teacher"] == name].groupby("step")["probe_accuracy"].mean()
        if len(part):
            ax.plot(part.index, part, marker=marker, color=_COLORS[name], label=words)
    ax.set(xlabel="steps", ylabel="linear probe, root", ylim=(-0.08, 1.03))
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.legend(loc="lower right")


def traces_over_training(table: pd.DataFrame) -> Figure:
    """Draw what each level leaves in the target over training: variance explained, and a linear probe.

    Parameters
    ----------
    table : DataFrame
        Rows of runs that differ in their seeds alone.

    Returns
    -------
    Figure
    """
    L = int(table["L"].iloc[0])
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.6), sharex=True)
    for ax, metric in zip(axes, ("trace_share", "trace_accuracy"), strict=True):
        for level in range(L):
            rows = table[table["level"] == level]
            color = level_color(level, L)
            for _, run in rows.groupby("grammar_seed"):
                ax.plot(run["step"], run[metric], color=color, linewidth=0.6, alpha=0.5)
            mean = rows.groupby("step")[metric].mean()
            ax.plot(mean.index, mean, marker="o", color=color, label=f"level {level}")
        ax.set(xlabel="steps")
    axes[0].set(ylabel="share of the target's variance")
    axes[1].set(ylabel="probe of the target", ylim=(0, 1.03))
    axes[1].legend(loc="lower right")
    return figure


def traces_against_strings(table: pd.DataFrame) -> Figure:
    """Draw the linear traces of the levels at the end of training against P / (v m^3) (Fig. 13, right).

    Parameters
    ----------
    table : DataFrame
        Rows at the last phase and before training, of several n and m.

    Returns
    -------
    Figure
        Above: probe of the target; below: share of its variance. A panel a level; a line style an m.
        Grey: before training.
    """
    L, last = int(table["L"].iloc[0]), table["phase"].max()
    levels = range(1, L)
    figure, axes = plt.subplots(
        2, len(levels), figsize=(3.0 * len(levels), 5.2), sharex=True, sharey="row", squeeze=False
    )
    for column, level in enumerate(levels):
        for row, metric in enumerate(("trace_accuracy", "trace_share")):
            ax = axes[row, column]
            for m, style in zip(sorted(table["m"].unique()), _STYLES, strict=False):
                part = table[(table["level"] == level) & (table["m"] == m)]
                found = part[part["phase"] == last].groupby("n_over_vm3")[metric]
                ax.errorbar(
                    found.mean().index, found.mean(), yerr=interval_bars(found),
                    marker="o", capsize=2, color=level_color(level, L), linestyle=style,
                )  # fmt: skip
                before = part[part["phase"] == 0][metric].mean()
                ax.axhline(before, color="0.6", linestyle=style, linewidth=1)
            ax.set_xscale("log", base=2)
            ax.xaxis.set_minor_formatter(NullFormatter())
        axes[0, column].set(title=f"level {level}")
        axes[1, column].set(xlabel="$P\\,/\\,v m^3$")
    axes[0, 0].set(ylabel="probe of the target", ylim=(0, 1.03))
    axes[1, 0].set(ylabel="share of its variance")
    lines = zip(sorted(table["m"].unique()), _STYLES, strict=False)
    handles = [Line2D([], [], color="0.2", linestyle=style, label=f"$m={m}$") for m, style in lines]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=2.6)
    return figure


# ---------------------------------------------------------------- cut targets


def cut_name(teacher: str, part: str, level: int) -> str:
    """Words for a target."""
    words = {"whole": "whole", "without": f"without level {level}", "upto": f"levels 0 to {level} alone"}[
        part
    ]
    if part == "upto" and level == 0:
        words = "tokens alone"
    return f"{words}, frozen" if teacher == "frozen" else words


def cut_scores(table: pd.DataFrame, metric: str = "synonym_score") -> pd.DataFrame:
    """Mean of a metric after the last phase, a row a target, a column a level.

    Parameters
    ----------
    table : DataFrame
        Rows of :class:`rhmlib.experiment_phases.PhasesExperiment` that differ in teacher, part, cut_level
        and seeds.
    metric : str

    Returns
    -------
    DataFrame
    """
    last = table[(table["phase"] == table["phase"].max()) & table[metric].notna()]
    order = {"whole": 0, "upto": 1, "without": 2}
    keys = ["teacher", "part", "cut_level"]
    ranked = last.assign(rank=last["part"].map(order))
    wide = ranked.pivot_table(index=["teacher", "rank", *keys[1:]], columns="level", values=metric)
    wide.index = pd.Index([cut_name(t, p, int(a)) for t, _, p, a in wide.index], name="target")
    return wide


def cuts(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw scores by target and level as coloured tables beside each other.

    Parameters
    ----------
    panels : mapping of title to DataFrame
        As :func:`cut_scores` returns.

    Returns
    -------
    Figure
    """
    rows = max(len(part) for part in panels.values())
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 1.1 + 0.42 * rows), squeeze=False)
    for ax, (title, part) in zip(axes[0], panels.items(), strict=True):
        values = part.to_numpy(float)
        image = ax.imshow(values, vmin=0, vmax=1, aspect="auto", cmap="cividis")
        write_values(image, values, fontsize=9)
        ax.set_xticks(range(len(part.columns)), [f"level {int(level)}" for level in part.columns])
        ax.set_yticks(range(len(part)), part.index)
        ax.set(title=title)
        ax.grid(visible=False)
        ax.tick_params(length=0)
    return figure


# ---------------------------------------------------------------- what can be known


def gains(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw what each step has to offer, for the latents of every level in the target.

    Parameters
    ----------
    panels : mapping of title to DataFrame
        As :func:`rhmlib.phase_limits.steps` returns, one a mask; means over grammars.

    Returns
    -------
    Figure
        Logarithmic; steps that offer nothing are left out.
    """
    figure, axes = plt.subplots(
        1, len(panels), figsize=(1.2 + 3.2 * len(panels), 3.6), sharey=True, squeeze=False
    )
    for ax, (title, table) in zip(axes[0], panels.items(), strict=True):
        L = len(table)
        for level, row in table.iterrows():
            shown = row[row > 1e-3]
            color = level_color(int(str(level)), L)
            ax.plot(shown.index + 1, shown, marker="o", color=color, label=f"level {level} in the target")
        ax.set(title=title, xlabel="level that the step finds", yscale="log")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set(ylabel="variance that the step explains")
    log_ticks(axes[0, 0].yaxis)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def known_against_limit(table: pd.DataFrame, limit: pd.DataFrame) -> Figure:
    """Draw what the student's state tells of a hidden token's ancestors beside what can be told at most.

    Parameters
    ----------
    table : DataFrame
        Rows of :class:`rhmlib.experiment_phases.PhasesExperiment`, of runs that differ in their seeds alone.
    limit : DataFrame
        Columns level, height, accuracy, as :func:`rhmlib.phase_limits.limits` returns; mean over grammars.

    Returns
    -------
    Figure
        A panel a level. Grey lines: the best guess from the visible leaves of the token's block of s**k.
    """
    L = int(table["L"].iloc[0])
    figure, axes = plt.subplots(1, L, figsize=(2.6 * L, 3.2), sharey=True)
    for level, ax in enumerate(axes):
        right = ax.get_yaxis_transform()
        rows = table[table["level"] == level]
        by = rows.groupby("phase")["state_accuracy"]
        ax.errorbar(
            by.mean().index, by.mean(), yerr=interval_bars(by), marker="o",
            capsize=2, color=level_color(level, L), zorder=3,
        )  # fmt: skip
        known = limit[limit["level"] == level].sort_values("accuracy")
        for height, at, beside in zip(
            known["height"], known["accuracy"], _apart(known["accuracy"].to_numpy(float), 0.055), strict=True
        ):
            ax.axhline(at, color="0.6", linewidth=1, zorder=1)
            ax.annotate(
                f"{int(height)}", (1, at), (1.06, beside), xycoords=right, textcoords=right, fontsize=9,
                va="center", color="0.15", annotation_clip=False,
                arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 1, "shrinkA": 1, "shrinkB": 0},
            )  # fmt: skip
        ax.set(title=f"level {level}", xlabel="phases done", ylim=(0, 1.03))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set(ylabel="accuracy, ancestor")
    return figure


def _apart(places: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """Shift ascending places as little as needed for `gap` between neighbours (least squares)."""
    steps = gap * np.arange(len(places))
    blocks: list[list[float]] = []
    for value in places - steps:  # pool neighbours that are out of order
        blocks.append([value])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1].extend(last)
    return steps + np.concatenate([np.full(len(block), np.mean(block)) for block in blocks])
