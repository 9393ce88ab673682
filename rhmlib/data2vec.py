"""data2vec on strings of the RHM: predict a teacher's latents at masked tokens (Section 5, Appendix D)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from rhmlib.encoders import Encoder, Encoding, initialise, target_mean
from rhmlib.objectives import Batch, Masking, Objective


class Data2Vec(Objective):
    """Regression, from a masked string, of what a teacher sees in the whole one.

    Parameters
    ----------
    encoder : Encoder
        The student.
    masking : Masking
    ema : float
        The teacher moves by w <- ema w + (1 - ema) w_student after every step.
    beta : float
        Error at which the smooth L1 loss turns from square to linear; 0 for plain L1.
    target_levels : sequence of int, optional
        The levels (tree, 0 .. L-1) or blocks (transformer, 0 .. n_blocks-1) whose features the target
        is the mean of; the last L if left out: all of the tree's, the upper blocks of the transformer.
    normalise_layers : bool
        Whether each of these features is layer-normalised, without gain and bias, before the mean.
    normalise_target : bool
        Whether the mean is.
    head_depth : int
        Layers of the head: 1 is a linear one, and before each further one stands a GELU.
    refresh : int
        0 for the moving average. Otherwise the teacher is a copy of the student that is frozen for
        so many steps, and then replaced by a new one; `ema` is not used.
    model_seed : int
        Of the head.

    Attributes
    ----------
    teacher : Encoder
        In eval mode, on unmasked strings, without gradients. With a moving average it has
        the student's very embedding tables; a frozen teacher has its own, or it would not be frozen.

    References
    ----------
    Section 5; Appendix D, Table 1.
    """

    def __init__(
        self,
        encoder: Encoder,
        masking: Masking,
        *,
        ema: float = 0.99,
        beta: float = 0.5,
        target_levels: Sequence[int] | None = None,
        normalise_layers: bool = True,
        normalise_target: bool = False,
        head_depth: int = 1,
        refresh: int = 0,
        model_seed: int = 0,
    ) -> None:
        super().__init__(encoder)
        if not 0 <= ema < 1:
            raise ValueError(f"ema must be in [0, 1). Found ema={ema}.")
        if beta < 0:
            raise ValueError(f"beta must be at least 0. Found beta={beta}.")
        if head_depth < 1:
            raise ValueError(f"head_depth must be at least 1. Found head_depth={head_depth}.")
        if refresh < 0:
            raise ValueError(f"refresh must be at least 0. Found refresh={refresh}.")
        count = encoder.n_targets
        chosen = range(max(0, count - encoder.L), count) if target_levels is None else target_levels
        if not chosen or not set(chosen) <= set(range(count)) or len(set(chosen)) < len(chosen):
            raise ValueError(
                f"target_levels must be distinct numbers of 0..{count - 1}, at least one. "
                f"Found target_levels={list(chosen)}."
            )
        self.masking, self.ema, self.beta, self.refresh = masking, ema, beta, refresh
        self.target_levels = tuple(chosen)
        self.normalise_layers, self.normalise_target = normalise_layers, normalise_target
        self.head = self._heads(1, head_depth, model_seed)[0]
        self.teacher = copy.deepcopy(encoder).requires_grad_(False)
        if not refresh:
            for old, new in zip(self.teacher.modules(), encoder.modules(), strict=True):
                if isinstance(old, nn.Embedding) and isinstance(new, nn.Embedding):
                    old.weight = new.weight
        pairs = zip(self.teacher.parameters(), encoder.parameters(), strict=True)
        self._moved = [(old, new) for old, new in pairs if old is not new]
        self.train()

    def _heads(self, count: int, depth: int, model_seed: int) -> nn.ModuleList:
        """Heads with their initial weights, which do not depend on the device."""
        width, device = self.encoder.width, next(self.encoder.parameters()).device
        with torch.device("meta"):
            heads = nn.ModuleList()
            for _ in range(count):
                head: nn.Module = nn.Linear(width, width)
                for _ in range(depth - 1):
                    head = nn.Sequential(head, nn.GELU(), nn.Linear(width, width))
                heads.append(head)
        heads.to_empty(device="cpu")
        initialise(heads, torch.Generator().manual_seed(model_seed))
        return heads.to(device)

    def train(self, mode: bool = True) -> Data2Vec:
        """Set the mode of the student; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Hide tokens, and ask for all that are hidden."""
        mask = self.masking.draw(count, generator)
        return mask, mask

    @torch.no_grad()
    def targets(self, tokens: Tensor, at: Tensor) -> Tensor:
        """Targets at leaves, shape (M, width)."""
        return self._target(self.teacher.encode(tokens), at, self.target_levels)

    def _target(self, seen: Encoding, at: Tensor, levels: Sequence[int]) -> Tensor:
        return target_mean(
            seen,
            at,
            self.encoder.n_leaves,
            levels,
            normalise_layers=self.normalise_layers,
            normalise_target=self.normalise_target,
        )

    def forward(self, batch: Batch) -> Tensor:
        """Smooth L1 loss summed over the features, over sqrt(width), averaged over masked tokens."""
        targets = self.targets(batch.tokens, batch.at)
        states = self.encoder.read(self.encoder.encode(batch.tokens, batch.mask), batch.at)
        error = functional.smooth_l1_loss(self.head(states).float(), targets.float(), beta=self.beta)
        return error * math.sqrt(self.encoder.width)

    def after_step(self) -> None:
        """Move the teacher's weights, or replace them where they are due."""
        self.steps += 1
        with torch.no_grad():
            old: list[Tensor] = [pair[0] for pair in self._moved]
            new: list[Tensor] = [pair[1] for pair in self._moved]
            if not self.refresh:
                torch._foreach_lerp_(old, new, 1 - self.ema)
            elif self.steps % self.refresh == 0:
                torch._foreach_copy_(old, new)
