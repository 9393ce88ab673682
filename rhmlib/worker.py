"""One run of a sweep, in the process that does it: measured, caught, written down."""

from __future__ import annotations

import hashlib
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import filelock
import numpy as np
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from rhmlib import experiments, grids, provenance, results


class SweepError(RuntimeError):
    """A sweep that was begun cannot go on; what was finished is kept."""


@dataclass(frozen=True)
class Task:
    """What a worker is sent: a run and what its rows say of the sweep.

    Attributes
    ----------
    learner : str
    settings : dict
    hash, code : str
        Of the settings and of the code, as the sweep's process sees them.
    commit : str
    dirty : bool
    spool : str or None
        Where the worker writes the finished run; None to send it back only.
    pid : int
        Of the sweep's process.
    needs : dict of str to float
        Resources that a cluster's worker must have for it.
    """

    learner: str
    settings: dict[str, Any]
    hash: str
    code: str
    commit: str
    dirty: bool
    spool: str | None = None
    pid: int = 0
    needs: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, run: grids.Run, code: str, spool: Path | None) -> Task:
        """Make the task of a run, as this process sees the code and the commit."""
        return cls(
            learner=run.learner,
            settings=experiments.config_values(run.config),
            hash=run.hash,
            code=code,
            commit=provenance.commit(),
            dirty=provenance.is_dirty(),
            spool=None if spool is None else str(spool),
            pid=os.getpid(),
            needs=experiments.resources(run.config),
        )


@dataclass(frozen=True)
class Done:
    """What comes back of a run; `status` is "elsewhere" where another process has it in hand."""

    hash: str
    status: Literal["done", "failed", "elsewhere"]
    record: results.Record | None = None


@dataclass(frozen=True)
class _Worker:
    code: str
    threads: ThreadpoolController


@lru_cache(maxsize=8)
def _prepare(learner: str) -> _Worker:
    """Load an experiment, once a process, with the hash of the code that was loaded."""
    code = experiments.code_hash(learner)
    experiments.load(learner)
    return _Worker(code, ThreadpoolController())


def execute(task: Task) -> Done:
    """Do one run and write it down; its errors become a failed record.

    Raises
    ------
    SweepError
        If this process has loaded other code than the sweep expects.
    """
    if os.getpid() != task.pid and threading.current_thread() is threading.main_thread():
        # Ctrl-C reaches all processes of a terminal; it is for the sweep to end its workers' work.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = _prepare(task.learner)
    if worker.code != task.code:
        raise SweepError(
            f"the code of {task.learner!r} must be the same in all processes of a sweep. Found {worker.code} "
            f"in a worker instead of {task.code}: start the sweep (and the cluster's workers) again."
        )
    if task.spool is None:
        record = _measure(task, worker)
        return Done(task.hash, record.provenance["status"], record)
    spool = Path(task.spool)
    with _claim(spool, task) as mine:
        if not mine:
            return Done(task.hash, "elsewhere")
        record = _measure(task, worker)
        results.write_record(spool, record)
        if record.provenance["status"] == "done":
            results.remove_checkpoints(spool, {task.hash})
    return Done(task.hash, record.provenance["status"])


@contextmanager
def _claim(spool: Path, task: Task) -> Iterator[bool]:
    """Take a run in hand, unless another process has it, or has just finished it.

    A file that is there and locked by none is of a run whose process was killed.
    """
    path = claim_path(spool, task.hash)
    try:
        lock = filelock.FileLock(path, blocking=False).acquire()
    except filelock.Timeout:
        yield False
        return
    with lock:
        try:
            finished = spool / f"{task.hash}.json"
            record = results.read_record(finished) if finished.exists() else None
            yield record is None or record.provenance["code_hash"] != task.code
        finally:
            path.unlink(missing_ok=True)


def claim_path(spool: Path, run: str) -> Path:
    """File that exists while a run is in hand; locked by the process that has it."""
    return spool / f"{run}.lock"


