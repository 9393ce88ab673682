"""Training by gradient descent: one loop for networks with a leading dimension of replicas.

A model's parameters have the shape (R, ...), and its losses the shape (R, K): K losses for each
of R replicas, which no operation mixes. Their gradients are combined by summing the losses, or
by Jacobian descent with UPGrad, replica by replica.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torchjd.aggregation import UPGradWeighting
from torchjd.linalg import QuadprogProjector

Aggregation = Literal["sum", "upgrad"]

# Random choices are drawn on the host for so many steps at once, and moved to the device together.
_CHUNK = 64


# ---------------------------------------------------------------- batches and steps


def seed_for(seed: int, purpose: int) -> int:
    """Derive the seed of one random stream from a run's seed, independent of other purposes."""
    return int(np.random.SeedSequence([seed, purpose]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def log_spaced(steps: int, count: int, first: int = 10) -> list[int]:
    """Steps at which to evaluate: about `count` of them, evenly spaced on a logarithmic axis.

    Parameters
    ----------
    steps : int
        The last one.
    count : int
        At least 1.
    first : int
        The first one.

    Returns
    -------
    list of int
        Ascending, distinct, `steps` among them.

    Examples
    --------
    >>> log_spaced(1000, 5)
    [10, 32, 100, 316, 1000]
    """
    if count < 1 or steps < 1:
        raise ValueError(f"steps and count must be >= 1. Found steps={steps}, count={count}.")
    grid = np.geomspace(min(first, steps), steps, count) if count > 1 else np.array([steps])
    return sorted({round(float(x)) for x in grid} | {steps})


class Batches:
    """Batches of string numbers for R replicas, each with its own strings and its own order.

    Every replica goes through its strings in a fresh random order an epoch; a batch may straddle two
    epochs. All random numbers of a replica come from its own generator, on the host, so that they
    depend neither on the other replicas nor on the device.

    Parameters
    ----------
    sizes : sequence of R ints
        Strings of each replica.
    batch_size : int
    generators : sequence of R torch.Generator
        On the CPU.
    """

    def __init__(self, sizes: Sequence[int], batch_size: int, generators: Sequence[torch.Generator]) -> None:
        if batch_size < 1 or min(sizes) < 1:
            raise ValueError(
                f"batch_size and sizes must be >= 1. Found batch_size={batch_size}, sizes={list(sizes)}."
            )
        self.sizes, self.batch_size, self.generators = list(sizes), batch_size, list(generators)
        self._rest = [torch.empty(0, dtype=torch.int64) for _ in sizes]

    def draw(self, steps: int) -> Tensor:
        """Return the next batches, shape (steps, R, batch_size), int64, on the CPU."""
        need = steps * self.batch_size
        rows = []
        for r, (size, generator) in enumerate(zip(self.sizes, self.generators, strict=True)):
            parts, have = [self._rest[r]], len(self._rest[r])
            while have < need:
                parts.append(torch.randperm(size, generator=generator))
                have += size
            order = torch.cat(parts)
            self._rest[r] = order[need:].clone()
            rows.append(order[:need].view(steps, self.batch_size))
        return torch.stack(rows, 1)


def draw_subsets(steps: int, count: int, size: int, generators: Sequence[torch.Generator]) -> Tensor | None:
    """Draw random subsets without replacement.

    Parameters
    ----------
    steps, count, size : int
        `size` of `count` things, for each of `steps` steps.
    generators : sequence of R torch.Generator
        One a replica, on the CPU.

    Returns
    -------
    Tensor of int64, shape (steps, R, size), or None
        None where `size` >= `count`: all are taken, and nothing is drawn.
    """
    if size >= count:
        return None
    keys = [torch.rand(steps, count, generator=generator) for generator in generators]
    return torch.stack(keys, 1).topk(size, sorted=False).indices


# ---------------------------------------------------------------- Jacobian descent


def share_passes(reach: Sequence[set[int]]) -> list[list[int]]:
    """Group losses that move no parameter in common: one backward pass serves a group.

    Parameters
    ----------
    reach : sequence of K sets of int
        The parameters that each loss moves.

    Returns
    -------
    list of lists of int
        Numbers of losses, grouped first-fit. A single group means that no two losses share a
        parameter, i.e. that the Gramian of their gradients is diagonal.

    Examples
    --------
    >>> share_passes([{0}, {1}, {0, 2}, {1, 3}])
    [[0, 1], [2, 3]]
    """
    groups: list[list[int]] = []
    taken: list[set[int]] = []
    for number, parameters in enumerate(reach):
        for group, used in zip(groups, taken, strict=True):
            if not used & parameters:
                group.append(number)
                used |= parameters
                break
        else:
            groups.append([number])
            taken.append(set(parameters))
    return groups


class Jacobian:
    """Gradients of K losses for R replicas, as blocks that are not zero by construction.

    Parameters
    ----------
    losses : Tensor, shape (R, K)
        Row r depends on replica r's parameters alone.
    parameters : sequence of Tensors, shape (R, ...)
    reach : sequence of K sets of int
        The places of the parameters that each loss moves.

    Attributes
    ----------
    rows : list of Tensors, shape (R, k_j, N_j)
        For parameter j, the gradients of the k_j losses that move it.
    losses_of : list of lists of int
        Which losses these are.

    Notes
    -----
    The sum over replicas of a loss has the gradients of all replicas at once. Losses that share no
    parameter share a backward pass: 2(L-1) passes for an SLC trained end to end, 2 with
    stop-gradients between modules.
    """

    def __init__(self, losses: Tensor, parameters: Sequence[Tensor], reach: Sequence[set[int]]) -> None:
        found: list[dict[int, Tensor]] = [{} for _ in parameters]
        groups = share_passes(reach)
        for last, group in zip([False] * (len(groups) - 1) + [True], groups, strict=True):
            owner = {j: k for k in group for j in reach[k]}
            inputs = [parameters[j] for j in owner]
            grads = torch.autograd.grad(losses[:, group].sum(), inputs, retain_graph=not last)
            for (j, k), grad in zip(owner.items(), grads, strict=True):
                found[j][k] = grad.flatten(1)
        self.count = losses.shape[1]
        self.losses_of = [sorted(blocks) for blocks in found]
        self.rows = [
            torch.stack([blocks[k] for k in which], 1)
            for blocks, which in zip(found, self.losses_of, strict=True)
        ]

    def gramian(self) -> Tensor:
        """Inner products of the K gradients, shape (R, K, K)."""
        replicas = self.rows[0].shape[0]
        out = self.rows[0].new_zeros(replicas, self.count, self.count)
        for rows, which in zip(self.rows, self.losses_of, strict=True):
            place = torch.tensor(which, device=rows.device)
            out[:, place[:, None], place] += torch.bmm(rows, rows.transpose(1, 2))
        return out

    def combine(self, weights: Tensor) -> list[Tensor]:
        """Weighted sums of the gradients.

        Parameters
        ----------
        weights : Tensor, shape (R, K)

        Returns
        -------
        list of Tensors, shape (R, N_j)
        """
        return [
            torch.bmm(weights[:, which].unsqueeze(1), rows).squeeze(1)
            for rows, which in zip(self.rows, self.losses_of, strict=True)
        ]


class UPGrad:
    """Weights of UPGrad for each replica, by torchjd, so that small gradients count too.

    UPGrad projects each gradient onto the dual cone of all of them, and averages. torchjd divides the
    Gramian by its trace and then adds ``reg_eps`` (1e-4 by default) to the diagonal; a Gramian whose
    trace is below ``norm_eps`` (1e-4) becomes zero. Where squared gradient norms span orders of
    magnitude, as with SLC's losses, a row below 1e-4 of the trace thus looks like a row in
    conflict with none, and is silently left unprotected.

    The dual cone does not change when gradients are rescaled, and the projection scales with the vector
    that is projected. So here torchjd gets the Gramian of the *unit* gradients, in double precision, and
    the norms as its preference vector: the same update, but every gradient is regularised in
    proportion to its own norm.

    Parameters
    ----------
    norm_eps, reg_eps : float
        torchjd's options.
    unit_rows : bool
        False passes the Gramian to torchjd as it is.

    Notes
    -----
    Replicas without any conflict (no negative entry) need no projection: their weights are 1/K, exactly.
    The others need a quadratic program each, which torchjd solves on the host: the one place where a
    step waits for the device.

    References
    ----------
    Quinton and Rey, "Jacobian descent for multi-objective optimization", arXiv 2406.16232.

    Examples
    --------
    >>> weights = UPGrad()(torch.tensor([[[1.0, -0.01], [-0.01, 1e-3]]]))
    >>> [round(float(w), 1) for w in weights[0]]
    [0.5, 5.5]
    """

    def __init__(self, *, norm_eps: float = 0.0, reg_eps: float = 1e-6, unit_rows: bool = True) -> None:
        self.projector = QuadprogProjector(norm_eps=norm_eps, reg_eps=reg_eps)
        self.unit_rows = unit_rows

    def __call__(self, gramian: Tensor) -> Tensor:
        """Return weights of shape (R, K) for Gramians of shape (R, K, K)."""
        on_host = gramian.detach().double().cpu()
        weights = torch.full(on_host.shape[:2], 1 / on_host.shape[1], dtype=torch.float64)
        for r in range(len(on_host)):
            if (on_host[r] < 0).any():
                weights[r] = self._weights(on_host[r])
        return weights.to(gramian)

    def _weights(self, gramian: Tensor) -> Tensor:
        if not self.unit_rows:
            return UPGradWeighting(projector=self.projector)(gramian)
        norms = gramian.diagonal().sqrt()
        inverse = torch.where(norms > 0, 1 / norms.clamp(min=1e-150), 0.0)
        unit = inverse[:, None] * gramian * inverse
        weighting = UPGradWeighting(pref_vector=norms / len(norms), projector=self.projector)
        return torch.where(norms > 0, weighting(unit) * inverse, 1 / len(norms))


# ---------------------------------------------------------------- the loop


def update_teacher(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """Move the teacher's weights towards the student's: w <- decay w + (1 - decay) w_student."""
    with torch.no_grad():
        torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - decay)


class Trainer:
    """A student, its teacher and its optimiser: one step at a time.

    Parameters
    ----------
    student : nn.Module
        All parameters of shape (R, ...), all of them moved by the losses.
    losses : callable
        ``losses(student, teacher, *batch)`` returns a Tensor of shape (R, K).
    reach : sequence of K sets of int
        Which parameters each loss moves.
    ema : float
        Decay of the teacher's moving average; at 0 there is none, and `teacher` is None.
    lr, weight_decay, eps : float
        Of AdamW.
    aggregation : {"sum", "upgrad"}
        How the K gradients become one.
    upgrad : UPGrad, optional
        How UPGrad's weights are found.

    Attributes
    ----------
    teacher : nn.Module or None
    diagonal : bool
        Whether no two losses share a parameter. UPGrad is then the mean of the losses, which AdamW
        cannot tell from their sum (but for eps), and no Jacobian is computed.
    weights : Tensor, shape (R, K)
        Times K, the weights of the last step, 1 for the plain mean.
    last_losses : Tensor, shape (R, K)
        Losses of the last step.

    Notes
    -----
    A step neither reads a value back from the device nor mixes replicas; UPGrad's quadratic program is
    the exception to the first.
    """

    def __init__(
        self,
        student: nn.Module,
        losses: Callable[..., Tensor],
        reach: Sequence[set[int]],
        *,
        ema: float,
        lr: float,
        weight_decay: float,
        eps: float = 1e-8,
        aggregation: Aggregation = "sum",
        upgrad: UPGrad | None = None,
    ) -> None:
        if aggregation not in get_args(Aggregation):
            raise ValueError(
                f"aggregation must be one of {get_args(Aggregation)}. Found aggregation={aggregation!r}."
            )
        if not 0 <= ema < 1:
            raise ValueError(f"ema must be in [0, 1). Found ema={ema!r}.")
        self.student, self.losses, self.reach = student, losses, list(reach)
        self.ema, self.aggregation = ema, aggregation
        self.teacher = copy.deepcopy(student).requires_grad_(False) if ema else None
        self.parameters = list(student.parameters())
        self.device = self.parameters[0].device
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=lr, weight_decay=weight_decay, eps=eps, fused=self.device.type != "meta"
        )
        self.diagonal = len(share_passes(self.reach)) == 1
        self.upgrad = upgrad or UPGrad()
        shape = (self.parameters[0].shape[0], len(self.reach))
        self.weights = torch.ones(shape, device=self.device)
        self.last_losses = torch.zeros(shape, device=self.device)

    def step(self, *batch: Any) -> None:
        """Compute the losses of a batch and move student and teacher."""
        losses = self.losses(self.student, self.teacher, *batch)
        self.last_losses = losses.detach()
        if self.aggregation == "sum" or self.diagonal:
            self.optimizer.zero_grad()
            losses.sum().backward()
        else:
            self._descend(losses)
        self.optimizer.step()
        if self.teacher is not None:
            update_teacher(self.teacher, self.student, self.ema)

    def _descend(self, losses: Tensor) -> None:
        jacobian = Jacobian(losses, self.parameters, self.reach)
        # Times K, so that the learning rate, eps and weight decay mean the same as for the sum.
        self.weights = self.upgrad(jacobian.gramian()) * losses.shape[1]
        for parameter, grad in zip(self.parameters, jacobian.combine(self.weights), strict=True):
            parameter.grad = grad.view_as(parameter)


def train(
    trainer: Trainer,
    batches: Callable[[int], Iterator[tuple[Any, ...]]],
    stops: Sequence[int],
    report: Callable[[int], object] | None = None,
) -> None:
    """Train, and report at given steps.

    Parameters
    ----------
    trainer : Trainer
    batches : callable
        ``batches(count)`` yields the next `count` batches.
    stops : sequence of int
        Steps, ascending, at which to report; training ends at the last one.
    report : callable, optional
        ``report(step)``.
    """
    for start, stop in pairwise([0, *stops]):
        for done in range(start, stop, _CHUNK):
            for batch in batches(min(_CHUNK, stop - done)):
                trainer.step(*batch)
        if report is not None:
            report(stop)
