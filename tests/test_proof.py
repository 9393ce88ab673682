"""Each step of the proof where it must hold, and cases in which the measurement would show a failure."""

import numpy as np
import pytest

from rhmlib import exact, proof, theory
from rhmlib.grammar import Grammar


@pytest.mark.parametrize(("v", "m", "s", "L"), [(4, 2, 2, 3), (5, 3, 2, 4), (3, 2, 3, 2)])
def test_synonyms_have_one_context(v, m, s, L):
    between = []
    for seed in range(5):
        grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=seed)
        for level in range(L - 1):
            assert proof.synonym_gap(grammar, level) < 1e-13
            between.append(proof.parent_gap(grammar, level))
    assert np.mean(between) > 0.01


def test_the_tail_bound_holds_and_is_not_trivial():
    rng = np.random.default_rng(0)
    for mu in (np.full(16, 1 / 16), np.array([0.7, 0.1, 0.1, 0.1])):
        x = proof.scaled_deviations(mu, 50, 20_000, rng)
        for at in (0.5, 1.2, 1.5, 2.0):
            assert (x > at).mean() <= proof.deviation_tail(at) + 1e-3
        assert np.mean(x**2) == pytest.approx(1 - (mu**2).sum(), rel=0.05)
    assert proof.deviation_tail(2.0) == pytest.approx(np.exp(-1))


def test_radius_is_where_the_tail_is_eta():
    radius = proof.concentration_radius(100, 0.01)
    assert proof.deviation_tail(radius * 10) == pytest.approx(0.01)
    with pytest.raises(ValueError, match="eta in"):
        proof.concentration_radius(10, 0)


def test_own_codes_give_the_oracle_contexts():
    grammar = Grammar.random(v=8, m=4, s=2, L=4, seed=3)
    steps = proof.induction(grammar, 20_000, np.random.default_rng(0))
    assert [step.level for step in steps] == [0, 1, 2]
    assert all(step.inherited and step.difference < 1e-12 for step in steps)


def test_a_wrong_level_is_not_inherited():
    grammar = Grammar.random(v=8, m=4, s=2, L=4, seed=3)
    steps = proof.induction(grammar, 150, np.random.default_rng(0))
    assert steps[0].inherited
    assert not steps[1].inherited
    assert np.isnan(steps[1].difference)


def test_clustering_survives_small_displacements_only():
    centres = np.random.default_rng(0).normal(size=(6, 10))
    rng = np.random.default_rng(1)
    assert proof.clustering_success(centres, 4, 0.1, 10, rng) == 1
    assert proof.clustering_success(centres, 4, 3.0, 10, rng) < 0.5
    assert proof.clustering_success(centres, 4, 0.1, 5, rng, toward_nearest=True) == 1
    with pytest.raises(ValueError, match="pairwise different"):
        proof.clustering_success(np.zeros((3, 2)), 2, 0.1, 1, rng)


def test_constants_are_the_worst_over_levels():
    grammar = Grammar.random(v=6, m=3, s=2, L=4, seed=0)
    for targets in ("one", "all"):
        found = theory.assumption_constants(grammar, targets)
        for level in range(3):
            law = exact.contexts(grammar, level, targets)
            mu = law.parent_contexts
            assert (law.tuple_law >= found.c_bal / 18 - 1e-12).all()
            for a in range(6):
                for b in range(a):  # all of them occur in this grammar
                    assert np.linalg.norm(mu[a] - mu[b]) >= found.c_sep * np.sqrt(1 / 2) / 3 - 1e-12


def test_unseparated_grammar_has_no_finite_bound():
    rules = np.array([[[0, 1]], [[1, 2]], [[2, 3]], [[3, 0]]])
    alike = np.array([[[0, 2]], [[1, 2]], [[2, 3]], [[3, 3]]])  # 0 and 1 are both followed by 2
    found = theory.assumption_constants(Grammar([rules, alike]))
    assert found.c_sep == 0
    assert not found.holds
    assert theory.recovery_bound(v=4, m=1, s=2, L=2, c_bal=1, c_sep=0).total == np.inf


def test_bound_satisfies_both_conditions_of_the_proof_and_grows_as_v_m3():
    bound = theory.recovery_bound(v=16, m=4, s=2, L=4, c_bal=0.5, c_sep=0.7, delta=0.1)
    M = 3 * 64
    lam = 0.5 * bound.total / 64
    assert lam >= 8 * np.log(2 * M / 0.1)
    radius = proof.concentration_radius(lam / 2, 0.1 / (2 * M))
    assert radius == pytest.approx(0.7 * np.sqrt(0.75) / 4 / 8)
    small, large = (theory.recovery_bound(v=v, m=v // 2, s=2, L=4, c_bal=1, c_sep=1).total for v in (32, 64))
    assert large / small == pytest.approx(2 * 8, rel=0.25)  # f is fixed; the rest is the logarithm
    with pytest.raises(ValueError, match="delta must be"):
        theory.recovery_bound(v=16, m=4, s=2, L=4, c_bal=1, c_sep=1, delta=1)


def test_constants_table_has_a_row_for_each_grammar_and_mode():
    table = proof.constants_table([(8, 2, 2), (4, 3, 3)], 3, range(3), ["one", "all"])
    assert len(table) == 2 * 3 * 2
    assert table.groupby("targets")["c_sep"].median().loc["all"] > 0


def test_all_targets_separate_what_one_does_not():
    table = proof.constants_table([(16, 2, 2), (16, 4, 2)], 4, range(8), ["one", "all"])
    least = table.groupby(["targets", "m"])["c_sep"].min()
    assert least["one", 2] < 1e-12
    assert least["all"].min() > 0.1
