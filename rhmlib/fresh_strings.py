"""What the paper's transformer needs of fresh strings: thresholds, the power of m, and what binds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rhmlib.fits import Curve, Estimate, crossing, curves, exponent, threshold

# The root's accuracy that counts as learnt. Of levels it is a parameter.
ROOT_LEARNT = 0.75
# Where curves of batches of several sizes are compared: the steepest part, which even a short run reaches.
_HALF = 0.5
# What tells a run of the recipe from a control of it.
_RECIPE = {"descent": "muon", "n_masks": 8, "batch_size": 32, "width": 128}


def of_recipe(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the runs of the one recipe on fresh strings; all of them where a table has another shape."""
    same = table["n"].isna()
    for name, value in _RECIPE.items():
        if (table[name] == value).any():
            same &= table[name] == value
    # A control repeats some grammars of a larger group, on another device.
    size = table[same].groupby(["objective", "v", "L", "m"])["n_replicas"].transform("max")
    return table[same][table[same]["n_replicas"] == size]


def aims(L: int) -> list[str]:
    """What is probed: the levels 2 .. L-1, which an untrained encoder does not show, and the root."""
    return [*(f"level {level}" for level in range(2, L)), "root"]


def learnt(aim: str, accuracy: float) -> float:
    """Accuracy that counts as learnt: that given for levels, three quarters for the root."""
    return ROOT_LEARNT if aim == "root" else accuracy


def strings_curves(table: pd.DataFrame, aim: str, by: Sequence[str] = ("m",)) -> dict[Any, Curve]:
    """Curves of a probe's accuracy against fresh strings, of one objective and depth.

    Parameters
    ----------
    table : DataFrame
        Rows of `rhmlib.experiment_online.OnlineExperiment`.
    aim : str
        ``"root"``, by the probe with a hidden layer, or ``"level k"``.
    by : sequence of str
        Columns that tell curves apart.

    Returns
    -------
    dict of tuple to Curve
        A run that ended early, as all its probes were good, keeps its last value.
    """
    L = int(table["L"].iloc[0])
    level, metric = (L, "root_mlp") if aim == "root" else (int(aim.split()[1]), "probe_accuracy")
    part = table[(table["level"] == level) & (table["step"] > 0)]
    return curves(part, by=by, metric=metric, size="strings_seen", unit="replica", fill=True)


def thresholds(table: pd.DataFrame, rng: np.random.Generator, accuracy: float = 0.9) -> pd.DataFrame:
    """Strings that every objective, depth, aim and m needs.

    Parameters
    ----------
    table : DataFrame
        Rows of `rhmlib.experiment_online.OnlineExperiment`.
    rng : numpy.random.Generator
        Of the bootstrap over grammars.
    accuracy : float
        At which a level counts as learnt.

    Returns
    -------
    DataFrame
        Columns objective, L, aim, m, v; `strings`, an Estimate in units of v m**3.
    """
    rows = []
    for (objective, L), part in of_recipe(table).groupby(["objective", "L"]):
        for aim in aims(int(L)):
            for (m,), curve in strings_curves(part, aim).items():
                found = threshold(curve, learnt(aim, accuracy), rng)
                rows.append(
                    {"objective": objective, "L": int(L), "aim": aim, "m": int(m), "v": int(curve.v)}
                    | {"strings": _over(found, curve.v * curve.m**3)}
                )
    return pd.DataFrame(rows)


def _over(found: Estimate, unit: float) -> Estimate:
    return Estimate(found.value / unit, found.low / unit, found.high / unit, found.identified, found.reason)


@dataclass(frozen=True)
class Findings:
    """What the chapter on the paper's own network says in numbers.

    Attributes
    ----------
    powers : dict of (objective, L, aim) to Estimate
        Power of m in the strings that are needed.
    strings : DataFrame
        As :func:`thresholds` returns.
    beside : dict of (L, aim, m) to float
        Strings of masked tokens over those of data2vec, where both reach the aim.
    batches : DataFrame
        Strings in units of v m**3 to level 2, by m and batch size, in the same grammars.
    plain : float
        Accuracy of level 2 at the end, at the fewest rules, with AdamW alone and one mask; NaN if not run.
    plain_untrained : float
        The same before training.
    inside : DataFrame
        Synonym scores of levels at the end, at the largest depth, by m and objective; a column a level.
    stall : dict of str to float
        Of masked tokens at the smallest depth and the second m: `best` and `last` accuracy of level 2, and
        the loss there, `best_loss` and `last_loss`. Empty where there are no such runs.
    grammars : int
        Grammars a point.
    collapsed : int
        Runs that are marked as collapsed at their end.
    """

    powers: dict[tuple[str, int, str], Estimate]
    strings: pd.DataFrame
    beside: dict[tuple[int, str, int], float]
    batches: pd.DataFrame
    plain: float
    plain_untrained: float
    inside: pd.DataFrame
    stall: dict[str, float]
    grammars: int
    collapsed: int

    def glued(self) -> dict[str, Any]:
        """Texts for the page, by name."""
        powers = {
            f"fresh-power-{objective}-{L}-{aim.replace(' ', '')}": str(found)
            for (objective, L, aim), found in self.powers.items()
        }
        beside = {
            f"fresh-beside-{L}-{aim.replace(' ', '')}-{m}": f"{ratio:.2f}"
            for (L, aim, m), ratio in self.beside.items()
        }
        return {
            **powers,
            **beside,
            **{
                f"fresh-batch-{m}-{size}": f"{self.batches.loc[m, size]:.0f}"
                for m in self.batches.index
                for size in self.batches.columns
                if self.batches.loc[m, size] > 0
            },
            **{f"fresh-stall-{name.replace('_', '-')}": f"{value:.2f}" for name, value in self.stall.items()},
            "fresh-plain": f"{self.plain:.2f}",
            "fresh-plain-untrained": f"{self.plain_untrained:.2f}",
            "fresh-grammars": self.grammars,
            "fresh-collapsed": self.collapsed,
        }


