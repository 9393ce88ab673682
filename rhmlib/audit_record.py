"""The record of audits, ``results/audits.csv``, and which codes it shows to give the same rows."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from rhmlib import grids

# So many runs must be done again, and be equal, before rows of other code count as the present code's.
CONFIRMING_RUNS = 5


def record_path(root: str | Path | None = None) -> Path:
    """``results/audits.csv``, where :func:`rhmlib.audit.record` writes."""
    return grids.find_root(root) / "results" / "audits.csv"


def read_record(root: str | Path | None = None) -> list[dict[str, str]]:
    """Read the record of audits, a dict a table and audit, in the order of time; [] where there is none."""
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
        True where the hashes are equal, and where the record of audits links them: by steps from one code
        to another whose runs were done again, at least `CONFIRMING_RUNS` of them, on the same platform, and
        all were equal to the last bit. One difference, in any audit of the two codes, and there is no link.
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


def _links(record: Iterable[dict[str, str]]) -> list[tuple[str, str]]:
    equal: dict[tuple[str, str], int] = defaultdict(int)
    broken = set()
    for row in record:
        pair = row["code_hash"], row.get("done_by") or row["code_hash"]
        if row["equal"] != row["runs"] or int(row["differences"]):
            broken.add(pair)
        equal[pair] += int(row["equal"]) - int(row["elsewhere"])
    return [
        pair
        for pair, runs in equal.items()
        if pair[0] != pair[1] and runs >= CONFIRMING_RUNS and not {pair, pair[::-1]} & broken
    ]
