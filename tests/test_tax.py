"""The tax of token targets: exact means and noise, what visible neighbours tell, and the predictions."""

import itertools
import math

import numpy as np
import pytest

from rhmlib import exact, experiments, tax
from rhmlib.belief_propagation import posterior
from rhmlib.entropies import block_strings, entropy
from rhmlib.grammar import Grammar
from rhmlib.ilc_theory import noise_dimensions
from rhmlib.sampling import derive
from rhmlib.token_ilc import CONDITIONAL, TARGETS, TokenILC


def grammar_of(v=3, m=2, s=2, L=3, seed=0):
    return Grammar.random(v=v, m=m, s=s, L=L, seed=seed)


def everything(grammar):
    """Each string of a tiny grammar once: they are equally likely."""
    return derive(grammar, np.arange(grammar.n_strings))


# ---------------------------------------------------------------- (a) means and noise of token ILC


def observations(grammar, level, targets, position):
    """Parents of the first tuple (or all of them) and one observation of its context, by definition."""
    sample, s, v = everything(grammar), grammar.s, grammar.v
    bottom = level if targets in ("latents_all", "lifted") else 0
    width = s ** (level + 1 - bottom)
    places = 1 if targets == "tokens_one" else s ** (grammar.L - level - 2)
    parents, vectors = [], []
    for g in range(places):
        parents.append(sample.levels[level + 1][:, g * s + position])
        parts = []
        for q in [1] if targets == "tokens_one" else [q for q in range(s) if q != position]:
            node = (g * s + q) * width
            if targets not in CONDITIONAL:
                leaves = range(1 if targets == "tokens_one" else width)
                parts += [np.eye(v)[sample.levels[bottom][:, node + t]] for t in leaves]
                continue
            rest = np.zeros(len(sample), dtype=np.int64)
            for k in range(bottom, level + 1):
                first = (g * s + q) * s ** (level + 1 - k)
                for i in range(1, s):
                    rest = rest * v + sample.levels[k][:, first + i]
            parts.append((rest, sample.levels[bottom][:, node]))
        vectors.append(parts)
    parents = np.concatenate(parents)
    if targets not in CONDITIONAL:
        return parents, np.concatenate([np.concatenate(parts, axis=1) for parts in vectors])
    out = []
    for parts in zip(*vectors, strict=True):
        rest, x = (np.concatenate(z) for z in zip(*parts, strict=True))
        rest = np.unique(rest, return_inverse=True)[1]
        joint = np.zeros((rest.max() + 1, v))
        np.add.at(joint, (rest, x), 1)
        law = joint / joint.sum(axis=1, keepdims=True)
        vector = np.zeros((len(x), *law.shape))
        vector[np.arange(len(x)), rest] = np.eye(v)[x] - law[rest]
        out.append(vector.reshape(len(x), -1))
    return parents, np.concatenate(out, axis=1)


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("shape", [(3, 2, 2, 3), (4, 3, 2, 2), (3, 2, 3, 2)])
def test_means_and_noise_are_what_enumeration_gives(targets, shape):
    v, m, s, L = shape
    grammar = grammar_of(v, m, s, L, seed=1)
    for level in range(L - 1):
        for position in range(1 if targets == "tokens_one" else s):
            found = tax.token_contexts(grammar, level, targets, position=position)
            parents, vectors = observations(grammar, level, targets, position)
            law = np.bincount(parents, minlength=v) / len(parents)
            np.testing.assert_allclose(found.parent_law, law, atol=1e-12)
            seen = np.flatnonzero(law)
            mean = np.stack([vectors[parents == a].mean(axis=0) for a in seen])
            distance = np.linalg.norm(mean[:, None] - mean[None], axis=-1)
            np.testing.assert_allclose(found.distances[np.ix_(seen, seen)], distance, atol=1e-7)
            from_average = ((mean - vectors.mean(axis=0)) ** 2).sum(axis=1)
            assert found.signal == pytest.approx(law[seen] @ from_average)
            noise = [np.cov(vectors[parents == a].T, bias=True) for a in seen]
            np.testing.assert_allclose(found.spread[seen], [np.trace(x) for x in noise], atol=1e-12)
            if targets in CONDITIONAL and s > 2:
                continue  # noises of different cousins are taken as independent there
            dims = [np.trace(x) ** 2 / (x**2).sum() if (x**2).sum() > 1e-14 else 1 for x in noise]
            assert found.dims == pytest.approx(np.average(dims, weights=law[seen]))


