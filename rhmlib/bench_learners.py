"""Learners that ship with the bench: each a class with `fit` and `encode`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rhmlib.baselines import MaskedTokens, NextToken, Supervised
from rhmlib.contrastive import LocalContrast
from rhmlib.data2vec import Data2Vec
from rhmlib.encoders import TreeEncoder
from rhmlib.experiment_bench import Budget
from rhmlib.grammar import Grammar
from rhmlib.ilc import IterativeLatentClustering
from rhmlib.objectives import Descent, Masking, Objective
from rhmlib.sampling import Sample
from rhmlib.slc import SLC, ClusterWeights, Patches, slc_losses
from rhmlib.stacked import StackedData2Vec
from rhmlib.token_ilc import TokenILC
from rhmlib.training import Batches, Trainer, draw_subsets

SHIPPED = (
    "Untrained",
    "ILC",
    "ILCOnTokens",
    "SLCNetwork",
    "TreeData2Vec",
    "TreeStack",
    "TreeContrast",
    "TreeMaskedTokens",
    "TreeNextToken",
    "TreeSupervised",
)

Tokens = NDArray[Any]


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def one_hot(codes: Sequence[Tokens], kinds: int) -> list[NDArray[np.float32]]:
    """One-hot codes of the nodes of each level, and of the root which codes its children have together.

    Parameters
    ----------
    codes : sequence of L-1 arrays of int, shape (n, nodes)
        From level 1 up.
    kinds : int
        Codes a level.

    Returns
    -------
    list of arrays of float32, shape (n, nodes, width)
        The root is left out where its children could have more than 4,096 tuples of codes.
    """
    levels = [np.eye(kinds, dtype=np.float32)[level] for level in codes]
    top = np.asarray(codes[-1], dtype=np.int64)
    tuples = kinds ** top.shape[1]
    if tuples <= 4096:
        number = top @ kinds ** np.arange(top.shape[1])
        levels.append(np.eye(tuples, dtype=np.float32)[number][:, None])
    return levels


# ---------------------------------------------------------------- clustering


class ILC:
    """Iterative Latent Clustering with all cousins: a node is described by the code that it was given."""

    def fit(self, tokens: Tokens, rng: np.random.Generator, budget: Budget) -> None:
        """Cluster, level after level; no steps are taken."""
        self.v = budget.v
        self.model = IterativeLatentClustering(
            v=budget.v, s=budget.s, targets="all", random_state=_seed(rng)
        ).fit(tokens)

    def encode(self, tokens: Tokens) -> list[NDArray[np.float32]]:
        """One-hot codes; see :func:`one_hot`."""
        return one_hot(self.model.transform(tokens), self.v)


class ILCOnTokens:
    """The same with tokens for targets: contexts are made of all leaves under the cousins."""

    def fit(self, tokens: Tokens, rng: np.random.Generator, budget: Budget) -> None:
        """Cluster, level after level; no steps are taken."""
        self.budget = budget
        model = TokenILC(targets="tokens_all", inputs="recovered", random_state=_seed(rng))
        self.model = model.fit(self._sample(tokens))

    def _sample(self, tokens: Tokens) -> Sample:
        """Tokens as a sample whose latents are not known: with recovered inputs none is read."""
        b = self.budget
        shape = Grammar.random(v=b.v, m=1, s=b.s, L=b.L, seed=0)
        nothing = [np.zeros((len(tokens), b.s ** (b.L - k)), dtype=np.uint8) for k in range(1, b.L + 1)]
        return Sample(shape, (tokens, *nothing))

    def encode(self, tokens: Tokens) -> list[NDArray[np.float32]]:
        """One-hot codes; see :func:`one_hot`."""
        return one_hot(self.model.transform(self._sample(tokens)), self.budget.v)


class SLCNetwork:
    """The SLC network: a stack of predictors and clusterers, each trained on the codes of the one below."""

    width, batch_size, n_patches, lr, ema, margin, prior = 64, 32, 128, 5e-3, 0.99, 0.8, 0.2
    separation = (16.0, 0.4)  # at the first step, and at the last

    def fit(self, tokens: Tokens, rng: np.random.Generator, budget: Budget) -> None:
        """Train for four steps of 32 strings for one of 128; as many codes as distinct tuples of s tokens."""
        steps = 4 * budget.steps
        self.s, tuples = budget.s, tokens.reshape(-1, budget.s)
        self.d_h = max(budget.v, len(np.unique(tuples, axis=0)))
        self.patches = Patches.build([tokens], s=budget.s, batch=self.batch_size)
        student = SLC(s=budget.s, L=budget.L, d_h=self.d_h, width=self.width, model_seeds=[_seed(rng)])
        self.visible = student.one_hot(self.patches)
        self.trainer = Trainer(
            student, self._losses, student.reach(), ema=self.ema, lr=self.lr, weight_decay=0.01, eps=1e-15
        )
        order, subsets = (torch.Generator().manual_seed(_seed(rng)) for _ in range(2))
        strings = Batches([len(tokens)], self.batch_size, [order]).draw(steps)
        sizes = [self.batch_size * budget.s ** (budget.L - k - 1) for k in range(budget.L - 1)]
        first, last = self.separation
        for step in range(steps):
            patches = [draw_subsets(1, size, self.n_patches, [subsets]) for size in sizes]
            share = step / max(1, steps - 1)
            self.trainer.step(
                strings[step],
                first ** (1 - share) * last**share,
                *(part if part is None else part[0] for part in patches),
            )

    def _losses(self, student: SLC, teacher: SLC, strings: Any, separation: float, *subsets: Any) -> Any:
        weights = ClusterWeights(self.margin, 1.0, separation, 0.0)
        index = self.patches.select(strings)
        losses = slc_losses(student, teacher, self.patches, index, subsets, weights, self.visible, self.prior)
        return torch.cat([losses.prediction, losses.clustering], 1)

    @torch.no_grad()
    def encode(self, tokens: Tokens) -> list[NDArray[np.float32]]:
        """One-hot codes of the teacher; see :func:`one_hot`."""
        network = self.trainer.teacher
        assert isinstance(network, SLC)
        codes = network.encode(Patches.build([tokens], s=self.s))
        return one_hot([level[0].numpy() for level in codes], self.d_h)


# ---------------------------------------------------------------- encoders


class _TreeLearner:
    """A tree encoder trained by some objective."""

    width, batch_size, lr, weight_decay = 96, 128, 1.5e-3, 1.0

    def objective(self, encoder: TreeEncoder, budget: Budget) -> Objective:
        raise NotImplementedError  # pragma: no cover

    def fit(
        self, tokens: Tokens, rng: np.random.Generator, budget: Budget, labels: Tokens | None = None
    ) -> None:
        """Train for `budget.steps` steps."""
        encoder = TreeEncoder(v=budget.v, s=budget.s, L=budget.L, width=self.width, model_seed=_seed(rng))
        objective = self.objective(encoder, budget)
        descent = Descent(objective, lr=self.lr, warmup_steps=100, weight_decay=self.weight_decay)
        masks, order = (torch.Generator().manual_seed(_seed(rng)) for _ in range(2))
        strings = torch.from_numpy(tokens)
        roots = torch.zeros(len(tokens), dtype=torch.int64) if labels is None else torch.from_numpy(labels)
        batches = Batches([len(tokens)], self.batch_size, [order])
        for _ in range(budget.steps):
            chosen = batches.draw(1).flatten()
            [batch] = objective.batches(strings[chosen], roots[chosen], self.batch_size, masks)
            descent.step(batch)
        self.encoder = encoder

    @torch.no_grad()
    def encode(self, tokens: Tokens) -> list[NDArray[np.float32]]:
        """Bottom-up features of the nodes of each level."""
        return [level[0].numpy() for level in self.encoder.nodes(torch.from_numpy(tokens))]


class Untrained(_TreeLearner):
    """The tree encoder as it was drawn: what a probe finds without any learning."""

    def fit(
        self, tokens: Tokens, rng: np.random.Generator, budget: Budget, labels: Tokens | None = None
    ) -> None:
        """Draw the weights, and leave them."""
        self.encoder = TreeEncoder(
            v=budget.v, s=budget.s, L=budget.L, width=self.width, model_seed=_seed(rng)
        )


class TreeData2Vec(_TreeLearner):
    """data2vec with the tree encoder, with masks of 15 %."""

    def objective(self, encoder: TreeEncoder, budget: Budget) -> Objective:
        """Predict the teacher's latents."""
        return Data2Vec(encoder, Masking(budget.s, budget.L))


