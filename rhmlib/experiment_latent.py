"""Other ways to predict latents, in data2vec's place: contrastive, explicitly stacked, of several scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import torch
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from rhmlib.contrastive import LocalContrast
from rhmlib.encoders import TreeEncoder
from rhmlib.experiment_encoder import _HEAD, EncoderExperiment, _Run
from rhmlib.multiscale import MultiScaleData2Vec
from rhmlib.objectives import Descent, Masking, Objective
from rhmlib.stacked import StackedData2Vec
from rhmlib.training import seed_for
from rhmlib.tree_settings import TreeSettings


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class LatentExperiment(TreeSettings):
    """Train the tree encoder by one of the variants, on the strings and probes of the experiment `encoder`.

    Runs with the same v, m, s, L, n, seeds and batches see the same strings, in the same order, as
    those of :class:`rhmlib.experiment_encoder.EncoderExperiment`, and are measured in the same way.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`.
    """

    resumable: ClassVar[bool] = True
    tolerances: ClassVar[Mapping[str, float]] = EncoderExperiment.tolerances

    objective: Literal["clapp", "stacked", "multiscale"] = Field(
        description="local contrast of neighbours, one data2vec a level, or data2vec with a head a level"
    )
    n: int | None = Field(default=None, ge=1, description="distinct training strings; fresh ones if left out")
    contrast: Literal["hinge", "softmax"] = Field(
        default="hinge", description="loss of clapp: CLAPP's hinge, or InfoNCE over the batch"
    )
    schedule: Literal["concurrent", "sequential"] = Field(
        default="concurrent", description="modules of stacked: trained all at once, or one after the other"
    )
    mask_probability: float = Field(default=0.15, gt=0, le=1, description="rate of masked tokens or features")
    ema: float = Field(default=0.99, ge=0, lt=1, description="decay of the teacher's moving average")
    beta: float = Field(default=0.5, ge=0, description="where smooth L1 turns from square to linear")
    warmup_steps: int = Field(default=100, ge=0, description="steps over which it rises")
    weight_decay: float = Field(default=1.0, ge=0, description="weight decay of AdamW, on matrices")
    batch_size: int = Field(default=128, ge=2, description="strings in a batch")
    steps: int = Field(default=2000, ge=1, description="optimiser steps, at most")
    n_evaluations: int = Field(default=6, ge=1, description="log-spaced steps of evaluation")
    stop_at: float = Field(
        default=0.995, gt=0, description="accuracy of all probes on validation strings that ends a run"
    )
    n_val: int = Field(default=1000, ge=2, description="strings for validation")
    n_test: int = Field(default=2000, ge=2, description="strings on which accuracy is reported")
    n_probe: int = Field(default=2000, ge=2, description="labelled strings for the probes")

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.beside()
        return self

    def beside(self) -> EncoderExperiment:
        """The run of data2vec that this one is to be compared with."""
        own = {"objective", "contrast", "schedule"}
        names = {field.name for field in fields(cast(Any, self))} - own
        shared = {name: getattr(self, name) for name in names}
        return EncoderExperiment(objective="data2vec", **shared)

    def cost(self) -> float:
        """Multiplications of a training to the last step."""
        return self.beside().cost()

    def run(self, checkpoint: Path | None = None) -> list[dict[str, Any]]:
        """Train and score, as :meth:`rhmlib.experiment_encoder.EncoderExperiment.run` does."""
        return _LatentRun(self).rows(checkpoint)


class _LatentRun(_Run):
    """An execution of data2vec's experiment with another objective."""

    def __init__(self, config: LatentExperiment) -> None:
        super().__init__(config.beside())
        self.objective = make_objective(config, self.device)
        self.descent = Descent(
            self.objective, lr=config.lr, warmup_steps=config.warmup_steps, weight_decay=config.weight_decay
        )


def make_objective(config: LatentExperiment, device: torch.device | str) -> Objective:
    """Build the untrained learner of an experiment."""
    c = config
    seed = seed_for(c.model_seed, _HEAD)
    encoder = TreeEncoder(v=c.v, s=c.s, L=c.L, width=c.width, model_seed=c.model_seed, device=device)
    if c.objective == "clapp":
        return LocalContrast(encoder, contrast=c.contrast, model_seed=seed)
    if c.objective == "multiscale":
        masking = Masking(c.s, c.L, c.mask_probability)
        return MultiScaleData2Vec(encoder, masking, ema=c.ema, beta=c.beta, model_seed=seed)
    return StackedData2Vec(
        encoder,
        mask_probability=c.mask_probability,
        ema=c.ema,
        beta=c.beta,
        schedule=c.schedule,
        steps_each=max(1, c.steps // (c.L - 1)),
        model_seed=seed,
    )
