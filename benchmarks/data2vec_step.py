"""What a training step of data2vec costs, against a plain one and against the core's matrix products.

    python benchmarks/data2vec_step.py [--repeats 7] [--steps 5]

The rival is the step as one would write it with PyTorch's parts: blocks of `nn.MultiheadAttention`, every
leaf of the tree computed whether it is asked for or not, a moving average over `state_dict`, AdamW without
fusion. It computes the same loss from the same weights (checked first). Both are timed in turns,
and the ratio is that of the medians: milliseconds of processor time on one core. Then, of the library's step:
how long each part takes, and how long its matrix products would take at the speed of large ones.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rhmlib.data2vec import Data2Vec
from rhmlib.encoders import Encoder, Transformer, TreeEncoder
from rhmlib.objectives import Batch, Descent, Masking

V, S, L = 16, 2, 4
LEAVES = S**L
EMA, BETA, LR, DECAY, CLIP = 0.99, 0.5, 1.5e-3, 0.01, 1.0


# ---------------------------------------------------------------- the plain transformer


class PlainBlock(nn.Module):
    """Pre-LN attention and FFN; also returns the FFN's output before its add."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.norm1(x)
        x = x + self.attention(y, y, y)[0]
        out = self.linear2(functional.gelu(self.linear1(self.norm2(x))))
        return x + out, out


class PlainTransformer(nn.Module):
    """The encoder; returns the last states and the blocks' FFN outputs."""

    def __init__(self, width: int, heads: int, blocks: int) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(V + 1, width), nn.Embedding(LEAVES, width)
        self.norm0, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(PlainBlock(width, heads) for _ in range(blocks))

    def forward(self, ids: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = self.norm0(self.token(ids) + self.position(torch.arange(LEAVES)))
        outputs = []
        for block in self.blocks:
            x, out = block(x)
            outputs.append(out)
        return self.norm(x), outputs[-L:]

    def load(self, ours: Transformer) -> None:
        """Take the library's weights."""
        self.token.load_state_dict(ours.embedding.token.state_dict())
        self.position.load_state_dict(ours.embedding.position.state_dict())
        self.norm0.load_state_dict(ours.embedding.norm.state_dict())
        self.norm.load_state_dict(ours.norm.state_dict())
        for plain, block in zip(self.blocks, ours.blocks, strict=True):
            plain.norm1.load_state_dict(block.attention_norm.state_dict())
            plain.norm2.load_state_dict(block.norm.state_dict())
            plain.attention.in_proj_weight.data.copy_(block.qkv.weight)
            plain.attention.in_proj_bias.data.copy_(block.qkv.bias)
            plain.attention.out_proj.load_state_dict(block.out.state_dict())
            plain.linear1.load_state_dict(block.ffn[0].state_dict())
            plain.linear2.load_state_dict(block.ffn[2].state_dict())


# ---------------------------------------------------------------- the plain tree


def mlp(inputs: int, width: int) -> nn.Sequential:
    hidden = 2 * width
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, width), nn.LayerNorm(width))


class PlainTree(nn.Module):
    """Features of every node bottom-up, then messages to every node top-down."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Sequential(nn.Embedding(V + 1, width), nn.LayerNorm(width))
        self.up = nn.ModuleList(mlp(S * width, width) for _ in range(L))
        self.down = nn.ModuleList(mlp((S + 1) * width, width) for _ in range(L))
        self.hole = nn.Parameter(torch.zeros(L, width))
        self.top = nn.Parameter(torch.zeros(width))

    def forward(self, ids: Tensor) -> tuple[Tensor, list[Tensor]]:
        levels = [self.embedding(ids)]
        for level in range(L - 1):
            levels.append(self.up[level](levels[-1].unflatten(1, (-1, S)).flatten(2)))
        message = self.top.expand(len(ids), 1, -1)
        for level in reversed(range(L)):
            children = levels[level].unflatten(1, (-1, S))
            sent = []
            for own in range(S):
                seen = [
                    self.hole[level].expand_as(c) if i == own else c for i, c in enumerate(children.unbind(2))
                ]
                sent.append(message + self.down[level](torch.cat([message, *seen], 2)))
            message = torch.stack(sent, 2).flatten(1, 2)
        # The target of a leaf is made of its ancestors' features.
        targets = [part.repeat_interleave(S**k, 1) for k, part in enumerate(levels)]
        return message + levels[0], targets

    def load(self, ours: TreeEncoder) -> None:
        """Take the library's weights."""
        self.load_state_dict(ours.state_dict())


