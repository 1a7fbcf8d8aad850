"""Energies and forces of any ASE calculator: xtb, machine-learned potentials, electronic structure."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from boltzflow.energies.ase_calculators import CalculatorRecipe
from boltzflow.energies.framewise import FramewisePotential
from boltzflow.errors import MissingDependencyError, OptionError

if TYPE_CHECKING:
    import ase


class ASEPotential(FramewisePotential):
    """Energies and forces of an ASE calculator, in nm and kJ/mol; a frame that fails has the energy +inf.

    A frame fails if a position, its energy or a force is not finite, or if the calculator raises ASE's
    ``CalculatorError`` (a self-consistent field that does not converge, atoms too close). If only energies are
    requested, forces are not checked. The structure of `atoms` is evaluated first, and again after each failure (by a
    new calculator if `calculator` is a function). If this evaluation fails, an error is raised. Any other exception
    of the calculator is an error too. The energy is the one whose negative gradient is the force (for metals, the free
    energy). Many calculators use the previous frame as the initial guess; how much results depend on it is determined
    by their convergence criteria.

    Larsen et al. 2017, doi:10.1088/1361-648X/aa680e.

    Args:
        calculator: a calculator, or a function that returns one, such as ``functools.partial(TBLite, verbosity=0)``.
        atoms: the molecule in a reasonable structure. Its elements, charges, cell and periodicity apply to all frames.
        workers: number of processes; 0 evaluates in this process. See `FramewisePotential`. Workers need a function
            that can be pickled. Limit a multithreaded calculator to one thread: ``OMP_NUM_THREADS=1``.

    Raises:
        MissingDependencyError: if ASE is not installed.
        OptionError: if workers are requested but `calculator` is not a function, or cannot be pickled.

    >>> from ase.build import molecule  # doctest: +SKIP
    >>> from ase.calculators.emt import EMT  # doctest: +SKIP
    >>> water = molecule("H2O")  # doctest: +SKIP
    >>> ASEPotential(EMT, water).energy(torch.tensor(water.positions)[None] / 10.0)  # doctest: +SKIP
    tensor([252.7734], dtype=torch.float64)
    """

    def __init__(self, calculator: Any | Callable[[], Any], atoms: ase.Atoms, workers: int = 0) -> None:
        try:
            import ase  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError(
                "ASEPotential: expected the package ase, which is not installed; install boltzflow[ase]."
            ) from error
        is_ready = hasattr(calculator, "get_potential_energy") and not isinstance(calculator, type)
        if workers and is_ready:
            raise OptionError("Expected a function that returns a calculator for each worker; got a calculator.")
        molecule = atoms.copy()
        molecule.set_constraint()  # constraints would change the frames
        recipe = CalculatorRecipe(calculator, is_ready, molecule)
        if workers:
            try:
                pickle.dumps(recipe)
            except Exception as error:
                raise OptionError(
                    f"Expected a function that can be pickled for workers; got one that cannot: {error}"
                ) from error
        super().__init__(len(atoms), recipe, workers)

    def _energy(self, positions: Tensor) -> Tensor:
        return self._evaluate(positions, None)  # forces may be much more expensive, or not implemented
