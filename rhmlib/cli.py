"""The command ``rhm``.

Every expected error is one line on standard error and exit code 2, with nothing written; code 1
says that work was begun and failed. ``RHM_TRACEBACK=1`` shows where an error came from.

A command is a function below with its options; what it needs is imported inside, so that
``rhm --help`` and a build with nothing to do start at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rhmlib.chapters import Project


def _project(context: click.Context) -> Project:
    from rhmlib.chapters import find_project

    return find_project(context.obj)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--root", metavar="FOLDER", help="Checkout to work in; default: the one around this folder.")
@click.version_option(package_name="rhmlib")
@click.pass_context
def app(context: click.Context, root: str | None) -> None:
    """Run and build the book on the Random Hierarchy Model."""
    context.obj = root
    sys.path.insert(0, os.getcwd())  # a learner, "module:Class", may lie where the command is given


# ---------------------------------------------------------------- chapters and the book


@app.command()
@click.argument("chapter")
@click.option("-f", "--file", "files", multiple=True, metavar="FILE", help="Parameter file; later ones win.")
@click.option(
    "-p", "--parameter", "pairs", nargs=2, multiple=True, metavar="NAME VALUE", help="One value, as YAML."
)
@click.option("-o", "--output", metavar="FILE", help="Default: _build/runs/CHAPTER-HASH.ipynb.")
@click.option("--force", is_flag=True, help="Execute even if nothing changed.")
@click.option("--progress/--no-progress", default=None, help="A bar by cell; default: on a terminal.")
@click.pass_context
def run(
    context: click.Context,
    chapter: str,
    files: tuple[str, ...],
    pairs: tuple[tuple[str, str], ...],
    output: str | None,
    force: bool,
    progress: bool | None,
) -> None:
    """Execute one CHAPTER with its own parameters.

    Example: rhm run ilc -f params/quick.yaml -p m 4 -p L 5
    """
    from rhmlib import runner

    project = _project(context)
    work = runner.plan(project, chapter, files, _values(pairs), output)
    outcome = runner.run(project, work, force=force, progress=_bar(progress))
    took = f" in {outcome.seconds:.1f} s" if outcome.seconds else ""
    click.echo(f"{chapter}: {outcome.action}{took}")
    click.echo(outcome.path)


@contextmanager
def _work() -> Iterator[None]:
    """Tell errors of work that had begun from errors of what was asked."""
    from rhmlib.runner import WorkError

    try:
        yield
    except RuntimeError as error:
        raise WorkError(str(error)) from error


def _bar(wish: bool | None) -> bool:
    return sys.stderr.isatty() if wish is None else wish


def _values(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    from rhmlib.parameters import read_yaml

    values: dict[str, Any] = {}
    for name, text in pairs:
        if name in values:
            raise ValueError(f"-p {name} must be given once. Found it twice.")
        values[name] = read_yaml(text, f"the value of -p {name}")
    return values


@app.command()
@click.option("--scale", default="book", show_default=True, metavar="NAME", help="A file params/NAME.yaml.")
@click.option("--force", is_flag=True, help="Execute every chapter and read every page anew.")
@click.option(
    "--jobs", type=click.IntRange(1), help="Chapters executed at a time; default: the cores of this machine."
)
@click.option("--progress/--no-progress", default=None, help="A bar by cell; default: on a terminal.")
@click.pass_context
def build(context: click.Context, scale: str, force: bool, jobs: int | None, progress: bool | None) -> None:
    """Execute what changed and build the book's pages."""
    from rhmlib import build as builder

    address = builder.build(
        _project(context), scale, force=force, jobs=jobs, progress=_bar(progress), say=click.echo
    )
    click.echo(address)


@app.command()
@click.option(
    "--scale", default="book", show_default=True, metavar="NAME", help="A scale that has been built."
)
@click.option("-o", "--output", metavar="FILE", help="Default: _build/SCALE/book.pdf.")
@click.option("--browser", metavar="FILE", help="Chromium or Chrome; default: the one on the path.")
@click.pass_context
def pdf(context: click.Context, scale: str, output: str | None, browser: str | None) -> None:
    """Print the built pages as one PDF, by a headless Chromium."""
    from rhmlib import pdf as printer

    click.echo(printer.pdf(_project(context), scale, output=output, browser=browser, say=click.echo))


