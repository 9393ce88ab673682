"""Sweeps: checked before they start, resumed after any death, the same on every executor."""

import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from rhmlib import experiments, grids, results, sweeps
from rhmlib.worker import SweepError

HERE = Path(__file__).parent
TOY = "toy_experiment:Toy"
SWEEP = "import sys; from rhmlib.sweeps import sweep; sweep('toy', jobs=int(sys.argv[1]), progress=False)"


@pytest.fixture(autouse=True)
def _toy_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(HERE)


@pytest.fixture
def make_root(tmp_path):
    def make(name="root", learner=TOY, **scales):
        folder = tmp_path / name / "params" / "sweeps"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "toy.yaml").write_text(yaml.safe_dump({"learner": learner, "scales": scales}))
        return tmp_path / name

    return make


def run(root, scale="book", **kwargs):
    said = []
    outcome = sweeps.sweep("toy", scale, root=root, progress=False, say=said.append, **{"jobs": 1, **kwargs})
    return outcome, said


def launch(root, jobs=2, path=()):
    places = os.pathsep.join([*map(str, path), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SWEEP, str(jobs)]
    with open(root / "said.txt", "a") as said:
        return subprocess.Popen(
            command, cwd=root, env=environment, start_new_session=True, stdout=said, stderr=said
        )


def science(root):
    """The table without what depends on when and where it was made."""
    rows = results.Table("toy", root).runs()[1]
    return sorted(
        tuple((name, text) for name, text in row.items() if name not in results.MACHINE_COLUMNS)
        for run in rows.values()
        for row in run
    )


# ---------------------------------------------------------------- sweep files


def settings(root, scale="book"):
    return [experiments.config_values(run.config) for run in grids.read_sweep("toy", root).runs(scale)]


def test_a_grid_is_every_combination_with_paired_seeds(make_root):
    root = make_root(book={"replicates": 3, "fixed": {"v": 5}, "grid": {"m": [1, 2], "n": [7, 8]}})
    found = settings(root)
    assert len(found) == 12
    assert {(s["m"], s["n"], s["v"]) for s in found} == {(1, 7, 5), (1, 8, 5), (2, 7, 5), (2, 8, 5)}
    assert {(s["grammar_seed"], s["data_seed"], s["model_seed"]) for s in found} == {
        (i, i, i) for i in range(3)
    }


def test_seeds_apart(make_root):
    root = make_root(book={"replicates": [3, 5], "grid": {"grammar_seed": [0, 1]}})
    found = settings(root)
    assert [(s["grammar_seed"], s["data_seed"], s["model_seed"]) for s in found] == [
        (0, 3, 3), (0, 5, 5), (1, 3, 3), (1, 5, 5),
    ]  # fmt: skip


def test_sizes_in_units_of_v_m3_are_rounded_up(make_root):
    root = make_root(book={"grid": {"m": [1, 2, 3], "n": {"per_vm3": [0.3, 1]}}})
    assert [(s["m"], s["n"]) for s in settings(root)] == [(1, 2), (1, 4), (2, 10), (2, 32), (3, 33), (3, 108)]
    root = make_root(book={"fixed": {"n": {"per_vm5": 1}}})
    assert [s["n"] for s in settings(root)] == [4 * 2**5]


def test_blocks_are_joined_and_a_run_is_there_once(make_root):
    blocks = [{"grid": {"n": [1, 2]}}, {"grid": {"n": [2, 3]}, "replicates": 2}]
    found = settings(make_root(book={"replicates": 1, "fixed": {"v": 9}, "blocks": blocks}))
    assert [(s["n"], s["model_seed"]) for s in found] == [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1)]
    assert {s["v"] for s in found} == {9}


