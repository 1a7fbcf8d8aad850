"""Readers of other programs' files: one module for each format, used by the class methods of `FromFiles`."""

from boltzflow.molecules.readers.from_files import FromFiles

__all__ = ["FromFiles"]
