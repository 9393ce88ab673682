"""The built pages, as a reader gets them: complete, and without a request to anywhere else.

`make site` runs this on the last quick build; RHM_SITE names another folder of pages.
"""

import functools
import os
import re
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SITE = Path(os.environ.get("RHM_SITE", ROOT / "_build" / "quick" / "html"))
PAGES = sorted(SITE.glob("*.html"))
CHROMIUM = next(
    (path for name in ("chromium", "google-chrome", "chrome") if (path := shutil.which(name))), None
)

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
    assert not [image for image in images if not re.search(r"\balt=[\"'][^\"']+[\"']", image)]


# ---------------------------------------------------------------- in a browser


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def address():
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@EACH
def test_a_browser_shows_the_page_and_does_not_complain(page, address, tmp_path):
    command = [
        str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--window-size=1280,900", "--virtual-time-budget=15000", f"--user-data-dir={tmp_path}",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--enable-logging=stderr", "--dump-dom",
        f"{address}/{page.name}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not [line for line in said if re.search(r"error|refused|failed|not_resolved", line, re.IGNORECASE)]
    source = page.read_text(encoding="utf-8")
    if "application/vnd.jupyter.widget-view+json" in source:
        assert 'class="widget-subarea"' in done.stdout
        assert re.search(r'role="slider"|data-rhm-widget="', done.stdout)
    if 'class="math' in source:
        assert "<mjx-container" in done.stdout
        assert 'data-mml-node="merror"' not in done.stdout
