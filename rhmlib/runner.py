"""Execute a chapter of the book with papermill, strictly and reproducibly.

Everything is checked before a kernel starts; chapters execute in the repository's root, on one
thread unless ``OMP_NUM_THREADS`` says otherwise; the executed notebook is written in one step,
and is the same, byte for byte, each time the same content is executed, save for the record of
when and where.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rhmlib import parameters, provenance
from rhmlib.chapters import (
    Chapter,
    Fingerprint,
    Project,
    find_project,
    fingerprint,
    named_sweeps,
    read_chapter,
    shapes_of_tables,
    with_values,
)
from rhmlib.notebooks import normalise, provenance_box, short_hash_of, write_notebook

if TYPE_CHECKING:
    from nbformat import NotebookNode

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

State = Literal["missing", "stale", "text", "current"]


class WorkError(RuntimeError):
    """Work that was begun failed; the message is one line."""


class ChapterError(WorkError):
    """A chapter's own code failed."""


@dataclass(frozen=True)
class Plan:
    """A run whose every argument has been checked.

    Attributes
    ----------
    chapter : Chapter
    values : dict
        Resolved parameters.
    output : Path
        Where the executed notebook goes.
    command : str
        The command that makes it.
    fingerprint : Fingerprint
    """

    chapter: Chapter
    values: dict[str, Any]
    output: Path
    command: str
    fingerprint: Fingerprint


