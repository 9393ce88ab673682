"""Exact laws of symbols, tuples and contexts of a grammar, without sampling (paper, Sections 2, 3, B).

A *node* is a pair (level, index): level 0 is visible, and the nodes of a level are numbered from
left to right. A tuple is numbered by the rule that made it, ``a * m + k`` for rule k of parent a,
as in :meth:`rhmlib.grammar.Grammar.rule_index`; "patch i" at level l is the i-th s-tuple of that
level, the children of node (l + 1, i).
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhmlib.grammar import Grammar

Floats = NDArray[np.float64]
Node = tuple[int, int]
Targets = Literal["one", "all"]


def check_level(grammar: Grammar, level: int, *, least: int = 0, most: int | None = None) -> int:
    """Check a level and return it as a plain integer.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If it is not in least..most; `most` is L by default.
    """
    most = grammar.L if most is None else most
    try:
        level = operator.index(level)
    except TypeError:
        raise TypeError(f"level must be an integer in {least}..{most}. Found level={level!r}.") from None
    if not least <= level <= most:
        raise ValueError(f"level must be in {least}..{most} for L={grammar.L}. Found level={level}.")
    return level


def _check_node(grammar: Grammar, node: Node, name: str, most: int | None = None) -> Node:
    level, index = (operator.index(x) for x in node)
    most = grammar.L if most is None else most
    if not 0 <= level <= most or not 0 <= index < grammar.s ** (grammar.L - level):
        raise ValueError(
            f"{name} must be a pair (level, index) with level in 0..{most} and index in "
            f"0..s**(L - level) - 1. Found {name}={(level, index)} with s={grammar.s}, L={grammar.L}."
        )
    return level, index


# ---------------------------------------------------------------- one node, one branch


def node_law(grammar: Grammar, level: int) -> Floats:
    """Law of the symbol at every position of a level.

    Parameters
    ----------
    grammar : Grammar
    level : int
        0 <= level <= L.

    Returns
    -------
    array of float64, shape (s**(L - level), v)
        Rows sum to one. Their mean is :meth:`rhmlib.grammar.Grammar.marginals`.

    Notes
    -----
    O(s**(L - level) v**2) time.
    """
    level = check_level(grammar, level)
    law = np.full((1, grammar.v), 1 / grammar.v)
    for below in range(grammar.L - 1, level - 1, -1):
        law = np.einsum("ia,jab->ijb", law, child_law(grammar, below)).reshape(-1, grammar.v)
    return law


def child_law(grammar: Grammar, level: int) -> Floats:
    """P(child at position j is b | parent is a), for children at `level`.

    Returns
    -------
    array of float64, shape (s, v, v)
        Indexed [j, a, b]; multiples of 1/m.
    """
    level = check_level(grammar, level, most=grammar.L - 1)
    v, m, s = grammar.v, grammar.m, grammar.s
    law = np.zeros((s, v, v))
    parents = np.repeat(np.arange(v), m)
    for j in range(s):
        np.add.at(law[j], (parents, grammar.rules[level][:, :, j].reshape(-1)), 1 / m)
    return law


def sibling_law(grammar: Grammar, level: int, first: int, second: int) -> Floats:
    """P(children at positions first, second are b, c | parent is a), for children at `level`.

    Siblings come from one rule, so they are not independent given their parent.

    Returns
    -------
    array of float64, shape (v, v, v)
        Indexed [a, b, c].
    """
    level = check_level(grammar, level, most=grammar.L - 1)
    for name, position in (("first", first), ("second", second)):
        if not 0 <= position < grammar.s:
            raise ValueError(f"{name} must be in 0..{grammar.s - 1}. Found {name}={position}.")
    v, m = grammar.v, grammar.m
    rules = grammar.rules[level].reshape(v * m, grammar.s)
    law = np.zeros((v, v, v))
    np.add.at(law, (np.repeat(np.arange(v), m), rules[:, first], rules[:, second]), 1 / m)
    return law


def path_law(grammar: Grammar, level: int, path: Sequence[int]) -> Floats:
    """P(symbol at the end of a downward path | symbol at its start).

    Parameters
    ----------
    grammar : Grammar
    level : int
        Level of the start.
    path : sequence of int
        Child positions 0..s-1, from the start down; at most `level` of them. An empty path gives
        the identity.

    Returns
    -------
    array of float64, shape (v, v)
        Indexed [start, end]; rows sum to one.

    Notes
    -----
    O(len(path) v**3) time.
    """
    level = check_level(grammar, level)
    path = [operator.index(j) for j in path]
    if len(path) > level or any(not 0 <= j < grammar.s for j in path):
        raise ValueError(
            f"path must hold at most {level} child positions in 0..{grammar.s - 1}. Found path={path}."
        )
    law = np.eye(grammar.v)
    for below, j in zip(range(level - 1, -1, -1), path, strict=False):
        law = law @ child_law(grammar, below)[j]
    return law


# ---------------------------------------------------------------- two nodes


def common_ancestor(grammar: Grammar, first: Node, second: Node) -> Node:
    """Lowest node above or equal to both.

    Examples
    --------
    >>> grammar = Grammar.random(v=4, m=2, s=2, L=3, seed=0)
    >>> common_ancestor(grammar, (0, 1), (1, 1))
    (2, 0)
    """
    (l1, i1), (l2, i2) = _check_node(grammar, first, "first"), _check_node(grammar, second, "second")
    level = max(l1, l2)
    i1, i2 = i1 // grammar.s ** (level - l1), i2 // grammar.s ** (level - l2)
    while i1 != i2:
        level, i1, i2 = level + 1, i1 // grammar.s, i2 // grammar.s
    return level, i1


def tree_distance(grammar: Grammar, first: Node, second: Node) -> int:
    """Number of edges between two nodes."""
    level, _ = common_ancestor(grammar, first, second)
    return 2 * level - first[0] - second[0]


def _path(grammar: Grammar, node: Node, length: int) -> list[int]:
    """Child positions of the last `length` steps down to a node."""
    return [node[1] // grammar.s**h % grammar.s for h in range(length - 1, -1, -1)]


def pair_law(grammar: Grammar, first: Node, second: Node) -> Floats:
    """Joint law of the symbols at any two nodes.

    The two branches meet in one rule of the lowest common ancestor c and are independent below it:
    P(x, z) = sum over c, b, b' of P(c) P(b, b' | c) P(x | b) P(z | b').

    Parameters
    ----------
    grammar : Grammar
    first, second : (level, index)
        One may lie above the other, e.g. the root ``(L, 0)`` and a token ``(0, i)``.

    Returns
    -------
    array of float64, shape (v, v)
        Indexed [symbol at first, symbol at second]; sums to one.

    Notes
    -----
    O(L v**3) time beside :func:`node_law` at the ancestor's level.
    """
    top, index = common_ancestor(grammar, first, second)
    law = node_law(grammar, top)[index]
    if first[0] == top:
        return law[:, None] * path_law(grammar, top, _path(grammar, second, top - second[0]))
    if second[0] == top:
        return law * path_law(grammar, top, _path(grammar, first, top - first[0])).T
    (p, *down), (q, *across) = (_path(grammar, node, top - node[0]) for node in (first, second))
    joint = np.einsum("a,abc->bc", law, sibling_law(grammar, top - 1, p, q))
    return path_law(grammar, top - 1, down).T @ joint @ path_law(grammar, top - 1, across)


def tuple_law(grammar: Grammar, level: int) -> Floats:
    """Law of the s-tuple at every patch of a level.

    Returns
    -------
    array of float64, shape (s**(L - level - 1), v * m)
        P(patch i is the tuple of rule a*m + k) = P(parent is a) / m; every other tuple has
        probability zero. Rows sum to one.
    """
    level = check_level(grammar, level, most=grammar.L - 1)
    return np.repeat(node_law(grammar, level + 1) / grammar.m, grammar.m, axis=1)


def tuple_token_law(grammar: Grammar, patch: Node, token: Node) -> Floats:
    """Joint law of the s-tuple at a patch and the symbol at a node outside it.

    Parameters
    ----------
    grammar : Grammar
    patch : (level, index)
        Level of the tuple's symbols, 0..L-1, and number of the patch.
    token : (level, index)
        A node that is not below the tuple's parent (the parent and the nodes above it are allowed:
        ``(L, 0)`` gives the label-tuple law of supervised learning).

    Returns
    -------
    array of float64, shape (v * m, v)
        Rows in the order of rules. It depends on the tuple through its parent only.

    Raises
    ------
    ValueError
        If the token lies below the tuple's parent.
    """
    level, index = _check_node(grammar, patch, "patch", grammar.L - 1)
    if index >= grammar.s ** (grammar.L - level - 1):
        raise ValueError(
            f"patch must have an index below s**(L - level - 1) = {grammar.s ** (grammar.L - level - 1)}. "
            f"Found patch={(level, index)}."
        )
    token = _check_node(grammar, token, "token")
    parent = (level + 1, index)
    if token[0] <= level and common_ancestor(grammar, parent, token) == parent:
        raise ValueError(
            f"token must lie outside the tuple's own subtree. Found patch={patch}, token={token}."
        )
    return np.repeat(pair_law(grammar, parent, token) / grammar.m, grammar.m, axis=0)


def covariance(joint: ArrayLike) -> Floats:
    """Connected correlation C(x, z) = P(x, z) - P(x) P(z) of a joint law.

    Parameters
    ----------
    joint : array of float64, shape (..., K, J)

    Returns
    -------
    array of the same shape
        Rows and columns sum to zero.

    References
    ----------
    Section 2, "Correlation-based learning in the RHM".
    """
    joint = np.asarray(joint, dtype=float)
    return joint - joint.sum(-1, keepdims=True) * joint.sum(-2, keepdims=True)


def signal(grammar: Grammar, level: int, token_level: int, ancestor: int) -> float:
    """Mean square of C(u, z) over tuples u, symbols z and all pairs of nodes that meet at one level.

    Parameters
    ----------
    grammar : Grammar
    level : int
        Level of the tuples' symbols.
    token_level : int
        Level of z.
    ancestor : int
        Level of the lowest common ancestor of the tuple's parent and z. With ``ancestor = token_level``
        z is that ancestor's own symbol, e.g. the label for both L.

    Returns
    -------
    float
        The mean of C(u, z)**2 over the v*m grammatical tuples, v symbols and all such pairs.

    Raises
    ------
    ValueError
        If no pair meets at that level.

    Notes
    -----
    O(s**(L - ancestor) s**2 v**3) time: squares are summed over all the paths below the two
    children of the ancestor by a recursion, not path by path.
    """
    level = check_level(grammar, level, most=grammar.L - 1)
    token_level = check_level(grammar, token_level)
    ancestor = check_level(grammar, ancestor)
    if ancestor == token_level and ancestor > level:
        return _ancestor_signal(grammar, level, ancestor)
    if ancestor <= max(level + 1, token_level):
        raise ValueError(
            f"ancestor must be token_level or above max(level + 1, token_level). Found ancestor={ancestor} "
            f"with level={level}, token_level={token_level}."
        )
    left = _path_gram(grammar, ancestor - 1, level + 1)
    right = _path_gram(grammar, ancestor - 1, token_level)
    total, pairs = 0.0, 0
    for law in node_law(grammar, ancestor):
        for p, q in itertools.permutations(range(grammar.s), 2):
            c = covariance(np.einsum("a,abc->bc", law, sibling_law(grammar, ancestor - 1, p, q)))
            total += float(np.sum((left @ c) * (c @ right)))
            pairs += grammar.s ** (ancestor - 2 - level) * grammar.s ** (ancestor - 1 - token_level)
    return total / pairs / (grammar.v * grammar.m) ** 2


def _ancestor_signal(grammar: Grammar, level: int, top: int) -> float:
    """The signal between tuples at `level` and the symbol of their ancestor at `top`."""
    gram = _path_gram(grammar, top, level + 1)
    total = 0.0
    laws = node_law(grammar, top)
    for law in laws:
        c = np.diag(law) - np.outer(law, law)
        total += float(np.sum((c @ gram) * c))
    paths = len(laws) * grammar.s ** (top - level - 1)
    return total / paths / (grammar.v * grammar.m) ** 2


def _path_gram(grammar: Grammar, top: int, bottom: int) -> Floats:
    """Sum over the paths from `top` down to `bottom` of D D^T, D the path's transition matrix."""
    gram = np.eye(grammar.v)
    for level in range(bottom, top):
        children = child_law(grammar, level)
        gram = np.einsum("jab,bc,jdc->ad", children, gram, children, optimize=True)
    return gram


