"""Audit: do a random sample of the runs in the tables again, here, and compare."""

from __future__ import annotations

import dataclasses
import math
import os
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from rhmlib import experiments, grids, provenance, records, results, same_code
from rhmlib.execution import Queue, Say, run_locally
from rhmlib.worker import Done, Task

RECORD_COLUMNS = ("table", "code_hash", "runs", "rows", "equal", "elsewhere", "differences")

# Where these agree, a run on the CPU must give the same numbers to the last bit.
_SAME_PLATFORM = ("device_name", "platform")
# What is not compared: how a row was made, and a metric that is a time, which no run gives twice.
_NOT_COMPARED = frozenset({*experiments.PROVENANCE, "milliseconds"})


@dataclass(frozen=True)
class Difference:
    """A cell of a table that another execution does not confirm.

    Attributes
    ----------
    table, run : str
        Name of the table; settings of the run and place of the row.
    column, recorded, found : str
    allowed : float
        Greatest absolute difference that would have passed; 0 asks for equality.
    """

    table: str
    run: str
    column: str
    recorded: str
    found: str
    allowed: float = 0.0

    def __str__(self) -> str:
        asked = f"within {self.allowed:g}" if self.allowed else "equal"
        return (
            f"{self.table}: {self.run}: {self.column} must be {asked}. "
            f"Recorded {self.recorded or 'nothing'}, found {self.found or 'nothing'}"
        )


