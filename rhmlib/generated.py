"""Tables and lists of the book that are made when its pages are built, as Markdown.

Each function here is the content of a directive, ``{generated} NAME``; the pages say nothing that can be
read from the repository instead.
"""

from __future__ import annotations

import ast
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rhmlib import audit, build, chapters, claims, grids, pages, parameters, same_code, sweeps
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
        """The executed notebooks of this build, in the order of the book."""
        order = {name: i for i, name in enumerate(build.toc_pages(self.project))}
        found = sorted(self.source.glob("*.ipynb"), key=lambda path: order.get(path.stem, len(order)))
        self.read.update([*found, self.root / "_toc.yml"])
        return found

    def tables(self) -> list[str]:
        """Names of the tables of results, all of which count as read."""
        names = pages.table_names(self.root)
        self.read.update(self.root / "results" / f"{name}.csv" for name in names)
        self.read.update(grids.sweep_files(self.root))
        return names


# ---------------------------------------------------------------- Markdown


def pipe_table(header: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[int] = ()) -> str:
    r"""Write a Markdown table.

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
    | x\|y | 2 |
    """
    right = set(right)
    line = "|" + "|".join("--:" if i in right else ":--" for i in range(len(header))) + "|"
    return "\n".join([_row(header), line, *map(_row, rows)])


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join("" if c is None else str(c).replace("|", "\\|") for c in cells) + " |"


def list_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, widths: Sequence[int], css: str = ""
) -> str:
    """Write a table whose cells may be of several paragraphs.

    Parameters
    ----------
    header : sequence of str
    rows : iterable of sequence of str
        Markdown.
    widths : sequence of int
        Of the columns, in percent.
    css : str
        Class of the table.
    """
    options = [":header-rows: 1", f":widths: {' '.join(map(str, widths))}"] + [f":class: {css}"] * bool(css)
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
    if seconds != seconds:
        return "unknown"
    return "<\u00a01\u00a0s" if seconds < 0.5 else sweeps.duration(seconds).replace(" ", "\u00a0")


# ---------------------------------------------------------------- how the book was made


def chapters_made(context: Context) -> str:
    """A row a chapter: how and when it was executed."""
    found = [pages.made(path) for path in context.notebooks()]
    _, letters = pages.group_versions(_all_versions(context))
    rows = [
        (
            f"{{doc}}`{made.chapter}`",
            _time(made.seconds),
            f"{made.device_name} ({made.device}), {made.threads} thread{'s' if made.threads > 1 else ''}",
            made.date,
            _commit(made.commit, clean=not made.dirty),
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
            _progress(made, states.get(made.table)),
            f"{_time(made.seconds)} (longest run {_time(made.longest)})",
            f"{', '.join(made.devices)}; {letters[f'results/{made.table}']}",
            " ".join(map(_code, made.commits)) + ("" if made.clean else ", not clean"),
            pages.audit_state(made, record),
        )
        for made in found
    ]
    header = ["table", "runs and rows", "time of one core", "device; versions", "commits", "audited"]
    return pipe_table(header, rows)


def _commit(commit: str, *, clean: bool) -> str:
    return _code(commit) + ("" if clean else ", not clean")


def _progress(made: pages.TableMade, state: sweeps.Status | None) -> str:
    """Runs in the table, what is missing of the sweep's scale "book", and rows."""
    words = [f"{made.runs:,} {'trials' if made.study else 'runs'}"]
    if state is not None:
        more = made.runs - state.done - state.failed - state.stale
        words = [f"{state.done:,} of {state.total:,}"]
        words += [f"{state.failed} failed"] * bool(state.failed) + [f"{state.stale} stale"] * bool(
            state.stale
        )
        words += [f"{more:,} of other scales"] * (more > 0)
    return ", ".join(words) + ("" if made.study else f"; {made.rows:,} rows")


def _all_versions(context: Context) -> dict[str, list[pages.Versions]]:
    """Sets of versions of all chapters and tables, in a fixed order, so that letters stay the same."""
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
            _day(row["date"]),
            _commit(row["commit"], clean=row["dirty"] != "true"),
            row["device_name"],
            _code(row["table"]),
            f"{row['equal']} of {row['runs']}"
            + (f", up to {float(row['max_seconds']):g} s" if row["max_seconds"] else ""),
            row["rows"],
            row["elsewhere"],
            row["differences"],
        )
        for row in reversed(record)
    ]
    header = ["when", "commit", "device", "table", "equal runs", "rows", "of another platform", "differences"]
    return pipe_table(header, rows, right=[5, 6, 7])


