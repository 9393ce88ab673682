"""Rows outlive a change of code if older and present code give the same, and only then."""

import csv
import shutil
import subprocess

import pytest
import yaml

from rhmlib import confirm, experiments, provenance, same_code, sweeps
from rhmlib.cli import main

SCALE = {
    "fixed": {"v": 4, "m": 2, "L": 3, "n": 50, "n_test": 50, "n_init": 2},
    "grid": {"targets": ["one", "all"]},
}


def git(root, *arguments):
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def make_root(tmp_path):
    """A checkout whose first commit has an older library, by which its table says to be made."""

    def make(change, replicates=3, changed="experiment_ilc"):
        folder = tmp_path / "params" / "sweeps"
        folder.mkdir(parents=True)
        scales = {
            "book": {"replicates": replicates, **SCALE},
            "quick": {"replicates": 1, **SCALE, "fixed": {**SCALE["fixed"], "n": 20}},
        }
        (folder / "ilc.yaml").write_text(yaml.safe_dump({"learner": "ilc", "scales": scales}))
        sweeps.sweep("ilc", root=tmp_path, jobs=1, progress=False, say=lambda line: None)
        shutil.copytree(provenance.PACKAGE, tmp_path / "rhmlib", ignore=shutil.ignore_patterns("__pycache__"))
        module = tmp_path / "rhmlib" / f"{changed}.py"
        module.write_text(change(module.read_text()))
        git(tmp_path, "init", "-q")
        git(tmp_path, "add", "rhmlib")
        git(tmp_path, "commit", "-qm", "older")
        old = confirm._drive(tmp_path, "ilc", [])[0][0]
        path = tmp_path / "results" / "ilc.csv"
        with path.open(newline="") as file:
            rows = [{**row, "code_hash": old} for row in csv.DictReader(file)]
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        shutil.rmtree(tmp_path / "rhmlib")
        return tmp_path

    return make


def states(root):
    found = next(each for each in sweeps.status(root, ["ilc"]) if each.scale == "book")
    return found.done, found.stale


def test_rows_of_a_code_that_gives_the_same_stay_in_use(make_root, capsys):
    root = make_root(
        lambda source: source.replace("    def run(self", "    spare = 1\n\n    def run(self", 1)
    )
    assert states(root) == (0, 6)
    assert main(["--root", str(root), "confirm", "HEAD", "ilc", "--runs", "3"]) == 0
    assert "ilc: 5 of 5 runs equal" in capsys.readouterr().out  # two of them of the scale "quick"
    assert states(root) == (6, 0)
    with pytest.raises(ValueError, match=r"there must be stale rows that the code of \w+ made. Found none"):
        confirm.confirm("HEAD", learners=["ilc"], root=root)
    [row] = same_code.read_record(root)
    assert row["newer_code"] == experiments.code_hash("ilc")
    assert (row["older_commit"], row["times"]) == (confirm._name(root, "HEAD"), "")
    assert row["older_code"] not in same_code.linked("ilc", "0" * 12, root)


def test_another_way_of_hashing_the_same_sources_asks_for_no_run(make_root, capsys):
    root = make_root(lambda source: source.replace("[:12]", "[1:13]"), changed="reach")
    assert states(root) == (0, 6)
    assert main(["--root", str(root), "confirm", "HEAD", "ilc"]) == 0
    assert "ilc: the same sources" in capsys.readouterr().out
    assert states(root) == (6, 0)
    [row] = same_code.read_record(root)
    assert (row["runs"], row["same_source"]) == ("0", "true")


def test_one_difference_and_they_do_not(make_root):
    root = make_root(lambda source: source.replace("self.n / (self.v", "1e-15 + self.n / (self.v"))
    assert main(["--root", str(root), "confirm", "HEAD"]) == 1
    [row] = same_code.read_record(root)
    assert int(row["equal"]) < int(row["runs"]) == 7
    assert states(root) == (0, 6)


def test_codes_are_linked_by_steps(tmp_path):
    (tmp_path / "params" / "sweeps").mkdir(parents=True)
    (tmp_path / "results").mkdir()

    def known(*rows):
        names = ("learner", "older_code", "newer_code", "runs", "equal")
        lines = [",".join(map(str, row)) for row in [names, *rows]]
        same_code.record_path(tmp_path).write_text("\n".join(lines) + "\n")
        return same_code.linked("ilc", "a", tmp_path)

    assert "a" not in same_code.linked("ilc", "b", tmp_path)
    assert known(("ilc", "a", "b", 5, 5), ("ilc", "c", "b", 9, 9), ("slc", "a", "d", 9, 9)) == set("abc")
    assert known(("ilc", "a", "b", 4, 4), ("ilc", "a", "b", 4, 4)) == {"a"}  # may be the same runs
    assert known(("ilc", "a", "b", 5, 5), ("ilc", "b", "a", 6, 5)) == {"a"}
    assert known(("ilc", "a", "b", 5, 5), ("ilc", "b", "c", 5, 5), ("ilc", "a", "c", 9, 8)) == {"a"}
    assert known(("ilc", "a", "b", 5, 5), ("ilc", "c", "d", 9, 8)) == set("ab")


def test_bad_arguments_are_named(tmp_path):
    (tmp_path / "params" / "sweeps").mkdir(parents=True)
    for changes, message in (
        ({"runs": 0}, "runs must be an integer >= 1. Found runs=0"),
        ({"max_seconds": 0.0}, "max_seconds must be positive"),
        ({}, "commit must be one of the repository in .*Found 'none-such'"),
    ):
        with pytest.raises(ValueError, match=message):
            confirm.confirm("none-such", root=tmp_path, **changes)
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "empty")
    with pytest.raises(ValueError, match="commit must be one with the library in it"):
        confirm.confirm("HEAD", root=tmp_path)


def test_a_code_that_stops_is_told(tmp_path):
    (tmp_path / "rhmlib").mkdir()
    (tmp_path / "rhmlib" / "__init__.py").write_text("raise RuntimeError('broken')\n")
    with pytest.raises(ValueError, match=r"runs of 'ilc'. Found that it stopped: RuntimeError: broken"):
        confirm._drive(tmp_path, "ilc", [{}])


def test_what_one_code_does_not_know_is_left_out():
    here = provenance.PACKAGE.parent
    assert confirm._drive(here, "none-such", []) == [[None, None]]
    outside = "tests.toy_experiment:Toy"  # has a hash, and no modules of the library
    assert confirm._drive(here, outside, []) == [[experiments.code_hash(outside), None]]
    assert confirm._drive(here, "ilc", [{"v": "none"}])[0][0] == experiments.code_hash("ilc")
    assert confirm._drive(here, "ilc", [{"v": "none"}])[1] is None


def test_times_are_set_beside_each_other_and_all_else_compared():
    older, newer = [{"milliseconds": 1.0, "operations": 2}], [{"milliseconds": 3.0, "operations": 2}]
    assert confirm._text(older) == confirm._text(newer)
    assert confirm._text(older) != confirm._text([{"milliseconds": 1.0, "operations": 2.0}])
    assert confirm._times([(older, newer)]) == 3.0
    assert confirm._times([([{}], [{}])]) is None
