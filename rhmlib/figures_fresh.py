"""Figures of the chapter on the paper's own network: accuracy against fresh strings, and the power of m."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rhmlib.figures import log_ticks, m_color
from rhmlib.fresh_strings import aims, learnt, of_recipe, strings_curves

_LINES: dict[str, Any] = {"data2vec": "-", "mlm": ":"}
_NAMES = {"data2vec": "data2vec", "mlm": "masked tokens"}


def accuracy_against_fresh_strings(table: pd.DataFrame, accuracy: float = 0.9) -> Figure:
    """Draw the probes of level 2 and of what is above it against strings in units of v m³."""
    main = of_recipe(table)
    depths = sorted(main["L"].unique())
    figure, axes = plt.subplots(len(depths), 2, figsize=(8.4, 3.3 * len(depths)), sharey=True, squeeze=False)
    for L, row in zip(depths, axes, strict=True):
        shown = aims(int(L))[:2]
        for ax, aim in zip(row, shown, strict=False):
            for objective, part in main[main["L"] == L].groupby("objective"):
                for (m,), curve in strings_curves(part, aim).items():
                    unit = curve.v * curve.m**3
                    ax.plot(
                        curve.sizes / unit, curve.mean(), _LINES[objective], color=m_color(m), label=f"{m}"
                    )
            ax.axhline(learnt(aim, accuracy), color="0.5", linewidth=0.8, linestyle=(0, (1, 3)))
            ax.set(xscale="log", ylim=(0, 1.03), title=f"$L={L}$, {aim}", xlabel="fresh strings / $v\\,m^3$")
            log_ticks(ax.xaxis)
        row[0].set_ylabel("accuracy of the probe")
        for ax in row[len(shown) :]:
            ax.set_axis_off()
    handles = [Line2D([], [], color=m_color(m), label=f"$m={m}$") for m in sorted(main["m"].unique())]
    handles += [
        Line2D([], [], color="0.3", linestyle=_LINES[name], label=_NAMES[name])
        for name in _LINES
        if name in set(main["objective"])
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=10)
    return figure


def strings_against_rules(strings: pd.DataFrame) -> Figure:
    """Draw the strings that every aim needs against m, with the slopes of the two laws.

    Parameters
    ----------
    strings : DataFrame
        As `rhmlib.fresh_strings.thresholds` returns.
    """
    depths = sorted(strings["L"].unique())
    figure, axes = plt.subplots(1, len(depths), figsize=(4.2 * len(depths), 3.8), sharey=True, squeeze=False)
    for L, ax in zip(depths, axes[0], strict=True):
        for (objective, aim), part in strings[strings["L"] == L].groupby(["objective", "aim"]):
            kept = part[[found.identified for found in part["strings"]]]
            if kept.empty:
                continue
            unit = kept["v"] * kept["m"] ** 3
            value = np.array([found.value for found in kept["strings"]]) * unit
            low = value - np.array([found.low for found in kept["strings"]]) * unit
            high = np.array([found.high for found in kept["strings"]]) * unit - value
            color = {"root": "C3", "level 2": "C0", "level 3": "C2"}.get(str(aim), "C4")
            ax.errorbar(
                kept["m"], value, [low, high], marker="o" if objective == "data2vec" else "s",
                linestyle=_LINES[str(objective)], color=color, label=f"{_NAMES[str(objective)]}, {aim}",
                markerfacecolor=color if objective == "data2vec" else "none",
            )  # fmt: skip
        _laws(ax, strings[strings["L"] == L], int(L))
        ax.set(xscale="log", yscale="log", title=f"$L={L}$", xlabel="rules a symbol, $m$")
        ms = sorted(strings["m"].unique())
        ax.set_xticks(ms, [str(m) for m in ms])
        ax.minorticks_off()
    handles: dict[str, Any] = {}
    for ax in axes[0]:
        handles |= {label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    place: Any = "outside lower center"
    figure.legend(list(handles.values()), list(handles), loc=place, ncols=3, fontsize=9)
    axes[0, 0].set_ylabel("fresh strings")
    return figure


def _laws(ax: Axes, part: pd.DataFrame, L: int) -> None:
    """Lines of slope 3 and L + 1 from the first threshold of data2vec."""
    first = part[(part["objective"] == "data2vec") & (part["aim"] == part["aim"].min())]
    known = [
        (m, v, f.value)
        for m, v, f in zip(first["m"], first["v"], first["strings"], strict=True)
        if f.identified
    ]
    if not known:
        return
    m, v, value = known[0]
    ms = np.array([part["m"].min(), part["m"].max()], dtype=float)
    for k, style in ((3, "--"), (L + 1, "-.")):
        ax.plot(ms, value * v * m**3 * (ms / m) ** k, style, color="0.6", linewidth=1, label=f"slope {k}")
