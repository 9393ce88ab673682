"""What the Sphinx extensions do to names, docstrings, options and cells; parts made at every build."""

from types import SimpleNamespace

import pytest

from rhmlib import claims, generated, sphinx_pages
from rhmlib.chapters import find_project
from rhmlib.slc import Losses
from rhmlib.sphinx_pages import canonical, plain_maths, repository_options
from rhmlib.sphinx_readable import readable


def test_names_lead_to_where_they_are_defined():
    assert canonical("rhmlib.IterativeLatentClustering") == "rhmlib.ilc.IterativeLatentClustering"
    assert canonical("rhmlib.grammar.Grammar.random") == "rhmlib.grammar.Grammar.random"
    assert canonical("rhmlib.bench_learners") == "rhmlib.bench_learners"
    for name in ("rhmlib.nothing", "rhmlib.fits.nothing", "rhmlib.grammar.Grammar.nothing"):
        with pytest.raises(ValueError, match=f"{name} must be a name of the library. Found no 'nothing'"):
            canonical(name)


@pytest.mark.parametrize(
    ("line", "escaped"),
    [
        ("a set |mu_a - mu_b|", r"a set \|mu_a - mu_b\|"),
        (
            "v * m**(L - 1) of shape (*places.shape, width)",
            r"v * m\*\*(L - 1) of shape (\*places.shape, width)",
        ),
        ("the *relative signal* of **all**, as in ``x**2`` and :func:`rhmlib.ilc.f_`", None),
        (">>> abs(x)**2 | 1", None),
        ("labels_ : array, shape (s**L,)", r"labels_ : array, shape (s\*\*L,)"),
        ("*overrides : mapping", None),
        ("labels_ and contexts_.", r"labels\_ and contexts\_."),
    ],
)
def test_formulas_in_docstrings_are_no_markup(line, escaped):
    assert plain_maths([line]) == [line if escaped is None else escaped]


def test_literal_blocks_are_left_alone():
    lines = ["As in::", "", "    a | b_", "", "c | d"]
    assert plain_maths(lines) == ["As in::", "", "    a | b_", "", r"c \| d"]


def test_output_of_examples_is_left_alone():
    lines = [">>> show(", "...     x)", "| a | b_ |", "m**(2)", "", "c | d"]
    assert plain_maths(lines) == [*lines[:-1], r"c \| d"]
    assert plain_maths(["... and a | b"]) == [r"... and a \| b"]  # no example without a prompt


@pytest.mark.parametrize(
    ("name", "thing", "skipped"),
    [
        ("model_config", claims.Claim.model_config, True),
        ("rhmlib.claims.Claim.model_config", claims.Claim.model_config, True),
        ("__pydantic_fields__", {}, True),
        (Losses._fields[0], getattr(Losses, Losses._fields[0]), True),
        ("option_spec", sphinx_pages.Generated.option_spec, True),
        ("set_fit_request", SimpleNamespace(__module__="sklearn.utils"), True),
        ("readable", readable, None),
        ("Claim", claims.Claim, None),
    ],
)
def test_the_reference_has_what_is_the_librarys_own(name, thing, skipped):
    assert sphinx_pages._skip(None, "class", name, thing, False, None) is skipped


def test_defaults_that_a_dataclass_makes_can_be_read():
    def written(signature):
        return sphinx_pages._signature(None, "class", "X", None, None, signature, None)

    assert written("(a=1, b=<factory>)") == ("(a=1, b=...)", None)
    assert written(None) is None


def test_a_new_module_has_the_reference_read_again(monkeypatch):
    env = SimpleNamespace(dependencies={"api": {"../rhmlib/ilc.py"}, "made": {"ilc.ipynb"}, "intro": set()})

    def outdated():
        return sphinx_pages._outdated(None, env, set(), set(), set())

    assert outdated() == []
    assert outdated() == []
    monkeypatch.setattr(generated, "modules", lambda group: ["a_new_one"])
    assert outdated() == ["api"]
    assert outdated() == []


def test_every_module_of_the_reference_has_a_section_with_words(tmp_path):
    context = generated.Context(find_project(), tmp_path, ["figures"])
    assert "{py:mod}`rhmlib.looks` | What objectives are called" in generated.make("api-overview", context)
    assert any(path.name == "looks.py" for path in context.read)
    text = generated.make("api", context)
    assert "automodule:: rhmlib.looks\n```\n\n- `NAMES`: " in text
    assert text.count("\n- `") == 3  # others have functions, which tell of themselves


@pytest.mark.parametrize(
    ("hours", "text"),
    [(2.5, "2.5 h"), (99.9, "99.9 h"), (100, "100 h"), (32672.6, "32,673 h"), (float("nan"), "unknown")],
)
def test_long_times_have_no_decimals(hours, text):
    assert generated._time(3600 * hours) == text.replace(" ", "\u00a0")


def test_a_scale_is_said_once(tmp_path, monkeypatch):
    same = (claims.Scale(table="a"), claims.Scale(table="b"))
    claim = claims.Claim(name="x", claim="c", source="s", scale=same, where="there")
    monkeypatch.setattr(generated.claims, "read", lambda path: [claim])
    monkeypatch.setattr(generated.claims, "describe_scale", lambda *arguments: "of one size")
    text = generated.make("claims", generated.Context(find_project(), tmp_path))
    assert text.count("of one size") == 1
    assert "there" in text


@pytest.mark.parametrize(
    ("cell", "instead"),
    [
        ("<td>1,942</td>", '<td class="number">1,942</td>'),
        ("<td>-0.5 [-1, 1e-05]</td>", '<td class="number">-0.5 [-1, 1e-05]</td>'),
        ("<td>3 of 4</td>", None),
        ("<td></td>", None),
        (
            '<td><p><code><span class="pre">rhmlib.belief_propagation</span></code></p></td>',
            '<td><p><code><span class="pre">rhmlib.<wbr>belief_<wbr>propagation</span></code></p></td>',
        ),
        ('<td><span class="pre">n_test</span></td>', None),
        ('<td><span class="pre">0.123456789012</span></td>', None),
        ('<p><span class="pre">rhmlib.belief_propagation</span></p>', None),
    ],
)
def test_cells_are_marked_for_the_style_sheet(cell, instead):
    assert readable(cell) == (cell if instead is None else instead)


def test_buttons_only_with_an_address():
    assert repository_options("") == {}
    found = repository_options("https://github.com/someone/a-book")
    assert found["launch_buttons"]["colab_url"].startswith("https://colab.")
    assert found["path_to_docs"] == "executed"
    for bad in ("github.com/a/b", "https://github.com/a/b/", "https://github.com/a"):
        with pytest.raises(ValueError, match="REPOSITORY_URL must be https://HOST/OWNER/NAME"):
            repository_options(bad)
