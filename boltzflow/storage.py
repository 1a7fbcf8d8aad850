"""Atomic replacement of files, directories with one writer at a time, and error messages for damaged files."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boltzflow.errors import (
    BoltzflowError,
    FileFormatError,
    MemoryShortageError,
    MissingDependencyError,
    MissingFileError,
    RunDirectoryError,
    StorageError,
    UnsupportedForceError,
)

_OUT_OF_MEMORY = ("out of memory", "not enough memory", "allocate memory", "bad_alloc")
"""Messages of libraries that do not raise MemoryError."""

_LONGEST = 300  # characters of a library's reason

LOCK = ".boltzflow.lock"
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


@contextmanager
def replacing(path: Path, size: int | None = None) -> Iterator[Path]:
    """A temporary path for a new file, which replaces the one at `path` when the block ends.

    The temporary file is in the same folder, with a unique name and the suffix of `path`, so that two programs never
    write to the same file.

    Args:
        path: the file; its folder is created if it does not exist.
        size: in bytes, if known, for the message.

    Raises:
        StorageError: if the file cannot be written (a full disk, missing permission); an existing file is kept.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, BoltzflowError):
            raise
        kept = "; the existing file is kept" if os.path.exists(path) else ""  # noqa: PTH110 (Path's raises for a name that is too long)
        length = "" if size is None else f" ({size:,} bytes)"
        raise StorageError(f"Cannot write {path}{length}: {error.strerror or error}{kept}.") from error


def replace_file(path: Path, content: bytes | str) -> None:
    """Write a file atomically: at any time the file at `path` is either the old one or the new one.

    Args:
        path: the file; its folder is created if it does not exist.
        content: of the new file; text is written as UTF-8.

    Raises:
        StorageError: if it cannot be written (a full disk, missing permission); an existing file is kept.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "folder" / "numbers.txt"
    >>> replace_file(path, "1 2 3")
    >>> path.read_text()
    '1 2 3'
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with replacing(path, len(data)) as partial, partial.open("wb") as file:
        file.write(data)


def check_there(directory: Path) -> None:
    """Raise if the output directory has been removed; otherwise writing would create an incomplete new one.

    Raises:
        StorageError: if it does not exist.
    """
    if not directory.is_dir():
        raise StorageError(f"Expected the output directory {directory} to exist; it was removed during the run.")


@contextmanager
def claimed(directory: Path, worth_keeping: Callable[[BaseException], bool]) -> Iterator[None]:
    """Lock a directory, so that only this process writes to it until the block ends.

    The directory is created if it does not exist. If the block fails, new content is removed, unless `worth_keeping`
    returns True for the error.

    Raises:
        RunDirectoryError: if another process writes to the directory, or it is a file.
        StorageError: if the directory is not writable, or was removed during the block.
    """
    made = _make(directory)
    try:
        before = {directory / LOCK, *directory.iterdir()}
        lock = _lock(directory)
    except BaseException:
        _remove_empty(made)
        raise
    try:
        yield
        if not _is_there(lock, directory / LOCK):
            raise StorageError(f"{directory} was removed or replaced during the run: its content is lost.")
    except BaseException as error:
        if _is_there(lock, directory / LOCK) and not worth_keeping(error):
            for path in set(directory.iterdir()) - before:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        raise
    finally:
        if _is_there(lock, directory / LOCK):
            (directory / LOCK).unlink()
        os.close(lock)
        _remove_empty(made)


@contextmanager
def plain_path(path: Path) -> Iterator[str]:
    """An ASCII name for an existing file, for libraries that need one: a link if its own name is not ASCII."""
    if str(path).isascii():
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"file{path.suffix}"
        link.symlink_to(path.resolve())
        yield str(link)


def _make(directory: Path) -> list[Path]:
    """Create a directory; returns the folders that were missing, the innermost first."""
    missing = []
    try:
        for folder in (directory, *directory.parents):
            if folder.exists():
                break
            missing.append(folder)
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise RunDirectoryError(f"Expected a directory to write to; {directory} is a file.") from None
    except (OSError, ValueError) as error:
        _remove_empty(missing)
        raise _unwritable(directory, error) from None
    return missing


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except (OSError, ValueError):  # not empty, already removed, or with an invalid name
            return


def _lock(directory: Path) -> int:
    """The descriptor of the directory's lock, which the system releases when this process ends for any reason."""
    path = directory / LOCK
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _unwritable(directory, error) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = _is_there(lock, path)  # otherwise its previous owner has just removed it
    except BlockingIOError:
        is_ours = False
    except OSError as error:
        if error.errno not in _NO_LOCKS:  # some cluster file systems have no locks: run without one
            os.close(lock)
            raise _unwritable(directory, error) from None
        is_ours = True
    if not is_ours:
        os.close(lock)
        raise RunDirectoryError(
            f"Another process is writing to {directory}: wait until it has finished, or choose another --out."
        )
    return lock


def _is_there(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _unwritable(directory: Path, error: Exception) -> StorageError:
    return StorageError(f"Cannot write to {directory}: {getattr(error, 'strerror', None) or error}.")


@contextmanager
def reading(path: Path, fault: str) -> Iterator[None]:
    """Convert any exception while a file is read to one of boltzflow's; libraries raise many types for damaged files.

    Args:
        path: the file.
        fault: the message, with braces for the path.

    Raises:
        MissingFileError: if the file does not exist.
        FileFormatError: names the file, the fault and the reason.
        MemoryShortageError: if there is not enough memory to read the file.

    >>> with reading(Path("a.json"), "{} is not valid JSON"):
    ...     int("a")
    Traceback (most recent call last):
    boltzflow.errors.FileFormatError: a.json is not valid JSON: invalid literal for int() with base 10: 'a'.
    """
    try:
        yield
    except (FileFormatError, MemoryShortageError, MissingDependencyError, UnsupportedForceError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:_LONGEST] or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"the key {reason} is missing"
        if isinstance(error, MemoryError) or any(sign in reason.lower() for sign in _OUT_OF_MEMORY):
            raise MemoryShortageError(f"There is not enough memory to read {path}: {reason.rstrip('.')}.") from error
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise MissingFileError(f"Cannot read {path}: {os.strerror(error.errno or errno.ENOENT)}.") from error
        if isinstance(error, OSError) and error.errno:
            raise FileFormatError(f"Cannot read {path}: {os.strerror(error.errno)}.") from error
        raise FileFormatError(f"{fault.format(path)}: {reason.rstrip('.')}.") from error


def read_json(path: Path) -> dict[str, Any]:
    """The keys and values of a JSON file.

    Raises:
        MissingFileError: if the file does not exist.
        FileFormatError: if it is damaged, or does not contain keys and values.
    """
    with reading(path, "{} is damaged"):
        document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise FileFormatError(f"Expected keys and values in {path}; got {type(document).__name__}.")
    return document


def digest_of(parts: Mapping[str, Any]) -> str:
    """SHA-256 of named parts (bytes, or arrays of them) as hexadecimal digits; their order does not matter.

    >>> digest_of({"a": b"1", "b": b"2"}) == digest_of({"b": b"2", "a": b"1"}) != digest_of({"a": b"12", "b": b""})
    True
    """
    digest = hashlib.sha256()
    for name in sorted(parts):
        # Each part is hashed separately, so that bytes cannot move from one part to the next unnoticed.
        digest.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(parts[name]).digest())
    return digest.hexdigest()
