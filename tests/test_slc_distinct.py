"""SLC without the pull that equal predictions have on each other."""

import torch

from rhmlib.experiment_slc_counts import SLCCountsExperiment
from rhmlib.experiment_slc_distinct import SLCDistinctExperiment, distinct_clustering_loss
from rhmlib.slc import ClusterWeights, clustering_loss, similarity

WEIGHTS = ClusterWeights(margin=0.5, similarity=1.5, separation=2.0, norm=0.3)
SMALL = {
    "v": 6, "m": 3, "L": 3, "n": 64, "n_replicas": 2, "steps": 100, "n_evaluations": 3, "n_val": 50,
    "n_test": 50, "w_sep": 4.0, "w_sep_end": 1.0, "device": "cpu", "grammar_seed": 0, "data_seed": 0,
    "model_seed": 0,
}  # fmt: skip


def random(*shape):
    values = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape)))
    return values / values.sum(-1, keepdim=True)


def test_pairs_of_equal_predictions_are_left_out_of_the_similarity_loss():
    predictions = random(2, 4, 3)[:, [0, 1, 1, 2, 3, 0]]
    S, q = similarity(predictions), random(2, 6, 5).requires_grad_()
    equal = (predictions[:, :, None] == predictions[:, None]).all(3)
    pull = torch.where(equal, 0.0, (S - 0.5).clamp(min=0))
    overlap = torch.bmm(q, q.transpose(1, 2))
    expected = (1.5 * pull * (1 - overlap) + 2.0 * (1 - S) * overlap).mean((1, 2)) - 0.3 * q.square().sum(
        2
    ).mean(1)
    assert torch.allclose(distinct_clustering_loss(S, q, WEIGHTS), expected, atol=1e-12)


def test_without_equal_predictions_nothing_changes_but_the_pull_of_a_patch_on_itself():
    S, q = similarity(random(2, 6, 8)), random(2, 6, 5)
    itself = 1.5 * 0.5 * (1 - q.square().sum(2)).mean(1) / 6
    difference = clustering_loss(S, q, WEIGHTS) - distinct_clustering_loss(S, q, WEIGHTS)
    assert torch.allclose(difference, itself, atol=1e-9)


def test_two_synonyms_with_codes_of_their_own_meet_once_they_are_similar_enough():
    def slope(alike):  # of the loss, as one of two equally frequent synonyms moves to the other's code
        kinds = torch.tensor([0] * 5 + [1] * 5)
        S = (alike + (1 - alike) * (kinds[:, None] == kinds).to(torch.float64))[None]
        moved = torch.zeros((), dtype=torch.float64, requires_grad=True)
        q = torch.cat(
            [torch.stack([1 - moved, moved]).expand(5, 2), torch.tensor([[0.0, 1.0]]).expand(5, 2)]
        )[None]
        weights = ClusterWeights(margin=0.5, similarity=1.0, separation=0.5)
        [gradient] = torch.autograd.grad(distinct_clustering_loss(S, q, weights)[0], moved)
        return float(gradient)

    bar = (0.5 + 0.5) / (1 + 0.5)
    assert slope(bar - 0.01) > 0 > slope(bar + 0.01)


def test_runs_differ_from_those_with_the_pull_and_are_repeatable():
    def last(experiment):
        return [row for row in experiment.run() if row["checkpoint"] == "last"]

    found = last(SLCDistinctExperiment(**SMALL))
    assert found == last(SLCDistinctExperiment(**SMALL))
    assert [row["prediction_loss"] for row in found] != [
        row["prediction_loss"] for row in last(SLCCountsExperiment(**SMALL))
    ]
