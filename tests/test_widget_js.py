"""What the pages compute in JavaScript, against rhmlib: run by node on the same rules."""

import itertools
import json
import shutil
import subprocess

import numpy as np
import pytest

from rhmlib import exact, signals
from rhmlib.grammar import Grammar
from rhmlib.widget_base import FILES, bundle, modules

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="no node")

SHAPES = [(2, 2, 2, 3), (5, 3, 2, 4), (8, 3, 2, 4), (16, 8, 2, 3), (4, 6, 3, 2), (6, 4, 3, 3), (3, 1, 2, 2)]
VIEWS = ("explorer.mjs", "distance.mjs")


def run(code, given=None):
    """Result of a function body that sees rhm, random, distances and page (modules), and `given`."""
    names = ("rhm", "random", "distances", "page")
    imports = "".join(f'import * as {name} from "{(FILES / name).as_uri()}.mjs";\n' for name in names)
    program = (
        'import { readFileSync } from "node:fs";\n'
        f'{imports}const given = JSON.parse(readFileSync(0, "utf8"));\n'
        f"const result = (() => {{ {code} }})();\nconsole.log(JSON.stringify(result));"
    )
    done = subprocess.run(
        [str(NODE), "--input-type=module", "-e", program],
        input=json.dumps(given), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def plain(grammar):
    rules = [level.tolist() for level in grammar.rules]
    return {"v": grammar.v, "m": grammar.m, "s": grammar.s, "L": grammar.L, "rules": rules}


def nodes(grammar, least=0):
    return [
        (level, i) for level in range(least, grammar.L + 1) for i in range(grammar.s ** (grammar.L - level))
    ]


# ---------------------------------------------------------------- random numbers and grammars


def test_random_numbers_are_numpys():
    seeds = [0, 1, 3, 12345, 2**32 - 1]
    found = run(
        "return given.map((seed) => { const r = new random.Random(seed);"
        " return Array.from({ length: 9 }, () => Number(r.next32())); })",
        seeds,
    )
    for seed, words in zip(seeds, found, strict=True):
        raw = np.random.default_rng(seed).bit_generator.random_raw(5)
        halves = np.stack([raw & 0xFFFFFFFF, raw >> 32], axis=1).reshape(-1)
        assert words == halves[:9].tolist()


@pytest.mark.parametrize("most", [1, 6, 255, 3_000_000_000])  # many draws of the last are refused
def test_bounded_integers_are_numpys(most):
    code = "const r = new random.Random(5); return Array.from({ length: 60 }, () => r.upTo(given))"
    drawn = np.random.default_rng(5).integers(0, most, size=60, dtype=np.uint32, endpoint=True)
    assert run(code, most) == drawn.tolist()


def test_choice_is_numpys():
    cases = [
        (total, size, seed)
        for total, size in ((4, 4), (64, 24), (256, 128), (4096, 60), (10_000, 9_999))
        for seed in range(20)
    ]
    found = run("return given.map(([t, n, seed]) => new random.Random(seed).choice(t, n))", cases)
    for (total, size, seed), chosen in zip(cases, found, strict=True):
        assert chosen == np.random.default_rng(seed).choice(total, size, replace=False).tolist()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_seed_draws_the_grammar_that_rhmlib_draws(shape):
    v, m, s, L = shape
    asked = [{"v": v, "m": m, "s": s, "L": L, "seed": seed} for seed in range(10)]
    for keys, found in zip(asked, run("return given.map(rhm.randomGrammar)", asked), strict=True):
        rules = [np.array(level) for level in found["rules"]]
        for level in rules:  # v groups of m tuples, none twice
            assert level.shape == (v, m, s)
            assert len({tuple(rule) for rule in level.reshape(-1, s).tolist()}) == v * m
        assert Grammar(rules) == Grammar.random(**keys)


@pytest.mark.parametrize(
    ("shape", "part"),
    [
        ({"v": 8, "m": 9, "s": 2, "L": 2}, "m must be at most v^(s-1) = 8. Found m=9"),
        ({"v": 1, "m": 1, "s": 2, "L": 2}, "v must be an integer >= 2. Found v=1"),
        ({"v": 8, "m": 2, "s": 2, "L": 6}, "at most 32 tokens. Found 64"),
        ({"v": 8, "m": 2, "s": 2, "L": 5}, ""),
    ],
)
def test_wrong_shapes_are_named(shape, part):
    words = run("return rhm.wrongShape(given)", shape)
    assert part in words
    assert bool(words) == bool(part)


@pytest.mark.parametrize("seed", [-1, 0.5, 2**32])
def test_wrong_seeds_are_named(seed):
    code = "try { new random.Random(given); } catch (error) { return error.message; }"
    assert run(code, seed) == f"seed must be an integer in 0 .. 2^32 - 1. Found seed={seed}."


# ---------------------------------------------------------------- strings


def drawn(grammar, n, seed=0):
    code = (
        "const r = new random.Random(given.seed);"
        " return Array.from({ length: given.n }, () => rhm.drawString(given.g, r))"
    )
    return run(code, {"g": plain(grammar), "n": n, "seed": seed})


@pytest.mark.parametrize("shape", SHAPES)
def test_strings_are_derived_by_the_rules(shape):
    v, m, s, L = shape
    grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=1)
    strings = drawn(grammar, 30)
    for level in range(L):
        symbols = np.array([string[level] for string in strings])
        above = np.array([string[level + 1] for string in strings])
        np.testing.assert_array_equal(grammar.parent(symbols.reshape(30, -1, s), level), above)


