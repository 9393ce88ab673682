"""Run a sweep: those runs of a sweep file that its table lacks, on this machine or on a cluster.

On a Slurm cluster, start workers of one thread each, from any Python process that stays alive, and
give the address to ``rhm sweep FILE --scheduler ADDRESS``::

    from dask_jobqueue import SLURMCluster

    cluster = SLURMCluster(
        cores=1, processes=1, memory="16GB", walltime="04:00:00",
        job_extra_directives=["--gpus=1"],              # both lines only for runs with
        worker_extra_args=["--resources", "GPU=1"],     # device: cuda
    )
    cluster.scale(jobs=8)
    print(cluster.scheduler_address)

Without dask, several ``rhm sweep FILE`` may work on one table at a time, also on several machines with
a common disk whose file locks work (an array of jobs): each run is done by one of them.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import joblib
import numpy as np
from tqdm import tqdm

from rhmlib import experiments, grids, provenance, results
from rhmlib.execution import Queue, Say, Stop, check_cluster, connect, run_locally, run_on_cluster
from rhmlib.worker import Done, Task

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Outcome:
    """What a call of :func:`sweep` did.

    Attributes
    ----------
    done, failed : int
        Runs that it finished, and of them those that failed.
    left : int
        Runs that were to do and are not done: it was stopped, or another process has them in hand.
    reason : str
        Why it was stopped before the end; empty if it was not.
    """

    done: int
    failed: int
    left: int
    reason: str = ""


@dataclass(frozen=True)
class Status:
    """How far one scale of a sweep is.

    Attributes
    ----------
    sweep, scale : str
    done, missing, failed, stale : int
        Numbers of runs.
    seconds_left : float
        Of one core, for what is missing or stale; NaN where no finished run tells.
    other : int
        Runs in the table that belong to no scale of the sweep file any more.
    """

    sweep: str
    scale: str
    done: int
    missing: int
    failed: int
    stale: int
    seconds_left: float
    other: int

    @property
    def total(self) -> int:
        """Runs of the scale."""
        return self.done + self.missing + self.failed + self.stale

    @property
    def hours_left(self) -> float:
        """Core hours for what is missing or stale; NaN if unknown."""
        return self.seconds_left / 3600


@dataclass(frozen=True)
class Cost:
    """What one scale of a sweep takes on one core.

    Attributes
    ----------
    sweep, title, learner, scale : str
    runs : int
    measured : int
        Runs that are in the table, whose seconds are known.
    seconds : float
        Of all runs: measured, or estimated from runs of the same learner; NaN where no run tells.
    longest : float
        Seconds of the longest run, which no number of cores makes shorter.
    """

    sweep: str
    title: str
    learner: str
    scale: str
    runs: int
    measured: int
    seconds: float
    longest: float

    def wall(self, cores: int) -> float:
        """Seconds on so many cores, a run on each: an even share, or the longest run."""
        return max(self.seconds / cores, self.longest)


# ---------------------------------------------------------------- how far a sweep is


@dataclass
class _Plan:
    """A scale of a sweep with the state of its runs.

    Attributes
    ----------
    todo : list of Run
        Missing and stale runs (failed ones too, if they are to be tried again), the dearest
        first, so that no core waits for a long last run.
    seconds : dict of hash to float
        Estimate for each run to do; NaN if unknown.
    """

    sweep: grids.Sweep
    table: results.Table
    code: str
    states: dict[str, results.State]
    todo: list[grids.Run]
    seconds: dict[str, float]
    other: int

    def status(self, scale: str) -> Status:
        count = Counter[str](self.states.get(run.hash, "missing") for run in self.sweep.runs(scale))
        left = [s for name, s in self.seconds.items() if self.states.get(name) != "failed"]
        return Status(
            sweep=self.sweep.name,
            scale=scale,
            done=count["done"],
            missing=count["missing"],
            failed=count["failed"],
            stale=count["stale"],
            seconds_left=math.fsum(left),
            other=self.other,
        )


@dataclass(frozen=True)
class _Survey:
    """A sweep with what its table holds.

    Attributes
    ----------
    found : dict of hash to (state, seconds)
    timings : list of (cost, seconds)
        Of finished runs of the learner, to estimate others by.
    """

    sweep: grids.Sweep
    table: results.Table
    code: str
    found: dict[str, tuple[results.State, float]]
    timings: list[tuple[float, float]]


def _survey(sweep: grids.Sweep) -> _Survey:
    table = results.Table(sweep.name, sweep.root)
    code = experiments.code_hash(sweep.learner)
    found = table.states(code)
    return _Survey(sweep, table, code, found, _timings(sweep, found) or _timings_elsewhere(sweep))


def _surveys(root: str | Path | None, names: Iterable[str] | None) -> list[_Survey]:
    """Survey the sweeps of these names; all of them where there are none."""
    chosen = [path.stem for path in grids.sweep_files(root)] if names is None else names
    return [_survey(grids.read_sweep(name, root)) for name in chosen]


def _plan(survey: _Survey, scale: str, retry_failed: bool = False) -> _Plan:
    sweep = survey.sweep
    states = {name: state for name, (state, _) in survey.found.items()}
    skip = {"done"} if retry_failed else {"done", "failed"}
    todo = [run for run in sweep.runs(scale) if states.get(run.hash) not in skip]
    todo.sort(key=lambda run: -experiments.cost(run.config))
    costs = [experiments.cost(run.config) for run in todo]
    seconds = dict(zip([run.hash for run in todo], estimate(survey.timings, costs), strict=True))
    other = states.keys() - {run.hash for name in sweep.scales for run in sweep.runs(name)}
    return _Plan(sweep, survey.table, survey.code, states, todo, seconds, len(other))


def _timings(sweep: grids.Sweep, found: dict[str, tuple[results.State, float]]) -> list[tuple[float, float]]:
    """Cost and seconds of a sweep's finished runs."""
    every = {run.hash: run for name in sweep.scales for run in sweep.runs(name)}
    return [
        (experiments.cost(every[name].config), seconds)
        for name, (state, seconds) in found.items()
        if name in every and state != "failed"
    ]


