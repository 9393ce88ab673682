"""Pooled token ILC as an experiment: what the deepest level costs when a token's readings are pooled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from rhmlib.grammar import Grammar, check_shape
from rhmlib.metrics import level_metrics
from rhmlib.pooled_tokens import PooledTokenILC, token_signal


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class PooledTokensExperiment:
    """Fit pooled token ILC on n strings and score level L-1 on `n_test` fresh ones.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`; as of token ILC.

    References
    ----------
    :class:`rhmlib.pooled_tokens.PooledTokenILC`; the signal, :func:`rhmlib.pooled_tokens.token_signal`.
    """

    tolerances: ClassVar[Mapping[str, float]] = {
        "hungarian_accuracy": 0.05,
        "majority_accuracy": 0.05,
        "codes_used": 1,
        "signal": 1e-6,
    }

    v: int = Field(ge=2, description="symbols a level")
    m: int = Field(ge=1, description="production rules a symbol")
    s: int = Field(default=2, ge=2, description="branching: symbols that a rule produces")
    L: int = Field(ge=2, description="depth: levels above the visible tokens")
    n: int = Field(ge=1, description="training strings, drawn independently")
    n_test: int = Field(default=2000, ge=1, description="fresh strings on which accuracy is measured")
    n_signal: int = Field(default=5000, ge=2, description="strings over which the signal is averaged")
    n_init: int = Field(default=10, ge=1, description="restarts of k-means, of which the best is kept")
    grammar_seed: int = Field(ge=0, description="seed of the production rules")
    data_seed: int = Field(ge=0, description="seed of the training and the test strings")
    model_seed: int = Field(ge=0, lt=2**32, description="seed of k-means")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shape(self.v, self.m, self.s, self.L)
        return self

    def cost(self) -> float:
        """Symbols that are drawn and entries of the messages."""
        drawn = self.s**self.L
        return self.n * (drawn + self.s * self.L * self.v**2) + self.n_test * drawn + 1e7

    def run(self) -> list[dict[str, Any]]:
        """Fit and score.

        Returns
        -------
        list of dict
            One, of level L-1: `level`, `n_over_vm3` = n / (v m**3), `signal`
            (:func:`rhmlib.pooled_tokens.token_signal` of `n_signal` strings of this grammar), and the
            metrics `hungarian_accuracy`, `majority_accuracy` and `codes_used` over both positions in the
            `n_test` test strings.
        """
        grammar = Grammar.random(v=self.v, m=self.m, s=self.s, L=self.L, seed=self.grammar_seed)
        # A generator made of one number would repeat the grammar's where the seeds are equal.
        rng = np.random.default_rng([self.data_seed, 3])
        learner = PooledTokenILC(n_init=self.n_init, random_state=self.model_seed)
        learner.fit(grammar.sample(self.n, rng))
        test = grammar.sample(self.n_test, np.random.default_rng([self.data_seed, 1]))
        top = self.L - 1
        strings = grammar.sample(self.n_signal, np.random.default_rng([self.data_seed, 2]))
        return [
            {
                "level": top,
                "n_over_vm3": self.n / (self.v * self.m**3),
                "signal": token_signal(strings),
                **level_metrics(learner.transform(test), test.levels[top]),
            }
        ]
