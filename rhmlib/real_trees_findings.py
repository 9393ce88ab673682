"""What the chapter on real trees draws and says: rows of its parameters, and the fate of each prediction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from rhmlib import experiments, provenance, results
from rhmlib.experiment_real_trees import RealTreesExperiment
from rhmlib.fits import signed
from rhmlib.real_trees import HEIGHTS, KINDS
from rhmlib.token_tuples import CONTEXTS

# Orders of the files in which tuples are clustered, and the distance of cousins.
ORDERS, COUSINS = range(5), 4
Interval = tuple[float, float, float]


def chapter_rows(n_files: int, n_pairs: int, n_test: int, n_bootstrap: int) -> pd.DataFrame:
    """Rows of the runs that a chapter with these parameters needs.

    Those that the table ``results/real_trees.csv`` has are read; if any is missing all are computed, from the
    standard library of the running interpreter. Parameters as of
    :class:`rhmlib.experiment_real_trees.RealTreesExperiment`.

    Returns
    -------
    DataFrame
        With the column `python`, the version whose library was counted.
    """
    configs = [
        RealTreesExperiment(
            counted="pairs", n_files=n_files, n_pairs=n_pairs, n_bootstrap=n_bootstrap, data_seed=0
        ),
        *(
            RealTreesExperiment(counted="tuples", n_files=n_files, n_test=n_test, data_seed=seed)
            for seed in ORDERS
        ),
    ]
    hashes = {experiments.config_hash("real_trees", config) for config in configs}
    try:
        table = results.read("real_trees", scale=None)
        table = table[table["config_hash"].isin(hashes)]
    except ValueError:  # there is none, or of other code
        table = pd.DataFrame({"config_hash": []})
    if set(table["config_hash"]) < hashes:
        rows = [{**experiments.config_values(one), **row} for one in configs for row in one.run()]
        table = pd.DataFrame(rows).assign(versions=f"python-{provenance.versions()['python']}")
    return table.assign(python=table["versions"].str.extract(r"python-([\d.]+)", expand=False))


@dataclass(frozen=True)
class Findings:
    """What the chapter says in numbers; intervals are (value, low, high) of 95 %.

    Attributes
    ----------
    python : str
        Version of Python whose library was counted.
    files, tokens : int
        Of the library.
    slopes, ratios : dict of kind to interval
        Slope of log information a step; the same over that of pairs of tokens.
    times : Series
        Information over that of pairs of tokens at the same distance, by (kind, distance).
    informations : dict of (kind, height) to interval
        Of the very same pairs of cousins.
    advantages : dict of (height, distance) to interval
        Information of types over that of the tokens below them.
    agreement : DataFrame
        Mean Hungarian accuracy over orders, a row a number of tuples, a column a context.
    gaps : dict of (context, measure) to DataFrame
        Latents less that context: value, low and high by number of tuples.
    """

    python: str
    files: int
    tokens: int
    slopes: dict[str, Interval]
    ratios: dict[str, Interval]
    times: pd.Series
    informations: dict[tuple[str, int], Interval]
    advantages: dict[tuple[int, int], Interval]
    agreement: pd.DataFrame
    gaps: dict[tuple[str, str], pd.DataFrame]

    @property
    def outside(self) -> pd.Series:
        """Informations that are not within a factor of 3 of those of tokens at their distance."""
        return self.times[(self.times < 1 / 3) | (self.times > 3)]

    @property
    def largest(self) -> int:
        """Largest number of tuples."""
        return int(self.agreement.index.max())

    def glued(self) -> dict[str, Any]:
        """Texts for the page, by name."""
        gap = self.gaps["tokens", "value"].loc[self.largest]
        rare = self.gaps["tokens", "rare_information"].loc[self.largest]
        below = self.gaps["beside", "rare_information"].loc[self.largest]
        found: dict[str, Any] = {
            "real-python": self.python,
            "real-files": self.files,
            "real-tokens": f"{self.tokens:,}",
            "real-outside": f"{len(self.outside)} of {len(self.times)}",
            "real-largest": f"{self.largest:,}",
            "real-gap": _text(gap["value"], gap["low"], gap["high"]),
            "real-gap-rare": _text(rare["value"], rare["low"], rare["high"]),
            "real-gap-beside": _text(below["value"], below["low"], below["high"]),
        }
        for kind in KINDS:
            name = kind.replace(" ", "-")
            found[f"real-slope-{name}"] = _text(*self.slopes.get(kind, (np.nan,) * 3))
            found[f"real-ratio-{name}"] = _text(*self.ratios.get(kind, (np.nan,) * 3))
        for height in HEIGHTS:
            advantage = self.advantages.get((height, COUSINS), (np.nan,) * 3)
            found[f"real-advantage-{height}"] = f"{advantage[0]:.1f}"
        least = [self.advantages[h, COUSINS][1] for h in HEIGHTS[1:] if (h, COUSINS) in self.advantages]
        found["real-advantage-least"] = f"{min(least, default=np.nan):.1f}"
        for context in self.agreement:
            found[f"real-accuracy-{context.replace(' ', '-')}"] = f"{self.agreement[context].iloc[-1]:.2f}"
        return found

    def verdicts(self) -> pd.DataFrame:
        """Fate of each prediction: one row each, with what was predicted, what was found, and the verdict."""
        falls = [self.slopes[kind][2] < 0 for kind in KINDS if kind in self.slopes]
        near = [low > 1 / 1.5 and high < 1.5 for _, low, high in self.ratios.values()]
        tall = [self.advantages[h, COUSINS] for h in HEIGHTS[1:] if (h, COUSINS) in self.advantages]
        grows = bool(tall) and tall[0][2] < tall[-1][1]
        least = self.advantages.get((1, COUSINS), (np.nan,) * 3)
        gap = self.gaps["tokens", "value"]
        sizes = self.agreement["latents"]
        quarter = sizes[sizes.index <= self.largest / 4]
        early = bool((quarter >= self.agreement["tokens"].iloc[-1]).any())
        beside = self.gaps["beside", "value"]
        orders = [_ordered(self.informations, h) for h in HEIGHTS[1:] if ("nodes", h) in self.informations]
        rows = [
            ("1. information falls with distance, for all three kinds", _verdict(falls)),
            ("2. slopes agree within a factor of 1.5", _verdict(near)),
            (
                "2. informations agree within a factor of 3",
                _verdict(~self.times.index.isin(self.outside.index)),
            ),
            ("3. cousins of height 2 to 4: types over type and token over tokens", _verdict(orders)),
            (
                "3. the advantage of types over tokens grows with height",
                _verdict([grows] if tall else [], "not seen"),
            ),
            ("3. no advantage at height 1", _verdict([least[1] <= 1] if np.isfinite(least[1]) else [])),
            (
                "4. latents cluster better than tokens below them, at every size",
                _better(gap),
            ),
            ("4. from a quarter of the tuples as well as tokens from all", _verdict([early], "not seen")),
            ("4. latents cluster better than the tokens beside", _better(beside)),
        ]
        return pd.DataFrame(rows, columns=["predicted", "verdict"]).set_index("predicted")


def _ordered(informations: dict[tuple[str, int], Interval], height: int) -> bool:
    """Whether types tell more than a type and a token, and these more than tokens."""
    values = [informations[kind, height][0] for kind in KINDS]
    apart = informations["nodes", height][1] > informations["tokens", height][2]
    return bool(apart and values[0] < values[1] < values[2])


def _verdict(parts: Iterable[Any], none: str = "contradicted") -> str:
    """Verdict of a prediction that has several parts."""
    held = [bool(part) for part in parts]
    if not held:
        return "undecided"
    return (
        "confirmed" if all(held) else none if not any(held) else f"holds in {sum(held)} of {len(held)} cases"
    )


def _better(gap: pd.DataFrame) -> str:
    """Verdict on a lead at every size: not seen where intervals hold 0, contradicted where they are below."""
    worse = bool((gap["high"] < 0).any())
    return _verdict(gap["low"] > 0, "contradicted" if worse else "not seen")


def _text(value: float, low: float, high: float) -> str:
    return f"{signed(value)} [{signed(low)}, {signed(high)}]" if np.isfinite(value) else "unknown"


def _intervals(rows: pd.DataFrame, keys: list[str]) -> dict[Any, Interval]:
    one = keys[0] if len(keys) == 1 else keys
    return {
        key: (float(row["value"]), float(row["low"]), float(row["high"]))
        for key, row in rows.set_index(one).iterrows()
    }


def _gaps(agreement: pd.DataFrame, context: str, measure: str) -> pd.DataFrame:
    """Latents less another context over the same orders of files, with Student's interval."""
    wide = agreement.pivot_table(index=["tuples", "data_seed"], columns="kind", values=measure)
    gap = (wide["latents"] - wide[context]).groupby("tuples").agg(["mean", "sem", "count"])
    half = student.ppf(0.975, gap["count"] - 1) * gap["sem"]
    return pd.DataFrame({"value": gap["mean"], "low": gap["mean"] - half, "high": gap["mean"] + half})


