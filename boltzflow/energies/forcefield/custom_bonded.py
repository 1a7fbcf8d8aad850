"""Custom forces on bonds, angles, torsions, single particles, and groups of particles or of their centroids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import openmm
import torch
from torch import Tensor, nn

from boltzflow.energies.expressions import Expression, Macro, call, constant, variable
from boltzflow.energies.expressions.functions import FUNCTIONS, SELECT
from boltzflow.energies.forcefield.bonded import ANGLE, DIHEDRAL, DISTANCE
from boltzflow.energies.forcefield.expression_term import ExpressionTerm, Points
from boltzflow.energies.forcefield.measures import Measure
from boltzflow.energies.forcefield.term import Gather, Term, unsupported
from boltzflow.energies.forcefield.translation import Translation

Point = Sequence[Expression]
"""The three coordinates of a point, as expressions."""


def custom_bonds(force: openmm.CustomBondForce, system: Translation) -> list[Term]:
    """Translates a CustomBondForce: any function of r."""
    bonds = [force.getBondParameters(i) for i in range(force.getNumBonds())]
    names = [force.getPerBondParameterName(i) for i in range(force.getNumPerBondParameters())]
    return _term(force, system, [b[:2] for b in bonds], [b[2] for b in bonds], names, {"r": DISTANCE})


def custom_angles(force: openmm.CustomAngleForce, system: Translation) -> list[Term]:
    """Translates a CustomAngleForce: any function of theta."""
    angles = [force.getAngleParameters(i) for i in range(force.getNumAngles())]
    names = [force.getPerAngleParameterName(i) for i in range(force.getNumPerAngleParameters())]
    return _term(force, system, [a[:3] for a in angles], [a[3] for a in angles], names, {"theta": ANGLE})


def custom_torsions(force: openmm.CustomTorsionForce, system: Translation) -> list[Term]:
    """Translates a CustomTorsionForce: any function of theta in (−π, π]."""
    torsions = [force.getTorsionParameters(i) for i in range(force.getNumTorsions())]
    names = [force.getPerTorsionParameterName(i) for i in range(force.getNumPerTorsionParameters())]
    return _term(force, system, [t[:4] for t in torsions], [t[4] for t in torsions], names, {"theta": DIHEDRAL})


def custom_external(force: openmm.CustomExternalForce, system: Translation) -> list[Term]:
    """Translates a CustomExternalForce: any function of x, y, z and periodicdistance."""
    particles = [force.getParticleParameters(i) for i in range(force.getNumParticles())]
    names = [force.getPerParticleParameterName(i) for i in range(force.getNumPerParticleParameters())]
    measures = {axis: Measure(axis, (0,)) for axis in "xyz"}
    macros = {"periodicdistance": lambda arguments: _periodic_distance(arguments, system)}
    return _term(force, system, [p[:1] for p in particles], [p[1] for p in particles], names, measures, macros)


def custom_compound_bonds(force: openmm.CustomCompoundBondForce, system: Translation) -> list[Term]:
    """Translates a CustomCompoundBondForce: functions of coordinates, distances, angles and dihedrals of particles."""
    bonds = [force.getBondParameters(i) for i in range(force.getNumBonds())]
    names = [force.getPerBondParameterName(i) for i in range(force.getNumPerBondParameters())]
    width = force.getNumParticlesPerBond()
    measures, macros = _point_language(force, [f"p{i}" for i in range(1, width + 1)])
    return _term(force, system, [b[0] for b in bonds], [b[1] for b in bonds], names, measures, macros)


def custom_centroid_bonds(force: openmm.CustomCentroidBondForce, system: Translation) -> list[Term]:
    """Translates a CustomCentroidBondForce: the same functions, of weighted centroids of groups of atoms."""
    bonds = [force.getBondParameters(i) for i in range(force.getNumBonds())]
    names = [force.getPerBondParameterName(i) for i in range(force.getNumPerBondParameters())]
    if not bonds:
        return []
    weights = torch.zeros(force.getNumGroups(), system.n_atoms, dtype=torch.float64)
    for group in range(force.getNumGroups()):
        atoms, given = force.getGroupParameters(group)
        for atom, weight in zip(atoms, given or [system.masses[a] for a in atoms], strict=True):
            weights[group, atom] += weight
    points = Centroids(weights / weights.sum(1, keepdim=True), [b[0] for b in bonds])
    measures, macros = _point_language(force, [f"g{i}" for i in range(1, force.getNumGroupsPerBond() + 1)])
    return _term(force, system, [b[0] for b in bonds], [b[1] for b in bonds], names, measures, macros, points)


class Centroids(nn.Module):
    """The centroids of groups of atoms as points.

    weights: (groups, N), each row normalised to 1; bonds: the groups of each bond.
    """

    weights: Tensor

    def __init__(self, weights: Tensor, bonds: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.gather = Gather(bonds, len(weights))
        self.width = self.gather.width
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        points: tuple[Tensor, ...] = self.gather(self.weights @ x)
        return points

    def collect(self, *parts: Tensor) -> Tensor:
        return self.weights.T @ self.gather.collect(*parts)


def _term(
    force: Any,
    system: Translation,
    atoms: Sequence[Sequence[int]],
    values: Sequence[Sequence[float]],
    names: Sequence[str],
    measures: dict[str, Measure],
    macros: Mapping[str, Macro] | None = None,
    points: Points | None = None,
) -> list[Term]:
    """The term of a force whose expression has parameters with these names and, for each group, these values.

    If no points are given, they are the atoms of each group.
    """
    if not values:
        return []
    energy = system.expression(force, force.getEnergyFunction(), macros)
    unknown = energy.variables - set(measures) - set(names)
    if unknown:
        raise unsupported(force, f"its expression contains the unknown name {min(unknown)}")
    parameters = {name: [value[i] for value in values] for i, name in enumerate(names)}
    where = points or Gather(atoms, system.n_atoms)
    return [ExpressionTerm(where, measures, energy, parameters, system.box_of(force))]


def _point_language(force: openmm.Force, names: Sequence[str]) -> tuple[dict[str, Measure], dict[str, Macro]]:
    """The measures that expressions use (filled while expressions are parsed), and the functions that they may call."""
    measures = {f"{axis}{i}": Measure(axis, (i - 1,)) for i in range(1, len(names) + 1) for axis in "xyz"}
    numbers = count()

    def measured(kind: str, width: int) -> Macro:
        def macro(arguments: tuple[Expression, ...]) -> Expression:
            points = tuple(names.index(a.leaf) for a in arguments if a.leaf in names)
            if len(points) != len(arguments) or len(points) != width:
                raise unsupported(force, f"{kind} takes {width} arguments, which must be of {', '.join(names)}")
            for name, measure in measures.items():
                if measure == (kind, points):
                    return variable(name)
            name = f"{kind} {next(numbers)}"  # the space prevents clashes with names of parameters
            measures[name] = Measure(kind, points)
            return variable(name)

        return macro

    return measures, {
        "distance": measured("distance", 2),
        "angle": measured("angle", 3),
        "dihedral": measured("dihedral", 4),
        "pointdistance": lambda a: _norm(_minus(a[:3], a[3:])),
        "pointangle": lambda a: _angle(_minus(a[:3], a[3:6]), _minus(a[6:], a[3:6])),
        "pointdihedral": lambda a: _dihedral(_minus(a[:3], a[3:6]), _minus(a[3:6], a[6:9]), _minus(a[9:], a[6:9])),
    }


def _minus(a: Point, b: Point) -> Point:
    return [p - q for p, q in zip(a, b, strict=True)]


def _dot(a: Point, b: Point) -> Expression:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Point, b: Point) -> Point:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def _norm(a: Point) -> Expression:
    square = _dot(a, a)
    # The derivative of a square root is infinite at zero; that of a distance is set to zero there.
    return call(SELECT, square, call(FUNCTIONS["sqrt"], square), constant(0.0))


def _angle(a: Point, b: Point) -> Expression:
    return call(FUNCTIONS["atan2"], _norm(_cross(a, b)), _dot(a, b))


def _dihedral(f: Point, g: Point, h: Point) -> Expression:
    return call(FUNCTIONS["atan2"], -_norm(g) * _dot(f, _cross(h, g)), _dot(_cross(f, g), _cross(h, g)))


def _periodic_distance(arguments: tuple[Expression, ...], system: Translation) -> Expression:
    x, y, z = _minus(arguments[:3], arguments[3:])
    box = system.box.tolist()
    for axis in (2, 1, 0):
        d = (x, y, z)[axis]
        shift = call(FUNCTIONS["floor"], d / box[axis][axis] + 0.5)
        x, y, z = x - box[axis][0] * shift, y - box[axis][1] * shift, z - box[axis][2] * shift
    return _norm((x, y, z))
