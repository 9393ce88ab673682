"""Chapters: reading, executing, keeping up to date, building."""

import json
import os
import re
import shutil

import nbformat
import pytest
import yaml

from rhmlib import build as builder
from rhmlib import chapters, notebooks, provenance, runner
from rhmlib.chapters import Project

HEADER = """\
---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {display_name: Python 3, language: python, name: python3}
---
"""
PARAMETERS = """\
v = 4  # symbols, é
m = 2
ms = (1, 2)
device = "cpu"
"""
CODE = "from rhmlib import check_shape\nprint(check_shape(v, m, 2, 1), object(), {'a', 'b', 'c', 'd'})"


def page(*cells, parameters=PARAMETERS, text="Some text.", header=HEADER):
    first = "" if parameters is None else f"```{{code-cell}} ipython3\n:tags: [parameters]\n{parameters}```\n"
    rest = "\n".join(f"```{{code-cell}} ipython3\n{cell}\n```\n" for cell in cells)
    return f"{header}\n# Tiny\n\n{text}\n\n{first}\n{rest}"


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in ("book", "params", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "_config.yml").write_text("title: Tiny\nexecute: {execute_notebooks: 'off'}\n")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro\nchapters:\n- file: tiny\n")
    (tmp_path / "params" / "book.yaml").write_text("tiny: {m: 3}\n")
    (tmp_path / "book" / "intro.md").write_text("# Intro\n\nSee [](tiny.md).\n")
    (tmp_path / "book" / "tiny.md").write_text(page(CODE))
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


def write(project, text):
    (project.book / "tiny.md").write_text(text)


def run(project, **options):
    return runner.run_chapter("tiny", project=project, progress=False, **options)


def load(path):
    return json.loads(path.read_text())


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


@pytest.fixture
def kernels(monkeypatch):
    """Count the executions; most tests forbid them by asking for none."""
    started = []
    original = runner._papermill

    def counted(*arguments):
        started.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(runner, "_papermill", counted)
    return started


@pytest.fixture
def fake_kernel(monkeypatch):
    """Stand in for the execution: each code cell prints how many executions there were."""
    started = []

    def execute(path, output, chapter, cwd, progress):
        started.append(chapter.name)
        notebook = nbformat.read(path, as_version=4)
        for i, cell in enumerate(cell for cell in notebook.cells if cell.cell_type == "code"):
            cell.execution_count = i + 1
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"run {len(started)}")]
        return notebook

    monkeypatch.setattr(runner, "_papermill", execute)
    return started


# ---------------------------------------------------------------- the repository and its chapters


def test_project_is_found_from_below_and_from_the_environment(project, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(project.book)
    assert chapters.find_project().root == project.root
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(ValueError, match="must be in a checkout of the book"):
        chapters.find_project()
    monkeypatch.setenv("RHM_ROOT", str(project.root))
    assert chapters.find_project().root == project.root


def test_prose_is_no_chapter(project):
    assert project.chapters() == ["tiny"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (page(CODE, parameters=None), "one code cell tagged 'parameters'. Found 0"),
        (page("```\n\n```{code-cell} ipython3\n:tags: [parameters]\nm = 1"), "Found 2"),
        (page(CODE, parameters="m = 1 + 1\n"), "must hold literals. Found m = 1 + 1"),
        (page(CODE, parameters="m = n = 1\n"), "'name = literal'. Found 'm = n = 1'"),
        (page(CODE, parameters="print(1)\n"), "Found 'print(1)'"),
        (page(CODE, parameters="m = 1\nm = 2\n"), "Found 'm' twice"),
        (page(CODE, parameters="mm = 1\n"), "'mm' is no parameter of the book. Did you mean 'm'"),
        (page(CODE, parameters="m = 0\n"), "m must be an integer >= 1. Found m=0"),
        (page(CODE, parameters="m = \n"), "must be Python. Found line 1"),
        (page("x = = 1"), "code cells of book/tiny.md must be Python"),
        (page(CODE, header="---\njupytext: {}\n---\n"), "must name a kernel"),
        (page(CODE, header="---\nkernelspec: [\n---\n"), "front matter of book/tiny.md, line 1 must be YAML"),
    ],
)
def test_bad_sources(project, text, words):
    write(project, text)
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        chapters.read_chapter(project, "tiny")
    assert "\n" not in str(error.value)


