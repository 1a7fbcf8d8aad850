"""The layers of the house: a module imports only what stands above it."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "boltzflow"

LAYERS = [
    "errors",
    "units",
    "verdict",
    "estimate",
    "storage",
    "capacity",
    "dcd",
    "settings",
    "documents",
    "arrayfile",
    "tensorfile",
    "core",
    "trust",
    "coordinates",
    "energies",
    "molecules",
    "ensemble",
    "simulation",
    "presets",
    "architecture",
    "generator",
    "training",
    "analysis",
    "config",
    "needs",
    "runs",
    "reference",
    "process",
    "cli",
    "__main__",
]

# core is a library of its own: of the package it may use the errors, of the outside world torch, and for continuous
# flows a solver of differential equations.
CORE_MAY_IMPORT = {"torch", "torchdiffeq", "boltzflow.core", "boltzflow.errors"}

MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p not in (PACKAGE / "__init__.py", PACKAGE / "testing.py"))


def imports_of(path: Path) -> list[str]:
    """Every module that a file imports, at any depth of nesting, those for type checkers included."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(PACKAGE)}: relative import"
            module = node.module or ""
            # `from boltzflow import x` imports the module x; `from boltzflow.x import y` the module x.
            found += [f"boltzflow.{alias.name}" for alias in node.names] if module == "boltzflow" else [module]
    return found


def layer_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_up_only(path):
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert here in LAYERS, f"{here} has no place in the order of layers"
    for module in imports_of(path):
        if module.startswith("boltzflow."):
            layer = layer_of(module)
            assert layer in LAYERS, f"{here} imports {module}, which has no place in the order of layers"
            assert LAYERS.index(layer) <= LAYERS.index(here), f"{here} imports {module}, which stands below it"


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_core_imports_torch_and_errors_only(path):
    for module in imports_of(path):
        name = ".".join(module.split(".")[:2]) if module.startswith("boltzflow") else module.split(".")[0]
        assert name in CORE_MAY_IMPORT or name in sys.stdlib_module_names, f"core imports {module}"


def test_nothing_in_the_package_imports_its_test_kit():
    assert not [path for path in MODULES if "boltzflow.testing" in imports_of(path)]


def test_the_order_names_what_exists():
    there = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert there == set(LAYERS)
