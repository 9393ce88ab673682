"""The exact prediction of ILC's accuracy as an experiment, in the same columns as ILC's own runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from rhmlib.grammar import Grammar, check_shape
from rhmlib.ilc_theory import predicted_accuracy


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class PredictionExperiment:
    """Predict ILC's accuracy at every level from exact laws: no string is drawn, nothing clustered.

    References
    ----------
    :func:`rhmlib.ilc_theory.predicted_accuracy`.
    """

    tolerances: ClassVar[Mapping[str, float]] = {"hungarian_accuracy": 1e-6}

    targets: Literal["one", "all"] = Field(description="one cousin token as a tuple's context, or all")
    v: int = Field(ge=2, description="symbols a level")
    m: int = Field(ge=1, description="production rules a symbol")
    s: int = Field(default=2, ge=2, description="branching: symbols that a rule produces")
    L: int = Field(ge=2, description="depth: levels above the visible tokens")
    n: int = Field(ge=1, description="training strings")
    n_init: int = Field(default=10, ge=1, description="restarts of k-means, of which the best is kept")
    grammar_seed: int = Field(ge=0, description="seed of the production rules")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shape(self.v, self.m, self.s, self.L)
        return self

    def run(self) -> list[dict[str, Any]]:
        """Predict.

        Returns
        -------
        list of dict
            For each level 1 .. L-1: `level`, `n_over_vm3` = n / (v m**3) and the predicted
            `hungarian_accuracy`.
        """
        grammar = Grammar.random(v=self.v, m=self.m, s=self.s, L=self.L, seed=self.grammar_seed)
        accuracy = predicted_accuracy(grammar, self.n, self.targets, n_init=self.n_init)
        return [
            {"level": level, "n_over_vm3": self.n / (self.v * self.m**3), "hungarian_accuracy": float(value)}
            for level, value in enumerate(accuracy, start=1)
        ]
