"""Packages of other programs, imported when results are handed over to them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from boltzflow.errors import MissingDependencyError


def optional(module: str, what: str) -> Any:
    """A module of an optional package of the extra "interop".

    Args:
        module: such as "pandas" or "rdkit.Chem".
        what: the function that needs it, for the message.

    Raises:
        MissingDependencyError: if the package is not installed.

    >>> optional("json", "this example").dumps([1])
    '[1]'
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingDependencyError(
            f'{what} needs {package}, which is not installed: pip install "boltzflow[interop]".'
        ) from error
