"""Compare an older commit's code with the present one, so that rows outlive changes that change no number."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np

from rhmlib import experiments, grids, provenance, records, results, same_code, worker
from rhmlib.execution import Say

# What a process of either code does: read runs, a line each, and write their rows; null for what it does not
# know, as it came later.
_DRIVER = """
import json, sys
from contextlib import redirect_stdout
from rhmlib import experiments
def tell(found):
    print(json.dumps(found, sort_keys=True, default=lambda number: number.item()), flush=True)
learner = json.loads(sys.stdin.readline())
try:
    from rhmlib import provenance
    module = experiments._address(learner)[0]
    modules = provenance.code_hash(module) if module.startswith("rhmlib.") else None
    tell([experiments.code_hash(learner), modules])
except ValueError:
    tell([None, None])
for line in sys.stdin:
    texts, known = json.loads(line), experiments.field_names(learner)
    try:
        config = experiments.configure_from_text(learner, {name: texts.get(name, "") for name in known})
    except ValueError:
        tell(None)
        continue
    with redirect_stdout(sys.stderr):
        rows = config.run()
    tell(rows)
"""
# A metric in which no two executions of the same code agree.
_TIME = "milliseconds"


@dataclass(frozen=True)
class Comparison:
    """What two codes gave for one learner.

    Attributes
    ----------
    learner : str
    older_code, newer_code : str
        Hashes, as of :func:`rhmlib.experiments.code_hash`.
    older_commit, newer_commit : str
    dirty : bool
        Whether sources differed from the newer commit.
    runs, rows, equal : int
        Runs that both did, rows of the present code, and runs without a difference.
    times : float or None
        Geometric mean of the newer code's times by the older one's, where rows have times.
    same_source : bool
        Whether all modules that the learner imports were the same in both, up to comments, and just
        the way of hashing them was not: then nothing is run.
    """

    learner: str
    older_code: str
    newer_code: str
    older_commit: str
    newer_commit: str
    dirty: bool
    runs: int
    rows: int
    equal: int
    times: float | None = None
    same_source: bool = False


def confirm(
    commit: str,
    *,
    runs: int = 5,
    max_seconds: float = 60.0,
    seed: int = 0,
    learners: Iterable[str] | None = None,
    root: str | Path | None = None,
    say: Say = print,
) -> list[Comparison]:
    """Let an older commit's code and the present one do the same runs, and write down which were equal.

    Parameters
    ----------
    commit : str
        As git names it.
    runs : int
        Recorded runs for each learner, spread over its tables; beside them, all of the scales "quick".
    max_seconds : float
        Choose only recorded runs that took at most so long.
    seed : int
        Of the choice.
    learners : iterable of str, optional
        Default: all.
    root : path, optional
        See :func:`rhmlib.grids.find_root`.
    say : callable
        Told the outcome for each learner.

    Returns
    -------
    list of Comparison
        They are appended to the record of :mod:`rhmlib.same_code`.

    Raises
    ------
    ValueError
        If there is no such commit, or no learner has stale rows that its code made.

    Notes
    -----
    Rows are compared to the last bit, which recorded ones could not be: another machine rounds
    otherwise. Where a row is a time, what else it holds is compared, and the times are set beside each
    other: both codes run at the same time. Only runs on the CPU are done, and of those the ones that both
    codes know. Learners that are linked already are left out.
    """
    if runs < 1:
        raise ValueError(f"runs must be an integer >= 1. Found runs={runs}.")
    if not max_seconds > 0:
        raise ValueError(f"max_seconds must be positive. Found max_seconds={max_seconds}.")
    top = grids.find_root(root)
    commit = _name(top, commit)
    newer = {"newer_commit": provenance.commit(top), "dirty": provenance.is_dirty(top)}
    chosen_learners = list(experiments.LEARNERS if learners is None else learners)
    tables = _tables(top)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        _extract(top, commit, Path(folder))
        for learner in chosen_learners:
            new = experiments.code_hash(learner)
            linked = same_code.linked(learner, new, top)
            stale = {code for of, code in tables if of == learner and code not in linked}
            if not stale:
                continue
            old, old_modules = _drive(Path(folder), learner, [])[0]
            if old is None or old in linked or not same_code.linked(learner, old, top) & stale:
                continue
            if old_modules and old_modules == provenance.code_hash(experiments._address(learner)[0]):
                found.append(_of_same_sources(learner, (old, new), older_commit=commit, **newer))
                _write(found[-1], top)
                say(f"{learner}: the same sources")
                continue
            rng = np.random.default_rng(seed)
            codes = same_code.linked(learner, old, top) & stale
            recorded = _joined(tables[learner, code] for code in sorted(codes))
            if not recorded:
                continue
            samples = [*_quick(top, learner), *_spread(recorded, runs, max_seconds, rng)]
            found.append(_compare(learner, (old, new), Path(folder), samples, older_commit=commit, **newer))
            _write(found[-1], top)
            say(f"{learner}: {found[-1].equal} of {found[-1].runs} runs equal ({found[-1].rows} rows)")
    if not found:
        raise ValueError(
            f"there must be stale rows that the code of {commit} made. Found none: nothing to compare."
        )
    return found


def _name(root: Path, commit: str) -> str:
    """Short hash of a commit."""
    done = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--short=10", "--verify", "--quiet", f"{commit}^{{commit}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(f"commit must be one of the repository in {root}. Found {commit!r}.")
    return done.stdout.strip()


def _extract(root: Path, commit: str, folder: Path) -> None:
    """Put the library of a commit into a folder."""
    done = subprocess.run(
        ["git", "-C", str(root), "archive", "--format=tar", commit, "rhmlib"],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(f"commit must be one with the library in it. Found {commit!r}.")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")


def _tables(root: Path) -> dict[tuple[str, str], dict[str, list[results.Row]]]:
    """First rows of all finished runs, by learner and code, and by table."""
    found: dict[tuple[str, str], dict[str, list[results.Row]]] = {}
    for path in grids.sweep_files(root):
        for rows in results.Table(path.stem, root).runs()[1].values():
            first = rows[0]
            if first["status"] == "done":
                of_code = found.setdefault((first["learner"], first["code_hash"]), {})
                of_code.setdefault(path.stem, []).append(first)
    return found


def _joined(parts: Iterable[Mapping[str, list[results.Row]]]) -> dict[str, list[results.Row]]:
    """Runs of several codes on the CPU, by table."""
    found: dict[str, list[results.Row]] = {}
    for part in parts:
        for table, rows in part.items():
            there = [row for row in rows if _on_cpu(row.get("device") or "cpu")]
            if there:
                found.setdefault(table, []).extend(there)
    return found


def _on_cpu(device: str) -> bool:
    """Whether a run would be on the CPU here: on a GPU not even one code need agree with itself."""
    return device == "cpu" or (device == "auto" and provenance.resolve_device() == "cpu")


def _quick(root: Path, learner: str) -> list[dict[str, str]]:
    """Settings of all runs of a learner at the scale "quick", but those that an older code cannot know."""
    found = []
    for path in grids.sweep_files(root):
        sweep = grids.read_sweep(path, root)
        for run in sweep.scales.get("quick", []):
            values = experiments.recorded_values(run.learner, experiments.config_values(run.config))
            known = not experiments.added(learner) & values.keys()
            if run.learner == learner and known and _on_cpu(str(values.get("device", "cpu"))):
                found.append({name: results.cell(value) for name, value in values.items()})
    return found


def _spread(
    tables: Mapping[str, list[results.Row]], count: int, max_seconds: float, rng: np.random.Generator
) -> list[results.Row]:
    """Random runs that were not too long, from each table in turn."""
    short = [[row for row in rows if float(row["seconds"]) <= max_seconds] for rows in tables.values()]
    mixed = [[rows[i] for i in rng.permutation(len(rows))] for rows in short]
    turns = [row for turn in zip_longest(*mixed) for row in turn if row is not None]
    return turns[:count]


def _of_same_sources(learner: str, codes: tuple[str, str], **commits: Any) -> Comparison:
    return Comparison(learner, *codes, runs=0, rows=0, equal=0, same_source=True, **commits)


def _compare(
    learner: str, codes: tuple[str, str], older: Path, samples: list[dict[str, str]], **commits: Any
) -> Comparison:
    """Let both codes do some runs, at the same time."""
    newer = provenance.PACKAGE.parent
    with ThreadPoolExecutor(2) as pool:
        before, after = pool.map(lambda path: _drive(path, learner, samples), (older, newer))
    if (before[0][0], after[0][0]) != codes:
        raise ValueError(
            f"the code must stay as it is during a comparison. Found {after[0][0]}, after {codes[1]}."
        )
    both = [(a, b) for a, b in zip(before[1:], after[1:], strict=True) if a is not None and b is not None]
    equal = sum(_text(a) == _text(b) for a, b in both)
    rows = sum(len(b) for _, b in both)
    return Comparison(learner, *codes, runs=len(both), rows=rows, equal=equal, times=_times(both), **commits)


def _text(rows: list[dict[str, Any]]) -> str:
    """Rows without times, so that what is equal is equal to the last bit and of the same type."""
    return json.dumps([{name: x for name, x in row.items() if name != _TIME} for row in rows])


def _times(both: list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]) -> float | None:
    ratios = [
        y[_TIME] / x[_TIME]
        for a, b in both
        for x, y in zip(a, b, strict=False)
        if x.get(_TIME) and y.get(_TIME)
    ]
    return float(f"{geometric_mean(ratios):.3f}") if ratios else None


def _drive(path: Path, learner: str, samples: list[dict[str, str]]) -> list[Any]:
    """Hashes of a code, of what a run reaches and of whole modules, and, by it, the rows of some runs."""
    lines = "".join(f"{json.dumps(each)}\n" for each in (learner, *samples))
    environment = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER],
        input=lines,
        env=environment,
        cwd=path,
        capture_output=True,
        text=True,
        check=False,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    if len(found) != 1 + len(samples):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ValueError(f"the code in {path} must do runs of {learner!r}. Found that it stopped: {last}")
    return found


def _write(comparison: Comparison, root: Path) -> None:
    path = same_code.record_path(root)
    where = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device_name": provenance.device_name(),
        "platform": worker.platform_name(),
        "versions": worker.versions(),
    }
    columns = [*where, *(each.name for each in fields(Comparison))]
    cells = {name: results.cell(value) for name, value in {**where, **asdict(comparison)}.items()}
    records.append(path, columns, [cells])
