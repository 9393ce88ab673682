"""Small pictures for pages that hold many: a figure as a PNG of few colours."""

from __future__ import annotations

import struct
import zlib

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def small_png(figure: Figure, *, dpi: float = 120, colors: int = 64) -> bytes:
    """Encode a figure as a PNG with a palette, a third to a quarter of the size of a full-colour one.

    Parameters
    ----------
    figure : Figure
        Keeps its size: frames of one size do not jump when one takes another's place.
    dpi : float
    colors : int
        At most so many, 2 .. 256.

    Returns
    -------
    bytes
        The file.

    Raises
    ------
    ValueError
        If `colors` is out of range.
    """
    with mpl.rc_context({"savefig.bbox": "standard"}):
        figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    palette, index = few_colors(pixels, colors)
    return _encode(palette, index)


def few_colors(pixels: NDArray[np.uint8], colors: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Replace colours by the nearest of the most frequent ones.

    Parameters
    ----------
    pixels : array of uint8, shape (height, width, 3)
    colors : int
        2 .. 256.

    Returns
    -------
    palette : array of uint8, shape (k, 3), k <= colors
        Most frequent first.
    index : array of uint8, shape (height, width)
    """
    if not 2 <= colors <= 256:
        raise ValueError(f"colors must be in 2..256. Found colors={colors}.")
    packed = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
    values, inverse, counts = np.unique(packed, return_inverse=True, return_counts=True)
    rgb = np.stack([values >> 16, values >> 8 & 255, values & 255], axis=1)
    kept = _spread_out(rgb, counts, colors)
    distance = ((rgb[:, None] - rgb[kept][None]) ** 2).sum(-1)
    return rgb[kept].astype(np.uint8), distance.argmin(1).astype(np.uint8)[inverse.reshape(packed.shape)]


def _spread_out(rgb: NDArray[np.int32], counts: NDArray[np.intp], colors: int) -> NDArray[np.intp]:
    """Choose colours one by one, each time the one that the chosen ones serve worst: count times distance."""
    chosen = [int(counts.argmax())]
    nearest = ((rgb - rgb[chosen[0]]) ** 2).sum(1)
    while len(chosen) < min(colors, len(rgb)):
        worst = int((nearest * counts).argmax())
        if nearest[worst] == 0:
            break
        chosen.append(worst)
        nearest = np.minimum(nearest, ((rgb - rgb[worst]) ** 2).sum(1))
    return np.array(chosen)


def _encode(palette: NDArray[np.uint8], index: NDArray[np.uint8]) -> bytes:
    """Write an indexed PNG, four bits a pixel where that is enough."""
    height, width = index.shape
    bits = 4 if len(palette) <= 16 else 8
    rows = index
    if bits == 4:
        even = np.pad(index, ((0, 0), (0, width % 2)))
        rows = (even[:, ::2] << 4 | even[:, 1::2]).astype(np.uint8)
    lines = np.pad(rows, ((0, 0), (1, 0)))  # a leading 0 a row: no filter
    header = struct.pack(">IIBBBBB", width, height, bits, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", palette.tobytes()), (b"IDAT", zlib.compress(lines.tobytes(), 9)))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in (*chunks, (b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
