"""Other ways to predict latents: local contrast, an explicit stack, a head a level. On small shapes."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from rhmlib.contrastive import LocalContrast
from rhmlib.data2vec import Data2Vec
from rhmlib.encoders import Transformer, TreeEncoder
from rhmlib.experiment_encoder import EncoderExperiment, _Run
from rhmlib.experiment_latent import LatentExperiment, _LatentRun
from rhmlib.grammar import Grammar
from rhmlib.multiscale import MultiScaleData2Vec
from rhmlib.objectives import Descent, Masking
from rhmlib.stacked import StackBatch, StackedData2Vec

torch.set_num_threads(1)
V, S, L = 5, 2, 3
MASKING = Masking(S, L, 0.3)


def tree(**changes):
    return TreeEncoder(**{"v": V, "s": S, "L": L, "width": 8, **changes})


def strings(n, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, V, size=(n, S**L)))


def batch_of(objective, n=20, seed=0, tokens=None):
    generator = torch.Generator().manual_seed(seed)
    tokens = strings(n, seed) if tokens is None else tokens
    return next(objective.batches(tokens, tokens[:, 0], len(tokens), generator))


MAKE = {
    "hinge": lambda encoder: LocalContrast(encoder),
    "softmax": lambda encoder: LocalContrast(encoder, contrast="softmax"),
    "stacked": lambda encoder: StackedData2Vec(encoder),
    "multiscale": lambda encoder: MultiScaleData2Vec(encoder, MASKING),
}
ALL = pytest.mark.parametrize("kind", list(MAKE))


def moved(objective, loss):
    """Names of the parameters that a loss has a gradient of."""
    objective.zero_grad()
    loss.backward()
    return {name for name, p in objective.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


# ---------------------------------------------------------------- all of them


@ALL
def test_descent_lowers_the_loss_and_leaves_the_teacher_without_gradients(kind):
    objective = MAKE[kind](tree())
    descent, batch = Descent(objective, lr=3e-3), batch_of(objective)
    before = objective(batch).item()
    for _ in range(60):
        descent.step(batch)
    assert objective(batch).item() < 0.9 * before
    teacher = getattr(objective, "teacher", None)
    if teacher is not None:
        assert all(p.grad is None for p in teacher.up.parameters())


@ALL
def test_weights_and_losses_depend_on_seeds_alone(kind):
    state = torch.random.get_rng_state()
    a, b = (MAKE[kind](tree()) for _ in range(2))
    assert torch.equal(a(batch_of(a)), b(batch_of(b)))
    assert torch.equal(torch.random.get_rng_state(), state)


@ALL
def test_the_root_is_not_trained(kind):
    # As in data2vec: features of the root stand in no target, so that a probe of it is a fair one.
    objective = MAKE[kind](tree())
    assert not {f"encoder.up.{L - 1}.0.weight"} & moved(objective, objective(batch_of(objective)))


# ---------------------------------------------------------------- local contrast


def test_levels_of_contrast_do_not_move_the_ones_below():
    objective = LocalContrast(tree())
    last = objective.levels(strings(20))[-1]
    found = moved(objective, last.square().sum() + last[0, 0, 0])
    assert found
    assert all(name.startswith(f"encoder.up.{L - 2}.") for name in found)


def test_levels_of_contrast_are_the_encoders():
    encoder = tree()
    tokens = strings(9)
    for ours, theirs in zip(LocalContrast(encoder).levels(tokens), encoder.nodes(tokens), strict=False):
        torch.testing.assert_close(ours, theirs[0], rtol=1e-4, atol=1e-5)


def test_the_hinge_is_claps_and_the_softmax_infonce():
    objective = LocalContrast(tree(L=2))
    batch = batch_of(objective, tokens=strings(6)[:, :4])
    [features] = objective.levels(batch.tokens)
    w = objective.weight[0, 0] / 8**0.5
    score = features[:, 0] @ w @ features[:, 1].T  # (B, B)
    true, false = score.diagonal(), score.roll(1, 1).diagonal()
    expected = (functional.relu(1 - true) + functional.relu(1 + false)).mean()
    torch.testing.assert_close(objective(batch), expected)
    objective.contrast = "softmax"
    rows, columns = (functional.log_softmax(score, d).diagonal().mean() for d in (1, 0))
    torch.testing.assert_close(objective(batch), -(rows + columns) / 2)


def test_three_children_make_three_pairs():
    objective = LocalContrast(tree(s=3, L=2))
    assert objective.pairs == [(0, 1), (0, 2), (1, 2)]
    assert objective.weight.shape == (1, 3, 8, 8)


@pytest.mark.slow
@pytest.mark.parametrize(("m", "learns"), [(2, True), (8, False)])
def test_contrast_learns_where_f_is_below_one(m, learns):
    # At f = 1 siblings are independent: true pairs look like any others.
    grammar = Grammar.random(v=8, m=m, s=2, L=2, seed=0)
    tokens = torch.from_numpy(grammar.sample(4000, np.random.default_rng(0)).tokens)
    objective = LocalContrast(TreeEncoder(v=8, s=2, L=2, width=32))
    descent, generator = Descent(objective, lr=3e-3), torch.Generator().manual_seed(0)
    for batch in list(objective.batches(tokens, tokens[:, 0], 64, generator)) * 4:
        descent.step(batch)
    held = torch.from_numpy(grammar.sample(1000, np.random.default_rng(1)).tokens)
    loss = objective(batch_of(objective, tokens=held)).item()
    assert (loss < 1.6) if learns else (loss > 1.95)  # 2 for a score of 0


# ---------------------------------------------------------------- the stack


def test_masks_of_every_level_hide_something_and_say_where():
    batch = batch_of(StackedData2Vec(tree(), mask_probability=0.2))
    assert isinstance(batch, StackBatch)
    assert [tuple(mask.shape) for mask in batch.masks] == [(20, 8), (20, 4)]
    for mask, places in zip(batch.masks, batch.places, strict=True):
        assert mask.any(1).all()
        assert torch.equal(mask.flatten().nonzero().squeeze(1), places)


def test_a_module_moves_itself_alone():
    objective = StackedData2Vec(tree())
    batch = batch_of(objective)
    seen = objective.seen(batch.tokens)
    for k in range(L - 1):
        found = moved(objective, objective._loss(batch, seen, k))
        parts = {name.split(".")[2] for name in found if name.startswith("encoder.up.")}
        readers = {name.split(".")[1] for name in found if name.startswith("readers.")}
        assert (parts, readers) == ({str(k)}, {str(k)})
        assert ("hidden" in found) == (k > 0)
        assert any(name.startswith("encoder.embedding") for name in found) == (k == 0)


def test_a_prediction_does_not_see_what_is_hidden():
    objective = StackedData2Vec(tree(L=2))
    tokens = strings(1)[:, :4]
    mask = torch.tensor([[True, False, False, False]])
    batch = StackBatch(tokens, mask, torch.tensor([0]), tokens[:, 0], (mask,), (torch.tensor([0]),))
    seen = objective.seen(tokens)

    def loss(place, targets=seen):
        changed = tokens.clone()
        changed[0, place] = (changed[0, place] + 1) % V
        given = StackBatch(changed, mask, batch.at, batch.root, (mask,), batch.places)
        return objective._loss(given, targets, 0).item()

    here = objective._loss(batch, seen, 0).item()
    assert [loss(place) == here for place in range(4)] == [True, False, False, False]


def test_a_sequence_trains_one_module_after_the_other():
    objective = StackedData2Vec(tree(), schedule="sequential", steps_each=3)
    descent, batch = Descent(objective, lr=1e-2), batch_of(objective)
    weights, changed = objective.tree.up, []
    for _ in range(8):
        before = [weights[k][0].weight.clone() for k in range(L - 1)]
        descent.step(batch)
        changed.append([not torch.equal(b, weights[k][0].weight) for k, b in enumerate(before)])
    assert changed == [[True, False]] * 3 + [[False, True]] * 5


def test_the_teacher_of_the_stack_moves_slowly_and_shares_the_embedding():
    objective = StackedData2Vec(tree(), ema=0.9)
    old = objective.teacher.up[0][0].weight.clone()
    Descent(objective, lr=1e-2).step(batch_of(objective))
    student = objective.tree.up[0][0].weight
    torch.testing.assert_close(objective.teacher.up[0][0].weight, 0.9 * old + 0.1 * student)
    assert objective.teacher.embedding is objective.tree.embedding


# ---------------------------------------------------------------- a head a level


def test_with_one_level_it_is_data2vec():
    several, one = (
        kind(tree(), MASKING, target_levels=[1], model_seed=3) for kind in (MultiScaleData2Vec, Data2Vec)
    )
    torch.testing.assert_close(several(batch_of(several)), one(batch_of(one)))


def test_the_loss_is_the_mean_over_heads():
    objective = MultiScaleData2Vec(Transformer(v=V, s=S, L=L, width=8, n_blocks=3, n_heads=2), MASKING)
    batch, losses = batch_of(objective), []
    whole, heads, levels = objective(batch), objective.heads, objective.target_levels
    for head, level in zip(heads, levels, strict=True):
        objective.heads, objective.target_levels = torch.nn.ModuleList([head]), (level,)
        losses.append(objective(batch))
    torch.testing.assert_close(whole, torch.stack(losses).mean())


# ---------------------------------------------------------------- wrong calls, and the experiment


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LocalContrast(tree(), contrast="cosine"), r"contrast must be one of .* Found contrast='cos"),
        (lambda: LocalContrast(tree(L=1)), r"L must be at least 2, .* Found L=1"),
        (lambda: StackedData2Vec(tree(L=1)), r"L must be at least 2, .* Found L=1"),
        (lambda: StackedData2Vec(tree(), schedule="both"), r"schedule must be one of"),
        (lambda: StackedData2Vec(tree(), ema=1.0), r"ema must be in \[0, 1\). Found ema=1.0"),
        (lambda: StackedData2Vec(tree(), beta=-1.0), r"beta must be at least 0. Found beta=-1.0"),
        (lambda: StackedData2Vec(tree(), steps_each=0), r"steps_each must be at least 1. Found steps_each=0"),
        (lambda: StackedData2Vec(tree(), mask_probability=0.0), r"mask_probability must be in \(0, 1\]"),
    ],
)
def test_bad_calls_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


SETTINGS = {
    "v": 4, "m": 2, "L": 2, "n": 20, "width": 16, "steps": 8, "n_evaluations": 1, "n_val": 20, "n_test": 20,
    "n_probe": 20, "batch_size": 10, "device": "cpu", "grammar_seed": 0, "data_seed": 0, "model_seed": 0,
}  # fmt: skip


def test_an_experiment_sees_the_strings_of_the_one_it_is_compared_with():
    config = LatentExperiment(objective="clapp", **SETTINGS)
    beside = config.beside()
    assert isinstance(beside, EncoderExperiment)
    a, b = _LatentRun(config), _Run(beside)
    assert torch.equal(a.tokens, b.tokens)
    assert np.array_equal(a.test.tokens, b.test.tokens)
    ours, theirs = ([x.tokens for x in run.batches(4)] for run in (a, b))
    assert all(torch.equal(x, y) for x, y in zip(ours, theirs, strict=True))
    states = (run.objective.encoder.state_dict() for run in (a, b))
    assert all(torch.equal(x, y) for x, y in zip(*(state.values() for state in states), strict=True))


@pytest.mark.parametrize(
    "given", [{"objective": "clapp"}, {"objective": "stacked"}, {"objective": "multiscale"}]
)
def test_rows_of_an_experiment(given):
    rows = LatentExperiment(**given, **SETTINGS).run()
    assert rows == LatentExperiment(**given, **SETTINGS).run()
    assert {row["checkpoint"] for row in rows} == {"untrained", "curve", "last", "best"}
    assert {row["level"] for row in rows} == {1, 2}
    assert set(rows[0]) <= set(LatentExperiment.tolerances) | {"checkpoint", "level"}


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"n must be at most the number of strings, 32. Found n=40"):
        LatentExperiment(objective="clapp", **{**SETTINGS, "n": 40})
