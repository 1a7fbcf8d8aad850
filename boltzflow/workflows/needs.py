"""Lower bounds on the memory and disk space of a run in bytes, to reject impossible runs before they start."""

from __future__ import annotations

from itertools import pairwise

from boltzflow.workflows.config import ReferenceConfig, RunConfig

_BYTES_OF_ATOM, _BYTES_OF_SAMPLE = 100, 200  # measured: 2.3 GiB for a million samples of 22 atoms


def memory_of_samples(n: int, atoms: int) -> int:
    """Memory to sample and analyze: positions, copies of them, and all bonds and angles in float64."""
    return n * (_BYTES_OF_ATOM * atoms + _BYTES_OF_SAMPLE)


def disk_of_samples(n: int, atoms: int) -> int:
    """Disk space of samples.dcd and weights.npz."""
    return n * (12 * atoms + 24 + 3 * 8)


def memory_of_training(config: RunConfig, coordinates: int) -> int:
    """Memory of weights, gradients, and the intermediate results of a step."""
    half = coordinates // 2
    sizes = (half, *config.hidden, half * 3 * config.bins)
    weights = config.layers * sum(a * b for a, b in pairwise(sizes))
    kept = config.batch_size // config.devices * config.layers * sum(sizes)
    return 4 * (2 * weights + kept)


def memory_of_reference(config: ReferenceConfig, atoms: int) -> int:
    """Memory of positions, velocities and forces of all replicas."""
    return config.ladders * config.temperatures * atoms * 3 * 12


def disk_of_reference(config: ReferenceConfig, atoms: int, records: int) -> int:
    """Disk space of energies and bias of all replicas, and positions of the coldest (twice, also as samples)."""
    return records * config.ladders * (16 * config.temperatures + 2 * 12 * atoms)
