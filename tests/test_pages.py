"""The generated pages list what is there."""

import json

import pytest

from rhmlib import audit, chapters, generated, grids, pages, parameters

ROOT = grids.find_root()
PROJECT = chapters.find_project(ROOT)


def context(source, only=()):
    return generated.Context(PROJECT, source, list(only))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Two executed notebooks, as far as the pages look at them."""
    folder = tmp_path_factory.mktemp("src")
    for chapter, python in (("ilc", "3.11.7"), ("rhm", "3.12.1")):
        record = {"seconds": 91.2, "device": "cpu", "device_name": "A CPU", "threads": 1}
        record |= {"date": "2026-01-02 03:04 UTC", "commit": "abcdef0123", "dirty": chapter == "rhm"}
        record |= {"versions": {"python": python}}
        made = {
            "chapter": chapter,
            "parameters": {"v": 8, "ms": [2, 4, 6], "n_grammars": 5},
            "provenance": record,
        }
        (folder / f"{chapter}.ipynb").write_text(json.dumps({"cells": [], "metadata": {"rhm": made}}))
    return folder


# ---------------------------------------------------------------- tables


def test_every_table_was_made_from_a_commit():
    names = pages.table_names(ROOT)
    assert set(names) == {path.stem for path in (ROOT / "results").glob("*.csv")} - {"audits", "same_code"}
    for name in names:
        made = pages.table_made(name, ROOT)
        assert made.rows >= made.runs > made.failed >= 0
        assert made.clean, name
        assert made.commits
        assert made.devices
        assert 0 <= made.longest <= made.seconds
    with pytest.raises(ValueError, match=r"name must be that of a table\. Found 'ilk'\. Did you mean 'ilc'"):
        pages.table_made("ilk", ROOT)


@pytest.mark.slow
def test_a_page_is_made_anew_when_any_table_changes(source):
    here = context(source)
    text = generated.tables_made(here)
    for name in pages.table_names(ROOT):
        assert f"| `{name}` |" in text
        assert ROOT / "results" / f"{name}.csv" in here.read
    assert audit.record_path(ROOT) in here.read
    assert {source / "ilc.ipynb", source / "rhm.ipynb"} <= here.read


def test_chapters_are_listed_as_their_notebooks_say(source):
    first, line, *rows = generated.chapters_made(context(source)).split("\n")
    assert first.startswith("| chapter | wall time |")
    assert line.startswith("|:--|--:|")
    where = "1.5\u00a0min | A CPU (cpu), 1 thread | 2026-01-02 03:04 UTC"
    # In the order of the book, letters by the first to have the versions.
    assert rows == [
        f"| {{doc}}`rhm` | {where} | `abcdef0123`, not clean | A |",
        f"| {{doc}}`ilc` | {where} | `abcdef0123` | B |",
        "| all | 3.0\u00a0min |  |  |  |  |",
    ]
    assert "| A | python 3.12.1 |" in generated.versions(context(source))


def test_an_audit_counts_for_the_code_that_it_ran():
    made = pages.table_made("ilc", ROOT)
    row = {"table": "ilc", "code_hash": made.code_hashes[0], "date": "2026-01-02 03:04 UTC"}
    row |= {"runs": "3", "equal": "2", "differences": "5"}
    assert pages.audit_state(made, [row, row]) == "4 of 6 runs equal, 10 differences, 2026-01-02"
    assert pages.audit_state(made, [{**row, "code_hash": "other"}, {**row, "table": "slc"}]) == "none"


# ---------------------------------------------------------------- parameters


def test_parameters_are_those_of_the_cells_and_the_files():
    found = pages.settings(ROOT)
    assert set(found) == set(PROJECT.chapters())
    n = next(setting for setting in found["rhm"] if setting.parameter.name == "n")
    assert (n.default, n.at["quick"], n.at["book"]) == (100_000, 10_000, 100_000)
    assert "| `n` | strings that a learner gets | an integer ≥ 1 | `100000` | quick: `10000` |" in (
        generated.chapter_parameters(context(ROOT))
    )
    used = {setting.parameter.name for settings in found.values() for setting in settings}
    assert used.isdisjoint(parameter.name for parameter in pages.unused(ROOT))
    assert used | {parameter.name for parameter in pages.unused(ROOT)} == set(parameters.CATALOGUE)


def test_every_sweep_file_is_shown_whole():
    text = generated.sweep_files(context(ROOT))
    for path in grids.sweep_files(ROOT):
        assert path.read_text(encoding="utf-8").rstrip() in text


@pytest.mark.slow
def test_costs_have_a_row_for_every_scale_of_every_sweep():
    rows = generated.sweep_costs(context(ROOT)).split("\n")[2:]
    named = [tuple(cell.strip(" `") for cell in row.split("|")[1:3]) for row in rows]
    for path in grids.sweep_files(ROOT):
        for scale in grids.read_sweep(path, ROOT).scales:
            assert (path.stem, scale) in named
    assert ("**all**", "**book**") in named


# ---------------------------------------------------------------- the library


def test_every_module_is_in_one_group():
    names = [name for group in generated.GROUPS for name in generated.modules(group)]
    assert len(names) == len(set(names))
    assert set(names) == {path.stem for path in (ROOT / "rhmlib").glob("[!_]*.py")}


def test_a_new_module_finds_a_place(tmp_path):
    for name in ("grammar", "experiment_new", "strange", "__init__", "_private"):
        (tmp_path / f"{name}.py").touch()
    assert generated.modules("runs", tmp_path) == ["experiment_new"]
    assert generated.modules("learners", tmp_path) == ["strange"]
    with pytest.raises(ValueError, match="group must be one of the library's"):
        generated.modules("none", tmp_path)


def test_every_group_has_a_page_and_every_page_names_parts_that_are_there():
    for group in generated.GROUPS:
        assert f":only: {group}\n" in (ROOT / "book" / f"api-{group}.md").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"'claim' is no generated part\. Did you mean 'claims'"):
        generated.make("claim", context(ROOT))
