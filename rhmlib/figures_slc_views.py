"""Figures of a stacked network that is watched while it trains: predictions, codes, gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from rhmlib.figures import write_values

if TYPE_CHECKING:  # both load torch
    from rhmlib.slc_gramian import GradientView
    from rhmlib.slc_watch import View

# ---------------------------------------------------------------- what a module learns


def _plane(vectors: NDArray[np.float64]) -> PCA:
    return PCA(n_components=2, random_state=0).fit(vectors)


def module_views(views: Sequence[View]) -> Figure:
    """Draw the lowest module's predictions, and what the clusterer makes of them, at some steps.

    Parameters
    ----------
    views : sequence of View
        As :func:`rhmlib.slc_watch.watch` returns.

    Returns
    -------
    Figure
        Above: predictions of all tuples in the plane of the two main components of the last step's. Below:
        soft codes q, a row a tuple, a column a code. Tuples are sorted and coloured by true parent.
    """
    figure, axes = plt.subplots(2, len(views), figsize=(1.5 * len(views), 3.9), height_ratios=(1, 1.15))
    cmap = plt.get_cmap("tab10")
    plane = _plane(views[-1].predictions)
    hard = np.eye(views[-1].codes.shape[1])[views[-1].codes.argmax(1)]
    used = _code_order(hard, views[-1].parents)
    for (above, below), view in zip(axes.T, views, strict=True):
        points = plane.transform(view.predictions)
        colors = [cmap(int(parent) % 10) for parent in view.parents]
        above.scatter(points[:, 0], points[:, 1], c=colors, s=22, edgecolor="white", linewidth=0.4)
        above.set(title=f"step {view.step:,}", xticks=[], yticks=[])
        below.imshow(
            view.codes[:, used], aspect="auto", cmap="magma_r", vmin=0, vmax=1, interpolation="nearest"
        )
        for cut in np.flatnonzero(np.diff(view.parents)) + 0.5:
            below.axhline(cut, color="0.8", linewidth=0.6)
        below.set(xticks=[], yticks=[], xlabel="code")
        below.grid(visible=False)
    limits = np.array([ax.axis() for ax in axes[0]])
    for ax in axes[0]:
        ax.axis((limits[:, 0].min(), limits[:, 1].max(), limits[:, 2].min(), limits[:, 3].max()))
    axes[0, 0].set_ylabel("predictions")
    axes[1, 0].set_ylabel("tuples, by parent")
    return figure


def _code_order(weight: NDArray[Any], rows: NDArray[Any]) -> NDArray[np.intp]:
    """Order of columns that puts each under the rows where it is largest."""
    mass = np.array([weight[rows == name].sum(0) for name in np.unique(rows)])
    return np.lexsort((-mass.max(0), np.where(mass.max(0) > 0, mass.argmax(0), len(mass))))


def code_tables(views: Sequence[View]) -> Figure:
    """Draw, for every level and step, in which share of its places a latent (row) has a code (column)."""
    levels = len(views[-1].joint)
    figure, axes = plt.subplots(
        levels,
        len(views),
        figsize=(1.5 * len(views), 1.5 * levels),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for i, row in enumerate(axes):
        last = views[-1].joint[i]
        used = _code_order(last, np.arange(len(last)))
        for ax, view in zip(row, views, strict=True):
            share = view.joint[i] / np.maximum(1, view.joint[i].sum(1, keepdims=True))
            ax.imshow(share[:, used], aspect="auto", cmap="magma_r", vmin=0, vmax=1, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.grid(visible=False)
        row[0].set_ylabel(f"latents, level {i + 1}")
    for ax, view in zip(axes[0], views, strict=True):
        ax.set_title(f"step {view.step:,}")
    for ax in axes[-1]:
        ax.set_xlabel("code")
    return figure


# ---------------------------------------------------------------- gradients


def loss_names(count: int) -> list[str]:
    """Names of the 2(L-1) losses, in the order of the Jacobian's rows."""
    half = count // 2
    return [f"pred {k}" for k in range(half)] + [f"clust {k}" for k in range(half)]


