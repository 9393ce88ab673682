"""data2vec and what it is compared with, as one experiment: an encoder, an objective, and probes."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from rhmlib.baselines import MaskedTokens, NextToken, Supervised
from rhmlib.checkpoints import Checkpoint
from rhmlib.data2vec import Data2Vec
from rhmlib.encoder_probes import probe_levels, synonym_scores
from rhmlib.encoders import Activation, Encoder, Placement, Transformer, TreeEncoder
from rhmlib.grammar import Grammar, check_shape
from rhmlib.objectives import Batch, Descent, Masking, Objective
from rhmlib.provenance import resolve_device
from rhmlib.sampling import Sample
from rhmlib.training import Batches, log_spaced, seed_for

# Purposes of the random streams of a run.
_STRINGS, _ORDER, _MASKS, _CHECKS, _SYNONYMS, _HEAD, _DROPOUT = range(1, 8)
# Batches are drawn on the host for so many steps at once.
_CHUNK = 64
# Strings on which synonym scores are measured.
_N_SYNONYMS = 500


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class EncoderExperiment:
    """Train an encoder by an objective, and probe the latents of every level along the way.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`. Training amplifies rounding: on another platform
        a level that is half learnt may come out otherwise.

    References
    ----------
    Section 5; Appendix D, Table 1; Figures 4, 5, 13 and 14.
    """

    added: ClassVar[frozenset[str]] = frozenset(
        {
            "activation",
            "layer_norm",
            "linear_std",
            "token_std",
            "position_std",
            "normalise_layers",
            "normalise_target",
            "head_depth",
            "clip",
            "adam_beta1",
            "adam_beta2",
        }
    )
    resumable: ClassVar[bool] = True
    tolerances: ClassVar[Mapping[str, float]] = {
        "n_over_vm3": 1e-9,
        "step": 1e9,
        "strings_seen": 1e9,
        "probe_accuracy": 0.3,
        "probe_block": 64,
        "synonym_score": 0.5,
        "synonym_raw": 0.5,
        "synonym_block": 64,
        "loss": 1.0,
    }

    objective: Literal["data2vec", "mlm", "ntp", "supervised"] = Field(
        description="what is predicted: a teacher's latents, masked tokens, the next token, or the root"
    )
    architecture: Literal["tree", "transformer"] = Field(
        default="tree", description="encoder: MLPs along the tree, or the paper's transformer"
    )
    v: int = Field(ge=2, description="symbols a level")
    m: int = Field(ge=1, description="production rules a symbol")
    s: int = Field(default=2, ge=2, description="branching: symbols that a rule produces")
    L: int = Field(ge=2, description="depth: levels above the visible tokens")
    n: int | None = Field(default=None, ge=1, description="distinct training strings; fresh ones if left out")
    width: int = Field(default=96, ge=1, description="width of the features")
    hidden: int | None = Field(default=None, ge=1, description="width inside the MLPs or FFNs")
    n_blocks: int | None = Field(default=None, ge=1, description="blocks of the transformer; 2 L if left out")
    n_heads: int = Field(default=4, ge=1, description="attention heads of the transformer")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout of the transformer")
    activation: Activation = Field(default="gelu", description="activation function")
    layer_norm: Placement = Field(default="pre", description="where LayerNorms of the transformer stand")
    linear_std: float | None = Field(
        default=None,
        gt=0,
        description="deviation of an encoder's linear weights; 1 / sqrt(3 fan_in) if left out",
    )
    token_std: float = Field(default=1.0, gt=0, description="deviation of initial embeddings")
    position_std: float = Field(
        default=0.3, gt=0, description="deviation of the transformer's initial positions"
    )
    mask_probability: float = Field(default=0.15, gt=0, le=1, description="rate of masked tokens")
    mask_span: int = Field(default=1, ge=1, description="tokens masked together")
    mask_block: int | None = Field(
        default=None, ge=0, description="if k, one aligned block of s^k tokens is masked instead"
    )
    ema: float = Field(default=0.99, ge=0, lt=1, description="decay of the teacher's moving average")
    beta: float = Field(default=0.5, ge=0, description="where smooth L1 turns from square to linear")
    top_k: int | None = Field(default=None, ge=1, description="last levels or blocks in the target; L")
    normalise_layers: bool = Field(default=True, description="LayerNorm of each level or block of the target")
    normalise_target: bool = Field(default=False, description="LayerNorm of the target as a whole")
    head_depth: int = Field(default=1, ge=1, description="layers of the regression head")
    omit_level: int | None = Field(default=None, ge=0, description="a level or block left out of the target")
    refresh: int = Field(default=0, ge=0, description="steps a frozen teacher lasts; 0: moving average")
    lr: float = Field(default=2e-3, gt=0, description="learning rate of AdamW")
    warmup_steps: int = Field(default=100, ge=0, description="steps over which it rises")
    weight_decay: float = Field(default=0.01, ge=0, description="weight decay of AdamW, on matrices")
    clip: float = Field(default=1.0, ge=0, description="largest norm of the gradient; 0 for any")
    adam_beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's decay of the mean gradient")
    adam_beta2: float = Field(default=0.98, ge=0, lt=1, description="AdamW's decay of the mean square")
    batch_size: int = Field(default=128, ge=1, description="strings in a batch")
    steps: int = Field(default=4000, ge=1, description="optimiser steps, at most")
    n_evaluations: int = Field(default=8, ge=1, description="log-spaced steps of evaluation")
    stop_at: float = Field(
        default=0.995, gt=0, description="accuracy of all probes on validation strings that ends a run"
    )
    n_val: int = Field(default=1000, ge=2, description="strings for validation")
    n_test: int = Field(default=2000, ge=2, description="strings on which accuracy is reported")
    n_probe: int = Field(default=2000, ge=2, description="labelled strings for the probes")
    dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="type of matrix products")
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="where tensors live"
    )
    grammar_seed: int = Field(ge=0, description="seed of the production rules")
    data_seed: int = Field(ge=0, description="seed of the strings, their order and the masks")
    model_seed: int = Field(ge=0, description="seed of the initial weights")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shape(self.v, self.m, self.s, self.L)
        strings = self.v * self.m ** ((self.s**self.L - 1) // (self.s - 1))
        if self.n is not None and self.n > strings:
            raise ValueError(f"n must be at most the number of strings, {strings}. Found n={self.n}.")
        Masking(self.s, self.L, self.mask_probability, self.mask_span, self.mask_block)
        if self.architecture == "transformer" and self.width % self.n_heads:
            raise ValueError(f"width must be a multiple of n_heads={self.n_heads}. Found width={self.width}.")
        for name, usual in (("layer_norm", "pre"), ("position_std", 0.3)):
            if self.architecture == "tree" and getattr(self, name) != usual:
                raise ValueError(
                    f"{name} must be left out with the tree encoder, which has no such thing. "
                    f"Found {name}={getattr(self, name)!r}."
                )
        if not self.target_levels:
            raise ValueError(
                f"omit_level must leave a level in the target. Found omit_level={self.omit_level}."
            )
        return self

    @property
    def target_levels(self) -> list[int]:
        """Levels or blocks that data2vec's target is the mean of."""
        count = self.L if self.architecture == "tree" else self.n_blocks or 2 * self.L
        top = min(count, self.top_k or self.L)
        return [k for k in range(count - top, count) if k != self.omit_level]

    def cost(self) -> float:
        """Multiplications of a training to the last step."""
        hidden = self.hidden or (2 if self.architecture == "tree" else 4) * self.width
        leaves = self.s**self.L
        if self.architecture == "tree":
            each = leaves * 3 * self.s * self.width * hidden
        else:
            each = leaves * (self.n_blocks or 2 * self.L) * (4 * self.width**2 + 2 * self.width * hidden)
        return float(self.steps * self.batch_size * each)

    def run(self, checkpoint: Path | None = None) -> list[dict[str, Any]]:
        """Train and score.

        Parameters
        ----------
        checkpoint : path, optional
            File from which an interrupted run goes on, and to which its state is saved now and then.

        Returns
        -------
        list of dict
            For each evaluation, the untrained encoder's among them, and each level 1 .. L.
            `checkpoint` is "curve" for what is measured along the way, on validation strings, and
            "untrained", "best" and "last" for what is measured on test strings; "best" is the evaluation
            at which the probes did best on validation strings, in the mean over the levels.
            `probe_accuracy` is of linear probes on frozen features, fitted on `n_probe`
            labelled strings. `loss` is the objective's, on the same strings.

        Notes
        -----
        Training ends early where the probes of all levels reach `stop_at` on validation strings. On a CPU a
        run that was interrupted gives the rows, to the last bit, of one that was not.
        """
        return _Run(self).rows(checkpoint)


@dataclasses.dataclass
class Progress:
    """How far a run has come.

    Attributes
    ----------
    step : int
        Steps done.
    evaluated : int
        Evaluations done.
    ended : bool
        Whether training is over.
    best, best_step : float, int
        Mean accuracy of the probes at the best evaluation, and its step.
    best_state : dict
        The encoder's weights there.
    rows : list of dict
    """

    step: int = 0
    evaluated: int = 0
    ended: bool = False
    best: float = -1.0
    best_step: int = 0
    best_state: dict[str, Tensor] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)


class _Run:
    """One execution of an experiment."""

    def __init__(self, config: EncoderExperiment) -> None:
        c = self.config = config
        self.device = resolve_device(c.device)
        self.grammar = Grammar.random(v=c.v, m=c.m, s=c.s, L=c.L, seed=c.grammar_seed)
        self.train, self.labelled, self.validation, self.test = self._draw()
        self.objective = make_objective(c, self.device)
        self.descent = Descent(
            self.objective,
            lr=c.lr,
            warmup_steps=c.warmup_steps,
            weight_decay=c.weight_decay,
            clip=c.clip,
            betas=(c.adam_beta1, c.adam_beta2),
            products=getattr(torch, c.dtype),
        )
        self.masks = torch.Generator().manual_seed(seed_for(c.data_seed, _MASKS))
        order = torch.Generator().manual_seed(seed_for(c.data_seed, _ORDER))
        self.order = Batches([len(self.train)], c.batch_size, [order])
        self.tokens = torch.from_numpy(self.train.tokens)
        self.root = torch.from_numpy(self.train.root.copy())

    def _draw(self) -> tuple[Sample, Sample, Sample, Sample]:
        """Strings for training, for probes, for validation and for tests.

        All are distinct where there are enough; labels are then of training strings if those are fixed.
        """
        c = self.config
        rng = np.random.default_rng([c.data_seed, _STRINGS])
        held = c.n_val + c.n_test
        if c.n is None:
            drawn = self.grammar.sample(c.steps * c.batch_size, rng)
            rest = self.grammar.sample(held + c.n_probe, rng)
            return drawn, rest[held:], rest[: c.n_val], rest[c.n_val : held]
        if c.n + held <= self.grammar.n_strings:
            drawn = self.grammar.sample(c.n + held, rng, unique=True)
            train, rest = drawn[: c.n], drawn[c.n :]
        else:
            train, rest = self.grammar.sample(c.n, rng, unique=True), self.grammar.sample(held, rng)
        return train, train[: c.n_probe], rest[: c.n_val], rest[c.n_val :]

    def batches(self, count: int) -> Iterator[Batch]:
        """Yield the next `count` batches."""
        for start in range(0, count, _CHUNK):
            chosen = self.order.draw(min(_CHUNK, count - start)).flatten()
            yield from self.objective.batches(
                self.tokens[chosen], self.root[chosen], self.config.batch_size, self.masks
            )

    # ------------------------------------------------ evaluation

    @torch.no_grad()
    def _loss(self, data: Sample) -> float:
        generator = torch.Generator().manual_seed(seed_for(self.config.data_seed, _CHECKS))
        tokens, root = torch.from_numpy(data.tokens), torch.from_numpy(data.root.copy())
        self.objective.eval()
        losses = [
            float(self.objective(batch)) for batch in self.objective.batches(tokens, root, 500, generator)
        ]
        self.objective.train()
        return float(np.mean(losses))

    def measure(self, data: Sample, checkpoint: str, step: int, *, synonyms: bool) -> list[dict[str, Any]]:
        """Rows of one evaluation, a level each."""
        c, nodes = self.config, self.objective.encoder.nodes
        probes = probe_levels(nodes, self.labelled, self.validation, data, self.device)
        scores: list[dict[str, Any]] = []
        if synonyms and c.m > 1:
            rng = np.random.default_rng([c.data_seed, _SYNONYMS])
            scores = synonym_scores(nodes, data[:_N_SYNONYMS], rng, self.device)
        none = {"synonym_score": None, "synonym_raw": None, "synonym_block": None}
        found = {row["level"]: row for row in scores}
        loss = self._loss(data)
        return [
            {
                "checkpoint": checkpoint,
                "level": row["level"],
                "n_over_vm3": None if c.n is None else c.n / (c.v * c.m**3),
                "step": step,
                "strings_seen": step * c.batch_size,
                **row,
                **none,
                **found.get(row["level"], {}),
                "loss": loss,
            }
            for row in probes
        ]

    def rows(self, checkpoint: Path | None = None) -> list[dict[str, Any]]:
        """Train, evaluate along the way, then score the best and the last checkpoint on the test strings."""
        now = self.to_the_end(Checkpoint(checkpoint))
        rows = now.rows + self.measure(self.test, "last", now.step, synonyms=True)
        self.objective.encoder.load_state_dict(now.best_state)
        return rows + self.measure(self.test, "best", now.best_step, synonyms=True)

    def to_the_end(self, checkpoint: Checkpoint) -> Progress:
        """Train and evaluate along the way, from where an interrupted run stopped if one did."""
        c = self.config
        stops = log_spaced(c.steps, c.n_evaluations, first=max(1, c.steps // 16))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(c.model_seed, _DROPOUT))  # dropout has no other generator
            saved = checkpoint.load()
            if saved is None:
                now = Progress(rows=self.untrained())
            else:
                now = self._restore(saved)
            while not now.ended:
                stop = stops[now.evaluated]
                while now.step < stop:
                    count = min(_CHUNK, stop - now.step)
                    for batch in self.batches(count):
                        self.descent.step(batch)
                    now.step += count
                    checkpoint.save(lambda: self._state(now))
                self.evaluate(now)
                now.evaluated += 1
                now.ended |= now.evaluated == len(stops)
                checkpoint.save(lambda: self._state(now))
        return now

    def untrained(self) -> list[dict[str, Any]]:
        """Rows of the untrained encoder."""
        return self.measure(self.test, "untrained", 0, synonyms=True)

    def evaluate(self, now: Progress) -> None:
        """Add an evaluation's rows, keep the best encoder, and see whether training may end."""
        found = self.measure(self.validation, "curve", now.step, synonyms=True)
        now.rows += found
        scores = [row["probe_accuracy"] for row in found]
        if np.mean(scores) >= now.best:
            now.best, now.best_step = float(np.mean(scores)), now.step
            now.best_state = copy.deepcopy(self.objective.encoder.state_dict())
        now.ended = bool(min(scores) >= self.config.stop_at)

    # ------------------------------------------------ interruption

    def _state(self, now: Progress) -> dict[str, Any]:
        """All that a later process needs to go on."""
        return {
            **vars(now),
            "rows": json.dumps(now.rows, default=lambda number: number.item()),
            "descent": self.descent.state_dict(),
            "masks": self.masks.get_state(),
            "dropout": torch.get_rng_state(),
            "dropout_on_device": self._device_rng(),
        }

    def _device_rng(self) -> Tensor | None:
        if self.device.startswith("cuda"):
            return torch.cuda.get_rng_state(self.device)
        return torch.mps.get_rng_state() if self.device == "mps" else None

    def _restore(self, saved: dict[str, Any]) -> Progress:
        """Take over what :meth:`_state` returned in another process."""
        rest = dict(saved)
        self.descent.load_state_dict(rest.pop("descent"))
        self.masks.set_state(rest.pop("masks"))
        torch.set_rng_state(rest.pop("dropout"))
        on_device = rest.pop("dropout_on_device")
        if on_device is not None and self.device.startswith("cuda"):
            torch.cuda.set_rng_state(on_device, self.device)
        elif on_device is not None and self.device == "mps":
            torch.mps.set_rng_state(on_device)
        now = Progress(**{**rest, "rows": json.loads(rest["rows"])})
        for start in range(0, now.step, _CHUNK):  # the order of the strings has no memory but its past
            self.order.draw(min(_CHUNK, now.step - start))
        return now


def make_encoder(config: EncoderExperiment, device: torch.device | str) -> Encoder:
    """Build the untrained encoder of an experiment."""
    c = config
    shape: dict[str, Any] = {"v": c.v, "s": c.s, "L": c.L, "width": c.width, "hidden": c.hidden}
    shape |= {"activation": c.activation, "linear_std": c.linear_std, "token_std": c.token_std}
    shape |= {"model_seed": c.model_seed, "device": device}
    if c.architecture == "tree":
        return TreeEncoder(**shape)
    return Transformer(
        **shape,
        n_blocks=c.n_blocks,
        n_heads=c.n_heads,
        dropout=c.dropout,
        layer_norm=c.layer_norm,
        position_std=c.position_std,
        causal=c.objective == "ntp",
    )


def make_objective(config: EncoderExperiment, device: torch.device | str) -> Objective:
    """Build the untrained learner of an experiment."""
    c = config
    encoder, seed = make_encoder(c, device), seed_for(c.model_seed, _HEAD)
    masking = Masking(c.s, c.L, c.mask_probability, c.mask_span, c.mask_block)
    if c.objective == "data2vec":
        return Data2Vec(
            encoder,
            masking,
            ema=c.ema,
            beta=c.beta,
            target_levels=c.target_levels,
            normalise_layers=c.normalise_layers,
            normalise_target=c.normalise_target,
            head_depth=c.head_depth,
            refresh=c.refresh,
            model_seed=seed,
        )
    if c.objective == "mlm":
        return MaskedTokens(encoder, masking, model_seed=seed)
    return (NextToken if c.objective == "ntp" else Supervised)(encoder, model_seed=seed)
