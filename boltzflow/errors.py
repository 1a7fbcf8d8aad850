"""The exceptions of boltzflow: one small tree, so that ``except BoltzflowError`` catches them all.

Each message says what was expected and what came.
"""


class BoltzflowError(Exception):
    """Base of every error that boltzflow raises on purpose."""


class ShapeError(BoltzflowError, ValueError):
    """A tensor has the wrong shape."""


class DomainError(BoltzflowError, ValueError):
    """Two domains do not fit, or a domain is described wrongly."""


class OptionError(BoltzflowError, ValueError):
    """An option is impossible (a negative temperature, an unknown name)."""


class IntractableDensityError(BoltzflowError, TypeError):
    """A density was asked of something that has none in closed form."""


class MissingDependencyError(BoltzflowError, ImportError):
    """A part needs an optional package that is not installed; names the extra that brings it."""


class UnsupportedForceError(BoltzflowError, ValueError):
    """A force of an ``openmm.System`` cannot be translated; names the force and the reason."""


class EvaluationError(BoltzflowError, RuntimeError):
    """A program that computes energies has stopped working: not a frame has failed, but the means."""


class ProcessError(BoltzflowError, RuntimeError):
    """Another process of a training on several devices has stopped."""


class NonFiniteError(BoltzflowError, FloatingPointError):
    """Too many numbers were not finite to go on."""


class ConvergenceError(BoltzflowError, ArithmeticError):
    """An iteration did not converge."""


class SystemNotFoundError(BoltzflowError, LookupError):
    """No molecular system has this name, or no such file exists."""


class TemplateError(BoltzflowError, ValueError):
    """The force field has no template for a residue of the molecule."""


class TopologyError(BoltzflowError, ValueError):
    """The molecule's bonds or constraints do not allow what was asked; names the atoms."""


class FileFormatError(BoltzflowError, ValueError):
    """A file is damaged, of another kind, or of a newer format."""


class StorageError(BoltzflowError, OSError):
    """A file could not be written; what was there before is kept."""


class MemoryShortageError(BoltzflowError, MemoryError):
    """There is not enough memory for what a file holds."""


class RunDirectoryError(BoltzflowError, FileExistsError):
    """An output directory already holds a run, or holds none where one is needed."""
