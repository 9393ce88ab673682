"""An experiment whose best settings are known, and that fails or naps on demand."""

import math
import time
from typing import ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class Valley:
    """Best at rate = 0.1 and kind = "good"; the width does not matter."""

    tolerances: ClassVar = {"value": 0.01, "note": 0}

    m: int = Field(default=2, ge=1, description="rules")
    rate: float = Field(gt=0, description="a floating-point number")
    width: int = Field(ge=1, description="an integer")
    kind: Literal["good", "bad", "mad", "nan"] = Field(default="good", description="mad: fails")
    limit: int = Field(default=100, ge=1, description="largest width where kind is bad")
    nap: float = Field(default=0.0, ge=0, description="seconds to sleep")
    grammar_seed: int = Field(default=0, ge=0, description="seed")

    @model_validator(mode="after")
    def _check(self):
        if self.kind == "bad" and self.width > self.limit:
            raise ValueError(f"width must be at most limit={self.limit}. Found width={self.width}.")
        return self

    def run(self):
        time.sleep(self.nap)
        if self.kind == "mad":
            raise ArithmeticError("told to fail")
        value = -abs(math.log10(self.rate) + 1) - 0.3 * (self.kind == "bad") - 0.01 * self.grammar_seed
        value = math.nan if self.kind == "nan" else value / self.m
        return [{"level": level, "value": level * value, "note": None} for level in (1, 2)]
