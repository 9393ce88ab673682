"""How the runs of a sweep are brought to processes: joblib's on this machine, dask's on a cluster.

Dask is asked directly, for two reasons: joblib's own way to dask waits for ever for a run whose
worker died repeatedly, and computes in the calling process where the cluster has a single core.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import joblib
from joblib.externals.loky.process_executor import BrokenProcessPool, TerminatedWorkerError

from rhmlib import results
from rhmlib.worker import Done, SweepError, Task, claim_path, execute, make_record

Say = Callable[[str], object]

# How often a cluster is asked for its workers, and after how long without one that is told.
_POLL_SECONDS, _PATIENCE_SECONDS = 2.0, 30.0
# Runs shorter than this are submitted ahead of time, so that a worker has its next one at hand.
_SHORT_SECONDS = 1.0
# Worker processes end themselves after so long without a run, also where the sweep was killed.
_IDLE_SECONDS = 30
# So many deaths of workers in a row, without a finished run between, end a sweep.
_MAX_DEATHS = 3


# ---------------------------------------------------------------- when to stop


@dataclass
class Stop:
    """Whether to begin no more runs, and why.

    Attributes
    ----------
    deadline : float
        On the clock of `time.monotonic`.
    reason : str
        Empty until it is time to stop.
    """

    deadline: float = math.inf
    reason: str = ""

    def __call__(self) -> bool:
        """Tell whether it is time to stop."""
        if not self.reason and time.monotonic() >= self.deadline:
            self.reason = "time limit reached"
        return bool(self.reason)

    @contextmanager
    def on_interrupt(self, say: Say) -> Iterator[None]:
        """Let Ctrl-C stop after the runs in hand; pressed again, at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def interrupt(number: int, frame: object) -> None:
            if self.reason:
                raise KeyboardInterrupt
            self.reason = "interrupted"
            say("finishing the runs in hand; press Ctrl-C again to leave them")

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


@dataclass
class Queue:
    """Tasks to do, handed out until it is time to stop; it remembers what is in hand.

    Attributes
    ----------
    waiting : deque of Task
    stop : Stop
    is_done : callable (hash) -> bool
        Tells of runs that another process has finished meanwhile; they are passed over.
    in_hand : dict of hash to Task
        Handed out and not yet finished.
    """

    waiting: deque[Task]
    stop: Stop = field(default_factory=Stop)
    is_done: Callable[[str], bool] = lambda _: False
    in_hand: dict[str, Task] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Task]:
        while self.waiting and not self.stop():
            task = self.waiting.popleft()
            if not self.is_done(task.hash):
                self.in_hand[task.hash] = task
                yield task


# ---------------------------------------------------------------- on this machine


def run_locally(queue: Queue, jobs: int) -> Iterator[Done]:
    """Do tasks in `jobs` processes of one thread each; in this process for one job.

    Parameters
    ----------
    queue : Queue
    jobs : int

    Yields
    ------
    Done
        As runs finish. Short runs travel in batches; each is written when it is finished.

    Raises
    ------
    SweepError
        If processes die again and again.

    Notes
    -----
    When a process dies, joblib ends the others too. What they had begun is tried again at the end, one
    run at a time: so a run that kills its process is found out, and fails alone.
    """
    deaths, suspects = 0, list[Task]()
    while True:
        try:
            for done in _parallel(queue, jobs):
                deaths = 0
                yield done
            break
        except TerminatedWorkerError:
            deaths += 1
            if deaths >= _MAX_DEATHS:
                raise SweepError(
                    f"{deaths} worker processes died in a row (was memory short?). Finished runs are kept; "
                    "try fewer jobs."
                ) from None
            yield from _after_death(queue, suspects)
        except BrokenProcessPool as error:
            cause = error.__cause__ or error
            raise SweepError(f"worker processes must be able to do these runs. Found: {cause}") from error
    for task in suspects:
        try:
            yield from _parallel(Queue(deque([task]), queue.stop), jobs)
        except TerminatedWorkerError:
            yield _died(task, "its worker process died, twice (was memory short?)")


def _parallel(queue: Queue, jobs: int) -> Iterator[Done]:
    with joblib.parallel_config(
        "loky", n_jobs=jobs, inner_max_num_threads=1, idle_worker_timeout=_IDLE_SECONDS
    ):
        parallel = joblib.Parallel(return_as="generator_unordered", pre_dispatch="n_jobs")
        with _children_ignore_interrupts(jobs):
            finished = parallel(joblib.delayed(execute)(task) for task in queue)
        for done in finished:
            queue.in_hand.pop(done.hash, None)
            yield done


@contextmanager
def _children_ignore_interrupts(jobs: int) -> Iterator[None]:
    """Start processes that Ctrl-C, which reaches all of a terminal's, does not kill half-started."""
    if jobs == 1 or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _after_death(queue: Queue, suspects: list[Task]) -> Iterator[Done]:
    """Sort what was in hand: finished, begun (a suspect), or still to begin."""
    for task in reversed(list(queue.in_hand.values())):
        record = results.read_record(Path(task.spool or "", f"{task.hash}.json"))
        if record is not None:
            yield Done(task.hash, record.provenance["status"])
        elif claim_path(Path(task.spool or ""), task.hash).exists():
            suspects.append(task)
        else:
            queue.waiting.appendleft(task)
    queue.in_hand.clear()


