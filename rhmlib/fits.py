"""From accuracies to thresholds, exponents and the quality of a collapse, each with an interval.

Where the eye judges that curves fall on one another, these functions give a number: the exponent k
for which accuracy is most nearly one function of P / (v m**k), how sure that is, and how much worse
a rival exponent does. Intervals are percentile bootstraps over grammars: a grammar is the unit of
chance, and its accuracies at all sizes are kept together (see :func:`draw_grammars`). Where the data do not
determine a number, the answer says so instead of giving one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

Floats = NDArray[np.float64]

# A bootstrap sample of a curve may miss the threshold this often before the curve is left out.
_MAX_CENSORED = 0.05
# Steps of the search for a collapse's exponent.
_COARSE, _FINE = 0.1, 0.01


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, or the reason why there is none.

    Attributes
    ----------
    value, low, high : float
        Estimate and ends of the interval; NaN where not identified (a censored threshold has
        ``value = inf`` or 0: above or below all sizes).
    identified : bool
    reason : str
        Why not, where not; else empty.
    """

    value: float
    low: float
    high: float
    identified: bool = True
    reason: str = ""

    @classmethod
    def missing(cls, reason: str, value: float = math.nan) -> Estimate:
        """Return an estimate that is not identified."""
        return cls(value, math.nan, math.nan, False, reason)

    def contains(self, value: float) -> bool:
        """Tell whether `value` lies inside the interval; False where not identified."""
        return self.identified and self.low <= value <= self.high

    def format(self, digits: int = 2) -> str:
        """Write as ``3.02 [2.95, 3.10]``, or as ``not identified (reason)``; with a true minus sign."""
        if not self.identified:
            return f"not identified ({self.reason})"
        value, low, high = (signed(x, f".{digits}f") for x in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"

    __str__ = format


def signed(value: float, form: str = ".2f") -> str:
    """Write a number with a true minus sign.

    Parameters
    ----------
    value : float
    form : str
        As after the colon of a format; ``"+.2f"`` for a sign in any case.

    Examples
    --------
    >>> signed(-0.256), signed(0.5, "+.1f")
    ('−0.26', '+0.5')
    """
    return f"{value:{form}}".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Curve:
    """Accuracy against the number of strings P, for several grammars of one shape.

    Attributes
    ----------
    sizes : array of float, shape (K,)
        P, ascending and positive.
    accuracy : array of float, shape (G, K)
        One row a grammar; NaN where a run is missing.
    v, m : float
        Symbols and rules a symbol; `m` is the variable of the exponents.
    """

    sizes: Floats
    accuracy: Floats
    v: float
    m: float

    def __post_init__(self) -> None:
        """Check shapes and order."""
        if self.accuracy.ndim != 2 or self.accuracy.shape[1] != len(self.sizes) or not len(self.accuracy):
            raise ValueError(
                "accuracy must have shape (grammars, sizes). "
                f"Found {self.accuracy.shape} with {len(self.sizes)} sizes."
            )
        if (self.sizes <= 0).any() or (np.diff(self.sizes) <= 0).any():
            raise ValueError(f"sizes must be positive and ascending. Found {self.sizes}.")

    def mean(self, rows: NDArray[np.intp] | None = None) -> Floats:
        """Mean accuracy at each size, over all grammars or the given rows, shape (K,)."""
        chosen = self.accuracy if rows is None else self.accuracy[rows]
        with np.errstate(invalid="ignore"):
            return np.nansum(chosen, axis=0) / np.sum(~np.isnan(chosen), axis=0)

    def resample(self, rng: np.random.Generator) -> Floats:
        """Mean accuracy of grammars drawn with replacement, see :func:`draw_grammars`, shape (K,)."""
        return self.mean(draw_grammars(len(self.accuracy), rng))


def curves(
    table: pd.DataFrame,
    by: Sequence[str] = ("v", "m"),
    *,
    metric: str = "hungarian_accuracy",
    size: str = "n",
    unit: str = "grammar_seed",
    fill: bool = False,
) -> dict[tuple[Any, ...], Curve]:
    """Cut a table of runs into curves.

    Parameters
    ----------
    table : DataFrame
        One row a run, of one level and learner; columns `by`, v, m, `size`, `unit` and `metric`.
    by : sequence of str
        Columns that tell the curves apart.
    metric, size, unit : str
        Columns of the accuracies, of P, and of what tells a curve's rows apart.
    fill : bool
        Whether a row that ends early, as a training that has learnt all, keeps its last value.

    Returns
    -------
    dict
        Key: values of `by`; value: :class:`Curve`.

    Raises
    ------
    ValueError
        If a column is missing, or a run occurs twice (several levels or learners in one table).
    """
    needed = [*by, "v", "m", size, unit, metric]
    missing = sorted(set(needed) - set(table.columns))
    if missing or table.empty:
        raise ValueError(f"table must be non-empty with columns {needed}. Missing: {missing}.")
    out = {}
    for key, part in table.groupby(list(by), sort=True):
        if part.duplicated([size, unit]).any():
            raise ValueError(
                f"table must hold one row a run. Found several for one {size} and {unit} at {key}."
            )
        wide = part.pivot(index=unit, columns=size, values=metric).sort_index(axis=1)
        wide = wide.ffill(axis=1) if fill else wide
        v, m = float(part["v"].iloc[0]), float(part["m"].iloc[0])
        out[key] = Curve(wide.columns.to_numpy(float), wide.to_numpy(float), v, m)
    return out


def crossing(sizes: ArrayLike, mean: ArrayLike, accuracy: float) -> float:
    """Size at which a rising curve reaches an accuracy, interpolated on log P.

    The curve is first made non-decreasing (least squares), so that noise gives no second crossing.

    Parameters
    ----------
    sizes, mean : arrays of shape (K,)
    accuracy : float

    Returns
    -------
    float
        ``inf`` if the curve stays below, 0 if it starts at or above: censored.
    """
    x, y = np.log(np.asarray(sizes, float)), isotonic_regression(np.asarray(mean, float)).x
    above = np.flatnonzero(y >= accuracy)
    if not len(above):
        return math.inf
    i = int(above[0])
    if i == 0:
        return 0.0
    share = (accuracy - y[i - 1]) / (y[i] - y[i - 1])
    return float(np.exp(x[i - 1] + share * (x[i] - x[i - 1])))


def draw_grammars(count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw a bootstrap sample of `count` grammars, one fewer than there are, with replacement.

    Parameters
    ----------
    count : int
        Number of grammars, G.
    rng : numpy.random.Generator

    Returns
    -------
    array of int, shape (G - 1,), or (1,) for one grammar

    Notes
    -----
    The mean of G drawn ones has a variance that is (G-1)/G of what it should be, which for three grammars
    is a third too little; that of G-1 has the right one (P. J. McCarthy and C. B. Snowden, 1985). With so few
    a percentile interval is too narrow all the same: for normal data, intervals of means of 3, 5 and 10
    grammars hold the true one in 75, 88 and 91 % of cases instead of 95, and those of a slope through three
    such means in 87, 90 and 93 %.
    """
    return rng.integers(0, count, size=max(count - 1, 1))


def _bootstrap(function: Callable[[], Any], n: int) -> Floats:
    return np.array([function() for _ in range(n)], dtype=float)


def _interval(values: Floats, confidence: float) -> tuple[float, float]:
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def threshold(
    curve: Curve,
    accuracy: float,
    rng: np.random.Generator,
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> Estimate:
    """P* of one curve: the size at which the mean over grammars reaches `accuracy`.

    Returns
    -------
    Estimate
        Not identified where the mean never reaches the accuracy (value ``inf``), starts above it
        (0), or more than 5 % of the bootstrap samples do.
    """
    if not 0 < accuracy <= 1:
        raise ValueError(f"accuracy must be in (0, 1]. Found accuracy={accuracy}.")
    value = crossing(curve.sizes, curve.mean(), accuracy)
    if value == math.inf:
        return Estimate.missing(f"accuracy {accuracy:g} is never reached", value)
    if value == 0:
        return Estimate.missing(f"accuracy {accuracy:g} is reached at the smallest size", value)
    draws = _bootstrap(lambda: crossing(curve.sizes, curve.resample(rng), accuracy), n_bootstrap)
    censored = ~np.isfinite(draws) | (draws == 0)
    if censored.mean() > _MAX_CENSORED:
        return Estimate.missing(f"{censored.mean():.0%} of resamples do not cross {accuracy:g}", value)
    return Estimate(value, *_interval(draws[~censored], confidence))


def _slope(x: Floats, y: Floats) -> float:
    return float(np.polyfit(x, y, 1)[0])


def exponent(
    curve_of: Mapping[Any, Curve],
    accuracy: float,
    rng: np.random.Generator,
    *,
    variable: Callable[[Any, Curve], float] = lambda key, curve: curve.m,
    log: bool = True,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    max_width: float = 2.0,
) -> Estimate:
    """Fit log P* = a + b log x over curves and return b.

    Parameters
    ----------
    curve_of : mapping to Curve
        As :func:`curves` returns. Curves whose threshold is censored are left out.
    accuracy : float
    rng : numpy.random.Generator
    variable : callable (key, curve) -> float
        x of a curve; by default its m.
    log : bool
        False to fit log P* = a + b x instead (the slope in depth).
    max_width : float
        An interval wider than this counts as not identified.

    Returns
    -------
    Estimate
        Not identified with fewer than three usable values of x, or too wide an interval.
    """
    kept: list[tuple[float, Curve]] = []
    for key, curve in curve_of.items():
        if threshold(curve, accuracy, rng, n_bootstrap=100).identified:
            kept.append((variable(key, curve), curve))
    x = np.array([value for value, _ in kept], dtype=float)
    if len(np.unique(x)) < 3:
        return Estimate.missing(f"{len(np.unique(x))} thresholds found, three are needed")
    x = np.log(x) if log else x
    y = np.log([crossing(c.sizes, c.mean(), accuracy) for _, c in kept])

    def draw() -> float:
        with np.errstate(divide="ignore"):
            sample = np.log([crossing(c.sizes, c.resample(rng), accuracy) for _, c in kept])
        fine = np.isfinite(sample)
        return _slope(x[fine], sample[fine]) if len(np.unique(x[fine])) >= 2 else math.nan

    draws = _bootstrap(draw, n_bootstrap)
    low, high = _interval(draws[~np.isnan(draws)], confidence)
    if high - low > max_width:
        return Estimate.missing(f"interval [{low:.1f}, {high:.1f}] is wider than {max_width:g}")
    return Estimate(_slope(x, y), low, high)


def factor_per_level(
    values: ArrayLike, rng: np.random.Generator, *, n_bootstrap: int = 1000, confidence: float = 0.95
) -> Estimate:
    """Factor by which a mean over grammars falls from one level to the next, on average.

    Parameters
    ----------
    values : array of float, shape (G, K)
        Positive; one row a grammar, one column a level.
    rng : numpy.random.Generator
        Of the bootstrap over grammars.
    n_bootstrap : int
    confidence : float

    Returns
    -------
    Estimate
        Below 1 where the mean rises.

    Raises
    ------
    ValueError
        If there are fewer than two levels, or a value is not positive.
    """
    table = np.asarray(values, dtype=float)
    if table.ndim != 2 or table.shape[1] < 2 or not (table > 0).all():
        raise ValueError(
            "values must be positive, of shape (grammars, levels), with two levels at least. "
            f"Found shape {table.shape}."
        )

    def factor(rows: NDArray[np.intp]) -> float:
        mean = table[rows].mean(axis=0)
        return float((mean[0] / mean[-1]) ** (1 / (len(mean) - 1)))

    count = len(table)
    draws = _bootstrap(lambda: factor(draw_grammars(count, rng)), n_bootstrap)
    return Estimate(factor(np.arange(count)), *_interval(draws, confidence))


def spread(means: Sequence[Floats], log_sizes: Sequence[Floats], log_m: Floats, k: float) -> float:
    """Mean squared distance between curves on the common axis log(P / v) - k log m.

    Every curve is compared, at its own points, with the straight-line interpolation of every other.
    Beyond the other's range only what a rising curve excludes is counted: a value above its first one
    on the left, below its last one on the right. So nothing is assumed of the common form, and
    curves gain nothing by not overlapping.

    Parameters
    ----------
    means, log_sizes : sequences of C arrays of shape (K_c,)
        Mean accuracy, and log(P / v), ascending.
    log_m : array of shape (C,)
    k : float

    Returns
    -------
    float
        Mean over ordered pairs of curves and the points of the first.
    """
    x = [size - k * lm for size, lm in zip(log_sizes, log_m, strict=True)]
    at, y = np.concatenate(x), np.concatenate(means)
    starts = np.cumsum([0, *(len(part) for part in x)])
    weight = np.concatenate([np.full(len(part), 1 / len(part)) for part in x])
    total = 0.0
    for j, (x_j, y_j) in enumerate(zip(x, means, strict=True)):
        # All points at once; those of the curve itself lie on it and add nothing.
        gap = y - np.interp(at, x_j, y_j)
        gap[(at < x_j[0]) & (gap < 0) | (at > x_j[-1]) & (gap > 0)] = 0
        gap[starts[j] : starts[j + 1]] = 0
        total += float(weight @ gap**2)
    return total / (len(x) * (len(x) - 1))


@dataclass(frozen=True)
class Collapse:
    """How well accuracy is one function of P / (v m**k).

    Attributes
    ----------
    k : Estimate
        Exponent of least spread.
    grid, spread : arrays of shape (N,)
        The spread against the exponent.
    rivals : dict of float to Estimate
        For each rival exponent: spread(rival) / spread(best k), with the bootstrap interval of the
        ratio. 1 = as good.
    """

    k: Estimate
    grid: Floats
    spread: Floats
    rivals: dict[float, Estimate]


def collapse(
    curve_of: Mapping[Any, Curve],
    rng: np.random.Generator,
    *,
    rivals: Sequence[float] = (),
    k_range: tuple[float, float] = (0.0, 8.0),
    n_bootstrap: int = 200,
    confidence: float = 0.95,
    max_width: float = 2.0,
) -> Collapse:
    """Find the exponent k that makes curves of different m fall on one another.

    Parameters
    ----------
    curve_of : mapping to Curve
        At least two values of m.
    rng : numpy.random.Generator
    rivals : sequence of float
        Exponents to compare with the best one, such as L + 1.
    k_range : pair of float
        Exponents that are searched, to a hundredth.
    max_width : float
        An interval wider than this, or one that touches the ends of the range, counts as not identified.

    Returns
    -------
    Collapse
        `k` is not identified if no curve rises by 0.3 or more, or there are fewer than two m.

    Notes
    -----
    O(n_bootstrap * curves**2 * sizes). The bootstrap resamples the grammars of each curve.
    """
    chosen = list(curve_of.values())
    log_m = np.log([c.m for c in chosen])
    if len(np.unique(log_m)) < 2:
        return Collapse(Estimate.missing("two values of m are needed"), np.empty(0), np.empty(0), {})
    log_sizes = [np.log(c.sizes / c.v) for c in chosen]
    grid = np.arange(k_range[0], k_range[1] + _COARSE / 2, _COARSE)

    def spreads(means: Sequence[Floats], ks: ArrayLike) -> Floats:
        return np.array([spread(means, log_sizes, log_m, k) for k in np.atleast_1d(ks)])

    def best(means: Sequence[Floats]) -> tuple[float, float]:
        """Exponent of least spread, and that spread: a coarse grid, then a fine one around its best."""
        near = grid[spreads(means, grid).argmin()]
        fine = np.clip(near + np.arange(-_COARSE, _COARSE + _FINE / 2, _FINE), *k_range)
        values = spreads(means, fine)
        return float(fine[values.argmin()]), float(values.min())

    means = [c.mean() for c in chosen]
    whole = spreads(means, grid)
    if max(float(np.ptp(isotonic_regression(y).x)) for y in means) < 0.3:
        return Collapse(Estimate.missing("no curve rises by 0.3"), grid, whole, {})
    draws, ratios = np.empty(n_bootstrap), np.empty((n_bootstrap, len(rivals)))
    for i in range(n_bootstrap):
        sample = [c.resample(rng) for c in chosen]
        draws[i], least = best(sample)
        ratios[i] = spreads(sample, rivals) / least if rivals else ()
    value, least = best(means)
    low, high = _interval(draws, confidence)
    k = Estimate(value, low, high)
    if high - low > max_width or low <= k_range[0] or high >= k_range[1]:
        k = Estimate.missing(f"interval [{low:.1f}, {high:.1f}]")
    worse = {
        float(rival): Estimate(float(spreads(means, rival)[0] / least), *_interval(ratios[:, i], confidence))
        for i, rival in enumerate(rivals)
    }
    return Collapse(k, grid, whole, worse)