def chapter_findings(table: pd.DataFrame, rng: np.random.Generator, accuracy: float = 0.9) -> Findings:
    """Make the findings of a table; arguments as of :func:`thresholds`."""
    main = of_recipe(table)
    strings = thresholds(table, rng, accuracy)
    powers = {}
    for (objective, L), part in main.groupby(["objective", "L"]):
        for aim in aims(int(L)):
            powers[objective, int(L), aim] = exponent(strings_curves(part, aim), learnt(aim, accuracy), rng)
    plain = table[(table["descent"] == "adamw") & (table["n_masks"] == 1) & (table["level"] == 2)]
    plain = plain[plain["m"] == plain["m"].min()]
    last = main[main["step"] == main.groupby(["objective", "L", "m"])["step"].transform("max")]
    return Findings(
        powers,
        strings,
        _beside(strings),
        batches(table),
        float(plain[plain["step"] == plain["step"].max()]["probe_accuracy"].mean()),
        float(plain[plain["step"] == 0]["probe_accuracy"].mean()),
        _inside(last),
        _stall(main),
        int(main["n_replicas"].max()),
        int(last.groupby(["objective", "L", "m", "replica"])["collapsed"].any().sum()),
    )


def _inside(last: pd.DataFrame) -> pd.DataFrame:
    deep = last[(last["L"] == last["L"].max()) & (last["level"] < last["L"])]
    wide = deep.pivot_table(index=["m", "objective"], columns="level", values="synonym_score")
    return wide.rename(columns=lambda level: f"level {level}").rename_axis(columns=None)


def _stall(main: pd.DataFrame) -> dict[str, float]:
    part = main[(main["objective"] == "mlm") & (main["L"] == main["L"].min())]
    part = part[(part["level"] == 2) & (part["step"] > 0)]
    ms = sorted(part["m"].unique())
    if len(ms) < 2:
        return {}
    curve = part[part["m"] == ms[1]].groupby("step")[["probe_accuracy", "loss"]].mean()
    best, last = curve.loc[curve["probe_accuracy"].idxmax()], curve.iloc[-1]
    return {
        "best": float(best["probe_accuracy"]),
        "last": float(last["probe_accuracy"]),
        "best_loss": float(best["loss"]),
        "last_loss": float(last["loss"]),
    }


def _beside(strings: pd.DataFrame) -> dict[tuple[int, str, int], float]:
    wide = strings.assign(value=[found.value for found in strings["strings"]])
    wide = wide.pivot_table(index=["L", "aim", "m"], columns="objective", values="value")
    if not {"mlm", "data2vec"} <= set(wide.columns):
        return {}
    ratio = (wide["mlm"] / wide["data2vec"]).replace([np.inf, 0.0], np.nan).dropna()
    return {(int(L), str(aim), int(m)): float(value) for (L, aim, m), value in ratio.items()}


def batches(table: pd.DataFrame) -> pd.DataFrame:
    """Strings to level 2 by the size of a batch: equal where strings are short, proportional where steps are.

    Returns
    -------
    DataFrame
        Indexed by m; a column a batch size; units of v m**3, in the mean over the grammars that all sizes
        have, to an accuracy of one half, or of nine tenths where an untrained encoder has half. Empty
        without controls.
    """
    same = table["n"].isna() & (table["descent"] == "muon") & (table["objective"] == "data2vec")
    part = table[same & (table["L"] == 3) & (table["n_masks"] == 8)]
    found = {}
    for m, rows in part.groupby("m"):
        sizes = rows["batch_size"].unique()
        if len(sizes) < 2:
            continue
        few = rows.groupby("batch_size")["replica"].max().min()
        kept = rows[rows["replica"] <= few]
        untrained = kept[(kept["step"] == kept["step"].min()) & (kept["level"] == 2)]["probe_accuracy"]
        aim = _HALF if untrained.mean() < _HALF else 0.9
        for (size, _), curve in strings_curves(kept, "level 2", by=("batch_size", "m")).items():
            value = crossing(curve.sizes, curve.mean(), aim)
            found[int(m), int(size)] = value / (curve.v * curve.m**3)
    series = pd.Series(found, dtype=float)
    if series.empty:
        return pd.DataFrame()
    series.index = pd.MultiIndex.from_tuples(series.index, names=["m", "batch size"])
    return series.unstack("batch size")
