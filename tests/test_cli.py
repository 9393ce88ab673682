"""The command `rhm`: wrong calls say one line and write nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rhmlib import cli, provenance, runner
from rhmlib.chapters import find_project

SOURCE = """\
---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {display_name: Python 3, language: python, name: KERNEL}
---

# Tiny

```{code-cell} ipython3
:tags: [TAG]
v = 4
m = 2
s = 2
lr = 0.1
ms = [1, 2]
device = "cpu"
```

```{code-cell} ipython3
print("v", v, type(lr).__name__)
```
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    for name in ("book", "params", "folder"):
        (tmp_path / name).mkdir()
    (tmp_path / "pyproject.toml").touch()
    sources = {
        "tiny": SOURCE.replace("KERNEL", "python3").replace("TAG", "parameters"),
        "kernelless": SOURCE.replace("KERNEL", "no-such-kernel").replace("TAG", "parameters"),
        "untagged": SOURCE.replace("KERNEL", "python3").replace("TAG", "hide-input"),
        "headless": SOURCE.partition("# Tiny")[2],
        "prose": "# Prose\n",
    }
    for name, text in sources.items():
        (tmp_path / "book" / f"{name}.md").write_text(text)
    files = {
        "good": "tiny: {m: 3, lr: 1e-3}\n",
        "broken": "tiny: {m: 3\n",
        "twice": "m: 3\nm: 4\n",
        "section": "tny: {m: 3}\n",
        "mixed": "v: 4\ntiny: {m: 3}\n",
        "list": "- 1\n",
    }
    for name, text in files.items():
        (tmp_path / "params" / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provenance, "_cuda_devices", lambda: 0)
    return tmp_path


def tree(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


WRONG = [
    ("run nope", "'nope' is no chapter with code"),
    ("run tinny", "Did you mean 'tiny'?"),
    ("run prose", "'prose' is no chapter with code"),
    ("run ../book/tiny", "'../book/tiny' is no chapter with code"),
    ("run", "Missing argument 'CHAPTER'"),
    ("run tiny extra", "unexpected extra argument (extra)"),
    ("run kernelless", "Found 'no-such-kernel'"),
    ("run headless", "must name a kernel"),
    ("run untagged", "one code cell tagged 'parameters'. Found 0"),
    ("run tiny -f params/none.yaml", "Found no file params/none.yaml"),
    ("run tiny -f params", "Found a directory at params"),
    ("run tiny -f params/broken.yaml", "params/broken.yaml, line 2 must be YAML"),
    ("run tiny -f params/twice.yaml", "'m' is given twice"),
    ("run tiny -f params/section.yaml", "'tny' is no chapter. Did you mean 'tiny'?"),
    ("run tiny -f params/mixed.yaml", "Found the section 'tiny' beside the value 'v'"),
    ("run tiny -f params/list.yaml", "must map names to values"),
    ("run tiny -p mm 3", "'mm' is no parameter of chapter 'tiny'. Did you mean 'm' or 'ms'?"),
    ("run tiny -p epochs 3", "'epochs' is no parameter of chapter 'tiny'"),
    ("run tiny -p m", "Option '-p' requires 2 arguments"),
    ("run tiny -p m 1 -p m 2", "-p m must be given once. Found it twice"),
    ("run tiny -p m 2.0", "m must be an integer >= 1. Found m=2.0"),
    ("run tiny -p m true", "Found m=True"),
    ("run tiny -p m two", "Found m='two'"),
    ("run tiny -p m 0", "Found m=0"),
    ("run tiny -p m -3", "Found m=-3"),
    ("run tiny -p m 5", "m must be at most v**(s - 1) = 4"),
    ("run tiny -p ms [1,5]", "Found m=5 with v=4"),
    ("run tiny -p ms [1", "the value of -p ms, line 1 must be YAML"),
    ("run tiny -p ms 3", "ms must be a list of integers"),
    ("run tiny -p lr 1e-3x", "lr must be a finite number > 0. Found lr='1e-3x'"),
    ("run tiny -p lr .nan", "Found lr=nan"),
    ("run tiny -p device gpu", "Found device='gpu'"),
    ("run tiny -p device cuda", "finds no CUDA here. Found device='cuda'"),
    ("run tiny -p device cuda:3", "finds no CUDA here. Found device='cuda:3'"),
    ("run tiny -o out.html", "output must end in .ipynb. Found out.html"),
    ("run tiny -o nowhere/out.ipynb", "Found no folder nowhere"),
    ("run tiny -o folder", "output must end in .ipynb"),
    ("run tiny --parameters m 3", "No such option"),
    ("walk tiny", "No such command 'walk'"),
    ("build", "must have a configuration"),
    ("--root /nonexistent run tiny", "must be in a checkout of the book"),
    ("parameters tinny", "Did you mean 'tiny'?"),
]


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[call for call, _ in WRONG])
def test_wrong_calls(root, capsys, call, words):
    before = tree(root)
    assert cli.main(call.split()) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
    assert out == ""
    assert tree(root) == before


