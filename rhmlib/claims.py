"""Claims of the paper against the numbers of the chapters: a verdict by a stated rule.

``book/claims.yaml`` lists the claims; each names numbers that chapters glue, with what the paper says
they are. The rule is the same for all:

- a number with an interval, a `law` (what the paper says) and a `rival` (what another theory says) is *as
  claimed* if the interval holds the law's value and not the rival's, and *refuted* if it holds the rival's
  and not the law's, or all of it lies nearer to the rival's; it is *near* if it holds neither and all of it
  lies nearer to the law's, and *undecided* otherwise;
- a number with `at_least` or `at_most` is *as claimed* or *refuted*.

A claim is *reproduced* if all of its numbers are as claimed, *not* reproduced if all are refuted, *open* if
there is none or all are undecided, and *partly* reproduced otherwise.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from rhmlib import parameters, results

if TYPE_CHECKING:
    import pandas as pd

Judgement = Literal["as claimed", "near", "undecided", "refuted"]
Verdict = Literal["reproduced", "partly", "not", "open"]

_NUMBER = r"[+-]?\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?"
_MINUS = "\N{MINUS SIGN}"
_ESTIMATE = re.compile(rf"({_NUMBER})(%?)(?: \[({_NUMBER}), ({_NUMBER})\])?")
_KEY = re.compile(r"(\w+::[\w-]+)(?: ([+-]) (\d+))?")


# ---------------------------------------------------------------- the file of claims


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Number(_Closed):
    """A number of a chapter and what the claim says of it.

    Attributes
    ----------
    what : str
        What it is, in a few words.
    key : str
        Where it is glued: ``"chapter::key"``.
    law, rival : float or str, optional
        The claimed value and a rival theory's; a text is the key of a glued number, ``"slc::slc-L + 1"``
        that number plus 1.
    at_least, at_most : float, optional
        A bound instead of a law.
    factor : bool
        Whether the number is a factor, whose distance is that of logarithms.
    headline : bool
        Whether it is shown where the claim is told in short.
    """

    what: str
    key: str
    law: float | str | None = None
    rival: float | str | None = None
    at_least: float | None = None
    at_most: float | None = None
    factor: bool = False
    headline: bool = False


class Scale(_Closed):
    """Where the sizes at which a claim was tested stand.

    Attributes
    ----------
    table : str, optional
        Name of a table of results.
    runs : str
        Name of the scale of its sweep file whose runs count.
    where : dict
        Columns of the table and the value, or list of values, that its rows must have.
    chapter : str, optional
        Name of a chapter, whose parameters are the sizes.
    text : str
        Markdown that is added.
    """

    table: str = ""
    runs: str = "book"
    where: dict[str, Any] = {}
    chapter: str = ""
    text: str = ""


class Claim(_Closed):
    """One claim of the paper.

    Attributes
    ----------
    name : str
        For references.
    claim, source : str
        What the paper says, and where.
    numbers : tuple of Number
        What was measured; empty where nothing was.
    found : str
        What we find, in words.
    scale : tuple of Scale
    where : str
        Links to figures. All texts are Markdown.
    """

    name: str
    claim: str
    source: str
    numbers: tuple[Number, ...] = ()
    found: str = ""
    scale: tuple[Scale, ...] = ()
    where: str = ""


def read(path: str | Path) -> list[Claim]:
    """Read a file of claims.

    Raises
    ------
    ValueError
        If it is no list of claims with different names, or a number has not exactly one of a law with a
        rival, `at_least` and `at_most`.
    """
    content = parameters.read_yaml(Path(path).read_text(encoding="utf-8"), str(path))
    if not isinstance(content, list):
        raise ValueError(f"{path} must be a list of claims. Found {type(content).__name__}.")
    try:
        claims = [Claim.model_validate(item) for item in content]
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: {place} must be right. Found: {first['msg']}.") from None
    names = [claim.name for claim in claims]
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: claims must have different names. Found {names}.")
    for claim in claims:
        for number in claim.numbers:
            _check(number, claim.name)
    return claims


def _check(number: Number, name: str) -> None:
    law = number.law is not None and number.rival is not None
    kinds = [law, number.at_least is not None, number.at_most is not None]
    if sum(kinds) != 1 or (not law and (number.law, number.rival) != (None, None)):
        raise ValueError(
            f"claim {name!r}: {number.what!r} must have a law and a rival, or at_least, or at_most. "
            f"Found {number}."
        )


# ---------------------------------------------------------------- the chapters' numbers


@dataclass(frozen=True)
class Reading:
    """A number as a chapter prints it.

    Attributes
    ----------
    value, low, high : float
        With the ends of its interval; the value itself where there is no interval.
    text : str
    """

    value: float
    low: float
    high: float
    text: str


def read_number(text: str) -> Reading | None:
    """Read "3.02 [2.95, 3.10]", "1,942", "70%" or "1.1e-16"; None for a text that is no number.

    Examples
    --------
    >>> read_number("3.02 [2.95, 3.10]")
    Reading(value=3.02, low=2.95, high=3.1, text='3.02 [2.95, 3.10]')
    >>> read_number("not identified (too few)") is None
    True
    """
    found = _ESTIMATE.fullmatch(text.strip().replace(_MINUS, "-"))
    if found is None:
        return None
    unit = 0.01 if found[2] else 1.0
    value, low, high = (unit * float((part or found[1]).replace(",", "")) for part in found.group(1, 3, 4))
    return Reading(value, low, high, text.strip())


def glued(path: str | Path) -> dict[str, str]:
    """Numbers and texts that an executed notebook has glued, as texts.

    Parameters
    ----------
    path : path
        An executed notebook.

    Returns
    -------
    dict
        Key to text.
    """
    notebook = json.loads(Path(path).read_text(encoding="utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    found = {}
    for output in outputs:
        key = output.get("metadata", {}).get("scrapbook", {}).get("name")
        texts = [data for kind, data in output.get("data", {}).items() if kind.endswith("text/plain")]
        if key and texts:
            found[str(key)] = _unquoted("".join(texts[0]))
    return found


def _unquoted(text: str) -> str:
    try:
        return str(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return text


class Numbers:
    """The numbers that the executed notebooks of a folder have glued.

    Parameters
    ----------
    folder : path
        Holds ``CHAPTER.ipynb``.

    Attributes
    ----------
    read : list of Path
        Notebooks that have been looked into.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._chapters: dict[str, dict[str, str]] = {}

    @property
    def read(self) -> list[Path]:
        """Notebooks that have been looked into."""
        return [self.folder / f"{chapter}.ipynb" for chapter in self._chapters]

    def text(self, key: str) -> str:
        """Return what is glued at ``"chapter::key"``, or raise ValueError."""
        chapter, _, name = key.partition("::")
        if chapter not in self._chapters:
            path = self.folder / f"{chapter}.ipynb"
            if not path.is_file():
                raise ValueError(f"{key!r} must name an executed chapter. Found no file {path}.")
            self._chapters[chapter] = glued(path)
        if name not in self._chapters[chapter]:
            hint = parameters.suggestion(name, self._chapters[chapter])
            raise ValueError(f"{key!r} must be glued in {chapter}. Found no such key. {hint}")
        return self._chapters[chapter][name]

    def value(self, wanted: float | str) -> float:
        """Return a number, or that of a key, plus or minus an integer: ``"slc::slc-L + 1"``."""
        if not isinstance(wanted, str):
            return float(wanted)
        found = _KEY.fullmatch(wanted)
        reading = read_number(self.text(found[1])) if found else None
        if found is None or reading is None:
            raise ValueError(
                f"a law must be a number, 'chapter::key' or 'chapter::key + 1'. Found {wanted!r}."
            )
        step = int(f"{found[2]}{found[3]}") if found[2] else 0
        return reading.value + step


