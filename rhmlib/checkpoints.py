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
# A saving may take this part of the time.
_SHARE = 0.05


class Checkpoint:
    """The state of a run that is under way, on disk.

    Parameters
    ----------
    path : path or None
        The file; None for a run that keeps nothing.
    interval : float, optional
        Seconds that must have passed since the last saving; a minute if left out. Twenty times as long as
        the last saving took, where that is more.

    Notes
    -----
    Beside the file lies one with the ending ``.seconds``: how long the run has taken, in all its parts.
    """

    def __init__(self, path: str | Path | None, interval: float | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.interval = _INTERVAL if interval is None else interval
        self._saved, self._took = time.perf_counter(), 0.0
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
            self._start = time.perf_counter()
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
            Whether it was saved. Where it could not be, there is a warning, and the run goes on.
        """
        now = time.perf_counter()
        if self.path is None or now - self._saved < max(self.interval, self._took / _SHARE):
            return False
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        try:
            torch.save(state(), temporary)
            os.replace(temporary, self.path)
            temporary.write_text(f"{now - self._start:.1f}")
            os.replace(temporary, _seconds_path(self.path))
            saved = True
        except (OSError, RuntimeError) as error:  # torch tells of a full disk by the second
            warnings.warn(f"{self.path} could not be saved: {error}", stacklevel=2)
            saved = False
        self._saved = time.perf_counter()
        self._took = self._saved - now
        return saved


def seconds(path: Path) -> float:
    """Seconds that a run had taken when its checkpoint was last saved; 0 where there is none."""
    try:
        return float(_seconds_path(path).read_text())
    except (FileNotFoundError, ValueError):
        return 0.0


def _seconds_path(path: Path) -> Path:
    return path.with_suffix(".seconds")
