"""What a hidden block leaves: exact signals against counting, and how they fall."""

import numpy as np
import pandas as pd
import pytest

from rhmlib import Grammar
from rhmlib.block_theory import block_strings_needed, blocks_of_grammars, outside_signal
from rhmlib.tax import block_mask, lift, lift_table, strings_needed

GRAMMAR = Grammar.random(v=6, m=3, s=2, L=4, seed=3)


def test_the_signal_of_the_nearest_symbol_is_counted_in_strings():
    sample = GRAMMAR.sample(400_000, np.random.default_rng(0))
    for level, block in ((1, 1), (1, 2), (2, 2)):
        token, symbol = sample.tokens[:, 0], sample.levels[level][:, 2 ** (block - level)]
        joint = np.zeros((6, 6))
        np.add.at(joint, (token, symbol), 1 / len(sample))
        given = joint / joint.sum(0)
        signal = ((given - joint.sum(1)[:, None]) ** 2).sum(0) @ joint.sum(0)
        assert outside_signal(GRAMMAR, level, block) == pytest.approx(signal, rel=0.1, abs=2e-4)


def test_at_the_level_of_the_block_it_is_the_signal_without_visible_neighbours():
    for level in (1, 2):
        found = lift(GRAMMAR, level, block_mask(2, level, 0, level), 0, own=0, cousin=1)
        assert outside_signal(GRAMMAR, level, level) == pytest.approx(found.signal)


def test_hiding_more_takes_more_strings_and_levels_wait_for_the_ones_below():
    table = lift_table([GRAMMAR], rates=[], n=500, rng=np.random.default_rng(0))
    found = block_strings_needed(GRAMMAR, table)
    wide = found.pivot(index="block", columns="level", values="strings")
    assert list(wide.index) == [0, 1, 2, 3]
    assert (wide.diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
    assert (wide[3].diff().iloc[1:] > 0).all()
    row = found.query("block == 1 and level == 3").iloc[0]
    signal = table.query("mask == 'block' and size == 1 and level == 3")["signal"].iloc[0]
    assert row["own"] == strings_needed(GRAMMAR, signal)
    assert isinstance(found, pd.DataFrame)


def test_each_grammar_has_its_own_signals():
    shape = {"v": 6, "m": 3, "s": 2, "L": 4}
    tables = {
        seed: lift_table([Grammar.random(**shape, seed=seed)], rates=[], n=100, rng=np.random.default_rng(0))
        for seed in (3, 5)
    }
    rows = pd.concat(part.assign(**shape, grammar_seed=seed) for seed, part in tables.items())
    found = blocks_of_grammars(rows)
    alone = block_strings_needed(GRAMMAR, tables[3])
    pd.testing.assert_frame_equal(found[found["grammar_seed"] == 3][alone.columns], alone)
    assert set(found["grammar_seed"]) == {3, 5}


@pytest.mark.parametrize(("level", "block"), [(0, 1), (3, 2), (1, 4)])
def test_levels_and_blocks_are_checked(level, block):
    with pytest.raises(ValueError, match="level"):
        outside_signal(GRAMMAR, level, block)
