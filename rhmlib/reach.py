"""What a definition of the library reaches: a hash of code that survives moves.

Rows of a table stand as long as the code that made them is the same. What counts is what a run can
execute: the definitions (functions, classes, constants) that its class names, those that these
name, and so on. Each enters in a normal form, without docstrings, annotations and layout, and without the
module in which it stands. So moving a definition, renaming or splitting a module, reordering and
documenting change no hash; editing a definition changes the hashes of those that reach it, and no others.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from rhmlib import provenance

_PACKAGE = "rhmlib"
# Names by which code is reached that no reading of the source can follow.
_BY_TEXT = frozenset({"getattr", "globals", "vars", "import_module", "__import__", "eval", "exec"})
# Fields of a syntax node that no run depends on.
_UNCOUNTED = ("annotation", "returns", "type_comment", "type_params", "type_ignores")

Place = tuple[str, str]  # a module, dotted below the package, and a name in it


@dataclass
class _Module:
    """Names of a module.

    Attributes
    ----------
    definitions : dict of str to list of ast.stmt
        Statements that bind a name at the top; a constant may be bound more than once.
    imports : dict of str to Place
        Names that stand for something of the package. ``(module, "")`` is a module itself.
    rest : list of ast.stmt
        Statements that bind nothing, but run when the module is imported.
    """

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, Place] = field(default_factory=dict)
    rest: list[ast.stmt] = field(default_factory=list)


def code_hash(module: str, name: str, folder: str | Path | None = None) -> str:
    """Hash of a definition of the package and of all that it reaches.

    Parameters
    ----------
    module : str
        Such as ``"rhmlib.ilc"``.
    name : str
        Of a function, class or constant in it.
    folder : path, optional
        The package; default: this one.

    Returns
    -------
    str
        Twelve hex digits.

    Raises
    ------
    ValueError
        If there is no such definition.

    Notes
    -----
    A class is taken whole, with its decorators and bases. A module is taken whole where it is used otherwise
    than by naming something in it, and where what is reached in it goes by text (`getattr` and its like).
    """
    top = Path(folder or Path(__file__).parent)
    stats = [(path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(top.rglob("*.py"))]
    return _hash(module, name, top, hash(tuple(stats)))


def reached(module: str, name: str, folder: str | Path | None = None) -> frozenset[str]:
    """Names of what a definition reaches, itself among them; arguments as of :func:`code_hash`."""
    return frozenset(name for name, _ in _reached(module, name, folder))


def _reached(module: str, name: str, folder: str | Path | None) -> list[tuple[str, ast.stmt]]:
    library = _Library(Path(folder or Path(__file__).parent))
    start = library.resolve((module.removeprefix(_PACKAGE).lstrip("."), name))
    if start is None or not start[1]:
        raise ValueError(f"name must be defined in {module}. Found {name!r}.")
    return library.closure(start)


@lru_cache(maxsize=256)
def _hash(module: str, name: str, folder: Path, stamp: int) -> str:
    digests = sorted(f"{name}:{_digest(node)}" for name, node in _reached(module, name, folder))
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:12]


class _Library:
    """The sources of a package, read when they are needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, module: str) -> Path | None:
        """File of a module, dotted below the package; "" is the package itself."""
        base = self.folder.joinpath(*module.split(".")) if module else self.folder
        for path in (base.with_suffix(".py"), base / "__init__.py") if module else (base / "__init__.py",):
            if path.is_file():
                return path
        return None

    def module(self, name: str) -> _Module | None:
        path = self.path(name)
        if path is None:
            return None
        stat = path.stat()
        return _read(str(path), name, path.name == "__init__.py", stat.st_mtime_ns, stat.st_size)

    def resolve(self, place: Place) -> Place | None:
        """Follow re-exports to where a name is defined; None where it is not of the package."""
        for _ in range(20):
            module, name = place
            if not name:
                return place if self.path(module) else None
            found = self.module(module)
            if found is None:
                return None
            if name in found.definitions:
                return place
            below = f"{module}.{name}".lstrip(".")
            if name in found.imports:
                place = found.imports[name]
            elif not module and name in (exports := self._exports(found)):
                place = (exports[name], name)
            elif self.path(below):
                return (below, "")
            else:
                return None
        return None

    @staticmethod
    def _exports(package: _Module) -> dict[str, str]:
        """Where the names are that the package loads when they are used."""
        for node in package.definitions.get("EXPORTS", []):
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                return {k: v.removeprefix(f"{_PACKAGE}.") for k, v in ast.literal_eval(node.value).items()}
        return {}

    def closure(self, start: Place) -> list[tuple[str, ast.stmt]]:
        seen: set[Place] = set()
        modules: set[str] = set()
        found: list[tuple[str, ast.stmt]] = []
        todo = [start]
        while todo:
            place = todo.pop()
            if place in seen:
                continue
            seen.add(place)
            module, name = place
            source = self.module(module)
            assert source is not None
            if not name:  # the module itself, whole
                todo += [(module, other) for other in source.definitions]
                continue
            nodes = [(name, node) for node in source.definitions[name]]
            if module not in modules:
                modules.add(module)
                nodes += [("", node) for node in source.rest]
            for named, node in nodes:
                found.append((named, node))
                todo += self._named(module, source, node)
        return found

    def _named(self, module: str, source: _Module, node: ast.stmt) -> Iterator[Place]:
        """Places that a statement of a module names."""
        local = source.imports | _imports(node, module, self.path(module))
        inside: set[ast.AST] = set()
        for part in _walk(node):
            place: Place | None = None
            if isinstance(part, ast.Attribute):
                place = self._attribute(module, source, local, part)
                if place is not None:
                    inside |= set(ast.walk(part.value))
            elif isinstance(part, ast.Name) and part not in inside:
                if part.id in source.definitions:
                    place = (module, part.id)
                elif part.id in local:
                    place = self.resolve(local[part.id])
                elif part.id in _BY_TEXT:
                    place = (module, "")
            if place is not None:
                yield place

    def _attribute(
        self, module: str, source: _Module, local: dict[str, Place], node: ast.Attribute
    ) -> Place | None:
        """What ``module.name`` stands for, where it is of the package."""
        base: Place | None = None
        if isinstance(node.value, ast.Name) and node.value.id not in source.definitions:
            base = self.resolve(local[node.value.id]) if node.value.id in local else None
        elif isinstance(node.value, ast.Attribute):
            base = self._attribute(module, source, local, node.value)
        if base is None or base[1]:
            return None
        return self.resolve((base[0], node.attr))


