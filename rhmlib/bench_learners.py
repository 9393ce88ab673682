"""Learners that ship with the bench: each a class with `fit` and `encode`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rhmlib.baselines import MaskedTokens
from rhmlib.bench import Budget
from rhmlib.data2vec import Data2Vec
from rhmlib.encoders import TreeEncoder
from rhmlib.ilc import IterativeLatentClustering
from rhmlib.objectives import Descent, Masking, Objective
from rhmlib.training import Batches


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


class ILC:
    """Iterative Latent Clustering with all cousins: every leaf is described by its recovered ancestors."""

    def fit(self, tokens: NDArray[Any], rng: np.random.Generator, budget: Budget) -> None:
        """Cluster, level after level; no steps are taken."""
        self.v, self.s = budget.v, budget.s
        self.model = IterativeLatentClustering(
            v=budget.v, s=budget.s, targets="all", random_state=_seed(rng)
        ).fit(tokens)

    def encode(self, tokens: NDArray[Any]) -> NDArray[Any]:
        """One-hot codes of the ancestors of each leaf, shape (n, s**L, (L-1) v)."""
        levels = [np.eye(self.v, dtype=np.float32)[codes] for codes in self.model.transform(tokens)]
        length = tokens.shape[1]
        return np.concatenate([np.repeat(x, length // x.shape[1], axis=1) for x in levels], axis=2)


class _TreeLearner:
    """A tree encoder trained by some objective."""

    width, batch_size, lr, weight_decay = 96, 128, 1.5e-3, 1.0

    def objective(self, encoder: TreeEncoder, masking: Masking) -> Objective:
        raise NotImplementedError  # pragma: no cover

    def fit(self, tokens: NDArray[Any], rng: np.random.Generator, budget: Budget) -> None:
        """Train for `budget.steps` steps, with masks of 15 %."""
        encoder = TreeEncoder(v=budget.v, s=budget.s, L=budget.L, width=self.width, model_seed=_seed(rng))
        objective = self.objective(encoder, Masking(budget.s, budget.L))
        descent = Descent(objective, lr=self.lr, warmup_steps=100, weight_decay=self.weight_decay)
        masks, order = (torch.Generator().manual_seed(_seed(rng)) for _ in range(2))
        strings = torch.from_numpy(tokens)
        batches = Batches([len(tokens)], self.batch_size, [order])
        for _ in range(budget.steps):
            chosen = strings[batches.draw(1).flatten()]
            [batch] = objective.batches(chosen, chosen[:, 0], self.batch_size, masks)
            descent.step(batch)
        self.encoder = encoder

    @torch.no_grad()
    def encode(self, tokens: NDArray[Any]) -> NDArray[Any]:
        """Features of all nodes above each leaf, concatenated, shape (n, s**L, L width)."""
        length = tokens.shape[1]
        nodes = self.encoder.nodes(torch.from_numpy(tokens))
        return torch.cat([x[0].repeat_interleave(length // x.shape[2], 1) for x in nodes], 2).numpy()


class TreeData2Vec(_TreeLearner):
    """data2vec with the tree encoder."""

    def objective(self, encoder: TreeEncoder, masking: Masking) -> Objective:
        """Predict the teacher's latents."""
        return Data2Vec(encoder, masking)


class TreeMaskedTokens(_TreeLearner):
    """Masked-token prediction with the tree encoder."""

    weight_decay = 0.3

    def objective(self, encoder: TreeEncoder, masking: Masking) -> Objective:
        """Predict the hidden tokens."""
        return MaskedTokens(encoder, masking)
