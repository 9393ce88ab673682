"""Figures of result tables: pure functions from a table to axes, in one style."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import (
    FixedLocator,
    LogFormatterMathtext,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from rhmlib.fits import Collapse, Curve, Estimate, threshold

# typing: matplotlib lists every key as a literal.
STYLE: Any = {
    "figure.figsize": (6.4, 4.0),
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": "tight",
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "image.cmap": "viridis",
}

# Okabe and Ito's palette: told apart by readers with any common colour vision.
LEARNER_COLORS = {
    "supervised": "#CC79A7",
    "tokens": "#D55E00",
    "latents": "#0072B2",
    "ilc": "#0072B2",
    "slc": "#009E73",
    "data2vec": "#E69F00",
}
# Okabe and Ito's eight, the pale ones darkened so that they can be told from white: one a parent.
PARENT_COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#C98A00", "#B8568F", "#4FA3D1", "#8A8000")
_M_RANGE = (2, 10)
# Levels, from the leaves to the root: ever lighter, all at 3:1 or more on white, and neighbours told apart
# with any common colour vision, for trees of up to six levels.
_LEVELS = LinearSegmentedColormap.from_list("levels", ["#1A0F24", "#10109A", "#6038DD", "#BB2A1C", "#D4791B"])


def use_style() -> None:
    """Set the book's style for the notebook that calls this."""
    mpl.rcParams.update(STYLE)


@contextmanager
def style() -> Iterator[None]:
    """Use the book's style inside a ``with`` block."""
    with mpl.rc_context(STYLE):
        yield


def m_color(m: float) -> tuple[float, float, float, float]:
    """Return the colour that stands for `m` rules a symbol everywhere: dark = few, bright = many."""
    low, high = np.log(_M_RANGE)
    return plt.get_cmap("viridis")(float(np.clip(0.92 * (np.log(m) - low) / (high - low), 0, 0.92)))


def level_color(level: int, L: int) -> tuple[float, float, float, float]:
    """Return the colour of a level: from the leaves (0) to the root (L)."""
    return _LEVELS(level / max(1, L))


def ink_on(color: Any) -> str:
    """Return "white" or "black", whichever has the higher contrast on a colour (by WCAG's luminance)."""
    part = np.array(to_rgb(color))
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


def write_values(
    image: AxesImage,
    values: ArrayLike,
    *,
    text: Callable[[float], str] = "{:.2f}".format,
    fontsize: float | None = None,
) -> None:
    """Write the number of each cell on a coloured table, in white or black; cells that are NaN stay empty.

    Parameters
    ----------
    image : AxesImage
        As ``imshow`` returns of the same values.
    values : array, shape (rows, columns)
    text : callable value -> str
    fontsize : float, optional
    """
    for (i, j), value in np.ndenumerate(np.asarray(values, dtype=float)):
        if not np.isnan(value):
            color = ink_on(image.cmap(image.norm(value)))
            image.axes.text(j, i, text(value), ha="center", va="center", color=color, fontsize=fontsize)


def error_bars(mean: ArrayLike, half: ArrayLike, *, low: float = 0, high: float = 1) -> NDArray[np.float64]:
    """Lengths of the bars mean - half .. mean + half, cut where the quantity cannot be.

    Parameters
    ----------
    mean, half : array, shape (n,)
    low, high : float
        What the quantity is confined to: an accuracy to 0 and 1.

    Returns
    -------
    array, shape (2, n)
        Below and above the mean, as ``errorbar`` takes them.
    """
    at, length = np.asarray(mean, dtype=float), np.asarray(half, dtype=float)
    return np.maximum(0, np.stack([np.minimum(length, at - low), np.minimum(length, high - at)]))


def interval_bars(groups: Any, *, low: float = 0, high: float = 1) -> NDArray[np.float64]:
    """Lengths of 95 % bars of group means, by Student's t: of three grammars 4.3 standard errors, not 2.

    Parameters
    ----------
    groups : SeriesGroupBy
        A value a grammar.
    low, high : float
        As of :func:`error_bars`.

    Returns
    -------
    array, shape (2, groups)
        NaN where a group has one value alone.
    """
    half = student.ppf(0.975, groups.count() - 1) * groups.sem()
    return error_bars(groups.mean(), half, low=low, high=high)