def test_numbers_that_yaml_takes_for_text(make_root):
    root = make_root(book={})
    text = f"learner: {TOY}\nscales: {{book: {{grid: {{rate: [1e-3, 2, 0.5]}}}}}}\n"
    (root / "params" / "sweeps" / "toy.yaml").write_text(text)
    assert [s["rate"] for s in settings(root)] == [0.001, 2.0, 0.5]
    assert all(isinstance(s["rate"], float) for s in settings(root))


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ({"fixed": {"m": 5}}, r"toy.yaml, scale 'book': m must be at most v=4. Found m=5."),
        (
            {"blocks": [{}, {"grid": {"m": [1, 9]}}]},
            r"scale 'book', block 2: m must be at most v=4. Found m=9.",
        ),
        ({"fixed": {"m": 0}}, r"m must be greater than or equal to 1. Found m=0."),
        ({"fixed": {"m": True}}, r"m must be a valid integer. Found m=True."),
        ({"fixed": {"m": "2"}}, r"m must be a valid integer. Found m='2'."),
        ({"fixed": {"m": 1e-3}}, r"m must be a valid integer.* Found m=0.001."),
        ({"fixed": {"n": "1e3"}}, r"n must be a valid integer. Found n='1e3'."),
        ({"fixed": {"rate": "fast"}}, r"rate must be a valid number. Found rate='fast'."),
        ({"fixed": {"rate": math.inf}}, r"rate must be finite. Found rate=inf."),
        ({"fixed": {"trouble": "x"}}, r"trouble must be 'none', 'raise'.* Found trouble='x'."),
        ({"fixed": {"mm": 1}}, r"'mm' is no setting of 'toy_experiment:Toy'. Did you mean 'm'"),
        ({"fixed": {"m": [1, 2]}}, r"m must be one value under fixed. Found m=\[1, 2\]."),
        ({"grid": {"m": 1}}, r"m must be a list of values under grid. Found m=1."),
        ({"grid": {"m": []}}, r"m must be a list of values under grid. Found m=\[\]."),
        ({"grid": {"m": [1]}, "fixed": {"m": 1}}, r"m must be in fixed or in grid. Found it in both."),
        ({"grids": {"m": [1]}}, r"scale 'book': 'grids' is no key here. Did you mean 'grid'"),
        ({"blocks": [{"blocks": []}]}, r"block 1: 'blocks' is no key here"),
        ({"blocks": {}}, r"blocks must be a list of grids. Found {}."),
        ({"replicates": 0}, r"replicates must be an integer >= 1 or a list of seeds. Found 0."),
        ({"replicates": [-1]}, r"grammar_seed must be greater than or equal to 0. Found grammar_seed=-1."),
        (
            {"replicates": 2, "fixed": {"grammar_seed": 0, "data_seed": 0, "model_seed": 0}},
            r"replicates must be left out where the grid sets all seeds. Found 2.",
        ),
        ({"grid": {"n": {"per_vm3": [0]}}}, r"n must be positive multiples under per_vm3. Found n=0."),
        ({"grid": {"n": {"per_v": [1]}}}, r"n must be values or per_vm3: values. Found n={'per_v': \[1\]}."),
        (
            {"grid": {"n": {"per_vm3": [1]}, "m": ["a"]}},
            r"m must be an integer, as n is in units of v m\*\*3",
        ),
        ("many", r"scale 'book' must map names to values. Found 'many'."),
    ],
)
def test_a_grid_that_is_wrong_is_refused_before_any_run(make_root, scale, message):
    root = make_root(quick={"replicates": 1}, book=scale)
    with pytest.raises(ValueError, match=message):
        run(root, "quick")
    assert not (root / "results").exists()


