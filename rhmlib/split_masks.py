"""Masks that hide a token's own subtree and the rest of the string at different rates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rhmlib.baselines import MaskedTokens
from rhmlib.objectives import Batch, Objective


@dataclass(frozen=True)
class SplitMasking:
    """One random token is hidden and asked for; others are hidden at a rate that depends on where they are.

    Attributes
    ----------
    s, L : int
        Branching and depth: strings have s**L tokens.
    own_level : int
        Height of the token's own subtree, 1 .. L-1: its s**own_level leaves.
    own_rate : float
        Probability at which each other token of that subtree is hidden.
    rest_rate : float
        The same for tokens outside it.
    """

    s: int
    L: int
    own_level: int
    own_rate: float
    rest_rate: float

    def __post_init__(self) -> None:
        if not 1 <= self.own_level < self.L:
            raise ValueError(f"own_level must be in 1..L-1 = {self.L - 1}. Found own_level={self.own_level}.")
        for name in ("own_rate", "rest_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1]. Found {name}={getattr(self, name)}.")

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw what is hidden and what is asked of `count` strings: two bools, (count, s**L)."""
        length, size, device = self.s**self.L, self.s**self.own_level, generator.device
        places = torch.arange(length, device=device)
        target = torch.randint(length, (count, 1), generator=generator, device=device)
        own = places // size == target // size
        rate = torch.where(own, self.own_rate, self.rest_rate)
        hidden = torch.rand(count, length, generator=generator, device=device) < rate
        asked = places == target
        return hidden | asked, asked


class MaskedToken(Objective):
    """Masked-token prediction of one token a string: mean cross-entropy, in nats.

    Parameters
    ----------
    learner : MaskedTokens
        Whose encoder, head and loss are used; its own masks are not.
    split : SplitMasking
    """

    def __init__(self, learner: MaskedTokens, split: SplitMasking) -> None:
        super().__init__(learner.encoder)
        self.learner, self.split = learner, split

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Hide tokens, and ask for one of them."""
        return self.split.draw(count, generator)

    def forward(self, batch: Batch) -> Tensor:
        """Mean cross-entropy."""
        return self.learner(batch)
