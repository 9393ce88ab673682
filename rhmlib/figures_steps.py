"""Figures and tables of what training steps cost."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from rhmlib.figures import LEARNER_COLORS, log_ticks

_LINES = {
    "all gradients": ("none", "sum", "o"),
    "stopped": ("modules+clusterer", "sum", "s"),
    "UPGrad": ("none", "upgrad", "^"),
}


def replicas(table: pd.DataFrame) -> Figure:
    """Draw milliseconds a replica and step of SLC against the number of replicas, a panel a machine.

    Parameters
    ----------
    table : DataFrame
        Of the sweep `slc_step`, at one L and width.

    Returns
    -------
    Figure
        Filled: the library; open: the plain loop over one run, in the mean over its timings.
    """
    machines = list(table.groupby("machine", sort=False))
    figure, axes = plt.subplots(
        1, len(machines), figsize=(4.2 * len(machines), 3.6), sharey=True, squeeze=False
    )
    for ax, (machine, part) in zip(axes[0], machines, strict=True):
        for shade, (name, (stop, aggregation, marker)) in zip((1.0, 0.6, 0.35), _LINES.items(), strict=True):
            rows = part[(part["stop_gradient"] == stop) & (part["aggregation"] == aggregation)]
            ours = rows[rows["writing"] == "library"].sort_values("n_replicas")
            plain = rows.loc[rows["writing"] == "plain", "milliseconds"].mean()
            look = {"color": LEARNER_COLORS["slc"], "alpha": shade, "marker": marker}
            ax.plot(ours["n_replicas"], ours["milliseconds"], label=name, **look)
            ax.plot([1], [plain], markerfacecolor="none", markersize=10, linestyle="", **look)
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        log_ticks(ax.yaxis)
        counts = sorted(part["n_replicas"].unique())
        ax.set_xticks(counts, [f"{count:g}" for count in counts])
        ax.set(title=machine, xlabel="replicas trained together")
    axes[0, 0].set(ylabel="ms a replica and step")
    axes[0, 0].legend()
    return figure


def beside_plain(table: pd.DataFrame) -> pd.DataFrame:
    """List milliseconds of data2vec's step by writing, and how far the library is from matrix products alone.

    Parameters
    ----------
    table : DataFrame
        Of the sweep `data2vec_step`.

    Returns
    -------
    DataFrame
        A row a machine, encoder, width and type of products.
    """
    steps = table[table["part"] == "step"]
    name = steps["architecture"].replace({"tree": "tree encoder"}) + ", " + steps["width"].astype(str)
    steps = steps.assign(encoder=name)
    keys = ["machine", "encoder", "dtype"]
    wide = steps.pivot_table(index=keys, columns="writing", values="milliseconds", sort=False)
    return pd.DataFrame(
        {
            "library": wide["library"].round(1),
            "plain": wide["plain"].round(1),
            "plain / library": (wide["plain"] / wide["library"]).round(2),
            "share": (wide["products"] / wide["library"]).map("{:.0%}".format),
        }
    ).rename_axis(index={"dtype": "type"})


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """List the share that each part has of data2vec's step.

    Parameters
    ----------
    table : DataFrame
        Of the sweep `data2vec_step`.

    Returns
    -------
    DataFrame
        A row a machine, encoder and width, in single precision.
    """
    parts = table[(table["part"] != "step") & (table["dtype"] == "float32")]
    wide = parts.pivot_table(
        index=["machine", "architecture", "width"], columns="part", values="milliseconds", sort=False
    )
    return wide.div(wide.sum(axis=1), axis=0).map("{:.0%}".format).rename_axis(columns=None)
