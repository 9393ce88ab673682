"""Tables and lists of the book that are made when its pages are built, as Markdown.

Each function here is the content of a directive, ``{generated} NAME``; the pages say nothing that can be
read from the repository instead.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rhmlib import audit, claims, grids, pages, parameters, sweeps
from rhmlib.chapters import Project


@dataclass
class Context:
    """What a generated part may look at.

    Attributes
    ----------
    project : Project
    source : Path
        Folder of what Sphinx reads, executed notebooks among it.
    only : list of str
        Names that the directive's option `only` gives.
    read : set of Path
        Files that were looked at: the page has to be made anew when one of them changes.
    """

    project: Project
    source: Path
    only: list[str] = field(default_factory=list)
    read: set[Path] = field(default_factory=set)

    @property
    def root(self) -> Path:
        """The checkout."""
        return self.project.root

    def notebooks(self) -> list[Path]:
        """The executed notebooks of this build."""
        found = sorted(self.source.glob("*.ipynb"))
        self.read.update(found)
        return found

    def tables(self) -> list[str]:
        """Names of the tables of results, all of which count as read."""
        names = pages.table_names(self.root)
        self.read.update(self.root / "results" / f"{name}.csv" for name in names)
        self.read.update(grids.sweep_files(self.root))
        return names


# ---------------------------------------------------------------- Markdown


def pipe_table(header: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[int] = ()) -> str:
    """Write a Markdown table.

    Parameters
    ----------
    header : sequence of str
    rows : iterable of sequence
        Cells are texts or numbers; None is an empty cell.
    right : iterable of int
        Columns that are aligned to the right.

    Examples
    --------
    >>> print(pipe_table(["a", "b"], [["x|y", 2]], right=[1]))
    | a | b |
    |:--|--:|
    | x\\|y | 2 |
    """
    right = set(right)
    line = "|" + "|".join("--:" if i in right else ":--" for i in range(len(header))) + "|"
    return "\n".join([_row(header), line, *map(_row, rows)])


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join("" if c is None else str(c).replace("|", "\\|") for c in cells) + " |"


def list_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, name: str = "", css: str = "") -> str:
    """Write a table whose cells may be of several paragraphs.

    Parameters
    ----------
    header : sequence of str
    rows : iterable of sequence of str
        Markdown.
    name : str
        Label, for references.
    css : str
        Class of the table.
    """
    options = [":header-rows: 1"] + [f":name: {name}"] * bool(name) + [f":class: {css}"] * bool(css)
    lines = ["````{list-table}", *options, ""]
    for cells in [header, *rows]:
        for i, cell in enumerate(cells):
            first, *others = cell.split("\n")
            lines.append(f"{'* ' if i == 0 else '  '}- {first}".rstrip())
            lines += [f"    {other}".rstrip() for other in others]
    return "\n".join([*lines, "````"])


def _code(value: object) -> str:
    return f"`{value}`"


def _time(seconds: float) -> str:
    return "unknown" if seconds != seconds else sweeps.duration(seconds)


# ---------------------------------------------------------------- how the book was made


def chapters_made(context: Context) -> str:
    """A row a chapter: how and when it was executed."""
    found = [pages.made(path) for path in context.notebooks()]
    _, letters = pages.group_versions(_all_versions(context))
    rows = [
        (
            f"{{doc}}`{made.chapter}`",
            f"{made.seconds:.0f} s",
            f"{made.device_name} ({made.device}), {made.threads} thread{'s' if made.threads > 1 else ''}",
            made.date,
            _code(made.commit) + (" with uncommitted changes" if made.dirty else ""),
            letters[made.chapter],
        )
        for made in found
    ]
    total = sum(made.seconds for made in found)
    rows.append(("all", _time(total), "", "", "", ""))
    return pipe_table(["chapter", "wall time", "device", "executed", "commit", "versions"], rows, right=[1])


def tables_made(context: Context) -> str:
    """A row a table of results: runs, cost, provenance, state of its audits."""
    found = [pages.table_made(name, context.root) for name in context.tables()]
    _, letters = pages.group_versions(_all_versions(context))
    states = pages.sweep_states(context.root)
    record = audit.read_record(context.root)
    context.read.add(audit.record_path(context.root))
    rows = [
        (
            _code(made.table),
            f"{made.rows:,}",
            _progress(made, states.get(made.table)),
            _time(made.seconds),
            _time(made.longest),
            ", ".join(made.devices),
            " ".join(map(_code, made.commits)),
            "yes" if made.clean else "no",
            letters[f"results/{made.table}"],
            pages.audit_state(made, record),
        )
        for made in found
    ]
    header = ["table", "rows", "runs", "time of one core", "longest run", "device"]
    return pipe_table([*header, "commits", "clean", "versions", "audited"], rows, right=[1, 3, 4])


def _progress(made: pages.TableMade, state: sweeps.Status | None) -> str:
    """Runs in the table, and what is missing of the sweep's scale "book"."""
    if state is None:
        return f"{made.runs:,} trials" if made.study else f"{made.runs:,}"
    words = [f"{state.done:,} of {state.total:,}"]
    words += [f"{state.failed} failed"] * bool(state.failed) + [f"{state.stale} stale"] * bool(state.stale)
    more = made.runs - state.done - state.failed - state.stale
    return ", ".join(words + [f"{more:,} of other scales"] * (more > 0))


