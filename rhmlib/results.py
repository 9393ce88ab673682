"""Tables of runs, ``results/NAME.csv``: how they are written and how they are read.

A finished run is first one small file, put in its place in one step, under ``results/.spool/NAME``;
from time to time those files are merged into the table, in one step too, under a lock. A process
may die at any moment: no row is torn, no finished run lost, none is there twice. Several processes
may write to one table.

A run is known by the hash of its settings. Its rows carry the hash of the code that made them; where that
is not the present code's, nor one that was shown to give the same rows, they are *stale*.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import filelock

from rhmlib import experiments, grids, records, same_code
from rhmlib.experiments import PROVENANCE

if TYPE_CHECKING:
    import pandas as pd

# Columns that differ between two executions of the same run on the same machine.
MACHINE_COLUMNS = PROVENANCE[: PROVENANCE.index("config_hash")]
# Without these a row is of no use; others may be missing from rows that an older version wrote.
_ESSENTIAL = frozenset({"seconds", "config_hash", "code_hash", "status"})
_TEXTS = {"learner", *PROVENANCE} - {"seconds", "peak_memory_mb", "dirty"}
_OLD_TEMPORARY = 3600.0
_DURABLE_SECONDS = 1.0

Row = dict[str, str]
State = Literal["done", "failed", "stale"]


@dataclass(frozen=True)
class Record:
    """One finished run, as it is written.

    Attributes
    ----------
    learner : str
    settings : dict
        The resolved config, flat.
    rows : list of dict
        What the experiment returned; empty where it failed.
    provenance : dict
        The keys of ``rhmlib.experiments.PROVENANCE``.
    """

    learner: str
    settings: dict[str, Any]
    rows: list[dict[str, Any]]
    provenance: dict[str, Any]

    @property
    def hash(self) -> str:
        """Hash of learner and settings."""
        return str(self.provenance["config_hash"])

    def cells(self) -> list[Row]:
        """Rows of the table: cells as text, in the order of the columns; one row where there is no result."""
        start, end = {"learner": self.learner, **self.settings}, self.provenance
        return [
            {name: cell(value) for name, value in {**start, **row, **end}.items()}
            for row in self.rows or [{}]
        ]

    def to_json(self) -> str:
        """Return the record as JSON text."""
        return json.dumps([self.learner, self.settings, self.rows, self.provenance])

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError
            If the text is something else, or only a part of it.
        """
        try:
            record = cls(*json.loads(text))
            record.cells()
            if record.provenance.keys() >= _ESSENTIAL and isinstance(record.rows, list):
                return record
        except (TypeError, ValueError, AttributeError):
            pass
        raise ValueError("text must be a record of a run. Found something else.")


