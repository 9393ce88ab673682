"""The grammar explorer: the tree of a string, in which a click swaps a synonym."""

from __future__ import annotations

from typing import Any

import numpy as np
import traitlets

from rhmlib.grammar import Grammar
from rhmlib.sampling import Sample, resample_rules
from rhmlib.widget_base import STYLE, PageWidget, bundle


def swap_one(sample: Sample, level: int, index: int, rng: np.random.Generator) -> Sample:
    """Swap a synonym at one node: it takes another of its rules, and all below it is drawn again.

    Parameters
    ----------
    sample : Sample
    level, index : int
        The node: 1 <= level <= L, counted from the left.
    rng : numpy.random.Generator

    Returns
    -------
    Sample
        Equal to the input outside of the node's subtree, and at the node.

    Raises
    ------
    ValueError
        If there is no such node, or m = 1.
    """
    grammar = sample.grammar
    redrawn = resample_rules(sample, level, rng)
    if not 0 <= index < sample.levels[level].shape[1]:
        raise ValueError(
            f"index must be in 0..{sample.levels[level].shape[1] - 1} at level {level}. Found index={index}."
        )
    levels = [row.copy() for row in sample.levels]
    for below in range(level):
        width = grammar.s ** (level - below)
        part = slice(index * width, (index + 1) * width)
        levels[below][:, part] = redrawn.levels[below][:, part]
    return Sample(grammar, tuple(levels))


def _rows(sample: Sample, index: int) -> list[list[int]]:
    return [[int(symbol) for symbol in level[index]] for level in sample.levels]


class GrammarExplorer(PageWidget):
    """Explore a grammar: see a string's tree, click a symbol to swap a synonym, look at cousins and contexts.

    Parameters
    ----------
    sample : Sample
        A string, the first of it, and its grammar.
    seed : int
        The grammar's seed. The page draws other grammars by itself, the same ones as ``Grammar.random``.
    node : (level, index), optional
        The node at which a synonym has been swapped before a reader does anything. By default one in the
        middle of level 2.
    swap_seed : int
        Of that swap.

    Attributes
    ----------
    v, m, s, L, seed : int
    rules : list
        Indexed [level][symbol][k][position].
    levels : list
        The string's symbols, a list a level, tokens first.
    before : list or None
        The same before the last swap.
    node : list
        Level and index of the chosen node.

    Notes
    -----
    Where there is a kernel, the attributes follow what a reader does: see `grammar` and `sample`.
    """

    _esm = bundle("explorer.mjs")
    _css = STYLE
    words = "a string's tree in which a click swaps a synonym"

    v = traitlets.Int().tag(sync=True)
    m = traitlets.Int().tag(sync=True)
    s = traitlets.Int().tag(sync=True)
    L = traitlets.Int().tag(sync=True)
    seed = traitlets.Int().tag(sync=True)
    rules: Any = traitlets.List().tag(sync=True)
    levels: Any = traitlets.List().tag(sync=True)
    before: Any = traitlets.List(None, allow_none=True).tag(sync=True)
    node: Any = traitlets.List().tag(sync=True)

    def __init__(
        self, sample: Sample, *, seed: int, node: tuple[int, int] | None = None, swap_seed: int = 0
    ) -> None:
        grammar = sample.grammar
        if node is None:
            level = min(2, grammar.L)
            node = level, (grammar.s ** (grammar.L - level) - 1) // 2
        first = sample[:1]
        swapped = first if grammar.m == 1 else swap_one(first, *node, np.random.default_rng(swap_seed))
        super().__init__(
            v=grammar.v,
            m=grammar.m,
            s=grammar.s,
            L=grammar.L,
            seed=seed,
            rules=[rules.tolist() for rules in grammar.rules],
            levels=_rows(swapped, 0),
            before=None if grammar.m == 1 else _rows(first, 0),
            node=list(node),
        )

    @property
    def grammar(self) -> Grammar:
        """The grammar that is shown."""
        return Grammar([np.array(rules) for rules in self.rules])

    @property
    def sample(self) -> Sample:
        """The string that is shown, with its latents."""
        grammar = self.grammar
        dtype = grammar.rules[0].dtype
        return Sample(grammar, tuple(np.array([row], dtype=dtype) for row in self.levels))
