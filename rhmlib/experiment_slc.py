"""SLC as an experiment: a group of replicas of one shape, trained together, scored level by level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from rhmlib.grammar import Grammar, check_shape
from rhmlib.metrics import contingency, level_metrics
from rhmlib.probes import fit_linear
from rhmlib.provenance import resolve_device
from rhmlib.sampling import Sample
from rhmlib.slc import SLC, ClusterWeights, LevelOutput, Patches, prediction_losses, slc_losses
from rhmlib.training import Batches, Trainer, draw_subsets, log_spaced, seed_for, train

# Purposes of the random streams of a replica.
_STRINGS, _ORDER, _SUBSETS = 1, 2, 3


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class SLCExperiment:
    """Train SLC on n distinct strings and score each level on fresh ones.

    A run is a group of `n_replicas` networks that differ in their seeds alone and are computed
    together: replica r has the seeds ``grammar_seed + r``, ``data_seed + r`` and ``model_seed + r``, and
    the result that it would have alone. There is one row a replica, level and checkpoint.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`. Training amplifies rounding: on another platform
        a level that is half learnt may come out otherwise.

    References
    ----------
    Section 4; Appendix C; Figures 3 (right), 9, 10, 11 (right) and 12.
    """

    tolerances: ClassVar[Mapping[str, float]] = {
        "step": 1e9,
        "hungarian_accuracy": 0.3,
        "majority_accuracy": 0.3,
        "codes_used": 8,
        "prediction_loss": 0.3,
        "probe_accuracy": 0.3,
        "upgrad_active": 1,
        "upgrad_spread": 1e9,
    }

    v: int = Field(ge=2, description="symbols a level")
    m: int = Field(ge=1, description="production rules a symbol")
    s: int = Field(default=2, ge=2, description="branching: symbols that a rule produces")
    L: int = Field(ge=2, description="depth: levels above the visible tokens")
    n: int = Field(ge=1, description="distinct training strings of each replica")
    online: bool = Field(default=False, description="fresh strings at every step instead; n is not used")
    n_replicas: int = Field(default=5, ge=1, description="replicas of consecutive seeds, trained together")
    d_h: int | None = Field(default=None, ge=2, description="codes a level; v m if left out")
    width: int = Field(default=64, ge=1, description="hidden width of predictors and clusterers")
    activation: Literal["gelu", "relu", "silu"] = Field(default="gelu", description="activation function")
    temperature: float = Field(default=0.5, ge=0, description="softmax temperature of tokens; 0: hard tokens")
    gain: float = Field(default=8.0, ge=0, description="factor on the clusterer's initial first layer")
    stop_gradient: Literal["none", "modules", "modules+clusterer"] = Field(
        default="modules+clusterer", description="where gradients stop"
    )
    ema: float = Field(default=0.99, ge=0, lt=1, description="decay of the teacher's average; 0: no teacher")
    prior: float = Field(default=0.2, ge=0, description="weight of the mean target in all slices; 0: eq. (5)")
    margin: float = Field(default=0.8, ge=0, lt=1, description="similarity above which patches attract")
    w_sim: float = Field(default=1.0, ge=0, description="weight of the similarity loss")
    w_sep: float = Field(default=16.0, gt=0, description="weight of the separation loss at the first step")
    w_sep_end: float = Field(default=0.4, gt=0, description="and at the last; geometric in between")
    w_norm: float = Field(default=0.0, ge=0, description="weight of the norm loss")
    w_clust: float = Field(default=1.0, ge=0, description="weight of the clustering losses as a whole")
    n_patches: int = Field(default=128, ge=2, description="patches of a batch in each clustering loss")
    batch_size: int = Field(default=32, ge=1, description="strings in a batch")
    lr: float = Field(default=5e-3, gt=0, description="learning rate of AdamW, constant")
    weight_decay: float = Field(default=0.01, ge=0, description="weight decay of AdamW")
    eps: float = Field(default=1e-15, gt=0, description="epsilon of AdamW")
    aggregation: Literal["sum", "upgrad"] = Field(
        default="sum", description="sum of the losses, or Jacobian descent by UPGrad"
    )
    steps: int = Field(default=5000, ge=1, description="optimiser steps")
    n_evaluations: int = Field(default=16, ge=1, description="log-spaced steps of evaluation")
    curve: bool = Field(default=False, description="whether to keep a row for every evaluation")
    n_val: int = Field(default=2000, ge=1, description="strings for validation")
    n_test: int = Field(default=2000, ge=1, description="strings on which accuracy is reported")
    n_probe: int = Field(default=2000, ge=1, description="labelled training strings for the probe, at most")
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="type of the layers' matrix products; all else is float32"
    )
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="where tensors live"
    )
    grammar_seed: int = Field(ge=0, description="seed of the first replica's production rules")
    data_seed: int = Field(ge=0, description="seed of its strings, their order and the random patches")
    model_seed: int = Field(ge=0, description="seed of its initial weights")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shape(self.v, self.m, self.s, self.L)
        if self.codes < self.v:
            raise ValueError(f"d_h must be at least v. Found d_h={self.d_h} with v={self.v}.")
        strings = self.v * self.m ** ((self.s**self.L - 1) // (self.s - 1))
        if not self.online and self.n > strings:
            raise ValueError(f"n must be at most the number of strings, {strings}. Found n={self.n}.")
        return self

    @property
    def codes(self) -> int:
        """Number of codes a level, d_h."""
        return self.v * self.m if self.d_h is None else self.d_h

    def separation(self, step: int) -> float:
        """Weight of the separation loss at a step, counted from 0.

        It falls geometrically: at first only near-certain synonyms attract each other, as clusters that
        merged while predictions were immature hardly ever part again; in the end synonyms whose
        contexts still differ by sampling noise are joined.
        """
        share = step / max(1, self.steps - 1)
        return float(self.w_sep ** (1 - share) * self.w_sep_end**share)

    def cost(self) -> float:
        """Multiplications of a training to the last step, with an allowance for the rest of a step."""
        sizes = [self.s * self.codes, self.width, self.width, self.s**2 * (self.s - 1) * self.codes]
        module = sum(a * b for a, b in pairwise(sizes))
        module += (sizes[-1] + self.codes) * self.width
        rows = [self.batch_size * self.s ** (self.L - level - 1) for level in range(self.L - 1)]
        listed = [self.v * self.m, self.v * self.m ** (self.s + 1)]
        rows = [min(r, listed[i]) if i < 2 else r for i, r in enumerate(rows)]
        return float(self.n_replicas * self.steps * (sum(rows) * module * 4 + 2e7 * (self.L - 1)))

    def run(self) -> list[dict[str, Any]]:
        """Train and score.

        Returns
        -------
        list of dict
            For each replica, checkpoint and level 1 .. L-1. `checkpoint` is "best", the
            evaluation at which the validation loss was least; "last"; and, with `curve`, "curve"
            for every evaluation, whose metrics are of the validation strings, as those of the
            others are of the test strings. The validation loss is the conditional entropy of the
            top-level latent given its hard code on the validation strings, in nats.
            `probe_accuracy`, for level L-1 of "best" and "last", is of a linear probe on the soft codes,
            fitted on at most `n_probe` training strings and stopped by validation.
            `upgrad_active` and `upgrad_spread` tell in how many of the steps UPGrad's weights
            differed from the mean's, and the ratio of the largest to the least of the last ones.
        """
        return _Run(self).rows()


# ---------------------------------------------------------------- data


def _draw(config: SLCExperiment, replica: int) -> tuple[Sample, Sample, Sample]:
    """Training, validation and test strings; distinct from each other where there are enough."""
    shape = {"v": config.v, "m": config.m, "s": config.s, "L": config.L}
    grammar = Grammar.random(**shape, seed=config.grammar_seed + replica)
    rng = np.random.default_rng([config.data_seed + replica, _STRINGS])
    held_out = config.n_val + config.n_test
    if config.online:
        drawn = grammar.sample(config.steps * config.batch_size + held_out, rng)
    elif config.n + held_out <= grammar.n_strings:
        drawn = grammar.sample(config.n + held_out, rng, unique=True)
    else:
        train, rest = grammar.sample(config.n, rng, unique=True), grammar.sample(held_out, rng)
        return train, rest[: config.n_val], rest[config.n_val :]
    cut = len(drawn) - held_out
    return drawn[:cut], drawn[cut : cut + config.n_val], drawn[cut + config.n_val :]


@plain_dataclass(frozen=True)
class _Set:
    """Held-out strings of all replicas, with their latents."""

    samples: Sequence[Sample]
    patches: Patches

    @classmethod
    def of(cls, samples: Sequence[Sample], s: int, device: str) -> _Set:
        return cls(samples, Patches.build([sample.tokens for sample in samples], s=s, device=device))

    def latents(self, level: int) -> list[NDArray[Any]]:
        return [sample.levels[level] for sample in self.samples]


# ---------------------------------------------------------------- a run


@plain_dataclass
class _Best:
    """The best checkpoint of a replica so far."""

    loss: float = np.inf
    step: int = 0
    state: dict[str, Tensor] | None = None


class _Run:
    """One execution of an experiment."""

    def __init__(self, config: SLCExperiment) -> None:
        self.config = config
        self.device = resolve_device(config.device)
        drawn = [_draw(config, r) for r in range(config.n_replicas)]
        self.train_samples = [parts[0] for parts in drawn]
        self.validation = _Set.of([parts[1] for parts in drawn], config.s, self.device)
        self.test = _Set.of([parts[2] for parts in drawn], config.s, self.device)
        self.patches = Patches.build(
            [sample.tokens for sample in self.train_samples],
            s=config.s,
            batch=config.batch_size,
            device=self.device,
        )
        self.student = self._network()
        self.visible = self.student.one_hot(self.patches)
        self.trainer = self._trainer()
        self.steps = 0
        self.best = [_Best() for _ in drawn]
        self.curve: list[dict[str, Any]] = []
        self._conflicts = torch.zeros(len(drawn), device=self.device)
        self._draws = self._generators()

    def _network(self) -> SLC:
        c = self.config
        return SLC(
            s=c.s,
            L=c.L,
            d_h=c.codes,
            width=c.width,
            model_seeds=[c.model_seed + r for r in range(c.n_replicas)],
            activation=c.activation,
            temperature=c.temperature,
            gain=c.gain,
            stop_gradient=c.stop_gradient,
            products=getattr(torch, c.dtype),
            device=self.device,
        )

    def _trainer(self) -> Trainer:
        c = self.config
        return Trainer(
            self.student,
            self._losses,
            self.student.reach(),
            ema=c.ema,
            lr=c.lr,
            weight_decay=c.weight_decay,
            eps=c.eps,
            aggregation=c.aggregation,
        )

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
        losses = slc_losses(student, teacher, self.patches, index, subsets, weights, self.visible, c.prior)
        return torch.cat([losses.prediction, c.w_clust * losses.clustering], 1)

    # ------------------------------------------------ batches

    def _generators(self) -> tuple[Batches, list[torch.Generator]]:
        c = self.config
        seeds = [c.data_seed + r for r in range(c.n_replicas)]
        order, subsets = (
            [torch.Generator().manual_seed(seed_for(seed, purpose)) for seed in seeds]
            for purpose in (_ORDER, _SUBSETS)
        )
        return Batches(self.patches.sizes, c.batch_size, order), subsets

    def batches(self, count: int) -> Iterator[tuple[Any, ...]]:
        """Yield the next `count` batches: string numbers, separation weight, a subset for each module."""
        c = self.config
        order, generators = self._draws
        parts: list[Tensor | None] = [order.draw(count)]
        for level in range(c.L - 1):
            patches = c.batch_size * c.s ** (c.L - level - 1)
            parts.append(draw_subsets(count, patches, c.n_patches, generators))
        placed = [part if part is None else part.to(self.device) for part in parts]
        for i in range(count):
            strings, *subsets = (part if part is None else part[i] for part in placed)
            yield strings, c.separation(self.steps), *subsets
            self.steps += 1
            if self.trainer.aggregation == "upgrad":
                self._conflicts += (self.trainer.weights != 1).any(1)

    # ------------------------------------------------ evaluation

    @property
    def network(self) -> SLC:
        """The network that is scored: the teacher, or the student where there is none."""
        return self.trainer.teacher or self.student  # type: ignore[return-value]

    @torch.no_grad()
    def _codes(self, data: _Set, network: SLC) -> tuple[list[NDArray[Any]], NDArray[Any]]:
        """Hard codes of each level, (R, n, s^(L-l)), and prediction losses, (R, L-1)."""
        patches = data.patches
        index = patches.index.long()
        visible = network.one_hot(patches)
        outputs: list[LevelOutput] = network(patches, index, visible)
        losses = prediction_losses(outputs, outputs, patches, index, visible)
        shape = (self.config.n_replicas, index.shape[1], -1)
        codes = [level.of_batch(level.logits.argmax(-1)).view(shape) for level in outputs]
        return [part.cpu().numpy() for part in codes], losses.cpu().numpy()

    def report(self, step: int) -> None:
        """Evaluate on the validation strings, and keep each replica's best checkpoint."""
        codes, losses = self._codes(self.validation, self.network)
        for r, (best, sample) in enumerate(zip(self.best, self.validation.samples, strict=True)):
            loss = conditional_entropy(codes[-1][r], sample.levels[self.config.L - 1])
            if loss <= best.loss:
                best.loss, best.step = loss, step
                best.state = {k: p[r].clone() for k, p in self.network.state_dict().items()}
        if self.config.curve:
            self.curve += self._rows("curve", [step] * len(self.best), self.validation, codes, losses)

    def _rows(
        self,
        checkpoint: str,
        steps: Sequence[int],
        data: _Set,
        codes: Sequence[NDArray[Any]],
        losses: NDArray[Any],
    ) -> list[dict[str, Any]]:
        upgrad = self._upgrad_columns()
        return [
            {
                "replica": r,
                "checkpoint": checkpoint,
                "level": level,
                "n_over_vm3": len(self.train_samples[r]) / (self.config.v * self.config.m**3),
                "step": steps[r],
                "strings_seen": steps[r] * self.config.batch_size,
                **level_metrics(codes[level - 1][r], data.samples[r].levels[level]),
                "prediction_loss": float(losses[r, level - 1]),
                "probe_accuracy": None,
                **upgrad[r],
            }
            for r in range(self.config.n_replicas)
            for level in range(1, self.config.L)
        ]

    def _upgrad_columns(self) -> list[dict[str, Any]]:
        if self.trainer.aggregation != "upgrad":
            return [{"upgrad_active": None, "upgrad_spread": None}] * self.config.n_replicas
        weights = self.trainer.weights
        spread = (weights.amax(1) / weights.amin(1)).tolist()
        active = (self._conflicts / max(1, self.steps)).tolist()
        return [{"upgrad_active": a, "upgrad_spread": b} for a, b in zip(active, spread, strict=True)]

    # ------------------------------------------------ the whole

    def rows(self) -> list[dict[str, Any]]:
        """Train, then score the best and the last checkpoint on the test strings."""
        c = self.config
        train(self.trainer, self.batches, log_spaced(c.steps, c.n_evaluations), self.report)
        scored = [*self.curve, *self._final("last", [c.steps] * c.n_replicas)]
        network = self.network
        for r, best in enumerate(self.best):
            assert best.state is not None  # the first evaluation is better than none
            for name, parameter in network.named_parameters():
                parameter.data[r] = best.state[name]
        return [*scored, *self._final("best", [best.step for best in self.best])]

    def _final(self, checkpoint: str, steps: Sequence[int]) -> list[dict[str, Any]]:
        codes, losses = self._codes(self.test, self.network)
        rows = self._rows(checkpoint, steps, self.test, codes, losses)
        probes = self._probe()
        for row in rows:
            if row["level"] == self.config.L - 1:
                row["probe_accuracy"] = probes[row["replica"]]
        return rows

    def _probe(self) -> list[float]:
        """Test accuracy of a linear probe of the top-level latent, each replica."""
        c, top = self.config, self.config.L - 1
        labelled = [sample[: c.n_probe] for sample in self.train_samples]
        sets = (_Set.of(labelled, c.s, self.device), self.validation, self.test)
        features = [self.network.soft_codes(data.patches).flatten(1, 2) for data in sets]
        labels = [
            torch.from_numpy(np.stack(data.latents(top))).long().flatten(1).to(self.device) for data in sets
        ]
        probe = fit_linear(features[0], labels[0], features[1], labels[1], classes=c.v)
        return [float(x) for x in probe.score(features[2], labels[2])]


def conditional_entropy(codes: NDArray[Any], latents: NDArray[Any]) -> float:
    """Empirical entropy of the latent given the code, in nats; 0 where codes determine latents.

    It is the least cross-entropy that a linear probe on one-hot codes can have on these data.
    """
    joint = contingency(codes, latents) / codes.size
    given = joint.sum(1, keepdims=True)
    ratio = np.divide(joint, given, out=np.ones_like(joint), where=joint > 0)
    return float(-(joint * np.log(ratio)).sum())
