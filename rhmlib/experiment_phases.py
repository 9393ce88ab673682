"""data2vec in phases: what each replacement of the teacher adds, and what a cut target takes away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from rhmlib.data2vec_ablation import CutData2Vec
from rhmlib.encoder_probes import probe_levels, synonym_scores
from rhmlib.encoders import TreeEncoder
from rhmlib.grammar import Grammar, check_shape
from rhmlib.objectives import Batch, Descent, Masking
from rhmlib.probes import fit_linear
from rhmlib.provenance import resolve_device
from rhmlib.sampling import Sample
from rhmlib.traces import Parser, ancestors, trace_shares
from rhmlib.training import Batches, seed_for
from rhmlib.tree_settings import TreeSettings

# Purposes of the random streams of a run.
_STRINGS, _ORDER, _MASKS, _SYNONYMS, _HEAD, _FRESH, _PROBES = range(11, 18)
# Batches are drawn on the host for so many steps at once.
_CHUNK = 64
# Strings on which synonym scores are measured.
_N_SYNONYMS = 500


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class PhasesExperiment(TreeSettings):
    """Train data2vec with the tree encoder for some phases, and look at student and teacher after each.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`.

    References
    ----------
    Section 5, "Theoretical analysis"; Figure 13, right.
    """

    tolerances: ClassVar[Mapping[str, float]] = {
        "n_over_vm3": 1e-9,
        "step": 1e-9,
        "strings_seen": 1e-9,
        "loss": 1.0,
        "probe_accuracy": 0.3,
        "synonym_score": 0.5,
        "trace_share": 0.2,
        "trace_accuracy": 0.3,
        "cut_accuracy": 0.3,
        "state_accuracy": 0.3,
    }

    teacher: Literal["average", "phases", "frozen"] = Field(
        default="average", description="moving average, replaced after each phase, or never replaced"
    )
    part: Literal["whole", "without", "upto"] = Field(
        default="whole", description="what is left of the target: all, all but a level, levels up to one"
    )
    cut_level: int = Field(default=0, ge=0, description="the level that the cut is at")
    phases: int = Field(default=4, ge=1, description="phases")
    phase_steps: int = Field(default=1000, ge=1, description="optimiser steps a phase")
    n: int | None = Field(default=None, ge=1, description="distinct training strings; fresh ones if left out")
    hidden: int | None = Field(default=None, ge=1, description="width inside the MLPs")
    mask_probability: float = Field(default=0.15, gt=0, le=1, description="rate of masked tokens")
    mask_block: int | None = Field(
        default=None, ge=0, description="if k, one aligned block of s^k tokens is masked instead"
    )
    ema: float = Field(default=0.99, ge=0, lt=1, description="decay of the teacher's moving average")
    beta: float = Field(default=0.5, ge=0, description="where smooth L1 turns from square to linear")
    warmup_steps: int = Field(default=100, ge=0, description="steps over which it rises")
    weight_decay: float = Field(default=0.1, ge=0, description="weight decay of AdamW, on matrices")
    batch_size: int = Field(default=64, ge=1, description="strings in a batch")
    n_val: int = Field(default=500, ge=2, description="strings for validation of the probes")
    n_test: int = Field(default=1000, ge=2, description="strings on which accuracy is reported")
    n_probe: int = Field(default=1000, ge=2, description="labelled strings for the probes")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shape(self.v, self.m, self.s, self.L)
        strings = self.v * self.m ** ((self.s**self.L - 1) // (self.s - 1))
        if self.n is not None and self.n > strings:
            raise ValueError(f"n must be at most the number of strings, {strings}. Found n={self.n}.")
        Masking(self.s, self.L, self.mask_probability, 1, self.mask_block)
        if self.cut_level >= self.L:
            raise ValueError(f"cut_level must be in 0..L-1 = {self.L - 1}. Found cut_level={self.cut_level}.")
        return self

    def cost(self) -> float:
        """Multiplications of the training."""
        hidden = self.hidden or 2 * self.width
        each = self.s**self.L * 3 * self.s * self.width * hidden
        return float(self.phases * self.phase_steps * self.batch_size * each)

    def run(self) -> list[dict[str, Any]]:
        """Train and score.

        Returns
        -------
        list of dict
            For each phase (0: before training) and each level 0 .. L; `step` counts from the start.
            Of the student: `probe_accuracy` (levels 1 .. L) and `synonym_score` (1 .. L-1), as
            :mod:`rhmlib.encoder_probes` defines them, and `state_accuracy`, of a linear probe that reads
            a hidden leaf's ancestor from the state at the leaf. Of the teacher that begins the next
            phase, on whole strings: `trace_share` (0 .. L-1), how much of the target's variance the
            ancestor explains, `trace_accuracy`, how well a linear map of the target tells it, and
            `cut_accuracy`, the same of the target that the student is really given. `loss` is the mean
            over the phase's last hundred steps.
        """
        return _Run(self).rows()


class _Run:
    """One execution of an experiment."""

    def __init__(self, config: PhasesExperiment) -> None:
        c = self.config = config
        self.device = resolve_device(c.device)
        self.grammar = Grammar.random(v=c.v, m=c.m, s=c.s, L=c.L, seed=c.grammar_seed)
        self.parser = Parser(self.grammar, self.device)
        self.train, self.held = self._draw()
        self.masking = Masking(c.s, c.L, c.mask_probability, 1, c.mask_block)
        self.objective = self._objective()
        self.descent = Descent(
            self.objective, lr=c.lr, warmup_steps=c.warmup_steps, weight_decay=c.weight_decay
        )
        self.masks = torch.Generator().manual_seed(seed_for(c.data_seed, _MASKS))
        self.fresh = np.random.default_rng([c.data_seed, _FRESH])
        if self.train is not None:
            order = torch.Generator().manual_seed(seed_for(c.data_seed, _ORDER))
            self.order = Batches([len(self.train)], c.batch_size, [order])

    def _objective(self) -> CutData2Vec:
        c = self.config
        shape: dict[str, Any] = {"v": c.v, "s": c.s, "L": c.L, "width": c.width, "hidden": c.hidden}
        encoder = TreeEncoder(**shape, model_seed=c.model_seed, device=self.device)
        never = c.phases * c.phase_steps + 1
        return CutData2Vec(
            encoder,
            self.masking,
            ema=c.ema,
            beta=c.beta,
            refresh={"average": 0, "phases": c.phase_steps, "frozen": never}[c.teacher],
            model_seed=seed_for(c.model_seed, _HEAD),
            parser=self.parser,
            part=c.part,
            cut_level=c.cut_level,
        )

    def _draw(self) -> tuple[Sample | None, list[Sample]]:
        """Strings for training, and for the probes: to fit, to validate and to test."""
        c = self.config
        rng = np.random.default_rng([c.data_seed, _STRINGS])
        sizes = [c.n_probe, c.n_val, c.n_test]
        total = (c.n or 0) + sum(sizes)
        unique = total <= self.grammar.n_strings
        if c.n is not None and not unique:
            train, rest = self.grammar.sample(c.n, rng, unique=True), self.grammar.sample(sum(sizes), rng)
        else:
            drawn = self.grammar.sample(total, rng, unique=unique)
            train, rest = drawn[: c.n or 0], drawn[c.n or 0 :]
        ends = np.cumsum(sizes)
        held = [rest[end - size : end] for size, end in zip(sizes, ends, strict=True)]
        return (train if c.n is not None else None), held

    def batches(self, count: int) -> Iterator[Batch]:
        """Yield the next `count` batches."""
        size = self.config.batch_size
        for start in range(0, count, _CHUNK):
            steps = min(_CHUNK, count - start)
            if self.train is None:
                strings = self.grammar.sample(steps * size, self.fresh)
            else:
                strings = self.train[self.order.draw(steps).flatten().numpy()]
            tokens, root = torch.from_numpy(strings.tokens), torch.from_numpy(strings.root.copy())
            yield from self.objective.batches(tokens, root, size, self.masks)

    # ------------------------------------------------ evaluation

    @torch.no_grad()
    def _leaves(self, sample: Sample, seed: int) -> tuple[Tensor, Tensor]:
        """Teacher's target, cut target and student's state at a hidden leaf a string; its ancestors.

        Returns
        -------
        Tensor, shape (3, n, width)
        Tensor of int64, shape (n, L+1)
        """
        tokens = torch.from_numpy(sample.tokens).long()
        generator = torch.Generator().manual_seed(seed_for(self.config.data_seed, seed))
        mask = self.masking.draw(len(tokens), generator)
        # One hidden leaf each: the largest of random keys.
        place = (torch.rand(mask.shape, generator=generator) * mask).argmax(1)
        at = (torch.arange(len(tokens)) * tokens.shape[1] + place).to(self.device)
        tokens, mask = tokens.to(self.device), mask.to(self.device)
        whole = self.objective.whole_targets(tokens)
        cut = self.objective.cut(whole, tokens, learn=False) if self.objective.steps else whole
        state = self.objective.encoder.read(self.objective.encoder.encode(tokens, mask), at)
        return torch.stack([whole[at], cut[at], state]), ancestors(self.parser(tokens), at)

    def _traces(self) -> list[dict[str, float | None]]:
        """What a level 0 .. L leaves in target, cut target and state; a dictionary each."""
        c = self.config
        parts = [self._leaves(sample, _PROBES + i) for i, sample in enumerate(self.held)]
        kinds, levels = 3, c.L + 1

        def pairs(part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            features, symbols = part
            rows = features.repeat_interleave(levels, 0)  # kind, then level
            return rows, symbols.T.repeat(kinds, 1)

        probe = fit_linear(*pairs(parts[0]), *pairs(parts[1]), classes=c.v)
        scores = probe.score(*pairs(parts[2])).view(kinds, levels).tolist()
        # Shares need no split; all the strings at hand make them less noisy.
        targets = torch.cat([features[0] for features, _ in parts])
        symbols = torch.cat([part[1] for part in parts])
        shares = trace_shares(targets, symbols[:, : c.L], c.v)
        return [
            {
                "trace_share": shares[level] if level < c.L else None,
                "trace_accuracy": scores[0][level],
                "cut_accuracy": scores[1][level],
                "state_accuracy": scores[2][level],
            }
            for level in range(levels)
        ]

    def measure(self, phase: int, loss: float | None) -> list[dict[str, Any]]:
        """Rows of one evaluation, a level each."""
        c, nodes = self.config, self.objective.encoder.nodes
        self.objective.eval()
        fitted, checked, tested = self.held
        probes = probe_levels(nodes, fitted, checked, tested, self.device)
        found = {row["level"]: row for row in probes}
        scores: dict[int, dict[str, Any]] = {}
        if c.m > 1:
            rng = np.random.default_rng([c.data_seed, _SYNONYMS])
            rows = synonym_scores(nodes, tested[:_N_SYNONYMS], rng, self.device)
            scores = {row["level"]: row for row in rows}
        traces = self._traces()
        self.objective.train()
        step = phase * c.phase_steps
        return [
            {
                "phase": phase,
                "level": level,
                "n_over_vm3": None if c.n is None else c.n / (c.v * c.m**3),
                "step": step,
                "strings_seen": step * c.batch_size,
                "loss": loss,
                "probe_accuracy": found.get(level, {}).get("probe_accuracy"),
                "synonym_score": scores.get(level, {}).get("synonym_score"),
                **traces[level],
            }
            for level in range(c.L + 1)
        ]

    def rows(self) -> list[dict[str, Any]]:
        """Train, and evaluate before and after every phase."""
        rows = self.measure(0, None)
        for phase in range(1, self.config.phases + 1):
            losses = []
            for batch in self.batches(self.config.phase_steps):
                self.descent.step(batch)
                losses.append(self.descent.last_loss)
            rows += self.measure(phase, float(torch.stack(losses[-100:]).mean()))
        return rows