def _timings_elsewhere(sweep: grids.Sweep) -> list[tuple[float, float]]:
    """Cost and seconds of the same learner's runs in other sweeps; a file that is wrong is passed over."""
    known: list[tuple[float, float]] = []
    code = experiments.code_hash(sweep.learner)
    for path in grids.sweep_files(sweep.root):
        table = results.Table(path.stem, sweep.root)
        if path.stem == sweep.name or not table.path.exists():
            continue
        with suppress(ValueError):
            other = grids.read_sweep(path, sweep.root)
            if other.learner == sweep.learner:
                known += _timings(other, table.states(code))
    return known


def estimate(known: Iterable[tuple[float, float]], costs: Sequence[float]) -> list[float]:
    """Guess the seconds of runs from those of others.

    Parameters
    ----------
    known : iterable of (cost, seconds)
        Of finished runs.
    costs : sequence of float
        Of the others; see :func:`rhmlib.experiments.cost`.

    Returns
    -------
    list of float
        The mean over runs of the same cost, interpolated on logarithms between costs; beyond the
        dearest, in proportion; below the cheapest, its own. NaN if nothing is known.
    """
    times: dict[float, list[float]] = {}
    for at, seconds in known:
        times.setdefault(at, []).append(max(seconds, 1e-6))
    if not times:
        return [math.nan] * len(costs)
    measured = sorted(times)
    means = [float(np.mean(times[cost])) for cost in measured]
    wanted = np.asarray(costs, dtype=float)
    between = np.exp(np.interp(np.log(wanted), np.log(measured), np.log(means)))
    return [float(seconds) for seconds in between * np.maximum(1.0, wanted / measured[-1])]


