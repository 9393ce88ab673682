"""What ILC sees at each level: the same grammar, plane and centres at every n."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from rhmlib import Grammar, IterativeLatentClustering, exact, figures_ilc_steps, ilc_steps
from rhmlib.metrics import hungarian_accuracy

SIZES = [40, 400, 6000]


@pytest.fixture(scope="module")
def grammar():
    return Grammar.random(v=6, m=3, s=2, L=3, seed=2)


@pytest.fixture(scope="module", params=["all", "one"])
def found(grammar, request):
    return ilc_steps.steps(grammar, SIZES, np.random.default_rng(0), targets=request.param, n_test=300)


def test_shapes(grammar, found):
    assert list(found) == SIZES
    for n, levels in found.items():
        assert [(step.n, step.level) for step in levels] == [(n, 0), (n, 1)]
        for step in levels:
            tuples = len(step.parents)
            assert step.points.shape == (tuples, 2)
            assert step.centres.shape == (grammar.v, 2)
            assert step.right.shape == step.counts.shape == (tuples,)
            assert set(step.parents) <= set(range(grammar.v))


def test_centres_are_the_same_for_every_n(found):
    first, *others = found.values()
    for levels in others:
        for a, b in zip(first, levels, strict=True):
            np.testing.assert_array_equal(a.centres, b.centres)


def test_with_many_strings_contexts_lie_at_the_centres_of_their_parents(grammar):
    levels = ilc_steps.steps(grammar, [100_000], np.random.default_rng(0), targets="all")[100_000]
    for step in levels:
        assert step.right.all()
        assert step.accuracy == 1
        assert len(step.parents) == grammar.v * grammar.m
        assert np.abs(step.points - step.centres[step.parents]).max() < 0.05
        assert step.distance < 0.05
    # Level 0 needs no renaming: the parents are the grammar's.
    tuples = IterativeLatentClustering(v=6, targets="all", random_state=0).fit(
        grammar.sample(100_000, np.random.default_rng(0)).tokens
    ).tuples_[0]  # fmt: skip
    np.testing.assert_array_equal(levels[0].parents, grammar.parent(tuples, 0))


def test_accuracy_and_distance_are_those_of_the_estimator(grammar):
    rng = np.random.default_rng(3)
    (step, _) = ilc_steps.steps(grammar, [200], rng, targets="all", n_test=100)[200]
    rng = np.random.default_rng(3)
    train, fresh = grammar.sample(200, rng), grammar.sample(100, rng)
    ilc = IterativeLatentClustering(v=6, targets="all", random_state=0).fit(train.tokens)
    assert step.accuracy == hungarian_accuracy(ilc.transform(fresh.tokens)[0], fresh.levels[1])
    mu = exact.contexts(grammar, 0, "all").parent_contexts[step.parents]
    assert step.distance == pytest.approx(np.nanmean(np.linalg.norm(ilc.contexts_[0] - mu, axis=1)))


def test_renaming_and_true_parents():
    latents = np.array([0, 1, 2, 2, 1])
    np.testing.assert_array_equal(ilc_steps.renaming(np.array([3, 0, 1, 1, 0]), latents, 4), [1, 2, 3, 0])
    codes = np.array([[0, 1, 1, 0], [0, 1, 0, 1], [1, 0, 0, 1]])
    above = np.array([[2, 0], [2, 1], [0, 2]])
    np.testing.assert_array_equal(
        ilc_steps.true_parents(np.array([[0, 1], [1, 0]]), codes, above, v=2, s=2), [2, 0]
    )
    with pytest.raises(ValueError, match=r"sizes must be at least one number >= 1. Found sizes=\[\]"):
        ilc_steps.steps(Grammar.random(v=4, m=2, s=2, L=2, seed=0), [], np.random.default_rng(0))


def test_a_panel_draws_every_tuple_once(found):
    for levels in found.values():
        for step in levels:
            figure = figures_ilc_steps.panel(step)
            centres, right, wrong = (len(part.get_offsets()) for part in figure.axes[0].collections[1:])
            assert (centres, right, wrong) == (len(step.centres), step.right.sum(), (~step.right).sum())
            assert f"level {step.level + 1}: {step.accuracy:.0%} right" in figure.texts[0].get_text()
            words = figures_ilc_steps.words(step)
            assert (f"{wrong} of them in a wrong cluster" if wrong else "all in the cluster") in words
            plt.close(figure)