def test_files_that_are_wrong(make_root):
    root = make_root(book={})
    path = root / "params" / "sweeps" / "toy.yaml"
    for text, message in [
        ("learner: ilk\nscales: {a: {}}", r"toy.yaml: learner must be a known one.*Did you mean 'ilc'"),
        ("learner: json:dumps\nscales: {a: {}}", "must be a pydantic dataclass"),
        ("learner: nowhere:Class\nscales: {a: {}}", "must be importable.*nowhere"),
        (f"learner: {TOY}\nscales: []", r"toy.yaml: scales must map names to grids. Found \[\]"),
        (f"learner: {TOY}", "must have the key 'scales'"),
        (f"learner: {TOY}\nscale: {{}}", "'scale' is no key here. Did you mean 'scales'"),
        (f"learner: {TOY}\nscales: {{a: {{}}, a: {{}}}}", "'a' is given twice"),
        ("a: [", "must be YAML"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            grids.read_sweep("toy", root)
    with pytest.raises(ValueError, match=r"a sweep file or its name. Found 'tay'. Did you mean 'toy'"):
        grids.read_sweep("tay", root)
    with pytest.raises(ValueError, match="the root must be a folder with params/sweeps in it"):
        grids.find_root(Path(root.anchor))


@pytest.mark.parametrize(
    "path", sorted((HERE.parent / "params" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem
)
def test_the_sweep_files_of_the_book(path):
    sweep = grids.read_sweep(path)
    assert {"quick", "book"} <= sweep.scales.keys()
    for scale in sweep.scales:
        hashes = [run.hash for run in sweep.runs(scale)]
        assert len(hashes) == len(set(hashes)) > 0
    quick, book = (
        sum(experiments.cost(run.config) for run in sweep.runs(name)) for name in ("quick", "book")
    )
    assert quick < 0.02 * book


def test_a_hash_tells_settings_apart_and_survives_their_order():
    values = dict.fromkeys(experiments.SEEDS, 0)
    one = experiments.configure(TOY, {**values, "rate": 1})
    assert one == experiments.configure(TOY, {"rate": 1.0, **values})
    hashes = {
        experiments.config_hash(learner, experiments.configure(TOY, {**values, **more}))
        for learner in (TOY, "ilc")
        for more in ({}, {"n": 2}, {"rate": 1.1}, {"note": "a"}, {"model_seed": 1})
    }
    assert len(hashes) == 10
    assert experiments.config_hash(TOY, one) in hashes


def test_settings_read_back_from_text():
    values = {
        "v": 7,
        "rate": 0.1 + 0.2,
        "note": None,
        "trouble": "raise",
        **dict.fromkeys(experiments.SEEDS, 3),
    }
    config = experiments.configure(TOY, values)
    texts = {name: results.cell(value) for name, value in experiments.config_values(config).items()}
    assert experiments.configure_from_text(TOY, texts) == config
    with pytest.raises(ValueError, match=r"v must be a valid integer.*Found v='x'"):
        experiments.configure_from_text(TOY, {**texts, "v": "x"})


def test_ilc_needs_no_torch_and_its_settings_are_words_of_the_book():
    code = "import sys; from rhmlib import grids; grids.read_sweep('ilc'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=HERE.parent, check=False).returncode == 0
    from rhmlib.parameters import CATALOGUE

    for learner in experiments.LEARNERS:
        assert set(experiments.field_names(learner)) <= CATALOGUE.keys()


def test_code_that_an_experiment_does_not_use_does_not_count():
    from rhmlib.provenance import dependencies

    module = experiments.LEARNERS["ilc"].partition(":")[0]
    assert dependencies(module) == {"experiment_ilc", "grammar", "ilc", "metrics", "sampling"}


# ---------------------------------------------------------------- resuming


def test_what_is_done_is_not_done_again(make_root):
    root = make_root(
        book={"replicates": 4, "grid": {"n": [1, 2]}}, half={"replicates": 2, "grid": {"n": [1, 2]}}
    )
    assert run(root, "half")[0] == sweeps.Outcome(done=4, failed=0, left=0)
    outcome, said = run(root)
    assert outcome.done == 4
    assert said[0].startswith("toy, scale book: 8 runs, 4 done, 4 missing, 0 failed, 0 stale; 4 to do, about")
    before = (root / "results" / "toy.csv").read_text()
    outcome, said = run(root)
    assert outcome == sweeps.Outcome(done=0, failed=0, left=0)
    assert said == ["toy, scale book: 8 runs, 8 done, 0 missing, 0 failed, 0 stale; nothing to do"]
    assert (root / "results" / "toy.csv").read_text() == before


@pytest.mark.slow
def test_kill_9_at_twenty_random_moments(make_root):
    """After the last resume, the rows and values of a sweep that was never disturbed."""
    scale = {"replicates": 150, "fixed": {"nap": 0.03}, "grid": {"n": [1, 2]}}
    whole, killed = make_root("whole", book=scale), make_root("killed", book=scale)
    process = launch(whole)
    rng, seen, kills = random.Random(0), 0, 0
    for i in range(20):
        alternating = launch(killed, jobs=1 + i % 2)
        if i % 4 == 3:  # somewhere while it starts and merges what the last one left
            time.sleep(rng.uniform(0.2, 0.8))
        else:  # somewhere while it works
            _wait_for_a_new_run(killed, alternating)
            time.sleep(rng.uniform(0.0, 0.2))
        kills += alternating.poll() is None
        kill = os.killpg if i % 3 else os.kill  # with its workers, or leaving them orphaned
        _end(alternating, kill)
        now = len(results.Table("toy", killed).runs()[1])
        assert now >= seen
        seen = now
    assert kills == 20
    assert 10 < seen < 300
    assert launch(killed).wait(60) == 0
    assert process.wait(60) == 0
    assert len(science(whole)) == 600
    assert science(killed) == science(whole)
    text = (killed / "results" / "toy.csv").read_text().splitlines()
    assert len(text) == 601
    assert not list((killed / "results" / ".spool" / "toy").glob("*.json"))


def _wait_for_a_new_run(root, process):
    spool = root / "results" / ".spool" / "toy"
    table = root / "results" / "toy.csv"
    before = len(list(spool.glob("*.json"))), table.stat().st_mtime_ns if table.exists() else 0
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        now = len(list(spool.glob("*.json"))), table.stat().st_mtime_ns if table.exists() else 0
        if now[1] != before[1]:
            before = (0, now[1])
        if now[0] > before[0]:
            return
        time.sleep(0.005)


def _end(process, kill):
    with suppress(ProcessLookupError):
        kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_two_sweeps_of_one_file_at_once(make_root):
    root = make_root(book={"replicates": 60, "fixed": {"nap": 0.02}})
    processes = [launch(root, jobs) for jobs in (1, 2)]
    for process in processes:
        assert process.wait(60) == 0, (root / "said.txt").read_text()
        assert len(science(root)) == 120
    assert len((root / "results" / "toy.csv").read_text().splitlines()) == 121
    assert run(root)[0].done == 0


def test_a_run_in_another_process_is_left_to_it(make_root):
    import filelock

    root = make_root(book={"replicates": 3})
    table = results.Table("toy", root)
    table.open()
    [_, taken, _] = grids.read_sweep("toy", root).runs("book")
    with filelock.FileLock(table.spool / f"{taken.hash}.lock"):
        outcome, said = run(root)
    assert outcome == sweeps.Outcome(done=2, failed=0, left=1)
    assert said[-1] == "2 runs finished, 1 left: another process has them in hand"
    assert run(root)[0].done == 1


def test_the_time_limit_begins_nothing_new(make_root):
    root = make_root(book={"replicates": 50, "fixed": {"nap": 0.05}})
    outcome, said = run(root, limit_minutes=1 / 60)
    assert outcome.reason == "time limit reached"
    assert 0 < outcome.done < 50
    assert outcome.done + outcome.left == 50
    assert said[-1] == f"{outcome.done} runs finished, {outcome.left} left: time limit reached"
    assert len(science(root)) == 2 * outcome.done


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_finishes_what_is_in_hand(make_root, jobs):
    root = make_root(book={"replicates": 200, "fixed": {"nap": 0.03}})
    process = launch(root, jobs)
    _wait_for_a_new_run(root, process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 0, (root / "said.txt").read_text()
    assert 0 < len(science(root)) < 400
    assert {row[-2] for row in science(root)} == {("status", "done")}
    assert not list((root / "results" / ".spool" / "toy").glob("*.json"))


def test_ctrl_c_twice_leaves_at_once(make_root):
    root = make_root(book={"grid": {"nap": [60.0, 0.01]}})
    process = launch(root)
    _wait_for_a_new_run(root, process)
    os.killpg(process.pid, signal.SIGINT)
    while "press Ctrl-C again" not in (root / "said.txt").read_text():
        assert process.poll() is None, (root / "said.txt").read_text()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) != 0
    assert len(science(root)) == 2


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"jobs": 0}, "jobs must be an integer >= 1. Found jobs=0."),
        ({"limit_minutes": 0}, "limit_minutes must be positive. Found limit_minutes=0."),
        ({"jobs": 2, "scheduler": "x"}, "jobs must be left out with a scheduler"),
        ({"scale": "bok"}, "sweep 'toy' has no scale 'bok'. Did you mean 'book'"),
        (
            {"jobs": None, "scheduler": "nonsense"},
            "scheduler must be the address of a dask scheduler that runs. Found scheduler='nonsense'",
        ),
    ],
)
def test_arguments_that_are_wrong(make_root, kwargs, message):
    root = make_root(book={"replicates": 3})
    with pytest.raises(ValueError, match=message):
        run(root, **kwargs)
    assert not (root / "results" / "toy.csv").exists()