@app.command()
@click.pass_context
def chapters(context: click.Context) -> None:
    """List the chapters with code, and their parameters."""
    from rhmlib.chapters import read_chapter

    project = _project(context)
    for name in project.chapters():
        defaults = read_chapter(project, name).defaults
        click.echo(f"{name}: " + ", ".join(f"{key} = {value!r}" for key, value in defaults.items()))


@app.command()
@click.argument("chapter", required=False)
@click.pass_context
def parameters(context: click.Context, chapter: str | None) -> None:
    """Explain the parameters of the book, or those of one CHAPTER."""
    from rhmlib.chapters import read_chapter
    from rhmlib.parameters import rows

    defaults = read_chapter(_project(context), chapter).defaults if chapter else None
    for row in rows():
        if defaults is None:
            click.echo(f"{row['name']}: {row['meaning']}; {row['allowed']}")
        elif row["name"] in defaults:
            found = defaults[row["name"]]
            click.echo(f"{row['name']} = {found!r}: {row['meaning']}; {row['allowed']}")


# ---------------------------------------------------------------- tables of runs


def _sweeping(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of commands that do the missing runs of a sweep, as :func:`rhmlib.sweeps.sweep` names them."""
    for option in (
        click.option("--progress/--no-progress", default=None, help="A bar by run; default: on a terminal."),
        click.option("--retry-failed", is_flag=True, help="Do failed runs again."),
        click.option("--limit-minutes", type=float, help="Begin no run after so long."),
        click.option("--scheduler", metavar="ADDRESS", help="A running dask scheduler, used instead."),
    ):
        command = option(command)
    return command


@app.command()
@click.argument("file")
@click.option("--scale", default="book", show_default=True, metavar="NAME", help="A scale of the sweep file.")
@click.option("--jobs", type=int, help="Processes; default: the cores of this machine.")
@_sweeping
@click.pass_context
def sweep(
    context: click.Context,
    /,
    file: str,
    scale: str,
    jobs: int | None,
    progress: bool | None,
    **options: Any,
) -> int:
    """Do the missing runs of the sweep FILE, a path or a name in params/sweeps."""
    from rhmlib import sweeps

    with _work():
        outcome = sweeps.sweep(
            file,
            scale,
            jobs=jobs,
            root=context.obj,
            progress=_bar(progress),
            say=click.echo,
            **options,
        )
    return 1 if outcome.failed or outcome.left else 0


@app.command()
@click.argument("names", metavar="[SWEEP]...", nargs=-1)
@click.pass_context
def status(context: click.Context, names: tuple[str, ...]) -> None:
    """Tell how far each sweep is."""
    from rhmlib import sweeps

    click.echo(sweeps.format_status(sweeps.status(context.obj, names or None)))


@app.command()
@click.argument("names", metavar="[SWEEP]...", nargs=-1)
@click.option("--fraction", type=float, help="Share of the runs; default: 0.02.")
@click.option("--rows", type=int, help="Number of runs, instead.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice.")
@click.option("--max-seconds", type=float, help="Choose only runs that took at most so long.")
@click.option("--jobs", type=int, default=1, show_default=True, help="Processes.")
@click.option(
    "--record", is_flag=True, help="Append what was found to results/audits.csv, which the book shows."
)
@click.pass_context
def audit(
    context: click.Context,
    names: tuple[str, ...],
    fraction: float | None,
    rows: int | None,
    seed: int,
    max_seconds: float | None,
    jobs: int,
    record: bool,
) -> int:
    """Do some recorded runs again and compare."""
    from rhmlib import audit as auditor

    with _work():
        found = auditor.audit(
            fraction=fraction,
            rows=rows,
            seed=seed,
            sweeps=names or None,
            max_seconds=max_seconds,
            jobs=jobs,
            root=context.obj,
            say=click.echo,
        )
    if record:
        click.echo(auditor.record(found, seed=seed, max_seconds=max_seconds, root=context.obj))
    return 0 if found.passed else 1


@app.command()
@click.argument("commit")
@click.argument("learners", metavar="[LEARNER]...", nargs=-1)
@click.option("--runs", type=int, default=5, show_default=True, help="Recorded runs of each learner.")
@click.option("--max-seconds", type=float, default=60.0, show_default=True, help="Choose no longer ones.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice.")
@click.pass_context
def confirm(
    context: click.Context, commit: str, learners: tuple[str, ...], runs: int, max_seconds: float, seed: int
) -> int:
    """Keep rows that the code of COMMIT made, if the present code gives the same.

    Both do the same runs here: all of the scales "quick", and some of the tables. Where all are equal to the
    last bit, at least five, rows of the one code count as rows of the other.
    """
    from rhmlib import confirm as confirmer

    with _work():
        found = confirmer.confirm(
            commit,
            runs=runs,
            max_seconds=max_seconds,
            seed=seed,
            learners=learners or None,
            root=context.obj,
            say=click.echo,
        )
    return 0 if all(each.equal == each.runs for each in found) else 1


@app.command()
@click.argument("name", metavar="SWEEP")
@click.pass_context
def prune(context: click.Context, name: str) -> None:
    """Remove from a table the runs that its sweep file has no more."""
    from rhmlib import sweeps

    click.echo(f"{name}: {sweeps.prune(name, context.obj)} runs removed")


@app.command()
@click.argument("file")
@click.option(
    "--scale", default="book", show_default=True, metavar="NAME", help="A scale of the tuning file."
)
@click.option("--trials", type=int, help="Trials in all; default: what the file says.")
@click.option("--jobs", type=int, default=1, show_default=True, help="Trials at a time, a process each.")
@click.option("--progress/--no-progress", default=None, help="A bar by trial; default: on a terminal.")
@click.pass_context
def tune(
    context: click.Context, file: str, scale: str, trials: int | None, jobs: int, progress: bool | None
) -> int:
    """Do the missing trials of the tuning FILE, a path or a name in params/tune.

    They go to results/tune_NAME.csv. The best settings are printed as YAML, to be put into a file of params/.
    """
    from rhmlib import tuning

    with _work():
        outcome = tuning.tune(
            file,
            scale,
            trials=trials,
            jobs=jobs,
            root=context.obj,
            progress=_bar(progress),
            say=click.echo,
        )
    return 1 if outcome.failed or outcome.left else 0


@app.command()
@click.argument("learner", metavar="MODULE:CLASS")
@click.option("--scale", default="quick", show_default=True, type=click.Choice(["quick", "book", "gpu"]))
@click.option("--jobs", type=int, default=1, show_default=True, help="Processes.")
@_sweeping
@click.pass_context
def bench(
    context: click.Context,
    /,
    learner: str,
    scale: str,
    jobs: int,
    progress: bool | None,
    **options: Any,
) -> int:
    """Measure how many strings a learner needs: thresholds of every level, and exponents.

    A learner is a class with fit(tokens, rng, budget) and encode(tokens); rhmlib/experiment_bench.py has the
    protocol. The runs go to results/bench_CLASS.csv, a page about them to _build/bench.
    """
    from rhmlib import bench as benches
    from rhmlib import sweeps

    path = benches.sweep_file(learner, context.obj)
    with _work():
        outcome = sweeps.sweep(
            path,
            scale,
            jobs=jobs,
            root=context.obj,
            progress=_bar(progress),
            say=click.echo,
            **options,
        )
    page, complete = benches.report(path, scale, context.obj)
    path.with_suffix(".md").write_text(page)
    click.echo(page)
    return 0 if complete and not outcome.left else 1


# ---------------------------------------------------------------- entry point


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.

    Returns
    -------
    int
        Exit code: 0; 1 where a chapter or the build failed; 2 for wrong input; 130 if interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        result = app.main(args=words, prog_name="rhm", standalone_mode=False)
    except (click.ClickException, click.Abort, KeyboardInterrupt, ValueError, OSError, RuntimeError) as error:
        if os.environ.get("RHM_TRACEBACK"):
            raise
        return _report(error)
    return result if isinstance(result, int) else 0


def _report(error: BaseException) -> int:
    if isinstance(error, click.Abort | KeyboardInterrupt):
        print("interrupted", file=sys.stderr)  # noqa: T201
        return 130
    if isinstance(error, RuntimeError):
        from rhmlib.runner import WorkError

        if not isinstance(error, WorkError):
            raise error
    text = error.format_message() if isinstance(error, click.ClickException) else str(error)
    print("error:", " ".join(text.split()) or type(error).__name__, file=sys.stderr)  # noqa: T201
    return 1 if isinstance(error, RuntimeError) else 2


if __name__ == "__main__":
    sys.exit(main())