def cell(value: object) -> str:
    """Write a value for a table: floats so that they read back equal, None as an empty cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    return " ".join(str(value).split())


# ---------------------------------------------------------------- the table


class Table:
    """The runs of one sweep, on disk.

    Parameters
    ----------
    name : str
    root : path, optional
        See :func:`rhmlib.grids.find_root`.

    Attributes
    ----------
    path : Path
        The CSV file, sorted by learner and settings.
    spool : Path
        Folder of runs that are finished and not merged yet. It ignores itself in git.
    """

    def __init__(self, name: str, root: str | Path | None = None) -> None:
        self.root = grids.find_root(root)
        results = self.root / "results"
        self.name = name
        self.path = results / f"{name}.csv"
        self.spool = results / ".spool" / name

    # ---- writing

    def open(self) -> None:
        """Make the folders that writing needs."""
        self.spool.mkdir(parents=True, exist_ok=True)
        ignore = self.spool.parent / ".gitignore"
        if not ignore.exists():
            records.replace(ignore, "*\n")

    def compact(self) -> int:
        """Merge finished runs into the CSV file.

        Returns
        -------
        int
            How many runs were merged.
        """
        if not self.spool.is_dir():
            return 0
        with self._locked():
            # What is being merged is moved aside first, so that a run that is written again
            # meanwhile is not deleted unread.
            merging = self.spool / "merging"
            merging.mkdir(exist_ok=True)
            for path in _files(self.spool):
                os.replace(path, merging / path.name)
            paths = _files(merging)
            if paths:
                self._write(self._merged(paths))
            for path in paths:
                path.unlink()
            remove_checkpoints(self.spool, {path.stem for path in paths})
            self._sweep_up()
        return len(paths)

    def keep(self, hashes: Collection[str]) -> int:
        """Remove all runs but those of the given hashes from the CSV file; return how many were removed."""
        self.compact()
        with self._locked():
            columns, runs = self._read_csv()
            kept = {name: rows for name, rows in runs.items() if name in hashes}
            if len(kept) < len(runs):
                self._write((columns, kept))
                remove_checkpoints(self.spool, runs.keys() - kept.keys())
        return len(runs) - len(kept)

    def _write(self, content: tuple[list[str], dict[str, list[Row]]]) -> None:
        columns, runs = content
        end = columns.index("seconds")
        ordered = sorted(runs.values(), key=lambda rows: [_sort_key(rows[0][c]) for c in columns[:end]])
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for rows in ordered for row in rows)
        records.replace(self.path, text.getvalue())
        _sync(self.path.parent)

    def _sweep_up(self) -> None:
        """Delete what killed processes left; the lock is held."""
        for path in self.path.parent.glob(f".{self.path.name}.*.tmp"):
            path.unlink(missing_ok=True)
        for path in self.spool.glob(".*.tmp"):
            with suppress(FileNotFoundError):  # its writer is alive, and has just renamed it
                if time.time() - path.stat().st_mtime > _OLD_TEMPORARY:
                    path.unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with filelock.FileLock(self.spool.parent / f"{self.name}.lock"):
            yield

    # ---- reading

    def runs(self) -> tuple[list[str], dict[str, list[Row]]]:
        """Read the table with what is not merged yet.

        Returns
        -------
        columns : list of str
        runs : dict of config hash to list of rows
            Cells are text.

        Raises
        ------
        ValueError
            If the CSV file is no table of runs.
        """
        if not self.spool.is_dir():
            return self._read_csv()
        with self._locked():
            return self._merged([*_files(self.spool / "merging"), *_files(self.spool)])

    def states(self, code: str) -> dict[str, tuple[State, float]]:
        """State of each run in the table, and the seconds it took.

        Parameters
        ----------
        code : str
            Hash of the present code; runs of other code are stale.
        """
        runs = self.runs()[1]
        codes = {
            learner: same_code.linked(learner, code, self.root)
            for learner in {rows[0]["learner"] for rows in runs.values()}
        }
        return {name: (_state(rows[0], codes), float(rows[0]["seconds"])) for name, rows in runs.items()}

    def stamp(self) -> tuple[int, int] | None:
        """Return what changes when another process rewrites the CSV file."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return None
        return stat.st_mtime_ns, stat.st_ino

    def _read_csv(self) -> tuple[list[str], dict[str, list[Row]]]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return [], {}
        reader = csv.DictReader(io.StringIO(text), restkey="", restval=None)
        columns = list(reader.fieldnames or [])
        runs: dict[str, list[Row]] = {}
        for row in reader:
            if not _is_row(row):
                needed = ", ".join(sorted(_ESSENTIAL))
                raise ValueError(
                    f"{self.path} must be a table of runs, with the columns learner, {needed} and others. "
                    f"Found something else in line {reader.line_num}."
                )
            runs.setdefault(row["config_hash"], []).append(row)
        return columns, runs

    def _replaces(self, learner: str, new: Row, old: Row) -> bool:
        """Whether a newly finished run takes the place of the same run in the table.

        One that succeeded with the present code stays, so that two sweeps that did the same run leave
        the table as it is.
        """
        present = same_code.linked(learner, experiments.code_hash(learner), self.root)
        rank_new, rank_old = [(row["code_hash"] in present, row["status"] == "done") for row in (new, old)]
        return rank_new > rank_old or (rank_new == rank_old and rank_old != (True, True))

    def _merged(self, spooled: Iterable[Path]) -> tuple[list[str], dict[str, list[Row]]]:
        columns, runs = self._read_csv()
        for path in spooled:
            record = read_record(path)
            if record is None:
                continue
            new = record.cells()
            if record.hash not in runs or self._replaces(record.learner, new[0], runs[record.hash][0]):
                runs[record.hash] = new
                for row in new:
                    columns = _merge_columns(columns, list(row))
        for rows in runs.values():
            lacking = set(columns) - set(rows[0])
            blank = default_cells(rows[0]["learner"]) if lacking else {}
            rows[:] = [{name: row.get(name, blank.get(name, "")) for name in columns} for row in rows]
        return columns, runs


def write_record(spool: Path, record: Record) -> None:
    """Put a finished run into a table's spool, in one step.

    It outlives the process at once; a loss of power only from a second of work on, as forcing a
    file to disk may cost more than a short run.
    """
    durable = float(record.provenance["seconds"]) >= _DURABLE_SECONDS
    records.replace(spool / f"{record.hash}.json", record.to_json(), durable=durable)


def read_record(path: Path) -> Record | None:
    """Read a spooled run; None, with a warning, where the file is damaged, and where there is none."""
    try:
        return Record.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        warnings.warn(f"{path} is damaged and left out: its run will be done again", stacklevel=2)
        return None


def remove_checkpoints(spool: Path, runs: Collection[str]) -> None:
    """Delete the states that interrupted runs left, of runs that are finished or no longer wanted."""
    for path in [*spool.glob("*-*.pt"), *spool.glob("*-*.seconds")]:
        if path.name.partition("-")[0] in runs:
            path.unlink(missing_ok=True)


def default_cells(learner: str) -> dict[str, str]:
    """Cells of the settings that a run does not tell, as it came before them or has their default."""
    default = experiments.defaults(learner)
    return {name: cell(default[name]) for name in experiments.added(learner)}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))


