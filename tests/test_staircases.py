"""The staircase under random masks: against the one with a single mask, closed forms and losses."""

import numpy as np
import pytest

from rhmlib import Grammar
from rhmlib.belief_propagation import posterior
from rhmlib.entropies import entropy_staircase
from rhmlib.exact import node_law
from rhmlib.staircases import masked_staircase

GRAMMAR = Grammar.random(v=5, m=2, s=2, L=3, seed=1)
TOKENS = GRAMMAR.sample(3000, np.random.default_rng(0)).tokens


def test_with_one_masked_token_it_is_the_known_staircase():
    masks = np.zeros_like(TOKENS, dtype=bool)
    masks[np.arange(len(TOKENS)), np.arange(len(TOKENS)) % 8] = True
    known = entropy_staircase(GRAMMAR, "mlm", 100, np.random.default_rng(0))
    assert known.exact.all()
    found = masked_staircase(GRAMMAR, TOKENS, masks)
    assert np.allclose(found.mean, known.mean, atol=4 * found.stderr.max())


def test_steps_go_down_from_the_marginal_to_the_bayes_loss():
    masks = np.random.default_rng(1).random(TOKENS.shape) < 0.3
    found = masked_staircase(GRAMMAR, TOKENS, masks)
    assert (np.diff(found.mean) < 0).all()
    strings, places = masks.nonzero()
    law = node_law(GRAMMAR, 0)
    marginal = -np.log(law[places, TOKENS[strings, places]]).mean()
    assert found.mean[0] == pytest.approx(marginal, abs=0.03)
    laws = posterior(GRAMMAR, TOKENS, masks, levels=[0]).tokens
    losses = -np.log(laws[strings, places, TOKENS[strings, places]])
    assert found.mean[-1] == pytest.approx(losses.mean(), abs=4 * losses.std() / len(losses) ** 0.5)


def test_with_everything_hidden_no_step_helps():
    masks = np.ones((50, 8), dtype=bool)
    found = masked_staircase(GRAMMAR, TOKENS[:50], masks)
    assert np.allclose(found.mean, found.mean[0])


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.zeros((5, 8), dtype=bool), "masks must be of dtype bool and hide something"),
        (np.ones((5, 8)), "Found dtype float64"),
        (
            np.ones((5, 4), dtype=bool),
            r"must have shape \(n, s\*\*L\) = \(n, 8\). Found \(5, 8\) and \(5, 4\)",
        ),
    ],
)
def test_masks_are_checked(masks, message):
    with pytest.raises(ValueError, match=message):
        masked_staircase(GRAMMAR, TOKENS[:5], masks)
