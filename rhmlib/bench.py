"""The bench: how many strings a learner needs, level by level.

A learner is a class with two methods, `fit` and `encode`; :mod:`rhmlib.experiment_bench` says which.
The bench trains it on grammars of several shapes and sizes, and asks a linear probe with few labels
to read the latents of every level off what `encode` says of held-out strings. From where the probe's
accuracy crosses 90 % it takes thresholds, and from these exponents.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from rhmlib import experiments, fits, grids
from rhmlib import results as tables
from rhmlib.bench_rehearsal import rehearse
from rhmlib.experiment_bench import Budget, Learner, load, wants_labels

__all__ = [
    "SCALES",
    "Budget",
    "Learner",
    "exponents",
    "load",
    "measure",
    "rehearse",
    "report",
    "summary",
    "sweep_file",
    "thresholds",
]

# Above what a probe with few labels reads off an untrained encoder a level or two up.
ACCURACY = 0.9

SCALES: dict[str, dict[str, Any]] = {
    "quick": {
        "replicates": 2,
        "fixed": {"v": 8, "s": 2, "L": 3, "steps": 500},
        "grid": {"m": [3, 4, 5], "n": {"per_vm3": [0.5, 1, 2, 4, 8]}},
    },
    "book": {
        "replicates": 3,
        "fixed": {"v": 8, "s": 2, "steps": 2000},
        "blocks": [
            {"grid": {"L": [2], "m": [3, 4, 5], "n": {"per_vm3": [0.25, 0.5, 1]}}},
            {"grid": {"L": [3], "m": [2, 3, 4, 5], "n": {"per_vm3": [0.5, 1, 2, 4, 8, 16]}}},
            {"grid": {"L": [4, 5], "m": [3, 4], "n": {"per_vm3": [0.5, 1, 2, 4, 8, 16, 32]}}},
        ],
    },
    "gpu": {
        "replicates": 3,
        "fixed": {"v": 16, "s": 2, "steps": 20000},
        "grid": {"L": [3, 4, 5], "m": [3, 4, 6], "n": {"per_vm3": [0.5, 1, 2, 4, 8, 16, 32]}},
    },
}


# ---------------------------------------------------------------- the bench


def sweep_file(name: str, root: str | Path | None = None) -> Path:
    """Check a learner, and write the sweep file that benches it.

    Parameters
    ----------
    name : str
        ``"package.module:Class"``.
    root : path, optional
        See :func:`rhmlib.grids.find_root`.

    Returns
    -------
    Path
        A file for :func:`rhmlib.sweeps.sweep`; the table has its name, ``bench_CLASS``.
    """
    rehearse(name)
    source = experiments.code_hash(name)
    scales = {scale: _scale(scale, name, source) for scale in SCALES}
    word = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.partition(":")[2]).lower()
    path = grids.find_root(root) / "_build" / "bench" / f"bench_{word}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"title": f"Bench of {name}", "learner": "bench", "scales": scales}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _scale(scale: str, name: str, source: str) -> dict[str, Any]:
    """A scale of a sweep file, for one learner."""
    content = SCALES[scale]
    return {**content, "fixed": {**content["fixed"], "entry": name, "source": source}}


def measure(name: str, scale: str = "quick") -> pd.DataFrame:
    """Bench a learner in this process and keep nothing, as for a class that a notebook defines.

    Parameters
    ----------
    name : str
        ``"package.module:Class"``; ``"__main__:Class"`` in a notebook.
    scale : {"quick", "book", "gpu"}

    Returns
    -------
    DataFrame
        Rows for :func:`thresholds`, :func:`exponents` and :func:`summary`.

    Raises
    ------
    ValueError
        If there is no such scale, or the learner breaks the protocol.
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}. Found {scale!r}.")
    rehearse(name)
    rows = []
    for run in grids.scale_runs("bench", _scale(scale, name, "not kept"), f"scale {scale}"):
        begun = time.perf_counter()
        found = run.config.run()
        kept = {**asdict(run.config), "config_hash": run.hash, "seconds": time.perf_counter() - begun}
        rows += [{**kept, **row} for row in found]
    return pd.DataFrame(rows)


