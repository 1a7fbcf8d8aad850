"""Harmonic bonds, harmonic angles and periodic torsions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import openmm
import openmm.unit as u
import torch
from torch import Tensor

from boltzflow.energies.forcefield.term import Gather, Term, column, cross, dot, refuse_periodic


class HarmonicBonds(Term):
    """½ k (r − r₀)². atoms: M pairs; lengths: M, nm; constants: M, kJ/(mol nm²)."""

    length: Tensor
    constant: Tensor

    def __init__(
        self, atoms: Sequence[Sequence[int]], lengths: Sequence[float], constants: Sequence[float], n_atoms: int
    ) -> None:
        super().__init__()
        self.gather = Gather(atoms, n_atoms)
        self.register_buffer("length", column(lengths))
        self.register_buffer("constant", column(constants))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        i, j = self.gather(x)
        d = i - j
        r = dot(d, d).sqrt()
        stretch = r - self.length
        force = (-self.constant * stretch / r) * d
        return (0.5 * self.constant * stretch * stretch).sum(0), self.gather.collect(force, -force)


class HarmonicAngles(Term):
    """½ k (θ − θ₀)². atoms: M triples, the vertex second; angles: M, rad; constants: M, kJ/(mol rad²)."""

    angle: Tensor
    constant: Tensor

    def __init__(
        self, atoms: Sequence[Sequence[int]], angles: Sequence[float], constants: Sequence[float], n_atoms: int
    ) -> None:
        super().__init__()
        self.gather = Gather(atoms, n_atoms)
        self.register_buffer("angle", column(angles))
        self.register_buffer("constant", column(constants))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        i, j, k = self.gather(x)
        a, b = i - j, k - j
        normal = cross(a, b)
        # The floor keeps a straight angle, whose energy is well defined, from dividing by zero.
        sine = dot(normal, normal).clamp_min(1e-24).sqrt()
        cosine = dot(a, b)
        bend = torch.atan2(sine, cosine) - self.angle
        torque = -self.constant * bend / sine
        on_i = torque * ((cosine / dot(a, a)) * a - b)
        on_k = torque * ((cosine / dot(b, b)) * b - a)
        return (0.5 * self.constant * bend * bend).sum(0), self.gather.collect(on_i, -on_i - on_k, on_k)


class PeriodicTorsions(Term):
    """Σₙ kₙ (1 + cos(nφ − φ₀ₙ)), all multiplicities of the same four atoms taken together.

    cos nφ and sin nφ follow from cos φ and sin φ by recurrence, so no angle is ever computed. Forces
    after Blondel and Karplus, J. Comput. Chem. 17, 1132 (1996).

    atoms: M quadruples; cosines, sines: for n = 1, 2, …, the M values of kₙ cos φ₀ₙ and kₙ sin φ₀ₙ in
    kJ/mol; offset: Σ kₙ over everything, kJ/mol.
    """

    cosine: Tensor
    sine: Tensor
    offset: Tensor

    def __init__(
        self,
        atoms: Sequence[Sequence[int]],
        cosines: Sequence[Sequence[float]],
        sines: Sequence[Sequence[float]],
        offset: float,
        n_atoms: int,
    ) -> None:
        super().__init__()
        self.gather = Gather(atoms, n_atoms)
        self.register_buffer("cosine", torch.stack([column(c) for c in cosines]))
        self.register_buffer("sine", torch.stack([column(s) for s in sines]))
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second, third, fourth = self.gather(x)
        f, g, h = first - second, second - third, fourth - third
        a, b = cross(f, g), cross(h, g)
        a_inverse, b_inverse, g_square = 1 / dot(a, a), 1 / dot(b, b), dot(g, g)
        g_norm, norm_inverse = g_square.sqrt(), (a_inverse * b_inverse).sqrt()
        cos = dot(a, b) * norm_inverse
        sin = -g_norm * dot(f, b) * norm_inverse

        cos_n, sin_n = cos, sin
        energy = self.cosine[0] * cos_n + self.sine[0] * sin_n
        slope = self.sine[0] * cos_n - self.cosine[0] * sin_n
        for n in range(2, self.cosine.shape[0] + 1):
            cos_n, sin_n = cos_n * cos - sin_n * sin, sin_n * cos + cos_n * sin
            energy = energy + self.cosine[n - 1] * cos_n + self.sine[n - 1] * sin_n
            slope = slope + n * (self.sine[n - 1] * cos_n - self.cosine[n - 1] * sin_n)

        on_first = (slope * g_norm * a_inverse) * a
        on_fourth = (-slope * g_norm * b_inverse) * b
        along = (slope / g_norm) * (dot(f, g) * a_inverse * a - dot(h, g) * b_inverse * b)
        return energy.sum(0) + self.offset, self.gather.collect(
            on_first, -along - on_first, along - on_fourth, on_fourth
        )


def harmonic_bonds(force: openmm.HarmonicBondForce, n_atoms: int) -> list[Term]:
    """Translates a HarmonicBondForce."""
    refuse_periodic(force)
    bonds = [force.getBondParameters(i) for i in range(force.getNumBonds())]
    if not bonds:
        return []
    lengths = [b[2].value_in_unit(u.nanometer) for b in bonds]
    constants = [b[3].value_in_unit(u.kilojoule_per_mole / u.nanometer**2) for b in bonds]
    return [HarmonicBonds([b[:2] for b in bonds], lengths, constants, n_atoms)]


def harmonic_angles(force: openmm.HarmonicAngleForce, n_atoms: int) -> list[Term]:
    """Translates a HarmonicAngleForce."""
    refuse_periodic(force)
    angles = [force.getAngleParameters(i) for i in range(force.getNumAngles())]
    if not angles:
        return []
    values = [a[3].value_in_unit(u.radian) for a in angles]
    constants = [a[4].value_in_unit(u.kilojoule_per_mole / u.radian**2) for a in angles]
    return [HarmonicAngles([a[:3] for a in angles], values, constants, n_atoms)]


def periodic_torsions(force: openmm.PeriodicTorsionForce, n_atoms: int) -> list[Term]:
    """Translates a PeriodicTorsionForce."""
    refuse_periodic(force)
    harmonics: defaultdict[tuple[int, ...], defaultdict[int, complex]] = defaultdict(lambda: defaultdict(complex))
    offset, highest = 0.0, 1
    for index in range(force.getNumTorsions()):
        *atoms, n, phase, constant = force.getTorsionParameters(index)
        k, angle = constant.value_in_unit(u.kilojoule_per_mole), phase.value_in_unit(u.radian)
        quadruple = min(tuple(atoms), tuple(reversed(atoms)))  # a torsion read backwards is the same angle
        harmonics[quadruple][n] += k * complex(math.cos(angle), math.sin(angle))
        offset, highest = offset + k, max(highest, n)
    if not harmonics:
        return []
    orders = range(1, highest + 1)
    cosines = [[h[n].real for h in harmonics.values()] for n in orders]
    sines = [[h[n].imag for h in harmonics.values()] for n in orders]
    return [PeriodicTorsions(list(harmonics), cosines, sines, offset, n_atoms)]
