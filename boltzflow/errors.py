"""The exceptions of boltzflow: one small tree, so that ``except BoltzflowError`` catches them all.

Each message states what was expected and what was received. Where possible, a class also derives from a built-in one.
"""


class BoltzflowError(Exception):
    """Base class of all errors that boltzflow raises."""


# Input that cannot be used.


class OptionError(BoltzflowError, ValueError):
    """An argument cannot be used: a value out of range, an unknown name, arguments that exclude each other."""


class ShapeError(OptionError):
    """An array or tensor has the wrong shape, length or dtype, or belongs to another molecule."""


class DomainError(OptionError):
    """Two domains do not match, or a domain is invalid."""


class DataError(OptionError):
    """Samples are unsuitable for the calculation: wrong temperature, weighted, without log q or energies, …"""


class InsufficientDataError(DataError):
    """There are too few samples for the calculation."""


# Operations that an object does not support.


class NotSupportedError(BoltzflowError, NotImplementedError):
    """The object does not support this operation, whatever its settings."""


class IntractableDensityError(NotSupportedError, TypeError):
    """The object has no density in closed form."""


class UnsupportedForceError(NotSupportedError, ValueError):
    """A force of an ``openmm.System`` cannot be translated, saved or pickled; names the force and the reason."""


class UnsupportedCombinationError(NotSupportedError, OptionError):
    """Two parts do not work together, such as a training method and a flow that it cannot train."""


# The molecule.


class TemplateError(BoltzflowError, ValueError):
    """The force field has no template for a residue of the molecule."""


class TopologyError(BoltzflowError, ValueError):
    """The molecule's bonds or constraints do not allow the operation; names the atoms."""


# Numbers.


class NonFiniteError(BoltzflowError, FloatingPointError):
    """Values are NaN or infinite where finite ones are needed."""


class ConvergenceError(BoltzflowError, ArithmeticError):
    """An iteration did not converge."""


# Files.


class FileFormatError(BoltzflowError, ValueError):
    """A file cannot be read: it is missing, damaged, of another type, or in a newer format."""


class MissingFileError(FileFormatError, FileNotFoundError):
    """The file does not exist."""


class SystemNotFoundError(MissingFileError, LookupError):
    """A molecular system, its samples or its reference cannot be found."""


class ForceFieldNotFoundError(MissingFileError, OptionError):
    """A force field is neither a file nor one that OpenMM ships."""


class StorageError(BoltzflowError, OSError):
    """A file could not be written; an existing file is kept."""


class RunDirectoryError(BoltzflowError, FileExistsError):
    """An output directory already contains a run, or another process writes to it."""


# The machine.


class MissingDependencyError(BoltzflowError, ImportError):
    """An optional package is not installed; names the extra that provides it."""


class MemoryShortageError(BoltzflowError, MemoryError):
    """There is not enough memory to load a file."""


class EvaluationError(BoltzflowError, RuntimeError):
    """A program that computes energies has stopped working (as opposed to the failure of single frames)."""


class ProcessError(BoltzflowError, RuntimeError):
    """Another process of a multi-device training has stopped."""