# ---------------------------------------------------------------- failures


def test_a_run_that_raises_is_recorded_and_the_others_go_on(make_root):
    root = make_root(book={"grid": {"trouble": ["none", "raise", "bad row"], "model_seed": [0, 1]}})
    outcome, said = run(root, jobs=2)
    assert outcome == sweeps.Outcome(done=6, failed=4, left=0)
    assert said[-1] == "6 runs finished, 4 of them failed (see the column 'error')"
    errors = {rows[0]["trouble"]: rows[0]["error"] for rows in results.Table("toy", root).runs()[1].values()}
    assert errors["none"] == ""
    assert errors["raise"].endswith("ArithmeticError: told to fail")
    assert "toy_experiment.py:" in errors["raise"]
    assert str(HERE) not in errors["raise"]
    assert "must not have a column 'seconds'" in errors["bad row"]
    assert len(results.read("toy", root=root)) == 4
    assert run(root)[0].done == 0
    assert run(root, retry_failed=True)[0] == sweeps.Outcome(done=4, failed=4, left=0)
    assert len(results.Table("toy", root).runs()[1]) == 6


@pytest.mark.slow
def test_a_run_that_kills_its_process_fails_alone(make_root):
    blocks = [
        {"fixed": {"trouble": "die", "model_seed": 2}},
        {"grid": {"model_seed": [0, 1, 2, 3, 4, 5]}},
    ]
    root = make_root(book={"fixed": {"nap": 0.05}, "blocks": blocks})
    outcome, _ = run(root, jobs=2)
    assert outcome == sweeps.Outcome(done=7, failed=1, left=0)
    rows = [rows[0] for rows in results.Table("toy", root).runs()[1].values()]
    [failed] = [row for row in rows if row["status"] == "failed"]
    assert failed["trouble"] == "die"
    assert "its worker process died, twice" in failed["error"]


