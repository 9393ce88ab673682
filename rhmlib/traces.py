"""Linear traces of the latents in a target: the decomposition of assumption A1 (paper, Section 5).

A target at a leaf is regressed on the one-hot vectors of the leaf's ancestors, Y = B_0 e_0 + .. + B_a e_a +
rest. Least squares need sums over strings alone, so that a decaying sum follows a target that moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from rhmlib.grammar import Grammar


class Parser:
    """Latents of whole strings, on a device: every grammatical tuple has one parent.

    Parameters
    ----------
    grammar : Grammar
    device : torch.device or str

    Examples
    --------
    >>> import numpy as np
    >>> grammar = Grammar.random(v=4, m=2, s=2, L=3, seed=0)
    >>> sample = grammar.sample(5, np.random.default_rng(0))
    >>> found = Parser(grammar)(torch.from_numpy(sample.tokens))
    >>> [tuple(level.shape) for level in found]
    [(5, 8), (5, 4), (5, 2), (5, 1)]
    >>> bool((found[3][:, 0] == torch.from_numpy(sample.root.astype(int))).all())
    True
    """

    def __init__(self, grammar: Grammar, device: torch.device | str = "cpu") -> None:
        self.grammar = grammar
        v, s = grammar.v, grammar.s
        self._powers = torch.tensor([v ** (s - 1 - i) for i in range(s)], device=device)
        self._parents = []
        for rules in grammar.rules:
            codes = torch.from_numpy(grammar.tuple_code(rules).ravel())
            table = torch.zeros(v**s, dtype=torch.int64)
            table[codes] = torch.arange(v).repeat_interleave(grammar.m)
            self._parents.append(table.to(device))

    def __call__(self, tokens: Tensor, top: int | None = None) -> list[Tensor]:
        """Latents of levels 0 .. top.

        Parameters
        ----------
        tokens : Tensor of integers, shape (B, s**L)
            Strings of the grammar; this is not checked.
        top : int, optional
            L if left out.

        Returns
        -------
        list of Tensors of int64, shape (B, s**(L-l)) for level l
        """
        levels = [tokens.long()]
        for table in self._parents[:top]:
            tuples = levels[-1].unflatten(1, (-1, self.grammar.s))
            levels.append(table[(tuples * self._powers).sum(2)])
        return levels


def ancestors(levels: Sequence[Tensor], at: Tensor) -> Tensor:
    """Ancestors of leaves.

    Parameters
    ----------
    levels : sequence of Tensors of int64, shape (B, s**(L-l))
        As :class:`Parser` returns, from level 0 on.
    at : Tensor of int64, shape (M,)
        Leaves, b * s**L + p for leaf p of string b.

    Returns
    -------
    Tensor of int64, shape (M, len(levels))
    """
    leaves = levels[0].shape[1]
    return torch.stack([level.flatten()[at // (leaves // level.shape[1])] for level in levels], 1)


def one_hot(symbols: Tensor, v: int) -> Tensor:
    """One-hot vectors of several symbols beside each other, (M, a) -> (M, a v), float."""
    return functional.one_hot(symbols, v).flatten(1).float()


class Regression:
    """Least squares of targets on one-hot vectors, with forgetting.

    Parameters
    ----------
    memory : float
        Every update multiplies what was seen before by this; 1 forgets nothing.
    ridge : float
        Added to the diagonal of the inputs' covariance: one-hot vectors of several levels are collinear.

    Attributes
    ----------
    mean_in, mean_out : Tensors, shapes (k,) and (d,)
    weight : Tensor, shape (k, d)
    """

    def __init__(self, memory: float = 1.0, ridge: float = 1e-5) -> None:
        if not 0 <= memory <= 1:
            raise ValueError(f"memory must be in [0, 1]. Found memory={memory}.")
        self.memory, self.ridge = memory, ridge
        self._count = 0.0
        self._sums: list[Tensor] = []

    def update(self, inputs: Tensor, targets: Tensor) -> None:
        """Take in pairs (M, k) and (M, d), and solve anew."""
        new = [inputs.sum(0), targets.sum(0), inputs.T @ inputs, inputs.T @ targets]
        if not self._sums:
            self._sums = [torch.zeros_like(part) for part in new]
        self._sums = [self.memory * old + part for old, part in zip(self._sums, new, strict=True)]
        self._count = self.memory * self._count + len(inputs)
        self.mean_in, self.mean_out, square, cross = (part / self._count for part in self._sums)
        covariance = square - self.mean_in[:, None] * self.mean_in
        covariance.diagonal().add_(self.ridge)
        self.weight = torch.linalg.solve(covariance, cross - self.mean_in[:, None] * self.mean_out)

    def trace(self, inputs: Tensor) -> Tensor:
        """What inputs add to the mean target, (M, k) -> (M, d)."""
        return (inputs - self.mean_in) @ self.weight


def trace_shares(targets: Tensor, symbols: Tensor, v: int) -> list[float]:
    """Shares of a target's variance that the ancestors of each level explain linearly.

    Parameters
    ----------
    targets : Tensor, shape (M, d)
    symbols : Tensor of int64, shape (M, a)
        Ancestors of levels 0 .. a-1.
    v : int

    Returns
    -------
    list of float
        For each level: what it adds to the levels below it, corrected for the number of coefficients (as
        the adjusted R^2 is), so that a level of which there is no trace has 0 in the mean.
    """
    centred = targets - targets.mean(0)
    total = centred.square().sum() / (len(targets) - 1)
    shares, before = [], 0.0
    for level in range(symbols.shape[1]):
        inputs = one_hot(symbols[:, : level + 1], v)
        regression = Regression()
        regression.update(inputs, targets)
        rest = (centred - regression.trace(inputs)).square().sum()
        freedom = len(targets) - 1 - (level + 1) * (v - 1)
        explained = float(1 - rest / freedom / total)
        shares.append(explained - before)
        before = explained
    return shares
