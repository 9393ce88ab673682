"""The paper's transformer for R replicas at once, with a step of constant shape: one CUDA graph.

Weights have a leading dimension of replicas, which no operation mixes; the blocks' matrices are
stacked, so that an optimiser's step is a few batched operations. Every string has the same number
of masked places, nothing is read back from the device, and a step can be captured as a graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim._muon import _adjust_lr, _zeropower_via_newtonschulz

from rhmlib.encoders import Transformer

Prediction = Literal["data2vec", "mlm", "ntp", "supervised"]
Descent = Literal["muon", "adamw"]

# Newton-Schulz coefficients, steps and eps: torch.optim.Muon's defaults.
_NEWTON_SCHULZ: dict[str, Any] = {
    "ns_coefficients": (3.4445, -4.7750, 2.0315),
    "ns_steps": 5,
    "eps": 1e-7,
}
# Parameters that are stacks of matrices of hidden layers, which Muon moves.
MATRICES = ("qkv", "out", "up", "down")


# ---------------------------------------------------------------- the network


def _normalised(states: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """LayerNorm with gains and biases (R, width) of their own for each replica."""
    unit = functional.layer_norm(states, states.shape[-1:])
    return torch.addcmul(bias.unsqueeze(1), unit, gain.unsqueeze(1))


def _product(states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Linear layer of each replica: (R, N, in), (R, out, in), (R, out) -> (R, N, out)."""
    return torch.baddbmm(bias.unsqueeze(1), states, weight.transpose(1, 2))


