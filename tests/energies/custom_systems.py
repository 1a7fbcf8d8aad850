"""Small Systems, each with one kind of force in all its options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openmm
from openmm.app.internal import customgbforces

BOX = [openmm.Vec3(2, 0, 0), openmm.Vec3(0.3, 2.1, 0), openmm.Vec3(-0.4, 0.5, 2.2)]


def build(n: int, *forces: openmm.Force) -> openmm.System:
    """n particles in a triclinic box under some forces."""
    system = openmm.System()
    for _ in range(n):
        system.addParticle(12.0)
    system.setDefaultPeriodicBoxVectors(*BOX)
    for force in forces:
        system.addForce(force)
    return system


def random(*shape: int) -> Any:
    return np.random.default_rng(7).standard_normal(shape)


def bonded(periodic: bool) -> openmm.System:
    bond, angle, torsion = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.PeriodicTorsionForce()
    bond.addBond(0, 1, 0.1, 1000.0)
    bond.addBond(1, 3, 0.2, 500.0)
    angle.addAngle(0, 1, 2, 1.9, 100.0)
    torsion.addTorsion(0, 1, 2, 3, 2, 0.3, 5.0)
    for force in (bond, angle, torsion):
        force.setUsesPeriodicBoundaryConditions(periodic)
    return build(4, bond, angle, torsion)


def ryckaert_bellemans() -> openmm.System:
    force = openmm.RBTorsionForce()
    force.addTorsion(0, 1, 2, 3, 1, 2, -3, 4, 0.5, -0.7)
    force.addTorsion(3, 2, 1, 0, 1, -2, 0.3, 0, 0.5, 0.7)
    return build(4, force)


def correction_map() -> openmm.System:
    force = openmm.CMAPTorsionForce()
    force.addMap(24, random(24 * 24))
    force.addMap(6, random(36))
    force.addTorsion(0, 0, 1, 2, 3, 1, 2, 3, 4)
    force.addTorsion(1, 4, 3, 2, 1, 3, 2, 1, 0)
    return build(5, force)


def custom_bond() -> openmm.System:
    force = openmm.CustomBondForce("k*(r-r0)^4+g*exp(-r)*sin(3*r); r0=0.5*s")
    force.addPerBondParameter("k")
    force.addPerBondParameter("s")
    force.addGlobalParameter("g", 2.0)
    force.addBond(0, 1, [3.0, 0.4])
    force.addBond(1, 2, [2.0, 0.1])
    return build(3, force)


def custom_angle() -> openmm.System:
    force = openmm.CustomAngleForce("k*cos(theta)^2+sqrt(theta)")
    force.addPerAngleParameter("k")
    force.addAngle(0, 1, 2, [3.0])
    return build(3, force)


def custom_torsion() -> openmm.System:
    force = openmm.CustomTorsionForce("k*min(dt,2*pi-dt)^2; dt=abs(theta-t0); pi=3.14159")
    force.addPerTorsionParameter("k")
    force.addPerTorsionParameter("t0")
    force.addTorsion(0, 1, 2, 3, [3.0, 1.0])
    return build(4, force)


def custom_external() -> openmm.System:
    force = openmm.CustomExternalForce("k*((x-x0)^2+y^2*z)+select(step(x),x^3,atan2(y,z))")
    force.addPerParticleParameter("k")
    force.addPerParticleParameter("x0")
    force.addParticle(0, [1.0, 0.2])
    force.addParticle(2, [1.0, -0.2])
    return build(3, force)


def external_periodic() -> openmm.System:
    force = openmm.CustomExternalForce("k*periodicdistance(x,y,z,0.1,0.2,-0.3)^2")
    force.addGlobalParameter("k", 3)
    force.addParticle(0, [])
    force.addParticle(2, [])
    return build(3, force)


def compound() -> openmm.System:
    force = openmm.CustomCompoundBondForce(
        4,
        "k*distance(p1,p3)*angle(p1,p2,p4)+dihedral(p1,p2,p3,p4)^2+x1*y2-z4^3+pointdistance(x1,y1,z1,0,0,1)"
        "+pointangle(x1,y1,z1,x2,y2,z2,x3,y3,z3)*pointdihedral(x1,y1,z1,x2,y2,z2,x3,y3,z3,x4,y4,z4)",
    )
    force.addPerBondParameter("k")
    force.addBond([0, 1, 2, 3], [2.0])
    force.addBond([4, 1, 3, 2], [1.0])
    return build(5, force)


def centroids() -> openmm.System:
    force = openmm.CustomCentroidBondForce(3, "k*distance(g1,g2)^2+x1*y2+angle(g1,g2,g3)")
    force.addPerBondParameter("k")
    force.addGroup([0, 1, 2])
    force.addGroup([3, 4], [1.0, 2.0])
    force.addGroup([2, 4])
    force.addBond([0, 1, 2], [3.0])
    force.addBond([2, 1, 0], [1.0])
    system = build(5, force)
    system.setParticleMass(1, 3.0)
    return system


def collective_variables() -> openmm.System:
    force = openmm.CustomCVForce("(a-1)^2*b+s*a")
    force.addGlobalParameter("s", 2.0)
    bond, torsion = openmm.CustomBondForce("r"), openmm.CustomTorsionForce("theta")
    bond.addBond(0, 1, [])
    torsion.addTorsion(0, 1, 2, 3, [])
    force.addCollectiveVariable("a", bond)
    force.addCollectiveVariable("b", torsion)
    return build(4, force)


def nonbonded(method: str, *, switch: bool = False, offsets: bool = False, images: bool = False) -> openmm.System:
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(getattr(force, method))
    force.setCutoffDistance(0.9)
    force.setUseSwitchingFunction(switch)
    force.setSwitchingDistance(0.6)
    force.setExceptionsUsePeriodicBoundaryConditions(images)
    for i in range(12):
        force.addParticle(0.3 * (-1) ** i, 0.2 + 0.01 * (i % 5), 0.5 + 0.03 * (i % 5))
    force.addException(0, 1, 0.0, 0.1, 0.0)
    force.addException(2, 1, 0.2, 0.15, 0.3)
    force.addException(5, 3, 0.1, 0.3, 0.1)
    if offsets:
        force.addGlobalParameter("scale", 0.7)
        force.addParticleParameterOffset("scale", 0, 0.1, 0.02, 0.3)
        force.addExceptionParameterOffset("scale", 1, 0.1, 0.02, 0.3)
    return build(12, force)


def custom_nonbonded(method: str, *, groups: bool = False, switch: bool = False) -> openmm.System:
    force = openmm.CustomNonbondedForce(
        "eps*((s/r)^8-(s/r)^4)*tab(r)+d2(a1,a2)*exp(-r)+v1*v2; eps=sqrt(e1*e2); s=0.5*(s1+s2)"
    )
    for name in "esa":
        force.addPerParticleParameter(name)
    force.addComputedValue("v", "e*s*q")
    force.addGlobalParameter("q", 0.3)
    force.addTabulatedFunction("tab", openmm.Continuous1DFunction(list(random(20)), 0.0, 2.0))
    force.addTabulatedFunction("d2", openmm.Discrete2DFunction(3, 3, [1, 2, 3, 2, 5, 6, 3, 6, 9]))
    for i in range(10):
        force.addParticle([0.5 + 0.1 * i, 0.1 + 0.01 * i, i % 3])
    force.addExclusion(0, 1)
    force.addExclusion(3, 7)
    force.setNonbondedMethod(getattr(force, method))
    force.setCutoffDistance(0.9)
    force.setUseSwitchingFunction(switch)
    force.setSwitchingDistance(0.5)
    if groups:
        force.addInteractionGroup([0, 1, 2, 3], [2, 3, 4, 5])
        force.addInteractionGroup([6, 7], [6, 7])
    return build(10, force)


def tables() -> openmm.System:
    force = openmm.CustomCompoundBondForce(2, "t2(x1,y1)+t3(x1,y2,z1)+p1d(z2)+p2d(x1,x2)")
    force.addTabulatedFunction("t2", openmm.Continuous2DFunction(5, 7, list(random(35)), -1, 1, -1.5, 1.5))
    force.addTabulatedFunction("t3", openmm.Continuous3DFunction(5, 4, 6, list(random(120)), -1, 1, -1.5, 1.5, -1, 2))
    line = random(10)
    line[-1] = line[0]
    force.addTabulatedFunction("p1d", openmm.Continuous1DFunction(list(line), 0.0, 1.0, True))
    grid = random(5, 6)
    grid[-1], grid[:, -1] = grid[0], grid[:, 0]
    force.addTabulatedFunction("p2d", openmm.Continuous2DFunction(6, 5, list(grid.flatten()), 0.0, 1.0, 0.0, 2.0, True))
    force.addBond([0, 1], [])
    return build(2, force)


def virtual_sites() -> openmm.System:
    force = openmm.NonbondedForce()
    for i in range(7):
        force.addParticle(0.3 * (-1) ** i, 0.2, 0.5)
    system = build(7, force)
    for site in (2, 3, 4, 6):
        system.setParticleMass(site, 0.0)
    system.setVirtualSite(2, openmm.TwoParticleAverageSite(0, 1, 0.3, 0.7))
    system.setVirtualSite(3, openmm.ThreeParticleAverageSite(0, 1, 5, 0.2, 0.3, 0.5))
    system.setVirtualSite(4, openmm.OutOfPlaneSite(0, 1, 5, 0.3, 0.4, 1.5))
    weights = [0.5, 0.3, 0.2], [-1, 0.5, 0.5], [-0.3, -0.7, 1]
    system.setVirtualSite(6, openmm.LocalCoordinatesSite([0, 1, 5], *weights, [0.1, 0.2, -0.3]))
    return system


def born(cutoff: float | None = None, *, changed: bool = False) -> openmm.System:
    force = customgbforces.GBSAOBC2Force(cutoff=cutoff, SA=None if cutoff else "ACE")
    for i in range(8):
        force.addParticle([0.3 * (-1) ** i, 0.15 + 0.01 * i, 0.8])
    force.finalize()
    if cutoff:
        force.setNonbondedMethod(force.CutoffNonPeriodic)
        force.setCutoffDistance(cutoff)
    if changed:
        _, expression, kind = force.getComputedValueParameters(1)
        force.setComputedValueParameters(1, "B", expression.replace("0.8*psi", "0.81*psi"), kind)
    return build(8, force)


def gbsa_obc(method: str) -> openmm.System:
    force = openmm.GBSAOBCForce()
    force.setNonbondedMethod(getattr(force, method))
    force.setCutoffDistance(0.9)
    for i in range(8):
        force.addParticle(0.3 * (-1) ** i, 0.15 + 0.02 * i, 1.2 if i == 3 else 0.8)
    return build(8, force)


def any_custom_gb() -> openmm.System:
    force = openmm.CustomGBForce()
    force.addPerParticleParameter("q")
    force.addComputedValue("a", "q2*exp(-r)", force.ParticlePair)
    force.addComputedValue("b", "a^2+x*q", force.SingleParticle)
    force.addComputedValue("c", "sin(b)+a*y", force.SingleParticle)
    force.addEnergyTerm("c*b+z*q", force.SingleParticle)
    force.addEnergyTerm("a1*a2*c1*c2/(r+1)+q1*q2*r", force.ParticlePair)
    for i in range(6):
        force.addParticle([0.2 + 0.1 * i])
    force.addExclusion(0, 1)
    force.addExclusion(2, 4)
    return build(6, force)


SYSTEMS: dict[str, tuple[Callable[[], openmm.System], float]] = {
    "bonded": (lambda: bonded(False), 0.3),
    "bonded, periodic": (lambda: bonded(True), 1.5),
    "Ryckaert-Bellemans": (ryckaert_bellemans, 0.3),
    "CMAP": (correction_map, 0.3),
    "custom bond": (custom_bond, 0.3),
    "custom angle": (custom_angle, 0.3),
    "custom torsion": (custom_torsion, 0.3),
    "custom external": (custom_external, 0.3),
    "custom external, periodic": (external_periodic, 1.0),
    "compound": (compound, 0.3),
    "centroids": (centroids, 0.3),
    "collective variables": (collective_variables, 0.3),
    "nonbonded, offsets": (lambda: nonbonded("NoCutoff", offsets=True), 0.6),
    "nonbonded, cutoff": (lambda: nonbonded("CutoffNonPeriodic"), 0.6),
    "nonbonded, switch": (lambda: nonbonded("CutoffNonPeriodic", switch=True, offsets=True), 0.6),
    "nonbonded, periodic": (lambda: nonbonded("CutoffPeriodic"), 0.9),
    "nonbonded, periodic switch": (lambda: nonbonded("CutoffPeriodic", switch=True, images=True), 0.9),
    "custom nonbonded": (lambda: custom_nonbonded("NoCutoff"), 0.6),
    "custom nonbonded, groups": (lambda: custom_nonbonded("NoCutoff", groups=True), 0.6),
    "custom nonbonded, switch": (lambda: custom_nonbonded("CutoffNonPeriodic", switch=True), 0.6),
    "custom nonbonded, periodic": (lambda: custom_nonbonded("CutoffPeriodic"), 0.6),
    "tables": (tables, 0.5),
    "virtual sites": (virtual_sites, 0.3),
    "Born, changed": (lambda: born(changed=True), 0.5),
    "Born, cutoff": (lambda: born(1.0), 0.5),
    "GBSA-OBC": (lambda: gbsa_obc("NoCutoff"), 0.4),
    "GBSA-OBC, cutoff": (lambda: gbsa_obc("CutoffNonPeriodic"), 0.4),
    "GBSA-OBC, periodic": (lambda: gbsa_obc("CutoffPeriodic"), 0.4),
    "any custom GB": (any_custom_gb, 0.3),
}
"""By name: what builds the System, and the spread of random positions (nm) that reaches all its branches."""