def test_roots_and_rules_are_uniform():
    grammar = Grammar.random(v=5, m=3, s=2, L=3, seed=2)
    n = 4000
    strings = drawn(grammar, n)
    roots = np.bincount([string[3][0] for string in strings], minlength=5)
    assert (np.abs(roots - n / 5) < 5 * np.sqrt(n * 0.16)).all()
    for level in range(3):
        symbols = np.array([string[level] for string in strings]).reshape(-1, 2)
        rules = np.bincount(grammar.rule_index(symbols, level) % 3, minlength=3)
        assert (np.abs(rules - len(symbols) / 3) < 5 * np.sqrt(len(symbols) * 2 / 9)).all()


@pytest.mark.parametrize("shape", [(5, 3, 2, 3), (4, 6, 3, 2)])
def test_tuples_are_parsed_as_rhmlib_parses_them(shape):
    v, m, s, L = shape
    grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=4)
    tuples = list(itertools.product(range(v), repeat=s))
    for level in range(L):
        code = "return given.tuples.map((u) => rhm.parse(given.g, given.level, u))"
        found = run(code, {"g": plain(grammar), "level": level, "tuples": tuples})
        index = [-1 if one is None else one["parent"] * m + one["rule"] for one in found]
        assert index == grammar.rule_index(np.array(tuples), level).tolist()
        assert index.count(-1) == v**s - v * m


# ---------------------------------------------------------------- synonyms


def swaps(grammar, repeats=6):
    """Before and after of a swap at every node with rules, on several strings."""
    code = (
        "const r = new random.Random(7); const out = [];"
        " for (let n = 0; n < given.repeats; n++) { const levels = rhm.drawString(given.g, r);"
        " for (const [level, index] of given.nodes) {"
        " const after = rhm.swapSynonym(given.g, levels, level, index, r);"
        " const changed = rhm.changedNodes(levels, after);"
        " out.push({ level, index, before: levels, after, changed }); } } return out;"
    )
    return run(code, {"g": plain(grammar), "nodes": nodes(grammar, least=1), "repeats": repeats})


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[1] > 1])
def test_a_swap_changes_only_what_is_below(shape):
    v, m, s, L = shape
    grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=5)
    for one in swaps(grammar):
        before = [np.array(row) for row in one["before"]]
        after = [np.array(row) for row in one["after"]]
        level, index = one["level"], one["index"]
        for low in range(L + 1):
            width = s ** (level - low) if low < level else 0
            outside = np.ones(len(after[low]), dtype=bool)
            outside[index * width : (index + 1) * width] = False
            np.testing.assert_array_equal(after[low][outside], before[low][outside])
        for low in range(L):  # still a derivation
            np.testing.assert_array_equal(grammar.parent(after[low].reshape(-1, s), low), after[low + 1])
        children = slice(index * s, (index + 1) * s)
        old, new = (grammar.rule_index(rows[level - 1][children], level - 1) for rows in (before, after))
        assert old != new
        assert old // m == new // m
        differ = [[low, int(i)] for low in range(L + 1) for i in np.flatnonzero(before[low] != after[low])]
        assert sorted(one["changed"]) == sorted(differ)


