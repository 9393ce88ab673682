"""The built pages in headless Chromium: offline, without complaint, at every width, light and dark.

`make site` runs this on the last quick build; RHM_SITE names another folder of pages. What is measured
goes to site-report.json beside that folder.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import sync_playwright

from rhmlib import build, chapters, pdf

ROOT = Path(__file__).resolve().parents[1]
SITE = Path(os.environ.get("RHM_SITE", ROOT / "_build" / "quick" / "html")).resolve()
PAGES = [
    path.name
    for path in sorted(SITE.glob("*.html"))
    if 'http-equiv="refresh"' not in path.read_text(encoding="utf-8").lower()
]
WIDTHS = {1280: 900, 390: 844}
# Rules that a narrower window can break; the others see the same page at every width.
NARROW = ["target-size", "scrollable-region-focusable", "meta-viewport"]
AXE = ROOT / "tests" / "site" / "node_modules" / "axe-core" / "axe.min.js"
VIEW = "application/vnd.jupyter.widget-view+json"
CHROMIUM = next((path for name in pdf.BROWSERS if (path := shutil.which(name))), None)

if not PAGES:
    pytest.skip(f"no pages in {SITE}: build them first, by make quick", allow_module_level=True)
if CHROMIUM is None and not os.environ.get("CI"):
    pytest.skip("no Chromium or Chrome on the path: nobody looks at the pages", allow_module_level=True)


def has_widgets(page):
    return VIEW in (SITE / page).read_text(encoding="utf-8")


def has_formulas(page):
    return 'class="math' in (SITE / page).read_text(encoding="utf-8")


# ---------------------------------------------------------------- server and browser


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def handle(self):
        with suppress(ConnectionError):  # a page was left before all of it was sent
            super().handle()


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    assert CHROMIUM, "Chromium or Chrome must be on the path here. Found neither."
    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


# ---------------------------------------------------------------- a visit

# When the first picture of a widget was there.
WATCH = """
window.addEventListener("DOMContentLoaded", () => {
  new MutationObserver((_, watch) => {
    if (!document.querySelector(".widget-subarea img, .widget-subarea svg, [data-rhm-picture] *")) return;
    window.firstWidget = performance.now();
    watch.disconnect();
  }).observe(document.documentElement, { childList: true, subtree: true });
});
"""
SETTLED = """async (view) => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  const views = document.querySelectorAll(`script[type="${view}"]`).length;
  const until = performance.now() + 20000;
  const areas = () => [...document.querySelectorAll(".widget-subarea")];
  const shown = () => areas().filter((at) => at.children.length).length;
  while (shown() < views && performance.now() < until) await new Promise((go) => setTimeout(go, 50));
  await new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
  return [shown(), views];
}"""
TIMES = """() => {
  const at = performance.getEntriesByType("navigation")[0];
  const ms = (time) => time === undefined ? null : Math.round(time);
  return {
    interactive_ms: ms(at.domInteractive),
    loaded_ms: ms(at.loadEventEnd),
    first_widget_ms: ms(window.firstWidget),
  };
}"""
WIDER = """() => {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return [];
  const out = (node) => node.getBoundingClientRect().right > root.clientWidth + 1;
  const wide = [...document.querySelectorAll("body *")].filter(out).slice(0, 5);
  return [`${root.scrollWidth} > ${root.clientWidth}`, ...wide.map((node) => node.outerHTML.slice(0, 120))];
}"""
VISIBLE = """() => {
  const text = document.querySelector("main").cloneNode(true);
  text.querySelectorAll("pre, code, script, mjx-container").forEach((node) => node.remove());
  document.body.append(text);
  const visible = text.innerText;
  text.remove();
  return visible;
}"""
UNFOLD = """(open) => document.querySelectorAll("details").forEach((box) => {
  if (open && !box.open) { box.open = true; box.dataset.unfolded = ""; }
  if (!open && "unfolded" in box.dataset) box.open = false;
})"""
VIOLATIONS = """async (rules) => {
  const found = await axe.run(document, { resultTypes: ["violations"], ...(rules && { runOnly: rules }) });
  const places = (each) => each.nodes.slice(0, 3).map((node) => node.html.slice(0, 150)).join(" | ");
  return found.violations
    .filter((each) => ["serious", "critical"].includes(each.impact))
    .map((each) => `${each.impact} ${each.id}: ${places(each)}`);
}"""
STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"


class Tab:
    """A page in a context of its own, which writes down what it asks for and complains about."""

    def __init__(self, browser, home, width, scripts=()):
        self.home = home
        self.asked, self.outside, self.errors, self.missing = [], [], [], []
        self.context = browser.new_context(
            viewport={"width": width, "height": WIDTHS[width]}, color_scheme="light"
        )
        self.context.on("request", self._request)
        self.context.on("response", self._response)
        self.context.on("requestfailed", lambda request: self.missing.append(request.url))
        self.context.route(re.compile(rf"^(?!{re.escape(home)}|data:|blob:)"), lambda route: route.abort())
        self.page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(f"pageerror: {error}"))
        self.page.on("websocket", lambda socket: self.outside.append(socket.url))
        for script in scripts:
            self.page.add_init_script(script)

    def _request(self, request):
        if request.url.startswith(("data:", "blob:")):
            return
        (self.asked if request.url.startswith(self.home) else self.outside).append(request.url)

    def _response(self, response):
        if response.status >= 400:
            self.missing.append(f"{response.status} {response.url}")

    def _console(self, message):
        if message.type == "error":
            self.errors.append(message.text)

    def open(self, name):
        self.page.goto(self.home + name)
        self.shown, self.views = self.page.evaluate(SETTLED, VIEW)

    def bytes(self):
        paths = {SITE / url.removeprefix(self.home).partition("?")[0].partition("#")[0] for url in self.asked}
        return sum(path.resolve().stat().st_size for path in paths if path.is_file())


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((page, width), id=f"{Path(page).stem}-{width}") for page in PAGES for width in WIDTHS
    ],
)
def visit(request, browser, address):
    """Everything that one look at a page tells, light and dark."""
    name, width = request.param
    tab = Tab(browser, address, width, [WATCH])
    tab.open(name)
    page = tab.page
    seen = {"page": name, "width": width, **page.evaluate(TIMES), "bytes": tab.bytes()}
    seen["requests"] = len(tab.asked)
    seen["widget_code"] = [url for url in tab.asked if "/widgets/" in url or "anywidget" in url]
    seen["formulas"] = page.locator("mjx-container").count()
    seen["formula_errors"] = page.locator('[data-mml-node="merror"]').count()
    seen["widgets"], seen["widgets_shown"] = tab.views, tab.shown
    seen["text"] = page.evaluate(VISIBLE)
    page.add_style_tag(content=STILL)
    seen["too_wide"] = {"light": page.evaluate(WIDER)}
    seen["still"], seen["widgets_driven"] = drive(page)
    if AXE.is_file():
        page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
        seen["violations"] = accessibility(page, "light", None if width == max(WIDTHS) else NARROW)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    seen["too_wide"]["dark"] = page.evaluate(WIDER)
    if AXE.is_file() and width == max(WIDTHS):
        seen["violations"] += accessibility(page, "dark", ["color-contrast"])  # colours are all that changed
    tab.context.close()
    return {**seen, "outside": tab.outside, "console_errors": tab.errors, "missing": tab.missing}


def accessibility(page, theme, rules=None):
    """Violations of some rules, or of all, with folded boxes unfolded."""
    page.evaluate(UNFOLD, True)
    found = [f"{theme}: {each}" for each in page.evaluate(VIOLATIONS, rules)]
    page.evaluate(UNFOLD, False)
    return found


# ---------------------------------------------------------------- widgets


def drive(page):
    """Move every control of every widget; return those that changed no picture, and the number of widgets."""
    still = []
    widgets = page.locator(".rhm-widget, [data-rhm-widget]")
    for i in range(widgets.count()):
        widget = widgets.nth(i)
        controls = widget.locator(".rhm-control, [data-rhm-control]")
        names = [f"widget {i}, control {j}" for j in range(controls.count())] or [f"widget {i}, no control"]
        for j, name in enumerate(names):
            if not controls.count() or not moved(page, widget, controls.nth(j)):
                still.append(name)
    return still, widgets.count()


def picture(widget):
    return widget.evaluate(
        """(widget) => [...widget.querySelectorAll(".rhm-picture, [data-rhm-picture]")]
          .flatMap((at) => at.matches("[data-rhm-picture]") ? [at.innerHTML]
            : [...at.querySelectorAll("img, svg, canvas")].filter((each) => each.checkVisibility())
                .map((each) => each.outerHTML))
          .join()"""
    )


def moved(page, widget, control):
    """Whether one step of a control, by click or key, changes the picture."""
    before = picture(widget)
    handle = control.locator("[role=slider]")
    kind = control.evaluate("(node) => node.tagName.toLowerCase() + (node.type ? ':' + node.type : '')")
    if kind == "select:select-one":
        steps = [lambda: control.select_option(index=other(control))]
    elif kind == "input:range" or handle.count():
        target = handle.first if handle.count() else control
        steps = [
            functools.partial(target.press, "ArrowRight"),
            functools.partial(target.press, "ArrowLeft"),
        ]
    elif control.locator("button[aria-pressed=false]").count():
        steps = [control.locator("button[aria-pressed=false]").first.click]
    else:
        steps = [control.click]
    for step in steps:
        step()
        with suppress(PlaywrightTimeout):
            for _ in range(20):
                if picture(widget) != before:
                    return bool(before)
                page.wait_for_timeout(50)
    return False


def other(select):
    return select.evaluate("(node) => (node.selectedIndex + 1) % node.options.length")


# ---------------------------------------------------------------- what a visit must tell


def test_the_page_asks_nobody_else_and_does_not_complain(visit, record_property):
    record_property("site", str(SITE))
    told = {key: value for key, value in visit.items() if key != "text"}
    record_property("visit", {"violations": None, **told})
    assert visit["outside"] == []
    assert visit["missing"] == []
    assert visit["console_errors"] == []


def test_formulas_are_set(visit):
    assert visit["formula_errors"] == 0
    assert bool(visit["formulas"]) == has_formulas(visit["page"])


def test_no_markup_is_left_in_the_text(visit):
    assert "Traceback (most recent call last)" not in visit["text"]
    assert not re.search(r":::|```|\{[a-z:]+\}`|\$\$", visit["text"])


def test_nothing_is_wider_than_the_window(visit):
    assert visit["too_wide"] == {"light": [], "dark": []}


def test_every_widget_moves(visit):
    assert bool(visit["widgets"]) == has_widgets(visit["page"])
    assert visit["widgets_shown"] == visit["widgets"] == visit["widgets_driven"]
    assert visit["still"] == []
    assert bool(visit["widget_code"]) == bool(visit["widgets"])


@pytest.mark.skipif(
    not AXE.is_file(), reason="no axe-core: npm ci in tests/site installs it (make site does)"
)
def test_accessible(visit):
    assert visit["violations"] == []


# ---------------------------------------------------------------- other ways to open a page


def test_the_first_page_is_the_first_chapter(browser, address):
    tab = Tab(browser, address, 1280)
    tab.page.goto(address)
    tab.page.wait_for_selector("article h1")
    assert tab.page.url != address
    assert tab.outside == []
    tab.context.close()


@pytest.mark.parametrize("name", [PAGES[0], "intro.html", *filter(has_widgets, PAGES)])
def test_pages_open_from_a_folder_without_a_server(name, browser):
    tab = Tab(browser, f"{SITE.as_uri()}/", 1280)
    tab.open(name)
    still, driven = drive(tab.page)
    assert tab.views == tab.shown == driven
    assert still == []
    assert bool(tab.page.locator("mjx-container").count()) == has_formulas(name)
    assert (tab.outside, tab.missing, tab.errors) == ([], [], [])
    tab.context.close()


@pytest.mark.skipif(ROOT / "_build" / SITE.parent.name / "html" != SITE, reason="pages of another checkout")
def test_the_book_prints(tmp_path):
    output = tmp_path / "book.pdf"
    # Another process, as there may be but one Playwright in each.
    command = [sys.executable, "-m", "rhmlib.cli", "pdf", "--scale", SITE.parent.name, "-o", str(output)]
    subprocess.run(command, cwd=ROOT, check=True)
    data = output.read_bytes()
    pages = len(re.findall(rb"/Type /Page\s", data))
    names = build.toc_pages(chapters.find_project(ROOT))
    numbers = [pdf.page_numbers(data)[f"page-{name}"] for name in names]
    assert numbers == sorted(numbers)
    assert numbers[0] > 2
    assert len(set(numbers)) == len(names)
    assert numbers[-1] <= pages
    if shutil.which("pdftotext"):
        text = subprocess.run(
            ["pdftotext", str(output), "-"], capture_output=True, text=True, check=True
        ).stdout.split("\f")
        contents = " ".join(text[1 : numbers[0] - 1]).split()
        for name, number in zip(names, numbers, strict=True):
            source = (SITE / f"{name}.html").read_text(encoding="utf-8")
            title = unescape(re.findall(r"<title>(.*?)(?: &#8212; .*)?</title>", source)[0])
            assert " ".join(title.split()) in " ".join(text[number - 1].split())
            assert str(number) in contents
