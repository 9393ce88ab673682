"""The catalogue of parameters: types, ranges, files."""

import math

import pytest

from rhmlib import parameters
from rhmlib.parameters import CATALOGUE, check_value, resolve


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("m", 4, 4),
        ("lr", "1e-3", 1e-3),
        ("lr", " 1E-3 ", 1e-3),
        ("lr", 1, 1.0),
        ("ms", (2, 4), [2, 4]),
        ("multiples", [1, "2e0", 0.5], [1.0, 2.0, 0.5]),
        ("device", "cuda:1", "cuda:1"),
        ("targets", "all", "all"),
        ("ema", 1, 1.0),
    ],
)
def test_accepted(name, value, expected):
    found = check_value(name, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("m", True, "m must be an integer >= 1. Found m=True."),
        ("m", 3.0, "Found m=3.0."),
        ("m", "4", "Found m='4'."),
        ("m", 0, "Found m=0."),
        ("m", None, "Found m=None."),
        ("m", [4], "Found m=[4]."),
        ("lr", "fast", "lr must be a finite number > 0. Found lr='fast'."),
        ("lr", True, "Found lr=True."),
        ("lr", math.nan, "Found lr=nan."),
        ("lr", math.inf, "Found lr=inf."),
        ("lr", 0, "Found lr=0."),
        ("dropout", 1, ">= 0 and < 1"),
        ("ms", 4, "a list of integers >= 1, with at least one. Found ms=4."),
        ("ms", [], "Found ms=[]."),
        ("ms", [2, 0], "Found ms=[2, 0]."),
        ("ms", [True], "Found ms=[True]."),
        ("ms", "24", "Found ms='24'."),
        ("device", "gpu", "'auto', 'cpu', 'mps', 'cuda' or 'cuda:N'. Found device='gpu'."),
        ("device", "cuda:1\n", "Found device="),
        ("targets", "two", "targets must be 'one' or 'all'."),
        ("grammar_seed", -1, "Found grammar_seed=-1."),
    ],
)
def test_refused(name, value, words):
    with pytest.raises(ValueError, match=f"^{name} must be ") as error:
        check_value(name, value)
    assert words in str(error.value)


def test_long_values_are_cut_in_messages():
    with pytest.raises(ValueError, match="Found device=") as error:
        check_value("device", "x" * 1000)
    assert len(str(error.value)) < 200


def test_unknown_name_suggests_near_ones():
    with pytest.raises(ValueError, match="Did you mean 'm' or 'ms'"):
        check_value("mm", 1)
    with pytest.raises(ValueError, match="Did you mean 'L'"):
        check_value("l", 1)


def test_catalogue_describes_itself():
    rows = parameters.rows()
    assert [row["name"] for row in rows] == list(CATALOGUE)
    assert all(row[key] for row in rows for key in ("type", "allowed", "meaning"))
    assert all("\n" not in row["meaning"] for row in rows)


def test_resolve_keeps_order_and_lets_later_layers_win():
    values = resolve({"v": 8, "m": 2, "s": 2, "lr": 1}, {"m": 3, "lr": "1e-2"}, {"m": 4})
    assert values == {"v": 8, "m": 4, "s": 2, "lr": 0.01}
    assert list(values) == ["v", "m", "s", "lr"]


def test_resolve_refuses_what_the_chapter_has_not():
    with pytest.raises(
        ValueError, match=r"'ms' is no parameter of chapter 'ilc'. Did you mean 'm'\? Allowed: m"
    ):
        resolve({"m": 2}, {"ms": [1]}, chapter="ilc")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"v": 4, "m": 5, "s": 2}, "Found m=5 with v=4, s=2"),
        ({"v": 4, "m": 4, "s": 2, "L": 40}, "Found L=40"),
        ({"v": 4, "ms": [2, 8], "s": 2}, "Found m=8 with v=4"),
        ({"v": 8, "vs": [4, 8], "m": 5, "s": 2}, "Found m=5 with v=4"),
        ({"vs": [4, 8], "ms": [2, 8], "s": 2}, "Found m=8 with v=4"),
        ({"v": 4, "m": 2, "s": 2, "L": 2, "Ls": [2, 40]}, "Found L=40"),
    ],
)
def test_shapes_that_are_no_rhm(values, words):
    with pytest.raises(ValueError, match="must") as error:
        resolve(values)
    assert words in str(error.value)


def test_lists_are_combined_with_single_values_first():
    # m = 8 is drawn at v = 8 only; the list of v at the single m = 2.
    values = {"v": 8, "m": 2, "s": 2, "vs": [4, 8], "ms": [2, 8]}
    assert resolve(values) == values


@pytest.mark.parametrize("values", [{"m": 99}, {"m": 99, "s": 2}, {"n": 3}])
def test_no_shape_no_check(values):
    assert resolve(values) == values


def test_a_chapter_without_s_has_two():
    with pytest.raises(ValueError, match=r"m must be at most .* = 2, .* Found m=99 with v=2, s=2"):
        resolve({"m": 99, "v": 2})


# ---------------------------------------------------------------- files


def read(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return parameters.read_file(path, ["ilc", "rhm"])


def test_flat_file(tmp_path):
    content = read(tmp_path, "m: 4\nlr: 1e-3\n")
    assert content == {"": {"m": 4, "lr": 1e-3}}
    assert parameters.for_chapter(content, "rhm", ["v"]) == {"m": 4, "lr": 1e-3}


def test_sections_and_common(tmp_path):
    content = read(tmp_path, "common: {m: 2, epochs: 3}\nilc: {m: 4}\nrhm:\n")
    assert parameters.for_chapter(content, "ilc", ["m", "v"]) == {"m": 4}
    assert parameters.for_chapter(content, "rhm", ["m", "v"]) == {"m": 2}


def test_empty_file(tmp_path):
    assert read(tmp_path, "# nothing\n") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("m: 4\nilc: {m: 2}\n", "Found the section 'ilc' beside the value 'm'"),
        ("ilcc: {m: 2}\n", "'ilcc' is no chapter. Did you mean 'ilc'"),
        ("ilc: {mm: 2}\n", "section 'ilc': 'mm' is no parameter of the book"),
        ("rhm: {m: 0}\n", "section 'rhm': m must be an integer >= 1. Found m=0"),
        ("m: 4\nm: 5\n", "'m' is given twice"),
        ("m: [4\n", "must be YAML"),
        ("- m\n", "must map names to values"),
        ("4: 5\n", "must map names to values"),
        ("common: {lr: [1]}\n", "lr must be a finite number"),
    ],
)
def test_bad_files(tmp_path, text, words):
    with pytest.raises(ValueError, match=r"x\.yaml") as error:
        read(tmp_path, text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="must exist"):
        parameters.read_file(tmp_path / "no.yaml", [])
    with pytest.raises(ValueError, match="Found a directory"):
        parameters.read_file(tmp_path, [])
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="UTF-8"):
        parameters.read_file(tmp_path / "binary.yaml", [])