class _FewDecades(LogLocator):
    """Powers of ten; where less than two of them are in view, 1, 2 and 5 (or 1 and 3) times these."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        low, high = sorted((vmin, vmax))
        if low > 0:
            within = np.floor(np.log10(high) + 1e-9) - np.ceil(np.log10(low) - 1e-9) + 1
            wide = np.log10(high / low) > 1.4
            self.set_params(subs=(1.0,) if within >= 2 else (1.0, 3.0) if wide else (1.0, 2.0, 5.0))
        return super().tick_values(vmin, vmax)


class _PlainBetweenPowers(LogFormatterMathtext):
    """Powers of ten as powers; plain numbers where a tick is none, on all ticks of the axis."""

    _shown: Any = ()  # matplotlib's own attribute for the ticks is deprecated

    def set_locs(self, locs: Any = None) -> None:
        super().set_locs(locs)
        self._shown = () if locs is None else locs

    def __call__(self, x: float, pos: int | None = None) -> str:
        axis: Any = self.axis
        low, high = sorted(axis.get_view_interval())
        powers = [np.log10(at) for at in self._shown if low <= at <= high]
        if np.allclose(powers, np.rint(powers), atol=1e-6):
            return super().__call__(x, pos)
        return f"{x:,.10g}"


def log_ticks(axis: Axis) -> None:
    """Label a logarithmic axis of base ten, be it short: never by a single number, and the rest bare ticks.

    Parameters
    ----------
    axis : Axis
        Such as ``ax.xaxis``, of logarithmic scale.
    """
    axis.set_major_locator(_FewDecades())
    axis.set_major_formatter(_PlainBetweenPowers())
    axis.set_minor_formatter(NullFormatter())


def _label(key: Any, curve: Curve) -> str:
    return f"$m={curve.m:g}$"


def _interval_of_mean(curve: Curve, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap interval of the mean over grammars; a fixed seed, so that a figure is a function."""
    rng = np.random.default_rng(0)
    draws = np.array([curve.resample(rng) for _ in range(400)])
    tail = 50 * (1 - confidence)
    low, high = np.percentile(draws, [tail, 100 - tail], axis=0)
    return low, high


def accuracy_curves(
    curve_of: Mapping[Any, Curve],
    ax: Axes,
    *,
    k: float | None = None,
    label: Callable[[Any, Curve], str] = _label,
    color: Callable[[Any, Curve], Any] = lambda key, curve: m_color(curve.m),
    level_line: float | None = None,
    ylabel: str = "accuracy (Hungarian)",
) -> None:
    """Draw accuracy against P, or against P / (v m**k), one curve a key.

    Parameters
    ----------
    curve_of : mapping to Curve
        As :func:`rhmlib.fits.curves` returns.
    ax : Axes
    k : float, optional
        Exponent of the rescaled axis; None for the raw one.
    label, color : callables (key, curve)
    level_line : float, optional
        An accuracy to mark with a dotted line.
    ylabel : str

    Notes
    -----
    Points: mean over grammars. Bands: 95 % bootstrap interval of that mean.
    """
    for key, curve in curve_of.items():
        x = curve.sizes if k is None else curve.sizes / (curve.v * curve.m**k)
        low, high = _interval_of_mean(curve)
        (line,) = ax.plot(x, curve.mean(), marker="o", color=color(key, curve), label=label(key, curve))
        ax.fill_between(x, low, high, color=line.get_color(), alpha=0.18, linewidth=0)
    if level_line is not None:
        ax.axhline(level_line, color="0.4", linestyle=":", linewidth=1)
    ax.set(xscale="log", ylim=(0, 1.03), ylabel=ylabel)
    log_ticks(ax.xaxis)
    ax.set_xlabel("$P$ (strings)" if k is None else f"$P\\,/\\,v\\,m^{{{k:.3g}}}$")