def _day(date: str) -> str:
    """Day of a date and time, which does not break."""
    return date[:10].replace("-", "\N{NON-BREAKING HYPHEN}")


def same_codes(context: Context) -> str:
    """The record of comparisons of an older code with a newer one, the latest first."""
    record = same_code.read_record(context.root)
    context.read.add(same_code.record_path(context.root))
    if not record:
        return "No two codes have been compared."
    rows = [
        (
            _day(row["date"]),
            _code(row["learner"]),
            _code(row["older_code"]),
            _code(row["newer_code"]),
            "same sources" if row.get("same_source") == "true" else f"{row['equal']} of {row['runs']}",
            row["rows"],
            row["times"],
        )
        for row in reversed(record)
    ]
    header = ["when", "learner", "code", "later code", "equal runs", "rows", "times"]
    return pipe_table(header, rows, right=[5, 6])


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
    """For each chapter, its parameters with meaning, type and range, default and value at each scale."""
    context.read.update((context.root / "params").glob("*.yaml"))
    context.read.update(context.project.book.glob("*.md"))
    found = pages.settings(context.root)
    parts = []
    for chapter in [name for name in build.toc_pages(context.project) if name in found]:
        rows = [(*_meaning(s.parameter), _code(repr(s.default)), _elsewhere(s)) for s in found[chapter]]
        table = pipe_table(["parameter", "meaning", "type and range", "default", "other values"], rows)
        chosen = chapters.read_chapter(context.project, chapter).of_tables
        note = (
            "\n\n`v`, `m` and `L` choose rows of tables here, and can only be what these have."
            if chosen
            else ""
        )
        parts.append(f"**{{doc}}`{chapter}`** (`rhm run {chapter}`)\n\n{table}{note}")
    return "\n\n".join([*parts, *pages.misplaced(context.root)])


def _meaning(parameter: parameters.Parameter) -> tuple[str, str, str]:
    """Name, meaning, and type with range; the largest 64-bit integer as what it is."""
    allowed = parameter.allowed.replace(str(2**63 - 1), "2^63 - 1").replace(">=", "≥").replace("<=", "≤")
    return _code(parameter.name), parameter.meaning, allowed


def _elsewhere(setting: pages.Setting) -> str:
    """The scales at which the value is not the default, with the value."""
    changed = {scale: value for scale, value in setting.at.items() if value != setting.default}
    return ", ".join(f"{scale}: {_code(repr(value))}" for scale, value in changed.items())


def vocabulary(context: Context) -> str:
    """Parameters that occur in sweep files and in no chapter."""
    context.read.update(context.project.book.glob("*.md"))
    rows = [_meaning(parameter) for parameter in pages.unused(context.root)]
    return pipe_table(["parameter", "meaning", "type and range"], rows)


# ---------------------------------------------------------------- claims

# A mark that differs in shape, so that a verdict can be told without colour.
MARKS: dict[claims.Verdict, str] = {"reproduced": "✔", "partly": "◐", "not": "✘", "open": "?"}
_WORDS: dict[claims.Verdict, str] = {
    "reproduced": "reproduced",
    "partly": "partly",
    "not": "not reproduced",
    "open": "open",
}


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
        said = f"[]{{#claim-{claim.name}}}{claim.claim} ({claim.source})\n\n{_verdict(claim, numbers)}"
        found = "\n".join([*(_number_line(n, numbers) for n in claim.numbers), "", claim.found]).strip("\n")
        # Tables may be of the same sizes.
        rows.append([said, found, "\n\n".join([*dict.fromkeys(scale), claim.where])])
    context.read.update(numbers.read)
    header = ["the paper says", "we find", "at which scale, and where"]
    return list_table(header, rows, widths=(32, 46, 22), css="claims")


def claims_in_short(context: Context) -> str:
    """A row for each claim that is named: verdict, our words and first number, links."""
    numbers = claims.Numbers(context.source)
    rows = []
    for claim in _chosen_claims(context):
        heads = [f"{n.what}: **{numbers.text(n.key)}**" for n in claim.numbers if n.headline]
        found = f"{claim.found} ({'; '.join(heads)})" if heads else claim.found
        rows.append([f"{claim.claim}\n\n{_verdict(claim, numbers)}", found, claim.where])
    context.read.update(numbers.read)
    return list_table(["the paper says", "we find", "where"], rows, widths=(34, 48, 18), css="claims")


