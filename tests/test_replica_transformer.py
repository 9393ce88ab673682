"""Replicas of the transformer: each is the single encoder, none knows of the others, and Muon is torch's."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from rhmlib.encoders import Transformer, initialise
from rhmlib.experiment_online import OnlineExperiment, make_learner
from rhmlib.replica_transformer import (
    ReplicaDescent,
    ReplicaLearner,
    ReplicaTransformer,
    StackedMuon,
)

KINDS = ["data2vec", "mlm", "ntp", "supervised"]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def transformers(seeds, causal=False):
    return [Transformer(v=8, s=2, L=3, width=32, model_seed=seed, causal=causal) for seed in seeds]


def learner(seeds, predicts="data2vec", device="cpu", **settings):
    encoder = ReplicaTransformer([t.to(device) for t in transformers(seeds, predicts == "ntp")], **settings)
    heads = []
    for seed in seeds:
        head = nn.utils.skip_init(nn.Linear, 32, 32 if predicts == "data2vec" else 8)
        initialise(head, torch.Generator().manual_seed(seed))
        heads.append(head.to(device))
    return ReplicaLearner(encoder, heads, predicts=predicts, top_k=3)


def data(steps, replicas=3, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(8, (steps, replicas, 16, 8), generator=generator)
    places = torch.rand(steps, replicas, 16, 4, 8, generator=generator).topk(2, -1).indices
    root = torch.randint(8, (steps, replicas, 16), generator=generator)
    return [tuple(part[i].to(device) for part in (tokens, places, root)) for i in range(steps)]


def losses(model, batches, **settings):
    descent = ReplicaDescent(model, warmup_steps=5, **settings)
    found = []
    for batch in batches:
        descent.step(*batch)
        found.append(descent.last_loss.clone())
    return torch.stack(found).cpu()


def test_a_replica_has_the_features_of_the_transformer():
    model = learner([0, 1, 2])
    tokens = torch.randint(8, (3, 20, 8), generator=torch.Generator().manual_seed(1))
    ours = model.encoder.nodes(tokens, chunk=7)
    for r, transformer in enumerate(transformers([0, 1, 2])):
        for level, theirs in zip(ours, transformer.nodes(tokens[r]), strict=True):
            torch.testing.assert_close(level[r], theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("descent", ["muon", "adamw"])
@pytest.mark.parametrize("predicts", KINDS)
def test_a_replica_alone_is_the_one_of_a_group(predicts, descent):
    batches = data(8)
    together = losses(learner([0, 1, 2], predicts), batches, descent=descent)
    alone = losses(
        learner([1], predicts), [tuple(part[1:2] for part in batch) for batch in batches], descent=descent
    )
    # Newton-Schulz is in bfloat16, where a batched product may round otherwise.
    torch.testing.assert_close(together[:, 1], alone[:, 0], rtol=2e-3, atol=1e-4)


def test_stacked_muon_moves_each_matrix_as_torch_does():
    generator = torch.Generator().manual_seed(0)
    stack = nn.Parameter(torch.randn(2, 3, 16, 8, generator=generator))
    plain = [nn.Parameter(stack.detach()[i, j].clone()) for i in range(2) for j in range(3)]
    start = stack.detach().flatten(0, 1).clone()
    ours = StackedMuon([stack], lr=torch.tensor(0.02), weight_decay=0.1)
    theirs = torch.optim.Muon(plain, lr=0.02, weight_decay=0.1)
    for _ in range(3):
        gradient = torch.randn(2, 3, 16, 8, generator=generator)
        stack.grad = gradient
        for parameter, one in zip(plain, gradient.flatten(0, 1), strict=True):
            parameter.grad = one.clone()
        ours.step()
        theirs.step()
    here, there = stack.detach().flatten(0, 1), torch.stack([p.detach() for p in plain])
    # The iteration is in bfloat16, and a batched product rounds otherwise.
    assert ((here - there).norm(dim=(1, 2)) < 0.05 * (there - start).norm(dim=(1, 2))).all()


def test_the_teacher_is_a_moving_average_and_shares_the_tables():
    model = learner([0])
    before = {name: weight.clone() for name, weight in model.teacher.items()}
    losses(model, data(1, replicas=1))
    for name, weight in model.teacher.items():
        expected = 0.99 * before[name] + 0.01 * model.encoder.weights[name].detach()
        torch.testing.assert_close(weight, expected)
    assert not {"token", "position"} & set(model.teacher)


def test_the_teacher_is_not_told_what_is_hidden():
    model, (tokens, places, _) = learner([0]), data(1, replicas=1)[0]
    other = (tokens + 1) % 8
    seen = tokens.scatter(2, places[:, :, 0], other.gather(2, places[:, :, 0]))
    assert not torch.equal(model.targets(tokens), model.targets(seen))


@pytest.mark.parametrize("device", DEVICES)
def test_the_loss_falls(device):
    batches = data(1, device=device) * 60
    found = losses(learner([0, 1, 2], "mlm", device), batches)
    assert (found[-1] < 0.7 * found[0]).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("predicts", KINDS)
def test_the_graph_has_the_losses_of_eager_steps_and_of_the_cpu(predicts):
    graph = losses(learner([0, 1, 2], predicts, "cuda"), data(20, device="cuda"), descent="adamw")
    eager = losses(
        learner([0, 1, 2], predicts, "cuda"), data(20, device="cuda"), descent="adamw", graph=False
    )
    cpu = losses(learner([0, 1, 2], predicts), data(20), descent="adamw")
    torch.testing.assert_close(graph, eager, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(graph, cpu, rtol=5e-3, atol=1e-3)


SMALL = {
    "v": 4, "m": 2, "L": 2, "strings": 640, "n_replicas": 2, "width": 16, "n_masks": 2, "n_evaluations": 2,
    "n_test": 100, "n_probe": 100, "n_root": 200, "device": "cpu",
    "grammar_seed": 0, "data_seed": 0, "model_seed": 0,
}  # fmt: skip


@pytest.mark.parametrize("objective", KINDS)
@pytest.mark.parametrize("n", [None, 20])
def test_an_experiment_reports_every_replica_and_level(objective, n):
    rows = OnlineExperiment(objective=objective, n=n, **SMALL).run()
    assert {(row["replica"], row["level"]) for row in rows} == {(r, k) for r in range(2) for k in (1, 2)}
    assert all(0 <= row["probe_accuracy"] <= 1 and row["effective_rank"] >= 1 for row in rows)
    assert all((row["target_variance"] is not None) == (objective == "data2vec") for row in rows)


def test_a_run_that_diverges_stops_and_says_where():
    with pytest.raises(FloatingPointError, match=r"at step \d+, with muon_lr=1e\+20"):
        OnlineExperiment(objective="data2vec", **SMALL, muon_lr=1e20, lr=1e20, warmup_steps=0, clip=0).run()


def test_features_of_rank_one_are_marked():
    config = OnlineExperiment(objective="data2vec", **SMALL)
    from rhmlib.experiment_online import _Run

    run = _Run(config)
    with torch.no_grad():
        run.learner.encoder.weights["gain"][:, 1] = 0
        run.learner.encoder.weights["gain"][:, 1, 0] = 1
    assert all(row["collapsed"] for row in run.measure(1))


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    from rhmlib import experiment_online

    config = OnlineExperiment(objective="data2vec", **SMALL | {"strings": 6400, "stop_at": 2.0})
    whole = config.run()
    path, calls = tmp_path / "state", []
    monkeypatch.setattr("rhmlib.checkpoints._INTERVAL", 0.0)
    monkeypatch.setattr("rhmlib.checkpoints._SHARE", 1e9)
    measure = experiment_online._Run.measure

    def stops(self, step):
        calls.append(step)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(self, step)

    monkeypatch.setattr(experiment_online._Run, "measure", stops)
    with pytest.raises(KeyboardInterrupt):
        config.run(path)
    monkeypatch.setattr(experiment_online._Run, "measure", measure)
    assert path.exists()
    assert config.run(path) == whole


def test_weights_do_not_depend_on_the_group():
    config = OnlineExperiment(objective="mlm", **SMALL)
    other = OnlineExperiment(objective="mlm", **SMALL | {"n_replicas": 1, "model_seed": 1})
    both, one = (make_learner(c, "cpu").encoder.weights for c in (config, other))
    assert all(torch.equal(both[name][1], one[name][0]) for name in both)


@pytest.mark.parametrize("descent", ["muon", "adamw"])
@pytest.mark.parametrize("predicts", KINDS)
def test_a_step_neither_mixes_devices_nor_waits_for_one(predicts, descent, monkeypatch):
    """On "meta" there are no values: a step that read one back, or made a tensor on the host, would raise."""
    # AdamW has no fused kernel for this device; torch sees to it that the one for CUDA can be captured.
    nothing = SimpleNamespace(step=lambda: None)
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, **settings: nothing)
    model = learner([0, 1, 2], predicts).to("meta")
    model.teacher = {name: weight.to("meta") for name, weight in model.teacher.items()}
    steps = ReplicaDescent(model, descent=descent)
    for batch in data(2, device="meta"):
        steps.step(*batch)
    assert steps.last_loss.is_meta