class TreeStack(_TreeLearner):
    """One small data2vec a level, each on the latents of the one below."""

    def objective(self, encoder: TreeEncoder, budget: Budget) -> Objective:
        """Predict the teacher's latents, level by level."""
        return StackedData2Vec(encoder)


class TreeContrast(_TreeLearner):
    """Contrastive local prediction, as CLAPP's, with the tree encoder."""

    def objective(self, encoder: TreeEncoder, budget: Budget) -> Objective:
        """Tell true siblings from those of other strings, level by level."""
        return LocalContrast(encoder)


class TreeMaskedTokens(_TreeLearner):
    """Masked-token prediction with the tree encoder, with masks of 15 %."""

    def objective(self, encoder: TreeEncoder, budget: Budget) -> Objective:
        """Predict the hidden tokens."""
        return MaskedTokens(encoder, Masking(budget.s, budget.L))


class TreeNextToken(_TreeLearner):
    """Next-token prediction with the tree encoder: the first token of a hidden suffix."""

    def objective(self, encoder: TreeEncoder, budget: Budget) -> Objective:
        """Predict the next token."""
        return NextToken(encoder)


class TreeSupervised(_TreeLearner):
    """Classification of the root with the tree encoder: the one learner here that sees labels."""

    labels, weight_decay = True, 0.3

    def objective(self, encoder: TreeEncoder, budget: Budget) -> Objective:
        """Predict the root."""
        return Supervised(encoder)
