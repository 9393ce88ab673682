"""Signals under masks of two rates, against exact pair laws; and their figure."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from rhmlib import Grammar, exact, figures_masks
from rhmlib.split_masks import SplitMasking
from rhmlib.split_theory import split_strings_needed, step_signals

GRAMMAR = Grammar.random(v=4, m=2, s=2, L=3, seed=0)


def signals(own_rate, rest_rate, own_level=2, n=4000):
    tokens = GRAMMAR.sample(n, np.random.default_rng(0)).tokens
    drawn = SplitMasking(2, 3, own_level, own_rate, rest_rate).draw(n, torch.Generator().manual_seed(0))
    return step_signals(GRAMMAR, tokens, *(part.numpy() for part in drawn))


def pair_signal(leaf, level, index):
    """E |P(x|y) - P(x)|**2 of a leaf and a latent, by the exact law of the pair."""
    joint = exact.pair_law(GRAMMAR, (0, leaf), (level, index))
    latent = joint.sum(0)
    given = joint / np.where(latent > 0, latent, 1)
    return float((((given - joint.sum(1)[:, None]) ** 2).sum(0) * latent).sum())


def test_without_its_own_subtree_a_token_is_told_about_by_the_cousin_alone():
    found = signals(1.0, 0.0)
    assert found[:2] == pytest.approx(0, abs=1e-12)  # nothing of the blocks of 2 and 4 is visible
    wanted = np.mean([pair_signal(leaf, 2, 1 - leaf // 4) for leaf in range(8)])
    assert found[2] == pytest.approx(wanted, rel=0.03)


def test_hiding_more_leaves_less_to_tell():
    least = signals(0.0, 0.0)
    assert signals(0.0, 0.5)[:2] == pytest.approx(least[:2])
    assert signals(0.0, 0.5)[2] < least[2]
    assert (signals(0.7, 0.0) < least).all()
    assert signals(0.0, 1.0)[2] == pytest.approx(0, abs=1e-12)


def test_strings_are_the_most_over_the_levels_below():
    table = split_strings_needed(GRAMMAR, SplitMasking(2, 3, 2, 0.8, 0.0), n=500)
    assert table["level"].tolist() == [1, 2]
    assert table["own"].to_numpy() == pytest.approx(8 / signals(0.8, 0.0)[1:], rel=0.2)
    assert table["strings"].tolist() == np.maximum.accumulate(table["own"]).tolist()


def test_wrong_calls_are_named():
    tokens = GRAMMAR.sample(2, np.random.default_rng(0)).tokens
    one = np.zeros((2, 8), dtype=bool)
    with pytest.raises(ValueError, match="asked must name one hidden token"):
        step_signals(GRAMMAR, tokens, one, one)
    with pytest.raises(ValueError, match=r"one shape.*\(2, 8\), \(2, 8\) and \(2, 7\)"):
        step_signals(GRAMMAR, tokens, one, one[:, :7])


def test_the_figure_has_a_line_a_mask_for_each_level():
    rows = []
    for own, rest in [(0.0, 0.0), (0.3, 0.0), (0.0, 0.3), (0.3, 0.3)]:
        for seed, level in itertools.product(range(3), (2, 3)):
            strings, score = 100 * level * (1 + own + rest), 1 - own - 0.1 * rest * level
            rows.append({"own_rate": own, "rest_rate": rest, "level": level, "seed": seed,
                         "strings": strings, "synonym_score": score})  # fmt: skip
    table = pd.DataFrame(rows)
    figure = figures_masks.split_rates(table, table[table["level"] > 2], 150)
    above, below = figure.axes
    assert above.get_title() == "level 3"
    lines = {line.get_label(): line.get_ydata() for line in above.lines if line.get_linestyle() == "-"}
    assert np.allclose(lines["its own subtree"], [300, 390])
    assert np.allclose(lines["both"], [300, 480])
    scores = [bars.lines[0].get_ydata() for bars in below.containers]
    assert np.allclose(scores, [[1, 0.7], [1, 0.91], [1, 0.61]])
    plt.close(figure)
