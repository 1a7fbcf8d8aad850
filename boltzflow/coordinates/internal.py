"""The bijection between internal coordinates and Cartesian positions, with its exact volume element."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from boltzflow.coordinates.bounds import physical_coordinates
from boltzflow.coordinates.geometry import between, norm, turn
from boltzflow.coordinates.placement import Placement
from boltzflow.coordinates.rows import Rows
from boltzflow.coordinates.zmatrix import ZMatrix, build_zmatrix
from boltzflow.core.domain import Coordinate, Domain, wrap
from boltzflow.core.layer import Bijection
from boltzflow.errors import OptionError, TopologyError

Lengths = Literal["bounded", "unbounded"]


class InternalCoordinates(Bijection):
    """Bond lengths, angles and torsions (latent) ↔ positions (data) of one molecule.

    Latent states (batch, 3N−6) hold N−1 lengths (nm), N−2 angles (rad) and N−3 torsions (rad), each in the
    order of the z-matrix' rows. `forward` puts the first atom at the origin, the second on the +x axis,
    the third into the xy-plane at y > 0; `inverse` accepts positions in any place and orientation.
    `log_ratio` is plus (`forward`) or minus (`inverse`) the logarithm of the volume element

        b₁² b₂² sin θ (first three atoms) · Π b² sin θ (every further atom),

    so that ∫ dx f(x) = 8π² V ∫ dz exp(log_ratio) f(x(z)) for any f without preferred place or orientation:
    rigid motion is integrated out, and densities and log Z leave out its factor 8π² V.

    lengths="unbounded" takes t with b = b₀ exp(t σ / b₀) in the place of each length b, so that every real
    number gives a positive length; b₀ and σ are the length's center and width.

    Points outside the domain are the flow's business: nothing is clamped here. A position that is not
    finite gives NaN, in its own frame only. `context` and `generator` are ignored.

    Attributes:
        centers: start values (3N−6,), float64: the force field's equilibrium, or the reference structure's.
        widths: thermal widths (3N−6,), float64; infinite for circles.
        zmatrix: the rows by which atoms are placed.
        lengths: "bounded" or "unbounded".

    Args:
        zmatrix: from `build_zmatrix`.
        physical: bounds of lengths (nm), angles (rad) and torsions (rad), whichever `lengths` is.
        centers: one for each physical coordinate.
        widths: one for each physical coordinate.
        lengths: "bounded" or "unbounded".

    Raises:
        OptionError: if `lengths` is neither.
        TopologyError: if the numbers of coordinates and atoms do not fit.
    """

    centers: Tensor
    widths: Tensor
    _length_centers: Tensor
    _length_scales: Tensor
    _seams: Tensor
    _to_rotations: Tensor
    _half_of_second: Tensor
    _signs: Tensor

    def __init__(
        self,
        zmatrix: ZMatrix,
        physical: Domain,
        centers: Sequence[float],
        widths: Sequence[float],
        lengths: Lengths = "bounded",
    ) -> None:
        n = zmatrix.n_atoms
        size = 3 * n - 6
        if not len(physical) == len(centers) == len(widths) == size:
            raise TopologyError(
                f"Expected {size} bounds, centers and widths for {n} atoms; "
                f"got {len(physical)}, {len(centers)} and {len(widths)}."
            )
        if lengths not in ("bounded", "unbounded"):
            raise OptionError(f"Expected lengths 'bounded' or 'unbounded'; got {lengths!r}.")
        unbounded = lengths == "unbounded"
        latent = Domain.real(n - 1, names=physical.names[: n - 1]) + physical[n - 1 :] if unbounded else physical
        super().__init__(latent, Domain.real((n, 3)))
        self.zmatrix = zmatrix
        self.lengths: Lengths = lengths
        self._physical, self._centers, self._widths = physical, tuple(centers), tuple(widths)

        b, sigma = list(centers[: n - 1]), list(widths[: n - 1])
        start = ([0.0] * (n - 1), [1.0] * (n - 1)) if unbounded else (b, sigma)
        self._constant("centers", [*start[0], *centers[n - 1 :]])
        self._constant("widths", [*start[1], *widths[n - 1 :]])
        self._constant("_length_centers", [[x] for x in b])
        self._constant("_length_scales", [[s / x] for s, x in zip(sigma, b, strict=True)])
        self._constant("_seams", [[(c.low + c.high) / 2 - math.pi] for c in physical.coordinates[2 * n - 3 :]])
        self._build_maps()

    def _build_maps(self) -> None:
        """The constant index tables and matrices of both directions; all are in the order of placement."""
        n, order = self.zmatrix.n_atoms, self.zmatrix.order
        place = {atom: i for i, atom in enumerate(order)} | {-1: -1}
        rows = [[place[atom] for atom in row] for row in self.zmatrix.rows]
        parents = [row[1] for row in rows]
        self._placement = Placement(parents)
        self._to_atoms = Rows([place[atom] for atom in range(n)], n)
        self._from_atoms = Rows(order, n)

        # A rotation is the torsion, plus its carrier's, plus half of the second sibling's.
        to_rotations = torch.eye(n - 3, dtype=torch.float64)
        half = torch.zeros_like(to_rotations)
        for i, (carrier, second) in enumerate(self.zmatrix.companions):
            if carrier > 2:  # the third atom, carrier at the root, has the rotation 0
                to_rotations[i, carrier - 3] = 1.0
            if second >= 0:
                to_rotations[i, second - 3] = half[i, second - 3] = 0.5
        self.register_buffer("_to_rotations", to_rotations, persistent=False)
        self.register_buffer("_half_of_second", half, persistent=False)

        # Bonds parent → atom of atoms 1 …; bond k belongs to atom k + 1. The three vectors of a torsion are bonds
        # up to their sign: atom ← parent, parent → grandparent, and the reference's, seen from the bond's ends.
        bond = {frozenset((i, parent)): i - 1 for i, parent in enumerate(parents) if i}
        self._parents = Rows(parents[1:], n)
        self._axes = Rows([bond[frozenset(row[1:3])] for row in rows[2:]], n - 1)
        ends = [(r[3], r[1] if parents[r[3]] == r[1] else r[2]) for r in rows[3:]]
        self._ends = Rows([bond[frozenset(end)] for end in ends], n - 1)
        inward = [1.0 if parents[row[1]] == row[2] else -1.0 for row in rows[2:]]
        away = [1.0 if parents[end] == base else -1.0 for end, base in ends]
        self._constant("_signs", [[[s] for s in inward], [[s] for s in [0.0, *away]]])

    @classmethod
    def from_structure(
        cls,
        bonds: Sequence[tuple[int, int]],
        positions: Any,
        atomic_numbers: Sequence[int],
        names: Sequence[str],
        *,
        bond_terms: Iterable[tuple[int, int, float, float]] = (),
        angle_terms: Iterable[tuple[int, int, int, float, float]] = (),
        temperature: float = 300.0,
        lengths: Lengths = "bounded",
    ) -> InternalCoordinates:
        """Internal coordinates of one molecule, with bounds and start values from its force field.

        Bounds of lengths and angles are 6 thermal widths √(kT/k) at 1200 K to either side of the force
        field's equilibrium and of the reference value. Angles with a bond of a ring start at the reference
        value, which closes the ring; all others, and the lengths, at the equilibrium.

        Args:
            bonds: pairs of atom indices.
            positions: reference structure (N, 3), nm.
            atomic_numbers: one for each atom.
            names: one for each atom, such as "ALA2-CA".
            bond_terms: harmonic bonds (i, j, length in nm, k in kJ/mol/nm²), energy k (b − b₀)² / 2.
            angle_terms: harmonic angles (i, j, k, angle in rad, k in kJ/mol/rad²).
            temperature: of the start widths, K.
            lengths: "bounded" or "unbounded".

        Raises:
            TopologyError, ShapeError, NonFiniteError: as `build_zmatrix`.
            OptionError: if `lengths` or the temperature is impossible.

        >>> import torch
        >>> water = torch.tensor([[0.0, 0.0, 0.0], [0.096, 0.0, 0.0], [-0.024, 0.093, 0.0]])
        >>> coordinates = InternalCoordinates.from_structure([(0, 1), (0, 2)], water, [8, 1, 1], ["O", "H1", "H2"])
        >>> coordinates.domain.names
        ('bond H1 O', 'bond H2 O', 'angle H2 O H1')
        >>> positions, log_ratio = coordinates(torch.tensor([[0.1, 0.1, 1.8]]))
        >>> positions.shape, log_ratio.shape
        (torch.Size([1, 3, 3]), torch.Size([1]))
        """
        zmatrix = build_zmatrix(bonds, positions, atomic_numbers, names)
        described = physical_coordinates(zmatrix, bonds, positions, bond_terms, angle_terms, temperature)
        coordinates, centers, widths = zip(*described, strict=True)
        return cls(zmatrix, Domain.of(coordinates), centers, widths, lengths)

    # -- to and from plain data --------------------------------------------------------------------

    @property
    def specification(self) -> dict[str, Any]:
        """Everything that rebuilds this object, as JSON-able lists and strings; see `from_specification`."""
        coordinates = self._physical.coordinates
        return {
            "atoms": list(self.zmatrix.names),
            "rows": [list(row) for row in self.zmatrix.rows],
            "lengths": self.lengths,
            "names": [c.name for c in coordinates],
            "kinds": [c.kind for c in coordinates],
            "low": [c.low for c in coordinates],
            "high": [c.high for c in coordinates],
            "centers": list(self._centers),
            "widths": [w if math.isfinite(w) else None for w in self._widths],
        }

    @classmethod
    def from_specification(cls, specification: Mapping[str, Any]) -> InternalCoordinates:
        """Rebuild from `specification`.

        >>> import torch
        >>> water = torch.tensor([[0.0, 0.0, 0.0], [0.096, 0.0, 0.0], [-0.024, 0.093, 0.0]])
        >>> coordinates = InternalCoordinates.from_structure([(0, 1), (0, 2)], water, [8, 1, 1], ["O", "H1", "H2"])
        >>> InternalCoordinates.from_specification(coordinates.specification).domain == coordinates.domain
        True
        """
        columns = (specification[key] for key in ("kinds", "low", "high", "names"))
        coordinates = [Coordinate(*entry) for entry in zip(*columns, strict=True)]
        atoms = tuple(specification["atoms"])
        rows = tuple((a, b, c, d) for a, b, c, d in specification["rows"])
        zmatrix = ZMatrix(atoms, rows, tuple(coordinates[2 * len(atoms) - 3 :]))
        widths = [math.inf if w is None else w for w in specification["widths"]]
        return cls(zmatrix, Domain.of(coordinates), specification["centers"], widths, specification["lengths"])

    # -- the two directions ------------------------------------------------------------------------

    @property
    def domain(self) -> Domain:
        """The domain of the internal coordinates: the latent domain."""
        return self.latent_domain

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Internal coordinates (batch, 3N−6) → positions (batch, N, 3) in nm, log_ratio (batch,).

        Raises:
            ShapeError: if z has another shape.
        """
        self.latent_domain.check(z, "InternalCoordinates.forward")
        n = self.zmatrix.n_atoms
        lengths, angles, torsions = torch.split(z.T, [n - 1, n - 2, n - 3])
        log_ratio = torch.zeros_like(z[:, 0])
        if self.lengths == "unbounded":
            lengths, log_ratio = self._to_lengths(lengths)
        log_ratio = log_ratio + 2 * lengths.log().sum(0) + angles.sin().log().sum(0)
        rotations = torch.cat([torch.zeros_like(angles[:1]), self._to_rotations.to(z) @ torsions])
        points = self._to_atoms(self._placement(lengths, angles, rotations))
        return points.permute(2, 1, 0), log_ratio

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Positions (batch, N, 3) in nm → internal coordinates (batch, 3N−6), log_ratio (batch,).

        Circles come out in [−π, π), other torsions in the period around their interval's middle.

        Raises:
            ShapeError: if x has another shape.
        """
        self.data_domain.check(x, "InternalCoordinates.inverse")
        points = self._from_atoms(x.permute(2, 1, 0).contiguous())
        bonds = points[:, 1:] - self._parents(points)
        inward, away = self._signs.to(x)
        # Parent → atom, grandparent → parent, and from the latter bond to the reference.
        outward, axes, ends = bonds[:, 1:], inward * self._axes(bonds), away[1:] * self._ends(bonds)
        lengths = norm(bonds, dim=0)
        angles = between(outward, -axes, dim=0)
        seams = self._seams.to(x)
        torsions = wrap(turn(outward[:, 1:], -axes[:, 1:], ends, dim=0), seams, seams + 2 * math.pi)
        torsions = wrap(torsions - self._half_of_second.to(x) @ torsions, seams, seams + 2 * math.pi)
        log_ratio = -2 * lengths.log().sum(0) - angles.sin().log().sum(0)
        if self.lengths == "unbounded":
            lengths = (lengths / self._length_centers.to(x)).log() / self._length_scales.to(x)
            log_ratio = log_ratio - self._to_lengths(lengths)[1]
        return torch.cat([lengths, angles, torsions]).T, log_ratio

    def extra_repr(self) -> str:
        """Size and kind, for printing."""
        return f"{self.zmatrix.n_atoms} atoms, {self.domain}, lengths={self.lengths!r}"

    def _to_lengths(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Unbounded t (N−1, batch) → lengths in nm, log-determinant (batch,)."""
        scales = self._length_scales.to(t)
        lengths = self._length_centers.to(t) * torch.exp(t * scales)
        return lengths, (lengths * scales).log().sum(0)

    def _constant(self, name: str, values: Sequence[Any]) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=torch.float64), persistent=False)