def thresholds(table: pd.DataFrame, rng: np.random.Generator, *, accuracy: float = ACCURACY) -> pd.DataFrame:
    """Strings at which the probe of each level reaches an accuracy, with intervals.

    Parameters
    ----------
    table : DataFrame
        Rows of `bench` of one learner.
    rng : numpy.random.Generator
        Of the bootstrap.
    accuracy : float

    Returns
    -------
    DataFrame
        v, m, L, level, and `strings` and `multiple` (of v m^3), texts with 95 % intervals, or why there is
        none.
    """
    rows = []
    for (v, m, L, level), part in table.groupby(["v", "m", "L", "level"]):
        [curve] = fits.curves(part, by=["m"], metric="probe_accuracy").values()
        found = fits.threshold(curve, accuracy, rng)
        unit = curve.v * m**3
        multiple = fits.Estimate(found.value / unit, found.low / unit, found.high / unit)
        rows.append(
            {
                "v": v,
                "m": m,
                "L": L,
                "level": level,
                "strings": found.format(0),
                "multiple": str(multiple)
                if found.identified
                else _beyond(multiple.value, curve.sizes / unit),
            }
        )
    return pd.DataFrame(rows)


def _beyond(multiple: float, sizes: np.ndarray) -> str:
    """Where a threshold lies that is not identified, as far as is known."""
    if multiple == math.inf:
        return f"> {sizes[-1]:g}"
    if multiple == 0:
        return f"< {sizes[0]:g}"
    return f"about {multiple:.2g}"


def exponents(table: pd.DataFrame, rng: np.random.Generator) -> dict[str, str]:
    """Fit exponents of P*, of the deepest level below the root, and of the root.

    Parameters
    ----------
    table : DataFrame
        Rows of `bench` of one learner.
    rng : numpy.random.Generator
        Of the bootstrap.

    Returns
    -------
    dict of str to str
        What is fitted, and the estimate with its interval, or why there is none: the exponent of m at each
        v and L; and, where there are three values at least, the change of log P* with each level of depth,
        and the exponent of v.
    """
    found = {}
    for name, offset in (("level L-1", 1), ("root", 0)):
        rows = table[table["level"] == table["L"] - offset]
        for where, part in _groups(rows, "v", "L"):
            curves = fits.curves(part, by=["m"], metric="probe_accuracy")
            found[f"{name}, {where}: exponent of m"] = str(fits.exponent(curves, ACCURACY, rng))
        for where, part in _groups(rows, "v", "m"):
            if part["L"].nunique() > 2:
                curves = fits.curves(part, by=["L"], metric="probe_accuracy")
                slope = fits.exponent(curves, ACCURACY, rng, variable=lambda key, _: key[0], log=False)
                law = f" (tokens would pay {math.log(part['m'].iloc[0]):.2f})"
                found[f"{name}, {where}: log P* a level of depth"] = f"{slope}{law}"
        for where, part in _groups(rows, "m", "L"):
            if part["v"].nunique() > 2:
                curves = fits.curves(part, by=["v"], metric="probe_accuracy")
                power = fits.exponent(curves, ACCURACY, rng, variable=lambda _, curve: curve.v)
                found[f"{name}, {where}: exponent of v"] = str(power)
    return found


