"""Strings of the Random Hierarchy Model with all their latents (paper, Section 2, "Generation")."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhmlib.grammar import Grammar, symbol_dtype

# Nodes expanded at once: small enough that a level's temporaries stay in the cache.
_BLOCK = 1 << 17
# Largest table for two levels at once; it should stay in the second-level cache.
_MAX_TABLE = 1 << 16


def _check_count(name: str, value: int) -> int:
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a positive integer. Found {name}={value!r}.") from None
    if value < 1:
        raise ValueError(f"{name} must be a positive integer. Found {name}={value}.")
    return value


def _check_rng(rng: np.random.Generator) -> None:
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            "rng must be a numpy.random.Generator, e.g. np.random.default_rng(seed). "
            f"Found {type(rng).__name__}."
        )


@dataclass(frozen=True)
class Sample:
    """Strings together with the latents that made them.

    Attributes
    ----------
    grammar : Grammar
    levels : tuple of L + 1 arrays
        ``levels[l]`` has shape (n, s**(L - l)): the level-l symbols from left to right, in the
        smallest unsigned dtype that holds v symbols.
    """

    grammar: Grammar
    levels: tuple[NDArray[Any], ...]

    @property
    def tokens(self) -> NDArray[Any]:
        """The visible strings, level 0, shape (n, s**L)."""
        return self.levels[0]

    @property
    def root(self) -> NDArray[Any]:
        """The root symbols, level L, shape (n,)."""
        return self.levels[-1][:, 0]

    def __len__(self) -> int:
        return len(self.levels[0])

    def __getitem__(self, index: slice | NDArray[Any]) -> Sample:
        """Select strings by a slice, a mask or an array of indices."""
        if not isinstance(index, slice | np.ndarray):
            raise TypeError(f"index must be a slice or an array. Found {type(index).__name__}.")
        return Sample(self.grammar, tuple(level[index] for level in self.levels))


def _as_words(table: NDArray[Any]) -> NDArray[Any]:
    """View the last axis of a table as one machine word, where there is a word of that size."""
    size = table.itemsize * table.shape[-1]
    return table.view(f"u{size}")[..., 0] if size in (1, 2, 4, 8) else table


def _rule_dtype(choices: int) -> np.dtype[Any]:
    """Smallest unsigned dtype in which `choices` numbers are drawn fast.

    NumPy rejects a draw with probability up to choices / 2**bits, and is slow where it must check.
    """
    return np.min_scalar_type(32 * choices)


def _expand(table: NDArray[Any], index: NDArray[np.intp], out: NDArray[Any]) -> None:
    """Write the entries of a table of words (see `_as_words`) to `out`, an array of symbols."""
    if table.ndim == 1:
        np.take(table, index, out=out.view(table.dtype), mode="clip")
    else:
        np.take(table, index, axis=0, out=out.reshape(*index.shape, -1), mode="clip")


def _apply_rules(
    grammar: Grammar, symbols: NDArray[Any], level: int, rules: NDArray[Any], out: NDArray[Any]
) -> None:
    """Write to `out` the level-`level` children of level-(level+1) symbols under the given rules."""
    index = np.multiply(symbols, grammar.m, dtype=np.intp)
    index += rules
    _expand(_as_words(grammar.rules[level].reshape(-1, grammar.s)), index, out)


@dataclass(frozen=True)
class _Step:
    """Expansion of level-`top` symbols by one or by two levels at once.

    ``tables[d]`` maps ``symbol * choices + choice`` to the descendants d + 1 levels below, where a
    choice numbers the rules of all the nodes that the step expands.
    """

    top: int
    choices: int
    tables: tuple[NDArray[Any], ...]


def _one_level(grammar: Grammar, top: int) -> _Step:
    return _Step(top, grammar.m, (_as_words(grammar.rules[top - 1].reshape(-1, grammar.s)),))


def _two_levels(grammar: Grammar, top: int) -> _Step:
    v, m, s = grammar.v, grammar.m, grammar.s
    choices = m ** (s + 1)
    choice = np.arange(choices)
    children = np.repeat(grammar.rules[top - 1].reshape(v * m, s), m**s, axis=0)  # (v*choices, s)
    digits = choice[:, None] // m ** np.arange(s - 1, -1, -1) % m  # rules of the s children
    grandchildren = grammar.rules[top - 2][children, np.tile(digits, (v, 1))]  # (v*choices, s, s)
    return _Step(top, choices, (_as_words(children), _as_words(grandchildren.reshape(-1, s * s))))


@lru_cache(maxsize=32)
def _plan(grammar: Grammar) -> tuple[_Step, ...]:
    """Steps from the root down, two levels at once where the table of choices is small.

    A random number and an index cost more than a look-up, and a double step needs one for s + 1 nodes.
    """
    v, m, s = grammar.v, grammar.m, grammar.s
    word = symbol_dtype(v).itemsize * s * s
    double = v * m ** (s + 1) <= _MAX_TABLE and word <= 8
    levels, steps = grammar.L, []
    if not double or levels % 2:
        steps.append(_one_level(grammar, levels))
        levels -= 1
    while levels > 0:
        steps.append(_two_levels(grammar, levels) if double else _one_level(grammar, levels))
        levels -= 2 if double else 1
    return tuple(steps)


def _block_strings(grammar: Grammar) -> int:
    return max(1, _BLOCK * grammar.s // grammar.n_tokens)


def _fill(grammar: Grammar, levels: list[NDArray[Any]], rng: np.random.Generator) -> None:
    """Draw all levels below the roots, which `levels[-1]` holds, block after block of strings."""
    strings = _block_strings(grammar)
    for start in range(0, len(levels[0]), strings):
        block = [level[start : start + strings] for level in levels]
        for step in _plan(grammar):
            symbols = block[step.top]
            choice = rng.integers(0, step.choices, size=symbols.shape, dtype=_rule_dtype(step.choices))
            index = np.multiply(symbols, step.choices, dtype=np.intp)
            index += choice
            for depth, table in enumerate(step.tables, start=1):
                _expand(table, index, block[step.top - depth])


def _empty_levels(grammar: Grammar, n: int) -> list[NDArray[Any]]:
    dtype = symbol_dtype(grammar.v)
    return [np.empty((n, grammar.s ** (grammar.L - level)), dtype) for level in range(grammar.L + 1)]


def sample(grammar: Grammar, n: int, rng: np.random.Generator) -> Sample:
    """Draw n independent strings: a uniform root, then a uniform rule at every node.

    Parameters
    ----------
    grammar : Grammar
    n : int
        Number of strings, at least 1.
    rng : numpy.random.Generator

    Returns
    -------
    Sample

    Notes
    -----
    O(n s**L) time and memory. Children are looked up as machine words, two levels at a time where
    the table of choices is small.
    """
    n = _check_count("n", n)
    _check_rng(rng)
    levels = _empty_levels(grammar, n)
    levels[-1][:, 0] = rng.integers(0, grammar.v, size=n, dtype=symbol_dtype(grammar.v))
    _fill(grammar, levels, rng)
    return Sample(grammar, tuple(levels))


def derive(grammar: Grammar, index: NDArray[np.int64]) -> Sample:
    """Return the strings of given numbers: every string has one derivation, hence one number.

    Parameters
    ----------
    grammar : Grammar
        With at most 2**62 strings.
    index : array of int64, shape (n,)
        In 0 .. n_strings - 1: the root and the rules, read as digits in mixed radix.

    Returns
    -------
    Sample

    Raises
    ------
    ValueError
        If the grammar has too many strings, or an index is out of range.
    """
    if grammar.n_strings > 1 << 62:
        raise ValueError(f"grammar must have at most 2**62 strings to be numbered. Found {grammar!r}.")
    index = np.asarray(index, dtype=np.int64)
    if index.size and (index.min() < 0 or index.max() >= grammar.n_strings):
        raise ValueError(
            f"index must be in 0..{grammar.n_strings - 1}. Found values in [{index.min()}, {index.max()}]."
        )
    levels = _empty_levels(grammar, len(index))
    levels[-1][:, 0] = index % grammar.v
    rest = index // grammar.v
    for level in range(grammar.L - 1, -1, -1):
        rules = np.empty(levels[level + 1].shape, dtype=_rule_dtype(grammar.m))
        for node in range(rules.shape[1]):
            rules[:, node] = rest % grammar.m
            rest //= grammar.m
        _apply_rules(grammar, levels[level + 1], level, rules, levels[level])
    return Sample(grammar, tuple(levels))


def _distinct_integers(total: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """n distinct integers below total <= 2**62, in random order."""
    if total <= 1 << 22:
        return rng.permutation(total)[:n]
    return rng.choice(total, size=n, replace=False, shuffle=True)


def sample_unique(grammar: Grammar, n: int, rng: np.random.Generator) -> Sample:
    """Draw n different strings, uniformly without replacement.

    Parameters
    ----------
    grammar : Grammar
    n : int
        1 <= n <= grammar.n_strings.
    rng : numpy.random.Generator

    Returns
    -------
    Sample

    Raises
    ------
    ValueError
        If the language has fewer than n strings.

    Notes
    -----
    Strings are numbered and their numbers drawn without replacement where the language has at
    most 2**62 of them; larger languages are sampled and repeats, which are rare, drawn again.
    """
    n = _check_count("n", n)
    _check_rng(rng)
    if n > grammar.n_strings:
        raise ValueError(
            f"n must be at most the number of strings, {grammar.n_strings} for {grammar!r}. Found n={n}."
        )
    if grammar.n_strings <= 1 << 62:
        return derive(grammar, _distinct_integers(grammar.n_strings, n, rng))
    drawn = sample(grammar, n, rng)
    while True:
        tokens = np.ascontiguousarray(drawn.tokens)
        rows = tokens.view(np.dtype((np.void, tokens.shape[1] * tokens.itemsize)))[:, 0]
        first = np.sort(np.unique(rows, return_index=True)[1])
        if len(first) == n:
            return drawn
        kept, more = drawn[first], sample(grammar, n - len(first), rng)
        drawn = Sample(
            grammar, tuple(np.concatenate(pair) for pair in zip(kept.levels, more.levels, strict=True))
        )


def resample_rules(sample: Sample, level: int, rng: np.random.Generator, *, distinct: bool = True) -> Sample:
    """Swap synonyms: re-draw the production rule of every level-`level` variable and all below.

    Latents at `level` and above stay as they are.

    Parameters
    ----------
    sample : Sample
    level : int
        1 <= level <= L: the level of the variables whose rules are drawn again.
    rng : numpy.random.Generator
    distinct : bool
        Whether the new rule of the level-`level` variables must differ from the old one
        (rules further below are free).

    Returns
    -------
    Sample
        With levels `level` .. L shared with the input.

    Raises
    ------
    ValueError
        If the level is out of range, or if `distinct` and m = 1: there is no other rule.

    References
    ----------
    Section 5, "The encoder internally clusters synonyms".
    """
    grammar = sample.grammar
    _check_rng(rng)
    if not 1 <= level <= grammar.L:
        raise ValueError(f"level must be in 1..{grammar.L}. Found level={level}.")
    if distinct and grammar.m == 1:
        raise ValueError(
            "distinct must be False where m = 1: no symbol has a second rule. Found distinct=True."
        )
    n = len(sample)
    levels = [*_empty_levels(grammar, n)[:level], *sample.levels[level:]]
    dtype = _rule_dtype(grammar.m)
    if distinct:
        children = sample.levels[level - 1].reshape(n, -1, grammar.s)
        old = grammar.rule_index(children, level - 1) % grammar.m
        shift = rng.integers(1, grammar.m, size=old.shape, dtype=dtype)
        rules = ((old + shift) % grammar.m).astype(dtype)
    else:
        rules = rng.integers(0, grammar.m, size=levels[level].shape, dtype=dtype)
    _apply_rules(grammar, levels[level], level - 1, rules, levels[level - 1])
    for below in range(level - 2, -1, -1):
        rules = rng.integers(0, grammar.m, size=levels[below + 1].shape, dtype=dtype)
        _apply_rules(grammar, levels[below + 1], below, rules, levels[below])
    return Sample(grammar, tuple(levels))


class SampleStream:
    """n strings in chunks, drawn again identically at every iteration; for sets beyond memory.

    Parameters
    ----------
    grammar : Grammar
    n : int
        Strings in all.
    seed : int
        Data seed; chunk i is drawn from the i-th child of ``SeedSequence(seed)``.
    chunk : int, optional
        Strings a chunk; by default about 2**24 tokens.

    Examples
    --------
    >>> grammar = Grammar.random(v=8, m=4, s=2, L=3, seed=0)
    >>> stream = SampleStream(grammar, 1000, seed=1, chunk=300)
    >>> [len(part) for part in stream]
    [300, 300, 300, 100]
    """

    def __init__(self, grammar: Grammar, n: int, seed: int, *, chunk: int | None = None) -> None:
        self.grammar = grammar
        self.n = _check_count("n", n)
        self.seed = operator.index(seed)
        self.chunk = max(1, (1 << 24) // grammar.n_tokens) if chunk is None else _check_count("chunk", chunk)

    def __len__(self) -> int:
        """Return the number of chunks."""
        return math.ceil(self.n / self.chunk)

    def __iter__(self) -> Iterator[Sample]:
        for i, child in enumerate(np.random.SeedSequence(self.seed).spawn(len(self))):
            size = min(self.chunk, self.n - i * self.chunk)
            yield sample(self.grammar, size, np.random.default_rng(child))
