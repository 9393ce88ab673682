"""The generated pages list what is there."""

import re

import pytest

from rhmlib import pages, parameters
from rhmlib.grids import find_root, sweep_files


def named():
    """Tables that the page names."""
    text = (find_root() / "book" / "made.md").read_text(encoding="utf-8")
    found = re.search(r"TABLES = \[(.*?)\]", text, re.DOTALL)
    assert found
    return re.findall(r'"(\w+)"', found[1])


def test_every_table_is_on_the_page_and_was_made_from_a_commit():
    table = pages.tables(named())
    assert (table["rows"] >= table["runs"]).all()
    assert table["clean"].all()
    assert (table["core-hours"] >= 0).all()
    with pytest.raises(
        ValueError, match=r"names must be all tables. Found too few: \[.*'ilc'.*too many: \['x'\]"
    ):
        pages.tables(["x"])


def test_sweeps_and_vocabulary():
    assert list(pages.sweeps().index) == [path.stem for path in sweep_files()]
    assert set(pages.vocabulary().index) == set(parameters.CATALOGUE)


def test_defaults_of_chapters():
    found = pages.defaults()
    assert "v = 16" in found.loc["ilc", "parameters"]