def test_a_swap_takes_every_other_rule_and_the_one_that_is_asked_for():
    grammar = Grammar.random(v=6, m=4, s=2, L=2, seed=0)
    code = (
        "const r = new random.Random(1); const levels = rhm.drawString(given, r);"
        " const rule = (after) => rhm.ruleOf(given, after, 1, 1);"
        " const swap = (k) => rule(rhm.swapSynonym(given, levels, 1, 1, r, k));"
        " return { old: rule(levels), asked: [0, 1, 2, 3].map(swap),"
        " drawn: Array.from({ length: 600 }, () => swap(null)) }"
    )
    found = run(code, plain(grammar))
    counts = np.bincount(found["drawn"], minlength=4)
    assert found["asked"] == [0, 1, 2, 3]
    assert counts[found["old"]] == 0
    assert (np.abs(np.delete(counts, found["old"]) - 200) < 5 * np.sqrt(600 * 2 / 9)).all()


def test_a_token_and_a_single_rule_cannot_be_swapped():
    code = (
        "const r = new random.Random(1); const levels = rhm.drawString(given, r);"
        " return [0, 1].map((level) => { try { rhm.swapSynonym(given, levels, level, 0, r); return null; }"
        " catch (error) { return error.message; } })"
    )
    grammar = Grammar.random(v=4, m=1, s=2, L=2, seed=0)
    assert run(code, plain(grammar)) == [
        "level must be in 1..2. Found level=0.",
        "m must be at least 2 for a symbol to have another rule.",
    ]


# ---------------------------------------------------------------- cousins and contexts