def _all_versions(context: Context) -> dict[str, list[pages.Versions]]:
    """Sets of versions of all chapters and tables, in a fixed order, so that letters are the same everywhere."""
    found: dict[str, list[pages.Versions]] = {}
    for path in context.notebooks():
        found[path.stem] = [pages.made(path).versions]
    for name in context.tables():
        found[f"results/{name}"] = list(pages.table_made(name, context.root).versions)
    return found


def versions(context: Context) -> str:
    """What the letters of versions stand for."""
    groups, _ = pages.group_versions(_all_versions(context))
    rows = [
        (chr(ord("A") + i), ", ".join(f"{name} {number}" for name, number in group.items()))
        for i, group in enumerate(groups)
    ]
    return pipe_table(["", "versions"], rows)


def audits(context: Context) -> str:
    """The record of audits, the latest first."""
    record = audit.read_record(context.root)
    context.read.add(audit.record_path(context.root))
    if not record:
        return "No audit has been recorded yet."
    rows = [
        (
            row["date"],
            _code(row["commit"]) + (" with uncommitted changes" if row["dirty"] == "true" else ""),
            row["device_name"],
            _code(row["table"]),
            f"{row['equal']} of {row['runs']}" + (f", up to {float(row['max_seconds']):g} s" if row["max_seconds"] else ""),
            row["rows"],
            row["elsewhere"],
            row["differences"],
        )
        for row in reversed(record)
    ]
    header = ["when", "commit", "device", "table", "equal runs", "rows", "of another platform", "differences"]
    return pipe_table(header, rows, right=[5, 6, 7])


# ---------------------------------------------------------------- sweeps and what they cost


def sweep_costs(context: Context) -> str:
    """A row a sweep and scale: runs, and hours on one core, on a laptop's four, and on a cluster's 256."""
    context.tables()
    found = sweeps.costs(context.root)
    cores = (1, 4, 256)
    rows = [
        (
            _code(cost.sweep),
            cost.scale,
            f"{cost.runs:,}",
            f"{cost.measured / cost.runs:.0%}",
            *(_time(cost.wall(n)) for n in cores),
        )
        for cost in found
    ]
    header = ["sweep", "scale", "runs", "measured", "1 core", *(f"{n} cores" for n in cores[1:])]
    return pipe_table(header, [*rows, *_totals(found, cores)], right=range(2, 4 + len(cores)))


def _totals(found: Sequence[sweeps.Cost], cores: Sequence[int]) -> Iterator[tuple[str, ...]]:
    for scale in dict.fromkeys(cost.scale for cost in found):
        mine = [cost for cost in found if cost.scale == scale]
        runs, measured = sum(c.runs for c in mine), sum(c.measured for c in mine)
        times = (_time(sum(cost.wall(n) for cost in mine)) for n in cores)
        yield ("**all**", f"**{scale}**", f"{runs:,}", f"{measured / runs:.0%}", *times)


def sweep_files(context: Context) -> str:
    """The sweep files, each in a box to open."""
    boxes = []
    for path in grids.sweep_files(context.root):
        context.read.add(path)
        sweep = grids.read_sweep(path, context.root)
        runs = ", ".join(f"{name}: {len(found):,} runs" for name, found in sweep.scales.items())
        text = path.read_text(encoding="utf-8").rstrip()
        title = f"{sweep.name}: {sweep.title} ({runs})"
        boxes.append(f"````{{dropdown}} {title}\n```yaml\n{text}\n```\n````")
    return "\n\n".join(boxes)


