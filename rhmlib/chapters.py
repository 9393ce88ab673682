"""Chapters of the book: where they are, what their sources hold, and what they depend on.

A chapter's source is a MyST-Markdown notebook ``book/NAME.md`` with one cell tagged
``parameters`` that holds plain assignments of names in the catalogue of parameters.
"""

from __future__ import annotations

import ast
import copy
import csv
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rhmlib import parameters, provenance
from rhmlib.notebooks import FORMAT, short_hash, short_hash_of

if TYPE_CHECKING:
    from nbformat import NotebookNode

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)


# ---------------------------------------------------------------- the repository


@dataclass(frozen=True)
class Project:
    """A checkout of the book.

    Attributes
    ----------
    root : Path
        The folder that holds ``pyproject.toml`` and ``book/``.
    """

    root: Path

    @property
    def book(self) -> Path:
        """Sources of the pages."""
        return self.root / "book"

    @property
    def built(self) -> Path:
        """Everything that may be deleted and made again."""
        return self.root / "_build"

    def executed(self, scale: str) -> Path:
        """Folder of a scale's executed notebooks: those of scale ``"book"`` are committed."""
        return self.root / "executed" if scale == "book" else self.built / scale / "executed"

    def chapters(self) -> list[str]:
        """Names of the pages of ``book/`` that hold code, sorted."""
        return sorted(path.stem for path in self.book.glob("*.md") if has_code(path))

    def relative(self, path: Path) -> str:
        """`path` as seen from the root, where it lies below it."""
        path = path.resolve()
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


def find_project(start: str | Path | None = None) -> Project:
    """Find the checkout that a folder belongs to.

    Parameters
    ----------
    start : path, optional
        Where to begin to look, upwards. Default: the environment variable ``RHM_ROOT``, else
        the current folder.

    Returns
    -------
    Project

    Raises
    ------
    ValueError
        If neither the folder nor one above it holds ``pyproject.toml`` and ``book/``.
    """
    begin = Path(start or os.environ.get("RHM_ROOT") or ".").resolve()
    for folder in (begin, *begin.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "book").is_dir():
            return Project(folder)
    raise ValueError(
        "the folder must be in a checkout of the book, with pyproject.toml and book/ at its top. "
        f"Found none at or above {begin}."
    )


def has_code(path: Path) -> bool:
    """Whether a page is a notebook: it names a kernel in its front matter, or has a code cell."""
    text = _read(path)
    header = _FRONT_MATTER.match(text)
    return bool(header and re.search(r"^(kernelspec|jupytext):", header[1], re.MULTILINE)) or (
        re.search(r"^\s*(```+|~~~+|:::+)\{code-cell\}", text, re.MULTILINE) is not None
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be readable UTF-8 text. Found: {error}.") from None


# ---------------------------------------------------------------- a chapter's source


@dataclass(frozen=True)
class Chapter:
    """A chapter's source, read and checked.

    Attributes
    ----------
    name : str
    notebook : NotebookNode
        As jupytext reads it.
    kernel : str
        Name of the kernel that its front matter asks for.
    cell : int
        Index of the parameters cell.
    defaults : dict
        What that cell assigns.
    of_tables : bool
        Whether that cell has the tag "of-tables": v, m and L choose rows of tables, and can only have values
        that these have.
    """

    name: str
    notebook: NotebookNode
    kernel: str
    cell: int
    defaults: dict[str, Any]
    of_tables: bool = False


def read_chapter(project: Project, name: str) -> Chapter:
    """Read the source of a chapter.

    Parameters
    ----------
    project : Project
    name : str
        Such as ``"ilc"`` for ``book/ilc.md``.

    Returns
    -------
    Chapter

    Raises
    ------
    ValueError
        If there is no such chapter, it names no kernel, it has not exactly one parameters cell
        with plain assignments of names in the catalogue, or a code cell is no Python.
    """
    names = project.chapters()
    if name not in names:
        raise ValueError(f"{name!r} is no chapter with code. {parameters.suggestion(name, names)}")
    notebook = _parse(project, name)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = point_to_notebooks(cell.source, names)
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if not kernel:
        raise ValueError(f"book/{name}.md must name a kernel in its front matter (kernelspec). Found none.")
    tagged = [
        i
        for i, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", [])
    ]
    if len(tagged) != 1:
        raise ValueError(f"book/{name}.md must have one code cell tagged 'parameters'. Found {len(tagged)}.")
    defaults = _defaults(name, notebook.cells[tagged[0]].source)
    for cell in notebook.cells:
        _check_python(name, cell)
    of_tables = "of-tables" in notebook.cells[tagged[0]].metadata.get("tags", [])
    return Chapter(name, notebook, kernel, tagged[0], defaults, of_tables)


def point_to_notebooks(text: str, chapters: Iterable[str]) -> str:
    """Turn links to the sources of chapters, ``[...](NAME.md)``, into links to their notebooks.

    Parameters
    ----------
    text : str
        Markdown.
    chapters : iterable of str
        Names of the pages that become notebooks.

    Returns
    -------
    str

    Examples
    --------
    >>> point_to_notebooks("[](ilc.md), [text](rhm.md#rules), [](intro.md)", ["ilc", "rhm"])
    '[](ilc.ipynb), [text](rhm.ipynb#rules), [](intro.md)'
    """
    names = "|".join(map(re.escape, chapters))
    return re.sub(rf"\]\(({names})\.md(?=[#)])", r"](\1.ipynb", text) if names else text


def _parse(project: Project, name: str) -> NotebookNode:
    import jupytext

    text = _read(project.book / f"{name}.md")
    header = _FRONT_MATTER.match(text)
    parameters.read_yaml(header[1] if header else "", f"front matter of book/{name}.md")
    try:
        return jupytext.reads(text, fmt="md:myst")
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"book/{name}.md must be a MyST-Markdown notebook. Found: {reason}.") from None


