"""What the generated pages of the book list: chapters and tables with their provenance, costs, parameters."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rhmlib import chapters, grids, parameters, sweeps

Versions = dict[str, str]

# Files of results/ that are no tables of runs or trials.
_OTHER = ("audits", "same_code")


# ---------------------------------------------------------------- chapters


@dataclass(frozen=True)
class Made:
    """How an executed notebook was made.

    Attributes
    ----------
    chapter : str
    seconds : float
        Wall time of its execution.
    device, device_name : str
    threads : int
    date, commit : str
    dirty : bool
        Whether the sources differed from the commit.
    versions : dict
        Program to version.
    """

    chapter: str
    seconds: float
    device: str
    device_name: str
    threads: int
    date: str
    commit: str
    dirty: bool
    versions: Versions


def made(path: str | Path) -> Made:
    """Read from an executed notebook how it was made.

    Raises
    ------
    ValueError
        If it was not executed by ``rhm``.
    """
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    record = content["metadata"].get("rhm")
    if record is None:
        raise ValueError(f"{path} must be a notebook that rhm executed. Found no record in it.")
    found = record["provenance"]
    names = ("seconds", "device", "device_name", "threads", "date", "commit", "dirty", "versions")
    return Made(record["chapter"], **{name: found[name] for name in names})


# ---------------------------------------------------------------- tables of results


def table_names(root: str | Path | None = None) -> list[str]:
    """Names of the tables in ``results/``, sorted, without those of readers' learners on the bench."""
    top = grids.find_root(root)
    names = {path.stem for path in (top / "results").glob("*.csv")} - set(_OTHER)
    swept = {path.stem for path in (top / "params" / "sweeps").glob("*.yaml")}
    return sorted(name for name in names if name in swept or not name.startswith("bench_"))


@dataclass(frozen=True)
class TableMade:
    """How a table of results was made.

    Attributes
    ----------
    table : str
    study : bool
        Whether its rows are trials of a search for settings, instead of runs.
    rows, runs, failed : int
    seconds, longest : float
        Of all runs together, and of the longest.
    devices, commits : tuple of str
    clean : bool
        Whether the sources of every run were those of its commit.
    versions : tuple of dict
        The different sets of versions.
    code_hashes : tuple of str
    """

    table: str
    study: bool
    rows: int
    runs: int
    failed: int
    seconds: float
    longest: float
    devices: tuple[str, ...]
    commits: tuple[str, ...]
    clean: bool
    versions: tuple[Versions, ...]
    code_hashes: tuple[str, ...]


def table_made(name: str, root: str | Path | None = None) -> TableMade:
    """Read from a table of results how it was made.

    Parameters
    ----------
    name : str
        One of :func:`table_names`.
    root : path, optional
        See :func:`rhmlib.grids.find_root`.

    Raises
    ------
    ValueError
        If there is no such table.
    """
    names = table_names(root)
    if name not in names:
        raise ValueError(
            f"name must be that of a table. Found {name!r}. {parameters.suggestion(name, names)}"
        )
    table = pd.read_csv(grids.find_root(root) / "results" / f"{name}.csv", low_memory=False)
    study = "config_hash" not in table
    runs = table if study else table.drop_duplicates("config_hash")
    return TableMade(
        table=name,
        study=study,
        rows=len(table),
        runs=len(runs),
        failed=int((runs["state" if study else "status"] == "failed").sum()),
        seconds=float(runs["seconds"].sum()),
        longest=float(runs["seconds"].max()),
        devices=tuple(sorted(set(runs["device_name"].dropna()))),
        commits=tuple(sorted({str(commit)[:7] for commit in runs["commit"].dropna()})),
        clean=not runs["dirty"].astype(str).str.lower().eq("true").any(),
        versions=tuple(_versions(text) for text in sorted(set(runs["versions"].dropna()))),
        code_hashes=tuple(sorted(set(runs["code_hash"].dropna()))),
    )


def _versions(text: str) -> Versions:
    pairs = (word.rpartition("-") for word in text.split())
    return {name: version for name, _, version in pairs}


def group_versions(found: Mapping[str, Iterable[Versions]]) -> tuple[list[Versions], dict[str, str]]:
    """Put sets of versions that do not contradict each other into one, and letter them.

    Parameters
    ----------
    found : mapping of str to iterable of dict
        For each page or table, its sets of versions; which programs they name may differ.

    Returns
    -------
    groups : list of dict
        The joined sets: that of the letter A, of B, ...
    letters : dict
        For each page or table, its letters.

    Examples
    --------
    >>> group_versions({"x": [{"python": "3.11"}], "y": [{"python": "3.11", "numpy": "2"}, {"numpy": "1"}]})
    ([{'python': '3.11', 'numpy': '2'}, {'numpy': '1'}], {'x': 'A', 'y': 'A, B'})
    """
    groups: list[Versions] = []
    letters = {}
    for name, sets in found.items():
        mine = set()
        for versions in sets:
            at = next((i for i, group in enumerate(groups) if _agree(group, versions)), len(groups))
            if at == len(groups):
                groups.append({})
            groups[at].update(versions)
            mine.add(chr(ord("A") + at))
        letters[name] = ", ".join(sorted(mine))
    return groups, letters


