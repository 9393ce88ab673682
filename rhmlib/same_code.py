"""Which codes were shown to give the same rows: the record ``results/same_code.csv``."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from pathlib import Path

from rhmlib import grids, records

# So many runs of a learner must have been equal before rows of one code count as another's.
ENOUGH = 5


def record_path(root: str | Path | None = None) -> Path:
    """``results/same_code.csv``, where :func:`rhmlib.confirm.confirm` writes."""
    return grids.find_root(root) / "results" / "same_code.csv"


def read_record(root: str | Path | None = None) -> list[dict[str, str]]:
    """Read the record, a dict a learner and comparison, in the order of time; [] where there is none."""
    return records.read(record_path(root))


def linked(learner: str, present: str, root: str | Path | None = None) -> frozenset[str]:
    """Return all codes whose rows count as rows of the present code, itself among them.

    Parameters
    ----------
    learner : str
    present : str
        Hash, as of :func:`rhmlib.experiments.code_hash`.
    root : path, optional
        See :func:`rhmlib.grids.find_root`.

    Returns
    -------
    frozenset of str
        The hashes that the record links to `present`: by steps from one code to another, both of which did
        the same runs of the learner on one machine, at least `ENOUGH` in one comparison, and gave the same
        rows to the last bit, or were of the very same sources. Where two codes differed in a run, neither
        they nor what is linked to both of them is linked.
    """
    path = record_path(root)
    try:
        stamp = path.stat().st_mtime_ns
    except FileNotFoundError:
        return frozenset({present})
    return _linked(path, stamp, learner, present)


@lru_cache(maxsize=256)
def _linked(path: Path, stamp: int, learner: str, present: str) -> frozenset[str]:
    neighbours, broken = defaultdict(set), []
    for row in read_record(path.parent.parent):
        a, b = row["older_code"], row["newer_code"]
        if row["learner"] != learner:
            continue
        if row["equal"] != row["runs"]:
            broken.append({a, b})
        elif int(row["runs"]) >= ENOUGH or row.get("same_source") == "true":
            neighbours[a].add(b)
            neighbours[b].add(a)
    found, todo = {present}, [present]
    while todo:
        new = neighbours[todo.pop()] - found
        found |= new
        todo.extend(new)
    return frozenset({present} if any(pair <= found for pair in broken) else found)