def _checkpoint(config: Any, task: Task) -> Path | None:
    """Where a run that can be interrupted keeps its state, apart for code, versions and processor."""
    if task.spool is None or not getattr(config, "resumable", False):
        return None
    device = device_name(str(getattr(config, "device", "cpu")))
    where = hashlib.sha256(f"{task.code} {platform_name()} {device} {versions()}".encode()).hexdigest()[:12]
    return Path(task.spool) / f"{task.hash}-{where}.pt"


def _measure(task: Task, worker: _Worker) -> results.Record:
    config = experiments.configure(task.learner, task.settings)
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    _reset_peak_memory()
    path, earlier = _checkpoint(config, task), 0.0
    if path is not None:
        from rhmlib import checkpoints  # which needs torch, as whatever is resumable does

        earlier = checkpoints.seconds(path)
    start = time.perf_counter()
    try:
        with worker.threads.limit(limits=1):
            found = config.run() if path is None else config.run(checkpoint=path)
            rows, error = _checked_rows(found, task.settings), ""
    except Exception as exception:
        rows, error = [], _traceback(exception)
    seconds = time.perf_counter() - start + earlier
    return make_record(task, rows, seconds, error, device_name(str(getattr(config, "device", "cpu"))))


def make_record(
    task: Task, rows: list[dict[str, Any]], seconds: float, error: str, device: str
) -> results.Record:
    """Put together what is written of a run that this process did, or learnt the failure of."""
    values = (
        float(f"{seconds:.4g}"),
        round(_peak_memory_mb(), 1),
        device,
        platform_name(),
        versions(),
        task.commit,
        task.dirty,
        task.hash,
        task.code,
        "failed" if error else "done",
        error,
    )
    record = dict(zip(experiments.PROVENANCE, values, strict=True))
    settings = experiments.recorded_values(task.learner, task.settings)
    return results.Record(task.learner, settings, rows, record)


def _checked_rows(rows: object, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows as plain Python values; an experiment that returns something else has failed."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise TypeError(f"run() must return a list of at least one dict. Found {type(rows).__name__}.")
    taken = experiments.RESERVED | settings.keys()
    plain = []
    for row in rows:
        if taken & row.keys():
            raise ValueError(f"rows must not have a column {min(taken & row.keys())!r}: the name is taken.")
        values = {name: v.item() if isinstance(v, np.generic) else v for name, v in row.items()}
        for name, value in values.items():
            if not isinstance(value, bool | int | float | str | None):
                raise TypeError(
                    f"{name} must be a number, a text, a flag or None. Found {type(value).__name__}."
                )
        plain.append(values)
    return plain


def _traceback(error: BaseException) -> str:
    """Return a traceback in one line, without the folders of this machine."""
    frames = traceback.extract_tb(error.__traceback__)
    steps = [f"{Path(f.filename).name}:{f.lineno} in {f.name}: {f.line}" for f in frames[1:]]
    text = " > ".join([*steps, "".join(traceback.format_exception_only(error)).strip()])
    return text.replace(f"{provenance.PACKAGE.parent}{os.sep}", "")


@lru_cache(maxsize=1)
def platform_name() -> str:
    """Machine, system, and the kind of processor that numpy's library chooses kernels for."""
    libraries = ThreadpoolController().info()
    kinds = sorted({str(library["architecture"]) for library in libraries if library.get("architecture")})
    return "-".join([platform.machine(), platform.system(), *kinds]).lower()


def device_name(device: str = "cpu") -> str:
    """Model name of a device, or the name itself where there is none such here."""
    try:
        return provenance.device_name(provenance.resolve_device(device))
    except (ValueError, RuntimeError):
        return device


def versions() -> str:
    """Versions of what is loaded, in one text: a run without torch does not depend on torch's."""
    modules = {"scikit-learn": "sklearn"}
    return " ".join(
        f"{name}-{version}"
        for name, version in provenance.versions().items()
        if name == "python" or (name != "rhmlib" and modules.get(name, name) in sys.modules)
    )


def _reset_peak_memory() -> None:
    """Let Linux count the peak anew; elsewhere it stays that of the process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory_mb() -> float:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return provenance.peak_memory_mb()
