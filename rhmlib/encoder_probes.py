"""What frozen features of an encoder know of the latents of each level: linear probes, synonym scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rhmlib.probes import fit_linear
from rhmlib.sampling import Sample, resample_rules

# For strings of shape (n, s**L), a list over the levels 1 .. L of features of the level's nodes, of shape
# (C, n, s**(L-l), width): C candidates, such as the blocks of a transformer.
Nodes = Callable[[Tensor], list[Tensor]]


def _one_node_each(nodes: Nodes, sample: Sample, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Features (L C, n, width) and labels (L C, n) of a node of each string, at places in turn."""
    string = torch.arange(len(sample))
    features, labels = [], []
    for level, found in enumerate(nodes(torch.from_numpy(sample.tokens).to(device)), start=1):
        place = string % found.shape[2]
        features.append(found[:, string.to(device), place.to(device)])
        latents = torch.from_numpy(sample.levels[level]).long()[string, place].to(device)
        labels.append(latents.expand(len(found), -1))
    return torch.cat(features).float(), torch.cat(labels)


def probe_levels(
    nodes: Nodes, train: Sample, validation: Sample, test: Sample, device: torch.device | str = "cpu"
) -> list[dict[str, Any]]:
    """Accuracy of a linear probe of the latents of each level, from frozen features.

    Parameters
    ----------
    nodes : callable
        Such as :meth:`rhmlib.encoders.Encoder.nodes`.
    train, validation, test : Sample
        Of each string one node a level is used, at places in turn.
    device : torch.device or str
        Of the features.

    Returns
    -------
    list of dict
        For each level 1 .. L: `level`; `probe_accuracy` on the test strings; and `probe_block`,
        the candidate that was best on the validation strings.
    """
    parts = [_one_node_each(nodes, sample, device) for sample in (train, validation, test)]
    grammar = train.grammar
    probe = fit_linear(*parts[0], *parts[1], classes=grammar.v)
    checked, scored = (probe.score(*part).view(grammar.L, -1).cpu() for part in parts[1:])
    best = checked.argmax(1)
    return [
        {"level": level + 1, "probe_accuracy": float(scored[level, best[level]]), "probe_block": int(k)}
        for level, k in enumerate(best)
    ]


def _squares(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances of features (C, n, nodes, width), flat over strings and nodes: (C, n nodes)."""
    return (a - b).square().sum(3).flatten(1)


def _mean_by(values: Tensor, keys: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Means (C, count) of values (C, N) by key (N,), and how many there are of each key (count,)."""
    found = torch.bincount(keys, minlength=count)
    sums = values.new_zeros(len(values), count).index_add_(1, keys, values)
    return sums / found.clamp(min=1), found


def synonym_scores(
    nodes: Nodes,
    sample: Sample,
    rng: np.random.Generator,
    device: torch.device | str = "cpu",
    *,
    shifts: int = 8,
) -> list[dict[str, Any]]:
    """How far features of a node are the same for synonyms, beyond what their shared tokens explain.

    The paper's score of a level is 1 - E|h(x) - h(y)|^2 / E|h(x) - h(x')|^2, where y has another rule,
    drawn uniformly from the others, at every variable of the level, and free rules below, and x' is an
    unrelated string. Where x and y happen to agree in tokens under a node, any encoder that copies
    tokens scores. The corrected score therefore compares with strings x' that agree with x under
    that node in just as many tokens as y does, but have another latent there. It is exactly 0, up
    to sampling, for the concatenated tokens, and 1 for the latent. Both are 0 in the mean for
    features that know nothing.

    Parameters
    ----------
    nodes : callable
        Such as :meth:`rhmlib.encoders.Encoder.nodes`.
    sample : Sample
        With m > 1.
    rng : numpy.random.Generator
    device : torch.device or str
        Of the features.
    shifts : int
        Unrelated strings for each: those so many places further on.

    Returns
    -------
    list of dict
        For each level 1 .. L-1: `level`; `synonym_score`, the corrected one, of the candidate where it is
        largest; `synonym_block`, which that is; and `synonym_raw`, the paper's, of the same one.

    References
    ----------
    Section 5, "The encoder internally clusters synonyms".
    """
    if not 1 <= shifts < len(sample):
        raise ValueError(f"shifts must be in 1..{len(sample) - 1}. Found shifts={shifts}.")
    grammar = sample.grammar
    tokens = torch.from_numpy(sample.tokens).to(device)
    here = nodes(tokens)
    rows = []
    for level in range(1, grammar.L):
        swapped = torch.from_numpy(resample_rules(sample, level, rng).tokens).to(device)
        latents = torch.from_numpy(sample.levels[level]).to(device).int()
        raw, corrected = _scores(here[level - 1], nodes(swapped)[level - 1], tokens, swapped, latents, shifts)
        k = int(corrected.argmax())
        rows.append(
            {
                "level": level,
                "synonym_score": float(corrected[k]),
                "synonym_raw": float(raw[k]),
                "synonym_block": k,
            }
        )
    return rows


def _scores(
    here: Tensor, there: Tensor, tokens: Tensor, swapped: Tensor, latents: Tensor, shifts: int
) -> tuple[Tensor, Tensor]:
    """Raw and corrected synonym scores (C,) of one level."""
    leaves = tokens.shape[1] // here.shape[2]

    def agreement(others: Tensor) -> Tensor:
        return (tokens == others).unflatten(1, (-1, leaves)).sum(2).flatten()

    synonyms, shared = _squares(here, there), agreement(swapped)
    distances, keys, same = [], [], []
    for shift in range(1, shifts + 1):
        distances.append(_squares(here, here.roll(shift, 1)))
        keys.append(agreement(tokens.roll(shift, 0)))
        same.append((latents == latents.roll(shift, 0)).flatten())
    unrelated, agree, other = torch.cat(distances, 1), torch.cat(keys), ~torch.cat(same)
    ours, count = _mean_by(synonyms, shared, leaves + 1)
    theirs, seen = _mean_by(unrelated[:, other], agree[other], leaves + 1)
    # Agreements that no unrelated pair shows are left out on both sides.
    weight = (count * (seen > 0)).to(ours)
    raw = 1 - synonyms.mean(1) / unrelated.mean(1).clamp(min=1e-12)
    return raw, 1 - (ours @ weight) / (theirs @ weight).clamp(min=1e-12)
