"""The force field of an ``openmm.System`` as one batched torch function."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import openmm
import torch
from torch import Tensor, nn

from boltzflow.energies.forcefield.kernel import Kernel, batch_last
from boltzflow.energies.forcefield.registry import translate
from boltzflow.energies.potential import Potential, finite_or_inf
from boltzflow.errors import OptionError

_PAIRS_IN_FLIGHT = 500_000
"""Atom pairs × frames that a thread evaluates at a time: chosen to fit the cache of a core and to limit memory."""


class TorchPotential(Potential):
    """Energies and forces of an ``openmm.System`` in native torch: batched, in float32 or float64 like the input.

    Args:
        system: the System; it is read once and not stored.
        parameters: values of global parameters of its forces that differ from their defaults.
        chunk_size: frames evaluated at a time; None chooses it from the number of atoms. It does not change results.
        compile: whether to use `torch.compile`, if a compiler works.

    Raises:
        UnsupportedForceError: if a force of the System has no native translation.
        OptionError: if a parameter is given that no force has, or the chunk size is invalid.

    >>> system = openmm.System()
    >>> _ = [system.addParticle(1.0) for _ in range(2)]
    >>> bond = openmm.HarmonicBondForce()
    >>> _ = bond.addBond(0, 1, 0.1, 1000.0), system.addForce(bond)
    >>> potential = TorchPotential(system, compile=False)
    >>> energy, forces = potential.energy_and_forces(torch.tensor([[[0.0, 0.0, 0.0], [0.2, 0.0, 0.0]]]))
    >>> energy.round(decimals=3), forces[0, 0]
    (tensor([5.]), tensor([100., 0., 0.]))
    """

    def __init__(
        self,
        system: openmm.System,
        *,
        parameters: Mapping[str, float] | None = None,
        chunk_size: int | None = None,
        compile: bool = True,
    ) -> None:
        super().__init__(system.getNumParticles())
        if chunk_size is not None and chunk_size < 1:
            raise OptionError(f"Expected a chunk size of at least 1; got {chunk_size}.")
        self.chunk_size = chunk_size or max(16, _PAIRS_IN_FLIGHT // max(1, self.n_atoms) ** 2)
        self._compile = compile
        # Terms are not submodules: a generator's state dict contains no force field, and .to() keeps them in float64.
        self._parts = translate(system, parameters)
        self._kernels: dict[tuple[torch.dtype, torch.device], Kernel] = {}

    def differentiable_energy(self, positions: Tensor) -> Tensor:
        """Energies, differentiable to any order by autograd. positions: (batch, n_atoms, 3) nm → (batch,) kJ/mol."""
        self._count(positions)
        energy, _ = self._kernel(positions).energy_and_forces(batch_last(positions))
        return finite_or_inf(energy)

    def _energy_and_forces(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        energy, forces = positions.new_empty(len(positions)), torch.empty_like(positions)
        if len(positions):
            self._kernel(positions).fill(positions, energy, forces)
        return energy, forces

    def _kernel(self, positions: Tensor) -> Kernel:
        key = positions.dtype, positions.device
        if key not in self._kernels:
            terms = nn.ModuleList(copy.deepcopy(self._parts.terms))
            sites = copy.deepcopy(self._parts.virtual_sites)
            for part in (terms, sites):
                if part is not None:
                    part.to(dtype=positions.dtype, device=positions.device)
            self._kernels[key] = Kernel(terms, sites, positions.device, self.chunk_size, self._compile)
        return self._kernels[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kernels": {}}  # compiled code is neither copied nor pickled
