"""Widgets that work in the static pages: pictures made beforehand, and a slider that chooses one.

Widgets that compute in the page are in :mod:`rhmlib.widget_base` and the modules named ``widget_*``.
"""

# The tests of the pages find an interactive widget by data-rhm-widget="NAME" on its root, move the control
# that bears data-rhm-control (a button, a select or a slider), and look whether the innerHTML of
# data-rhm-picture has changed.

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rhmlib import figures_ilc_steps, figures_training
from rhmlib import ilc_steps as ilc
from rhmlib.exact import Targets
from rhmlib.figures_collapse import rescaled_with_spread, spread_at
from rhmlib.fits import Collapse, Curve
from rhmlib.grammar import Grammar
from rhmlib.pictures import small_png


def frames(
    draw: Callable[[Any], Figure | Sequence[Figure]],
    values: Sequence[Any],
    start: Any,
    *,
    label: str,
    name: Callable[[Any], str] = str,
    describe: Callable[[Any], str | Sequence[str]],
    colors: int = 32,
) -> ipywidgets.VBox:
    """Show the pictures of some values, one at a time, chosen by a slider that needs no kernel.

    Parameters
    ----------
    draw : callable (value) -> Figure, or a sequence of them
        Is called for every value now. Several figures lie side by side, and in rows where the page is narrow.
    values : sequence
    start : one of the values
        The picture that a reader sees who moves nothing.
    label : str
        Of the slider.
    name : callable (value) -> str
        What the slider shows.
    describe : callable (value) -> str, or a sequence of them
        The pictures in words, for those who do not see them.
    colors : int
        Of a picture, at most; 16 or fewer make it a good deal smaller.

    Returns
    -------
    ipywidgets.VBox
        Of the class "rhm-widget"; its children are the slider ("rhm-control") and the stack of pictures
        ("rhm-picture").

    Raises
    ------
    ValueError
        If `start` is none of the values, or there are more or fewer words than figures.
    """
    if start not in list(values):
        raise ValueError(f"start must be one of the values {list(values)}. Found start={start!r}.")
    at = list(values).index(start)
    slider = ipywidgets.SelectionSlider(
        options=[(name(value), i) for i, value in enumerate(values)],
        value=at,
        description=label,
        continuous_update=True,
        layout=ipywidgets.Layout(width="90%", max_width="34em"),
        style={"description_width": "initial"},
    )
    pictures = [ipywidgets.HTML(_frame(draw(value), describe(value), colors)) for value in values]
    stack = ipywidgets.Stack(pictures, selected_index=at)
    ipywidgets.jslink((slider, "index"), (stack, "selected_index"))
    box = ipywidgets.VBox([slider, stack])
    for widget, role in ((box, "widget"), (slider, "control"), (stack, "picture")):
        widget.add_class(f"rhm-{role}")
    return box


def _frame(drawn: Figure | Sequence[Figure], words: str | Sequence[str], colors: int) -> str:
    """Pictures and their words as HTML; closes the figures."""
    figures = [drawn] if isinstance(drawn, Figure) else list(drawn)
    texts = [words] if isinstance(words, str) else list(words)
    if len(figures) != len(texts):
        raise ValueError(
            f"describe must return a text for each figure. Found {len(figures)} figures, {len(texts)} texts."
        )
    images = "".join(
        _image(figure, text, colors, share=len(figures)) for figure, text in zip(figures, texts, strict=True)
    )
    return f'<div style="display:flex;flex-wrap:wrap;align-items:flex-start;gap:0.3rem">{images}</div>'


def _image(figure: Figure, text: str, colors: int, *, share: int) -> str:
    """One picture, as wide as it was drawn, or as the page; beside others down to two thirds of that.

    Beside others its share of a column of 720 pixels counts, so that what fits there side by side also does
    in a column that is somewhat narrower.
    """
    code = base64.b64encode(small_png(figure, colors=colors)).decode()
    plt.close(figure)
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    narrow = f"max({100 * width / 720:.1f}% - 0.3rem,{round(0.66 * width)}px)" if share > 1 else "100%"
    style = f"flex:none;width:min({width}px,100%,{narrow});height:auto"
    return (
        f'<img alt="{escape(text, quote=True)}" width="{width}" height="{height}" style="{style}" '
        f'src="data:image/png;base64,{code}">'
    )


