"""The sampler's twin in PyTorch: the same distribution, on any device (paper, Section 2)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rhmlib.grammar import Grammar


class TorchSampler:
    """Draw strings with all their latents as tensors.

    Parameters
    ----------
    grammar : Grammar
    device : torch.device or str, default="cpu"
        Where rules live and strings are made. Nothing is copied to or waits for the host.

    Examples
    --------
    >>> import torch
    >>> grammar = Grammar.random(v=8, m=4, s=2, L=3, seed=0)
    >>> levels = TorchSampler(grammar).sample(5, torch.Generator().manual_seed(0))
    >>> [tuple(level.shape) for level in levels]
    [(5, 8), (5, 4), (5, 2), (5, 1)]
    """

    def __init__(self, grammar: Grammar, device: torch.device | str = "cpu") -> None:
        self.grammar = grammar
        self.device = torch.device(device)
        self.dtype = torch.uint8 if grammar.v <= 256 else torch.int32
        rules = np.stack(grammar.rules).reshape(grammar.L, -1, grammar.s).astype(np.int64)
        self._rules = torch.from_numpy(rules).to(self.device, self.dtype)

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw n independent strings.

        Parameters
        ----------
        n : int
        generator : torch.Generator
            On the sampler's device.

        Returns
        -------
        tuple of L + 1 tensors
            Level l has shape (n, s**(L - l)) and dtype uint8 (int32 where v > 256).

        Raises
        ------
        ValueError
            If n < 1 or the generator is on another device.
        """
        if n < 1:
            raise ValueError(f"n must be a positive integer. Found n={n}.")
        if generator.device.type != self.device.type:
            raise ValueError(f"generator must be on {self.device}. Found a generator on {generator.device}.")
        root = torch.randint(self.grammar.v, (n, 1), generator=generator, device=self.device)
        levels = [root.to(self.dtype)]
        for level in range(self.grammar.L - 1, -1, -1):
            above = levels[0]
            rules = torch.randint(self.grammar.m, above.shape, generator=generator, device=self.device)
            index = above.long().mul_(self.grammar.m).add_(rules)
            children = self._rules[level].index_select(0, index.view(-1))
            levels.insert(0, children.view(n, -1))
        return tuple(levels)
