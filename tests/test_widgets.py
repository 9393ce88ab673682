"""Widgets need no kernel: their pictures are there, and the link between slider and picture is the page's."""

import base64
import re
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from rhmlib import Grammar, fits, widgets
from rhmlib.fits import Curve


def draw(value):
    figure, ax = plt.subplots(figsize=(1, 1))
    ax.plot([0, value])
    return figure


def alts(box):
    """Texts of the pictures of every frame."""
    return [re.findall(r'alt="([^"]*)"', child.value) for child in box.children[1].children]


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
        assert 'width="96" height="96"' in picture
    with pytest.raises(ValueError, match=r"start must be one of the values \[1, 2, 3\]. Found start=4"):
        widgets.frames(draw, [1, 2, 3], 4, label="value", describe=str)


def test_a_page_and_its_test_find_the_parts_by_their_classes():
    box = widgets.frames(draw, [1, 2], 1, label="value", describe=str)
    slider, stack = box.children
    assert [w._dom_classes for w in (box, slider, stack)] == [
        ("rhm-widget",), ("rhm-control",), ("rhm-picture",)
    ]  # fmt: skip
    assert slider.description == "value"


def test_several_figures_have_a_text_each():
    box = widgets.frames(
        lambda v: [draw(v), draw(-v)], [1, 2], 1, label="v", describe=lambda v: [f"up {v}", f"down {v}"]
    )
    assert alts(box) == [["up 1", "down 1"], ["up 2", "down 2"]]
    with pytest.raises(ValueError, match=r"a text for each figure\. Found 2 figures, 1 texts"):
        widgets.frames(lambda v: [draw(v), draw(v)], [1], 1, label="v", describe=str)
    plt.close("all")


# ---------------------------------------------------------------- collapse


def curves(k=3.0, ms=(2.0, 3.0, 4.0)):
    """Curves of three grammars that fall on one another at exponent k."""
    x = np.geomspace(0.25, 16, 8)
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 8))
    return {(m,): Curve(8 * m**k * x, np.clip(x / (1 + x) + noise, 0, 1), 8.0, m) for m in ms}


def test_collapse_rests_at_the_exponent_nearest_to_the_fitted_one():
    chosen = curves(2.4)
    fit = fits.collapse(chosen, np.random.default_rng(0), n_bootstrap=20)
    assert fit.k.contains(2.4)
    box = widgets.collapse(chosen, fit, laws={"$m^3$": 3}, exponents=[0, 1, 2, 2.5, 3], ylabel="probe")
    slider, stack = box.children
    assert slider.index == stack.selected_index == 3
    assert [option[0] for option in slider.options] == ["0.00", "1.00", "2.00", "2.50", "3.00"]
    assert len(stack.children) == 5
    texts = [text for (text,) in alts(box)]
    assert "P / (v m^2.5)" in texts[3]
    assert all(f"the best exponent is {fit.k}" in text for text in texts)
    spreads = [float(re.search(r"spread is ([\d.]+)", text)[1]) for text in texts]
    assert np.argmin(spreads) == 3


def test_collapse_by_default_reaches_beyond_every_law_and_says_what_it_needs():
    one = curves(ms=(2.0,))
    fit = fits.collapse(one, np.random.default_rng(0), n_bootstrap=5)
    with pytest.raises(ValueError, match="fit must be of curves with two values of m or more"):
        widgets.collapse(one, fit, laws={"$m^3$": 3})


def test_collapse_without_an_interval_rests_at_the_least_spread():
    flat = {key: Curve(c.sizes, 0.1 * c.accuracy, c.v, c.m) for key, c in curves().items()}
    fit = fits.collapse(flat, np.random.default_rng(0), n_bootstrap=5)
    assert not fit.k.identified
    box = widgets.collapse(flat, fit, laws={"$m^3$": 3}, exponents=[2, 3, 4])
    assert box.children[0].index == 1
    assert "not identified" in alts(box)[0][0]


# ---------------------------------------------------------------- levels


def test_ilc_steps_rest_where_the_last_cluster_is_still_wrong():
    grammar = Grammar.random(v=4, m=2, s=2, L=3, seed=1)
    box = widgets.ilc_steps(grammar, [0.5, 1, 2, 32], np.random.default_rng(0))
    slider, stack = box.children
    assert [option[0] for option in slider.options] == ["0.5", "1", "2", "32"]
    texts = alts(box)
    assert [len(frame) for frame in texts] == [2] * 4
    at = slider.index
    assert stack.selected_index == at
    assert any("in a wrong cluster" in text for text in texts[at])
    assert not any("in a wrong cluster" in text for frame in texts[at + 1 :] for text in frame)
    assert all("of the level-2 symbols of fresh strings are right" in frame[1] for frame in texts)
    assert "from 1,024 strings" in texts[3][0]


@dataclass(frozen=True)
class Look:
    step: int
    joint: list


def looks():
    """Level 1 is learnt before level 2; three codes a latent at most."""
    blank = np.zeros((2, 4), dtype=int)
    together, apart = blank.copy(), blank.copy()
    together[:, 1] = 50
    apart[0, 2], apart[1, 0] = 50, 50
    return [Look(0, [together] * 2), Look(10, [apart, together]), Look(100, [apart, apart])]


def test_training_rests_where_levels_are_furthest_apart():
    box = widgets.training(looks())
    assert box.children[0].index == 1
    texts = alts(box)
    assert [len(frame) for frame in texts] == [3] * 3
    assert texts[1][0].startswith("Step 10, level 1: 2 codes in use for 2 latents; matched one to one, 100%")
    assert texts[1][1].startswith("Step 10, level 2: 1 codes in use for 2 latents; matched one to one, 50%")
    assert "level 2: 50% at 0, 50% at 10, 100% at 100" in texts[0][2]


def test_scores_have_a_frame_for_every_evaluation():
    rows = [
        {"L": 2, "level": level, "strings_seen": n, "grammar_seed": seed, "probe_accuracy": 0.5 + n / 400,
         "synonym_score": n / 200 if level < 2 else None}
        for level in (1, 2) for n in (0, 100, 200) for seed in (0, 1)
    ]  # fmt: skip
    box = widgets.scores(pd.DataFrame(rows))
    assert [option[0] for option in box.children[0].options] == ["0", "100", "200"]
    assert box.children[0].index == 2
    (text,) = alts(box)[1]
    assert "Probe accuracy after 100 strings: level 1 0.75 (untrained 0.50), level 2 0.75" in text
    assert "Synonym score after 100 strings: level 1 0.50 (untrained 0.00)." in text
