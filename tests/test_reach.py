"""The hash of what a run reaches: moves change nothing, an edit changes just those that reach it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rhmlib import experiments, reach

PACKAGE = Path(reach.__file__).parent
SOURCES = {
    "__init__": 'EXPORTS = {"Public": "shapes"}',
    "shapes": '''
"""Doc."""
from rhmlib.tools import helper

class Public:
    """Doc."""

    def run(self, n: int = 1) -> int:
        return helper(n)
''',
    "tools": """
SCALE = 2
UNUSED = 3

def helper(n):
    return SCALE * n

def other(n):
    return UNUSED * n
""",
    "user": """
from rhmlib import Public, tools

def run():
    return Public().run()

def also():
    return tools.other(1)
""",
    "local": """
def run():
    from rhmlib.tools import other as named
    return named(2)
""",
    "text": """
import rhmlib.tools as tools

def run(name):
    return getattr(tools, name)(1)
""",
}


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "rhmlib"
    folder.mkdir()
    for name, text in SOURCES.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def hashes(folder):
    names = {"user.run": "user", "user.also": "user", "local.run": "local", "text.run": "text"}
    return {key: reach.code_hash(f"rhmlib.{m}", key.split(".")[1], folder) for key, m in names.items()}


def edit(folder, module, old, new):
    path = folder / f"{module}.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_what_is_reached(package):
    assert reach.reached("rhmlib.user", "run", package) == {"run", "Public", "helper", "SCALE"}
    assert reach.reached("rhmlib.user", "also", package) == {"also", "other", "UNUSED"}
    assert reach.reached("rhmlib.local", "run", package) == {"run", "other", "UNUSED"}


def test_a_module_that_is_used_by_text_counts_whole(package):
    assert {"helper", "other", "SCALE", "UNUSED"} <= reach.reached("rhmlib.text", "run", package)


@pytest.mark.parametrize(
    ("module", "old", "new", "changed"),
    [
        ("tools", "SCALE = 2", "SCALE = 4", {"user.run", "text.run"}),
        ("tools", "UNUSED * n", "UNUSED + n", {"user.also", "local.run", "text.run"}),
        ("shapes", "n: int = 1", "n: int = 2", {"user.run"}),
        ("shapes", "n: int = 1", "n: float = 1", set()),
        ("shapes", '"""Doc."""\n\n    def', '"""Another."""\n\n    def', set()),
        ("tools", "SCALE = 2\n", "# a comment\nSCALE = 2\nNEW = 7\n", {"text.run"}),
    ],
)
def test_an_edit_changes_those_that_reach_it(package, module, old, new, changed):
    before = hashes(package)
    edit(package, module, old, new)
    after = hashes(package)
    assert {name for name in before if before[name] != after[name]} == changed


def test_moves_and_renames_change_nothing(package):
    before = hashes(package)
    below = package / "below"
    below.mkdir()
    (below / "__init__.py").write_text('"""What lives here."""\n')
    shutil.move(package / "tools.py", below / "instruments.py")
    # A constant goes to a module of its own.
    edit(package, "below/instruments", "SCALE = 2\n", "from .sizes import SCALE\n")
    (below / "sizes.py").write_text("SCALE = 2\n")
    edit(package, "shapes", "from rhmlib.tools import", "from rhmlib.below.instruments import")
    edit(
        package,
        "user",
        "from rhmlib import Public, tools",
        "from rhmlib import Public\nfrom rhmlib.below import instruments as tools",
    )
    edit(package, "local", "rhmlib.tools", "rhmlib.below.instruments")
    after = hashes(package)
    assert {key: after[key] for key in after if key != "text.run"} == {
        key: before[key] for key in before if key != "text.run"
    }


def test_what_is_not_there_is_named(package):
    with pytest.raises(ValueError, match=r"name must be defined in rhmlib\.user\. Found 'nothing'\."):
        reach.code_hash("rhmlib.user", "nothing", package)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy") / "rhmlib"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def of_learners(folder):
    addresses = {name: place.split(":") for name, place in experiments.LEARNERS.items()}
    return {name: reach.code_hash(module, of, folder) for name, (module, of) in addresses.items()}


def test_every_learner_has_a_hash_of_its_experiment(library):
    assert of_learners(library) == {name: experiments.code_hash(name) for name in experiments.LEARNERS}


def test_an_edit_of_the_library_makes_stale_just_the_learners_that_reach_it(library):
    before = of_learners(library)
    path = library / "token_ilc.py"
    text = path.read_text()
    path.write_text(text + "\n\ndef _added():\n    return 1\n")
    assert of_learners(library) == before
    edit(library, "ilc", "def _as_tokens(", "def _as_tokens(*_ignored, ")
    after = of_learners(library)
    stale = {name for name in before if before[name] != after[name]}
    names = {name: place.split(":") for name, place in experiments.LEARNERS.items()}
    assert stale == {n for n, (m, c) in names.items() if "_as_tokens" in reach.reached(m, c, library)}
    assert "ilc" in stale
    assert "encoder" not in stale


def test_the_hash_is_fast_and_imports_nothing_heavy():
    code = "import sys; from rhmlib import reach; reach.code_hash('rhmlib.experiment_slc', 'SLCExperiment'); "
    code += "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