# ---------------------------------------------------------------- verdicts


def judge_law(reading: Reading, law: float, rival: float, *, factor: bool = False) -> Judgement:
    """Set a number with its interval against a law and a rival.

    Parameters
    ----------
    reading : Reading
    law, rival : float
        Two different values.
    factor : bool
        Whether distances are those of logarithms.

    Returns
    -------
    str
        See the head of this module.

    Raises
    ------
    ValueError
        If law and rival are equal, or a factor is not positive.

    Examples
    --------
    >>> judge_law(read_number("2.80 [2.73, 2.85]"), 3, 5)
    'near'
    """
    values = (reading.low, reading.high, law, rival)
    if factor:
        if min(values) <= 0:
            raise ValueError(f"factors must be positive. Found {min(values)} in {reading.text!r}.")
        values = tuple(math.log(x) for x in values)  # type: ignore[assignment]
    if law == rival:
        raise ValueError(f"law and rival must differ. Found {law} for both.")
    low, high, law, rival = values
    holds = [low <= x <= high for x in (law, rival)]
    nearer = [abs(x - law) < abs(x - rival) for x in (low, high)]
    if holds == [True, False]:
        return "as claimed"
    if holds == [True, True] or (nearer[0] != nearer[1] and not holds[1]):
        return "undecided"
    return "near" if all(nearer) else "refuted"


