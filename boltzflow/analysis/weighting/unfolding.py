"""Ensembles over all symmetry copies, from an ensemble of one copy."""

from __future__ import annotations

from boltzflow.ensemble import Ensemble
from boltzflow.molecules.symmetry import Copies


def unfold(ensemble: Ensemble, copies: Copies, seed: int = 0) -> Ensemble:
    """Distribute an ensemble of one symmetry copy over all copies, with exact weights.

    Each frame is moved to a random copy. log q decreases by the logarithm of the number of copies; log-weights and log
    Z increase by it. Energies do not change, nor do averages of observables that do not distinguish equivalent atoms.

    Args:
        ensemble: frames in the generator's domain, such as its samples.
        copies: from `system.symmetry().copies(generator.coordinates)`.
        seed: of the random numbers.

    >>> import boltzflow as bf
    >>> system = bf.load_system("alanine_dipeptide")
    >>> copies = system.symmetry().copies(system.coordinates())
    >>> one = Ensemble(system.positions[None], [-100.0], 300.0, topology=system.mdtraj_topology)
    >>> round(unfold(one, copies).log_z.value - one.log_z.value, 3)  # log 8
    2.079
    """
    return ensemble.replace(
        positions=copies.unfold(ensemble.positions, seed),
        log_weights=ensemble.log_weights + copies.log_number,
        log_q=None if ensemble.log_q is None else ensemble.log_q - copies.log_number,
        absolute=ensemble.absolute,
    )
