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
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rhmlib import experiments, grids
from rhmlib.parameters import read_yaml, suggestion

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_TASK_KEYS = ("fixed", "grid", "replicates", "blocks")
# Columns of a study's table: those before the searched settings, and those after.
START = ("scale", "learner", "number", "state", "value")
MACHINE = ("device_name", "platform", "versions", "commit")
_RUNS = ("runs", "metrics", "intermediate", "seconds", "peak_memory_mb")
END = (*_RUNS, *MACHINE, "dirty", "study", "code_hash", "error")


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
    over: Literal["mean", "worst"] = "mean"

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
class Scale:
    """One scale of a tuning file, checked.

    Attributes
    ----------
    learner, where : str
        `where` names file and scale in messages.
    content : dict
        What the file says.
    objective : Objective
    trials, seed : int
    search : dict of str to optuna.distributions.BaseDistribution
    first : dict
        The first value of each range.
    """

    learner: str
    where: str
    content: dict[str, Any]
    objective: Objective
    trials: int
    seed: int
    search: dict[str, BaseDistribution] = field(default_factory=dict)
    first: dict[str, Any] = field(default_factory=dict)

    def runs(self, values: Mapping[str, Any]) -> list[grids.Run]:
        """Return the runs of a trial: the first seed of every task, then the second.

        Raises
        ------
        ValueError
            If the values are not allowed for one of the tasks.
        """
        tasks = self._tasks()
        fixed = {**(tasks.get("fixed") or {}), **values}
        runs = grids.scale_runs(self.learner, {**tasks, "fixed": fixed}, self.where)
        return sorted(runs, key=lambda run: [getattr(run.config, seed, 0) for seed in experiments.SEEDS])

    def hash(self, code: str) -> str:
        """Hash of what makes two studies the same: the code and the search, not the number of trials."""
        described = {
            "tasks": self._tasks(),
            "search": {name: _described(found) for name, found in self.search.items()},
            "objective": vars(self.objective),
            "seed": self.seed,
        }
        content = json.dumps([self.learner, code, described], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def _tasks(self) -> dict[str, Any]:
        return {key: self.content[key] for key in _TASK_KEYS if key in self.content}


def _described(found: BaseDistribution) -> list[Any]:
    given = found._asdict()
    ends = given.get("choices") or (given["low"], given["high"])
    return [list(ends), "choices" in given, given.get("log", False)]


@dataclass(frozen=True)
class Tuning:
    """A checked tuning file: its name without suffix, its scales, the root of its table."""

    name: str
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
            hint = suggestion(name, list(self.scales))
            raise ValueError(f"tuning {self.name!r} has no scale {name!r}. {hint}")
        return self.scales[name]


def read_tuning(file: str | Path, root: str | Path | None = None) -> Tuning:
    """Read a tuning file and check it: every end and every choice, on every task of every scale.

    Parameters
    ----------
    file : path or str
        A path, or the name of a file in ``params/tune``.
    root : path, optional
        See :func:`rhmlib.grids.find_root`.

    Raises
    ------
    ValueError
        At the first thing that is wrong.
    """
    path = grids.named_file("tuning", "tune", file, root)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"tuning file must be readable UTF-8 text. Found {path}: {error}.") from None
    given = _mapping(read_yaml(text, path.name), path.name, ("learner", "scales"), ("title",))
    try:
        experiments.load(given["learner"])
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    if not isinstance(given["scales"], dict) or not given["scales"]:
        raise ValueError(f"{path.name}: scales must map names to studies. Found {given['scales']!r}.")
    scales = {
        str(name): _read_scale(given["learner"], content, f"{path.name}, scale {name!r}")
        for name, content in given["scales"].items()
    }
    folder = path.resolve().parent
    inside = root is None and folder.parts[-2:] == ("params", "tune")
    return Tuning(path.stem, scales, folder.parents[1] if inside else grids.find_root(root))


def _mapping(content: object, where: str, needed: tuple[str, ...], others: tuple[str, ...]) -> dict[str, Any]:
    found = grids._mapping(content, where, (*needed, *others))
    for key in needed:
        if key not in found:
            raise ValueError(f"{where} must have the key {key!r}. Found only: {', '.join(found)}.")
    return found


