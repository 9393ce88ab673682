"""SLC's tensors, losses and gradients, against loops written from the paper's equations."""

import dataclasses

import numpy as np
import pytest
import torch

from rhmlib import Grammar
from rhmlib.slc import (
    SLC,
    ClusterWeights,
    Patches,
    clustering_loss,
    cousin_tokens,
    norm_loss,
    place_targets,
    prediction_loss,
    separation_loss,
    similarity,
    similarity_loss,
    slc_losses,
    take,
)

torch.set_num_threads(1)

WEIGHTS = ClusterWeights(0.6, 1.5, 2.0, 0.3)


def strings(v=4, m=2, s=2, L=3, n=12, seed=0):
    return Grammar.random(v=v, m=m, s=s, L=L, seed=seed).sample(n, np.random.default_rng(seed)).tokens


def network(replicas=2, **options):
    settings = {"s": 2, "L": 3, "d_h": 6, "width": 8, "dtype": torch.float64} | options
    return SLC(model_seeds=list(range(replicas)), **settings)


def probabilities(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(-1)


# ---------------------------------------------------------------- patches


def test_take_gathers_within_each_replica():
    rows = torch.arange(2 * 3 * 2).view(2, 3, 2)
    index = torch.tensor([[2, 0], [1, 1]])
    assert take(rows, index).tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]


@pytest.mark.parametrize(("s", "L", "batch"), [(2, 4, 1), (2, 4, 6), (2, 4, 200), (3, 3, 100), (3, 2, 1)])
def test_patches_spell_the_strings(s, L, batch):
    sets = [strings(s=s, L=L, n=9, seed=1), strings(s=s, L=L, n=5, seed=2)]
    patches = Patches.build(sets, s=s, batch=batch)
    assert patches.sizes == (9, 5)
    numbers = patches.numbers(patches.select(torch.tensor([[8, 0], [4, 2]])))
    assert len(numbers) == len(patches.children) + 1
    spelt = take(patches.symbols, numbers[0]).flatten(1).view(2, 2, -1)
    for r, chosen in enumerate(([8, 0], [4, 2])):
        assert np.array_equal(spelt[r].numpy(), sets[r][chosen])


def test_levels_are_listed_only_where_the_list_is_shorter():
    tokens = [strings(v=8, m=3, L=4, n=2000)]
    assert Patches.build(tokens, s=2, batch=1).listed == 0  # 8 patches against 24 distinct ones
    assert Patches.build(tokens, s=2, batch=8).listed == 1  # 64 against 24, but 32 against 216
    assert Patches.build(tokens, s=2).listed >= 2


@pytest.mark.parametrize(
    "bad",
    [[], [np.zeros((4, 6), int)], [np.zeros((4, 2), int)], [np.zeros((4, 8), int), np.zeros((4, 4), int)]],
)
def test_strings_must_have_one_length(bad):
    with pytest.raises(ValueError, match=r"strings must be arrays of one shape \(n, s\*\*L\)"):
        Patches.build(bad, s=2)


# ---------------------------------------------------------------- the network


@pytest.mark.parametrize(("s", "L"), [(2, 3), (3, 3), (4, 2)])
def test_shapes(s, L):
    d_h, n = 7, 5
    patches = Patches.build([strings(s=s, L=L, n=n, seed=r) for r in range(2)], s=s, batch=0)
    assert patches.listed == 0
    slc = network(s=s, L=L, d_h=d_h)
    outputs = slc(patches, patches.index.long())
    assert len(outputs) == L - 1
    for level, output in enumerate(outputs):
        rows = n * s ** (L - level - 1)
        assert output.log_p.shape == (2, rows, s, s - 1, s, d_h)
        assert output.logits.shape == output.tokens.shape == (2, rows, d_h)
        assert torch.allclose(output.log_p.exp().sum(-1), torch.ones(()).double())
        assert torch.allclose(output.tokens.sum(-1), torch.ones(()).double())
    codes = slc.encode(patches, batch=2)
    assert [tuple(c.shape) for c in codes] == [(2, n, s ** (L - level)) for level in range(1, L)]
    assert slc.soft_codes(patches).shape == (2, n, s, d_h)


