"""Pictures of the model itself: derivation trees, the three learning settings, context vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA

from rhmlib.figures import LEARNER_COLORS, PARENT_COLORS, ink_on, level_color
from rhmlib.sampling import Sample

_GREY = "0.75"


def _nodes(s: int, L: int) -> list[NDArray[Any]]:
    """Horizontal positions of the nodes of each level, leaves at 0, 1, 2, ..."""
    x = [np.arange(s**L, dtype=float)]
    for _ in range(L):
        x.append(x[-1].reshape(-1, s).mean(axis=1))
    return x


def _edges(ax: Axes, x: Sequence[NDArray[Any]], s: int, **kwargs: Any) -> None:
    for level in range(len(x) - 1):
        for i, at in enumerate(x[level]):
            ax.plot([at, x[level + 1][i // s]], [level, level + 1], zorder=1, **kwargs)


def derivation_tree(sample: Sample, index: int, ax: Axes, *, changed: Sample | None = None) -> None:
    """Draw the tree of one sampled string: every symbol, from the root down to the tokens.

    Parameters
    ----------
    sample : Sample
    index : int
        Which string.
    ax : Axes
    changed : Sample, optional
        Another sample of the same size (say, after a synonym swap): nodes where it differs from
        `sample` are ringed in red, and its symbols are the ones written.
    """
    grammar = sample.grammar
    x = _nodes(grammar.s, grammar.L)
    _edges(ax, x, grammar.s, color=_GREY, linewidth=1)
    shown = sample if changed is None else changed
    for level in range(grammar.L + 1):
        face = level_color(level, grammar.L)
        for i, at in enumerate(x[level]):
            symbol = shown.levels[level][index, i]
            differs = symbol != sample.levels[level][index, i]
            ax.scatter(
                at, level, s=330, zorder=2, linewidth=2.4 if differs else 0.8,
                color=face, edgecolor="#D40000" if differs else "white",
            )  # fmt: skip
            ax.text(
                at, level, str(symbol), ha="center", va="center", fontsize=10, color=ink_on(face), zorder=3
            )
        name = "root" if level == grammar.L else "tokens" if level == 0 else "latents"
        ax.text(-0.9, level, f"level {level}\n{name}", ha="right", va="center", fontsize=9)
    ax.set(ylim=(-0.4, grammar.L + 0.4), xlim=(-2.6, grammar.n_tokens - 0.4))
    ax.axis("off")


def three_settings(s: int = 2, L: int = 4) -> Figure:
    """Draw Fig. 1: the observable from which each setting learns a tuple of symbols.

    Each panel shows the tuple (filled), the observable (ring) and the path between the two,
    with the rules that the path has to average over, and the samples that the setting needs.
    """
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 3.2))
    titles = ("supervised: the label", "token prediction: a token", "latent prediction: a latent")
    costs = ("$v\\,m^{L}$", "$v\\,m^{L+1}$", "$v\\,m^{3}$")
    keys = ("supervised", "tokens", "latents")
    # (level and index of the tuple's first symbol, nodes of the path, observable)
    high = L - 2
    over = [(high + 1, 0), (L, 0), (high + 1, 1)]
    down = [(level, s ** (L - level - 1)) for level in range(high, 0, -1)]
    settings = (
        (0, [(level, 0) for level in range(1, L + 1)], (L, 0)),
        (high, [*over, *down], (0, s ** (L - 1))),
        (high, over, (high, s)),
    )
    x = _nodes(s, L)
    for ax, title, cost, key, (level, path, target) in zip(axes, titles, costs, keys, settings, strict=True):
        color = LEARNER_COLORS[key]
        _edges(ax, x, s, color=_GREY, linewidth=0.9)
        for lev in range(L + 1):
            ax.scatter(x[lev], np.full(len(x[lev]), lev), s=22, color=_GREY, zorder=2)
        route = [*path, target] if target != path[-1] else path
        ax.plot([x[a][i] for a, i in route], [a for a, _ in route], color=color, linewidth=3, zorder=2)
        for i in range(s):
            ax.plot([x[level][i], x[level + 1][0]], [level, level + 1], color=color, linewidth=3, zorder=2)
        ax.scatter(x[level][:s], [level] * s, s=110, color=color, zorder=4)
        at = x[target[0]][target[1]], target[0]
        ax.scatter(*at, s=170, facecolor="white", edgecolor=color, linewidth=3, zorder=4)
        ax.set_title(f"{title}\n{cost} samples", color=color, fontsize=11)
        ax.set_ylim(-0.5, L + 0.5)
        ax.axis("off")
    axes[0].text(-0.8, 0, "tokens", ha="right", va="center", fontsize=9, color="0.4")
    axes[0].text(-0.8, L, "root", ha="right", va="center", fontsize=9, color="0.4")
    return figure


def context_clouds(
    contexts: Sequence[ArrayLike], parents: Sequence[ArrayLike], titles: Sequence[str], *, seed: int = 0
) -> Figure:
    """Draw Fig. 2: empirical context vectors gathering around one point a parent as n grows.

    Parameters
    ----------
    contexts : sequence of arrays of shape (D_i, k)
        Empirical context vectors, one panel each.
    parents : sequence of arrays of shape (D_i,)
        True parent of each tuple: its colour.
    titles : sequence of str
    seed : int
        Seed of the projection's solver.

    Notes
    -----
    All panels show one plane: the first two principal components of the last panel's vectors. Lines
    join each tuple to the mean of its synonyms.
    """
    plane = PCA(n_components=2, random_state=seed).fit(np.asarray(contexts[-1]))
    figure, axes = plt.subplots(
        1, len(contexts), figsize=(2.5 * len(contexts), 2.7), sharex=True, sharey=True
    )
    for ax, vectors, parent, title in zip(np.atleast_1d(axes), contexts, parents, titles, strict=True):
        points = plane.transform(np.asarray(vectors))
        names = np.asarray(parent)
        for name in np.unique(names):
            mine, count = points[names == name], len(PARENT_COLORS)
            color, marker = PARENT_COLORS[name % count], "os^D"[name // count % 4]
            ax.scatter(*mine.T, marker=marker, color=color, s=26, edgecolor="white", linewidth=0.4)
            for point in mine:
                ax.plot(*zip(point, mine.mean(axis=0), strict=True), color=color, linewidth=1, zorder=0)
        ax.set_title(title)
        ax.set(xticks=[], yticks=[])
    return figure


def context_rows(contexts: ArrayLike, parents: ArrayLike, ax: Axes, *, title: str = "") -> None:
    """Draw context vectors as rows of a picture, sorted by true parent; lines part the parents."""
    vectors, names = np.asarray(contexts), np.asarray(parents)
    order = np.argsort(names, kind="stable")
    ax.imshow(vectors[order], aspect="auto", interpolation="nearest", cmap="magma_r", vmin=0)
    for cut in np.flatnonzero(np.diff(names[order])) + 0.5:
        ax.axhline(cut, color="white", linewidth=1.2)
    ax.set(xlabel="target symbol", ylabel="tuples, sorted by parent", yticks=[], title=title)
    ax.grid(visible=False)
