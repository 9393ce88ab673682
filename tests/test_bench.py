"""The bench: what it asks of a learner, and that it measures what it says."""

import importlib.util
import os
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from rhmlib import Grammar, bench, cli, experiments
from rhmlib.belief_propagation import posterior
from rhmlib.bench import Budget
from rhmlib.bench_learners import SHIPPED, one_hot
from rhmlib.experiment_bench import BenchExperiment, nodes_of, ridge_accuracy
from rhmlib.experiment_shipped import ShippedExperiment

torch.set_num_threads(1)
REPOSITORY = Path(__file__).parents[1]

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
        ("class It(Good):\n def encode(self, t): return t - t.mean(0)", r"or of the other strings"),
        ("class It(Good):\n def encode(self, t): pass", r"must return shape \(n, width\) .* a NoneType"),
        ("class It(Good):\n def encode(self, t): return {}", r"must return shape .* Found a dict from"),
        (
            "class It(Good):\n def encode(self, t): return [t[:, ::2, None], t[:, :1]]",
            r"one a level. Found a list of shapes \(32, 2, 1\), \(32, 1\) from",
        ),
        ("class It(Good):\n def encode(self, t): return t[:, :3, None]", r"\(32, 4, width\).* \(32, 3, 1\)"),
        ("class It(Good):\n def encode(self, t): return t[:, :0]", r"must return shape .* Found \(32, 0\)"),
        ("class It(Good):\n def encode(self, t): return t.astype(str)", r"real numbers. Found dtype <U"),
        ("class It(Good):\n def encode(self, t): return t * 1j", r"real numbers. Found dtype complex"),
        ("class It(Good):\n def encode(self, t): return [t[:, :3, None]]", r"L = 2 levels, of shapes"),
        ("class It(Good):\n def encode(self, t): return [t[:, ::2, None]] * 3", r"at most L = 2 levels"),
        ("class It(Good):\n labels = 'root'", r"labels .* must be True or False. Found labels='root'"),
        ("class It(Good):\n labels = True", r"callable as fit\(tokens, rng, budget, labels\)"),
        ("class It(Good):\n def fit(self, t, r, b, labels): pass", r"needs the roots says so: labels = True"),
        ("class It(Good):\n def fit(self, t, r, b): self.v = t[0, 4]", r"on 32 .* of 4 tokens .* IndexError"),
        ("class It(Good):\n def fit(self, t, r, b): self.v = 4", r"on 320 strings of 8 tokens .* IndexError"),
        ("class It(Good):\n def fit(self, t, r, b): raise ValueError('mine')", r"run on .* ValueError: mine"),
        ("class It(Good):\n def encode(self, t): return np.eye(8)[t] * 1e300", r"in float32. Found 1e\+300"),
        ("class It(Good):\n def encode(self, t): return np.arange(len(t))[:, None]", r"nor of its place"),
        ("class It(Good):\n def encode(self, t): return np.cumsum(t, 0)", r"nor of its place"),
        ("class It(Good):\n def encode(self, t): return (t - t.mean(0)) / 1e6", r"nor of its place"),
        (
            "class It(Good):\n def encode(self, t): return t - t.mean(0) if len(t) > 8 else t - 0.0",
            r"nor of its place or of the other",
        ),
        (
            "class It(Good):\n def encode(self, t):\n  self.ids = getattr(self, 'ids', {})\n"
            "  return np.array([[self.ids.setdefault(tuple(x), len(self.ids))] for x in t.tolist()])",
            r"encode must not learn",
        ),
        (
            "class It(Good):\n def fit(self, t, r, b): self.w = np.random.rand(b.v, 3)\n"
            " def encode(self, t): return self.w[t]",
            r"draw what is random from its rng, .* the global generator of numpy",
        ),
        (
            "import random\nclass It(Good):\n def fit(self, t, r, b): self.v = b.v; random.random()",
            r"draw what is random from its rng, .* the global generator of random",
        ),
        (
            "import torch\nclass It(Good):\n def fit(self, t, r, b): self.v = b.v; torch.randperm(len(t))",
            r"draw what is random from its rng, .* the global generator of torch",
        ),
        (
            "class It(Good):\n def fit(self, t, r, b): self.v = b.v; np.random.seed(0)",
            r"must take the seed of the global generator of numpy from its rng",
        ),
        (
            "class It(Good):\n def fit(self, t, r, b): self.w = np.random.default_rng().random((b.v, 3))\n"
            " def encode(self, t): return self.w[t]",
            r"fit must draw what is random from its rng, so that",
        ),
        (
            "class It(Good):\n def __init__(self): self.labels = True\n"
            " def fit(self, t, r, b, labels=None): self.v = b.v",
            r"labels must be said in the class body",
        ),
        (
            "class It(Good):\n w = []\n def fit(self, t, r, b): self.w.append(1)\n"
            " def encode(self, t): return t * len(self.w)",
            r"keep what it learns in self",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_any_work(module, body, message):
    with pytest.raises(ValueError, match=message):
        bench.rehearse(f"{module(body)}:It")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("class It(Good):\n    def fit(self tokens): pass", r"must be importable. .* SyntaxError: .*line"),
        ("nothing = 1 + undefined", r"must be importable. .* NameError: .*learner_.*\.py, line 14"),
    ],
)
def test_a_module_that_does_not_run(module, body, message):
    with pytest.raises(ValueError, match=message):
        bench.load(f"{module(body)}:It")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rhmlib.bench_learners", r"must be 'package.module:Class'. Found 'rhmlib.bench_learners'"),
        ("no_such_module:It", r"must be importable. .* ModuleNotFoundError"),
        ("rhmlib.bench_learners:None_", r"must be importable"),
    ],
)
def test_names(name, message):
    with pytest.raises(ValueError, match=message):
        bench.load(name)


