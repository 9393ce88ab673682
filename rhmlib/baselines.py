"""What data2vec is compared with: prediction of tokens, and of the label, by the same encoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rhmlib.encoders import Encoder, Transformer, initialise
from rhmlib.objectives import Batch, Masking, Objective


def _linear_head(encoder: Encoder, model_seed: int) -> nn.Linear:
    with torch.device("meta"):
        head = nn.Linear(encoder.width, encoder.v)
    head.to_empty(device="cpu")
    initialise(head, torch.Generator().manual_seed(model_seed))
    return head.to(next(encoder.parameters()).device)


class MaskedTokens(Objective):
    """Masked-token prediction: mean cross-entropy of the hidden tokens, in nats.

    Parameters
    ----------
    encoder : Encoder
    masking : Masking
    model_seed : int
        Of the head.
    """

    def __init__(self, encoder: Encoder, masking: Masking, *, model_seed: int = 0) -> None:
        super().__init__(encoder)
        self.masking = masking
        self.head = _linear_head(encoder, model_seed)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Hide tokens, and ask for all that are hidden."""
        mask = self.masking.draw(count, generator)
        return mask, mask

    def forward(self, batch: Batch) -> Tensor:
        """Mean cross-entropy."""
        states = self.encoder.read(self.encoder.encode(batch.tokens, batch.mask), batch.at)
        return functional.cross_entropy(self.head(states).float(), batch.tokens.flatten()[batch.at])


class NextToken(Objective):
    """Next-token prediction: mean cross-entropy of a token given those left of it, in nats.

    A causal transformer predicts every token but the first from the state at the one before. The
    tree encoder has no order: a random suffix is hidden, and the first hidden token predicted.

    Parameters
    ----------
    encoder : Encoder
        A transformer must be causal.
    model_seed : int
        Of the head.
    """

    def __init__(self, encoder: Encoder, *, model_seed: int = 0) -> None:
        super().__init__(encoder)
        self.causal = isinstance(encoder, Transformer)
        if isinstance(encoder, Transformer) and not encoder.causal:
            raise ValueError("causal must be True in next-token prediction. Found causal=False.")
        self.head = _linear_head(encoder, model_seed)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Ask for all tokens but the first, or hide a suffix and ask for its first token."""
        length = self.encoder.n_leaves
        places = torch.arange(length, device=generator.device).expand(count, -1)
        if self.causal:
            return torch.zeros_like(places, dtype=torch.bool), places > 0
        start = torch.randint(1, length, (count, 1), generator=generator, device=generator.device)
        return places >= start, places == start

    def forward(self, batch: Batch) -> Tensor:
        """Mean cross-entropy."""
        encoding = self.encoder.encode(batch.tokens, None if self.causal else batch.mask)
        states = self.encoder.read(encoding, batch.at - 1 if self.causal else batch.at)
        return functional.cross_entropy(self.head(states).float(), batch.tokens.flatten()[batch.at])


class Supervised(Objective):
    """Classification of the root from the mean of the final features: mean cross-entropy, in nats.

    Parameters
    ----------
    encoder : Encoder
    model_seed : int
        Of the head.
    """

    def __init__(self, encoder: Encoder, *, model_seed: int = 0) -> None:
        super().__init__(encoder)
        self.head = _linear_head(encoder, model_seed)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Hide nothing, and ask nothing of the leaves."""
        nothing = torch.zeros(count, self.encoder.n_leaves, dtype=torch.bool, device=generator.device)
        return nothing, nothing

    def forward(self, batch: Batch) -> Tensor:
        """Mean cross-entropy."""
        pooled = self.encoder.pooled(self.encoder.encode(batch.tokens, final=True))
        return functional.cross_entropy(self.head(pooled).float(), batch.root)
