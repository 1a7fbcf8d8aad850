"""Energies and forces of any calculator of ASE: xtb, machine-learned potentials, electronic structure."""

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
    """Energies and forces of a calculator of ASE, in nm and kJ/mol; a frame on which it fails is +inf.

    A frame fails if a position, its energy or a force is not finite, or if the calculator raises ASE's
    ``CalculatorError`` (a self-consistent field that does not converge, atoms too close); where energies alone are
    wanted, forces are not looked at. The structure of `atoms` is evaluated first, and
    again after each failure, by a new calculator if there is a function that makes one: a failure there is an error,
    and so is whatever else a calculator raises. The energy is the one that the forces belong to (of metals, the free
    energy). Many calculators start from what they know of the frame before: how far results depend on it is up to
    their convergence criteria.

    Larsen et al. 2017, doi:10.1088/1361-648X/aa680e.

    Args:
        calculator: a calculator, or a function that makes one, such as ``functools.partial(TBLite, verbosity=0)``.
        atoms: the molecule with a sound structure: elements, charges, cell and periodicity are those of all frames.
        workers: number of processes; 0 evaluates in this one. See `FramewisePotential`; they need a function that
            can be pickled. A calculator that has threads of its own should be told to use one: ``OMP_NUM_THREADS=1``.

    Raises:
        MissingDependencyError: if ASE is not installed.
        OptionError: if workers are to share one calculator, or the function cannot be pickled for them.

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
                "ASEPotential: expected the package ase, whose calculators it calls; install boltzflow[ase]."
            ) from error
        is_ready = hasattr(calculator, "get_potential_energy") and not isinstance(calculator, type)
        if workers and is_ready:
            raise OptionError("Expected a function that makes a calculator for each worker; got a calculator.")
        molecule = atoms.copy()
        molecule.set_constraint()  # they would change the frames
        recipe = CalculatorRecipe(calculator, is_ready, molecule)
        if workers:
            try:
                pickle.dumps(recipe)
            except Exception as error:
                raise OptionError(
                    f"Expected a function that can be sent to workers; got one that cannot: {error}"
                ) from error
        super().__init__(len(atoms), recipe, workers)

    def _energy(self, positions: Tensor) -> Tensor:
        return self._evaluate(positions, None)  # forces may cost many times as much, or be unknown
