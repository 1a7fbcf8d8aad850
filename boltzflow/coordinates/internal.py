"""The bijection between internal coordinates and Cartesian positions, with its exact volume element."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from boltzflow.coordinates.bond_graph import BondGraph
from boltzflow.coordinates.bounds import cut_off, physical_coordinates, straight_angles
from boltzflow.coordinates.fixed import constrained_coordinates, frozen_coordinates, pose_of
from boltzflow.coordinates.geometry import between, cross, norm, turn
from boltzflow.coordinates.molecular import MolecularCoordinates
from boltzflow.coordinates.placement import Placement
from boltzflow.coordinates.profile import Energies, Profiles
from boltzflow.coordinates.zmatrix import Labels, ZMatrix, bends, build_zmatrix, checked_structure, unbend
from boltzflow.core.domain import Coordinate, Domain, wrap
from boltzflow.core.functional import stored
from boltzflow.core.functional.rows import Rows
from boltzflow.errors import OptionError, ShapeError, TopologyError

Lengths = Literal["bounded", "unbounded"]


class InternalCoordinates(MolecularCoordinates):
    """Bond lengths, angles and torsions (latent) ↔ positions (data) of one or several molecules.

    Latent states (batch, D) contain N−1 lengths (nm), N−2 angles (rad) and N−3 torsions (rad), each in the
    order of the z-matrix' rows, without those that are fixed. `forward` places the first atom at the origin, the
    second on the +x axis and the third in the xy-plane at y > 0, unless frozen atoms set the pose. `inverse`
    accepts positions in any place and orientation. `log_ratio` is plus (`forward`) or minus (`inverse`) the
    logarithm of the volume element

        b₁² b₂² sin θ (first three atoms) · Π b² sin θ (every further atom),

    so that ∫ dx f(x) = 8π² V ∫ dz exp(log_ratio) f(x(z)) for any f that is invariant under translation and rotation.
    Rigid motion is integrated out, and densities and log Z omit its factor 8π² V. Each fixed coordinate adds a δ
    function on both sides. With frozen atoms the integral is over the positions of all other atoms, without the
    factor 8π² V.

    An atom that is collinear with its parent and grandparent has two bends instead of an angle and a torsion, with
    the volume element b². Lengths between two molecules are distances; they are bounded, because the density could
    not be normalised otherwise. All values of log Z refer to these bounds.

    lengths="unbounded" replaces each bond length b by t with b = b₀ exp(t σ / b₀), so that every real number gives a
    positive length; b₀ and σ are the length's center and width.

    Points outside the domain are not clamped; the flow treats them. A non-finite position gives NaN, in its own frame
    only. Positions that contradict a fixed coordinate give a log_ratio of −∞. `context` and `generator` are ignored.

    Attributes:
        centers: initial values (D,), float64: the force field's equilibrium values, or the reference structure's.
        widths: thermal widths (D,), float64; infinite if unknown, for all circles, and for torsions of flexible rings.
        zmatrix: the rows by which atoms are placed.
        lengths: "bounded" or "unbounded".
        fixed: the values of fixed coordinates, by index among all 3N−6.
        varying: the index of each of the D coordinates among all 3N−6.

    Args:
        zmatrix: from `build_zmatrix`.
        physical: bounds of all lengths (nm), angles (rad) and torsions (rad), for either value of `lengths`.
        centers: one for each physical coordinate.
        widths: one for each physical coordinate.
        lengths: "bounded" or "unbounded".
        fixed: values of coordinates that do not vary, by index.
        pose: rotation (3, 3) and translation (3,) in nm, from the frame of the first three atoms to the frozen ones.

    Raises:
        OptionError: if `lengths` is neither "bounded" nor "unbounded".
        ShapeError: if the numbers of coordinates and atoms do not match.
        TopologyError: if all coordinates are fixed.
    """

    kind = "internal"
    _length_centers: Tensor
    _length_scales: Tensor
    _is_unbounded: Tensor
    _is_bent: Tensor
    _fixed_values: Tensor
    _tolerances: Tensor
    _seams: Tensor
    _to_rotations: Tensor
    _from_measured: Tensor
    _signs: Tensor
    _pose: Tensor

    def __init__(
        self,
        zmatrix: ZMatrix,
        physical: Domain,
        centers: Sequence[float],
        widths: Sequence[float],
        lengths: Lengths = "bounded",
        fixed: Mapping[int, float] | None = None,
        pose: tuple[Sequence[Sequence[float]], Sequence[float]] | None = None,
    ) -> None:
        n = zmatrix.n_atoms
        size = 3 * n - 6
        if not len(physical) == len(centers) == len(widths) == size:
            raise ShapeError(
                f"Expected {size} bounds, centers and widths for {n} atoms; "
                f"got {len(physical)}, {len(centers)} and {len(widths)}."
            )
        if lengths not in ("bounded", "unbounded"):
            raise OptionError(f"Expected lengths 'bounded' or 'unbounded'; got {lengths!r}.")
        self.fixed = dict(sorted((fixed or {}).items()))
        varying = self.varying = tuple(i for i in range(size) if i not in self.fixed)
        if not varying:
            raise TopologyError(
                f"Expected coordinates that vary; got {size}, all fixed by constraints or frozen atoms."
            )
        is_unbounded = [
            lengths == "unbounded" and i not in self.fixed and not zmatrix.is_link(row[0], row[1])
            for i, row in enumerate(zmatrix.rows[1:])
        ]
        latent = [
            Coordinate("real", name=c.name) if i < n - 1 and is_unbounded[i] else c
            for i, c in enumerate(physical.coordinates)
        ]
        super().__init__(Domain.of([latent[i] for i in varying]), Domain.real((n, 3)))
        self.zmatrix = zmatrix
        self.lengths: Lengths = lengths
        self.pose = pose
        self._physical, self._centers, self._widths = physical, tuple(centers), tuple(widths)

        real = [i < n - 1 and is_unbounded[i] for i in range(size)]
        self._constant("centers", [0.0 if real[i] else centers[i] for i in varying])
        self._constant("widths", [1.0 if real[i] else widths[i] for i in varying])
        self._constant("_length_centers", [[x] for x in centers[: n - 1]])
        scales = [s / x if one else 1.0 for s, x, one in zip(widths, centers, is_unbounded, strict=False)]
        self._constant("_length_scales", [[x] for x in scales])
        self.register_buffer("_is_unbounded", torch.tensor(is_unbounded)[:, None], persistent=False)
        seams = [(c.low + c.high) / 2 - math.pi for c in physical.coordinates[2 * n - 3 :]]
        self._constant("_seams", torch.tensor(seams, dtype=torch.float64)[:, None])
        slots = {i: k for k, i in enumerate([*varying, *self.fixed])}
        self._from_latent = Rows([slots[i] for i in range(size)], size)
        self._to_latent = Rows([*varying, *self.fixed], size)
        self._constant("_fixed_values", [[x] for x in self.fixed.values()] or torch.empty(0, 1))
        tolerances = [[1e-4 if i < n - 1 else 2e-3] for i in self.fixed]  # nm, rad: rounding in single precision
        self._constant("_tolerances", tolerances or torch.empty(0, 1))
        rotation, translation = pose or (torch.eye(3).tolist(), [0.0] * 3)
        self._constant("_pose", [[*row, x] for row, x in zip(rotation, translation, strict=True)])
        self._build_maps()

    def _build_maps(self) -> None:
        """Builds the constant index tables and matrices of both directions, in the order of placement."""
        zmatrix = self.zmatrix
        n, order, linear = zmatrix.n_atoms, zmatrix.order, zmatrix.linear
        place = zmatrix.place | {-1: -1}
        rows = [(place[a], place[b], place[c], place[d]) for a, b, c, d in zmatrix.rows]
        parents = [row[1] for row in rows]
        self._placement = Placement(rows)
        self._to_atoms = Rows([place[atom] for atom in range(n)], n)
        self._from_atoms = Rows(order, n)

        # The measured angle is the torsion plus the terms of its relation; the rotation adds that of the carrier.
        measured = torch.eye(n - 3, dtype=torch.float64)
        to_rotations = torch.zeros_like(measured)
        for i, relation in enumerate(zmatrix.relations):
            if relation.second > 2:
                measured[i, relation.second - 3] += 0.5
            if relation.bent > 2:
                measured[i, relation.bent - 3] -= 1.0
            to_rotations[i] = measured[i]
            # The third atom, which is the carrier at the root and across its bond, has the rotation 0.
            if relation.carrier > 2:
                to_rotations[i] += to_rotations[relation.carrier - 3]
            if relation.across > 2:
                to_rotations[i] -= to_rotations[relation.across - 3]
        self.register_buffer("_to_rotations", to_rotations, persistent=False)
        self.register_buffer("_from_measured", torch.linalg.inv(measured), persistent=False)

        # Bends take the slots of angles and torsions.
        replaced = {row: i for i, row in enumerate(linear)}
        self._angle_slots = Rows(
            [n - 2 + replaced[i] if i in replaced else i - 2 for i in range(2, n)], n - 2 + len(linear)
        )
        self._torsion_slots = Rows(
            [n - 3 + replaced[i] if i in replaced else i - 3 for i in range(3, n)], n - 3 + len(linear)
        )
        self._linear_angles = Rows([i - 2 for i in linear], n - 2)
        self._linear_torsions = Rows([i - 3 for i in linear], n - 3)
        self.register_buffer("_is_bent", torch.tensor([[i not in replaced] for i in range(2, n)]), persistent=False)

        # Bonds parent → atom of atoms 1 …; bond k belongs to atom k + 1. The three vectors of a torsion are bonds
        # up to their sign: atom ← parent, parent → grandparent, and the reference's, seen from the bond's ends.
        bond = {frozenset((i, parent)): i - 1 for i, parent in enumerate(parents) if i}
        self._parents = Rows(parents[1:], n)
        self._axes = Rows([bond[frozenset(row[1:3])] for row in rows[2:]], n - 1)
        ends = [(r[3], r[1] if frozenset((r[3], r[1])) in bond else r[2]) for r in rows[3:]]
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
        energies: Energies | None = None,
        temperature: float = 300.0,
        lengths: Lengths = "bounded",
        labels: Labels = "fixed",
        constraints: Iterable[tuple[int, int, float]] = (),
        frozen: Collection[int] = (),
        core: Collection[int] = (),
        separation: float = 0.5,
    ) -> InternalCoordinates:
        """Build internal coordinates, with bounds and initial values from the force field.

        The bounds of lengths and angles are where the energy along them has risen by 18 kT at 1200 K (or at the
        temperature itself if it is higher), on either side of the equilibrium and of the reference value. For a
        parabola this is 6 thermal widths √(kT/k). Angles end 1e-4 rad from 0 and π. Lengths without a confining energy
        end `separation` beyond the reference. The initial values are equilibrium values, except for angles with a ring
        bond, which take the reference value so that the ring is closed.

        Args:
            bonds: pairs of atom indices.
            positions: reference structure (N, 3), nm.
            atomic_numbers: one for each atom.
            names: one for each atom, such as "ALA2-CA".
            bond_terms: harmonic bonds (i, j, length in nm, k in kJ/mol/nm²), energy k (b − b₀)² / 2.
            angle_terms: harmonic angles (i, j, k, angle in rad, k in kJ/mol/rad²).
            energies: along lengths and angles with other than harmonic terms: two or three atoms → a function from
                lengths in nm or angles in rad (n,) to energies in kJ/mol (n,), or None.
            temperature: for the thermal widths, K.
            lengths: "bounded" or "unbounded".
            labels: "fixed", or "free" for every order of equivalent hydrogens (see `build_zmatrix`).
            constraints: fixed distances (i, j, nm): of bonds, and of the ends of an angle between two fixed bonds.
            frozen: atoms that keep their reference positions: none, or at least three that are not collinear.
            core: atoms that are placed before all others, such as those of `MixedCoordinates`; frozen atoms always are.
            separation: how far the distance of another molecule's head may exceed that in the reference, nm.

        Raises:
            TopologyError, ShapeError, NonFiniteError: as `build_zmatrix`; also if a constraint fixes no coordinate,
                or frozen atoms do not fix the orientation; names the atoms.
            OptionError: if `lengths`, `labels`, the temperature or the separation is invalid.

        >>> import torch
        >>> water = torch.tensor([[0.0, 0.0, 0.0], [0.096, 0.0, 0.0], [-0.024, 0.093, 0.0]])
        >>> coordinates = InternalCoordinates.from_structure([(0, 1), (0, 2)], water, [8, 1, 1], ["O", "H1", "H2"])
        >>> coordinates.domain.names
        ('bond H1 O', 'bond H2 O', 'angle H2 O H1')
        >>> positions, log_ratio = coordinates(torch.tensor([[0.1, 0.1, 1.8]]))
        >>> positions.shape, log_ratio.shape
        (torch.Size([1, 3, 3]), torch.Size([1]))
        """
        if labels not in ("fixed", "free"):
            raise OptionError(f"Expected labels 'fixed' or 'free'; got {labels!r}.")
        if not separation > 0:
            raise OptionError(f"Expected a positive separation in nm; got {separation!r}.")
        profiles = Profiles(bond_terms, angle_terms, energies, separation)
        graph = BondGraph(bonds, atomic_numbers, names)
        reference = checked_structure(positions, atomic_numbers, names)
        linear, bent = straight_angles(graph, reference, profiles, temperature)
        zmatrix = build_zmatrix(
            bonds, positions, atomic_numbers, names, linear=linear, bent=bent, core=core or frozen, labels=labels
        )
        described = physical_coordinates(zmatrix, graph, positions, profiles, temperature, separation)
        coordinates, centers, widths = zip(*described, strict=True)
        # Bounds of bends come from the energy, unlike those of torsions, and are known only now.
        zmatrix = replace(zmatrix, torsions=coordinates[2 * zmatrix.n_atoms - 3 :])
        fixed = frozen_coordinates(zmatrix, positions, frozen) | constrained_coordinates(zmatrix, constraints, frozen)
        pose = pose_of(zmatrix, positions, frozen) if frozen else None
        return cls(zmatrix, Domain.of(coordinates), centers, widths, lengths, fixed, pose)

    def of_core(self, core: Collection[int]) -> InternalCoordinates:
        """The internal coordinates of a subset of atoms, in ascending order of their indices.

        Raises:
            TopologyError: if one of these atoms is placed from an atom outside the subset.
        """
        zmatrix = self.zmatrix
        atoms = sorted(core)
        number = {atom: i for i, atom in enumerate(atoms)} | {-1: -1}
        chosen = [i for i, row in enumerate(zmatrix.rows) if row[0] in number]
        place = {row: i for i, row in enumerate(chosen)}
        if any(atom not in number for row in chosen for atom in zmatrix.rows[row]) or chosen[:3] != [0, 1, 2]:
            raise TopologyError("Expected the core's atoms to be placed before all others; got another order.")
        kept = self.numbers_of(atoms)
        first = ZMatrix(
            tuple(zmatrix.names[atom] for atom in atoms),
            tuple((number[a], number[b], number[c], number[d]) for a, b, c, d in (zmatrix.rows[row] for row in chosen)),
            tuple(zmatrix.torsions[row - 3] for row in chosen[3:]),
            tuple(place[row] for row in zmatrix.linear if row in place),
            tuple((number[head], number[anchor]) for head, anchor in zmatrix.links if head in number),
        )
        fixed = {place: self.fixed[i] for place, i in enumerate(kept) if i in self.fixed}
        centers, widths = ([values[i] for i in kept] for values in (self._centers, self._widths))
        return InternalCoordinates(first, self._physical[kept], centers, widths, self.lengths, fixed)

    def cut_off(self, positions: Any, profiles: Profiles, temperature: float) -> dict[str, float]:
        """See `MolecularCoordinates.cut_off`; unbounded lengths exclude nothing."""
        return self.cut_off_of(range(len(self.domain)), positions, profiles, temperature)

    def cut_off_of(
        self, numbers: Iterable[int], positions: Any, profiles: Profiles, temperature: float
    ) -> dict[str, float]:
        """`cut_off` for some of the D coordinates, given by their indices."""
        varying = [self.varying[k] for k in numbers if self.domain.coordinates[k].kind != "real"]
        return cut_off(self.zmatrix, self._physical, varying, positions, profiles, temperature)

    def numbers_of(self, atoms: Collection[int]) -> list[int]:
        """The indices, among all 3N−6, of the coordinates that place some atoms."""
        n, order = self.zmatrix.n_atoms, self.zmatrix.order
        starts = (0, n - 1, 2 * n - 3)  # first index of lengths, angles and torsions; their first rows are 1, 2, 3
        return [start + i - k for k, start in enumerate(starts, 1) for i in range(k, n) if order[i] in atoms]

    # -- to and from plain data --------------------------------------------------------------------

    @property
    def specification(self) -> dict[str, Any]:
        """Everything needed to rebuild this object, as JSON-serialisable values; see `from_specification`."""
        coordinates = self._physical.coordinates
        return {
            "kind": self.kind,
            "atoms": list(self.zmatrix.names),
            "rows": [list(row) for row in self.zmatrix.rows],
            "lengths": self.lengths,
            "names": [c.name for c in coordinates],
            "kinds": [c.kind for c in coordinates],
            "low": [c.low for c in coordinates],
            "high": [c.high for c in coordinates],
            "centers": list(self._centers),
            "widths": [w if math.isfinite(w) else None for w in self._widths],
            "linear": list(self.zmatrix.linear),
            "links": [list(link) for link in self.zmatrix.links],
            "fixed": [[i, value] for i, value in self.fixed.items()],
            "pose": self.pose,
        }

    @classmethod
    def from_specification(cls, specification: Mapping[str, Any]) -> InternalCoordinates:
        """Rebuild from `specification`, also from one of an earlier version, which supported only bent molecules.

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
        links = tuple((head, anchor) for head, anchor in specification.get("links", ()))
        torsions = tuple(coordinates[2 * len(atoms) - 3 :])
        zmatrix = ZMatrix(atoms, rows, torsions, tuple(specification.get("linear", ())), links)
        widths = [math.inf if w is None else w for w in specification["widths"]]
        fixed, pose = dict(specification.get("fixed", ())), specification.get("pose")
        centers, lengths = specification["centers"], specification["lengths"]
        return cls(zmatrix, Domain.of(coordinates), centers, widths, lengths, fixed, pose)

    @property
    def to_rotations(self) -> Tensor:
        """The factor by which each torsion rotates each row from the fourth on about its bond (N−3, N−3)."""
        return self._to_rotations

    def log_volume_along(self, number: int, values: Tensor) -> Tensor:
        """See `MolecularCoordinates.log_volume_along`."""
        i, n = self.varying[number], self.zmatrix.n_atoms
        if i < n - 1:
            if self._is_unbounded[i]:
                return 3 * self._length_scales[i].to(values) * values
            return 2 * values.log()
        is_angle = i < 2 * n - 3 and i - n + 3 not in self.zmatrix.linear
        return values.sin().log() if is_angle else torch.zeros_like(values)

    @property
    def physical_names(self) -> tuple[str, ...]:
        """The name of each of the 3N−6 coordinates, including fixed ones."""
        return self._physical.names

    # -- the two directions ------------------------------------------------------------------------

    def forward(
        self, z: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Internal coordinates (batch, D) → positions (batch, N, 3) in nm, log_ratio (batch,).

        Raises:
            ShapeError: if z has another shape.
        """
        self.latent_domain.check(z, "InternalCoordinates.forward")
        n, full = self.zmatrix.n_atoms, z.T.contiguous()
        if self.fixed:
            full = self._from_latent(torch.cat([full, self._fixed_values.to(z).expand(-1, len(z))])[None])[0]
        lengths, angles, torsions = torch.split(full, [n - 1, n - 2, n - 3])
        log_ratio = torch.zeros_like(z[:, 0])
        if self.lengths == "unbounded":
            lengths, log_ratio = self._to_lengths(lengths)
        if self.zmatrix.linear:
            pair = self._linear_angles(angles[None])[0], self._linear_torsions(torsions[None])[0]
            angles, torsions = self._replaced((angles, torsions), unbend(*pair))
        log_ratio = log_ratio + self._log_volume(lengths, angles)
        rotations = torch.cat([torch.zeros_like(angles[:1]), self._to_rotations.to(z) @ torsions])
        points = self._to_atoms(self._placement(lengths, angles, rotations))
        if self.pose is not None:
            rotation, translation = torch.split(self._pose.to(z), [3, 1], 1)
            points = (rotation[:, :, None, None] * points).sum(1) + translation[:, None]
        return points.permute(2, 1, 0), log_ratio

    def inverse(
        self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Positions (batch, N, 3) in nm → internal coordinates (batch, D), log_ratio (batch,).

        Circles are returned in [−π, π), other torsions in the period around their interval's middle.

        Raises:
            ShapeError: if x has another shape.
        """
        self.data_domain.check(x, "InternalCoordinates.inverse")
        # `stored` values are computed once; without it, the transposed positions would prevent vectorisation.
        points = stored(self._from_atoms(x.permute(2, 1, 0).contiguous()))
        bonds = stored(points[:, 1:] - self._parents(points))
        if self.zmatrix.linear:
            bonds = self._off_the_line(bonds)
        inward, away = self._signs.to(x)
        # Vectors parent → atom, grandparent → parent, and from that bond to the reference.
        outward, axes, ends = bonds[:, 1:], stored(inward * self._axes(bonds)), stored(away[1:] * self._ends(bonds))
        lengths = norm(bonds, dim=0)
        angles = between(outward, -axes, dim=0)
        seams = self._seams.to(x)
        torsions = wrap(stored(turn(outward[:, 1:], -axes[:, 1:], ends, dim=0)), seams, seams + 2 * math.pi)
        torsions = wrap(self._from_measured.to(x) @ torsions, seams, seams + 2 * math.pi)
        log_ratio = -self._log_volume(lengths, angles)
        if self.zmatrix.linear:
            pair = self._linear_angles(angles[None])[0], self._linear_torsions(torsions[None])[0]
            angles, torsions = self._replaced((angles, torsions), bends(*pair))
        if self.lengths == "unbounded":
            logarithms = (lengths / self._length_centers.to(x)).log() / self._length_scales.to(x)
            lengths = torch.where(self._is_unbounded, logarithms, lengths)
            log_ratio = log_ratio - self._to_lengths(lengths)[1]
        full = torch.cat([lengths, angles, torsions])
        if not self.fixed:
            return full.T, log_ratio
        full, found = torch.split(self._to_latent(full[None])[0], [len(self.domain), len(self.fixed)])
        deviation = (found - self._fixed_values.to(x)).abs()
        # Torsions may differ by multiples of 2π.
        deviation = torch.minimum(deviation, (deviation - 2 * math.pi).abs())
        holds = (deviation <= self._tolerances.to(x)).all(0) | deviation.isnan().any(0)
        return full.T, torch.where(holds, log_ratio, -torch.inf)

    def extra_repr(self) -> str:
        """Size and kind, for printing."""
        return f"{self.zmatrix.n_atoms} atoms, {self.domain}, lengths={self.lengths!r}"

    def _off_the_line(self, bonds: Tensor) -> Tensor:
        """Bonds (3, N−1, batch); a bond exactly parallel to the one before is rotated by a rounding error.

        Otherwise directions normal to the line would be undefined.
        """
        rest = bonds[:, 1:]
        on_line = (cross(self._axes(bonds), rest, 0) == 0).all(0) & ~self._is_bent
        least = torch.nn.functional.one_hot(rest.abs().argmin(0), 3).movedim(-1, 0)
        aside = rest + torch.finfo(rest.dtype).eps * cross(rest, least.to(rest), 0)
        return torch.cat([bonds[:, :1], torch.where(on_line, aside, rest)], 1)

    def _log_volume(self, lengths: Tensor, angles: Tensor) -> Tensor:
        """log Π b² sin θ (batch,), without sin θ for atoms with bends."""
        if self.zmatrix.linear:
            angles = torch.where(self._is_bent, angles, math.pi / 2)
        return 2 * lengths.log().sum(0) + angles.sin().log().sum(0)

    def _replaced(self, slots: tuple[Tensor, Tensor], pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Angles (N−2, batch) and torsions (N−3, batch) with the values of collinear atoms replaced."""
        angles, torsions = (torch.cat(parts)[None] for parts in zip(slots, pair, strict=True))
        return self._angle_slots(angles)[0], self._torsion_slots(torsions)[0]

    def _to_lengths(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Unbounded t (N−1, batch) → lengths in nm, log-determinant (batch,)."""
        scales = self._length_scales.to(t)
        lengths = torch.where(self._is_unbounded, self._length_centers.to(t) * torch.exp(t * scales), t)
        return lengths, torch.where(self._is_unbounded, (lengths * scales).log(), 0.0).sum(0)

    def _constant(self, name: str, values: Any) -> None:
        self.register_buffer(name, torch.as_tensor(values, dtype=torch.float64), persistent=False)
