"""Figures of a study's table: which settings mattered, and where the good ones are."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rhmlib.figures import log_ticks
from rhmlib.tuning import importances, searched, values_after

_COLOR = "#0072B2"
_COLUMNS = 4
# An axis is logarithmic where most trials are below this share of the largest value.
_SMALL = 0.32


def importance_bars(shares: dict[str, float], ax: Axes) -> None:
    """Draw the importance of each setting as a bar, the most important on top.

    Parameters
    ----------
    shares : dict of str to float
        As :func:`rhmlib.tuning.importances` returns.
    ax : Axes
    """
    names = list(shares)[::-1]
    ax.barh(names, [shares[name] for name in names], color=_COLOR)
    ax.set_axisbelow(True)
    ax.grid(visible=False, axis="y")
    ax.set(xlabel="share of the variance (fANOVA)", xlim=(0, 1))


def slices(table: pd.DataFrame, name: str, ax: Axes, *, runs: int | None = None) -> None:
    """Draw the value of each trial against one setting.

    Parameters
    ----------
    table : DataFrame
        As :func:`rhmlib.tuning.read` returns.
    name : str
        A searched setting.
    ax : Axes
    runs : int, optional
        As in :func:`rhmlib.tuning.importances`.

    Notes
    -----
    Filled points: complete trials. Open points, where `runs` is given: pruned ones.
    """
    values = table["value"].to_numpy(dtype=float) if runs is None else values_after(table, runs)
    complete = (table["state"] == "complete").to_numpy()
    at = table[name]
    numbers = pd.api.types.is_numeric_dtype(at) and not pd.api.types.is_bool_dtype(at)
    x = at.to_numpy(dtype=float) if numbers else at.astype(str).astype("category").cat.codes.to_numpy()
    for chosen, face in ((~complete, "none"), (complete, _COLOR)):
        ax.scatter(x[chosen], values[chosen], s=16, edgecolors=_COLOR, facecolors=face, linewidths=0.9)
    if not numbers:
        words = at.astype(str).astype("category").cat.categories
        ax.set_xticks(np.arange(len(words)), words)
        ax.set_xlim(-0.5, len(words) - 0.5)
    elif x.min() > 0 and x.max() >= 10 * x.min() and np.median(x) < _SMALL * x.max():
        ax.set_xscale("log")
        log_ticks(ax.xaxis)
    ax.set_xlabel(name)


def figures_tuning(table: pd.DataFrame, *, runs: int | None = None, ylabel: str = "value") -> Figure:
    """Draw the importances of the settings, and the value of the trials against each.

    Parameters
    ----------
    table : DataFrame
        As :func:`rhmlib.tuning.read` returns.
    runs : int, optional
        As in :func:`rhmlib.tuning.importances`.
    ylabel : str
        What the value is.

    Returns
    -------
    Figure
        The bars on top, then a panel a setting, in the order of importance.
    """
    shares = importances(table, runs)
    names = [*shares, *(name for name in searched(table) if name not in shares)]
    n_rows = -(-len(names) // _COLUMNS)
    figure = plt.figure(figsize=(9.2, 0.6 + 0.28 * len(shares) + 2.3 * n_rows))
    [[top], [bottom]] = figure.subfigures(
        2, 1, height_ratios=(0.6 + 0.28 * len(shares), 2.3 * n_rows), squeeze=False
    )
    importance_bars(shares, top.subplots())
    axes = bottom.subplots(n_rows, _COLUMNS, sharey=True, squeeze=False)
    for ax, name in zip(axes.flat, names, strict=False):
        slices(table, name, ax, runs=runs)
    for ax in axes.flat[len(names) :]:
        ax.remove()
    for ax in axes[:, 0]:
        ax.set_ylabel(ylabel)
    return figure


def by_setting(table: pd.DataFrame, *, runs: int, good: float) -> pd.DataFrame:
    """What low and high values of each setting do to the value and to its reliability.

    Parameters
    ----------
    table : DataFrame
        As :func:`rhmlib.tuning.read` returns.
    runs : int
        Trials are judged after so many runs, which all have done.
    good : float
        A value from which a trial counts as a success.

    Returns
    -------
    DataFrame
        A row a setting and half of the values that were tried: range, trials, mean and lowest value,
        share of trials that are `good`. Settings of few values have a row a value.
    """
    values, rows = values_after(table, runs), []
    for name in searched(table):
        at = table[name]
        if at.nunique() <= 4 or not pd.api.types.is_numeric_dtype(at):
            groups = {
                f"{value:g}" if isinstance(value, float) else str(value): at == value
                for value in sorted(at.unique())
            }
        else:
            low, high = at <= at.median(), at > at.median()
            groups = {f"{at[part].min():.2g} to {at[part].max():.2g}": part for part in (low, high)}
        for words, part in groups.items():
            found = values[part.to_numpy()]
            rows.append(
                (name, words, len(found), np.nanmean(found), np.nanmin(found), np.mean(found >= good))
            )
    columns = ["setting", "value", "trials", "mean", "lowest", f"reach {good:g}"]
    return pd.DataFrame(rows, columns=columns).set_index(["setting", "value"])
