"""Looks into a network in training: they tell the truth and do not disturb it."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from rhmlib import figures_slc_views
from rhmlib.experiment_slc import SLCExperiment
from rhmlib.slc_gramian import watch_gradients
from rhmlib.slc_watch import watch


def setting(**options):
    usual = {"v": 4, "m": 2, "L": 3, "n": 64, "width": 16, "n_val": 40, "n_test": 20, "n_patches": 64}
    return SLCExperiment(**usual, device="cpu", grammar_seed=0, data_seed=0, model_seed=0, **options)


# ---------------------------------------------------------------- predictions and codes


def test_views_list_every_tuple_and_count_every_place():
    first, last = watch(setting(), [0, 20])
    assert (first.step, last.step) == (0, 20)
    assert first.parents.tolist() == sorted(first.parents.tolist())
    assert np.bincount(first.parents).tolist() == [2] * 4
    assert first.predictions.shape == (8, 2 * 1 * 2 * 8)
    assert np.allclose(first.predictions.reshape(8, 4, 8).sum(-1), 1)
    assert np.allclose(last.codes.sum(1), 1)
    assert [int(joint.sum()) for joint in last.joint] == [40 * 4, 40 * 2]
    assert not np.allclose(first.predictions, last.predictions)


def test_looking_twice_changes_nothing():
    assert np.array_equal(watch(setting(), [5, 20])[-1].predictions, watch(setting(), [20])[0].predictions)


@pytest.mark.parametrize("steps", [[], [-1], [3, 2], [2, 2]])
def test_steps_of_views_must_ascend(steps):
    with pytest.raises(ValueError, match="steps must ascend, from 0 or more"):
        watch(setting(), steps)


def test_pictures_of_views():
    views = watch(setting(), [0, 20])
    figure = figures_slc_views.module_views(views)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["step 0", "step 20"]
    assert len(figures_slc_views.code_tables(views).axes) == 4
    plt.close("all")


# ---------------------------------------------------------------- gradients

MODULES = np.array([0, 1, 0, 1])  # of the losses: pred 0, pred 1, clust 0, clust 1


def test_stopped_everywhere_the_gramian_is_diagonal():
    view = watch_gradients(setting(stop_gradient="modules+clusterer", aggregation="upgrad"), [10])[0]
    assert np.count_nonzero(view.gramian) == 4
    assert view.applied.tolist() == [1.0] * 4
    assert np.allclose(view.cosines(), np.eye(4))


def test_stopped_between_modules_it_has_a_block_a_module():
    gramian = watch_gradients(setting(stop_gradient="modules"), [10])[0].gramian
    same = MODULES[:, None] == MODULES
    assert (gramian[~same] == 0).all()
    assert (gramian[same] != 0).all()


def test_with_all_gradients_it_is_full():
    gramian = watch_gradients(setting(), [10])[0].gramian
    assert np.count_nonzero(gramian) == 4  # the default stops everywhere
    gramian = watch_gradients(setting(stop_gradient="none"), [10])[0].gramian
    assert np.count_nonzero(gramian[1]) == 4
    assert np.allclose(gramian, gramian.T)


def test_unit_rows_leave_no_conflict_where_the_mean_does():
    views = watch_gradients(setting(stop_gradient="none", w_clust=1000.0), [5, 20, 40, 80])
    assert min(view.update_cosines("mean").min() for view in views) < -0.001
    assert min(view.update_cosines("unit rows").min() for view in views) > -1e-6
    assert all(np.allclose(view.weights("mean"), 0.25) for view in views)


def test_looking_at_gradients_changes_nothing():
    config = setting(stop_gradient="none", aggregation="upgrad")
    often, once = watch_gradients(config, [3, 7, 20])[-1], watch_gradients(config, [20])[0]
    assert np.array_equal(often.gramian, once.gramian)
    assert np.array_equal(often.applied, once.applied)


@pytest.mark.parametrize("steps", [[], [0, 1], [3, 2], [2, 2]])
def test_steps_of_gradients_must_ascend_from_one(steps):
    with pytest.raises(ValueError, match="steps must ascend, from 1 or more"):
        watch_gradients(setting(), steps)


def test_pictures_of_gradients():
    views = {"all": watch_gradients(setting(stop_gradient="none", aggregation="upgrad"), [5, 10])}
    figure = figures_slc_views.gramians(views)
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == [
        "pred 0",
        "pred 1",
        "clust 0",
        "clust 1",
    ]
    assert len(figures_slc_views.applied_weights(views).axes[0].lines) == 4
    ax = plt.figure().subplots()
    figures_slc_views.update_angles(views["all"][1], ax)
    assert len(ax.patches) == 3 * 4
    plt.close("all")
