"""Ensembles over all labelled structures, from one of the copies."""

from __future__ import annotations

from boltzflow.ensemble import Ensemble
from boltzflow.molecules.symmetry import Copies


def unfold(ensemble: Ensemble, copies: Copies, seed: int = 0) -> Ensemble:
    """An ensemble of one copy of the domain spread over all copies, with exact weights.

    Each frame goes to a copy drawn at random: log q falls by the logarithm of their number, log-weights and log Z rise
    by it. Energies, and averages of what does not ask for labels, stay as they are.

    Args:
        ensemble: whose frames lie in the domain, such as a generator's samples.
        copies: from `system.symmetry().copies(generator.coordinates)`.
        seed: of the choice.

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