def collapse(
    curve_of: Mapping[Any, Curve],
    fit: Collapse,
    *,
    laws: Mapping[str, float],
    ylabel: str = "accuracy (Hungarian)",
    exponents: Sequence[float] | None = None,
) -> ipywidgets.VBox:
    """Move the exponent k, and watch curves against P / (v m^k) fall together or apart.

    Parameters
    ----------
    curve_of : mapping to Curve
        As :func:`rhmlib.fits.curves` returns.
    fit : Collapse
        Of these curves: the best exponent and its interval are marked, and the slider rests at the
        exponent that is nearest to it.
    laws : mapping of text to exponent
        Exponents to mark, such as ``{"$m^3$": 3}``.
    ylabel : str
    exponents : sequence of float, optional
        Ascending; by default quarters from 0, the raw curves, to beyond the largest law.

    Returns
    -------
    ipywidgets.VBox
        See :func:`frames`.

    Raises
    ------
    ValueError
        If there is no exponent to fit, as there are fewer than two values of m.
    """
    if not len(fit.grid):
        raise ValueError(f"fit must be of curves with two values of m or more. Found: {fit.k}.")
    if exponents is None:
        exponents = list(np.arange(0, max(6, *laws.values()) + 0.01, 0.25))
    best = fit.k.value if fit.k.identified else float(fit.grid[fit.spread.argmin()])
    start = min(exponents, key=lambda k: abs(k - best))

    def describe(k: float) -> str:
        return (
            f"Curves of {ylabel} against P / (v m^{k:g}), one a number of rules m, "
            f"m = {', '.join(f'{c.m:g}' for c in curve_of.values())}. "
            f"Their spread is {spread_at(curve_of, k):.3f}; the best exponent is {fit.k}."
        )

    return frames(
        lambda k: rescaled_with_spread(curve_of, fit, k, exponents, laws=laws, ylabel=ylabel),
        exponents,
        start,
        label="exponent k",
        name=lambda k: f"{k:.2f}",
        describe=describe,
    )


def ilc_steps(
    grammar: Grammar,
    multiples: Sequence[float],
    rng: np.random.Generator,
    *,
    targets: Targets = "all",
    random_state: int = 0,
) -> ipywidgets.VBox:
    """Move the number of strings, and watch context vectors gather and be clustered, level after level.

    Parameters
    ----------
    grammar : Grammar
    multiples : sequence of float
        Ascending: numbers of strings in units of v m^3.
    rng : numpy.random.Generator
        Draws the strings.
    targets : {"one", "all"}
        As in :class:`rhmlib.ilc.IterativeLatentClustering`.
    random_state : int
        Seed of k-means.

    Returns
    -------
    ipywidgets.VBox
        See :func:`frames`. It rests at the last number of strings at which a cluster is still wrong.
    """
    unit = grammar.v * grammar.m**3
    sizes = [round(multiple * unit) for multiple in multiples]
    found = ilc.steps(grammar, sizes, rng, targets=targets, random_state=random_state)
    limits = [
        figures_ilc_steps.extent([levels[i] for levels in found.values()]) for i in range(grammar.L - 1)
    ]
    unfinished = [n for n in sizes if not all(step.right.all() for step in found[n])]
    return frames(
        lambda n: [figures_ilc_steps.panel(step, limit=x) for step, x in zip(found[n], limits, strict=True)],
        sizes,
        (unfinished or sizes)[-1],
        label="P / v m³",
        name=lambda n: f"{n / unit:.2g}",
        describe=lambda n: [figures_ilc_steps.words(step) for step in found[n]],
        colors=16,
    )


def training(looks: Sequence[figures_training.Look]) -> ipywidgets.VBox:
    """Move through a training of SLC, and watch codes come to stand for latents, level after level.

    Parameters
    ----------
    looks : sequence of Look
        Of one run, in the order of steps.

    Returns
    -------
    ipywidgets.VBox
        See :func:`frames`. It rests where the levels are furthest apart.
    """
    order = range(len(looks))
    apart = [np.ptp([figures_training.matched(joint) for joint in look.joint]) for look in looks]
    return frames(
        lambda i: figures_training.codes_and_latents(looks, i),
        order,
        int(np.argmax(apart)),
        label="step",
        name=lambda i: f"{looks[i].step:,}",
        describe=lambda i: figures_training.codes_words(looks, i),
        colors=16,
    )


def scores(table: pd.DataFrame) -> ipywidgets.VBox:
    """Move through a training of an encoder, and watch what is read off its levels.

    Parameters
    ----------
    table : DataFrame
        Checkpoints "untrained" and "curve" of runs that differ in their seeds alone.

    Returns
    -------
    ipywidgets.VBox
        See :func:`frames`. It rests at the last evaluation.
    """
    seen = sorted(int(n) for n in table["strings_seen"].unique())
    return frames(
        lambda n: figures_training.scores_at(table, n),
        seen,
        seen[-1],
        label="strings seen",
        name=lambda n: f"{n:,}",
        describe=lambda n: figures_training.scores_words(table, n),
        colors=16,
    )
