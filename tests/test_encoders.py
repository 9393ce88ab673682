"""Encoders, objectives and their probes: by properties, on small shapes."""

import copy
import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch
from torch.nn import functional

from rhmlib import experiments, results
from rhmlib.baselines import MaskedTokens, NextToken, Supervised
from rhmlib.data2vec import Data2Vec
from rhmlib.encoder_probes import probe_levels, synonym_scores
from rhmlib.encoders import Features, Transformer, TreeEncoder, target_mean
from rhmlib.experiment_encoder import EncoderExperiment, _Run
from rhmlib.grammar import Grammar
from rhmlib.objectives import Batch, Descent, Masking

torch.set_num_threads(1)
V, S, L = 5, 2, 3
SHAPE = {"v": V, "s": S, "L": L, "width": 8}


def make(kind, **changes):
    if kind == "tree":
        return TreeEncoder(**{**SHAPE, **changes})
    return Transformer(**{**SHAPE, "n_blocks": 3, "n_heads": 2, **changes})


def strings(n, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, V, size=(n, S**L)))


KINDS = pytest.mark.parametrize("kind", ["tree", "transformer"])


# ---------------------------------------------------------------- encoders


@KINDS
def test_the_state_of_a_masked_leaf_knows_every_other_leaf_and_not_its_own_token(kind):
    encoder = make(kind)
    tokens = strings(1)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    mask[0, 2] = True
    at = torch.tensor([2])
    base = encoder.read(encoder.encode(tokens, mask), at)
    for place in range(S**L):
        changed = tokens.clone()
        changed[0, place] = (changed[0, place] + 1) % V
        same = torch.equal(encoder.read(encoder.encode(changed, mask), at), base)
        assert same == (place == 2)


