"""Conformers: the minima that samples relax to, with populations and errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
from numpy.typing import NDArray

from boltzflow.analysis.estimates.minima import relax
from boltzflow.analysis.estimates.populations import Mask, Population, States, state_populations
from boltzflow.analysis.estimates.sdf import sd_records
from boltzflow.analysis.estimates.structures import heavy_atoms
from boltzflow.arrays import Array
from boltzflow.ensemble import Ensemble
from boltzflow.errors import OptionError, ShapeError
from boltzflow.estimate import Estimate
from boltzflow.handover import optional
from boltzflow.molecules import MolecularSystem
from boltzflow.storage import replacing
from boltzflow.verdict import Verdict


@dataclass(frozen=True)
class Conformer:
    """One conformer.

    Attributes:
        name: "conformer 1" is the most populated.
        population: with its error, interval and verdict.
        free_energy: relative to the most populated conformer, kJ/mol, with the error of this difference.
        energy: potential energy of the minimum, kJ/mol.
        strain: this energy minus that of the lowest minimum of all conformers, kJ/mol.
        positions: the minimum, (N, 3) in nm.
    """

    name: str
    population: Population
    free_energy: Estimate
    energy: float
    strain: float
    positions: Array


@dataclass(frozen=True)
class Conformers:
    """All conformers, the most populated first. `print` shows the table.

    Attributes:
        conformers: one for each.
        states: their populations, and the free energies between them.
        labels: (n,) the conformer of each frame of the ensemble; −1 for frames of weight zero.
        structures: the minima in the same order, superposed by their heavy atoms.
        temperature: in K.
    """

    conformers: list[Conformer]
    states: States
    labels: NDArray[np.int64]
    structures: mdtraj.Trajectory
    temperature: float

    def __len__(self) -> int:
        return len(self.conformers)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the populations."""
        return self.states.verdict

    def __str__(self) -> str:
        lines = [f"{'':<14} {'population':<18} {'ΔG, kJ/mol':<16} {'strain, kJ/mol':<15} verdict"]
        for one in self.conformers:
            population = str(Estimate(one.population.value, one.population.error))
            free_energy = "0" if one is self.conformers[0] else str(one.free_energy)
            lines.append(
                f"{one.name:<14} {population:<18} {free_energy:<16} {one.strain:<15.2f} {one.population.verdict}"
            )
        return "\n".join(lines)

    def rows(self) -> list[dict[str, Any]]:
        """The table as plain numbers and texts, one dictionary for each conformer.

        population, its error and the ends of its 95 % interval, frames, effective_frames and verdict; then free_energy,
        its error, energy and strain in kJ/mol.
        """
        return [
            {
                "conformer": one.name,
                **one.population.row(),
                "free_energy": one.free_energy.value,
                "free_energy_error": one.free_energy.error,
                "energy": one.energy,
                "strain": one.strain,
            }
            for one in self.conformers
        ]

    def to_pandas(self) -> Any:
        """The `rows` as a pandas DataFrame.

        Raises:
            MissingDependencyError: if pandas is not installed (the extra "interop").
        """
        return optional("pandas", "`Conformers.to_pandas`").DataFrame(self.rows())

    def write_pdb(self, path: str | Path) -> None:
        """All minima as models of one PDB file, in the order of the table.

        B-factors are the populations in %; 100 % is written as 99.99, the largest that the column can hold.

        Raises:
            StorageError: if the file cannot be written.
        """
        percent = [min(100.0 * one.population.value, 99.99) for one in self.conformers]
        with replacing(Path(path)) as partial:
            self.structures.save_pdb(str(partial), bfactors=np.outer(percent, np.ones(self.structures.n_atoms)))

    def write_sdf(self, path: str | Path, charge: int = 0) -> None:
        """All minima as records of one SD file, with the columns of `rows` as data fields.

        RDKit assigns bond orders and formal charges from the bonds and the total charge (Kim & Kim 2015, DOI
        10.1002/bkcs.10334); they are not part of a force field.

        Args:
            path: of the file.
            charge: of the molecule.

        Raises:
            MissingDependencyError: if RDKit is not installed (the extra "interop").
            OptionError: if no bond orders fit the bonds and the charge.
            StorageError: if the file cannot be written.
        """
        text = sd_records(self.structures, self.rows(), charge)
        with replacing(Path(path)) as partial:
            partial.write_text(text, encoding="utf-8")


