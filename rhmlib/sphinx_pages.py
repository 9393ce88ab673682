"""A Sphinx extension for the book.

- ``{generated} NAME`` puts in a part of :mod:`rhmlib.generated`; the page is read again when what it is made
  of changes.
- A name of the library in code type, such as ```rhmlib.fits.threshold```, is a link to its documentation; one
  that does not exist is a warning.
- Docstrings may hold formulas in plain text, with bars, stars and primes, that reStructuredText would
  take for markup.
- The environment variable ``REPOSITORY_URL`` adds buttons for the repository, Colab and Binder.
- Scripts of Thebe are left out of the pages, which have no kernel to connect to.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from docutils.statemachine import StringList

from rhmlib import generated
from rhmlib.chapters import find_project

_NAME = re.compile(r"rhmlib(?:\.\w+)+")
_BINDER, _COLAB = "https://mybinder.org", "https://colab.research.google.com"


# ---------------------------------------------------------------- generated parts


class Generated(Directive):
    """``{generated} NAME``, with the option `only`: names that the part is limited to."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"only": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """Make the Markdown of the part and parse it in place."""
        env = self.state.document.settings.env
        source = Path(env.app.srcdir)
        context = generated.Context(find_project(source), source, self.options.get("only", "").split())
        try:
            text = generated.make(self.arguments[0], context)
        except ValueError as error:
            raise self.error(f"generated {self.arguments[0]}: {error}") from None
        for path in context.read:
            env.note_dependency(str(path))
        node = nodes.Element()
        self.state.nested_parse(StringList(text.split("\n")), self.content_offset, node, match_titles=True)
        return node.children


def _outdated(app: Any, env: Any, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Read the reference again when the library has other modules: on a new one no page depends yet."""
    now = {group: generated.modules(group) for group in generated.GROUPS}
    before, env.rhm_modules = getattr(env, "rhm_modules", now), now
    if before == now:
        return []
    return [page for page, paths in env.dependencies.items() if any(str(p).endswith(".py") for p in paths)]


# ---------------------------------------------------------------- names of the library


def canonical(name: str) -> str:
    """Return where a public name of rhmlib is defined: ``rhmlib.Grammar`` is ``rhmlib.grammar.Grammar``.

    Parameters
    ----------
    name : str
        Dotted, from ``rhmlib`` on.

    Raises
    ------
    ValueError
        If there is nothing of that name.

    Examples
    --------
    >>> canonical("rhmlib.Grammar"), canonical("rhmlib.fits.threshold"), canonical("rhmlib.fits")
    ('rhmlib.grammar.Grammar', 'rhmlib.fits.threshold', 'rhmlib.fits')
    """
    parts = name.split(".")
    found: Any = import_module(parts[0])
    module = parts[0]
    for i, part in enumerate(parts[1:], start=2):
        try:
            found = getattr(found, part) if hasattr(found, part) else import_module(".".join(parts[:i]))
        except ImportError:
            raise ValueError(
                f"{name} must be a name of the library. Found no {part!r} in {module}."
            ) from None
        module = ".".join(parts[:i])
    owner, inner = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
    return f"{owner}.{inner}" if owner and inner and owner.startswith("rhmlib") else name


def _link_names(app: Any, doctree: nodes.document, page: str) -> None:
    """Turn names of the library in code type into links."""
    objects = app.env.get_domain("py").objects
    for node in list(doctree.findall(nodes.literal)):
        name = node.astext().removesuffix("()")
        if not _NAME.fullmatch(name) or isinstance(node.parent, nodes.reference):
            continue
        try:
            target = objects.get(canonical(name)) or objects.get(name)
        except ValueError as error:
            _warn(str(error), node)
            continue
        if target is not None:
            uri = f"{app.builder.get_relative_uri(page, target.docname)}#{target.node_id}"
            link = nodes.reference("", "", internal=True, refuri=uri)
            node.replace_self(link)
            link += node


def _warn(text: str, node: nodes.Node) -> None:
    from sphinx.util import logging

    logging.getLogger(__name__).warning(text, location=node)


# ---------------------------------------------------------------- docstrings

_SPAN = re.compile(r"(``.+?``|:\w+(?::\w+)*:`[^`]+`|`[^`]+`_{0,2})")
_FIELD = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)* : )(.*)")  # "labels_ : array", which napoleon reads
_NO_MARKUP = re.compile(
    r"\|"
    r"|(?<=[\w)|\]])\*\*(?=[\w(-])"  # a power
    r"|(?<=[(, ])\*{1,2}(?=[A-Za-z_.]+[,.)\]])"  # (*shape, width)
    r"|(?<=\w)_(?=[\s,.;:)\]']|$)"  # labels_
)


