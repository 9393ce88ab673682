"""What an interrupted run goes on from: a file that is replaced in one step, now and then."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

# Seconds between two savings: what a run that is killed loses at most, but for one chunk of steps.
_INTERVAL = 60.0


class Checkpoint:
    """The state of a run that is under way, on disk.

    Parameters
    ----------
    path : path or None
        The file; None for a run that keeps nothing.
    interval : float, optional
        Seconds that must have passed since the last saving; a minute if left out.

    Notes
    -----
    Beside the file lies one with the ending ``.seconds``: how long the run has taken, in all its parts.
    """

    def __init__(self, path: str | Path | None, interval: float | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.interval = _INTERVAL if interval is None else interval
        self._saved = time.perf_counter()
        self._start = self._saved - (0.0 if self.path is None else seconds(self.path))

    def load(self) -> dict[str, Any] | None:
        """Read what was saved, onto the CPU.

        Returns
        -------
        dict or None
            None where nothing was saved, or, with a warning, where the file is damaged.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            found: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises whatever pickle, zip and its own reader do
            warnings.warn(f"{self.path} is damaged, so its run begins anew: {error}", stacklevel=2)
            return None
        return found

    def save(self, state: Callable[[], dict[str, Any]]) -> bool:
        """Save a state, if it is time to.

        Parameters
        ----------
        state : callable
            Returns tensors, numbers, texts, and lists and dictionaries of them.

        Returns
        -------
        bool
            Whether it was saved.
        """
        now = time.perf_counter()
        if self.path is None or now - self._saved < self.interval:
            return False
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        torch.save(state(), temporary)
        os.replace(temporary, self.path)
        _seconds_path(self.path).write_text(f"{now - self._start:.1f}")
        self._saved = time.perf_counter()
        return True


def seconds(path: Path) -> float:
    """Seconds that a run had taken when its checkpoint was last saved; 0 where there is none."""
    try:
        return float(_seconds_path(path).read_text())
    except (FileNotFoundError, ValueError):
        return 0.0


def remove(path: Path) -> None:
    """Delete a checkpoint, if there is one."""
    for name in (path, _seconds_path(path)):
        name.unlink(missing_ok=True)


def _seconds_path(path: Path) -> Path:
    return path.with_suffix(".seconds")
