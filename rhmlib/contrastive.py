"""Contrastive local prediction: every level tells true neighbours from those of other strings (CLAPP)."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from rhmlib.encoders import TreeEncoder
from rhmlib.objectives import Batch, Objective

Contrast = Literal["hinge", "softmax"]


class LocalContrast(Objective):
    """Each level of a tree encoder learns, by itself, which features stand beside each other.

    At a level l = 1 .. L-1, the features z, z' of two children of one node get the score
    u = z^T W z' / sqrt(width), with a matrix W for each pair of positions. Scores of true pairs must be
    large, those of pairs of two strings small. No gradient passes from a level to the one below: the
    rule is local, as in CLAPP. No label is used, and nothing is masked.

    Parameters
    ----------
    encoder : TreeEncoder
        Of depth at least 2. The tokens' embedding belongs to the first level.
    contrast : {"hinge", "softmax"}
        CLAPP's max(0, 1 - u) + max(0, 1 + u'), with u' for one pair of two strings; or the
        cross-entropy of finding the partner among the batch (InfoNCE), in both directions.
    model_seed : int
        Of the matrices W.

    References
    ----------
    Illing et al., "Local plasticity rules can learn deep representations using self-supervised contrastive
    predictions", 2021; the paper's Section 6, "Biological plausibility".

    Notes
    -----
    The best score is a function of the ratio of p(z, z') to p(z) p(z'). At f = 1 the children of a node
    are independent, the ratio is 1 everywhere, and there is nothing to learn.
    """

    def __init__(self, encoder: TreeEncoder, *, contrast: Contrast = "hinge", model_seed: int = 0) -> None:
        super().__init__(encoder)
        if contrast not in get_args(Contrast):
            raise ValueError(f"contrast must be one of {get_args(Contrast)}. Found contrast={contrast!r}.")
        if encoder.L < 2:
            raise ValueError(f"L must be at least 2, to have siblings below the root. Found L={encoder.L}.")
        self.tree, self.contrast = encoder, contrast
        self.pairs = list(combinations(range(encoder.s), 2))
        generator = torch.Generator().manual_seed(model_seed)
        shape = (encoder.L - 1, len(self.pairs), encoder.width, encoder.width)
        weight = torch.randn(shape, generator=generator) / math.sqrt(3 * encoder.width)
        self.weight = nn.Parameter(weight.to(next(encoder.parameters()).device))

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Hide nothing, and ask nothing of the leaves."""
        nothing = torch.zeros(count, self.encoder.n_leaves, dtype=torch.bool, device=generator.device)
        return nothing, nothing

    def levels(self, tokens: Tensor) -> list[Tensor]:
        """Features of levels 1 .. L-1, shape (B, s**(L-l), width), each cut off from the one below."""
        features, out = self.tree.embedding(tokens), []
        for level in range(1, self.tree.L):
            below = features if level == 1 else features.detach()
            features = self.tree.up[level - 1](below.unflatten(1, (-1, self.tree.s)).flatten(2))
            out.append(features)
        return out

    def scores(self, features: Tensor, level: int) -> list[tuple[Tensor, Tensor]]:
        """Both sides of the scores of each pair of positions: W^T z and z', shape (B, nodes, width)."""
        families = features.unflatten(1, (-1, self.tree.s))
        scale = 1 / math.sqrt(self.tree.width)
        return [
            (families[:, :, i] @ self.weight[level - 1, pair] * scale, families[:, :, j])
            for pair, (i, j) in enumerate(self.pairs)
        ]

    def forward(self, batch: Batch) -> Tensor:
        """Mean loss over levels and pairs. A batch needs two strings at least."""
        loss = _hinge if self.contrast == "hinge" else _softmax
        losses = [
            loss(left, right)
            for level, features in enumerate(self.levels(batch.tokens), start=1)
            for left, right in self.scores(features, level)
        ]
        return torch.stack(losses).mean()


def _hinge(left: Tensor, right: Tensor) -> Tensor:
    true, false = ((left * other).sum(2) for other in (right, right.roll(1, 0)))
    return (functional.relu(1 - true) + functional.relu(1 + false)).mean()


def _softmax(left: Tensor, right: Tensor) -> Tensor:
    scores = torch.einsum("bnd,cnd->nbc", left, right)
    partner = torch.arange(len(left), device=left.device).expand(len(scores), -1)
    both = (functional.cross_entropy(u.transpose(1, 2), partner) for u in (scores, scores.transpose(1, 2)))
    return torch.stack(list(both)).mean()
