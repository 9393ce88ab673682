"""Sweep files: a small YAML file ``params/sweeps/NAME.yaml`` that stands for a list of runs.

::

    title: Accuracy of ILC against the number of strings
    learner: ilc
    scales:
      book:
        replicates: 10                  # all seeds 0, 1, .. 9, together
        fixed: {v: 16, L: 4}
        grid:                           # every combination
          targets: [one, all]
          m: [2, 4, 8]
          n: {per_vm3: [0.5, 1, 2, 4]}  # n = ceil(x v m**3)
      quick:
        blocks:                         # several grids, joined
          - grid: {...}
          - grid: {...}

A block has the keys of a scale (but `blocks`) and takes from its scale what it does not set itself.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rhmlib import experiments, provenance
from rhmlib.parameters import read_yaml, suggestion

_BLOCK_KEYS = ("fixed", "grid", "replicates")
_PER_VM = re.compile(r"per_vm(\d+)")


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes
    ----------
    learner : str
    config : Experiment
        See :class:`rhmlib.experiments.Experiment`.
    hash : str
        Of learner and config.
    """

    learner: str
    config: Any
    hash: str


@dataclass(frozen=True)
class Sweep:
    """A checked sweep file.

    Attributes
    ----------
    name : str
        The file's name without suffix, and that of its table.
    title, learner : str
    scales : dict of str to tuple of Run
        The runs of each scale, without repeats, in the file's order.
    root : Path
        Folder under which its table is, as ``results/NAME.csv``.
    """

    name: str
    title: str
    learner: str
    scales: dict[str, tuple[Run, ...]]
    root: Path

    def runs(self, scale: str) -> tuple[Run, ...]:
        """Return the runs of one scale.

        Raises
        ------
        ValueError
            If the file has no such scale.
        """
        if scale not in self.scales:
            raise ValueError(
                f"sweep {self.name!r} has no scale {scale!r}. {suggestion(scale, list(self.scales))}"
            )
        return self.scales[scale]


# ---------------------------------------------------------------- where files are


def find_root(root: str | Path | None = None) -> Path:
    """Return the folder that holds ``params/sweeps`` and ``results``.

    Parameters
    ----------
    root : path, optional
        Where to begin to look, upwards. Default: the environment variable ``RHM_ROOT``, else the
        current folder, with the checkout that rhmlib was imported from as the last resort.

    Raises
    ------
    ValueError
        If there is none.
    """
    given = root or os.environ.get("RHM_ROOT")
    here = Path(given or ".").resolve()
    places = [here, *here.parents] if given else [here, *here.parents, provenance.PACKAGE.parent]
    for place in places:
        if (place / "params" / "sweeps").is_dir():
            return place
    raise ValueError(f"the root must be a folder with params/sweeps in it. Found none at or above {here}.")


def sweep_files(root: str | Path | None = None) -> list[Path]:
    """All sweep files, by name."""
    return sorted((find_root(root) / "params" / "sweeps").glob("*.yaml"))


def sweep_path(file: str | Path, root: str | Path | None = None) -> Path:
    """Return the path of a sweep that is given by its path or by its name.

    Raises
    ------
    ValueError
        If there is no such file.
    """
    return named_file("sweep", "sweeps", file, root)


def named_file(what: str, folder: str, file: str | Path, root: str | Path | None = None) -> Path:
    """Return the path of a file below ``params/`` that is given by its path or by its name.

    Parameters
    ----------
    what : str
        What the file is, for the error.
    folder : str
        Of ``params/``.
    file : path or str
    root : path, optional
        See :func:`find_root`.

    Raises
    ------
    ValueError
        If there is no such file.
    """
    there = find_root(root) / "params" / folder
    by_name = there / f"{file}.yaml"
    if "/" not in str(file) and by_name.is_file():
        return by_name
    if Path(file).is_file():
        return Path(file)
    names = [path.stem for path in sorted(there.glob("*.yaml"))]
    raise ValueError(
        f"{what} must be a {what} file or its name. Found {str(file)!r}. {suggestion(str(file), names)}"
    )


# ---------------------------------------------------------------- reading


def read_sweep(file: str | Path, root: str | Path | None = None) -> Sweep:
    """Read a sweep file and check every run of every scale.

    Parameters
    ----------
    file : path or str
        A path, or the name of a file in ``params/sweeps``.
    root : path, optional
        See :func:`find_root`.

    Returns
    -------
    Sweep

    Raises
    ------
    ValueError
        At the first thing that is wrong: the message names the file, scale and block, the
        parameter, the value found, and what is allowed.
    """
    path = sweep_path(file, root)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"sweep file must be readable UTF-8 text. Found {path}: {error}.") from None
    content = _mapping(read_yaml(text, path.name), path.name, ("title", "learner", "scales"))
    for key in ("learner", "scales"):
        if key not in content:
            raise ValueError(f"{path.name} must have the key {key!r}. Found only: {', '.join(content)}.")
    learner = content["learner"]
    try:
        experiments.load(learner)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    scales = content["scales"]
    if not isinstance(scales, dict) or not scales:
        raise ValueError(f"{path.name}: scales must map names to grids. Found {scales!r}.")
    runs = {
        str(scale): scale_runs(learner, settings, f"{path.name}, scale {scale!r}")
        for scale, settings in scales.items()
    }
    return Sweep(path.stem, str(content.get("title", path.stem)), learner, runs, _root_of(path, root))


