"""Frames recorded by a simulation: the latest in memory, the others in chunks on disk if there is a folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from boltzflow.errors import InsufficientDataError, OptionError
from boltzflow.tensorfile import read_tensors, write_tensors

KIND, VERSION = "boltzflow frames", 1

_CHUNK = 2**25  # bytes

Record = dict[str, Tensor]


@dataclass(frozen=True)
class Frames:
    """Records of one kind, in order. Immutable: adding a record returns a new object, so a run can stop at any time.

    Attributes:
        folder: the folder of the chunks; None keeps all in memory.
        chunks: records stacked along the first axis, or the names of their files.
        pending: records that are not yet in a chunk.
    """

    folder: Path | None = None
    chunks: tuple[Record | str, ...] = ()
    pending: tuple[Record, ...] = ()

    def and_(self, record: Record) -> Frames:
        """These records and one more."""
        return replace(self, pending=(*self.pending, record))

    @property
    def is_chunk(self) -> bool:
        """Whether there are enough pending records for a chunk."""
        return bool(self.pending) and len(self.pending) * sum(t.nbytes for t in self.pending[0].values()) >= _CHUNK

    def packed(self) -> Frames:
        """The same records, with none pending."""
        if not self.pending:
            return self
        chunk: Record | str = {name: torch.stack([r[name] for r in self.pending]) for name in self.pending[0]}
        if self.folder is not None:
            name = f"{len(self.chunks):06d}.safetensors"
            write_tensors(self.folder / name, chunk, KIND, VERSION, {})  # type: ignore[arg-type]
            chunk = name
        return replace(self, chunks=(*self.chunks, chunk), pending=())

    def read(self, name: str, place: int | None = None) -> Tensor:
        """One entry of all records, stacked along the first axis; if `place` is given, only this index of the second.

        Raises:
            InsufficientDataError: if there are no records.
            OptionError: if the records have no entry of this name.
            MissingFileError: if a file is missing from the folder.
            FileFormatError: if a file is damaged.
        """
        if not self.chunks and not self.pending:
            raise InsufficientDataError("Expected recorded frames; got none.")
        parts = []
        for chunk in replace(self, folder=None).packed().chunks:
            if isinstance(chunk, str):
                assert self.folder is not None
                tensors, _ = read_tensors(self.folder / chunk, KIND, VERSION)
            else:
                tensors = chunk
            if name not in tensors:
                raise OptionError(f"Expected {name} in the recorded frames; got {', '.join(tensors)}.")
            parts.append(tensors[name] if place is None else tensors[name][:, place].clone())
        return torch.cat(parts)
