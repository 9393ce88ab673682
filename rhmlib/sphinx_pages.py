"""A Sphinx extension: leave the scripts of Thebe out of the pages, which have no kernel to connect to."""

from __future__ import annotations

from typing import Any


def _without_thebe(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    def kept(script: Any) -> bool:
        body = getattr(script, "attributes", {}).get("body") or ""
        return "thebe" not in f"{getattr(script, 'filename', script)} {body}".lower()

    for key in ("script_files", "css_files"):
        context[key] = [script for script in context.get(key, []) if kept(script)]


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", _without_thebe, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
