"""The built pages: notebooks to download, all code at once, verdicts, names that are links.

Like test_site.py this looks at the last quick build; RHM_SITE names another folder of pages.
"""

import functools
import json
import os
import re
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rhmlib import chapters, claims, generated

ROOT = Path(__file__).resolve().parents[1]
SITE = Path(os.environ.get("RHM_SITE", ROOT / "_build" / "quick" / "html"))
CHAPTERS = chapters.find_project(ROOT).chapters()
CHROMIUM = next(
    (path for name in ("chromium", "google-chrome", "chrome") if (path := shutil.which(name))), None
)

if not (SITE / "claims.html").is_file():
    pytest.skip(f"no pages in {SITE}: build them first, by make quick", allow_module_level=True)


def page(name):
    return (SITE / f"{name}.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_notebook_of_a_chapter_can_be_downloaded(chapter):
    links = re.findall(r'<a href="([^"]+)"[^>]*class="[^"]*btn-download-source-button', page(chapter))
    assert links == [f"_sources/{chapter}.ipynb"]
    notebook = json.loads((SITE / links[0]).read_text(encoding="utf-8"))
    assert notebook["metadata"]["rhm"]["chapter"] == chapter
    assert any(cell.get("outputs") for cell in notebook["cells"])


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_code_that_draws_is_folded(chapter):
    notebook = json.loads((SITE / "_sources" / f"{chapter}.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and "figure" in cell["metadata"].get("mystnb", {}):
            assert {"hide-input", "remove-input"} & set(cell["metadata"].get("tags", [])), cell["source"]


def test_every_claim_has_its_verdict():
    numbers = claims.Numbers(SITE / "_sources")
    text = page("claims")
    for claim in claims.read(ROOT / "book" / "claims.yaml"):
        row = text.partition(f'id="claim-{claim.name}"')[2].partition("</tr>")[0]
        verdict = claims.verdict([claims.judge(number, numbers) for number in claim.numbers])
        assert f"verdict-{verdict}" in row
        for number in claim.numbers:
            assert numbers.text(number.key).replace(" ", "") in re.sub(r"<[^>]+>|\s", "", row)


def test_names_of_the_library_are_links():
    found = 0
    for source in sorted((ROOT / "book").glob("*.md")):
        built = page(source.stem).replace("<wbr>", "")
        text = re.sub(r"^```.*?^```", "", source.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for name in set(re.findall(r"(?<!`)`(rhmlib\.[\w.]+)`(?!`)", text)):
            pattern = rf'href="api-\w+\.html#[\w.-]+"><code[^>]*><span class="pre">{re.escape(name)}</span>'
            assert re.search(pattern, built), f"{source.name}: {name}"
            found += 1
    assert found > 3


@pytest.mark.parametrize("group", list(generated.GROUPS))
def test_the_reference_has_every_module(group):
    text = page(f"api-{group}")
    for module in generated.modules(group):
        assert f'id="module-rhmlib.{module}"' in text


def test_no_button_leads_to_an_unknown_repository():
    if not os.environ.get("REPOSITORY_URL"):
        assert "mybinder" not in page("ilc")
        assert "colab" not in page("ilc")


# ---------------------------------------------------------------- in a browser


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def browser_page():
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page()
        opened.goto(f"http://127.0.0.1:{server.server_port}/ilc.html")
        yield opened
        browser.close()
    server.shutdown()
    server.server_close()


def test_all_code_opens_and_folds_by_one_key(browser_page):
    def boxes():
        return browser_page.eval_on_selector_all("details.above-input", "found => found.map(box => box.open)")

    button = browser_page.get_by_role("button", name="Show all code")
    assert len(boxes()) > 3
    assert not any(boxes())
    button.focus()
    browser_page.keyboard.press("Enter")
    assert all(boxes())
    browser_page.get_by_role("button", name="Hide all code").press("Space")
    assert not any(boxes())
