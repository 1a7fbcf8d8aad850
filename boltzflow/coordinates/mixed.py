"""Cartesian coordinates of a core, internal coordinates of all other atoms."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from boltzflow.coordinates.cartesian import CartesianCoordinates
from boltzflow.coordinates.internal import InternalCoordinates
from boltzflow.coordinates.molecular import MolecularCoordinates
from boltzflow.coordinates.profile import Profiles
from boltzflow.core.functional.rows import Rows
from boltzflow.errors import TopologyError


class MixedCoordinates(MolecularCoordinates):
    """Modes of a Cartesian core and internal coordinates of the rest (latent) ↔ positions (data).

    In internal coordinates, changes accumulate along the chain: a small rotation in the middle of a molecule moves its
    ends far. Cartesian modes avoid this for the core (a ring system, a folded backbone). All other atoms are placed by
    lengths, angles and torsions (F. Noé et al., Science 365, eaaw1147 (2019), doi 10.1126/science.aaw1147).

    The volume element is the core's Cartesian one times that of the other internal coordinates. Only the energy
    determines the chirality within the core; all other chirality is fixed.

    Args:
        internal: coordinates of the whole molecule, with the core's atoms placed first (`build_zmatrix(core=...)`).
        cartesian: coordinates of the core's atoms, in ascending order of their indices.
        core: the indices of the core's atoms.

    Attributes:
        rest: the indices, among those of `internal`, of the coordinates that follow the modes.

    Raises:
        TopologyError: if a coordinate of the core is fixed, or an atom of the core is placed from one outside it.
    """

    kind = "mixed"

    def __init__(self, internal: InternalCoordinates, cartesian: CartesianCoordinates, core: Collection[int]) -> None:
        atoms = sorted(core)
        n, size = internal.zmatrix.n_atoms, len(internal.physical_names)
        numbers = internal.numbers_of(atoms)
        constrained = [i for i in numbers if i in internal.fixed]
        if constrained:
            raise TopologyError(
                f"Expected a Cartesian core without constraints; {internal.physical_names[constrained[0]]} is "
                "constrained: build the system with constraints='none', or choose a core of other atoms."
            )
        varying = [i for i in range(size) if i not in internal.fixed]
        rest = [k for k, i in enumerate(varying) if i not in set(numbers)]
        self.rest = tuple(rest)
        modes = cartesian.domain
        super().__init__(modes + internal.domain[rest] if rest else modes, internal.data_domain)
        self.internal, self.cartesian = internal, cartesian
        self.core = tuple(atoms)
        self._core = internal.of_core(atoms)
        slots = {k: len(modes) + place for place, k in enumerate(rest)}
        slots |= {varying.index(i): place for place, i in enumerate(numbers)}
        self._join = Rows([slots[k] for k in range(len(varying))], len(varying))
        self._rest = Rows(rest, len(varying))
        self._atoms = Rows(atoms, n)
        for name in ("centers", "widths"):
            ends = [getattr(cartesian, name), getattr(internal, name)[rest]]
            self.register_buffer(name, torch.cat(ends), persistent=False)

    def log_volume_along(self, number: int, values: Tensor) -> Tensor:
        """See `MolecularCoordinates.log_volume_along`."""
        modes = len(self.cartesian.domain)
        return (
            torch.zeros_like(values)
            if number < modes
            else self.internal.log_volume_along(self.rest[number - modes], values)
        )

    def cut_off(self, positions: Any, profiles: Profiles, temperature: float) -> dict[str, float]:
        """See `MolecularCoordinates.cut_off`; the modes of the core have no bounds."""
        return self.internal.cut_off_of(self.rest, positions, profiles, temperature)

    @property
    def specification(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "internal": self.internal.specification,
            "cartesian": self.cartesian.specification,
            "core": list(self.core),
        }

    @classmethod
    def from_specification(cls, specification: Mapping[str, Any]) -> MixedCoordinates:
        """Rebuild from `specification`."""
        return cls(
            InternalCoordinates.from_specification(specification["internal"]),
            CartesianCoordinates.from_specification(specification["cartesian"]),
            specification["core"],
        )

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Modes and internal coordinates (batch, D) → positions (batch, N, 3) in nm, log_ratio (batch,).

        Raises:
            ShapeError: if z has another shape.
        """
        self.latent_domain.check(z, "MixedCoordinates.forward")
        modes, rest = torch.split(z, [len(self.cartesian.domain), len(self.domain) - len(self.cartesian.domain)], 1)
        positions, log_modes = self.cartesian(modes)
        core, log_core = self._core.inverse(positions)
        full = self._join(torch.cat([core, rest], 1).T[None])[0].T
        x, log_full = self.internal(full)
        return x, torch.where(log_modes.isneginf(), log_modes, log_modes + log_core + log_full)

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Positions (batch, N, 3) in nm → modes and internal coordinates (batch, D), log_ratio (batch,).

        Raises:
            ShapeError: if x has another shape.
        """
        full, log_full = self.internal.inverse(x)
        positions = self._atoms(x.permute(2, 1, 0).contiguous()).permute(2, 1, 0)
        modes, log_modes = self.cartesian.inverse(positions)
        log_core = self._core.inverse(positions)[1]
        return torch.cat([modes, self._rest(full.T[None])[0].T], 1), log_full - log_core + log_modes

    def extra_repr(self) -> str:
        """Size, for printing."""
        return f"{self.data_domain.shape[0]} atoms, {len(self.core)} of them in the core"
