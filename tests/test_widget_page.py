"""Widgets that compute in the page: their resting state, and a browser that opens them as a file, offline."""

import json
import shutil
import tomllib
from pathlib import Path

import anywidget
import numpy as np
import pytest
from ipywidgets.embed import embed_data

from rhmlib import chapters, signals, widget_base
from rhmlib.grammar import Grammar
from rhmlib.sampling import Sample
from rhmlib.widget_base import FILES, bundle
from rhmlib.widget_distance import TreeDistance, summary
from rhmlib.widget_explorer import GrammarExplorer, swap_one

ROOT = Path(__file__).resolve().parents[1]
EXTRA = ROOT / "book" / "_extra" / "widgets"


@pytest.fixture(scope="module")
def grammar():
    return Grammar.random(v=8, m=3, s=2, L=4, seed=3)


@pytest.fixture(scope="module")
def sample(grammar):
    return grammar.sample(5, np.random.default_rng(0))


# ---------------------------------------------------------------- the files


def test_the_vendored_module_is_that_of_the_installed_package():
    package = Path(anywidget.__file__).parent
    assert (EXTRA / "anywidget.js").read_bytes() == (package / "nbextension" / "index.js").read_bytes()
    assert f"anywidget {anywidget.__version__}," in (EXTRA / "README.txt").read_text(encoding="utf-8")


def test_files_beside_the_modules_are_shipped_and_make_a_chapter_stale(tmp_path, monkeypatch):
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert tools["setuptools"]["package-data"] == {"rhmlib": ["py.typed", f"{FILES.name}/*"]}
    project = chapters.find_project(ROOT)
    chapter = chapters.read_chapter(project, "rhm")
    before = chapters.fingerprint(project, chapter, chapter.defaults)
    names = {path.name for path in FILES.iterdir()}
    assert {Path(path).name for path in before.files} == names
    package = tmp_path / "rhmlib"
    shutil.copytree(ROOT / "rhmlib", package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(chapters.provenance, "PACKAGE", package)
    with (package / FILES.name / "page.mjs").open("a", encoding="utf-8") as file:
        file.write("// changed\n")
    assert chapters.fingerprint(project, chapter, chapter.defaults).run != before.run


def test_unknown_modules_and_other_imports_are_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"name must be one of the modules \['distance.mjs'.*name='x.mjs'"):
        bundle("x.mjs")
    monkeypatch.setattr(widget_base, "FILES", tmp_path)
    (tmp_path / "x.mjs").write_text('import all from "./y.mjs";\nexport default {};\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"x.mjs must import by lines import \{ ... \} from"):
        bundle("x.mjs")


# ---------------------------------------------------------------- resting states


def test_a_swap_at_one_node(sample, grammar):
    swapped = swap_one(sample, 2, 1, np.random.default_rng(0))
    for level in range(grammar.L):
        above = grammar.parent(swapped.levels[level].reshape(len(sample), -1, 2), level)
        np.testing.assert_array_equal(above, swapped.levels[level + 1])
    differs = [swapped.levels[level] != sample.levels[level] for level in range(5)]
    assert not any(differs[level].any() for level in (2, 3, 4))
    assert differs[1][:, 2:4].any(axis=1).all()
    assert not differs[1][:, [0, 1, 4, 5, 6, 7]].any()
    assert not differs[0][:, [0, 1, 2, 3, *range(8, 16)]].any()
    with pytest.raises(ValueError, match=r"index must be in 0..3 at level 2. Found index=4"):
        swap_one(sample, 2, 4, np.random.default_rng(0))


def test_the_explorer_rests_after_a_swap(sample, grammar):
    explorer = GrammarExplorer(sample, seed=3)
    assert explorer.grammar == grammar
    assert (explorer.v, explorer.m, explorer.s, explorer.L, explorer.seed) == (8, 3, 2, 4, 3)
    assert explorer.node == [2, 1]
    assert explorer.before == [level[0].tolist() for level in sample.levels]
    shown = explorer.sample
    for level in range(2, 5):
        np.testing.assert_array_equal(shown.levels[level], sample.levels[level][:1])
    for level in range(4):
        above = grammar.parent(shown.levels[level].reshape(1, -1, 2), level)
        np.testing.assert_array_equal(above, shown.levels[level + 1])
    assert (shown.tokens != sample.tokens[:1]).any()
    assert shown.tokens.dtype == sample.tokens.dtype
    json.dumps(explorer.get_state())  # plain numbers
    assert "swaps a synonym" in repr(explorer)


@pytest.mark.parametrize("shape", [(4, 1, 2, 3), (4, 3, 2, 1), (3, 4, 3, 2)])
def test_the_explorer_takes_every_shape(shape):
    v, m, s, L = shape
    grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=0)
    explorer = GrammarExplorer(grammar.sample(1, np.random.default_rng(1)), seed=0)
    assert isinstance(explorer.sample, Sample)
    assert (explorer.before is None) == (m == 1)
    assert explorer.node[0] == min(2, L)


