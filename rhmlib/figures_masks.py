"""Figures of what masks hide: a token's own subtree, the rest of the string, or both."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import gmean

from rhmlib.figures import error_bars, log_ticks

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
    """Draw strings that theory asks for, and measured probes, against the rate at which tokens are hidden.

    Parameters
    ----------
    measured : DataFrame
        Rows of `split_masks` of one checkpoint and level: own_rate, rest_rate, level, probe_accuracy.
    needed : DataFrame
        Strings for that level, a row a setting and grammar: own_rate, rest_rate, strings.
    strings : float
        P of the measured runs.

    Returns
    -------
    Figure
        Left: geometric mean over grammars; dashed: P. Right: mean and 95 % interval over grammars.
    """
    figure, (ax, right) = plt.subplots(1, 2, figsize=(8.6, 3.9))
    for mask, (name, color, marker) in _MASKS.items():
        mean = _hidden(needed, mask).groupby("rate")["strings"].agg(gmean)
        ax.plot(mean.index, mean, color=color, marker=marker, linestyle="-", label=name)
        by = _hidden(measured, mask).groupby("rate")["probe_accuracy"]
        bars = error_bars(by.mean(), 1.96 * by.sem())
        right.errorbar(by.mean().index, by.mean(), yerr=bars, color=color, marker=marker, capsize=3,
                       label=name)  # fmt: skip
    ax.axhline(strings, color="0.3", linestyle="--", linewidth=1)
    ax.annotate("$P$ that was run", (0.02, strings), xycoords=("axes fraction", "data"), xytext=(0, -3),
                textcoords="offset points", fontsize=9, color="0.3", va="top")  # fmt: skip
    level = int(measured["level"].iloc[0])
    ax.set(yscale="log", xlabel="rate of hidden tokens", ylabel=f"strings needed, level {level}")
    log_ticks(ax.yaxis)
    right.set(xlabel="rate of hidden tokens", ylabel=f"probe, level {level}", ylim=(0, 1.03))
    ax.legend(title="hidden:", fontsize=9)
    return figure
