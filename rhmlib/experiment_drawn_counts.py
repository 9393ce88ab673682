"""Token ILC from drawn counts as an experiment: the deepest level of trees that need too many strings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from rhmlib.drawn_counts import DrawnTokenILC, check_counted
from rhmlib.grammar import Grammar, check_shape
from rhmlib.metrics import level_metrics
from rhmlib.token_ilc import TokenTargets


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class DrawnCountsExperiment:
    """Draw the counts of n strings, fit token ILC's top level to them, and score it on `n_test` strings.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`; as of token ILC.

    References
    ----------
    Section 2, eq. (1); :class:`rhmlib.drawn_counts.DrawnTokenILC`.
    """

    tolerances: ClassVar[Mapping[str, float]] = {
        "hungarian_accuracy": 0.05,
        "majority_accuracy": 0.05,
        "codes_used": 1,
    }

    targets: TokenTargets = Field(description="what a tuple's context is made of")
    v: int = Field(ge=2, description="symbols a level")
    m: int = Field(ge=1, description="production rules a symbol")
    s: int = Field(default=2, ge=2, description="branching: symbols that a rule produces")
    L: int = Field(ge=2, description="depth: levels above the visible tokens")
    n: int = Field(ge=1, description="training strings, drawn independently")
    n_test: int = Field(default=2000, ge=1, description="fresh strings on which accuracy is measured")
    n_init: int = Field(default=10, ge=1, description="restarts of k-means, of which the best is kept")
    grammar_seed: int = Field(ge=0, description="seed of the production rules")
    data_seed: int = Field(ge=0, description="seed of the training and the test strings")
    model_seed: int = Field(ge=0, lt=2**32, description="seed of k-means")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shape(self.v, self.m, self.s, self.L)
        check_counted(self.s, self.L)
        return self

    def cost(self) -> float:
        """Symbols of the test strings, and counts."""
        counted = 2.0**self.L * (self.v * self.m) ** 2
        if self.targets == "conditional":
            counted = 50.0 * self.v**2 * self.m**self.L
        return self.n_test * 2.0**self.L + counted + 1e7

    def run(self) -> list[dict[str, Any]]:
        """Draw, fit and score.

        Returns
        -------
        list of dict
            One, of level L-1: `level`, `n_over_vm3` = n / (v m**3), and the metrics `hungarian_accuracy`,
            `majority_accuracy` and `codes_used` over both positions in the `n_test` test strings.
        """
        grammar = Grammar.random(v=self.v, m=self.m, s=self.s, L=self.L, seed=self.grammar_seed)
        learner = DrawnTokenILC(targets=self.targets, n_init=self.n_init, random_state=self.model_seed)
        # A generator made of one number would repeat the grammar's where the seeds are equal.
        learner.fit(grammar, self.n, np.random.default_rng([self.data_seed, 2]))
        test = grammar.sample(self.n_test, np.random.default_rng([self.data_seed, 1]))
        top = self.L - 1
        return [
            {
                "level": top,
                "n_over_vm3": self.n / (self.v * self.m**3),
                **level_metrics(learner.transform(test), test.levels[top]),
            }
        ]
