"""Named arrays in an npz file, checked as they are read: nothing is pickled."""

from __future__ import annotations

import hashlib
import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from boltzflow.storage import digest_of

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an npz file, of numbers or text; call it within `storage.reading`.

    Raises:
        Exception: of various types if the file is damaged, also if an array declares more bytes than are stored.
    """
    with zipfile.ZipFile(path) as file:
        for member in file.infolist():
            with file.open(member) as array:
                declared = _declared_bytes(array)
            if declared > member.file_size:
                raise ValueError(f"{member.filename} contains {member.file_size:,} bytes but declares {declared:,}")
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
        return dict(stored)


def digest_of_arrays(arrays: dict[str, NDArray[Any]], files: dict[str, Path]) -> str:
    """A digest of named arrays and of associated files."""
    parts: dict[str, Any] = {}
    for name, array in arrays.items():
        whole = np.ascontiguousarray(array)
        parts[f"{name} {array.dtype.str} {array.shape}"] = whole.reshape(-1).view(np.uint8)
    for name, path in files.items():
        with path.open("rb") as file:
            parts[name] = hashlib.file_digest(file, "sha256").digest()
    return digest_of(parts)


def _declared_bytes(file: IO[bytes]) -> int:
    shape, _, dtype = _HEADERS[npy.read_magic(file)](file)
    return math.prod(shape) * dtype.itemsize