def gramians(views_of: Mapping[str, Sequence[GradientView]]) -> Figure:
    """Draw the Gramian of the losses' gradients as cosines: a row a variant, a column a step.

    Parameters
    ----------
    views_of : mapping of the variant's name to a sequence of GradientView
        The same number of views each.

    Returns
    -------
    Figure
        Blue: gradients agree. Red: they conflict. White cells without a number are zero exactly.
        Below each column of a panel stands the power of ten of the squared norm.
    """
    columns = max(map(len, views_of.values()))
    figure, axes = plt.subplots(
        len(views_of), columns, figsize=(0.5 + 2 * columns, 2.05 * len(views_of)), squeeze=False
    )
    for row, (name, views) in zip(axes, views_of.items(), strict=True):
        for ax, view in zip(row, views, strict=True):
            _gramian(ax, view)
            ax.set_title(f"step {view.step:,}", fontsize=10)
        row[0].set_ylabel(name, fontsize=10)
        row[0].set_yticks(range(len(views[0].losses)), loss_names(len(views[0].losses)), fontsize=8)
    for ax in axes[-1]:
        ax.set_xlabel("squared norm", fontsize=9)
    return figure


def _gramian(ax: Axes, view: GradientView) -> None:
    cosines = view.cosines()
    image = ax.imshow(cosines, cmap="RdBu", vmin=-1, vmax=1)
    shown = np.where((cosines == 0) | np.eye(len(cosines), dtype=bool), np.nan, cosines)
    write_values(image, shown, text=lambda x: f"{x:.2f}" if abs(x) >= 0.005 else "≈0", fontsize=8.5)
    norms = np.rint(np.log10(np.maximum(np.diag(view.gramian), 1e-300))).astype(int)
    ax.set_xticks(range(len(norms)), [f"$10^{{{x}}}$" for x in norms], fontsize=8)
    ax.set_yticks([])
    ax.grid(visible=False)


def update_angles(view: GradientView, ax: Axes) -> None:
    """Draw the cosine between each loss's gradient and the update, by the way of weighting the gradients."""
    styles = {
        "mean": ("plain mean", "0.55"),
        "torchjd": ("UPGrad, torchjd's settings", "#E69F00"),
        "unit rows": ("UPGrad, unit rows", "#009E73"),
    }
    names = loss_names(len(view.losses))
    for i, (key, (label, color)) in enumerate(styles.items()):
        cosines = view.update_cosines(key)
        ax.bar(np.arange(len(names)) + 0.26 * (i - 1), cosines, width=0.25, color=color, label=label)
    ax.axhline(0, color="black", linewidth=0.9)
    norms = np.diag(view.gramian)
    ax.set_xticks(range(len(names)), [f"{n}\n{x:.0e}" for n, x in zip(names, norms, strict=True)], fontsize=9)
    ax.set_yscale("symlog", linthresh=0.01)
    ax.set(ylabel="cosine with the update", title=f"step {view.step:,}")
    ax.grid(visible=False, axis="x")
    ax.legend(fontsize=8.5)


def applied_weights(views_of: Mapping[str, Sequence[GradientView]]) -> Figure:
    """Draw the weights that UPGrad gave the losses over training, a panel a variant.

    Parameters
    ----------
    views_of : mapping of the variant's name to a sequence of GradientView
    """
    rows = -(-len(views_of) // 2)
    figure, axes = plt.subplots(
        rows, 2, figsize=(6.6, 0.6 + 2.2 * rows), sharex=True, sharey=True, squeeze=False
    )
    for ax in axes.flat[len(views_of) :]:
        ax.set_visible(False)
    colors = ("#0072B2", "#56B4E9", "#009E73", "#A6DCC9", "#CC79A7", "#E69F00")
    for ax, (name, views) in zip(axes.flat, views_of.items(), strict=False):
        weights = np.array([view.applied for view in views])
        steps = [view.step for view in views]
        for k, (label, color) in enumerate(zip(loss_names(weights.shape[1]), colors, strict=False)):
            ax.plot(steps, weights[:, k], color=color, label=label, linewidth=1.4)
        ax.set(yscale="log", title=name.replace("\n", " "))
    for ax in axes[-1]:
        ax.set_xlabel("step")
    for ax in axes[:, 0]:
        ax.set_ylabel("weight (mean: 1)")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(handles[0]), handlelength=1.4)
    return figure
