"""Files that are replaced whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from boltzflow.errors import StorageError


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
