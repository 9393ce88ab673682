"""Traces of latents in targets, cut targets, and training in phases: by properties, on small shapes."""

import numpy as np
import pytest
import torch

from rhmlib.data2vec_ablation import CutData2Vec
from rhmlib.encoders import TreeEncoder
from rhmlib.experiment_phases import PhasesExperiment
from rhmlib.grammar import Grammar
from rhmlib.objectives import Descent, Masking
from rhmlib.probes import fit_linear
from rhmlib.traces import Parser, Regression, ancestors, one_hot, trace_shares

torch.set_num_threads(1)
GRAMMAR = Grammar.random(v=4, m=2, s=2, L=3, seed=0)


def drawn(n, seed=0):
    return GRAMMAR.sample(n, np.random.default_rng(seed))


def everywhere(tokens):
    return torch.arange(tokens.numel())


# ---------------------------------------------------------------- traces


def test_the_parser_finds_the_latents_that_made_a_string():
    sample = drawn(50)
    found = Parser(GRAMMAR)(torch.from_numpy(sample.tokens))
    for ours, theirs in zip(found, sample.levels, strict=True):
        assert torch.equal(ours, torch.from_numpy(theirs.astype(np.int64)))


def test_a_leafs_ancestors_are_those_above_it():
    sample = drawn(3)
    levels = Parser(GRAMMAR)(torch.from_numpy(sample.tokens))
    found = ancestors(levels, torch.tensor([8 + 5]))[0].tolist()
    assert found == [int(sample.levels[level][1, 5 // 2**level]) for level in range(4)]


def test_regression_finds_a_linear_target_and_forgets_an_old_one():
    generator = torch.Generator().manual_seed(0)
    symbols = torch.randint(4, (400, 2), generator=generator)
    inputs = one_hot(symbols, 4)
    old, new = (torch.randn(8, 3, generator=generator) for _ in range(2))
    regression = Regression(memory=0.0)
    regression.update(inputs, inputs @ old)
    regression.update(inputs, inputs @ new + 5)
    found = regression.mean_out + regression.trace(inputs)
    torch.testing.assert_close(found, inputs @ new + 5, rtol=1e-3, atol=1e-3)
    both = Regression(memory=1.0)
    both.update(inputs, inputs @ old)
    both.update(inputs, inputs @ new)
    torch.testing.assert_close(
        both.trace(inputs) + both.mean_out, inputs @ (old + new) / 2, rtol=1e-3, atol=1e-3
    )


def test_memory_out_of_range_is_named():
    with pytest.raises(ValueError, match=r"memory must be in \[0, 1\]. Found memory=2"):
        Regression(memory=2)


def test_shares_are_those_that_a_target_was_made_with():
    sample = drawn(4000)
    tokens = torch.from_numpy(sample.tokens)
    symbols = ancestors(Parser(GRAMMAR)(tokens), 8 * torch.arange(4000))[:, :3]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4000, 40, generator=generator)
    nothing = trace_shares(noise, symbols, 4)
    assert max(map(abs, nothing)) < 0.01
    # Level 2 alone: the levels below tell something of it, and level 2 the rest.
    target = one_hot(symbols[:, 2:], 4) @ torch.randn(4, 40, generator=generator)
    shares = trace_shares(target, symbols, 4)
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    assert shares[2] > 0.3
    weak = trace_shares(target + noise * target.var(0).mean().sqrt(), symbols, 4)
    assert sum(weak) == pytest.approx(0.5, abs=0.03)


# ---------------------------------------------------------------- cut targets


def cut_learner(part, level, **changes):
    encoder = TreeEncoder(v=4, s=2, L=3, width=24, model_seed=1)
    return CutData2Vec(
        encoder, Masking(2, 3), parser=Parser(GRAMMAR), part=part, cut_level=level, **changes
    )  # fmt: skip


def fitted_targets(part, level):
    """Cut targets of fresh strings after the coefficients were fitted to others, and ancestors."""
    learner = cut_learner(part, level)
    fit, tokens = (torch.from_numpy(drawn(3000, seed).tokens).long() for seed in (1, 2))
    learner.cut(learner.whole_targets(fit), fit, learn=True)
    cut = learner.cut(learner.whole_targets(tokens), tokens, learn=False)
    return learner, tokens, cut, ancestors(Parser(GRAMMAR)(tokens), everywhere(tokens))


def probe_accuracy(features, labels):
    half = len(features) // 2
    parts = [(features[None, part], labels[None, part]) for part in (slice(half), slice(half, None))]
    return float(fit_linear(*parts[0], *parts[1], classes=4).score(*parts[1]))


def test_no_linear_map_tells_a_latent_that_was_cut_and_others_are_still_told():
    _, _, cut, symbols = fitted_targets("without", 1)
    most = float(torch.bincount(symbols[:, 1]).max() / len(symbols))
    assert probe_accuracy(cut, symbols[:, 1]) < most + 0.03
    assert probe_accuracy(cut, symbols[:, 0]) > 0.99
    learner, tokens, _, _ = fitted_targets("whole", 1)
    assert probe_accuracy(learner.whole_targets(tokens), symbols[:, 1]) > most + 0.3


def test_a_target_up_to_a_level_is_a_function_of_the_ancestors_up_to_it():
    learner, tokens, cut, symbols = fitted_targets("upto", 1)
    keys = symbols[:, 0] * 4 + symbols[:, 1]
    for key in keys.unique():
        rows = cut[keys == key]
        torch.testing.assert_close(rows, rows[:1].expand_as(rows), rtol=1e-4, atol=1e-5)
    whole = learner.whole_targets(tokens)
    assert (whole - cut).square().mean() < (whole - whole.mean(0)).square().mean()


def test_the_parts_of_a_target_add_up():
    """What is cut is the mean given the ancestor: without it, means given the ancestor agree."""
    _, _, cut, symbols = fitted_targets("without", 2)
    means = torch.stack([cut[symbols[:, 2] == a].mean(0) for a in range(4)])
    assert (means - means.mean(0)).square().mean() < 0.02 * cut.var(0).mean()


def test_a_whole_target_is_data2vecs():
    whole, cut = cut_learner("whole", 0), cut_learner("upto", 2)
    tokens = torch.from_numpy(drawn(100).tokens).long()
    generator = torch.Generator().manual_seed(0)
    (batch,) = whole.batches(tokens, tokens[:, 0], 100, generator)
    torch.testing.assert_close(whole.targets(tokens, batch.at), whole.whole_targets(tokens)[batch.at])
    loss = whole(batch)
    assert loss.isfinite()
    assert not torch.isclose(loss, cut(batch))


def test_gradient_reaches_the_student_alone():
    learner = cut_learner("without", 1)
    tokens = torch.from_numpy(drawn(64).tokens).long()
    (batch,) = learner.batches(tokens, tokens[:, 0], 64, torch.Generator().manual_seed(0))
    before = [p.clone() for p in learner.teacher.up.parameters()]
    Descent(learner, lr=1e-3).step(batch)
    assert all(p.grad is None for p in learner.teacher.up.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, learner.teacher.up.parameters(), strict=True))


@pytest.mark.parametrize(
    ("part", "level", "message"),
    [("some", 0, "part must be one of"), ("upto", 3, r"cut_level must be in 0..L-1 = 2. Found cut_level=3")],
)
def test_bad_cuts_are_named(part, level, message):
    with pytest.raises(ValueError, match=message):
        cut_learner(part, level)


# ---------------------------------------------------------------- phases

SMALL = {
    "v": 4, "m": 2, "s": 2, "L": 2, "width": 16, "phases": 2, "phase_steps": 20, "batch_size": 16,
    "n_val": 20, "n_test": 20, "n_probe": 20, "device": "cpu",
    "grammar_seed": 0, "data_seed": 0, "model_seed": 0,
}  # fmt: skip


@pytest.mark.parametrize("part", ["whole", "without", "upto"])
@pytest.mark.parametrize("n", [None, 16])
def test_the_experiment_is_deterministic_and_has_a_row_a_phase_and_level(part, n):
    settings = PhasesExperiment(**SMALL, part=part, n=n)
    rows = settings.run()
    assert rows == settings.run()
    assert [(row["phase"], row["level"]) for row in rows] == [(p, a) for p in range(3) for a in range(3)]
    assert rows[-1]["strings_seen"] == 640
    assert settings.cost() > 0
    for row in rows:
        assert (row["probe_accuracy"] is None) == (row["level"] == 0)
        assert (row["synonym_score"] is None) == (row["level"] in (0, 2))
        assert (row["trace_share"] is None) == (row["level"] == 2)


def test_teachers_differ_only_in_when_they_move():
    shares = {}
    for teacher in ("average", "phases", "frozen"):
        rows = PhasesExperiment(**SMALL, teacher=teacher).run()
        shares[teacher] = [row["trace_share"] for row in rows if row["level"] == 0]
    assert len({part[0] for part in shares.values()}) == 1
    # The moving average shares the student's embeddings; a frozen teacher keeps its own for ever.
    assert shares["frozen"][0] == shares["frozen"][1] == shares["frozen"][2]
    assert len(set(shares["phases"])) == 3
    assert shares["average"] != shares["phases"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 100000}, "n must be at most the number of strings, 32. Found n=100000"),
        ({"cut_level": 2}, "cut_level must be in 0..L-1 = 1. Found cut_level=2"),
        ({"mask_block": 2}, "mask_block must be in 0..L-1 = 1"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        PhasesExperiment(**{**SMALL, **changes})