@KINDS
def test_strings_do_not_see_each_other(kind):
    encoder, tokens = make(kind), strings(40)
    at = torch.arange(0, 40 * S**L, 3)
    alone = torch.cat(
        [encoder.read(encoder.encode(row[None]), at[at // S**L == i] % S**L) for i, row in enumerate(tokens)]
    )
    torch.testing.assert_close(encoder.read(encoder.encode(tokens), at), alone, rtol=1e-4, atol=1e-5)


def test_tuples_that_are_looked_up_have_the_features_of_tuples_that_are_computed():
    encoder, tokens = make("tree"), strings(200)
    few = encoder.encode(tokens[:2], final=True)  # too few nodes for a table
    many = encoder.encode(tokens, final=True)
    assert len(many.features[1].rows) == (V + 1) ** S
    for a, b in zip([*few.features, few.final], [*many.features, many.final], strict=True):
        torch.testing.assert_close(a.dense(), b.dense()[:2], rtol=1e-4, atol=1e-5)


def test_a_causal_transformer_does_not_look_ahead():
    encoder, tokens = make("transformer", causal=True), strings(1)
    changed = tokens.clone()
    changed[0, 4] = (changed[0, 4] + 1) % V
    a, b = (encoder.encode(part).final.dense() for part in (tokens, changed))
    assert torch.equal(a[:, :4], b[:, :4])
    assert not torch.equal(a[:, 4:], b[:, 4:])


@KINDS
def test_node_features_depend_on_the_leaves_under_a_node(kind):
    encoder, tokens = make(kind), strings(6)
    found = encoder.nodes(tokens)
    count = 1 if kind == "tree" else 4
    assert [tuple(part.shape) for part in found] == [(count, 6, S ** (L - k), 8) for k in range(1, L + 1)]
    if kind == "tree":
        changed = tokens.clone()
        changed[:, 0] = (changed[:, 0] + 1) % V
        moved = [(a != b).any(3)[0, 0] for a, b in zip(found, encoder.nodes(changed), strict=True)]
        assert all(part[0] and not part[1:].any() for part in moved)


@KINDS
def test_weights_depend_on_the_seed_alone(kind):
    state = torch.random.get_rng_state()
    a, b, c = (make(kind, model_seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)


@KINDS
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width must be at least 1. Found width=0"),
        ({"hidden": 0}, "hidden must be at least 1. Found hidden=0"),
        ({"v": 1}, "v must be at least 2. Found v=1"),
    ],
)
def test_bad_shapes_are_named(kind, changes, message):
    with pytest.raises(ValueError, match=message):
        make(kind, **changes)


def test_bad_calls_are_named():
    with pytest.raises(ValueError, match=r"width must be a multiple of n_heads=2. Found width=9"):
        make("transformer", width=9)
    with pytest.raises(ValueError, match="dropout must be in"):
        make("transformer", dropout=1.0)
    with pytest.raises(ValueError, match=r"tokens must have shape \(B, s\*\*L\) = \(B, 8\). Found \(2, 7\)"):
        make("tree").encode(torch.zeros(2, 7, dtype=torch.int64))
    with pytest.raises(ValueError, match="mask must have the shape of tokens"):
        make("tree").encode(strings(2), torch.zeros(1, 8, dtype=torch.bool))


# ---------------------------------------------------------------- masks


def test_masks():
    generator = torch.Generator().manual_seed(0)
    mask = Masking(S, 5, 0.2).draw(4000, generator)
    assert mask.any(1).all()
    assert mask.float().mean().item() == pytest.approx(0.2, abs=0.01)
    rare = Masking(S, L, 0.001).draw(4000, generator)
    assert rare.any(1).all()
    assert rare.float().mean().item() == pytest.approx(1 / 8, abs=0.01)
    for k in range(L):
        block = Masking(S, L, block=k).draw(200, generator)
        assert (block.sum(1) == S**k).all()
        inside = block.unflatten(1, (-1, S**k))
        assert (inside.all(2) == inside.any(2)).all()
    spans = Masking(S, L, 0.1, span=3).draw(500, generator)
    runs = functional.pad(spans.int(), (1, 1)).diff(dim=1)
    lengths = (runs == -1).nonzero()[:, 1] - (runs == 1).nonzero()[:, 1]
    ends = (runs == -1).nonzero()[:, 1]
    assert ((lengths >= 3) | (ends == S**L)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probability": 0.0}, r"mask_probability must be in \(0, 1\]. Found mask_probability=0.0"),
        ({"span": 9}, r"mask_span must be in 1..s\*\*L = 8. Found mask_span=9"),
        ({"block": 3}, r"mask_block must be in 0..L-1 = 2. Found mask_block=3"),
    ],
)
def test_bad_masks_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        Masking(S, L, **changes)


# ---------------------------------------------------------------- objectives


def objectives(kind="tree"):
    masking = Masking(S, L, 0.3)
    causal = {"causal": True} if kind == "transformer" else {}
    return [
        Data2Vec(make(kind), masking),
        MaskedTokens(make(kind), masking),
        NextToken(make(kind, **causal)),
        Supervised(make(kind)),
    ]


def batch_of(objective, n=16):
    tokens = strings(n)
    return next(objective.batches(tokens, tokens[:, 0], n, torch.Generator().manual_seed(0)))


@KINDS
def test_every_objective_can_fit_one_batch(kind):
    for objective in objectives(kind):
        batch = batch_of(objective)
        descent = Descent(objective, lr=1e-2)
        first = float(objective(batch).detach())
        for _ in range(60):
            descent.step(batch)
        assert float(descent.last_loss) < 0.6 * first


def test_the_loss_of_masked_tokens_is_the_cross_entropy_of_what_is_hidden():
    objective = MaskedTokens(make("tree"), Masking(S, L, 0.3))
    batch = batch_of(objective)
    logits = objective.head(
        objective.encoder.read(objective.encoder.encode(batch.tokens, batch.mask), batch.at)
    )
    expected = -logits.log_softmax(1)[torch.arange(len(batch.at)), batch.tokens[batch.mask]].mean()
    torch.testing.assert_close(objective(batch), expected)


def states_read(objective, batch):
    """What the head of an objective is given, a row a predicted token."""
    seen = []
    hook = objective.head.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    objective(batch)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize(("kind", "options"), [("tree", {}), ("transformer", {"causal": True})])
def test_next_token_prediction_sees_what_stands_before_and_no_more(kind, options):
    objective = NextToken(make(kind, **options))
    batch = batch_of(objective)
    states = states_read(objective, batch)
    for k in range(1, S**L):
        rows = batch.at % S**L == k
        for place in (slice(k, None), slice(k)):
            changed = batch.tokens.clone()
            changed[:, place] = (changed[:, place] + 1) % V
            others = states_read(objective, dataclasses.replace(batch, tokens=changed))
            assert torch.equal(others[rows], states[rows]) == (place.start == k or not rows.any())


def test_next_token_prediction_asks_for_a_causal_transformer():
    with pytest.raises(ValueError, match="causal must be True in next-token prediction"):
        NextToken(make("transformer"))


def test_the_target_is_the_mean_of_normalised_features_of_the_ancestors():
    encoder = make("tree")
    tokens = strings(3)
    encoding = encoder.encode(tokens)
    at = torch.tensor([1, 13])
    found = target_mean(encoding, at, S**L, [0, 2])
    for row, leaf in zip(found, at.tolist(), strict=True):
        b, p = divmod(leaf, S**L)
        parts = [encoding.features[k].dense()[b, p // S**k] for k in (0, 2)]
        torch.testing.assert_close(row, torch.stack([functional.layer_norm(x, (8,)) for x in parts]).mean(0))


def test_what_of_the_target_is_normalised():
    encoder, at = make("tree"), torch.tensor([1, 13])
    encoding = encoder.encode(strings(3))
    plain = [encoding.features[k].at(at // S**k) for k in (0, 2)]
    mean = target_mean(encoding, at, S**L, [0, 2], normalise_layers=False)
    torch.testing.assert_close(mean, torch.stack(plain).mean(0))
    whole = target_mean(encoding, at, S**L, [0, 2], normalise_target=True)
    expected = functional.layer_norm(target_mean(encoding, at, S**L, [0, 2]), (8,))
    torch.testing.assert_close(whole, expected)


def test_the_states_of_post_norm_blocks_are_normalised():
    encoder = make("transformer", layer_norm="post")
    encoder.norm = torch.nn.Identity()
    states = encoder.encode(strings(3)).final.dense()
    torch.testing.assert_close(functional.layer_norm(states, (8,)), states, atol=1e-4, rtol=1e-4)
    pre = make("transformer")
    pre.norm = torch.nn.Identity()
    states = pre.encode(strings(3)).final.dense()
    assert (functional.layer_norm(states, (8,)) - states).abs().max() > 0.1


def test_a_deep_head_is_one_of_several_layers():
    objective = Data2Vec(make("tree"), Masking(S, L, 0.3), head_depth=3)
    assert sum(isinstance(part, torch.nn.Linear) for part in objective.head.modules()) == 3
    with pytest.raises(ValueError, match=r"head_depth must be at least 1. Found head_depth=0"):
        Data2Vec(make("tree"), Masking(S, L, 0.3), head_depth=0)


def test_the_teacher_is_the_moving_average_and_shares_the_tables():
    objective = Data2Vec(make("tree"), Masking(S, L, 0.3), ema=0.9)
    student, teacher = objective.encoder, objective.teacher
    assert teacher.embedding[0].weight is student.embedding[0].weight
    assert not teacher.training
    old = copy.deepcopy(teacher.up[0][0].weight)
    Descent(objective, lr=1e-2).step(batch_of(objective))
    expected = 0.9 * old + 0.1 * student.up[0][0].weight
    torch.testing.assert_close(teacher.up[0][0].weight, expected.detach())
    assert not any(
        p.requires_grad and p is not q
        for p, q in zip(teacher.parameters(), student.parameters(), strict=True)
    )


def test_a_frozen_teacher_is_replaced_when_due():
    objective = Data2Vec(make("tree"), Masking(S, L, 0.3), refresh=3)
    descent, batch = Descent(objective, lr=1e-2), batch_of(objective)
    first = copy.deepcopy(objective.teacher.state_dict())
    for step in range(1, 4):
        descent.step(batch)
        now = objective.teacher.state_dict()
        if step < 3:
            assert all(torch.equal(now[k], first[k]) for k in now)
    student = objective.encoder.state_dict()
    assert all(torch.equal(now[k], student[k]) for k in now)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ema": 1.0}, "ema must be in"),
        ({"beta": -1.0}, "beta must be at least 0"),
        ({"refresh": -1}, "refresh must be at least 0"),
        ({"target_levels": [3]}, r"target_levels must be distinct numbers of 0..2"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        Data2Vec(make("tree"), Masking(S, L, 0.3), **changes)


@KINDS
def test_a_step_reads_nothing_back_from_the_device(kind):
    for objective in objectives(kind):
        batch = batch_of(objective)
        parts = {field.name: getattr(batch, field.name).to("meta") for field in dataclasses.fields(batch)}
        objective.to("meta")
        if isinstance(objective, Data2Vec):
            pairs = zip(objective.teacher.parameters(), objective.encoder.parameters(), strict=True)
            objective._moved = [(old, new) for old, new in pairs if old is not new]
        descent = Descent(objective, lr=1e-2)
        descent.step(Batch(**parts))
        assert descent.last_loss.device.type == "meta"


# ---------------------------------------------------------------- probes


def sample(n, m=3, seed=0):
    return Grammar.random(v=V, m=m, s=S, L=L, seed=0).sample(n, np.random.default_rng(seed))


def one_hot(symbols, classes):
    return functional.one_hot(torch.as_tensor(symbols).long(), classes).float()


def latent_nodes(grammar):
    """Features that are the true latents: found by parsing, which is unambiguous."""

    def nodes(tokens):
        symbols, found = np.asarray(tokens).astype(int), []
        for level in range(1, L + 1):
            table = np.full((V,) * S, -1)
            for symbol in range(V):
                for rule in grammar.rules[level - 1][symbol]:
                    table[tuple(int(x) for x in rule)] = symbol
            pairs = symbols.reshape(len(symbols), -1, S)
            symbols = table[tuple(pairs[..., i] for i in range(S))]
            assert (symbols >= 0).all()
            found.append(one_hot(symbols, V)[None])
        return found

    return nodes


def token_nodes(tokens):
    """Features that are the tokens below a node, concatenated."""
    hot = one_hot(tokens, V)
    return [hot.unflatten(1, (-1, S**k)).flatten(2)[None] for k in range(1, L + 1)]


def test_synonym_scores_are_one_of_latents_and_zero_of_tokens():
    data = sample(3000)
    for nodes, expected in ((latent_nodes(data.grammar), 1.0), (token_nodes, 0.0)):
        rows = synonym_scores(nodes, data, np.random.default_rng(0))
        assert [row["level"] for row in rows] == [1, 2]
        for row in rows:
            assert row["synonym_score"] == pytest.approx(expected, abs=0.03)
    assert abs(rows[0]["synonym_raw"]) > 0.03  # shared tokens alone move the paper's score
    with pytest.raises(ValueError, match=r"shifts must be in 1..2999"):
        synonym_scores(token_nodes, data, np.random.default_rng(0), shifts=3000)


def test_probes_of_latents_are_right_and_those_of_noise_guess():
    parts = [sample(n, seed=i) for i, n in enumerate((500, 200, 400))]
    rows = probe_levels(latent_nodes(parts[0].grammar), *parts)
    assert [row["probe_accuracy"] for row in rows] == [1.0] * L
    noise = torch.Generator().manual_seed(0)
    rows = probe_levels(
        lambda tokens: [
            torch.randn(1, len(tokens), S ** (L - k), 4, generator=noise) for k in range(1, L + 1)
        ],
        *parts,
    )
    assert all(row["probe_accuracy"] < 0.5 for row in rows)


def test_features_know_their_places():
    dense = torch.randn(3, 4, 2)
    features = Features.of(dense)
    assert torch.equal(features.dense(), dense)
    assert torch.equal(features.at(torch.tensor([5])), dense[1, 1][None])


# ---------------------------------------------------------------- the experiment

SMALL = {
    "v": 4, "m": 2, "L": 2, "n": 20, "width": 16, "batch_size": 16, "steps": 30, "n_evaluations": 2,
    "n_val": 20, "n_test": 20, "n_probe": 20, "device": "cpu",
    "grammar_seed": 0, "data_seed": 0, "model_seed": 0,
}  # fmt: skip


@pytest.mark.parametrize("objective", ["data2vec", "mlm", "ntp", "supervised"])
@pytest.mark.parametrize("architecture", ["tree", "transformer"])
def test_the_experiment_is_deterministic_and_says_what_it_saw(objective, architecture):
    settings = EncoderExperiment(**SMALL, objective=objective, architecture=architecture, dropout=0.1)
    rows = settings.run()
    assert rows == settings.run()
    checkpoints = {row["checkpoint"] for row in rows}
    assert checkpoints == {"untrained", "curve", "last", "best"}
    assert len(rows) % 2 == 0
    assert {row["level"] for row in rows} == {1, 2}
    assert settings.cost() > 0


def test_fresh_strings_where_no_number_is_given():
    rows = EncoderExperiment(**{**SMALL, "n": None}, objective="mlm").run()
    assert rows[0]["n_over_vm3"] is None
    assert rows[-1]["strings_seen"] <= 30 * 16


# What a setting of the paper's Table 1 was before it was a setting, and something else.
ADDED = {
    "activation": "relu", "layer_norm": "post", "linear_std": 0.02, "token_std": 0.02, "position_std": 0.02,
    "normalise_layers": False, "normalise_target": True, "head_depth": 2, "clip": 0.01, "adam_beta1": 0.5,
    "adam_beta2": 0.5,
}  # fmt: skip


def loss_after_three_steps(config):
    run = _Run(config)
    for batch in run.batches(3):
        run.descent.step(batch)
    return run._loss(run.validation)


def test_every_added_setting_changes_the_run_and_its_hash():
    base = {**SMALL, "objective": "data2vec", "architecture": "transformer"}
    assert set(ADDED) == EncoderExperiment.added
    plain = EncoderExperiment(**base)
    values = {k: v for k, v in experiments.config_values(plain).items() if k not in ADDED}
    text = json.dumps(["encoder", values], sort_keys=True)
    assert experiments.config_hash("encoder", plain) == hashlib.sha256(text.encode()).hexdigest()[:12]
    losses = {None: loss_after_three_steps(plain)}
    for name, value in ADDED.items():
        changed = EncoderExperiment(**base, **{name: value})
        losses[name] = loss_after_three_steps(changed)
        assert experiments.config_hash("encoder", changed) != experiments.config_hash("encoder", plain)
        texts = {k: results.cell(v) for k, v in experiments.config_values(changed).items()}
        assert experiments.configure_from_text("encoder", texts) == changed
    assert len(set(losses.values())) == len(losses)
    older = {k: results.cell(v) for k, v in experiments.config_values(plain).items()}
    assert experiments.configure_from_text("encoder", {**older, **dict.fromkeys(ADDED, "")}) == plain


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_norm": "post"}, "layer_norm must be left out with the tree encoder"),
        ({"position_std": 0.1}, "position_std must be left out with the tree encoder"),
        ({"n": 100000}, "n must be at most the number of strings, 32. Found n=100000"),
        ({"mask_block": 2}, "mask_block must be in 0..L-1 = 1"),
        ({"architecture": "transformer", "width": 18}, "width must be a multiple of n_heads=4"),
        ({"top_k": 1, "omit_level": 1}, "omit_level must leave a level in the target"),
        ({"m": 9}, "m"),
    ],
)
def test_bad_experiments_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        EncoderExperiment(**{**SMALL, "objective": "data2vec", **changes})