def chapter_findings(table: pd.DataFrame) -> Findings:
    """Make the findings of a table such as :func:`chapter_rows` returns."""
    of = {name: part for name, part in table.groupby("quantity")}
    none = table.iloc[:0]
    pooled = {name: part[part["height"] == 0] for name, part in of.items()}
    times = pooled["times tokens"]
    times = times[times["kind"] != "tokens"].set_index(["kind", "distance"])["value"]
    matched = of["matched"][of["matched"]["distance"] == COUSINS]
    agreement = of["agreement"].astype({"tuples": int})
    return Findings(
        python=str(table["python"].iloc[0]),
        files=int(table["files"].iloc[0]),
        tokens=int(table["tokens"].iloc[0]),
        slopes=_intervals(pooled.get("slope", none), ["kind"]),
        ratios=_intervals(pooled.get("slope to tokens", none).query("kind != 'tokens'"), ["kind"]),
        times=times,
        informations=_intervals(matched.astype({"height": int}), ["kind", "height"]),
        advantages=_intervals(
            of["advantage"].astype({"height": int, "distance": int}), ["height", "distance"]
        ),
        agreement=agreement.pivot_table(index="tuples", columns="kind", values="value"),
        gaps={
            (context, measure): _gaps(agreement, context, measure)
            for context in CONTEXTS[1:]
            for measure in ("value", "rare_information")
        },
    )
