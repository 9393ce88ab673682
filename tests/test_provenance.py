"""Commit, versions, device and the hash of the code."""

import os
import re
import subprocess
import sys
import textwrap

import pytest

from rhmlib import provenance


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit and nothing changed since."""
    (tmp_path / "a.txt").write_text("a")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, env=_without_git(os.environ))
    provenance.commit.cache_clear()
    provenance.is_dirty.cache_clear()
    return tmp_path


def _without_git(environment):
    return {name: value for name, value in environment.items() if not name.startswith("GIT_")}


def test_commit_and_clean_tree(repository):
    head = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert provenance.commit(repository) == head[:10]
    assert provenance.is_dirty(repository) is False


@pytest.mark.parametrize(("path", "dirty"), [("a.txt", True), ("new.txt", True), ("executed/x.ipynb", False)])
def test_what_counts_as_a_change(repository, path, dirty):
    target = repository / path
    target.parent.mkdir(exist_ok=True)
    target.write_text("b")
    assert provenance.is_dirty(repository) is dirty


def test_no_repository(tmp_path):
    assert provenance.commit(tmp_path) == "unknown"
    assert provenance.is_dirty(tmp_path) is False


def test_a_folder_below_a_repository_is_not_the_repository(repository):
    below = repository / "site-packages"
    below.mkdir()
    assert provenance.commit(below) == "unknown"


def test_versions_and_platform():
    found = provenance.versions()
    assert list(found)[:3] == ["python", "rhmlib", "numpy"]
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert provenance.platform_key().endswith(f"-numpy{found['numpy']}")


def test_versions_and_hash_import_nothing_heavy():
    code = """
        import sys
        from rhmlib import provenance
        provenance.versions(); provenance.platform_key(); provenance.threads()
        provenance.code_hash("grammar")
        assert provenance.resolve_device("cpu") == "cpu"
        assert not {"torch", "numpy", "scipy"} & set(sys.modules), "heavy imports"
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


@pytest.mark.parametrize(
    ("asked", "count", "expected"),
    [
        ("auto", 0, "cpu"),
        ("auto", 1, "cuda"),
        ("cpu", 1, "cpu"),
        ("cuda", 2, "cuda"),
        ("cuda:1", 2, "cuda:1"),
    ],
)
def test_device_that_is_there(monkeypatch, asked, count, expected):
    monkeypatch.setattr(provenance, "_cuda_devices", lambda: count)
    assert provenance.resolve_device(asked) == expected


@pytest.mark.parametrize(
    ("asked", "count", "words"),
    [
        ("cuda", 0, "finds no CUDA here. Found device='cuda'"),
        ("cuda:2", 2, "'cuda:0' to 'cuda:1'. Found device='cuda:2'"),
        ("gpu", 1, "must be 'auto', 'cpu'"),
        ("cuda:x", 1, "must be 'auto', 'cpu'"),
        (3, 1, "Found device=3"),
    ],
)
def test_device_that_is_not_there(monkeypatch, asked, count, words):
    monkeypatch.setattr(provenance, "_cuda_devices", lambda: count)
    with pytest.raises(ValueError, match="device must be") as error:
        provenance.resolve_device(asked)
    assert words in str(error.value)


def test_machine():
    assert provenance.device_name("cpu").strip()
    assert 1 < provenance.peak_memory_mb() < 1e6
    # Counts of Linux's KiB must not be taken for bytes: the peak is at least what is used now.
    psutil = pytest.importorskip("psutil")
    assert provenance.peak_memory_mb() > 0.5 * psutil.Process().memory_info().rss / 2**20


def test_threads_follow_the_environment(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert provenance.threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert provenance.threads() >= 1


# ---------------------------------------------------------------- the hash of the code


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A stand-in for the package's folder, whose sources a test may change."""
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)

    def write(**sources):
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))

    write(
        base="X = 1\n",
        middle="from rhmlib import base\n",
        top="def f():\n    from rhmlib.middle import base\n    return base\n",
        typed="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from rhmlib import base\n",
        alone="Y = 2\n",
    )
    return write


def test_dependencies_are_transitive_and_see_functions(package):
    assert provenance.dependencies("rhmlib.top") == {"top", "middle", "base"}
    assert provenance.dependencies("typed") == {"typed"}


def test_hash_form_and_order(package):
    assert re.fullmatch(r"[0-9a-f]{12}", provenance.code_hash("top"))
    assert provenance.code_hash("top", "alone") == provenance.code_hash("rhmlib.alone", "top")
    assert provenance.code_hash("top", "base") == provenance.code_hash("top")


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        ('"""A docstring."""\n\n# a comment\nX   =   1\n', False),
        ("X = 2\n", True),
        ("X = 1\nZ = 1\n", True),
        ("X = '''no docstring'''\n", True),
    ],
)
def test_only_code_below_changes_the_hash(package, source, changes):
    before, other = provenance.code_hash("top"), provenance.code_hash("alone")
    package(base=source)
    assert (provenance.code_hash("top") != before) is changes
    assert provenance.code_hash("alone") == other


def test_docstrings_of_functions_and_classes_do_not_count(package):
    package(base="class A:\n    '''One.'''\n    def f(self):\n        '''Two.'''\n        return 1\n")
    before = provenance.code_hash("base")
    package(base="class A:\n    def f(self):\n        '''Another.'''\n        return 1\n")
    assert provenance.code_hash("base") == before
    package(base="class A:\n    def f(self):\n        'Another.'\n        return 2\n")
    assert provenance.code_hash("base") != before


def test_hash_of_a_known_source(package):
    # Frozen: a change of the recipe would make every stored result look stale.
    package(known="def f(x, *, y=1):\n    return [f'{x!r:>4}', y]\n")
    assert provenance.code_hash("known") == "512e75928bdc"


def test_unknown_module(package):
    with pytest.raises(ValueError, match="Found 'nope'"):
        provenance.code_hash("nope")
    with pytest.raises(ValueError, match=r"Found '\.\./base'"):
        provenance.code_hash("../base")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from rhmlib import Grammar", {"grammar"}),
        ("import rhmlib\nrhmlib.Grammar", {"grammar"}),
        ("import rhmlib as r\nr.sample", {"sampling"}),
        ("import rhmlib", set()),
        ("import rhmlib.grammar", {"grammar"}),
        ("import rhmlib.grammar as g\ng.sample", {"grammar"}),
        ("from rhmlib import parameters as p", {"parameters"}),
        ("from .grammar import Grammar\nfrom . import sampling", {"grammar", "sampling"}),
        ("from numpy import grammar\nimport rhmlibother.sampling", set()),
    ],
)
def test_imported_modules(source, expected):
    assert provenance.imported_modules(source) == expected


def test_star_import_is_everything_public():
    assert {"grammar", "sampling"} <= provenance.imported_modules("from rhmlib import *")
