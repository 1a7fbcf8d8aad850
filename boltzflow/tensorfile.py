"""Named tensors and a JSON header in one safetensors file: no pickle, and loading never runs code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, uint8

from boltzflow.errors import FileFormatError, MissingFileError
from boltzflow.storage import digest_of, reading, replace_file

_DIGEST = "sha256"


def write_tensors(path: Path, tensors: dict[str, Tensor], kind: str, version: int, header: dict[str, Any]) -> None:
    """Write tensors and header atomically, with a digest.

    Raises:
        StorageError: if the file cannot be written; an existing file is kept.
    """
    metadata = {"kind": kind, "format_version": str(version), "header": json.dumps(header)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    replace_file(path, save(tensors, {**metadata, _DIGEST: _digest(tensors, metadata)}))


def read_tensors(path: Path, kind: str, version: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header of a file that `write_tensors` wrote.

    Older files without a digest are read unchecked.

    Raises:
        MissingFileError: if the file does not exist.
        FileFormatError: if it is truncated, of another type or in a newer format, or if a single bit has changed.
        MemoryShortageError: if it does not fit in memory.
    """
    if not path.is_file():
        raise MissingFileError(f"Expected a {kind} at {path}; the file does not exist.")
    with reading(path, f"{{}} is damaged or not a {kind}"), safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        # Copies, since the tensors are mapped from the file: if it is overwritten, reading them crashes the process.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
    if metadata.get("kind") != kind:
        raise FileFormatError(f"Expected a {kind} in {path}; got {metadata.get('kind', 'another safetensors file')}.")
    with reading(path, f"{{}} is an incomplete {kind}"):
        found = int(metadata["format_version"])
    if found > version:
        raise FileFormatError(f"{path} has format {found}, newer than {version}: please update boltzflow.")
    with reading(path, f"{{}} is an incomplete {kind}"):
        written = metadata.pop(_DIGEST, None)
        digest = None if written is None else _digest(tensors, metadata)
        header = dict(json.loads(metadata["header"]))
    # Damage to the digest's name must not turn the file into one without a digest.
    if written != digest or metadata.keys() != {"kind", "format_version", "header"}:
        raise FileFormatError(
            f"{path} is damaged: its content has changed since it was written (the SHA-256 digest differs)."
        )
    return tensors, header


def _digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    parts: dict[str, Any] = {name: text.encode() for name, text in metadata.items()}
    for name, tensor in tensors.items():
        parts[f"{name} {tensor.dtype} {tuple(tensor.shape)}"] = tensor.reshape(-1).view(uint8).numpy()
    return digest_of(parts)