def _block(
    states: Tensor, weights: Sequence[Tensor], positions: int, heads: int, causal: bool, products: torch.dtype
) -> tuple[Tensor, Tensor]:
    """One pre-LN block; returns the new states, and the FFN's output before its add, both (R, N, width)."""
    qkv, qkv_bias, out, out_bias, up, up_bias, down, down_bias, gains, biases = weights
    replicas, rows, width = states.shape
    inputs = _normalised(states, gains[:, 0], biases[:, 0]).to(products)
    parts = _product(inputs, qkv.flatten(1, 2), qkv_bias.flatten(1, 2))
    parts = parts.view(replicas * rows // positions, positions, 3, heads, width // heads)
    query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
    mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
    mixed = mixed.transpose(1, 2).reshape(replicas, rows, width)
    states = states + _product(mixed, out, out_bias)
    inputs = _normalised(states, gains[:, 1], biases[:, 1]).to(products)
    hidden = functional.gelu(_product(inputs, up, up_bias))
    output = _product(hidden, down, down_bias)
    return states + output, output


class ReplicaTransformer(nn.Module):
    """R transformers of one shape, each with weights of its own.

    Parameters
    ----------
    transformers : sequence of R Transformer
        Pre-LN, GELU, without dropout; their weights are copied.
    products : torch.dtype
        Type of matrix products; states and weights are float32.
    compiled : bool
        Whether blocks are compiled, which fuses what stands between the products.

    Attributes
    ----------
    width, n_blocks, positions : int
    v : int
        The number of the embedding that stands for a masked token, too.

    References
    ----------
    Appendix D.
    """

    def __init__(
        self,
        transformers: Sequence[Transformer],
        *,
        products: torch.dtype = torch.float32,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        first = transformers[0]
        if not all(block.pre for block in first.blocks) or first.embedding.dropout.p:  # type: ignore[union-attr]
            raise ValueError("transformers must be pre-LN and without dropout. Found others.")
        self.v, self.s, self.L, self.width = first.v, first.s, first.L, first.width
        self.positions, self.n_blocks, self.causal = first.n_leaves, len(first.blocks), first.causal
        self.heads: int = first.blocks[0].heads  # type: ignore[assignment]
        self.products = products
        self.run_block: Callable[..., tuple[Tensor, Tensor]] = (
            torch.compile(_block, dynamic=False) if compiled else _block
        )
        self.weights = nn.ParameterDict(
            {name: torch.stack([_stacked(part)[name] for part in transformers]) for name in _stacked(first)}
        )

    @property
    def replicas(self) -> int:
        """R."""
        return len(self.weights["token"])

    def embed(self, ids: Tensor, weights: Any) -> Tensor:
        """First states of strings (R, N, positions), shape (R, N positions, width)."""
        # By products, not look-ups, as the backward pass of a look-up sorts its rows.
        hot = (ids.unsqueeze(3) == torch.arange(self.v + 1, device=ids.device)).flatten(1, 2)
        token = torch.bmm(hot.to(weights["token"].dtype), weights["token"])
        states = token.unflatten(1, (-1, self.positions)) + weights["position"].unsqueeze(1)
        return _normalised(states.flatten(1, 2), weights["gain"][:, 0], weights["bias"][:, 0])

    def encode(self, ids: Tensor, weights: Any = None) -> tuple[list[Tensor], Tensor]:
        """Encode strings.

        Parameters
        ----------
        ids : Tensor of int64, shape (R, N, positions)
            Tokens; v where one is hidden.
        weights : mapping of str to Tensor, optional
            Those of a teacher; its own if left out.

        Returns
        -------
        outputs : list of Tensors, shape (R, N positions, width)
            The blocks' FFN outputs before the residual add.
        states : Tensor, shape (R, N positions, width)
            The last ones, not normalised: see :meth:`final`.
        """
        weights = self.weights if weights is None else weights
        states, outputs = self.embed(ids, weights), []
        for parts in self._of_blocks(weights):
            states, output = self.run_block(
                states, parts, self.positions, self.heads, self.causal, self.products
            )
            outputs.append(output)
        return outputs, states

    def _of_blocks(self, weights: Any) -> list[tuple[Tensor, ...]]:
        names = [f"{name}{end}" for name in MATRICES for end in ("", "_bias")]
        stacks = [weights[name].to(self.products).unbind(1) for name in names]
        norms = [weights[name].unbind(1) for name in ("gains", "biases")]
        return list(zip(*stacks, *norms, strict=True))

    def final(self, states: Tensor, weights: Any = None) -> Tensor:
        """Normalise last states (R, N, width), as the encoder's end does."""
        weights = self.weights if weights is None else weights
        return _normalised(states, weights["gain"][:, 1], weights["bias"][:, 1])

    @torch.no_grad()
    def nodes(self, tokens: Tensor, chunk: int = 512) -> list[Tensor]:
        """Features of the nodes of each level; see :meth:`rhmlib.encoders.Encoder.nodes`.

        Parameters
        ----------
        tokens : Tensor of integers, shape (R, n, positions)
        chunk : int
            Strings at once.

        Returns
        -------
        list of L Tensors, shape (R, C, n, s**(L-l), width)
            C = n_blocks + 1 candidates.
        """
        parts: list[list[Tensor]] = [[] for _ in range(self.L)]
        for some in tokens.split(chunk, 1):
            outputs, states = self.encode(some.long())
            found = torch.stack([*[output.float() for output in outputs], self.final(states)], 1)
            found = found.unflatten(2, (some.shape[1], self.positions))
            for level, part in enumerate(parts, start=1):
                part.append(found.unflatten(3, (-1, self.s**level)).mean(4))
        return [torch.cat(level, 2) for level in parts]


def _stacked(transformer: Transformer) -> dict[str, Tensor]:
    """Weights of one transformer, those of its blocks stacked."""
    blocks, width = list(transformer.blocks), transformer.width

    def stack(of: Callable[[Any], Tensor]) -> Tensor:
        return torch.stack([of(block).detach() for block in blocks])

    first: Any = transformer.embedding
    ends: list[Any] = [first.norm, transformer.norm]
    return {
        "token": first.token.weight.detach(),
        "position": first.position.weight.detach(),
        "gain": torch.stack([norm.weight.detach() for norm in ends]),
        "bias": torch.stack([norm.bias.detach() for norm in ends]),
        "qkv": stack(lambda b: b.qkv.weight.view(3, width, width)),
        "qkv_bias": stack(lambda b: b.qkv.bias.view(3, width)),
        "out": stack(lambda b: b.out.weight),
        "out_bias": stack(lambda b: b.out.bias),
        "up": stack(lambda b: b.ffn[0].weight),
        "up_bias": stack(lambda b: b.ffn[0].bias),
        "down": stack(lambda b: b.ffn[2].weight),
        "down_bias": stack(lambda b: b.ffn[2].bias),
        "gains": stack(lambda b: torch.stack([b.attention_norm.weight, b.norm.weight])),
        "biases": stack(lambda b: torch.stack([b.attention_norm.bias, b.norm.bias])),
    }


# ---------------------------------------------------------------- what is predicted


class ReplicaLearner(nn.Module):
    """R encoders, their heads, and for data2vec their teachers.

    Parameters
    ----------
    encoder : ReplicaTransformer
    heads : sequence of R nn.Linear
        To `width` for data2vec, to v otherwise.
    predicts : {"data2vec", "mlm", "ntp", "supervised"}
    ema : float
        The teacher moves by w <- ema w + (1 - ema) w_student after every step.
    beta : float
        Error at which the smooth L1 loss turns from square to linear.
    top_k : int
        Blocks, counted from the last, whose normalised FFN outputs the target is the mean of.

    Notes
    -----
    Of each string the student sees M masked copies, and the teacher the whole one, once, as in data2vec 2.0
    (Baevski et al., "Efficient self-supervised learning with contextualized target
    representations for vision, speech and language", 2023).
    """

    def __init__(
        self,
        encoder: ReplicaTransformer,
        heads: Sequence[nn.Linear],
        *,
        predicts: Prediction,
        ema: float = 0.99,
        beta: float = 0.5,
        top_k: int,
    ) -> None:
        super().__init__()
        if predicts not in get_args(Prediction):
            raise ValueError(f"predicts must be one of {get_args(Prediction)}. Found predicts={predicts!r}.")
        if predicts == "ntp" and not encoder.causal:
            raise ValueError("causal must be True in next-token prediction. Found causal=False.")
        self.encoder, self.predicts, self.ema, self.beta, self.top_k = encoder, predicts, ema, beta, top_k
        self.head = nn.Parameter(torch.stack([head.weight.detach() for head in heads]))
        self.head_bias = nn.Parameter(torch.stack([head.bias.detach() for head in heads]))
        # The teacher shares the tables of the embedding.
        own = [name for name in encoder.weights if name not in ("token", "position")]
        self.teacher = {n: encoder.weights[n].detach().clone() for n in own if predicts == "data2vec"}

    @torch.no_grad()
    def targets(self, tokens: Tensor) -> Tensor:
        """Targets at all places of whole strings (R, B, positions), shape (R, B positions, width)."""
        shared = {name: self.encoder.weights[name] for name in ("token", "position")}
        outputs, _ = self.encoder.encode(tokens, {**self.teacher, **shared})
        shape = (self.encoder.width,)
        upper = [functional.layer_norm(output.float(), shape) for output in outputs[-self.top_k :]]
        return torch.stack(upper).mean(0)

    def forward(self, tokens: Tensor, places: Tensor, root: Tensor) -> Tensor:
        """Loss of each replica.

        Parameters
        ----------
        tokens : Tensor of int64, shape (R, B, positions)
        places : Tensor of int64, shape (R, B, M, k)
            The k places that are hidden in each of M copies. Not used where nothing is hidden.
        root : Tensor of int64, shape (R, B)
            Labels, for the supervised learner.

        Returns
        -------
        Tensor, shape (R,)
        """
        if self.predicts == "supervised":
            return self._cross_entropy(self._pooled(tokens), root)
        if self.predicts == "ntp":
            _, states = self.encoder.encode(tokens)
            states = states.unflatten(1, (-1, self.encoder.positions))[:, :, :-1].flatten(1, 2)
            return self._cross_entropy(self.encoder.final(states), tokens[:, :, 1:].flatten(1))
        strings, copies = places.shape[1:3]
        positions = self.encoder.positions
        ids = tokens.unsqueeze(2).expand(-1, -1, copies, -1).scatter(3, places, self.encoder.v)
        _, states = self.encoder.encode(ids.flatten(1, 2))
        rows = torch.arange(strings * copies, device=places.device) * positions
        at = (places.flatten(1, 2) + rows[:, None]).flatten(1)
        found = self.encoder.final(_rows(states, at))
        string = torch.arange(strings, device=places.device)[:, None, None] * positions
        there = (places + string).flatten(1)
        if self.predicts == "mlm":
            return self._cross_entropy(found, tokens.flatten(1).gather(1, there))
        predicted = self._headed(found)
        error = functional.smooth_l1_loss(
            predicted, _rows(self.targets(tokens), there), beta=self.beta, reduction="none"
        )
        return error.mean((1, 2)) * math.sqrt(self.encoder.width)

    def _pooled(self, tokens: Tensor) -> Tensor:
        _, states = self.encoder.encode(tokens)
        return self.encoder.final(states).unflatten(1, (-1, self.encoder.positions)).mean(2)

    def _headed(self, features: Tensor) -> Tensor:
        return _product(features, self.head, self.head_bias)

    def _cross_entropy(self, features: Tensor, labels: Tensor) -> Tensor:
        logits = self._headed(features).transpose(1, 2)
        return functional.cross_entropy(logits, labels, reduction="none").mean(1)

    @torch.no_grad()
    def move_teacher(self) -> None:
        """Move the teacher's weights towards the student's."""
        if self.teacher:
            students = [self.encoder.weights[name] for name in self.teacher]
            torch._foreach_lerp_(list(self.teacher.values()), students, 1 - self.ema)


def _rows(features: Tensor, at: Tensor) -> Tensor:
    """Rows (R, K, width) of features (R, N, width), at places (R, K)."""
    return features.gather(1, at.unsqueeze(2).expand(-1, -1, features.shape[2]))


# ---------------------------------------------------------------- the step


class StackedMuon(torch.optim.Optimizer):
    """`torch.optim.Muon` for stacks of matrices: the same update of each, by its own Newton-Schulz.

    Parameters
    ----------
    parameters : list of Tensors, shape (..., out, in)
        With at least one leading dimension.
    lr : Tensor, shape ()
        A tensor, so that a captured graph sees its changes.
    weight_decay, momentum : float

    Notes
    -----
    torch's class takes plain matrices, one at a time; its iteration is mapped over the leading ones here.
    """

    def __init__(
        self, parameters: list[Tensor], *, lr: Tensor, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        for parameter in parameters:
            self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move all matrices by their gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                buffer = self.state[parameter]["momentum_buffer"]
                buffer.lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(buffer, group["momentum"])
                flat = update.flatten(0, -3)
                unit = torch.vmap(lambda g: _zeropower_via_newtonschulz(g, **_NEWTON_SCHULZ))(flat)
                scale = _adjust_lr(1.0, None, parameter.shape[-2:])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(unit.view_as(parameter).float() * (group["lr"] * scale))


class ReplicaDescent:
    """One step of gradient descent for all replicas; on a CUDA device, the replay of one graph.

    Parameters
    ----------
    learner : ReplicaLearner
    descent : {"muon", "adamw"}
        "muon": Muon on the blocks' matrices, AdamW on all else. "adamw": AdamW on all.
    muon_lr, lr : float
        Of Muon and of AdamW, constant after a linear warm-up.
    warmup_steps : int
    weight_decay : float
        On matrices.
    clip : float
        Largest norm of each replica's gradient; 0 for none.
    betas : pair of floats
        AdamW's.
    graph : bool
        Whether the step is captured on a CUDA device.

    Attributes
    ----------
    last_loss, gradient_norm : Tensor, shape (R,)
        Of the last step, on the device.
    """

    def __init__(
        self,
        learner: ReplicaLearner,
        *,
        descent: Descent = "muon",
        muon_lr: float = 0.02,
        lr: float = 2e-3,
        warmup_steps: int = 100,
        weight_decay: float = 0.05,
        clip: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.98),
        graph: bool = True,
    ) -> None:
        if descent not in get_args(Descent):
            raise ValueError(f"descent must be one of {get_args(Descent)}. Found descent={descent!r}.")
        self.learner, self.clip, self.warmup_steps, self.steps = learner, clip, warmup_steps, 0
        self.parameters = list(learner.parameters())
        self.device = self.parameters[0].device
        weights = learner.encoder.weights
        matrices = [weights[name] for name in MATRICES]
        decayed = [weights["token"], weights["position"], learner.head]
        if descent == "adamw":
            decayed += matrices
        moved = {id(p) for p in matrices + decayed}
        rest = [p for p in self.parameters if id(p) not in moved]
        self._rates: list[tuple[Tensor, float]] = []
        groups = [
            {"params": decayed, "weight_decay": weight_decay, "lr": self._rate(lr)},
            {"params": rest, "weight_decay": 0.0, "lr": self._rate(lr)},
        ]
        on_cuda = self.device.type == "cuda"
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=1.0, betas=betas, fused=True, capturable=on_cuda)
        ]
        if descent == "muon":
            self.optimizers.append(StackedMuon(matrices, lr=self._rate(muon_lr), weight_decay=weight_decay))
        self.last_loss = torch.zeros(learner.encoder.replicas, device=self.device)
        self.gradient_norm = torch.zeros_like(self.last_loss)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: tuple[Tensor, ...] = ()
        self._captures = graph and on_cuda

    def _rate(self, lr: float) -> Tensor:
        rate = torch.zeros((), device=self.device)
        self._rates.append((rate, lr))
        return rate

    def step(self, tokens: Tensor, places: Tensor, root: Tensor) -> None:
        """Move all replicas down the gradients of their losses; arguments as of the learner."""
        self.steps += 1
        if self.steps <= self.warmup_steps + 1:
            for rate, lr in self._rates:
                rate.fill_(lr * min(1.0, self.steps / max(1, self.warmup_steps)))
        batch = (tokens, places, root)
        if not self._captures:
            self._update(*batch)
        elif self.steps <= 3:  # what is allocated at first use must be there before the capture
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self._update(*batch)
            torch.cuda.current_stream().wait_stream(stream)
        else:
            self._replay(batch)

    def _replay(self, batch: tuple[Tensor, ...]) -> None:
        if self._graph is None:
            self._batch = tuple(part.clone() for part in batch)
            for parameter in self.parameters:
                parameter.grad = None
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._update(*self._batch)
        for kept, part in zip(self._batch, batch, strict=True):
            kept.copy_(part)
        self._graph.replay()

    def _update(self, tokens: Tensor, places: Tensor, root: Tensor) -> None:
        losses = self.learner(tokens, places, root)
        gradients = torch.autograd.grad(losses.sum(), self.parameters)
        squares = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0)
        self.last_loss.copy_(losses.detach())
        self.gradient_norm.copy_(squares.sqrt())
        factor = (self.clip / (self.gradient_norm + 1e-6)).clamp(max=1.0) if self.clip else None
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            if factor is not None:
                gradient = gradient * factor.view(-1, *[1] * (gradient.ndim - 1))
            parameter.grad = gradient.contiguous()
        for optimizer in self.optimizers:
            optimizer.step()
        self.learner.move_teacher()

    def state_dict(self) -> dict[str, Any]:
        """All that a later process needs, beside the settings, to go on from here."""
        return {
            "learner": self.learner.state_dict(),
            "teacher": dict(self.learner.teacher),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "steps": self.steps,
            "last": [self.last_loss, self.gradient_norm],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned, of a learner with the same settings."""
        self.learner.load_state_dict(state["learner"])
        for name, weight in self.learner.teacher.items():
            weight.copy_(state["teacher"][name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.steps = state["steps"]
        for kept, saved in zip((self.last_loss, self.gradient_norm), state["last"], strict=True):
            kept.copy_(saved)
        rates = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]
        self._rates = [(rate, lr) for rate, (_, lr) in zip(rates, self._rates, strict=True)]
