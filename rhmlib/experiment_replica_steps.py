"""What a step of replicated transformers costs: eager, as a graph, compiled, and beside a single one's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from rhmlib.experiment_encoder import EncoderExperiment, make_objective
from rhmlib.experiment_online import OnlineExperiment, make_learner
from rhmlib.experiment_step_times import _Clock, _cycle
from rhmlib.objectives import Descent
from rhmlib.provenance import resolve_device
from rhmlib.replica_transformer import ReplicaDescent, _block


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class ReplicaStepExperiment:
    """Time a training step of R transformers, and of the single encoder's step.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`. Times are those of a machine.
    """

    tolerances: ClassVar[Mapping[str, float]] = {
        "milliseconds": 1e9, "strings_a_second": 1e12, "operations": 1e-3, "share_of_limit": 1.0,
    }  # fmt: skip

    objective: Literal["data2vec", "mlm"] = Field(default="data2vec", description="what is predicted")
    v: int = Field(default=16, ge=2, description="symbols a level")
    L: int = Field(default=4, ge=2, description="depth: levels above the visible tokens")
    width: int = Field(ge=1, description="width of the features")
    n_heads: int = Field(default=4, ge=1, description="attention heads of the transformer")
    n_replicas: int = Field(default=5, ge=1, description="replicas of consecutive seeds, trained together")
    n_masks: int = Field(default=8, ge=1, description="masked copies of a string in a batch")
    batch_size: int = Field(default=32, ge=1, description="strings in a batch")
    descent: Literal["muon", "adamw"] = Field(
        default="muon", description="what moves the blocks' matrices; all else is moved by AdamW"
    )
    compiled: bool = Field(default=False, description="whether blocks are compiled, too")
    dtype: Literal["float32", "bfloat16"] = Field(default="bfloat16", description="type of matrix products")
    device: str = Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="where tensors live")
    steps: int = Field(default=10, ge=1, description="steps of a round")
    repeats: int = Field(default=5, ge=1, description="rounds, in turns")
    model_seed: int = Field(default=0, ge=0, description="seed of the initial weights")

    def cost(self) -> float:
        """Multiplications of the steps."""
        return self._training().cost() * self.steps * (self.repeats + 1)

    def _training(self) -> OnlineExperiment:
        names = ("objective", "v", "L", "width", "n_heads", "n_replicas", "n_masks", "batch_size")
        shared: dict[str, Any] = {name: getattr(self, name) for name in names}
        shared |= {"descent": self.descent, "dtype": self.dtype, "device": self.device}
        shared |= {"grammar_seed": 0, "data_seed": 0, "model_seed": self.model_seed}
        return OnlineExperiment(m=1, strings=self.batch_size, **shared)

    def run(self) -> list[dict[str, Any]]:
        """Time steps.

        Returns
        -------
        list of dict
            `milliseconds` of a step by the `writing`: "graph" (on a CUDA device), "eager", "compiled", and
            "single", today's step of one encoder with all the masked copies of a replica as its batch;
            `strings_a_second`, masked copies trained on; and `share_of_limit`, of the device's rate for
            large products of this type, that the step's products reach.
        """
        device = resolve_device(self.device)
        clock, products = _Clock(device), getattr(torch, self.dtype)
        calls: dict[str, Callable[[], object]] = {"eager": self._replicas(device, graph=False)}
        if device.startswith("cuda"):
            calls["graph"] = self._replicas(device, graph=True)
        if self.compiled:
            calls["compiled"] = self._replicas(device, graph=True, compiled=True)
        calls["single"] = self._single(device, products)
        limit = clock.rate(products, 5, device)
        found = clock.medians(calls, self.steps, self.repeats)
        operations = 2 * self._training().cost()  # of products, without attention's and Muon's own
        rows = []
        for writing, milliseconds in found.items():
            share = 1 if writing != "single" else self.n_replicas
            copies = self.n_replicas * self.batch_size * self.n_masks / share
            rows.append(
                {
                    "writing": writing,
                    "milliseconds": milliseconds,
                    "strings_a_second": 1e3 * copies / milliseconds,
                    "operations": operations / share,
                    "share_of_limit": operations / share / milliseconds / limit,
                }
            )
        return rows

    def _replicas(self, device: str, *, graph: bool, compiled: bool = False) -> Callable[[], object]:
        c = self._training()
        learner = make_learner(c, device)
        if compiled:
            learner.encoder.run_block = torch.compile(_block, dynamic=False)
        descent = ReplicaDescent(learner, descent=self.descent, muon_lr=1e-4, lr=1e-5, graph=graph)
        generator = torch.Generator().manual_seed(self.model_seed)
        batches = [self._batch(c, generator, device) for _ in range(2)]
        return _cycle(batches, lambda batch: descent.step(*batch))

    def _batch(
        self, c: OnlineExperiment, generator: torch.Generator, device: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        shape = (c.n_replicas, c.batch_size)
        tokens = torch.randint(c.v, (*shape, 2**c.L), generator=generator)
        keys = torch.rand(*shape, c.n_masks, 2**c.L, generator=generator)
        places = keys.topk(c.n_hidden).indices
        return tokens.to(device), places.to(device), tokens[:, :, 0].to(device)

    def _single(self, device: str, products: torch.dtype) -> Callable[[], object]:
        names = ("objective", "v", "L", "width", "n_heads", "dtype")
        shared: dict[str, Any] = {name: getattr(self, name) for name in names}
        size = self.batch_size * self.n_masks
        c = EncoderExperiment(
            architecture="transformer", m=1, device=device, batch_size=size,
            grammar_seed=0, data_seed=0, model_seed=self.model_seed, **shared,
        )  # fmt: skip
        learner = make_objective(c, device)
        descent = Descent(learner, lr=1e-5, products=products)
        generator = torch.Generator().manual_seed(self.model_seed)
        tokens = torch.randint(self.v, (2 * size, 2**self.L), generator=generator)
        batches = list(learner.batches(tokens, tokens[:, 0], size, generator))
        return _cycle(batches, descent.step)
