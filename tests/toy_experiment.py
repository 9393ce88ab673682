"""An experiment that takes as long as it is told, and fails, dies or hangs on demand."""

import os
import signal
import time
from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class Toy:
    """Draw numbers; `level` 1 and 2 make two rows a run."""

    tolerances: ClassVar = {"value": 0.01}

    v: int = Field(default=4, ge=1, description="symbols")
    m: int = Field(default=2, ge=1, description="rules")
    n: int = Field(default=1, ge=1, description="strings")
    rate: float = Field(default=1.0, gt=0, description="a floating-point number")
    note: str | None = Field(default=None, description="a text or nothing")
    nap: float = Field(default=0.0, ge=0, description="seconds to sleep")
    # how to fail
    trouble: Literal["none", "raise", "die", "bad row", "pid"] = Field(
        default="none", description="how to fail"
    )
    device: str = Field(default="cpu", description="cuda asks a cluster for a GPU")
    grammar_seed: int = Field(default=0, ge=0, description="seed")
    data_seed: int = Field(default=0, ge=0, description="seed")
    model_seed: int = Field(default=0, ge=0, description="seed")

    @model_validator(mode="after")
    def _check(self):
        if self.m > self.v:
            raise ValueError(f"m must be at most v={self.v}. Found m={self.m}.")
        return self

    def cost(self):
        return self.nap + 0.001 * self.n

    def run(self):
        time.sleep(self.nap)
        if self.trouble == "raise":
            raise ArithmeticError("told to fail")
        if self.trouble == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.trouble == "bad row":
            return [{"seconds": 1}]
        if self.trouble == "pid":
            return [{"level": 1, "pid": os.getpid()}]
        seeds = [self.grammar_seed, self.data_seed, self.model_seed]
        rng = np.random.default_rng([self.v, self.m, self.n, *seeds])
        return [{"level": level, "value": rng.random(), "count": np.int64(level)} for level in (1, 2)]
