"""The command line: boltzflow train | sample | analyze | evaluate | reference | replicas | systems."""

from __future__ import annotations

import io
import sys
import warnings

# The order of commands in the help is that of their modules.
from boltzflow.cli import generators, reference, replicas, systems
from boltzflow.cli.root import app
from boltzflow.process import keep_freed_memory

__all__ = ["app", "generators", "main", "reference", "replicas", "systems"]


def main() -> None:
    """The entry point of the `boltzflow` command."""
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without a character such as φ shows a question mark
            stream.reconfigure(errors="replace")
    warnings.formatwarning = lambda message, *_, **__: f"Warning: {message}\n"
    app()
