"""Verdicts follow from numbers by the rule, and from nothing else."""

import json

import pytest

from rhmlib import chapters, claims, fits, generated, grids

ROOT = grids.find_root()


@pytest.mark.parametrize(
    ("text", "judged"),
    [
        ("3.02 [2.95, 3.10]", "as claimed"),
        ("2.80 [2.73, 2.85]", "near"),
        ("3.30 [3.10, 3.90]", "near"),
        ("3.60 [3.10, 4.20]", "undecided"),  # across the middle, holds neither
        ("4.00 [2.50, 5.50]", "undecided"),  # holds both
        ("4.50 [3.50, 5.10]", "refuted"),  # holds the rival's value only
        ("4.60 [4.20, 4.80]", "refuted"),
        ("1.00 [0.90, 1.10]", "near"),
        ("3", "as claimed"),
    ],
)
def test_a_law_against_its_rival(text, judged):
    assert claims.judge_law(claims.read_number(text), 3, 5) == judged


def test_estimates_are_read_as_they_are_written():
    written = str(fits.Estimate(-0.5, -0.75, 1.0))
    assert written == "\u22120.50 [\u22120.75, 1.00]"
    reading, plain = claims.read_number(written), claims.read_number("-0.5 [-0.75, 1.0]")
    assert (reading.value, reading.low, reading.high) == (plain.value, plain.low, plain.high)


def test_factors_are_compared_by_their_logarithms():
    reading = claims.read_number("3.0 [2.5, 3.5]")
    assert claims.judge_law(reading, 1, 8) == "near"
    assert claims.judge_law(reading, 1, 8, factor=True) == "undecided"  # the middle is sqrt(8) = 2.83
    with pytest.raises(ValueError, match=r"factors must be positive\. Found -1"):
        claims.judge_law(claims.read_number("1 [-1.0, 2.0]"), 1, 8, factor=True)
    with pytest.raises(ValueError, match="law and rival must differ"):
        claims.judge_law(reading, 3, 3)


@pytest.mark.parametrize(
    ("judgements", "verdict"),
    [
        (["as claimed", "as claimed"], "reproduced"),
        (["as claimed", "refuted"], "partly"),
        (["near"], "partly"),
        (["as claimed", "undecided"], "partly"),
        (["refuted", "refuted"], "not"),
        (["undecided"], "open"),
        ([], "open"),
    ],
)
def test_verdicts(judgements, verdict):
    assert claims.verdict(judgements) == verdict


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("70%", (0.7, 0.7, 0.7)),
        ("1,942", (1942, 1942, 1942)),
        ("1.1e-16", (1.1e-16,) * 3),
        ("-0.5 [-1, 0.25]", (-0.5, -1, 0.25)),
    ],
)
def test_numbers_are_read_as_they_are_printed(text, values):
    found = claims.read_number(text)
    assert (found.value, found.low, found.high) == pytest.approx(values)


@pytest.fixture
def folder(tmp_path):
    """A notebook as myst-nb glues: with and without the prefix of what is not displayed."""
    hidden = {"data": {"application/papermill.record/text/plain": "'3.1 [2.9, 3.3]'"}}
    shown = {"data": {"text/plain": ["4"], "text/html": "<b>4</b>"}}
    outputs = [
        {**hidden, "metadata": {"scrapbook": {"name": "k", "mime_prefix": "application/papermill.record/"}}},
        {**shown, "metadata": {"scrapbook": {"name": "L"}}},
        {"data": {"text/plain": "5"}, "metadata": {}},
    ]
    (tmp_path / "slc.ipynb").write_text(json.dumps({"cells": [{"outputs": outputs}, {}], "metadata": {}}))
    return tmp_path


def test_glued_numbers_judge_a_claim(folder):
    numbers = claims.Numbers(folder)
    assert (numbers.text("slc::k"), numbers.value("slc::L + 1"), numbers.value("slc::L - 2")) == (
        "3.1 [2.9, 3.3]",
        5,
        2,
    )
    assert (
        claims.judge(claims.Number(what="", key="slc::k", law=3, rival="slc::L + 1"), numbers) == "as claimed"
    )
    assert claims.judge(claims.Number(what="", key="slc::k", at_least=3), numbers) == "refuted"
    assert claims.judge(claims.Number(what="", key="slc::k", at_most=3.3), numbers) == "as claimed"
    assert numbers.read == [folder / "slc.ipynb"]
    with pytest.raises(ValueError, match=r"'slc::j' must be glued in slc\. Found no such key"):
        numbers.text("slc::j")
    with pytest.raises(ValueError, match="'ilc::k' must name an executed chapter"):
        numbers.text("ilc::k")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name: x", "must be a list of claims. Found dict"),
        ("- {name: x, claim: c}", "source must be right. Found: Field required"),
        ("- {name: x, claim: c, source: s, verdict: reproduced}", "Extra inputs are not permitted"),
        (
            "[{name: x, claim: c, source: s}, {name: x, claim: c, source: s}]",
            "claims must have different names",
        ),
        (
            "- {name: x, claim: c, source: s, numbers: [{what: w, key: a::b, law: 3}]}",
            "must have a law and a rival",
        ),
        (
            "- {name: x, claim: c, source: s, numbers: [{what: w, key: a::b, law: 3, at_least: 1}]}",
            "must have a law",
        ),
    ],
)
def test_a_file_of_claims_is_checked(tmp_path, content, words):
    path = tmp_path / "claims.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=words):
        claims.read(path)


def test_the_scale_is_read_off_the_table():
    text = claims.describe_scale(claims.Scale(table="ilc", where={"targets": "one"}), ROOT, ROOT)
    assert text == "$v=16$, $s=2$, $m=2$ to $8$, $L=4$; 20 grammars"
    with pytest.raises(ValueError, match=r"table 'ilc' must hold rows with \{'v': 7\}"):
        claims.describe_scale(claims.Scale(table="ilc", where={"v": 7}), ROOT, ROOT)
    with pytest.raises(ValueError, match="'w' must be a column"):
        claims.describe_scale(claims.Scale(table="ilc", where={"w": 7}), ROOT, ROOT)


def test_the_books_claims_name_numbers_that_its_chapters_glue():
    every = claims.read(ROOT / "book" / "claims.yaml")
    for claim in every:
        for key in [k for n in claim.numbers for k in (n.key, n.law, n.rival) if isinstance(k, str)]:
            chapter, _, name = key.partition("::")
            name = name.split(" ")[0]
            source = (ROOT / "book" / f"{chapter}.md").read_text(encoding="utf-8")
            # Names that a loop makes have a part in braces: what stands before it must be there.
            heads = [name[: i + 1] for i, sign in enumerate(name) if sign == "-"]
            if "findings.glued()" in source:  # names are made in the library
                assert name in claims.glued(ROOT / "executed" / f"{chapter}.ipynb"), key
                continue
            assert f'"{name}"' in source or any(f'"{head}{{' in source for head in heads), key


def test_intro_tells_a_few_of_them_in_short(tmp_path):
    project = chapters.find_project(ROOT)
    text = (ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    names = text.partition("{generated} claims-in-short\n:only: ")[2].partition("\n")[0].split()
    assert 3 <= len(names) <= 5
    with pytest.raises(ValueError, match=r"must be in claims\.yaml\. Found 'ilk'\. Did you mean 'ilc'"):
        generated.make("claims-in-short", generated.Context(project, tmp_path, ["ilk"]))


def test_marks_differ_in_shape():
    assert len(set(generated.MARKS.values())) == len(generated.MARKS) == 4
