"""Frames of Iterative Latent Clustering: contexts gather round their centres, level after level."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from rhmlib.figures import PARENT_COLORS
from rhmlib.ilc_steps import Step


def panel(step: Step, *, limit: float | None = None) -> Figure:
    """Draw one level at one n.

    Parameters
    ----------
    step : Step
    limit : float, optional
        Half of the width of the picture; as wide as the points and centres need if left out.

    Returns
    -------
    Figure
        Plus signs: exact centres. A point: the context vector of a tuple, of its parent's colour and joined
        to its parent's centre; a disc where the tuple's cluster is right, a cross where it is wrong. Of a
        point beyond the picture only the line is seen.
    """
    figure = plt.figure(figsize=(2.5, 2.75), layout="none")
    ax = figure.add_axes((0.02, 0.02, 0.96, 0.81))
    colors = np.array([PARENT_COLORS[parent % len(PARENT_COLORS)] for parent in step.parents])
    lines = np.stack([step.points, step.centres[step.parents]], axis=1)
    ax.add_collection(LineCollection(list(lines), colors=list(colors), linewidths=0.8, alpha=0.6))
    ax.scatter(
        step.centres[:, 0], step.centres[:, 1], marker="+", s=90, color="0.15", linewidth=1.4, zorder=3
    )
    for right, marker, size in ((True, "o", 26), (False, "X", 46)):
        chosen = step.right == right
        x, y = step.points[chosen].T
        ax.scatter(x, y, marker=marker, s=size, c=colors[chosen], edgecolor="white", linewidth=0.5, zorder=4)
    half = limit or extent([step])
    ax.set(xlim=(-half, half), ylim=(-half, half), xticks=[], yticks=[], aspect="equal")
    ax.spines[["top", "right"]].set_visible(True)
    title = (
        f"level {step.level + 1}: {step.accuracy:.0%} right\n{step.right.sum()} of {len(step.right)} tuples"
    )
    figure.text(0.5, 0.985, title, ha="center", va="top", fontsize=10)
    return figure


def extent(steps: list[Step]) -> float:
    """Half of the width of a picture of these steps: nine points of ten are inside at every step."""
    reach = [float(np.quantile(np.abs(step.points).max(1), 0.9)) for step in steps]
    return 1.12 * max(*reach, float(np.abs(steps[0].centres).max()))


def words(step: Step) -> str:
    """Say what a panel shows."""
    wrong = int((~step.right).sum())
    clusters = "all in the cluster of their parent" if not wrong else f"{wrong} of them in a wrong cluster"
    return (
        f"Level {step.level + 1} from {step.n:,} strings: context vectors of {len(step.right)} tuples, "
        f"{clusters}, "
        f"at a mean distance of {step.distance:.2f} from the exact centre of their parent. "
        f"{step.accuracy:.0%} of the level-{step.level + 1} symbols of fresh strings are right."
    )
