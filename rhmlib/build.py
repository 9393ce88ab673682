"""Build the book: execute what changed, gather the pages, and run Sphinx through Jupyter Book.

Pages live flat in one folder, ``_build/SCALE/src``: prose from ``book/``, chapters as executed
notebooks. A page's name in ``_toc.yml`` is the name of its file without folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import joblib

from rhmlib import parameters, runner
from rhmlib.chapters import Project, point_to_notebooks

# Jupyter Book's own command would put the pages two folders deeper.
_SPHINX = """
import json, sys
from jupyter_book.sphinx import build_sphinx
options = json.loads(sys.argv[1])
status = build_sphinx(options.pop("sourcedir"), options.pop("outputdir"), **options)
sys.exit(status if isinstance(status, int) else 1)
"""

Say = Callable[[str], None]


class BuildError(runner.WorkError):
    """Sphinx found something wrong; its own messages say what."""


@dataclass(frozen=True)
class Build:
    """Where a scale's build lives.

    Attributes
    ----------
    project : Project
    scale : str
        Name of a file in ``params/``.
    """

    project: Project
    scale: str

    @property
    def folder(self) -> Path:
        """Everything of this build."""
        return self.project.built / self.scale

    @property
    def source(self) -> Path:
        """What Sphinx reads."""
        return self.folder / "src"

    @property
    def html(self) -> Path:
        """The site."""
        return self.folder / "html"

    @property
    def stamp(self) -> Path:
        """Record of the last build that passed."""
        return self.folder / "passed.json"

    @property
    def executed(self) -> Path:
        """The executed notebooks."""
        return self.project.executed(self.scale)

    @property
    def values(self) -> Path:
        """The parameter file."""
        return self.project.root / "params" / f"{self.scale}.yaml"


def build(
    project: Project,
    scale: str = "book",
    *,
    force: bool = False,
    jobs: int | None = 1,
    progress: bool = True,
    say: Say = lambda line: None,
) -> str:
    """Bring the site of one scale up to date.

    Parameters
    ----------
    project : Project
    scale : str
        ``"book"``, ``"quick"`` or the name of another file in ``params/``.
    force : bool
        Execute every chapter and read every page anew.
    jobs : int, optional
        Chapters that are executed at a time, a process each. None: the cores of this machine.
    progress : bool
        Show a bar by cell, where chapters are executed one after the other.
    say : callable
        Gets a line about each step.

    Returns
    -------
    str
        ``file://`` address of the first page.

    Raises
    ------
    ValueError
        If a file, page or parameter is wrong; nothing is executed then.
    runner.ChapterError
        If a chapter fails.
    BuildError
        If Sphinx fails or warns. The next build then reads every page anew, so that a warning
        cannot be missed because its page did not change.
    """
    work = Build(project, scale)
    _check_scale(work)
    index = (work.html / "index.html").as_uri()
    before = _read_stamp(work)
    unchanged = before.get("inputs") == _inputs(work, before.get("named", []))
    if unchanged and not force and (work.html / "index.html").is_file():
        say(f"Nothing changed since the last build at scale {scale!r}.")
        return index
    pages = toc_pages(project)
    plans = _plans(work, pages)
    named = sorted({path for todo in plans.values() for path in todo.fingerprint.files})
    sources = _inputs(work, named, executed=False)
    outcomes = _outcomes(project, list(plans.values()), force, jobs or joblib.cpu_count(), progress)
    for name, outcome in zip(plans, outcomes, strict=True):
        took = f" ({outcome.seconds:.1f} s)" if outcome.seconds else ""
        say(f"{name}: {outcome.action}{took}")
    _mention_orphans(work, plans, say)
    removed = _stage(work, plans)
    navigation = _navigation(work, pages)
    anew = force or removed or before.get("navigation") != navigation
    say(f"Sphinx: {'all' if anew else 'what changed of'} {len(pages)} pages")
    _sphinx(work, anew)
    inputs: str | None = _inputs(work, named)
    if _inputs(work, named, executed=False) != sources:
        say("Files were changed during the build: build again to take them in.")
        inputs = None
    _write_stamp(work, {"inputs": inputs, "named": named, "navigation": navigation})
    return index


def _outcomes(
    project: Project, plans: Sequence[runner.Plan], force: bool, jobs: int, progress: bool
) -> Iterator[runner.Outcome]:
    """Bring the chapters up to date, several at a time where several are to be executed."""
    stale = [force or runner.state(todo.output, todo.fingerprint) in ("missing", "stale") for todo in plans]
    if min(jobs, sum(stale)) < 2:
        yield from (runner.run(project, todo, force=force, progress=progress) for todo in plans)
        return
    # A task at a time: chapters differ in length.
    found = joblib.Parallel(jobs, return_as="generator", batch_size=1)(
        joblib.delayed(_attempt)(project, todo, force) for todo in plans
    )
    for outcome in found:
        if isinstance(outcome, runner.ChapterError):
            list(found)  # the other chapters are finished first
            raise outcome
        yield outcome


def _attempt(project: Project, todo: runner.Plan, force: bool) -> runner.Outcome | runner.ChapterError:
    try:
        return runner.run(project, todo, force=force, progress=False)
    except runner.ChapterError as error:
        return error


def _check_scale(work: Build) -> None:
    config = work.project.root / "_config.yml"
    if not config.is_file():
        raise ValueError(f"the book must have a configuration. Found no file {config}.")
    if not work.values.is_file():
        scales = sorted(path.stem for path in (work.project.root / "params").glob("*.yaml"))
        raise ValueError(
            f"scale must be the name of a file in params/. Found {work.scale!r}. "
            f"{parameters.suggestion(work.scale, scales)}"
        )


# ---------------------------------------------------------------- pages


def toc_pages(project: Project) -> list[str]:
    """Names of the pages in ``_toc.yml``, in order.

    Parameters
    ----------
    project : Project

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If the file is missing or no table of contents, or a page has no file in ``book/``.
    """
    path = project.root / "_toc.yml"
    if not path.is_file():
        raise ValueError(f"the book must have a table of contents. Found no file {path}.")
    content = parameters.read_yaml(path.read_text(encoding="utf-8"), "_toc.yml")
    if not isinstance(content, dict) or "root" not in content:
        raise ValueError("_toc.yml must name a root page. Found none.")
    pages = [str(name) for name in _entries(content)]
    names = {page.stem for page in project.book.glob("*.md")}
    for page in pages:
        if page not in names:
            raise ValueError(
                f"_toc.yml: page {page!r} must have a file book/{page}.md. Found none. "
                f"{parameters.suggestion(page, names)}"
            )
    return list(dict.fromkeys(pages))


def _entries(node: object) -> Iterator[object]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ("root", "file"):
                yield value
            else:
                yield from _entries(value)
    elif isinstance(node, list):
        for item in node:
            yield from _entries(item)


def _plans(work: Build, pages: Iterable[str]) -> dict[str, runner.Plan]:
    """Check every chapter before the first is executed."""
    chapters = set(work.project.chapters())
    return {
        name: replace(runner.plan(work.project, name, [work.values]), output=work.executed / f"{name}.ipynb")
        for name in pages
        if name in chapters
    }


def _mention_orphans(work: Build, plans: Iterable[str], say: Say) -> None:
    for path in sorted(work.executed.glob("*.ipynb")):
        if path.stem not in plans:
            say(f"note: {work.project.relative(path)} belongs to no page of _toc.yml")


# ---------------------------------------------------------------- gathering


def _stage(work: Build, plans: Mapping[str, runner.Plan]) -> bool:
    """Gather what Sphinx reads; return whether a page went away, or a file changed that is no page.

    Files that are the same are left alone, so that Sphinx reads only the others again.
    """
    book = work.project.book
    wanted = {
        path.relative_to(book): path
        for path in sorted(book.rglob("*"))
        if path.is_file() and not _ignored(path.relative_to(book)) and path.suffix != ".ipynb"
    }
    for name, todo in plans.items():
        wanted.pop(Path(f"{name}.md"))
        wanted[Path(f"{name}.ipynb")] = todo.output
    changed = [
        target
        for target, path in wanted.items()
        if _write_if_changed(_staged(path, plans), work.source / target)
    ]
    there = [path for path in work.source.rglob("*") if path.is_file()]
    gone = [path for path in there if path.relative_to(work.source) not in wanted]
    for path in gone:
        path.unlink()
    _touch_quoting(work.source, [target.name for target in changed if target.suffix == ".ipynb"])
    pages = (".md", ".ipynb")
    # Sphinx copies such files only where it writes pages.
    beside = any(target.suffix not in pages for target in changed)
    return beside or any(path.suffix in pages for path in gone)


def _ignored(path: Path) -> bool:
    return any(part.startswith((".", "__pycache__")) for part in path.parts)


def _staged(path: Path, chapters: Iterable[str]) -> bytes:
    if path.suffix != ".md":
        return path.read_bytes()
    return point_to_notebooks(path.read_text(encoding="utf-8"), chapters).encode()


def _write_if_changed(data: bytes, target: Path) -> bool:
    if target.is_file() and target.read_bytes() == data:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return True


def _touch_quoting(folder: Path, notebooks: Iterable[str]) -> None:
    """Have Sphinx read again the pages that quote numbers of a changed notebook.

    It does not know that ``{glue:text}`NAME.ipynb::key``` depends on another file.
    """
    marks = [f"{name}::" for name in notebooks]
    for page in [*folder.glob("*.md"), *folder.glob("*.ipynb")]:
        text = page.read_text(encoding="utf-8") if marks else ""
        if any(mark in text for mark in marks):
            os.utime(page)


def _navigation(work: Build, pages: Iterable[str]) -> str:
    """Hash of what every page shows of the others: Sphinx does not refresh it by itself."""
    titles = []
    for page in pages:
        text = (work.project.book / f"{page}.md").read_text(encoding="utf-8")
        title = re.search(r"^# .*", text, re.MULTILINE)
        titles.append((page, title[0] if title else ""))
    files = [(work.project.root / name).read_bytes() for name in ("_toc.yml", "_config.yml")]
    return _digest(json.dumps(titles).encode(), _repository(), *files)


def _repository() -> bytes:
    """Public address of the repository, which the buttons of every page lead to."""
    return os.environ.get("REPOSITORY_URL", "").encode()


# ---------------------------------------------------------------- Sphinx


def _sphinx(work: Build, anew: bool) -> None:
    doctrees = work.folder / ".doctrees"
    work.stamp.unlink(missing_ok=True)
    if anew:
        shutil.rmtree(doctrees, ignore_errors=True)
        shutil.rmtree(work.html, ignore_errors=True)
    options = {
        "sourcedir": str(work.source),
        "outputdir": str(work.html),
        "doctreedir": str(doctrees),
        "path_config": str(work.project.root / "_config.yml"),
        "confoverrides": {
            "external_toc_path": str(work.project.root / "_toc.yml"),
            "nitpicky": True,
            "latex_individualpages": False,
        },
        "noconfig": True,
        "warningiserror": True,
        "keep_going": True,
        "quiet": True,  # warnings and errors still show
    }
    done = subprocess.run(
        [sys.executable, "-c", _SPHINX, json.dumps(options)], cwd=work.project.root, check=False
    )
    if done.returncode != 0:
        shutil.rmtree(doctrees, ignore_errors=True)
        raise BuildError(f"Sphinx ended with code {done.returncode}: its warnings and errors are above.")


# ---------------------------------------------------------------- has anything changed?


def _inputs(work: Build, named: Iterable[str], *, executed: bool = True) -> str:
    """Hash of every file that a build reads, and of the programs that make it.

    `named` are the files that code cells name; `executed` notebooks are made by the build itself.
    """
    root = work.project.root
    tops = [root / name for name in ("_toc.yml", "_config.yml", *named)]
    folders = [work.project.book, root / "params", root / "results", *([work.executed] if executed else [])]
    files = [path for folder in folders for path in folder.rglob("*")] + list(
        Path(__file__).parent.glob("*.py")
    )
    programs = [f"{name} {_version(name)}" for name in ("jupyter-book", "sphinx", "myst-nb", "jupytext")]
    parts = [str(root).encode(), "\n".join(programs).encode(), _repository()]
    for path in sorted({*tops, *files}):
        if path.is_file() and path.suffix not in (".lock", ".tmp", ".pyc"):
            parts += [str(path).encode(), path.read_bytes()]
    return _digest(*parts)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        raise ValueError(
            f"building the book needs {name}: pip install 'rhmlib[book]'. Found it not installed."
        ) from None


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def _read_stamp(work: Build) -> dict[str, Any]:
    try:
        content = json.loads(work.stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_stamp(work: Build, content: Mapping[str, Any]) -> None:
    partial = work.stamp.with_suffix(f".{os.getpid()}.tmp")
    partial.write_text(json.dumps(content), encoding="utf-8")
    os.replace(partial, work.stamp)
