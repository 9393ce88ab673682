"""Tables of many experiments on one footing: thresholds, ratios and costs, by objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from rhmlib import fits
from rhmlib.grammar import Grammar
from rhmlib.looks import NAMES
from rhmlib.tax import causal_mask, lift, random_masks, strings_needed
from rhmlib.trainings import better_decay, in_step, longest

Readers = dict[str, Callable[[pd.DataFrame], pd.DataFrame]]
KEYS = ["objective", "v", "m", "L"]
# The objectives that are compared run by run.
PAIR = ("data2vec", "mlm")
# Fewer grammars make no interval.
_LEAST_GRAMMARS = 3
_BLOCK = ["objective", "m", "mask_block", "n"]
_COLUMNS = [*KEYS, "n", "grammar_seed", "accuracy", "strings_seen", "seconds"]


def deepest(
    name: str, table: pd.DataFrame, inputs: str = "true", *, equal_steps: bool = True
) -> pd.DataFrame:
    """The runs of one table by how well they know the deepest latent that they can, one row a run.

    Parameters
    ----------
    name : {"token_ilc", "drawn_counts", "pooled_tokens", "slc", "encoder", "latent"}
        Which experiment the rows are of.
    table : DataFrame
        As :func:`rhmlib.results.read` returns.
    inputs : {"true", "recovered"}
        Of `token_ilc`: whether the levels below were given, or found by the learner.
    equal_steps : bool, default=True
        Of `encoder`: of data2vec and masked tokens take the longest training that both had at a number of
        strings; else the longest of each.

    Returns
    -------
    DataFrame
        Columns objective, v, m, L, n, grammar_seed, accuracy, strings_seen, seconds. Clustering: Hungarian
        accuracy of level L-1. Encoders: accuracy of the root's linear probe, as one of level L-1
        is good at L = 3 without any learning; of the better weight decay, if there are several.

    Raises
    ------
    ValueError
        If the experiment, or `inputs`, is not one of these.
    """
    if name not in _READERS:
        raise ValueError(f"name must be one of {', '.join(_READERS)}. Found {name!r}.")
    if inputs not in ("true", "recovered"):
        raise ValueError(f'inputs must be "true" or "recovered". Found inputs={inputs!r}.')
    if name == "token_ilc":
        table = with_inputs(table, inputs)
    readers: Readers = {**_READERS, "encoder": partial(_encoder, equal_steps=equal_steps)}
    return readers[name](table)[_COLUMNS].reset_index(drop=True)


def with_inputs(table: pd.DataFrame, inputs: str) -> pd.DataFrame:
    """Rows of `token_ilc` whose levels below were given ("true") or found by the learner ("recovered")."""
    # A table may have read "true" as a flag.
    return table[table["inputs"].astype(str).str.lower() == inputs]


def _token_ilc(table: pd.DataFrame) -> pd.DataFrame:
    rows = table[table["level"] == table["L"] - 1]
    return rows.assign(objective=rows["targets"], accuracy=rows["hungarian_accuracy"], strings_seen=rows["n"])


def _pooled(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(objective="pooled", accuracy=table["hungarian_accuracy"], strings_seen=table["n"])


def _slc(table: pd.DataFrame) -> pd.DataFrame:
    rows = table[(table["level"] == table["L"] - 1) & (table["checkpoint"] == "best")]
    # A run is a group of replicas that were trained together.
    shared = rows.groupby("config_hash")["replica"].transform("nunique")
    return rows.assign(
        objective="slc",
        accuracy=rows["hungarian_accuracy"],
        grammar_seed=rows["grammar_seed"] + rows["replica"],
        seconds=rows["seconds"] / shared,
    )


def _encoder(table: pd.DataFrame, equal_steps: bool = True) -> pd.DataFrame:
    best = _trained(table, equal_steps)
    best = best[best["level"] == best["L"]]
    return best.assign(accuracy=best["probe_accuracy"])


def _trained(table: pd.DataFrame, equal_steps: bool = True) -> pd.DataFrame:
    """The best checkpoints of tree encoders: of each decay the longest training, then the better decay.

    Data2vec and masked tokens, whose ratio is taken, have equally long ones at each number of strings, unless
    that is not asked for.
    """
    rows = table[(table["architecture"] == "tree") & table["mask_block"].isna() & table["n"].notna()]
    best = rows[rows["checkpoint"] == "best"]
    best = in_step(best, ["v", "m", "L", "n"], PAIR) if equal_steps else best
    return better_decay(longest(best, [*KEYS, "n", "weight_decay"]), [*KEYS, "n"])


def below_root(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The runs of the table `encoder` by a metric of level L-1, one row a run.

    Parameters
    ----------
    table : DataFrame
        As :func:`rhmlib.results.read` returns.
    metric : str
        Column, such as "synonym_score".

    Returns
    -------
    DataFrame
        Columns as those of :func:`deepest`; `accuracy` is the metric.
    """
    best = _trained(table)
    best = best[best["level"] == best["L"] - 1]
    return best.assign(accuracy=best[metric])[_COLUMNS].reset_index(drop=True)


