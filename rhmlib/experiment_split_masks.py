"""Masked-token prediction where a token's own subtree and the rest are hidden at different rates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from rhmlib.baselines import MaskedTokens
from rhmlib.experiment_encoder import EncoderExperiment, _Run
from rhmlib.objectives import Descent
from rhmlib.split_masks import MaskedToken, SplitMasking
from rhmlib.tree_settings import TreeSettings


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class SplitMasksExperiment(TreeSettings):
    """Train the tree encoder to predict one masked token a string, and probe it.

    A usual random mask does two things as its rate grows: it hides what would lift the token, and it hides
    the context that the token is predicted from. Here each has a rate of its own.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`.
    """

    resumable: ClassVar[bool] = True
    tolerances: ClassVar[Mapping[str, float]] = EncoderExperiment.tolerances

    n: int = Field(ge=1, description="distinct training strings")
    own_level: int = Field(ge=1, description="height of the subtree that counts as the token's own")
    own_rate: float = Field(ge=0, le=1, description="rate at which other tokens of it are hidden")
    rest_rate: float = Field(ge=0, le=1, description="rate at which tokens outside it are hidden")
    weight_decay: float = Field(default=1.0, ge=0, description="weight decay of AdamW, on matrices")
    steps: int = Field(default=2000, ge=1, description="optimiser steps, at most")
    n_evaluations: int = Field(default=5, ge=1, description="log-spaced steps of evaluation")

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.training()
        self.split()
        return self

    def training(self) -> EncoderExperiment:
        """Settings of the training, but for the masks."""
        names = ("v", "m", "s", "L", "n", "width", "lr", "weight_decay", "steps", "n_evaluations", "device")
        seeds = ("grammar_seed", "data_seed", "model_seed")
        return EncoderExperiment(objective="mlm", **{name: getattr(self, name) for name in (*names, *seeds)})

    def split(self) -> SplitMasking:
        """The masks."""
        return SplitMasking(self.s, self.L, self.own_level, self.own_rate, self.rest_rate)

    def cost(self) -> float:
        """Multiplications of a training to the last step."""
        return self.training().cost()

    def run(self, checkpoint: Path | None = None) -> list[dict[str, Any]]:
        """Train and probe, as :meth:`rhmlib.experiment_encoder.EncoderExperiment.run` does."""
        run = _Run(self.training())
        run.objective = MaskedToken(cast(MaskedTokens, run.objective), self.split())
        run.descent = Descent(
            run.objective, lr=self.lr, warmup_steps=run.config.warmup_steps, weight_decay=self.weight_decay
        )
        return run.rows(checkpoint)
