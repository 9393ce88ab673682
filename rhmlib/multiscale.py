"""data2vec with a teacher of several scales: the loss, not the target, is averaged over levels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rhmlib.data2vec import Data2Vec
from rhmlib.encoders import Encoder
from rhmlib.objectives import Batch, Masking


class MultiScaleData2Vec(Data2Vec):
    """data2vec with one head a level: each predicts the teacher's feature of that level alone.

    Parameters
    ----------
    encoder : Encoder
    masking : Masking
    head_depth : int
        Layers of each head.
    model_seed : int
        Of the heads.
    **options
        Those of :class:`rhmlib.data2vec.Data2Vec`.

    Notes
    -----
    One head on the mean of K targets has, with a square loss, the gradient of K heads that share their
    weights. With weights of its own, a level cannot be drowned by the others.
    """

    def __init__(
        self, encoder: Encoder, masking: Masking, *, head_depth: int = 1, model_seed: int = 0, **options: Any
    ) -> None:
        super().__init__(encoder, masking, model_seed=model_seed, **options)
        del self.head
        self.heads = self._heads(len(self.target_levels), head_depth, model_seed)

    def forward(self, batch: Batch) -> Tensor:
        """Smooth L1 loss summed over the features, over sqrt(width), averaged over levels and tokens."""
        with torch.no_grad():
            seen = self.teacher.encode(batch.tokens)
        states = self.encoder.read(self.encoder.encode(batch.tokens, batch.mask), batch.at)
        errors = []
        for head, level in zip(self.heads, self.target_levels, strict=True):
            target = self._target(seen, batch.at, [level])
            errors.append(functional.smooth_l1_loss(head(states).float(), target.float(), beta=self.beta))
        return torch.stack(errors).mean() * math.sqrt(self.encoder.width)
