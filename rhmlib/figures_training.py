"""Frames of a training: which codes stand for which latents, and what probes read, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from rhmlib.figures import level_color


class Look(Protocol):
    """What is looked at: a step, and for each level how often a latent (row) has a code (column)."""

    @property
    def step(self) -> int:
        """Optimiser steps done."""

    @property
    def joint(self) -> Sequence[NDArray[Any]]:
        """Counts of levels 1 .. L-1, each of shape (v, d_h)."""


def matched(joint: NDArray[Any]) -> float:
    """Hungarian accuracy of a table of counts, latents by codes."""
    return float(joint[linear_sum_assignment(joint, maximize=True)].sum() / joint.sum())


def code_order(joint: NDArray[Any]) -> NDArray[np.intp]:
    """Order codes so that those of one latent stand together: by their most frequent latent, then frequency.

    Parameters
    ----------
    joint : array, shape (v, d_h)

    Returns
    -------
    array of int, shape (d_h,)
        Codes that do not occur come last.
    """
    used = joint.sum(0)
    latent = np.where(used > 0, joint.argmax(0), len(joint))
    return np.lexsort((-used, latent))


def codes_and_latents(looks: Sequence[Look], i: int) -> list[Figure]:
    """Draw one step of a training: a panel a level, then the course of all levels with this step marked.

    Parameters
    ----------
    looks : sequence of Look
        Of one run, in the order of steps.
    i : int
        Which of them is drawn.

    Returns
    -------
    list of L Figures
        Panels: the share of a latent's places that has a code, dark for all of them. Codes stand in the
        order of the last look (:func:`code_order`), so that a level that is learnt ends as a staircase.
    """
    figures = []
    for level, joint in enumerate(looks[i].joint, start=1):
        order = code_order(np.asarray(looks[-1].joint[level - 1]))
        share = joint[:, order] / np.maximum(joint.sum(1, keepdims=True), 1)
        figure = plt.figure(figsize=(2.4, 2.1), layout="none")
        ax = figure.add_axes((0.12, 0.13, 0.86, 0.75))
        ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        ax.set_title(f"level {level}: {matched(joint):.0%}", fontsize=10)
        ax.set_xlabel("codes", fontsize=9, labelpad=2)
        ax.set_ylabel("latents", fontsize=9, labelpad=2)
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
        ax.spines[["top", "right"]].set_visible(True)
        figures.append(figure)
    accuracy = np.array([[matched(joint) for joint in look.joint] for look in looks])
    figures.append(_course(np.array([look.step for look in looks]), accuracy, i))
    return figures


def _course(steps: NDArray[Any], accuracy: NDArray[np.float64], i: int) -> Figure:
    """Accuracy of every level against the step, with a line and dots at one of the steps."""
    levels = accuracy.shape[1]
    figure = plt.figure(figsize=(5.2, 1.75), layout="none")
    ax = figure.add_axes((0.12, 0.27, 0.66, 0.68))
    for level in range(levels):
        color = level_color(level + 1, levels + 1)
        ax.plot(steps, accuracy[:, level], color=color, label=f"level {level + 1}")
        ax.plot(steps[i], accuracy[i, level], "o", color=color, markersize=7, clip_on=False)
    ax.axvline(steps[i], color="0.4", linewidth=1)
    linear = max(1, steps[steps > 0].min(initial=steps[-1]))
    ax.set_xscale("symlog", linthresh=linear, linscale=0.3)
    # Below the linear part's end there is room for 0 alone.
    decades = 10.0 ** np.arange(int(np.log10(max(1, steps[-1]))) + 1)
    powers, finer = (
        x[(x >= linear) & (x <= steps[-1])] for x in (decades, np.outer(decades, (1, 2, 5)).ravel())
    )
    ticks = [0, *(powers if len(powers) > 1 else finer)]
    ax.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    ax.set(xlim=(0, steps[-1]), ylim=(0, 1.03), xlabel="step", ylabel="accuracy")
    figure.legend(loc="center right", fontsize=9, handlelength=1.2)
    return figure


def codes_words(looks: Sequence[Look], i: int) -> list[str]:
    """Say what the figures of :func:`codes_and_latents` show."""
    look = looks[i]
    levels = [
        f"Step {look.step:,}, level {level}: {int((joint.sum(0) > 0).sum())} codes in use for {len(joint)} "
        f"latents; matched one to one, {matched(joint):.0%} of the places are right."
        for level, joint in enumerate(look.joint, start=1)
    ]
    some = looks[:: -(-len(looks) // 5)]
    course = "; ".join(
        f"level {level + 1}: " + ", ".join(f"{matched(x.joint[level]):.0%} at {x.step:,}" for x in some)
        for level in range(len(look.joint))
    )
    return [*levels, f"Accuracy of the levels over training, step {look.step:,} marked. {course}."]


def scores_at(table: pd.DataFrame, seen: int) -> Figure:
    """Draw what is read off each level of an encoder after some strings: a bar the mean, a dot a grammar.

    Parameters
    ----------
    table : DataFrame
        Rows of runs that differ in their seeds alone: L, level, strings_seen, probe_accuracy, synonym_score.
        The scores at 0 strings, those of the untrained encoder, are drawn as dashes at every step.
    seen : int
        Strings seen; a run that was last evaluated before has the scores that it had then.

    Returns
    -------
    Figure
    """
    L = int(table["L"].iloc[0])
    figure = plt.figure(figsize=(5.6, 2.5), layout="none")
    left, right = figure.subplots(
        1, 2, gridspec_kw={"left": 0.1, "right": 0.99, "top": 0.88, "bottom": 0.19, "wspace": 0.28}
    )
    _bars(table, "probe_accuracy", seen, L, left)
    _bars(table, "synonym_score", seen, L, right)
    left.set_title("probe accuracy", fontsize=10)
    right.set_title("synonym score", fontsize=10)
    left.set(ylim=(0, 1.03))
    scores = table["synonym_score"].dropna()
    right.set(ylim=(min(0.0, float(scores.min())) - 0.02, max(0.5, 1.05 * float(scores.max()))))
    return figure


def _at(table: pd.DataFrame, seen: int) -> pd.DataFrame:
    """Last evaluation of each run with at most so many strings seen."""
    rows = table[table["strings_seen"] <= seen].sort_values("strings_seen")
    return rows.groupby(["grammar_seed", "level"], as_index=False).tail(1)


def _bars(table: pd.DataFrame, metric: str, seen: int, L: int, ax: Axes) -> None:
    scores, untrained = _at(table, seen), _at(table, 0)
    for level in range(1, L + 1 if metric == "probe_accuracy" else L):
        now = scores[scores["level"] == level].sort_values("grammar_seed")[metric]
        before = untrained[untrained["level"] == level][metric].mean()
        ax.bar(level, now.mean(), width=0.7, color=level_color(level, L), alpha=0.85)
        shift = np.linspace(-0.15, 0.15, len(now))
        ax.plot(level + shift, now, "o", color="0.15", markersize=4)
        ax.plot([level - 0.42, level + 0.42], [before, before], color="0.15", linestyle="--", linewidth=1.2)
    ax.set(xlabel="level")
    ax.xaxis.set_major_locator(MultipleLocator(1))
    ax.grid(visible=False, axis="x")
    ax.set_axisbelow(True)


def scores_words(table: pd.DataFrame, seen: int) -> str:
    """Say what :func:`scores_at` shows."""
    now, before = (_at(table, n).groupby("level") for n in (seen, 0))
    L = int(table["L"].iloc[0])
    texts = []
    for metric, name in (("probe_accuracy", "Probe accuracy"), ("synonym_score", "Synonym score")):
        levels = range(1, L + 1 if metric == "probe_accuracy" else L)
        parts = [
            f"level {level} {now[metric].mean()[level]:.2f} (untrained {before[metric].mean()[level]:.2f})"
            for level in levels
        ]
        texts.append(f"{name} after {seen:,} strings: {', '.join(parts)}.")
    return " ".join(texts)
