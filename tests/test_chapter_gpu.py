"""The data2vec chapter on a table of the scale "gpu", made up from published runs: no device is needed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jupytext
import matplotlib.pyplot as plt
import myst_nb
import pandas as pd
import pytest
import yaml

from rhmlib import figures_encoder, fits, grids, results, sweeps, widgets

ROOT = Path(__file__).parents[1]


@pytest.fixture
def made_up() -> pd.DataFrame:
    """Rows of the shapes that the scale has: runs at eight symbols, told to be of sixteen."""
    offline = results.read("encoder").query("objective == 'data2vec' and steps == 2000")
    runs = pd.concat([offline, results.read("encoder_online")]).query("v == 8 and L == 4 and m in [3, 4]")
    rules = sorted({run.config.m for run in grids.read_sweep("encoder").scales["gpu"]})
    parts = [runs[runs["m"] == min(m, 4)].assign(m=m) for m in rules]
    table = pd.concat(parts, ignore_index=True).assign(v=16)
    return table.assign(n=table["n_over_vm3"] * table["v"] * table["m"] ** 3)


def test_the_chapter_data2vec_draws_the_scale_gpu(made_up, monkeypatch):
    assert made_up["n"].isna().any(), "the scale is to have fresh strings, too"
    monkeypatch.setattr(sweeps, "table", lambda name, scale: {"encoder": made_up}[name])
    monkeypatch.setattr(fits, "collapse", partial(fits.collapse, n_bootstrap=2))
    monkeypatch.setattr(figures_encoder, "collapses", partial(figures_encoder.collapses, n_bootstrap=2))
    monkeypatch.setattr(widgets, "collapse", lambda *args, **options: None)  # draws for long
    glued: dict[str, object] = {}
    monkeypatch.setattr(myst_nb, "glue", lambda name, value, display: glued.update({name: value}))
    cells = [cell for cell in jupytext.read(ROOT / "book" / "data2vec.md").cells if cell.cell_type == "code"]
    space: dict[str, object] = {}
    for cell in cells:
        exec(compile(cell.source, "data2vec", "exec"), space)
        if "parameters" in cell.metadata.get("tags", []):
            space.update(yaml.safe_load((ROOT / "params" / "gpu.yaml").read_text())["data2vec"])
        plt.close("all")
    assert space["v"] == 16
    assert set(space["curves"]) == {(m,) for m in made_up["m"].unique()}
    assert {curve.v for curve in space["curves"].values()} == {16.0}
    assert set(space["online_curves"]) == {4}
