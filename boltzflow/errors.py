"""The exceptions of boltzflow: one small tree, so that ``except BoltzflowError`` catches them all.

Each message says what was expected and what came. Each class is one of Python's own too, where there is a fitting one.
"""


class BoltzflowError(Exception):
    """Base of every error that boltzflow raises on purpose."""


# What was given cannot be used.


class OptionError(BoltzflowError, ValueError):
    """What was given cannot be used: a setting out of its range, an unknown name, arguments that exclude each other."""


class ShapeError(OptionError):
    """An array or tensor has the wrong shape, length or dtype, or its atoms are those of another molecule."""


class DomainError(OptionError):
    """Two domains do not fit, or a domain is described wrongly."""


class DataError(OptionError):
    """Samples cannot answer what was asked: of another temperature, weighted, without log q or energies, …"""


class InsufficientDataError(DataError):
    """There are too few samples for what was asked; more of them would do."""


# What this kind of thing cannot do.


class NotSupportedError(BoltzflowError, NotImplementedError):
    """This kind of thing cannot do what was asked, whatever its settings."""


class IntractableDensityError(NotSupportedError, TypeError):
    """A density was asked of something that has none in closed form."""


class UnsupportedForceError(NotSupportedError, ValueError):
    """A force of an ``openmm.System`` cannot be translated, saved or sent; names the force and the reason."""


class UnsupportedCombinationError(NotSupportedError, OptionError):
    """Two parts work, but not together, such as a method of training and a flow that it does not train."""


# The molecule.


class TemplateError(BoltzflowError, ValueError):
    """The force field has no template for a residue of the molecule."""


class TopologyError(BoltzflowError, ValueError):
    """The molecule's bonds or constraints do not allow what was asked; names the atoms."""


# Numbers.


class NonFiniteError(BoltzflowError, FloatingPointError):
    """Too many numbers were not finite to go on."""


class ConvergenceError(BoltzflowError, ArithmeticError):
    """An iteration did not converge."""


# Files.


class FileFormatError(BoltzflowError, ValueError):
    """A file cannot be read: it is missing, damaged, of another kind, or of a newer format."""


class MissingFileError(FileFormatError, FileNotFoundError):
    """There is no such file."""


class SystemNotFoundError(MissingFileError, LookupError):
    """No molecular system has this name, or no file of one, or samples or a reference of one, is where it should be."""


class ForceFieldNotFoundError(MissingFileError, OptionError):
    """A force field is neither a file nor the name of one that OpenMM brings."""


class StorageError(BoltzflowError, OSError):
    """A file could not be written; what was there before is kept."""


class RunDirectoryError(BoltzflowError, FileExistsError):
    """An output directory already holds a run, or another process writes to it."""


# The machine.


class MissingDependencyError(BoltzflowError, ImportError):
    """A part needs an optional package that is not installed; names the extra that brings it."""


class MemoryShortageError(BoltzflowError, MemoryError):
    """There is not enough memory for what a file holds."""


class EvaluationError(BoltzflowError, RuntimeError):
    """A program that computes energies has stopped working: not a frame has failed, but the means."""


class ProcessError(BoltzflowError, RuntimeError):
    """Another process of a training on several devices has stopped."""