def test_distances_are_the_exact_signals():
    widget = TreeDistance(8, [3, 2], 2, 3, range(4), setting="latents", level=0)
    assert (widget.m, widget.level, widget.setting) == (3, 0, "latents")
    assert len(widget.table) == 2 * 3 * 2
    for row in widget.table:
        values = [
            signals.relative_signal(
                Grammar.random(v=8, m=row["m"], s=2, L=3, seed=seed), row["setting"], row["level"]
            )
            for seed in range(4)
        ]
        assert row["signal"] == pytest.approx(np.mean(values))
        assert row["low"] == pytest.approx(np.quantile(values, 0.1))
        assert row["high"] == pytest.approx(np.quantile(values, 0.9))
        assert row["rules"] == signals.rules_between(row["setting"], row["level"], 3)
        assert row["scale"] == signals.closed_form(row["setting"], row["level"], 8, row["m"], 2, 3)
    json.dumps(widget.get_state())


def test_a_summary_has_a_row_for_each_case():
    table = signals.signal_table(8, [2, 3], 2, 4, range(2))
    assert len(summary(table)) == len(table) / 2


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"setting": "label"}, r"setting must be one of \['supervised', .*Found setting='label'"),
        ({"level": 2}, r"level must be one of \[0, 1\]. Found level=2"),
        ({"m": 5}, r"m must be one of \[2, 3\]. Found m=5"),
    ],
)
def test_wrong_calls_are_named(given, part):
    with pytest.raises(ValueError, match=part):
        TreeDistance(8, [2, 3], 2, 3, [0], **given)


# ---------------------------------------------------------------- in a browser

PAGE = """<!doctype html><html lang="en" data-theme="light"><meta charset="utf-8"><title>widgets</title><body>
<script src="widgets/require.js"></script><script src="widgets/modules.js"></script>
<script src="widgets/embed-amd.js"></script>
<script type="application/vnd.jupyter.widget-state+json">{state}</script>{views}</body></html>"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory, sample):
    """A page with both widgets, opened as a file; what it complained of, and what it asked for."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium")
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(EXTRA, folder / "widgets")
    shown = [GrammarExplorer(sample, seed=3), TreeDistance(8, [2, 3], 2, 4, range(2))]
    data = embed_data(views=shown, drop_defaults=False)
    view = '<script type="application/vnd.jupyter.widget-view+json">{}</script>'
    text = PAGE.format(
        state=json.dumps(data["manager_state"]).replace("</", "<\\/"),
        views="".join(view.format(json.dumps(spec)) for spec in data["view_specs"]),
    )
    (folder / "index.html").write_text(text, encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1000, "height": 900})
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((folder / "index.html").as_uri())
        for name in ("grammar-explorer", "tree-distance"):
            page.locator(f"[data-rhm-widget={name}] [data-rhm-picture] svg").first.wait_for()
        yield page, said, asked
        browser.close()


@pytest.fixture
def explorer(opened):
    page, said, _ = opened
    widget = page.locator("[data-rhm-widget=grammar-explorer]")
    widget.locator("[data-name=reset]").click()
    yield widget
    assert said == []


def symbols(widget):
    labels = widget.locator(".rhm-node[role=button]").evaluate_all("all => all.map((x) => x.ariaLabel)")
    return [label.split(", ") for label in labels]


@pytest.mark.slow
def test_nothing_is_asked_of_any_host(opened):
    _, said, asked = opened
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
    assert any(url.endswith("/anywidget.js") for url in asked)