def raw_and_rescaled(
    curve_of: Mapping[Any, Curve],
    k: float,
    *,
    title: str = "",
    level_line: float | None = None,
    ylabel: str = "accuracy (Hungarian)",
) -> Figure:
    """Draw accuracy against P and, beside it, against P / (v m**k)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.7), sharey=True)
    accuracy_curves(curve_of, left, level_line=level_line, ylabel=ylabel)
    accuracy_curves(curve_of, right, k=k, level_line=level_line)
    right.set_ylabel("")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", fontsize=9)
    if title:
        figure.suptitle(title)
    return figure


def level_panels(curves_of_level: Mapping[int, Mapping[Any, Curve]], k: float | None) -> Figure:
    """Draw one panel a level, all against P / (v m**k) (raw P where k is None)."""
    width = 3.3 * len(curves_of_level)
    figure, axes = plt.subplots(1, len(curves_of_level), figsize=(width, 3.4), sharey=True, squeeze=False)
    for ax, (level, curve_of) in zip(axes[0], curves_of_level.items(), strict=True):
        accuracy_curves(curve_of, ax, k=k)
        ax.set_title(f"level {level}")
        ax.label_outer()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", fontsize=9)
    return figure


def collapse_quality(fits: Mapping[str, Collapse], ax: Axes, *, marks: Mapping[str, float]) -> None:
    """Draw the spread of the rescaled curves against the exponent k, with its best value and interval.

    Parameters
    ----------
    fits : mapping of label to Collapse
    ax : Axes
    marks : mapping of text to exponent
        Exponents to mark with vertical lines, such as ``{"$m^3$": 3}``.
    """
    for (name, fit), color in zip(fits.items(), ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=False):
        (line,) = ax.plot(fit.grid, np.sqrt(fit.spread), color=color, label=f"{name}: k = {fit.k}")
        if fit.k.identified:
            ax.axvspan(fit.k.low, fit.k.high, color=line.get_color(), alpha=0.15, linewidth=0)
    for text, k in marks.items():
        ax.axvline(k, color="0.4", linestyle="--", linewidth=1)
        ax.annotate(text, (k, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom", color="0.3")
    ax.set(xlabel="exponent $k$", ylabel="spread (r.m.s. accuracy)", ylim=(0, None))
    # Below the axes: curves and marks leave no room inside.
    ax.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)


def thresholds(
    series: Mapping[str, tuple[list[float], list[Estimate]]],
    ax: Axes,
    *,
    slope: float | None = None,
    xlabel: str = "$m$",
    ylabel: str = "$P^*$",
    colors: Mapping[str, str] | None = None,
) -> None:
    """Draw thresholds with intervals against m (or another variable) on logarithmic axes.

    Parameters
    ----------
    series : mapping of label to (x, estimates)
        Estimates that are not identified are left out.
    ax : Axes
    slope : float, optional
        Draw a dashed line of this power through the first series' last point.
    """
    palette = dict(zip(series, ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"), strict=False))
    palette.update(colors or {})
    for name, (x, estimates) in series.items():
        kept = [(a, e) for a, e in zip(x, estimates, strict=True) if e.identified]
        if not kept:
            continue
        at, y = [a for a, _ in kept], [e.value for _, e in kept]
        error = [[e.value - e.low for _, e in kept], [e.high - e.value for _, e in kept]]
        ax.errorbar(at, y, yerr=error, marker="o", capsize=3, label=name, color=palette[name], linestyle="-")
    first = next(iter(series.values()))
    kept = [(a, e) for a, e in zip(*first, strict=True) if e.identified]
    if slope is not None and kept:
        x_line = np.array([kept[0][0], kept[-1][0]], dtype=float)
        y_line = kept[-1][1].value * (x_line / x_line[-1]) ** slope
        ax.plot(x_line, y_line, color="0.3", linestyle="--", linewidth=1.2, label=f"slope {slope:g}")
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    ticks = sorted({a for x, _ in series.values() for a in x})
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.legend(fontsize=9)


def known_and_beyond(
    ax: Axes, x: pd.Series, table: pd.DataFrame, *, color: Any, marker: str, label: str, **line: Any
) -> None:
    """Draw thresholds: those that are known with bars, and as arrows those beyond the sizes that were run.

    Parameters
    ----------
    ax : Axes
    x : Series
        Where, on the index of `table`.
    table : DataFrame
        As :func:`rhmlib.separation.thresholds` returns: strings, low, high, least, most. Points without an
        interval are left open.
    color, marker, label
        `label` is of the known ones, or of the others where none is.
    **line
        Of the line through known points, for ``ax.errorbar``.
    """
    strings, known = table["strings"], table["low"].notna()
    if known.any():
        y = strings[known]
        bars = np.maximum([y - table["low"][known], table["high"][known] - y], 0)
        ax.errorbar(x[known], y, yerr=bars, color=color, marker=marker, capsize=2, label=label, **line)
    loose = ~known & np.isfinite(strings) & (strings > 0)
    open_points = {
        "most": (strings == np.inf, "^", 9),
        "least": (strings == 0, "v", 9),
        "strings": (loose, marker, None),
    }
    for column, (there, shape, size) in open_points.items():
        if there.any():
            ax.plot(
                x[there], table[column][there], shape, color=color, markerfacecolor="none", markersize=size,
                label=None if known.any() else label,
            )  # fmt: skip


def depth_thresholds(
    by_depth: Mapping[str, Mapping[Any, Curve]], accuracy: float, ax: Axes, *, rng: np.random.Generator
) -> None:
    """Draw P* in units of v m**3 against depth, with the law of token prediction for comparison.

    Parameters
    ----------
    by_depth : mapping of learner to (mapping of (L,) to Curve)
    accuracy : float
        Accuracy that defines P*.
    ax : Axes
    rng : numpy.random.Generator
        Of the bootstrap.
    """
    palette = (LEARNER_COLORS["latents"], LEARNER_COLORS["slc"], LEARNER_COLORS["data2vec"])
    lowest: list[tuple[float, float, float]] = []
    for color, (name, curve_of) in zip(palette, by_depth.items(), strict=False):
        rows = [(key[0], c, threshold(c, accuracy, rng)) for key, c in curve_of.items()]
        kept = [(L, e.value, e.low, e.high, c.v * c.m**3, c.m) for L, c, e in rows if e.identified]
        if not kept:
            continue
        L, value, low, high, unit, m = (np.array(column, dtype=float) for column in zip(*kept, strict=True))
        error = np.array([value - low, high - value]) / unit
        ax.errorbar(L, value / unit, yerr=error, marker="o", capsize=3, color=color, label=name)
        lowest.append((L[0], value[0] / unit[0], m[0]))
    if lowest:
        start, y, m_line = min(lowest, key=lambda item: item[1])
        end = start + 5
        ax.plot(
            [start, end], [y, y * m_line ** (end - start)],
            color=LEARNER_COLORS["tokens"], linestyle="--", label="token prediction: $m$ a level",
        )  # fmt: skip
    ax.set(yscale="log", xlabel="depth $L$", ylabel="$P^*\\,/\\,v\\,m^3$")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(fontsize=9)


def separation(table: pd.DataFrame, ax: Axes) -> None:
    """Draw the separation constant of many grammars against m, one colour a target mode.

    Parameters
    ----------
    table : DataFrame
        Columns m, targets, c_sep; a row a grammar.
    ax : Axes
    """
    shift = {"one": -0.12, "all": 0.12}
    rng = np.random.default_rng(0)
    for name, color in (("one", LEARNER_COLORS["tokens"]), ("all", LEARNER_COLORS["latents"])):
        part = table[table["targets"] == name]
        x = part["m"] + shift[name] + rng.uniform(-0.07, 0.07, len(part))
        ax.plot(x, part["c_sep"], "o", color=color, alpha=0.6, label=f'targets="{name}"')
    ax.axhline(0, color="0.4", linewidth=1)
    ax.set(xlabel="$m$", ylabel="separation $c_{\\mathrm{sep}}$", ylim=(-0.05, None))
    ax.legend(fontsize=9)


def signals_against_rules(table: pd.DataFrame, ax: Axes, *, m: int) -> None:
    """Draw relative signals against the number of rules on the way, for one m: Fig. 1 as a measurement.

    Parameters
    ----------
    table : DataFrame
        As :func:`rhmlib.signals.signal_table` returns.
    ax : Axes
    m : int
    """
    part = table[table["m"] == m]
    rules = np.arange(part["rules"].min(), part["rules"].max() + 1)
    ax.plot(rules, float(m) ** -rules, color="0.4", linestyle="--", linewidth=1.2, label="$m^{-r}$")
    marks = {"supervised": ("s", -0.12), "tokens": ("^", 0.0), "latents": ("o", 0.12)}
    for setting, (mark, shift) in marks.items():
        group = part[part["setting"] == setting].groupby(["level", "rules"])["signal"]
        mean, low, high = group.mean(), group.quantile(0.1), group.quantile(0.9)
        x = mean.index.get_level_values("rules").to_numpy() + shift
        error = [mean - low, high - mean]
        color = LEARNER_COLORS[setting]
        ax.errorbar(x, mean, yerr=error, marker=mark, linestyle="", color=color, capsize=2, label=setting)
    ax.set(yscale="log", xlabel="rules on the way, $r$", ylabel="relative signal $|c(u)-p|^2$")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(fontsize=9)


def strings_against_level(table: pd.DataFrame, ax: Axes, *, m: int, v: int) -> None:
    """Draw v m / signal against the level that is learned, for the three settings and one m."""
    part = table[table["m"] == m]
    for setting, mark in (("supervised", "s"), ("tokens", "^"), ("latents", "o")):
        mean = part[part["setting"] == setting].groupby("level")[["strings", "rules"]].mean()
        color = LEARNER_COLORS[setting]
        ax.plot(mean.index + 1, mean["strings"], marker=mark, color=color, label=setting)
        ax.plot(mean.index + 1, v * float(m) ** (mean["rules"] + 1), color=color, linestyle="--", linewidth=1)
    ax.set(yscale="log", xlabel="level $\\ell$ that is learned", ylabel="strings $v\\,m\\,/\\,$signal")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(fontsize=9)


def signal_against_distance(table: pd.DataFrame, ax: Axes, *, m: int, f: float) -> None:
    """Draw token-token signals against tree distance: exact, counted, and (1 - f) m^-r.

    Parameters
    ----------
    table : DataFrame
        As :func:`rhmlib.signals.distance_table` returns.
    ax : Axes
    m : int
    f : float
    """
    group = table.groupby("distance")
    exact_mean, counted = group["exact"].mean(), group["counted"].mean()
    error = group["counted"].std() / np.sqrt(group["counted"].count())
    x = exact_mean.index.to_numpy(float)
    ax.plot(x, exact_mean, "o-", color=LEARNER_COLORS["latents"], label="exact")
    shown = counted > error
    ax.errorbar(
        x[shown] + 0.12, counted[shown], yerr=error[shown],
        fmt="s", capsize=2, color=LEARNER_COLORS["tokens"], label="counted",
    )  # fmt: skip
    ax.plot(x, (1 - f) * float(m) ** -(x - 1), color="0.4", linestyle="--", label="$(1-f)\\,m^{-(d-1)}$")
    ax.set(yscale="log", xlabel="tree distance $d$ of two tokens", ylabel="relative signal")
    ax.legend(fontsize=9)


def exact_against_counted(table: pd.DataFrame, ax: Axes) -> None:
    """Draw counted covariances with their standard errors against the exact ones."""
    ax.errorbar(
        table["exact"], table["counted"], yerr=table["error"],
        fmt="o", markersize=3, elinewidth=0.7, alpha=0.5, color=LEARNER_COLORS["latents"],
    )  # fmt: skip
    span = np.array([table["exact"].min(), table["exact"].max()])
    ax.plot(span, span, color="0.3", linestyle="--", linewidth=1)
    ax.set(xlabel="exact $C(u, z)$", ylabel="counted $C(u, z)$")


def norm_ratios(table: pd.DataFrame, ax: Axes) -> None:
    """Draw |mu_a - p|^2 in units of (1 - f) / m^2 against f: a dot a grammar and level."""
    deepest = int(table["level"].max())
    for level, part in table.groupby("level"):
        shift = 1 + 0.02 * (int(level) - deepest / 2)
        color = level_color(int(level), deepest + 1)
        ax.plot(part["f"] * shift, part["ratio"], "o", color=color, alpha=0.35, markersize=3)
        mean = part.groupby("f")["ratio"].mean()
        ax.plot(mean.index * shift, mean, color=color, label=f"level {level}")
    ax.axhline(1, color="0.4", linestyle="--", linewidth=1)
    ticks = sorted(table["f"].unique())
    ax.set(xscale="log", xlabel="$f = m / v^{s-1}$", ylabel="$|\\mu_a-p|^2\\; m^2/(1-f)$", ylim=(0, None))
    ax.set_xticks(ticks, [f"{f:.3g}" for f in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.legend(fontsize=9)


def tails(samples: Mapping[int, np.ndarray], bound: Callable[[np.ndarray], np.ndarray], ax: Axes) -> None:
    """Draw empirical tails P(X > x), one a count N, and a bound.

    Parameters
    ----------
    samples : mapping of N to array of draws
    bound : callable x -> probability
    ax : Axes
    """
    top = max(float(x.max()) for x in samples.values())
    grid = np.linspace(0, max(3.5, top), 300)
    for (N, draws), color in zip(samples.items(), ("#56B4E9", "#0072B2", "#003B5C"), strict=False):
        tail = np.array([(draws > x).mean() for x in grid])
        ax.plot(grid[tail > 0], tail[tail > 0], color=color, label=f"$N={N}$")
    ax.plot(grid, bound(grid), color="0.3", linestyle="--", label="bound")
    ax.set(yscale="log", ylim=(1e-4, 1.5), xlabel="$x$", ylabel="$\\Pr(\\sqrt{N}\\,|\\hat c-c|>x)$")
    ax.legend(fontsize=9)


def stability(radii: np.ndarray, success: Mapping[str, list[float]], ax: Axes) -> None:
    """Draw the success rate of k-means against the displacement of its points."""
    colors = (LEARNER_COLORS["latents"], LEARNER_COLORS["tokens"])
    for (name, rates), color, line in zip(success.items(), colors, ("-", "--"), strict=False):
        ax.plot(radii, rates, marker="o", linestyle=line, color=color, label=name)
    ax.axvline(1 / 8, color="0.4", linestyle=":", linewidth=1.2)
    ax.annotate(
        "1/8", (1 / 8, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom", color="0.3"
    )
    ax.set(xlabel="displacement $\\epsilon\\,/\\,\\Delta$", ylabel="partition found", ylim=(-0.03, 1.05))
    ax.legend(fontsize=9)


def assumption_map(table: pd.DataFrame) -> Figure:
    """Draw the fraction of grammars for which Assumption 1 holds, over (s, v) and m, a panel a target mode.

    Parameters
    ----------
    table : DataFrame
        As :func:`rhmlib.proof.constants_table` returns, of one L.
    """
    modes = [name for name in ("one", "all") if (table["targets"] == name).any()]
    figure, axes = plt.subplots(1, len(modes), figsize=(4.8 * len(modes), 3.2), squeeze=False)
    for ax, name in zip(axes[0], modes, strict=True):
        part = table[table["targets"] == name]
        wide = part.pivot_table(index=["s", "v"], columns="m", values="holds", aggfunc="mean")
        write_values(ax.imshow(wide, cmap="cividis", vmin=0, vmax=1, aspect="auto"), wide)
        ax.set_xticks(range(len(wide.columns)), wide.columns)
        ax.set_yticks(range(len(wide.index)), [f"$v={v}$, $s={s}$" for s, v in wide.index])
        ax.set(xlabel="$m$", title=f'targets="{name}"')
        ax.grid(visible=False)
    return figure


def constants_against_m(table: pd.DataFrame) -> Figure:
    """Draw Assumption 1's two constants against m: median and 10-90 % range over grammars."""
    figure, axes = plt.subplots(1, 2, figsize=(9.2, 3.4))
    colors = {"one": LEARNER_COLORS["tokens"], "all": LEARNER_COLORS["latents"]}
    names = {"c_bal": "$c_{\\mathrm{bal}}$", "c_sep": "$c_{\\mathrm{sep}}$"}
    for ax, (column, label) in zip(axes, names.items(), strict=True):
        for mode, part in table.groupby("targets"):
            group = part.groupby("m")[column]
            middle, low, high = group.median(), group.quantile(0.1), group.quantile(0.9)
            error = [middle - low, high - middle]
            ax.errorbar(
                middle.index, middle, yerr=error, marker="o", capsize=3, color=colors[mode], label=mode
            )
        ax.set(xlabel="$m$", ylabel=label, ylim=(-0.03, None))
    axes[0].legend(title="targets", fontsize=9)
    return figure