def _agree(a: Versions, b: Versions) -> bool:
    return all(a[name] == b[name] for name in a.keys() & b.keys())


def audit_state(made: TableMade, records: Iterable[Mapping[str, str]]) -> str:
    """Say in a few words what the audits of a table found.

    Parameters
    ----------
    made : TableMade
    records : iterable of mapping
        From :func:`rhmlib.audit.read_record`.

    Returns
    -------
    str
        Such as ``"12 of 12 runs equal, 2026-11-24"``; audits of rows that were made by other code than
        the table's do not count.
    """
    mine = [row for row in records if row["table"] == made.table and row["code_hash"] in made.code_hashes]
    if not mine:
        return "none" if not made.study else "—"
    runs, equal, differences = (
        sum(int(row[key]) for row in mine) for key in ("runs", "equal", "differences")
    )
    wrong = f", {differences} differences" if differences else ""
    return f"{equal} of {runs} runs equal{wrong}, {max(row['date'] for row in mine)[:10]}"


# ---------------------------------------------------------------- sweeps


def sweep_states(root: str | Path | None = None, scale: str = "book") -> dict[str, sweeps.Status]:
    """Tell how far every sweep is at one scale, by name; those without the scale are left out."""
    return {state.sweep: state for state in sweeps.status(root) if state.scale == scale}


# ---------------------------------------------------------------- parameters


@dataclass(frozen=True)
class Setting:
    """A parameter of a chapter.

    Attributes
    ----------
    parameter : Parameter
        Name, type, allowed values, meaning.
    default : object
        What the chapter's own cell says.
    at : dict
        Scale to value.
    """

    parameter: parameters.Parameter
    default: Any
    at: dict[str, Any]


def scales(start: str | Path | None = None) -> list[str]:
    """Names of the parameter files of the book: quick, book, gpu, then others."""
    folder = chapters.find_project(start).root / "params"
    order = ["quick", "book", "gpu"]
    names = {path.stem for path in folder.glob("*.yaml")}
    return [name for name in order if name in names] + sorted(names - set(order))


def settings(start: str | Path | None = None) -> dict[str, list[Setting]]:
    """List the parameters of every chapter, with their values at every scale.

    Parameters
    ----------
    start : path, optional
        See :func:`rhmlib.chapters.find_project`.

    Returns
    -------
    dict of chapter to list of Setting
        In the order of each chapter's cell. What a file says of parameters that the chapter does not have
        is left out: see :func:`misplaced`.
    """
    found = {}
    for name, (defaults, layers) in _layers(start).items():
        at = {
            scale: parameters.resolve(
                defaults, {k: v for k, v in layer.items() if k in defaults}, chapter=name
            )
            for scale, layer in layers.items()
        }
        found[name] = [
            Setting(parameters.CATALOGUE[key], value, {scale: values[key] for scale, values in at.items()})
            for key, value in defaults.items()
        ]
    return found


def misplaced(start: str | Path | None = None) -> list[str]:
    """Say which parameter files set what a chapter does not have, which ``rhm run`` refuses; a line each."""
    return [
        f"`params/{scale}.yaml` sets `{key}`, which the chapter `{name}` does not have."
        for name, (defaults, layers) in _layers(start).items()
        for scale, layer in layers.items()
        for key in layer.keys() - defaults.keys()
    ]


def _layers(start: str | Path | None) -> dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]]:
    """Chapter to its defaults, and to what each parameter file says of it."""
    project = chapters.find_project(start)
    names = project.chapters()
    files = {s: parameters.read_file(project.root / "params" / f"{s}.yaml", names) for s in scales(start)}
    defaults = {name: chapters.read_chapter(project, name).defaults for name in names}
    return {
        name: (found, {s: parameters.for_chapter(content, name, found) for s, content in files.items()})
        for name, found in defaults.items()
    }


def unused(start: str | Path | None = None) -> list[parameters.Parameter]:
    """Parameters of the catalogue that no chapter has: settings of learners in sweep files."""
    used = {setting.parameter.name for found in settings(start).values() for setting in found}
    return [parameter for name, parameter in parameters.CATALOGUE.items() if name not in used]
