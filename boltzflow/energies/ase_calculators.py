"""ASE calculators, one frame at a time. Workers import this file, so it does not import torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from boltzflow.arrays import Array
from boltzflow.energies.workers import Answer
from boltzflow.errors import EvaluationError, NonFiniteError

if TYPE_CHECKING:
    import ase

_ANGSTROM_PER_NM = 10.0


@dataclass(frozen=True)
class CalculatorRecipe:
    """A calculator, or a function that returns one, and the molecule in a reasonable structure."""

    calculator: Any
    is_ready: bool
    atoms: ase.Atoms

    def build(self) -> CalculatorEvaluator:
        return CalculatorEvaluator((lambda: self.calculator) if self.is_ready else self.calculator, self.atoms.copy())


class CalculatorEvaluator:
    """Evaluates frames with one calculator, which is re-created and tested after each failure.

    Args:
        make: returns the calculator, or a new one.
        atoms: the molecule in a structure on which the calculator is tested.

    Raises:
        EvaluationError: if the calculator fails on that structure, now or later.
        NonFiniteError: if its energy is not finite.
    """

    def __init__(self, make: Callable[[], Any], atoms: ase.Atoms) -> None:
        from ase import units
        from ase.calculators.calculator import CalculatorError

        self._make = make
        self._failure = CalculatorError
        self._atoms = atoms
        self._sound_structure = atoms.positions.copy()
        self._kj_per_mol = units.kJ / units.mol
        self._start()

    def __call__(self, frames: Array, forces: bool) -> Answer:
        """See `Evaluator`."""
        energies, gradients = np.full(len(frames), np.nan), np.zeros_like(frames) if forces else None
        for i in np.flatnonzero(np.isfinite(frames).all(axis=(1, 2))):
            self._atoms.positions = _ANGSTROM_PER_NM * frames[i]
            try:
                if gradients is not None:  # forces first: this computes the energy too; the reverse is not always true
                    gradients[i] = self._forces()
                energies[i] = self._energy()
            except self._failure:
                self._start()
        return energies, gradients

    def _start(self) -> None:
        self._atoms.calc = self._make()
        self._atoms.positions = self._sound_structure
        try:
            energy = self._energy()
        except self._failure as error:
            raise EvaluationError(f"The calculator fails on the structure of `atoms`: {error}") from error
        if not np.isfinite(energy):
            raise NonFiniteError(f"Expected a structure of `atoms` with a finite energy; got {energy} kJ/mol.")

    def _energy(self) -> float:
        """kJ/mol."""
        consistent = "free_energy" in getattr(self._atoms.calc, "implemented_properties", ())
        with np.errstate(all="ignore"):  # a clash may overflow; the result is not finite, which is checked later
            energy: float = self._atoms.get_potential_energy(force_consistent=consistent) / self._kj_per_mol
        return energy

    def _forces(self) -> Array:
        """kJ/(mol nm)."""
        with np.errstate(all="ignore"):
            forces: Array = self._atoms.get_forces() * (_ANGSTROM_PER_NM / self._kj_per_mol)
        return forces
