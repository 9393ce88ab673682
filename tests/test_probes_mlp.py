"""The paper's probes: what each can read, and wrong calls."""

import numpy as np
import pytest
import torch

from rhmlib.experiment_root_probes import RootProbesExperiment
from rhmlib.probes_mlp import accuracies, fit_probes, linear_probe, mlp_probe

torch.set_num_threads(1)


def exclusive_or(count, generator):
    """Noisy corners of a square, far from the origin: opposite ones have the same label."""
    signs = torch.randint(2, (count, 2), generator=generator)
    return 50 + 3 * signs + 0.1 * torch.randn(count, 2, generator=generator), signs.sum(1) % 2


def fitted(draw):
    probes = {"linear": linear_probe(2, 2), "mlp": mlp_probe(2, 2, hidden=32)}
    generator = torch.Generator().manual_seed(0)
    fit_probes(probes, lambda count: draw(count, generator), steps=300, batch_size=64, lr=1e-2)
    return accuracies(probes, *draw(1000, generator))


def test_a_hidden_layer_reads_what_no_linear_map_can():
    scores = fitted(exclusive_or)
    assert scores["mlp"] > 0.98
    assert scores["linear"] < 0.8


def test_both_read_what_is_linear():
    def halves(count, generator):
        features = 7 + torch.randn(count, 2, generator=generator)
        return features, (features[:, 0] > 7).long()

    assert min(fitted(halves).values()) > 0.95


def test_weights_depend_on_the_seed_alone():
    a, b, c = (mlp_probe(4, 3, model_seed=seed)[1].weight for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_wrong_calls_are_named():
    with pytest.raises(ValueError, match=r"batch_size at least 2\. Found steps=1, batch_size=1"):
        fit_probes({}, lambda count: None, steps=1, batch_size=1)


def test_the_experiment_is_deterministic_and_has_a_row_an_encoder_and_probe():
    settings = RootProbesExperiment(
        v=4, m=2, L=2, n=20, width=16, steps=20, probe_steps=10, batch_size=16, n_test=50, device="cpu",
        grammar_seed=0, data_seed=0, model_seed=0,
    )  # fmt: skip
    rows = settings.run()
    assert rows == settings.run()
    assert [(row["encoder"], row["probe"]) for row in rows] == [
        ("untrained", "linear"), ("untrained", "mlp"), ("trained", "linear"), ("trained", "mlp")
    ]  # fmt: skip
    assert settings.cost() > settings.training().cost()
    assert all(np.isfinite(row["root_accuracy"]) for row in rows)


def test_settings_of_the_training_are_checked():
    with pytest.raises(ValueError, match="n must be at most the number of strings"):
        RootProbesExperiment(v=4, m=2, L=2, n=10**6, grammar_seed=0, data_seed=0, model_seed=0)
