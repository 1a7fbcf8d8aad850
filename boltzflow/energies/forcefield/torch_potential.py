"""The force field of an ``openmm.System`` as one batched torch function."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import openmm
import torch
from torch import Tensor, nn

from boltzflow.core.compilation import compiled
from boltzflow.energies.forcefield.registry import translate
from boltzflow.energies.forcefield.virtual_sites import VirtualSites
from boltzflow.energies.potential import Potential, finite_or_inf
from boltzflow.errors import OptionError

_PAIRS_IN_FLIGHT = 250_000
"""Atom pairs × frames evaluated at a time: what fits the caches of a CPU, and bounds memory."""


class TorchPotential(Potential):
    """Energies and forces of an ``openmm.System`` in native torch: batched, float32 or float64 as the input.

    Args:
        system: the System; it is read once and not kept.
        parameters: values of global parameters of its forces that differ from their defaults.
        chunk_size: frames evaluated at a time; None chooses by the number of atoms. Results do not
            depend on it.
        compile: whether to use `torch.compile` where a compiler works.

    Raises:
        UnsupportedForceError: if a force of the System has no native translation.
        OptionError: if no force has a parameter that is given, or the chunk size is impossible.

    >>> system = openmm.System()
    >>> _ = [system.addParticle(1.0) for _ in range(2)]
    >>> bond = openmm.HarmonicBondForce()
    >>> _ = bond.addBond(0, 1, 0.1, 1000.0), system.addForce(bond)
    >>> potential = TorchPotential(system, compile=False)
    >>> energy, forces = potential.energy_and_forces(torch.tensor([[[0.0, 0.0, 0.0], [0.2, 0.0, 0.0]]]))
    >>> energy, forces[0, 0]
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
        # Terms live outside the module: a generator's state dict holds no force field, and .to() keeps float64.
        self._parts = translate(system, parameters)
        self._kernels: dict[tuple[torch.dtype, torch.device], _Kernel] = {}

    def differentiable_energy(self, positions: Tensor) -> Tensor:
        """Energies through plain autograd, to any order. positions: (batch, n_atoms, 3) nm → (batch,) kJ/mol."""
        self._count(positions)
        energy, _ = self._kernel(positions).energy_and_forces(_batch_last(positions))
        return finite_or_inf(energy)

    def _energy_and_forces(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        if positions.shape[0] == 0:
            return positions.new_zeros(0), torch.zeros_like(positions)
        kernel = self._kernel(positions)
        chunks = [kernel(_batch_last(part)) for part in torch.split(positions, self.chunk_size)]
        return torch.cat([e for e, _ in chunks]), torch.cat([f.permute(2, 1, 0) for _, f in chunks])

    def _kernel(self, positions: Tensor) -> _Kernel:
        key = positions.dtype, positions.device
        if key not in self._kernels:
            terms = nn.ModuleList(copy.deepcopy(self._parts.terms))
            sites = copy.deepcopy(self._parts.virtual_sites)
            for part in (terms, sites):
                if part is not None:
                    part.to(dtype=positions.dtype, device=positions.device)
            self._kernels[key] = _Kernel(terms, sites, self.chunk_size, self._compile)
        return self._kernels[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kernels": {}}  # compiled code is neither copied nor sent


class _Kernel:
    """The terms of a force field for one dtype and device, eager and compiled."""

    def __init__(self, terms: nn.ModuleList, sites: VirtualSites | None, chunk_size: int, compile: bool) -> None:
        self.terms = terms
        self.sites = sites
        self._chunk_size = chunk_size
        self._fast = compiled(lambda x: self.energy_and_forces(x), fullgraph=True) if compile else None
        self._is_warm = False

    def energy_and_forces(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (3, N, batch) → energies (batch,), forces (3, N, batch)."""
        if self.sites is None:
            return self._terms_at(x)
        placed, spread = torch.func.vjp(self.sites, x)[:2]
        energy, forces = self._terms_at(placed)
        return energy, spread(forces)[0]

    def _terms_at(self, x: Tensor) -> tuple[Tensor, Tensor]:
        energy, forces = x.new_zeros(x.shape[-1]), torch.zeros_like(x)
        for term in self.terms:
            term_energy, term_forces = term(x)
            energy, forces = energy + term_energy, forces + term_forces
        return energy, forces

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`energy_and_forces`, compiled once for every size of the batch."""
        if self._fast is None or x.shape[-1] == 1:  # a single frame would need code of its own
            return self.energy_and_forces(x)
        if not self._is_warm:
            # The compiler decides on threads by the first batch it sees, so that must be a full one.
            self._is_warm = True
            self(x.repeat(1, 1, -(-self._chunk_size // x.shape[-1])))
        torch._dynamo.mark_dynamic(x, 2)
        return self._fast(x)


def _batch_last(positions: Tensor) -> Tensor:
    """(batch, N, 3) → contiguous (3, N, batch)."""
    return positions.permute(2, 1, 0).contiguous()
