"""The bench: what it asks of a learner, and that it measures what it says."""

import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
import torch

from rhmlib import bench, cli
from rhmlib.bench import Budget
from rhmlib.bench_learners import ILC, TreeData2Vec, TreeMaskedTokens

torch.set_num_threads(1)

GOOD = """
import numpy as np

class Good:
    def fit(self, tokens, rng, budget):
        self.v = budget.v

    def encode(self, tokens):
        return np.eye(self.v)[tokens]

class Whole(Good):
    def encode(self, tokens):
        return super().encode(tokens).reshape(len(tokens), -1)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module with learners; return its name."""
    names = []

    def write(text, name=None):
        name = name or f"learner_{len(names)}_{abs(hash(text)) % 10**8}"
        names.append(name)
        (tmp_path / f"{name}.py").write_text(GOOD + textwrap.dedent(text))
        return name

    monkeypatch.syspath_prepend(str(tmp_path))
    yield write
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("class It: pass", r"must have a method fit\(tokens, rng, budget\)"),
        ("class It(Good):\n encode = None", r"must have a method encode\(tokens\)"),
        ("class It(Good):\n def fit(self, tokens): pass", r"fit of a learner must be callable as fit\("),
        ("class It(Good):\n def encode(self, x, y): pass", r"callable as encode\("),
        ("class It(Good):\n def __init__(self, width): pass", r"must be made without arguments"),
        ("It = 3", r"must be a class. Found .* a int"),
        ("class It(Good):\n def fit(self, t, r, b): 1 / 0", r"must run on 32 .* ZeroDiv"),
        ("class It(Good):\n def fit(self, t, r, b): t[:] = 0; self.v = b.v", r"must leave its tokens"),
        ("class It(Good):\n def encode(self, t): return np.ones((3, 2))", r"must return shape \(n, width\)"),
        ("class It(Good):\n def encode(self, t): return np.full((len(t), 2), np.nan)", r"finite numbers"),
        ("class It(Good):\n def encode(self, t): return np.random.rand(len(t), 2)", r"of each string"),
        ("class It(Good):\n def encode(self, t): return t - t.mean(0)", r"nor of the other strings"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_any_work(module, body, message):
    with pytest.raises(ValueError, match=message):
        bench.rehearse(f"{module(body)}:It")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rhmlib.bench_learners", r"must be 'package.module:Class'. Found 'rhmlib.bench_learners'"),
        ("no_such_module:It", r"must be importable"),
        ("rhmlib.bench_learners:None_", r"must be importable"),
    ],
)
def test_names(name, message):
    with pytest.raises(ValueError, match=message):
        bench.load(name)


@pytest.mark.parametrize("learner", [ILC, TreeData2Vec, TreeMaskedTokens])
def test_what_ships_has_the_protocol(learner):
    bench.rehearse(f"rhmlib.bench_learners:{learner.__name__}")


def settings(entry, **changes):
    given = {"v": 4, "m": 2, "L": 2, "n": 30, "steps": 2, "n_val": 200, "n_test": 400, "n_probe": 400}
    seeds = {"grammar_seed": 0, "data_seed": 0, "model_seed": 0}
    return bench.BenchExperiment(entry=entry, source="", **{**given, **seeds, **changes})


def test_probes_of_tokens_find_no_more_than_is_linear(module):
    name = module("")
    rows = settings(f"{name}:Good").run()
    assert rows == settings(f"{name}:Good").run()
    assert [row["level"] for row in rows] == [1, 2]
    whole = settings(f"{name}:Whole").run()
    # One feature a leaf is averaged over the leaves of a node and loses their order; one a string is not.
    assert whole[0]["probe_accuracy"] >= rows[0]["probe_accuracy"]
    assert whole[1]["probe_accuracy"] < 0.95


def test_ilc_finds_the_latents():
    rows = settings("rhmlib.bench_learners:ILC", v=8, m=2, L=3, n=1000).run()
    assert [row["probe_accuracy"] > 0.97 for row in rows[:2]] == [True, True]


def test_data2vec_learns_with_steps():
    entry = "rhmlib.bench_learners:TreeData2Vec"
    few, many = (settings(entry, v=8, m=3, L=3, n=800, steps=steps).run() for steps in (1, 250))
    assert many[1]["probe_accuracy"] > few[1]["probe_accuracy"] + 0.1


def test_more_strings_than_there_are():
    with pytest.raises(ValueError, match=r"n must be at most the number of strings, 32. Found n=33"):
        settings("x:Y", n=33)


def made_up_table(exponent):
    """A learner that reaches 75 % at v m**exponent strings, at every depth."""
    rows = []
    for m in (2, 3, 4):
        for depth in (3, 4, 5):
            for n in np.geomspace(8, 8 * 4**5, 12):
                for seed in range(3):
                    share = n / (8 * m**exponent * (1 + 0.05 * seed))
                    accuracy = 0.25 + 0.75 * share**2 / (share**2 + 0.5)
                    found = {"level": depth - 1, "probe_accuracy": accuracy}
                    rows.append({"v": 8, "m": m, "L": depth, "n": n, "grammar_seed": seed, **found})
    return pd.DataFrame(rows)


def test_exponents_are_those_that_were_put_in():
    found = bench.exponents(made_up_table(3), np.random.default_rng(0))
    slope = float(found["level L-1, L=4: exponent of m"].split()[0])
    assert slope == pytest.approx(3, abs=0.05)
    assert float(found["level L-1, m=3: log P* a level of depth"].split()[0]) == pytest.approx(0, abs=0.01)
    table = bench.thresholds(made_up_table(3), np.random.default_rng(0))
    assert len(table) == 9
    assert table["multiple"].str.match(r"[01]\.\d").all()
    assert table["strings"].str.contains(r"\[").all()


def test_budget():
    assert Budget(steps=1, v=2, s=2, L=2).steps == 1


@pytest.mark.slow
def test_the_command(module, tmp_path, monkeypatch, capsys):
    name = module("")
    for folder in ("params/sweeps", "results"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    grid = {"m": [2, 3], "n": {"per_vm3": [0.5, 1]}}
    fixed = {"v": 4, "s": 2, "L": 2, "steps": 1, "n_val": 50, "n_test": 50, "n_probe": 50}
    monkeypatch.setitem(bench.SCALES, "quick", {"replicates": 1, "fixed": fixed, "grid": grid})
    monkeypatch.setitem(bench.SCALES, "book", {"replicates": 1, "fixed": fixed, "grid": grid})
    monkeypatch.setitem(bench.SCALES, "gpu", {"replicates": 1, "fixed": fixed, "grid": grid})
    assert cli.main(["bench", f"{name}:Good"]) == 0
    said = capsys.readouterr().out
    assert "4 runs finished" in said
    assert "| m | L | level | strings | in v m^3 |" in said
    assert (tmp_path / "_build" / "bench" / "bench_good.md").exists()
    assert cli.main(["bench", f"{name}:Nothing"]) != 0
    assert "must be importable" in capsys.readouterr().err