def plain_maths(lines: list[str]) -> list[str]:
    r"""Escape, in the lines of a docstring, the bars, powers and underscores of formulas in plain text.

    Literal blocks, examples and what stands in back quotes are left alone.

    Parameters
    ----------
    lines : list of str

    Returns
    -------
    list of str

    Examples
    --------
    >>> plain_maths(["costs |a - b|**2 for ``|x|`` and labels_"])
    ['costs \\|a - b\\|\\*\\*2 for ``|x|`` and labels\\_']
    """
    found: list[str] = []
    literal: int | None = None  # indentation of the line that a literal block belongs to
    example = False  # a prompt begins one, of code and output; an empty line ends it
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if literal is not None and line.strip() and indent <= literal:
            literal = None
        example = bool(line.strip()) and (example or line.lstrip().startswith(">>>"))
        field = _FIELD.fullmatch(line)
        head, text = field.groups() if field else ("", line)
        found.append(line if example or literal is not None else head + _escaped(text))
        if literal is None and line.rstrip().endswith("::"):
            literal = indent
    return found


def _escaped(text: str) -> str:
    parts = _SPAN.split(text)
    parts[::2] = [_NO_MARKUP.sub(lambda f: "".join(f"\\{c}" for c in f[0]), part) for part in parts[::2]]
    return "".join(parts)


def _docstring(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = plain_maths(lines)


# Settings that a class has for pydantic or docutils to read.
_NOT_OURS = ("model_config", "option_spec", "required_arguments")


def _skip(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what is not ours: methods of scikit-learn, settings of pydantic, fields of tuples."""
    own = name.rpartition(".")[2]
    theirs = (
        str(getattr(thing, "__module__", "")).startswith("sklearn")
        or own in _NOT_OURS
        or own.startswith("__pydantic_")
        or str(getattr(thing, "__doc__", "")).startswith("Alias for field number")  # told as attributes
    )
    return True if theirs else None


def _signature(
    app: Any, what: str, name: str, thing: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str, str | None] | None:
    """Write defaults that a dataclass makes anew as ``...``."""
    return (signature.replace("=<factory>", "=..."), returned) if signature else None


# ---------------------------------------------------------------- the site


def repository_options(url: str) -> dict[str, Any]:
    """Options of the theme for a public repository.

    Parameters
    ----------
    url : str
        Such as ``"https://github.com/NAME/BOOK"``; empty for none.

    Returns
    -------
    dict
        Empty without an address. Notebooks are opened as they are in the folder ``executed/``.

    Raises
    ------
    ValueError
        If it is no address of a repository.
    """
    if not url:
        return {}
    if not re.fullmatch(r"https://[\w.-]+/[\w.-]+/[\w.-]+", url):
        raise ValueError(
            f"REPOSITORY_URL must be https://HOST/OWNER/NAME, without a slash at the end. Found {url!r}."
        )
    return {
        "repository_url": url,
        "repository_branch": "main",
        "path_to_docs": "executed",
        "use_repository_button": True,
        "use_issues_button": True,
        "launch_buttons": {"binderhub_url": _BINDER, "colab_url": _COLAB, "notebook_interface": "jupyterlab"},
    }


def _buttons(app: Any, config: Any) -> None:
    config.html_theme_options.update(repository_options(os.environ.get("REPOSITORY_URL", "")))


def _without_thebe(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    def kept(script: Any) -> bool:
        body = getattr(script, "attributes", {}).get("body") or ""
        return "thebe" not in f"{getattr(script, 'filename', script)} {body}".lower()

    for key in ("script_files", "css_files"):
        context[key] = [script for script in context.get(key, []) if kept(script)]


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("generated", Generated)
    app.connect("env-get-outdated", _outdated)
    app.connect("config-inited", _buttons, priority=100)
    app.connect("html-page-context", _without_thebe, priority=900)
    app.connect("doctree-resolved", _link_names)
    if "sphinx.ext.autodoc" in app.extensions:
        app.connect("autodoc-process-docstring", _docstring, priority=100)
        app.connect("autodoc-process-signature", _signature)
        app.connect("autodoc-skip-member", _skip)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