def test_a_rehearsal_allows_what_is_seeded_from_the_rng_and_leaves_global_generators(module):
    body = """
        import torch
        class It(Good):
            def fit(self, tokens, rng, budget):
                torch.manual_seed(int(rng.integers(2**31)))
                self.layer = torch.nn.Embedding(budget.v, 3)

            def encode(self, tokens):
                return self.layer(torch.from_numpy(tokens)).detach()

        class Truths(Good):
            def encode(self, tokens):
                return tokens[:, :, None] == np.arange(self.v)
    """
    name = module(body)
    states = np.random.get_state, torch.get_rng_state
    before = states[0]()[1].tolist(), states[1]().tolist()
    bench.rehearse(f"{name}:It")
    bench.rehearse(f"{name}:Truths")
    assert (states[0]()[1].tolist(), states[1]().tolist()) == before


@pytest.mark.parametrize("learner", SHIPPED)
def test_what_ships_has_the_protocol(learner):
    bench.rehearse(f"rhmlib.bench_learners:{learner}")


def test_who_asks_for_labels_gets_the_roots(module):
    name = module(
        """
        class It(Good):
            labels = True

            def fit(self, tokens, rng, budget, labels):
                self.v = budget.v
                It.given = tokens, labels
        """
    )
    settings(f"{name}:It").run()
    tokens, labels = sys.modules[name].It.given
    assert tokens.dtype == labels.dtype == np.int64  # codes of tuples do not overflow
    grammar = Grammar.random(v=4, m=2, s=2, L=2, seed=0)
    assert np.array_equal(posterior(grammar, tokens).root.argmax(-1), labels)


def test_descriptions_of_strings_leaves_and_nodes():
    tokens = np.arange(24).reshape(3, 8)

    def nodes(made):
        learner = type("It", (), {"encode": lambda self, t: made(t)})()
        return nodes_of(learner, tokens, "It")

    strings = nodes(lambda t: t[:, :5])
    assert [x.shape for x in strings] == [(3, 1, 5)] * 3
    leaves = nodes(lambda t: t[:, :, None])
    assert [x.shape for x in leaves] == [(3, 4, 1), (3, 2, 1), (3, 1, 1)]
    assert np.array_equal(leaves[0][0, :, 0], [0.5, 2.5, 4.5, 6.5])
    levels = nodes(lambda t: [t[:, ::2, None]])
    assert [x.shape for x in levels] == [(3, 4, 1), (3, 2, 2), (3, 1, 4)]
    assert np.array_equal(levels[2][0, 0], [0, 2, 4, 6])


def test_one_hot_codes_tell_tuples_of_children_apart():
    codes = [np.array([[0, 1, 2, 0]]), np.array([[2, 1]])]
    levels = one_hot(codes, 3)
    assert [x.shape for x in levels] == [(1, 4, 3), (1, 2, 3), (1, 1, 9)]
    assert levels[2].argmax() == 2 + 3 * 1
    assert len(one_hot([np.zeros((1, 2), int)], 100)) == 1  # 10,000 tuples: left out


