"""What all objectives share: masks, batches, and the step of gradient descent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rhmlib.encoders import Encoder


@dataclass(frozen=True)
class Batch:
    """Strings, and what is hidden and asked of them.

    Attributes
    ----------
    tokens : Tensor of int64, shape (B, s**L)
    mask : Tensor of bool, shape (B, s**L)
        True where a token is hidden.
    at : Tensor of int64, shape (M,)
        The leaves that are asked for: b * s**L + p for leaf p of string b. M may vary.
    root : Tensor of int64, shape (B,)
        The strings' labels; only the supervised objective looks at them.
    """

    tokens: Tensor
    mask: Tensor
    at: Tensor
    root: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """Move to a device."""
        return Batch(*(part.to(device) for part in (self.tokens, self.mask, self.at, self.root)))


@dataclass(frozen=True)
class Masking:
    """Random masks: spans that start anywhere with some probability, or one aligned block.

    Attributes
    ----------
    s, L : int
        Branching and depth: strings have s**L tokens.
    probability : float
        Each position starts a span with this probability over `span`.
    span : int
        Tokens a span; one that would run over the end is cut, and spans may overlap.
    block : int or None
        If k, exactly one aligned block of s**k tokens is masked, the leaves of a random level-k
        variable, and `probability` and `span` are not used.

    Notes
    -----
    Where a string gets no span, one is put at a random place: every string has something masked.
    """

    s: int
    L: int
    probability: float = 0.15
    span: int = 1
    block: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.probability <= 1:
            raise ValueError(
                f"mask_probability must be in (0, 1]. Found mask_probability={self.probability}."
            )
        if not 1 <= self.span <= self.s**self.L:
            raise ValueError(f"mask_span must be in 1..s**L = {self.s**self.L}. Found mask_span={self.span}.")
        if self.block is not None and not 0 <= self.block < self.L:
            raise ValueError(f"mask_block must be in 0..L-1 = {self.L - 1}. Found mask_block={self.block}.")

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw the masks of `count` strings, bool, shape (count, s**L), on the generator's device."""
        length, device = self.s**self.L, generator.device
        places = torch.arange(length, device=device)
        if self.block is not None:
            size = self.s**self.block
            chosen = torch.randint(length // size, (count, 1), generator=generator, device=device)
            return places // size == chosen
        starts = torch.rand(count, length, generator=generator, device=device) < self.probability / self.span
        spare = torch.randint(length, (count, 1), generator=generator, device=device)
        starts |= ~starts.any(1, keepdim=True) & (places == spare)
        mask = starts.clone()
        for shift in range(1, self.span):
            mask[:, shift:] |= starts[:, :-shift]
        return mask


class Objective(nn.Module):
    """A learner: an encoder, a head, and a loss.

    Attributes
    ----------
    encoder : Encoder
        What is trained, and probed.
    steps : int
        Steps done, where the loss depends on their number.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder, self.steps = encoder, 0

    def get_extra_state(self) -> dict[str, int]:
        """What the state holds beside the weights: the steps done."""
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Take over the steps done."""
        self.steps = state["steps"]

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw what is hidden, and what is asked, of `count` strings: two bools, (count, s**L)."""
        raise NotImplementedError  # pragma: no cover

    def forward(self, batch: Batch) -> Tensor:
        """Loss of a batch, shape ()."""
        raise NotImplementedError  # pragma: no cover

    def after_step(self) -> None:
        """Do what follows an optimiser's step; by default nothing."""

    def batches(
        self, tokens: Tensor, root: Tensor, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        """Cut strings into batches, with random masks.

        Parameters
        ----------
        tokens : Tensor of integers, shape (n, s**L)
            On the CPU, as everything here: what is asked must be counted, and a count that
            a device had to tell would make a step wait for it.
        root : Tensor of integers, shape (n,)
        batch_size : int
        generator : torch.Generator
            On the CPU.

        Yields
        ------
        Batch
            On the encoder's device.
        """
        device = next(self.encoder.parameters()).device
        hidden, asked = self.draw(len(tokens), generator)
        parts = (part.split(batch_size) for part in (tokens, root, hidden, asked))
        for strings, labels, mask, questions in zip(*parts, strict=True):
            at = questions.flatten().nonzero().squeeze(1)
            yield Batch(strings.long(), mask, at, labels.long()).to(device)


class Descent:
    """AdamW with a linear warm-up and clipped gradients; weight decay on matrices alone.

    Parameters
    ----------
    objective : Objective
    lr : float
        Constant after the warm-up.
    warmup_steps : int
    weight_decay : float
        Not of biases, gains and other vectors.
    clip : float
        Largest norm of the whole gradient; 0 for none.
    betas : pair of floats
        Decays of AdamW's two moving averages.
    products : torch.dtype
        Type of matrix products, by autocast; all that is stored is float32.

    Attributes
    ----------
    last_loss : Tensor, shape ()
        Of the last step, on the device.

    Notes
    -----
    A step reads nothing back from the device.

    References
    ----------
    Appendix D.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        lr: float,
        warmup_steps: int = 0,
        weight_decay: float = 0.01,
        clip: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.98),
        products: torch.dtype = torch.float32,
    ) -> None:
        self.objective, self.lr, self.warmup_steps, self.clip = objective, lr, warmup_steps, clip
        self.parameters = [p for p in objective.parameters() if p.requires_grad]
        self.device_type = self.parameters[0].device.type
        self.products, self.steps = products, 0
        groups = [
            {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in self.parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, fused=self.device_type != "meta")
        self.last_loss = torch.zeros(())

    def state_dict(self) -> dict[str, Any]:
        """All that a later process needs, beside the settings, to go on from here."""
        return {
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned, of an objective with the same settings."""
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]

    def step(self, batch: Batch) -> None:
        """Move the objective down the gradient of its loss of a batch."""
        plain = self.products == torch.float32
        with nullcontext() if plain else torch.autocast(self.device_type, self.products):
            loss = self.objective(batch)
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.steps += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * min(1.0, self.steps / max(1, self.warmup_steps))
        self.optimizer.step()
        self.objective.after_step()
        self.last_loss = loss.detach()
