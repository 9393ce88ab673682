"""ILC recovers hand-made and random grammars, streams as it fits, and says what is wrong."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import check_estimator

from rhmlib.grammar import Grammar
from rhmlib.ilc import IterativeLatentClustering
from rhmlib.sampling import SampleStream


def fit(v, m, s, L, n, *, targets="all", seed=0, **kwargs):
    grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=seed)
    train = grammar.sample(n, np.random.default_rng(seed))
    ilc = IterativeLatentClustering(v=v, s=s, targets=targets, random_state=0, **kwargs)
    return grammar, train, ilc.fit(train.tokens)


@pytest.mark.parametrize("m", [2, 4, 8])
def test_all_targets_recover_every_level_at_16_v_m3(m):
    grammar, _, ilc = fit(16, m, 2, 4, 16 * 16 * m**3)
    test = grammar.sample(2000, np.random.default_rng(99))
    assert min(ilc.level_scores(test.tokens, test.levels)) >= 0.99


def test_one_target_recovers_every_level_of_a_separated_grammar():
    grammar, _, ilc = fit(16, 8, 2, 4, 16 * 16 * 8**3, targets="one")
    test = grammar.sample(2000, np.random.default_rng(99))
    assert min(ilc.level_scores(test.tokens, test.levels)) >= 0.99


def test_three_children():
    grammar, _, ilc = fit(8, 4, 3, 3, 16 * 8 * 4**3)
    test = grammar.sample(500, np.random.default_rng(99))
    assert ilc.level_scores(test.tokens, test.levels) == [1.0, 1.0]


ONE = [(0, 1, 0)]  # position of the tuple, of its cousin, and the token in it
ALL = [(0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1)]


def test_contexts_are_the_conditional_means():
    """Against a plain loop over strings and tuples, both target modes."""
    for targets, shape in (("one", (3,)), ("all", (2 * 1 * 2 * 3,))):
        _, train, ilc = fit(3, 2, 2, 3, 60, targets=targets)
        by_tuple = {}
        for string in train.tokens:
            for g in range(2 if targets == "all" else 1):
                for p, q, t in ONE if targets == "one" else ALL:
                    u = tuple(string[4 * g + 2 * p : 4 * g + 2 * p + 2])
                    by_tuple.setdefault(u, {}).setdefault((p, t), []).append(string[4 * g + 2 * q + t])
        for u, context, count in zip(ilc.tuples_[0], ilc.contexts_[0], ilc.counts_[0], strict=True):
            assert context.shape == shape
            seen = by_tuple[tuple(u)]
            assert count == sum(len(z) for z in seen.values()) / (2 if targets == "all" else 1)
            for (p, t), z in seen.items():
                block = 0 if targets == "one" else 2 * p + t
                mean = np.bincount(z, minlength=3) / len(z)
                np.testing.assert_allclose(context[3 * block : 3 * block + 3], mean)


def test_same_seed_same_codes():
    _, train, a = fit(8, 3, 2, 3, 400)
    _, _, b = fit(8, 3, 2, 3, 400)
    for x, y in zip(a.transform(train.tokens), b.transform(train.tokens), strict=True):
        assert (x == y).all()


@pytest.mark.parametrize("targets", ["one", "all"])
@pytest.mark.parametrize("memory_mb", [1e-9, 512])
def test_a_stream_gives_what_the_array_gives(targets, memory_mb):
    grammar = Grammar.random(v=8, m=3, s=2, L=4, seed=0)
    stream = SampleStream(grammar, 3000, seed=1, chunk=700)
    tokens = np.concatenate([part.tokens for part in stream])
    args = {"v": 8, "targets": targets, "random_state": 0, "memory_mb": memory_mb}
    whole = IterativeLatentClustering(**args).fit(tokens)
    streamed = IterativeLatentClustering(**args).fit(stream)
    for a, b in zip(whole.transform(tokens), streamed.transform(tokens), strict=True):
        assert (a == b).all()
    for a, b in zip(whole.contexts_, streamed.contexts_, strict=True):
        np.testing.assert_array_equal(a, b)


def test_streaming_holds_one_chunk_at_a_time():
    """With no memory to keep decoded levels, each of the L-1 passes reads the stream once."""
    grammar = Grammar.random(v=4, m=2, s=2, L=4, seed=0)

    class Counting(SampleStream):
        passes, alive = 0, 0

        def __iter__(self):
            Counting.passes += 1
            return super().__iter__()

    stream = Counting(grammar, 100, seed=0, chunk=10)
    IterativeLatentClustering(v=4, memory_mb=1e-9, random_state=0).fit(stream)
    assert Counting.passes == 2 + 3  # shape and size, then one a level


def test_fewer_tuples_than_clusters_use_fewer_codes():
    tokens = np.tile(np.array([[0, 1, 2, 3]], dtype=np.uint8), (5, 1))
    ilc = IterativeLatentClustering(v=8, random_state=0).fit(tokens)
    assert len(np.unique(ilc.labels_[0])) == 1


def test_unseen_tuples_get_the_code_nearest_to_the_mean_context():
    _, train, ilc = fit(8, 4, 2, 2, 6)
    parser = ilc._parsers[0]
    unseen = np.setdiff1d(np.arange(64), parser.tuples)[0]
    decoded = ilc.predict(np.array([[unseen // 8, unseen % 8, *train.tokens[0, 2:]]]))
    assert decoded[0, 0] == parser.fallback


def test_large_alphabets_are_searched_not_tabulated():
    grammar = Grammar.random(v=70, m=2, s=4, L=2, seed=0)  # 70**4 tuples
    train = grammar.sample(4000, np.random.default_rng(0))
    ilc = IterativeLatentClustering(v=70, s=4, targets="all", random_state=0, n_init=3).fit(train.tokens)
    assert ilc.score(train.tokens, train.levels) > 0.95


def test_score_takes_all_levels_or_the_inner_ones():
    _, train, ilc = fit(8, 2, 2, 3, 1000)
    assert ilc.score(train.tokens, train.levels) == ilc.score(train.tokens, train.levels[1:-1])
    with pytest.raises(ValueError, match=r"levels must hold .*Found 1 arrays"):
        ilc.score(train.tokens, train.levels[:1])


TOKENS = np.zeros((5, 8), dtype=np.uint8)


@pytest.mark.parametrize(
    ("params", "X", "error", "text"),
    [
        ({}, TOKENS[:, :6], ValueError, r"length s\*\*L with s=2.*Found length 6"),
        ({}, TOKENS[:, :2], ValueError, r"L >= 2. Found length 2"),
        ({"s": 3}, TOKENS, ValueError, r"s=3 .*Found length 8"),
        ({"v": 4}, TOKENS + 4, ValueError, r"symbols in 0..3 \(v=4\). Found values in \[4, 4\]"),
        ({}, TOKENS - np.int64(1), ValueError, r"Found values in \[-1, -1\]"),
        ({}, TOKENS.astype(float), ValueError, "must hold integers .*Found dtype float64"),
        ({}, TOKENS[0], ValueError, "Expected 2D array"),
        ({}, TOKENS[:0], ValueError, r"0 sample\(s\) \(shape=\(0, 8\)\)"),
        ({"v": 4}, iter([TOKENS]), TypeError, "re-iterable .*Found an iterator"),
        ({}, SampleStream(Grammar.random(v=4, m=2, s=2, L=3, seed=0), 5, 0), ValueError, "v must be given"),
        ({"targets": "some"}, TOKENS, ValueError, "targets must be .*Found targets='some'"),
        ({"v": 1}, TOKENS, ValueError, "v must be an integer >= 2. Found v=1"),
        ({"n_init": 0}, TOKENS, ValueError, "n_init must be .*Found n_init=0"),
        ({"memory_mb": 0}, TOKENS, ValueError, "memory_mb must be positive"),
    ],
)
def test_bad_input_is_named(params, X, error, text):
    with pytest.raises(error, match=text):
        IterativeLatentClustering(**params).fit(X)


def test_transform_checks_its_input():
    with pytest.raises(NotFittedError):
        IterativeLatentClustering().transform(TOKENS)
    _, _, ilc = fit(8, 2, 2, 3, 100)
    with pytest.raises(ValueError, match=r"X has 4 features.*expecting 8 features"):
        ilc.transform(TOKENS[:, :4])


def test_clone_keeps_parameters():
    ilc = IterativeLatentClustering(v=8, s=3, targets="all", n_init=2, random_state=1)
    assert clone(ilc).get_params() == ilc.get_params()


def test_fit_leaves_its_input_alone_and_takes_any_layout():
    _, train, ilc = fit(8, 2, 2, 3, 300)
    tokens = np.asfortranarray(train.tokens)
    tokens.flags.writeable = False
    again = clone(ilc).fit(tokens)
    assert (again.predict(tokens) == ilc.predict(train.tokens)).all()


def test_strings_are_decoded_one_by_one():
    """Order and company of the strings make no difference to `transform`."""
    _, train, ilc = fit(8, 2, 2, 3, 300)
    whole = ilc.predict(train.tokens)
    assert (ilc.predict(train.tokens[::-1]) == whole[::-1]).all()
    assert (np.concatenate([ilc.predict(train.tokens[:7]), ilc.predict(train.tokens[7:])]) == whole).all()


def test_pickle():
    _, train, ilc = fit(8, 2, 2, 3, 300)
    assert (pickle.loads(pickle.dumps(ilc)).predict(train.tokens) == ilc.predict(train.tokens)).all()


# scikit-learn feeds most of its checks tables of real numbers, which are no strings of symbols.
NEEDS_REAL_FEATURES = [
    "check_fit_score_takes_y",
    "check_estimators_overwrite_params",
    "check_dont_overwrite_parameters",
    "check_estimators_fit_returns_self",
    "check_readonly_memmap_input",
    "check_n_features_in_after_fitting",
    "check_positive_only_tag_during_fit",
    "check_estimators_dtypes",
    "check_dtype_object",
    "check_pipeline_consistency",
    "check_estimators_nan_inf",
    "check_estimator_sparse_tag",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_transformer_data_not_an_array",
    "check_transformer_general",
    "check_transformer_preserve_dtypes",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_fit2d_1sample",
    "check_fit2d_1feature",
    "check_dict_unchanged",
    "check_fit_idempotent",
    "check_fit_check_is_fitted",
    "check_n_features_in",
    "check_fit2d_predict1d",
]


def test_scikit_learn_checks_that_apply():
    reasons = dict.fromkeys(NEEDS_REAL_FEATURES, "X holds strings of symbols, not real features")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(
            IterativeLatentClustering(), expected_failed_checks=reasons, on_fail=None, on_skip=None
        )
    assert [r["check_name"] for r in results if r["status"] == "failed"] == []
    assert sum(r["status"] == "passed" for r in results) >= 18