def _sync(folder: Path) -> None:
    """Make the renaming of a file last a loss of power, before what it replaces is deleted."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _state(row: Mapping[str, str], codes: Mapping[str, Collection[str]]) -> State:
    if row["code_hash"] not in codes[row["learner"]]:
        return "stale"
    return "done" if row["status"] == "done" else "failed"


def _merge_columns(columns: list[str], new: list[str]) -> list[str]:
    """Columns with those that are only in `new`, each put behind its neighbour there."""
    merged = list(columns)
    for i, name in enumerate(new):
        if name not in merged:
            merged.insert(merged.index(new[i - 1]) + 1 if i else 0, name)
    return merged


def _is_row(row: Mapping[str, str | None]) -> bool:
    """Whether a line has a cell for each column (csv puts more under "", less as None), and is a run's."""
    whole = "" not in row and None not in row.values()
    return whole and {"learner", *_ESSENTIAL} <= row.keys() and _is_number(row["seconds"] or "")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _sort_key(text: str) -> tuple[int, float, str]:
    """Order of cells: empty ones, numbers by size, texts."""
    if not text:
        return 0, 0.0, ""
    return (1, float(text), text) if _is_number(text) and not math.isnan(float(text)) else (2, 0.0, text)


# ---------------------------------------------------------------- what chapters read


def read(
    name: str | Path,
    *,
    scale: str | None = "book",
    stale: Literal["error", "drop", "keep"] = "error",
    root: str | Path | None = None,
) -> pd.DataFrame:
    """Read the table of a sweep.

    Parameters
    ----------
    name : str or path
        Of the sweep, or its file where that is not in ``params/sweeps``.
    scale : str or None
        Only the runs of that scale of the sweep file; None for all runs in the table.
    stale : {"error", "drop", "keep"}
        What to do with rows that were made by other code than the present one.
    root : path, optional
        See :func:`rhmlib.grids.find_root`.

    Returns
    -------
    DataFrame
        The rows of all runs that succeeded, with the column `stale`. How complete it is stands in
        ``table.attrs["runs"]``: the numbers of runs ``done``, ``missing``, ``failed``, ``stale``
        (of the scale, or of the table, where none is missing); ``table.attrs["errors"]``: what failed runs
        said, each text once.

    Raises
    ------
    ValueError
        If there are no rows, or there are stale ones and `stale` is "error".
    """
    if stale not in ("error", "drop", "keep"):
        raise ValueError(f"stale must be 'error', 'drop' or 'keep'. Found stale={stale!r}.")
    stem = Path(name).stem
    table = Table(stem, root)
    columns, runs = table.runs()
    wanted = list(runs) if scale is None else [run.hash for run in grids.read_sweep(name, root).runs(scale)]
    found = {key: runs[key][0] for key in wanted if key in runs}
    codes = {
        learner: same_code.linked(learner, experiments.code_hash(learner), table.root)
        for learner in {row["learner"] for row in found.values()}
    }
    states = {key: _state(row, codes) for key, row in found.items()}
    counts = {state: list(states.values()).count(state) for state in ("done", "failed", "stale")}
    where = f"results/{stem}.csv" + (f", scale {scale!r}" if scale else "")
    if counts["stale"] and stale == "error":
        raise ValueError(
            f"{where} must hold rows of the present code only. Found {counts['stale']} runs of other code: "
            f"run `rhm sweep {name}`, or read with stale='drop' or 'keep'."
        )
    chosen = [
        key for key, state in states.items() if state == "done" or (state == "stale" and stale == "keep")
    ]
    rows = [row for key in chosen for row in runs[key] if row["status"] == "done"]
    errors = list(dict.fromkeys(found[key]["error"] for key, state in states.items() if state == "failed"))
    if not rows:
        first = f", the first error {errors[0]!r}" if errors else ""
        raise ValueError(f"{where} must hold finished runs. Found {counts}{first}: run `rhm sweep {name}`.")
    frame = _frame(columns, rows)
    frame["stale"] = [states[row["config_hash"]] == "stale" for row in rows]
    frame.attrs["runs"] = {**counts, "missing": len(wanted) - len(states)}
    frame.attrs["errors"] = errors
    return frame


def _frame(columns: list[str], rows: list[Row]) -> pd.DataFrame:
    import pandas as pd  # takes longer to load than a sweep needs to start

    cells = {name: [row[name] for row in rows] for name in columns}
    return pd.DataFrame({name: c if name in _TEXTS else _typed(c) for name, c in cells.items()})


def _typed(cells: list[str]) -> list[Any]:
    """Cells of a column as integers, flags, floats (empty ones as NaN) or texts, the first that fits."""
    if {"true", "false"}.issuperset(cells):
        return [text == "true" for text in cells]
    kinds: list[Callable[[str], Any]] = [int, lambda text: float(text or "nan")]
    for kind in kinds:
        with suppress(ValueError):
            return [kind(text) for text in cells]
    return cells
