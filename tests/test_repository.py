"""The files around the library agree with one another."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
BASE = [Requirement(line) for line in PROJECT["dependencies"]]
DIRECT = BASE + [Requirement(line) for name, lines in EXTRAS.items() for line in lines if name != "all"]

# Written as patterns, so that this file does not match itself.
HOSTS = re.compile(
    r"pypi[.]org|pythonhosted[.]org|download[.]pytorch|npmjs[.](org|com)|anaconda[.](org|com)|deb[.]debian[.]org"
)
MACHINE = re.compile(r"(?<![\w.~<>$}-])/(work|root|home/\w+|Users/\w+|opt/\w+)/[\w.]")
LEFTOVER = re.compile(r"\b(TOD[O]|FIXM[E]|XX[X])\b|^(<{7}|>{7}) ", re.MULTILINE)


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def tracked() -> list[Path]:
    """Files that are, or would be, committed."""
    try:
        done = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str:
    data = path.read_bytes()
    return "" if b"\0" in data else data.decode("utf-8", errors="replace")


def offenders(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    hits = [(path, pattern.search(text_of(path))) for path in paths]
    return [f"{path.relative_to(ROOT)}: {hit[0]!r}" for path, hit in hits if hit]


# ---------------------------------------------------------------- dependencies


def test_lock_holds_only_exact_public_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.!]*", line)] == []
    assert len(pins()) == len(lines)


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_lock_pins_direct_dependency_within_its_bounds(requirement: Requirement) -> None:
    version = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)


def test_every_import_is_declared() -> None:
    owners = importlib.metadata.packages_distributions()
    declared = {canonicalize_name(requirement.name) for requirement in DIRECT}
    known = set(sys.stdlib_module_names) | {"rhmlib"}
    undeclared = set()
    for path in (ROOT / "rhmlib").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for top in {name.partition(".")[0] for name in names} - known:
                if not declared & {canonicalize_name(owner) for owner in owners.get(top, [])}:
                    undeclared.add(f"{path.name}: {top}")
    assert undeclared == set()


def test_conda_environment_installs_what_make_installs() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python = next(line for line in environment["dependencies"] if str(line).startswith("python="))
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    wanted = re.search(r"^EXTRAS\s*:=\s*(\S+)$", makefile, re.MULTILINE)
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.partition("=")[2] + ".0")
    assert wanted
    assert pip == ["-c constraints.txt", f"-e .[{wanted[1]}]"]
    everything = Requirement(EXTRAS["all"][0])
    assert {*wanted[1].split(","), *everything.extras} == set(EXTRAS)


@pytest.mark.slow
def test_the_wheel_needs_numpy_and_its_like_alone(tmp_path: Path) -> None:
    """The README's example runs where nothing but the wheel was installed."""
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    source = tmp_path / "source"
    shutil.copytree(ROOT / "rhmlib", source / "rhmlib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([*build, "-w", str(tmp_path), str(source)], check=True)
    [wheel] = tmp_path.glob("rhmlib-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"rhmlib/py.typed", "rhmlib/widget_base_files/widget.css"} <= set(names)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*install, "-c", str(ROOT / "constraints.txt"), str(wheel)], check=True)
    example = re.search(r"```python\nimport numpy.*?```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example
    code = example[0].removeprefix("```python").removesuffix("```")
    code += "\nimport sys; assert not {'torch', 'matplotlib', 'click'} & set(sys.modules)"
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert "1.0" in done.stdout
    missing = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False)
    assert missing.returncode


def test_importing_the_library_loads_nothing_heavy() -> None:
    code = "import sys, rhmlib; assert not {'torch', 'pandas', 'matplotlib', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------- the book


def toc_pages() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    sections = [section for chapter in chapters for section in chapter.get("sections", [])]
    return [toc["root"], *(page["file"] for page in [*chapters, *sections])]


def test_table_of_contents_and_pages_agree() -> None:
    pages = toc_pages()
    assert len(set(pages)) == len(pages)
    assert {path.stem for path in (ROOT / "book").glob("*.md")} == set(pages)


def test_bibliography_keys_are_unique_and_every_work_has_author_title_year() -> None:
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    entries = re.findall(r"^@\w+\{([^,]+),(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    keys = [key for key, _ in entries]
    assert len(keys) == text.count("\n@") + text.startswith("@") == len(set(keys))
    for key, body in entries:
        fields = set(re.findall(r"^\s*(\w+)\s*=", body, re.MULTILINE))
        assert {"author", "title", "year"} <= fields, key


def test_files_named_by_the_configuration_exist() -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    for name in (config["logo"], config["html"]["favicon"], *config["bibtex_bibfiles"]):
        assert (ROOT / "book" / name).is_file(), name
    assert config["execute"]["execute_notebooks"] == "off"


# ---------------------------------------------------------------- make and continuous integration


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "target",
    ["env", "book", "quick", "pdf", "site", "spell", "test", "lock", "format", "clean", "distclean"],
)
def test_make_target_exists(target: str) -> None:
    done = make("--dry-run", target)
    assert done.returncode == 0, done.stderr


def test_make_alone_prints_help() -> None:
    done = make()
    assert done.returncode == 0, done.stderr
    for target in ("make book", "make quick", "make pdf", "make test", "make lock"):
        assert target in done.stdout


def test_make_refuses_an_old_python(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.1 && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = make("env", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed." in done.stderr
    assert "Python 3.8.1" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_continuous_integration_runs_the_tests_and_a_quick_book() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    commands = [line.split()[:2] for line in script.read_text(encoding="utf-8").splitlines()]
    for target in ("test", "spell", "quick", "site"):
        assert ["make", target] in commands


def test_workflows_run_what_a_person_runs() -> None:
    steps = {}
    for name, job in (("ci", "test"), ("pages", "build")):
        path = ROOT / ".github" / "workflows" / f"{name}.yml"
        steps[name] = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"][job]
    assert ".ci/run" in [step.get("run") for step in steps["ci"]["steps"]]
    pages = steps["pages"]["steps"]
    assert [step["run"] for step in pages if "run" in step] == ["make book"]
    assert pages[-1]["uses"].startswith("actions/upload-pages-artifact@")
    assert pages[-1]["with"] == {"path": "_build/book/html"}
    assert steps["pages"]["env"]["REPOSITORY_URL"] == "${{ github.server_url }}/${{ github.repository }}"
    wanted = SpecifierSet(PROJECT["requires-python"])
    assert all(wanted.contains(f"{version}.0") for version in steps["ci"]["strategy"]["matrix"]["python"])


# ---------------------------------------------------------------- texts


def test_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == PROJECT["version"]
    assert (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").count("## [Unreleased]") == 1


def test_relative_links_of_the_top_pages_lead_somewhere() -> None:
    dead = []
    for page in ROOT.glob("*.md"):
        prose = re.sub(r"(`+).+?\1", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
            if not re.match(r"[a-z]+:", target) and not (ROOT / target).exists():
                dead.append(f"{page.name}: {target}")
    assert dead == []


def test_no_file_names_a_package_registry() -> None:
    assert offenders(HOSTS, tracked()) == []


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    assert offenders(MACHINE, tracked()) == []


def test_no_leftovers() -> None:
    sources = [path for path in tracked() if path.suffix in (".py", ".md", ".yaml", ".yml", ".toml", ".css")]
    assert offenders(LEFTOVER, sources) == []


def test_patterns_find_what_they_look_for() -> None:
    assert HOSTS.search("https://pypi." + "org/simple")
    assert MACHINE.search("open('/ro" + "ot/x')")
    assert not MACHINE.search("_build/work/x and ~/work/x")
    assert LEFTOVER.search("# TO" + "DO: more")
