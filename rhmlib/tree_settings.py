"""Settings that the experiments with the tree encoder have in common."""

from __future__ import annotations

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class TreeSettings:
    """Shape of the grammar, the encoder's width and learning rate, the device and the seeds."""

    v: int = Field(ge=2, description="symbols a level")
    m: int = Field(ge=1, description="production rules a symbol")
    s: int = Field(default=2, ge=2, description="branching: symbols that a rule produces")
    L: int = Field(ge=2, description="depth: levels above the visible tokens")
    width: int = Field(default=96, ge=1, description="width of the features")
    lr: float = Field(default=1.5e-3, gt=0, description="learning rate of AdamW")
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="where tensors live"
    )
    grammar_seed: int = Field(ge=0, description="seed of the production rules")
    data_seed: int = Field(ge=0, description="seed of the strings, their order and the masks")
    model_seed: int = Field(ge=0, description="seed of the initial weights")
