"""What a training step costs: the library's against a plain writing of it, on a CPU core or a GPU."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from rhmlib.data2vec import Data2Vec
from rhmlib.encoders import Transformer
from rhmlib.experiment_encoder import EncoderExperiment, make_objective
from rhmlib.experiment_slc import SLCExperiment, _Run
from rhmlib.objectives import Batch, Descent
from rhmlib.plain_data2vec import PlainStep
from rhmlib.plain_slc import PlainLoop
from rhmlib.provenance import resolve_device

# Side of the square matrices whose product tells the device's rate.
_SIDES = {"cpu": 1024, "cuda": 8192}
_TOLERANCES = {"milliseconds": 1e9, "operations": 1e-3}


class _Clock:
    """Milliseconds: of processor time on a CPU, of the wall clock on a device, which is waited for."""

    def __init__(self, device: torch.device | str) -> None:
        self.cuda = torch.device(device).type == "cuda"

    def now(self) -> float:
        if not self.cuda:
            return 1e3 * time.process_time()
        torch.cuda.synchronize()
        return 1e3 * time.perf_counter()

    def medians(
        self, calls: Mapping[str, Callable[[], object]], steps: int, repeats: int
    ) -> dict[str, float]:
        """Median over rounds, in turns, of the time of one call; the first round warms up."""
        rounds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(repeats + 1):
            for name, call in calls.items():
                start = self.now()
                for _ in range(steps):
                    call()
                rounds[name].append((self.now() - start) / steps)
        return {name: statistics.median(times[1:]) for name, times in rounds.items()}

    def rate(self, dtype: torch.dtype, repeats: int, device: torch.device | str) -> float:
        """Operations a millisecond of large matrix products."""
        side = _SIDES["cuda" if self.cuda else "cpu"]
        a = torch.randn(side, side, device=device, dtype=dtype)
        return float(2 * side**3 / self.medians({"": lambda: torch.mm(a, a)}, 3, repeats)[""])


def _cycle(items: list[Any], call: Callable[..., object]) -> Callable[[], object]:
    """Call with one item after the other, over and over."""
    position = 0

    def step() -> object:
        nonlocal position
        position += 1
        return call(items[position % len(items)])

    return step


# ---------------------------------------------------------------- data2vec


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class Data2VecStepExperiment:
    """Time a training step of data2vec, and its parts, beside a plain writing of the same step.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`. Times are those of a machine.
    """

    tolerances: ClassVar[Mapping[str, float]] = _TOLERANCES

    architecture: Literal["tree", "transformer"] = Field(description="encoder")
    v: int = Field(default=16, ge=2, description="symbols a level")
    s: int = Field(default=2, ge=2, description="branching: symbols that a rule produces")
    L: int = Field(default=4, ge=2, description="depth: levels above the visible tokens")
    width: int = Field(ge=1, description="width of the features")
    n_heads: int = Field(default=4, ge=1, description="attention heads of the transformer")
    batch_size: int = Field(default=128, ge=1, description="strings in a batch")
    dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="type of matrix products")
    device: str = Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="where tensors live")
    steps: int = Field(default=5, ge=1, description="steps of a round")
    repeats: int = Field(default=7, ge=1, description="rounds, in turns")
    model_seed: int = Field(default=0, ge=0, description="seed of the initial weights")

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._training()
        return self

    def _training(self) -> EncoderExperiment:
        names = ("architecture", "v", "s", "L", "width", "n_heads", "batch_size", "dtype", "device")
        shared: dict[str, Any] = {name: getattr(self, name) for name in names}
        shared |= {"grammar_seed": 0, "data_seed": 0, "model_seed": self.model_seed}
        return EncoderExperiment(objective="data2vec", m=1, **shared)

    def cost(self) -> float:
        """Multiplications of the steps."""
        return self._training().cost() / self._training().steps * 3 * self.steps * (self.repeats + 1)

    def run(self) -> list[dict[str, Any]]:
        """Check that both writings have the same loss, then time them.

        Returns
        -------
        list of dict
            `milliseconds` of the `part` "step" by the `writing`: "library", "plain", and "products", which is
            what the `operations` of the step's matrix products would take at the speed of large ones;
            and of the parts of the library's step.

        Raises
        ------
        RuntimeError
            If the two writings differ in their loss.
        """
        config, device = self._training(), resolve_device(self.device)
        clock, products = _Clock(device), getattr(torch, self.dtype)
        learner = make_objective(config, device)
        assert isinstance(learner, Data2Vec)
        settings: dict[str, Any] = {
            "lr": config.lr,
            "weight_decay": config.weight_decay,
            "products": products,
        }
        plain, descent = PlainStep(learner, **settings), Descent(learner, **settings)
        generator = torch.Generator().manual_seed(self.model_seed)
        tokens = torch.randint(
            self.v, (2 * self.steps * self.batch_size, self.s**self.L), generator=generator
        )
        batches = list(learner.batches(tokens, tokens[:, 0], self.batch_size, generator))
        _require_same(learner(batches[0]), plain.loss(batches[0]))
        calls = {"library": _cycle(batches, descent.step), "plain": _cycle(batches, plain.step)}
        found = clock.medians(calls, self.steps, self.repeats)
        needed = _operations(learner, batches)
        found["products"] = needed / clock.rate(products, self.repeats, device)
        rows = [
            {"writing": name, "part": "step", "milliseconds": found[name], "operations": needed}
            for name in found
        ]
        each = [_parts(learner, descent, batch, clock, products) for batch in batches]
        return rows + [
            {
                "writing": "library",
                "part": part,
                "milliseconds": statistics.median(times[part] for times in each),
                "operations": None,
            }
            for part in each[0]
        ]


def _require_same(ours: Tensor, theirs: Tensor) -> None:
    if not torch.allclose(ours, theirs, rtol=1e-4):
        raise RuntimeError(
            f"the plain writing must have the library's loss. Found {float(theirs)} for {float(ours)}."
        )


def _parts(
    learner: Data2Vec, descent: Descent, batch: Batch, clock: _Clock, products: torch.dtype
) -> dict[str, float]:
    """Milliseconds of the parts of one step, which `Descent.step` does in this order."""
    times: dict[str, float] = {}

    def timed(name: str, do: Callable[[], Any]) -> Any:
        start = clock.now()
        out = do()
        times[name] = times.get(name, 0.0) + clock.now() - start
        return out

    encoder = learner.encoder

    def forward() -> Tensor:
        states = encoder.read(encoder.encode(batch.tokens, batch.mask), batch.at)
        error = functional.smooth_l1_loss(learner.head(states).float(), targets.float(), beta=learner.beta)
        return error * math.sqrt(encoder.width)

    with torch.autocast(descent.device_type, products, enabled=products != torch.float32):
        targets = timed("teacher", lambda: learner.targets(batch.tokens, batch.at))
        loss = timed("student, forward", forward)
    timed("optimiser", descent.optimizer.zero_grad)
    timed("student, backward", loss.backward)
    timed("clipping", lambda: nn.utils.clip_grad_norm_(descent.parameters, descent.clip))
    timed("optimiser", descent.optimizer.step)
    timed("moving average", learner.after_step)
    return times


def _operations(learner: Data2Vec, batches: list[Batch]) -> float:
    """Floating-point operations of a step's matrix products, counted by a forward pass with hooks."""
    total, factor = 0.0, 1

    def count(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Linear)
        total += factor * 2 * inputs[0].numel() * module.out_features

    linear = [part for part in learner.modules() if isinstance(part, nn.Linear)]
    hooks = [part.register_forward_hook(count) for part in linear]
    for batch in batches:
        factor = 1
        learner.targets(batch.tokens, batch.at)
        factor = 3  # a backward pass makes two products for each of the forward pass
        encoder = learner.encoder
        learner.head(encoder.read(encoder.encode(batch.tokens, batch.mask), batch.at))
        if isinstance(encoder, Transformer):  # queries by keys, and weights by values
            total += 4 * 4 * len(encoder.blocks) * batch.tokens.numel() * encoder.n_leaves * encoder.width
    for hook in hooks:
        hook.remove()
    return total / len(batches)


# ---------------------------------------------------------------- SLC


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class SLCStepExperiment:
    """Time a training step of SLC's replicas beside a plain loop over one run.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`. Times are those of a machine.
    """

    tolerances: ClassVar[Mapping[str, float]] = _TOLERANCES

    v: int = Field(default=8, ge=2, description="symbols a level")
    m: int = Field(default=4, ge=1, description="production rules a symbol")
    L: int = Field(ge=2, description="depth: levels above the visible tokens")
    width: int = Field(ge=1, description="width of the MLPs")
    batch_size: int = Field(default=32, ge=1, description="strings in a batch")
    n_replicas: int = Field(ge=1, description="networks trained together")
    stop_gradient: Literal["none", "modules", "modules+clusterer"] = Field(description="where gradients stop")
    aggregation: Literal["sum", "upgrad"] = Field(description="one gradient of all losses, or of each")
    device: str = Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="where tensors live")
    steps: int = Field(default=10, ge=1, description="steps of a round")
    repeats: int = Field(default=20, ge=1, description="rounds, in turns")
    model_seed: int = Field(default=0, ge=0, description="seed of the initial weights")

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._training()
        return self

    def _training(self) -> SLCExperiment:
        names = ("v", "m", "L", "width", "batch_size", "n_replicas", "stop_gradient", "aggregation", "device")
        shared: dict[str, Any] = {name: getattr(self, name) for name in names}
        shared |= {"grammar_seed": 0, "data_seed": 0, "model_seed": self.model_seed}
        return SLCExperiment(s=2, n=4096, prior=0.0, n_val=10, n_test=10, **shared)

    def cost(self) -> float:
        """Multiplications of the steps, up to a factor."""
        return float(self.n_replicas * self.width**2 * 2**self.L * self.steps * (self.repeats + 1))

    def run(self) -> list[dict[str, Any]]:
        """Time the library's step and the plain loop's.

        Returns
        -------
        list of dict
            `milliseconds` of a replica and step by the `writing`: "library", "plain" (a loop over one run),
            and "products", which is what the `operations` of the layers' products would take at
            the speed of large ones.
        """
        run = _Run(self._training())
        clock, plain = _Clock(run.device), PlainLoop(run)
        batches = [batch for _ in range(4) for batch in run.batches(64)]
        calls = {
            "library": _cycle(batches, lambda batch: run.trainer.step(*batch)),
            "plain": _cycle(batches, lambda batch: plain.step(*batch)),
        }
        found = clock.medians(calls, self.steps, self.repeats)
        needed = self._operations(run)
        found["products"] = needed / clock.rate(torch.float32, 5, run.device)
        share = {"library": self.n_replicas, "plain": 1, "products": 1}
        return [
            {"writing": name, "part": "step", "milliseconds": found[name] / share[name], "operations": needed}
            for name in found
        ]

    def _operations(self, run: _Run) -> float:
        """Floating-point operations of the layers' products, a replica and step."""
        listed, tables = run.patches.listed, [run.patches.symbols, *run.patches.children]
        modules = sum(p[0].numel() for p in run.student.parameters()) / (self.L - 1)
        rows = [
            tables[level].shape[1] if level < listed else self.batch_size * 2 ** (self.L - level - 1)
            for level in range(self.L - 1)
        ]
        return float(2 * modules * sum(rows) * 4)  # the student's count thrice, the teacher's once
