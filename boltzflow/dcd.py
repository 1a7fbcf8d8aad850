"""DCD trajectories, written with Python's own file functions: any path works, and a full disk is reported."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boltzflow.storage import replacing

_TITLE = b"Created by boltzflow".ljust(80)
_AT_ONCE = 2**24  # bytes
_ANGSTROM = np.float32(10.0)  # in a nm


def write_dcd(path: Path, positions: NDArray[np.float32]) -> None:
    """Write positions (n, N, 3) in nm as CHARMM and NAMD do: little-endian, float32, in Å, without a unit cell.

    Raises:
        StorageError: if the file cannot be written; an existing file is kept.
    """
    frames, atoms, _ = positions.shape
    control: list[Any] = [0] * 20
    control[0], control[2], control[3], control[19] = frames, 1, frames, 24  # every step; CHARMM 24
    first = b"CORD" + struct.pack("<9if10i", *control[:9], 1.0, *control[10:])
    header = b"".join(map(_record, (first, struct.pack("<i", 1) + _TITLE, struct.pack("<i", atoms))))
    length = struct.pack("<i", 4 * atoms)
    one = np.dtype([("before", "V4"), ("values", "<f4", (atoms,)), ("after", "V4")])
    step = max(1, _AT_ONCE // (12 * atoms))
    with replacing(path, len(header) + frames * 3 * one.itemsize) as partial, partial.open("wb") as file:
        file.write(header)
        for start in range(0, frames, step):
            part = positions[start : start + step]
            records = np.empty((len(part), 3), one)
            records["before"] = records["after"] = np.void(length)
            records["values"] = (part * _ANGSTROM).swapaxes(1, 2)
            file.write(records.tobytes())


def _record(content: bytes) -> bytes:
    """A Fortran record: the content between its lengths."""
    length = struct.pack("<i", len(content))
    return length + content + length