# ---------------------------------------------------------------- the plain step


class PlainStep:
    """data2vec by PyTorch's parts."""

    def __init__(self, encoder: nn.Module, head: nn.Linear) -> None:
        self.student, self.head = encoder, copy.deepcopy(head)
        self.teacher = copy.deepcopy(encoder).eval()
        for parameter in self.teacher.parameters():
            parameter.requires_grad = False
        every = [*self.student.parameters(), *self.head.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in every if p.ndim > 1], "weight_decay": DECAY},
            {"params": [p for p in every if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.parameters = every
        self.optimizer = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.98), fused=False, foreach=False)

    def loss(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            layers = self.teacher(batch.tokens)[1]
            targets = torch.stack([functional.layer_norm(y, y.shape[-1:]) for y in layers]).mean(0)
        states, _ = self.student(torch.where(batch.mask, V, batch.tokens))
        predicted = self.head(states)[batch.mask]
        error = functional.smooth_l1_loss(predicted, targets[batch.mask], beta=BETA, reduction="none")
        return error.sum(-1).mean() / math.sqrt(error.shape[-1])

    def step(self, batch: Batch) -> None:
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimizer.step()
        student = self.student.state_dict()
        with torch.no_grad():
            for name, weight in self.teacher.state_dict().items():
                weight.copy_(EMA * weight + (1 - EMA) * student[name])


# ---------------------------------------------------------------- the library's step


def make(kind: str, width: int) -> tuple[Data2Vec, PlainStep]:
    """The library's learner, and the plain one with the same weights."""
    ours: Encoder
    plain: PlainTransformer | PlainTree
    if kind == "tree":
        ours, plain = TreeEncoder(v=V, s=S, L=L, width=width), PlainTree(width)
    else:
        ours, plain = Transformer(v=V, s=S, L=L, width=width), PlainTransformer(width, 4, 2 * L)
    plain.load(ours)  # type: ignore[arg-type]
    learner = Data2Vec(ours, Masking(S, L), ema=EMA, beta=BETA)
    return learner, PlainStep(plain, learner.head)


def draw(learner: Data2Vec, count: int, size: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(V, (count * size, LEAVES), generator=generator)
    return list(learner.batches(tokens, tokens[:, 0], size, generator))


def parts(learner: Data2Vec, descent: Descent, batch: Batch) -> dict[str, float]:
    """Seconds of the parts of one step of the library, which `Descent.step` does in this order."""
    times: dict[str, float] = {}

    def timed(name: str, do: Callable[[], Any]) -> Any:
        start = time.process_time()
        out = do()
        times[name] = times.get(name, 0.0) + time.process_time() - start
        return out

    encoder = learner.encoder
    targets = timed("teacher", lambda: learner.targets(batch.tokens, batch.at))

    def forward() -> Tensor:
        states = encoder.read(encoder.encode(batch.tokens, batch.mask), batch.at)
        return functional.smooth_l1_loss(learner.head(states), targets, beta=BETA) * math.sqrt(encoder.width)

    loss = timed("student, forward", forward)
    timed("optimiser and clipping", descent.optimizer.zero_grad)
    timed("student, backward", loss.backward)
    timed(
        "optimiser and clipping",
        lambda: (nn.utils.clip_grad_norm_(descent.parameters, CLIP), descent.optimizer.step()),
    )
    timed("moving average", learner.after_step)
    return times


def operations(learner: Data2Vec, batches: list[Batch]) -> float:
    """Floating-point operations of a step's matrix products, counted by a forward pass with hooks."""
    total, factor = 0.0, 1

    def count(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Linear)
        total += factor * 2 * inputs[0].numel() * module.out_features

    linear = [part for part in learner.modules() if isinstance(part, nn.Linear)]
    hooks = [part.register_forward_hook(count) for part in linear]
    for batch in batches:
        factor = 1
        learner.targets(batch.tokens, batch.at)
        factor = 3  # a backward pass makes two products for each of the forward pass
        encoder = learner.encoder
        learner.head(encoder.read(encoder.encode(batch.tokens, batch.mask), batch.at))
        if isinstance(encoder, Transformer):  # queries by keys, and weights by values
            total += 4 * 4 * len(encoder.blocks) * batch.tokens.numel() * LEAVES * encoder.width
    for hook in hooks:
        hook.remove()
    return total / len(batches)


# ---------------------------------------------------------------- timing


def milliseconds(do: Callable[[], None], repeats: int) -> float:
    """Least processor time of a call."""
    best = math.inf
    for _ in range(repeats):
        start = time.process_time()
        do()
        best = min(best, time.process_time() - start)
    return 1e3 * best


def matmul_rate(repeats: int) -> float:
    """Floating-point operations a second of large products on one core."""
    a = torch.randn(1024, 1024)
    return 2 * 1024**3 / (1e-3 * milliseconds(lambda: torch.mm(a, a), 3 * repeats))


def check(learner: Data2Vec, plain: PlainStep, batch: Batch) -> None:
    """The plain step and the library compute the same loss."""
    ours, theirs = learner(batch), plain.loss(batch)
    assert torch.allclose(ours, theirs, rtol=1e-4), (float(ours), float(theirs))


def report(kind: str, width: int, size: int, rate: float, repeats: int, steps: int) -> None:
    learner, plain = make(kind, width)
    batches = draw(learner, 2 * steps, size)
    check(learner, plain, batches[0])
    descent = Descent(learner, lr=LR, weight_decay=DECAY, clip=CLIP)
    rounds: dict[str, list[float]] = {"library": [], "plain": []}
    for _ in range(repeats + 1):  # the first warms up
        for name, step in (("library", descent.step), ("plain", plain.step)):
            start = time.process_time()
            for batch in batches[:steps]:
                step(batch)
            rounds[name].append((time.process_time() - start) / steps)
    ours, theirs = (statistics.median(rounds[name][1:]) for name in ("library", "plain"))
    print(f"{kind}, width {width}, {size} strings of {LEAVES} tokens")
    print(
        f"  library {1e3 * ours:8.2f} ms   plain {1e3 * theirs:8.2f} ms   plain / library {theirs / ours:.2f}"
    )
    found = [parts(learner, descent, batch) for batch in batches]
    total = sum(statistics.median(times[name] for times in found) for name in found[0])
    for name in found[0]:
        print(f"    {name:24s} {100 * statistics.median(times[name] for times in found) / total:5.1f} %")
    limit = operations(learner, batches) / rate
    print(f"  matrix products alone, at the rate above: {1e3 * limit:.2f} ms, {100 * limit / ours:.0f} %\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7, help="rounds, in turns")
    parser.add_argument("--steps", type=int, default=5, help="steps a round")
    parser.add_argument("--batch-size", type=int, default=128, help="strings a batch")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rate = matmul_rate(given.repeats)
    print(f"large matrix products: {rate / 1e9:.0f} GFLOP/s on one core\n")
    for kind, width in (("transformer", 64), ("transformer", 256), ("tree", 96)):
        report(kind, width, given.batch_size, rate, given.repeats, given.steps)


if __name__ == "__main__":
    main()