def test_predictor_and_clusterer_are_the_layers_of_equations_4_and_6():
    slc = network(replicas=1, activation="relu")
    x = torch.randn(1, 1, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sizes = [(12, 8), (8, 8), (8, 24), (24, 8), (8, 6)]
    theta = torch.cat([slc.predictors[0][0], slc.clusterers[0][0]]).tolist()
    layers = []
    for fan_in, out in sizes:
        weight = torch.tensor(theta[: fan_in * out]).double().view(fan_in, out)
        layers.append((weight, torch.tensor(theta[fan_in * out :][:out]).double()))
        theta = theta[(fan_in + 1) * out :]
    hidden = x[0, 0]
    for i in range(3):
        hidden = (hidden.relu() if i else hidden) @ layers[i][0] + layers[i][1]
    p = hidden.view(2, 1, 2, 6).softmax(-1)
    assert torch.allclose(slc.predictor(0, x).exp()[0, 0], p, atol=1e-6)
    logits = (p.flatten() @ layers[3][0] + layers[3][1]).relu() @ layers[4][0] + layers[4][1]
    assert torch.allclose(slc.clusterer(0, p[None, None])[0, 0], logits, atol=1e-6)


def test_listing_changes_no_loss_and_no_gradient():
    sets = [strings(v=4, m=2, L=4, n=20, seed=r) for r in range(2)]
    chosen = torch.stack(
        [torch.randperm(20, generator=torch.Generator().manual_seed(r))[:16] for r in range(2)]
    )
    subset = torch.stack([torch.randperm(128)[:40], torch.randperm(128)[:40]])
    found = []
    for batch in (0, 6, 1000):
        patches = Patches.build(sets, s=2, batch=batch)
        slc = network(L=4, d_h=8)
        losses = slc_losses(
            slc, network(L=4, d_h=8), patches, patches.select(chosen), [subset, None, None], WEIGHTS
        )
        (losses.prediction.sum() + losses.clustering.sum()).backward()
        found.append((patches.listed, torch.cat([*losses], 1).detach(), [p.grad for p in slc.parameters()]))
    assert [listed for listed, _, _ in found] == [0, 1, 3]
    for _, losses, grads in found[1:]:
        assert torch.allclose(losses, found[0][1], atol=1e-12)
        for grad, other in zip(grads, found[0][2], strict=True):
            assert torch.allclose(grad, other, atol=1e-12)


def test_hard_tokens_are_one_hot_and_pass_gradients():
    slc = network(temperature=0.0)
    logits = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    tokens = slc.tokens(logits)
    assert torch.equal(tokens.detach().argmax(-1), logits.argmax(-1))
    assert torch.allclose(tokens.detach().amax(-1), torch.ones(()).double())
    (tokens * torch.randn(6, dtype=torch.float64)).sum().backward()
    assert logits.grad.abs().sum() > 0
    warm = network(temperature=2.0).tokens(logits)
    assert torch.allclose(warm, (logits / 2).softmax(-1))


def test_seeds_make_replicas():
    both, second = network(replicas=2), SLC(s=2, L=3, d_h=6, width=8, model_seeds=[1], dtype=torch.float64)
    for p, q in zip(both.parameters(), second.parameters(), strict=True):
        assert torch.equal(p[1:], q)
        assert not torch.equal(p[0], p[1])


def test_gain_scales_the_clusterers_first_layer_alone():
    plain, scaled = network(), network(gain=3.0)
    for p, q in zip(plain.predictors, scaled.predictors, strict=True):
        assert torch.equal(p, q)
    ratio = scaled.clusterers[0] / plain.clusterers[0]
    assert torch.allclose(ratio[:, : 24 * 8], torch.tensor(3.0).double())
    assert torch.allclose(ratio[:, 24 * 8 :], torch.tensor(1.0).double())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"L": 1}, "L must be an integer >= 2. Found L=1"),
        ({"activation": "tanh"}, "activation must be one of"),
        ({"stop_gradient": "all"}, "stop_gradient must be one of"),
        ({"temperature": -1.0}, "temperature must be >= 0"),
    ],
)
def test_bad_parameters_are_named(options, text):
    with pytest.raises(ValueError, match=text):
        network(**options)


# ---------------------------------------------------------------- losses


@pytest.mark.parametrize("s", [2, 3])
@pytest.mark.parametrize("listed", [False, True])
def test_prediction_loss_is_equation_5(s, listed):
    grandparents, d_h = 4, 5
    count = grandparents * s
    tokens = probabilities(1, count * s, d_h)
    numbers = torch.arange(count)[None] % 3 if listed else None
    rows = 3 if listed else count
    log_p = probabilities(1, rows, s, s - 1, s, d_h, seed=1).log()
    placed = place_targets(cousin_tokens(tokens, s), numbers, rows)
    loss = prediction_loss(log_p, placed, count * (s - 1) * s)

    terms = []
    for g in range(grandparents):
        for p in range(s):
            row = int(numbers[0, g * s + p]) if listed else g * s + p
            for c, b in enumerate(b for b in range(s) if b != p):
                for t in range(s):
                    target = tokens[0, g * s**2 + b * s + t]
                    terms.append(-(target * log_p[0, row, p, c, t]).sum())
    assert loss.item() == pytest.approx(float(torch.stack(terms).mean()), abs=1e-12)


def test_similarity_is_equation_7():
    p = probabilities(2, 5, 4)
    S = similarity(p)
    for r in range(2):
        centred = p[r] - p[r].mean(0)
        for i in range(5):
            for j in range(5):
                cosine = centred[i] @ centred[j] / centred[i].norm() / centred[j].norm()
                assert S[r, i, j].item() == pytest.approx((1 + cosine.item()) / 2, abs=1e-12)
    assert torch.allclose(similarity(torch.ones(1, 3, 2)), torch.tensor(0.5))