# ---------------------------------------------------------------- contexts


@dataclass(frozen=True)
class Contexts:
    """Exact law of what Algorithm 1 counts at one level: a tuple's parent and its context.

    Attributes
    ----------
    level : int
        Level l of the tuples, 0 .. L-2.
    targets : {"one", "all"}
    blocks : tuple of (p, q, t)
        Position p of the tuple under its grandparent, position q of the cousin, token t in it.
    joint : array of float64, shape (blocks, v, v)
        ``joint[i, a, z]``: the tuple at p has parent a and token t of cousin q is z.
    draws : int
        Grandparents counted a string: 1 for "one", s**(L - l - 2) for "all".
    m : int
        Tuples a parent.
    """

    level: int
    targets: Targets
    blocks: tuple[tuple[int, int, int], ...]
    joint: Floats
    draws: int
    m: int

    @property
    def parent_law(self) -> Floats:
        """P(parent is a) for the tuple of each block, shape (blocks, v)."""
        return self.joint.sum(axis=2)

    @property
    def tuple_law(self) -> Floats:
        """P(T = u), averaged over the counted positions, shape (v * m,)."""
        return np.repeat(self.parent_law.mean(axis=0) / self.m, self.m)

    @cached_property
    def parent_contexts(self) -> Floats:
        """mu_a = E[e_Z | parent a], blocks side by side, shape (v, blocks * v).

        Where a parent never occurs at a block's position, that block is the mean context, as ILC
        imputes it; where it occurs at no counted position, the whole row is NaN.
        """
        law = self.parent_law
        seen = law > 0
        mean = self.joint.sum(axis=1)[:, None, :]
        mu = np.where(seen[..., None], self.joint / np.where(seen, law, 1)[..., None], mean)
        mu = np.moveaxis(mu, 0, 1).reshape(law.shape[1], -1)
        mu[~seen.any(axis=0)] = np.nan
        return mu

    @property
    def mean_context(self) -> Floats:
        """E[e_Z], shape (blocks * v,)."""
        return self.joint.sum(axis=1).reshape(-1)

    @property
    def covariance_columns(self) -> Floats:
        """C(u, z) = P(T = u, Z = z) - P(T = u) P(Z = z), shape (blocks, v * m, v)."""
        return np.repeat(covariance(self.joint) / self.m, self.m, axis=1)

    @property
    def distances(self) -> Floats:
        """Distances |mu_a - mu_b| between parents, shape (v, v)."""
        mu = self.parent_contexts
        return np.sqrt(((mu[:, None] - mu[None]) ** 2).sum(-1))


