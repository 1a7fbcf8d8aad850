"""Readers of other programs' files: a module for each kind, behind the class methods of `FromFiles`."""

from boltzflow.molecules.readers.from_files import FromFiles

__all__ = ["FromFiles"]