@pytest.mark.slow
def test_processes_that_die_again_and_again_end_the_sweep(make_root):
    root = make_root(book={"grid": {"trouble": ["die"], "model_seed": list(range(8))}})
    with pytest.raises(SweepError, match="worker processes died in a row"):
        run(root, jobs=2)


# ---------------------------------------------------------------- other code


@pytest.fixture
def changing(tmp_path, monkeypatch):
    """An experiment in a file of its own, and a way to change its code."""
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    source = (HERE / "toy_experiment.py").read_text()
    path = folder / f"changing_{tmp_path.name}.py"

    def write(old="", new=""):
        path.write_text(source.replace(old, new))
        return f"{path.stem}:Toy"

    return write


def test_rows_of_other_code_are_stale_and_done_again(make_root, changing):
    learner = changing()
    root = make_root(learner=learner, book={"replicates": 3})
    path = [root.parent / "code"]
    assert launch(root, 1, path).wait(30) == 0
    first = science(root)
    assert sweeps.status(root)[0].done == 3
    changing("rng.random()", "1 + rng.random()")
    [status] = sweeps.status(root)
    assert (status.done, status.missing, status.failed, status.stale) == (0, 0, 0, 3)
    with pytest.raises(ValueError, match="Found 3 runs of other code"):
        results.read("toy", root=root)
    assert launch(root, 1, path).wait(30) == 0
    assert sweeps.status(root)[0].done == 3
    second = results.read("toy", root=root)
    assert len(second) == 6
    assert (second.value >= 1).all()
    assert science(root) != first