def test_the_probe_reads_what_is_linear_and_no_more():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(900, 4)).astype(np.float32)
    linear, xor = (x[:, 0] > 0).astype(np.int64), ((x[:, 0] > 0) ^ (x[:, 1] > 0)).astype(np.int64)

    def accuracy(y):
        return ridge_accuracy((x[:100], y[:100]), (x[100:300], y[100:300]), (x[300:], y[300:]), 2)

    assert accuracy(linear) > 0.9
    assert accuracy(xor) < 0.7


def test_labels_of_the_probe_are_few():
    run = settings("x:Y", v=8, m=4, L=3, n_probe=2000)
    assert [run.labels(level) for level in (1, 2, 3)] == [64, 256, 2000]


def test_the_shipped_table_is_of_the_benchs_quick_scale():
    sweep = yaml.safe_load((REPOSITORY / "params" / "sweeps" / "bench_shipped.yaml").read_text())
    content = sweep["scales"]["book"]
    assert tuple(content["grid"].pop("entry")) == SHIPPED
    assert content == bench.SCALES["quick"]
    given = {**content["fixed"], "m": 3, "n": 100, "grammar_seed": 1, "data_seed": 1, "model_seed": 1}
    assert ShippedExperiment(entry="ILC", **given).bench() == BenchExperiment(
        entry="rhmlib.bench_learners:ILC", **given
    )
    with pytest.raises(ValueError, match=r"entry must be one of Untrained, .* Found entry='Ilc'"):
        ShippedExperiment(entry="Ilc", **given)


def settings(entry, **changes):
    given = {"v": 4, "m": 2, "L": 2, "n": 30, "steps": 2, "n_val": 200, "n_test": 400, "n_probe": 400}
    seeds = {"grammar_seed": 0, "data_seed": 0, "model_seed": 0}
    return BenchExperiment(entry=entry, source="", **{**given, **seeds, **changes})


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


def made_up_table(exponent, v=8, of_v=1):
    """A learner that reaches 90 % at about v**of_v m**exponent strings, at every depth."""
    rows = []
    for m in (2, 3, 4):
        for depth in (3, 4, 5):
            for n in np.geomspace(v, v * 4**5, 12):
                for seed in range(3):
                    share = n / (v**of_v * m**exponent * (1 + 0.05 * seed))
                    accuracy = 0.25 + 0.75 * share**2 / (share**2 + 0.154)
                    found = {"level": depth - 1, "probe_accuracy": accuracy}
                    rows.append({"v": v, "m": m, "L": depth, "n": n, "grammar_seed": seed, **found})
    return pd.DataFrame(rows)


def first(text):
    """The number that a text begins with."""
    return float(text.split()[0].replace("\N{MINUS SIGN}", "-"))


def test_exponents_are_those_that_were_put_in():
    found = bench.exponents(made_up_table(3), np.random.default_rng(0))
    slope = float(found["level L-1, L=4: exponent of m"].split()[0])
    assert slope == pytest.approx(3, abs=0.05)
    assert float(found["level L-1, m=3: log P* a level of depth"].split()[0]) == pytest.approx(0, abs=0.01)
    table = bench.thresholds(made_up_table(3), np.random.default_rng(0))
    assert len(table) == 9
    assert table["multiple"].str.match(r"[01]\.\d").all()
    assert table["strings"].str.contains(r"\[").all()
    lower = bench.thresholds(made_up_table(3), np.random.default_rng(0), accuracy=0.75)["multiple"]
    assert lower.map(first).to_numpy() == pytest.approx(0.58 * table["multiple"].map(first), rel=0.15)


def test_symbols_and_depths_are_kept_apart_and_fitted_where_there_are_three():
    table = pd.concat([made_up_table(3, v, of_v=1.25) for v in (4, 8, 32)])
    assert len(bench.thresholds(table.query("L == 4"), np.random.default_rng(0))) == 9
    table = table.query("m == 3 or v == 8 and L == 4")
    found = bench.exponents(table, np.random.default_rng(0))
    assert first(found["level L-1, m=3, L=4: exponent of v"]) == pytest.approx(1.25, abs=0.05)
    assert first(found["level L-1, v=8, L=4: exponent of m"]) == pytest.approx(3, abs=0.05)
    assert first(found["level L-1, v=32, m=3: log P* a level of depth"]) == pytest.approx(0, abs=0.01)
    two = bench.exponents(table.query("v != 8"), np.random.default_rng(0))
    assert not any("of v" in what for what in two)