def context_blocks(s: int, targets: Targets) -> tuple[tuple[int, int, int], ...]:
    """List the blocks (p, q, t) of a target mode, in the order in which ILC joins them."""
    if targets == "one":
        return ((0, 1, 0),)
    if targets == "all":
        return tuple((p, q, t) for p in range(s) for q in range(s) if q != p for t in range(s))
    raise ValueError(f'targets must be "one" or "all". Found targets={targets!r}.')


def cousin_law(
    grammar: Grammar, level: int, block: tuple[int, int, int], *, grandparent: int | None = None
) -> Floats:
    """Joint law of a tuple's parent and one token of a cousin tuple, under one grandparent.

    Parameters
    ----------
    grammar : Grammar
    level : int
        Level of tuple and token, 0 .. L-2.
    block : (p, q, t)
        Positions under the grandparent of the tuple and of the cousin, and the token in the cousin.
    grandparent : int, optional
        Index of the grandparent at level + 2; by default the mean over all of them.

    Returns
    -------
    array of float64, shape (v, v)
        Indexed [parent, token].
    """
    level = check_level(grammar, level, most=grammar.L - 2)
    p, q, t = block
    if p == q or not all(0 <= x < grammar.s for x in block):
        raise ValueError(f"block must be (p, q, t) in 0..{grammar.s - 1} with p != q. Found block={block}.")
    laws = node_law(grammar, level + 2)
    if grandparent is not None and not 0 <= grandparent < len(laws):
        raise ValueError(f"grandparent must be in 0..{len(laws) - 1}. Found grandparent={grandparent}.")
    law = laws.mean(axis=0) if grandparent is None else laws[grandparent]
    parents = np.einsum("g,gab->ab", law, sibling_law(grammar, level + 1, p, q))
    return parents @ child_law(grammar, level)[t]


