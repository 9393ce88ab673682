"""Means of traces given a cousin tuple: exact against counted, and by limits."""

import numpy as np
import pytest

from rhmlib import exact
from rhmlib.grammar import Grammar
from rhmlib.lifting import context_vectors, counted_means, least_gain, lifted_map

GRAMMAR = Grammar.random(v=5, m=2, s=2, L=3, seed=3)


def maps(level, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(d, 5)) for _ in range(level + 1)]


@pytest.mark.parametrize(
    ("level", "leaf", "patch"), [(0, 1, (0, 1)), (1, 2, (1, 1)), (1, 5, (1, 0)), (2, 7, (0, 0))]
)
def test_the_mean_target_given_a_cousin_tuple_is_the_lifted_map_of_its_context_vector(level, leaf, patch):
    b = maps(level)
    predicted = context_vectors(GRAMMAR, patch, level, leaf) @ lifted_map(GRAMMAR, level, leaf, b).T
    counted = counted_means(GRAMMAR, patch, leaf, b, 200_000, np.random.default_rng(0))
    assert np.array_equal(np.isnan(predicted), np.isnan(counted))
    assert np.nanmax(np.abs(predicted - counted)) < 0.1
    assert np.nanstd(predicted) > 3 * np.nanstd(predicted - counted)


def test_synonyms_have_one_context_vector():
    found = context_vectors(GRAMMAR, (1, 0), 1, 4).reshape(5, 2, 5)
    np.testing.assert_allclose(found[:, 0], found[:, 1], atol=1e-12)
    theirs = exact.contexts(GRAMMAR, 1, "one").parent_contexts
    np.testing.assert_allclose(found[:, 0], theirs, atol=1e-12)


def test_a_token_alone_is_the_latent_through_the_channel():
    b = np.random.default_rng(0).normal(size=(4, 5))
    found = lifted_map(GRAMMAR, 2, 6, [b, 0 * b, 0 * b])
    channel = exact.path_law(GRAMMAR, 2, [1, 0])
    np.testing.assert_allclose(found, b @ channel.T)
    np.testing.assert_allclose(lifted_map(GRAMMAR, 2, 6, [0 * b, 0 * b, b]), b)


def test_least_gain_of_maps_that_lose_nothing_and_something():
    assert least_gain(2 * np.eye(5)) == pytest.approx(2)
    assert least_gain(np.ones((3, 5))) == pytest.approx(0, abs=1e-12)
    b = np.random.default_rng(1).normal(size=(20, 5))
    w = np.random.default_rng(2).normal(size=(5, 1000))
    w -= w.mean(0)
    w /= np.linalg.norm(w, axis=0)
    assert least_gain(b) <= np.linalg.norm(b @ w, axis=0).min() * 1.0001
    assert least_gain(b) > 0.8 * np.linalg.norm(b @ w, axis=0).min()


def test_a_wrong_number_of_maps_is_named():
    with pytest.raises(ValueError, match=r"maps must hold level \+ 1 = 3 arrays. Found 2"):
        lifted_map(GRAMMAR, 2, 0, maps(1))
