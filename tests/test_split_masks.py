"""Masks of two rates: where they hide what, and the experiment that uses them."""

import pytest
import torch

from rhmlib.experiment_split_masks import SplitMasksExperiment
from rhmlib.split_masks import SplitMasking

torch.set_num_threads(1)

SETTINGS = dict(
    v=4, m=2, s=2, L=3, n=20, width=16, own_level=2, own_rate=0.5, rest_rate=0.0, steps=20,
    n_evaluations=1, device="cpu", grammar_seed=0, data_seed=0, model_seed=0,
)  # fmt: skip


def test_each_part_is_hidden_at_its_own_rate():
    hidden, asked = SplitMasking(2, 4, 3, 0.3, 0.8).draw(20_000, torch.Generator().manual_seed(0))
    assert torch.equal(asked.sum(1), torch.ones(20_000, dtype=torch.int64))
    assert (hidden | ~asked).all()
    own = asked.reshape(-1, 2, 8).any(-1, keepdim=True).expand(-1, 2, 8).reshape(-1, 16)
    assert hidden[own & ~asked].float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert hidden[~own].float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert asked.float().mean(0).std().item() < 0.005


def test_at_rate_zero_the_token_alone_is_hidden():
    hidden, asked = SplitMasking(2, 3, 1, 0.0, 0.0).draw(100, torch.Generator().manual_seed(0))
    assert torch.equal(hidden, asked)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"own_level": 3}, r"own_level must be in 1\.\.L-1 = 2\. Found own_level=3"),
        ({"own_rate": 1.5}, "own_rate"),
        ({"rest_rate": -0.1}, "rest_rate"),
        ({"n": 10**9}, "n must be at most the number of strings"),
    ],
)
def test_wrong_settings_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        SplitMasksExperiment(**SETTINGS | changed)


def test_a_wrong_rate_is_named_by_the_masks_too():
    with pytest.raises(ValueError, match=r"rest_rate must be in \[0, 1\]\. Found rest_rate=2"):
        SplitMasking(2, 3, 1, 0.0, 2)


def test_the_experiment_is_deterministic_and_feels_the_rates():
    rows = SplitMasksExperiment(**SETTINGS).run()
    assert rows == SplitMasksExperiment(**SETTINGS).run()
    other = SplitMasksExperiment(**SETTINGS | {"rest_rate": 1.0}).run()
    assert [row["loss"] for row in rows] != [row["loss"] for row in other]
    assert {row["checkpoint"] for row in rows} == {"untrained", "curve", "last", "best"}