def _latent(table: pd.DataFrame) -> pd.DataFrame:
    plain = (table["contrast"] == "hinge") & (table["schedule"] == "concurrent")
    rows = table[plain & (table["checkpoint"] == "best") & (table["level"] == table["L"])]
    return rows.assign(accuracy=rows["probe_accuracy"])


_READERS: Readers = {
    "token_ilc": _token_ilc,
    "drawn_counts": _token_ilc,
    "pooled_tokens": _pooled,
    "slc": _slc,
    "encoder": _encoder,
    "latent": _latent,
}


def predictions(table: pd.DataFrame) -> pd.DataFrame:
    """Predicted curves of token ILC as if they were runs, of level L-1.

    Parameters
    ----------
    table : DataFrame
        Rows of `token_ilc_prediction`: targets, v, m, L, level, n_over_vm3, grammar_seed,
        hungarian_accuracy. A curve ends where the level is learnt: beyond, its accuracy is 1.

    Returns
    -------
    DataFrame
        As :func:`deepest` returns, without costs.
    """
    rows = table[table["level"] == table["L"] - 1]
    keys = ["targets", "v", "m", "L", "grammar_seed"]
    wide = rows.pivot_table(index=keys, columns="n_over_vm3", values="hungarian_accuracy")
    long = wide.ffill(axis=1).mask(wide.isna(), 1.0).stack().rename("accuracy").reset_index()
    long["n"] = long["n_over_vm3"] * long["v"] * long["m"] ** 3
    long = long.rename(columns={"targets": "objective"})
    return long.assign(strings_seen=np.nan, seconds=np.nan)[_COLUMNS]


