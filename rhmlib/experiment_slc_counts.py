"""SLC with a last weight of separation that follows the number of patches of a code."""

from __future__ import annotations

from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from rhmlib.experiment_slc import SLCExperiment, _Run
from rhmlib.metrics import level_metrics


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class SLCCountsExperiment(SLCExperiment):
    """Train SLC as :class:`~rhmlib.experiment_slc.SLCExperiment` does, with one rule for all m.

    Synonyms have contexts that differ by sampling noise, which falls as the square root of the number of
    patches that have the same code. So where patches are few, two must be joined at a lower similarity
    than where they are many. The last weight of separation, which sets that similarity, is
    ``w_sep_end * sqrt(N / count)`` with ``N = n s / d_h`` patches a code at the top level, where they are
    fewest. The learner knows all of it. At n = 16 v m**3 and d_h = v m the weight is proportional to m.

    The best checkpoint is that of the largest matched accuracy of the top level on the validation
    strings, the accuracy that is reported.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`.

    References
    ----------
    Equations (8) to (10). The rule is not the paper's.
    """

    w_sep_end: float = Field(default=0.5, gt=0, description="weight of the separation loss at the last step")
    count: float = Field(default=128.0, gt=0, description="patches a code at which the last weight is that")

    @model_validator(mode="after")
    def _offline(self) -> Self:
        if self.online:
            raise ValueError("online must be false, as the rule counts distinct strings. Found online=True.")
        return self

    def separation(self, step: int) -> float:
        """Weight of the separation loss at a step, counted from 0; geometric."""
        share = step / max(1, self.steps - 1)
        last = self.w_sep_end * (self.n * self.s / self.codes / self.count) ** 0.5
        return float(self.w_sep ** (1 - share) * last**share)

    def run(self) -> list[dict[str, Any]]:
        """Train and score; rows as those of :class:`~rhmlib.experiment_slc.SLCExperiment`."""
        return _CountsRun(self).rows()


class _CountsRun(_Run):
    def report(self, step: int) -> None:
        """Evaluate on the validation strings, and keep each replica's best checkpoint."""
        top = self.config.L - 1
        codes, losses = self._codes(self.validation, self.network)
        for r, (best, latents) in enumerate(zip(self.best, self.validation.latents(top), strict=True)):
            loss = 1 - level_metrics(codes[-1][r], latents)["hungarian_accuracy"]
            if loss <= best.loss:
                best.loss, best.step = loss, step
                best.state = {k: p[r].clone() for k, p in self.network.state_dict().items()}
        if self.config.curve:
            self.curve += self._rows("curve", [step] * len(self.best), self.validation, codes, losses)
