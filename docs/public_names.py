"""Every public name of boltzflow, and the page of the reference that it stands on: each once, under its public path."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

PAGES = {
    # Packages by title of a group; a name that two of them have stands where it comes first, so a package that hands on
    # the names of its parts comes after them.
    "From a molecule to samples": (
        "boltzflow.molecules",
        "boltzflow.molecules.readers",
        "boltzflow.generator",
        "boltzflow.architecture",
        "boltzflow.ensemble",
        "boltzflow.training",
        "boltzflow.training.methods",
        "boltzflow.coordinates",
        "boltzflow.energies",
        "boltzflow.energies.forcefield",
        "boltzflow.energies.expressions",
        "boltzflow.simulation",
    ),
    "Analysis": (
        "boltzflow.analysis.estimates",
        "boltzflow.analysis.weighting",
        "boltzflow.analysis.free_energies",
        "boltzflow.analysis.checks",
        "boltzflow.analysis.report",
        "boltzflow.analysis.report.plots",
        "boltzflow.analysis",
    ),
    "The flow library": (
        "boltzflow.core",
        "boltzflow.core.recipes",
        "boltzflow.core.layers",
        "boltzflow.core.transformers",
        "boltzflow.core.distributions",
        "boltzflow.core.distributions.targets",
        "boltzflow.core.objectives",
        "boltzflow.core.importance",
        "boltzflow.core.kernels",
        "boltzflow.core.samplers",
        "boltzflow.core.nets",
        "boltzflow.core.functional",
    ),
    "Foundations": ("boltzflow.errors", "boltzflow.units", "boltzflow.testing"),
}
PACKAGES = [package for group in PAGES.values() for package in group]

# What a short name in a text may be relative to.
_ROOTS = ("boltzflow", "boltzflow.core", "boltzflow.core.distributions")


class PublicName(NamedTuple):
    """A public name.

    Attributes:
        path: the public one, such as "boltzflow.core.layers.Planar".
        package: whose page it is on.
        module: where it is defined, such as "boltzflow.core.layers.planar".
        value: what it means.
    """

    path: str
    package: str
    module: str
    value: object

    @property
    def short(self) -> str:
        """The name alone."""
        return self.path.rpartition(".")[2]

    @property
    def private_path(self) -> str:
        """The path that annotations know it by."""
        return f"{self.module}.{self.short}"


def names_of(package: str) -> list[str]:
    """The public names of a package or module that are no modules themselves, in their order."""
    module = import_module(package)
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == package and callable(value)
    ]
    return [name for name in getattr(module, "__all__", own) if not isinstance(getattr(module, name), ModuleType)]


def _home_of_constant(package: str, name: str) -> str:
    """The module that a package has a constant from, or a name for a type."""
    for node in ast.walk(ast.parse(inspect.getsource(import_module(package)))):
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            return _home_of_constant(str(node.module), name)
    return package


def _names() -> Iterator[PublicName]:
    """Those of each package, as often as packages have them."""
    for package in PACKAGES:
        for name in names_of(package):
            value = getattr(import_module(package), name)
            is_defined = inspect.isclass(value) or inspect.isfunction(value)
            module = value.__module__ if is_defined else _home_of_constant(package, name)
            yield PublicName(f"{package}.{name}", package, module, value)


@cache
def public_names() -> tuple[PublicName, ...]:
    """All of them, in the order of the pages."""
    found: dict[str, PublicName] = {}
    for name in _names():
        found.setdefault(name.private_path, name)
    return tuple(found.values())


def handed_on_by(package: str) -> str | None:
    """The parent of a package, if it has all names of the package too."""
    parent = package.rpartition(".")[0]
    return parent if parent in PACKAGES and set(names_of(package)) <= set(names_of(parent)) else None


@cache
def _targets() -> dict[str, str]:
    """Public path by every way to write a name that means one thing only."""
    ways: dict[str, set[str]] = {}
    places = {name.private_path: name.path for name in public_names()}
    for name in _names():
        relative = [name.path.removeprefix(f"{root}.") for root in _ROOTS if name.path.startswith(f"{root}.")]
        for way in (name.path, name.private_path, name.short, f"bf.{name.short}", *relative):
            ways.setdefault(way, set()).add(places[name.private_path])
    return {way: paths.pop() for way, paths in ways.items() if len(paths) == 1}


def resolve(text: str) -> str | None:
    """The public path of a name as texts and annotations write it, or of a member of one; None if it is none.

    >>> resolve("layers.Planar"), resolve("BoltzmannGenerator.for_system"), resolve("bf.train")
    ('boltzflow.core.layers.Planar', 'boltzflow.generator.BoltzmannGenerator.for_system', 'boltzflow.training.train')
    """
    if text in _targets():
        return _targets()[text]
    owner, _, member = text.rpartition(".")
    if owner in _targets() and member:
        value = next(name.value for name in public_names() if name.path == _targets()[owner])
        if inspect.isclass(value) and hasattr(value, member):
            return f"{_home_of_member(value, member) or _targets()[owner]}.{member}"
    return None


def _home_of_member(owner: type, member: str) -> str | None:
    """The public path of the class that defines a member, where the reference describes it; None if it is private."""
    kinds = [kind for kind in owner.__mro__ if member in vars(kind)]
    return _targets().get(f"{kinds[0].__module__}.{kinds[0].__qualname__}") if kinds else None


def is_public(value: type) -> bool:
    """Whether a class has its place in the reference."""
    return resolve(f"{value.__module__}.{value.__qualname__}") is not None
