"""The signals against direct sums over exact laws, and against the scales of the paper."""

import numpy as np
import pytest

from rhmlib import exact, signals
from rhmlib.grammar import Grammar


def direct_signal(grammar, patch, token):
    joint = exact.tuple_token_law(grammar, patch, token)
    return (exact.covariance(joint) ** 2).sum() * grammar.v * grammar.m


@pytest.mark.parametrize("setting", signals.SETTINGS)
def test_relative_signal_is_the_mean_over_positions(setting):
    grammar = Grammar.random(v=5, m=3, s=2, L=3, seed=0)
    for level in (0, 1):
        target = {"supervised": 3, "tokens": 0, "latents": level}[setting]
        values = []
        for patch in range(2 ** (3 - level - 1)):
            cousin = patch ^ 1
            width = 2 ** (level + 1 - target) if setting != "supervised" else 1
            nodes = [0] if setting == "supervised" else range(cousin * width, (cousin + 1) * width)
            values += [direct_signal(grammar, (level, patch), (target, node)) for node in nodes]
        assert signals.relative_signal(grammar, setting, level) == pytest.approx(np.mean(values), rel=1e-10)


def test_signals_follow_the_paper_where_v_and_m_are_large():
    table = signals.signal_table(32, [8], 2, 4, range(6))
    ratio = (table["signal"] / table["scale"]).groupby([table["setting"], table["level"]]).mean()
    assert ratio.between(0.6, 1.5).all()


def test_latent_signal_does_not_depend_on_level_and_token_signal_falls_by_m():
    table = signals.signal_table(32, [8], 2, 5, range(6)).groupby(["setting", "level"])["signal"].mean()
    latents, tokens = table["latents"], table["tokens"]
    assert latents.max() / latents.min() < 1.5
    steps = tokens.to_numpy()[:-1] / tokens.to_numpy()[1:]
    assert (np.abs(np.log(steps / 8)) < np.log(1.6)).all()


def test_counted_covariance_agrees_within_its_error():
    grammar = Grammar.random(v=8, m=3, s=2, L=3, seed=0)
    table = signals.sampled_covariance(grammar, 200_000, np.random.default_rng(0))
    z = (table["counted"] - table["exact"])[table["error"] > 0] / table["error"][table["error"] > 0]
    assert np.abs(z).max() < 5
    assert 0.5 < z.std() < 1.2


def test_counted_token_correlations_scatter_around_the_exact_ones():
    table = signals.distance_table(8, 3, 2, 3, range(6), 100_000, np.random.default_rng(0))
    means = table.groupby("ancestor")[["exact", "counted"]].mean()
    np.testing.assert_allclose(means["counted"], means["exact"], rtol=0.15, atol=2e-4)
    assert (means["exact"].diff().dropna() < 0).all()


def test_noise_is_subtracted_without_bias_where_it_is_nearly_all_that_is_counted():
    table = signals.distance_table(4, 2, 2, 2, [0] * 400, 200, np.random.default_rng(0))
    for _, part in table.groupby("ancestor"):
        error = part["counted"].sem()
        assert part["counted"].mean() == pytest.approx(part["exact"].iloc[0], abs=4 * error)
        noise = 3 * 3 / 16 / 200 * 4  # of independent, nearly uniform tokens: far above the error
        assert error < noise / 5


def test_tables_have_a_row_for_each_case():
    assert len(signals.signal_table(8, [2, 3], 2, 4, [0, 1])) == 2 * 2 * 3 * 3
    table = signals.norm_table([(8, 2), (8, 4)], 2, 3, [0])
    assert table["ratio"].between(0.2, 3).all()


def test_unknown_setting_is_named():
    with pytest.raises(ValueError, match=r"setting must be one of .*Found setting='label'"):
        signals.rules_between("label", 0, 4)
