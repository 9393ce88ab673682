"""Tuning files ``params/tune/NAME.yaml``: search good settings of an experiment with Optuna.

A scale of a tuning file has the keys of a sweep file's scale (:mod:`rhmlib.grids`), which say what the
settings are tuned on, jointly, and what is searched::

    title: Settings of the stacked network
    learner: slc
    scales:
      book:
        fixed: {v: 8, s: 2, L: 4, n: {per_vm3: 16}}
        grid: {m: [4, 3, 2]}               # the tasks: every combination
        replicates: 2                      # and seeds
        search:
          lr: {low: 1e-3, high: 2e-2, log: true}
          width: {choices: [64, 128]}
        objective:
          metric: hungarian_accuracy       # a column; the mean over these rows of a run
          rows: {checkpoint: best, level: top}
          direction: maximize
          over: mean                       # or worst: of the runs of a trial
        trials: 40
        seed: 0                            # of the sampler

A trial is a choice of the searched settings. It does the runs one after another, the first seed of every
task, then the second, and its value so far is reported after each: this number of runs is the
resource that Hyperband deals out, and a trial that is bad on the first runs is spared the rest. (A
shorter training would be another resource. But schedules stretch over the steps of a training, and the
settings that learn fastest at first are not those that end best; whole runs of the same tasks are
compared like with like.) Every trial takes the tasks in the file's order: put first the one that tells most.

The trials are in ``_build/tune/NAME-SCALE.db``, the runs beside it, each written when it is finished. After
any death the study goes on with the run that was in hand. What was finished is in
``results/tune_NAME.csv`` after every trial: a row a trial. (``make clean`` removes the former: a study
then begins anew, and its first trial replaces the table's rows.)
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

import filelock
import numpy as np
import yaml
from tqdm import tqdm

from rhmlib import experiments, grids, records, results, same_code
from rhmlib.execution import Queue, Say, Stop, run_locally
from rhmlib.parameters import read_yaml, suggestion
from rhmlib.sweeps import duration
from rhmlib.worker import SweepError, Task

if TYPE_CHECKING:
    import optuna
    import pandas as pd

_TASK_KEYS = ("fixed", "grid", "replicates", "blocks")
_KEYS = (*_TASK_KEYS, "search", "objective", "trials", "seed")
_START = ("scale", "learner", "number", "state", "value")
_END = (
    "runs",
    "metrics",
    "intermediate",
    "seconds",
    "peak_memory_mb",
    "device_name",
    "platform",
    "versions",
    "commit",
    "dirty",
    "study",
    "code_hash",
    "error",
)
_MACHINE = ("device_name", "platform", "versions", "commit")
_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


# ---------------------------------------------------------------- tuning files


@dataclass(frozen=True)
class Objective:
    """What a trial is judged by.

    Attributes
    ----------
    metric : str
        A metric column of the experiment's rows.
    rows : dict
        Column to value: the rows of a run whose mean counts. The level "top" is the highest.
    direction : {"maximize", "minimize"}
    over : {"mean", "worst"}
        A trial's value: that of its runs.
    """

    metric: str
    rows: Mapping[str, Any]
    direction: Literal["maximize", "minimize"]
    over: Literal["mean", "worst"]

    def of_run(self, rows: Sequence[Mapping[str, Any]]) -> float:
        """Mean of the metric over the chosen rows of one run.

        Raises
        ------
        ValueError
            If no row is chosen, or one has no number there.
        """
        wanted = dict(self.rows)
        if wanted.get("level") == "top":
            wanted["level"] = max(row["level"] for row in rows)
        found = [row.get(self.metric) for row in rows if all(row.get(k) == v for k, v in wanted.items())]
        if not found or not all(isinstance(x, int | float) for x in found):
            raise ValueError(
                f"rows of the objective must choose rows of a run with numbers under {self.metric}. "
                f"Found {found} for {wanted}."
            )
        return float(np.mean([float(x) for x in found if x is not None]))

    def of_trial(self, metrics: Sequence[float]) -> float:
        """Value of a trial, finished or not, from the metrics of its runs."""
        if self.over == "mean":
            return float(np.mean(metrics))
        return min(metrics) if self.direction == "maximize" else max(metrics)


@dataclass(frozen=True)
class Range:
    """Where a setting is searched: an interval with both ends, or a list.

    Attributes
    ----------
    ends : tuple
        The two ends, or the choices.
    choices, log, whole : bool
        Whether it is a list; whether the logarithm is searched; whether values are integers.
    """

    ends: tuple[Any, ...]
    choices: bool = False
    log: bool = False
    whole: bool = False

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        """Draw a value for a trial; the one that it has already, if it has one."""
        if self.choices:
            return trial.suggest_categorical(name, self.ends)
        if self.whole:
            return trial.suggest_int(name, *self.ends, log=self.log)
        return trial.suggest_float(name, *self.ends, log=self.log)


@dataclass(frozen=True)
class Scale:
    """One scale of a tuning file, checked.

    Attributes
    ----------
    learner, where : str
        `where` names file and scale in messages.
    tasks : dict
        The keys of a sweep's scale.
    search : dict of str to Range
    objective : Objective
    trials, seed : int
    """

    learner: str
    where: str
    tasks: dict[str, Any]
    search: dict[str, Range]
    objective: Objective
    trials: int
    seed: int

    def runs(self, values: Mapping[str, Any]) -> list[grids.Run]:
        """Return the runs of a trial: the first seed of every task, then the second.

        Raises
        ------
        ValueError
            If the values are not allowed for one of the tasks.
        """
        fixed = {**(self.tasks.get("fixed") or {}), **values}
        runs = grids.scale_runs(self.learner, {**self.tasks, "fixed": fixed}, self.where)
        return sorted(runs, key=lambda run: [getattr(run.config, seed, 0) for seed in experiments.SEEDS])

    def describe(self) -> dict[str, Any]:
        """Return what makes two studies the same, the number of trials aside."""
        search = {name: [list(r.ends), r.choices, r.log] for name, r in self.search.items()}
        objective = vars(self.objective)
        return {"tasks": self.tasks, "search": search, "objective": objective, "seed": self.seed}


@dataclass(frozen=True)
class Tuning:
    """A checked tuning file.

    Attributes
    ----------
    name : str
        The file's name without suffix; the table's is ``tune_NAME``.
    title, learner : str
    scales : dict of str to Scale
    root : Path
    """

    name: str
    title: str
    learner: str
    scales: dict[str, Scale]
    root: Path

    def scale(self, name: str) -> Scale:
        """Return one scale.

        Raises
        ------
        ValueError
            If the file has no such scale.
        """
        if name not in self.scales:
            raise ValueError(
                f"tuning {self.name!r} has no scale {name!r}. {suggestion(name, list(self.scales))}"
            )
        return self.scales[name]


def tuning_path(file: str | Path, root: str | Path | None = None) -> Path:
    """Return the path of a tuning file that is given by its path or by its name.

    Raises
    ------
    ValueError
        If there is no such file.
    """
    return grids.named_file("tuning", "tune", file, root)


def read_tuning(file: str | Path, root: str | Path | None = None) -> Tuning:
    """Read a tuning file and check it: every end and every choice, on every task of every scale.

    Parameters
    ----------
    file : path or str
        A path, or the name of a file in ``params/tune``.
    root : path, optional
        See :func:`rhmlib.grids.find_root`.

    Returns
    -------
    Tuning

    Raises
    ------
    ValueError
        At the first thing that is wrong.
    """
    path = tuning_path(file, root)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"tuning file must be readable UTF-8 text. Found {path}: {error}.") from None
    content = grids._mapping(read_yaml(text, path.name), path.name, ("title", "learner", "scales"))
    _need(content, ("learner", "scales"), path.name)
    learner, scales = content["learner"], content["scales"]
    try:
        experiments.load(learner)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    if not isinstance(scales, dict) or not scales:
        raise ValueError(f"{path.name}: scales must map names to studies. Found {scales!r}.")
    checked = {
        str(name): _read_scale(learner, settings, f"{path.name}, scale {name!r}")
        for name, settings in scales.items()
    }
    folder = path.resolve().parent
    inside = root is None and folder.parts[-2:] == ("params", "tune")
    home = folder.parents[1] if inside else grids.find_root(root)
    return Tuning(path.stem, str(content.get("title", path.stem)), learner, checked, home)


def _need(content: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    for key in keys:
        if key not in content:
            raise ValueError(f"{where} must have the key {key!r}. Found only: {', '.join(content)}.")


def _read_scale(learner: str, settings: object, where: str) -> Scale:
    content = grids._mapping(settings, where, _KEYS)
    _need(content, ("search", "objective", "trials"), where)
    for key, least, value in (("trials", 1, content["trials"]), ("seed", 0, content.get("seed", 0))):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{where}: {key} must be an integer >= {least}. Found {key}={value!r}.")
    tasks = {key: content[key] for key in _TASK_KEYS if key in content}
    if not isinstance(content["search"], dict) or not content["search"]:
        raise ValueError(f"{where}: search must map settings to ranges. Found {content['search']!r}.")
    search = {name: _read_range(learner, name, text, where) for name, text in content["search"].items()}
    _check_names(search, tasks, where)
    objective = _read_objective(learner, content["objective"], where)
    scale = Scale(learner, where, tasks, search, objective, content["trials"], content.get("seed", 0))
    return _checked(scale)


def _read_objective(learner: str, content: object, where: str) -> Objective:
    place = f"{where}, objective"
    given = grids._mapping(content, place, ("metric", "rows", "direction", "over"))
    _need(given, ("metric", "direction"), place)
    metrics = list(experiments.load(learner).tolerances)
    over, rows = given.get("over", "mean"), given.get("rows") or {}
    allowed = (("metric", metrics), ("direction", ["maximize", "minimize"]))
    for key, words in allowed:
        if given[key] not in words:
            raise ValueError(f"{place}: {key} must be one of {', '.join(words)}. Found {key}={given[key]!r}.")
    if over not in ("mean", "worst"):
        raise ValueError(f"{place}: over must be one of mean, worst. Found over={over!r}.")
    if not isinstance(rows, dict):
        raise ValueError(f"{place}: rows must map columns to values. Found rows={rows!r}.")
    return Objective(given["metric"], rows, given["direction"], over)


def _read_range(learner: str, name: object, content: object, where: str) -> Range:
    place = f"{where}, search"
    if name not in experiments.field_names(learner):
        hint = suggestion(str(name), experiments.field_names(learner))
        raise ValueError(f"{place}: {name!r} is no setting of {learner!r}. {hint}")
    given = grids._mapping(content, f"{place}: {name}", ("low", "high", "log", "choices"))
    if given.keys() == {"choices"}:
        choices = given["choices"]
        plain = isinstance(choices, list) and all(isinstance(x, bool | int | float | str) for x in choices)
        if not plain or len(choices) < 2:
            raise ValueError(f"{place}: {name} must have a list of at least 2 choices. Found {choices!r}.")
        return Range(tuple(choices), choices=True)
    log = given.get("log", False)
    if not {"low", "high"} <= given.keys() or "choices" in given or not isinstance(log, bool):
        raise ValueError(
            f"{place}: {name} must have choices, or low, high and perhaps log: true. Found {content!r}."
        )
    hint = get_type_hints(experiments.load(learner))[str(name)]
    kinds = {hint, *get_args(hint)}
    if not kinds & {int, float}:
        raise ValueError(f"{place}: {name} must have choices, as it is no number. Found {content!r}.")
    return Range((given["low"], given["high"]), log=log, whole=float not in kinds)


def _check_names(search: Mapping[str, Range], tasks: Mapping[str, Any], where: str) -> None:
    """A searched setting stands nowhere else, and can be a column of the table."""
    blocks = tasks.get("blocks")
    for part in (tasks, *(blocks if isinstance(blocks, list) else [])):
        for key in ("fixed", "grid") if isinstance(part, dict) else ():
            both = search.keys() & (part[key] if isinstance(part.get(key), dict) else {}).keys()
            if both:
                raise ValueError(f"{where}: {min(both)} must be in search or in {key}. Found it in both.")
    taken = search.keys() & {*_START, *_END, *experiments.SEEDS}
    if taken:
        raise ValueError(f"{where}: {min(taken)} must not be searched: it is a seed or the name is taken.")


def _checked(scale: Scale) -> Scale:
    """Scale with ends and choices as the experiment reads them, each tried on every task."""
    base = {name: found.ends[0] for name, found in scale.search.items()}
    search = {}
    for name, found in scale.search.items():
        configs = [scale.runs({**base, name: end})[0].config for end in found.ends]
        ends = tuple(getattr(config, name) for config in configs)
        if not found.choices and not ends[0] < ends[1]:
            raise ValueError(
                f"{scale.where}, search: {name} must have low < high. Found low={ends[0]}, high={ends[1]}."
            )
        if found.log and not ends[0] > 0:
            raise ValueError(
                f"{scale.where}, search: {name} must have low > 0 with log. Found low={ends[0]}."
            )
        search[name] = Range(ends, found.choices, found.log, found.whole)
    return Scale(**{**vars(scale), "search": search})


# ---------------------------------------------------------------- a study


@dataclass(frozen=True)
class Outcome:
    """What a call of :func:`tune` did.

    Attributes
    ----------
    complete, pruned, failed : int
        Trials of the study by state, earlier calls' included.
    left : int
        Trials that were asked for and are not finished.
    best : dict
        The searched settings of the best complete trial; empty if there is none.
    value : float
        Its value; NaN if there is none.
    number : int
        Its number; -1 if there is none.
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