# ---------------------------------------------------------------- parameters


def chapter_parameters(context: Context) -> str:
    """For each chapter, its parameters with type, range, meaning, default and value at each scale."""
    context.read.update((context.root / "params").glob("*.yaml"))
    context.read.update(context.project.book.glob("*.md"))
    scales = pages.scales(context.root)
    header = ["parameter", "meaning", "type", "allowed", "default", *scales]
    parts = []
    for chapter, found in pages.settings(context.root).items():
        rows = [
            (
                _code(setting.parameter.name),
                setting.parameter.meaning,
                setting.parameter.kind,
                setting.parameter.allowed,
                _code(repr(setting.default)),
                *(_changed(setting, scale) for scale in scales),
            )
            for setting in found
        ]
        parts.append(f"**{{doc}}`{chapter}`** (`rhm run {chapter}`)\n\n{pipe_table(header, rows)}")
    return "\n\n".join([*parts, *pages.misplaced(context.root)])


def _changed(setting: pages.Setting, scale: str) -> str:
    """The value at a scale; a dot where it is the default."""
    value = setting.at[scale]
    return "·" if value == setting.default else f"**{_code(repr(value))}**"


def vocabulary(context: Context) -> str:
    """Parameters that occur in sweep files and in no chapter."""
    context.read.update(context.project.book.glob("*.md"))
    rows = [_parameter_row(parameter) for parameter in pages.unused(context.root)]
    return pipe_table(["parameter", "meaning", "type", "allowed"], rows)


def _parameter_row(parameter: parameters.Parameter) -> tuple[str, ...]:
    return _code(parameter.name), parameter.meaning, parameter.kind, parameter.allowed


# ---------------------------------------------------------------- claims

# A mark that differs in shape, so that a verdict can be told without colour.
MARKS = {"reproduced": "✔", "partly": "◐", "not": "✘", "open": "?"}
_WORDS = {"reproduced": "reproduced", "partly": "partly", "not": "not reproduced", "open": "open"}


def badge(verdict: claims.Verdict) -> str:
    """Write a verdict in Markdown, as a mark and a word.

    Examples
    --------
    >>> badge("partly")
    '[◐ partly]{.verdict .verdict-partly}'
    """
    return f"[{MARKS[verdict]} {_WORDS[verdict]}]{{.verdict .verdict-{verdict}}}"


def claims_table(context: Context) -> str:
    """A row a claim: verdict, our numbers, the scale, links."""
    numbers = claims.Numbers(context.source)
    rows = []
    for claim in _chosen_claims(context):
        scale = [claims.describe_scale(part, context.root, context.source) for part in claim.scale]
        context.read.update(context.root / "results" / f"{p.table}.csv" for p in claim.scale if p.table)
        found = "\n".join([*_number_lines(claim, numbers), "", claim.found]).strip("\n")
        words = f"[]{{#claim-{claim.name}}}{claim.claim} ({claim.source})"
        rows.append([words, _verdict(claim, numbers), found, "\n\n".join(scale), claim.where])
    context.read.update(numbers.read)
    header = ["the paper says", "verdict", "we find", "at which scale", "where"]
    return list_table(header, rows, css="claims")


def claims_in_short(context: Context) -> str:
    """A row for each claim that is named: verdict, our words, links."""
    numbers = claims.Numbers(context.source)
    rows = [[c.claim, _verdict(c, numbers), c.found, c.where] for c in _chosen_claims(context)]
    context.read.update(numbers.read)
    return list_table(["the paper says", "verdict", "we find", "where"], rows, css="claims")


def claims_counted(context: Context) -> str:
    """How many claims have which verdict."""
    numbers = claims.Numbers(context.source)
    found = [claims.verdict([claims.judge(n, numbers) for n in c.numbers]) for c in _chosen_claims(context)]
    context.read.update(numbers.read)
    return ", ".join(f"{found.count(verdict)} {badge(verdict)}" for verdict in MARKS) + "."


def _chosen_claims(context: Context) -> list[claims.Claim]:
    path = context.project.book / "claims.yaml"
    context.read.add(path)
    every = claims.read(path)
    unknown = set(context.only) - {claim.name for claim in every}
    if unknown:
        hint = parameters.suggestion(min(unknown), [claim.name for claim in every])
        raise ValueError(f"claims must be in {path.name}. Found {min(unknown)!r}. {hint}")
    return [claim for claim in every if not context.only or claim.name in context.only]


