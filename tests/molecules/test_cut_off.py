"""What bounds cut off: log Z and averages of triatomic molecules against quadrature, whatever force holds them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openmm as mm
import pytest
from openmm import app
from scipy import integrate

import boltzflow as bf
from boltzflow.analysis import absolute_free_energy, diagnose
from boltzflow.coordinates import InternalCoordinates
from boltzflow.errors import TopologyError
from boltzflow.units import thermal_energy
from boltzflow.verdict import Trust

Function = Callable[[float], float]
LENGTH, ANGLE = 0.2, 1.9


def triatomic(
    *forces: mm.Force, length: float = LENGTH, angle: float = ANGLE, temperature: float = 300.0, stiff: bool = False
) -> bf.MolecularSystem:
    """Atom 0 bonded to 1 and 2; stiff: with bonds of 2e5 kJ/mol/nm²."""
    system, topology = mm.System(), app.Topology()
    residue = topology.addResidue("MOL", topology.addChain())
    atoms = [topology.addAtom(name, app.element.carbon, residue) for name in "ABC"]
    for _ in atoms:
        system.addParticle(12.0)
    for k in (1, 2):
        topology.addBond(atoms[0], atoms[k])
    bonds = mm.HarmonicBondForce()
    for k in (1, 2):
        bonds.addBond(0, k, length, 2e5)
    for force in (*forces, *([bonds] if stiff else [])):
        system.addForce(force)
    x = [[0.0, 0.0, 0.0], [length, 0.0, 0.0], [length * math.cos(angle), length * math.sin(angle), 0.0]]
    return bf.MolecularSystem(topology, system, np.array(x), temperature)


def samples(molecule: bf.MolecularSystem, n: int = 20_000, **options: Any) -> bf.Ensemble:
    made = {"layers": 1, "hidden": (8,), "start": "bonded", "backend": "torch"} | options
    return bf.BoltzmannGenerator.for_system(molecule, **made).sample(n, seed=1)


def log_integral(energy: Function, volume: Function, low: float, high: float, temperature: float = 300.0) -> float:
    kt = thermal_energy(temperature)
    x = np.linspace(low, high, 20_001)
    density = np.array([volume(t) * math.exp(-energy(t) / kt) for t in x])
    return math.log(integrate.simpson(density, x=x))


def angles(ensemble: bf.Ensemble) -> np.ndarray:
    x = ensemble.positions.astype(float)
    u, v = x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]
    return np.arctan2(np.linalg.norm(np.cross(u, v), axis=1), (u * v).sum(1))


def check(ensemble: bf.Ensemble, exact: float) -> None:
    """log Z within four errors and what single precision leaves."""
    value, error = ensemble.log_z
    assert abs(value - exact) < 4 * error + 1e-5, (value, error, exact)
    assert error < 0.01
    assert not ensemble.cut_off


def harmonic_angle(stiffness: float = 100.0, angle: float = ANGLE) -> mm.HarmonicAngleForce:
    force = mm.HarmonicAngleForce()
    force.addAngle(1, 0, 2, angle, stiffness)
    return force


def bonds(expression: str) -> mm.CustomBondForce:
    force = mm.CustomBondForce(expression)
    for k in (1, 2):
        force.addBond(0, k, [])
    return force


def parabolas(stiffness: float, length: float = LENGTH) -> mm.HarmonicBondForce:
    force = mm.HarmonicBondForce()
    for k in (1, 2):
        force.addBond(0, k, length, stiffness)
    return force


def compound(expression: str, *groups: list[int]) -> mm.CustomCompoundBondForce:
    force = mm.CustomCompoundBondForce(len(groups[0]), expression)
    for group in groups:
        force.addBond(group, [])
    return force


def pairs(expression: str) -> mm.CustomNonbondedForce:
    force = mm.CustomNonbondedForce(expression)
    for _ in range(3):
        force.addParticle([])
    force.addExclusion(1, 2)
    return force


def exceptions(well: float) -> mm.NonbondedForce:
    force = mm.NonbondedForce()
    for _ in range(3):
        force.addParticle(0.0, 1.0, 0.0)
    for k in (1, 2):
        force.addException(0, k, 0.0, LENGTH / 2 ** (1 / 6), well)
    force.addException(1, 2, 0.0, 1.0, 0.0)
    return force


def collective(expression: str) -> mm.CustomCVForce:
    force = mm.CustomCVForce(expression)
    for k in (1, 2):
        distance = mm.CustomBondForce("r")
        distance.addBond(0, k, [])
        force.addCollectiveVariable(f"r{k}", distance)
    return force


def parabola(stiffness: float) -> Function:
    return lambda r: stiffness / 2 * (r - LENGTH) ** 2


def lennard_jones(well: float) -> Function:
    return lambda r: well * ((LENGTH / r) ** 12 - 2 * (LENGTH / r) ** 6)


SOFT = "0.5*3000*(r-0.2)^2"
BONDS: dict[str, tuple[list[mm.Force], Function]] = {
    "harmonic": ([parabolas(3000.0)], parabola(3000.0)),
    "custom": ([bonds(SOFT)], parabola(3000.0)),
    "very soft": ([bonds("0.5*300*(r-0.2)^2")], parabola(300.0)),
    "stiff": ([bonds("0.5*1000000*(r-0.2)^2")], parabola(1e6)),
    "two classes": ([bonds(SOFT), parabolas(2000.0)], parabola(5000.0)),
    "two terms": ([bonds(SOFT), bonds(SOFT)], parabola(6000.0)),
    "softened": ([parabolas(5000.0), bonds("-0.5*4000*(r-0.2)^2")], parabola(1000.0)),
    "quartic": ([bonds("1e6*(r-0.2)^4")], lambda r: 1e6 * (r - LENGTH) ** 4),
    "Morse": ([bonds("300*(1-exp(-8*(r-0.2)))^2")], lambda r: 300 * (1 - math.exp(-8 * (r - LENGTH))) ** 2),
    "double well": (
        [bonds("40*(((r-0.25)/0.05)^2-1)^2")],
        lambda r: 40 * (((r - 0.25) / 0.05) ** 2 - 1) ** 2,
    ),
    "compound of two": ([compound("1500*(distance(p1,p2)-0.2)^2", [0, 1], [2, 0])], parabola(3000.0)),
    "compound of three": (
        [compound("1500*((distance(p1,p2)-0.2)^2+(distance(p1,p3)-0.2)^2)", [0, 1, 2])],
        parabola(3000.0),
    ),
    "exceptions": ([exceptions(200.0)], lennard_jones(200.0)),
    "pairs": ([pairs("1500*(r-0.2)^2")], parabola(3000.0)),
    "collective variables": ([collective("1500*((r1-0.2)^2+(r2-0.2)^2)")], parabola(3000.0)),
}


@pytest.mark.parametrize("kind", BONDS)
def test_bounds_of_bonds_hold_whatever_force_says_it(kind: str) -> None:
    forces, energy = BONDS[kind]
    ensemble = samples(triatomic(*forces, harmonic_angle()))
    exact = 2 * log_integral(energy, lambda r: r * r, 1e-4, 0.9)
    exact += log_integral(lambda t: 50 * (t - ANGLE) ** 2, math.sin, 0.0, math.pi)
    check(ensemble, exact)


def custom_angle(expression: str) -> mm.CustomAngleForce:
    force = mm.CustomAngleForce(expression)
    force.addAngle(1, 0, 2, [])
    return force


def exact_angle(energy: Function, temperature: float = 300.0) -> tuple[float, float]:
    """log of ∫ sin θ exp(−U/kT) dθ, and ⟨θ⟩."""
    log_z = log_integral(energy, math.sin, 0.0, math.pi, temperature)
    return log_z, math.exp(log_integral(energy, lambda t: t * math.sin(t), 0.0, math.pi, temperature) - log_z)


def check_angle(ensemble: bf.Ensemble, energy: Function, temperature: float = 300.0, length: float = LENGTH) -> None:
    log_z, mean = exact_angle(energy, temperature)
    bond = log_integral(lambda r: 1e5 * (r - length) ** 2, lambda r: r * r, 1e-4, 3 * length, temperature)
    check(ensemble, log_z + 2 * bond)
    value, error = ensemble.mean(angles(ensemble))
    assert abs(value - mean) < 4 * error, (value, error, mean)


@pytest.mark.parametrize("degrees", [100, 120, 150, 160, 165, 169, 172, 175])
@pytest.mark.parametrize("stiffness", [10.0, 20.0, 100.0, 1000.0])
def test_wide_angles_lose_nothing(degrees: int, stiffness: float) -> None:
    angle = math.radians(degrees)
    molecule = triatomic(harmonic_angle(stiffness, angle), angle=angle, stiff=True)
    check_angle(samples(molecule), lambda t: stiffness / 2 * (t - angle) ** 2)


@pytest.mark.parametrize("temperature", [10.0, 1000.0, 3000.0])
def test_bounds_hold_at_any_temperature(temperature: float) -> None:
    molecule = triatomic(harmonic_angle(300.0, 1.82), temperature=temperature, stiff=True)
    check_angle(samples(molecule), lambda t: 150 * (t - 1.82) ** 2, temperature)


def test_bounds_hold_for_a_range_of_temperatures() -> None:
    molecule = triatomic(harmonic_angle(30.0, 2.4), stiff=True)
    generator = bf.BoltzmannGenerator.for_system(
        molecule, layers=2, hidden=(8,), start="bonded", temperatures=(300, 600)
    )
    for temperature in (300.0, 600.0):
        check_angle(
            generator.sample(50_000, temperature=temperature, seed=1), lambda t: 15 * (t - 2.4) ** 2, temperature
        )


ANGLES: dict[str, tuple[list[mm.Force], Function]] = {
    "custom": ([custom_angle("25*(theta-2.6)^2")], lambda t: 25 * (t - 2.6) ** 2),
    "cosine": ([custom_angle("60*(1+cos(theta))")], lambda t: 60 * (1 + math.cos(t))),
    "two classes": (
        [custom_angle("25*(theta-2)^2"), harmonic_angle(20.0, 2.5)],
        lambda t: 25 * (t - 2) ** 2 + 10 * (t - 2.5) ** 2,
    ),
    "compound": ([compound("40*(angle(p1,p2,p3)-1.7)^2", [1, 0, 2])], lambda t: 40 * (t - 1.7) ** 2),
    "two wells": ([custom_angle("30*cos(4*theta)")], lambda t: 30 * math.cos(4 * t)),
    "none": ([], lambda _: 0.0),
}


@pytest.mark.parametrize("kind", ANGLES)
def test_bounds_of_angles_hold_whatever_force_says_it(kind: str) -> None:
    forces, energy = ANGLES[kind]
    check_angle(samples(triatomic(*forces, stiff=True)), energy)


def test_what_old_bounds_cut_off_is_part_of_the_verdict() -> None:
    """Bounds 0.05 rad from the line, as they once were: what they lose is computed, and exceeds the error."""
    angle, stiffness = math.radians(169), 100.0
    molecule = triatomic(harmonic_angle(stiffness, angle), angle=angle, stiff=True)
    coordinates = molecule.coordinates()
    specification = coordinates.specification
    specification["high"][2] = math.pi - 0.05
    narrow = InternalCoordinates.from_specification(specification)

    def energy(t: float) -> float:
        return stiffness / 2 * (t - angle) ** 2

    whole = log_integral(energy, math.sin, 0.0, math.pi)
    lost = 1 - math.exp(log_integral(energy, math.sin, 0.0, math.pi - 0.05) - whole)
    (found,) = molecule.cut_off(narrow).values()
    assert found == pytest.approx(lost, rel=1e-3)
    assert not molecule.cut_off(coordinates)
    assert not molecule.cut_off(molecule.coordinates(), 1200.0)
    ensemble = samples(molecule, coordinates=narrow)
    for some in (ensemble, ensemble[::2], ensemble.at(310.0)):
        for verdict in (absolute_free_energy(some).verdict, diagnose(some).verdict):
            assert verdict.trust is not Trust.TRUST
            assert "cut off a fraction 0.0097 of the equilibrium distribution" in str(verdict)
            assert coordinates.domain.names[2] in str(verdict)


def test_a_loss_is_saved_with_the_samples(tmp_path: Path) -> None:
    system = bf.load_system("alanine_dipeptide")
    ensemble = bf.Ensemble(system.positions[None], [0.0], 300.0, topology=system.mdtraj_topology)
    ensemble.cut_off = {"angle A B C": 0.25, "bond A B": 1e-3}
    ensemble.save(tmp_path)
    assert bf.Ensemble.load(tmp_path).cut_off == ensemble.cut_off


def test_one_free_coordinate() -> None:
    """Both bonds constrained: log Z is that of the angle, at the bonds' length."""
    molecule = triatomic(harmonic_angle(20.0))
    system = molecule.openmm_system
    for k in (1, 2):
        system.addConstraint(0, k, LENGTH)
    molecule = bf.MolecularSystem(molecule.topology, system, molecule.positions)
    exact = log_integral(lambda t: 10 * (t - ANGLE) ** 2, math.sin, 0.0, math.pi) + 4 * math.log(LENGTH)
    for options in ({}, {"start": "plain"}, {"temperatures": (300, 600)}):
        check(samples(molecule, **options), exact)


def test_a_reference_outside_its_domain_is_refused() -> None:
    system = bf.load_system("alanine_dipeptide")
    positions = system.positions
    alpha, beta, carbon = (system.atom_names.index(f"ALA2-{name}") for name in ("CA", "CB", "C"))
    axis = positions[carbon] - positions[alpha]  # the side chain where the carbonyl is
    positions[beta] = positions[alpha] + 0.9 * axis + [0.02, 0.0, 0.0]
    broken = bf.MolecularSystem(system.topology, system.openmm_system, positions)
    with pytest.raises(TopologyError, match=r"torsion .* is .*, not between .*: minimise"):
        broken.coordinates()