@pytest.mark.slow
def test_the_explorer_shows_the_string_it_was_given(explorer, sample):
    shown = GrammarExplorer(sample, seed=3)
    rows = [row for level in reversed(shown.levels) for row in level]
    assert [int(words[1].removeprefix("symbol ")) for words in symbols(explorer)] == rows
    changed = sum(
        a != b for x, y in zip(shown.levels, shown.before, strict=True) for a, b in zip(x, y, strict=True)
    )
    assert explorer.locator(".rhm-node.rhm-changed[role]").count() == changed
    assert explorer.locator(".rhm-node.rhm-tuple[role]").count() == 2
    assert explorer.locator(".rhm-node.rhm-cousin[role]").count() == 2
    assert (
        "Swapped a synonym: the 2nd of 4 symbols of level 2" in explorer.locator("[role=status]").inner_text()
    )


@pytest.mark.slow
def test_a_click_swaps_and_the_context_stays(explorer):
    before = symbols(explorer)
    bars = explorer.locator(".rhm-bars").get_attribute("aria-label")
    explorer.get_by_role("button", name="the 2nd of 4 symbols of level 2").click()
    after = symbols(explorer)
    at = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a[:2] != b[:2]]
    tuple_and_tokens = {7 + 2, 7 + 3, 15 + 4, 15 + 5, 15 + 6, 15 + 7}  # below that symbol, root first
    assert at
    assert set(at) <= tuple_and_tokens
    assert explorer.locator(".rhm-bars").get_attribute("aria-label") == bars


@pytest.mark.slow
def test_keys_move_and_swap(opened, explorer):
    page, _, _ = opened
    explorer.locator("[tabindex='0'][role=button]").focus()
    focus = "document.activeElement.ariaLabel"
    for key, name in (
        ("ArrowUp", "the 1st of 2 symbols of level 3"),
        ("ArrowRight", "the 2nd of 2 symbols of level 3"),
        ("ArrowRight", "the 2nd of 2 symbols of level 3"),  # the last of its row
        ("ArrowDown", "the 3rd of 4 symbols of level 2"),
    ):
        page.keyboard.press(key)
        assert page.evaluate(focus).startswith(name)
    page.keyboard.press("Enter")
    assert "the 3rd of 4 symbols of level 2" in explorer.locator("[role=status]").inner_text()
    assert page.evaluate(focus).startswith("the 3rd of 4 symbols of level 2")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focus).startswith("the root")
    assert "no cousins" in explorer.inner_text()


@pytest.mark.slow
def test_other_grammars_are_rhmlibs(explorer):
    explorer.locator("select[data-name=m]").select_option("5")
    explorer.locator("select[data-name=L]").select_option("3")
    explorer.locator("input[data-name=seed]").fill("11")
    explorer.locator("input[data-name=seed]").press("Enter")
    grammar = Grammar.random(v=8, m=5, s=2, L=3, seed=11)
    found = [int(words[1].removeprefix("symbol ")) for words in symbols(explorer)]
    levels = [np.array(row) for row in (found[7:], found[3:7], found[1:3], found[:1])]
    for level in range(3):
        np.testing.assert_array_equal(grammar.parent(levels[level].reshape(-1, 2), level), levels[level + 1])
    explorer.locator("input[data-name=seed]").fill("-1")
    explorer.locator("input[data-name=seed]").press("Enter")
    assert "Found seed=-1" in explorer.locator("[role=status]").inner_text()


@pytest.mark.slow
def test_distances_follow_the_controls(opened):
    page, said, _ = opened
    widget = page.locator("[data-rhm-widget=tree-distance]")
    picture = widget.locator("[data-rhm-picture]")
    seen = set()
    for setting, name in zip(signals.SETTINGS, ("supervised", "token", "latent"), strict=True):
        widget.get_by_role("button", name=name).click()
        for level in range(3):
            widget.locator("[data-rhm-control]").select_option(str(level))
            rules = signals.rules_between(setting, level, 4)
            assert f"crosses {rules} rule" in widget.locator("[role=status]").inner_text()
            assert picture.locator(".rhm-count").count() == rules
            seen.add(picture.inner_html())
    assert len(seen) == 9
    assert said == []
