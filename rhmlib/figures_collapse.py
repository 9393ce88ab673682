"""One frame of a collapse: curves against P / (v m**k), and below them how far apart that leaves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from rhmlib.figures import accuracy_curves
from rhmlib.fits import Collapse, Curve, spread

_BEST, _NOW, _LAW = "#0072B2", "#D55E00", "0.45"


def spread_at(curve_of: Mapping[Any, Curve], k: float) -> float:
    """Root mean square distance between the curves on the axis P / (v m**k), in units of accuracy."""
    chosen = list(curve_of.values())
    log_m = np.log([c.m for c in chosen])
    return float(
        np.sqrt(spread([c.mean() for c in chosen], [np.log(c.sizes / c.v) for c in chosen], log_m, k))
    )


def window(curve_of: Mapping[Any, Curve], k: float, exponents: Sequence[float]) -> tuple[float, float]:
    """Limits of the axis P / (v m**k): as many decades at every exponent, so that gaps can be compared.

    Parameters
    ----------
    curve_of : mapping to Curve
    k : float
    exponents : sequence of float
        All those that are to be shown: at each of them every point lies inside.

    Returns
    -------
    low, high : float
        Around the same place of the middle curve at every k.
    """
    ends = np.log([c.sizes[[0, -1]] / c.v for c in curve_of.values()])  # (curves, 2)
    log_m = np.log([c.m for c in curve_of.values()])
    shifted = ends[None] - np.multiply.outer(np.asarray(exponents, float), log_m - log_m.mean())[..., None]
    margin = 0.04 * np.ptp(shifted)
    limits = np.array([shifted.min() - margin, shifted.max() + margin]) - k * log_m.mean()
    return float(np.exp(limits[0])), float(np.exp(limits[1]))


def rescaled_with_spread(
    curve_of: Mapping[Any, Curve],
    fit: Collapse,
    k: float,
    exponents: Sequence[float],
    *,
    laws: Mapping[str, float],
    ylabel: str = "accuracy (Hungarian)",
) -> Figure:
    """Draw accuracy against P / (v m**k), and under it the spread against the exponent.

    Parameters
    ----------
    curve_of : mapping to Curve
        As :func:`rhmlib.fits.curves` returns.
    fit : Collapse
        As :func:`rhmlib.fits.collapse` returns, of these curves: the best exponent is marked, its interval
        shaded.
    k : float
        Exponent of this frame: the dot.
    exponents : sequence of float
        Ascending, of all frames.
    laws : mapping of text to exponent
        Marked with dashed lines, such as ``{"$m^3$": 3}``.
    ylabel : str

    Returns
    -------
    Figure
        Of one layout, whatever k is.
    """
    figure = plt.figure(figsize=(5.2, 4.4), layout="none")
    above, below = figure.subplots(
        2, 1, gridspec_kw={"height_ratios": (3, 1), "hspace": 0.5, "left": 0.12, "right": 0.83, "top": 0.97,
                           "bottom": 0.11},
    )  # fmt: skip
    accuracy_curves(curve_of, above, k=k, level_line=0.75, ylabel=ylabel)
    above.set(xlim=window(curve_of, k, exponents), xlabel=f"$P\\,/\\,v\\,m^{{{k:.2f}}}$")
    above.xaxis.set_major_locator(LogLocator(numticks=9))
    above.xaxis.set_minor_locator(NullLocator())
    handles = above.get_legend_handles_labels()
    figure.legend(*handles, loc="upper right", bbox_to_anchor=(1, 0.98), fontsize=9, handlelength=1.2)
    _spread_strip(curve_of, fit, k, exponents, laws, below)
    return figure


def _spread_strip(
    curve_of: Mapping[Any, Curve],
    fit: Collapse,
    k: float,
    exponents: Sequence[float],
    laws: Mapping[str, float],
    ax: Axes,
) -> None:
    ax.plot(fit.grid, np.sqrt(fit.spread), color="0.25", linewidth=1.5)
    if fit.k.identified:
        ax.axvspan(fit.k.low, fit.k.high, color=_BEST, alpha=0.2, linewidth=0)
        ax.axvline(fit.k.value, color=_BEST, linewidth=1.5)
    for text, at in laws.items():
        ax.axvline(at, color=_LAW, linestyle="--", linewidth=1)
        ax.annotate(
            text,
            (at, 1.0),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            fontsize=9,
            color="0.3",
        )
    ax.plot([k], [spread_at(curve_of, k)], "o", color=_NOW, markersize=9, clip_on=False, zorder=5)
    inside = (fit.grid >= exponents[0]) & (fit.grid <= exponents[-1])
    ax.set(xlim=(exponents[0], exponents[-1]), ylim=(0, 1.12 * np.sqrt(fit.spread[inside].max())))
    ax.set(
        ylabel="spread", xlabel=f"exponent $k$  (blue: best, {fit.k})" if fit.k.identified else "exponent $k$"
    )
    ax.yaxis.set_minor_formatter(NullFormatter())