def _died(task: Task, error: str) -> Done:
    return Done(task.hash, "failed", make_record(task, [], 0.0, error, device=""))


# ---------------------------------------------------------------- on a cluster


@contextmanager
def connect(address: str) -> Iterator[Any]:
    """Open a client of a running dask cluster.

    Raises
    ------
    ValueError
        If dask.distributed is not installed or nothing answers at the address.
    """
    try:
        from dask.distributed import Client
    except ImportError:
        raise ValueError(
            "scheduler must be left out where dask is not installed: pip install 'rhmlib[cluster]'. "
            f"Found scheduler={address!r}."
        ) from None
    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            "scheduler must be the address of a dask scheduler that runs. "
            f"Found scheduler={address!r}: {error}."
        ) from None
    with client, client.as_current():
        yield client


def _workers(client: Any) -> list[Any]:
    return list(client.scheduler_info(n_workers=-1)["workers"].values())


def capacity(client: Any, needs: Mapping[str, float]) -> int:
    """Return how many runs with the given needs a cluster can do at a time."""
    total = 0
    for found in _workers(client):
        shares = [found["resources"].get(name, 0) // amount for name, amount in needs.items() if amount > 0]
        total += int(min([found["nthreads"], *shares]))
    return total


def check_cluster(client: Any, tasks: Iterable[Task]) -> None:
    """Check that for every task there is a worker that can do it.

    Raises
    ------
    ValueError
        If the cluster has no worker, or none with the resources that a run needs.
    """
    workers = _workers(client)
    if not workers:
        raise ValueError("the cluster must have a worker. Found none: start one, or wait until one is there.")
    for needs in {tuple(sorted(task.needs.items())) for task in tasks}:
        if not capacity(client, dict(needs)):
            asked = " ".join(f"{name}={amount:g}" for name, amount in needs)
            there = ", ".join(sorted({str(found["resources"] or "none") for found in workers}))
            raise ValueError(
                f"the cluster must have a worker with the resources that these runs need, {asked}. "
                f"Found {len(workers)} workers with resources: {there}. Start one with "
                f"`dask worker ADDRESS --nthreads 1 --resources '{asked}'`."
            )


def run_on_cluster(queue: Queue, client: Any, say: Say) -> Iterator[Done]:
    """Do tasks on a dask cluster, about as many at a time as it has room for.

    Parameters
    ----------
    queue : Queue
    client : distributed.Client
    say : callable
        Told when all workers are lost; the sweep then waits for new ones.

    Yields
    ------
    Done
        With the record: the caller writes it, as a worker may have other disks.

    Raises
    ------
    SweepError
        If the workers cannot do such runs at all.

    Notes
    -----
    Dask gives a run up after several workers died that had it or waited to begin it. Such runs
    are tried again at the end, one at a time.
    """
    suspects = []
    for task, future in _futures(queue, client, say):
        done = _fetch(future, task)
        if done is None:
            suspects.append(task)
        else:
            yield done
    for task in suspects:
        for _, future in _futures(Queue(deque([task]), queue.stop), client, say):
            yield _fetch(future, task) or _died(task, "its workers died again and again")


def _futures(queue: Queue, client: Any, say: Say) -> Iterator[tuple[Task, Any]]:
    """Submit tasks while there is room; return each with its future when that is finished."""
    tasks, pending = iter(queue), dict[Any, Task]()
    room, ahead, asked, alive = 0, 1, -math.inf, time.monotonic()
    while True:
        if time.monotonic() - asked > _POLL_SECONDS:
            asked = time.monotonic()
            room = capacity(client, _next_needs(queue, pending.values()))
        # More than there is room for, so that no worker waits for this process; not much more, as
        # what was submitted is finished when it is time to stop.
        for task in islice(tasks, max(0, room + ahead - len(pending))):
            pending[_submit(client, task)] = task
        if not pending:
            return
        finished = _finished(pending)
        now = time.monotonic()
        if room or finished:
            ahead = room if finished and now - alive < _SHORT_SECONDS else 1
            alive = now
        elif now - alive > _PATIENCE_SECONDS:
            alive = math.inf
            say("the cluster has no worker left for these runs: waiting for one (Ctrl-C twice ends this)")
        for future in finished:
            task = pending.pop(future)
            queue.in_hand.pop(task.hash, None)
            yield task, future


def _next_needs(queue: Queue, pending: Iterable[Task]) -> Mapping[str, float]:
    task = next(iter(queue.waiting), None) or next(iter(pending), None)
    return task.needs if task else {}


def _submit(client: Any, task: Task) -> Any:
    key = f"{task.learner}-{task.hash}-{time.monotonic_ns()}"
    return client.submit(execute, task, key=key, pure=False, resources=dict(task.needs) or None)


def _finished(pending: Mapping[Any, Task]) -> set[Any]:
    from dask.distributed import wait

    try:
        return set(wait(list(pending), timeout=_POLL_SECONDS, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return set()


def _fetch(future: Any, task: Task) -> Done | None:
    """Result of a run; None where dask gave it up, as workers died."""
    from dask.distributed import KilledWorker

    try:
        done: Done = future.result()
    except KilledWorker:
        return None
    except SweepError:
        raise
    except Exception as error:
        raise SweepError(
            f"the cluster's workers must be able to do runs of {task.learner!r}. "
            f"Found {type(error).__name__}: {error}"
        ) from error
    return done