@lru_cache(maxsize=512)
def _read(path: str, name: str, package: bool, mtime_ns: int, size: int) -> _Module:
    found = _Module()
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    for node in tree.body[provenance.has_docstring(tree) :]:
        guarded = isinstance(node, ast.If) and provenance.is_type_checking(node.test)
        if guarded or isinstance(node, ast.Import | ast.ImportFrom):
            found.imports |= _imports(node, name, Path(path))
            continue
        names = list(_bound(node))
        for each in names:
            found.definitions.setdefault(each, []).append(node)
        if not names:
            found.rest.append(node)
    return found


def _bound(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))


def _imports(node: ast.stmt, module: str, path: Path | None) -> dict[str, Place]:
    """Names that the imports in a statement bind to something of the package."""
    found: dict[str, Place] = {}
    inside = module.split(".") if module else []
    if path is None or path.name != "__init__.py":
        inside = inside[:-1]
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            for alias in part.names:
                top, _, below = alias.name.partition(".")
                if top == _PACKAGE:
                    found[alias.asname or top] = (below if alias.asname else "", "")
        elif isinstance(part, ast.ImportFrom):
            base = (part.module or "").split(".") if part.module else []
            if part.level:
                base = [*inside[: len(inside) - part.level + 1], *base]
            elif base[:1] == [_PACKAGE]:
                base = base[1:]
            else:
                continue
            for alias in part.names:
                found[alias.asname or alias.name] = (".".join(base), alias.name)
    return found


# ---------------------------------------------------------------- the normal form


def _fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Fields of a node that count: neither annotations nor imports, whose names are followed, nor texts."""
    described = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Field"
    for name, value in provenance.fields(node):
        if name in _UNCOUNTED:
            continue
        if described and name == "keywords":  # a setting's description is documentation
            value = [part for part in value if part.arg != "description"]
            if not value:
                continue
        if isinstance(value, list):
            value = [part for part in value if not isinstance(part, ast.Import | ast.ImportFrom)]
        yield name, value


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """As `ast.walk` of the normal form, from the outside in."""
    yield node
    for _, value in _fields(node):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.AST):
                yield from _walk(item)


@lru_cache(maxsize=4096)
def _digest(node: ast.stmt) -> str:
    return hashlib.sha256(
        "".join(provenance.canonical(node, _fields)).encode("utf-8", "surrogatepass")
    ).hexdigest()
