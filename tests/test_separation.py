"""Tables of several experiments on one footing, on made-up rows; and the figures drawn from them."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from rhmlib import figures_masks, figures_separation, figures_tax, separation
from rhmlib.grammar import Grammar
from rhmlib.staircases import MaskedStaircase
from rhmlib.tax import causal_mask, lift


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def rng():
    return np.random.default_rng(0)


def runs(law, objective="mlm", ms=(2, 3, 4), depths=(3, 4), sizes=None, seeds=4, spread=0.05):
    """Runs of a learner whose accuracy crosses 75 % at law(m, L), times a few percent a grammar."""
    rows = []
    for m in ms:
        for L in depths:
            for n in sizes if sizes is not None else np.geomspace(8, 8 * 4**6, 25):
                for seed in range(seeds):
                    share = n / (law(m, L) * (1 + spread * seed))
                    row = {"objective": objective, "v": 8, "m": m, "L": L, "n": n, "grammar_seed": seed}
                    rows.append(
                        {
                            **row,
                            "accuracy": share**4 / (share**4 + 1 / 3),
                            "strings_seen": 10 * n,
                            "seconds": n / 8,
                        }
                    )
    return pd.DataFrame(rows)


def encoder_table(**columns):
    """Rows of `encoder`, two weight decays, of which the stronger is better."""
    rows = []
    for decay in (0.1, 1.0):
        for n in (100, 200, 400):
            for seed in (0, 1):
                for checkpoint in ("best", "untrained"):
                    for level in (1, 2, 3):
                        rows.append(
                            {
                                "objective": "mlm", "architecture": "tree", "v": 8, "m": 3, "L": 3, "n": n,
                                "mask_block": np.nan, "weight_decay": decay, "grammar_seed": seed,
                                "steps": 10,
                                "checkpoint": checkpoint, "level": level, "strings_seen": 5, "seconds": 2.0,
                                "probe_accuracy": (0.1 * level + n / 1000) * (1 + decay) / 2
                                if checkpoint == "best" else 0.1,
                            }
                        )  # fmt: skip
    return pd.DataFrame(rows).assign(**columns)


def test_encoders_are_judged_by_the_root_and_the_better_weight_decay():
    found = separation.deepest("encoder", encoder_table())
    assert len(found) == 6
    assert found.groupby("n")["accuracy"].first().tolist() == pytest.approx([0.4, 0.5, 0.7])


def test_blocks_other_architectures_and_shorter_trainings_are_left_out():
    longer = encoder_table(steps=20)
    longer["probe_accuracy"] /= 2
    mixed = pd.concat(
        [encoder_table(), encoder_table(architecture="transformer"), encoder_table(mask_block=1.0),
         encoder_table(n=np.nan), longer]
    )  # fmt: skip
    found = separation.deepest("encoder", mixed)
    assert len(found) == 6
    assert found["accuracy"].max() == pytest.approx(0.35)


def test_trainings_are_of_one_length_or_each_of_its_own():
    tokens = pd.concat([encoder_table(), encoder_table(steps=20).assign(probe_accuracy=0.9)])
    both = pd.concat([tokens, encoder_table(objective="data2vec")])
    best = {
        equal: separation.deepest("encoder", both, equal_steps=equal).groupby("objective")["accuracy"].max()
        for equal in (True, False)
    }
    assert best[True].tolist() == pytest.approx([0.7, 0.7])
    assert best[False].tolist() == pytest.approx([0.7, 0.9])


def test_replicas_of_slc_are_grammars_of_their_own_and_share_the_time():
    rows = [
        {"config_hash": "a", "level": level, "checkpoint": checkpoint, "L": 3, "v": 8, "m": 2, "n": 10,
         "grammar_seed": 3, "replica": replica, "hungarian_accuracy": 0.5 + replica / 10, "strings_seen": 7,
         "seconds": 6.0}
        for replica in (0, 1) for level in (1, 2) for checkpoint in ("best", "last")
    ]  # fmt: skip
    found = separation.deepest("slc", pd.DataFrame(rows))
    assert found["grammar_seed"].tolist() == [3, 4]
    assert found["accuracy"].tolist() == [0.5, 0.6]
    assert found["seconds"].tolist() == [3.0, 3.0]


def test_clustering_and_variants_are_read():
    clustering = pd.DataFrame(
        {"level": [1, 2, 2], "L": 3, "inputs": ["true", "true", "recovered"], "targets": "tokens_all", "v": 8,
         "m": 2, "n": 10, "grammar_seed": 0, "hungarian_accuracy": [0.1, 0.2, 0.3], "seconds": 1.0}
    )  # fmt: skip
    found = separation.collect([("token_ilc", clustering)])
    assert found[["objective", "accuracy", "strings_seen"]].to_numpy().tolist() == [["tokens_all", 0.2, 10]]
    flags = clustering.assign(inputs=[True, True, "recovered"])
    pd.testing.assert_frame_equal(separation.collect([("token_ilc", flags)]), found)
    assert separation.deepest("token_ilc", flags, inputs="recovered")["accuracy"].tolist() == [0.3]
    with pytest.raises(ValueError, match=r"inputs must be .* Found inputs='found'"):
        separation.deepest("token_ilc", flags, inputs="found")
    latent = encoder_table(objective="clapp", contrast="hinge", schedule="concurrent", weight_decay=1.0)
    latent = latent.drop_duplicates(["n", "grammar_seed", "checkpoint", "level"])
    soft = latent.assign(contrast="softmax")
    assert len(separation.deepest("latent", pd.concat([latent, soft]))) == 6
    with pytest.raises(ValueError, match=r"name must be one of token_ilc, .* Found 'tokens'"):
        separation.deepest("tokens", latent)


def blocks_table(taken):
    """Rows of `encoder_blocks` where a level is known from about taken(k, level) v m^3 strings."""
    rows = []
    for objective in ("mlm", "data2vec"):
        for block in (0, 1):
            for size in (1, 2, 4, 8):
                for seed in range(4):
                    for steps, worse in ((10, 0.5), (20, 1)):
                        for level in (1, 2):
                            share = worse * size / taken(block, level) / (1 + 0.03 * seed)
                            rows.append(
                                {"objective": objective, "v": 8, "m": 2, "L": 2, "mask_block": float(block),
                                 "n": 64 * size, "n_over_vm3": size, "grammar_seed": seed, "steps": steps,
                                 "weight_decay": 1.0, "checkpoint": "best", "level": level,
                                 "synonym_score": share**4 / (share**4 + 1) if level < 2 else np.nan,
                                 "probe_accuracy": share**4 / (share**4 + 1 / 3)}
                            )  # fmt: skip
    return pd.DataFrame(rows)


def test_blocks_have_thresholds_of_every_level():
    table = blocks_table(lambda block, level: {(0, 1): 1.5, (0, 2): 3, (1, 1): 6, (1, 2): 99}[block, level])
    found = separation.block_thresholds(table, rng()).set_index(["objective", "block", "level"])
    assert len(found) == 8
    assert found["strings"].loc["mlm", 0].tolist() == pytest.approx([1.5, 3], rel=0.15)
    assert found["strings"].loc["mlm", 1].tolist() == [pytest.approx(6, rel=0.15), np.inf]
    assert (found["low"].loc["mlm", 0] < found["strings"].loc["mlm", 0]).all()
    assert np.isnan(found["low"].loc["mlm", 1, 2])
    assert found[["least", "most"]].drop_duplicates().to_numpy().tolist() == [[1, 8]]
    one = table[(table["mask_block"] == 0) | (table["n_over_vm3"] == 4)]
    assert set(separation.block_thresholds(one, rng())["block"]) == {0}
    two = table[table["grammar_seed"] < 2]
    assert separation.block_thresholds(two, rng())["low"].isna().all()

    twice = table[table["objective"] == "mlm"].assign(objective="data2vec", n=table["n"] * 2)
    dearer = pd.concat([table[table["objective"] == "mlm"], twice[twice["n"] <= 512]])  # data2vec takes twice
    ratios = separation.block_ratios(dearer, rng()).set_index("block")
    assert ratios.loc[0, "ratio"] == pytest.approx(0.5, rel=0.1)
    assert ratios.loc[0, "low"] <= ratios.loc[0, "ratio"] <= ratios.loc[0, "high"]
    assert np.isnan(ratios.loc[1, "ratio"])

    below = found.reset_index().query("level < 2").assign(asked=2.0, least_asked=1.0)
    figure = figures_masks.thresholds_against_theory(below)
    assert [ax.get_title() for ax in figure.axes] == ["data2vec", "masked tokens"]
    for ax in figure.axes:
        (points,) = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata()) == 2]
        assert points.get_ydata() == pytest.approx([1.5, 6], rel=0.15)
    never = found.reset_index().query("block == 1 and level == 2").assign(level=1, asked=2.0, least_asked=1.0)
    figure = figures_masks.thresholds_against_theory(never)
    for ax in figure.axes:
        (arrow,) = [line for line in ax.lines if line.get_marker() == "^" and len(line.get_xdata())]
        assert arrow.get_ydata().tolist() == [8]


def test_pooled_tokens_are_read_beside_what_is_asked_of_them():
    table = pd.DataFrame(
        {"level": 2, "L": 3, "v": 8, "m": 2, "n": [10, 20], "grammar_seed": [0, 1], "hungarian_accuracy": 0.4,
         "seconds": 1.0, "signal": [0.1, 0.3]}
    )  # fmt: skip
    found = separation.deepest("pooled_tokens", table)
    assert found[["objective", "accuracy", "strings_seen"]].to_numpy().tolist() == [
        ["pooled", 0.4, 10],
        ["pooled", 0.4, 20],
    ]
    (asked,) = separation.asked_by_pooling(table).to_dict("records")
    assert asked == {"v": 8, "m": 2, "L": 3, "objective": "pooled", "strings": pytest.approx(8 * 2 / 0.2)}


def test_drawn_counts_stand_in_where_strings_do_not_know():
    strings = pd.concat(
        [runs(lambda m, L: 200, ms=(2,), depths=(3,)), runs(lambda m, L: 1e9, ms=(2,), depths=(4,)),
         runs(lambda m, L: 1e9, ms=(2,), depths=(6,))]
    )  # fmt: skip
    drawn = runs(lambda m, L: 300 if L < 5 else 900, ms=(2,), depths=(3, 4, 5))
    both = separation.completed(strings, drawn, rng())
    assert both.groupby("L")["drawn"].unique().explode().to_dict() == {3: False, 4: True, 5: True, 6: False}
    assert both["drawn"].dtype == bool
    assert len(both[both["L"] == 4]) == len(drawn[drawn["L"] == 4])
    found = separation.thresholds(both, rng(), n_bootstrap=50).set_index("L")
    assert found["strings"][[3, 4, 5]].tolist() == pytest.approx([200, 300, 900], rel=0.15)
    assert found["drawn"].tolist() == [False, True, True, False]
    assert "drawn" not in separation.thresholds(strings, rng(), n_bootstrap=50)


def test_predicted_curves_go_on_at_one():
    keys = ["targets", "v", "m", "L", "level", "grammar_seed", "n_over_vm3", "hungarian_accuracy"]
    rows = [("tokens_all", 8, 2, 3, 2, 0, 1, 0.4), ("tokens_all", 8, 2, 3, 2, 0, 2, 0.99),
            ("tokens_all", 8, 2, 3, 2, 1, 1, 0.3), ("tokens_all", 8, 2, 3, 2, 1, 2, 0.6),
            ("tokens_all", 8, 2, 3, 2, 1, 4, 0.98), ("tokens_all", 8, 2, 3, 1, 1, 1, 0.9)]  # fmt: skip
    found = separation.predictions(pd.DataFrame(rows, columns=keys))
    wide = found.pivot(index="grammar_seed", columns="n", values="accuracy")
    assert list(wide.columns) == [64, 128, 256]
    assert wide.to_numpy().tolist() == [[0.4, 0.99, 1.0], [0.3, 0.6, 0.98]]


def test_accuracies_are_in_units_of_vm3():
    table = runs(lambda m, L: 100, sizes=[64, 128], ms=(2,), depths=(3,), seeds=2)
    sizes, accuracy = separation.accuracies(table)["mlm"][2, 3]
    assert sizes.tolist() == [1, 2]
    assert accuracy.shape == (2, 2)
    assert accuracy[0, 0] == table["accuracy"].iloc[0]


def test_thresholds_are_where_they_were_put():
    both = pd.concat(
        [
            runs(lambda m, L: 8 * m**3, "data2vec"),
            runs(lambda m, L: 8 * m ** (L + 1), "tokens_all", ms=(2, 3)),
        ]
    )
    found = separation.thresholds(both, rng()).set_index(separation.KEYS)
    assert list(dict.fromkeys(found.index.get_level_values(0))) == ["data2vec", "tokens_all"]
    row = found.loc["data2vec", 8, 3, 4]
    assert row["low"] < row["strings"] < row["high"]
    assert row["strings"] == pytest.approx(8 * 27 * 1.07, rel=0.05)


def test_thresholds_beyond_the_sizes_say_on_which_side():
    never = runs(lambda m, L: 1e9, sizes=[10, 100], ms=(3,), depths=(3,))
    once = runs(lambda m, L: 1, "ntp", sizes=[10, 100], ms=(3,), depths=(3,))
    found = separation.thresholds(pd.concat([never, once]), rng())
    assert found["strings"].tolist() == [np.inf, 0]
    assert found["low"].isna().all()
    assert found[["least", "most"]].to_numpy().tolist() == [[10, 100]] * 2
    assert separation.as_text(found, "strings").tolist() == ["never", "at once"]


def test_growth_is_the_power_of_m_and_the_factor_of_depth():
    table = pd.concat([runs(lambda m, L: 8 * m**3), runs(lambda m, L: 8 * m**L, "supervised")])
    power = separation.growth(table, rng(), "m").set_index(["objective", "L"])
    assert power.loc[("mlm", 4), "growth"] == pytest.approx(3, abs=0.1)
    assert power.loc[("supervised", 4), "growth"] == pytest.approx(4, abs=0.1)
    factor = separation.growth(table, rng(), "L").set_index(["objective", "m"])
    assert factor.loc[("mlm", 3), "growth"] == pytest.approx(1, abs=0.05)
    assert factor.loc[("mlm", 3), "over"] == "3, 4"
    assert factor.loc[("supervised", 3), "growth"] == pytest.approx(3, abs=0.1)
    assert (factor["low"] <= factor["growth"]).all()
    with pytest.raises(ValueError, match=r'variable must be "m" or "L"'):
        separation.growth(table, rng(), "v")


def test_the_next_token_asks_for_more_than_random_masks():
    asked = separation.asked_by_next_token([Grammar.random(v=8, m=4, s=2, L=3, seed=0)], rng(), n=500)
    signals = [
        lift(Grammar.random(v=8, m=4, s=2, L=3, seed=0), 2, causal_mask(2, 2, i), i).signal for i in range(4)
    ]
    assert asked["next token"] == pytest.approx(1 / (np.mean(signals) * 16))
    assert asked["next token"] > asked["masked tokens"]


def test_no_growth_from_one_threshold():
    assert separation.growth(runs(lambda m, L: 8 * m**3, ms=(3,)), rng(), "m").empty


def test_ratios_are_of_the_same_grammars():
    # Grammars differ fourfold, but by the same factor for both: the interval is narrow all the same.
    one = runs(lambda m, L: 20 * m**2, "data2vec", spread=1.0)
    two = runs(lambda m, L: 60 * m**2, "mlm", spread=1.0)
    found = separation.ratios(pd.concat([one, two]), "data2vec", "mlm", rng())
    assert len(found) == 6
    assert found["ratio"].to_numpy() == pytest.approx(3, rel=0.1)
    assert (found["high"] - found["low"]).max() < 0.6
    lower, upper = runs(lambda m, L: 20 * m**2, "data2vec"), runs(lambda m, L: 60 * m**2, "mlm")
    apart = pd.concat([lower[lower["n"] < 56 * lower["m"] ** 2], upper[upper["n"] > 25 * upper["m"] ** 2]])
    assert separation.ratios(apart, "data2vec", "mlm", rng())["ratio"].isna().all()
    own = separation.ratios(apart, "data2vec", "mlm", rng(), own_sizes=True)
    assert own["ratio"].to_numpy() == pytest.approx(3, rel=0.1)
    few = runs(lambda m, L: 1e9, "mlm", spread=1.0)
    assert separation.ratios(pd.concat([one, few]), "data2vec", "mlm", rng())["ratio"].isna().all()


def test_costs_are_of_the_smallest_run_that_gets_there():
    table = runs(lambda m, L: 100, sizes=[50, 100, 200, 400], spread=0, ms=(2,), depths=(3,))
    [row] = separation.costs(table, accuracy=0.74).to_dict("records")
    assert (row["n"], row["strings_seen"], row["seconds"]) == (100, 1000, 12.5)
    assert separation.costs(table.assign(accuracy=0.1)).empty


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.5, 0.9, "fewer"),
        (1.11, 2.0, "more"),
        (0.909, 1.1, "as many"),
        (1.02, 1.07, "as many"),
        (0.79, 0.93, "undecided"),
        (0.9, 1.01, "undecided"),
        (1.08, 1.4, "undecided"),
        (0.5, 2.0, "undecided"),
        (np.nan, np.nan, "open"),
    ],
)
def test_verdicts_are_read_off_intervals(low, high, words):
    assert separation.verdict({"ratio": 1.0, "low": low, "high": high}).startswith(words)


def test_the_margin_of_a_verdict_can_be_chosen():
    row = {"ratio": 1.25, "low": 1.2, "high": 1.3}
    assert [separation.verdict(row, margin) for margin in (0.1, 0.25, 0.5)] == [
        "more strings",
        "undecided",
        "as many",
    ]


def test_two_grammars_make_no_interval():
    one, two = runs(lambda m, L: 20 * m**2, "data2vec", seeds=2), runs(lambda m, L: 20 * m**2, seeds=2)
    both = pd.concat([one, two])
    found = separation.thresholds(both, rng())
    assert found["low"].isna().all()
    assert (found["strings"] > 0).all()
    assert separation.growth(both, rng(), "m").empty
    ratio = separation.ratios(both, "data2vec", "mlm", rng())
    assert ratio["ratio"].to_numpy() == pytest.approx(1)
    assert ratio["low"].isna().all()
    assert separation.costs(both).empty


# ---------------------------------------------------------------- figures


def test_the_headline_has_a_line_an_objective_and_arrows_for_the_others():
    table = pd.concat(
        [runs(lambda m, L: 8 * m**3, "data2vec"), runs(lambda m, L: 1e9, "mlm", sizes=[10, 100])]
    )
    figure = figures_separation.headline(separation.thresholds(table, rng(), n_bootstrap=50), v=8, m=3, L=4)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["Predict latents:", "data2vec", "Predict tokens:", "masked tokens"]
    left, right = figure.axes
    assert left.get_yscale() == right.get_yscale() == "log"
    arrows = [line for line in left.lines if line.get_marker() == "^" and len(line.get_xdata())]
    assert [list(line.get_ydata()) for line in arrows] == [[100] * 3]
    laws = [line for line in right.lines if line.get_linestyle() == ":"]
    depths = laws[0].get_xdata()
    heights = [line.get_ydata() for line in laws]
    assert np.allclose(heights[0], 8 * 27)
    assert np.allclose(heights[1], 8 * 3.0**depths)
    assert np.allclose(heights[2], 8 * 3.0 ** (depths + 1))
    figure.canvas.draw()


def test_depths_are_drawn_in_units_of_vm3_with_points_only_where_known():
    measured = separation.thresholds(
        pd.concat([runs(lambda m, L: 8 * m**3 * 2, "latents_all"), runs(lambda m, L: 1e9, "tokens_all")]),
        rng(), n_bootstrap=50,
    )  # fmt: skip
    predicted = measured.assign(strings=lambda t: t["strings"] * 1.5)
    measured["drawn"] = measured["L"] == 4
    figure = figures_tax.thresholds_against_depth(measured, predicted, ["latents_all", "tokens_all"])
    assert [ax.get_title() for ax in figure.axes] == ["$m = 2$", "$m = 3$", "$m = 4$"]
    for ax in figure.axes:
        points = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_ydata())]
        assert [line.get_markerfacecolor() == "white" for line in points] == [False, True]
        points = np.concatenate([line.get_ydata() for line in points])
        (line,) = [x.get_ydata() for x in ax.lines if x.get_marker() == "None" and len(x.get_ydata()) == 2]
        assert np.allclose(line / points, 1.5)
        assert points == pytest.approx(2, rel=0.15)
        assert not any(len(line.get_ydata()) for line in ax.lines if line.get_marker() == "^")
    asked = predicted.query("objective == 'latents_all'")
    figure = figures_tax.thresholds_against_depth(measured, predicted.iloc[:0], ["latents_all"], asked)
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert dashed[0].get_ydata() == pytest.approx(asked.query("m == 2")["strings"] / 64)


def test_losses_are_drawn_on_the_mean_staircase():
    keys = [(seed, level, seen) for seed in (0, 1) for level in (1, 2) for seen in (10, 100)]
    table = pd.DataFrame(keys, columns=["grammar_seed", "level", "strings_seen"])
    table = table.assign(L=2, steps=5, loss=2 / table["strings_seen"])
    table = table.assign(synonym_score=np.where(table["strings_seen"] < 100, 0.4, 0.6))
    stairs = {seed: MaskedStaircase(np.array([2.0, 1.0, 0.5]) + seed, np.zeros(3)) for seed in (0, 1)}
    figure = figures_separation.loss_on_staircase(table, stairs)
    ax, below = figure.axes
    assert [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "--"] == [2.5, 1.5, 1.0]
    assert sum(line.get_linestyle() == "-" for line in ax.lines) == 2
    curve, dot = below.lines  # none of the root
    assert curve.get_ydata().tolist() == pytest.approx([0.4, 0.6])
    assert dot.get_xdata().tolist() == [100]
    figure.canvas.draw()


def test_blocks_are_drawn_beside_what_theory_asks_for():
    keys = itertools.product((3, 4), ("data2vec", "mlm"), (0, 1), (1, 2, 3), (0, 1))
    measured = pd.DataFrame(keys, columns=["m", "objective", "mask_block", "level", "grammar_seed"])
    measured = measured.assign(
        L=3, n=measured["m"] * 25, checkpoint="best",
        probe_accuracy=np.where(measured["level"] == 3, 0.9, 0.1) - measured["mask_block"] / 4,
    )  # fmt: skip
    keys = itertools.product((3, 4), (0, 2), (0, 1), (1, 2))
    needed = pd.DataFrame(keys, columns=["m", "grammar", "block", "level"])
    needed["strings"] = 10.0 ** needed.sum(axis=1)
    axes = figures_separation.blocks_beside_theory(measured, needed).axes
    for m, left in zip((3, 4), axes[::2], strict=True):
        curves = [line.get_ydata() for line in left.lines if line.get_marker() == "o"]
        assert np.allclose(curves, 10.0**m * np.array([[100, 1000], [1000, 10000]]))
        assert [line.get_ydata()[0] for line in left.lines if line.get_linestyle() == "--"] == [25 * m]
    assert len(axes[1].get_legend().get_texts()) == 2
    for right in axes[1::2]:
        roots = [bar.lines[0].get_ydata() for bar in right.containers]
        assert np.allclose(roots, [[0.9, 0.65]] * 2)


def test_the_level_below_the_root_is_read_off_the_longest_training():
    rows = [
        {"objective": "mlm", "architecture": "tree", "v": 4, "m": 2, "L": 3, "n": 32, "grammar_seed": seed,
         "weight_decay": 1.0, "steps": steps, "mask_block": np.nan, "checkpoint": checkpoint, "level": level,
         "probe_accuracy": 0.5, "synonym_score": level + seed / 10 + steps / 1000, "strings_seen": 1,
         "seconds": 1.0}
        for seed in (0, 1) for steps in (100, 200) for level in (1, 2, 3) for checkpoint in ("best", "last")
    ]  # fmt: skip
    found = separation.below_root(pd.DataFrame(rows), "synonym_score")
    assert found["accuracy"].tolist() == pytest.approx([2.2, 2.3])


def test_strings_are_drawn_against_masks():
    rows = [
        {"m": 2, "L": 3, "level": level, "mask": mask, "size": size, "grammar_seed": seed, "signal": signal}
        for level in (1, 2)
        for mask, size in (("random", 0.0), ("random", 1.0), ("causal", 0), ("causal", 1), ("block", 0))
        for seed, signal in ((0, 0.25), (1, 1.0))
    ]
    figure = figures_tax.strings_by_mask(pd.DataFrame(rows))
    for ax in figure.axes:
        assert len(ax.lines) == 2
        assert all(line.get_ydata() == pytest.approx([0.5, 0.5]) for line in ax.lines)
    figure.canvas.draw()
