"""Where a number comes from: commit, versions, device, and a hash of the code that made it."""

from __future__ import annotations

import ast
import hashlib
import importlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent

_DISTRIBUTIONS = ("rhmlib", "numpy", "scipy", "scikit-learn", "torch")
_DEVICES = "'auto', 'cpu', 'cuda', 'cuda:0' (or another index) or 'mps'"


# ---------------------------------------------------------------- the repository


def _git(root: Path, *arguments: str) -> str | None:
    """Output of a git command run in `root`; None where git, a repository or a commit is missing."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(root), *arguments],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _repository(root: str | Path | None) -> Path | None:
    """The checkout at `root` (default: the one rhmlib was imported from), if `root` is one's top.

    The top is asked for, because a package installed below a stranger's repository must not
    report the stranger's commit.
    """
    top = Path(root).resolve() if root is not None else PACKAGE.parent
    found = _git(top, "rev-parse", "--show-toplevel")
    return top if found and Path(found).resolve() == top else None


@lru_cache(maxsize=8)
def commit(root: str | Path | None = None) -> str:
    """Short hash of the checked-out commit.

    Parameters
    ----------
    root : path, optional
        Top of a checkout. Default: the one that rhmlib was imported from.

    Returns
    -------
    str
        Ten hex digits (more where ten are ambiguous), or ``"unknown"`` outside a repository and
        before a first commit. Read once a process: later commits do not change what is running.
    """
    top = _repository(root)
    return (top and _git(top, "rev-parse", "--short=10", "HEAD")) or "unknown"


@lru_cache(maxsize=8)
def is_dirty(root: str | Path | None = None) -> bool:
    """Whether the sources differ from the commit, untracked files included.

    ``executed/`` and ``results/`` do not count: a run writes there itself, and would otherwise
    report its own output as a change.

    Parameters
    ----------
    root : path, optional
        As in :func:`commit`.

    Returns
    -------
    bool
        False outside a repository, where `commit` is ``"unknown"``. Read once a process.
    """
    top = _repository(root)
    changes = top and _git(top, "status", "--porcelain", "--", ".", ":(exclude)executed", ":(exclude)results")
    return bool(changes)


# ---------------------------------------------------------------- versions and machine


@lru_cache(maxsize=1)
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for name in _DISTRIBUTIONS:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)


def versions() -> dict[str, str]:
    """Versions of Python, rhmlib, numpy, scipy, scikit-learn and torch, of those installed.

    Nothing is imported: the installed packages' metadata is read.
    """
    return dict(_versions())


def platform_key() -> str:
    """Machine, system, Python and numpy in one short string.

    Runs with the same key and seeds should agree to the last bit; runs with different keys
    need not.

    Returns
    -------
    str
        Such as ``"x86_64-linux-py3.11-numpy2.4.6"``.
    """
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    return "-".join(
        [platform.machine().lower(), platform.system().lower(), python, f"numpy{metadata.version('numpy')}"]
    )


def resolve_device(device: str = "auto") -> str:
    """Turn a wish for a device into the name of one that is there.

    Parameters
    ----------
    device : str
        ``"auto"`` is CUDA where torch finds it and the CPU otherwise. ``"mps"`` is never chosen
        by itself, as it has no float64.

    Returns
    -------
    str
        ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"mps"``. torch is not imported for ``"cpu"``.

    Raises
    ------
    ValueError
        If the name is unknown or the device is not there.
    """
    kind, _, index = str(device).partition(":")
    known = device in ("auto", "cpu", "mps") or (kind == "cuda" and (device == "cuda" or index.isdecimal()))
    if not known:
        raise ValueError(f"device must be {_DEVICES}. Found device={device!r}.")
    if device == "cpu":
        return "cpu"
    count = _cuda_devices()
    if device == "auto":
        return "cuda" if count else "cpu"
    if device == "mps":
        return _require_mps()
    if not count:
        raise ValueError(
            f"device must be one that is there: torch finds no CUDA here. Found device={device!r}."
        )
    if index and int(index) >= count:
        raise ValueError(
            f"device must be one that is there: torch finds {count} CUDA device(s), 'cuda:0' to "
            f"'cuda:{count - 1}'. Found device={device!r}."
        )
    return str(device)


def _cuda_devices() -> int:
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return 0
    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


def _require_mps() -> str:
    try:
        there = importlib.import_module("torch").backends.mps.is_available()
    except ImportError:
        there = False
    if not there:
        raise ValueError("device must be one that is there: torch finds no MPS here. Found device='mps'.")
    return "mps"


def device_name(device: str = "cpu") -> str:
    """Model name of a device that :func:`resolve_device` returned.

    Returns
    -------
    str
        Such as ``"AMD EPYC"`` or ``"NVIDIA H200"``.
    """
    if str(device).startswith("cuda"):
        return str(importlib.import_module("torch").cuda.get_device_name(device))
    return _cpu_name()


@lru_cache(maxsize=1)
def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name")]
    if not models and sys.platform == "darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        models = [asked.stdout.strip()]
    return next((name for name in models if name), platform.processor() or platform.machine())


def threads() -> int:
    """Number of threads that one process computes with here.

    torch's own count where torch is loaded, else ``OMP_NUM_THREADS``, else the cores that this
    process may use.
    """
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return int(torch.get_num_threads())
    wish = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if wish.isdecimal() and int(wish) > 0:
        return int(wish)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory_mb(*, children: bool = False) -> float:
    """Peak resident memory of this process so far, in MiB.

    Parameters
    ----------
    children : bool
        Of the largest finished child process instead.

    Returns
    -------
    float
        On Windows the peak working set of this process, whatever `children` says.
    """
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF)
    # Linux counts in KiB, macOS in bytes.
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


# ---------------------------------------------------------------- the hash of the code


def code_hash(*modules: str) -> str:
    """Hash of modules of rhmlib and of every rhmlib module that they import.

    Comments, layout and docstrings do not enter, so that better prose makes no result stale.
    Imports inside functions count; those under ``if TYPE_CHECKING`` do not. The value does not
    depend on the version of Python.

    Parameters
    ----------
    *modules : str
        Names such as ``"ilc"`` or ``"rhmlib.ilc"``; the order does not matter.

    Returns
    -------
    str
        Twelve hex digits.

    Raises
    ------
    ValueError
        If rhmlib has no module of that name.

    Notes
    -----
    The first call parses the sources (a few milliseconds a module); later ones only ask the
    file system whether a source has changed.
    """
    digest = hashlib.sha256()
    for name in sorted(dependencies(*modules)):
        digest.update(f"{name}:{_facts(name)[0]}\n".encode())
    return digest.hexdigest()[:12]


def dependencies(*modules: str) -> frozenset[str]:
    """Names of the given modules of rhmlib and, transitively, of those they import.

    Parameters
    ----------
    *modules : str
        As in :func:`code_hash`.

    Returns
    -------
    frozenset of str
        Without the prefix ``rhmlib.``.

    Raises
    ------
    ValueError
        If rhmlib has no module of that name.
    """
    todo = [name.removeprefix("rhmlib.") for name in modules]
    for name in todo:
        if not _is_module(name):
            raise ValueError(
                f"modules must be modules of rhmlib: {', '.join(_all_modules())}. Found {name!r}."
            )
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(_facts(name)[1])
    return frozenset(seen)


def imported_modules(source: str | ast.AST) -> frozenset[str]:
    """Modules of rhmlib that Python source imports directly.

    ``from rhmlib import Grammar`` and ``import rhmlib`` with ``rhmlib.Grammar`` count as an
    import of ``grammar``, where the name lives.

    Parameters
    ----------
    source : str or ast.AST
        Python source text, or its syntax tree.

    Returns
    -------
    frozenset of str
        Without the prefix ``rhmlib.``.

    Raises
    ------
    SyntaxError
        If the source is no Python.
    """
    return _imports(ast.parse(source) if isinstance(source, str) else source)


def _all_modules() -> list[str]:
    return sorted(path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__"))


def _is_module(name: str) -> bool:
    return name.isidentifier() and not name.startswith("__") and (PACKAGE / f"{name}.py").is_file()


def _facts(name: str) -> tuple[str, frozenset[str]]:
    """Digest of a module's code, and the modules it imports directly."""
    path = PACKAGE / f"{name}.py"
    stat = path.stat()
    return _parsed(str(path), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def _parsed(path: str, mtime_ns: int, size: int) -> tuple[str, frozenset[str]]:
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    digest = hashlib.sha256("".join(canonical(tree)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest(), _imports(tree) - {Path(path).stem}


Fields = Callable[[ast.AST], Iterator[tuple[str, Any]]]


def fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Fields of a syntax node without docstrings and without empty ones.

    Python versions differ in which empty fields their trees have; left out, the same source
    reads the same under all of them.
    """
    for name, value in ast.iter_fields(node):
        if name == "body" and has_docstring(node):
            value = value[1:]
        if value is not None and value != []:
            yield name, value


def canonical(node: object, counting: Fields = fields) -> Iterator[str]:
    """`ast.dump` of the fields that count."""
    if isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for name, value in counting(node):
            yield f"{name}="
            yield from canonical(value, counting)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            yield from canonical(item, counting)
        yield "]"
    else:
        yield f"{node!r},"


def has_docstring(node: ast.AST) -> bool:
    """Whether a module, class or function begins with a docstring."""
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    first = node.body[0] if node.body else None
    return (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """`ast.walk`, leaving out what only a type checker sees."""
    yield node
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, ast.If) and is_type_checking(node.test):
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.AST):
                yield from _walk(item)


def is_type_checking(test: ast.expr) -> bool:
    """Whether a condition is ``TYPE_CHECKING``: what it guards runs nowhere."""
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _imports(tree: ast.AST) -> frozenset[str]:
    found: set[str] = set()
    packages: set[str] = set()  # names under which the package itself is known
    nodes = list(_walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "rhmlib":
                    found.update(parts[1:2])
                    packages.add(alias.asname if alias.asname and len(parts) == 1 else "rhmlib")
        elif isinstance(node, ast.ImportFrom):
            found.update(_from_import(node))
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in packages:
            found.update(_homes([node.attr]))
    return frozenset(name for name in found if _is_module(name))


def _from_import(node: ast.ImportFrom) -> Iterable[str]:
    module = node.module or ""
    if node.level == 1:
        module = f"rhmlib.{module}".rstrip(".")
    if module == "rhmlib":
        return _homes([alias.name for alias in node.names])
    return module.split(".")[1:2] if module.startswith("rhmlib.") else []


def _homes(names: list[str]) -> list[str]:
    """Modules where names of the package live: ``Grammar`` in ``grammar``, ``ilc`` in itself."""
    exports: dict[str, str] = vars(importlib.import_module("rhmlib")).get("EXPORTS", {})
    if "*" in names:
        names = list(exports)
    return [exports.get(name, name).removeprefix("rhmlib.") for name in names]
