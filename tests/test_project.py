"""One fact in several files: the requirements, and what the package ships."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

import boltzflow

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "pymbar": "pymbar-core"}
CONDA_ONLY = {"python", "pip", "hatchling"}


def requirements(lines):
    """Name → bounds."""
    return dict(re.fullmatch(r"([\w-]+)(.*)", line).groups() for line in lines)


def test_conda_and_pip_require_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = requirements(environment["dependencies"])
    extras = PROJECT["optional-dependencies"]
    pip = requirements([*PROJECT["dependencies"], *extras["test"], *extras["docs"]])
    assert conda["python"] == PROJECT["requires-python"]
    assert environment["channels"] == ["conda-forge"]
    wanted = {CONDA_NAMES.get(name, name): bounds for name, bounds in pip.items()}
    assert {name: bounds for name, bounds in conda.items() if name not in CONDA_ONLY} == wanted


def test_the_lowest_versions_are_those_that_are_required():
    lines = (ROOT / ".ci" / "lowest.txt").read_text(encoding="utf-8").splitlines()
    lowest = [line.replace(">=", "==") for line in PROJECT["dependencies"]]
    assert [line for line in lines if not line.startswith("#")][: len(lowest)] == lowest


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == boltzflow.__version__
    released = re.findall(r"^## \[([\d.]+)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert released[0] == (citation["version"], citation["date-released"])


def test_public_names_exist_and_are_documented():
    for name in boltzflow.__all__:
        assert getattr(boltzflow, name).__doc__, name
    assert set(boltzflow.__all__) <= set(dir(boltzflow))


def test_each_system_is_complete():
    for description in (ROOT / "systems").glob("*/system.yaml"):
        assert {"topology.pdb", "README.md"} <= {path.name for path in description.parent.iterdir()}
        assert boltzflow.load_system(description.parent.name).n_atoms


def test_importing_the_package_is_cheap():
    """The heavy libraries are loaded when a name is first used."""
    code = "import sys, boltzflow; print({'torch', 'openmm', 'mdtraj', 'matplotlib'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "set()"
