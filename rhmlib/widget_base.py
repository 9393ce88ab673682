"""Widgets that compute in the page: small JavaScript modules beside this file, and their base in Python.

They live in JupyterLab and in the static pages alike; there they need no kernel and ask nothing of any host.
The front end gets one text of JavaScript a widget, into which :func:`bundle` joins its modules.
"""

from __future__ import annotations

import re
from pathlib import Path

import anywidget

FILES = Path(__file__).with_name("widget_base_files")
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w.]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class)\b)", re.MULTILINE)


def modules(name: str) -> list[str]:
    """List the module files that a module needs, those that others import first, itself last.

    Parameters
    ----------
    name : str
        A file of ``FILES``.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If there is no such file.
    """
    if not (FILES / name).is_file():
        there = sorted(path.name for path in FILES.glob("*.mjs"))
        raise ValueError(f"name must be one of the modules {there}. Found name={name!r}.")
    text = (FILES / name).read_text(encoding="utf-8")
    needed = [module for found in _IMPORT.findall(text) for module in modules(found)]
    return list(dict.fromkeys([*needed, name]))


def bundle(name: str) -> str:
    """Join a module and those that it imports into one, which imports nothing.

    Parameters
    ----------
    name : str
        A file of ``FILES`` with a default export.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If there is no such file, or an import is not of the form ``import { ... } from "./x.mjs";``.

    Notes
    -----
    Names of all the modules share one scope: JavaScript refuses a bundle in which one is defined twice.
    """
    texts = {part: (FILES / part).read_text(encoding="utf-8") for part in modules(name)}
    texts = {part: _IMPORT.sub("", text) for part, text in texts.items()}
    for part, text in texts.items():
        if re.search(r"^import\b", text, re.MULTILINE):
            raise ValueError(
                f'{part} must import by lines import {{ ... }} from "./x.mjs"; only. Found another.'
            )
    return "\n".join(_EXPORT.sub("", text) if part != name else text for part, text in texts.items())


class PageWidget(anywidget.AnyWidget):
    """Base of the widgets that compute in the page.

    A subclass sets ``_esm = bundle("NAME.mjs")`` and ``_css = STYLE``, traits tagged ``sync=True``, and in
    words what it shows, for where nothing can be drawn.
    """

    words = "an interactive picture"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.words}>"


STYLE = (FILES / "widget.css").read_text(encoding="utf-8")