def test_a_summary_has_a_row_a_learner():
    table = made_up_table(3).query("L == 4").assign(seconds=2.0)
    table["config_hash"] = range(len(table))
    both = pd.concat([table.assign(entry="mine:A"), table.assign(entry="mine:B", n=table["n"] * 1000)])
    found = bench.summary(both, np.random.default_rng(0))
    assert list(found.index) == ["A", "B"]
    assert list(found.columns) == [
        "m=2", "m=3", "m=4", "exponent, level L-1", "exponent, root", "seconds a run",
    ]  # fmt: skip
    assert float(found.loc["A", "m=3"].split()[0]) == pytest.approx(1.05, abs=0.15)
    assert found.loc["A", "seconds a run"] == "2"
    assert found.loc["B", "m=3"].startswith("1")  # a thousand times as many
    few = table[table["n"] < 100]
    found = bench.summary(few.assign(entry="mine:C"), np.random.default_rng(0))
    assert found.loc["C", "m=4"].startswith("> ")
    assert found.loc["C", "exponent, root"] == "not identified"
    lines = bench.markdown(found[["m=3"]])
    assert lines[:2] == ["| learner | m=3 |", "|---|---|"]


def test_a_learner_is_benched_without_a_table(module, monkeypatch):
    small = {"replicates": 2, "fixed": {"v": 4, "s": 2, "L": 2, "steps": 1}, "grid": {"m": [2], "n": [8, 16]}}
    monkeypatch.setitem(bench.SCALES, "quick", small)
    found = bench.measure(f"{module('')}:Good")
    assert found.groupby(["n", "grammar_seed"])["level"].apply(list).tolist() == [[1, 2]] * 4
    assert found["config_hash"].nunique() == 4
    assert (found["seconds"] > 0).all()
    assert list(bench.summary(found, np.random.default_rng(0)).index) == ["Good"]
    with pytest.raises(ValueError, match=r"scale must be one of quick, book, gpu. Found 'small'"):
        bench.measure(f"{module('')}:Good", "small")
    with pytest.raises(ValueError, match=r"must have a method fit"):
        bench.measure(f"{module('class It: fit = None')}:It")


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
    assert "| m | L | level | strings | multiple |" in said
    assert "Learns from strings alone." in said
    assert "| Good |" in said
    assert (tmp_path / "_build" / "bench" / "bench_good.md").exists()
    assert cli.main(["bench", f"{name}:Nothing"]) != 0
    assert "must be importable" in capsys.readouterr().err

    body = """
        import switch

        class Flaky(Good):
            def fit(self, tokens, rng, budget):
                if budget.steps == 1 and switch.on(len(tokens)):
                    raise ArithmeticError("too many rules")
                super().fit(tokens, rng, budget)
    """
    (tmp_path / "switch.py").write_text("def on(n): return n > 40")
    flaky = module(body)
    assert cli.main(["bench", f"{flaky}:Flaky"]) == 1
    said = capsys.readouterr().out
    assert "**2 failed of 4 runs**" in said
    assert "ArithmeticError: too many rules" in said
    assert cli.main(["bench", f"{flaky}:Flaky"]) == 1
    assert "**2 failed of 4 runs**" in capsys.readouterr().out
    assert cli.main(["bench", f"{flaky}:Flaky", "--retry-failed"]) == 1
    assert "2 runs finished, 2 of them failed" in capsys.readouterr().out


def test_what_is_installed_is_not_imported_for_a_hash(module, monkeypatch):
    asked = []
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: asked.append(name) or find(name))
    experiments.code_hash(f"{module('from torch import nn')}:Good")
    assert "torch" in asked
    assert "torch.nn" not in asked


def test_code_that_a_learner_imports_counts(module, tmp_path):
    (tmp_path / "helping").mkdir()
    (tmp_path / "helping" / "__init__.py").write_text("")
    helper = tmp_path / "helping" / "hand.py"
    helper.write_text("from . import other\ndef give(): return 1")
    other = tmp_path / "helping" / "other.py"
    other.write_text("x = 1")
    name = f"{module('from helping import hand')}:Good"
    first = experiments.code_hash(name)
    assert experiments.code_hash(name) == first
    for path, text in ((helper, "from . import other\ndef give(): return 2"), (other, "x = 2")):
        path.write_text(text + " # longer")
        os.utime(path, ns=(1, 1))
        found = experiments.code_hash(name)
        assert found != first
        first = found
