"""What can be known of a hidden token's ancestors, against counting all strings."""

import itertools

import numpy as np
import pytest

from rhmlib.grammar import Grammar
from rhmlib.phase_limits import accuracy_and_share, block_masks, known, lifted, limits, random_masks, steps
from rhmlib.sampling import derive

GRAMMAR = Grammar.random(v=3, m=2, s=2, L=2, seed=1)
EVERY = derive(GRAMMAR, np.arange(GRAMMAR.n_strings))


def by_counting(tokens, visible, place, level):
    """Law of the ancestor over all strings that agree in the visible tokens."""
    agree = (EVERY.tokens[:, visible] == tokens[visible]).all(1)
    symbols = EVERY.levels[level][agree, place // 2**level]
    return np.bincount(symbols, minlength=3) / agree.sum()


@pytest.mark.parametrize("height", [0, 1, 2])
def test_what_is_known_is_the_law_over_all_strings_that_agree_in_the_block(height):
    places, masks = [0, 3], [[1, 0, 1, 1], [0, 0, 0, 1], [1, 1, 1, 1]]
    for place, hidden in itertools.product(places, masks):
        mask = np.array(hidden, dtype=bool)
        mask[place] = True
        sample = EVERY[np.arange(0, 24, 5)]
        n = len(sample)
        found = known(GRAMMAR, sample, np.tile(mask, (n, 1)), np.full(n, place), height)
        inside = np.arange(4) // 2**height == place // 2**height
        for level, laws in enumerate(found):
            expected = [by_counting(tokens, ~mask & inside, place, level) for tokens in sample.tokens]
            np.testing.assert_allclose(laws, expected, atol=1e-12)


def test_more_context_never_tells_less_and_shares_are_of_one():
    grammar = Grammar.random(v=6, m=3, s=2, L=3, seed=0)
    table = limits(grammar, 1500, np.random.default_rng(0))
    wide = table.pivot_table(index="level", columns="height", values="share")
    assert (wide.diff(axis=1).iloc[:, 1:] > -0.02).all().all()
    assert wide.to_numpy().min() > -0.05
    assert wide.to_numpy().max() <= 1
    gained = steps(table)
    assert list(gained.columns) == [0, 1, 2]
    np.testing.assert_allclose(gained.sum(axis=1), wide[3] - wide[0])


def test_accuracy_and_share_of_laws_that_know_all_and_nothing():
    marginal = np.full(4, 0.25)
    assert accuracy_and_share(np.eye(4), marginal) == pytest.approx((1, 1))
    assert accuracy_and_share(np.tile(marginal, (5, 1)), marginal) == pytest.approx((0.25, 0))


def test_a_hidden_block_hides_its_own_leaves_and_dims_tokens_more_than_latents():
    rng = np.random.default_rng(0)
    mask, place = block_masks(100, 8, 4, rng)
    assert (mask.sum(1) == 4).all()
    assert mask[np.arange(100), place].all()
    grammar = Grammar.random(v=8, m=4, s=2, L=4, seed=0)
    table = limits(grammar, 1000, rng, mask_block=2).set_index(["level", "height"])["share"]
    assert table[0, 2] == pytest.approx(table[0, 0], abs=1e-9)
    assert table[2, 3] > 5 * table[0, 3]


def test_every_string_has_a_hidden_token_and_one_is_chosen():
    mask, place = random_masks(500, 8, 0.05, np.random.default_rng(0))
    assert mask[np.arange(500), place].all()
    assert 1 < mask.sum(1).mean() < 1.4


def test_lifted_problems_are_those_of_shallower_grammars():
    grammar = Grammar.random(v=6, m=3, s=2, L=3, seed=0)
    table = lifted(grammar, 3000, np.random.default_rng(0))
    assert table.index.tolist() == [0, 1]
    above = lifted(Grammar(grammar.rules[1:]), 3000, np.random.default_rng(1))
    assert table.loc[1, 2] == pytest.approx(above.loc[0, 2], abs=0.03)
    assert np.isnan(table.loc[1, 3])