def status(root: str | Path | None = None, sweeps: Iterable[str] | None = None) -> list[Status]:
    """Tell how far each scale of each sweep is.

    Parameters
    ----------
    root : path, optional
        See :func:`rhmlib.grids.find_root`.
    sweeps : iterable of str, optional
        Names of sweeps; default: all.

    Returns
    -------
    list of Status
        See :func:`format_status` for a text.
    """
    return [
        _plan(survey, scale).status(scale)
        for survey in _surveys(root, sweeps)
        for scale in survey.sweep.scales
    ]


def costs(root: str | Path | None = None, sweeps: Iterable[str] | None = None) -> list[Cost]:
    """Tell what each scale of each sweep takes, from the seconds in the tables.

    Parameters
    ----------
    root : path, optional
        See :func:`rhmlib.grids.find_root`.
    sweeps : iterable of str, optional
        Names of sweeps; default: all.

    Returns
    -------
    list of Cost
        Where a run is not in the table, what it would take is estimated by :func:`estimate`.
    """
    return [_cost(survey, scale) for survey in _surveys(root, sweeps) for scale in survey.sweep.scales]


def _cost(survey: _Survey, scale: str) -> Cost:
    runs = survey.sweep.runs(scale)
    known = {run.hash: survey.found[run.hash][1] for run in runs if run.hash in survey.found}
    others = [experiments.cost(run.config) for run in runs if run.hash not in known]
    seconds = [*known.values(), *estimate(survey.timings, others)]
    return Cost(
        sweep=survey.sweep.name,
        title=survey.sweep.title,
        learner=survey.sweep.learner,
        scale=scale,
        runs=len(runs),
        measured=len(known),
        seconds=math.fsum(seconds),
        longest=max(seconds),
    )


def format_status(rows: Iterable[Status]) -> str:
    """Return a table for the eye, a line a scale."""
    lines = [("sweep", "scale", "done", "missing", "failed", "stale", "core hours left")]
    notes = {}
    for row in rows:
        hours = "unknown" if math.isnan(row.hours_left) else f"{row.hours_left:.2f}"
        numbers = (str(row.done), str(row.missing), str(row.failed), str(row.stale))
        lines.append((row.sweep, row.scale, *numbers, hours))
        if row.other:
            notes[row.sweep] = f"{row.sweep}: {row.other} runs in the table belong to no scale any more"
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for line in lines:
        names = [cell.ljust(width) for cell, width in zip(line[:2], widths[:2], strict=True)]
        values = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
        text.append("  ".join([*names, *values]))
    return "\n".join([*text, *notes.values()])


def prune(name: str, root: str | Path | None = None) -> int:
    """Remove from a sweep's table the runs that belong to no scale of its file any more.

    Returns
    -------
    int
        How many runs were removed.
    """
    sweep = grids.read_sweep(name, root)
    hashes = {run.hash for runs in sweep.scales.values() for run in runs}
    return results.Table(sweep.name, sweep.root).keep(hashes)


# ---------------------------------------------------------------- the sweep


def sweep(
    file: str | Path,
    scale: str = "book",
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    limit_minutes: float | None = None,
    retry_failed: bool = False,
    root: str | Path | None = None,
    progress: bool = True,
    say: Say = print,
) -> Outcome:
    """Do the runs of a sweep that are missing or stale; each is kept as soon as it is finished.

    Parameters
    ----------
    file : path or str
        Sweep file, or its name.
    scale : str
        Which of its grids.
    jobs : int, optional
        Processes on this machine; default: its cores.
    scheduler : str, optional
        Address of a running dask cluster, which is used instead. Its workers should have one
        thread each and have this rhmlib installed.
    limit_minutes : float, optional
        After so long no run is begun any more.
    retry_failed : bool
        Whether to do failed runs again. (Failed runs of other code count as stale.)
    root : path, optional
        See :func:`rhmlib.grids.find_root`.
    progress : bool
        Whether to show a bar.
    say : callable
        What is told goes here, line by line.

    Returns
    -------
    Outcome

    Raises
    ------
    ValueError
        If anything in the file, the arguments or the cluster is wrong; before any run.
    SweepError
        If workers die again and again, or run other code. What was finished is kept.
    """
    _check(jobs, scheduler, limit_minutes)
    stop = Stop(math.inf if limit_minutes is None else time.monotonic() + 60 * limit_minutes)
    content = grids.read_sweep(file, root)
    content.runs(scale)
    results.Table(content.name, content.root).compact()
    plan = _plan(_survey(content), scale, retry_failed)
    jobs = jobs or joblib.cpu_count()
    say(_summary(plan, scale, None if scheduler else jobs))
    if not plan.todo:
        return Outcome(0, 0, 0)
    if scheduler is None and any(map(_wants_cuda, plan.todo)) and provenance.resolve_device() == "cpu":
        say("These runs want a CUDA device, and there is none here: they will take the time given above.")
    if scheduler is not None and any(getattr(run.config, "device", None) == "auto" for run in plan.todo):
        say("Runs with device: auto take what their worker has; with device: cuda they ask for a GPU.")
    queue = Queue(deque(_tasks(plan, shared_disk=scheduler is None)), stop, _watch(plan.table, plan.code))
    if scheduler is None:
        return _collect(plan, run_locally(queue, jobs), stop, progress, say)
    with connect(scheduler) as client:
        check_cluster(client, queue.waiting)
        return _collect(plan, run_on_cluster(queue, client, say), stop, progress, say)