def conformers(ensemble: Ensemble, system: MolecularSystem, states: Mapping[str, Mask] | None = None) -> Conformers:
    """The conformers of a molecule: what a conformer search finds, with populations, errors and verdicts.

    Every frame of positive weight is minimised. Frames that relax to the same minimum are a conformer, so that all
    populations add up to 1 (Stillinger & Weber 1982, DOI 10.1103/PhysRevA.25.978). Minima that differ only by an
    exchange of equivalent atoms, such as a turn of a methyl group or a ring flip of cyclohexane, are one. Mirror images
    are two. Minima separated by barriers below kT are listed separately; near such a barrier it depends on the
    minimiser to which side a frame belongs.

    The errors treat the conformers as fixed. A conformer that no frame belongs to is missing. Minimising takes a few
    hundred evaluations of the energy for each frame: pass `ensemble[:2000]` to use fewer.

    Args:
        ensemble: samples of this system.
        system: gives energies and equivalent atoms.
        states: conformers that are already known, as booleans (n,) by name; every frame of positive weight is in
            exactly one. Energy, strain and structure are then those of the minimum that most of the weight of the state
            relaxes to.

    Raises:
        ShapeError: if the ensemble has another number of atoms, or a state not one boolean for each frame.
        OptionError: if a frame of positive weight is in no state or in several, or a state has no such frame.
        ConvergenceError: if a minimisation does not end.
        NonFiniteError: if no weight is positive.

    >>> import boltzflow as bf
    >>> system = bf.load_system("butane")
    >>> print(len(conformers(Ensemble(system.positions[None], None, 300.0), system)))
    1
    """
    if ensemble.positions.shape[1] != system.n_atoms:
        raise ShapeError(f"Expected {system.n_atoms} atoms, as in the system; got {ensemble.positions.shape[1]}.")
    used = np.flatnonzero(ensemble.weights > 0)
    known = None if states is None else _labels(ensemble, states, used)
    minima = relax(system, ensemble.positions[used])
    weights = ensemble.weights[used]
    names = [f"minimum {k}" for k in range(len(minima.energies))] if states is None else list(states)
    members = minima.labels if known is None else known
    order = np.argsort(-np.bincount(members, weights, minlength=len(names)), kind="stable")
    labels = np.full(len(ensemble), -1)
    labels[used] = np.argsort(order)[members]
    names = [f"conformer {k + 1}" for k in range(len(order))] if states is None else [names[k] for k in order]
    # The minimum to which most of the weight of each conformer relaxes.
    reached = [np.bincount(minima.labels, weights * (members == k)).argmax() for k in order]
    found = state_populations(ensemble, {name: labels == k for k, name in enumerate(names)})
    structures = mdtraj.Trajectory(minima.positions[reached], system.mdtraj_topology)
    structures.superpose(structures, atom_indices=heavy_atoms(structures.topology))
    energies = minima.energies[reached]
    listed = [
        Conformer(
            name=name,
            population=found.populations[name],
            free_energy=Estimate(float(found.differences[0, k]), float(found.errors[0, k])),
            energy=float(energies[k]),
            strain=float(energies[k] - energies.min()),
            positions=minima.positions[reached[k]],
        )
        for k, name in enumerate(names)
    ]
    return Conformers(listed, found, labels, structures, ensemble.temperature)


def _labels(ensemble: Ensemble, states: Mapping[str, Mask], used: NDArray[np.int64]) -> NDArray[np.int64]:
    """The state of each frame of positive weight."""
    masks = np.array([np.asarray(mask) for mask in states.values()])
    if masks.shape != (len(states), len(ensemble)) or masks.dtype != np.bool_:
        raise ShapeError(
            f"Expected states with one boolean for each of {len(ensemble)} frames; got {masks.dtype} of shape "
            f"{masks.shape}."
        )
    masks = masks[:, used]
    if wrong := int((masks.sum(0) != 1).sum()):
        raise OptionError(
            f"Expected every frame of positive weight in exactly one state; {wrong} are in none or in several."
        )
    if empty := [name for name, mask in zip(states, masks, strict=True) if not mask.any()]:
        raise OptionError(f"Expected states with frames of positive weight; {', '.join(empty)} have none.")
    found: NDArray[np.int64] = masks.argmax(0)
    return found
