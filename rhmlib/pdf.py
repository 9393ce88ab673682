"""The whole book as one PDF, printed by a headless Chromium from the built pages.

Every page is opened as a reader would open it, so that formulas are set and widgets show the picture that
they rest at. What is left of its article, without buttons and folded code, goes into one document with links
inside it. That is printed twice: the second time the table of contents knows its page numbers.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rhmlib import build as builder
from rhmlib.chapters import Project

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSERS = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser", "chrome")
_COLUMN = 658  # width of the text in CSS pixels: A4 less the margins below
_SETTLED = """async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  const views = 'script[type="application/vnd.jupyter.widget-view+json"]';
  const until = performance.now() + 30000;
  const shown = () => [...document.querySelectorAll(".widget-subarea")].filter((at) => at.children.length);
  while (shown().length < document.querySelectorAll(views).length && performance.now() < until)
    await new Promise((go) => setTimeout(go, 50));
  await new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
}"""
# Of an opened page: its article fit for print, its styles and its title. `page` is its name, `pages` are all.
_ARTICLE = """([page, pages]) => {
  const article = document.querySelector("article.bd-article");
  const title = article.querySelector("h1").cloneNode(true);
  title.querySelectorAll(".headerlink").forEach((node) => node.remove());

  for (const picture of article.querySelectorAll(".rhm-picture, [data-rhm-picture], .widget-subarea")) {
    if (picture.querySelector(".rhm-picture, [data-rhm-picture]")) continue;
    const whole = picture.matches("[data-rhm-picture]");
    const box = document.createElement("div");
    box.className = "print-widget";
    const inside = [...picture.querySelectorAll("img")].filter((each) => each.checkVisibility());
    box.append(...(whole ? [picture.cloneNode(true)] : inside));
    (picture.closest(".rhm-widget, [data-rhm-widget], .widget-subarea")).replaceWith(box);
  }
  const gone = "script, button, nav, .headerlink, .copybtn, .prev-next-footer, .d-print-none, .tooltip, " +
    "details.above-input, details.below-input, details:not(.sd-dropdown, .toggle-details, .hide), " +
    "mjx-assistive-mml";
  article.querySelectorAll(gone).forEach((node) => node.remove());
  article.querySelectorAll("details").forEach((node) => (node.open = true));

  const inside = (name, id) => `#${id ? `${name}--${id}` : `page-${name}`}`;
  for (const link of article.querySelectorAll("a[href]")) {
    const [, name, id] = link.getAttribute("href").match(/^(?:([\\w-]+)\\.html)?(?:#(.*))?$/) ?? [];
    if (name ? pages.includes(name) : id) link.setAttribute("href", inside(name ?? page, id));
    else if (!/^(https?|mailto):/.test(link.getAttribute("href"))) link.removeAttribute("href");
  }
  for (const node of article.querySelectorAll("[id]"))
    if (!node.closest("svg")) node.id = `${page}--${node.id}`;
  for (const image of article.querySelectorAll("img")) image.setAttribute("src", image.src);

  const rules = (style) => [...style.sheet.cssRules].map((rule) => rule.cssText).join("\\n");
  return {
    title: title.textContent.trim(),
    body: article.innerHTML,
    sheets: [...document.querySelectorAll("link[rel=stylesheet]")].map((link) => link.href),
    styles: [...document.querySelectorAll("style")].map(rules),
  };
}"""
# Whatever is wider than the column becomes smaller.
_FIT = """(column) => {
  for (const node of document.querySelectorAll("table, mjx-container[display], .print-widget > *")) {
    const room = node.parentElement.clientWidth || column;
    const width = Math.max(node.scrollWidth, node.getBoundingClientRect().width);
    if (width > room + 1) node.style.zoom = Math.max(0.4, room / width);
  }
}"""
_PRINT = """
@page { size: A4; margin: 20mm 18mm 22mm;
  @bottom-center { content: counter(page); font: 9pt sans-serif; color: #555; } }
@page :first { @bottom-center { content: ""; } }
html, body { background: #fff !important; font-size: 10.5pt; height: auto; overflow: visible; }
body, main.bd-content { display: block; margin: 0; }
.bd-article { padding: 0 !important; }
.print-title { padding-top: 70mm; text-align: center; }
.print-title h1 { border: 0; font-size: 30pt; margin-bottom: 12mm; }
.print-contents { break-before: page; }
.print-contents ol { list-style: none; padding: 0; }
.print-contents li { display: flex; gap: 0.5em; margin: 0.25em 0; }
.print-contents li.part { font-weight: 600; margin-top: 1em; }
.print-contents li a { color: inherit; text-decoration: none; }
.print-contents li .dots { border-bottom: 1px dotted #999; flex: 1; margin-bottom: 0.3em; }
.print-chapter { break-before: page; }
.print-chapter h1 { font-size: 20pt; margin-top: 0; }
.print-chapter h2 { font-size: 14.5pt; }
.print-chapter h3 { font-size: 12pt; }
h1, h2, h3, h4 { break-after: avoid; }
figure, img, svg, .print-widget, tr, div.math, .output:not(:has(table)), dt { break-inside: avoid; }
figure { margin: 1em 0; }
figcaption { font-size: 9.5pt !important; break-before: avoid; }
p, li { orphans: 3; widows: 3; }
pre { font-size: 8pt !important; overflow: visible !important; white-space: pre-wrap; }
table { font-size: 9pt; }
.bd-content div.cell_output .text_html { background: none; padding: 0; }
table.dataframe { border: 0; margin: 0 auto; }
table.dataframe :is(td, th) { border: 0; padding: 0.15em 0.5em; text-align: right; vertical-align: top; }
table.dataframe thead { border-bottom: 1px solid #999; }
.bd-article div.math, .bd-article mjx-container[display="true"], .bd-article .cell_output .text_html,
.bd-article .pst-scrollable-table-container { overflow: visible; }
.print-widget, figure { text-align: center; }
.print-widget img, .print-widget svg { display: inline-block; max-width: 100%; height: auto; }
.print-chapter img { max-height: 88mm; object-fit: contain; width: auto; }
.bd-article a { text-decoration: none; }
.toggle-details > summary, [class*="sd-summary-chevron"], .sd-summary-icon { display: none; }
"""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Article:
    """What of a page goes to print.

    Attributes
    ----------
    name, title : str
    body : str
        HTML, with names and links that are unique in the book.
    sheets, styles : list of str
        Addresses of its style sheets, and rules that its scripts made.
    """

    name: str
    title: str
    body: str
    sheets: list[str]
    styles: list[str]


def pdf(
    project: Project,
    scale: str = "book",
    *,
    output: str | Path | None = None,
    browser: str | None = None,
    say: Say = lambda line: None,
) -> Path:
    """Print the built pages of a scale, in the order of ``_toc.yml``.

    Parameters
    ----------
    project : Project
    scale : str
        Name of a scale that has been built.
    output : path, optional
        Default: ``_build/SCALE/book.pdf``.
    browser : path, optional
        Chromium or Chrome. Default: the first of `BROWSERS` on the path.
    say : callable
        Gets a line about each step.

    Returns
    -------
    Path
        The PDF.

    Raises
    ------
    ValueError
        If a page has not been built, or there is no browser.
    """
    work = builder.Build(project, scale)
    pages = builder.toc_pages(project)
    for name in pages:
        if not (work.html / f"{name}.html").is_file():
            raise ValueError(f"the pages of scale {scale!r} must have been built. Found no page {name!r}.")
    path = Path(output) if output else work.folder / "book.pdf"
    together = work.folder / "pdf" / "book.html"
    together.parent.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _browser(browser) as chromium:
        say(f"reading {len(pages)} pages")
        articles = [_read(chromium, work.html / f"{name}.html", pages) for name in pages]
        numbers: dict[str, int] = {}
        for _ in range(2):
            together.write_text(document(project, articles, numbers), encoding="utf-8")
            say("printing")
            _print(chromium, together, path)
            numbers = page_numbers(path.read_bytes())
    return path


# ---------------------------------------------------------------- one document


def document(project: Project, articles: Sequence[Article], numbers: dict[str, int]) -> str:
    """Put the articles behind a title page and a table of contents.

    Parameters
    ----------
    project : Project
    articles : sequence of Article
    numbers : dict
        Page numbers, as :func:`page_numbers` gives them; those that are missing stay open.

    Returns
    -------
    str
        HTML.
    """
    config = yaml.safe_load((project.root / "_config.yml").read_text(encoding="utf-8"))
    title, author, rights = (escape(str(config[key])) for key in ("title", "author", "copyright"))
    sheets = "".join(
        f'<link rel="stylesheet" href="{escape(url)}">' for url in _once(a.sheets for a in articles)
    )
    styles = "".join(f"<style>{rules}</style>" for rules in _once(a.styles for a in articles))
    chapters = "".join(
        f'<section class="print-chapter" id="page-{a.name}">{a.body}</section>' for a in articles
    )
    return (
        f'<!DOCTYPE html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
        f"<title>{title}</title>{sheets}{styles}<style>{_PRINT}</style></head><body>"
        f'<main class="bd-content"><article class="bd-article">'
        f'<section class="print-title"><h1>{title}</h1><p>{author}</p><p>{rights}</p></section>'
        f'<section class="print-contents"><h1>Contents</h1>{_contents(project, articles, numbers)}</section>'
        f"{chapters}</article></main></body></html>"
    )


def _once(lists: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(item for items in lists for item in items))


def _contents(project: Project, articles: Sequence[Article], numbers: dict[str, int]) -> str:
    toc = yaml.safe_load((project.root / "_toc.yml").read_text(encoding="utf-8"))
    captions = {part["chapters"][0]["file"]: part["caption"] for part in toc.get("parts", [])}
    lines = []
    for article in articles:
        if article.name in captions:
            lines.append(f'<li class="part">{escape(captions[article.name])}</li>')
        number = numbers.get(f"page-{article.name}", "")
        lines.append(
            f'<li><a href="#page-{article.name}">{escape(article.title)}</a>'
            f'<span class="dots"></span><span>{number}</span></li>'
        )
    return f"<ol>{''.join(lines)}</ol>"


def page_numbers(data: bytes) -> dict[str, int]:
    r"""Find on which page of a PDF made by Chromium each of its named destinations is.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    dict
        From name to number; the first page is 1.

    Examples
    --------
    >>> pages = b"3 0 obj\n<</Type /Page\n>>\n7 0 obj\n<</Type /Page\n>>"
    >>> page_numbers(pages + b"<</page-a [7 0 R /XYZ 1 2 0]>>")
    {'page-a': 2}
    """
    pages = sorted(int(number) for number in re.findall(rb"(\d+) 0 obj\s*<<\s*/Type /Page\s", data))
    found = re.findall(rb"/([^\s/<>\[\]()]+) \[(\d+) 0 R /XYZ", data)
    at = {number: i for i, number in enumerate(pages, start=1)}
    return {name.decode("ascii"): at[int(number)] for name, number in found if int(number) in at}


# ---------------------------------------------------------------- in the browser


@contextmanager
def _browser(path: str | None) -> Iterator[Browser]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise ValueError(
            "printing needs playwright: pip install 'rhmlib[dev]'. Found it not installed."
        ) from None
    program = path or next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if not program or not Path(program).is_file():
        raise ValueError(f"browser must be Chromium or Chrome. Found {path or 'none on the path'}.")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=flags)
        try:
            yield chromium
        finally:
            chromium.close()


def _open(chromium: Browser, path: Path) -> Page:
    page = chromium.new_page(viewport={"width": _COLUMN, "height": 1000}, color_scheme="light")
    page.set_default_timeout(120_000)
    page.goto(path.resolve().as_uri(), timeout=120_000)
    return page


def _read(chromium: Browser, path: Path, pages: Sequence[str]) -> Article:
    page = _open(chromium, path)
    try:
        page.evaluate(_SETTLED)
        found: dict[str, Any] = page.evaluate(_ARTICLE, [path.stem, list(pages)])
    finally:
        page.close()
    return Article(name=path.stem, **found)


def _print(chromium: Browser, path: Path, output: Path) -> None:
    page = _open(chromium, path)
    try:
        page.emulate_media(media="print")
        page.evaluate("document.fonts.ready.then(() => null)")
        page.evaluate(_FIT, _COLUMN)
        page.pdf(path=output, prefer_css_page_size=True, print_background=True, outline=True, tagged=True)
    finally:
        page.close()
