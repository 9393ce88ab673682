"""Closed forms: sample complexities, correlation strengths and the bound of Theorem 2.

The strengths are means over random grammars, to leading order in large v at fixed f = m / v**(s-1),
with the finite-size factors that are known in closed form where they cost nothing. One grammar's exact
values come from :mod:`rhmlib.exact`, the predicted accuracy of ILC from :mod:`rhmlib.ilc_theory`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rhmlib.exact import Targets, contexts
from rhmlib.grammar import Grammar, check_shape

Setting = Literal["supervised", "token", "latent"]


def sample_complexity(
    setting: Setting, *, v: int, m: int, s: int, L: int, level: int | None = None, finite_f: bool = True
) -> float:
    """Order of the number of strings from which a setting learns the latents of one level, or all.

    Parameters
    ----------
    setting : {"supervised", "token", "latent"}
        Classification of the root, v m**(L - l + 1); masked or next token, v m**(l + 2) / (1 - f); the
        learner's own latents, v m**3 / (1 - f).
    v, m, s, L : int
    level : int, optional
        Level l of the latents, 1 .. L-1 (.. L for "supervised", whose labels also show the root's
        rules). By default the hardest one: v m**L, v m**(L + 1) / (1 - f), v m**3 / (1 - f).
    finite_f : bool, default=True
        Include the factor 1 / (1 - f). Correlations between tokens vanish at f = 1; those with the label
        do not, so "supervised" has none.

    Returns
    -------
    float
        Without the constant of order one; ``inf`` at f = 1.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    Section 2, eq. (1); Section 3, eq. (2).

    Examples
    --------
    >>> [sample_complexity("token", v=16, m=4, s=2, L=4, level=l, finite_f=False) for l in (1, 2, 3)]
    [1024.0, 4096.0, 16384.0]
    """
    v, m, s, L = check_shape(v, m, s, L)
    if setting not in ("supervised", "token", "latent"):
        raise ValueError(f'setting must be "supervised", "token" or "latent". Found setting={setting!r}.')
    most = L if setting == "supervised" else L - 1
    if level is None:
        level = 1 if setting == "supervised" else most
    if not 1 <= level <= most:
        raise ValueError(f"level must be in 1..{most} for {setting} with L={L}. Found level={level}.")
    if setting == "supervised":
        return float(v) * m ** (L - level + 1)
    samples = float(v) * m ** (3 if setting == "latent" else level + 2)
    return samples * _inverse_gap(v, m, s) if finite_f else samples


def _inverse_gap(v: int, m: int, s: int) -> float:
    """1 / (1 - f), infinite at f = 1."""
    f = m / v ** (s - 1)
    return math.inf if f >= 1 else 1 / (1 - f)


def attenuation(v: int, m: int) -> float:
    """Mean factor of a squared covariance over one more edge of the tree: (v - 1) / (v m - 1), about 1/m.

    A parent has m of the v m tuples, dealt at random, so the covariance with one of its children averages
    over m rules. The mean over the dealing is this up to a relative 1/(v m); it is 1 at m = 1, where parents
    and tuples are in bijection.
    """
    v, m, _, _ = check_shape(v, m, max(2, m), 1)  # some s for which m rules exist
    return (v - 1) / (v * m - 1)


def correlation_strength(v: int, m: int, s: int, *, edges: int, depth: int = 0) -> float:
    """Mean square of C(u, z) of a tuple u and a symbol z of another branch.

    Parameters
    ----------
    v, m, s : int
    edges : int
        Tree distance between the tuple's parent and z, at least 2 (siblings). Cousin tuple and token,
        as in ILC, are 3 apart: (1 - f) / (v**3 m**4).
    depth : int, default=0
        Levels from the root down to the lowest common ancestor. Below the root symbols are not
        uniform, and frequent ones correlate more.

    Returns
    -------
    float
        (1 - f) / (v**3 m**(edges + 1)), with finite-size factors: the two children of the ancestor
        co-occur in a hypergeometric number of rules, marginals are subtracted, every further edge
        costs :func:`attenuation`, and v sum p**2 of the ancestor's law p is 1 + (1 - f) / m
        + (1 - f) / m**2 + ..., one term a level of depth.

    Raises
    ------
    ValueError
        If edges < 2, depth < 0 or the shape is out of range.

    See Also
    --------
    rhmlib.exact.signal : the same of one grammar, exactly.
    """
    v, m, s, _ = check_shape(v, m, s, 1)
    if edges < 2:
        raise ValueError(f"edges must be at least 2 (siblings). Found edges={edges}.")
    if depth < 0:
        raise ValueError(f"depth must be at least 0. Found depth={depth}.")
    tuples = float(v) ** s
    unseen = (tuples - v * m) / (tuples - 1)  # 1 - f, sampling without replacement
    # Variance of the count of one pair among v m rules, less what the margins take.
    variance = m / v * (1 - 1 / v**2) * unseen * (v - 1) / (v + 1)
    uneven = 1 + unseen * sum(m**-i for i in range(1, depth + 1))
    return variance / (v * m) ** 2 * uneven * attenuation(v, m) ** (edges - 2) / m**2


def supervised_strength(v: int, m: int, *, edges: int) -> float:
    """Mean square of C(u, label) of a tuple u whose parent is `edges` levels below the root.

    Parameters
    ----------
    v, m : int
    edges : int
        0 for the tuples that the root itself makes, L - 1 for visible tuples.

    Returns
    -------
    float
        1 / (v**3 m**(edges + 2)) to leading order: the covariance of the root with itself, of mean
        square (v - 1) / v**4, is attenuated over every edge and shared by m synonyms.
    """
    if edges < 0:
        raise ValueError(f"edges must be at least 0. Found edges={edges}.")
    own = (v - 1) / v**4  # sum over entries of (diag(p) - p p^T)^2 at p = 1/v, divided by v^2
    return own * attenuation(v, m) ** edges / m**2


@dataclass(frozen=True)
class SampleBound:
    """Strings that suffice for ILC by the proof of Theorem 2.

    Attributes
    ----------
    counts : float
        So many make every tuple frequent: (8 v m / c_bal) log(2 (L-1) v m / delta).
    separation : float
        So many bring every context within Delta / 8 of its centre:
        128 v m**3 (1 + sqrt(log(2 (L-1) v m / delta)))**2 / (c_bal c_sep**2 (1 - f)).
    """

    counts: float
    separation: float

    @property
    def total(self) -> float:
        """The larger of the two, which suffices; the paper's sum is at most twice that."""
        return max(self.counts, self.separation)


