"""Records as CSV files: read as text, appended to under a lock, replaced in one step."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import filelock


def read(path: Path) -> list[dict[str, str]]:
    """Read a record, a dict a row, in the order in which rows were added; [] where there is none."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def append(path: Path, columns: list[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows to a record, which may have been written with fewer columns, under a lock."""
    with filelock.FileLock(path.with_suffix(".csv.lock")):
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows([*read(path), *rows])
        replace(path, text.getvalue())


def replace(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a file so that at any moment it holds either the old text or the new one."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
