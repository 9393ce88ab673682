"""Token ILC counts what it says it counts, agrees with ILC where they coincide, and pays the tax."""

from collections import defaultdict

import numpy as np
import pytest
from scipy import sparse

from rhmlib import experiments
from rhmlib.grammar import Grammar
from rhmlib.ilc import IterativeLatentClustering
from rhmlib.sampling import Sample, SampleStream
from rhmlib.token_ilc import CONDITIONAL, TARGETS, TokenILC, isometric, token_blocks


def drawn(v, m, s, L, n, seed=0):
    grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=seed)
    return grammar.sample(n, np.random.default_rng(seed + 1))


def by_loops(sample, level, targets):
    """Context vectors of the first string position on, from the definition, as {tuple: vector}."""
    s, v, L = sample.grammar.s, sample.grammar.v, sample.grammar.L
    blocks = token_blocks(s, level, targets)
    bottom = level if targets in ("latents_all", "lifted") else 0
    seen = [defaultdict(list) for _ in blocks]  # per block: tuple -> (visible rest, target)
    for levels in zip(*sample.levels, strict=True):
        for g in range(1 if targets == "tokens_one" else s ** (L - level - 2)):
            for block, (p, q, t) in enumerate(blocks):
                child = g * s + p
                u = tuple(levels[level][child * s : child * s + s])
                cousin = g * s + q
                node = cousin * s ** (level + 1 - bottom) + t
                target, rest = levels[bottom][node], ()
                for k in range(bottom, level + 1):
                    first = node - node % s  # t = 0 where a rest is asked for
                    rest = (*levels[k][first + 1 : first + s], *rest)
                    node //= s
                seen[block][u].append((rest if targets in CONDITIONAL else (), target))
    out = defaultdict(list)
    tuples = sorted({u for block in seen for u in block})
    for block in seen:
        everything = [pair for pairs in block.values() for pair in pairs]
        rests = sorted({rest for rest, _ in everything})
        law = {
            rest: np.bincount([x for r, x in everything if r == rest], minlength=v)
            / sum(r == rest for r, _ in everything)
            for rest in rests
        }
        for u in tuples:
            residual = {rest: np.zeros(v) for rest in rests}
            for rest, x in block[u]:
                residual[rest] += (np.eye(v)[x] - law[rest]) / len(block[u])
            centre = 0 if targets in CONDITIONAL else law[()]
            out[u].append(np.concatenate([residual[rest] + centre for rest in rests]))
    return {u: np.concatenate(parts) for u, parts in out.items()}


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize(("v", "m", "s", "L"), [(3, 2, 2, 3), (3, 2, 3, 2), (4, 3, 2, 4)])
def test_contexts_are_what_loops_count(targets, v, m, s, L):
    sample = drawn(v, m, s, L, 40)
    learner = TokenILC(targets=targets, random_state=0, n_init=1).fit(sample)
    for level in range(L - 1):
        expected = by_loops(sample, level, targets)
        found = learner.contexts_[level]
        found = found.toarray() if sparse.issparse(found) else found
        assert [tuple(u) for u in learner.tuples_[level]] == list(expected)
        wanted = np.stack(list(expected.values()))
        if targets in CONDITIONAL:  # cells that never occur are left out
            wanted = wanted[:, np.abs(wanted).max(axis=0) > 1e-12]
            found = found[:, np.abs(found).max(axis=0) > 1e-12]
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_latents_all_is_ilc():
    sample = drawn(8, 3, 2, 4, 3000)
    ours = TokenILC(targets="latents_all", inputs="recovered", random_state=0).fit(sample)
    ilc = IterativeLatentClustering(v=8, targets="all", random_state=0).fit(sample.tokens)
    for a, b in zip(ours.transform(sample), ilc.transform(sample.tokens), strict=True):
        assert (a == b).all()
    for a, b in zip(ours.contexts_, ilc.contexts_, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("targets", ["tokens_all", "conditional"])
def test_at_the_first_level_token_targets_are_latent_targets(targets):
    sample = drawn(6, 2, 2, 3, 500)
    other = {"tokens_all": "latents_all", "conditional": "lifted"}[targets]
    a, b = (TokenILC(targets=t, random_state=0).fit(sample).contexts_[0] for t in (targets, other))
    difference = np.abs(a - b)
    assert difference.max() == 0


def test_tokens_pay_a_level_and_lifted_targets_do_not():
    """At 4 v m^3 the third level is there with latents and with lifted targets, and not with tokens."""
    sample = drawn(16, 4, 2, 4, 8 * 16 * 4**3)
    scores = {t: TokenILC(targets=t, random_state=0).fit(sample).level_scores(sample) for t in TARGETS}
    assert min(scores["latents_all"]) > 0.99
    assert min(scores["lifted"]) > 0.99
    for targets in ("tokens_one", "tokens_all", "conditional"):
        assert scores[targets][2] < 0.6
    assert scores["tokens_all"][:2] == [1, 1]


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("inputs", ["true", "recovered"])
def test_a_stream_gives_what_the_sample_gives(targets, inputs, monkeypatch):
    grammar = Grammar.random(v=6, m=2, s=2, L=4, seed=0)
    stream = SampleStream(grammar, 600, seed=1, chunk=130)
    parts = list(stream)
    whole = Sample(grammar, tuple(np.concatenate(x) for x in zip(*(p.levels for p in parts), strict=True)))
    fits = [TokenILC(targets=targets, inputs=inputs, random_state=0).fit(x) for x in (whole, stream)]
    monkeypatch.setattr("rhmlib.token_ilc._DENSE", 1)  # counts of seen cells only
    fits.append(TokenILC(targets=targets, inputs=inputs, random_state=0).fit(stream))
    for a, b, c in zip(*(fit.contexts_ for fit in fits), strict=True):
        assert np.abs(a - b).max() == 0
        assert np.abs(a - c).max() == 0
    codes = [fit.transform(whole) for fit in fits]
    for a, b, c in zip(*codes, strict=True):
        assert (a == b).all()
        assert (a == c).all()


def test_isometric_points_keep_distances():
    x = np.random.default_rng(0).normal(size=(5, 40))
    for contexts in (x, sparse.csr_array(x)):
        points = isometric(contexts)
        assert points.shape == (5, 5)
        np.testing.assert_allclose(points @ points.T, x @ x.T, atol=1e-9)
    np.testing.assert_array_equal(isometric(x.T), x.T)


def test_recovered_inputs_read_tokens_only():
    sample = drawn(8, 2, 2, 3, 2000)
    blind = Sample(sample.grammar, (sample.tokens, *(np.zeros_like(x) for x in sample.levels[1:])))
    for targets in TARGETS:
        a, b = (TokenILC(targets=targets, inputs="recovered", random_state=0).fit(x) for x in (sample, blind))
        for x, y in zip(a.transform(sample), b.transform(sample), strict=True):
            assert (x == y).all()


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"targets": "latent"}, ValueError, r"targets must be one of latents_all.*Found targets='latent'"),
        ({"inputs": "found"}, ValueError, r"inputs must be one of true, recovered. Found inputs='found'"),
        ({"n_init": 0}, ValueError, r"n_init must be a positive integer. Found n_init=0"),
    ],
)
def test_bad_settings_are_named(settings, error, text):
    with pytest.raises(error, match=text):
        TokenILC(**settings)