def _assignments(name: str, source: str) -> Iterator[tuple[str, ast.expr]]:
    """Names and value expressions of a parameters cell."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ValueError(
            f"the parameters cell of book/{name}.md must be Python. Found line {error.lineno}: {error.msg}."
        ) from None
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if len(targets) != 1 or not isinstance(targets[0], ast.Name) or value is None:
            raise ValueError(
                f"the parameters cell of book/{name}.md must hold only assignments 'name = literal'. "
                f"Found {ast.unparse(node)!r}."
            )
        yield targets[0].id, value


def _defaults(name: str, source: str) -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    where = f"the parameters cell of book/{name}.md"
    for target, value in _assignments(name, source):
        if target in defaults:
            raise ValueError(f"{where} must assign each name once. Found {target!r} twice.")
        try:
            literal = ast.literal_eval(value)
        except ValueError:
            raise ValueError(f"{where} must hold literals. Found {target} = {ast.unparse(value)}.") from None
        try:
            defaults[target] = parameters.check_value(target, literal)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    return defaults


def _check_python(name: str, cell: NotebookNode) -> None:
    try:
        _tree(cell)
    except SyntaxError as error:
        raise ValueError(
            f"code cells of book/{name}.md must be Python. Found {error.msg} in the line "
            f"{(error.text or '').strip()!r}."
        ) from None


def _tree(cell: NotebookNode) -> ast.Module:
    """Syntax tree of a code cell, without IPython's magics."""
    if cell.cell_type != "code" or cell.source.lstrip().startswith("%%"):
        return ast.Module(body=[], type_ignores=[])
    lines = [re.sub(r"^(\s*)[%!].*", r"\1pass", line) for line in cell.source.split("\n")]
    return ast.parse("\n".join(lines))


def with_values(chapter: Chapter, values: Mapping[str, Any]) -> NotebookNode:
    """Write resolved values into the parameters cell.

    Only the values that differ from the defaults are replaced; comments and layout stay.

    Parameters
    ----------
    chapter : Chapter
    values : mapping
        What :func:`rhmlib.parameters.resolve` returned.

    Returns
    -------
    NotebookNode
        A copy of the chapter's notebook.
    """
    notebook = copy.deepcopy(chapter.notebook)
    cell = notebook.cells[chapter.cell]
    lines = [line.encode() for line in cell.source.split("\n")]
    for name, node in reversed(list(_assignments(chapter.name, cell.source))):
        if values[name] == chapter.defaults[name]:
            continue
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        # ast counts columns in bytes of UTF-8.
        line = (
            lines[first][: node.col_offset] + repr(values[name]).encode() + lines[last][node.end_col_offset :]
        )
        lines[first : last + 1] = [line]
    cell.source = b"\n".join(lines).decode()
    return notebook


# ---------------------------------------------------------------- what a chapter depends on


@dataclass(frozen=True)
class Fingerprint:
    """What an executed chapter depends on.

    Attributes
    ----------
    run : str
        Hash of all that can change an output: code, parameters, library, files.
    page : str
        Hash of `run` and of the text and the cells' metadata.
    library : str
        Code hash of the modules of rhmlib that the code cells import; "" for none.
    files : dict
        Path to hash of the files that the code cells name.
    """

    run: str
    page: str
    library: str
    files: dict[str, str]


