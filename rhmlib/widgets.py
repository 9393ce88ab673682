"""Widgets that work in the static pages: pictures made beforehand, and a slider that chooses one.

Widgets that compute in the page are in :mod:`rhmlib.widget_base` and the modules named ``widget_*``.
"""

# The tests of the pages find an interactive widget by data-rhm-widget="NAME" on its root, move the control
# that bears data-rhm-control (a button, a select or a slider), and look whether the innerHTML of
# data-rhm-picture has changed.

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from rhmlib.figures import raw_and_rescaled
from rhmlib.fits import Curve


def frames(
    draw: Callable[[Any], Figure],
    values: Sequence[Any],
    start: Any,
    *,
    label: str,
    name: Callable[[Any], str] = str,
    describe: Callable[[Any], str],
) -> ipywidgets.VBox:
    """Show the pictures of some values, one at a time, chosen by a slider that needs no kernel.

    Parameters
    ----------
    draw : callable (value) -> Figure
        Is called for every value now.
    values : sequence
    start : one of the values
        The picture that a reader sees who moves nothing.
    label : str
        Of the slider.
    name : callable (value) -> str
        What the slider shows.
    describe : callable (value) -> str
        The picture in words, for those who do not see it.

    Raises
    ------
    ValueError
        If `start` is none of the values.
    """
    if start not in list(values):
        raise ValueError(f"start must be one of the values {list(values)}. Found start={start!r}.")
    pictures = []
    for value in values:
        figure = draw(value)
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=90)
        plt.close(figure)
        code = base64.b64encode(data.getvalue()).decode()
        text = escape(describe(value), quote=True)
        pictures.append(
            ipywidgets.HTML(f'<img alt="{text}" style="max-width:100%" src="data:image/png;base64,{code}">')
        )
    at = list(values).index(start)
    slider = ipywidgets.SelectionSlider(
        options=[(name(value), i) for i, value in enumerate(values)],
        value=at,
        description=label,
        continuous_update=True,
        layout=ipywidgets.Layout(width="90%", max_width="34em"),
        style={"description_width": "initial"},
    )
    stack = ipywidgets.Stack(pictures, selected_index=at)
    ipywidgets.jslink((slider, "index"), (stack, "selected_index"))
    return ipywidgets.VBox([slider, stack])


def collapse(
    curve_of: Mapping[Any, Curve], exponents: Sequence[float], start: float, *, ylabel: str
) -> ipywidgets.VBox:
    """Move the exponent k, and watch curves against P / (v m^k) fall together or apart.

    Parameters
    ----------
    curve_of : mapping to Curve
        As :func:`rhmlib.fits.curves` returns.
    exponents : sequence of float
    start : float
        One of them.
    ylabel : str
    """
    return frames(
        lambda k: raw_and_rescaled(curve_of, k, level_line=0.75, ylabel=ylabel),
        exponents,
        start,
        label="exponent k",
        name=lambda k: f"{k:g}",
        describe=lambda k: f"{ylabel} against the number of strings, and against P / (v m^{k:g})",
    )
