"""Executed notebooks as files: the same bytes each time, written whole, with their provenance."""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

# To be raised when `normalise` or the box changes: executed notebooks are then written anew from
# their outputs, without executing.
FORMAT = 1

_WIDGETS = "application/vnd.jupyter.widget-state+json"
_ADDRESS = re.compile(r"(?<= at )0x[0-9a-fA-F]{6,}")
_STYLER = re.compile(r'<table id="(T_[0-9a-f]{5,})"')
_LANGUAGE = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}


def short_hash(data: bytes) -> str:
    """Twelve hex digits of a hash."""
    return hashlib.sha256(data).hexdigest()[:12]


def short_hash_of(*parts: Any) -> str:
    """Hash of values that JSON can hold, whatever the order of their keys."""
    return short_hash(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode())


def normalise(notebook: NotebookNode, name: str) -> None:
    """Take out of an executed notebook, in place, what differs from one execution to the next.

    Ids of cells become hashes of their text, those of widgets and of styled tables hashes of
    their order; times, versions and memory addresses in plain text go; adjacent pieces of a text
    stream are joined.

    Parameters
    ----------
    notebook : NotebookNode
    name : str
        Chapter, part of the ids of widgets and tables.
    """
    for key in ("papermill", "jupytext"):
        notebook.metadata.pop(key, None)
    notebook.metadata["language_info"] = dict(_LANGUAGE)
    taken: dict[str, int] = {}
    for cell in notebook.cells:
        digest = short_hash_of(cell.cell_type, cell.source)
        taken[digest] = taken.get(digest, 0) + 1
        cell["id"] = digest if taken[digest] == 1 else f"{digest}-{taken[digest]}"
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if cell.cell_type == "code":
            cell.outputs = _normal_outputs(cell.outputs)
    _rename_widgets(notebook, name)
    _rename_tables(notebook, name)


def _normal_outputs(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    merged: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and merged and merged[-1].get("name") == output.name:
            merged[-1].text += output.text
            continue
        merged.append(output)
    for output in merged:
        if output.output_type == "stream":
            output.text = _ADDRESS.sub("0x…", output.text)
        elif "text/plain" in output.get("data", {}):
            output.data["text/plain"] = _ADDRESS.sub("0x…", output.data["text/plain"])
    return merged


def _rename_widgets(notebook: NotebookNode, name: str) -> None:
    models = notebook.metadata.get("widgets", {}).get(_WIDGETS, {}).get("state", {})
    names = {model: hashlib.sha256(f"{name}/{i}".encode()).hexdigest()[:32] for i, model in enumerate(models)}
    if not names:
        return
    pattern = re.compile("|".join(map(re.escape, names)))

    def rename(node: Any) -> Any:
        if isinstance(node, str):
            return pattern.sub(lambda found: names[found[0]], node)
        if isinstance(node, list):
            return [rename(item) for item in node]
        if isinstance(node, dict):
            return type(node)({rename(key): rename(value) for key, value in node.items()})
        return node

    notebook.metadata["widgets"] = rename(notebook.metadata["widgets"])
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = rename(cell.outputs)


def _rename_tables(notebook: NotebookNode, name: str) -> None:
    """Pandas draws a random id for each styled table."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    for i, output in enumerate(outputs):
        page = output.get("data", {}).get("text/html", "")
        for j, old in enumerate(dict.fromkeys(_STYLER.findall(page))):
            page = page.replace(old, f"T_{short_hash(f'{name}/{i}/{j}'.encode())}")
            output.data["text/html"] = page


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook in one step: readers see the old file or the whole new one.

    Parameters
    ----------
    notebook : NotebookNode
    path : Path
        Folders are made as needed.
    """
    import nbformat

    text = nbformat.writes(notebook, version=4)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        partial.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def provenance_box(made: Mapping[str, Any]) -> str:
    """The collapsed box "How this page was made", as HTML without blank lines.

    A blank line would end the HTML block in Markdown; without one the box looks the same on the
    site and in a notebook viewer.

    Parameters
    ----------
    made : mapping
        What the notebook's metadata holds under ``rhm``: ``parameters``, ``run``, ``library``,
        ``files`` and ``provenance``.

    Returns
    -------
    str
    """
    record = made["provenance"]
    table = [f"<tr><th>{name}</th><td>{text}</td></tr>" for name, text in _box_lines(made, record) if text]
    head = ['<details class="rhm-provenance">', "<summary>How this page was made</summary>"]
    return "\n".join([*head, '<table class="table table-sm">', *table, "</table>", "</details>"])


def _box_lines(made: Mapping[str, Any], record: Mapping[str, Any]) -> list[tuple[str, str]]:
    values = [_code(f"{name} = {value!r}") for name, value in made["parameters"].items()]
    files = [f"{html.escape(path)} {_code(digest)}" for path, digest in made["files"].items()]
    numbers = [f"{name} {number}" for name, number in record["versions"].items()]
    library = f", library {_code(made['library'])}" if made["library"] else ""
    return [
        ("Command", _code(record["command"])),
        ("Parameters", ", ".join(values) or "none"),
        ("Commit", html.escape(record["commit"]) + (" with uncommitted changes" if record["dirty"] else "")),
        ("Code", f"chapter {_code(made['run'])}{library}"),
        ("Files", ", ".join(files)),
        ("Versions", html.escape(", ".join(numbers))),
        ("Device", html.escape(f"{record['device']} ({record['device_name']})")),
        ("Threads", str(record["threads"])),
        ("Wall time", f"{record['seconds']} s"),
        ("Date", html.escape(record["date"])),
    ]


def _code(text: str) -> str:
    return f"<code>{html.escape(text)}</code>"
