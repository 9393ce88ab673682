"""Tuning: checked before it starts, resumed after any death, read from its table alone."""

import copy
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import yaml

from rhmlib import cli, experiments, figures_tuning, results, tuning, tuning_files
from rhmlib.worker import SweepError

HERE = Path(__file__).parent
LEARNER = "toy_tuning:Valley"
TUNE = "import sys; from rhmlib.tuning import tune; tune('toy', jobs=int(sys.argv[1]), progress=False)"
SCALE = {
    "grid": {"m": [2, 3]},
    "replicates": 2,
    "search": {
        "rate": {"low": "1e-3", "high": 1, "log": True},
        "width": {"low": 1, "high": 8},
        "kind": {"choices": ["good", "bad"]},
    },
    "objective": {"metric": "value", "rows": {"level": "top"}, "direction": "maximize"},
    "trials": 14,
    "seed": 1,
}


@pytest.fixture(autouse=True)
def _toy_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    mpl.use("agg")


@pytest.fixture
def make_root(tmp_path):
    def make(name, scale=SCALE):
        for folder in ("sweeps", "tune"):
            (tmp_path / name / "params" / folder).mkdir(parents=True)
        write(tmp_path / name, scale)
        return tmp_path / name

    return make


@pytest.fixture
def root(make_root):
    return make_root("root")


def write(root, scale):
    content = {"title": "Toy", "learner": LEARNER, "scales": {"book": scale}}
    (root / "params" / "tune" / "toy.yaml").write_text(yaml.safe_dump(content))


def changed(**changes):
    """SCALE with parts replaced; "search.rate" reaches into a part, None removes."""
    scale = copy.deepcopy(SCALE)
    for name, value in changes.items():
        *parents, last = name.split("__")
        part = scale
        for parent in parents:
            part = part[parent]
        part[last] = value
        if value is None:
            del part[last]
    return scale


def tune(root, **kwargs):
    said = []
    outcome = tuning.tune("toy", root=root, progress=False, say=said.append, **kwargs)
    return outcome, said


def science(root):
    """The table without what depends on when and where it was made."""
    table = tuning.read("tune_toy", root=root)
    return table.drop(columns=["seconds", "peak_memory_mb"]).astype(str).to_dict("records")