def test_latent_targets_are_those_of_ilc():
    grammar = grammar_of(6, 3, 2, 4)
    for level in range(3):
        ilc = exact.contexts(grammar, level, "all")
        width = ilc.parent_contexts.shape[1] // 2
        square = 0
        for p in range(2):
            ours = tax.token_contexts(grammar, level, "latents_all", position=p)
            np.testing.assert_allclose(ours.mean, ilc.parent_contexts[:, p * width : (p + 1) * width])
            assert ours.dims == pytest.approx(noise_dimensions(grammar, level, "all")[p])
            square = square + ours.distances**2
        np.testing.assert_allclose(np.sqrt(square), ilc.distances)


def test_the_tax_is_m_a_level_for_a_token_and_none_for_latents():
    """Signals of a level over the level below, geometric mean over 12 grammars."""
    m, grammars = 4, [grammar_of(16, 4, 2, 4, seed) for seed in range(12)]

    def cost(targets):
        signal = [[tax.token_contexts(g, level, targets).signal for level in range(3)] for g in grammars]
        return math.exp(-np.diff(np.log(np.mean(signal, axis=0))).mean())

    assert 0.7 * m < cost("tokens_one") < 1.3 * m
    assert 0.8 < cost("latents_all") < 1.25
    assert 0.8 < cost("lifted") < 1.25
    assert cost("conditional") > m  # a cell for each visible rest: cells dilute as averaging does


def test_sampled_contexts_scatter_around_the_exact_means():
    grammar = grammar_of(6, 3, 2, 3)
    sample = grammar.sample(20000, np.random.default_rng(0))
    learner = TokenILC(targets="tokens_all", n_init=1, random_state=0).fit(sample)
    tuples = sample.levels[1][:, :2]
    for u, row in zip(learner.tuples_[1], learner.contexts_[1], strict=True):
        law = tax.token_contexts(grammar, 1, "tokens_all", position=0)
        half = law.mean.shape[1]
        a = grammar.parent(u[None], 1)[0]
        count = (tuples == u).all(axis=1).sum()
        error = np.sqrt(law.mean[a] * (1 - law.mean[a]) / max(1, count))
        if count > 0:
            assert (np.abs(row[:half] - law.mean[a]) <= 4.5 * error + 1e-12).all()


@pytest.mark.parametrize(
    ("targets", "multiples"), [("tokens_all", (4, 16)), ("lifted", (1, 4)), ("conditional", (4, 16))]
)
def test_the_prediction_is_near_what_is_measured(targets, multiples):
    grammars = [grammar_of(16, 4, 2, 3, seed) for seed in range(4)]
    for multiple in multiples:
        n = multiple * 16 * 4**3
        predicted = np.mean([tax.predicted_level_accuracy(g, n, targets, 2) for g in grammars])
        measured = []
        for g in grammars:
            train, test = (g.sample(k, np.random.default_rng(i)) for i, k in enumerate((n, 500)))
            measured.append(TokenILC(targets=targets, random_state=0).fit(train).level_scores(test)[1])
        assert abs(predicted - np.mean(measured)) < 0.2


def test_predicted_thresholds_grow_with_the_level_for_tokens_only():
    def growth(targets):
        thresholds = [
            tax.predicted_level_threshold(grammar_of(16, 4, 2, level + 1), targets, level) for level in (2, 3)
        ]
        return thresholds[1] / thresholds[0]

    assert growth("tokens_all") > 3
    assert 0.5 < growth("lifted") < 2


def test_no_threshold_where_nothing_can_be_learnt():
    grammar = grammar_of(3, 3, 2, 2)  # f = 1: cousins are independent
    assert tax.predicted_level_threshold(grammar, "latents_all", 1, max_multiple=64) == math.inf


# ---------------------------------------------------------------- (b) visible neighbours


@pytest.mark.parametrize(("level", "m", "s"), [(1, 2, 2), (2, 2, 2), (1, 2, 3)])
def test_the_lift_is_what_enumeration_gives(level, m, s):
    """Over all strings of two neighbouring subtrees and every mask of the token's own."""
    grammar = grammar_of(3, m, s, level + 1, seed=2)
    sample, v = everything(grammar), grammar.v
    own = sample.tokens[:, s**level : 2 * s**level]
    latent = sample.levels[level][:, 0]
    for hidden in itertools.product([False, True], repeat=s**level):
        mask = np.array(hidden)
        for position in np.flatnonzero(mask):
            found = tax.lift(grammar, level, mask, position)
            code = np.unique(np.where(mask, 0, own), axis=0, return_inverse=True)[1].reshape(-1)
            joint = np.zeros((code.max() + 1, v, v))
            np.add.at(joint, (code, own[:, position], latent), 1 / len(own))
            weight = joint.sum(axis=(1, 2))
            joint /= weight[:, None, None]
            token, c = joint.sum(axis=2), joint.sum(axis=1)
            flat = joint.reshape(len(joint), -1)
            assert found.exact
            assert found.token_entropy == pytest.approx(weight @ entropy(token))
            information = weight @ (entropy(token) + entropy(c) - entropy(flat))
            assert found.information == pytest.approx(information, abs=1e-12)
            given = joint / np.where(c > 0, c, 1)[:, None]
            signal = (((given - token[..., None]) ** 2).sum(axis=1) * c).sum(axis=1)
            assert found.signal == pytest.approx(weight @ signal, abs=1e-12)