def test_bad_samples_are_named():
    sample = drawn(4, 2, 2, 2, 5)
    with pytest.raises(TypeError, match=r"samples must be a Sample or re-iterable. Found an iterator"):
        TokenILC().fit(iter([sample]))
    with pytest.raises(ValueError, match=r"samples must hold at least one Sample. Found none"):
        TokenILC().fit([])
    with pytest.raises(ValueError, match=r"samples must have L >= 2.*Found L=1"):
        TokenILC().fit(drawn(4, 2, 2, 1, 5))
    with pytest.raises(ValueError, match=r"targets must have at most 2\*\*62 cells. Found v\*\*s"):
        TokenILC(targets="conditional").fit(drawn(200, 2, 2, 9, 1))


def test_the_experiment():
    values = {"v": 8, "m": 2, "L": 3, "n": 2000, "n_test": 300, "targets": "lifted"}
    config = experiments.configure("token_ilc", {**values, **dict.fromkeys(experiments.SEEDS, 0)})
    rows = config.run()
    assert [row["level"] for row in rows] == [1, 2]
    assert rows == config.run()
    assert rows[0]["n_over_vm3"] == 2000 / 64
    assert rows[0]["hungarian_accuracy"] == 1
    assert rows[0].keys() >= config.tolerances.keys()
