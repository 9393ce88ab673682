"""Studies of tuning files: their trials are done, resumed, written down and read.

The trials are in ``_build/tune/NAME-SCALE.sqlite3``, Optuna's storage, the runs beside it, each written when
it is finished. After any death the study goes on with the run that was in hand. What was finished is in
``results/tune_NAME.csv`` after every trial: a row a trial. (``make clean`` removes the former: a study
then begins anew, and its first trial replaces the table's rows.)
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np
import yaml
from tqdm import tqdm

from rhmlib import experiments, grids, records, results, same_code
from rhmlib.execution import Queue, Say, Stop, run_locally
from rhmlib.results import Record
from rhmlib.sweeps import duration
from rhmlib.tuning_files import END, MACHINE, START, Tuning, read_tuning
from rhmlib.worker import SweepError, Task

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

    InHand = tuple[Trial, list[grids.Run]]

_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass(frozen=True)
class Outcome:
    """What there is of a study after a call of :func:`tune`.

    Attributes
    ----------
    complete, pruned, failed, left : int
        Trials by state, earlier calls' included; those that were asked for and are not finished.
    best : dict
        The searched settings of the best complete trial; empty if there is none.
    value, number : float, int
        Of that trial; NaN and -1 if there is none.
    """

    complete: int
    pruned: int
    failed: int
    left: int
    best: dict[str, Any]
    value: float
    number: int

    def to_yaml(self) -> str:
        """Return the best settings as YAML, to be put into a file of ``params/``."""
        return yaml.safe_dump(self.best, sort_keys=False).strip()

    def __str__(self) -> str:
        text = f"{self.complete} trials complete, {self.pruned} pruned, {self.failed} failed"
        text += " (see the column 'error')" if self.failed else ""
        text += f", {self.left} left: interrupted" if self.left else ""
        return f"{text}; best value {self.value:.6g}" if self.best else text


def tune(
    file: str | Path,
    scale: str = "book",
    *,
    trials: int | None = None,
    jobs: int = 1,
    root: str | Path | None = None,
    progress: bool = True,
    say: Say = print,
) -> Outcome:
    """Do the trials of a tuning file that are missing.

    Parameters
    ----------
    file : path or str
        Tuning file, or its name.
    scale : str
        Which of its studies.
    trials : int, optional
        How many trials the study shall have in all; default: what the file says.
    jobs : int
        Trials at a time, in a process each. For a given number of jobs the study is a function of
        the file and the code, however often it is cut off.
    root : path, optional
        See :func:`rhmlib.grids.find_root`.
    progress : bool
        Whether to show a bar.
    say : callable
        What is told goes here, line by line.

    Raises
    ------
    ValueError
        If anything in the file or the arguments is wrong, or another process has the study in
        hand; before any run.
    SweepError
        If the objective's rows are in no run. What was finished is kept.
    """
    for name, value in (("jobs", jobs), ("trials", trials)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be an integer >= 1. Found {name}={value!r}.")
    try:
        import optuna
    except ImportError:
        raise ValueError(
            "optuna must be installed to tune: pip install 'rhmlib[tune]'. Found none."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    content = read_tuning(file, root)
    wanted = trials or content.scale(scale).trials
    with _Study.open(content, scale) as study:
        say(study.summary(wanted))
        study.work(wanted, jobs, progress, say)
        outcome = study.outcome(wanted)
    say(str(outcome))
    if outcome.best:
        say(f"# best settings of tune {content.name}, scale {scale}: trial {outcome.number}")
        say(outcome.to_yaml())
    return outcome


class _Study:
    """Optuna's study of one scale, and the table that is written of it."""

    def __init__(self, tuning: Tuning, name: str, storage: optuna.storages.BaseStorage, spool: Path) -> None:
        import optuna

        self.name, self.scale, self.spool, self.storage = name, tuning.scale(name), spool, storage
        self.title = f"{tuning.name}, scale {name}"
        self.path = tuning.root / "results" / f"tune_{tuning.name}.csv"
        self.code = experiments.code_hash(self.scale.learner)
        self.size = len(self.scale.runs(self.scale.first))
        # Other code or another search is another study: values are compared like with like.
        self.study = optuna.create_study(
            storage=storage,
            study_name=self.scale.hash(self.code),
            load_if_exists=True,
            direction=self.scale.objective.direction,
            pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=self.size),
        )

    @classmethod
    @contextmanager
    def open(cls, tuning: Tuning, name: str) -> Iterator[_Study]:
        """Open the study's storage, and keep other processes away from it."""
        import optuna

        path = tuning.root / "_build" / "tune" / f"{tuning.name}-{name}"
        path.mkdir(parents=True, exist_ok=True)
        try:
            lock = filelock.FileLock(f"{path}.lock", blocking=False).acquire()
        except filelock.Timeout:
            raise ValueError(
                "a study must be in the hand of one process at a time. "
                f"Found {tuning.name}, scale {name}, in that of another one."
            ) from None
        with lock:
            storage = optuna.storages.RDBStorage(f"sqlite:///{path}.sqlite3")
            try:
                yield cls(tuning, name, storage, path)
            finally:
                storage.remove_session()
                storage.engine.dispose()

    def work(self, wanted: int, jobs: int, progress: bool, say: Say) -> None:
        """Finish trials until there are as many as wanted, or Ctrl-C is pressed.

        The trials in hand do their next run side by side, and all wait for the slowest: so the
        order of what the sampler learns, and with it the study, does not depend on the machine.
        """
        stop = Stop()
        # What a killed process left goes on; its finished runs are found in the spool.
        hand = [found for trial in self._trials("RUNNING") if (found := self._take(trial))]
        bar = tqdm(total=wanted, initial=len(self._trials(*_STATES)), disable=not progress, unit="trial")
        with stop.on_interrupt(say), bar:
            while not stop():
                while len(hand) < jobs and len(self._trials()) < wanted:
                    hand += [found] if (found := self._take()) else []
                if not hand:
                    break
                self._run([self._upto(*found)[-1] for found in hand[:jobs]], jobs, stop)
                hand = [found for found in hand if not self._advance(*found)]
                bar.update(len(self._trials(*_STATES)) - bar.n)
        self._write()

    def _trials(self, *states: str) -> list[FrozenTrial]:
        """Trials in these states; all, if none is named."""
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state.name in (states or [trial.state.name])]

    def _take(self, left: FrozenTrial | None = None) -> InHand | None:
        """Ask for a trial, or take up one that was left; None, and it has failed, where a task forbids it.

        What is drawn depends on the seed, the trial's number and the trials before. A sampler that
        lived on through the study would begin its stream anew after an interruption.
        """
        import optuna

        number = left.number if left else len(self._trials())
        [seed] = np.random.SeedSequence([self.scale.seed, number]).generate_state(1)
        self.study.sampler = optuna.samplers.TPESampler(seed=int(seed))
        trial = optuna.Trial(self.study, left._trial_id) if left else self.study.ask()
        values = {name: trial._suggest(name, found) for name, found in self.scale.search.items()}
        try:
            return trial, self.scale.runs(values)
        except ValueError as error:
            self._finish(trial, "FAIL", error=str(error))
            return None

    def _record(self, run: str) -> Record | None:
        record = results.read_record(self.spool / f"{run}.json")
        return record if record is not None and record.provenance["code_hash"] == self.code else None

    def _run(self, runs: Sequence[grids.Run], jobs: int, stop: Stop) -> None:
        """Do the runs that are not in the spool, and wait for those that another process does."""
        tasks = {run.hash: Task.of(run, self.code, self.spool) for run in runs}
        while not stop():
            missing = deque(task for name, task in tasks.items() if self._record(name) is None)
            if not missing:
                return
            for done in run_locally(Queue(missing, stop), jobs):
                if done.record is not None:
                    results.write_record(self.spool, done.record)
                elif done.status == "elsewhere":  # an orphan of a killed process finishes it
                    time.sleep(0.5)

    def _advance(self, trial: Trial, runs: Sequence[grids.Run]) -> bool:
        """Report what a trial's next run gave; return whether the trial is finished."""
        upto = self._upto(trial, runs)
        made = [record for run in upto if (record := self._record(run.hash)) is not None]
        if len(made) < len(upto):
            return False
        metrics = [self._metric(record) for record in made]
        if not math.isfinite(metrics[-1]):
            error = made[-1].provenance["error"] or f"the metric must be finite. Found {metrics[-1]}."
            return self._finish(trial, "FAIL", made, error=error)
        step = len(metrics)
        if step not in self._reported(trial):
            trial.report(self.scale.objective.of_trial(metrics), step)
            if step < len(runs) and trial.should_prune():
                return self._finish(trial, "PRUNED", made)
        return step == len(runs) and self._finish(trial, "COMPLETE", made)

    def _upto(self, trial: Trial, runs: Sequence[grids.Run]) -> Sequence[grids.Run]:
        """Runs up to the first that was not reported; all, where only the end was not told."""
        return runs[: len(self._reported(trial)) + 1]

    def _reported(self, trial: Trial) -> dict[int, float]:
        return self._trials()[trial.number].intermediate_values

    def _metric(self, record: Record) -> float:
        """Metric of a run; NaN where it failed."""
        if record.provenance["status"] == "failed":
            return math.nan
        try:
            return self.scale.objective.of_run(record.rows)
        except ValueError as error:
            raise SweepError(f"{self.scale.where}: {error}") from None

    def _finish(self, trial: Trial, state: str, made: Sequence[Record] = (), error: str = "") -> bool:
        """Tell Optuna how a trial ended and how it was made, and write it down."""
        import optuna

        metrics = [metric for record in made if math.isfinite(metric := self._metric(record))]
        value = self.scale.objective.of_trial(metrics) if state == "COMPLETE" else None
        texts = {
            "metrics": " ".join(map(repr, metrics)),
            "intermediate": " ".join(repr(after) for _, after in sorted(self._reported(trial).items())),
            "error": error,
        }
        for name, found in {**_made([record.provenance for record in made]), **texts}.items():
            trial.set_user_attr(name, found)
        self.study.tell(trial, value, state=optuna.trial.TrialState[state])
        self._write()
        return True

    def _rows(self) -> list[dict[str, str]]:
        """The finished trials as the table has them."""
        frame = self.study.trials_dataframe(("number", "state", "value", "params", "user_attrs"))
        frame = frame[frame["state"].isin(_STATES)]
        frame.columns = frame.columns.str.removeprefix("params_").str.removeprefix("user_attrs_")
        frame = frame.assign(
            scale=self.name,
            learner=self.scale.learner,
            value=frame["value"].where(frame["state"] == "COMPLETE"),
            state=frame["state"].map(_STATES),
            runs=frame["metrics"].str.split().str.len(),
            study=self.study.study_name,
            code_hash=self.code,
        )[[*START, *self.scale.search, *END]]
        frame = frame.astype(object).where(frame.notna(), None).map(results.cell)
        return [dict(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False)]

    def _write(self) -> None:
        """Put the study's rows into the table, in place of those of the same scale."""
        import pandas as pd

        if not self._trials(*_STATES):
            return
        self.path.parent.mkdir(exist_ok=True)
        with filelock.FileLock(self.spool.parent / f"{self.path.name}.lock"):
            rows = self._rows()
            names = dict.fromkeys(self.scale.search)
            for row in _read_rows(self.path):
                names |= dict.fromkeys(name for name in row if name not in (*START, *END))
                rows += [row] if row["scale"] != self.name else []
            rows.sort(key=lambda row: (row["scale"], int(row["number"])))
            table = pd.DataFrame(rows, columns=[*START, *names, *END])
            records.replace(self.path, table.to_csv(index=False, lineterminator="\n"))

    def outcome(self, wanted: int) -> Outcome:
        """Return what there is of the study."""
        counts = Counter(trial.state.name for trial in self._trials())
        best = self.study.best_trial if counts["COMPLETE"] else None
        return Outcome(
            complete=counts["COMPLETE"],
            pruned=counts["PRUNED"],
            failed=counts["FAIL"],
            left=max(0, wanted - sum(counts[name] for name in _STATES)),
            best={name: best.params[name] for name in self.scale.search} if best else {},
            value=self.study.best_value if best else math.nan,
            number=best.number if best else -1,
        )

    def summary(self, wanted: int) -> str:
        """Tell what is done and what the rest will cost."""
        import optuna

        finished = self._trials(*_STATES)
        left = max(0, wanted - len(finished))
        studies = optuna.get_all_study_summaries(self.storage)
        others = sum(one.n_trials for one in studies if one.study_name != self.study.study_name)
        cost = f"{left} to do, cost unknown: no trial of it is finished yet" if left else "nothing to do"
        if left and finished:
            mean = np.mean([trial.user_attrs["seconds"] for trial in finished])
            cost = f"{left} to do, about {duration(left * float(mean))} of one core"
        aside = f"; {others} trials of other code or another search left aside" if others else ""
        done = f"{wanted} trials of up to {self.size} runs, {len(finished)} done"
        return f"{self.title}: {done}{aside}; {cost}"


