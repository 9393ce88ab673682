"""Parse trees of Python programs, with their tokens as leaves: `ast` and `tokenize` put together.

A visible token (a keyword, an operator, NAME, NUMBER or STRING) is a leaf of height 0; above it are the nodes
of the syntax, each with a type (Call, BinOp, If, ...) and a height, the longest way down to a token.
"""

from __future__ import annotations

import ast
import io
import keyword
import sysconfig
import tokenize
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.intp]
# What takes no place in the text of the program, or is not of its grammar.
_UNSEEN = {tokenize.ENCODING, tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT, tokenize.INDENT,
           tokenize.DEDENT, tokenize.ENDMARKER}  # fmt: skip
# Before Python 3.12 a formatted string is one token, and the places of nodes inside it are wrong.
_WHOLE = {"JoinedStr", "TemplateStr"}
_LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__"}


@dataclass(frozen=True)
class Trees:
    """Parse trees of several files; the children of a node are numbered one after the other.

    Attributes
    ----------
    parent : array of int, shape (N,)
        -1 for the root of a file.
    first, count : arrays of int, shape (N,)
        First child, and number of children: 0 for tokens.
    symbol, height, file : arrays of int, shape (N,)
        Symbol as an index of `names`; longest way down to a token; number of the file.
    start, leaves : arrays of int, shape (N,)
        Tokens below a node: its first one, as an index of `text`, and how many.
    text : array of int, shape (T,)
        Symbols of the tokens, file after file.
    names : tuple of str
    """

    parent: Ints
    first: Ints
    count: Ints
    symbol: Ints
    height: Ints
    file: Ints
    start: Ints
    leaves: Ints
    text: Ints
    names: tuple[str, ...]


# ---------------------------------------------------------------- from text to trees


def token_type(token: tokenize.TokenInfo) -> str:
    """Type of a token: a keyword or an operator itself, else NAME, NUMBER or STRING."""
    if token.type == tokenize.OP or (token.type == tokenize.NAME and keyword.iskeyword(token.string)):
        return token.string
    name = tokenize.tok_name[token.type]
    return "STRING" if name.startswith(("FSTRING", "TSTRING")) else name


def parse(source: str) -> list[tuple[str, int]]:
    """Parse a program into a tree whose leaves are its tokens.

    Parameters
    ----------
    source : str
        ASCII, so that columns mean the same to `ast` and `tokenize`.

    Returns
    -------
    list of (str, int)
        Symbol and parent (-1 of the root) of each node, breadth first.

    Notes
    -----
    A token belongs to the smallest node whose text holds it. Nodes without text (Load, Add) are left out;
    nodes without a place of their own (arguments) have that of their children.
    """
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type not in _UNSEEN]
    root = _place(ast.parse(source))
    tree, at = _grow(root, tokens, 0) if root else (("Module", []), 0)
    if at < len(tokens):
        tree[1].extend((token_type(token), []) for token in tokens[at:])
    rows, queue = [], [(tree, -1)]
    for at, (node, parent) in enumerate(queue):
        rows.append((node[0], parent))
        queue.extend((child, at) for child in node[1])
    return rows


def _place(node: ast.AST) -> Any:
    """Return (start, end, name, placed children), or None where a node has no text."""
    inside = [] if type(node).__name__ in _WHOLE else map(_place, ast.iter_child_nodes(node))
    children = sorted(filter(None, inside), key=lambda child: child[0])
    starts, ends = [c[0] for c in children], [c[1] for c in children]
    if hasattr(node, "lineno"):
        starts.append((node.lineno, node.col_offset))  # type: ignore[attr-defined]
        ends.append((node.end_lineno, node.end_col_offset))  # type: ignore[attr-defined]
    return (min(starts), max(ends), type(node).__name__, children) if starts else None


def _grow(placed: Any, tokens: Sequence[tokenize.TokenInfo], at: int) -> tuple[Any, int]:
    """Return (name, children) with the tokens from number `at` on, and the number after the last one."""
    _, end, name, inside = placed
    children: list[Any] = []
    for child in [*inside, (end, end, None, [])]:
        while at < len(tokens) and tokens[at].start < (
            child[0] if name != "Module" or child[2] else (2**60, 0)
        ):
            children.append((token_type(tokens[at]), []))
            at += 1
        if child[2]:
            grown, at = _grow(child, tokens, at)
            children += [grown] if grown[1] else []
    return (name, children), at


def grow(sources: Iterable[str]) -> Trees:
    """Parse programs, one file each, into :class:`Trees`."""
    trees = [parse(source) for source in sources]
    names = tuple(sorted({name for rows in trees for name, _ in rows}))
    number = {name: i for i, name in enumerate(names)}
    sizes = [len(rows) for rows in trees]
    base = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes).astype(np.intp)
    own = np.array([parent for rows in trees for _, parent in rows], dtype=np.intp)
    parent = np.where(own < 0, -1, own + base)
    symbol = np.array([number[name] for rows in trees for name, _ in rows], dtype=np.intp)
    n = len(parent)
    inner = np.flatnonzero(parent >= 0)
    count = np.bincount(parent[inner], minlength=n).astype(np.intp)
    first = np.zeros(n, dtype=np.intp)
    first[parent[inner][::-1]] = inner[::-1]
    height, leaves = np.zeros(n, dtype=np.intp), np.where(count == 0, 1, 0)
    for i in inner[::-1].tolist():  # children come after their parents
        height[parent[i]] = max(height[parent[i]], height[i] + 1)
        leaves[parent[i]] += leaves[i]
    start = np.zeros(n, dtype=np.intp)
    roots = np.flatnonzero(parent < 0)
    start[roots] = np.cumsum([0, *leaves[roots][:-1]])
    for i in inner.tolist():
        before = i - 1
        start[i] = start[parent[i]] if i == first[parent[i]] else start[before] + leaves[before]
    text = np.empty(int(leaves[roots].sum()), dtype=np.intp)
    text[start[count == 0]] = symbol[count == 0]
    file = np.repeat(np.arange(len(sizes)), sizes)
    return Trees(parent, first, count, symbol, height, file, start, leaves, text, names)


def library_files() -> list[Path]:
    """Files of the interpreter's standard library that are ASCII, without tests, by their path."""
    top = Path(sysconfig.get_paths()["stdlib"])
    found = (path for path in top.rglob("*.py") if not _LEFT_OUT & set(path.relative_to(top).parts))
    return sorted(path for path in found if path.read_bytes().isascii())


@lru_cache(maxsize=2)
def corpus(n_files: int, seed: int) -> Trees:
    """Trees of `n_files` files of the standard library, drawn and put in order by `seed`."""
    files = library_files()
    order = np.random.default_rng(seed).permutation(len(files))[:n_files]
    return grow(files[i].read_text(encoding="ascii") for i in order)