# ---------------------------------------------------------------- a scale for another machine

GPU = """\
learner: toy_experiment:Toy
scales:
  book:
    grid: {n: [1, 2]}
  gpu:
    fixed: {device: auto, nap: 72000.0}
    grid: {n: [1, 2, 3]}
"""


@pytest.fixture
def swept(root, monkeypatch):
    """A chapter that draws a sweep whose scale "gpu" would take tens of hours on a CPU."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    (root / "params" / "sweeps").mkdir()
    (root / "params" / "sweeps" / "toy.yaml").write_text(GPU)
    text = SOURCE.replace("KERNEL", "python3").replace("TAG", "parameters")
    text = text.replace('device = "cpu"', 'sweep_scale = "book"')
    (root / "book" / "swept.md").write_text(
        text.replace('print("v"', 'sweeps.table("toy", sweep_scale); print("v"')
    )
    (root / "params" / "gpu.yaml").write_text("common: {device: cuda}\nswept: {sweep_scale: gpu}\n")
    assert cli.main(["sweep", "toy", "--jobs", "1", "--no-progress"]) == 0
    return root


def test_a_chapter_whose_sweeps_want_a_gpu_says_so_before_it_starts(swept, capsys):
    before = tree(swept)
    capsys.readouterr()
    assert cli.main(["run", "swept", "-f", "params/gpu.yaml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: scale 'gpu' of the sweep 'toy' must run on a machine with a CUDA device.")
    assert err.count("\n") == 1
    assert "3 runs are missing" in err
    assert re.search(r"would take about [\d.]+ h,", err)
    assert "rhm sweep toy --scale gpu" in err
    assert tree(swept) == before


def test_with_a_gpu_the_chapter_is_planned(swept, monkeypatch):
    monkeypatch.setattr(provenance, "_cuda_devices", lambda: 1)
    work = runner.plan(find_project(swept), "swept", ["params/gpu.yaml"])
    assert work.values["sweep_scale"] == "gpu"


def test_a_sweep_that_wants_a_gpu_says_what_it_takes_here(swept, capsys):
    capsys.readouterr()
    call = ["sweep", "toy", "--scale", "gpu", "--jobs", "1", "--limit-minutes", "1e-9", "--no-progress"]
    assert cli.main(call) == 1
    out = capsys.readouterr().out
    assert re.search(r"3 to do, about [\d.]+ h of one core", out)
    assert "These runs want a CUDA device, and there is none here" in out


def test_a_folder_that_ends_like_a_notebook(root, capsys):
    (root / "out.ipynb").mkdir()
    assert cli.main(["run", "tiny", "-o", "out.ipynb"]) == 2
    assert "Found a directory" in capsys.readouterr().err


def test_the_traceback_can_be_asked_for(root, monkeypatch):
    monkeypatch.setenv("RHM_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no chapter"):
        cli.main(["run", "nope"])


def test_an_error_of_the_program_is_no_wrong_call(root, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("rhmlib.runner.plan", fail)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        cli.main(["run", "tiny"])


def test_run_with_file_and_values(root, capsys):
    call = "run tiny -f params/good.yaml -p v 8 -p ms [1,3] -o out.ipynb --no-progress"
    assert cli.main(call.split()) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == str(root / "out.ipynb")
    assert err == ""
    text = (root / "out.ipynb").read_text()
    assert "v 8 float" in text
    assert "m = 3" in text
    assert cli.main(call.split()) == 0
    assert "tiny: up to date" in capsys.readouterr().out


def test_a_failing_cell_is_code_1(root, capsys):
    path = root / "book" / "tiny.md"
    path.write_text(path.read_text().replace('print("v", v', "raise ValueError(v"))
    assert cli.main(["run", "tiny", "-o", "out.ipynb"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: chapter 'tiny' failed in code cell 2: ValueError")
    assert not (root / "out.ipynb").exists()


def test_lists(root, capsys):
    for name in ("kernelless", "headless", "untagged"):
        (root / "book" / f"{name}.md").unlink()
    assert cli.main(["chapters"]) == 0
    assert capsys.readouterr().out == "tiny: v = 4, m = 2, s = 2, lr = 0.1, ms = [1, 2], device = 'cpu'\n"
    assert cli.main(["parameters", "tiny"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "m = 2: production rules a symbol; an integer >= 1" in lines
    assert len(lines) == 6
    assert cli.main(["parameters"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 40


@pytest.fixture
def sweeps(root):
    (root / "params" / "sweeps").mkdir()
    (root / "results").mkdir()
    (root / "params" / "sweeps" / "mini.yaml").write_text(
        "title: Mini\nlearner: ilc\nscales:\n  book:\n    replicates: 2\n"
        "    fixed: {v: 4, m: 2, s: 2, L: 2, n_test: 20, targets: all}\n    grid: {n: [50]}\n"
    )
    return root


@pytest.mark.slow
def test_sweep_status_and_audit(sweeps, capfd):
    assert cli.main(["sweep", "mini", "--jobs", "1", "--no-progress"]) == 0
    assert (sweeps / "results" / "mini.csv").is_file()
    capfd.readouterr()
    assert cli.main(["status", "mini"]) == 0
    assert capfd.readouterr().out.splitlines()[1].split()[:6] == ["mini", "book", "2", "0", "0", "0"]
    assert cli.main(["audit", "mini", "--rows", "1"]) == 0
    assert cli.main(["prune", "mini"]) == 0
    assert "mini: 0 runs removed" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("sweep nope", "Found 'nope'"),
        ("sweep mini --scale large", "large"),
        ("sweep mini --jobs two", "Invalid value for '--jobs'"),
        ("status nope", "Found 'nope'"),
        ("audit mini --rows 0", "rows must be"),
        ("prune nope", "Found 'nope'"),
    ],
)
def test_wrong_calls_of_sweeps(sweeps, capsys, call, words):
    before = tree(sweeps)
    assert cli.main(call.split()) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
    assert tree(sweeps) == before


def test_a_sweep_that_is_not_finished_is_code_1(sweeps, monkeypatch):
    from rhmlib import sweeps as module

    monkeypatch.setattr(module, "sweep", lambda *words, **more: module.Outcome(done=1, failed=0, left=1))
    assert cli.main(["sweep", "mini"]) == 1

    def die(*words, **more):
        raise RuntimeError("workers died")

    monkeypatch.setattr(module, "sweep", die)
    assert cli.main(["sweep", "mini"]) == 1


def test_help_and_version(root, capsys):
    for words in ([], ["--help"], ["run", "--help"], ["build", "-h"]):
        assert cli.main(words) == 0
        assert "Usage: rhm" in capsys.readouterr().out
    assert cli.main(["--version"]) == 0
    assert provenance.versions()["rhmlib"] in capsys.readouterr().out


def test_the_module_runs_as_a_program(root):
    words = [sys.executable, "-m", "rhmlib.cli", "run", "nope"]
    done = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'nope' is no chapter with code.")


def test_a_start_is_light():
    heavy = {"numpy", "pydantic", "papermill", "torch"}
    code = f"import sys, rhmlib.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
