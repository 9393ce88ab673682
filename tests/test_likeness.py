"""Likeness of latents: against a similarity of counted contexts, and for latents that nothing parts."""

import numpy as np
import pandas as pd
import pytest
import torch

from rhmlib.exact import contexts, tuple_contexts
from rhmlib.grammar import Grammar
from rhmlib.ilc import IterativeLatentClustering
from rhmlib.likeness import latent_likeness, most_alike
from rhmlib.metrics import hungarian_accuracy
from rhmlib.slc import similarity


def test_it_is_equation_seven_for_predictions_that_are_right():
    grammar = Grammar.random(v=5, m=3, s=2, L=3, seed=1)
    vectors = np.nan_to_num(tuple_contexts(grammar, 1, "all"))
    drawn = np.random.default_rng(0).choice(15, 2000, p=contexts(grammar, 1, "all").tuple_law)
    counted = similarity(torch.from_numpy(vectors[drawn])[None])[0].numpy()
    law = latent_likeness(grammar, 2)
    parents = drawn // 3
    different = parents[:, None] != parents
    assert np.abs(counted - law[parents[:, None], parents])[different].max() < 0.05
    assert np.isnan(np.diag(law)).all()


def test_two_latents_with_the_same_contexts_are_not_parted_by_counting():
    grammar = Grammar.random(v=8, m=2, s=2, L=4, seed=1001)
    law = latent_likeness(grammar, 2)
    assert np.nanmax(law) == pytest.approx(1)
    sample = grammar.sample(2**14, np.random.default_rng(0))
    learner = IterativeLatentClustering(v=8, s=2, targets="all", random_state=0).fit(sample.tokens)
    codes = learner.transform(sample.tokens)  # of levels 1, 2, ...
    assert hungarian_accuracy(codes[1], sample.levels[2]) < 0.99
    assert hungarian_accuracy(codes[0], sample.levels[1]) == pytest.approx(1)


def test_a_row_gets_the_most_alike_pair_of_its_own_grammar():
    table = pd.DataFrame(
        {"v": 8, "m": 2, "s": 2, "L": 4, "grammar_seed": [1001, 1003, 1001]}, index=[5, 7, 9]
    )
    found = most_alike(table)
    assert found.index.tolist() == [5, 7, 9]
    assert found[5] == found[9] == pytest.approx(1)
    assert found[7] < 0.95


@pytest.mark.parametrize("level", [0, 4])
def test_levels_that_have_no_context_are_refused(level):
    with pytest.raises(ValueError, match="level"):
        latent_likeness(Grammar.random(v=4, m=2, s=2, L=4, seed=0), level)
