"""The paper's transformer on strings of the RHM, a group of grammars at once: what each level costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from rhmlib.checkpoints import Checkpoint
from rhmlib.encoder_probes import _scores
from rhmlib.encoders import Transformer, initialise
from rhmlib.grammar import Grammar, check_shape
from rhmlib.probes import fit_linear
from rhmlib.provenance import resolve_device
from rhmlib.replica_transformer import ReplicaDescent, ReplicaLearner, ReplicaTransformer
from rhmlib.sampling import Sample, resample_rules
from rhmlib.sampling_torch import TorchSampler
from rhmlib.training import Batches, log_spaced, seed_for

# Purposes of the random streams of a replica.
_FRESH, _ORDER, _HELD, _HEAD, _SYNONYMS, _PROBES = range(1, 7)
# Batches are drawn for so many steps at once; a loss that is not finite is seen at their end.
_CHUNK = 64
_N_SYNONYMS, _SHIFTS = 500, 8
# The root's probe with a hidden layer: the paper's, but for its strings, which are not fresh at every step.
_MLP = {"hidden": 256, "dropout": 0.1, "lr": 1e-3, "batch_size": 512, "steps": 1000, "every": 50}
# Below these a training is marked as collapsed: targets tell no strings apart, or features have rank one.
_LEAST_VARIANCE, _LEAST_RANK = 0.01, 1.5


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class OnlineExperiment:
    """Train the paper's transformer on fresh or fixed strings, and probe all levels along the way.

    A run is a group of `n_replicas` networks, each with a grammar of its own: replica r has the seeds
    ``grammar_seed + r``, ``data_seed + r`` and ``model_seed + r``.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`. Training amplifies rounding.

    References
    ----------
    Section 5; Appendix D; Figures 4 (right), 5 and 14.
    """

    resumable: ClassVar[bool] = True
    tolerances: ClassVar[Mapping[str, float]] = {
        "step": 1e9, "strings_seen": 1e9, "strings_over_vm3": 1e9, "probe_accuracy": 0.3, "probe_block": 64,
        "root_linear": 0.3, "root_mlp": 0.3, "synonym_score": 0.5, "synonym_raw": 0.5, "synonym_block": 64,
        "loss": 1.0, "gradient_norm": 1e3, "target_variance": 1.0, "effective_rank": 1e3, "collapsed": 1,
    }  # fmt: skip

    objective: Literal["data2vec", "mlm", "ntp", "supervised"] = Field(
        description="what is predicted: a teacher's latents, masked tokens, the next token, or the root"
    )
    v: int = Field(ge=2, description="symbols a level")
    m: int = Field(ge=1, description="production rules a symbol")
    s: int = Field(default=2, ge=2, description="branching: symbols that a rule produces")
    L: int = Field(ge=2, description="depth: levels above the visible tokens")
    n: int | None = Field(default=None, ge=1, description="distinct training strings; fresh ones if left out")
    strings: int = Field(ge=1, description="strings shown in training, repeats counted")
    n_replicas: int = Field(default=3, ge=1, description="replicas of consecutive seeds, trained together")
    width: int = Field(default=128, ge=1, description="width of the features")
    n_blocks: int | None = Field(default=None, ge=1, description="blocks of the transformer; 2 L if left out")
    n_heads: int = Field(default=4, ge=1, description="attention heads of the transformer")
    position_std: float = Field(
        default=0.3, gt=0, description="deviation of the transformer's initial positions"
    )
    n_masks: int = Field(default=8, ge=1, description="masked copies of a string in a batch")
    mask_probability: float = Field(default=0.15, gt=0, le=1, description="share of masked tokens, rounded")
    ema: float = Field(default=0.99, ge=0, lt=1, description="decay of the teacher's moving average")
    beta: float = Field(default=0.5, ge=0, description="where smooth L1 turns from square to linear")
    top_k: int | None = Field(default=None, ge=1, description="last levels or blocks in the target; L")
    descent: Literal["muon", "adamw"] = Field(
        default="muon", description="what moves the blocks' matrices; all else is moved by AdamW"
    )
    muon_lr: float = Field(default=0.02, gt=0, description="learning rate of Muon")
    lr: float = Field(default=2e-3, gt=0, description="learning rate of AdamW")
    warmup_steps: int = Field(default=100, ge=0, description="steps over which it rises")
    weight_decay: float = Field(default=0.05, ge=0, description="weight decay, on matrices")
    clip: float = Field(default=1.0, ge=0, description="largest norm of the gradient; 0 for any")
    batch_size: int = Field(default=32, ge=1, description="strings in a batch")
    n_evaluations: int = Field(default=10, ge=1, description="log-spaced steps of evaluation")
    stop_at: float = Field(default=0.98, gt=0, description="accuracy of all probes that ends a run")
    n_test: int = Field(default=2000, ge=100, description="strings on which accuracy is reported")
    n_probe: int = Field(default=2000, ge=100, description="labelled strings for the probes of levels")
    n_root: int = Field(default=8192, ge=100, description="labelled strings for the probes of the root")
    dtype: Literal["float32", "bfloat16"] = Field(default="bfloat16", description="type of matrix products")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="where tensors live")
    grammar_seed: int = Field(ge=0, description="seed of the first replica's production rules")
    data_seed: int = Field(ge=0, description="seed of the first replica's strings and masks")
    model_seed: int = Field(ge=0, description="seed of the first replica's initial weights")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shape(self.v, self.m, self.s, self.L)
        available = self.v * self.m ** ((self.s**self.L - 1) // (self.s - 1))
        if self.n is not None and self.n > available:
            raise ValueError(f"n must be at most the number of strings, {available}. Found n={self.n}.")
        if self.width % self.n_heads:
            raise ValueError(f"width must be a multiple of n_heads={self.n_heads}. Found width={self.width}.")
        return self

    @property
    def steps(self) -> int:
        """Optimiser steps, at most."""
        return math.ceil(self.strings / self.batch_size)

    @property
    def n_hidden(self) -> int:
        """Tokens hidden in each copy, at least one."""
        return max(1, round(self.mask_probability * self.s**self.L))

    def cost(self) -> float:
        """Multiplications of a training to the last step."""
        copies = self.n_masks if self.objective in ("data2vec", "mlm") else 1
        each = self.s**self.L * (self.n_blocks or 2 * self.L) * 12 * self.width**2
        return float(self.n_replicas * self.strings * each * (3 * copies + (self.objective == "data2vec")))

    def run(self, checkpoint: Path | None = None) -> list[dict[str, Any]]:
        """Train and score.

        Parameters
        ----------
        checkpoint : path, optional
            File from which an interrupted run goes on, and to which its state is saved now and then.

        Returns
        -------
        list of dict
            For each replica, each evaluation (step 0, the untrained encoder, among them) and each level:
            `probe_accuracy` is of a linear probe of the level at its nodes, from the block `probe_block`, the
            best one on strings of its own. At level L, `root_linear` and `root_mlp` are of probes
            of the mean of the last states. `target_variance` is that of the target's features over
            strings, `effective_rank` the exponential of the entropy of the spectrum of the pooled features,
            and `collapsed` tells whether one of them is too small for the run to mean anything.

        Raises
        ------
        FloatingPointError
            If a loss is not finite.
        """
        return _Run(self).rows(Checkpoint(checkpoint))


class _Run:
    """One execution of an experiment."""

    def __init__(self, config: OnlineExperiment) -> None:
        c = self.config = config
        self.device = resolve_device(c.device)
        replicas = range(c.n_replicas)
        self.grammars = [
            Grammar.random(v=c.v, m=c.m, s=c.s, L=c.L, seed=c.grammar_seed + r) for r in replicas
        ]
        self.held, self.train = [], []
        for r, grammar in enumerate(self.grammars):
            rng = np.random.default_rng([c.data_seed + r, _HELD])
            count = c.n_probe + c.n_root + 2 * c.n_test
            fixed = 0 if c.n is None else c.n
            unique = 0 < fixed + count <= grammar.n_strings and fixed > 0
            drawn = grammar.sample(fixed + count, rng, unique=unique)
            if fixed and not unique:
                self.train.append(grammar.sample(fixed, rng, unique=True))
            elif fixed:
                self.train.append(drawn[count:])
            self.held.append(drawn[:count])
        self.samplers = [TorchSampler(grammar, self.device) for grammar in self.grammars]
        self.fresh = [
            torch.Generator(self.device).manual_seed(seed_for(c.data_seed + r, _FRESH)) for r in replicas
        ]
        orders = [torch.Generator().manual_seed(seed_for(c.data_seed + r, _ORDER)) for r in replicas]
        self.order = None if c.n is None else Batches([c.n] * c.n_replicas, c.batch_size, orders)
        self.learner = make_learner(c, self.device)
        self.descent = ReplicaDescent(
            self.learner, descent=c.descent, muon_lr=c.muon_lr, lr=c.lr, warmup_steps=c.warmup_steps,
            weight_decay=c.weight_decay, clip=c.clip,
        )  # fmt: skip

    # ------------------------------------------------ batches

    def batches(self, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the next `count` batches: tokens (R, B, s**L), places (R, B, M, k), root (R, B)."""
        c = self.config
        chosen = None if self.order is None else self.order.draw(count)
        tokens, places, roots = [], [], []
        for r, generator in enumerate(self.fresh):
            shape = (count, c.batch_size)
            if chosen is None:
                levels = self.samplers[r].sample(count * c.batch_size, generator)
                strings, root = levels[0].long(), levels[-1][:, 0].long()
            else:
                rows = chosen[:, r].flatten().numpy()
                strings = torch.from_numpy(self.train[r].tokens[rows]).to(self.device).long()
                root = torch.from_numpy(self.train[r].root[rows]).to(self.device).long()
            tokens.append(strings.view(*shape, -1))
            roots.append(root.view(*shape))
            keys = torch.rand(*shape, c.n_masks, strings.shape[1], generator=generator, device=self.device)
            places.append(keys.topk(c.n_hidden, sorted=False).indices)
        stacked = (torch.stack(part, 1) for part in (tokens, places, roots))
        return iter(zip(*stacked, strict=True))

    # ------------------------------------------------ training

    def rows(self, checkpoint: Checkpoint) -> list[dict[str, Any]]:
        """Train, and evaluate along the way, from where an interrupted run stopped if one did."""
        c = self.config
        stops = log_spaced(c.steps, c.n_evaluations, first=max(1, c.steps // 30))
        now: dict[str, Any] = {"step": 0, "evaluated": 0, "ended": False, "rows": []}
        saved = checkpoint.load()
        if saved is not None:
            now = self._restore(saved)
        else:
            now["rows"] = self.measure(0)
        while not now["ended"]:
            stop = stops[now["evaluated"]]
            while now["step"] < stop:
                count = min(_CHUNK, stop - now["step"])
                for batch in self.batches(count):
                    self.descent.step(*batch)
                now["step"] += count
                self._require_finite(now["step"])
                checkpoint.save(lambda: self._state(now))
            found = self.measure(now["step"])
            now["rows"] += found
            now["evaluated"] += 1
            now["ended"] = now["evaluated"] == len(stops) or self._is_learnt(found)
        return list(now["rows"])

    def _is_learnt(self, found: list[dict[str, Any]]) -> bool:
        least = min(
            row["probe_accuracy"] if row["level"] < self.config.L else row["root_mlp"] for row in found
        )
        return least >= self.config.stop_at

    def _require_finite(self, step: int) -> None:
        some = self._pooled(slice(0, 64))
        sums = torch.stack([part.sum() for part in [*self.descent.parameters, some]])
        if not bool(torch.isfinite(torch.cat([self.descent.last_loss, sums])).all()):
            c = self.config
            raise FloatingPointError(
                f"losses, weights and features must be finite. Found losses "
                f"{self.descent.last_loss.tolist()} at step {step}, with "
                f"muon_lr={c.muon_lr}, lr={c.lr}, descent={c.descent!r}."
            )

    def _state(self, now: dict[str, Any]) -> dict[str, Any]:
        return {
            **now,
            "descent": self.descent.state_dict(),
            "fresh": [generator.get_state() for generator in self.fresh],
        }

    def _restore(self, saved: dict[str, Any]) -> dict[str, Any]:
        now = dict(saved)
        self.descent.load_state_dict(now.pop("descent"))
        for generator, state in zip(self.fresh, now.pop("fresh"), strict=True):
            generator.set_state(state)
        if self.order is not None:
            for start in range(0, now["step"], _CHUNK):  # the order has no memory but its past
                self.order.draw(min(_CHUNK, now["step"] - start))
        return now

    # ------------------------------------------------ evaluation

    def measure(self, step: int) -> list[dict[str, Any]]:
        """Rows of one evaluation, a replica and level each."""
        c = self.config
        accuracy, block = self._levels()
        linear, mlp, rank = self._root()
        variance = self._target_variance()
        loss, norm = self.descent.last_loss.tolist(), self.descent.gradient_norm.tolist()
        rows = []
        for r in range(c.n_replicas):
            ill = bool(rank[r] < _LEAST_RANK or (variance and variance[r] < _LEAST_VARIANCE))
            for level in range(1, c.L + 1):
                top = level == c.L
                rows.append(
                    {
                        "replica": r,
                        "level": level,
                        "step": step,
                        "strings_seen": step * c.batch_size,
                        "strings_over_vm3": step * c.batch_size / (c.v * c.m**3),
                        "probe_accuracy": accuracy[level - 1][r],
                        "probe_block": block[level - 1][r],
                        "root_linear": linear[r] if top else None,
                        "root_mlp": mlp[r] if top else None,
                        "synonym_score": None,
                        "synonym_raw": None,
                        "synonym_block": None,
                        "loss": loss[r] if step else None,
                        "gradient_norm": norm[r] if step else None,
                        "target_variance": variance[r] if variance else None,
                        "effective_rank": rank[r],
                        "collapsed": ill and step > 0,
                    }
                )
        return self._with_synonyms(rows) if c.m > 1 else rows

    def _tokens(self, part: slice) -> Tensor:
        return torch.from_numpy(np.stack([held.tokens[part] for held in self.held])).to(self.device)

    def _parts(self) -> dict[str, slice]:
        c = self.config
        ends = np.cumsum([0, c.n_probe, c.n_root, c.n_test, c.n_test]).tolist()
        names = ("probe", "root", "check", "test")
        return {name: slice(ends[i], ends[i + 1]) for i, name in enumerate(names)}

    def _levels(self) -> tuple[list[list[float]], list[list[int]]]:
        """Accuracy on test strings, and block, of the probe of each level 1 .. L, by replica."""
        c, found = self.config, {}
        for name in ("probe", "check", "test"):
            part = self._parts()[name]
            nodes = self.learner.encoder.nodes(self._tokens(part))
            string = torch.arange(nodes[0].shape[2], device=self.device)
            features = [level[:, :, string, string % level.shape[3]] for level in nodes]
            labels = []
            for level in range(1, c.L + 1):
                latents = np.stack([held.levels[level][part] for held in self.held]).astype(np.int64)
                there = torch.from_numpy(latents).to(self.device)
                labels.append(there[:, string, string % there.shape[2]])
            found[name] = (features, labels)
        accuracies, blocks = [], []
        for k in range(c.L):
            parts = {
                name: (features[k].flatten(0, 1), labels[k].repeat_interleave(features[k].shape[1], 0))
                for name, (features, labels) in found.items()
            }
            probe = fit_linear(*parts["probe"], *parts["check"], classes=c.v)
            checked, scored = (probe.score(*parts[name]).view(c.n_replicas, -1) for name in ("check", "test"))
            best = checked.argmax(1, keepdim=True)
            accuracies.append(scored.gather(1, best)[:, 0].tolist())
            blocks.append(best[:, 0].tolist())
        return accuracies, blocks

    @torch.no_grad()
    def _pooled(self, part: slice) -> Tensor:
        encoder, found = self.learner.encoder, []
        for chunk in self._tokens(part).split(512, 1):
            _, states = encoder.encode(chunk.long())
            found.append(encoder.final(states).unflatten(1, (-1, encoder.positions)).mean(2))
        return torch.cat(found, 1)

    def _root(self) -> tuple[list[float], list[float], list[float]]:
        """Accuracy of a linear probe and of an MLP on pooled last states; effective rank of these."""
        c, data = self.config, []
        for name in ("root", "check", "test"):
            part = self._parts()[name]
            labels = np.stack([held.root[part] for held in self.held]).astype(np.int64)
            data.append((self._pooled(part), torch.from_numpy(labels).to(self.device)))
        linear = fit_linear(*data[0], *data[1], classes=c.v).score(*data[2]).tolist()
        generator = torch.Generator(self.device).manual_seed(seed_for(c.model_seed, _PROBES))
        mlp = mlp_accuracy(data, classes=c.v, generator=generator)
        centred = data[2][0] - data[2][0].mean(1, keepdim=True)
        spectrum = torch.linalg.svdvals(centred.cpu().double()).square()
        share = spectrum / spectrum.sum(1, keepdim=True).clamp(min=1e-30)
        rank = torch.special.entr(share).sum(1).exp()
        return linear, mlp, rank.tolist()

    def _target_variance(self) -> list[float]:
        """Variance over strings of the target's features, in the mean over places; [] without a teacher."""
        if not self.learner.teacher:
            return []
        tokens = self._tokens(self._parts()["test"])[:, :512].long()
        targets = self.learner.targets(tokens).unflatten(1, (tokens.shape[1], -1))
        return targets.var(1).mean((1, 2)).tolist()

    def _with_synonyms(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        c = self.config
        start = self._parts()["test"].start
        samples = [held[start : start + _N_SYNONYMS] for held in self.held]
        tokens = self._stack(samples)
        here = self.learner.encoder.nodes(tokens)
        for level in range(1, c.L):
            rngs = [np.random.default_rng([c.data_seed + r, _SYNONYMS, level]) for r in range(c.n_replicas)]
            swapped = self._stack(
                [resample_rules(one, level, rng) for one, rng in zip(samples, rngs, strict=True)]
            )
            there = self.learner.encoder.nodes(swapped)
            for r, sample in enumerate(samples):
                latents = torch.from_numpy(sample.levels[level]).to(self.device).int()
                raw, corrected = _scores(
                    here[level - 1][r], there[level - 1][r], tokens[r], swapped[r], latents, _SHIFTS
                )
                k = int(corrected.argmax())
                row = next(row for row in rows if row["replica"] == r and row["level"] == level)
                row |= {
                    "synonym_score": float(corrected[k]),
                    "synonym_raw": float(raw[k]),
                    "synonym_block": k,
                }
        return rows

    def _stack(self, samples: list[Sample]) -> Tensor:
        return torch.from_numpy(np.stack([sample.tokens for sample in samples])).to(self.device)


def make_learner(config: OnlineExperiment, device: torch.device | str) -> ReplicaLearner:
    """Build the untrained learner of an experiment."""
    c = config
    seeds = [c.model_seed + r for r in range(c.n_replicas)]
    transformers = [
        Transformer(
            v=c.v, s=c.s, L=c.L, width=c.width, n_blocks=c.n_blocks, n_heads=c.n_heads,
            position_std=c.position_std, causal=c.objective == "ntp", model_seed=seed,
        )
        for seed in seeds
    ]  # fmt: skip
    heads = []
    for seed in seeds:
        head = nn.utils.skip_init(nn.Linear, c.width, c.width if c.objective == "data2vec" else c.v)
        initialise(head, torch.Generator().manual_seed(seed_for(seed, _HEAD)))
        heads.append(head)
    encoder = ReplicaTransformer([t.to(device) for t in transformers], products=getattr(torch, c.dtype))
    return ReplicaLearner(
        encoder, [head.to(device) for head in heads], predicts=c.objective, ema=c.ema, beta=c.beta,
        top_k=c.top_k or c.L,
    )  # fmt: skip


def mlp_accuracy(
    data: list[tuple[Tensor, Tensor]], *, classes: int, generator: torch.Generator
) -> list[float]:
    """Accuracy of one MLP with a hidden layer for each replica, stopped early by validation.

    Parameters
    ----------
    data : list of three pairs of Tensors, shapes (R, n, width) and (R, n)
        Features and labels of strings for training, validation and test.
    classes : int
    generator : torch.Generator
        On the features' device.

    Returns
    -------
    list of R floats
    """
    (inputs, labels), (checks, check_labels), (tests, test_labels) = data
    mean, scale = inputs.mean(1, keepdim=True), inputs.std(1, keepdim=True).clamp(min=1e-3)
    inputs, checks, tests = ((x - mean) / scale for x in (inputs, checks, tests))
    replicas, count, width = inputs.shape
    hidden, device = int(_MLP["hidden"]), inputs.device

    def weight(rows: int, columns: int) -> Tensor:
        drawn = torch.randn(replicas, rows, columns, generator=generator, device=device)
        return (drawn / math.sqrt(3 * rows)).requires_grad_()

    layers = [weight(width, hidden), weight(hidden, classes)]
    biases = [torch.zeros(replicas, 1, k, device=device, requires_grad=True) for k in (hidden, classes)]
    optimizer = torch.optim.Adam([*layers, *biases], lr=_MLP["lr"], fused=True)
    batch = min(count, int(_MLP["batch_size"]))
    keep = 1 - _MLP["dropout"]

    def logits(x: Tensor, mask: Tensor | None = None) -> Tensor:
        inside = functional.gelu(torch.baddbmm(biases[0], x, layers[0]))
        return torch.baddbmm(biases[1], inside if mask is None else inside * mask, layers[1])

    best = torch.full((replicas,), torch.inf, device=device)
    score = torch.zeros(replicas, dtype=torch.float64, device=device)
    for step in range(int(_MLP["steps"])):
        at = torch.randint(count, (batch,), generator=generator, device=device)
        drop = torch.rand(replicas, batch, hidden, generator=generator, device=device) < keep
        optimizer.zero_grad()
        out = logits(inputs[:, at], drop / keep)
        functional.cross_entropy(out.flatten(0, 1), labels[:, at].flatten(), reduction="sum").div(
            batch
        ).backward()
        optimizer.step()
        if (step + 1) % int(_MLP["every"]) == 0:
            with torch.no_grad():
                terms = functional.cross_entropy(
                    logits(checks).transpose(1, 2), check_labels, reduction="none"
                )
                loss = terms.mean(1)
                now = (logits(tests).argmax(2) == test_labels).double().mean(1)
                score, best = torch.where(loss < best, now, score), torch.minimum(loss, best)
    return score.tolist()
