"""A training step of data2vec by PyTorch's own parts: what the library's is timed against.

Blocks of `nn.MultiheadAttention`, every leaf of the tree computed whether it is asked for or not, a moving
average over `state_dict`, AdamW without fusion. From the same weights it computes the same loss as
:class:`rhmlib.data2vec.Data2Vec`.
"""

from __future__ import annotations

import copy
import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from rhmlib.data2vec import Data2Vec
from rhmlib.encoders import Transformer, TreeEncoder
from rhmlib.objectives import Batch

# ---------------------------------------------------------------- the transformer


class PlainBlock(nn.Module):
    """Pre-LN attention and FFN; also returns the FFN's output before its add."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """States after the block, and the FFN's output."""
        y = self.norm1(x)
        x = x + self.attention(y, y, y)[0]
        out = self.linear2(functional.gelu(self.linear1(self.norm2(x))))
        return x + out, out


class PlainTransformer(nn.Module):
    """The encoder of :class:`rhmlib.encoders.Transformer`, with its weights; it has no dropout."""

    def __init__(self, ours: Transformer) -> None:
        super().__init__()
        width, theirs = ours.width, cast("list[Any]", ours.blocks)
        self.depth = ours.L
        self.token, self.position = nn.Embedding(ours.v + 1, width), nn.Embedding(ours.s**ours.L, width)
        self.norm0, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(PlainBlock(width, block.heads) for block in theirs)
        self._load(ours)

    def forward(self, ids: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Last states, and the FFN outputs of the last L blocks."""
        x = self.norm0(self.token(ids) + self.position(torch.arange(ids.shape[1], device=ids.device)))
        outputs = []
        for block in self.blocks:
            x, out = block(x)
            outputs.append(out)
        return self.norm(x), outputs[-self.depth :]

    def _load(self, ours: Any) -> None:
        self.token.load_state_dict(ours.embedding.token.state_dict())
        self.position.load_state_dict(ours.embedding.position.state_dict())
        self.norm0.load_state_dict(ours.embedding.norm.state_dict())
        self.norm.load_state_dict(ours.norm.state_dict())
        plain: Any
        for plain, block in zip(self.blocks, ours.blocks, strict=True):
            plain.norm1.load_state_dict(block.attention_norm.state_dict())
            plain.norm2.load_state_dict(block.norm.state_dict())
            plain.attention.in_proj_weight.data.copy_(block.qkv.weight)
            plain.attention.in_proj_bias.data.copy_(block.qkv.bias)
            plain.attention.out_proj.load_state_dict(block.out.state_dict())
            plain.linear1.load_state_dict(block.ffn[0].state_dict())
            plain.linear2.load_state_dict(block.ffn[2].state_dict())


# ---------------------------------------------------------------- the tree


def _mlp(inputs: int, width: int) -> nn.Sequential:
    hidden = 2 * width
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, width), nn.LayerNorm(width))


class PlainTree(nn.Module):
    """Features of every node bottom-up, then messages to every node top-down.

    It has the weights of a :class:`rhmlib.encoders.TreeEncoder` whose MLPs are twice as wide inside.
    """

    def __init__(self, ours: TreeEncoder) -> None:
        super().__init__()
        s, L, width = ours.s, ours.L, ours.width
        self.s, self.L = s, L
        self.embedding = nn.Sequential(nn.Embedding(ours.v + 1, width), nn.LayerNorm(width))
        self.up = nn.ModuleList(_mlp(s * width, width) for _ in range(L))
        self.down = nn.ModuleList(_mlp((s + 1) * width, width) for _ in range(L))
        self.hole = nn.Parameter(torch.zeros(L, width))
        self.top = nn.Parameter(torch.zeros(width))
        self.load_state_dict(ours.state_dict())

    def forward(self, ids: Tensor) -> tuple[Tensor, list[Tensor]]:
        """States of all leaves, and the features of the levels at each of them."""
        levels = [self.embedding(ids)]
        for level in range(self.L - 1):
            levels.append(self.up[level](levels[-1].unflatten(1, (-1, self.s)).flatten(2)))
        message = self.top.expand(len(ids), 1, -1)
        for level in reversed(range(self.L)):
            children = levels[level].unflatten(1, (-1, self.s))
            sent = []
            for own in range(self.s):
                seen = [
                    self.hole[level].expand_as(c) if i == own else c for i, c in enumerate(children.unbind(2))
                ]
                sent.append(message + self.down[level](torch.cat([message, *seen], 2)))
            message = torch.stack(sent, 2).flatten(1, 2)
        # The target of a leaf is made of its ancestors' features.
        targets = [part.repeat_interleave(self.s**k, 1) for k, part in enumerate(levels)]
        return message + levels[0], targets


# ---------------------------------------------------------------- the step


class PlainStep:
    """A step of data2vec by PyTorch's parts.

    Parameters
    ----------
    ours : Data2Vec
        The library's learner, whose weights it starts with.
    lr, weight_decay, clip : float
        As of :class:`rhmlib.objectives.Descent`.
    products : torch.dtype
        Type of matrix products, by autocast.
    """

    def __init__(
        self,
        ours: Data2Vec,
        *,
        lr: float,
        weight_decay: float,
        clip: float = 1.0,
        products: torch.dtype = torch.float32,
    ) -> None:
        encoder = ours.encoder
        tree = isinstance(encoder, TreeEncoder)
        self.student = (PlainTree if tree else PlainTransformer)(cast("Any", encoder))
        self.head = copy.deepcopy(ours.head)
        device = next(self.head.parameters()).device
        self.student.to(device)
        self.hidden, self.beta, self.ema, self.clip, self.products = (
            encoder.v,
            ours.beta,
            ours.ema,
            clip,
            products,
        )
        self.device_type = device.type
        self.teacher = copy.deepcopy(self.student).eval()
        tables = (name for name, part in self.student.named_modules() if isinstance(part, nn.Embedding))
        self.shared = {f"{name}.weight" for name in tables}
        for parameter in self.teacher.parameters():
            parameter.requires_grad = False
        every = [*self.student.parameters(), *self.head.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in every if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in every if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.parameters = every
        self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=False, foreach=False)

    def loss(self, batch: Batch) -> Tensor:
        """Smooth L1 to the teacher's targets at the masked positions."""
        with torch.no_grad():
            layers = self.teacher(batch.tokens)[1]
            targets = torch.stack([functional.layer_norm(y, y.shape[-1:]) for y in layers]).mean(0)
        states, _ = self.student(torch.where(batch.mask, self.hidden, batch.tokens))
        predicted = self.head(states)[batch.mask]
        asked = targets[batch.mask]
        error = functional.smooth_l1_loss(predicted, asked, beta=self.beta, reduction="none")
        return error.sum(-1).mean() / math.sqrt(error.shape[-1])

    def step(self, batch: Batch) -> None:
        """One step."""
        self.optimizer.zero_grad()
        with torch.autocast(self.device_type, self.products, enabled=self.products != torch.float32):
            loss = self.loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        student = self.student.state_dict()
        with torch.no_grad():
            for name, weight in self.teacher.state_dict().items():
                kept = 0.0 if name in self.shared else self.ema
                weight.copy_(kept * weight + (1 - kept) * student[name])