@dataclass
class _Trial:
    """A trial in hand, with the records of its finished runs."""

    trial: optuna.Trial
    runs: list[grids.Run]
    reported: set[int]
    metrics: list[float] = field(default_factory=list)
    records: list[results.Record] = field(default_factory=list)


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

    Returns
    -------
    Outcome

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
    content = read_tuning(file, root)
    chosen = content.scale(scale)
    with _Study.open(content, scale, chosen) as study:
        return study.work(trials or chosen.trials, jobs, progress, say)


class _Study:
    """Optuna's study of one scale, and the table that is written of it."""

    def __init__(self, tuning: Tuning, name: str, scale: Scale, storage: Any) -> None:
        import optuna

        self.tuning, self.name, self.scale, self.storage = tuning, name, scale, storage
        self.code = experiments.code_hash(tuning.learner)
        # Other code or another search is another study: values are compared like with like.
        content = json.dumps([tuning.learner, self.code, scale.describe()], sort_keys=True)
        self.hash = hashlib.sha256(content.encode()).hexdigest()[:12]
        self.spool = _folder(tuning) / f"{tuning.name}-{name}"
        self.size = len(scale.runs({key: found.ends[0] for key, found in scale.search.items()}))
        self.study = optuna.create_study(
            storage=storage,
            study_name=self.hash,
            load_if_exists=True,
            direction=scale.objective.direction,
            sampler=self._sampler(0),
            pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=self.size),
        )
        self.versions = f"optuna-{optuna.__version__}"

    @classmethod
    @contextmanager
    def open(cls, tuning: Tuning, name: str, scale: Scale) -> Iterator[_Study]:
        """Open the study's files, and keep other processes away from them."""
        try:
            import optuna
        except ImportError:
            raise ValueError(
                "optuna must be installed to tune: pip install 'rhmlib[tune]'. Found none."
            ) from None
        folder = _folder(tuning)
        (folder / f"{tuning.name}-{name}").mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            lock = filelock.FileLock(folder / f"{tuning.name}-{name}.lock", blocking=False).acquire()
        except filelock.Timeout:
            raise ValueError(
                f"a study must be in the hand of one process at a time. Found {tuning.name}, scale {name}, "
                "in that of another one."
            ) from None
        with lock:
            path = folder / f"{tuning.name}-{name}.db"
            storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
            try:
                yield cls(tuning, name, scale, storage)
            finally:
                storage.remove_session()
                storage.engine.dispose()

    def _sampler(self, number: int) -> optuna.samplers.TPESampler:
        """Sampler of one trial: what it draws depends on the seed, its number and the trials before.

        A sampler that lived on through the study would begin its stream anew after an interruption.
        """
        import optuna

        [seed] = np.random.SeedSequence([self.scale.seed, number]).generate_state(1)
        return optuna.samplers.TPESampler(seed=int(seed))

    # ------------------------------------------------ trials

    def work(self, wanted: int, jobs: int, progress: bool, say: Say) -> Outcome:
        """Finish trials until there are as many as wanted, or Ctrl-C is pressed.

        The trials in hand do their next run side by side, and all wait for the slowest: so the
        order of what the sampler learns, and with it the study, does not depend on the machine.
        """
        say(self._summary(wanted))
        stop = Stop()
        # What a killed process left goes on; its finished runs are found in the spool.
        hand = [open_ for trial in self._left() if (open_ := self._take(trial))]
        bar = tqdm(total=wanted, initial=len(self._finished()), disable=not progress, unit="trial")
        with stop.on_interrupt(say), bar:
            while not stop():
                while len(hand) < jobs and len(self.study.get_trials(deepcopy=False)) < wanted:
                    if open_ := self._take(self._ask()):
                        hand.append(open_)
                if not hand:
                    break
                self._run([open_.runs[len(open_.records)] for open_ in hand[:jobs]], jobs, stop)
                hand = [open_ for open_ in hand if not self._advance(open_)]
                bar.update(len(self._finished()) - bar.n)
        self._write()
        outcome = self._outcome(wanted)
        say(_conclusion(outcome))
        if outcome.best:
            say(f"# best settings of tune {self.tuning.name}, scale {self.name}: trial {outcome.number}")
            say(outcome.to_yaml())
        return outcome

    def _left(self) -> list[optuna.Trial]:
        import optuna

        running = self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
        return [self._again(trial) for trial in running]

    def _again(self, trial: optuna.trial.FrozenTrial) -> optuna.Trial:
        import optuna

        self.study.sampler = self._sampler(trial.number)
        return optuna.Trial(self.study, trial._trial_id)

    def _ask(self) -> optuna.Trial:
        self.study.sampler = self._sampler(len(self.study.get_trials(deepcopy=False)))
        return self.study.ask()

    def _take(self, trial: optuna.Trial) -> _Trial | None:
        """Choose a trial's settings; None, and the trial has failed, where a task does not allow them."""
        values = {name: found.suggest(trial, name) for name, found in self.scale.search.items()}
        reported = set(self.study.get_trials(deepcopy=False)[trial.number].intermediate_values)
        try:
            return _Trial(trial, self.scale.runs(values), reported)
        except ValueError as error:
            self._finish(_Trial(trial, [], reported), "FAIL", error=str(error))
            return None

    def _run(self, runs: Sequence[grids.Run], jobs: int, stop: Stop) -> None:
        """Do the runs that are not in the spool, and wait for those that another process does."""
        tasks = {run.hash: Task.of(run, self.code, self.spool) for run in runs}
        while not stop():
            missing = [task for name, task in tasks.items() if self._record(name) is None]
            if not missing:
                return
            for done in run_locally(Queue(deque(missing), stop), jobs):
                if done.record is not None:
                    results.write_record(self.spool, done.record)
                elif done.status == "elsewhere":  # an orphan of a killed process finishes it
                    time.sleep(0.5)

    def _record(self, name: str) -> results.Record | None:
        record = results.read_record(self.spool / f"{name}.json")
        return record if record is not None and record.provenance["code_hash"] == self.code else None

    def _advance(self, open_: _Trial) -> bool:
        """Report what a trial's runs gave; return whether the trial is finished."""
        while len(open_.records) < len(open_.runs):
            record = self._record(open_.runs[len(open_.records)].hash)
            if record is None:
                return False
            open_.records.append(record)
            metric = self._metric(record)
            if not math.isfinite(metric):
                error = record.provenance["error"] or f"the metric must be finite. Found {metric}."
                return self._finish(open_, "FAIL", error=error)
            open_.metrics.append(metric)
            step, value = len(open_.metrics), self.scale.objective.of_trial(open_.metrics)
            if step not in open_.reported:
                open_.trial.report(value, step)
                if step < len(open_.runs) and open_.trial.should_prune():
                    return self._finish(open_, "PRUNED")
        return self._finish(open_, "COMPLETE", value)

    def _metric(self, record: results.Record) -> float:
        """Metric of a run; NaN where it failed."""
        if record.provenance["status"] == "failed":
            return math.nan
        try:
            return self.scale.objective.of_run(record.rows)
        except ValueError as error:
            raise SweepError(f"{self.scale.where}: {error}") from None

    def _finish(self, open_: _Trial, state: str, value: float | None = None, error: str = "") -> bool:
        import optuna

        open_.trial.set_user_attr("metrics", open_.metrics)
        open_.trial.set_user_attr("made", {**self._made(open_.records), "error": error})
        self.study.tell(open_.trial, value, state=optuna.trial.TrialState[state])
        self._write()
        return True

    def _made(self, records: Sequence[results.Record]) -> dict[str, Any]:
        """How a trial was made, from the provenance of its runs."""
        every = [record.provenance for record in records]
        if not every:
            return {"seconds": 0.0}
        return {
            "seconds": float(f"{math.fsum(made['seconds'] for made in every):.4g}"),
            "peak_memory_mb": max(made["peak_memory_mb"] for made in every),
            **{name: every[-1][name] for name in _MACHINE},
            "versions": f"{every[-1]['versions']} {self.versions}",
            "dirty": any(made["dirty"] for made in every),
        }

    # ------------------------------------------------ what is told and written

    def _finished(self) -> list[optuna.trial.FrozenTrial]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.name in _STATES]

    def _row(self, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        metrics = trial.user_attrs["metrics"]
        reported = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
        row = {
            "scale": self.name,
            "learner": self.tuning.learner,
            "number": trial.number,
            "state": _STATES[trial.state.name],
            "value": trial.value if trial.state.name == "COMPLETE" else None,
            **{name: trial.params[name] for name in self.scale.search},
            "runs": len(metrics),
            "metrics": " ".join(map(repr, metrics)),
            "intermediate": " ".join(map(repr, reported)),
            **trial.user_attrs["made"],
            "study": self.hash,
            "code_hash": self.code,
        }
        return {name: results.cell(value) for name, value in row.items()}

    def _write(self) -> None:
        """Put the study's rows into the table, in place of those of the same scale."""
        rows = [self._row(trial) for trial in self._finished()]
        path = self.tuning.root / "results" / f"tune_{self.tuning.name}.csv"
        if not rows:
            return
        path.parent.mkdir(exist_ok=True)
        with filelock.FileLock(_folder(self.tuning) / f"{path.name}.lock"):
            old = _read_csv(path)[1]
            rows += [row for row in old if row["scale"] != self.name]
            rows.sort(key=lambda row: (row["scale"], int(row["number"])))
            searched = [name for row in rows for name in row if name not in (*_START, *_END)]
            header = [*_START, *dict.fromkeys([*self.scale.search, *searched]), *_END]
            text = io.StringIO()
            writer = csv.DictWriter(text, header, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            records.replace(path, text.getvalue())

    def _outcome(self, wanted: int) -> Outcome:
        states = [trial.state.name for trial in self._finished()]
        complete = states.count("COMPLETE")
        best = self.study.best_trial if complete else None
        return Outcome(
            complete=complete,
            pruned=states.count("PRUNED"),
            failed=states.count("FAIL"),
            left=max(0, wanted - len(states)),
            best={name: best.params[name] for name in self.scale.search} if best else {},
            value=float(best.value) if best and best.value is not None else math.nan,
            number=best.number if best else -1,
        )

    def _summary(self, wanted: int) -> str:
        import optuna

        finished = self._finished()
        left = max(0, wanted - len(finished))
        others = sum(
            summary.n_trials
            for summary in optuna.get_all_study_summaries(self.storage)
            if summary.study_name != self.hash
        )
        if not left:
            cost = "nothing to do"
        elif not finished:
            cost = f"{left} to do, cost unknown: no trial of it is finished yet"
        else:
            seconds = [trial.user_attrs["made"]["seconds"] for trial in finished]
            cost = f"{left} to do, about {duration(left * float(np.mean(seconds)))} of one core"
        aside = f"; {others} trials of other code or another search left aside" if others else ""
        return (
            f"{self.tuning.name}, scale {self.name}: {wanted} trials of up to {self.size} runs, "
            f"{len(finished)} done{aside}; {cost}"
        )


def _folder(tuning: Tuning) -> Path:
    return tuning.root / "_build" / "tune"


def _conclusion(outcome: Outcome) -> str:
    text = f"{outcome.complete} trials complete, {outcome.pruned} pruned, {outcome.failed} failed"
    if outcome.failed:
        text += " (see the column 'error')"
    if outcome.left:
        text += f", {outcome.left} left: interrupted"
    return f"{text}; best value {outcome.value:.6g}" if outcome.best else text


# ---------------------------------------------------------------- what chapters read


def _read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return [], []
    reader = csv.DictReader(io.StringIO(text))
    columns = list(reader.fieldnames or [])
    if not {*_START, *_END} <= set(columns):
        raise ValueError(f"{path} must be a table of trials. Found the columns {', '.join(columns)}.")
    return columns, list(reader)


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
    columns, rows = _read_csv(grids.find_root(root) / "results" / f"{name}.csv")
    chosen = [row for row in rows if row["scale"] == scale]
    if not chosen:
        raise ValueError(
            f"results/{name}.csv must hold trials of the scale {scale!r}. Found none: "
            f"run `rhm tune {name.removeprefix('tune_')} --scale {scale}`."
        )
    kept = [c for c in columns if c in (*_START, *_END) or any(row[c] for row in chosen)]
    table = results._frame(kept, [{c: row[c] for c in kept} for row in chosen])
    present = experiments.code_hash(chosen[0]["learner"])
    linked = same_code.linked(chosen[0]["learner"], present, root)
    table["stale"] = ~table["code_hash"].isin(linked)
    return table


def searched(table: pd.DataFrame) -> list[str]:
    """Columns of a study's table that are searched settings."""
    return [str(name) for name in table.columns if name not in (*_START, *_END, "stale")]


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
        The most important first; the sum is 1.

    Raises
    ------
    ValueError
        If fewer than 4 trials have a value, or all have the same.

    Notes
    -----
    The study is made anew from the rows. The range of a setting is that of its values in them.
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
    distributions = {name: _distribution(table.loc[there, name].tolist()) for name in names}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for i in np.flatnonzero(there):
        given = {name: table[name].tolist()[i] for name in names}
        trial = optuna.create_trial(params=given, distributions=distributions, value=float(values[i]))
        study.add_trial(trial)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _distribution(values: list[Any]) -> optuna.distributions.BaseDistribution:
    import optuna

    if all(isinstance(x, int | float) and not isinstance(x, bool) for x in values):
        return optuna.distributions.FloatDistribution(min(values), max(values))
    return optuna.distributions.CategoricalDistribution(sorted(set(values), key=str))
