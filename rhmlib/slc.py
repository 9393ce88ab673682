"""The stacked latent-clustering network, SLC (paper, Section 4 and Appendix C.1).

Every tensor has a leading dimension of R replicas: R networks of one shape, with their own
parameters and their own data, computed together. No operation mixes replicas.

Where the paper writes tokens as (B, d_h, s^(L-l)), channels come last here, (R, B, s^(L-l), d_h), so
that the convolutions of kernel s and stride s are plain matrix products on patches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

StopGradient = Literal["none", "modules", "modules+clusterer"]
Activation = Literal["gelu", "relu", "silu"]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "silu": functional.silu,
}


# ---------------------------------------------------------------- data


def take(rows: Tensor, index: Tensor) -> Tensor:
    """Gather rows, replica by replica.

    Parameters
    ----------
    rows : Tensor, shape (R, D, *rest)
    index : Tensor of int64, shape (R, *shape)
        In 0 .. D-1.

    Returns
    -------
    Tensor, shape (R, *shape, *rest)
    """
    replicas, count = rows.shape[:2]
    offset = torch.arange(0, replicas * count, count, device=rows.device)
    flat = index + offset.view(-1, *(1,) * (index.ndim - 1))
    picked = rows.reshape(replicas * count, -1).index_select(0, flat.reshape(-1))
    return picked.view(*index.shape, *rows.shape[2:])


@dataclass(frozen=True)
class Patches:
    """R sets of strings, with their distinct patches at the lower levels listed once.

    At level l a patch is an s-tuple of level-l tokens. What a network computes of it depends on
    the s^(l+1) visible tokens below it alone, and at low levels few such blocks exist: v m at level 0.
    Computing on the list of distinct ones and looking the result up gives the same numbers as
    computing on all patches of a batch, at a fraction of the cost.

    Attributes
    ----------
    symbols : Tensor of int64, shape (R, D_0, s)
        The distinct patches of level 0, as symbols.
    children : tuple of Tensors of int64, shapes (R, D_l, s) for l = 1 .. listed-1
        The distinct patches of level l, as numbers of level-(l-1) patches.
    index : Tensor of int32, shape (R, n, s^(L-top-1))
        The strings: the number of every patch of level `top` = max(listed, 1) - 1. Sets smaller
        than n are padded.
    listed : int
        Levels at which modules compute on the list. 0 where even the level-0 patches of a batch
        are fewer than the distinct ones.
    sizes : tuple of R ints
        Strings in each set.
    """

    symbols: Tensor
    children: tuple[Tensor, ...]
    index: Tensor
    listed: int
    sizes: tuple[int, ...]

    @classmethod
    def build(
        cls,
        strings: Sequence[NDArray[np.integer]],
        *,
        s: int,
        batch: int | None = None,
        device: torch.device | str = "cpu",
    ) -> Patches:
        """List the distinct patches of R sets of strings.

        Parameters
        ----------
        strings : sequence of R arrays of int, shape (n_r, s**L)
            One set of strings a replica; all of one length.
        s : int
            Branching.
        batch : int, optional
            Strings in a batch, which decides how many levels are worth listing. Default: all.
        device : torch.device or str

        Returns
        -------
        Patches

        Raises
        ------
        ValueError
            If there is no set, or if lengths differ or are no power of s.
        """
        length = _check_strings(strings, s)
        most = batch if batch is not None else max(len(tokens) for tokens in strings)
        per_string = length // s
        numbers, tuples = _number(strings, s)
        tables, listed = [tuples], int(tuples.shape[1] <= most * per_string)
        while listed == len(tables) and per_string // s >= s:
            per_string //= s
            above, pairs = _number(numbers, s)
            if pairs.shape[1] > most * per_string:
                break
            numbers, listed = above, listed + 1
            tables.append(pairs)
        sizes = tuple(len(part) for part in numbers)
        index = np.zeros((len(sizes), max(sizes), numbers[0].shape[1]), dtype=np.int32)
        for row, part in zip(index, numbers, strict=True):
            row[: len(part)] = part
        placed = [torch.from_numpy(array).to(device) for array in (index, *tables)]
        return cls(placed[1], tuple(placed[2:]), placed[0], listed, sizes)

    def select(self, strings: Tensor) -> Tensor:
        """Return the patch numbers of chosen strings.

        Parameters
        ----------
        strings : Tensor of int64, shape (R, B)

        Returns
        -------
        Tensor of int64, shape (R, B, s^(L-top-1))
        """
        return take(self.index, strings).long()

    def numbers(self, index: Tensor) -> list[Tensor]:
        """Return the patch numbers of a batch at every level that has a list.

        Parameters
        ----------
        index : Tensor of int64, shape (R, B, s^(L-top-1))
            As from :meth:`select`.

        Returns
        -------
        list of Tensors of int64, shapes (R, B s^(L-l-1)) for l = 0 .. top
        """
        out = [index.flatten(1)]
        for children in reversed(self.children):
            out.insert(0, take(children, out[0]).flatten(1))
        return out


def _check_strings(strings: Sequence[NDArray[np.integer]], s: int) -> int:
    lengths = {tokens.shape[1] if tokens.ndim == 2 else 0 for tokens in strings}
    length = max(lengths, default=0)
    depth = round(math.log(length, s)) if length > 1 else 0
    if len(lengths) != 1 or depth < 2 or s**depth != length:
        raise ValueError(
            f"strings must be arrays of one shape (n, s**L) with s={s} and L >= 2. "
            f"Found shapes {[tokens.shape for tokens in strings]}."
        )
    return length


def _number(
    strings: Sequence[NDArray[np.integer]], s: int
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Number the distinct s-tuples of each set, (n, k s) -> (n, k), and list them, (R, D, s), padded."""
    base = max(int(tokens.max()) for tokens in strings) + 1
    powers = base ** np.arange(s - 1, -1, -1, dtype=np.int64)
    numbers, tables = [], []
    for tokens in strings:
        codes = tokens.astype(np.int64).reshape(len(tokens), -1, s) @ powers
        distinct, inverse = np.unique(codes, return_inverse=True)
        numbers.append(inverse.reshape(codes.shape))
        tables.append(distinct[:, None] // powers % base)
    out = np.zeros((len(tables), max(map(len, tables)), s), dtype=np.int64)
    for row, table in zip(out, tables, strict=True):
        row[: len(table)] = table
    return numbers, out


# ---------------------------------------------------------------- losses


def cousin_tokens(tokens: Tensor, s: int) -> Tensor:
    """Arrange tokens as the targets of the patches that predict them (Fig. 8).

    Parameters
    ----------
    tokens : Tensor, shape (R, N s, d_h)
        The level-l tokens of a batch, in order: token t of patch b under grandparent g has the
        index g s^2 + b s + t.
    s : int

    Returns
    -------
    Tensor, shape (R, N/s, s, s-1, s, d_h)
        Grandparent, position of the predicting patch, cousin (the positions other than its own, in
        order), token in the cousin, identity.
    """
    replicas, count, d_h = tokens.shape
    patches = tokens.view(replicas, count // s**2, s, s * d_h)
    cousins = [torch.cat([patches[:, :, :p], patches[:, :, p + 1 :]], 2) for p in range(s)]
    return torch.stack(cousins, 2).view(replicas, count // s**2, s, s - 1, s, d_h)


def place_targets(cousins: Tensor, numbers: Tensor | None, rows: int) -> Tensor:
    """Put each target on the row, and on the slice of it, that predicts it.

    Parameters
    ----------
    cousins : Tensor, shape (R, N/s, s, s-1, s, d_h)
        As from :func:`cousin_tokens`.
    numbers : Tensor of int64, shape (R, N), or None
        The row that stands for each patch, where rows are listed; None where row j is patch j.
    rows : int
        Number of rows.

    Returns
    -------
    Tensor, shape (R, rows, s, s-1, s, d_h)
        The sum of the targets of all patches that a row stands for, at their true positions; zero
        at slices that predict nothing.
    """
    replicas, grandparents, s = cousins.shape[:3]
    if numbers is None:
        out = cousins.new_zeros(replicas, grandparents, s, *cousins.shape[2:])
        for p in range(s):
            out[:, :, p, p] = cousins[:, :, p]
        return out.flatten(1, 2)
    cell = numbers.view(replicas, -1, s) * s + torch.arange(s, device=numbers.device)
    cell = cell + torch.arange(0, replicas * rows * s, rows * s, device=numbers.device).view(-1, 1, 1)
    out = cousins.new_zeros(replicas * rows * s, cousins[0, 0, 0].numel())
    out.index_add_(0, cell.flatten(), cousins.reshape(cell.numel(), -1))
    return out.view(replicas, rows, s, *cousins.shape[3:])


def add_prior(placed: Tensor, cousins: Tensor, numbers: Tensor | None, weight: float) -> Tensor:
    """Let every slice of a row predict the mean target a little, whether it was at that position or not.

    A patch that never occurs at a position has no target there; its slice is then whatever training on
    other patches makes of it, differs between synonyms, and enters their similarity all the same.
    With a prior it is the mean prediction, which vanishes after centring. Where a patch does occur, its
    targets are mixed with the mean: additive smoothing of the empirical context.

    Parameters
    ----------
    placed : Tensor, shape (R, rows, s, s-1, s, d_h)
        As from :func:`place_targets`.
    cousins : Tensor, shape (R, N/s, s, s-1, s, d_h)
        As from :func:`cousin_tokens`.
    numbers : Tensor of int64, shape (R, N), or None
        As for :func:`place_targets`.
    weight : float
        Of the mean target, against 1 for a target.

    Returns
    -------
    Tensor, shape of `placed`
    """
    mean = cousins.mean(1, keepdim=True) * weight
    if numbers is None:
        return placed + mean
    count = torch.zeros_like(placed[:, :, 0, 0, 0, 0])
    count.scatter_add_(1, numbers, torch.ones_like(numbers, dtype=count.dtype))
    return torch.addcmul(placed, mean, count.view(*count.shape, 1, 1, 1, 1))


def prediction_loss(log_p: Tensor, targets: Tensor, terms: int) -> Tensor:
    """Cross-entropy of predictions against the tokens of cousin patches, eq. (5).

    Parameters
    ----------
    log_p : Tensor, shape (R, rows, s, s-1, s, d_h)
        Log-predictions, eq. (4).
    targets : Tensor of the same shape
        Tokens as the teacher gives them, as from :func:`place_targets`.
    terms : int
        Targets a replica: N (s-1) s for a batch of N patches.

    Returns
    -------
    Tensor, shape (R,)
        In nats; the mean over grandparents, positions, cousins and tokens.
    """
    return (targets * log_p).flatten(1).sum(1) / -terms


def similarity(predictions: Tensor) -> Tensor:
    """Scaled cosine similarity of centred predictions, eq. (7): S_ij = (1 + cos) / 2.

    Parameters
    ----------
    predictions : Tensor, shape (R, K, C)
        K prediction vectors a replica; they are centred over K here.

    Returns
    -------
    Tensor, shape (R, K, K)
        In [0, 1]. A vector equal to the mean has no direction: its similarities are 1/2.
    """
    centred = predictions - predictions.mean(1, keepdim=True)
    unit = functional.normalize(centred, dim=2)
    return torch.bmm(unit, unit.transpose(1, 2)).add_(1).div_(2)


def similarity_loss(S: Tensor, q: Tensor, margin: float) -> Tensor:
    """Mean over pairs of max(0, S_ij - margin) (1 - q_i . q_j), eq. (9).

    Parameters
    ----------
    S : Tensor, shape (R, K, K)
    q : Tensor, shape (R, K, d_h)
        Soft assignments.
    margin : float
        In [0, 1).

    Returns
    -------
    Tensor, shape (R,)
    """
    apart = 1 - torch.bmm(q, q.transpose(1, 2))
    return ((S - margin).clamp(min=0) * apart).mean((1, 2))


def separation_loss(S: Tensor, q: Tensor) -> Tensor:
    """Mean over pairs of (1 - S_ij) q_i . q_j, eq. (10).

    Parameters
    ----------
    S : Tensor, shape (R, K, K)
    q : Tensor, shape (R, K, d_h)

    Returns
    -------
    Tensor, shape (R,)
    """
    return ((1 - S) * torch.bmm(q, q.transpose(1, 2))).mean((1, 2))


def norm_loss(q: Tensor) -> Tensor:
    """Minus the mean squared norm of assignments, eq. (11).

    Parameters
    ----------
    q : Tensor, shape (R, K, d_h)

    Returns
    -------
    Tensor, shape (R,)
        From -1 (hard assignments) to -1/d_h (uniform ones).
    """
    return -q.square().sum(2).mean(1)


class ClusterWeights(NamedTuple):
    """Margin and weights of the clustering loss, eq. (8).

    Attributes
    ----------
    margin : float
        Similarity above which two patches attract each other.
    similarity, separation, norm : float
        Weights of eqs (9), (10) and (11).
    """

    margin: float = 0.8
    similarity: float = 1.0
    separation: float = 4.0
    norm: float = 0.0


def clustering_loss(S: Tensor, q: Tensor, weights: ClusterWeights) -> Tensor:
    """Weighted sum of similarity, separation and norm loss, eq. (8).

    Parameters
    ----------
    S : Tensor, shape (R, K, K)
        Similarities of the teacher's predictions.
    q : Tensor, shape (R, K, d_h)
        The student's assignments of the same K patches.
    weights : ClusterWeights

    Returns
    -------
    Tensor, shape (R,)

    Notes
    -----
    But for the norm, the loss is linear in the overlaps q_i . q_j. With the coefficients C_ij,
    which carry no gradient, their sum is that of q_i . (C q)_i, and no K x K array is differentiated.
    """
    with torch.no_grad():
        pull = (S - weights.margin).clamp_(min=0).mul_(weights.similarity)
        coefficients = (1 - S).mul_(weights.separation).sub_(pull)
    pairs = S.shape[1] ** 2
    loss = pull.mean((1, 2)) + (q * torch.bmm(coefficients, q)).sum((1, 2)) / pairs
    return loss + weights.norm * norm_loss(q) if weights.norm else loss


# ---------------------------------------------------------------- the network


class LevelOutput(NamedTuple):
    """What module l says of the patches of level l.

    The rows are the distinct patches of :class:`Patches` at listed levels, else all patches of
    the batch in order.

    Attributes
    ----------
    log_p : Tensor, shape (R, rows, s, s-1, s, d_h)
        Log-predictions, eq. (4).
    logits : Tensor, shape (R, rows, d_h)
        Of the cluster assignment; its softmax is q, eq. (6).
    tokens : Tensor, shape (R, rows, d_h)
        Level-(l+1) tokens, softmax(logits / temperature).
    numbers : Tensor of int64, shape (R, N), or None
        The row of each of the N patches of the batch; None where the rows are these patches.
    """

    log_p: Tensor
    logits: Tensor
    tokens: Tensor
    numbers: Tensor | None

    def of_batch(self, rows: Tensor) -> Tensor:
        """Spread values of rows, (R, rows, *rest), over the patches of the batch, (R, N, *rest)."""
        return rows if self.numbers is None else take(rows, self.numbers)


def _initial(
    shapes: Sequence[tuple[int, int]], gains: Sequence[float], generators: Sequence[torch.Generator]
) -> Tensor:
    """Draw layers uniformly in ±1/sqrt(fan in), as torch's own; on the host, replica by replica."""
    rows = []
    for generator in generators:
        parts = []
        for (fan_in, out), gain in zip(shapes, gains, strict=True):
            bound = 1 / math.sqrt(fan_in)
            weight = (2 * torch.rand(fan_in * out, generator=generator) - 1) * bound * gain
            parts += [weight, (2 * torch.rand(out, generator=generator) - 1) * bound]
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def _layers(theta: Tensor, shapes: Sequence[tuple[int, int]]) -> list[tuple[Tensor, Tensor]]:
    """View a row of numbers as weights (R, in, out) and biases (R, 1, out)."""
    parts = theta.split([size for fan_in, out in shapes for size in (fan_in * out, out)], dim=1)
    return [
        (weight.view(-1, *shape), bias.unsqueeze(1))
        for weight, bias, shape in zip(parts[::2], parts[1::2], shapes, strict=True)
    ]


class SLC(nn.Module):
    """R stacks of L-1 modules, each a predictor and a clusterer.

    Module l reads level-l tokens and writes level-(l+1) tokens. Its predictor (three layers,
    eq. 4) maps an s-tuple to distributions over the tokens of its cousins; its clusterer (two layers,
    eq. 6) maps those distributions to a code among d_h.

    Parameters
    ----------
    s, L : int
        Branching and depth, L >= 2.
    d_h : int
        Number of codes, and of token identities; at least v.
    width : int
        Hidden width of both parts.
    model_seeds : sequence of R ints
        Replica r is initialised from ``model_seeds[r]`` alone, on any device alike.
    activation : {"gelu", "relu", "silu"}
    temperature : float
        Of the tokens that are passed on. 0 makes them hard; gradients then pass as if it were 1
        ("straight through").
    gain : float
        Factor on the initial V1. Predictions are nearly uniform at first, and differ little as
        numbers; with a larger V1 the clusterer tells them apart from the start.
    stop_gradient : {"none", "modules", "modules+clusterer"}
        Where gradients stop: nowhere, between modules, or also between predictor and clusterer.
    products : torch.dtype, optional
        Type in which the layers are multiplied, such as ``torch.bfloat16``; default: that of the
        parameters. Predictions, similarities and losses keep the parameters' type: differences
        between nearly uniform predictions are what the clusterer lives on at first.
    device, dtype
        Of the parameters.

    Attributes
    ----------
    predictors, clusterers : lists of L-1 Parameters, shapes (R, N_p) and (R, N_c)
        All numbers of a module's part in one row a replica.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    Section 4; Appendix C.1, eqs (4)-(6), Fig. 7.

    Examples
    --------
    >>> import numpy as np
    >>> from rhmlib import Grammar
    >>> strings = Grammar.random(v=8, m=2, s=2, L=3, seed=0).sample(10, np.random.default_rng(0)).tokens
    >>> slc = SLC(s=2, L=3, d_h=16, width=32, model_seeds=[0])
    >>> [tuple(codes.shape) for codes in slc.encode(Patches.build([strings], s=2))]
    [(1, 10, 4), (1, 10, 2)]
    """

    def __init__(
        self,
        *,
        s: int,
        L: int,
        d_h: int,
        width: int,
        model_seeds: Sequence[int],
        activation: Activation = "gelu",
        temperature: float = 1.0,
        gain: float = 1.0,
        stop_gradient: StopGradient = "none",
        products: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        for name, value, least in (("s", s, 2), ("L", L, 2), ("d_h", d_h, 2), ("width", width, 1)):
            if value < least:
                raise ValueError(f"{name} must be an integer >= {least}. Found {name}={value!r}.")
        if not model_seeds:
            raise ValueError("model_seeds must hold one seed a replica. Found none.")
        if activation not in _ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {sorted(_ACTIVATIONS)}. Found activation={activation!r}."
            )
        if stop_gradient not in get_args(StopGradient):
            raise ValueError(
                f"stop_gradient must be one of {get_args(StopGradient)}. "
                f"Found stop_gradient={stop_gradient!r}."
            )
        for name, number in (("temperature", temperature), ("gain", gain)):
            if number < 0:
                raise ValueError(f"{name} must be >= 0. Found {name}={number!r}.")
        self.s, self.L, self.d_h, self.width = s, L, d_h, width
        self.activation, self.temperature, self.stop_gradient = activation, temperature, stop_gradient
        self.products = products or dtype
        out = s * (s - 1) * s * d_h
        self._predictor_shapes = [(s * d_h, width), (width, width), (width, out)]
        self._clusterer_shapes = [(out, width), (width, d_h)]
        generators = [torch.Generator().manual_seed(int(seed)) for seed in model_seeds]
        self.predictors, self.clusterers = nn.ParameterList(), nn.ParameterList()
        for _ in range(L - 1):
            predictor = _initial(self._predictor_shapes, [1.0, 1.0, 1.0], generators)
            clusterer = _initial(self._clusterer_shapes, [gain, 1.0], generators)
            self.predictors.append(nn.Parameter(predictor.to(device, dtype)))
            self.clusterers.append(nn.Parameter(clusterer.to(device, dtype)))

    @property
    def replicas(self) -> int:
        """Number of replicas, R."""
        return int(self.predictors[0].shape[0])

    @property
    def dtype(self) -> torch.dtype:
        """Type of the parameters."""
        return self.predictors[0].dtype

    def reach(self) -> list[set[int]]:
        """Tell which parameters each of the 2(L-1) losses moves.

        Returns
        -------
        list of sets of int
            For the prediction losses of modules 0 .. L-2, then the clustering losses: the places
            in ``list(parameters())``, where the predictors come first and then the clusterers.
        """
        count = self.L - 1
        prediction, clustering = [], []
        for level in range(count):
            lower = range(level) if self.stop_gradient == "none" else ()
            below = {k for j in lower for k in (j, count + j)}
            prediction.append(below | {level})
            own = {count + level} if self.stop_gradient == "modules+clusterer" else {level, count + level}
            clustering.append(below | own)
        return prediction + clustering

    def predictor(self, level: int, patches: Tensor) -> Tensor:
        """Logarithm of eq. (4).

        Parameters
        ----------
        level : int
            Which module, 0 .. L-2.
        patches : Tensor, shape (R, rows, s d_h)

        Returns
        -------
        Tensor, shape (R, rows, s, s-1, s, d_h)
            Position of the patch, cousin, token in the cousin, identity.
        """
        hidden = self._stack(_layers(self.predictors[level], self._predictor_shapes), patches)
        shape = (*hidden.shape[:2], self.s, self.s - 1, self.s, self.d_h)
        return functional.log_softmax(hidden.view(shape), dim=-1)

    def clusterer(self, level: int, predictions: Tensor) -> Tensor:
        """Logits of eq. (6).

        Parameters
        ----------
        level : int
        predictions : Tensor, shape (R, rows, s, s-1, s, d_h)

        Returns
        -------
        Tensor, shape (R, rows, d_h)
        """
        return self._stack(_layers(self.clusterers[level], self._clusterer_shapes), predictions.flatten(2))

    def _stack(self, layers: Sequence[tuple[Tensor, Tensor]], hidden: Tensor) -> Tensor:
        act, kind = _ACTIVATIONS[self.activation], self.products
        hidden = hidden.to(kind)
        for i, (weight, bias) in enumerate(layers):
            hidden = torch.baddbmm(bias.to(kind), act(hidden) if i else hidden, weight.to(kind))
        return hidden.to(self.dtype)

    def tokens(self, logits: Tensor) -> Tensor:
        """Tokens passed on: softmax(logits / temperature), or one-hot at temperature 0."""
        if self.temperature > 0:
            return functional.softmax(logits / self.temperature, dim=-1)
        soft = functional.softmax(logits, dim=-1)
        hard = functional.one_hot(logits.argmax(-1), self.d_h).to(soft.dtype)
        return hard + (soft - soft.detach())

    def one_hot(self, patches: Patches) -> Tensor:
        """Level-0 tokens of the distinct patches as one-hot vectors, shape (R, D_0, s, d_h)."""
        return functional.one_hot(patches.symbols, self.d_h).to(self.dtype)

    def forward(self, patches: Patches, index: Tensor, visible: Tensor | None = None) -> list[LevelOutput]:
        """Compute all modules on a batch.

        Parameters
        ----------
        patches : Patches
        index : Tensor of int64, shape (R, B, ...)
            The batch, as from ``patches.select``.
        visible : Tensor, optional
            What :meth:`one_hot` returns, if it was computed before.

        Returns
        -------
        list of L-1 LevelOutput
        """
        visible = self.one_hot(patches) if visible is None else visible
        numbers = patches.numbers(index)
        below = LevelOutput(visible, visible, visible, None)
        out: list[LevelOutput] = []
        for level in range(self.L - 1):
            listed = level < patches.listed
            if level == 0:
                inputs = visible if listed else take(visible, numbers[0])
            elif listed:
                inputs = take(below.tokens, patches.children[level - 1])
            else:
                inputs = below.of_batch(below.tokens)
            if self.stop_gradient != "none":
                inputs = inputs.detach()
            rows = numbers[level] if listed else None
            below = self._module(level, inputs, rows)
            out.append(below)
        return out

    def _module(self, level: int, inputs: Tensor, rows: Tensor | None) -> LevelOutput:
        log_p = self.predictor(level, inputs.reshape(self.replicas, -1, self.s * self.d_h))
        predictions = log_p.detach() if self.stop_gradient == "modules+clusterer" else log_p
        logits = self.clusterer(level, predictions.exp())
        return LevelOutput(log_p, logits, self.tokens(logits), rows)

    @torch.no_grad()
    def encode(self, patches: Patches, *, batch: int = 4096) -> list[Tensor]:
        """Hard codes of all strings.

        Parameters
        ----------
        patches : Patches
        batch : int
            Strings computed at once.

        Returns
        -------
        list of L-1 Tensors of int64
            Codes of levels 1 .. L-1, shapes (R, n, s^(L-1)) .. (R, n, s).
        """
        return [logits.argmax(-1) for logits in self._all_logits(patches, batch)]

    @torch.no_grad()
    def soft_codes(self, patches: Patches, *, batch: int = 4096) -> Tensor:
        """Soft codes q of the top level L-1, eq. (6), shape (R, n, s, d_h)."""
        return functional.softmax(self._all_logits(patches, batch)[-1], dim=-1)

    def _all_logits(self, patches: Patches, batch: int) -> list[Tensor]:
        parts = []
        for index in patches.index.split(batch, dim=1):
            outputs = self(patches, index.long())
            parts.append([level.of_batch(level.logits) for level in outputs])
        shape = (self.replicas, patches.index.shape[1], -1, self.d_h)
        return [torch.cat(level, 1).view(shape) for level in zip(*parts, strict=True)]


class Losses(NamedTuple):
    """The 2(L-1) losses of a batch.

    Attributes
    ----------
    prediction : Tensor, shape (R, L-1)
        Eq. (5), module by module.
    clustering : Tensor, shape (R, L-1)
        Eq. (8).
    """

    prediction: Tensor
    clustering: Tensor


def slc_losses(
    student: SLC,
    teacher: SLC | None,
    patches: Patches,
    index: Tensor,
    subsets: Sequence[Tensor | None],
    weights: ClusterWeights,
    visible: Tensor | None = None,
    prior: float = 0.0,
) -> Losses:
    """All losses of a batch, eqs (5) and (8).

    Parameters
    ----------
    student : SLC
    teacher : SLC or None
        None: the student is its own teacher, its outputs taken as constants.
    patches : Patches
    index : Tensor of int64, shape (R, B, ...)
    subsets : sequence of L-1 Tensors of int64, shape (R, K), or None
        Patches of the batch on which the clustering loss of each level is computed. None: all.
    weights : ClusterWeights
    visible : Tensor, optional
        What ``student.one_hot(patches)`` returns.
    prior : float
        Weight of the mean target, see :func:`add_prior`; 0 is eq. (5) as it stands.

    Returns
    -------
    Losses
    """
    visible = student.one_hot(patches) if visible is None else visible
    outputs = student(patches, index, visible)
    references = teacher_outputs(outputs, teacher, patches, index, visible)
    return Losses(
        prediction_losses(outputs, references, patches, index, visible, prior),
        clustering_losses(outputs, references, subsets, weights),
    )


def teacher_outputs(
    outputs: Sequence[LevelOutput], teacher: SLC | None, patches: Patches, index: Tensor, visible: Tensor
) -> list[LevelOutput]:
    """Return what the teacher says of a batch, without gradient; the student's own where there is none."""
    if teacher is None:
        return [
            LevelOutput(log_p.detach(), logits.detach(), tokens.detach(), numbers)
            for log_p, logits, tokens, numbers in outputs
        ]
    with torch.no_grad():
        return teacher(patches, index, visible)


def prediction_losses(
    outputs: Sequence[LevelOutput],
    references: Sequence[LevelOutput],
    patches: Patches,
    index: Tensor,
    visible: Tensor,
    prior: float = 0.0,
) -> Tensor:
    """Eq. (5) for all modules, shape (R, L-1); arguments as for :func:`slc_losses`."""
    s = visible.shape[2]
    targets = take(visible, patches.numbers(index)[0]).flatten(1, 2)  # (R, N s, d_h)
    out = []
    for level, reference in zip(outputs, references, strict=True):
        with torch.no_grad():
            cousins = cousin_tokens(targets, s)
            placed = place_targets(cousins, level.numbers, level.log_p.shape[1])
            if prior:
                placed = add_prior(placed, cousins, level.numbers, prior)
        out.append(prediction_loss(level.log_p, placed, targets.shape[1] * (s - 1)))
        targets = reference.of_batch(reference.tokens)
    return torch.stack(out, 1)


def clustering_losses(
    outputs: Sequence[LevelOutput],
    references: Sequence[LevelOutput],
    subsets: Sequence[Tensor | None],
    weights: ClusterWeights,
) -> Tensor:
    """Eq. (8) for all modules, shape (R, L-1); arguments as for :func:`slc_losses`."""
    out = []
    for level, reference, subset in zip(outputs, references, subsets, strict=True):
        chosen = _compose(level.numbers, subset)
        S = similarity(_rows(reference.log_p, chosen).exp().flatten(2))
        out.append(clustering_loss(S, functional.softmax(_rows(level.logits, chosen), dim=-1), weights))
    return torch.stack(out, 1)


def _compose(numbers: Tensor | None, subset: Tensor | None) -> Tensor | None:
    """Rows of a subset of the batch's patches."""
    if subset is None or numbers is None:
        return subset if numbers is None else numbers
    return numbers.gather(1, subset)


def _rows(values: Tensor, chosen: Tensor | None) -> Tensor:
    return values if chosen is None else take(values, chosen)