def test_magics_are_no_syntax_errors(project):
    write(project, page("%matplotlib inline\nif v:\n    !echo hi", "%%time\nx = = 1"))
    assert chapters.read_chapter(project, "tiny").defaults["v"] == 4


def test_values_replace_only_what_differs(project):
    text = "v = 4  # symbols, é\nms = [1,\n      2]  # list\nlr = 1\ndevice: str = 'cpu'\n"
    write(project, page(CODE, parameters=text))
    chapter = chapters.read_chapter(project, "tiny")
    values = chapter.defaults | {"v": 16, "ms": [3], "device": "auto"}
    cell = chapters.with_values(chapter, values).cells[chapter.cell]
    assert cell.source == "v = 16  # symbols, é\nms = [3]  # list\nlr = 1\ndevice: str = 'auto'"
    assert chapter.notebook.cells[chapter.cell].source == text.strip()


def test_layers_of_parameters(project):
    path = project.root / "params" / "x.yaml"
    path.write_text("common: {v: 8, epochs: 3}\ntiny: {m: 3}\n")
    plan = runner.plan(project, "tiny", [path], {"m": 4})
    assert plan.values == {"v": 8, "m": 4, "ms": [1, 2], "device": "cpu"}
    assert plan.command == "rhm run tiny -f params/x.yaml -p m 4"


def test_default_output_depends_on_the_values(project):
    one, two = (runner.plan(project, "tiny", [], {"m": m}).output for m in (1, 2))
    assert one.parent == project.root / "_build" / "runs"
    assert one != two
    assert two == runner.plan(project, "tiny").output


# ---------------------------------------------------------------- executing


def test_a_run(project, kernels):
    outcome = run(project, overrides={"m": 3})
    notebook = load(outcome.path)
    assert outcome.action == "executed"
    tagged = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    assert [source(cell) for cell in tagged] == ['v = 4  # symbols, é\nm = 3\nms = (1, 2)\ndevice = "cpu"']
    assert not any("injected" in str(cell["metadata"]) for cell in notebook["cells"])
    assert "(4, 3, 2, 1)" in str(code_cells(notebook)[1]["outputs"])
    nbformat.validate(nbformat.from_dict(notebook))
    made = notebook["metadata"]["rhm"]
    assert made["parameters"] == {"v": 4, "m": 3, "ms": [1, 2], "device": "cpu"}
    assert made["library"] == provenance.code_hash("grammar")
    box = source(notebook["cells"][-1])
    assert box.startswith("<details")
    assert "\n\n" not in box
    for words in (
        "rhm run tiny -p m 3",
        "m = 3",
        "Wall time",
        "Threads</th><td>1<",
        "cpu (",
        "Commit",
        "numpy",
    ):
        assert words in box
    assert [path.name for path in (project.root / "_build").iterdir()] == ["runs"]

    assert run(project, overrides={"m": 3}).action == "up to date"
    assert len(kernels) == 1