def contexts(grammar: Grammar, level: int, targets: Targets = "one") -> Contexts:
    """Exact context law of Algorithm 1 at one level.

    Parameters
    ----------
    grammar : Grammar
    level : int
        Level of the tuples, 0 .. L-2.
    targets : {"one", "all"}
        "one": position 0 under grandparent 0, first token of cousin 1. "all": every position and
        every cousin token, averaged over the grandparents of the level.

    Returns
    -------
    Contexts

    Raises
    ------
    ValueError
        If the level or the mode is not one of these.

    Notes
    -----
    O(s**(L - level) v**2 + blocks * v**3) time.
    """
    level = check_level(grammar, level, most=grammar.L - 2)
    blocks = context_blocks(grammar.s, targets)
    grandparent = 0 if targets == "one" else None
    joint = np.stack([cousin_law(grammar, level, b, grandparent=grandparent) for b in blocks])
    draws = 1 if targets == "one" else grammar.s ** (grammar.L - level - 2)
    return Contexts(level, targets, blocks, joint, draws, grammar.m)


def tuple_contexts(grammar: Grammar, level: int, targets: Targets = "one") -> Floats:
    """c_l(u) = E[e_Z | T = u] of every tuple, from the definition.

    The sum runs over every derivation of the tuple, its cousin and their grandparent, so it does not use
    that synonyms have the same context (Lemma 1): it can be used to check that.

    Parameters
    ----------
    grammar : Grammar
    level : int
        Level of the tuples, 0 .. L-2.
    targets : {"one", "all"}

    Returns
    -------
    array of float64, shape (v * m, blocks * v)
        Rows in the order of rules, blocks as in :func:`context_blocks`. A block is NaN where the tuple never
        occurs at its position.

    Notes
    -----
    O(blocks v m**3) time and memory.
    """
    level = check_level(grammar, level, most=grammar.L - 2)
    v, m, s = grammar.v, grammar.m, grammar.s
    laws = node_law(grammar, level + 2)
    law = laws[0] if targets == "one" else laws.mean(axis=0)
    above = grammar.rules[level + 1].reshape(-1, s).astype(np.intp)  # rules of the grandparent, (v m, s)
    k = np.arange(m)
    out = []
    for p, q, t in context_blocks(s, targets):
        u = (above[:, p] * m)[:, None, None] + k[:, None]  # (v m, rules of the tuple, 1)
        z = grammar.rules[level][above[:, q], :, t][:, None]  # (v m, 1, rules of the cousin)
        u, z, w = np.broadcast_arrays(u, z, np.repeat(law / m**3, m)[:, None, None])
        joint = np.bincount((u * v + z).reshape(-1), w.reshape(-1), v * m * v).reshape(v * m, v)
        total = joint.sum(axis=1, keepdims=True)
        out.append(np.divide(joint, total, out=np.full_like(joint, np.nan), where=total > 0))
    return np.concatenate(out, axis=1)


