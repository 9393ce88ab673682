"""Frames of the collapse and of trainings, on made-up curves and tables."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from rhmlib import figures_collapse, figures_training, fits
from rhmlib.fits import Curve

KS = [0, 1, 2, 3, 4, 5]


@pytest.fixture(scope="module")
def chosen():
    x = np.geomspace(0.25, 16, 6)
    rows = np.stack([x / (1 + x), x / (1.2 + x)])
    return {(m,): Curve(8 * m**3 * x, rows, 8.0, m) for m in (2.0, 4.0, 8.0)}


def test_the_window_holds_every_point_and_as_many_decades_at_every_exponent(chosen):
    widths = []
    for k in KS:
        low, high = figures_collapse.window(chosen, k, KS)
        x = np.concatenate([c.sizes / (c.v * c.m**k) for c in chosen.values()])
        assert low < x.min()
        assert x.max() < high
        widths.append(np.log(high / low))
    np.testing.assert_allclose(widths, widths[0])


def test_the_dot_is_at_the_exponent_and_its_spread(chosen):
    fit = fits.collapse(chosen, np.random.default_rng(0), n_bootstrap=20)
    assert fit.k.contains(3)
    assert figures_collapse.spread_at(chosen, 3) < figures_collapse.spread_at(chosen, 2)
    for k in (2, 3):
        figure = figures_collapse.rescaled_with_spread(chosen, fit, k, KS, laws={"$m^3$": 3})
        above, below = figure.axes
        assert len(above.get_lines()) == len(chosen) + 1
        x, y = below.get_lines()[-1].get_data()
        assert (x[0], y[0]) == (k, figures_collapse.spread_at(chosen, k))
        assert str(fit.k) in below.get_xlabel()
        assert below.get_lines()[1].get_xdata()[0] == fit.k.value
        assert figure.get_size_inches().tolist() == [5.2, 4.4]
        plt.close(figure)


def test_spread_is_that_of_the_fit(chosen):
    fit = fits.collapse(chosen, np.random.default_rng(0), n_bootstrap=5)
    i = int(np.argmin(np.abs(fit.grid - 4)))
    assert figures_collapse.spread_at(chosen, fit.grid[i]) == pytest.approx(np.sqrt(fit.spread[i]))


def test_codes_stand_in_the_order_of_their_latents():
    joint = np.array([[0, 5, 0, 0, 9], [7, 0, 0, 1, 0], [0, 0, 0, 8, 0]])
    order = figures_training.code_order(joint)
    assert order.tolist() == [4, 1, 0, 3, 2]
    assert figures_training.matched(joint) == pytest.approx((9 + 7 + 8) / 30)
