"""Parse trees of the standard library as an experiment: pairs of symbols, and one step of ILC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from rhmlib.real_trees import file_weights, information_table, matched_table
from rhmlib.syntax_trees import corpus
from rhmlib.token_tuples import agreement_table

# What a row has, where it has it.
_COLUMNS = (
    *("quantity", "kind", "height", "distance", "pairs", "tuples", "value", "low", "high"),
    *(
        "shuffled",
        "null",
        "entropy",
        "majority_accuracy",
        "codes_used",
        "adjusted_information",
        "rare_information",
    ),
)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class RealTreesExperiment:
    """Count in the trees of the running interpreter's own standard library.

    Attributes
    ----------
    tolerances : dict
        See :class:`rhmlib.experiments.Experiment`. Another Python has another library, and rows tell theirs.

    References
    ----------
    :mod:`rhmlib.real_trees`, :mod:`rhmlib.token_tuples`.
    """

    tolerances: ClassVar[Mapping[str, float]] = {name: 0.05 for name in _COLUMNS[4:]}

    counted: Literal["pairs", "tuples"] = Field(description="pairs of symbols, or one step of ILC")
    n_files: int = Field(ge=3, description="files of the library at most, drawn at random")
    n_pairs: int = Field(default=50_000, ge=1, description="first nodes tried in each stratum of pairs")
    n_test: int = Field(default=20_000, ge=1, description="tuples of other files on which codes are scored")
    n_bootstrap: int = Field(default=200, ge=10, description="resamples of files behind an interval")
    data_seed: int = Field(ge=0, lt=2**32, description="seed of the files, the pairs and k-means")

    def cost(self) -> float:
        """Files to read, with what is done for each."""
        return self.n_files * (1.0 + self.n_bootstrap / 100 if self.counted == "pairs" else 2.0)

    def run(self) -> list[dict[str, Any]]:
        """Count.

        Returns
        -------
        list of dict
            As of :func:`rhmlib.real_trees.information_table` and :func:`rhmlib.real_trees.matched_table`, or
            of :func:`rhmlib.token_tuples.agreement_table`, with the `files` and `tokens` that were read.
        """
        trees = corpus(self.n_files, self.data_seed)
        files = int(trees.file.max()) + 1
        if self.counted == "tuples":
            rows = agreement_table(trees, self.n_test, self.data_seed)
        else:
            rng = np.random.default_rng([self.data_seed, 2])
            weights = file_weights(files, self.n_bootstrap, rng)
            rows = information_table(trees, self.n_pairs, weights, rng)
            rows += matched_table(trees, 4 * self.n_pairs, weights, rng)
        told = {"files": files, "tokens": len(trees.text)}
        return [{**told, **{name: row.get(name) for name in _COLUMNS}} for row in rows]