def target_covariance(
    grammar: Grammar, level: int, position: int, *, grandparent: int | None = None
) -> Floats:
    """Covariance of all the cousin tokens of a tuple, one-hot and side by side, given its parent.

    This is the noise of one observation of a context. Tokens of one cousin share a rule, and cousins
    share the grandparent's rule, so blocks are correlated.

    Parameters
    ----------
    grammar : Grammar
    level : int
        Level of tuple and tokens, 0 .. L-2.
    position : int
        Position p of the tuple under its grandparent.
    grandparent : int, optional
        As in :func:`cousin_law`.

    Returns
    -------
    array of float64, shape (v, k, k) with k = (s - 1) s v
        Blocks in the order of :func:`context_blocks` for this p. NaN where the parent never occurs.

    Notes
    -----
    O(v m k**2) time, O(v k**2) memory.
    """
    level = check_level(grammar, level, most=grammar.L - 2)
    v, m, s = grammar.v, grammar.m, grammar.s
    laws = node_law(grammar, level + 2)
    law = laws.mean(axis=0) if grandparent is None else laws[grandparent]
    weight = np.repeat(law / m, m)
    above = grammar.rules[level + 1].reshape(-1, s)
    cousins = [q for q in range(s) if q != position]
    one_hot = np.eye(v)[grammar.rules[level]].reshape(v, m, s * v)
    mean, second = one_hot.mean(axis=1), np.einsum("bki,bkj->bij", one_hot, one_hot) / m
    total, k = np.zeros(v), s * v
    first = np.zeros((v, len(cousins) * k))
    square = np.zeros((v, len(cousins), k, len(cousins), k))
    for rule, w in zip(above, weight, strict=True):  # one grandparent rule at a time
        a, f = rule[position], mean[rule[cousins]]  # (cousins, s v)
        total[a] += w
        first[a] += w * f.reshape(-1)
        moment = np.multiply.outer(f, f)
        for i, q in enumerate(cousins):
            moment[i, :, i] = second[rule[q]]
        square[a] += w * moment
    with np.errstate(invalid="ignore", divide="ignore"):
        mu = first / total[:, None]
        return square.reshape(v, *2 * first.shape[1:]) / total[:, None, None] - mu[:, :, None] * mu[:, None]
