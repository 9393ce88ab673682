"""Parse trees of code, the information of pairs in them, and the clustering of their tuples."""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pytest

from rhmlib import (
    experiments,
    figures,
    figures_real_trees,
    real_trees,
    real_trees_findings,
    syntax_trees,
    token_tuples,
)
from rhmlib.experiment_real_trees import RealTreesExperiment

SOURCE = "@cached\ndef f(a, *, b=1):\n    return a.c[0] + -b  # a comment\n\nx = f'{y} of {z}' 'more'\n"


@pytest.fixture(scope="module")
def trees():
    return syntax_trees.grow([SOURCE, "if x:\n    y = g(1, None)\nelse:\n    del y\n"])


def distance(trees, a, b):
    """Tree distance, and steps up from a, by walking."""
    ways = []
    for node in (a, b):
        way = [node]
        while trees.parent[way[-1]] >= 0:
            way.append(trees.parent[way[-1]])
        ways.append(way)
    top = next(node for node in ways[0] if node in ways[1])
    return ways[0].index(top), ways[1].index(top)


def test_a_tree_is_as_the_syntax_says():
    rows = syntax_trees.parse("f(a.b, 1)\n")
    assert [name for name, _ in rows] == [
        *("Module", "Expr", "Call", "Name", "(", "Attribute", ",", "Constant", ")"),
        *("NAME", "Name", ".", "NAME", "NUMBER", "NAME"),
    ]
    assert [parent for _, parent in rows] == [-1, 0, 1, 2, 2, 2, 2, 2, 2, 3, 5, 5, 5, 7, 10]


def test_leaves_are_the_tokens_in_their_order(trees):
    said = [trees.names[i] for i in trees.text]
    assert said[:9] == ["@", "NAME", "def", "NAME", "(", "NAME", ",", "*", ","]
    assert said[-4:] == ["else", ":", "del", "NAME"]
    assert trees.leaves[trees.parent < 0].sum() == len(said)
    assert {said[i] for i in trees.start[trees.count == 0]} == set(said)
    assert ((trees.height == 0) == (trees.count == 0)).all()
    inner = np.flatnonzero(trees.parent >= 0)
    assert (trees.height[trees.parent[inner]] > trees.height[inner]).all()
    for node in np.flatnonzero(trees.count):
        children = np.arange(trees.first[node], trees.first[node] + trees.count[node])
        assert (trees.parent[children] == node).all()
        assert trees.start[node] == trees.start[children[0]]
        assert trees.leaves[node] == trees.leaves[children].sum()


@pytest.mark.parametrize(
    ("up", "down", "heights"), [(1, 1, (0, 0)), (2, 3, (0, 0)), (2, 2, (1, 1)), (1, 2, (2, 0))]
)
def test_pairs_are_at_their_distance(trees, up, down, heights):
    rng = np.random.default_rng(0)
    drawn = [real_trees.draw_pairs(trees, up, down, heights, 1000, rng) for _ in range(20)]
    left, right = (np.concatenate(side) for side in zip(*drawn, strict=True))
    assert len(left)
    for a, b in zip(left, right, strict=True):
        assert distance(trees, a, b) == (up, down)
        assert trees.start[a] < trees.start[b]
        assert (trees.height[a], trees.height[b]) == heights


def test_a_stratum_of_each_way_round():
    assert real_trees.strata("tokens", 3, (1, 2)) == [(1, 2, (0, 0)), (2, 1, (0, 0))]
    assert real_trees.strata("nodes", 2, (1, 2)) == [(1, 1, (1, 1)), (1, 1, (2, 2))]
    assert len(real_trees.strata("token and node", 4, (1, 2))) == 3 * 4
    with pytest.raises(ValueError, match=r"kind must be one of .*Found kind='words'"):
        real_trees.strata("words", 2, (1,))


def test_information_of_independent_symbols_is_nothing_after_correction():
    rng = np.random.default_rng(0)
    file = np.repeat(np.arange(20), 200)
    ones = np.ones((1, 20))
    found = [
        real_trees.information(rng.integers(0, 12, 4000), rng.integers(0, 12, 4000), file, ones)[0]
        for _ in range(40)
    ]
    bias = 11 * 11 / 2 / 4000  # of what is not corrected
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(40) < bias / 5


