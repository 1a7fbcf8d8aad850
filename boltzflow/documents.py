"""YAML files with a version and a fixed set of keys, checked as they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import yaml

from boltzflow.errors import FileFormatError, OptionError
from boltzflow.settings import Settings
from boltzflow.storage import reading, replace_file


class Document(Settings):
    """The base of what is kept in a YAML file: settings with a version."""

    version: Literal[1] = 1

    @classmethod
    def read(cls, path: Path) -> Self:
        """A document from a YAML file.

        Raises:
            MissingFileError: if the file does not exist.
            FileFormatError: names the file, the key, what was expected and what was given.
        """
        with reading(path, "{} is not valid YAML"):
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise FileFormatError(f"Expected keys and values in {path}; got {type(values).__name__}.")
        if "version" not in values:
            raise FileFormatError(f"Expected 'version: 1' in {path}; got no version.")
        try:
            return cls.of(**{str(name): value for name, value in values.items()})
        except OptionError as error:
            raise FileFormatError(f"In {path}: {error}") from None

    def write(self, path: Path) -> None:
        """Write the document as YAML."""
        replace_file(path, yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))
