"""What only a CUDA device shows: the numbers of the CPU, and steps that never wait for it."""

import numpy as np
import pytest
import torch

from rhmlib.baselines import MaskedTokens
from rhmlib.data2vec import Data2Vec
from rhmlib.encoders import Transformer, TreeEncoder
from rhmlib.experiment_encoder import EncoderExperiment
from rhmlib.experiment_slc import SLCExperiment, _Run
from rhmlib.objectives import Descent, Masking

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode"),
]
SEEDS = {"grammar_seed": 0, "data_seed": 0, "model_seed": 0}


@pytest.fixture
def waits_are_errors():
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


def losses(encoder, objective, device, steps=30):
    learner = objective(encoder(v=8, s=2, L=3, width=32, device=device), Masking(2, 3))
    descent = Descent(learner, lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(8, (steps * 64, 8), generator=generator)
    found = []
    for batch in list(learner.batches(tokens, tokens[:, 0], 64, generator)):
        descent.step(batch)
        found.append(descent.last_loss)
    return torch.stack(found).cpu()


@pytest.mark.parametrize("encoder", [TreeEncoder, Transformer])
@pytest.mark.parametrize("objective", [Data2Vec, MaskedTokens])
def test_training_has_the_losses_of_the_cpu(encoder, objective):
    ours, theirs = (losses(encoder, objective, device) for device in ("cuda", "cpu"))
    torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("products", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("encoder", [TreeEncoder, Transformer])
def test_a_step_of_an_encoder_never_waits(encoder, products, waits_are_errors):
    learner = Data2Vec(encoder(v=8, s=2, L=3, width=32, device="cuda"), Masking(2, 3))
    descent = Descent(learner, lr=1e-3, products=products)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(8, (256, 8), generator=generator)
    batches = list(learner.batches(tokens, tokens[:, 0], 64, generator))
    descent.step(batches[0])
    waits_are_errors()
    for batch in batches[1:]:
        descent.step(batch)


def slc(device, **settings):
    given = (
        {"v": 8, "m": 3, "s": 2, "L": 3, "n": 500, "n_replicas": 4, "width": 32, "prior": 0.0}
        | SEEDS
        | settings
    )
    return _Run(SLCExperiment(n_val=100, n_test=100, device=device, **given))


@pytest.mark.parametrize("aggregation", ["sum", "upgrad"])
def test_slc_has_the_losses_of_the_cpu(aggregation):
    found = []
    for device in ("cuda", "cpu"):
        run = slc(device, aggregation=aggregation)
        batches = list(run.batches(20))
        values = []
        for batch in batches:
            run.trainer.step(*batch)
            values.append(run._losses(run.student, run.trainer.teacher, *batch)[0].detach())
        found.append(torch.stack(values).cpu())
    torch.testing.assert_close(found[0], found[1], rtol=1e-2, atol=1e-3)


def test_a_step_of_slc_never_waits(waits_are_errors):
    run = slc("cuda", aggregation="sum")
    batches = list(run.batches(8))
    run.trainer.step(*batches[0])
    waits_are_errors()
    for batch in batches[1:]:
        run.trainer.step(*batch)


def test_a_replica_alone_is_the_one_of_a_group():
    together = slc("cuda", aggregation="sum")
    for batch in together.batches(10):
        together.trainer.step(*batch)
    alone = slc("cuda", aggregation="sum", n_replicas=1, grammar_seed=2, data_seed=2, model_seed=2)
    for batch in alone.batches(10):
        alone.trainer.step(*batch)
    for many, one in zip(together.student.parameters(), alone.student.parameters(), strict=True):
        torch.testing.assert_close(many[2], one[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("architecture", ["tree", "transformer"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_encoder_runs_from_end_to_end(architecture, dtype):
    rows = EncoderExperiment(
        objective="data2vec", architecture=architecture, v=4, m=3, L=2, n=50, width=32, steps=50,
        n_evaluations=2, n_val=25, n_test=25, n_probe=50, dtype=dtype, device="cuda", **SEEDS,
    ).run()  # fmt: skip
    assert all(np.isfinite(row["loss"]) for row in rows)


def test_slc_runs_from_end_to_end():
    rows = slc("cuda", steps=100).rows()
    assert {row["level"] for row in rows} >= {1, 2}
