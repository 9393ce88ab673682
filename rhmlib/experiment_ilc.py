"""Iterative Latent Clustering as an experiment: how well each level is recovered from n strings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from rhmlib.grammar import Grammar, check_shape
from rhmlib.ilc import IterativeLatentClustering
from rhmlib.metrics import level_metrics
from rhmlib.sampling import Sample, SampleStream

# Training strings are drawn in chunks of this many tokens; a change changes the drawn strings.
_CHUNK_TOKENS = 1 << 22
# Up to this many tokens the chunks are joined, and ILC reads them once instead of once a level.
_JOINED_TOKENS = 1 << 25


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class ILCExperiment:
    """Fit ILC on n strings and score each level on `n_test` fresh ones.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`. On another platform k-means may end in
        another optimum: where a level is half learnt that can move a run's accuracy by some percent.

    Notes
    -----
    O((n + n_test) s**L) time. Memory is bounded: beyond 2**25 tokens the strings are streamed
    in chunks of 2**22; the test strings are kept, n_test s**L bytes a few times.

    References
    ----------
    Section 3; Figures 3 (left) and 11 (left).
    """

    tolerances: ClassVar[Mapping[str, float]] = {
        "hungarian_accuracy": 0.05,
        "majority_accuracy": 0.05,
        "codes_used": 1,
    }

    targets: Literal["one", "all"] = Field(description="one cousin token as a tuple's context, or all")
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
        """Tokens that are read, with what k-means costs whatever n is."""
        positions = self.s**self.L if self.targets == "all" else self.s**2 + self.s**self.L / 4
        return self.n * positions + self.n_test * self.s**self.L + 1e5 * (self.L - 1)

    def run(self) -> list[dict[str, Any]]:
        """Fit and score.

        Returns
        -------
        list of dict
            For each level 1 .. L-1: `level`, `n_over_vm3` = n / (v m**3), and the metrics
            `hungarian_accuracy`, `majority_accuracy` and `codes_used` over all positions of
            the level in the `n_test` test strings.
        """
        grammar = Grammar.random(v=self.v, m=self.m, s=self.s, L=self.L, seed=self.grammar_seed)
        ilc = IterativeLatentClustering(
            v=self.v, s=self.s, targets=self.targets, n_init=self.n_init, random_state=self.model_seed
        ).fit(self._strings(grammar))
        # A sequence is another entropy than its first element and than that one's children.
        rng = np.random.default_rng([self.data_seed, 1])
        test = grammar.sample(self.n_test, rng)
        return [
            {
                "level": level,
                "n_over_vm3": self.n / (self.v * self.m**3),
                **level_metrics(codes, test.levels[level]),
            }
            for level, codes in enumerate(ilc.transform(test.tokens), start=1)
        ]

    def _strings(self, grammar: Grammar) -> NDArray[Any] | SampleStream:
        chunk = max(1, _CHUNK_TOKENS // grammar.n_tokens)
        stream = SampleStream(grammar, self.n, seed=self.data_seed, chunk=chunk)
        if self.n * grammar.n_tokens > _JOINED_TOKENS:
            return stream
        parts: list[Sample] = list(stream)
        return np.concatenate([part.tokens for part in parts])