def test_the_same_bytes_each_time(project):
    widget = "import ipywidgets\nipywidgets.VBox([ipywidgets.IntSlider(), ipywidgets.IntText()])"
    write(project, page(CODE, widget))
    first = load(run(project).path)
    second = load(run(project, force=True).path)
    for notebook in (first, second):
        assert len(notebook["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]) > 3
        notebook["metadata"]["rhm"].pop("provenance")
        notebook["cells"].pop()
    assert first == second


def test_a_failing_cell_leaves_the_old_notebook(project, capfd):
    path = project.root / "out.ipynb"
    path.write_text("old")
    write(project, page("print('before')", "raise KeyError('gone\\nsecond line')", "print('after')"))
    with pytest.raises(runner.ChapterError, match="failed in code cell 3: KeyError: 'gone") as error:
        run(project, output="out.ipynb")
    assert "_build/tiny.failed.ipynb" in str(error.value)
    assert "\n" not in str(error.value)
    assert path.read_text() == "old"
    assert [item.name for item in (project.root / "_build").iterdir()] == ["tiny.failed.ipynb"]
    assert "before" in (project.root / "_build" / "tiny.failed.ipynb").read_text()


def test_parameters_that_choose_rows_of_tables(project):
    (project.root / "params" / "sweeps").mkdir()
    (project.root / "params" / "sweeps" / "found.yaml").write_text("learner: ilc")
    (project.root / "results" / "found.csv").write_text("v,m,L,n\n4,2,3,10\n4,3,3,10\n6,3,3,10\n")
    text = page("print('found')", "assert m != 3, 'none'", parameters="v = 4\nm = 2\n")
    write(project, text.replace("[parameters]", "[parameters, of-tables]"))
    assert run(project, overrides={"m": 2}).action == "executed"
    with pytest.raises(
        ValueError, match=r"v, m of chapter 'tiny' .*: \(4, 2\), \(4, 3\), \(6, 3\). Found v=6, m=2"
    ):
        run(project, overrides={"v": 6, "m": 2})
    with pytest.raises(
        runner.ChapterError, match=r"AssertionError: none. m chose rows of tables, .* has m=2"
    ):
        run(project, overrides={"m": 3})
    write(project, text)
    assert run(project, overrides={"v": 6, "m": 2}).action == "executed"


def test_threads_are_one_unless_asked(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with runner._kernel_environment() as threads:
        assert threads == 1
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with runner._kernel_environment() as threads:
        assert threads == 2
    assert os.environ["OMP_NUM_THREADS"] == "2"


def test_figures_go_into_the_notebook_whatever_the_shell_says(project, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    write(project, page("import matplotlib.pyplot as plt\nplt.plot([1, 2]);"))
    outputs = [output for cell in code_cells(load(run(project).path)) for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert os.environ["MPLBACKEND"] == "Agg"


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(*paths):
        raise OSError("disk full")

    monkeypatch.setattr(notebooks.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        notebooks.write_notebook(nbformat.v4.new_notebook(), tmp_path / "x.ipynb")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- what is up to date


def test_text_changes_without_executing(project, fake_kernel):
    run(project)
    write(project, page(CODE, text="Other text, [](tiny.md) and [](intro.md)."))
    outcome = run(project)
    assert outcome.action == "text updated"
    text = outcome.path.read_text()
    assert "Other text, [](tiny.ipynb) and [](intro.md)." in text
    assert "Some text" not in text
    assert [cell["outputs"][0]["text"] for cell in code_cells(load(outcome.path))] == [["run 1"]] * 2
    assert text.count("How this page was made") == 1
    assert run(project).action == "up to date"
    assert fake_kernel == ["tiny"]


def test_tags_change_without_executing(project, fake_kernel):
    run(project)
    write(project, page(":tags: [hide-input]\n" + CODE))
    outcome = run(project)
    assert outcome.action == "text updated"
    assert code_cells(load(outcome.path))[1]["metadata"]["tags"] == ["hide-input"]


def test_a_new_format_rewrites_without_executing(project, fake_kernel, monkeypatch):
    run(project)
    monkeypatch.setattr(chapters, "FORMAT", notebooks.FORMAT + 1)
    assert run(project).action == "text updated"
    assert run(project).action == "up to date"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda project: write(project, page(CODE + "\n1")), id="code"),
        pytest.param(lambda project: write(project, page(CODE, CODE)), id="cell added"),
        pytest.param(lambda project: write(project, page(CODE, parameters="v = 4\nm = 1\n")), id="default"),
        pytest.param(lambda project: (project.root / "results" / "table.csv").write_text("2"), id="results"),
        pytest.param(lambda project: (project.root / "x.txt").write_text("2"), id="file"),
    ],
)
def test_what_makes_a_chapter_stale(project, fake_kernel, change):
    code = CODE + "\nnames = 'table', 'x.txt'"
    (project.root / "results" / "table.csv").write_text("1")
    (project.root / "x.txt").write_text("1")
    write(project, page(code))
    output = project.root / "out.ipynb"
    assert run(project, output=output).action == "executed"
    assert set(load(output)["metadata"]["rhm"]["files"]) == {"results/table.csv", "x.txt"}
    assert run(project, output=output).action == "up to date"
    change(project)
    assert run(project, output=output).action == "executed"


def test_parameters_and_library_make_a_chapter_stale(project, fake_kernel, monkeypatch):
    output = project.root / "out.ipynb"
    run(project, output=output)
    assert run(project, output=output, overrides={"m": 1}).action == "executed"
    monkeypatch.setattr(provenance, "code_hash", lambda *modules: "0" * 12)
    assert run(project, output=output, overrides={"m": 1}).action == "executed"


def test_a_table_brings_its_sweep_and_its_learner(project, fake_kernel, monkeypatch):
    from rhmlib import experiments

    (project.root / "results" / "mini.csv").write_text("1")
    (project.root / "params" / "sweeps").mkdir()
    (project.root / "params" / "sweeps" / "mini.yaml").write_text("learner: ilc\n")
    write(project, page("x = 'mini'"))
    output = project.root / "out.ipynb"
    run(project, output=output)
    made = load(output)["metadata"]["rhm"]
    assert set(made["files"]) == {"results/mini.csv", "params/sweeps/mini.yaml"}
    assert run(project, output=output).action == "up to date"
    monkeypatch.setattr(experiments, "code_hash", lambda learner: f"other code of {learner}")
    assert run(project, output=output).action == "executed"


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"metadata": {"rhm": 3}}', "<<<<<<< HEAD"])
def test_a_damaged_notebook_is_made_again(project, fake_kernel, damage):
    output = project.root / "out.ipynb"
    output.write_text(damage)
    assert run(project, output=output).action == "executed"
    assert run(project, output=output).action == "up to date"


def test_outputs_are_not_taken_from_other_code(project, fake_kernel):
    path = run(project).path
    notebook = load(path)
    code_cells(notebook)[1]["source"] = ["tampered"]
    path.write_text(json.dumps(notebook))
    write(project, page(CODE, text="Other text."))
    assert run(project).action == "executed"


# ---------------------------------------------------------------- normal form


def test_normal_form_of_outputs():
    v4 = nbformat.v4
    styled = '<style>#T_ab12c_row0 {}</style><table id="T_ab12c"><tr id="T_ab12c_row0">'
    cell = v4.new_code_cell(
        "f",
        metadata={"papermill": {"duration": 1}, "execution": {}, "tags": []},
        outputs=[
            v4.new_output("stream", name="stdout", text="a"),
            v4.new_output("stream", name="stdout", text="b"),
            v4.new_output("stream", name="stderr", text="c"),
            v4.new_output("execute_result", data={"text/plain": "<f at 0x7f12345678>", "text/html": styled}),
        ],
    )
    notebook = v4.new_notebook(
        cells=[cell, v4.new_code_cell("f")], metadata={"papermill": {}, "jupytext": {}}
    )
    notebooks.normalise(notebook, "tiny")
    assert [output.get("text") for output in cell.outputs] == ["ab", "c", None]
    assert cell.outputs[2].data["text/plain"] == "<f at 0x…>"
    assert "ab12c" not in cell.outputs[2].data["text/html"]
    assert cell.metadata == {}
    assert set(notebook.metadata) == {"language_info"}
    assert notebook.cells[0].id != notebook.cells[1].id
    nbformat.validate(notebook)
    before = nbformat.writes(notebook)
    notebooks.normalise(notebook, "tiny")
    assert nbformat.writes(notebook) == before


# ---------------------------------------------------------------- building


@pytest.fixture
def fake_sphinx(monkeypatch):
    """Stand in for Sphinx; the list holds, for each call, whether all pages were to be read anew."""
    calls = []

    def pretend(work, anew):
        calls.append(anew)
        work.html.mkdir(parents=True, exist_ok=True)
        (work.html / "index.html").touch()

    monkeypatch.setattr(builder, "_sphinx", pretend)
    return calls


def build(project, scale="book", **options):
    lines = []
    address = builder.build(project, scale, progress=False, say=lines.append, **options)
    return address, lines


def test_a_build_and_the_next(project, fake_kernel, fake_sphinx):
    (project.book / "_static").mkdir()
    (project.book / "_static" / "logo.svg").write_text("<svg/>")
    address, lines = build(project)
    assert address == (project.root / "_build" / "book" / "html" / "index.html").as_uri()
    assert any(line.startswith("tiny: executed") for line in lines)
    staged = project.root / "_build" / "book" / "src"
    names = {path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file()}
    assert names == {"intro.md", "tiny.ipynb", "_static/logo.svg"}
    assert (staged / "intro.md").read_text() == "# Intro\n\nSee [](tiny.ipynb).\n"
    assert load(project.root / "executed" / "tiny.ipynb")["metadata"]["rhm"]["parameters"]["m"] == 3

    _, lines = build(project)
    assert lines == ["Nothing changed since the last build at scale 'book'."]
    assert fake_sphinx == [True]
    assert fake_kernel == ["tiny"]


def test_what_changes_during_a_build_is_taken_in_by_the_next(project, fake_kernel, fake_sphinx, monkeypatch):
    edits = []

    def edit_once(work, plans):
        if not edits:
            edits.append((project.book / "intro.md").write_text("# Edited meanwhile\n"))
        return stage(work, plans)

    stage = builder._stage
    monkeypatch.setattr(builder, "_stage", edit_once)
    (project.book / "intro.md").write_text("# Intro\n")
    _, lines = build(project)
    assert lines[-1] == "Files were changed during the build: build again to take them in."
    _, lines = build(project)
    assert "Nothing changed" not in lines[0]
    _, lines = build(project)
    assert lines == ["Nothing changed since the last build at scale 'book'."]


def test_several_chapters_are_executed_at_a_time(project, fake_sphinx, kernels):
    (project.book / "other.md").write_text(page("print(m)"))
    (project.book / "third.md").write_text(page("1 / 0"))
    toc = project.root / "_toc.yml"
    toc.write_text(toc.read_text() + "- file: other\n")
    _, lines = build(project, jobs=2)
    assert kernels == []  # none in this process
    assert [line.partition(" (")[0] for line in lines[:2]] == ["tiny: executed", "other: executed"]
    assert source(code_cells(load(project.root / "executed" / "other.ipynb"))[-1]) == "print(m)"

    toc.write_text(toc.read_text() + "- file: third\n")
    (project.root / "params" / "book.yaml").write_text("tiny: {m: 4}\n")
    with pytest.raises(runner.ChapterError, match="chapter 'third' failed in code cell 2: ZeroDivisionError"):
        build(project, jobs=2)
    assert load(project.root / "executed" / "tiny.ipynb")["metadata"]["rhm"]["parameters"]["m"] == 4


def test_only_changed_pages_are_staged_again(project, fake_kernel, fake_sphinx):
    (project.book / "intro.md").write_text("# Intro\n\n{glue:text}`tiny.ipynb::x:s`\n")
    (project.book / "other.md").write_text("# Other\n")
    (project.root / "_toc.yml").write_text("root: intro\nchapters: [{file: tiny}, {file: other}]\n")
    build(project)
    staged = project.root / "_build" / "book" / "src"
    for path in staged.iterdir():
        os.utime(path, (1, 1))
    write(project, page(CODE, text="Other text."))
    build(project)
    # intro quotes the notebook, so that Sphinx has to read it again.
    assert {path.name for path in staged.iterdir() if path.stat().st_mtime > 1} == {"tiny.ipynb", "intro.md"}
    assert fake_sphinx == [True, False]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda root: (root / "book" / "intro.md").write_text("# Another title\n"), id="title"),
        pytest.param(lambda root: (root / "_config.yml").write_text("title: Other\n"), id="config"),
        pytest.param(lambda root: (root / "book" / "extra.md").unlink(), id="page gone"),
    ],
)
def test_what_every_page_shows_has_all_read_anew(project, fake_kernel, fake_sphinx, change):
    (project.book / "extra.md").write_text("# Extra\n")
    build(project)
    change(project.root)
    build(project)
    assert fake_sphinx == [True, True]


