"""Evaluates the terms of a force field for a batch: compiled, in chunks, on all threads."""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from boltzflow.core.compilation import compiled, compiler_works
from boltzflow.energies.forcefield.virtual_sites import VirtualSites

_ON_CPU = {"cpp.threads": 1, "cpp_wrapper": True}
"""Each thread evaluates its own chunks, which stay in the core's cache between loops of the compiled code. Splitting
each loop over threads takes twice the time. The C++ wrapper releases the GIL, so that threads run in parallel."""


class Kernel:
    """Energies and forces for one dtype and device.

    Args:
        terms: the terms, in that dtype and on that device.
        sites: places virtual sites, if there are any.
        device: the device of terms, sites and positions.
        chunk_size: the largest number of frames evaluated at a time.
        compile: whether to compile, if a compiler works.
    """

    def __init__(
        self, terms: nn.ModuleList, sites: VirtualSites | None, device: torch.device, chunk_size: int, compile: bool
    ) -> None:
        self.terms = terms
        self.sites = sites
        self._device = device.type
        self._chunk_size = chunk_size
        self._compile = compile
        self._is_warm = False
        options = _ON_CPU if self._device == "cpu" else None
        self._compiled = compiled(lambda x: self.energy_and_forces(x), fullgraph=True, options=options)

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

    def fill(self, positions: Tensor, energy: Tensor, forces: Tensor) -> None:
        """Writes energies and forces of positions (batch, N, 3) into `energy` (batch,) and `forces` (batch, N, 3)."""
        is_fast = self._compile and compiler_works(self._device)
        threads = torch.get_num_threads() if is_fast and self._device == "cpu" else 1
        size = min(self._chunk_size, -(-len(positions) // threads))
        chunks = list(zip(*(torch.split(t, size) for t in (positions, energy, forces)), strict=True))
        if is_fast and not self._is_warm:
            # Compilation specialises on the first batch, which must be representative: not a single frame.
            self._is_warm = True
            self._fast(positions[:1].expand(self._chunk_size, -1, -1))
        if threads == 1 or len(chunks) == 1:
            for chunk in chunks:
                self._fill(is_fast, *chunk)
        else:
            list(_threads(os.getpid(), threads).map(lambda chunk: self._fill(is_fast, *chunk), chunks))

    @torch.no_grad()  # gradient mode is per thread, and a new thread does not inherit it
    def _fill(self, is_fast: bool, positions: Tensor, energy: Tensor, forces: Tensor) -> None:
        e, f = self._fast(positions) if is_fast else self.energy_and_forces(batch_last(positions))
        energy.copy_(e)
        forces.copy_(f.permute(2, 1, 0))

    def _fast(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        x = batch_last(positions)
        if x.shape[-1] == 1:  # a single frame would trigger another compilation
            return self.energy_and_forces(x)
        torch._dynamo.mark_dynamic(x, 2)
        return self._compiled(x)


def batch_last(positions: Tensor) -> Tensor:
    """(batch, N, 3) → contiguous (3, N, batch)."""
    return positions.permute(2, 1, 0).contiguous()


@functools.cache
def _threads(_process: int, n: int) -> ThreadPoolExecutor:
    """n threads of this process; a forked process does not have its parent's threads."""
    return ThreadPoolExecutor(n, thread_name_prefix="boltzflow-energies")
