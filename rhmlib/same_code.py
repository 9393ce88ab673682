"""Which codes were shown to give the same rows: the record ``results/same_code.csv``."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from rhmlib import grids

# So many runs must have been equal before rows of one code count as another's.
ENOUGH = 5


def record_path(root: str | Path | None = None) -> Path:
    """``results/same_code.csv``, where :func:`rhmlib.confirm.confirm` writes."""
    return grids.find_root(root) / "results" / "same_code.csv"


def read_record(root: str | Path | None = None) -> list[dict[str, str]]:
    """Read the record, a dict a learner and comparison, in the order of time; [] where there is none."""
    path = record_path(root)
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def same_code(code: str, present: str, root: str | Path | None = None) -> bool:
    """Tell whether rows made by some code count as rows of the present code.

    Parameters
    ----------
    code, present : str
        Hashes, as of :func:`rhmlib.experiments.code_hash`.
    root : path, optional
        See :func:`rhmlib.grids.find_root`.

    Returns
    -------
    bool
        True where the hashes are equal, and where the record links them: by steps from one code to another,
        both of which did the same runs on one machine, at least `ENOUGH`, and gave the same rows to the last
        bit. One run that differed, in any comparison of the two, and there is no link.
    """
    if code == present:
        return True
    path = record_path(root)
    try:
        stamp = path.stat().st_mtime_ns
    except FileNotFoundError:
        return False
    return code in _linked(path, stamp, present)


@lru_cache(maxsize=256)
def _linked(path: Path, stamp: int, present: str) -> frozenset[str]:
    """All codes that are linked to one, itself among them."""
    neighbours = defaultdict(set)
    for a, b in _links(read_record(path.parent.parent)):
        neighbours[a].add(b)
        neighbours[b].add(a)
    found, todo = {present}, [present]
    while todo:
        new = neighbours[todo.pop()] - found
        found |= new
        todo.extend(new)
    return frozenset(found)


def _links(record: Iterable[dict[str, str]]) -> list[frozenset[str]]:
    equal: dict[frozenset[str], int] = defaultdict(int)
    broken = set()
    for row in record:
        pair = frozenset((row["older_code"], row["newer_code"]))
        equal[pair] += int(row["equal"])
        if row["equal"] != row["runs"]:
            broken.add(pair)
    return [pair for pair, runs in equal.items() if len(pair) == 2 and runs >= ENOUGH and pair not in broken]
