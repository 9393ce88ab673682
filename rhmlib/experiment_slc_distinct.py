"""SLC whose similarity loss is of pairs with different predictions alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import functional

from rhmlib.experiment_slc_counts import SLCCountsExperiment, _CountsRun
from rhmlib.slc import (
    SLC,
    ClusterWeights,
    LevelOutput,
    _compose,
    _rows,
    clustering_loss,
    prediction_losses,
    similarity,
    teacher_outputs,
)

# Predictions are equal up to rounding from this similarity on.
_EQUAL = 1 - 1e-6


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class SLCDistinctExperiment(SLCCountsExperiment):
    """Train SLC as `SLCCountsExperiment` does, but let patches with equal predictions not attract each other.

    Equal predictions have equal codes q, as the clusterer is a function of them: their pull on each other, in
    eq. (9), is proportional to 1 - |q|**2 and makes codes decided, as eq. (11) would. It also holds
    a code where it is against the pull of synonyms: two that are equally frequent and have codes of
    their own never meet again. Without it they do as soon as they are similar enough.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`.

    References
    ----------
    Equation (9), but for the pairs with S = 1; this is not the paper's.
    """

    w_sep_end: float = Field(default=1.2, gt=0, description="weight of the separation loss at the last step")

    def run(self) -> list[dict[str, Any]]:
        """Train and score; rows as those of :class:`~rhmlib.experiment_slc.SLCExperiment`."""
        return _DistinctRun(self).rows()


class _DistinctRun(_CountsRun):
    def _losses(
        self,
        student: SLC,
        teacher: SLC | None,
        strings: Tensor,
        separation: float,
        *subsets: Tensor | None,
    ) -> Tensor:
        c = self.config
        weights = ClusterWeights(c.margin, c.w_sim, separation, c.w_norm)
        index = self.patches.select(strings)
        outputs = student(self.patches, index, self.visible)
        references = teacher_outputs(outputs, teacher, self.patches, index, self.visible)
        prediction = prediction_losses(outputs, references, self.patches, index, self.visible, c.prior)
        return torch.cat(
            [prediction, c.w_clust * _losses_of_levels(outputs, references, subsets, weights)], 1
        )


def distinct_clustering_loss(S: Tensor, q: Tensor, weights: ClusterWeights) -> Tensor:
    """Eq. (8) with the similarity loss, eq. (9), over pairs of different predictions alone.

    Parameters
    ----------
    S : Tensor, shape (R, K, K)
        Similarities of the teacher's predictions.
    q : Tensor, shape (R, K, d_h)
        The student's assignments of the same K patches.
    weights : ClusterWeights

    Returns
    -------
    Tensor, shape (R,)
        The mean is over all K**2 pairs, as in eq. (9).
    """
    with torch.no_grad():
        equal = (_EQUAL < S).to(q.dtype).mul_(S - weights.margin).mul_(weights.similarity)
    held = equal.mean((1, 2)) - (q * torch.bmm(equal, q)).sum((1, 2)) / S.shape[1] ** 2
    return clustering_loss(S, q, weights) - held


def _losses_of_levels(
    outputs: Sequence[LevelOutput],
    references: Sequence[LevelOutput],
    subsets: Sequence[Tensor | None],
    weights: ClusterWeights,
) -> Tensor:
    """As :func:`rhmlib.slc.clustering_losses`, shape (R, L-1)."""
    out = []
    for level, reference, subset in zip(outputs, references, subsets, strict=True):
        chosen = _compose(level.numbers, subset)
        S = similarity(_rows(reference.log_p, chosen).exp().flatten(2))
        q = functional.softmax(_rows(level.logits, chosen), dim=-1)
        out.append(distinct_clustering_loss(S, q, weights))
    return torch.stack(out, 1)