def test_a_process_that_has_loaded_other_code_is_told_so(make_root, changing):
    root = make_root(learner=changing(), book={"replicates": 2}, more={"replicates": 3})
    run(root)
    changing("rng.random()", "1 + rng.random()")
    with pytest.raises(SweepError, match="must be the same in all processes of a sweep"):
        run(root, "more")
    assert len(science(root)) == 4


# ---------------------------------------------------------------- status and estimates


def test_status_counts_and_estimates(make_root):
    root = make_root(
        book={"replicates": 3, "fixed": {"nap": 0.02}, "grid": {"trouble": ["none", "raise"]}},
        more={"replicates": 5, "fixed": {"nap": 0.02}},
    )
    before = {status.scale: status for status in sweeps.status(root)}
    assert (before["book"].missing, before["book"].total) == (6, 6)
    assert math.isnan(before["book"].hours_left)
    run(root)
    after = {status.scale: status for status in sweeps.status(root, ["toy"])}
    book, more = after["book"], after["more"]
    assert (book.done, book.missing, book.failed, book.stale, book.seconds_left) == (3, 0, 3, 0, 0)
    assert (more.done, more.missing, more.failed, more.stale) == (3, 2, 0, 0)
    assert more.seconds_left == pytest.approx(0.04, rel=0.5)
    text = sweeps.format_status(after.values()).splitlines()
    assert [line.split()[:6] for line in text[1:]] == [
        ["toy", "book", "3", "0", "3", "0"],
        ["toy", "more", "3", "2", "0", "0"],
    ]


def test_a_sweep_without_rows_is_estimated_from_another_of_its_learner(make_root):
    root = make_root(book={"replicates": 3, "fixed": {"nap": 0.02}})
    folder = root / "params" / "sweeps"
    (folder / "broken.yaml").write_text("learner: none")
    (root / "results").mkdir()
    (root / "results" / "broken.csv").touch()
    (folder / "new.yaml").write_text((folder / "toy.yaml").read_text().replace("0.02", "0.04"))
    assert math.isnan(sweeps.status(root, ["new"])[0].seconds_left)
    run(root)
    assert sweeps.status(root, ["new"])[0].seconds_left == pytest.approx(3 * 0.04, rel=0.5)


def test_runs_that_no_scale_has_any_more(make_root):
    root = make_root(book={"replicates": 3})
    run(root)
    root = make_root(book={"replicates": 2})
    [status] = sweeps.status(root)
    assert (status.done, status.other) == (2, 1)
    assert sweeps.format_status([status]).endswith("toy: 1 runs in the table belong to no scale any more")
    assert sweeps.prune("toy", root) == 1
    assert sweeps.status(root)[0].other == 0
    assert len(science(root)) == 4


