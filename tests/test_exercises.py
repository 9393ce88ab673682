"""What the solutions of the book's exercises say."""

import numpy as np

from rhmlib import exact, theory
from rhmlib.grammar import Grammar
from rhmlib.ilc import IterativeLatentClustering


def test_ilc_a_grammar_that_cannot_be_clustered():
    lower = np.array([[[0, 1]], [[1, 2]], [[2, 3]], [[3, 0]]])
    upper = np.array([[[0, 2]], [[1, 2]], [[2, 3]], [[3, 3]]])
    grammar = Grammar([lower, upper])
    strings = grammar.sample(500, np.random.default_rng(0)).tokens
    one = IterativeLatentClustering(v=4, random_state=0).fit(strings)
    assert len(np.unique(one.labels_[0])) == 2
    everything = IterativeLatentClustering(v=4, targets="all", random_state=0).fit(strings)
    code = dict(
        zip(grammar.parent(everything.tuples_[0], 0).tolist(), everything.labels_[0].tolist(), strict=True)
    )
    assert code[0] == code[1]
    assert len(set(code.values())) == 3


def test_rhm_nothing_can_be_learned_at_f_1():
    grammar = Grammar.random(v=4, m=4, s=2, L=3, seed=0)
    assert grammar.f == 1
    for other in range(1, 8):
        assert np.abs(exact.covariance(exact.pair_law(grammar, (0, 0), (0, other)))).max() < 1e-15
    assert np.abs(exact.covariance(exact.tuple_token_law(grammar, (0, 0), (3, 0)))).max() > 1e-3


def test_correlations_the_farthest_pair_falls_by_about_m_squared_a_level():
    def square(L):
        values = []
        for seed in range(20):
            grammar = Grammar.random(v=16, m=4, s=2, L=L, seed=seed)
            values.append((exact.covariance(exact.pair_law(grammar, (0, 0), (0, 2**L - 1))) ** 2).mean())
        return np.mean(values)

    steps = (square(3) / square(6)) ** (1 / 3)
    assert 16 / 2 < steps < 16 * 2


def test_proof_depth_costs_less_than_a_factor_of_two_from_4_to_30():
    few, many = (theory.recovery_bound(v=16, m=8, s=2, L=L, c_bal=1, c_sep=1).total for L in (4, 30))
    assert many / few < 2