# ---------------------------------------------------------------- tuning files


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (changed(trials=0), r"toy.yaml, scale 'book': trials must be an integer >= 1. Found trials=0."),
        (changed(trials=None), r"scale 'book' must have the key 'trials'"),
        (changed(seed=-1), r"seed must be an integer >= 0. Found seed=-1."),
        (changed(objective=None), r"must have the key 'objective'"),
        (changed(objective__metric="valu"), r"metric must be one of value, note. Found metric='valu'"),
        (changed(objective__direction="up"), r"direction must be one of maximize, minimize. Found"),
        (changed(objective__over="median"), r"over must be one of mean, worst. Found over='median'"),
        (changed(objective__rows=["level"]), r"rows must map columns to values. Found rows=\['level'\]"),
        (changed(search={}), r"search must map settings to ranges. Found {}."),
        (changed(search__rat={"low": 1, "high": 2}), r"'rat' is no setting of .* Did you mean 'rate'"),
        (changed(search__rate={"low": 1}), r"rate must have choices, or low, high and perhaps log: true"),
        (changed(search__rate={"low": 1, "high": 1}), r"rate must have low < high. Found low=1.0, high=1.0"),
        (changed(search__rate={"low": 0, "high": 1}), r"rate must be greater than 0. Found rate=0"),
        (changed(search__rate={"low": "slow", "high": 1}), r"rate must be a valid number. Found rate='slow'"),
        (changed(search__width={"low": 1, "high": 2.5}), r"width must be a valid integer.* Found width=2.5"),
        (changed(search__kind={"low": 1, "high": 2}), r"kind must be 'good'.* Found kind=1"),
        (changed(search__kind={"choices": ["good"]}), r"kind must have a list of at least 2 choices"),
        (changed(search__kind={"choices": ["good", "best"]}), r"kind must be 'good'.* Found kind='best'"),
        (changed(search__kind={"choices": ["good", None]}), r"kind must have a list of at least 2 choices"),
        (changed(search__m={"low": 1, "high": 2}), r"m must be in search or in grid. Found it in both."),
        (
            changed(blocks=[{"fixed": {"rate": 1}}]),
            r"rate must be in search or in fixed. Found it in both.",
        ),
        (changed(search__grammar_seed={"low": 1, "high": 2}), r"grammar_seed must not be searched"),
        (changed(grid__m=[2, 0]), r"m must be greater than or equal to 1. Found m=0."),
        (changed(fixed={"mm": 1}), r"'mm' is no setting of"),
        (
            changed(fixed={"limit": 4}, search__kind={"choices": ["bad", "good"]}),
            r"width must be at most limit=4. Found width=8.",
        ),
        (changed(trial=3), r"'trial' is no key here. Did you mean 'trials'"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_before_any_run(root, scale, message, capsys, monkeypatch):
    write(root, scale)
    with pytest.raises(ValueError, match=message):
        tune(root)
    monkeypatch.chdir(root)
    assert cli.main(["tune", "toy"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert {path.name for path in root.iterdir()} == {"params"}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("tune toi", "Did you mean 'toy'?"),
        ("tune toy --scale boook", "tuning 'toy' has no scale 'boook'. Did you mean 'book'?"),
        ("tune toy --trials 0", "trials must be an integer >= 1. Found trials=0."),
        ("tune toy --jobs 0", "jobs must be an integer >= 1. Found jobs=0."),
        ("tune toy --trials many", "Invalid value for '--trials'"),
        ("tune", "Missing argument 'FILE'"),
    ],
)
def test_wrong_calls(root, capsys, monkeypatch, call, words):
    monkeypatch.chdir(root)
    assert cli.main(call.split()) == 2
    assert words in capsys.readouterr().err
    assert {path.name for path in root.iterdir()} == {"params"}


def test_a_trial_does_the_first_seed_of_every_task_first(root):
    scale = tuning_files.read_tuning("toy", root).scale("book")
    configs = [run.config for run in scale.runs({"rate": 0.5, "width": 3, "kind": "bad"})]
    assert [(c.grammar_seed, c.m) for c in configs] == [(0, 2), (0, 3), (1, 2), (1, 3)]
    assert {(c.rate, c.width, c.kind) for c in configs} == {(0.5, 3, "bad")}


@pytest.mark.parametrize(
    "path", sorted((HERE.parent / "params" / "tune").glob("*.yaml")), ids=lambda path: path.stem
)
def test_the_tuning_files_of_the_book(path):
    found = tuning_files.read_tuning(path)
    assert {"quick", "book"} <= found.scales.keys()
    quick, book = (
        scale.trials * sum(experiments.cost(run.config) for run in scale.runs(scale.first))
        for scale in (found.scales["quick"], found.scales["book"])
    )
    assert quick < 0.02 * book


# ---------------------------------------------------------------- what is judged


def test_the_metric_is_the_mean_over_the_chosen_rows():
    rows = [
        {"level": a, "checkpoint": c, "x": x} for a, c, x in [(1, "best", 1), (2, "best", 3), (2, "last", 9)]
    ]
    rows.append({"level": 2, "checkpoint": "best", "x": 4.0})
    judge = tuning_files.Objective("x", {"level": "top", "checkpoint": "best"}, "maximize", "mean")
    assert judge.of_run(rows) == 3.5
    assert tuning_files.Objective("x", {"level": 1}, "maximize", "mean").of_run(rows) == 1.0
    with pytest.raises(ValueError, match=r"must choose rows of a run with numbers under x. Found \[\]"):
        tuning_files.Objective("x", {"level": 3}, "maximize", "mean").of_run(rows)


def test_the_worst_run_is_the_least_or_the_largest():
    for direction, expected in (("maximize", 1.0), ("minimize", 4.0)):
        assert tuning_files.Objective("x", {}, direction, "worst").of_trial([2.0, 1.0, 4.0]) == expected
        assert tuning_files.Objective("x", {}, direction, "mean").of_trial([2.0, 1.0, 3.0]) == 2.0


# ---------------------------------------------------------------- a study


def test_a_study_finds_what_is_best_and_spares_what_is_bad(root):
    outcome, said = tune(root, trials=24)
    assert outcome.best["kind"] == "good"
    assert 0.03 < outcome.best["rate"] < 0.3
    assert (outcome.complete + outcome.pruned, outcome.failed, outcome.left) == (24, 0, 0)
    table = tuning.read("tune_toy", root=root)
    assert list(table["number"]) == list(range(24))
    complete = table["state"] == "complete"
    assert 2 <= outcome.pruned == (~complete).sum()
    assert (table["runs"][complete] == 4).all()
    assert (table["runs"][~complete] < 4).all()
    assert table["value"][~complete].isna().all()
    assert table["value"].max() == outcome.value == table["value"][outcome.number]
    assert yaml.safe_load("\n".join(said[2:])) == outcome.best
    for row in table[complete].to_dict("records"):
        value = -abs(math.log10(row["rate"]) + 1) - 0.3 * (row["kind"] == "bad")
        metrics = [2 * (value - 0.01 * seed) / m for seed in (0, 1) for m in (2, 3)]
        np.testing.assert_allclose([float(text) for text in row["metrics"].split()], metrics)
        means = [np.mean(metrics[: i + 1]) for i in range(4)]
        np.testing.assert_allclose([float(text) for text in row["intermediate"].split()], means)
        assert row["value"] == pytest.approx(means[-1])
    assert (table["code_hash"] == experiments.code_hash(LEARNER)).all()
    assert table["versions"].str.contains("optuna-").all()
    assert table["width"].between(1, 8).all()
    check_figures(table)


def check_figures(table):
    for runs in (None, 1):
        figure = figures_tuning.figures_tuning(table, runs=runs)
        bars, *panels = figure.axes
        assert sorted(ax.get_xlabel() for ax in panels) == ["kind", "rate", "width"]
        shares = tuning.importances(table, runs)
        assert [text.get_text() for text in bars.get_yticklabels()] == list(shares)[::-1]
        assert [bar.get_width() for bar in bars.patches] == list(shares.values())[::-1]
        of_rate = next(ax for ax in panels if ax.get_xlabel() == "rate")
        assert of_rate.get_xscale() == "log"
        drawn = np.concatenate([points.get_offsets() for points in of_rate.collections])
        expected = table["value"].notna().sum() if runs is None else len(table)
        assert np.isfinite(np.ma.filled(drawn, np.nan)).all(1).sum() == expected
        mpl.pyplot.close(figure)


def test_what_is_done_is_not_done_again_and_more_can_be_asked_for(root):
    assert tune(root, trials=3)[0].left == 0
    first = science(root)
    outcome, said = tune(root, trials=3)
    assert said[0] == "toy, scale book: 3 trials of up to 4 runs, 3 done; nothing to do"
    assert science(root) == first
    outcome, said = tune(root, trials=5)
    assert outcome.complete + outcome.pruned == 5
    assert "2 to do, about" in said[0]
    assert science(root)[:3] == first


def test_another_search_is_another_study(root):
    tune(root, trials=3)
    write(root, changed(search__rate={"low": 0.5, "high": 1}))
    outcome, said = tune(root, trials=2)
    assert "2 trials of up to 4 runs, 0 done; 3 trials of other code or another search left aside" in said[0]
    table = tuning.read("tune_toy", root=root)
    assert len(table) == outcome.complete + outcome.pruned == 2
    assert (table["rate"] >= 0.5).all()


def test_scales_share_a_table(root):
    quick = changed(search={"kind": SCALE["search"]["kind"]}, fixed={"rate": 0.1, "width": 1})
    text = {"learner": LEARNER, "scales": {"book": SCALE, "quick": quick}}
    (root / "params" / "tune" / "toy.yaml").write_text(yaml.safe_dump(text))
    tune(root, trials=2)
    tune(root, trials=3, scale="quick")
    tune(root, trials=3)
    assert len(tuning.read("tune_toy", root=root)) == 3
    table = tuning.read("tune_toy", root=root, scale="quick")
    assert len(table) == 3
    assert tuning.searched(table) == ["kind"]
    with pytest.raises(
        ValueError, match=r"must hold trials of the scale 'gpu'. Found none: run `rhm tune toy"
    ):
        tuning.read("tune_toy", root=root, scale="gpu")


@pytest.mark.parametrize(
    ("scale", "error"),
    [
        (changed(search__kind={"choices": ["good", "mad"]}), "ArithmeticError: told to fail"),
        (changed(search__kind={"choices": ["good", "nan"]}), "the metric must be finite. Found nan."),
        (changed(fixed={"limit": 1}), "width must be at most limit=1. Found width="),
    ],
)
def test_a_trial_that_fails_is_a_row_and_the_study_goes_on(root, scale, error, monkeypatch, capsys):
    write(root, scale)
    outcome, _ = tune(root, trials=5)
    assert outcome.failed > 0
    assert outcome.complete + outcome.pruned + outcome.failed == 5
    table = tuning.read("tune_toy", root=root)
    failed = table[table["state"] == "failed"]
    assert len(failed) == outcome.failed
    assert failed["error"].str.contains(error, regex=False).all()
    assert failed["value"].isna().all()
    monkeypatch.chdir(root)
    assert cli.main(["tune", "toy", "--trials", "5"]) == 1
    assert f"{outcome.failed} failed (see the column 'error')" in capsys.readouterr().out


def test_rows_that_no_run_has_end_the_study(root, monkeypatch, capsys):
    write(root, changed(objective__rows={"checkpoint": "best"}))
    with pytest.raises(
        SweepError, match=r"scale 'book': rows of the objective must choose rows .* Found \[\]"
    ):
        tune(root)
    monkeypatch.chdir(root)
    assert cli.main(["tune", "toy"]) == 1
    assert "must choose rows of a run with numbers" in capsys.readouterr().err


def test_one_process_at_a_time(root):
    (root / "_build" / "tune").mkdir(parents=True)
    with (
        filelock.FileLock(root / "_build" / "tune" / "toy-book.lock"),
        pytest.raises(ValueError, match="in the hand of one process at a time"),
    ):
        tune(root)


# ---------------------------------------------------------------- resuming


def launch(root, jobs):
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TUNE, str(jobs)]
    with open(root / "said.txt", "a") as said:
        return subprocess.Popen(
            command, cwd=root, env=environment, start_new_session=True, stdout=said, stderr=said
        )


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_kill_9_and_again(make_root, jobs):
    """After the last resume, the rows of a study that was never disturbed."""
    killed, whole = (make_root(name, changed(trials=8, fixed={"nap": 0.05})) for name in ("killed", "whole"))
    spool = killed / "_build" / "tune" / "toy-book"
    for i in range(2):
        before = len(list(spool.glob("*.json")))
        process = launch(killed, jobs)
        deadline = time.monotonic() + 30
        while len(list(spool.glob("*.json"))) < before + 3 and time.monotonic() < deadline:
            assert process.poll() is None, (killed / "said.txt").read_text()
            time.sleep(0.005)
        (os.killpg if i % 2 else os.kill)(process.pid, signal.SIGKILL)  # without and with its workers
        process.wait()
    processes = [launch(root, jobs) for root in (killed, whole)]
    assert [process.wait(60) for process in processes] == [0, 0], (killed / "said.txt").read_text()
    assert len(science(whole)) == 8
    assert science(killed) == science(whole)


