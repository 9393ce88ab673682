"""Figures of real trees: information between symbols of parse trees, and clusters of their tuples."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rhmlib.figures import LEARNER_COLORS, interval_bars, log_ticks
from rhmlib.real_trees import KINDS
from rhmlib.real_trees_findings import COUSINS

# Colour and marker of pairs, and of contexts.
_LOOKS = ((LEARNER_COLORS["tokens"], "o"), ("0.45", "s"), (LEARNER_COLORS["latents"], "D"))
_PAIRS = dict(zip(KINDS, _LOOKS, strict=True))
_LIMITS = {"best": "a tuple's most frequent type", "one code": "one code for all"}
_CONTEXTS = {
    "latents": ("types of the nodes beside", LEARNER_COLORS["latents"], "D"),
    "tokens": ("a token below each of these", LEARNER_COLORS["tokens"], "o"),
    "beside": ("the tokens beside", LEARNER_COLORS["supervised"], "v"),
}


def information_of_pairs(table: pd.DataFrame) -> Figure:
    """Draw information against tree distance, and that of the very same cousins by their types or tokens.

    Parameters
    ----------
    table : DataFrame
        As :func:`rhmlib.real_trees_findings.chapter_rows` returns.

    Returns
    -------
    Figure
        Left: all pairs at a distance; right: pairs of cousins of equal height. Colour: what is compared.
        Bars: 95 % over files. Points that are not above 0 are left out.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 4.0), sharey=True)
    every = table[(table["quantity"] == "information") & (table["height"] == 0)]
    cousins = table[(table["quantity"] == "matched") & (table["distance"] == COUSINS)]
    for kind, (color, marker) in _PAIRS.items():
        look = {"color": color, "marker": marker, "capsize": 3}
        _with_bars(left, every[every["kind"] == kind], "distance", label=kind, **look)
        _with_bars(right, cousins[cousins["kind"] == kind], "height", **look)
    left.set(
        yscale="log", xlabel="tree distance $d$", ylabel="connected information / nats", title="all pairs"
    )
    right.set(xlabel="height of the two nodes", title="the same pairs of cousins")
    right.set_xticks(sorted(cousins["height"].astype(int).unique()))
    log_ticks(left.yaxis)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center")
    return figure


def _with_bars(ax: Axes, rows: pd.DataFrame, x: str, **look: Any) -> None:
    rows = rows[rows["value"] > 0].sort_values(x)
    low = rows["low"].clip(lower=rows["value"] / 10)
    ax.errorbar(rows[x], rows["value"], yerr=[rows["value"] - low, rows["high"] - rows["value"]], **look)


def agreement_of_clusters(table: pd.DataFrame) -> Figure:
    """Draw how well clusters of tuples agree with node types, against the number of tuples.

    Parameters
    ----------
    table : DataFrame
        As :func:`rhmlib.real_trees_findings.chapter_rows` returns.

    Returns
    -------
    Figure
        Mean and 95 % interval over orders of the files. Dashed: each tuple with its most frequent type;
        dotted: all tuples with one code.
    """
    figure, ax = plt.subplots(figsize=(7.0, 3.6))
    rows = table[table["quantity"] == "agreement"]
    for i, (kind, (name, color, marker)) in enumerate(_CONTEXTS.items()):
        by = rows[rows["kind"] == kind].groupby("tuples")["value"]
        mean = by.mean()
        look: dict[str, Any] = {"color": color, "marker": marker, "capsize": 3, "label": name}
        ax.errorbar(mean.index * 1.06 ** (i - 1), mean, yerr=interval_bars(by), **look)
    for kind, line in (("best", "--"), ("one code", ":")):
        mean = rows[rows["kind"] == kind].groupby("tuples")["value"].mean()
        ax.plot(mean.index, mean, color="0.3", linestyle=line, linewidth=1.2, label=_LIMITS[kind])
    ax.set(xscale="log", xlabel="tuples that were counted", ylabel="accuracy", ylim=(0.3, 1))
    log_ticks(ax.xaxis)
    figure.legend(*ax.get_legend_handles_labels(), title="contexts:", loc="outside right center")
    return figure
