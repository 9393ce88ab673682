"""A Sphinx extension: what the theme puts into pages that this book does not want there.

Scripts of Thebe go, as the pages have no kernel to connect to; so do labels and roles that tell a
screen reader something else than the page shows.
"""

from __future__ import annotations

import re
from typing import Any

# Pattern in the body of a page -> what stands there instead.
_READABLE = {
    # The button's own words say whether it shows or hides.
    r'<summary aria-label="Toggle hidden content">': "<summary>",
    # A list may hold nothing but items: here are links between them. The role of its entries is deprecated.
    r'(<div )role="list" (class="citation-list">)': r"\1\2",
    r'(<div class="citation" id="[^"]*") role="doc-biblioentry"': r"\1",
}

def _without_thebe(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    def kept(script: Any) -> bool:
        body = getattr(script, "attributes", {}).get("body") or ""
        return "thebe" not in f"{getattr(script, 'filename', script)} {body}".lower()

    for key in ("script_files", "css_files"):
        context[key] = [script for script in context.get(key, []) if kept(script)]


def readable(body: str) -> str:
    """Take out of a page's HTML what misleads a screen reader.

    Parameters
    ----------
    body : str

    Returns
    -------
    str
    """
    for pattern, instead in _READABLE.items():
        body = re.sub(pattern, instead, body)
    return body


def _readable(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if "body" in context:
        context["body"] = readable(context["body"])


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", _without_thebe, priority=900)
    app.connect("html-page-context", _readable, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
