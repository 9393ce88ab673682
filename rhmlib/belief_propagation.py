"""Bayes-optimal inference on the tree: exact posteriors by sum-product messages (paper, Section 2).

A message is an array of shape (v, nodes, B): symbol, position on the level, string. U_l[a] is
P(visible tokens below the node | node is a) and D_l[a] is P(visible tokens elsewhere, node is a).
Every message is divided by its largest entry, and the logarithms of these factors are summed, so
nothing under- or overflows with depth. An entry is lost only if it is below 1e-308 of the largest one
of its message; a string drawn from the grammar has such an entry at its true symbol with probability
below v * 1e-308, because likelihood ratios against the truth average to at most one.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from rhmlib.exact import check_level, node_law
from rhmlib.grammar import Grammar

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Entries of the widest temporary (rules x nodes x strings): a few megabytes stay in the cache.
_WORK = 1 << 17


@dataclass(frozen=True)
class Posterior:
    """Posterior laws given the visible tokens.

    Attributes
    ----------
    levels : dict of int to array of float64, shape (..., s**(L - l), v)
        P(symbol of node i at level l | visible tokens), for the levels asked for.
    log_likelihood : array of float64, shape (...)
        log P(visible tokens).
    L : int
        Level of the root.
    """

    levels: dict[int, Floats]
    log_likelihood: Floats
    L: int

    @property
    def tokens(self) -> Floats:
        """Posterior of every token, shape (..., s**L, v); visible ones are one-hot."""
        return self.levels[0]

    @property
    def root(self) -> Floats:
        """Posterior of the root, shape (..., v)."""
        return self.levels[self.L][..., 0, :]


@lru_cache(maxsize=32)
def _tables(
    grammar: Grammar,
) -> tuple[tuple[NDArray[np.intp], ...], tuple[tuple[sparse.csr_array, ...], ...]]:
    """Per level: rules as (s, v m), and for each child position the 0/1 matrix (v, v m) of its symbol."""
    rules, selectors = [], []
    for r in grammar.rules:
        flat = np.ascontiguousarray(r.reshape(-1, grammar.s).T, dtype=np.intp)
        columns = np.arange(flat.shape[1])
        shape = (grammar.v, flat.shape[1])
        rules.append(flat)
        selectors.append(
            tuple(sparse.csr_array((np.ones(len(columns)), (row, columns)), shape=shape) for row in flat)
        )
    return tuple(rules), tuple(selectors)


def _rescale(message: Floats) -> Floats:
    """Divide a message in place by its largest entry; return that entry, shape (nodes, B)."""
    top = message.max(axis=0)
    message /= np.where(top > 0, top, 1)
    return top


def _leaves(grammar: Grammar, tokens: NDArray[Any], mask: Bools) -> Floats:
    """Messages of the leaves: one-hot where visible, ones where masked; (B, N) -> (v, N, B)."""
    symbols = np.arange(grammar.v, dtype=tokens.dtype)[:, None, None]
    return ((symbols == tokens.T) | mask.T).astype(np.float64)


def _gather(grammar: Grammar, level: int, message: Floats) -> list[Floats]:
    """Child messages at the symbols of every rule: s arrays of shape (v m, parents, B)."""
    rules = _tables(grammar)[0][level]
    s = grammar.s
    return [np.take(message[:, j::s], rules[j], axis=0) for j in range(s)]


def _up(grammar: Grammar, leaves: Floats, height: int) -> tuple[list[Floats], Floats]:
    """Upward messages of levels 0..height and the logarithm of the removed factors, shape (B,)."""
    messages, log_scale = [leaves], np.zeros(leaves.shape[-1])
    for level in range(height):
        at_rules = _gather(grammar, level, messages[-1])
        product = at_rules[0]
        for other in at_rules[1:]:
            product *= other
        message = product.reshape(grammar.v, grammar.m, *product.shape[1:]).sum(axis=1)
        message /= grammar.m
        with np.errstate(divide="ignore"):
            log_scale += np.log(_rescale(message)).sum(axis=0)
        messages.append(message)
    return messages, log_scale


def _down(
    grammar: Grammar, messages: list[Floats], top: Floats, height: int, *, causal: bool = False
) -> Iterator[tuple[int, Floats]]:
    """Downward messages from `height` to the leaves, yielded as (level, message).

    A causal message takes nothing from the right: those subtrees are unseen and their upward
    messages are constant.
    """
    s, (_, selectors) = grammar.s, _tables(grammar)
    yield height, top
    for level in range(height - 1, -1, -1):
        at_rules = _gather(grammar, level, messages[level])
        below = np.empty((grammar.v, top.shape[1] * s, top.shape[2]))
        from_above = np.repeat(top, grammar.m, axis=0)
        for j in range(s):
            weight = from_above.copy()
            for i in range(s):
                if i < j or (i > j and not causal):
                    weight *= at_rules[i]
            shape = weight.shape[1:]
            below[:, j::s] = (selectors[level][j] @ weight.reshape(len(weight), -1)).reshape(-1, *shape)
        _rescale(below)
        top = below
        yield level, top


def _check_tokens(grammar: Grammar, tokens: ArrayLike, mask: ArrayLike | None) -> tuple[NDArray[Any], Bools]:
    """Broadcast tokens with mask and check what is visible."""
    tokens = np.asarray(tokens)
    n_tokens = grammar.n_tokens
    if tokens.dtype.kind not in "iu" or tokens.ndim < 1 or tokens.shape[-1] != n_tokens:
        raise ValueError(
            f"tokens must be integers of shape (..., s**L) = (..., {n_tokens}). "
            f"Found dtype {tokens.dtype}, shape {tokens.shape}."
        )
    hidden = np.zeros(n_tokens, dtype=bool) if mask is None else np.asarray(mask)
    if hidden.dtype != bool or hidden.ndim < 1 or hidden.shape[-1] != n_tokens:
        raise ValueError(
            f"mask must be of dtype bool and shape (..., {n_tokens}). "
            f"Found dtype {hidden.dtype}, shape {hidden.shape}."
        )
    try:
        tokens, hidden = np.broadcast_arrays(tokens, hidden)
    except ValueError:
        raise ValueError(
            f"mask must broadcast with tokens. Found shapes {hidden.shape} and {tokens.shape}."
        ) from None
    visible = tokens[~hidden]
    if visible.size and (visible.min() < 0 or visible.max() >= grammar.v):
        raise ValueError(
            f"tokens must hold symbols in 0..{grammar.v - 1} where they are visible. "
            f"Found values in [{visible.min()}, {visible.max()}]."
        )
    return tokens, hidden


def _chunks(grammar: Grammar, n: int) -> Iterator[slice]:
    widest = grammar.v * grammar.m * (grammar.n_tokens // grammar.s)
    step = max(1, _WORK // widest)
    return (slice(i, min(n, i + step)) for i in range(0, n, step))


def _normalise(message: Floats) -> Floats:
    """(v, nodes, B) -> laws of shape (B, nodes, v)."""
    message = message / message.sum(axis=0)
    return np.ascontiguousarray(np.moveaxis(message, (2, 1), (0, 1)))


def _impossible(index: int) -> ValueError:
    return ValueError(
        f"tokens must be a string of the grammar where they are visible. Found string {index} of the "
        "batch with probability zero."
    )


def log_likelihood(grammar: Grammar, tokens: ArrayLike, mask: ArrayLike | None = None) -> Floats:
    """Logarithm of the probability of the visible tokens.

    Parameters
    ----------
    grammar : Grammar
    tokens : array of int, shape (..., s**L)
        Strings; values under the mask are not read.
    mask : array of bool, shape (..., s**L), optional
        True where a token is hidden; broadcast against `tokens`. By default nothing is hidden.

    Returns
    -------
    array of float64, shape (...)
        ``-inf`` for what the grammar cannot make.

    Notes
    -----
    O(s**L v m) time a string.
    """
    tokens, hidden = _check_tokens(grammar, tokens, mask)
    shape = tokens.shape[:-1]
    tokens, hidden = tokens.reshape(-1, tokens.shape[-1]), hidden.reshape(-1, tokens.shape[-1])
    out = np.empty(len(tokens))
    for part in _chunks(grammar, len(tokens)):
        messages, scale = _up(grammar, _leaves(grammar, tokens[part], hidden[part]), grammar.L)
        with np.errstate(divide="ignore"):
            out[part] = scale + np.log(messages[-1][:, 0].mean(axis=0))
    return out.reshape(shape)


def posterior(
    grammar: Grammar,
    tokens: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    levels: Sequence[int] | None = None,
) -> Posterior:
    """Exact posterior of every masked token, every latent and the root.

    Parameters
    ----------
    grammar : Grammar
    tokens : array of int, shape (..., s**L)
        Strings; values under the mask are not read.
    mask : array of bool, shape (..., s**L), optional
        True where a token is hidden. It is broadcast against `tokens`: strings of shape (B, 1, N)
        with masks of shape (M, N) give all B x M problems.
    levels : sequence of int, optional
        Levels to return; by default all, 0 .. L.

    Returns
    -------
    Posterior

    Raises
    ------
    ValueError
        If an argument is out of range, or the visible tokens of a string have probability zero.

    Notes
    -----
    O(s**L v m s) time and O(s**L v) memory a problem.

    Examples
    --------
    >>> grammar = Grammar.random(v=4, m=2, s=2, L=3, seed=0)
    >>> sample = grammar.sample(5, np.random.default_rng(0))
    >>> bool((posterior(grammar, sample.tokens).root.argmax(-1) == sample.root).all())
    True
    """
    tokens, hidden = _check_tokens(grammar, tokens, mask)
    wanted = range(grammar.L + 1) if levels is None else [check_level(grammar, level) for level in levels]
    shape = tokens.shape[:-1]
    tokens, hidden = tokens.reshape(-1, tokens.shape[-1]), hidden.reshape(-1, tokens.shape[-1])
    n = len(tokens)
    out = {level: np.empty((n, grammar.s ** (grammar.L - level), grammar.v)) for level in wanted}
    likelihood = np.empty(n)
    for part in _chunks(grammar, n):
        up, scale = _up(grammar, _leaves(grammar, tokens[part], hidden[part]), grammar.L)
        evidence = up[-1][:, 0].mean(axis=0)
        if (evidence == 0).any():
            raise _impossible(part.start + int(np.flatnonzero(evidence == 0)[0]))
        likelihood[part] = scale + np.log(evidence)
        for level, down in _down(grammar, up, np.ones_like(up[-1]), grammar.L):
            if level in out:
                out[level][part] = _normalise(down * up[level])
            if level == min(wanted, default=0):
                break
    laws = {level: law.reshape(*shape, *law.shape[1:]) for level, law in out.items()}
    return Posterior(laws, likelihood.reshape(shape), grammar.L)


def token_predictions(
    grammar: Grammar, tokens: ArrayLike, *, height: int | None = None, causal: bool = False
) -> Floats:
    """Exact law of every token given the other tokens of its block.

    Parameters
    ----------
    grammar : Grammar
    tokens : array of int, shape (..., s**L)
        Complete strings.
    height : int, optional
        The context is the subtree of this height around the token, i.e. its block of s**height
        tokens, without the token itself. By default L, the whole string; 0 is no context.
    causal : bool, default=False
        Only tokens to the left count (next-token prediction).

    Returns
    -------
    array of float64, shape (..., s**L, v)

    Raises
    ------
    ValueError
        If an argument is out of range, or a context has probability zero.

    Notes
    -----
    O(s**L v m s) time a string for all its s**L maskings together: the downward message at a leaf
    does not contain the leaf itself.
    """
    tokens, _ = _check_tokens(grammar, tokens, None)
    height = grammar.L if height is None else _check_height(grammar, height)
    shape = tokens.shape
    tokens = tokens.reshape(-1, shape[-1])
    laws = block_predictions(grammar, tokens, height, node_law(grammar, height), causal=causal)
    return laws.reshape(*shape, grammar.v)


def _check_height(grammar: Grammar, height: int) -> int:
    height = operator.index(height)
    if not 0 <= height <= grammar.L:
        raise ValueError(f"height must be in 0..{grammar.L}. Found height={height}.")
    return height


def block_predictions(
    grammar: Grammar, tokens: NDArray[Any], height: int, prior: Floats, *, causal: bool
) -> Floats:
    """Laws of tokens given the others of their block, for any law of the symbols on top of the blocks.

    Parameters
    ----------
    grammar : Grammar
    tokens : array of int, shape (n, s**L)
        Checked by the caller; see :func:`token_predictions`.
    height : int
    prior : array of float64, shape (s**(L - height), v)
    causal : bool

    Returns
    -------
    array of float64, shape (n, s**L, v)
    """
    out = np.empty((*tokens.shape, grammar.v))
    for part in _chunks(grammar, len(tokens)):
        leaves = _leaves(grammar, tokens[part], np.zeros(tokens[part].shape, dtype=bool))
        up, _ = _up(grammar, leaves, max(0, height - 1))
        top = np.repeat(prior.T[:, :, None], leaves.shape[-1], axis=2)
        *_, (_, down) = _down(grammar, up, top, height, causal=causal)
        dead = ~down.any(axis=0).all(axis=0)
        if dead.any():
            raise _impossible(part.start + int(np.flatnonzero(dead)[0]))
        out[part] = _normalise(down)
    return out
