"""Tables of runs: nothing is torn, lost or doubled, whatever dies when; old rows do not pass unseen."""

import json
import math
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import yaml

from rhmlib import experiments, results
from rhmlib.results import Record, Table, read, write_record

TOY = "toy_experiment:Toy"


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    (tmp_path / "params" / "sweeps").mkdir(parents=True)
    content = {"learner": TOY, "scales": {"book": {"replicates": 4}, "more": {"replicates": 6}}}
    (tmp_path / "params" / "sweeps" / "toy.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


def make(seed=0, *, value=0.1, status="done", code=None, seconds=0.5, **row):
    seeds = dict.fromkeys(experiments.SEEDS, seed)
    config = experiments.configure(TOY, seeds)
    provenance = dict.fromkeys(experiments.PROVENANCE, "")
    provenance |= {"seconds": seconds, "dirty": False, "status": status, "commit": "0123456789"}
    provenance["config_hash"] = experiments.config_hash(TOY, config)
    provenance["code_hash"] = code or experiments.code_hash(TOY)
    rows = [{"level": level, "value": value, **row} for level in (1, 2)] if status == "done" else []
    return Record(TOY, experiments.config_values(config), rows, provenance)


def spool(root, *records):
    table = Table("toy", root)
    table.open()
    for record in records:
        write_record(table.spool, record)
    return table


def values(table):
    return {rows[0]["grammar_seed"]: [row.get("value") for row in rows] for rows in table.runs()[1].values()}


def test_values_come_back_equal(root):
    numbers = [0.1 + 0.2, 1e-17, 5e-324, math.pi, 1e300]
    spool(root, *[make(seed, value=x) for seed, x in enumerate(numbers)]).compact()
    table = read("toy", scale=None, root=root)
    assert sorted(table.value[table.level == 1]) == sorted(numbers)
    assert table.level.dtype.kind == "i"
    assert table.grammar_seed.dtype.kind == "i"
    assert set(table.commit) == {"0123456789"}
    assert table.note.isna().all()


def test_reading_sees_what_is_not_merged_yet(root):
    table = spool(root, make(0, value=1.0))
    table.compact()
    spool(root, make(1, value=2.0))
    assert values(table) == {"0": ["1.0", "1.0"], "1": ["2.0", "2.0"]}
    assert table.compact() == 1
    assert values(table) == {"0": ["1.0", "1.0"], "1": ["2.0", "2.0"]}
    assert not list(table.spool.glob("*.json"))


def test_the_order_of_arrival_leaves_no_trace(root, tmp_path_factory):
    texts = []
    for order in ([0, 1, 2, 10], [10, 2, 0, 1]):
        table = spool(root)
        for seed in order:
            spool(root, make(seed)).compact()
        texts.append(table.path.read_text())
        table.path.unlink()
    assert texts[0] == texts[1]
    seeds = [line.split(",")[11] for line in texts[0].splitlines()[1::2]]
    assert seeds == ["0", "1", "2", "10"]


def test_merging_again_leaves_the_file_alone(root):
    table = spool(root, make(0))
    table.compact()
    before = table.path.read_text(), table.stamp()
    assert table.compact() == 0
    assert (table.path.read_text(), table.stamp()) == before


def test_a_damaged_file_costs_its_own_run_only(root):
    table = spool(root, make(0), make(1))
    victim = table.spool / f"{make(0).hash}.json"
    for text in (victim.read_text()[:50], "", "[]", '["x", {}, [], {}]', "null", json.dumps([1, 2, 3, 4])):
        victim.write_text(text)
        with pytest.warns(UserWarning, match="damaged"):
            assert list(values(table)) == ["1"]
    with pytest.warns(UserWarning, match="damaged"):
        table.compact()
    assert list(values(table)) == ["1"]


class Killed(BaseException):
    """Stands for a death of the process at a call."""


@pytest.mark.parametrize("where", ["replace", "fsync", "unlink"])
def test_death_at_any_step_of_merging_loses_nothing(root, monkeypatch, where):
    """Every call that changes the disk is, in turn, the last one of the process."""
    table = spool(root, *[make(seed) for seed in range(3)])
    table.compact()
    expected = {str(seed): ["0.1", "0.1"] for seed in range(6)}
    for victim in range(12):
        spool(root, *[make(seed) for seed in range(3, 6)])
        calls = 0
        real = {"replace": os.replace, "fsync": os.fsync, "unlink": Path.unlink}[where]

        def deadly(*args, victim=victim, real=real, **kwargs):
            nonlocal calls
            calls += 1
            if calls == victim + 1:
                raise Killed
            return real(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(Path if where == "unlink" else os, where, deadly)
            with suppress(Killed):
                table.compact()
        assert values(table) == expected
        if calls <= victim:
            break
    else:
        pytest.fail("the victim was never beyond the last call")
    assert victim > 0
    table.compact()
    assert values(table) == expected
    left = {path.name for path in (root / "results").iterdir()}
    assert left == {"toy.csv", ".spool"}


def test_threads_that_write_and_merge_at_once(root):
    table = spool(root)

    def work(first):
        for seed in range(first, first + 15):
            write_record(table.spool, make(seed % 40))
            if seed % 4 == 0:
                Table("toy", root).compact()

    threads = [threading.Thread(target=work, args=(10 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    table.compact()
    assert values(table) == {str(seed): ["0.1", "0.1"] for seed in range(40)}
    assert len(table.path.read_text().splitlines()) == 81


def test_which_of_two_results_stays(root):
    """The present code beats other code, success beats failure; else the newer one, unless both are fine."""
    old = make(0, value=1.0)
    cases = [
        (old, make(0, value=2.0), "1.0"),
        (make(0, value=1.0, code="other"), make(0, value=2.0), "2.0"),
        (old, make(0, value=2.0, code="other"), "1.0"),
        (make(0, status="failed"), make(0, value=2.0), "2.0"),
        (old, make(0, status="failed"), "1.0"),
        (make(0, value=1.0, code="a"), make(0, value=2.0, code="b"), "2.0"),
    ]
    for first, second, stays in cases:
        table = spool(root, first)
        table.compact()
        spool(root, second)
        assert values(table)["0"][0] == stays
        table.compact()
        assert values(table)["0"][0] == stays
        table.path.unlink()


def test_a_failed_run_has_one_row_with_its_error(root):
    record = make(0, status="failed")
    record.provenance["error"] = 'toy.py:1 in run\nZeroDivisionError: a, "b"'
    table = spool(root, record)
    table.compact()
    assert len(table.path.read_text().splitlines()) == 2
    [rows] = table.runs()[1].values()
    assert rows[0]["error"] == 'toy.py:1 in run ZeroDivisionError: a, "b"'
    with pytest.raises(ValueError, match=r"must hold finished runs.*'failed': 1.*rhm sweep toy"):
        read("toy", root=root)


def test_new_columns_take_their_place(root):
    table = spool(root, make(0))
    table.compact()
    spool(root, make(1, extra=7)).compact()
    columns, runs = table.runs()
    assert columns.index("extra") == columns.index("value") + 1
    assert {rows[0]["extra"] for rows in runs.values()} == {"", "7"}


def test_a_setting_that_came_later_has_its_default_in_older_rows(root, monkeypatch):
    toy = experiments.load(TOY)
    monkeypatch.setattr(toy, "added", frozenset({"rate"}), raising=False)

    def recorded(seed, **changes):
        record, config = make(seed), {**make(seed).settings, **changes}
        settings = experiments.recorded_values(TOY, config)
        provenance = {
            **record.provenance,
            "config_hash": experiments.config_hash(TOY, experiments.configure(TOY, config)),
        }
        return Record(TOY, settings, record.rows, provenance)

    table = spool(root, recorded(0))
    table.compact()
    assert "rate" not in read("toy", scale=None, root=root)  # as no run has another
    spool(root, recorded(1), recorded(2, rate=0.5)).compact()
    found = read("toy", scale=None, root=root)
    assert dict(zip(found["grammar_seed"], found["rate"], strict=True)) == {0: 1.0, 1: 1.0, 2: 0.5}
    assert set(found["stale"]) == {False}


def test_a_file_that_is_no_table(root):
    table = spool(root, make(0))
    table.compact()
    text = table.path.read_text()
    for broken in ("a,b\n1,2\n", text + "<<<<<<< HEAD\n", text + text.splitlines()[1] + ",7\n"):
        table.path.write_text(broken)
        with pytest.raises(ValueError, match="must be a table of runs"):
            table.runs()
        assert table.path.read_text() == broken


def test_rows_of_a_scale_with_how_complete_it_is(root):
    spool(root, make(0), make(1), make(2, status="failed"), make(5)).compact()
    table = read("toy", root=root)
    assert sorted(set(table.grammar_seed)) == [0, 1]
    assert table.attrs["runs"] == {"done": 2, "failed": 1, "stale": 0, "missing": 1}
    assert sorted(set(read("toy", scale="more", root=root).grammar_seed)) == [0, 1, 5]
    assert sorted(set(read("toy", scale=None, root=root).grammar_seed)) == [0, 1, 5]
    with pytest.raises(ValueError, match=r"no scale 'bok'. Did you mean 'book'"):
        read("toy", scale="bok", root=root)


def test_stale_rows_are_not_mixed_in(root):
    spool(root, make(0), make(1, code="other")).compact()
    with pytest.raises(ValueError, match=r"rows of the present code only. Found 1 runs of other code"):
        read("toy", root=root)
    assert set(read("toy", root=root, stale="drop").grammar_seed) == {0}
    kept = read("toy", root=root, stale="keep")
    assert dict(zip(kept.grammar_seed, kept.stale, strict=True)) == {0: False, 1: True}
    with pytest.raises(ValueError, match=r"stale must be 'error', 'drop' or 'keep'. Found stale='x'"):
        read("toy", root=root, stale="x")


def test_a_table_without_a_spool_needs_no_folder_of_its_own(root):
    table = spool(root, make(0))
    table.compact()
    for path in (table.spool / "merging", table.spool, table.spool.parent):
        for file in path.glob("*"):
            if file.is_file():
                file.unlink()
        path.rmdir()
    assert isinstance(read("toy", root=root), pd.DataFrame)
    assert not table.spool.exists()


def test_pruning(root):
    table = spool(root, make(0), make(1))
    assert table.keep({make(1).hash}) == 1
    assert list(values(table)) == ["1"]
    assert table.keep({make(1).hash}) == 0


def test_the_spool_ignores_itself_in_git(root):
    spool(root)
    assert (root / "results" / ".spool" / ".gitignore").read_text() == "*\n"


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of posix")
def test_tables_can_be_read_by_others(root):
    table = spool(root, make(0))
    table.compact()
    assert table.path.stat().st_mode & 0o777 == 0o644


def test_text_in_cells():
    assert [results.cell(x) for x in (None, True, False, 3, 0.1, "a\n b", float("nan"))] == [
        "", "true", "false", "3", "0.1", "a b", "nan",
    ]  # fmt: skip