def information(joint):
    return entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1)) - entropy(joint.reshape(-1))


@pytest.mark.parametrize("level", [1, 2])
def test_with_all_else_visible_a_token_stands_for_its_latent(level):
    """Then (token, rest) determines the latent b: I(x; c | w) + I(w; c) = I(b; c)."""
    grammar = grammar_of(6, 3, 2, 3)
    found = tax.lift(grammar, level, tax.block_mask(2, level, 0, 0), 0)
    pair = exact.pair_law(grammar, (level, 1), (level, 0))
    strings, symbols = block_strings(grammar, level)
    rest = np.unique(strings[:, 1:], axis=0, return_inverse=True)[1].reshape(-1)
    of_rest = np.zeros((rest.max() + 1, grammar.v))
    np.add.at(of_rest, (rest, symbols), grammar.v / len(strings))
    assert found.exact
    assert found.information + information(of_rest @ pair) == pytest.approx(information(pair))


def test_with_a_hidden_subtree_the_lift_is_the_pair_and_falls_by_m_a_level():
    m, grammars = 4, [grammar_of(16, 4, 2, 4, seed) for seed in range(4)]
    signals = np.zeros((len(grammars), 3))
    for i, g in enumerate(grammars):
        for level in (1, 2, 3):
            mask = tax.block_mask(2, level, 0, level)
            joint = exact.pair_law(g, (0, 2**level), (level, 0))
            found = tax.lift(g, level, mask, 0, rng=np.random.default_rng(0), n=3)
            assert found.information == pytest.approx(information(joint))
            signals[i, level - 1] = found.signal
    fall = signals.mean(axis=0)
    assert all(0.7 * m < a / b < 1.5 * m for a, b in itertools.pairwise(fall))


def test_sampling_agrees_with_the_sum_over_all_strings():
    grammar = grammar_of(6, 3, 2, 4)
    mask = tax.block_mask(2, 2, 1, 1)
    whole = tax.lift(grammar, 2, mask, 1)
    drawn = tax.lift(grammar, 2, mask, 1, rng=np.random.default_rng(0), n=3000, max_exact=0)
    assert whole.exact
    assert not drawn.exact
    assert whole.stderr == (0, 0, 0)
    for name, error in zip(("information", "token_entropy", "signal"), drawn.stderr, strict=True):
        assert 0 < abs(getattr(drawn, name) - getattr(whole, name)) < 4 * error
    same = np.tile(mask, (3000, 1))
    assert tax.lift(grammar, 2, same, 1, rng=np.random.default_rng(0)) == drawn


def test_the_joint_law_is_that_of_the_messages_on_the_whole_tree():
    grammar = grammar_of(5, 3, 2, 4)
    sample = grammar.sample(6, np.random.default_rng(0))
    own = np.zeros((6, 16), dtype=bool)
    own[:, :4] = True  # the cousin, and all to the right
    own[:, 8:] = True
    inside = tax.random_masks(2, 2, 1, 0.5, 6, np.random.default_rng(1))
    own[:, 4:8] = inside
    pair = exact.pair_law(grammar, (2, 1), (2, 0))
    joint = tax.joint_with_cousin(grammar, 2, sample.tokens[:, 4:8], inside, 1, pair)
    laws = posterior(grammar, sample.tokens, own)
    np.testing.assert_allclose(joint.sum(axis=2), laws.levels[0][:, 5], atol=1e-12)
    np.testing.assert_allclose(joint.sum(axis=1), laws.levels[2][:, 0], atol=1e-12)


def test_other_readings_are_counted_by_enumeration():
    for level in (1, 2):
        others = []
        for seed in range(10):
            rest = block_strings(grammar_of(12, 3, 2, 2, seed), level)[0][:, 1:]
            count = np.unique(rest, axis=0, return_inverse=True, return_counts=True)
            others.append((count[2][count[1].reshape(-1)] - 1).mean())
        assert np.mean(others) == pytest.approx(tax.other_readings(12, 3, 2, level), rel=0.25)


