"""The plain writings of the training steps compute what the library computes, and are timed beside it."""

import math

import pytest
import torch

from rhmlib.data2vec import Data2Vec
from rhmlib.encoders import Transformer, TreeEncoder
from rhmlib.experiment_slc import SLCExperiment, _Run
from rhmlib.experiment_step_times import Data2VecStepExperiment, SLCStepExperiment
from rhmlib.objectives import Descent, Masking
from rhmlib.plain_data2vec import PlainStep
from rhmlib.plain_slc import PlainLoop


@pytest.mark.parametrize("encoder", [TreeEncoder, Transformer])
def test_the_plain_data2vec_takes_the_same_steps(encoder):
    learner = Data2Vec(encoder(v=4, s=2, L=2, width=16), Masking(2, 2), ema=0.9)
    settings = {"lr": 1e-2, "weight_decay": 0.1}
    plain, descent = PlainStep(learner, **settings), Descent(learner, **settings)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, (80, 4), generator=generator)
    for batch in learner.batches(tokens, tokens[:, 0], 16, generator):
        torch.testing.assert_close(plain.loss(batch), learner(batch), rtol=1e-3, atol=1e-5)
        plain.step(batch)
        descent.step(batch)


@pytest.mark.parametrize("stop", ["none", "modules+clusterer"])
@pytest.mark.parametrize("L", [3, 4])
def test_the_plain_slc_has_the_same_losses(L, stop):
    seeds = {"grammar_seed": 0, "data_seed": 0, "model_seed": 0}
    held = {"prior": 0.0, "n_val": 10, "n_test": 10}
    run = _Run(
        SLCExperiment(
            v=4,
            m=2,
            s=2,
            L=L,
            n=200,
            n_replicas=2,
            width=16,
            stop_gradient=stop,
            device="cpu",
            **held,
            **seeds,
        )
    )
    # In double precision: at the start predictions are so alike that their similarities need it.
    for network in (run.student.double(), run.trainer.teacher.double()):
        network.products = torch.float64
    run.visible = run.visible.double()
    plain = PlainLoop(run)
    plain.student.double(), plain.teacher.double()
    batch = next(run.batches(1))
    ours = run._losses(run.student, run.trainer.teacher, *batch)[0]
    torch.testing.assert_close(ours, torch.stack(plain.losses(*batch)), atol=1e-9, rtol=0)


def test_steps_of_data2vec_are_timed():
    rows = Data2VecStepExperiment(
        architecture="transformer", v=4, L=2, width=16, batch_size=8, steps=2, repeats=2, device="cpu"
    ).run()
    assert {row["writing"] for row in rows if row["part"] == "step"} == {"library", "plain", "products"}
    assert {"teacher", "student, backward", "moving average"} <= {row["part"] for row in rows}
    assert all(row["milliseconds"] >= 0 for row in rows)
    # Four blocks of 12 width^2 weights, head included once a masked token; each product twice, 1 + 3 passes.
    needed = next(row["operations"] for row in rows if row["writing"] == "products")
    blocks = 2 * 4 * 12 * 16**2 * (8 * 4) * 4
    assert blocks < needed < 1.2 * blocks


@pytest.mark.parametrize("aggregation", ["sum", "upgrad"])
def test_steps_of_slc_are_timed(aggregation):
    rows = SLCStepExperiment(
        v=8, m=4, L=3, width=16, n_replicas=2, stop_gradient="none", aggregation=aggregation, device="cpu",
        steps=2, repeats=2,
    ).run()  # fmt: skip
    assert [row["writing"] for row in rows] == ["library", "plain", "products"]
    assert all(row["milliseconds"] > 0 and math.isfinite(row["milliseconds"]) for row in rows)
