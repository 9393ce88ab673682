"""data2vec with a teacher of several scales: the loss, not the target, is averaged over levels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rhmlib.data2vec import Data2Vec
from rhmlib.encoders import Encoder, initialise, target_mean
from rhmlib.objectives import Batch, Masking


class MultiScaleData2Vec(Data2Vec):
    """data2vec with one head a level: each predicts the teacher's feature of that level alone.

    Parameters
    ----------
    encoder : Encoder
    masking : Masking
    model_seed : int
        Of the heads.
    **options
        Those of :class:`rhmlib.data2vec.Data2Vec`.

    Notes
    -----
    One head on the mean of K targets has, with a square loss, the gradient of K heads that share their
    weights. With weights of its own, a level cannot be drowned by the others.
    """

    def __init__(self, encoder: Encoder, masking: Masking, *, model_seed: int = 0, **options: Any) -> None:
        super().__init__(encoder, masking, model_seed=model_seed, **options)
        device = next(encoder.parameters()).device
        del self.head
        with torch.device("meta"):
            self.heads = nn.ModuleList(nn.Linear(encoder.width, encoder.width) for _ in self.target_levels)
        self.heads.to_empty(device="cpu")
        initialise(self.heads, torch.Generator().manual_seed(model_seed))
        self.heads.to(device)

    def forward(self, batch: Batch) -> Tensor:
        """Smooth L1 loss summed over the features, over sqrt(width), averaged over levels and tokens."""
        with torch.no_grad():
            seen = self.teacher.encode(batch.tokens)
        states = self.encoder.read(self.encoder.encode(batch.tokens, batch.mask), batch.at)
        errors = []
        for head, level in zip(self.heads, self.target_levels, strict=True):
            target = target_mean(seen, batch.at, self.encoder.n_leaves, [level])
            errors.append(functional.smooth_l1_loss(head(states).float(), target.float(), beta=self.beta))
        return torch.stack(errors).mean() * math.sqrt(self.encoder.width)
