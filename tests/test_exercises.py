"""What the solutions of the book's exercises say."""

import re

import numpy as np
import pytest
import torch

from rhmlib import bench, exact, theory
from rhmlib.belief_propagation import posterior
from rhmlib.grammar import Grammar
from rhmlib.grids import find_root
from rhmlib.ilc import IterativeLatentClustering
from rhmlib.objectives import Masking
from rhmlib.slc import ClusterWeights, clustering_loss
from rhmlib.tax import other_readings
from rhmlib.training import update_teacher


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


def test_slc_network_patches_attract_each_other_above_a_similarity():
    weights = ClusterWeights(margin=0.8, similarity=1.0, separation=4.0, norm=0.0)
    turn = (weights.similarity * weights.margin + weights.separation) / (
        weights.similarity + weights.separation
    )

    def cost(S, codes):
        similarities = torch.tensor([[[1.0, S], [S, 1.0]]], dtype=torch.float64)
        return clustering_loss(similarities, torch.tensor([codes], dtype=torch.float64), weights).item()

    together, apart = [[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]
    assert cost(turn + 0.001, together) < cost(turn + 0.001, apart)
    assert cost(turn - 0.001, together) > cost(turn - 0.001, apart)


@pytest.mark.parametrize(("v", "exponent"), [(8, 3.76), (16, 3.26)])
def test_slc_an_exponent_above_3(v, exponent):
    few, many = (theory.sample_complexity("latent", v=v, m=m, s=2, L=3) for m in (2, 5))
    assert np.log(many / few) / np.log(5 / 2) == pytest.approx(exponent, abs=0.01)


@pytest.mark.parametrize(("decay", "steps"), [(0.99, 99), (0.999, 999)])
def test_data2vec_how_old_the_teacher_is(decay, steps):
    student, teacher = (torch.nn.Linear(1, 1, bias=False, dtype=torch.float64) for _ in range(2))
    torch.nn.init.zeros_(teacher.weight)
    for step in range(1, 10 * steps):
        torch.nn.init.constant_(student.weight, step)
        update_teacher(teacher, student, decay)
    assert student.weight.item() - teacher.weight.item() == pytest.approx(steps, rel=1e-3)


@pytest.mark.parametrize(("hidden", "nothing"), [([2, 3], True), ([2], False)])
def test_why_a_cut_that_leaves_nothing(hidden, nothing):
    grammar = Grammar.random(v=4, m=3, s=2, L=3, seed=0)
    sample = grammar.sample(50, np.random.default_rng(0))
    mask = np.zeros(sample.tokens.shape, dtype=bool)
    mask[:, hidden] = True
    given = posterior(grammar, sample.tokens, mask)
    left = given.levels[0][:, 2] - given.levels[1][:, 1] @ exact.child_law(grammar, 0)[0]
    assert (np.abs(left).max() < 1e-9) == nothing


def test_separation_where_the_two_laws_part():
    shapes = [(L, m) for L in range(2, 8) for m in range(2, 7) if m ** (L - 2) >= 10]
    L, m = min(shapes)
    assert (L, m) == (4, 4)
    assert (8 * m**3, 8 * m ** (L + 1)) == (512, 8192)


def test_hidden_a_sibling_is_nearly_always_in_sight():
    mask = Masking(s=2, L=6).draw(20_000, torch.Generator().manual_seed(0))
    hidden = mask[:, 0]
    assert (~mask[hidden, 1]).double().mean().item() == pytest.approx(0.85, abs=0.02)
    assert (~mask[hidden, 2:4]).any(1).double().mean().item() == pytest.approx(1 - 0.15**2, abs=0.01)


def test_tax_how_many_readings():
    assert other_readings(16, 4, 2, 3) == pytest.approx(0.25)
    assert other_readings(16, 8, 2, 3) == pytest.approx(2)


def test_stacking_the_contrast_of_pairs_that_are_alike_is_two_at_best():
    scores = torch.linspace(-3, 3, 61)
    losses = torch.relu(1 - scores) + torch.relu(1 + scores)
    assert losses.min().item() == pytest.approx(2)
    assert ((losses < 2.001) == (scores.abs() <= 1.001)).all()


def test_bench_refuses_a_learner_that_looks_at_its_neighbours(tmp_path, monkeypatch):
    page = (find_root() / "book" / "bench.md").read_text(encoding="utf-8")
    source = re.search(r"import numpy as np\n\n\nclass PairContexts.*?(?=```)", page, re.DOTALL)
    assert source
    (tmp_path / "of_the_page.py").write_text(
        source[0]
        + """

class Centred(PairContexts):
    def encode(self, tokens):
        [pairs] = super().encode(tokens)
        return [pairs - pairs.mean(0)]
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    bench.rehearse("of_the_page:PairContexts")
    with pytest.raises(ValueError, match="or of the other strings"):
        bench.rehearse("of_the_page:Centred")


@pytest.mark.parametrize(
    "chapter",
    [
        "rhm",
        "correlations",
        "ilc",
        "proof",
        "slc",
        "data2vec",
        "why",
        "tax",
        "separation",
        "hidden",
        "stacking",
        "bench",
    ],
)
def test_every_main_chapter_has_an_exercise_with_a_solution(chapter):
    page = (find_root() / "book" / f"{chapter}.md").read_text(encoding="utf-8")
    exercises = page.count("{admonition} Exercise:")
    assert 1 <= exercises == page.count("{dropdown} Solution")