def recovery_bound(
    *, v: int, m: int, s: int, L: int, c_bal: float, c_sep: float, delta: float = 0.05
) -> SampleBound:
    """Theorem 2 with explicit constants, eq. (3).

    With probability at least 1 - delta, ILC with a stable clustering recovers the levels 1 .. L-1 from
    so many strings, if the grammar is balanced with c_bal and separated with c_sep.

    Parameters
    ----------
    v, m, s, L : int
    c_bal, c_sep : float
        Constants of Assumption 1, see :func:`assumption_constants`.
    delta : float, default=0.05

    Returns
    -------
    SampleBound
        Infinite where a constant is zero, or at f = 1.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Notes
    -----
    Let eta = delta / (2 (L-1) v m), one of 2 (L-1) v m events. Counts: N_u is binomial with mean at
    least n c_bal / (v m), so P(N_u < half of it) <= exp(-n c_bal / (8 v m)) <= eta (Chernoff).
    Contexts: E|c_hat - c| <= N_u**-1/2 and bounded differences sqrt(2) / N_u give |c_hat - c| <=
    (1 + sqrt(log 1/eta)) N_u**-1/2 with probability 1 - eta (McDiarmid). This is at most Delta / 8 if
    n c_bal / (2 v m) >= 64 (1 + sqrt(log 1/eta))**2 / Delta**2, with Delta = c_sep sqrt(1 - f) / m.
    """
    v, m, s, L = check_shape(v, m, s, L)
    if L < 2:
        raise ValueError(f"L must be at least 2, or there is nothing to recover. Found L={L}.")
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1). Found delta={delta}.")
    for name, value in (("c_bal", c_bal), ("c_sep", c_sep)):
        if not value >= 0:
            raise ValueError(f"{name} must be non-negative. Found {name}={value}.")
    if c_bal == 0:
        return SampleBound(math.inf, math.inf)
    log = math.log(2 * (L - 1) * v * m / delta)
    counts = 8 * v * m / c_bal * log
    if c_sep == 0:
        return SampleBound(counts, math.inf)
    scale = 128 * v * m**3 * (1 + math.sqrt(log)) ** 2 / (c_bal * c_sep**2)
    return SampleBound(counts, scale * _inverse_gap(v, m, s))


@dataclass(frozen=True)
class AssumptionConstants:
    """What Assumption 1 asks of a grammar, at one level or as the worst over levels.

    Attributes
    ----------
    level : int or None
        Level l of the tuples; None for the worst over l.
    targets : {"one", "all"}
    c_bal : float
        v m min_u P(T = u): 1 if all tuples are equally likely, 0 if some symbol never occurs where
        tuples are counted. For "all", the law averaged over positions.
    separation : float
        Delta, the least distance between the contexts of two parents that occur where tuples are
        counted (a parent that does not makes c_bal zero).
    c_sep : float
        Delta m / sqrt(1 - f); 0 at f = 1, where cousins are independent.
    pair : tuple of int
        The two closest parents.
    """

    level: int | None
    targets: Targets
    c_bal: float
    separation: float
    c_sep: float
    pair: tuple[int, int]

    @property
    def holds(self) -> bool:
        """True if both constants are positive (the separation beyond rounding)."""
        return self.c_bal > 0 and self.separation > 1e-9


def assumption_constants(
    grammar: Grammar, targets: Targets = "one", *, level: int | None = None
) -> AssumptionConstants:
    """Exact constants of Assumption 1 of a grammar.

    Parameters
    ----------
    grammar : Grammar
    targets : {"one", "all"}
        As in :class:`rhmlib.ilc.IterativeLatentClustering`. With "all", contexts are concatenated, so
        distances add in squares.
    level : int, optional
        Level of the tuples, 0 .. L-2; by default the least of each constant over the levels, as Theorem 2
        needs.

    Returns
    -------
    AssumptionConstants

    Notes
    -----
    O(s**(L - l) v**2 + blocks v**3) time a level.
    """
    if level is None:
        each = [assumption_constants(grammar, targets, level=l) for l in range(grammar.L - 1)]
        if not each:
            raise ValueError(f"grammar must have L >= 2. Found L={grammar.L}.")
        worst = min(each, key=lambda c: c.separation)
        least = min(c.c_bal for c in each)
        return AssumptionConstants(None, targets, least, worst.separation, worst.c_sep, worst.pair)
    law = contexts(grammar, level, targets)
    distances = np.nan_to_num(law.distances, nan=np.inf)
    np.fill_diagonal(distances, np.inf)
    pair = np.unravel_index(int(distances.argmin()), distances.shape)
    separation = float(distances[pair])
    gap = 1 - grammar.f
    c_sep = separation * grammar.m / math.sqrt(gap) if gap > 0 else 0.0
    c_bal = float(grammar.v * grammar.m * law.tuple_law.min())
    return AssumptionConstants(level, targets, c_bal, separation, c_sep, (int(pair[0]), int(pair[1])))
