"""Synonym scores of every level in every block of an encoder, over training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from rhmlib.checkpoints import Checkpoint
from rhmlib.encoder_probes import Nodes, _scores
from rhmlib.experiment_encoder import EncoderExperiment, Progress, _Run
from rhmlib.sampling import Sample, resample_rules

# Purpose of the random stream of a run; strings of one evaluation; pairings of unrelated strings.
_SYNONYMS, _N_STRINGS, _SHIFTS = 41, 1000, 8


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class SynonymBlocksExperiment(EncoderExperiment):
    """Train as :class:`~rhmlib.experiment_encoder.EncoderExperiment` does, and score all blocks.

    Its table keeps the block where a level scores best; here are all of them. Training does not end early.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`.

    References
    ----------
    Section 5, Figure 5; Appendix D, Figure 13 (left).
    """

    def run(self, checkpoint: Path | None = None) -> list[dict[str, Any]]:
        """Train and score.

        Parameters
        ----------
        checkpoint : path, optional
            As of :meth:`rhmlib.experiment_encoder.EncoderExperiment.run`.

        Returns
        -------
        list of dict
            For each evaluation, the untrained encoder's among them, each level 1 .. L-1 and block:
            `synonym_score` and `synonym_raw`, see :func:`rhmlib.encoder_probes.synonym_scores`, on
            validation strings. Blocks are the candidates of :meth:`rhmlib.encoders.Encoder.nodes`: of a
            transformer its blocks, and last the states that the head reads; of a tree encoder one a level.
        """
        return _BlocksRun(self).to_the_end(Checkpoint(checkpoint)).rows


class _BlocksRun(_Run):
    """An execution whose evaluations are of all blocks."""

    def untrained(self) -> list[dict[str, Any]]:
        return self._score(0)

    def evaluate(self, now: Progress) -> None:
        now.rows += self._score(now.step)

    def _score(self, step: int) -> list[dict[str, Any]]:
        c = self.config
        rng = np.random.default_rng([c.data_seed, _SYNONYMS])
        data: Sample = self.validation[:_N_STRINGS]
        share = None if c.n is None else c.n / (c.v * c.m**3)
        at = {"step": step, "strings_seen": step * c.batch_size, "n_over_vm3": share}
        return [{**at, **row} for row in _block_scores(self.objective.encoder.nodes, data, rng, self.device)]


@torch.no_grad()
def _block_scores(
    nodes: Nodes, sample: Sample, rng: np.random.Generator, device: torch.device | str
) -> list[dict[str, Any]]:
    """Rows of `level`, `block`, `synonym_score` and `synonym_raw`, all levels 1 .. L-1 and blocks."""
    tokens = torch.from_numpy(sample.tokens).to(device)
    here = nodes(tokens)
    rows: list[dict[str, Any]] = []
    for level in range(1, sample.grammar.L):
        swapped = torch.from_numpy(resample_rules(sample, level, rng).tokens).to(device)
        latents = torch.from_numpy(sample.levels[level]).to(device).int()
        there = nodes(swapped)[level - 1]
        raw, corrected = _scores(here[level - 1], there, tokens, swapped, latents, _SHIFTS)
        for k, (score, plain) in enumerate(zip(corrected.tolist(), raw.tolist(), strict=True)):
            rows.append({"level": level, "block": k, "synonym_score": score, "synonym_raw": plain})
    return rows
