"""The learners that ship, on the bench: rows that go stale with the learners' code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from rhmlib import bench_learners
from rhmlib.experiment_bench import BenchExperiment


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class ShippedExperiment:
    """Bench a class of :mod:`rhmlib.bench_learners`; see :class:`rhmlib.experiment_bench.BenchExperiment`.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`.
    """

    tolerances: ClassVar[Mapping[str, float]] = BenchExperiment.tolerances

    entry: str = Field(description="name of a class of rhmlib.bench_learners")
    v: int = Field(ge=2, description="symbols a level")
    m: int = Field(ge=1, description="production rules a symbol")
    s: int = Field(default=2, ge=2, description="branching: symbols that a rule produces")
    L: int = Field(ge=2, description="depth: levels above the visible tokens")
    n: int = Field(ge=1, description="distinct training strings")
    steps: int = Field(ge=1, description="optimiser steps that a learner may take")
    grammar_seed: int = Field(ge=0, description="seed of the production rules")
    data_seed: int = Field(ge=0, description="seed of the strings")
    model_seed: int = Field(ge=0, description="seed of what the learner draws")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.entry not in bench_learners.SHIPPED:
            raise ValueError(
                f"entry must be one of {', '.join(bench_learners.SHIPPED)}. Found entry={self.entry!r}."
            )
        self.bench()
        return self

    def bench(self) -> BenchExperiment:
        """The same on the common bench."""
        return BenchExperiment(
            entry=f"{bench_learners.__name__}:{self.entry}",
            v=self.v,
            m=self.m,
            s=self.s,
            L=self.L,
            n=self.n,
            steps=self.steps,
            grammar_seed=self.grammar_seed,
            data_seed=self.data_seed,
            model_seed=self.model_seed,
        )

    def cost(self) -> float:
        """As the bench's."""
        return self.bench().cost()

    def run(self) -> list[dict[str, Any]]:
        """Fit and probe."""
        return self.bench().run()
