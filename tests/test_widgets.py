"""Widgets need no kernel: their pictures are there, and the link between slider and picture is the page's."""

import base64
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from rhmlib import widgets
from rhmlib.fits import Curve


def draw(value):
    figure, ax = plt.subplots(figsize=(1, 1))
    ax.plot([0, value])
    return figure


def test_every_value_has_a_picture_and_words():
    before = plt.get_fignums()
    box = widgets.frames(draw, [1, 2, 3], 2, label="value", describe=lambda v: f'a line to "{v}" & more')
    slider, stack = box.children
    assert plt.get_fignums() == before
    assert (slider.index, stack.selected_index) == (1, 1)
    assert [option[0] for option in slider.options] == ["1", "2", "3"]
    pictures = [child.value for child in stack.children]
    assert len(set(pictures)) == 3
    for value, picture in zip((1, 2, 3), pictures, strict=True):
        assert f'alt="a line to &quot;{value}&quot; &amp; more"' in picture
        code = re.search(r"base64,([^\"]+)", picture)
        assert code
        assert base64.b64decode(code[1]).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"start must be one of the values \[1, 2, 3\]. Found start=4"):
        widgets.frames(draw, [1, 2, 3], 4, label="value", describe=str)


def test_collapse():
    sizes = np.array([10.0, 100.0, 1000.0])
    curves = {(m,): Curve(sizes, np.array([[0.2, 0.5, 1.0], [0.3, 0.6, 1.0]]), 8.0, m) for m in (2.0, 3.0)}
    slider, stack = widgets.collapse(curves, [2, 3], 3, ylabel="probe accuracy").children
    assert slider.index == 1
    assert "v m^2" in stack.children[0].value
