"""Probes: what frozen features tell of the latents (paper, Sections 4 and 5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class LinearProbe:
    """R multinomial logistic regressions on standardised features.

    Attributes
    ----------
    mean, scale : Tensors, shape (R, 1, d)
        Of the features it was fitted on.
    weight : Tensor, shape (R, d, classes)
    bias : Tensor, shape (R, 1, classes)
    steps : Tensor of int64, shape (R,)
        The step at which validation stopped each.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    steps: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Map features (R, N, d) to logits (R, N, classes)."""
        return torch.baddbmm(self.bias, (features - self.mean) / self.scale, self.weight)

    def predict(self, features: Tensor) -> Tensor:
        """Return the likeliest classes, shape (R, N)."""
        return self.logits(features).argmax(-1)

    def score(self, features: Tensor, labels: Tensor) -> Tensor:
        """Accuracy of each probe, shape (R,), on labels of shape (R, N)."""
        return (self.predict(features) == labels).double().mean(1)


def fit_linear(
    features: Tensor,
    labels: Tensor,
    validation_features: Tensor,
    validation_labels: Tensor,
    *,
    classes: int,
    steps: int = 300,
    lr: float = 0.1,
    weight_decay: float = 1e-3,
    every: int = 10,
) -> LinearProbe:
    """Fit one linear probe a replica, stopped early by validation.

    Parameters
    ----------
    features : Tensor, shape (R, N, d)
        Frozen.
    labels : Tensor of int64, shape (R, N)
        In 0 .. classes-1; -1 marks rows that do not count (padding).
    validation_features, validation_labels : Tensors, shapes (R, N', d) and (R, N')
    classes : int
    steps : int
        Steps of AdamW on all rows at once.
    lr, weight_decay : float
    every : int
        Steps between looks at the validation loss.

    Returns
    -------
    LinearProbe
        Of each replica, the weights with the lowest validation loss that was seen.

    Raises
    ------
    ValueError
        If shapes do not agree.

    Notes
    -----
    O(steps R N d classes) time. The weights start at zero: nothing is drawn.
    """
    if features.ndim != 3 or labels.shape != features.shape[:2]:
        raise ValueError(
            "features and labels must have shapes (R, N, d) and (R, N). "
            f"Found {tuple(features.shape)} and {tuple(labels.shape)}."
        )
    used = (labels >= 0).unsqueeze(2)
    count = used.sum(1, keepdim=True).clamp(min=1)
    mean = (features * used).sum(1, keepdim=True) / count
    variance = ((features - mean).square() * used).sum(1, keepdim=True) / count
    scale = variance.sqrt().clamp(min=1e-3)
    weight = features.new_zeros(features.shape[0], features.shape[2], classes, requires_grad=True)
    bias = features.new_zeros(features.shape[0], 1, classes, requires_grad=True)
    inputs, checks = (features - mean) / scale, (validation_features - mean) / scale
    optimizer = torch.optim.AdamW([weight, bias], lr=lr, weight_decay=weight_decay)
    best = _Best(weight.detach().clone(), bias.detach().clone())
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            with torch.no_grad():
                loss = _cross_entropy(torch.baddbmm(bias, checks, weight), validation_labels)
                best.keep(step, loss, weight, bias)
        optimizer.zero_grad()
        _cross_entropy(torch.baddbmm(bias, inputs, weight), labels).sum().backward()
        optimizer.step()
    return LinearProbe(mean, scale, best.weight, best.bias, best.steps)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of each replica over the rows that count, shape (R,)."""
    terms = functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-1, reduction="none")
    return terms.sum(1) / (labels >= 0).sum(1).clamp(min=1)


class _Best:
    """The best weights of each replica so far; kept without asking the device which they are."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight, bias
        self.loss = torch.full_like(bias[:, 0, 0], torch.inf)
        self.steps = torch.zeros(len(bias), dtype=torch.int64, device=bias.device)

    def keep(self, step: int, loss: Tensor, weight: Tensor, bias: Tensor) -> None:
        better = loss < self.loss
        self.loss = torch.where(better, loss, self.loss)
        self.steps = torch.where(better, step, self.steps)
        self.weight = torch.where(better[:, None, None], weight, self.weight)
        self.bias = torch.where(better[:, None, None], bias, self.bias)
