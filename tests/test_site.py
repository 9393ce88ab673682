"""The built pages, as files: complete, without a request to anywhere else, every link leading somewhere.

`make site` runs this on the last quick build; RHM_SITE names another folder of pages.
"""

import functools
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
SITE = Path(os.environ.get("RHM_SITE", ROOT / "_build" / "quick" / "html")).resolve()
PAGES = sorted(SITE.glob("*.html"))

if not PAGES:
    pytest.skip(f"no pages in {SITE}: build them first, by make quick", allow_module_level=True)

EACH = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@EACH
def test_nothing_is_asked_of_other_hosts(page):
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"<script[^>]*\ssrc=[\"'](?:https?:)?//[^\"']*", text)
    sheets = re.findall(r"<link[^>]*rel=[\"'](?:stylesheet|preload|preconnect)[\"'][^>]*>", text)
    assert not [sheet for sheet in sheets if re.search(r"href=[\"'](?:https?:)?//", sheet)]
    assert not re.findall(r"<(?:img|iframe|video)[^>]*\ssrc=[\"'](?:https?:)?//[^\"']*", text)


@EACH
def test_pages_are_whole(page):
    text = page.read_text(encoding="utf-8")
    body = re.sub(r"<(script|style|pre|code)\b.*?</\1>", "", text, flags=re.DOTALL)
    assert "Traceback (most recent call last)" not in text
    assert not re.search(r"\{(glue|numref|ref|cite|prf:ref|py:func|math)\}`", body)
    assert not re.search(r":::\{|```\{", body)


@EACH
def test_figures_have_a_text_for_those_who_do_not_see_them(page):
    text = re.sub(r"<script\b.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    images = re.findall(r"<img\b[^>]*>", text)
    logo = re.compile(r"class=[\"']logo__image")  # the title is beside it
    assert not [i for i in images if not re.search(r"\balt=[\"'][^\"']+[\"']", i) and not logo.search(i)]


# ---------------------------------------------------------------- links


class Contents(HTMLParser):
    """What a page has, and what it points to.

    Attributes
    ----------
    ids : list of str
    targets : list of str
        Of links, pictures, styles and scripts.
    mentions : set of str
        Targets of links in the text, but for those that a heading or formula has to itself.
    numbered : dict
        From the id of a numbered figure, table or formula to its number.
    """

    VOID = frozenset(
        ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
    )

    def __init__(self, text):
        super().__init__()
        self.ids, self.targets, self.mentions, self.numbered = [], [], set(), {}
        self._open, self._number_of = [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        have = dict(attrs)
        classes = (have.get("class") or "").split()
        self.ids += [have[key] for key in ("id", "name") if have.get(key) and (key == "id" or tag == "a")]
        target = have.get("href") or have.get("src")
        if target and not (tag == "link" and have.get("rel") == "canonical"):
            self.targets.append(target)
        if tag == "a" and target and "headerlink" not in classes and self._inside("article"):
            self.mentions.add(target)
        if tag == "span" and {"caption-number", "eqno"} & set(classes):
            self._number_of = self._around("eqno" in classes)
        if tag not in self.VOID:
            self._open.append((tag, have.get("id"), classes))

    def handle_endtag(self, tag):
        at = next((i for i in reversed(range(len(self._open))) if self._open[i][0] == tag), None)
        if at is not None:  # else it is stray
            del self._open[at:]

    def handle_data(self, data):
        if self._number_of and data.strip():
            self.numbered[self._number_of] = data.strip()
            self._number_of = None

    def _inside(self, tag):
        return any(tag == each for each, _, _ in self._open)

    def _around(self, formula):
        kinds = ("div",) if formula else ("figure", "table", "div")
        return next((name for tag, name, _ in reversed(self._open) if tag in kinds and name), None)


@functools.cache
def contents(path):
    return Contents(path.read_text(encoding="utf-8"))


def resolve(page, target):
    """The file and the fragment that a target means; None for one that is elsewhere."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return None
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    return path, unquote(parts.fragment)


@EACH
def test_every_link_leads_somewhere(page):
    dead = []
    for target in sorted(set(contents(page).targets)):
        found = resolve(page, target)
        if not found:
            continue
        path, fragment = found
        file = path / "index.html" if path.is_dir() else path
        if not file.is_file() or (fragment and file.suffix == ".html" and fragment not in contents(file).ids):
            dead.append(target)
    assert dead == []


@EACH
def test_no_name_is_given_twice(page):
    ids = [name for name in contents(page).ids if name]
    assert sorted({name for name in ids if ids.count(name) > 1}) == []


def test_everything_numbered_is_referred_to():
    mentioned = {resolve(page, target) for page in PAGES for target in contents(page).mentions}
    silent = [
        f"{page.stem}: {number} {name}"
        for page in PAGES
        for name, number in contents(page).numbered.items()
        if (page, name) not in mentioned
    ]
    assert sum(len(contents(page).numbered) for page in PAGES) > 20
    assert silent == []
