"""Two encoders with one interface: an MLP along the tree, and the transformer (Section 5, Appendix D).

An encoder reads strings of which some tokens are masked. `encode` gives its features, a list of
levels (tree) or blocks (transformer); `read` gives the state of a leaf from which a head predicts
what stands there; `nodes` gives what a probe of each level of the hierarchy may look at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Literal["gelu", "relu", "silu"]
Placement = Literal["pre", "post"]

# Strings encoded at once where no gradient is wanted.
_CHUNK = 1024


@dataclass(frozen=True)
class Features:
    """Features at the positions of a batch, each distinct one kept once where that is known.

    Attributes
    ----------
    rows : Tensor, shape (K, width)
    numbers : Tensor of int64, shape (B, positions)
        The row that stands at each position.
    """

    rows: Tensor
    numbers: Tensor

    @classmethod
    def of(cls, dense: Tensor) -> Features:
        """Wrap a tensor of shape (B, positions, width)."""
        numbers = torch.arange(dense.shape[0] * dense.shape[1], device=dense.device)
        return cls(dense.flatten(0, 1), numbers.view(dense.shape[:2]))

    @property
    def positions(self) -> int:
        """Positions a string."""
        return self.numbers.shape[1]

    def dense(self) -> Tensor:
        """All features, shape (B, positions, width)."""
        return self.take(self.numbers)

    def take(self, numbers: Tensor) -> Tensor:
        """Rows of any shape of numbers; shape (*numbers.shape, width)."""
        return functional.embedding(numbers, self.rows)

    def at(self, places: Tensor) -> Tensor:
        """Features at places b * positions + p, of any shape; shape (*places.shape, width)."""
        return self.take(self.numbers.flatten()[places])


@dataclass(frozen=True)
class Encoding:
    """What an encoder makes of a batch of strings.

    Attributes
    ----------
    features : list of Features
        Tree: levels 0 .. L-1, of s**(L-l) positions. Transformer: the blocks' FFN outputs before
        the residual add, of s**L positions.
    final : Features or None
        Tree: level L, one position, where it was asked for. Transformer: the last states.
    """

    features: list[Features]
    final: Features | None


class Encoder(nn.Module):
    """What both encoders share.

    Attributes
    ----------
    s, L, width : int
    n_leaves : int
        s**L.
    mask_id : int
        v, the number of the embedding that stands for a masked token.
    n_targets : int
        Number of `Encoding.features`, those that a latent target may be made of.
    embedding : nn.Module
        From tokens to the first states; a teacher may share it.
    """

    embedding: nn.Module
    n_targets: int

    def __init__(self, *, v: int, s: int, L: int, width: int) -> None:
        super().__init__()
        for name, value, least in (("v", v, 2), ("s", s, 2), ("L", L, 1), ("width", width, 1)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}. Found {name}={value}.")
        self.v, self.s, self.L, self.width = v, s, L, width
        self.n_leaves, self.mask_id = s**L, v

    def encode(self, tokens: Tensor, mask: Tensor | None = None, *, final: bool = False) -> Encoding:
        """Encode strings.

        Parameters
        ----------
        tokens : Tensor of int64, shape (B, s**L)
        mask : Tensor of bool, shape (B, s**L), optional
            True where a token is hidden.
        final : bool
            Whether `Encoding.final` is wanted.
        """
        raise NotImplementedError  # pragma: no cover

    def read(self, encoding: Encoding, at: Tensor) -> Tensor:
        """States at leaves, from which a head predicts what stands there.

        Parameters
        ----------
        encoding : Encoding
        at : Tensor of int64, shape (M,)
            Leaves, b * s**L + p for leaf p of string b.

        Returns
        -------
        Tensor, shape (M, width)
        """
        raise NotImplementedError  # pragma: no cover

    def pooled(self, encoding: Encoding) -> Tensor:
        """Mean of the final features over positions, shape (B, width)."""
        assert encoding.final is not None
        return encoding.final.dense().mean(1)

    def _node_parts(self, tokens: Tensor) -> list[Tensor]:
        raise NotImplementedError  # pragma: no cover

    @torch.no_grad()
    def nodes(self, tokens: Tensor) -> list[Tensor]:
        """Features of the nodes of each level, of unmasked strings.

        Parameters
        ----------
        tokens : Tensor of integers, shape (n, s**L)

        Returns
        -------
        list of L Tensors, shape (C, n, s**(L-l), width) for level l = 1 .. L
            C candidates: one in the tree, the bottom-up feature of the node; in the transformer
            the mean over the leaves under the node of each block's FFN output, and of the
            last states.
        """
        training = self.training
        self.eval()
        parts = [self._node_parts(chunk.long()) for chunk in tokens.split(_CHUNK)]
        self.train(training)
        return [torch.cat(level, 1) for level in zip(*parts, strict=True)]

    def _check(self, tokens: Tensor, mask: Tensor | None) -> None:
        if tokens.ndim != 2 or tokens.shape[1] != self.n_leaves:
            raise ValueError(
                f"tokens must have shape (B, s**L) = (B, {self.n_leaves}). Found {tuple(tokens.shape)}."
            )
        if mask is not None and mask.shape != tokens.shape:
            raise ValueError(
                f"mask must have the shape of tokens, {tuple(tokens.shape)}. Found {tuple(mask.shape)}."
            )

    def _ids(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        self._check(tokens, mask)
        return tokens if mask is None else tokens.masked_fill(mask, self.mask_id)


def initialise(
    module: nn.Module, generator: torch.Generator, *, linear_std: float | None = None, token_std: float = 1.0
) -> None:
    """Draw initial weights: normal ones for linear layers and embeddings; biases 0, gains 1.

    Parameters
    ----------
    module : nn.Module
        On the CPU.
    generator : torch.Generator
    linear_std : float, optional
        Standard deviation of the linear layers' weights; 1 / sqrt(3 fan_in) if left out.
    token_std : float
        Of the embeddings.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            std = 1 / math.sqrt(3 * part.in_features) if linear_std is None else linear_std
            nn.init.normal_(part.weight, std=std, generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=token_std, generator=generator)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