# ---------------------------------------------------------------- reading


def table_of(values, **columns):
    """A table of complete trials, as `read` returns it."""
    n = len(values)
    given = {"state": ["complete"] * n, "value": values, "intermediate": [f"0.5 {x!r}" for x in values]}
    rest = {name: [""] * n for name in (*tuning_files.START, *tuning_files.END) if name not in given}
    return pd.DataFrame({**rest, **given, **columns, "stale": [False] * n})


def test_importances_find_what_the_value_depends_on():
    rng = np.random.default_rng(0)
    rate, width = 10 ** rng.uniform(-3, 0, 60), rng.integers(1, 9, 60)
    kind = rng.choice(["a", "b"], 60)
    values = (-np.abs(np.log10(rate) + 1) - 0.5 * (kind == "b")).tolist()
    table = table_of(values, rate=rate, width=width, kind=kind, same=[1] * 60)
    shares = tuning.importances(table)
    assert list(shares) == ["rate", "kind", "width"]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["width"] < 0.05 < shares["kind"]
    assert tuning.importances(table) == shares
    assert tuning.importances(table, runs=2) == shares
    with pytest.raises(ValueError, match=r"at least 4 trials with values that differ. Found 60"):
        tuning.importances(table, runs=1)
    with pytest.raises(ValueError, match=r"Found 3"):
        tuning.importances(table[:3])
    table["value"] = np.where(kind == "b", np.nan, values)  # pruned
    assert set(tuning.importances(table)) == {"rate", "width"}


def test_the_value_after_some_runs():
    table = table_of([1.0, 2.0])
    table["intermediate"] = ["0.25 0.5", "3.0"]
    np.testing.assert_array_equal(tuning.values_after(table, 1), [0.25, 3.0])
    np.testing.assert_array_equal(tuning.values_after(table, 2), [0.5, math.nan])
    with pytest.raises(ValueError, match=r"runs must be at least 1. Found runs=0"):
        tuning.values_after(table, 0)


def test_a_table_that_is_none(root):
    results.Table("x", root).open()
    (root / "results" / "tune_toy.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"must be a table of trials. Found the columns a, b"):
        tuning.read("tune_toy", root=root)