def test_estimates():
    assert all(math.isnan(seconds) for seconds in sweeps.estimate([], [1.0, 2.0]))
    known = [(1.0, 2.0), (1.0, 4.0), (100.0, 300.0)]
    assert sweeps.estimate(known, [0.1, 1.0, 10.0, 1000.0]) == pytest.approx([3.0, 3.0, 30.0, 3000.0])
    assert sweeps.estimate(known, []) == []
    assert [sweeps.duration(s) for s in (3, 100, 5000, 9000)] == ["3 s", "1.7 min", "83.3 min", "2.5 h"]


# ---------------------------------------------------------------- a cluster

distributed = pytest.importorskip("distributed")


def cluster(workers, **kwargs):
    return distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, dashboard_address=":0", protocol="tcp://", **kwargs
    )


@pytest.fixture(scope="module")
def two_workers():
    """A cluster of two processes; a task whose worker dies is tried once more."""
    sys.path.insert(0, str(HERE))  # for the workers
    import dask

    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), cluster(2) as running:
        yield running
    sys.path.remove(str(HERE))


@pytest.fixture
def address(two_workers):
    with distributed.Client(two_workers) as client:
        client.wait_for_workers(2, timeout=20)
    return two_workers.scheduler_address


@pytest.mark.slow
def test_loky_and_a_cluster_give_identical_rows(make_root, address):
    scale = {"replicates": 10, "fixed": {"nap": 0.005}, "grid": {"n": [1, 2], "trouble": ["none", "raise"]}}
    one, other = make_root("loky", book=scale), make_root("dask", book=scale)
    run(one, jobs=2)
    outcome, _ = run(other, jobs=None, scheduler=address)
    assert outcome == sweeps.Outcome(done=40, failed=20, left=0)
    assert science(other) == science(one)


@pytest.mark.slow
def test_the_death_of_a_cluster_worker_loses_nothing(make_root, two_workers, address):
    root = make_root(book={"replicates": 30, "fixed": {"nap": 0.05}})
    pids = [worker.process.pid for worker in two_workers.workers.values()]
    killer = threading.Timer(0.5, os.kill, (pids[0], signal.SIGKILL))
    killer.start()
    outcome, _ = run(root, jobs=None, scheduler=address)
    killer.join()
    assert outcome == sweeps.Outcome(done=30, failed=0, left=0)
    assert len(science(root)) == 60


@pytest.mark.slow
def test_a_run_that_kills_cluster_workers_fails_alone(make_root, address):
    blocks = [{"fixed": {"trouble": "die", "nap": 0.3}}, {"replicates": 4, "fixed": {"nap": 0.001}}]
    outcome, _ = run(make_root(book={"blocks": blocks}), jobs=None, scheduler=address)
    assert outcome == sweeps.Outcome(done=5, failed=1, left=0)


@pytest.mark.slow
def test_no_worker_has_what_a_run_needs(make_root, address):
    root = make_root(book={"replicates": 2, "grid": {"device": ["cpu", "cuda"]}})
    start = time.monotonic()
    message = r"must have a worker with the resources that these runs need, GPU=1. Found 2 workers"
    with pytest.raises(ValueError, match=message):
        run(root, jobs=None, scheduler=address)
    assert time.monotonic() - start < 5
    assert not (root / "results" / "toy.csv").exists()


@pytest.mark.slow
def test_one_gpu_worker_gets_the_gpu_runs_and_the_calling_process_none(make_root):
    root = make_root(book={"replicates": 3, "fixed": {"device": "cuda", "trouble": "pid"}})
    with cluster(1, resources={"GPU": 1}) as running:
        pids = {str(worker.process.pid) for worker in running.workers.values()}
        assert run(root, jobs=None, scheduler=running.scheduler_address)[0].done == 3
    assert {rows[0]["pid"] for rows in results.Table("toy", root).runs()[1].values()} == pids


def test_a_cluster_without_workers(make_root):
    root = make_root(book={"replicates": 2})
    with cluster(0) as running, pytest.raises(ValueError, match=r"must have a worker. Found none"):
        run(root, jobs=None, scheduler=running.scheduler_address)