def fingerprint(project: Project, chapter: Chapter, values: Mapping[str, Any]) -> Fingerprint:
    """Hash everything that an execution of a chapter depends on.

    Of files, those count that the code cells name: a table of ``results/`` by its name, with or
    without folder and suffix (and with it the sweep file that it comes from, and the code of the
    sweep's learner), any other by its path from the root. Those beside the modules count, too.

    Parameters
    ----------
    project : Project
    chapter : Chapter
    values : mapping
        Resolved parameters.

    Returns
    -------
    Fingerprint
    """
    notebook = with_values(chapter, values)
    trees = [_tree(cell) for cell in notebook.cells]
    modules = sorted({module for tree in trees for module in provenance.imported_modules(tree)})
    library = provenance.code_hash(*modules) if modules else ""
    named = [*_named_files(project, trees), *_module_files(modules)]
    files = {project.relative(path): _file_hash(path) for path in named}
    code = [
        (cell.source, "raises-exception" in cell.metadata.get("tags", []))
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
    run = short_hash_of(chapter.kernel, code, values, library, files)
    text = [(cell.cell_type, cell.source, cell.metadata) for cell in notebook.cells]
    # jupytext leaves its own version there.
    header = {key: value for key, value in notebook.metadata.items() if key != "jupytext"}
    return Fingerprint(run, short_hash_of(FORMAT, run, text, header), library, files)


def _module_files(modules: Iterable[str]) -> list[Path]:
    """Files that modules of rhmlib read when they are imported: those of the folder ``MODULE_files``."""
    needed = provenance.dependencies(*modules)
    folders = [provenance.PACKAGE / f"{module}_files" for module in sorted(needed)]
    return [path for folder in folders for path in sorted(folder.glob("*")) if path.is_file()]


def named_sweeps(project: Project, chapter: Chapter) -> list[str]:
    """Names of the sweeps that string constants of a chapter's code name."""
    constants = _constants(_tree(cell) for cell in chapter.notebook.cells)
    folder = project.root / "params" / "sweeps"
    return [path.stem for path in sorted(folder.glob("*.yaml")) if path.stem in constants]


def shapes_of_tables(project: Project, chapter: Chapter) -> set[tuple[int, int, int]]:
    """The (v, m, L) of the runs in the tables that a chapter names."""
    shapes: set[tuple[int, int, int]] = set()
    for name in named_sweeps(project, chapter):
        path = project.root / "results" / f"{name}.csv"
        if not path.is_file():
            continue
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if {"v", "m", "L"} <= set(rows.fieldnames or ()):
                shapes |= {(int(row["v"]), int(row["m"]), int(row["L"])) for row in rows}
    return shapes


def _constants(trees: Iterable[ast.Module]) -> set[str]:
    """Printable string constants of the code that are short enough to be a file's name."""
    found = {
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and 0 < len(node.value) < 200
    }
    return {text for text in found if text.isprintable()}


def _named_files(project: Project, trees: Iterable[ast.Module]) -> list[Path]:
    """Files that string constants of the code name."""
    constants = _constants(trees)
    last = {text.replace("\\", "/").rpartition("/")[2] for text in constants}
    found = set(_tables(project, last))
    for text in constants:
        path = (project.root / text).resolve()
        outputs = (project.executed("book"), project.built)
        inside = path.is_relative_to(project.root) and not any(
            path.is_relative_to(place) for place in outputs
        )
        if inside and path.is_file():
            found.add(path)
    return sorted(found)


def _tables(project: Project, names: set[str]) -> Iterator[Path]:
    """Files of ``results/`` of these names, and the sweep files that say what is in them."""
    for path in (project.root / "results").rglob("*"):
        hidden = path.name.startswith(".") or path.suffix in (".lock", ".tmp")
        if path.is_file() and not hidden and (path.name in names or path.stem in names):
            yield path
            sweep = project.root / "params" / "sweeps" / f"{path.stem}.yaml"
            if sweep.is_file():
                yield sweep


def _file_hash(path: Path) -> str:
    """Hash of a file; that of a sweep file changes with its learner's code too, and with what counts as it.

    A table made by other code is out of date, and a chapter that shows it must find out.
    """
    data = path.read_bytes()
    if path.parent.name != "sweeps":
        return short_hash(data)
    from rhmlib import experiments, same_code

    content = parameters.read_yaml(data.decode(), str(path))
    learner = str(content.get("learner") if isinstance(content, dict) else None)
    codes = same_code.linked(learner, experiments.code_hash(learner), path.parents[2])
    return short_hash_of(short_hash(data), sorted(codes))
