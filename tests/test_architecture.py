"""The layers of the house: a module imports only what stands above it."""

import ast
import graphlib
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "boltzflow"

LAYERS = [
    "errors",
    "version",
    "units",
    "arrays",
    "verdict",
    "estimate",
    "storage",
    "capacity",
    "dcd",
    "settings",
    "documents",
    "arrayfile",
    "tensorfile",
    "mbar",
    "core",
    "trust",
    "coordinates",
    "energies",
    "molecules",
    "handover",
    "ensemble",
    "simulation",
    "presets",
    "architecture",
    "generator",
    "training",
    "analysis",
    "workflows",
    "process",
    "cli",
    "__main__",
]

# The wings of analysis, in their order; what stands beside them, all may import.
WINGS = ["estimates", "weighting", "free_energies", "checks", "report"]

# core is a library of its own: of the package it may use the errors, of the outside world torch, and for continuous
# flows a solver of differential equations.
CORE_MAY_IMPORT = {"torch", "torchdiffeq", "boltzflow.core", "boltzflow.errors"}

MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p not in (PACKAGE / "__init__.py", PACKAGE / "testing.py"))
IN_ANALYSIS = [p for p in MODULES if PACKAGE / "analysis" in p.parents and p != PACKAGE / "analysis" / "__init__.py"]


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


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


def names_imported(path: Path) -> set[str]:
    """The modules that a file imports or takes names from: of `from package import name`, both."""
    found = set(imports_of(path))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = {f"{node.module}.{alias.name}" for alias in node.names} & NAMES
            if len(modules) == len(node.names):
                found.discard(node.module)  # the package is but the place where they lie
            found |= modules
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


@pytest.mark.parametrize("path", IN_ANALYSIS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_wings_of_analysis_import_those_before_them(path):
    here = path.relative_to(PACKAGE).parts[1]
    allowed = WINGS[: WINGS.index(here) + 1] if here in WINGS else []
    for module in imports_of(path):
        if module.startswith("boltzflow.analysis."):
            wing = module.split(".")[2]
            assert wing in allowed or wing not in WINGS, f"{here} imports {module}, which stands below it"
        assert module != "boltzflow.analysis", f"{here} imports the face of all wings"


def test_no_import_goes_round_in_a_circle():
    """Those for type checkers count too: what they hide is a circle of ideas."""
    modules = {name_of(path): path for path in MODULES}
    order = graphlib.TopologicalSorter()
    for name, path in modules.items():
        order.add(name, *({module for module in names_imported(path) if module in modules} - {name}))
    assert len(list(order.static_order())) == len(modules)


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
