"""A Sphinx extension: pages that a screen reader reads as they look.

What the theme and other extensions put in the way is taken out of the HTML: labels that say something else
than the page shows, roles that do not hold, names given twice. Cells of tables learn what ``custom.css``
cannot know: which hold a number, to be kept on one line, and where a long name may break.
"""

from __future__ import annotations

import re
from typing import Any

_NUMBER = r"[+\-−]?\d[\d,.]*(?:e[+-]?\d+)?%?"
# Pattern in the body of a page -> what stands there instead.
_INSTEAD = {
    # The button's own words say whether it shows or hides.
    r'<summary aria-label="Toggle hidden content">': "<summary>",
    # A list may hold nothing but items: here are links between them. The role of its entries is deprecated.
    r'(<div )role="list" (class="citation-list">)': r"\1\2",
    r'(<div class="citation" id="[^"]*") role="doc-biblioentry"': r"\1",
    # All proofs of a page, and the contents of all theorems, have one name.
    r'(<div class="proof admonition") id="proof"': r"\1",
    r'(<section class="\w+-content") id="proof-content"': r"\1",
    # Cells of pandas: a number, with or without its interval.
    rf"<td>(?={_NUMBER}(?: \[{_NUMBER}, {_NUMBER}\])?</td>)": '<td class="number">',
}
_CELL = re.compile(r"<td\b.*?</td>", re.DOTALL)
_LONG_WORD = re.compile(r'(?<=<span class="pre">)[^<&]{12,}(?=</span>)')
_JOINT = re.compile(r"(?<=[^\W\d][._/=,])(?=[^\W_])")


def _breakable(cell: str) -> str:
    """Let long words of code in a cell of a table break after their joints."""
    return _LONG_WORD.sub(lambda word: _JOINT.sub("<wbr>", word[0]), cell)


def readable(body: str) -> str:
    """Take out of a page's HTML what misleads a screen reader, and mark what the style sheet needs marked.

    Parameters
    ----------
    body : str

    Returns
    -------
    str

    Examples
    --------
    >>> readable('<div class="proof admonition" id="proof"><p>Set')
    '<div class="proof admonition"><p>Set'
    >>> readable("<td>3.02 [2.95, 3.10]</td>")
    '<td class="number">3.02 [2.95, 3.10]</td>'
    """
    for pattern, instead in _INSTEAD.items():
        body = re.sub(pattern, instead, body)
    return _CELL.sub(lambda cell: _breakable(cell[0]), body)


def _readable(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if "body" in context:
        context["body"] = readable(context["body"])


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", _readable, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
