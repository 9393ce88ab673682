"""What the stacked network's tables say: exponents, with and without 1/(1-f), and kinds of error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from rhmlib import fits
from rhmlib.fits import Curve, Estimate

JUDGES = {"probe": "probe_accuracy", "matching": "hungarian_accuracy"}
# Exponents are looked for in this range: the theory has 3, tokens at most 5 here.
_RANGE = (1.0, 6.0)


def fraction(curve: Curve, s: int = 2) -> float:
    """Grammatical fraction f = m / v^(s-1) of a curve's grammars."""
    return curve.m / curve.v ** (s - 1)


def without_factor(curve_of: Mapping[Any, Curve], s: int = 2) -> dict[Any, Curve]:
    """Put curves against P (1-f): the theorem's factor 1/(1-f) is then divided out of every threshold."""
    return {
        key: replace(curve, sizes=curve.sizes * (1 - fraction(curve, s))) for key, curve in curve_of.items()
    }


def sparse(curve_of: Mapping[Any, Curve], most: float = 0.25, s: int = 2) -> dict[Any, Curve]:
    """Keep the curves with f at most `most`."""
    return {key: curve for key, curve in curve_of.items() if fraction(curve, s) <= most}


def best_of(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the best checkpoints; each replica gets the seed of its own grammar."""
    best = table[table["checkpoint"] == "best"]
    return best.assign(grammar_seed=best["grammar_seed"] + best["replica"])


def top_level(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of level L-1."""
    return table[table["level"] == table["L"] - 1]


# ---------------------------------------------------------------- exponents


def exponents(
    top: pd.DataFrame, rng: np.random.Generator, *, n_bootstrap: int = 200, accuracy: float = 0.75
) -> pd.DataFrame:
    """Fit the exponent of m for each alphabet, depth and judge, in four ways.

    Parameters
    ----------
    top : DataFrame
        Rows of the top level and the best checkpoint, as from :func:`best_of` and :func:`top_level`.
    rng : numpy.random.Generator
        Of the bootstrap over grammars.
    n_bootstrap : int
    accuracy : float
        That defines the thresholds P*.

    Returns
    -------
    DataFrame
        Index v, L, judge. Columns of :class:`rhmlib.fits.Estimate`: "all" (collapse of all m),
        "f <= 1/4" (of those m), "P (1-f)" (of all m, with the factor divided out), "P*" (slope of the
        thresholds in log m); and "spread at 2", "3", "4", "L+1", as multiples of the least one.
    """
    rows = {}
    for (v, L), part in top.groupby(["v", "L"]):
        for judge, metric in JUDGES.items():
            curve_of = fits.curves(part, by=["m"], metric=metric)
            rivals = (2.0, 3.0, 4.0, float(L + 1))

            def fit(chosen: Mapping[Any, Curve], rivals: tuple[float, ...] = ()) -> fits.Collapse:
                return fits.collapse(chosen, rng, rivals=rivals, k_range=_RANGE, n_bootstrap=n_bootstrap)

            whole = fit(curve_of, rivals)
            rows[v, L, judge] = {
                "all": whole.k,
                "f <= 1/4": fit(sparse(curve_of)).k,
                "P (1-f)": fit(without_factor(curve_of)).k,
                "P*": fits.exponent(curve_of, accuracy, rng, n_bootstrap=n_bootstrap),
                **{
                    f"spread at {name}": whole.rivals[k].value if k in whole.rivals else math.nan
                    for name, k in zip(("2", "3", "4", "L+1"), rivals, strict=True)
                },
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["v", "L", "judge"])


def verdict(k: Estimate, value: float = 3) -> str:
    """Say in words where a value lies against an interval."""
    if not k.identified:
        return "not identified"
    if k.contains(value):
        return f"contains {value:g}"
    return f"excludes {value:g}: {'above' if k.low > value else 'below'}"


def gap_in_units(curve_of: Mapping[Any, Curve], power: Callable[[Any], float]) -> float:
    """Root mean square distance of curves on the axis P / (v m^power).

    Parameters
    ----------
    curve_of : mapping to Curve
    power : callable (key) -> float
        May differ between curves, such as the depth of each.

    Returns
    -------
    float
        See :func:`rhmlib.fits.spread`.
    """
    sizes = [np.log(c.sizes / c.v) - power(key) * np.log(c.m) for key, c in curve_of.items()]
    means = [c.mean() for c in curve_of.values()]
    return math.sqrt(fits.spread(means, sizes, np.zeros(len(means)), 0.0))


def threshold_ratio(
    first: Curve,
    second: Curve,
    accuracy: float,
    rng: np.random.Generator,
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> Estimate:
    """Threshold of the second curve over that of the first, with a bootstrap over the grammars of each.

    Returns
    -------
    Estimate
        Not identified where one of the thresholds is not.
    """
    for curve in (first, second):
        found = fits.threshold(curve, accuracy, rng, n_bootstrap=n_bootstrap)
        if not found.identified:
            return found

    def ratio(a: np.ndarray, b: np.ndarray) -> float:
        """NaN where a resample does not cross: few do, as both thresholds are identified."""
        low, high = fits.crossing(first.sizes, a, accuracy), fits.crossing(second.sizes, b, accuracy)
        return high / low if 0 < low < math.inf and 0 < high < math.inf else math.nan

    draws = np.array([ratio(first.resample(rng), second.resample(rng)) for _ in range(n_bootstrap)])
    tail = 50 * (1 - confidence)
    low, high = np.nanpercentile(draws, [tail, 100 - tail])
    return Estimate(ratio(first.mean(), second.mean()), float(low), float(high))


# ---------------------------------------------------------------- kinds of error


def error_parts(table: pd.DataFrame) -> pd.DataFrame:
    """Part the error of the one-to-one matching into confusion and splitting.

    Parameters
    ----------
    table : DataFrame
        Columns hungarian_accuracy and majority_accuracy.

    Returns
    -------
    DataFrame
        The same rows with two more columns, whose sum is 1 - hungarian_accuracy: `confused`, the places whose
        code stands more often for another latent (codes that hold several latents); `split`, the
        places with a code that stands for the right latent, but is not the one matched to it (latents with
        several codes).
    """
    return table.assign(
        confused=1 - table["majority_accuracy"],
        split=table["majority_accuracy"] - table["hungarian_accuracy"],
    )


def thresholds_beside(
    slc: pd.DataFrame, ilc: pd.DataFrame, *, metric: str = "hungarian_accuracy", accuracy: float = 0.75
) -> pd.DataFrame:
    """List SLC's thresholds beside ILC's for every m, depth and level that both have.

    Parameters
    ----------
    slc, ilc : DataFrame
        Rows of one alphabet.
    metric : str
        That SLC is judged by; ILC always by its matching.
    accuracy : float

    Returns
    -------
    DataFrame
        m, L, level, SLC, ILC (strings; NaN where the accuracy is not crossed) and their ratio.
    """
    keys = ["m", "L", "level"]
    mine, other = _crossings(slc, metric, accuracy), _crossings(ilc, "hungarian_accuracy", accuracy)
    rows = [(*key, mine[key], other[key], mine[key] / other[key]) for key in sorted(set(mine) & set(other))]
    return pd.DataFrame(rows, columns=[*keys, "SLC", "ILC", "ratio"])


def _crossings(table: pd.DataFrame, metric: str, accuracy: float) -> dict[tuple[Any, ...], float]:
    """Thresholds by m, L and level; NaN where they are censored."""
    found = {
        key: fits.crossing(curve.sizes, curve.mean(), accuracy)
        for key, curve in fits.curves(
            table.dropna(subset=[metric]), by=["m", "L", "level"], metric=metric
        ).items()
    }
    return {key: size if 0 < size < math.inf else math.nan for key, size in found.items()}


def share_of_splitting(slc: pd.DataFrame, beside: pd.DataFrame) -> pd.DataFrame:
    """Part SLC's error at the sizes where ILC has learnt the level and SLC has not.

    Parameters
    ----------
    slc : DataFrame
        As :func:`error_parts` returns.
    beside : DataFrame
        As :func:`thresholds_beside` returns.

    Returns
    -------
    DataFrame
        m, L and level of the rows that have such sizes, with the mean of `split`, `confused` and
        `codes_used` there.
    """
    out = []
    for row in beside.dropna().itertuples():
        part = slc[(slc["m"] == row.m) & (slc["L"] == row.L) & (slc["level"] == row.level)]
        between = part[(part["n"] >= row.ILC) & (part["n"] <= row.SLC)]
        if len(between):
            means = between[["split", "confused", "codes_used"]].mean()
            out.append({"m": row.m, "L": row.L, "level": row.level, **means})
    return pd.DataFrame(out)


def tally(estimates: Iterable[Estimate], value: float = 3) -> str:
    """Say in one phrase how intervals lie to a value."""
    known = [k for k in estimates if k.identified]
    above, below = sum(k.low > value for k in known), sum(k.high < value for k in known)
    inside = len(known) - above - below
    return f"contains {value:g} in {inside} of {len(known)}, lies above it in {above} and below it in {below}"
