"""The grammar of the Random Hierarchy Model (paper, Section 2)."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from rhmlib.sampling import Sample, SampleStream

# Above this many possible s-tuples the inverse rules are searched, not tabulated.
_DENSE_TUPLES = 1 << 22


def check_shape(v: int, m: int, s: int, L: int) -> tuple[int, int, int, int]:
    """Check the four numbers that shape an RHM.

    Parameters
    ----------
    v, m, s, L : int
        Symbols, rules a symbol, branching and depth.

    Returns
    -------
    v, m, s, L : tuple of int
        The same numbers as plain Python integers.

    Raises
    ------
    TypeError
        If one of them is not an integer.
    ValueError
        If one of them is out of range, or if there are not enough s-tuples for
        ``v * m`` distinct rules, i.e. ``m > v**(s - 1)``.
    """
    values = {}
    for name, value, least in (("v", v, 2), ("m", m, 1), ("s", s, 2), ("L", L, 1)):
        if isinstance(value, bool):
            raise TypeError(f"{name} must be an integer >= {least}. Found {name}={value!r}.")
        try:
            values[name] = operator.index(value)
        except TypeError:
            raise TypeError(f"{name} must be an integer >= {least}. Found {name}={value!r}.") from None
        if values[name] < least:
            raise ValueError(f"{name} must be an integer >= {least}. Found {name}={value!r}.")
    v, m, s, L = values["v"], values["m"], values["s"], values["L"]
    if m > v ** (s - 1):
        raise ValueError(
            f"m must be at most v**(s - 1) = {v ** (s - 1)}, so that v * m distinct s-tuples exist. "
            f"Found m={m} with v={v}, s={s}."
        )
    if s**L > 1 << 31:
        raise ValueError(f"L must satisfy s**L <= 2**31 tokens a string. Found L={L} with s={s}.")
    return v, m, s, L


def symbol_dtype(v: int) -> np.dtype[Any]:
    """Return the smallest unsigned dtype that holds the symbols ``0 .. v-1``."""
    return np.min_scalar_type(v - 1)


class Grammar:
    """One instance of the Random Hierarchy Model; immutable.

    Parameters
    ----------
    rules : sequence of L arrays of shape (v, m, s)
        ``rules[l][a, k]`` is the k-th s-tuple of level-l symbols that the
        level-(l+1) symbol ``a`` may generate. Level 0 is the visible one, level L the root.

    Attributes
    ----------
    v, m, s, L : int
        Symbols a level, rules a symbol, branching, depth.
    rules : tuple of L read-only arrays of shape (v, m, s)

    Raises
    ------
    ValueError
        If shapes differ or do not make an RHM, if a symbol is out of range, or if a tuple
        occurs twice at a level (the grammar would be ambiguous).

    References
    ----------
    Section 2, "The Random Hierarchy Model".

    Examples
    --------
    >>> grammar = Grammar.random(v=8, m=4, s=2, L=3, seed=0)
    >>> grammar.f
    0.5
    >>> grammar.sample(5, np.random.default_rng(0)).tokens.shape
    (5, 8)
    """

    def __init__(self, rules: Sequence[ArrayLike]) -> None:
        arrays = [np.asarray(r) for r in rules]
        if not arrays:
            raise ValueError("rules must hold one array per level, L >= 1 of them. Found 0 arrays.")
        if arrays[0].ndim != 3 or any(r.shape != arrays[0].shape for r in arrays):
            raise ValueError(
                f"rules must be L arrays of one shape (v, m, s). Found shapes {[r.shape for r in arrays]}."
            )
        self.v, self.m, self.s, self.L = check_shape(
            arrays[0].shape[0], arrays[0].shape[1], arrays[0].shape[2], len(arrays)
        )
        for level, r in enumerate(arrays):
            if r.dtype.kind not in "iu" or r.min() < 0 or r.max() >= self.v:
                raise ValueError(
                    f"rules[{level}] must hold integers in 0..{self.v - 1}. "
                    f"Found dtype {r.dtype} with values in [{r.min()}, {r.max()}]."
                )
        self.rules: tuple[NDArray[Any], ...] = tuple(
            np.ascontiguousarray(r, dtype=symbol_dtype(self.v)).copy() for r in arrays
        )
        for level, r in enumerate(self.rules):
            r.flags.writeable = False
            if len(np.unique(self.tuple_code(r.reshape(-1, self.s)))) < self.v * self.m:
                raise ValueError(f"rules[{level}] must hold v*m distinct tuples. Found a tuple twice.")

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("v", "m", "s", "L", "rules") and name in self.__dict__:
            raise AttributeError(f"a Grammar is immutable: {name} cannot be set.")
        super().__setattr__(name, value)

    @classmethod
    def random(cls, *, v: int, m: int, s: int, L: int, seed: int | np.random.Generator) -> Grammar:
        """Draw a grammar: v*m distinct tuples a level, uniform, dealt to v parents.

        Parameters
        ----------
        v, m, s, L : int
            See :func:`check_shape` for their ranges.
        seed : int or numpy.random.Generator
            The grammar seed, or a generator that is advanced.

        Returns
        -------
        Grammar

        Raises
        ------
        TypeError, ValueError
            As :func:`check_shape`; also if v**s exceeds 2**62.
        """
        v, m, s, L = check_shape(v, m, s, L)
        if v**s > 1 << 62:
            raise ValueError(f"v**s must be at most 2**62. Found v={v}, s={s}.")
        rng = np.random.default_rng(seed)
        rules = []
        for _ in range(L):
            codes = rng.choice(v**s, size=v * m, replace=False, shuffle=True)
            digits = codes[:, None] // v ** np.arange(s - 1, -1, -1, dtype=np.int64) % v
            rules.append(digits.reshape(v, m, s))
        return cls(rules)

    @property
    def f(self) -> float:
        """Fraction of the v**s tuples that are grammatical, m / v**(s-1)."""
        return self.m / self.v ** (self.s - 1)

    @property
    def n_tokens(self) -> int:
        """Number of visible tokens of a string, s**L."""
        return self.s**self.L

    @property
    def n_strings(self) -> int:
        """Number of distinct strings, v * m**((s**L - 1)/(s - 1)), exact."""
        return self.v * self.m ** ((self.s**self.L - 1) // (self.s - 1))

    def tuple_code(self, tuples: ArrayLike) -> NDArray[np.int64]:
        """Number the s-tuples: read the symbols as digits in base v.

        Parameters
        ----------
        tuples : array of int, shape (..., s)

        Returns
        -------
        array of int64, shape (...)
        """
        tuples = np.asarray(tuples)
        code = tuples[..., 0].astype(np.int64)
        for i in range(1, self.s):
            code *= self.v
            code += tuples[..., i]
        return code

    @cached_property
    def _inverse(self) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]:
        """Per level: sorted tuple codes, and the rule index a*m + k of each."""
        out = []
        for r in self.rules:
            codes = self.tuple_code(r.reshape(-1, self.s))
            order = np.argsort(codes)
            out.append((codes[order], order.astype(np.int64)))
        return tuple(out)

    @cached_property
    def _dense_inverse(self) -> tuple[NDArray[np.int32], ...]:
        out = []
        for codes, rule in self._inverse:
            table = np.full(self.v**self.s, -1, dtype=np.int32)
            table[codes] = rule
            out.append(table)
        return tuple(out)

    def rule_index(self, tuples: ArrayLike, level: int) -> NDArray[np.int64]:
        """Find the production rule that made each tuple.

        Parameters
        ----------
        tuples : array of int, shape (..., s)
            Tuples of level-`level` symbols.
        level : int
            Level of the tuples, 0 <= level < L.

        Returns
        -------
        array of int64, shape (...)
            ``a * m + k`` for rule k of parent a; -1 where the tuple is not grammatical.

        Raises
        ------
        ValueError
            If the level, the last dimension or a symbol is out of range.
        """
        if not 0 <= level < self.L:
            raise ValueError(f"level must be in 0..{self.L - 1}. Found level={level}.")
        tuples = np.asarray(tuples)
        if tuples.ndim < 1 or tuples.shape[-1] != self.s:
            raise ValueError(f"tuples must have last dimension s={self.s}. Found shape {tuples.shape}.")
        if tuples.size and (tuples.min() < 0 or tuples.max() >= self.v):
            raise ValueError(
                f"tuples must hold symbols in 0..{self.v - 1}. "
                f"Found values in [{tuples.min()}, {tuples.max()}]."
            )
        code = self.tuple_code(tuples)
        if self.v**self.s <= _DENSE_TUPLES:
            return self._dense_inverse[level][code].astype(np.int64)
        codes, rule = self._inverse[level]
        at = np.minimum(np.searchsorted(codes, code), len(codes) - 1)
        return np.where(codes[at] == code, rule[at], -1)

    def parent(self, tuples: ArrayLike, level: int) -> NDArray[Any]:
        """Return the level-(level+1) parent of tuples of level-`level` symbols.

        The grammar is unambiguous: every grammatical tuple has one parent.

        Parameters
        ----------
        tuples : array of int, shape (..., s)
        level : int
            Level of the tuples, 0 <= level < L.

        Returns
        -------
        array of the symbol dtype, shape (...)

        Raises
        ------
        ValueError
            If an argument is out of range or a tuple is not grammatical.
        """
        rule = self.rule_index(tuples, level)
        if (rule < 0).any():
            bad = np.asarray(tuples)[rule < 0][0]
            raise ValueError(
                f"tuples must be grammatical at level {level}. Found the tuple {tuple(int(x) for x in bad)}."
            )
        return (rule // self.m).astype(symbol_dtype(self.v))

    def marginals(self, level: int) -> NDArray[np.float64]:
        """Exact law of a level-`level` symbol, averaged over the s**(L-level) positions.

        Parameters
        ----------
        level : int
            0 <= level <= L.

        Returns
        -------
        array of float64, shape (v,)
        """
        if not 0 <= level <= self.L:
            raise ValueError(f"level must be in 0..{self.L}. Found level={level}.")
        p = np.full(self.v, 1 / self.v)
        for above in range(self.L - 1, level - 1, -1):
            rules = self.rules[above]
            weight = np.repeat(p / (self.m * self.s), self.m * self.s)
            p = np.bincount(rules.reshape(-1), weights=weight, minlength=self.v)
        return p

    def sample(self, n: int, rng: np.random.Generator, *, unique: bool = False) -> Sample:
        """Sample n strings with all their latents; see :func:`rhmlib.sampling.sample`."""
        from rhmlib import sampling

        return sampling.sample_unique(self, n, rng) if unique else sampling.sample(self, n, rng)

    def stream(self, n: int, seed: int, *, chunk: int | None = None) -> SampleStream:
        """Strings in chunks, re-iterable; see :class:`rhmlib.sampling.SampleStream`."""
        from rhmlib.sampling import SampleStream

        return SampleStream(self, n, seed, chunk=chunk)

    def save(self, path: str | Path) -> None:
        """Write the rules to a NumPy ``.npz`` file."""
        np.savez_compressed(path, rules=np.stack(self.rules))

    @classmethod
    def load(cls, path: str | Path) -> Grammar:
        """Read a grammar that :meth:`save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file holds no rules.
        """
        with np.load(path) as data:
            if "rules" not in data:
                raise ValueError(
                    f"path must be a file written by Grammar.save. Found keys {list(data)} in {path}."
                )
            return cls(list(data["rules"]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grammar):
            return NotImplemented
        same = (self.v, self.m, self.s, self.L) == (other.v, other.m, other.s, other.L)
        return same and all(np.array_equal(a, b) for a, b in zip(self.rules, other.rules, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(r.tobytes() for r in self.rules))

    def __repr__(self) -> str:
        return f"Grammar(v={self.v}, m={self.m}, s={self.s}, L={self.L})"
