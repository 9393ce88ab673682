"""One document of many pages; that it prints is tested with the pages, in a browser."""

import re

import pytest

from rhmlib import pdf
from rhmlib.chapters import find_project

ARTICLES = [
    pdf.Article(name, title, f"<h1>{title}</h1>", ["a.css"], ["p {}"])
    for name, title in (("intro", "Learn & read"), ("notation", "1. Notation"), ("slc", "6. SLC"))
]


def test_contents_come_first_with_parts_and_page_numbers():
    text = pdf.document(find_project(), ARTICLES, {"page-notation": 17})
    contents = text[text.index("Contents") : text.index('<section class="print-chapter"')]
    assert "Learn &amp; read" in contents
    assert re.findall(r'class="part">(\w+)<', contents) == ["Foundations"]
    assert re.findall(r'href="#page-(\w+)">[^<]*</a><span class="dots"></span><span>(\d*)<', contents) == [
        ("intro", ""),
        ("notation", "17"),
        ("slc", ""),
    ]
    assert re.findall(r'<section class="print-chapter" id="page-(\w+)">', text) == [
        "intro",
        "notation",
        "slc",
    ]
    assert text.count("a.css") == text.count("<style>p {}") == 1


def test_pages_are_numbered_in_the_order_of_their_objects():
    objects = b"1 0 obj\n<</Type /Pages\n9 0 obj\n<</Type /Page\n2 0 obj\n<</Type /Page\n"
    names = b"<</page-a [9 0 R /XYZ 6 826.1 0]\n/page-b--c [2 0 R /XYZ 6 8 0]\n/gone [4 0 R /XYZ 6 8 0]>>"
    assert pdf.page_numbers(objects + names) == {"page-a": 2, "page-b--c": 1}


def test_pages_must_be_built_and_a_browser_there(tmp_path):
    with pytest.raises(ValueError, match=r"the pages of scale 'none' must have been built\. Found no"):
        pdf.pdf(find_project(), "none")
    with (
        pytest.raises(ValueError, match=r"browser must be Chromium or Chrome. Found .*nowhere"),
        pdf._browser(str(tmp_path / "nowhere")),
    ):
        pass
