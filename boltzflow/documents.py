"""YAML files with a version and a fixed set of keys, checked as they are read."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from boltzflow.errors import FileFormatError, OptionError
from boltzflow.storage import reading, replace_file

# A few YAML anchors can expand to more text than fits in memory.
_SHORTLY = reprlib.Repr()
_SHORTLY.maxstring = _SHORTLY.maxother = 200


class Document(BaseModel):
    """The base class of contents of YAML files: immutable, versioned, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1

    @classmethod
    def of(cls, **values: object) -> Self:
        """A document from Python values.

        Raises:
            OptionError: names the key, what was expected and what was given.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise OptionError(_sentence(error)) from None

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
            return cls.model_validate(values)
        except ValidationError as error:
            raise FileFormatError(f"In {path}: {_sentence(error)}") from None

    def write(self, path: Path) -> None:
        """Write the document as YAML."""
        replace_file(path, yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))


def _sentence(error: ValidationError) -> str:
    """The first error in one sentence."""
    fault = error.errors()[0]
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"Unknown key '{key}'."
    if fault["type"] == "missing":
        return f"The key '{key}' is missing."
    message = fault["msg"].removeprefix("Value error, ").rstrip(".")
    return f"Invalid value for '{key}': {message[0].lower()}{message[1:]}; got {_SHORTLY.repr(fault['input'])}."
