"""What the Sphinx extension does to names, docstrings and options."""

import pytest

from rhmlib.sphinx_pages import canonical, plain_maths, repository_options


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


def test_buttons_only_with_an_address():
    assert repository_options("") == {}
    found = repository_options("https://github.com/someone/a-book")
    assert found["launch_buttons"]["colab_url"].startswith("https://colab.")
    assert found["path_to_docs"] == "executed"
    for bad in ("github.com/a/b", "https://github.com/a/b/", "https://github.com/a"):
        with pytest.raises(ValueError, match="REPOSITORY_URL must be https://HOST/OWNER/NAME"):
            repository_options(bad)