def test_quick_scale_leaves_the_committed_notebooks_alone(project, fake_kernel, fake_sphinx):
    (project.root / "params" / "quick.yaml").write_text("tiny: {m: 1}\n")
    build(project, "quick")
    assert not (project.root / "executed").exists()
    assert (project.root / "_build" / "quick" / "executed" / "tiny.ipynb").is_file()


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        (
            "_toc.yml",
            "root: intro\nchapters: [{file: tinny}]\n",
            "page 'tinny' must have a file book/tinny.md",
        ),
        ("_toc.yml", "chapters: []\n", "must name a root page"),
        ("_toc.yml", None, "must have a table of contents"),
        ("_config.yml", None, "must have a configuration"),
        ("params/book.yaml", None, "scale must be the name of a file in params/"),
        ("params/book.yaml", "tinny: {m: 1}\n", "'tinny' is no chapter. Did you mean 'tiny'"),
        ("params/book.yaml", "tiny: {n: 1}\n", "'n' is no parameter of chapter 'tiny'"),
    ],
)
def test_bad_books_execute_nothing(project, fake_kernel, fake_sphinx, path, text, words):
    target = project.root / path
    target.unlink() if text is None else target.write_text(text)
    with pytest.raises(ValueError, match=re.escape(words)):
        build(project)
    assert fake_kernel == fake_sphinx == []
    assert not (project.root / "executed").exists()
    assert not (project.root / "_build").exists()


