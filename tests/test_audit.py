"""The audit passes honest tables and finds what was altered, whatever it was."""

import csv
from pathlib import Path

import pytest
import yaml

from rhmlib import results, sweeps
from rhmlib.audit import audit, read_record
from rhmlib.cli import main

TOY = "toy_experiment:Toy"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A small table of Iterative Latent Clustering, and one of toys, some of which failed."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    folder = tmp_path / "params" / "sweeps"
    folder.mkdir(parents=True)
    ilc = {"replicates": 2, "fixed": {"v": 4, "m": 2, "L": 3, "n": 50, "n_test": 50, "n_init": 2}}
    ilc["grid"] = {"targets": ["one", "all"]}
    toy = {"replicates": 6, "grid": {"trouble": ["none", "raise"]}}
    for name, learner, scale in (("ilc", "ilc", ilc), ("toy", TOY, toy)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"learner": learner, "scales": {"book": scale}}))
        sweeps.sweep(name, root=tmp_path, jobs=1, progress=False, say=lambda line: None)
    return tmp_path


def alter(root, column, change, *, name="toy", where=lambda row: row["status"] == "done"):
    """Change a cell of the first row of a table that fits."""
    path = root / "results" / f"{name}.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    victim = next(row for row in rows if where(row))
    victim[column] = change(victim[column])
    write(path, rows)


def write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def run(root, **kwargs):
    said = []
    return audit(root=root, say=said.append, **{"fraction": 1.0, **kwargs}), said


def test_an_honest_table_passes(root):
    found, said = run(root)
    assert found.passed
    assert (found.runs, found.equal, found.rows, found.elsewhere) == (10, 10, 20, 0)
    assert said == ["10 of 10 runs equal (20 rows)"]
    assert main(["--root", str(root), "audit", "--rows", "50"]) == 0


@pytest.mark.slow
def test_several_processes_find_the_same(root):
    assert run(root, jobs=2)[0] == run(root)[0]


@pytest.mark.parametrize("name", ["toy", "ilc"])
def test_a_value_that_was_altered_in_the_last_digit_is_found(root, name):
    column = {"toy": "value", "ilc": "hungarian_accuracy"}[name]
    alter(root, column, lambda text: repr(float(text) + 1e-15), name=name)
    found, said = run(root)
    [difference] = found.differences
    assert (difference.table, difference.column, difference.allowed) == (name, column, 0)
    assert f"{column} must be equal. Recorded {difference.recorded}, found {difference.found}" in said[0]
    assert said[-1] == "9 of 10 runs equal (20 rows)"
    assert main(["--root", str(root), "audit", "--fraction", "1"]) == 1


def test_a_setting_that_was_altered_is_found_without_doing_the_run(root):
    alter(root, "data_seed", lambda text: "77")
    found, said = run(root, rows=1, fraction=None)
    assert [difference.column for difference in found.differences] == ["config_hash"]
    assert "data_seed=77" in said[0]
    alter(root, "v", lambda text: "many", name="ilc")
    assert [d.column for d in run(root, rows=1, fraction=None)[0].differences] == ["settings", "config_hash"]


def test_a_row_that_is_gone_is_found(root):
    path = root / "results" / "toy.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows.remove(next(row for row in rows if row["level"] == "2"))
    write(path, rows)
    assert [d.column for d in run(root)[0].differences] == ["number of rows"]


def test_a_failure_that_was_called_a_success_is_found(root):
    alter(root, "status", lambda text: "done", where=lambda row: row["status"] == "failed")
    [difference] = run(root)[0].differences
    assert difference.column == "status"
    assert "told to fail" in difference.found


def test_what_depends_on_the_machine_may_differ(root):
    for column in ("seconds", "peak_memory_mb"):
        alter(root, column, lambda text: "1e3")
    for column in ("commit", "dirty"):
        alter(root, column, lambda text: "x")
    assert run(root)[0].passed


@pytest.mark.parametrize("column", ["device_name", "platform", "versions"])
def test_another_platform_gets_the_declared_tolerance(root, column):
    alter(root, column, lambda text: "elsewhere")
    alter(root, "value", lambda text: repr(float(text) + 0.009))
    found, said = run(root, sweeps=["toy"])
    assert found.passed
    assert found.elsewhere == 1
    assert said == ["6 of 6 runs equal (12 rows, 1 of them within tolerances, as made on another platform)"]
    alter(root, "value", lambda text: repr(float(text) + 0.002))
    [difference] = run(root, sweeps=["toy"])[0].differences
    assert str(difference).startswith("toy: v=4 m=2")
    assert "value must be within 0.01" in str(difference)
    alter(root, "value", lambda text: repr(float(text) - 0.011))
    alter(root, "count", lambda text: "2")  # no metric, so no tolerance
    assert [d.column for d in run(root, sweeps=["toy"])[0].differences] == ["count"]