def _root_of(path: Path, root: str | Path | None) -> Path:
    """Root of a sweep file: the given one, else the one that the file lies in, else the default."""
    folder = path.resolve().parent
    if root is None and folder.parts[-2:] == ("params", "sweeps"):
        return folder.parents[1]
    return find_root(root)


def _mapping(value: object, where: str, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must map names to values. Found {value!r}.")
    for key in value:
        if key not in keys:
            raise ValueError(f"{where}: {key!r} is no key here. {suggestion(str(key), keys)}")
    return value


def scale_runs(learner: str, settings: object, where: str) -> tuple[Run, ...]:
    """The runs of one scale, checked.

    Parameters
    ----------
    learner : str
    settings : dict
        As a scale of a sweep file.
    where : str
        What an error begins with.

    Raises
    ------
    ValueError
        As :func:`read_sweep`.
    """
    scale = _mapping(settings, where, (*_BLOCK_KEYS, "blocks"))
    common = {key: value for key, value in scale.items() if key != "blocks"}
    blocks = scale.get("blocks", [{}])
    if not isinstance(blocks, list) or not blocks:
        raise ValueError(f"{where}: blocks must be a list of grids. Found {blocks!r}.")
    found: dict[str, Run] = {}
    for number, block in enumerate(blocks, start=1):
        place = f"{where}, block {number}" if "blocks" in scale else where
        axes, replicates = _axes(common, where), common.get("replicates")
        if "blocks" in scale:
            own = _mapping(block, place, _BLOCK_KEYS)
            axes = {**axes, **_axes(own, place)}
            replicates = own.get("replicates", replicates)
        for values in _combinations(learner, axes, replicates, place):
            run = _run(learner, values, place)
            found.setdefault(run.hash, run)
    return tuple(found.values())


def _axes(block: Mapping[str, Any], where: str) -> dict[str, list[Any]]:
    """Parameter to list of values; fixed ones have one."""
    fixed = block.get("fixed") or {}
    grid = block.get("grid") or {}
    for key, value in (("fixed", fixed), ("grid", grid)):
        if not isinstance(value, dict):
            raise ValueError(f"{where}: {key} must map parameters to values. Found {value!r}.")
    both = fixed.keys() & grid.keys()
    if both:
        raise ValueError(f"{where}: {min(both)} must be in fixed or in grid. Found it in both.")
    axes = {}
    for name, value in fixed.items():
        if isinstance(value, list):
            raise ValueError(f"{where}: {name} must be one value under fixed. Found {name}={value!r}.")
        axes[name] = [_Multiple.read(name, value, where)[0] if isinstance(value, dict) else value]
    for name, values in grid.items():
        items = _Multiple.read(name, values, where) if isinstance(values, dict) else values
        if not isinstance(items, list) or not items:
            raise ValueError(f"{where}: {name} must be a list of values under grid. Found {name}={values!r}.")
        axes[name] = items
    return axes


@dataclass(frozen=True)
class _Multiple:
    """A size in units of v m**power, to be resolved when v and m are known."""

    factor: float
    power: int

    @classmethod
    def read(cls, name: str, value: dict[Any, Any], where: str) -> list[_Multiple]:
        key = str(next(iter(value), ""))
        match = _PER_VM.fullmatch(key)
        if len(value) != 1 or not match:
            raise ValueError(f"{where}: {name} must be values or per_vm3: values. Found {name}={value!r}.")
        factors = value[key] if isinstance(value[key], list) else [value[key]]
        for factor in factors:
            if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < math.inf:
                raise ValueError(
                    f"{where}: {name} must be positive multiples under {key}. Found {name}={factor!r}."
                )
        return [cls(factor, int(match[1])) for factor in factors]

    def resolve(self, name: str, values: Mapping[str, Any], where: str) -> int:
        for needed in ("v", "m"):
            if not isinstance(values.get(needed), int):
                raise ValueError(
                    f"{where}: {needed} must be an integer, as {name} is in units of v m**{self.power}. "
                    f"Found {needed}={values.get(needed)!r}."
                )
        return math.ceil(self.factor * values["v"] * values["m"] ** self.power)


def _combinations(
    learner: str, axes: Mapping[str, list[Any]], replicates: object, where: str
) -> Iterator[dict[str, Any]]:
    usual = experiments.defaults(learner)
    unset = set(experiments.field_names(learner)) - axes.keys()
    seeds = [name for name in experiments.SEEDS if name in unset]
    for combination in itertools.product(*axes.values()):
        values = dict(zip(axes, combination, strict=True))
        for name, value in values.items():
            if isinstance(value, _Multiple):
                values[name] = value.resolve(name, {**usual, **values}, where)
        for seed in _replicates(replicates, seeds, where):
            yield {**values, **dict.fromkeys(seeds if seed is not None else [], seed)}


def _replicates(replicates: object, seeds: list[str], where: str) -> list[int | None]:
    """Values that all seeds take together; [None] where the grid sets them itself."""
    if replicates is None:
        return [None]
    if not seeds:
        raise ValueError(
            f"{where}: replicates must be left out where the grid sets all seeds. Found {replicates!r}."
        )
    values = list(range(replicates)) if isinstance(replicates, int) else replicates
    if isinstance(replicates, bool) or not isinstance(values, list) or not values:
        raise ValueError(
            f"{where}: replicates must be an integer >= 1 or a list of seeds. Found {replicates!r}."
        )
    return values


def _run(learner: str, values: Mapping[str, Any], where: str) -> Run:
    try:
        config = experiments.configure(learner, values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return Run(learner, config, experiments.config_hash(learner, config))