def table(
    name: str, scale: str = "book", *, root: str | Path | None = None, say: Say = print
) -> pd.DataFrame:
    """Read the table of a sweep, after doing what is missing where this machine is meant for it.

    The published scale is only read. Of any other, missing runs are done first, if there is the
    device that they ask for.

    Parameters
    ----------
    name : str
        Of the sweep.
    scale : str
        Which of its grids.
    root : path, optional
        See :func:`rhmlib.grids.find_root`.
    say : callable
        What is told goes here, line by line.

    Returns
    -------
    DataFrame
        See :func:`rhmlib.results.read`.

    Raises
    ------
    ValueError
        If runs of another scale than the published one are missing that ask for a CUDA device
        (``device: auto`` or ``cuda``), and there is none. The message tells what they would take.
    """
    if scale != "book":
        check_device([name], scale, root=root)
        if _plan(_survey(grids.read_sweep(name, root)), scale).todo:
            sweep(name, scale, jobs=1, root=root, progress=False, say=say)
    return results.read(name, scale=scale, root=root)


def check_device(names: Iterable[str], scale: str, *, root: str | Path | None = None) -> None:
    """Refuse a scale whose missing runs ask for a CUDA device where there is none.

    Parameters
    ----------
    names : iterable of str
        Of sweeps; those that have no such scale are passed over.
    scale : str
    root : path, optional
        See :func:`rhmlib.grids.find_root`.

    Raises
    ------
    ValueError
        If runs are missing that ask for one (``device: auto`` or ``cuda``), and there is none. The message
        tells what they would take here.
    """
    if provenance.resolve_device() != "cpu":
        return
    files = [grids.read_sweep(name, root) for name in names]
    plans = [_plan(_survey(file), scale) for file in files if scale in file.scales]
    asking = [plan for plan in plans if any(_wants_cuda(run) for run in plan.todo)]
    if asking:
        first = asking[0].sweep.name
        which = f"sweep {first!r}" if len(asking) == 1 else f"sweeps {[plan.sweep.name for plan in asking]}"
        raise ValueError(
            f"scale {scale!r} of the {which} must run on a machine with a CUDA device. Found none. "
            f"{_need(asking)} To run it here all the same: rhm sweep {first} --scale {scale}"
        )


def _wants_cuda(run: grids.Run) -> bool:
    return str(getattr(run.config, "device", "cpu")).startswith(("auto", "cuda"))


def _need(plans: Sequence[_Plan]) -> str:
    total = math.fsum(seconds for plan in plans for seconds in plan.seconds.values())
    time_here = "an unknown time" if math.isnan(total) else f"about {duration(total)}"
    return (
        f"{sum(len(plan.todo) for plan in plans)} runs are missing; one core of this kind of CPU would take "
        f"{time_here}, judging by the runs that are finished."
    )


