"""Counts and tables of runs in phases, on made-up rows; figures draw what they are given."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from rhmlib import figures_phases
from rhmlib.grammar import Grammar
from rhmlib.phase_limits import limits, steps


def made_up(teacher="phases", phases=3, seeds=2, **settings):
    """After phase p the levels up to p are learnt, with a score of 0.8."""
    rows = []
    for seed, phase, level in itertools.product(range(seeds), range(phases + 1), range(4)):
        rows.append(
            {
                "teacher": teacher, "part": "whole", "cut_level": 0, "L": 3, "m": 2, "n_over_vm3": 1.0,
                "grammar_seed": seed, "phase": phase, "step": 100 * phase, "level": level,
                "synonym_score": 0.8 * (level <= phase) if 0 < level < 3 else np.nan,
                "probe_accuracy": 0.3 * phase if level else np.nan,
                "trace_share": 0.1 * phase, "trace_accuracy": 0.2 * phase, "state_accuracy": 0.2 * phase,
                **settings,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def test_levels_are_counted_without_a_gap():
    table = made_up()
    found = figures_phases.levels_learnt(table, 0.5).groupby("phase")["levels"].unique()
    assert [list(x) for x in found] == [[0], [1], [2], [2]]
    gap = table.assign(synonym_score=table["synonym_score"].where(table["level"] != 1, 0.0))
    assert (figures_phases.levels_learnt(gap, 0.5)["levels"] == 0).all()
    assert (figures_phases.levels_learnt(table, 0.9)["levels"] == 0).all()


def test_progress_has_a_row_for_every_teacher_and_number_of_steps():
    found = figures_phases.progress([made_up(), made_up("average", phases=1)], [0.5, 0.9])
    assert list(found.index) == [
        ("moving average", 100),
        *(("replaced after every phase", 100 * phase) for phase in (1, 2, 3)),
    ]
    last = found.loc[("replaced after every phase", 200)]
    assert last["probe, root"] == last["probe, level 2"] == pytest.approx(0.6)
    assert (last["score, level 1"], last["score, level 2"]) == pytest.approx((0.8, 0.8))
    assert (last["levels from 0.5"], last["levels from 0.9"]) == (2, 0)


def test_cut_scores_are_of_the_last_phase_and_named():
    table = pd.concat(
        [
            made_up(),
            made_up(part="upto", cut_level=0),
            made_up(part="without", cut_level=2),
            made_up(part="upto", teacher="frozen", phases=3, cut_level=1),
        ]
    )
    found = figures_phases.cut_scores(table)
    assert set(found.index) == {"whole", "tokens alone", "without level 2", "levels 0 to 1 alone, frozen"}
    assert found.loc["whole"].tolist() == pytest.approx([0.8, 0.8])


def test_figures_show_every_line_they_are_given():
    table = pd.concat([made_up(), made_up("frozen")])
    figure = figures_phases.levels_against_replacements(table, [0.3, 0.9], [made_up("average")])
    assert [ax.get_title() for ax in figure.axes[:2]] == ["replaced after every phase", "never replaced"]
    for line, levels in ((1, [1, 2, 2]), (3, [0, 0, 0]), (4, [1, 2, 2])):  # at each score, and one each
        counted = figure.axes[2].lines[line]
        assert counted.get_xdata().tolist() == [0, 1, 2]
        assert counted.get_ydata().tolist() == levels
    assert [len(ax.lines) for ax in figure.axes[3:]] == [6, 6, 3]
    assert len(figures_phases.traces_over_training(made_up()).axes) == 2
    sizes = pd.concat([made_up(n_over_vm3=x, m=m) for x in (1.0, 2.0) for m in (2, 3)])
    assert len(figures_phases.traces_against_strings(sizes).axes) == 4
    figure = figures_phases.cuts({"a": figures_phases.cut_scores(made_up())})
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.80", "0.80"]
    grammar = Grammar.random(v=4, m=2, s=2, L=3, seed=0)
    limit = limits(grammar, 100, np.random.default_rng(0))
    assert len(figures_phases.gains({"a": steps(limit), "b": steps(limit)}).axes) == 2
    assert len(figures_phases.known_against_limit(made_up(), limit).axes) == 3
    plt.close("all")
