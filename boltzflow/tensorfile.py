"""Named tensors and a JSON header in one safetensors file: nothing is pickled, nothing is run on loading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from boltzflow.errors import FileFormatError
from boltzflow.storage import replace_file


def write_tensors(path: Path, tensors: dict[str, Tensor], kind: str, version: int, header: dict[str, Any]) -> None:
    """Write atomically.

    Raises:
        StorageError: if the file cannot be written; the old one is kept.
    """
    metadata = {"kind": kind, "format_version": str(version), "header": json.dumps(header)}
    replace_file(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata))


def read_tensors(path: Path, kind: str, version: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header of a file that `write_tensors` wrote.

    Raises:
        FileFormatError: if the file is missing, truncated, of another kind or of a newer format.
    """
    if not path.is_file():
        raise FileFormatError(f"Expected a {kind} at {path}; there is no such file.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"{path} is damaged or no {kind}: {error}.") from error
    if metadata.get("kind") != kind:
        raise FileFormatError(f"Expected a {kind} in {path}; got {metadata.get('kind', 'another safetensors file')}.")
    try:
        found, header = int(metadata["format_version"]), json.loads(metadata["header"])
    except (KeyError, ValueError) as error:
        raise FileFormatError(f"{path} is an incomplete {kind}: {error}.") from None
    if found > version:
        raise FileFormatError(f"{path} has format {found}, newer than {version}: please update boltzflow.")
    return tensors, header
