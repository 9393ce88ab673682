"""An explicit stack: one small data2vec a level, on the latents of the one below (H-JEPA)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from rhmlib.encoders import TreeEncoder, _mlp, initialise
from rhmlib.objectives import Batch, Masking, Objective
from rhmlib.training import update_teacher

Schedule = Literal["concurrent", "sequential"]


@dataclass(frozen=True)
class StackBatch(Batch):
    """Strings, and what is hidden of each level.

    Attributes
    ----------
    masks : tuple of L-1 Tensors of bool, shape (B, s**(L-k)), k = 0 .. L-2
        True where a feature of level k is hidden.
    places : tuple of L-1 Tensors of int64
        Where `masks` is true, in the flat tensor.
    """

    masks: tuple[Tensor, ...]
    places: tuple[Tensor, ...]

    def to(self, device: torch.device | str) -> StackBatch:
        """Move to a device."""
        masks, places = (tuple(x.to(device) for x in many) for many in (self.masks, self.places))
        tokens, mask, at, root = (x.to(device) for x in (self.tokens, self.mask, self.at, self.root))
        return StackBatch(tokens, mask, at, root, masks, places)


class _Reader(nn.Module):
    """Predict a hidden feature from its siblings and from its parent's siblings."""

    def __init__(self, s: int, width: int, hidden: int) -> None:
        super().__init__()
        self.s = s
        self.cousins, self.siblings = (_mlp((s + extra) * width, hidden, width) for extra in (0, 1))
        self.hole = nn.Parameter(torch.empty(2, width))
        self.head = nn.Linear(width, width)

    def _family(self, features: Tensor, at: Tensor, hole: Tensor) -> Tensor:
        """Features of all children of a node's parent, with a hole in its place, (M, s width)."""
        places = torch.arange(self.s, device=at.device)
        first = at // self.s * self.s
        children = features.flatten(0, 1)[first[:, None] + places]
        own = (at - first)[:, None] == places
        return torch.where(own.unsqueeze(2), hole, children).flatten(1)

    def forward(self, below: Tensor, above: Tensor, at: Tensor) -> Tensor:
        """Predictions, shape (M, width), from features (B, positions, width) of two levels."""
        message = self.cousins(self._family(above, at // self.s, self.hole[1]))
        beside = self._family(below, at, self.hole[0])
        return self.head(message + self.siblings(torch.cat([message, beside], 1)))


class StackedData2Vec(Objective):
    """One module a level: module l finds the latents of level l in the features of level l-1.

    Module l = 1 .. L-1 is a data2vec of depth two on windows of s**2 features of level l-1, which are
    the teacher's. Some of them are hidden. The module computes features of level l, and predicts at a hidden
    place the mean of two features of the teacher, layer-normalised: the hidden one, and its parent's. It
    sees the siblings of the hidden feature, and the siblings of its parent. No gradient passes between
    modules.

    Parameters
    ----------
    encoder : TreeEncoder
        Of depth at least 2: its levels are the modules' encoders.
    mask_probability : float
        Rate of hidden features at every level, at least one a string.
    ema, beta : float
        As in :class:`rhmlib.data2vec.Data2Vec`.
    schedule : {"concurrent", "sequential"}
        All modules at every step; or one after the other, each for `steps_each` steps, the last one on.
        The others are then frozen.
    steps_each : int
    model_seed : int
        Of the readers.
    """

    def __init__(
        self,
        encoder: TreeEncoder,
        *,
        mask_probability: float = 0.15,
        ema: float = 0.99,
        beta: float = 0.5,
        schedule: Schedule = "concurrent",
        steps_each: int = 1,
        model_seed: int = 0,
    ) -> None:
        super().__init__(encoder)
        if schedule not in get_args(Schedule):
            raise ValueError(f"schedule must be one of {get_args(Schedule)}. Found schedule={schedule!r}.")
        if encoder.L < 2:
            raise ValueError(f"L must be at least 2, for one module at least. Found L={encoder.L}.")
        if not 0 <= ema < 1:
            raise ValueError(f"ema must be in [0, 1). Found ema={ema}.")
        if beta < 0:
            raise ValueError(f"beta must be at least 0. Found beta={beta}.")
        if steps_each < 1:
            raise ValueError(f"steps_each must be at least 1. Found steps_each={steps_each}.")
        self.tree, self.ema, self.beta = encoder, ema, beta
        self.schedule, self.steps_each = schedule, steps_each
        self.maskings = [Masking(encoder.s, encoder.L - k, mask_probability) for k in range(encoder.L - 1)]
        device = next(encoder.parameters()).device
        with torch.device("meta"):
            hidden = 2 * encoder.width
            self.readers = nn.ModuleList(
                _Reader(encoder.s, encoder.width, hidden) for _ in range(encoder.L - 1)
            )
        generator = torch.Generator().manual_seed(model_seed)
        self.readers.to_empty(device="cpu")
        initialise(self.readers, generator)
        for reader in self.readers:
            assert isinstance(reader, _Reader)
            nn.init.zeros_(reader.hole)
        self.readers.to(device)
        # What stands in the place of a hidden feature of level 1 .. L-2.
        self.hidden = nn.Parameter(torch.randn(encoder.L - 2, encoder.width, generator=generator).to(device))
        self.teacher = copy.deepcopy(encoder).requires_grad_(False)
        self.teacher.embedding = encoder.embedding

    @property
    def active(self) -> range:
        """Modules (numbers from 0) that the next step trains."""
        count = self.tree.L - 1
        if self.schedule == "concurrent":
            return range(count)
        now = min(self.steps // self.steps_each, count - 1)
        return range(now, now + 1)

    def batches(
        self, tokens: Tensor, root: Tensor, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        """Cut strings into batches, masked at every level, as :meth:`rhmlib.objectives.Objective.batches`."""
        device = next(self.encoder.parameters()).device
        drawn = [masking.draw(len(tokens), generator) for masking in self.maskings]
        cut = zip(*(part.split(batch_size) for part in (tokens, root, *drawn)), strict=True)
        for strings, labels, *masks in cut:
            places = [mask.flatten().nonzero().squeeze(1) for mask in masks]
            yield StackBatch(
                strings.long(), masks[0], places[0], labels.long(), masks=tuple(masks), places=tuple(places)
            ).to(device)

    @torch.no_grad()
    def seen(self, tokens: Tensor) -> list[Tensor]:
        """The teacher's features of levels 0 .. L-1, shape (B, s**(L-l), width), of unmasked strings."""
        return [level.dense() for level in self.teacher.encode(tokens).features]

    def forward(self, batch: Batch) -> Tensor:
        """Mean over modules of the smooth L1 loss, scaled as data2vec's.

        In training, over the modules that are trained now.
        """
        assert isinstance(batch, StackBatch)
        seen = self.seen(batch.tokens)
        which = self.active if self.training else range(self.tree.L - 1)
        return torch.stack([self._loss(batch, seen, k) for k in which]).mean()

    def _loss(self, batch: StackBatch, seen: list[Tensor], k: int) -> Tensor:
        at, width = batch.places[k], self.tree.width
        if k == 0:
            below = self.tree.embedding(batch.tokens.masked_fill(batch.masks[0], self.tree.mask_id))
        else:
            below = torch.where(batch.masks[k].unsqueeze(2), self.hidden[k - 1], seen[k])
        above = self.tree.up[k](below.unflatten(1, (-1, self.tree.s)).flatten(2))
        hidden, parent = seen[k].flatten(0, 1)[at], seen[k + 1].flatten(0, 1)[at // self.tree.s]
        target = (functional.layer_norm(hidden, (width,)) + functional.layer_norm(parent, (width,))) / 2
        found = self.readers[k](below, above, at)
        return functional.smooth_l1_loss(found.float(), target.float(), beta=self.beta) * math.sqrt(width)

    def after_step(self) -> None:
        """Move the teacher's weights."""
        self.steps += 1
        update_teacher(self.teacher.up, self.tree.up, self.ema)