def plan(
    project: Project,
    name: str,
    files: Sequence[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
) -> Plan:
    """Check all that a run needs, and write nothing.

    Parameters
    ----------
    project : Project
    name : str
        Chapter.
    files : sequence of path
        Parameter files; later ones win.
    overrides : mapping, optional
        Values that win over the files'.
    output : path, optional
        Default: ``_build/runs/NAME-HASH.ipynb``, with a hash of the resolved parameters.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If anything is wrong: chapter, file, parameter, output, kernel or device, or runs of the
        chapter's sweeps are missing that want another machine.
    """
    overrides = dict(overrides or {})
    chapter = read_chapter(project, name)
    names = project.chapters()
    layers = [
        parameters.for_chapter(parameters.read_file(path, names), name, chapter.defaults) for path in files
    ]
    values = parameters.resolve(chapter.defaults, *layers, overrides, chapter=name)
    if output is None:
        output = project.built / "runs" / f"{name}-{short_hash_of(values)[:8]}.ipynb"
    else:
        output = _checked_output(Path(output))
    _check_kernel(chapter)
    if str(values.get("device", "cpu")).startswith(("cuda", "mps")):
        provenance.resolve_device(values["device"])
    _check_sweeps(project, chapter, str(values.get("sweep_scale", "book")))
    _check_shape_is_there(project, chapter, values)
    command = _command(project, name, files, overrides)
    return Plan(chapter, values, output, command, fingerprint(project, chapter, values))


def _checked_output(path: Path) -> Path:
    if path.suffix != ".ipynb":
        raise ValueError(f"output must end in .ipynb. Found {path}.")
    if path.is_dir():
        raise ValueError(f"output must be a file. Found a directory at {path}.")
    if not path.parent.is_dir():
        raise ValueError(f"output must lie in a folder that exists. Found no folder {path.parent}.")
    return path.resolve()


def _check_kernel(chapter: Chapter) -> None:
    from jupyter_client.kernelspec import KernelSpecManager

    there = KernelSpecManager().find_kernel_specs()
    if chapter.kernel not in there:
        raise ValueError(
            f"kernel of book/{chapter.name}.md must be installed. Found {chapter.kernel!r}. "
            f"{parameters.suggestion(chapter.kernel, there)}"
        )


def _check_sweeps(project: Project, chapter: Chapter, scale: str) -> None:
    """Refuse a scale of the chapter's sweeps whose missing runs this machine is not meant for."""
    if scale != "book":
        from rhmlib import sweeps

        sweeps.check_device(named_sweeps(project, chapter), scale, root=project.root)


def _check_shape_is_there(project: Project, chapter: Chapter, values: Mapping[str, Any]) -> None:
    """Refuse v, m and L of which no table of the chapter has a run, where they choose rows of tables."""
    changed = _changed_shape(chapter, values)
    if not changed or values.get("sweep_scale", "book") != "book":
        return
    own = [name for name in "vmL" if name in values]
    there = sorted(
        {tuple(shape["vmL".index(name)] for name in own) for shape in shapes_of_tables(project, chapter)}
    )
    if there and tuple(values[name] for name in own) not in there:
        shapes = ", ".join(str(shape if len(own) > 1 else shape[0]) for shape in there)
        raise ValueError(
            f"{', '.join(own)} of chapter {chapter.name!r} choose rows of its tables and must be theirs: "
            f"{shapes}. Found {', '.join(f'{name}={values[name]}' for name in own)}."
        )


def _changed_shape(chapter: Chapter, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of v, m and L other than the chapter's own, where they choose rows of tables."""
    names = [name for name in "vmL" if chapter.of_tables and values.get(name) != chapter.defaults.get(name)]
    return {name: chapter.defaults[name] for name in names}


def _command(project: Project, name: str, files: Sequence[str | Path], overrides: Mapping[str, Any]) -> str:
    words = ["rhm", "run", name]
    for path in files:
        words += ["-f", project.relative(Path(path))]
    for key, value in overrides.items():
        words += ["-p", key, value if isinstance(value, str) else json.dumps(value)]
    return shlex.join(words)


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes
    ----------
    path : Path
        The executed notebook.
    action : str
        ``"executed"``, ``"text updated"`` or ``"up to date"``.
    seconds : float
        Wall time of the execution; 0 where there was none.
    """

    path: Path
    action: str
    seconds: float = 0.0


def run(project: Project, work: Plan, *, force: bool = False, progress: bool = True) -> Outcome:
    """Bring one executed notebook up to date.

    Where nothing changed, nothing is done; where only text changed, the outputs are kept;
    otherwise the chapter is executed.

    Parameters
    ----------
    project : Project
    work : Plan
        From :func:`plan`.
    force : bool
        Execute in any case.
    progress : bool
        Show a bar by cell on standard error.

    Returns
    -------
    Outcome

    Raises
    ------
    ChapterError
        If a cell fails. The output is not touched; the notebook up to there is kept as
        ``_build/NAME.failed.ipynb``.
    """
    now: State = "stale" if force else state(work.output, work.fingerprint)
    if now == "current":
        return Outcome(work.output, "up to date")
    notebook = with_values(work.chapter, work.values)
    record = _take_over_outputs(work.output, notebook) if now == "text" else None
    action = "text updated"
    if record is None:
        action = "executed"
        notebook, record = _execute(project, work, notebook, progress)
    _finish(work, notebook, record)
    write_notebook(notebook, work.output)
    return Outcome(work.output, action, record["seconds"] if action == "executed" else 0.0)


def run_chapter(
    name: str,
    files: Sequence[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    *,
    project: Project | None = None,
    force: bool = False,
    progress: bool = True,
) -> Outcome:
    """Check, then execute a chapter if needed: :func:`plan`, then :func:`run`.

    Parameters
    ----------
    name, files, overrides, output
        As for :func:`plan`.
    project : Project, optional
        Default: :func:`rhmlib.chapters.find_project`.
    force, progress : bool
        As for :func:`run`.

    Returns
    -------
    Outcome

    Raises
    ------
    ValueError
        If an argument is wrong; nothing is written then.
    ChapterError
        If a cell fails.
    """
    project = project or find_project()
    return run(project, plan(project, name, files, overrides, output), force=force, progress=progress)


def state(path: Path, expected: Fingerprint) -> State:
    """Compare an executed notebook with what it should be made of.

    Parameters
    ----------
    path : Path
        The executed notebook.
    expected : Fingerprint

    Returns
    -------
    str
        ``"missing"``; ``"stale"`` where it must be executed again (also where the file is no
        notebook of this program's); ``"text"`` where only text or the cells' metadata changed;
        ``"current"``.
    """
    if not path.is_file():
        return "missing"
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))["metadata"]["rhm"]
        run, page, _ = recorded["run"], recorded["page"], recorded["provenance"]
    except (ValueError, KeyError, TypeError):
        return "stale"
    if run != expected.run:
        return "stale"
    return "current" if page == expected.page else "text"


def _take_over_outputs(path: Path, notebook: NotebookNode) -> dict[str, Any] | None:
    """Copy the outputs of an executed notebook whose code is the same; None if it is not."""
    import nbformat

    try:
        old = nbformat.read(path, as_version=4)
    except Exception:  # a damaged file is executed anew
        return None
    before = [cell for cell in old.cells if cell.cell_type == "code"]
    after = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [cell.source for cell in before] != [cell.source for cell in after]:
        return None
    for old_cell, cell in zip(before, after, strict=True):
        cell.outputs, cell.execution_count = old_cell.outputs, old_cell.execution_count
    if "widgets" in old.metadata:
        notebook.metadata["widgets"] = old.metadata["widgets"]
    return dict(old.metadata["rhm"]["provenance"])


def _execute(
    project: Project, work: Plan, notebook: NotebookNode, progress: bool
) -> tuple[NotebookNode, dict[str, Any]]:
    """Execute in a scratch folder; return the raw executed notebook and its provenance."""
    device = provenance.resolve_device(work.values["device"]) if "device" in work.values else "cpu"
    failed = project.built / f"{work.chapter.name}.failed.ipynb"
    project.built.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"run-{work.chapter.name}-", dir=project.built) as folder:
        scratch = Path(folder) / "executed.ipynb"
        source = Path(folder) / "source.ipynb"
        write_notebook(notebook, source)
        start = time.perf_counter()
        with _kernel_environment() as threads:
            try:
                executed = _papermill(source, scratch, work.chapter, project.root, progress)
            except Exception as error:
                if scratch.exists():
                    os.replace(scratch, failed)
                raise ChapterError(_explain(project, work, error, failed)) from error
        seconds = time.perf_counter() - start
    failed.unlink(missing_ok=True)
    return executed, _record(project, work, device, threads, seconds)


def _papermill(source: Path, output: Path, chapter: Chapter, cwd: Path, progress: bool) -> NotebookNode:
    from papermill import execute_notebook

    # papermill formats its paths with str.format.
    paths = [str(path).replace("{", "{{").replace("}", "}}") for path in (source, output)]
    return execute_notebook(
        *paths,
        cwd=str(cwd),
        kernel_name=chapter.kernel,
        progress_bar={"desc": chapter.name} if progress else False,
        # A kernel on this machine warns that its sockets are not encrypted.
        extra_arguments=["--log-level=ERROR"],
    )


@contextmanager
def _kernel_environment() -> Iterator[int]:
    """What the kernel inherits: one thread unless asked, and the same order of sets each time.

    Figures go into the notebook whatever backend the caller's shell asks matplotlib for.
    """
    threads = os.environ.get("OMP_NUM_THREADS") or "1"
    wanted = {name: os.environ.get(name) or threads for name in _THREAD_VARIABLES}
    wanted["PYTHONHASHSEED"] = os.environ.get("PYTHONHASHSEED") or "0"
    wanted["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield int(threads.partition(",")[0])
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _explain(project: Project, work: Plan, error: Exception, failed: Path) -> str:
    ename = getattr(error, "ename", type(error).__name__)
    text = str(getattr(error, "evalue", error))
    line = next((line.strip() for line in _ANSI.sub("", text).splitlines() if line.strip()), "")
    count = getattr(error, "exec_count", None)
    where = f" in code cell {count}" if count is not None else ""
    kept = f" The notebook up to there: {project.relative(failed)}" if failed.exists() else ""
    text = (
        f"chapter {work.chapter.name!r} failed{where}: {ename}{': ' if line else ''}{line.removesuffix('.')}"
    )
    own = _changed_shape(work.chapter, work.values)
    if own:
        book = ", ".join(f"{name}={value}" for name, value in own.items())
        text += f". {', '.join(own)} chose rows of tables, and not all have every shape; the book has {book}"
    return f"{text}{kept and '.'}{kept}"


def _record(project: Project, work: Plan, device: str, threads: int, seconds: float) -> dict[str, Any]:
    return {
        "command": work.command,
        "commit": provenance.commit(project.root),
        "dirty": provenance.is_dirty(project.root),
        "versions": provenance.versions(),
        "device": device,
        "device_name": provenance.device_name(device),
        "threads": threads,
        "seconds": round(seconds, 1),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _finish(work: Plan, notebook: NotebookNode, record: dict[str, Any]) -> None:
    """Normalise in place, record what the notebook was made of, and append the box."""
    import nbformat

    normalise(notebook, work.chapter.name)
    mark = work.fingerprint
    made = {
        "chapter": work.chapter.name,
        "parameters": work.values,
        "run": mark.run,
        "page": mark.page,
        "library": mark.library,
        "files": mark.files,
        "provenance": record,
    }
    box = nbformat.v4.new_markdown_cell(
        provenance_box(made), id="how-this-page-was-made", metadata={"tags": ["provenance"]}
    )
    notebook.metadata["rhm"] = made
    notebook.cells.append(box)
