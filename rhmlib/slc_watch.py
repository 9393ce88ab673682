"""Look into a stacked network while it trains: what it predicts, and which codes it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rhmlib.experiment_slc import SLCExperiment, _Run
from rhmlib.grammar import Grammar
from rhmlib.metrics import contingency
from rhmlib.training import train


@dataclass(frozen=True)
class View:
    """What a network does at one step.

    Attributes
    ----------
    step : int
    parents : array of int, shape (D,)
        True parent of each distinct visible tuple, ascending.
    predictions : array of float, shape (D, s (s-1) s d_h)
        The lowest module's predictions for each of these tuples, eq. (4).
    codes : array of float, shape (D, d_h)
        Their cluster assignments q, eq. (6).
    joint : list of L-1 arrays of int, shape (v, d_h)
        For each level, in how many places of the validation strings a latent (row) has a code (column).
    """

    step: int
    parents: NDArray[np.int64]
    predictions: NDArray[np.float64]
    codes: NDArray[np.float64]
    joint: list[NDArray[np.int64]]


def watch(config: SLCExperiment, steps: Sequence[int]) -> list[View]:
    """Train a network as the experiment does, and look at it at some steps.

    Parameters
    ----------
    config : SLCExperiment
        Its `steps` are replaced by the last of the steps given here.
    steps : sequence of int
        When to look; 0 is the untrained network.

    Returns
    -------
    list of View

    Raises
    ------
    ValueError
        If the steps do not ascend from 0 or more.
    """
    wanted = [int(step) for step in steps]
    if not wanted or wanted[0] < 0 or sorted(set(wanted)) != wanted:
        raise ValueError(f"steps must ascend, from 0 or more. Found steps={wanted}.")
    run = _Run(replace(config, n_replicas=1, steps=max(1, wanted[-1])))
    views = [_view(run, 0)] if wanted[0] == 0 else []
    train(run.trainer, run.batches, [s for s in wanted if s], lambda step: views.append(_view(run, step)))
    return views


@torch.no_grad()
def _view(run: Any, step: int) -> View:
    c, network = run.config, run.network
    tuples = run.patches.symbols[0].cpu().numpy()
    grammar = Grammar.random(v=c.v, m=c.m, s=c.s, L=c.L, seed=c.grammar_seed)
    parents = grammar.parent(tuples, 0).astype(np.int64)
    order = np.lexsort((np.arange(len(parents)), parents))
    log_p = network.predictor(0, run.visible.flatten(2))
    logits = network.clusterer(0, log_p.exp())
    found, _ = run._codes(run.validation, network)
    return View(
        step=step,
        parents=parents[order],
        predictions=log_p.exp()[0].flatten(1).cpu().double().numpy()[order],
        codes=logits.softmax(-1)[0].cpu().double().numpy()[order],
        joint=[
            _joint(codes[0], run.validation.samples[0].levels[level], c.v, c.codes)
            for level, codes in enumerate(found, start=1)
        ],
    )


def _joint(codes: NDArray[Any], latents: NDArray[Any], v: int, d_h: int) -> NDArray[np.int64]:
    """Counts with a row for every latent and a column for every code, also for those that do not occur."""
    found = contingency(latents, codes)
    return np.pad(found, ((0, v - found.shape[0]), (0, d_h - found.shape[1])))