@pytest.mark.slow
def test_sphinx_for_real(project, fake_kernel, capfd):
    pytest.importorskip("jupyter_book")
    config = {
        "title": "Tiny",
        "only_build_toc_files": True,
        "execute": {"execute_notebooks": "off"},
        "sphinx": {"config": {"language": "en"}},
    }
    (project.root / "_config.yml").write_text(yaml.safe_dump(config))
    address, _ = build(project)
    html = project.root / "_build" / "book" / "html"
    assert address == (html / "index.html").as_uri()
    assert "tiny.html" in (html / "intro.html").read_text()
    assert "<details" in (html / "tiny.html").read_text()
    # The page offers its executed notebook.
    assert "_sources/tiny.ipynb" in (html / "tiny.html").read_text()
    assert load(html / "_sources" / "tiny.ipynb") == load(project.root / "executed" / "tiny.ipynb")

    (project.book / "intro.md").write_text("# Intro\n\n[](nowhere.md)\n")
    for _ in range(2):  # the second time no page has changed: the warning must not be lost
        capfd.readouterr()
        with pytest.raises(builder.BuildError, match="Sphinx ended with code 1"):
            build(project)
        assert "nowhere" in capfd.readouterr().err


def test_missing_programs_are_named(project, fake_kernel, monkeypatch):
    def absent(name):
        raise builder.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(builder.metadata, "version", absent)
    with pytest.raises(ValueError, match=r"needs jupyter-book: pip install 'rhmlib\[book\]'"):
        build(project)


def test_the_public_names():
    import rhmlib

    for name in rhmlib.__all__:
        assert getattr(rhmlib, name) is not None
    assert set(rhmlib.__all__) == {*rhmlib.EXPORTS, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        rhmlib.nope  # noqa: B018


def test_git_is_optional(project, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert shutil.which("git") is None
    provenance.commit.cache_clear()
    assert provenance.commit(project.root) == "unknown"