def collect(parts: Sequence[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """The runs of several tables, see :func:`deepest`."""
    return pd.concat([deepest(name, table) for name, table in parts], ignore_index=True)


def completed(runs: pd.DataFrame, drawn: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The runs on strings, and where they do not know P* those on drawn counts.

    Parameters
    ----------
    runs, drawn : DataFrame
        As :func:`collect` returns.
    rng : numpy.random.Generator
        Of the bootstrap that tells where P* is known.

    Returns
    -------
    DataFrame
        With one column more, `drawn`: whether a row is of drawn counts. An objective at one v, m and L has
        rows of one kind alone: of strings where :func:`thresholds` has an interval by them, or where no
        counts were drawn.
    """
    known = thresholds(runs, rng).dropna(subset="low")[KEYS].assign(known=True)
    kept = drawn[drawn.merge(known, on=KEYS, how="left")["known"].isna().to_numpy()]
    replaced = kept[KEYS].drop_duplicates().assign(replaced=True)
    rest = runs[runs.merge(replaced, on=KEYS, how="left")["replaced"].isna().to_numpy()]
    return pd.concat([rest.assign(drawn=False), kept.assign(drawn=True)], ignore_index=True)


def accuracies(runs: pd.DataFrame) -> dict[str, dict[tuple[float, ...], tuple[Any, Any]]]:
    """Curves as :func:`rhmlib.figures_encoder.objectives_beside` draws them.

    Parameters
    ----------
    runs : DataFrame
        Of one v; as :func:`collect` returns.

    Returns
    -------
    dict of objective to dict of (m, L) to arrays (K,) and (grammars, K)
        Sizes in units of v m^3, and accuracies.
    """
    out: dict[str, dict[tuple[float, ...], tuple[Any, Any]]] = {}
    for (objective, m, L), part in runs.groupby(["objective", "m", "L"]):
        wide = _wide(part, str(objective))
        unit = float(part["v"].iloc[0]) * float(m) ** 3
        out.setdefault(str(objective), {})[m, L] = (wide.columns.to_numpy(float) / unit, wide.to_numpy())
    return out


def thresholds(
    runs: pd.DataFrame, rng: np.random.Generator, *, accuracy: float = 0.75, n_bootstrap: int = 1000
) -> pd.DataFrame:
    """P* of every objective and shape, with 95 % intervals over grammars.

    Parameters
    ----------
    runs : DataFrame
        As :func:`collect` or :func:`completed` returns.
    rng : numpy.random.Generator
        Of the bootstrap.
    accuracy : float
    n_bootstrap : int

    Returns
    -------
    DataFrame
        Columns objective, v, m, L, strings, low, high, least, most, in order of `NAMES`, and `drawn` if
        the runs have it; `least` and `most` are the sizes that were run. Where the threshold is not
        identified, or of fewer than three grammars, `low` and `high` are NaN; `strings` is then inf (never
        reached), 0 (from the smallest size on) or the crossing of the mean.
    """
    rows = []
    for key, part in runs.groupby(KEYS):
        [curve] = fits.curves(part, by=["m"], metric="accuracy").values()
        found = _threshold(curve, accuracy, rng, n_bootstrap)
        kind = {"drawn": part["drawn"].iloc[0]} if "drawn" in part else {}
        rows.append({**dict(zip(KEYS, key, strict=True)), **found, **kind})
    table = pd.DataFrame(rows)
    order = {name: place for place, name in enumerate(NAMES)}
    return table.sort_values(KEYS, key=lambda c: c.map(order) if c.name == "objective" else c).reset_index(
        drop=True
    )


def _threshold(
    curve: fits.Curve, accuracy: float, rng: np.random.Generator, n_bootstrap: int = 1000
) -> dict[str, float]:
    """P* of a curve with its interval, which two grammars do not make, and the ends of its sizes."""
    found = fits.threshold(curve, accuracy, rng, n_bootstrap=n_bootstrap)
    if len(curve.accuracy) < _LEAST_GRAMMARS:
        found = fits.Estimate.missing("too few grammars", found.value)
    ends = {"least": curve.sizes[0], "most": curve.sizes[-1]}
    return {"strings": found.value, "low": found.low, "high": found.high, **ends}


def growth(
    runs: pd.DataFrame, rng: np.random.Generator, variable: str, *, accuracy: float = 0.75
) -> pd.DataFrame:
    """How P* grows with m (as a power) or with L (as a factor a level), by objective.

    Parameters
    ----------
    runs : DataFrame
        As :func:`collect` returns.
    rng : numpy.random.Generator
    variable : {"m", "L"}
    accuracy : float

    Returns
    -------
    DataFrame
        One row an objective and each value of v and the other variable at which two thresholds are
        known at least: `growth`, its 95 % interval `low`, `high`, which with two thresholds
        is of their ratio, and `over`, the values of the variable, as text.
    """
    if variable not in ("m", "L"):
        raise ValueError(f'variable must be "m" or "L". Found variable={variable!r}.')
    other = "L" if variable == "m" else "m"
    rows = []
    for key, part in runs.groupby(["objective", "v", other]):
        found = _growth(part, variable, accuracy, rng)
        if found is not None:
            rows.append({**dict(zip(["objective", "v", other], key, strict=True)), **found})
    return pd.DataFrame(rows)


def _growth(
    part: pd.DataFrame, variable: str, accuracy: float, rng: np.random.Generator, n_bootstrap: int = 1000
) -> dict[str, Any] | None:
    """Slope of log P* in log m or in L (then as a factor) over the known thresholds."""
    curve_of = {key[0]: c for key, c in fits.curves(part, by=[variable], metric="accuracy").items()}
    known = {
        x: c
        for x, c in curve_of.items()
        if len(c.accuracy) >= _LEAST_GRAMMARS and fits.threshold(c, accuracy, rng, n_bootstrap=200).identified
    }
    if len(known) < 2:
        return None
    x = np.array(list(known), dtype=float)
    x = np.log(x) if variable == "m" else x

    def slope(means: list[Any]) -> float:
        with np.errstate(divide="ignore"):
            y = np.log(
                [
                    fits.crossing(c.sizes, mean, accuracy)
                    for c, mean in zip(known.values(), means, strict=True)
                ]
            )
        return float(np.polyfit(x, y, 1)[0]) if np.isfinite(y).all() else np.nan

    value = slope([c.mean() for c in known.values()])
    draws = [slope([c.resample(rng) for c in known.values()]) for _ in range(n_bootstrap)]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    found = {"growth": value, "low": float(low), "high": float(high)}
    found = found if variable == "m" else {name: float(np.exp(x)) for name, x in found.items()}
    return {**found, "over": ", ".join(f"{x:g}" for x in sorted(known))}


def costs(runs: pd.DataFrame, *, accuracy: float = 0.75) -> pd.DataFrame:
    """What the cheapest run costs whose grammars know the deepest latent in the mean.

    Parameters
    ----------
    runs : DataFrame
        As :func:`collect` returns.
    accuracy : float

    Returns
    -------
    DataFrame
        For each objective, v, m and L: `n`, the fewest distinct strings of a setting that was run and whose
        mean accuracy reaches the accuracy; there, means over grammars of `strings_seen` (repeats
        counted, up to the best checkpoint) and `seconds` (of one core, evaluation included). Settings
        where none does, or of fewer than three grammars, are left out.
    """
    groups = runs.groupby([*KEYS, "n"], as_index=False)
    means = groups[["accuracy", "strings_seen", "seconds"]].mean()
    grammars = groups["grammar_seed"].nunique()["grammar_seed"]
    good = means[(means["accuracy"] >= accuracy) & (grammars >= _LEAST_GRAMMARS)]
    return good.sort_values("n").groupby(KEYS, as_index=False).first().drop(columns="accuracy")


def ratios(
    runs: pd.DataFrame,
    first: str,
    second: str,
    rng: np.random.Generator,
    *,
    accuracy: float = 0.75,
    n_bootstrap: int = 1000,
    own_sizes: bool = False,
) -> pd.DataFrame:
    """P* of a second objective over that of a first one, on the same grammars and sizes.

    Parameters
    ----------
    runs : DataFrame
        As :func:`collect` returns.
    first, second : str
        Objectives.
    rng : numpy.random.Generator
        Of the bootstrap, which draws grammars, the same ones for both.
    accuracy : float
    n_bootstrap : int
    own_sizes : bool, default=False
        Let each have all sizes that it was run with, where those in common do not enclose both thresholds.

    Returns
    -------
    DataFrame
        For each v, m and L that both have, on the grammars and (if not `own_sizes`) sizes that both have:
        `first` and `second`, the thresholds; `ratio`, `low`, `high`; NaN where a threshold is outside of the
        sizes, and the interval also where there are fewer than three grammars.
    """
    rows = []
    for key, part in runs.groupby(["v", "m", "L"]):
        pair = [_wide(part, name) for name in (first, second)]
        sizes = pair[0].columns.intersection(pair[1].columns)
        seeds = pair[0].index.intersection(pair[1].index)
        if not len(seeds) or (len(sizes) < 2 and not own_sizes):
            continue
        pair = [wide.loc[seeds] if own_sizes else wide.loc[seeds, sizes] for wide in pair]
        found = _ratio(pair, accuracy, rng, n_bootstrap)
        rows.append({**dict(zip(["v", "m", "L"], key, strict=True)), "grammars": len(seeds), **found})
    return pd.DataFrame(rows)


def _ratio(
    pair: Sequence[pd.DataFrame], accuracy: float, rng: np.random.Generator, n_bootstrap: int
) -> dict[str, float]:
    """Thresholds of two sets of curves (grammars by sizes), and their ratio with an interval."""
    curves = [(wide.columns.to_numpy(float), wide.to_numpy()) for wide in pair]

    def crossings(chosen: Any) -> list[float]:
        return [fits.crossing(sizes, np.nanmean(rows[chosen], 0), accuracy) for sizes, rows in curves]

    def ratio(of: list[float]) -> float:
        return of[1] / of[0] if np.isfinite(of).all() and min(of) > 0 else np.nan

    count = len(pair[0])
    first, second = crossings(np.arange(count))
    draws = np.array([ratio(crossings(fits.draw_grammars(count, rng))) for _ in range(n_bootstrap)])
    value = ratio([first, second])
    known = count >= _LEAST_GRAMMARS and np.isfinite(value) and np.isfinite(draws).mean() > 0.95
    low, high = np.nanquantile(draws, [0.025, 0.975]) if known else (np.nan, np.nan)
    return {"first": first, "second": second, "ratio": value, "low": float(low), "high": float(high)}


def _wide(part: pd.DataFrame, objective: str) -> pd.DataFrame:
    rows = part[part["objective"] == objective]
    return rows.pivot_table(index="grammar_seed", columns="n", values="accuracy")


def block_thresholds(
    table: pd.DataFrame, rng: np.random.Generator, *, accuracy: float = 0.75, score: float = 0.5
) -> pd.DataFrame:
    """P* of every level, where one aligned block of s^k tokens is hidden.

    Parameters
    ----------
    table : DataFrame
        Rows of `encoder_blocks` of one architecture and depth.
    rng : numpy.random.Generator
        Of the bootstrap.
    accuracy : float
        Of the root's probe.
    score : float
        Synonym score of the levels below the root.

    Returns
    -------
    DataFrame
        Columns objective, m, block (k), level, strings, low, high (NaN where there is no interval), least,
        most (the sizes that were run), all in units of v m^3; of the longest training with the better
        weight decay at each size. Settings with one size are left out.
    """
    rows = []
    for (objective, m, block, level), part in _under_blocks(table).groupby([*_BLOCK[:3], "level"]):
        if part["n"].nunique() < 2:
            continue
        root = level == part["L"].iloc[0]
        metric, line = ("probe_accuracy", accuracy) if root else ("synonym_score", score)
        [curve] = fits.curves(part, by=["m"], size="n_over_vm3", metric=metric).values()
        row = {"objective": objective, "m": m, "block": int(block), "level": level}
        rows.append({**row, **_threshold(curve, line, rng)})
    columns = ["objective", "m", "block", "level", "strings", "low", "high", "least", "most"]
    return pd.DataFrame(rows, columns=columns)


def block_ratios(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """P* of the root under masked tokens over that under data2vec, where a block of s^k tokens is hidden.

    Parameters
    ----------
    table, rng
        As for :func:`block_thresholds`.

    Returns
    -------
    DataFrame
        As :func:`ratios` returns, for each `block` (k) too.
    """
    best = _under_blocks(table)
    root = best[best["level"] == best["L"]].assign(accuracy=lambda t: t["probe_accuracy"])
    found = [ratios(part, *PAIR, rng).assign(block=int(block)) for block, part in root.groupby("mask_block")]
    return pd.concat(found, ignore_index=True)


def _under_blocks(table: pd.DataFrame) -> pd.DataFrame:
    """The best checkpoints of the longest training with the better weight decay at each size."""
    best = longest(table[table["checkpoint"] == "best"], [*_BLOCK, "weight_decay"])
    return better_decay(best, _BLOCK)


def asked_by_pooling(table: pd.DataFrame) -> pd.DataFrame:
    """Strings v m / S that pooled token ILC is asked for, an argument about scales.

    Parameters
    ----------
    table : DataFrame
        Rows of `pooled_tokens`: v, m, L, grammar_seed, signal.

    Returns
    -------
    DataFrame
        Columns objective, v, m, L, strings, with the mean signal over grammars.
    """
    signal = table.groupby(["v", "m", "L"])["signal"].mean().reset_index()
    strings = signal["v"] * signal["m"] / signal["signal"]
    return signal.assign(objective="pooled", strings=strings).drop(columns="signal")


def asked_by_next_token(
    grammars: Sequence[Grammar], rng: np.random.Generator, *, n: int = 1000
) -> dict[str, float]:
    """Strings v m / S that theory asks for at level L-1, in v m^3, of the next token and under random masks.

    Parameters
    ----------
    grammars : sequence of Grammar
        Of one shape.
    rng : numpy.random.Generator
        Of the strings over which signals are averaged, and of the masks.
    n : int
        So many strings a grammar and mask.

    Returns
    -------
    dict
        By name, with the signal of :func:`rhmlib.tax.lift` averaged over grammars; of the next token also
        over the places of a subtree of height L-1, before which the other half is visible. Masks hide 15 %.
    """
    shape = grammars[0]
    s, top = shape.s, shape.L - 1
    places = range(s**top)
    causal = [
        lift(grammar, top, causal_mask(s, top, place), place, rng=rng, n=n).signal
        for grammar in grammars
        for place in places
    ]
    masks = [random_masks(s, top, 0, 0.15, n, rng) for _ in grammars]
    masked = [lift(g, top, mask, 0, rng=rng, n=n).signal for g, mask in zip(grammars, masks, strict=True)]
    signals = {"ntp": np.mean(causal), "mlm": np.mean(masked)}
    unit = shape.v * shape.m**3
    return {NAMES[name]: strings_needed(shape, float(signal)) / unit for name, signal in signals.items()}


def as_text(table: pd.DataFrame, value: str, digits: int = 1) -> pd.Series:
    """A column with its interval, as ``2.1 [1.9, 2.4]``, or why there is none."""

    def one(row: Mapping[str, float]) -> str:
        x = row[value]
        if np.isnan(row["low"]):
            if x == np.inf:
                return "never"
            return "at once" if x == 0 else "not identified"
        return f"{x:,.{digits}f} [{row['low']:,.{digits}f}, {row['high']:,.{digits}f}]"

    return table.apply(one, axis=1)


def verdict(row: Mapping[str, float], margin: float = 0.1) -> str:
    """What a ratio says whose interval is shown with two decimals, in words.

    An interval of three grammars is too narrow, and between sizes a factor of two apart a threshold is
    interpolated. So a ratio must be clear of 1 by more than its interval says.

    Parameters
    ----------
    row : mapping
        With the ends `low` and `high` of the interval.
    margin : float
        Ratios from 1 / (1 + margin) to 1 + margin count as the same.

    Returns
    -------
    str
        "more strings" or "fewer strings" if all of the interval lies beyond the margin, "as many" if all
        of it lies within, "undecided" if it crosses an end of the margin, "open" if there is none.
    """
    low, high = round(row["low"], 2), round(row["high"], 2)
    least, most = round(1 / (1 + margin), 2), round(1 + margin, 2)
    if np.isnan(low):
        return "open"
    if low > most:
        return "more strings"
    if high < least:
        return "fewer strings"
    return "as many" if least <= low and high <= most else "undecided"