@dataclass(frozen=True)
class TableAudit:
    """What an audit found in one table.

    Attributes
    ----------
    table : str
    code_hash : str
        Of the code that its rows, and the runs done again, are by.
    runs, rows, equal, elsewhere : int
        As in :class:`Audit`.
    differences : int
    """

    table: str
    code_hash: str
    runs: int = 0
    rows: int = 0
    equal: int = 0
    elsewhere: int = 0
    differences: int = 0


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes
    ----------
    runs, rows : int
        How many were done again and compared.
    equal : int
        Runs without a difference.
    elsewhere : int
        Runs that were recorded on another platform and so compared within tolerances.
    differences : tuple of Difference
    tables : tuple of TableAudit
        The same by table, for those of which something was compared.
    """

    runs: int
    rows: int
    equal: int
    elsewhere: int
    differences: tuple[Difference, ...]
    tables: tuple[TableAudit, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


@dataclass(frozen=True)
class _Recorded:
    table: str
    learner: str
    config: Any
    rows: list[results.Row]

    @property
    def hash(self) -> str:
        return self.rows[0]["config_hash"]


def audit(
    *,
    fraction: float | None = None,
    rows: int | None = None,
    seed: int = 0,
    sweeps: Iterable[str] | None = None,
    max_seconds: float | None = None,
    jobs: int = 1,
    root: str | Path | None = None,
    say: Say = print,
) -> Audit:
    """Do a random sample of recorded runs again and compare all their rows.

    Parameters
    ----------
    fraction : float, optional
        Share of the runs, in (0, 1]; by default 0.02 where `rows` is not given. Runs that ask for a device
        which is not there are left out.
    rows : int, optional
        Number of runs, instead; all, where there are fewer.
    seed : int
        Of the sample.
    sweeps : iterable of str, optional
        Names of sweeps; default: all that have a table.
    max_seconds : float, optional
        Sample only from runs that took at most so long.
    jobs : int
        Processes.
    root : path, optional
        See :func:`rhmlib.grids.find_root`.
    say : callable
        Told each difference and the sum, line by line.

    Returns
    -------
    Audit

    Raises
    ------
    ValueError
        If an argument is out of range, or there is no run to audit: one that succeeded, with the
        present code.

    Notes
    -----
    On the same device, platform and versions a run on the CPU must give equal numbers; otherwise
    metrics may differ by the experiment's `tolerances`. Rows that do not tell the processor's kind may be of
    another than this one's: they are equal, or else compared by tolerances. All other columns but times
    must always be equal, and for every run of the tables, whether done again or not, the hash must be that
    of its settings.
    """
    _check(fraction, rows, max_seconds)
    _sources(root)
    recorded, differences = _collect(sweeps, root, say)
    there = [run for run in recorded if _device_is_there(run)]
    cheap = [run for run in there if max_seconds is None or float(run.rows[0]["seconds"]) <= max_seconds]
    if not cheap:
        raise ValueError(
            f"there must be finished runs of the present code to audit. Found none of {len(recorded)}."
        )
    size = min(len(cheap), rows or math.ceil((fraction or 0.02) * len(cheap)))
    chosen = np.random.default_rng(seed).choice(len(cheap), size=size, replace=False)
    sample = {run.hash: run for run in (cheap[i] for i in sorted(chosen))}
    equal, elsewhere = set[str](), set[str]()
    for done in run_locally(Queue(deque(_task(run) for run in sample.values())), jobs):
        same = _same_platform(sample[done.hash], done)
        found = list(_compare(sample[done.hash], done, exact=same is not False))
        if found and same is None:
            same, found = False, list(_compare(sample[done.hash], done, exact=False))
        if not found:
            equal.add(done.hash)
        if same is False:
            elsewhere.add(done.hash)
        differences += found
    for difference in differences:
        say(str(difference))
    tables = _by_table(sample, equal, elsewhere, differences)
    total = sum(len(run.rows) for run in sample.values())
    outcome = Audit(size, total, len(equal), len(elsewhere), tuple(differences), tables)
    note = f", {len(elsewhere)} of them within tolerances, as made on another platform" if elsewhere else ""
    say(f"{len(equal)} of {size} runs equal ({total} rows{note})")
    return outcome


def _sources(root: str | Path | None) -> dict[str, str]:
    """Commit, and whether sources differ from it: read once a process, so at the beginning of an audit."""
    top = grids.find_root(root)
    return {"commit": provenance.commit(top), "dirty": results.cell(provenance.is_dirty(top))}


def _by_table(
    sample: Mapping[str, _Recorded], equal: set[str], elsewhere: set[str], differences: Iterable[Difference]
) -> tuple[TableAudit, ...]:
    wrong = Counter(difference.table for difference in differences)
    found = []
    for table in sorted({run.table for run in sample.values()} | set(wrong)):
        runs = {name: run for name, run in sample.items() if run.table == table}
        code = next((run.rows[0]["code_hash"] for run in runs.values()), "")
        rows = sum(len(run.rows) for run in runs.values())
        found.append(
            TableAudit(
                table, code, len(runs), rows, len(equal & set(runs)), len(elsewhere & set(runs)), wrong[table]
            )
        )
    return tuple(found)


# ---------------------------------------------------------------- a record of audits


def record_path(root: str | Path | None = None) -> Path:
    """``results/audits.csv``, where :func:`record` writes."""
    return grids.find_root(root) / "results" / "audits.csv"


def record(
    found: Audit, *, seed: int = 0, max_seconds: float | None = None, root: str | Path | None = None
) -> Path:
    """Append what an audit found to the record of audits, a row a table.

    Parameters
    ----------
    found : Audit
    seed, max_seconds
        As for :func:`audit`.
    root : path, optional
        See :func:`rhmlib.grids.find_root`.

    Returns
    -------
    Path
        The CSV file. A row says when, on what machine and with which commit a table was audited, how
        many runs and rows were done again, how many runs agreed, and how many cells differed.
    """
    root = grids.find_root(root)
    path = record_path(root)
    where = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **_sources(root),
        "device_name": provenance.device_name(),
        "platform": provenance.platform_key(),
        "seed": str(seed),
        "max_seconds": results.cell(max_seconds),
    }
    rows = [{**where, **dataclasses.asdict(table)} for table in found.tables]
    records.append(path, [*where, *RECORD_COLUMNS], rows)
    return path


def read_record(root: str | Path | None = None) -> list[dict[str, str]]:
    """Read the record of audits, a dict a table and audit, in the order of time; [] where there is none."""
    return records.read(record_path(root))


def _check(fraction: float | None, rows: int | None, max_seconds: float | None) -> None:
    if fraction is not None and rows is not None:
        raise ValueError(f"fraction must be left out with rows. Found fraction={fraction}, rows={rows}.")
    if fraction is not None and not 0 < fraction <= 1:
        raise ValueError(f"fraction must be in (0, 1]. Found fraction={fraction}.")
    if rows is not None and rows < 1:
        raise ValueError(f"rows must be an integer >= 1. Found rows={rows}.")
    if max_seconds is not None and not max_seconds > 0:
        raise ValueError(f"max_seconds must be positive. Found max_seconds={max_seconds}.")


def _collect(
    sweeps: Iterable[str] | None, root: str | Path | None, say: Say
) -> tuple[list[_Recorded], list[Difference]]:
    """Runs that can be audited, and those whose settings are not what their hash says."""
    paths = grids.sweep_files(root) if sweeps is None else [grids.sweep_path(name, root) for name in sweeps]
    recorded: list[_Recorded] = []
    altered: list[Difference] = []
    codes: dict[str, frozenset[str]] = {}
    for name in [path.stem for path in paths]:
        runs, stale = results.Table(name, root).runs()[1], 0
        for rows in runs.values():
            first = rows[0]
            learner = first["learner"]
            if learner not in codes:
                codes[learner] = same_code.linked(learner, experiments.code_hash(learner), root)
            if first["code_hash"] not in codes[learner]:
                stale += 1
                continue
            if first["status"] != "done":
                continue
            try:
                config = _settings(first)
            except ValueError as error:
                altered.append(Difference(name, first["config_hash"], "settings", "", str(error)))
                continue
            actual = experiments.config_hash(first["learner"], config)
            if actual != first["config_hash"]:
                altered.append(
                    Difference(name, _describe(config), "config_hash", first["config_hash"], actual)
                )
                continue
            recorded.append(_Recorded(name, first["learner"], config, rows))
        if stale:
            say(f"{name}: {stale} runs of other code are left out")
    return recorded, altered


def _settings(row: Mapping[str, str]) -> Any:
    learner = row["learner"]
    return experiments.configure_from_text(
        learner, {name: row.get(name, "") for name in experiments.field_names(learner)}
    )


def _describe(config: Any) -> str:
    return " ".join(f"{name}={value}" for name, value in experiments.config_values(config).items())


def _task(run: _Recorded) -> Task:
    return Task(
        learner=run.learner,
        settings=experiments.config_values(run.config),
        hash=run.hash,
        code=experiments.code_hash(run.learner),
        commit="",
        dirty=False,
        pid=os.getpid(),
    )


def _device_is_there(run: _Recorded) -> bool:
    try:
        provenance.resolve_device(getattr(run.config, "device", "cpu"))
    except ValueError:
        return False
    return True


def _same_platform(run: _Recorded, done: Done) -> bool | None:
    """Whether a run must give equal numbers; None where its rows do not tell for what kind of processor."""
    assert done.record is not None
    here = {name: str(done.record.provenance[name]) for name in _SAME_PLATFORM}
    older = run.rows[0].get("platform", "")
    untold = here["platform"].startswith(f"{older}-")
    if untold:
        here["platform"] = older
    on_cpu = getattr(run.config, "device", "cpu") == "cpu"
    # What this process has loaded beside, such as torch for another learner, makes no difference.
    installed = {f"{name}-{version}" for name, version in provenance.versions().items()}
    versions = set(run.rows[0].get("versions", "").split()) <= installed
    same = on_cpu and versions and all(run.rows[0].get(name) == text for name, text in here.items())
    return None if same and untold else same


def _compare(run: _Recorded, done: Done, *, exact: bool) -> Iterable[Difference]:
    assert done.record is not None
    where = _describe(run.config)
    if done.status != "done":
        yield Difference(run.table, where, "status", "done", str(done.record.provenance["error"]))
        return
    new = done.record.cells()
    if len(new) != len(run.rows):
        yield Difference(run.table, where, "number of rows", str(len(run.rows)), str(len(new)))
        return
    tolerances = {} if exact else experiments.load(run.learner).tolerances
    blank = results.default_cells(run.learner)
    for number, (recorded, found) in enumerate(zip(run.rows, new, strict=True), start=1):
        for column in [name for name in {**recorded, **found} if name not in _NOT_COMPARED]:
            a, b = (row.get(column) or blank.get(column, "") for row in (recorded, found))
            allowed = tolerances.get(column, 0.0)
            if not _agree(a, b, allowed):
                yield Difference(run.table, f"{where}, row {number}", column, a, b, allowed)


def _agree(recorded: str, found: str, allowed: float) -> bool:
    if recorded == found:
        return True
    try:
        return allowed > 0 and abs(float(recorded) - float(found)) <= allowed
    except ValueError:
        return False
