"""The loop: batches, Jacobian descent, teacher, replicas, devices, and that it learns."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torchjd.aggregation import UPGrad as ReferenceUPGrad
from torchjd.linalg import QuadprogProjector

from rhmlib import Grammar, experiments
from rhmlib.experiment_slc import SLCExperiment, conditional_entropy
from rhmlib.slc import SLC, ClusterWeights, Patches, slc_losses
from rhmlib.training import (
    Batches,
    Jacobian,
    Trainer,
    UPGrad,
    draw_subsets,
    log_spaced,
    seed_for,
    share_passes,
    train,
    update_teacher,
)

torch.set_num_threads(1)


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


# ---------------------------------------------------------------- batches


def test_every_epoch_has_every_string_once():
    batches = Batches([5, 12], 4, generators(0, 1))
    drawn = torch.cat([batches.draw(3), batches.draw(12)])
    assert drawn.shape == (15, 2, 4)
    first = drawn[:, 0].flatten().view(12, 5)
    assert torch.equal(first.sort(1).values, torch.arange(5).expand(12, 5))
    assert not torch.equal(first[0], first[1])
    second = drawn[:, 1].flatten().view(5, 12)
    assert torch.equal(second.sort(1).values, torch.arange(12).expand(5, 12))


def test_batches_depend_on_no_other_replica_and_on_no_chunking():
    together = Batches([5, 12], 4, generators(0, 1))
    alone = Batches([12], 4, generators(1))
    parts = torch.cat([together.draw(2), together.draw(5)])
    assert torch.equal(parts[:, 1:], alone.draw(7))


def test_subsets_are_drawn_without_replacement():
    subset = draw_subsets(50, 20, 6, generators(0, 1))
    assert subset.shape == (50, 2, 6)
    assert all(len(set(row.tolist())) == 6 for row in subset.flatten(0, 1))
    counts = torch.bincount(subset.flatten(), minlength=20)
    assert counts.min() > 10  # 30 expected; 4 standard deviations below is 12 or so
    assert draw_subsets(1, 6, 6, generators(0)) is None


@pytest.mark.parametrize(("batch_size", "sizes"), [(0, [3]), (4, [3, 0])])
def test_bad_batches_are_named(batch_size, sizes):
    with pytest.raises(ValueError, match="batch_size and sizes must be >= 1"):
        Batches(sizes, batch_size, generators(*range(len(sizes))))


@pytest.mark.parametrize(("steps", "count"), [(1, 5), (7, 20), (5000, 24), (100, 1)])
def test_log_spaced_steps_end_at_the_last(steps, count):
    grid = log_spaced(steps, count)
    assert grid == sorted(set(grid))
    assert grid[-1] == steps
    assert grid[0] >= 1
    assert len(grid) <= count


def test_purposes_have_their_own_seeds():
    assert len({seed_for(seed, purpose) for seed in range(20) for purpose in range(5)}) == 100


# ---------------------------------------------------------------- Jacobian descent


def gradients(*norms, seed=0, replicas=3, size=40):
    """R Jacobians with rows of given norms that conflict with each other."""
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randn(replicas, len(norms), size, generator=rng, dtype=torch.float64)
    rows -= 0.9 * rows.mean(1, keepdim=True)
    return rows / rows.norm(dim=2, keepdim=True) * torch.tensor(norms, dtype=torch.float64)[:, None]


def conflicts(jacobian, weights):
    """Cosines between each gradient and the combined one, (R, K)."""
    update = torch.bmm(weights.unsqueeze(1), jacobian)
    dots = torch.bmm(jacobian, update.transpose(1, 2))[..., 0]
    return dots / jacobian.norm(dim=2) / update.norm(dim=2)


@pytest.mark.parametrize(
    "norms", [(1, 1, 1, 1), (1, 1e-2, 1e-4, 3e-5), (1e-6, 1e-7, 1e-3, 1e-6), (5e4, 1, 1, 1e-4)]
)
def test_upgrad_conflicts_with_no_gradient_however_small(norms):
    jacobian = gradients(*norms)
    gramian = jacobian @ jacobian.transpose(1, 2)
    assert (gramian < 0).any()
    mean = torch.full((3, 4), 0.25, dtype=torch.float64)
    assert conflicts(jacobian, mean).min() < -1e-3
    assert conflicts(jacobian, UPGrad()(gramian)).min() > -1e-4


def test_torchjds_defaults_silence_small_gradients():
    jacobian = gradients(1, 1e-2, 1e-4, 3e-5)
    gramian = jacobian @ jacobian.transpose(1, 2)
    default = UPGrad(norm_eps=1e-4, reg_eps=1e-4, unit_rows=False)
    assert conflicts(jacobian, default(gramian)).min() < -1e-3
    tiny = 1e-6 * jacobian  # trace below norm_eps: the Gramian is replaced by zero
    weights = default(tiny @ tiny.transpose(1, 2))
    assert torch.allclose(weights, torch.tensor(0.25).double())


def test_upgrad_agrees_with_torchjd_where_norms_are_alike():
    jacobian = gradients(1, 0.5, 2, 1)
    weights = UPGrad(reg_eps=1e-9)(jacobian @ jacobian.transpose(1, 2))
    reference = ReferenceUPGrad(projector=QuadprogProjector(norm_eps=0.0, reg_eps=1e-9))
    for r in range(3):
        assert torch.allclose(weights[r] @ jacobian[r], reference(jacobian[r]), atol=1e-6)


def test_upgrad_is_the_mean_without_conflict_and_survives_zero_gradients():
    gramian = torch.tensor([[[2.0, 0.5], [0.5, 1.0]], [[0.0, 0.0], [0.0, 3.0]]])
    assert torch.equal(UPGrad()(gramian), torch.full((2, 2), 0.5))
    rows = gradients(1, 1, 1)
    rows[:, 1] = 0
    weights = UPGrad()(rows @ rows.transpose(1, 2))
    assert torch.isfinite(weights).all()


def test_jacobian_blocks_are_the_gradients():
    rng = torch.Generator().manual_seed(0)
    parameters = [torch.randn(2, 3, generator=rng).requires_grad_() for _ in range(3)]
    a, b, c = parameters
    losses = torch.stack([(a**2).sum(1), (a * b).sum(1).sin(), (c**3).sum(1), b.exp().sum(1)], 1)
    reach = [{0}, {0, 1}, {2}, {1}]
    assert share_passes(reach) == [[0, 2, 3], [1]]
    jacobian = Jacobian(losses, parameters, reach)
    full = torch.zeros(2, 4, 9)
    for k in range(4):
        for r in range(2):
            fresh = [p.detach().clone().requires_grad_() for p in parameters]
            x, y, z = fresh
            value = [(x**2).sum(1), (x * y).sum(1).sin(), (z**3).sum(1), y.exp().sum(1)][k][r]
            grads = torch.autograd.grad(value, fresh, allow_unused=True)
            full[r, k] = torch.cat([torch.zeros(3) if g is None else g[r] for g in grads])
    assert torch.allclose(jacobian.gramian(), full @ full.transpose(1, 2), atol=1e-5)
    weights = torch.randn(2, 4, generator=rng)
    combined = torch.cat(jacobian.combine(weights), 1)
    assert torch.allclose(combined, (weights[:, None] @ full)[:, 0], atol=1e-5)


# ---------------------------------------------------------------- a trainer on SLC


def data(*seeds, L=4, n=30, batch=8, device="cpu"):
    sets = [
        Grammar.random(v=4, m=2, s=2, L=L, seed=seed).sample(n + seed, np.random.default_rng(seed)).tokens
        for seed in seeds
    ]
    return Patches.build(sets, s=2, batch=batch, device=device)


def slc_trainer(
    *seeds,
    stop_gradient="none",
    ema=0.9,
    dtype=torch.float64,
    device="cpu",
    batch=8,
    products=None,
    **options,
):
    patches = data(*seeds, batch=batch, device=device)
    student = SLC(
        s=2,
        L=4,
        d_h=8,
        width=8,
        model_seeds=seeds,
        stop_gradient=stop_gradient,
        products=products,
        dtype=dtype,
        device=device,
    )
    visible = student.one_hot(patches)
    weights = ClusterWeights(0.8, 1.0, 4.0, 0.0)

    def losses(student, teacher, chosen, *subsets):
        found = slc_losses(student, teacher, patches, patches.select(chosen), subsets, weights, visible)
        return torch.cat([*found], 1)

    trainer = Trainer(student, losses, student.reach(), ema=ema, lr=5e-3, weight_decay=0.01, **options)
    order = Batches(patches.sizes, 8, generators(*seeds))
    subset_generators = generators(*(100 + seed for seed in seeds))

    def batches(count):
        chosen = order.draw(count).to(device)
        subsets = draw_subsets(count, 64, 20, subset_generators).to(device)
        for step in range(count):
            yield chosen[step], subsets[step], None, None

    return trainer, batches


@pytest.mark.parametrize("aggregation", ["sum", "upgrad"])
@pytest.mark.parametrize("stop_gradient", ["none", "modules", "modules+clusterer"])
def test_each_replica_trains_as_if_alone(aggregation, stop_gradient):
    runs = []
    for seeds in ((0, 1, 2), (1,)):
        trainer, batches = slc_trainer(*seeds, stop_gradient=stop_gradient, aggregation=aggregation)
        train(trainer, batches, [30])
        runs.append(trainer)
    for many, one in zip(runs[0].parameters, runs[1].parameters, strict=True):
        assert torch.allclose(many[1:2], one, atol=1e-9)
    assert torch.allclose(runs[0].last_losses[1:2], runs[1].last_losses, atol=1e-9)
    active = aggregation == "upgrad" and stop_gradient != "modules+clusterer"
    assert bool((runs[0].weights != 1).any()) == active


def test_diagonal_gramian_is_recognised_and_makes_upgrad_the_mean():
    trainer, batches = slc_trainer(0, 1, stop_gradient="modules+clusterer", aggregation="upgrad")
    assert trainer.diagonal
    chosen, *subsets = next(batches(1))
    losses = trainer.losses(trainer.student, trainer.teacher, chosen, *subsets)
    gramian = Jacobian(losses, trainer.parameters, trainer.reach).gramian()
    off = gramian - torch.diag_embed(gramian.diagonal(dim1=1, dim2=2))
    assert off.abs().max() == 0
    assert torch.equal(UPGrad()(gramian), torch.full((2, 6), 1 / 6, dtype=torch.float64))
    assert not slc_trainer(0, stop_gradient="modules")[0].diagonal


def test_upgrad_update_of_slc_conflicts_with_no_loss():
    trainer, batches = slc_trainer(0, 1, aggregation="upgrad")
    train(trainer, batches, [40])
    chosen, *subsets = next(batches(1))
    losses = trainer.losses(trainer.student, trainer.teacher, chosen, *subsets)
    jacobian = Jacobian(losses, trainer.parameters, trainer.reach)
    gramian = jacobian.gramian()
    weights = UPGrad()(gramian)
    assert not torch.equal(weights, torch.full_like(weights, 1 / 6))
    update = torch.bmm(gramian, weights.unsqueeze(2))[..., 0]
    norms = gramian.diagonal(dim1=1, dim2=2).sqrt()
    length = (weights * update).sum(1, keepdim=True).sqrt()
    assert (update / norms / length).min() > -1e-3


def test_teacher_is_the_moving_average():
    student, teacher = nn.Linear(2, 1), nn.Linear(2, 1)
    before = [p.clone() for p in teacher.parameters()]
    update_teacher(teacher, student, 0.75)
    for p, old, new in zip(teacher.parameters(), before, student.parameters(), strict=True):
        assert torch.allclose(p, 0.75 * old + 0.25 * new)


def test_without_ema_there_is_no_teacher_and_with_it_it_lags():
    assert slc_trainer(0, ema=0.0)[0].teacher is None
    trainer, batches = slc_trainer(0)
    first = [p.detach().clone() for p in trainer.parameters]
    train(trainer, batches, [1])
    for start, student, teacher in zip(first, trainer.parameters, trainer.teacher.parameters(), strict=True):
        assert torch.allclose(teacher, 0.9 * start + 0.1 * student)
        assert not teacher.requires_grad


def test_training_reports_where_it_should():
    trainer, batches = slc_trainer(0)
    seen = []
    train(trainer, batches, [2, 70, 75], lambda step: seen.append((step, steps_done(trainer))))
    assert seen == [(2, 2), (70, 70), (75, 75)]


def steps_done(trainer):
    return int(trainer.optimizer.state[trainer.parameters[0]]["step"])


def test_bfloat16_products_stay_close():
    exact, batches = slc_trainer(0, dtype=torch.float32)
    rounded, same = slc_trainer(0, dtype=torch.float32, products=torch.bfloat16)
    train(exact, batches, [3])
    train(rounded, same, [3])
    assert all(p.dtype == torch.float32 for p in rounded.parameters)
    assert torch.allclose(exact.last_losses, rounded.last_losses, atol=0.05)
    assert not torch.equal(exact.last_losses, rounded.last_losses)


@pytest.mark.parametrize(
    ("batch", "stop_gradient"), [(1, "none"), (8, "modules"), (100, "modules+clusterer")]
)
@pytest.mark.parametrize("aggregation", ["sum", "upgrad"])
def test_a_step_stays_on_its_device_and_reads_nothing_back(batch, stop_gradient, aggregation):
    # Tensors on "meta" have no values: reading one, or mixing it with one of the CPU, raises.
    with pytest.raises(RuntimeError, match="meta"):
        torch.empty(2, device="meta").sum().item()
    with pytest.raises(RuntimeError, match="meta"):
        torch.empty(2, device="meta") + torch.empty(2)
    trainer, batches = slc_trainer(
        0,
        1,
        stop_gradient=stop_gradient,
        device="meta",
        batch=batch,
        aggregation=aggregation,
        # torchjd's quadratic program is solved on the host; all around it is tested here.
        upgrad=lambda gramian: torch.ones(gramian.shape[:2], device=gramian.device, dtype=gramian.dtype),
    )
    train(trainer, batches, [2])
    assert trainer.last_losses.device.type == "meta"
    assert trainer.last_losses.shape == (2, 6)


@pytest.mark.parametrize(
    ("options", "text"),
    [({"aggregation": "mean"}, "aggregation must be one of"), ({"ema": 1.0}, r"ema must be in \[0, 1\)")],
)
def test_bad_training_options_are_named(options, text):
    with pytest.raises(ValueError, match=text):
        slc_trainer(0, **options)


# ---------------------------------------------------------------- the experiment

SMALL = {"v": 6, "m": 2, "s": 2, "L": 3, "n": 400, "grammar_seed": 1, "data_seed": 1, "model_seed": 1}


def run(**options):
    return pd.DataFrame(SLCExperiment(**(SMALL | {"device": "cpu"} | options)).run())


def test_slc_learns_a_small_grammar():
    rows = run(v=8, m=3, n=16 * 8 * 27, n_replicas=2, steps=2500, n_val=300, n_test=500)
    top = rows[(rows.level == 2) & (rows.checkpoint == "best")]
    assert (top.hungarian_accuracy >= 0.95).all()
    assert (top.probe_accuracy >= 0.99).all()
    assert (rows[rows.level == 1].majority_accuracy >= 0.95).all()


def test_rows_of_the_experiment():
    rows = run(n_replicas=2, steps=20, n_evaluations=3, curve=True, n_val=50, n_test=60, aggregation="upgrad",
               stop_gradient="none")  # fmt: skip
    assert len(rows) == 2 * 2 * (3 + 2)
    assert set(rows.checkpoint) == {"curve", "best", "last"}
    assert rows[rows.checkpoint == "curve"].probe_accuracy.isna().all()
    final = rows[rows.checkpoint != "curve"]
    assert (final.probe_accuracy.notna() == (final.level == 2)).all()
    assert rows.hungarian_accuracy.between(0, 1).all()
    assert (rows.hungarian_accuracy <= rows.majority_accuracy).all()
    assert rows.upgrad_active.between(0, 1).all()
    assert (rows.strings_seen == 32 * rows.step).all()
    assert not set(rows.columns) & set(experiments.field_names("rhmlib.experiment_slc:SLCExperiment"))


def test_a_replica_has_the_rows_it_would_have_alone():
    options = {"steps": 60, "n_evaluations": 3, "n_val": 100, "n_test": 100}
    group = run(n_replicas=3, **options)
    alone = run(n_replicas=1, **options, **{f"{name}_seed": 2 for name in ("grammar", "data", "model")})
    second = group[group.replica == 1].drop(columns="replica").reset_index(drop=True)
    pd.testing.assert_frame_equal(second, alone.drop(columns="replica"), atol=2e-3)


def test_runs_repeat_exactly():
    options = {"n_replicas": 2, "steps": 30, "n_val": 50, "n_test": 50}
    pd.testing.assert_frame_equal(run(**options), run(**options))


def test_online_training_sees_fresh_strings():
    rows = run(online=True, n=1, n_replicas=1, steps=20, batch_size=16, n_val=50, n_test=50)
    assert (rows.n_over_vm3 == 320 / (6 * 8)).all()


def test_settings_are_checked():
    name = "rhmlib.experiment_slc:SLCExperiment"
    with pytest.raises(ValueError, match=r"n must be at most the number of strings, 768\. Found n=769"):
        experiments.configure(name, SMALL | {"n": 769})
    with pytest.raises(ValueError, match=r"d_h must be at least v\. Found d_h=5 with v=6"):
        experiments.configure(name, SMALL | {"d_h": 5})
    with pytest.raises(ValueError, match="'widht' is no setting"):
        experiments.configure(name, SMALL | {"widht": 5})
    small, large = (experiments.configure(name, SMALL | {"L": L}) for L in (3, 5))
    assert small.cost() < large.cost()


def test_conditional_entropy():
    assert conditional_entropy(np.array([3, 3, 1]), np.array([0, 0, 2])) == 0
    assert conditional_entropy(np.zeros(4, int), np.array([0, 1, 0, 1])) == pytest.approx(math.log(2))
