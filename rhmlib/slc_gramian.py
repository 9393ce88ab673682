"""Watch the gradients of a stacked network's losses while it trains, and how they conflict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rhmlib.experiment_slc import SLCExperiment, _Run
from rhmlib.training import Jacobian, UPGrad, draw_subsets, train

Floats = NDArray[np.float64]

# torchjd's own settings, and ours: see rhmlib.training.UPGrad.
WEIGHTINGS = {
    "mean": None,
    "torchjd": UPGrad(unit_rows=False, norm_eps=1e-4, reg_eps=1e-4),
    "unit rows": UPGrad(),
}


@dataclass(frozen=True)
class GradientView:
    """The 2(L-1) losses and the inner products of their gradients at one step.

    Losses are in the order of the paper's Jacobian here: the prediction losses of modules 0 .. L-2, then
    their clustering losses.

    Attributes
    ----------
    step : int
    losses : array of float, shape (2(L-1),)
    gramian : array of float, shape (2(L-1), 2(L-1))
        Of the gradients of these losses on one batch that is the same at all steps.
    applied : array of float, shape (2(L-1),)
        Weights that training gave the gradients in this step, times their number: 1 for the plain sum.
    """

    step: int
    losses: Floats
    gramian: Floats
    applied: Floats

    def cosines(self) -> Floats:
        """Cosines of the angles between the gradients; 0 for a gradient that is 0."""
        norms = np.sqrt(np.diag(self.gramian))
        scale = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
        return self.gramian * np.outer(scale, scale)

    def weights(self, name: str) -> Floats:
        """Weights, summing to about 1, that one of `WEIGHTINGS` gives the gradients, shape (2(L-1),)."""
        weighting = WEIGHTINGS[name]
        if weighting is None:
            return np.full(len(self.losses), 1 / len(self.losses))
        return np.asarray(weighting(torch.from_numpy(self.gramian)[None])[0], dtype=float)

    def update_cosines(self, name: str) -> Floats:
        """Cosine of the angle between each gradient and the update that `WEIGHTINGS[name]` makes of all.

        Returns
        -------
        array of float, shape (2(L-1),)
            Negative: the step makes this loss larger, to first order. NaN where a gradient is 0.
        """
        products = self.gramian @ self.weights(name)
        squared = np.diag(self.gramian) * (self.weights(name) @ products)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(products / np.sqrt(squared))


def watch_gradients(config: SLCExperiment, steps: Sequence[int]) -> list[GradientView]:
    """Train a network as the experiment does, and look at its gradients after some steps.

    Parameters
    ----------
    config : SLCExperiment
        Its `n_replicas` is replaced by 1, and its `steps` by the last of the steps given here.
    steps : sequence of int
        Ascending, from 1.

    Returns
    -------
    list of GradientView

    Raises
    ------
    ValueError
        If the steps do not ascend from 1 or more.
    """
    wanted = [int(step) for step in steps]
    if not wanted or wanted[0] < 1 or sorted(set(wanted)) != wanted:
        raise ValueError(f"steps must ascend, from 1 or more. Found steps={wanted}.")
    run = _Run(replace(config, n_replicas=1, steps=wanted[-1]))
    batch = _fixed_batch(run)
    views: list[GradientView] = []
    train(run.trainer, run.batches, wanted, lambda step: views.append(_view(run, batch, step)))
    return views


def _fixed_batch(run: Any) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    """Numbers of the first strings, and a subset of patches for each module's clustering loss."""
    c, generator = run.config, torch.Generator().manual_seed(run.config.data_seed)
    size = min(c.batch_size, run.patches.sizes[0])
    drawn = [
        draw_subsets(1, size * c.s ** (c.L - level - 1), c.n_patches, [generator]) for level in range(c.L - 1)
    ]
    strings = torch.arange(size, device=run.device)[None]
    return strings, [part if part is None else part[0].to(run.device) for part in drawn]


def _view(run: Any, batch: tuple[torch.Tensor, list[torch.Tensor | None]], step: int) -> GradientView:
    strings, subsets = batch
    trainer = run.trainer
    losses = trainer.losses(
        trainer.student, trainer.teacher, strings, run.config.separation(step - 1), *subsets
    )
    jacobian = Jacobian(losses, trainer.parameters, trainer.reach)
    return GradientView(
        step=step,
        losses=_numbers(losses),
        gramian=_numbers(jacobian.gramian()),
        applied=_numbers(trainer.weights),
    )


def _numbers(values: torch.Tensor) -> Floats:
    return values[0].detach().cpu().double().numpy()