def _verdict(claim: claims.Claim, numbers: claims.Numbers) -> str:
    return badge(claims.verdict([claims.judge(number, numbers) for number in claim.numbers]))


def _number_lines(claim: claims.Claim, numbers: claims.Numbers) -> Iterator[str]:
    for number in claim.numbers:
        yield f"- {number.what}: **{numbers.text(number.key)}**; {_asked(number, numbers)}: {claims.judge(number, numbers)}"


def _asked(number: claims.Number, numbers: claims.Numbers) -> str:
    if number.at_least is not None:
        return f"claimed: at least {number.at_least:g}"
    if number.at_most is not None:
        return f"claimed: at most {number.at_most:g}"
    law, rival = (numbers.value(x) for x in (number.law, number.rival) if x is not None)
    return f"claimed {law:.4g}, rival {rival:.4g}"


# ---------------------------------------------------------------- the library

# Modules by group, each of which imports from those above it alone.
GROUPS = {
    "data": ("grammar", "sampling*"),
    "exact": ("exact", "belief_propagation", "entropies", "theory", "signals", "metrics", "ilc_theory", "proof", "tax"),
    "learners": (
        "ilc", "token_ilc", "slc", "slc_*", "encoders", "objectives", "data2vec", "data2vec_*", "baselines",
        "training", "probes", "encoder_probes", "bench_learners",
    ),
    "runs": (
        "experiments", "experiment_*", "grids", "worker", "execution", "results", "sweeps", "audit", "tuning", "bench",
    ),
    "figures": ("fits", "figures", "figures_*", "drawings", "schematics", "widgets", "widget_*"),
    "book": (
        "provenance", "parameters", "chapters", "notebooks", "runner", "build", "claims", "pages", "generated",
        "sphinx_pages", "cli",
    ),
}  # fmt: skip


def modules(group: str, folder: str | Path | None = None) -> list[str]:
    """Names of the modules of a group of the library.

    Parameters
    ----------
    group : str
        A key of `GROUPS`. Modules that no pattern matches are among the learners.
    folder : path, optional
        The package; default: this one.

    Returns
    -------
    list of str
        In the order of the patterns, then of the alphabet.
    """
    if group not in GROUPS:
        raise ValueError(f"group must be one of the library's. {parameters.suggestion(group, GROUPS)}")
    names = sorted(path.stem for path in Path(folder or Path(__file__).parent).glob("[!_]*.py"))
    first: dict[str, tuple[str, int]] = {}
    for name in names:
        places = ((g, i) for g, patterns in GROUPS.items() for i, p in enumerate(patterns) if fnmatch.fnmatch(name, p))
        first[name] = next(places, ("learners", len(GROUPS["learners"])))
    return sorted((n for n in names if first[n][0] == group), key=lambda n: (first[n][1], n))


def api(context: Context) -> str:
    """The docstrings of the modules of one group, a section each."""
    if len(context.only) != 1:
        raise ValueError(f"api must name one group in `only`. Found {context.only}.")
    return "\n\n".join(_module(name) for name in modules(context.only[0]))


def _module(name: str) -> str:
    return f"## rhmlib.{name}\n\n```{{eval-rst}}\n.. automodule:: rhmlib.{name}\n```"


def api_overview(context: Context) -> str:
    """The modules of one group, with the first sentence of each."""
    names = [name for group in context.only or GROUPS for name in modules(group)]
    lines = "\n".join(f"   rhmlib.{name}" for name in names)
    return f"```{{eval-rst}}\n.. autosummary::\n\n{lines}\n```"


PARTS: dict[str, Callable[[Context], str]] = {
    "api": api,
    "api-overview": api_overview,
    "audits": audits,
    "chapters": chapters_made,
    "claims": claims_table,
    "claims-counted": claims_counted,
    "claims-in-short": claims_in_short,
    "parameters": chapter_parameters,
    "sweep-costs": sweep_costs,
    "sweep-files": sweep_files,
    "tables": tables_made,
    "versions": versions,
    "vocabulary": vocabulary,
}


def make(name: str, context: Context) -> str:
    """Make a part by name.

    Raises
    ------
    ValueError
        If there is none of the name, or what it is made of is wrong.
    """
    if name not in PARTS:
        raise ValueError(f"{name!r} is no generated part. {parameters.suggestion(name, PARTS)}")
    return PARTS[name](context)