def test_cluster_losses_are_equations_8_to_11():
    S, q = similarity(probabilities(2, 5, 4)), probabilities(2, 5, 6, seed=1)
    for r in range(2):
        pull, push = [], []
        for i in range(5):
            for j in range(5):
                overlap = float(q[r, i] @ q[r, j])
                pull.append(max(0.0, float(S[r, i, j]) - 0.6) * (1 - overlap))
                push.append((1 - float(S[r, i, j])) * overlap)
        norm = -float(np.mean([float(q[r, i] @ q[r, i]) for i in range(5)]))
        assert similarity_loss(S, q, 0.6)[r].item() == pytest.approx(np.mean(pull), abs=1e-12)
        assert separation_loss(S, q)[r].item() == pytest.approx(np.mean(push), abs=1e-12)
        assert norm_loss(q)[r].item() == pytest.approx(norm, abs=1e-12)
        total = 1.5 * np.mean(pull) + 2.0 * np.mean(push) + 0.3 * norm
        assert clustering_loss(S, q, WEIGHTS)[r].item() == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("separation", [1e-6, 0.4])
def test_of_two_synonyms_with_codes_of_their_own_only_a_rarer_one_moves_to_the_other(separation):
    alike, weights = 0.95, ClusterWeights(margin=0.5, similarity=1.0, separation=separation)
    pull = (alike - weights.margin) - separation * (1 - alike)

    def slope(rare, frequent):  # of the loss, as the rare synonym leaves its code for the other's
        kinds = torch.tensor([0] * rare + [1] * frequent)
        same = (kinds[:, None] == kinds).to(torch.float64)
        S = (alike + (1 - alike) * same)[None]
        moved = torch.zeros((), dtype=torch.float64, requires_grad=True)
        of_rare = torch.stack([1 - moved, moved]).expand(rare, 2)
        q = torch.cat([of_rare, torch.tensor([[0.0, 1.0]], dtype=torch.float64).expand(frequent, 2)])[None]
        [gradient] = torch.autograd.grad(clustering_loss(S, q, weights)[0], moved)
        return float(gradient) * (rare + frequent) ** 2 / 2

    for rare, frequent in [(10, 10), (9, 10), (10, 12), (7, 10)]:
        assert slope(rare, frequent) == pytest.approx(rare * (rare * 0.5 - frequent * pull), abs=1e-9)
    assert slope(10, 10) > 0 > slope(7, 10)


def test_teacher_gives_targets_and_similarities_and_takes_no_gradient():
    patches = Patches.build([strings(seed=r) for r in range(2)], s=2)
    student, teacher = network(), network(gain=5.0)
    with torch.no_grad():
        for p in teacher.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
    index = patches.index.long()
    own = slc_losses(student, None, patches, index, [None, None], WEIGHTS)
    same = slc_losses(student, student, patches, index, [None, None], WEIGHTS)
    other = slc_losses(student, teacher, patches, index, [None, None], WEIGHTS)
    assert torch.allclose(own.prediction, same.prediction)
    assert torch.allclose(own.clustering, same.clustering)
    assert torch.allclose(own.prediction[:, 0], other.prediction[:, 0])  # visible tokens are targets there
    assert not torch.allclose(own.prediction[:, 1], other.prediction[:, 1])
    assert not torch.allclose(own.clustering[:, 0], other.clustering[:, 0])
    (other.prediction.sum() + other.clustering.sum()).backward()
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize("stop_gradient", ["none", "modules", "modules+clusterer"])
def test_gradients_reach_what_reach_says(stop_gradient):
    slc = network(L=4, stop_gradient=stop_gradient)
    patches = Patches.build([strings(L=4, seed=r) for r in range(2)], s=2)
    losses = slc_losses(slc, None, patches, patches.index.long(), [None] * 3, WEIGHTS)
    each = torch.cat([*losses], 1)
    parameters = list(slc.parameters())
    for k, reached in enumerate(slc.reach()):
        grads = torch.autograd.grad(each[:, k].sum(), parameters, retain_graph=True, allow_unused=True)
        assert reached == {j for j, grad in enumerate(grads) if grad is not None and grad.abs().sum() > 0}


def test_replicas_do_not_mix():
    sets = [strings(L=4, n=9, seed=1), strings(L=4, n=14, seed=2)]
    together, alone = Patches.build(sets, s=2, batch=6), Patches.build(sets[1:], s=2, batch=6)
    chosen = torch.tensor([[0, 3, 5, 7, 7, 2], [13, 1, 8, 0, 4, 4]])
    subset = torch.tensor([[0, 5, 9, 40], [47, 3, 2, 20]])
    losses = slc_losses(
        network(L=4), network(L=4), together, together.select(chosen), [subset, None, None], WEIGHTS
    )
    single = SLC(s=2, L=4, d_h=6, width=8, model_seeds=[1], dtype=torch.float64)
    expected = slc_losses(single, single, alone, alone.select(chosen[1:]), [subset[1:], None, None], WEIGHTS)
    assert torch.allclose(losses.prediction[1:], expected.prediction, atol=1e-12)
    assert torch.allclose(losses.clustering[1:], expected.clustering, atol=1e-12)


def test_patches_are_immutable():
    patches = Patches.build([strings()], s=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        patches.listed = 0