def test_masks():
    assert tax.block_mask(2, 3, 5, 1).tolist() == [False] * 4 + [True] * 2 + [False] * 2
    assert tax.block_mask(3, 1, 0, 0).tolist() == [True, False, False]
    assert tax.causal_mask(2, 2, 2).tolist() == [False, False, True, True]
    rng = np.random.default_rng(0)
    masks = tax.random_masks(2, 3, 4, 0.3, 2000, rng)
    assert masks[:, 4].all()
    share = np.delete(masks, 4, axis=1).mean()
    assert abs(share - 0.3) < 4 * math.sqrt(0.21 / 14000)
    assert tax.random_masks(2, 2, 0, 0.0, 5, rng).sum() == 5
    assert tax.random_masks(2, 2, 0, 1.0, 5, rng).all()


def test_the_table_has_a_row_a_mask_and_agrees_with_the_lift():
    grammar = grammar_of(6, 3, 2, 3)
    table = tax.lift_table([grammar], rates=[0.0, 1.0], n=50, rng=np.random.default_rng(0))
    assert len(table) == (2 + 2 + 2) + (3 + 3 + 2)
    one = table.query("level == 2 and mask == 'block' and size == 1").iloc[0]
    found = tax.lift(grammar, 2, tax.block_mask(2, 2, 0, 1), 0)
    assert (one.information, one.signal) == (found.information, found.signal)
    assert one.strings == 18 / found.signal
    assert (table.information <= table.latent_information + 1e-9).all()
    hidden = table.query("level == 2 and (mask == 'random' and size == 1 or mask == 'block' and size == 2)")
    assert np.ptp(hidden.information) < 1e-9
    again = tax.lift_table([grammar], rates=[0.0, 1.0], n=50, rng=np.random.default_rng(0))
    assert table.equals(again)


G = grammar_of(3, 2, 2, 3)
ALL = np.ones(4, dtype=bool)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: tax.token_contexts(G, 2, "tokens_all"), r"level must be in 0..1 .*Found level=2"),
        (lambda: tax.token_contexts(G, 0, "tokens"), r"targets must be one of .*Found targets='tokens'"),
        (
            lambda: tax.token_contexts(G, 0, "tokens_one", position=1),
            r"position must be in 0..0 .*position=1",
        ),
        (lambda: tax.predicted_level_accuracy(G, 0, "lifted", 1), r"n must be positive. Found n=0"),
        (lambda: tax.predicted_level_accuracy(G, 9, "lifted", 3), r"level must be in 1..2 .*level=3"),
        (lambda: tax.predicted_level_threshold(G, "lifted", 1, accuracy=1), r"accuracy .*Found accuracy=1"),
        (
            lambda: tax.predicted_level_threshold([G, grammar_of(4)], "lifted", 1),
            r"grammars must be of one shape",
        ),
        (lambda: tax.lift(G, 3, ALL, 0), r"level must be in 1..2 .*Found level=3"),
        (lambda: tax.lift(G, 2, ALL[:2], 0), r"mask must be of dtype bool and shape \(4,\).*shape \(2,\)"),
        (lambda: tax.lift(G, 2, ALL, 4), r"position must be in 0..3. Found position=4"),
        (lambda: tax.lift(G, 2, ~ALL, 0), r"mask must hide the token.*visible at 0"),
        (lambda: tax.lift(G, 2, ALL, 0, own=0), r"own and cousin must differ .*Found 0 and 0"),
        (lambda: tax.lift(G, 2, ALL, 0, max_exact=0), r"rng must be given .*Found rng=None"),
        (lambda: tax.block_mask(2, 2, 0, 3), r"k must be in 0..2. Found k=3"),
        (lambda: tax.causal_mask(2, 2, -1), r"position must be in 0..3. Found position=-1"),
        (lambda: tax.random_masks(2, 2, 0, 1.1, 3, np.random.default_rng(0)), r"rate .*Found rate=1.1"),
        (lambda: tax.strings_needed(G, -1.0), r"signal must be non-negative. Found signal=-1.0"),
    ],
)
def test_bad_arguments_are_named(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_the_theory_experiments():
    shape = {"v": 6, "m": 2, "L": 3, "grammar_seed": 1}
    config = experiments.configure("token_ilc_prediction", {**shape, "targets": "lifted"})
    rows = config.run()
    assert {row["level"] for row in rows} == {1, 2}
    grammar = grammar_of(6, 2, 2, 3, 1)
    for row in rows:
        n = row["n_over_vm3"] * 6 * 2**3
        accuracy = tax.predicted_level_accuracy(grammar, n, "lifted", row["level"])
        assert row["hungarian_accuracy"] == accuracy
    config = experiments.configure("token_lift", {**shape, "n_strings": 40, "data_seed": 0})
    rows = config.run()
    assert rows == config.run()
    assert rows[0].keys() >= config.tolerances.keys()
    found = tax.lift(grammar, 1, tax.block_mask(2, 1, 0, 0), 0)
    assert (rows[0]["level"], rows[0]["mask"], rows[0]["size"]) == (1, "block", 0)
    assert rows[0]["information"] == found.information