def judge(number: Number, numbers: Numbers) -> Judgement:
    """Judge one number of a claim; one that could not be identified is undecided."""
    reading = read_number(numbers.text(number.key))
    if reading is None:
        return "undecided"
    if number.at_least is not None:
        return "as claimed" if reading.low >= number.at_least else "refuted"
    if number.at_most is not None:
        return "as claimed" if reading.high <= number.at_most else "refuted"
    assert number.law is not None
    assert number.rival is not None
    return judge_law(reading, numbers.value(number.law), numbers.value(number.rival), factor=number.factor)


def verdict(judgements: Sequence[Judgement]) -> Verdict:
    """Return the verdict on a claim from those on its numbers.

    Examples
    --------
    >>> verdict(["as claimed", "near"]), verdict(["undecided"]), verdict([])
    ('partly', 'open', 'open')
    """
    kinds = set(judgements)
    if kinds <= {"undecided"}:
        return "open"
    if kinds == {"as claimed"}:
        return "reproduced"
    return "not" if kinds == {"refuted"} else "partly"


# ---------------------------------------------------------------- at which scale


def describe_scale(scale: Scale, root: str | Path, folder: str | Path) -> str:
    """Say in Markdown at which sizes a claim was tested.

    Parameters
    ----------
    scale : Scale
    root : path
        Folder that holds ``results/``.
    folder : path
        Holds the executed notebooks.

    Returns
    -------
    str
        Such as ``"$v=16$, $s=2$, $m=2$ to $8$, $L=4$; 20 grammars"``, and the scale's own text.

    Raises
    ------
    ValueError
        If the table has no such column or rows.
    """
    parts = []
    if scale.table:
        table = results.read(scale.table, scale=scale.runs, stale="keep", root=root)
        parts.append(_shape(_chosen(table, scale.where, scale.table)))
    if scale.chapter:
        notebook = json.loads((Path(folder) / f"{scale.chapter}.ipynb").read_text(encoding="utf-8"))
        parts.append(_sizes(notebook["metadata"]["rhm"]["parameters"]))
    return "; ".join(parts + [scale.text] * bool(scale.text))


def _sizes(values: Mapping[str, Any]) -> str:
    named = {
        name: values.get(f"{name}s", [values[name]] if name in values else [])
        for name in ("v", "s", "m", "L")
    }
    sizes = ", ".join(_range(name, found) for name, found in named.items() if found)
    return sizes + (f"; {values['n_grammars']} grammars" if "n_grammars" in values else "")


def _chosen(table: pd.DataFrame, where: Mapping[str, Any], name: str) -> pd.DataFrame:
    rows = table
    for column, value in where.items():
        if column not in table:
            raise ValueError(f"{column!r} must be a column of the table {name!r}. Found none.")
        rows = rows[rows[column].isin(value if isinstance(value, list) else [value])]
    if rows.empty:
        raise ValueError(f"table {name!r} must hold rows with {dict(where)}. Found none.")
    return rows


def _shape(rows: pd.DataFrame) -> str:
    sizes = [_range(name, rows[name].unique()) for name in ("v", "s", "m", "L")]
    # A replica of a run has the grammar of its own seed.
    seeds = rows["grammar_seed"] + rows.get("replica", 0)
    return f"{', '.join(sizes)}; {seeds.nunique()} grammars"


def _range(name: str, values: Any) -> str:
    low, high = int(min(values)), int(max(values))
    if len(values) == 2:
        return f"${name}={low}$ and ${high}$"
    return f"${name}={low}$" if low == high else f"${name}={low}$ to ${high}$"