def bound_against_measurement(table: pd.DataFrame, v: int, ax: Axes) -> None:
    """Draw measured thresholds and Theorem 2's bound against m.

    Parameters
    ----------
    table : DataFrame
        Columns m, measured, bound and typical.
    v : int
        For the line v m**3 / (1 - m / v), s = 2.
    ax : Axes
    """
    m = table["m"].to_numpy(float)
    ax.plot(m, table["bound"], "s-", color=LEARNER_COLORS["tokens"], label="bound, own constants")
    ax.plot(m, table["typical"], "^-", color=LEARNER_COLORS["data2vec"], label="bound, constants = 1")
    ax.plot(m, table["measured"], "o-", color=LEARNER_COLORS["latents"], label="measured (95 %)")
    ax.plot(m, v * m**3 / (1 - m / v), color="0.3", linestyle="--", label="$v\\,m^3/(1-f)$")
    ax.set(xscale="log", yscale="log", xlabel="$m$", ylabel="strings")
    ax.set_xticks(m, [f"{x:g}" for x in m])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.legend(fontsize=9)


def predicted_against_measured(table: pd.DataFrame, ax: Axes, *, factor: float = 1.5) -> None:
    """Draw predicted against measured thresholds, in units of v m**3, with a band of a factor each way.

    Parameters
    ----------
    table : DataFrame
        Columns targets, m, measured, low, high and predicted, thresholds in units of v m**3.
    ax : Axes
    factor : float
    """
    marks = {"one": "s", "all": "o"}
    for (targets, m), part in table.groupby(["targets", "m"]):
        error = [part["measured"] - part["low"], part["high"] - part["measured"]]
        ax.errorbar(
            part["measured"], part["predicted"], xerr=error,
            fmt=marks[targets], color=m_color(m), capsize=2, linestyle="",
            label=f"$m={m:g}$" if targets == "all" else None,
        )  # fmt: skip
    values = table[["measured", "predicted"]].to_numpy(float)
    span = np.array([values.min() / 1.4, values.max() * 1.4])
    ax.plot(span, span, color="0.3", linewidth=1)
    ax.fill_between(span, span / factor, span * factor, color="0.5", alpha=0.15, linewidth=0)
    ax.set(
        xscale="log", yscale="log", xlabel="measured $P^*/\\,v\\,m^3$", ylabel="predicted $P^*/\\,v\\,m^3$"
    )
    ax.set(xlim=span, ylim=span)
    ax.legend(fontsize=9, loc="upper left")


def curves_with_prediction(
    measured: Mapping[Any, Curve], predicted: Mapping[Any, Curve], ax: Axes, *, k: float = 3
) -> None:
    """Draw measured accuracies (points) and predicted ones (lines) against P / (v m**k)."""
    for key, curve in measured.items():
        low, high = _interval_of_mean(curve)
        mean, color = curve.mean(), m_color(curve.m)
        x = curve.sizes / (curve.v * curve.m**k)
        ax.errorbar(x, mean, yerr=[mean - low, high - mean], fmt="o", color=color, label=f"$m={curve.m:g}$")
        known = predicted[key]
        ax.plot(known.sizes / (known.v * known.m**k), known.mean(), "-", color=color, linewidth=1.4)
    ax.set(xscale="log", ylim=(0, 1.03), ylabel="accuracy (Hungarian)", xlabel=f"$P\\,/\\,v\\,m^{{{k:g}}}$")
    log_ticks(ax.xaxis)
