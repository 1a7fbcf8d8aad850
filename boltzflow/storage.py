"""Files that are replaced whole or not at all, and what is said of one that cannot be read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boltzflow.errors import (
    FileFormatError,
    MemoryShortageError,
    MissingDependencyError,
    StorageError,
    UnsupportedForceError,
)

_OUT_OF_MEMORY = ("out of memory", "not enough memory", "allocate memory", "bad_alloc")
"""How the libraries say it that raise no MemoryError."""

_LONGEST = 300  # characters of a library's reason


def replace_file(path: Path, content: bytes | str) -> None:
    """Write a file so that at every moment the one at `path` is the old one or the new one, whole.

    Args:
        path: the file; its folder is made if there is none.
        content: of the new file; text is written as UTF-8.

    Raises:
        StorageError: if it cannot be written (a full disk, a folder without permission); the old one is kept.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "folder" / "numbers.txt"
    >>> replace_file(path, "1 2 3")
    >>> path.read_text()
    '1 2 3'
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        kept = "; what was there before is kept" if path.exists() else ""
        raise StorageError(f"Cannot write {path} ({len(data):,} bytes): {error.strerror or error}{kept}.") from error


@contextmanager
def reading(path: Path, fault: str) -> Iterator[None]:
    """Tells whatever goes wrong while a file is read in one sentence: libraries raise many kinds for a damaged one.

    Args:
        path: the file.
        fault: what is said then, with braces for the path.

    Raises:
        FileFormatError: naming the file, its fault and the reason.
        MemoryShortageError: if it is no fault of the file's, but there is not enough memory.

    >>> with reading(Path("a.json"), "{} is no JSON"):
    ...     int("a")
    Traceback (most recent call last):
    boltzflow.errors.FileFormatError: a.json is no JSON: invalid literal for int() with base 10: 'a'.
    """
    try:
        yield
    except (FileFormatError, MemoryShortageError, MissingDependencyError, UnsupportedForceError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:_LONGEST] or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"it lacks {reason}"
        if isinstance(error, MemoryError) or any(sign in reason.lower() for sign in _OUT_OF_MEMORY):
            raise MemoryShortageError(f"There is not enough memory to read {path}: {reason.rstrip('.')}.") from error
        if isinstance(error, OSError) and error.errno:
            raise FileFormatError(f"Cannot read {path}: {os.strerror(error.errno)}.") from error
        raise FileFormatError(f"{fault.format(path)}: {reason.rstrip('.')}.") from error


def read_json(path: Path) -> dict[str, Any]:
    """The keys and values of a JSON file.

    Raises:
        FileFormatError: if it is missing or damaged, or holds something else.
    """
    with reading(path, "{} is damaged"):
        document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise FileFormatError(f"Expected keys and values in {path}; got {type(document).__name__}.")
    return document


def digest_of(parts: Mapping[str, Any]) -> str:
    """SHA-256 of named parts (bytes, or arrays of them) in whatever order, as hexadecimal digits.

    >>> digest_of({"a": b"1", "b": b"2"}) == digest_of({"b": b"2", "a": b"1"}) != digest_of({"a": b"12", "b": b""})
    True
    """
    digest = hashlib.sha256()
    for name in sorted(parts):
        # Each part alone, so that nothing can pass from one into its neighbour.
        digest.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(parts[name]).digest())
    return digest.hexdigest()
