"""Bonds, angles and torsions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import openmm
import openmm.unit as u
import torch
from torch import Tensor

from boltzflow.energies.expressions import parse
from boltzflow.energies.forcefield.expression_term import ExpressionTerm
from boltzflow.energies.forcefield.measures import Measure, dihedral_frame
from boltzflow.energies.forcefield.term import Box, Gather, Term, column
from boltzflow.energies.forcefield.translation import Translation

DISTANCE = Measure("distance", (0, 1))
ANGLE = Measure("angle", (0, 1, 2))
DIHEDRAL = Measure("dihedral", (0, 1, 2, 3))


class PeriodicTorsions(Term):
    """Σₙ kₙ (1 + cos(nφ − φ₀ₙ)), with all multiplicities of the same four atoms combined.

    cos nφ and sin nφ are computed from cos φ and sin φ by recurrence, without computing the angle.

    atoms: M quadruples; cosines, sines: for n = 1, 2, …, the M values of kₙ cos φ₀ₙ and kₙ sin φ₀ₙ in
    kJ/mol; offset: Σ kₙ over all torsions, kJ/mol.
    """

    cosine: Tensor
    sine: Tensor
    offset: Tensor
    box: Box | None

    def __init__(
        self,
        atoms: Sequence[Sequence[int]],
        cosines: Sequence[Sequence[float]],
        sines: Sequence[Sequence[float]],
        offset: float,
        n_atoms: int,
        box: Box | None,
    ) -> None:
        super().__init__()
        self.gather = Gather(atoms, n_atoms)
        self.register_buffer("cosine", torch.stack([column(c) for c in cosines]))
        self.register_buffer("sine", torch.stack([column(s) for s in sines]))
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float64))
        self.register_buffer("box", box)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin, gradients = dihedral_frame(*self.gather(x), box=self.box)
        cos_n, sin_n = cos, sin
        energy = self.cosine[0] * cos_n + self.sine[0] * sin_n
        slope = self.sine[0] * cos_n - self.cosine[0] * sin_n
        for n in range(2, self.cosine.shape[0] + 1):
            cos_n, sin_n = cos_n * cos - sin_n * sin, sin_n * cos + cos_n * sin
            energy = energy + self.cosine[n - 1] * cos_n + self.sine[n - 1] * sin_n
            slope = slope + n * (self.sine[n - 1] * cos_n - self.cosine[n - 1] * sin_n)
        return energy.sum(0) + self.offset, self.gather.collect(*(-slope * gradient for gradient in gradients))


def harmonic_bonds(force: openmm.HarmonicBondForce, system: Translation) -> list[Term]:
    """Translates a HarmonicBondForce."""
    bonds = [force.getBondParameters(i) for i in range(force.getNumBonds())]
    if not bonds:
        return []
    parameters = {
        "r0": [b[2].value_in_unit(u.nanometer) for b in bonds],
        "k": [b[3].value_in_unit(u.kilojoule_per_mole / u.nanometer**2) for b in bonds],
    }
    atoms = Gather([b[:2] for b in bonds], system.n_atoms)
    return [ExpressionTerm(atoms, {"r": DISTANCE}, parse("0.5*k*(r-r0)^2"), parameters, system.box_of(force))]


def harmonic_angles(force: openmm.HarmonicAngleForce, system: Translation) -> list[Term]:
    """Translates a HarmonicAngleForce."""
    angles = [force.getAngleParameters(i) for i in range(force.getNumAngles())]
    if not angles:
        return []
    parameters = {
        "theta0": [a[3].value_in_unit(u.radian) for a in angles],
        "k": [a[4].value_in_unit(u.kilojoule_per_mole / u.radian**2) for a in angles],
    }
    atoms = Gather([a[:3] for a in angles], system.n_atoms)
    return [ExpressionTerm(atoms, {"theta": ANGLE}, parse("0.5*k*(theta-theta0)^2"), parameters, system.box_of(force))]


def periodic_torsions(force: openmm.PeriodicTorsionForce, system: Translation) -> list[Term]:
    """Translates a PeriodicTorsionForce."""
    harmonics = _Harmonics()
    for index in range(force.getNumTorsions()):
        *atoms, n, phase, constant = force.getTorsionParameters(index)
        k, angle = constant.value_in_unit(u.kilojoule_per_mole), phase.value_in_unit(u.radian)
        harmonics.add(atoms, n, k * complex(math.cos(angle), math.sin(angle)))
        harmonics.offset += k
    return harmonics.terms(system, system.box_of(force))


def ryckaert_bellemans_torsions(force: openmm.RBTorsionForce, system: Translation) -> list[Term]:
    """Translates an RBTorsionForce, Σₙ Cₙ cosⁿ(φ − π), into a Fourier series."""
    harmonics = _Harmonics()
    for index in range(force.getNumTorsions()):
        *atoms, c0, c1, c2, c3, c4, c5 = force.getTorsionParameters(index)
        powers = [c.value_in_unit(u.kilojoule_per_mole) for c in (c0, c1, c2, c3, c4, c5)]
        # Chebyshev coefficients expand cosⁿψ in cos kψ; with ψ = φ − π the odd terms change sign.
        series = np.polynomial.chebyshev.poly2cheb(powers)
        harmonics.offset += series[0]
        for n in range(1, len(series)):
            harmonics.add(atoms, n, complex((-1) ** n * series[n]))
    return harmonics.terms(system, system.box_of(force))


class _Harmonics:
    """Fourier series of dihedrals, collected by their atoms."""

    def __init__(self) -> None:
        self.offset = 0.0
        self._series: dict[tuple[int, ...], defaultdict[int, complex]] = {}

    def add(self, atoms: Sequence[int], n: int, amplitude: complex) -> None:
        """Adds k cos(nφ − φ₀), amplitude = k exp(iφ₀), to the dihedral of four atoms."""
        quadruple = min(tuple(atoms), tuple(reversed(atoms)))  # a dihedral read backwards is the same angle
        self._series.setdefault(quadruple, defaultdict(complex))[n] += amplitude

    def terms(self, system: Translation, box: Box | None) -> list[Term]:
        """All series as one term."""
        if not self._series:
            return []
        highest = max(n for series in self._series.values() for n in series)
        cosines = [[series[n].real for series in self._series.values()] for n in range(1, highest + 1)]
        sines = [[series[n].imag for series in self._series.values()] for n in range(1, highest + 1)]
        return [PeriodicTorsions(list(self._series), cosines, sines, self.offset, system.n_atoms, box)]
