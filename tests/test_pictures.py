"""Small pictures are the same pictures."""

import io
import struct
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import matplotlib.pyplot as plt
import numpy as np
import pytest

from rhmlib import figures, pictures


def picture(width=2.0):
    with figures.style():
        figure, ax = plt.subplots(figsize=(width, 1.5), layout="none")
        ax.plot([0, 1, 0.5], color="#D55E00", label="line")
        ax.fill_between([0, 1, 2], 0, 1, color="#0072B2", alpha=0.3)
        ax.legend()
    plt.close(figure)
    return figure


def compared(colors):
    """A picture in full colour and with few: both as arrays, and both files."""
    figure = picture()
    full = io.BytesIO()
    with plt.rc_context({"savefig.bbox": "standard"}):
        figure.savefig(full, format="png", dpi=100)
    small = pictures.small_png(figure, dpi=100, colors=colors)
    full.seek(0)
    there, here = (plt.imread(file, format="png")[..., :3] for file in (full, io.BytesIO(small)))
    return there, here, full.getvalue(), small


@pytest.mark.parametrize(("colors", "bits", "error"), [(16, 4, 5), (64, 8, 2), (256, 8, 1)])
def test_a_small_png_looks_like_the_figure(colors, bits, error):
    # A process of its own: what other tests leave of matplotlib's state has changed the two in other ways.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        there, here, full, small = alone.submit(compared, colors).result()
    assert here.shape == there.shape == (150, 200, 3)
    assert np.abs(here - there).mean() < error / 255
    assert len(small) < len(full)
    assert struct.unpack(">IIBB", small[16:26]) == (200, 150, bits, 3)


def test_an_odd_width_fits_in_four_bits():
    small = pictures.small_png(picture(2.01), dpi=100, colors=8)
    assert plt.imread(io.BytesIO(small), format="png").shape[:2] == (150, 201)


def test_few_colors_keeps_them_where_they_suffice():
    rng = np.random.default_rng(0)
    wanted = rng.integers(0, 256, (5, 3), dtype=np.uint8)
    pixels = wanted[rng.integers(0, 5, (20, 30))]
    palette, index = pictures.few_colors(pixels, 8)
    assert len(palette) == 5
    assert (palette[index] == pixels).all()
    merged, index = pictures.few_colors(pixels, 2)
    assert len(merged) == 2
    assert {tuple(color) for color in merged} <= {tuple(color) for color in wanted}
    with pytest.raises(ValueError, match=r"colors must be in 2..256. Found colors=1"):
        pictures.few_colors(pixels, 1)