def test_information_of_a_copy_is_the_entropy_and_a_weight_is_a_repetition():
    x, file = np.array([0, 0, 1, 1, 2, 2, 3, 3]), np.array([0, 0, 0, 0, 1, 1, 1, 1])
    plain, doubled = real_trees.information(x, x, file, np.array([[1.0, 1.0], [2.0, 1.0]]))
    assert plain == pytest.approx(np.log(4) + 3 / 16)
    again = np.concatenate([x, x[:4]]), np.concatenate([file, file[:4]])
    assert doubled == pytest.approx(real_trees.information(again[0], again[0], again[1], np.ones((1, 2)))[0])


def test_what_a_file_has_of_its_own_is_no_connection():
    rng = np.random.default_rng(1)
    file = np.repeat(np.arange(30), 300)
    own = rng.dirichlet(np.full(6, 0.5), size=30)
    x, y = (np.array([rng.choice(6, p=own[f]) for f in file]) for _ in range(2))
    found, shuffled, null = real_trees.connected(x, y, file, np.ones((1, 30)), rng)
    assert shuffled[0] > 0.1
    assert abs(found[0]) < 0.02
    assert abs(null[0]) < 0.02
    bound, _, _ = real_trees.connected(x, x, file, np.ones((1, 30)), rng)
    assert bound[0] > 1


def test_shuffled_pairs_stay_in_their_file_and_none_stays_itself():
    file = np.array([3, 1, 1, 3, 0, 1, 3, 3])
    partner = real_trees.deranged(file, np.random.default_rng(0))
    assert partner[4] == -1
    kept = partner >= 0
    assert (file[partner[kept]] == file[kept]).all()
    assert (partner != np.arange(8)).all()
    assert sorted(partner[kept]) == [0, 1, 2, 3, 5, 6, 7]


def test_the_slope_of_an_exponential_is_its_rate():
    values = [np.exp(-0.7 * d) * np.array([1.0, 2.0]) for d in range(2, 9)]
    np.testing.assert_allclose(real_trees.slope(values), -0.7)


def test_tuples_have_the_contexts_beside_them(trees):
    table = token_tuples.tuple_table(trees, np.random.default_rng(0))
    names = (*trees.names, "none")
    types = [names[i] for i in table["type"]]
    at = types.index("Attribute")  # a.c, in a.c[0]
    assert [names[i] for i in table["latents"][at]] == ["none", "Constant"]
    assert [names[i] for i in table["tokens"][at]] == ["none", "NUMBER"]
    assert [names[i] for i in table["beside"][at]] == ["return", "["]
    assert len({table["tuple"][i] for i, name in enumerate(types) if name == "UnaryOp"}) == 1


def test_clusters_find_types_whose_contexts_differ():
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 3000)
    table = {"tuple": kind * 10 + rng.integers(0, 5, 3000), "type": kind, "file": np.zeros(3000, np.intp)}
    table["latents"] = np.stack([kind, (kind + rng.integers(0, 2, 3000)) % 3], axis=1)
    found = token_tuples.cluster_tuples(table, table, "latents", 3, 0)
    assert found["hungarian_accuracy"] == pytest.approx(1)
    assert found["adjusted_information"] == pytest.approx(1)
    table["tokens"] = rng.integers(0, 3, (3000, 2))
    assert token_tuples.cluster_tuples(table, table, "tokens", 3, 0)["hungarian_accuracy"] < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("counted", ["pairs", "tuples"])
def test_the_experiment_is_deterministic_and_forgets_no_row(counted):
    settings = {"counted": counted, "n_files": 15, "n_pairs": 2000, "n_bootstrap": 10, "n_test": 500}
    config = experiments.configure("real_trees", {**settings, "data_seed": 3})
    rows = config.run()
    syntax_trees.corpus.cache_clear()
    assert rows == dataclasses.replace(config).run()
    assert isinstance(config, RealTreesExperiment)
    wanted = {"pairs": {"information", "matched", "advantage"}, "tuples": {"agreement"}}[counted]
    assert wanted <= {row["quantity"] for row in rows}
    assert all(row["files"] == 15 for row in rows)


def test_findings_and_figures_of_the_table():
    figures.use_style()
    table = real_trees_findings.chapter_rows(1000, 400_000, 20_000, 200)
    assert "config_hash" in table  # read, not computed
    findings = real_trees_findings.chapter_findings(table)
    assert set(findings.slopes) == set(real_trees.KINDS)
    assert len(findings.times) == 14
    assert not any("nan" in str(text) for text in findings.glued().values())
    allowed = r"confirmed|contradicted|undecided|not seen|holds in \d+ of \d+ cases"
    assert findings.verdicts()["verdict"].str.fullmatch(allowed).all()
    for draw in (figures_real_trees.information_of_pairs, figures_real_trees.agreement_of_clusters):
        plt.close(draw(table))