@pytest.mark.parametrize("shape", [(5, 3, 2, 4), (4, 6, 3, 3)])
def test_cousins_share_the_grandparent_and_not_the_parent(shape):
    v, m, s, L = shape
    grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=0)
    parents = nodes(grammar, least=1)
    code = (
        "return given.nodes.map(([level, i]) =>"
        " [rhm.tupleBelow(given.g, i), rhm.cousinsOf(given.g, level, i)])"
    )
    for (level, index), (own, cousins) in zip(
        parents, run(code, {"g": plain(grammar), "nodes": parents}), strict=True
    ):
        row = range(s ** (L - level + 1))
        assert own == [i for i in row if i // s == index]
        related = [i for i in row if i // s**2 == index // s and i // s != index]
        assert cousins == (related if level < L else [])


@pytest.mark.parametrize("shape", [(5, 3, 2, 4), (4, 6, 3, 3), (8, 2, 2, 3)])
def test_laws_and_contexts_are_the_exact_ones(shape):
    v, m, s, L = shape
    grammar = Grammar.random(v=v, m=m, s=s, L=L, seed=3)
    cases = [
        (level, index, cousin, token)
        for level, index in nodes(grammar, least=1)
        for cousin in range(s)
        for token in range(s)
        if level < L and cousin != index % s
    ]
    code = (
        "return { laws: given.nodes.map((node) => rhm.nodeLaw(given.g, ...node)),"
        " contexts: given.cases.map((one) => rhm.contexts(given.g, ...one)) }"
    )
    found = run(code, {"g": plain(grammar), "nodes": nodes(grammar), "cases": cases})
    for (level, index), law in zip(nodes(grammar), found["laws"], strict=True):
        np.testing.assert_allclose(law, exact.node_law(grammar, level)[index], atol=1e-12)
    for (level, index, cousin, token), one in zip(cases, found["contexts"], strict=True):
        joint = exact.cousin_law(grammar, level - 1, (index % s, cousin, token), grandparent=index // s)
        np.testing.assert_allclose(one["mean"], joint.sum(axis=0), atol=1e-12)
        for parent, synonyms in enumerate(one["contexts"]):
            total = joint[parent].sum()
            assert all((row is None) == (total == 0) for row in synonyms)
            for row in synonyms if total > 0 else []:
                np.testing.assert_allclose(row, joint[parent] / total, atol=1e-12)


# ---------------------------------------------------------------- tree distance


def up(node, s):
    return node[0] + 1, node[1] // s


@pytest.mark.parametrize(("s", "L"), [(2, 3), (2, 5), (3, 4)])
@pytest.mark.parametrize("setting", signals.SETTINGS)
def test_the_way_to_the_target(setting, s, L):
    levels = list(range(L - 1))
    code = "return given.levels.map((level) => distances.wayTo(given.setting, level, given.s, given.L))"
    found = run(code, {"setting": setting, "levels": levels, "s": s, "L": L})
    for level, one in zip(levels, found, strict=True):
        way = [tuple(node) for node in one["way"]]
        rules = {tuple(node) for node in one["rules"]}
        assert {up(node, s) for node in one["tuple"]} == {way[0]}
        assert len(one["tuple"]) == s
        assert tuple(one["target"]) == way[-1]
        assert way[-1][0] == {"supervised": L, "tokens": 0, "latents": level}[setting]
        edges = list(itertools.pairwise(way))
        assert all(up(low, s) == high for low, high in (sorted(edge) for edge in edges))
        assert rules == {max(edge) for edge in edges}  # a rule belongs to the upper end
        assert len(one["rules"]) == len(rules) == signals.rules_between(setting, level, L)
        if setting != "supervised":  # the nearest cousin's side
            assert max(way) == up(way[0], s)


def test_wrong_ways_are_named():
    code = "try { distances.wayTo(...given); } catch (error) { return error.message; }"
    assert "setting must be one of" in run(code, ["label", 0, 2, 3])
    assert run(code, ["tokens", 2, 2, 3]) == "level must be in 0..1. Found level=2."


# ---------------------------------------------------------------- the page


@pytest.mark.parametrize(("s", "L"), [(2, 4), (2, 5), (3, 3)])
@pytest.mark.parametrize("width", [300, 342, 700, 1100])
def test_nodes_have_room(s, L, width):
    code = (
        "const p = page.layout(given); return { ...p, at: given.nodes.map(([level, i]) => p.at(level, i)) }"
    )
    places = [(level, i) for level in range(L + 1) for i in range(s ** (L - level))]
    found = run(code, {"s": s, "L": L, "width": width, "nodes": places})
    at = np.array(found["at"])
    radius = found["radius"]
    assert found["ring"] > radius
    assert radius >= 10
    assert (at >= radius).all()
    assert (at[:, 0] <= width - radius).all()
    assert (at[:, 1] <= found["height"] - radius).all()
    gaps = np.sqrt(((at[:, None] - at[None]) ** 2).sum(-1))[np.triu_indices(len(at), 1)]
    assert gaps.min() >= 24  # as large as a finger needs


@pytest.mark.parametrize("name", VIEWS)
def test_a_bundle_is_one_module(name, tmp_path):
    text = bundle(name)
    assert "\nimport " not in text
    assert text.count("export ") == text.count("export default") == 1
    path = tmp_path / "bundle.mjs"
    path.write_text(text, encoding="utf-8")
    program = f'import * as all from "{path.as_uri()}"; console.log(typeof all.default.render);'
    done = subprocess.run(
        [str(NODE), "--input-type=module", "-e", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "function\n", done.stderr
    assert modules(name)[-1] == name
    assert {path.name for path in FILES.glob("*.mjs")} == {part for view in VIEWS for part in modules(view)}
