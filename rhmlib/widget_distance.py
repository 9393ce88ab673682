"""Correlation against tree distance: a tree, a way in it, and the signal that each objective is left with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
import traitlets

from rhmlib.signals import SETTINGS, signal_table
from rhmlib.widget_base import STYLE, PageWidget, bundle


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and 10-90 % range over grammars of exact relative signals.

    Parameters
    ----------
    table : DataFrame
        As :func:`rhmlib.signals.signal_table` returns.

    Returns
    -------
    DataFrame
        Columns m, setting, level, rules, scale, signal, low and high.
    """
    groups = table.groupby(["m", "setting", "level", "rules", "scale"])["signal"]
    found = groups.agg(
        signal="mean", low=lambda values: values.quantile(0.1), high=lambda values: values.quantile(0.9)
    )
    return found.reset_index()


class TreeDistance(PageWidget):
    """Choose objective, level and m; see tuple and target in a tree, and the signal at their distance.

    Parameters
    ----------
    v : int
    ms : iterable of int
        Numbers of rules to choose from.
    s, L : int
    seeds : iterable of int
        Grammar seeds; signals are means over them.
    setting : {"supervised", "tokens", "latents"}
        What is chosen before a reader does anything, as `level` and `m`.
    level : int, optional
        Level of the tuple, 0 .. L-2; by default the highest.
    m : int, optional
        By default the middle one of `ms`.

    Raises
    ------
    ValueError
        If the setting, the level or m is none of those.

    Notes
    -----
    Signals are exact (:func:`rhmlib.signals.relative_signal`), and computed here: the page only shows them.
    """

    _esm = bundle("distance.mjs")
    _css = STYLE
    words = "the signal of supervised, token and latent prediction against tree distance"

    v = traitlets.Int().tag(sync=True)
    s = traitlets.Int().tag(sync=True)
    L = traitlets.Int().tag(sync=True)
    m = traitlets.Int().tag(sync=True)
    setting = traitlets.Unicode().tag(sync=True)
    level = traitlets.Int().tag(sync=True)
    table: Any = traitlets.List().tag(sync=True)

    def __init__(
        self,
        v: int,
        ms: Iterable[int],
        s: int,
        L: int,
        seeds: Iterable[int],
        *,
        setting: str = "tokens",
        level: int | None = None,
        m: int | None = None,
    ) -> None:
        ms = sorted(set(ms))
        m = ms[len(ms) // 2] if m is None else m
        level = L - 2 if level is None else level
        for name, value, allowed in (
            ("setting", setting, SETTINGS),
            ("level", level, range(L - 1)),
            ("m", m, ms),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {list(allowed)}. Found {name}={value!r}.")
        rows = summary(signal_table(v, ms, s, L, seeds)).to_dict("records")
        super().__init__(v=v, s=s, L=L, m=m, setting=setting, level=level, table=rows)