def _check(jobs: int | None, scheduler: str | None, limit_minutes: float | None) -> None:
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1):
        raise ValueError(f"jobs must be an integer >= 1. Found jobs={jobs!r}.")
    if jobs is not None and scheduler is not None:
        raise ValueError(f"jobs must be left out with a scheduler: the cluster decides. Found jobs={jobs}.")
    if limit_minutes is not None and not limit_minutes > 0:
        raise ValueError(f"limit_minutes must be positive. Found limit_minutes={limit_minutes!r}.")


def _tasks(plan: _Plan, *, shared_disk: bool) -> list[Task]:
    spool = plan.table.spool if shared_disk else None
    return [Task.of(run, plan.code, spool) for run in plan.todo]


def _watch(table: results.Table, code: str) -> Callable[[str], bool]:
    """Return a test for runs that another process has finished since the sweep began."""
    seen, done = table.stamp(), set[str]()

    def finished(name: str) -> bool:
        nonlocal seen, done
        stamp = table.stamp()
        if stamp != seen:
            seen = stamp
            done = {key for key, (state, _) in table.states(code).items() if state == "done"}
        return name in done

    return finished


def _collect(plan: _Plan, finished: Iterator[Done], stop: Stop, progress: bool, say: Say) -> Outcome:
    """Take results as they come, and merge them into the table however it ends."""
    counts = Counter[str]()
    plan.table.open()
    try:
        with stop.on_interrupt(say), _Bar(plan, progress) as bar:
            for done in finished:
                if done.record is not None:
                    results.write_record(plan.table.spool, done.record)
                counts[done.status] += 1
                bar.advance(done)
    finally:
        plan.table.compact()
    states = plan.table.states(plan.code)
    left = sum(states.get(run.hash, ("missing",))[0] in ("missing", "stale") for run in plan.todo)
    outcome = Outcome(counts["done"] + counts["failed"], counts["failed"], left, stop.reason)
    say(_conclusion(outcome))
    return outcome


class _Bar:
    """A progress bar whose estimate of the end weighs runs by what they cost."""

    def __init__(self, plan: _Plan, show: bool) -> None:
        self.costs = {run.hash: experiments.cost(run.config) for run in plan.todo}
        self.total, self.runs, self.failed = len(plan.todo), 0, 0
        shape = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
        self.bar = tqdm(total=sum(self.costs.values()), bar_format=shape, disable=not show, smoothing=0)

    def __enter__(self) -> _Bar:
        self.bar.set_description_str(f"0/{self.total} runs")
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def advance(self, done: Done) -> None:
        self.runs += 1
        self.failed += done.status == "failed"
        failed = f", {self.failed} failed" if self.failed else ""
        self.bar.set_description_str(f"{self.runs}/{self.total} runs{failed}", refresh=False)
        self.bar.update(self.costs[done.hash])


def _summary(plan: _Plan, scale: str, jobs: int | None) -> str:
    state = plan.status(scale)
    total = math.fsum(plan.seconds.values())
    if not plan.todo:
        cost = "nothing to do"
    elif math.isnan(total):
        cost = f"{len(plan.todo)} to do, cost unknown: no run of it is finished yet"
    else:
        share = f", {duration(total / jobs)} with {jobs} jobs" if jobs else ""
        cost = f"{len(plan.todo)} to do, about {duration(total)} of one core{share}"
    return (
        f"{state.sweep}, scale {scale}: {state.total} runs, {state.done} done, {state.missing} missing, "
        f"{state.failed} failed, {state.stale} stale; {cost}"
    )


def _conclusion(outcome: Outcome) -> str:
    text = f"{outcome.done} runs finished"
    if outcome.failed:
        text += f", {outcome.failed} of them failed (see the column 'error')"
    if outcome.left:
        text += f", {outcome.left} left: {outcome.reason or 'another process has them in hand'}"
    return text


def duration(seconds: float) -> str:
    """Write a time in the unit that suits it."""
    if seconds >= 100 * 3600:
        return f"{seconds / 3600:,.0f} h"
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
