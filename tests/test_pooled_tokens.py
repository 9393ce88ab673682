"""A hidden token as target, its readings pooled."""

from __future__ import annotations

import numpy as np
import pytest

from rhmlib import Grammar, experiments
from rhmlib.belief_propagation import posterior
from rhmlib.experiment_pooled_tokens import PooledTokensExperiment
from rhmlib.pooled_tokens import PooledTokenILC, choices, token_signal
from rhmlib.tax import block_mask, lift
from rhmlib.token_ilc import TokenILC


def _contexts(learner: PooledTokenILC | TokenILC) -> np.ndarray:
    found = learner.contexts_ if isinstance(learner, PooledTokenILC) else learner.contexts_[-1].toarray()
    return found @ found.T


@pytest.mark.parametrize("s", [2, 3])
def test_where_nothing_is_read_below_the_target_it_is_the_lifted_learner(
    s: int,
) -> None:
    sample = Grammar.random(v=5, m=3, s=s, L=2, seed=0).sample(300, np.random.default_rng(0))
    pooled = PooledTokenILC(random_state=0).fit(sample)
    lifted = TokenILC(targets="lifted", random_state=0).fit(sample)
    np.testing.assert_allclose(_contexts(pooled), _contexts(lifted), atol=1e-12)
    assert pooled.score(sample) == pytest.approx(lifted.level_scores(sample)[-1])


@pytest.mark.parametrize("s", [2, 3])
def test_choices_are_exact_posteriors(s: int) -> None:
    grammar = Grammar.random(v=5, m=3, s=s, L=2, seed=1)
    sample = grammar.sample(4000, np.random.default_rng(0))
    found = choices(sample.levels, 5, s, np.ones((4000, 5)))
    mask = np.zeros_like(sample.tokens, dtype=bool)
    mask[:, 0] = True
    expected = posterior(grammar, sample.tokens, mask, levels=[2]).root
    # Rules are counted in some 10,000 tuples.
    np.testing.assert_allclose(found, expected, atol=0.05)
    np.testing.assert_array_equal(found > 0, expected > 1e-9)


@pytest.mark.parametrize("s", [2, 3])
def test_signal_is_that_of_the_exact_lift(s: int) -> None:
    grammar = Grammar.random(v=6, m=3, s=s, L=3, seed=2)
    exact = lift(grammar, 2, block_mask(s, 2, 0, 0), 0, own=0, cousin=1)
    assert exact.exact
    found = token_signal(grammar.sample(60000, np.random.default_rng(0)))
    assert found == pytest.approx(exact.signal, rel=0.03)


def test_nothing_is_counted_where_the_neighbours_give_the_token_away() -> None:
    sample = Grammar.random(v=6, m=1, s=2, L=3, seed=0).sample(200, np.random.default_rng(0))
    assert token_signal(sample) == 0
    assert np.abs(PooledTokenILC(random_state=0).fit(sample).contexts_).max() < 1e-12


def test_pooling_needs_fewer_strings_than_cells() -> None:
    sample = Grammar.random(v=12, m=6, s=2, L=4, seed=0).sample(16 * 12 * 6**3, np.random.default_rng(0))
    pooled = PooledTokenILC(random_state=0).fit(sample).score(sample)
    cells = TokenILC(targets="conditional", random_state=0).fit(sample).level_scores(sample)[-1]
    assert pooled > 0.95
    assert cells < 0.8


def test_a_tree_without_levels_is_refused() -> None:
    sample = Grammar.random(v=4, m=2, s=2, L=1, seed=0).sample(5, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"sample must have L >= 2.* Found L=1"):
        PooledTokenILC().fit(sample)


def test_a_run_says_its_level_its_score_and_the_signal() -> None:
    shape = {"v": 8, "m": 4, "s": 2, "L": 3}
    seeds = dict.fromkeys(experiments.SEEDS, 0)
    run = PooledTokensExperiment(**shape, n=8192, n_test=500, **seeds)
    (row,) = run.run()
    assert row["level"] == 2
    assert row["n_over_vm3"] == 16
    assert row["hungarian_accuracy"] > 0.95
    assert 1 / (row["signal"] * 4**2) == pytest.approx(0.45, abs=0.06)
    assert run.run() == [row]
    assert run.cost() > 0