def _made(provenances: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How a trial was made, from the provenance of its runs."""
    import optuna

    if not provenances:
        return dict.fromkeys((*MACHINE, "peak_memory_mb", "dirty")) | {"seconds": 0.0}
    last = provenances[-1]
    return {
        "seconds": float(f"{math.fsum(made['seconds'] for made in provenances):.4g}"),
        "peak_memory_mb": max(made["peak_memory_mb"] for made in provenances),
        **{name: last[name] for name in MACHINE},
        "versions": f"{last['versions']} optuna-{optuna.__version__}",
        "dirty": any(made["dirty"] for made in provenances),
    }


# ---------------------------------------------------------------- what chapters read


def _read_rows(path: Path) -> list[dict[str, str]]:
    rows = records.read(path)
    if rows and not {*START, *END} <= rows[0].keys():
        raise ValueError(f"{path} must be a table of trials. Found the columns {', '.join(rows[0])}.")
    return rows


def read(name: str, *, scale: str = "book", root: str | Path | None = None) -> pd.DataFrame:
    """Read the table of a study.

    Parameters
    ----------
    name : str
        Of the table: ``"tune_slc"`` for ``results/tune_slc.csv``.
    scale : str
        Only the trials of that scale.
    root : path, optional
        See :func:`rhmlib.grids.find_root`.

    Returns
    -------
    DataFrame
        A row a trial: `state` is "complete", "pruned" or "failed"; `value` is NaN where it is not
        complete; `metrics` and `intermediate` are texts of numbers, the metric of each run and the
        trial's value after it; `stale` tells whether the learner's code has changed since.

    Raises
    ------
    ValueError
        If there is no such trial.
    """
    rows = _read_rows(grids.find_root(root) / "results" / f"{name}.csv")
    chosen = [row for row in rows if row["scale"] == scale]
    if not chosen:
        raise ValueError(
            f"results/{name}.csv must hold trials of the scale {scale!r}. Found none: "
            f"run `rhm tune {name.removeprefix('tune_')} --scale {scale}`."
        )
    kept = [c for c in chosen[0] if c in (*START, *END) or any(row[c] for row in chosen)]
    table = results._frame(kept, [{c: row[c] for c in kept} for row in chosen])
    present = experiments.code_hash(chosen[0]["learner"])
    linked = same_code.linked(chosen[0]["learner"], present, root)
    table["stale"] = ~table["code_hash"].isin(linked)
    return table


def searched(table: pd.DataFrame) -> list[str]:
    """Columns of a study's table that are searched settings."""
    return [str(name) for name in table.columns if name not in (*START, *END, "stale")]


def values_after(table: pd.DataFrame, runs: int) -> np.ndarray[Any, Any]:
    """Value of each trial after its first runs; NaN for those that were ended before.

    Parameters
    ----------
    table : DataFrame
        As :func:`read` returns.
    runs : int
        At least 1.

    Returns
    -------
    array of float, shape (trials,)
    """
    if runs < 1:
        raise ValueError(f"runs must be at least 1. Found runs={runs}.")
    parts = [str(text).split() for text in table["intermediate"]]
    return np.array([float(part[runs - 1]) if len(part) >= runs else math.nan for part in parts])


def importances(table: pd.DataFrame, runs: int | None = None, *, seed: int = 0) -> dict[str, float]:
    """Share of each searched setting in the variance of the value, by fANOVA.

    Parameters
    ----------
    table : DataFrame
        As :func:`read` returns.
    runs : int, optional
        Judge trials by their value after so many runs, which pruned trials have too. Default: the
        final value, of complete trials alone: what still matters among those that were good enough
        to be finished.
    seed : int
        Of the random forest.

    Returns
    -------
    dict of str to float
        The most important first; the sum is 1. A setting's range is that of its values in the rows.

    Raises
    ------
    ValueError
        If fewer than 4 trials have a value, or all have the same.
    """
    import optuna

    values = table["value"].to_numpy(dtype=float) if runs is None else values_after(table, runs)
    there = np.isfinite(values)
    if there.sum() < 4 or np.ptp(values[there]) == 0:
        raise ValueError(
            "table must hold at least 4 trials with values that differ. "
            f"Found {there.sum()} with the values {sorted(set(values[there]))}."
        )
    names = [name for name in searched(table) if table.loc[there, name].nunique() > 1]
    ranges = {name: _tried(table.loc[there, name].tolist()) for name in names}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    given = {name: table[name].tolist() for name in names}  # plain Python values
    for i in np.flatnonzero(there):
        params = {name: column[i] for name, column in given.items()}
        study.add_trial(optuna.create_trial(params=params, distributions=ranges, value=float(values[i])))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _tried(values: list[Any]) -> BaseDistribution:
    """Range of the values that were tried."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if all(isinstance(x, int | float) and not isinstance(x, bool) for x in values):
        return FloatDistribution(min(values), max(values))
    return CategoricalDistribution(sorted(set(values), key=str))
