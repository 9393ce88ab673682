"""What exact laws say of token targets, as experiments: predicted accuracies, and what neighbours lift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from rhmlib.grammar import Grammar, check_shape
from rhmlib.tax import lift_table, predicted_level_accuracy
from rhmlib.token_ilc import TokenTargets

# Sizes of the training set in units of v m**3 at which accuracy is predicted, in order.
MULTIPLES = tuple(2.0**k for k in range(-1, 15))
# From this accuracy on no larger size is asked for.
_LEARNT = 0.999
# Mask rates of the random masks.
RATES = (0.0, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class TokenPredictionExperiment:
    """Predict token ILC's accuracy at every level with true inputs: nothing is drawn or clustered.

    References
    ----------
    :func:`rhmlib.tax.predicted_level_accuracy`.
    """

    tolerances: ClassVar[Mapping[str, float]] = {"hungarian_accuracy": 1e-6}

    targets: TokenTargets = Field(description="what a tuple's context is made of")
    v: int = Field(ge=2, description="symbols a level")
    m: int = Field(ge=1, description="production rules a symbol")
    s: int = Field(default=2, ge=2, description="branching: symbols that a rule produces")
    L: int = Field(ge=2, description="depth: levels above the visible tokens")
    n_init: int = Field(default=10, ge=1, description="restarts of k-means, of which the best is kept")
    grammar_seed: int = Field(ge=0, description="seed of the production rules")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shape(self.v, self.m, self.s, self.L)
        return self

    def cost(self) -> float:
        """Cells or moments of the deepest level, with what each size costs."""
        if self.targets == "conditional":
            return 1e5 * self.L + self.v**2 * float(self.m) ** (self.L - 1)
        leaves = self.s ** (self.L - 1) if self.targets == "tokens_all" else self.s
        return 1e5 * self.L + self.v * self.m * (self.v * leaves) ** 2 / 10

    def run(self) -> list[dict[str, Any]]:
        """Predict.

        Returns
        -------
        list of dict
            For each level 1 .. L-1 and each size, powers of two of v m**3 until the level is learnt:
            `level`, `n_over_vm3` and the predicted `hungarian_accuracy`.
        """
        grammar = Grammar.random(v=self.v, m=self.m, s=self.s, L=self.L, seed=self.grammar_seed)
        rows = []
        for level in range(1, self.L):
            for multiple in MULTIPLES:
                accuracy = predicted_level_accuracy(
                    grammar, multiple * self.v * self.m**3, self.targets, level, n_init=self.n_init
                )
                rows.append({"level": level, "n_over_vm3": multiple, "hungarian_accuracy": float(accuracy)})
                if accuracy >= _LEARNT:
                    break
        return rows


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class LiftExperiment:
    """Measure what a cousin's latent tells about a masked token, for many masks and every level.

    References
    ----------
    :func:`rhmlib.tax.lift_table`.
    """

    tolerances: ClassVar[Mapping[str, float]] = {
        "information": 1e-6,
        "stderr": 1e-6,
        "latent_information": 1e-6,
        "token_entropy": 1e-6,
        "signal": 1e-6,
    }

    v: int = Field(ge=2, description="symbols a level")
    m: int = Field(ge=1, description="production rules a symbol")
    s: int = Field(default=2, ge=2, description="branching: symbols that a rule produces")
    L: int = Field(ge=2, description="depth: levels above the visible tokens")
    n_strings: int = Field(default=2000, ge=2, description="strings drawn where they are not enumerated")
    grammar_seed: int = Field(ge=0, description="seed of the production rules")
    data_seed: int = Field(ge=0, description="seed of the strings and of the random masks")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shape(self.v, self.m, self.s, self.L)
        return self

    def cost(self) -> float:
        """Entries of the messages."""
        return 20.0 * self.n_strings * self.v**2 * self.m * self.s**self.L

    def run(self) -> list[dict[str, Any]]:
        """Measure.

        Returns
        -------
        list of dict
            The rows of :func:`rhmlib.tax.lift_table`, without the grammar's number and the strings needed.
        """
        grammar = Grammar.random(v=self.v, m=self.m, s=self.s, L=self.L, seed=self.grammar_seed)
        table = lift_table(
            [grammar], rates=RATES, n=self.n_strings, rng=np.random.default_rng(self.data_seed)
        )
        rows: list[dict[str, Any]] = table.drop(columns=["grammar", "strings"]).to_dict("records")
        return rows
