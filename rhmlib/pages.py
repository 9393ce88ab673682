"""What the generated pages of the book list: tables with their provenance, parameters, chapters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from rhmlib import chapters, grids, parameters


def tables(names: Sequence[str], root: str | Path | None = None) -> pd.DataFrame:
    """List the tables of results, a row a table.

    Parameters
    ----------
    names : sequence of str
        All of them: a page that names its tables is made anew when one changes.
    root : path, optional
        See :func:`rhmlib.grids.find_root`.

    Returns
    -------
    DataFrame
        Indexed by table; rows, runs, failed runs, core-hours, devices and commits (as texts), and
        whether every run was made from a clean commit.

    Raises
    ------
    ValueError
        If a name is missing, or is that of no table.
    """
    found = []
    folder = grids.find_root(root) / "results"
    there = {path.stem for path in folder.glob("*.csv") if not path.stem.startswith("bench_")}
    if set(names) != there:
        raise ValueError(
            f"names must be all tables. Found too few: {sorted(there - set(names))}, "
            f"too many: {sorted(set(names) - there)}."
        )
    for path in [folder / f"{name}.csv" for name in sorted(names)]:
        table = pd.read_csv(path, low_memory=False)
        study = "config_hash" not in table
        runs = table if study else table.drop_duplicates("config_hash")
        state = "state" if study else "status"
        found.append(
            {
                "table": path.stem,
                "rows": len(table),
                "runs": len(runs),
                "failed": int((runs[state] == "failed").sum()),
                "core-hours": round(float(runs["seconds"].sum()) / 3600, 2),
                "devices": ", ".join(sorted(set(runs["device_name"].dropna()))),
                "commits": ", ".join(sorted({str(commit)[:7] for commit in runs["commit"].dropna()})),
                "clean": not runs["dirty"].astype(str).str.lower().eq("true").any(),
            }
        )
    return pd.DataFrame(found).set_index("table")


def sweeps(root: str | Path | None = None) -> pd.DataFrame:
    """List the sweep files: title, learner and scales.

    Parameters
    ----------
    root : path, optional

    Returns
    -------
    DataFrame
        Indexed by file.
    """
    rows = []
    for path in grids.sweep_files(grids.find_root(root)):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        scales = ", ".join(content["scales"])
        rows.append(
            {"file": path.stem, "what": content["title"], "learner": content["learner"], "scales": scales}
        )
    return pd.DataFrame(rows).set_index("file")


def vocabulary() -> pd.DataFrame:
    """List the book's parameters: name, type, what is allowed, meaning."""
    return pd.DataFrame(parameters.rows()).set_index("name")


def defaults(start: str | Path | None = None) -> pd.DataFrame:
    """List the parameters of every chapter with their defaults.

    Parameters
    ----------
    start : path, optional
        See :func:`rhmlib.chapters.find_project`.

    Returns
    -------
    DataFrame
        Indexed by chapter: its parameters and their defaults, as a text.
    """
    project = chapters.find_project(start)
    rows = []
    for name in project.chapters():
        chapter = chapters.read_chapter(project, name)
        text = ", ".join(f"{key} = {value!r}" for key, value in chapter.defaults.items())
        rows.append({"chapter": name, "parameters": text})
    return pd.DataFrame(rows).set_index("chapter")
