"""ILC with token targets as an experiment: what each level costs when the targets are leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from rhmlib.grammar import Grammar, check_shape
from rhmlib.metrics import level_metrics
from rhmlib.sampling import Sample, SampleStream
from rhmlib.token_ilc import CONDITIONAL, Inputs, TokenILC, TokenTargets, target_level

# Training strings are drawn in chunks of this many tokens; a change changes the drawn strings.
_CHUNK_TOKENS = 1 << 22
# Up to this many tokens the chunks are kept; beyond, they are drawn again for every pass.
_KEPT_TOKENS = 1 << 25


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class TokenILCExperiment:
    """Fit token ILC on n strings and score each level on `n_test` fresh ones.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`. On another platform k-means may end in
        another optimum: where a level is half learnt that can move a run's accuracy by some percent.

    References
    ----------
    Section 2, eq. (1); :class:`rhmlib.token_ilc.TokenILC`.
    """

    tolerances: ClassVar[Mapping[str, float]] = {
        "hungarian_accuracy": 0.05,
        "majority_accuracy": 0.05,
        "codes_used": 1,
    }

    targets: TokenTargets = Field(description="what a tuple's context is made of")
    inputs: Inputs = Field(default="true", description="the true latents below a level, or those found")
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
        return self

    def cost(self) -> float:
        """Symbols that are drawn and counted, with what k-means costs whatever n is."""
        s, drawn = self.s, self.s**self.L
        counted = 0.0
        for level in range(self.L - 1):
            leaves = s ** (level + 1 - target_level(self.targets, level))
            each = 8.0 if self.targets in CONDITIONAL else leaves
            tuples = 1 if self.targets == "tokens_one" else s ** (self.L - level - 1)
            counted += tuples * (s - 1) * each
        passes = 1 if self.inputs == "true" or self.n * drawn <= _KEPT_TOKENS else self.L - 1
        return self.n * (passes * drawn + counted) + self.n_test * drawn + 2e5 * (self.L - 1)

    def run(self) -> list[dict[str, Any]]:
        """Fit and score.

        Returns
        -------
        list of dict
            For each level 1 .. L-1: `level`, `n_over_vm3` = n / (v m**3), and the metrics
            `hungarian_accuracy`, `majority_accuracy` and `codes_used` over all positions of the level
            in the `n_test` test strings.
        """
        grammar = Grammar.random(v=self.v, m=self.m, s=self.s, L=self.L, seed=self.grammar_seed)
        learner = TokenILC(
            targets=self.targets, inputs=self.inputs, n_init=self.n_init, random_state=self.model_seed
        ).fit(self._strings(grammar))
        # A sequence is another entropy than its first element and than that one's children.
        test = grammar.sample(self.n_test, np.random.default_rng([self.data_seed, 1]))
        return [
            {
                "level": level,
                "n_over_vm3": self.n / (self.v * self.m**3),
                **level_metrics(codes, test.levels[level]),
            }
            for level, codes in enumerate(learner.transform(test), start=1)
        ]

    def _strings(self, grammar: Grammar) -> list[Sample] | SampleStream:
        chunk = max(1, _CHUNK_TOKENS // grammar.n_tokens)
        stream = SampleStream(grammar, self.n, seed=self.data_seed, chunk=chunk)
        return list(stream) if self.n * grammar.n_tokens <= _KEPT_TOKENS else stream
