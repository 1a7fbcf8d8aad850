"""Force-field files: OpenMM's own, the user's, and those in a system's folder. Detects files that run code."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePath
from xml.etree import ElementTree

from openmm import app
from openmm.app.forcefield import _getDataDirectories

from boltzflow.errors import FileFormatError, ForceFieldNotFoundError, MissingFileError, OptionError

ForceFieldFiles = Sequence[str | Path] | str | Path
"""Names of OpenMM's force-field files, or paths; a single file may be given without a list."""

DEFAULT_FORCEFIELD = ("amber14-all.xml", "implicit/obc2.xml")
"""For structures of amino and nucleic acids if no other is given."""

_CODE = ("Script", "InitializationScript")
"""Elements of a force-field file whose text OpenMM executes."""


def file_names(files: ForceFieldFiles) -> tuple[str, ...]:
    """The names of force-field files."""
    return (str(files),) if isinstance(files, str | Path) else tuple(map(str, files))


def read_forcefield(files: Sequence[str]) -> app.ForceField:
    """Read the user's force-field files; warns if one of them runs code.

    Raises:
        ForceFieldNotFoundError: if a name is neither a file nor one of OpenMM's force fields.
        OptionError: if a file is damaged, or if a name is ambiguous: a local file and one of OpenMM's.
    """
    for file in files:
        own, shipped = Path(file), _shipped(file)
        if own.is_file() and shipped is not None and not own.samefile(shipped):
            raise OptionError(
                f"Expected an unambiguous force field; {file} is one of OpenMM's files and also a file in "
                f"{Path.cwd()}: give the full path of the one to use."
            )
    for place, element in scripts(files):
        warnings.warn(f"The force field {place} contains code that OpenMM will run (<{element}>).", stacklevel=3)
    try:
        return app.ForceField(*files)
    except Exception as error:  # a missing file is a ValueError, a damaged one any of several parse errors
        is_missing = any(not Path(file).is_file() and _shipped(file) is None for file in files)
        kind = ForceFieldNotFoundError if is_missing else OptionError
        raise kind(f"Cannot read the force field {', '.join(files)}: {one_line(error)}.") from None


def scripts(files: Sequence[str]) -> list[tuple[Path, str]]:
    """Those of the force-field files, and of the files that they include, that run code, each with the XML element.

    OpenMM's own files are left out.
    """
    found: list[tuple[Path, str]] = []
    left, seen = [Path(file) for file in files], set[Path]()
    while left:
        path = left.pop()
        if path.resolve() in seen or not path.is_file():  # not a local file: one of OpenMM's, or OpenMM will raise
            continue
        seen.add(path.resolve())
        try:
            root = ElementTree.parse(path).getroot()
        except (OSError, ElementTree.ParseError):  # OpenMM will raise and give the reason
            continue
        element = _code(root)
        if element is not None:
            found.append((path, element))
        for included in root.iter("Include"):
            name = included.get("file", "")
            beside = path.parent / name
            left.append(beside if beside.is_file() else Path(name))
    return found


def forcefield_of_folder(folder: Path, names: Sequence[str]) -> tuple[app.ForceField, tuple[str, ...]]:
    """The force field of a system's folder, and the paths of its files: those in the folder, or else OpenMM's own.

    The folder is not trusted: files that would run code are refused, and so are paths that lead out of the folder.

    Raises:
        MissingFileError: if a file is neither in the folder nor one of OpenMM's.
        FileFormatError: if a file is damaged, or would run code.
    """
    sources: list[io.StringIO | str] = []
    paths = []
    for name in names:
        path, shipped = folder / name, _shipped(name)
        if is_inside(name) and path.is_file():
            sources.append(io.StringIO(_data_alone(path)))  # OpenMM reads the checked text, not the file again
        elif shipped is not None:
            path = shipped
            sources.append(str(path))
        else:
            raise MissingFileError(f"Expected a force field in {folder} or one of OpenMM's; got {name!r}.")
        paths.append(str(path))
    try:
        return app.ForceField(*sources), tuple(paths)
    except Exception as error:  # OpenMM raises several types
        raise FileFormatError(f"Cannot read the force field {', '.join(paths)}: {one_line(error)}.") from None


def is_inside(name: str) -> bool:
    """Whether a path that is relative to a folder stays inside the folder."""
    return not PurePath(name).is_absolute() and ".." not in PurePath(name).parts


def one_line(error: Exception) -> str:
    """An error's text without line breaks and without the final full stop."""
    return " ".join(str(error).split()).rstrip(".")


def _shipped(name: str) -> Path | None:
    """The file of this name that is shipped with OpenMM or with a package of force fields for it."""
    found = (Path(folder, name) for folder in _getDataDirectories() if is_inside(name))
    return next((path for path in found if path.is_file()), None)


def _code(root: ElementTree.Element) -> str | None:
    """The first element that OpenMM would execute or evaluate as Python."""
    for element in root.iter():
        if element.tag in _CODE or element.get("useDispersionCorrection", "False") not in ("True", "False"):
            return element.tag
    return None


def _data_alone(path: Path) -> str:
    """The text of a force-field file, checked to run no code and to include no other file."""
    try:
        text = path.read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
    except (OSError, UnicodeDecodeError, ElementTree.ParseError) as error:
        raise FileFormatError(f"Expected the XML of a force field in {path}; reading it failed: {error}.") from None
    element = "Include" if next(root.iter("Include"), None) is not None else _code(root)
    if element is not None:
        raise FileFormatError(f"Expected a force field without code or included files in {path}; got <{element}>.")
    return text