def claims_counted(context: Context) -> str:
    """How many claims have which verdict."""
    numbers = claims.Numbers(context.source)
    found = [claims.verdict([claims.judge(n, numbers) for n in c.numbers]) for c in _chosen_claims(context)]
    context.read.update(numbers.read)
    return ", ".join(f"{found.count(v)} {badge(v)}" for v in MARKS if v in found) + "."


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


def _number_line(number: claims.Number, numbers: claims.Numbers) -> str:
    text, judged = numbers.text(number.key), claims.judge(number, numbers)
    return f"- {number.what}: **{text}**; {_asked(number, numbers)}: *{judged}*"


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
    "data": "grammar sampling* syntax_trees",
    "exact": "exact belief_propagation entropies theory signals metrics ilc_theory proof tax block_theory "
    "lifting likeness staircases",
    "learners": "ilc ilc_steps token_ilc drawn_counts pooled_tokens slc slc_gramian slc_watch encoders "
    "objectives data2vec data2vec_* baselines contrastive multiscale stacked plain_* training probes "
    "probes_* encoder_probes phase_limits traces bench_learners real_trees token_tuples",
    "runs": "experiments reach tree_settings experiment_* grids checkpoints worker execution records "
    "same_code results sweeps audit confirm tuning_files tuning bench",
    "figures": "fits *_fits *_findings trainings separation fresh_strings figures looks figures_* drawings "
    "schematics* pictures widgets widget_*",
    "book": "provenance parameters chapters notebooks runner build claims pages generated sphinx_* pdf cli",
}


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
    patterns = [(g, i, p) for g, text in GROUPS.items() for i, p in enumerate(text.split())]
    first = {
        name: next(((g, i) for g, i, p in patterns if fnmatch.fnmatch(name, p)), ("learners", len(patterns)))
        for name in names
    }
    return sorted((n for n in names if first[n][0] == group), key=lambda n: (first[n][1], n))


def api(context: Context) -> str:
    """The docstrings of the modules of one group, a section each."""
    if len(context.only) != 1:
        raise ValueError(f"api must name one group in `only`. Found {context.only}.")
    return "\n\n".join(_module(name) for name in modules(context.only[0]))


def _module(name: str) -> str:
    text = f"## rhmlib.{name}\n\n```{{eval-rst}}\n.. automodule:: rhmlib.{name}\n```"
    return "\n".join([text, "", *_constants(name)]).rstrip()


def _source(name: str) -> Path:
    return Path(__file__).parent / f"{name}.py"


def _constants(name: str) -> list[str]:
    """Items on the constants of a module that has nothing else to document, from the comments above them."""
    source = _source(name).read_text(encoding="utf-8")
    tree, lines = ast.parse(source), source.splitlines()
    if any(isinstance(x, ast.FunctionDef | ast.ClassDef) and x.name[0] != "_" for x in tree.body):
        return []
    found = []
    for node in tree.body:
        named = node.targets if isinstance(node, ast.Assign) else getattr(node, "target", None)
        target = named[0] if isinstance(named, list) else named
        start = node.lineno - 1
        first = next((i for i in range(start, 0, -1) if not lines[i - 1].startswith("#")), start)
        if isinstance(target, ast.Name) and target.id.isupper() and first < start:
            words = " ".join(line.lstrip("#: ") for line in lines[first:start])
            found.append(f"- `{target.id}`: {words}")
    return found


def api_overview(context: Context) -> str:
    """The modules of one group, with the first paragraph of each docstring."""
    names = [name for group in context.only or GROUPS for name in modules(group)]
    context.read.update(map(_source, names))
    return pipe_table(
        ["module", "what it is about"], [(f"{{py:mod}}`rhmlib.{n}`", _summary(n)) for n in names]
    )


def _summary(name: str) -> str:
    tree = ast.parse(_source(name).read_text(encoding="utf-8"))
    first = (ast.get_docstring(tree) or "").partition("\n\n")[0]
    return " ".join(first.removesuffix("::").split()).replace("``", "`").replace("*", "\\*")


PARTS: dict[str, Callable[[Context], str]] = {
    "api": api,
    "api-overview": api_overview,
    "audits": audits,
    "same-codes": same_codes,
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