def _groups(rows: pd.DataFrame, *names: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Cut rows by settings, and say which: ``"v=8, L=3"``, without v where there is one alone."""
    shown = [name for name in names if name != "v" or rows["v"].nunique() > 1]
    for key, part in rows.groupby(list(names)):
        given = dict(zip(names, key, strict=True))
        yield ", ".join(f"{name}={given[name]}" for name in shown), part


def summary(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One row a learner, as in the book's table.

    Parameters
    ----------
    table : DataFrame
        Rows of `bench` or `bench_shipped`, of any number of learners, at one v and depth.
    rng : numpy.random.Generator
        Of the bootstrap.

    Returns
    -------
    DataFrame
        Index: the class. Columns: the thresholds of level L-1 in units of v m^3 at each m, the exponent
        of m of level L-1 and of the root, and the mean seconds of a run.
    """
    rows = {}
    for entry, part in table.groupby("entry", sort=False):
        found = thresholds(part, rng)
        deepest = found[found["level"] == found["L"] - 1]
        row = {f"m={m}": text for m, text in zip(deepest["m"], deepest["multiple"], strict=True)}
        fitted = exponents(part, rng)
        for name, column in (("level L-1", "exponent, level L-1"), ("root", "exponent, root")):
            texts = [text for what, text in fitted.items() if what.startswith(f"{name}, L=")]
            text = texts[0] if texts else "not identified"
            row[column] = text.partition(" (")[0]  # why it is not identified stands in the longer page
        row["seconds a run"] = f"{part.groupby('config_hash')['seconds'].first().mean():.0f}"
        rows[str(entry).rpartition(":")[2]] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("learner")


def markdown(table: pd.DataFrame) -> list[str]:
    """Lines of a table of texts in Markdown, its index first."""
    names = [str(table.index.name or ""), *map(str, table.columns)]
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for key, row in zip(table.index, table.itertuples(index=False), strict=True):
        lines.append(f"| {' | '.join([str(key), *map(str, row)])} |")
    return lines


def report(path: Path, scale: str, root: str | Path | None = None) -> tuple[str, bool]:
    """Describe a bench's table as a page of Markdown.

    Parameters
    ----------
    path : Path
        As :func:`sweep_file` returns.
    scale : str
    root : path, optional

    Returns
    -------
    page : str
    complete : bool
        Whether all runs of the scale succeeded. If not, the page begins with what is missing.

    Raises
    ------
    ValueError
        If none did.
    """
    rng = np.random.default_rng(0)
    table = tables.read(path, scale=scale, stale="drop", root=root)
    runs = table.attrs["runs"]
    lacking = {state: runs[state] for state in ("failed", "missing", "stale") if runs[state]}
    entry = str(table["entry"].iloc[0])
    seen = "strings and their roots" if wants_labels(load(entry)) else "strings alone"
    lines = [f"# {entry}, scale {scale}", ""]
    if lacking:
        what = ", ".join(f"{count} {state}" for state, count in lacking.items())
        lines += [f"**{what} of {sum(runs.values())} runs**; what follows is of the others."]
        lines += [f"First error: `{error}`." for error in table.attrs["errors"][:1]]
        lines += ["Do failed ones again with `--retry-failed`.", ""] if runs["failed"] else [""]
    lines += [f"Learns from {seen}.", ""]
    lines += ["Distinct strings at which a linear probe with few labels reads the latents of a level with"]
    lines += [f"{ACCURACY:.0%} accuracy (95 % intervals over grammars).", ""]
    lines += markdown(thresholds(table, rng).set_index("v"))
    fitted = pd.DataFrame({"estimate": exponents(table, rng)}).rename_axis("fit")
    lines += ["", *markdown(fitted)]
    if table["L"].nunique() == table["v"].nunique() == 1:
        own = summary(table, rng)
        shipped = _shipped(scale, rng, root)
        beside = own if shipped is None else pd.concat([own, shipped])
        lines += ["", "## Beside the learners that ship", "", "Thresholds of level L-1, in units of v m³."]
        lines += ["", *markdown(beside.fillna(""))]
    return "\n".join([*lines, ""]), not lacking


def _shipped(scale: str, rng: np.random.Generator, root: str | Path | None) -> pd.DataFrame | None:
    """Rows of the learners that ship, where their table is of this scale."""
    if scale != "quick":
        return None
    try:
        return summary(tables.read("bench_shipped", stale="drop", root=root), rng)
    except (ValueError, FileNotFoundError):
        return None
