"""Linear and MLP probes of the root beside each other, on trained and untrained encoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from rhmlib.encoders import Encoder
from rhmlib.experiment_encoder import EncoderExperiment, _Run
from rhmlib.probes_mlp import accuracies, fit_probes, linear_probe, mlp_probe
from rhmlib.sampling import Sample
from rhmlib.training import seed_for
from rhmlib.tree_settings import TreeSettings

# Purposes of the random streams of a run.
_STRINGS, _PROBES, _DROPOUT = range(31, 34)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class RootProbesExperiment(TreeSettings):
    """Train data2vec with the tree encoder, then probe the root by the paper's protocol.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`.

    References
    ----------
    Appendix D, "Probes".
    """

    tolerances: ClassVar[Mapping[str, float]] = {"n_over_vm3": 1e-9, "root_accuracy": 0.3}

    n: int = Field(ge=1, description="distinct training strings")
    weight_decay: float = Field(default=1.0, ge=0, description="weight decay of AdamW, on matrices")
    steps: int = Field(default=1500, ge=1, description="optimiser steps of the encoder")
    probe_steps: int = Field(default=500, ge=1, description="optimiser steps of the probes")
    batch_size: int = Field(default=256, ge=2, description="fresh labelled strings in a batch of the probes")
    hidden: int = Field(default=256, ge=1, description="width of the MLP probe's layer")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout of the MLP probe")
    n_test: int = Field(default=4096, ge=2, description="strings on which accuracy is reported")

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.training()
        return self

    def training(self) -> EncoderExperiment:
        """Settings of the encoder's training."""
        names = ("v", "m", "s", "L", "n", "width", "lr", "weight_decay", "steps", "device")
        seeds = ("grammar_seed", "data_seed", "model_seed")
        return EncoderExperiment(
            objective="data2vec", **{name: getattr(self, name) for name in (*names, *seeds)}
        )

    def cost(self) -> float:
        """Multiplications: of the training, and of the encodings for the probes."""
        training = self.training()
        encoding = training.cost() / (3 * training.steps * training.batch_size)
        return training.cost() + 2 * self.probe_steps * self.batch_size * encoding

    def run(self) -> list[dict[str, Any]]:
        """Train and probe.

        Returns
        -------
        list of dict
            For the encoders "untrained" and "trained" and the probes "linear" and "mlp": `root_accuracy` on
            strings that no probe has seen. Features are the means of the final ones over positions.
        """
        run = _Run(self.training())
        rows = self._probe(run, "untrained")
        for batch in run.batches(self.steps):
            run.descent.step(batch)
        return rows + self._probe(run, "trained")

    def _probe(self, run: _Run, name: str) -> list[dict[str, Any]]:
        rng = np.random.default_rng([self.data_seed, _STRINGS])
        encoder = run.objective.encoder

        def draw(count: int) -> tuple[Tensor, Tensor]:
            return _pooled(encoder, run.grammar.sample(count, rng), run.device)

        seed = seed_for(self.model_seed, _PROBES)
        probes: dict[str, nn.Module] = {
            "linear": linear_probe(self.width, self.v, model_seed=seed),
            "mlp": mlp_probe(self.width, self.v, hidden=self.hidden, dropout=self.dropout, model_seed=seed),
        }
        for probe in probes.values():
            probe.to(run.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(self.model_seed, _DROPOUT))  # dropout has no other generator
            fit_probes(probes, draw, steps=self.probe_steps, batch_size=self.batch_size)
        scores = accuracies(probes, *draw(self.n_test))
        share = self.n / (self.v * self.m**3)
        return [
            {"encoder": name, "probe": probe, "n_over_vm3": share, "root_accuracy": score}
            for probe, score in scores.items()
        ]


@torch.no_grad()
def _pooled(encoder: Encoder, sample: Sample, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Mean-pooled final features and roots of whole strings."""
    training = encoder.training
    encoder.eval()
    tokens = torch.from_numpy(sample.tokens).long().to(device)
    features = encoder.pooled(encoder.encode(tokens, final=True))
    encoder.train(training)
    return features, torch.from_numpy(sample.root.copy()).long().to(device)