def _nonlinear(activation: Activation) -> nn.Module:
    kinds = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}
    if activation not in kinds:
        raise ValueError(f"activation must be one of {list(kinds)}. Found activation={activation!r}.")
    return kinds[activation]()


# ---------------------------------------------------------------- the tree


def _mlp(inputs: int, hidden: int, outputs: int, activation: Activation = "gelu") -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), _nonlinear(activation), nn.Linear(hidden, outputs), nn.LayerNorm(outputs)
    )


class TreeEncoder(Encoder):
    """An encoder whose topology is that of the tree; weights are shared over positions, not levels.

    Bottom-up, the feature of a node is an MLP of its children's, concatenated. Top-down, the message
    to a node is an MLP of its parent's message and its siblings' bottom-up features. The state of a
    leaf is the sum of its message, which knows all the other leaves, and of its own embedding.

    Parameters
    ----------
    v, s, L : int
        Symbols, branching, depth.
    width : int
        Of features and messages.
    hidden : int, optional
        Width inside the MLPs; 2 `width` if left out.
    activation : {"gelu", "relu", "silu"}
    linear_std : float, optional
        Standard deviation of the initial linear weights; 1 / sqrt(3 fan_in) if left out.
    token_std : float
        Of the initial embeddings.
    model_seed : int
    device : torch.device or str

    Notes
    -----
    Two things make a step cheap. A level-1 feature depends on s symbols alone: where there are fewer
    tuples of them than nodes in the batch, the tuples are computed and looked up. And messages are
    computed only along the paths to the leaves that are read.

    Examples
    --------
    >>> encoder = TreeEncoder(v=8, s=2, L=3, width=16)
    >>> encoding = encoder.encode(torch.zeros(5, 8, dtype=torch.int64))
    >>> [tuple(level.dense().shape) for level in encoding.features]
    [(5, 8, 16), (5, 4, 16), (5, 2, 16)]
    >>> encoder.read(encoding, torch.tensor([0, 39])).shape
    torch.Size([2, 16])
    """

    def __init__(
        self,
        *,
        v: int,
        s: int,
        L: int,
        width: int = 128,
        hidden: int | None = None,
        activation: Activation = "gelu",
        linear_std: float | None = None,
        token_std: float = 1.0,
        model_seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(v=v, s=s, L=L, width=width)
        hidden = 2 * width if hidden is None else hidden
        if hidden < 1:
            raise ValueError(f"hidden must be at least 1. Found hidden={hidden}.")
        self.n_targets = L
        with torch.device("meta"):  # nothing is drawn from torch's global generator
            self.embedding = nn.Sequential(nn.Embedding(v + 1, width), nn.LayerNorm(width))
            self.up = nn.ModuleList(_mlp(s * width, hidden, width, activation) for _ in range(L))
            self.down = nn.ModuleList(_mlp((s + 1) * width, hidden, width, activation) for _ in range(L))
            # What stands in the own place among the children, and the message to the root.
            self.hole = nn.Parameter(torch.empty(L, width))
            self.top = nn.Parameter(torch.empty(width))
        self.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(model_seed)
        initialise(self, generator, linear_std=linear_std, token_std=token_std)
        nn.init.zeros_(self.hole)
        nn.init.zeros_(self.top)
        self.to(device)

    def encode(self, tokens: Tensor, mask: Tensor | None = None, *, final: bool = False) -> Encoding:
        """Encode strings; see :meth:`Encoder.encode`."""
        ids = self._ids(tokens, mask)
        symbols = torch.arange(self.v + 1, device=ids.device)
        levels = [Features(self.embedding(symbols), ids)]
        for level in range(1, self.L + final):
            levels.append(self._above(levels[-1], self.up[level - 1]))
        return Encoding(levels[: self.L], levels[self.L] if final else None)

    def _above(self, below: Features, mlp: nn.Module) -> Features:
        strings, kinds = len(below.numbers), len(below.rows)
        positions = below.positions // self.s
        children = below.numbers.view(strings, positions, self.s)
        if kinds**self.s > strings * positions:
            return Features.of(mlp(below.take(children).flatten(2)))
        powers = [kinds**i for i in reversed(range(self.s))]
        tuples = torch.cartesian_prod(*[torch.arange(kinds, device=children.device)] * self.s)
        numbers = sum(children[..., i] * power for i, power in enumerate(powers))
        assert isinstance(numbers, Tensor)
        return Features(mlp(below.take(tuples).flatten(1)), numbers)

    def read(self, encoding: Encoding, at: Tensor) -> Tensor:
        """States at leaves; see :meth:`Encoder.read`."""
        message = self.top.expand(len(at), -1)
        places = torch.arange(self.s, device=at.device)
        for level in reversed(range(self.L)):
            node = at // self.s**level
            first = node // self.s * self.s
            children = encoding.features[level].at(first[:, None] + places)
            own = (node - first)[:, None] == places
            children = torch.where(own.unsqueeze(2), self.hole[level], children)
            message = message + self.down[level](torch.cat([message, children.flatten(1)], 1))
        return message + encoding.features[0].at(at)

    def _node_parts(self, tokens: Tensor) -> list[Tensor]:
        encoding = self.encode(tokens, final=True)
        assert encoding.final is not None
        return [level.dense().unsqueeze(0) for level in [*encoding.features[1:], encoding.final]]


# ---------------------------------------------------------------- the transformer


class _Embedding(nn.Module):
    """Sum of a learned token and a learned position, normalised."""

    def __init__(self, symbols: int, positions: int, width: int, dropout: float) -> None:
        super().__init__()
        self.token = nn.Embedding(symbols, width)
        self.position = nn.Embedding(positions, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        return self.dropout(self.norm(self.token(ids) + self.position.weight))


class _Block(nn.Module):
    """Attention and FFN; returns the new states, and the FFN's output before its add."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        dropout: float,
        causal: bool,
        activation: Activation,
        layer_norm: Placement,
    ) -> None:
        super().__init__()
        self.heads, self.causal, self.pre = heads, causal, layer_norm == "pre"
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.ffn = nn.Sequential(nn.Linear(width, hidden), _nonlinear(activation), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        if self.pre:
            states = states + self.dropout(self._attend(self.attention_norm(states)))
            output = self.ffn(self.norm(states))
            return states + self.dropout(output), output
        states = self.attention_norm(states + self.dropout(self._attend(states)))
        output = self.ffn(states)
        return self.norm(states + self.dropout(output)), output

    def _attend(self, states: Tensor) -> Tensor:
        batch, positions, width = states.shape
        qkv = self.qkv(states).view(batch, positions, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).reshape(batch, positions, width))


class Transformer(Encoder):
    """The paper's encoder.

    Parameters
    ----------
    v, s, L : int
        Symbols, branching, depth.
    width : int
        A multiple of `n_heads`.
    hidden : int, optional
        Width inside the FFN; 4 `width` if left out.
    n_blocks : int, optional
        2 L if left out.
    n_heads : int
    dropout : float
        Of embeddings, attention's and FFN's outputs. Drawn from torch's global generator, as torch
        has no other way.
    activation : {"gelu", "relu", "silu"}
    layer_norm : {"pre", "post"}
        Whether attention and FFN get normalised states, or the sums with their outputs are normalised.
    causal : bool
        Whether a position sees only itself and what stands left of it.
    linear_std : float, optional
        Standard deviation of the initial linear weights; 1 / sqrt(3 fan_in) if left out.
    token_std, position_std : float
        Of the initial embeddings of tokens and positions.
    model_seed : int
    device : torch.device or str

    Notes
    -----
    A LayerNorm stands after the embeddings and at the end, too. The paper's blocks are pre-LN, with GELU.

    References
    ----------
    Appendix D.
    """

    def __init__(
        self,
        *,
        v: int,
        s: int,
        L: int,
        width: int = 64,
        hidden: int | None = None,
        n_blocks: int | None = None,
        n_heads: int = 4,
        dropout: float = 0.0,
        activation: Activation = "gelu",
        layer_norm: Placement = "pre",
        causal: bool = False,
        linear_std: float | None = None,
        token_std: float = 1.0,
        position_std: float = 0.3,
        model_seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(v=v, s=s, L=L, width=width)
        hidden = 4 * width if hidden is None else hidden
        n_blocks = 2 * L if n_blocks is None else n_blocks
        for name, value in (("hidden", hidden), ("n_blocks", n_blocks), ("n_heads", n_heads)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1. Found {name}={value}.")
        if width % n_heads:
            raise ValueError(f"width must be a multiple of n_heads={n_heads}. Found width={width}.")
        if layer_norm not in get_args(Placement):
            raise ValueError(
                f"layer_norm must be one of {get_args(Placement)}. Found layer_norm={layer_norm!r}."
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1). Found dropout={dropout}.")
        self.n_targets, self.causal = n_blocks, causal
        with torch.device("meta"):
            self.embedding = _Embedding(v + 1, self.n_leaves, width, dropout)
            self.blocks = nn.ModuleList(
                _Block(
                    width,
                    n_heads,
                    hidden,
                    dropout=dropout,
                    causal=causal,
                    activation=activation,
                    layer_norm=layer_norm,
                )
                for _ in range(n_blocks)
            )
            self.norm = nn.LayerNorm(width)
        self.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(model_seed)
        initialise(self, generator, linear_std=linear_std, token_std=token_std)
        nn.init.normal_(self.embedding.position.weight, std=position_std, generator=generator)
        self.to(device)

    def encode(self, tokens: Tensor, mask: Tensor | None = None, *, final: bool = True) -> Encoding:
        """Encode strings; see :meth:`Encoder.encode`. The last states are there in any case."""
        states = self.embedding(self._ids(tokens, mask))
        outputs = []
        for block in self.blocks:
            states, output = block(states)
            outputs.append(Features.of(output))
        return Encoding(outputs, Features.of(self.norm(states)))

    def read(self, encoding: Encoding, at: Tensor) -> Tensor:
        """States at leaves; see :meth:`Encoder.read`."""
        assert encoding.final is not None
        return encoding.final.at(at)

    def _node_parts(self, tokens: Tensor) -> list[Tensor]:
        encoding = self.encode(tokens)
        assert encoding.final is not None
        states = torch.stack([part.dense() for part in [*encoding.features, encoding.final]])
        levels = []
        for level in range(1, self.L + 1):
            levels.append(states.unflatten(2, (-1, self.s**level)).mean(3))
        return levels


def target_mean(
    encoding: Encoding,
    at: Tensor,
    n_leaves: int,
    which: Sequence[int],
    *,
    normalise_layers: bool = True,
    normalise_target: bool = False,
) -> Tensor:
    """Mean over levels or blocks of the feature at a leaf, or at its ancestor, layer-normalised.

    Parameters
    ----------
    encoding : Encoding
    at : Tensor of int64, shape (M,)
        Leaves, as in :meth:`Encoder.read`.
    n_leaves : int
        s**L.
    which : sequence of int
        Places in `encoding.features`.
    normalise_layers, normalise_target : bool
        Whether each term, and whether the mean, is normalised, without gain or bias.

    Returns
    -------
    Tensor, shape (M, width)
    """
    parts = []
    for k in which:
        features = encoding.features[k]
        parts.append(features.at(at // (n_leaves // features.positions)))
    terms, shape = torch.stack(parts), parts[0].shape[-1:]
    mean = (functional.layer_norm(terms, shape) if normalise_layers else terms).mean(0)
    return functional.layer_norm(mean, shape) if normalise_target else mean