def _read_scale(learner: str, content: object, where: str) -> Scale:
    given = _mapping(content, where, ("search", "objective", "trials"), (*_TASK_KEYS, "seed"))
    given = {"seed": 0, **given}
    for key, least in (("trials", 1), ("seed", 0)):
        if isinstance(given[key], bool) or not isinstance(given[key], int) or given[key] < least:
            raise ValueError(f"{where}: {key} must be an integer >= {least}. Found {key}={given[key]!r}.")
    if not isinstance(given["search"], dict) or not given["search"]:
        raise ValueError(f"{where}: search must map settings to ranges. Found {given['search']!r}.")
    objective = _read_objective(learner, given["objective"], f"{where}, objective")
    return _with_search(Scale(learner, where, given, objective, given["trials"], given["seed"]))


def _read_objective(learner: str, content: object, where: str) -> Objective:
    given = _mapping(content, where, ("metric", "direction"), ("rows", "over"))
    given = {"over": "mean", **given, "rows": given.get("rows") or {}}
    metrics = list(experiments.load(learner).tolerances)
    allowed = {"metric": metrics, "direction": ["maximize", "minimize"], "over": ["mean", "worst"]}
    for key, words in allowed.items():
        if given[key] not in words:
            raise ValueError(f"{where}: {key} must be one of {', '.join(words)}. Found {key}={given[key]!r}.")
    if not isinstance(given["rows"], dict):
        raise ValueError(f"{where}: rows must map columns to values. Found rows={given['rows']!r}.")
    return Objective(**given)


def _with_search(scale: Scale) -> Scale:
    """Scale with its ranges, ends and choices as the experiment reads them, each tried on every task."""
    content, place = scale.content["search"], f"{scale.where}, search"
    texts = {name: _values(scale.learner, name, given, place) for name, given in content.items()}
    _check_names(scale)
    base, search, first = {name: values[0] for name, values in texts.items()}, {}, {}
    for name, given in content.items():
        configs = [scale.runs({**base, name: text})[0].config for text in texts[name]]
        values = [getattr(config, name) for config in configs]
        search[name], first[name] = _distribution(name, given, values, place), values[0]
    return replace(scale, search=search, first=first)


def _values(learner: str, name: str, content: object, where: str) -> list[Any]:
    """Choices of a range, or its two ends, as they stand in the file."""
    if name not in experiments.field_names(learner):
        hint = suggestion(str(name), experiments.field_names(learner))
        raise ValueError(f"{where}: {name!r} is no setting of {learner!r}. {hint}")
    given = grids._mapping(content, f"{where}: {name}", ("low", "high", "log", "choices"))
    if given.keys() != {"choices"}:
        if given.keys() - {"log"} == {"low", "high"} and isinstance(given.get("log", False), bool):
            return [given["low"], given["high"]]
        words = "choices, or low, high and perhaps log: true"
        raise ValueError(f"{where}: {name} must have {words}. Found {content!r}.")
    choices = given["choices"]
    plain = isinstance(choices, list) and all(isinstance(x, bool | int | float | str) for x in choices)
    if not plain or len(choices) < 2:
        raise ValueError(f"{where}: {name} must have a list of at least 2 choices. Found {choices!r}.")
    return list(choices)


def _distribution(name: str, given: Mapping[str, Any], values: list[Any], where: str) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if "choices" in given:
        return CategoricalDistribution(values)
    low, high = values
    log = given.get("log", False)
    if any(isinstance(x, bool) or not isinstance(x, int | float) for x in values):
        raise ValueError(f"{where}: {name} must have choices, as it is no number. Found {given!r}.")
    if not low < high:
        raise ValueError(f"{where}: {name} must have low < high. Found low={low}, high={high}.")
    if log and not low > 0:
        raise ValueError(f"{where}: {name} must have low > 0 with log. Found low={low}.")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _check_names(scale: Scale) -> None:
    """A searched setting stands nowhere else, and can be a column of the table."""
    names, blocks = scale.content["search"].keys(), scale.content.get("blocks")
    for part in (scale.content, *(blocks if isinstance(blocks, list) else [])):
        for key in ("fixed", "grid") if isinstance(part, dict) else ():
            both = names & (part[key] if isinstance(part.get(key), dict) else {}).keys()
            if both:
                raise ValueError(
                    f"{scale.where}: {min(both)} must be in search or in {key}. Found it in both."
                )
    if taken := names & {*START, *END, *experiments.SEEDS}:
        name = min(taken)
        raise ValueError(f"{scale.where}: {name} must not be searched: it is a seed or the name is taken.")
