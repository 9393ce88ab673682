"""Probes of the root by the paper's protocol: linear, and with a hidden layer (Appendix D)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from rhmlib.encoders import initialise

# Features (B, d) and labels (B,) of so many fresh strings.
Draw = Callable[[int], tuple[Tensor, Tensor]]


def linear_probe(width: int, classes: int, *, model_seed: int = 0) -> nn.Sequential:
    """Build a linear probe on normalised features."""
    return _probe([nn.Linear(width, classes)], width, model_seed)


def mlp_probe(
    width: int, classes: int, *, hidden: int = 256, dropout: float = 0.1, model_seed: int = 0
) -> nn.Sequential:
    """Build a probe with one hidden layer of GELUs, on normalised features.

    Parameters
    ----------
    width, classes, hidden : int
        Of the features, of the labels, and of the layer.
    dropout : float
        Behind the layer; drawn from torch's global generator, as torch has no other way.
    model_seed : int
    """
    layers = [nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, classes)]
    return _probe(layers, width, model_seed)


def _probe(layers: list[nn.Module], width: int, model_seed: int) -> nn.Sequential:
    # Normalised by running means: features of frozen encoders have any scale.
    probe = nn.Sequential(nn.BatchNorm1d(width, affine=False, momentum=None), *layers)
    initialise(probe, torch.Generator().manual_seed(model_seed))
    return probe


def fit_probes(
    probes: Mapping[str, nn.Module], draw: Draw, *, steps: int = 2000, batch_size: int = 512, lr: float = 1e-3
) -> None:
    """Fit probes to the same fresh batches by Adam.

    Parameters
    ----------
    probes : mapping of str to nn.Module
        Changed in place; left in eval mode.
    draw : callable
        ``draw(count)`` returns features (count, d) and labels (count,) of strings not seen before.
    steps, batch_size, lr
        The defaults are the paper's.

    Raises
    ------
    ValueError
        If `steps` or `batch_size` is too small.
    """
    if steps < 1 or batch_size < 2:
        raise ValueError(
            "steps must be at least 1 and batch_size at least 2. "
            f"Found steps={steps}, batch_size={batch_size}."
        )
    optimizers = [torch.optim.Adam(probe.parameters(), lr=lr) for probe in probes.values()]
    for probe in probes.values():
        probe.train()
    for _ in range(steps):
        features, labels = draw(batch_size)
        for probe, optimizer in zip(probes.values(), optimizers, strict=True):
            optimizer.zero_grad()
            functional.cross_entropy(probe(features), labels).backward()
            optimizer.step()
    for probe in probes.values():
        probe.eval()


@torch.no_grad()
def accuracies(probes: Mapping[str, nn.Module], features: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy of each probe on features (n, d) with labels (n,)."""
    return {
        name: float((probe(features).argmax(1) == labels).double().mean()) for name, probe in probes.items()
    }
