"""What a run will need at least, in bytes: so that what no machine holds is refused before the work."""

from __future__ import annotations

from itertools import pairwise

from boltzflow.workflows.config import ReferenceConfig, RunConfig

_BYTES_OF_ATOM, _BYTES_OF_SAMPLE = 100, 200  # a million samples of 22 atoms were measured at 2.3 GiB


def memory_of_samples(n: int, atoms: int) -> int:
    """Of drawing and analyzing: positions, copies of them, and every bond and angle in float64."""
    return n * (_BYTES_OF_ATOM * atoms + _BYTES_OF_SAMPLE)


def disk_of_samples(n: int, atoms: int) -> int:
    """Of samples.dcd and weights.npz."""
    return n * (12 * atoms + 24 + 3 * 8)


def memory_of_training(config: RunConfig, coordinates: int) -> int:
    """Of weights with their gradients, and what a step keeps for these."""
    half = coordinates // 2
    sizes = (half, *config.hidden, half * 3 * config.bins)
    weights = config.layers * sum(a * b for a, b in pairwise(sizes))
    kept = config.batch_size // config.devices * config.layers * sum(sizes)
    return 4 * (2 * weights + kept)


def memory_of_reference(config: ReferenceConfig, atoms: int) -> int:
    """Of positions, velocities and forces of all replicas."""
    return config.ladders * config.temperatures * atoms * 3 * 12


def disk_of_reference(config: ReferenceConfig, atoms: int, records: int) -> int:
    """Of the frames: energies and bias of all replicas, positions of the coldest; these twice, as samples too."""
    return records * config.ladders * (16 * config.temperatures + 2 * 12 * atoms)