def test_stale_and_failed_runs_are_left_out(root):
    alter(root, "code_hash", lambda text: "other", where=lambda row: row["grammar_seed"] == "1")
    alter(root, "code_hash", lambda text: "other", where=lambda row: row["code_hash"] == "other")
    found, said = run(root)
    assert found.runs == 9
    assert said[0] == "toy: 1 runs of other code are left out"


def test_the_sample_is_a_matter_of_the_seed(root, monkeypatch):
    from rhmlib import audit as module

    drawn = []
    real = module._task
    monkeypatch.setattr(module, "_task", lambda run: drawn.append(run.hash) or real(run))
    samples = []
    for seed in (0, 0, 1, 2):
        drawn.clear()
        assert run(root, rows=3, fraction=None, seed=seed)[0].runs == 3
        samples.append(frozenset(drawn))
    assert samples[0] == samples[1]
    assert len(set(samples)) > 1
    assert run(root, fraction=0.15)[0].runs == 2
    assert run(root, fraction=None)[0].runs == 1


def test_only_cheap_runs(root):
    alter(root, "seconds", lambda text: "100.0")
    assert run(root, max_seconds=50)[0].runs == 9


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"rows": 1}, r"fraction must be left out with rows. Found fraction=1.0, rows=1."),
        ({"fraction": 0}, r"fraction must be in \(0, 1\]. Found fraction=0."),
        ({"fraction": 1.5}, r"fraction must be in \(0, 1\]. Found fraction=1.5."),
        ({"fraction": None, "rows": 0}, r"rows must be an integer >= 1. Found rows=0."),
        ({"max_seconds": 0}, r"max_seconds must be positive. Found max_seconds=0."),
        ({"max_seconds": 1e-9}, r"must be finished runs of the present code to audit"),
        ({"sweeps": ["ilk"]}, r"Found 'ilk'. Did you mean 'ilc'"),
    ],
)
def test_arguments_that_are_wrong(root, kwargs, message):
    with pytest.raises(ValueError, match=message):
        run(root, **kwargs)


def test_the_table_is_as_it_was(root):
    before = {name: results.Table(name, root).path.read_text() for name in ("ilc", "toy")}
    run(root)
    assert {name: results.Table(name, root).path.read_text() for name in ("ilc", "toy")} == before


@pytest.mark.parametrize(("change", "passed"), [(0.0, True), (0.009, True), (0.02, False)])
def test_a_processor_of_a_kind_that_is_not_told_may_be_another(root, change, passed):
    alter(root, "platform", lambda text: text.rpartition("-")[0])
    alter(root, "value", lambda text: repr(float(text) + change))
    found, _ = run(root, sweeps=["toy"])
    assert found.passed == passed
    assert found.elsewhere == (change > 0)


def test_what_was_found_is_recorded_by_table(root):
    assert main(["--root", str(root), "audit", "--fraction", "1", "--record"]) == 0
    alter(root, "value", lambda text: repr(float(text) + 1))
    assert (
        main(["--root", str(root), "audit", "--rows", "50", "--seed", "3", "--max-seconds", "9", "--record"])
        == 1
    )
    rows = read_record(root)
    assert [(row["table"], row["runs"], row["rows"], row["equal"], row["differences"]) for row in rows] == [
        ("ilc", "4", "8", "4", "0"),
        ("toy", "6", "12", "6", "0"),
        ("ilc", "4", "8", "4", "0"),
        ("toy", "6", "12", "5", "1"),
    ]
    assert [(row["seed"], row["max_seconds"]) for row in rows] == [("0", "")] * 2 + [("3", "9.0")] * 2
    table = results.Table("toy", root).runs()[1]
    assert {row["code_hash"] for row in rows[1::2]} == {run[0]["code_hash"] for run in table.values()}
    assert all(row["date"].endswith("UTC") and row["commit"] and row["device_name"] for row in rows)


def test_no_record_is_an_empty_one(root):
    assert read_record(root) == []


def other_table(root, learner, scale):
    (root / "params" / "sweeps" / "other.yaml").write_text(
        yaml.safe_dump({"learner": learner, "scales": {"book": scale}})
    )
    sweeps.sweep("other", root=root, jobs=1, progress=False, say=lambda line: None)


def test_runs_on_a_device_that_is_not_there_are_left_out(root, monkeypatch):
    monkeypatch.setattr("rhmlib.provenance._cuda_devices", lambda: 0)
    other_table(root, TOY, {"replicates": 3, "grid": {"device": ["cpu", "cuda:0"]}})
    found, _ = run(root, sweeps=["other"])
    assert found.passed
    assert found.runs == 3


def test_times_are_not_compared(root):
    small = {"architecture": "tree", "v": 4, "L": 2, "width": 8, "batch_size": 4, "steps": 1, "repeats": 1}
    other_table(root, "data2vec_step", {"fixed": {**small, "device": "cpu"}, "grid": {"model_seed": [0]}})
    found, _ = run(root, sweeps=["other"])
    assert found.passed
    assert found.runs == 1
    alter(root, "operations", lambda value: str(2 * float(value)), name="other")
    assert not run(root, sweeps=["other"])[0].passed
