"""Systems under custom forces with random expressions, guarded ones included."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import openmm

from boltzflow.energies.expressions import Expression, parse
from boltzflow.energies.expressions.expression import walk
from boltzflow.energies.expressions.functions import FUNCTIONS

from .custom_systems import build

UNARY = [name for name, function in FUNCTIONS.items() if function.arity == 1]
EXPONENTS = ("2", "3", "-1", "-2", "1", "6", "-12", "0.5", "1.5")
GUARDS = (
    "select(step({c}-{v}), sqrt({c}-{v}), {a})",
    "select(step({v}-{c}), {a}, log({c}-{v}))",
    "select(step({v}-{c}), ({v}-{c})^1.5, {a})",
    "select(delta({v}), {a}, {b}/{v})",
    "select({a}, {b}, acos({v}+{c}))",
    "max(-log({c}-{v}), {a})",
    "max({a}, 1/({v}-{c}))",
    "min(log({c}-{v}), {a})",
    "min(sqrt({c}-{v}), {a})",
    "max(sqrt({c}-{v}), {a})",
    "step({v}-{c})*({v}-{c})^2",
    "select(step({a}), exp(800*{v})*exp(-800*{v}), asin({v}))",
    "select(step(1-({v}/{c})^2), log(1-({v}/{c})^2), {a})",
)
FUNCTIONS_OF_POINTS = ("distance", "angle", "dihedral", "periodicdistance")
N = 5


class Writer:
    """Writes random expressions of some variables.

    Args:
        rng: the source of randomness.
        tables: names of functions of one variable that a force has.
    """

    def __init__(self, rng: np.random.Generator, tables: Sequence[str] = ()) -> None:
        self.rng, self.tables = rng, tables
        self.macros = {name: lambda arguments: arguments[0] for name in (*tables, *FUNCTIONS_OF_POINTS)}

    def number(self) -> str:
        return f"{self.rng.uniform(0.05, 2.0):.3g}"

    def text(self, variables: Sequence[str]) -> str:
        """An expression, in half of all cases with intermediate definitions.

        No part of it is a constant that is not finite: OpenMM may compare NaNs with each other for ever.
        """
        self.definitions = ""
        if self.rng.random() < 0.5:
            self.definitions = f"; R={self.number()}"
            self.definitions = f"; mid={self.part([*variables, 'R'], 2)}{self.definitions}"
            variables = [*variables, "R", "mid"]
        while True:
            text = self.part(variables, 3) + self.definitions
            read = parse(text, self.macros)
            if all(_is_sound(node) for name in read.variables for node in walk([read.derivative(name)])):
                return text

    def part(self, variables: Sequence[str], depth: int) -> str:
        while True:
            text = self.any_part(variables, depth)
            if _is_sound(parse(text + self.definitions, self.macros)):
                return text

    def any_part(self, variables: Sequence[str], depth: int) -> str:
        kind = self.rng.random()
        if depth == 0 or kind < 0.1:
            return str(self.rng.choice(variables)) if self.rng.random() < 0.75 else self.number()
        a, b = (self.part(variables, depth - 1) for _ in range(2))
        if kind < 0.4:
            return f"({a} {self.rng.choice(list('+-*/'))} {b})"
        # OpenMM makes x of square(sqrt(x)), and |x| of sqrt(square(x)): what stands between keeps them apart.
        if kind < 0.55:
            exponent = self.rng.choice(EXPONENTS) if self.rng.random() < 0.8 else f"({b})"
            return f"({self.number()} + ({a})^{exponent})"
        if kind < 0.75:
            name = str(self.rng.choice([*UNARY, *self.tables]))
            inside = f"step({a})+delta({b})" if name == "levels" else a
            return f"({self.number()} + {name}({inside}))"
        if kind < 0.85:
            c = self.part(variables, depth - 1)
            return str(
                self.rng.choice([f"min({a}, {b})", f"max({a}, {b})", f"atan2({a}, {b})", f"select({a}, {b}, {c})"])
            )
        v = self.rng.choice([name for name in variables if name not in ("R", "mid")])
        return str(self.rng.choice(GUARDS)).format(v=v, c=self.number(), a=a, b=b)


def _is_sound(expression: Expression) -> bool:
    return expression.number is None or math.isfinite(expression.number)


def with_tables(force: openmm.Force, rng: np.random.Generator) -> list[str]:
    """Adds tables to a force: a natural and a periodic spline, and a discrete one of three values."""
    values = rng.standard_normal(8)
    force.addTabulatedFunction("natural", openmm.Continuous1DFunction(list(values), -0.5, 1.0))
    force.addTabulatedFunction("periodic", openmm.Continuous1DFunction([*values[:-1], values[0]], 0.0, 0.7, True))
    force.addTabulatedFunction("levels", openmm.Discrete1DFunction(list(values[:3])))
    return ["natural", "periodic", "levels"]


def parameter(rng: np.random.Generator) -> float:
    return float(rng.choice([0.0, 1.0, -0.5, rng.uniform(0.1, 2.0)]))


def bonded(kind: str, width: int, variables: Sequence[str]) -> Callable[[np.random.Generator], openmm.Force]:
    def make(rng: np.random.Generator) -> openmm.Force:
        force = getattr(openmm, f"Custom{kind}Force")(Writer(rng).text([*variables, "k", "g"]))
        getattr(force, f"addPer{kind}Parameter")("k")
        force.addGlobalParameter("g", parameter(rng))
        for first in range(2):
            getattr(force, f"add{kind}")(*range(first, first + width), [parameter(rng)])
        return force

    return make


def external(rng: np.random.Generator) -> openmm.Force:
    distance = "periodicdistance(x,y,z,0.1,-0.2,0.3)"
    force = openmm.CustomExternalForce(Writer(rng).text(["x", "y", "z", "k", "g", distance]))
    force.addPerParticleParameter("k")
    force.addGlobalParameter("g", parameter(rng))
    for i in range(3):
        force.addParticle(i, [parameter(rng)])
    return force


def compound(rng: np.random.Generator) -> openmm.Force:
    measured = ["distance(p1,p2)", "angle(p1,p2,p3)", "dihedral(p1,p2,p3,p4)", "x1", "y2", "z3"]
    force = openmm.CustomCompoundBondForce(4, "0")
    force.setEnergyFunction(Writer(rng, with_tables(force, rng)).text([*measured, "k"]))
    force.addPerBondParameter("k")
    force.addBond([0, 1, 2, 3], [parameter(rng)])
    force.addBond([4, 1, 3, 2], [parameter(rng)])
    return force


# Which of two particles is the first is not said: energies of pairs are symmetric.


def nonbonded(rng: np.random.Generator) -> openmm.Force:
    force = openmm.CustomNonbondedForce("0")
    text = Writer(rng, with_tables(force, rng)).text(["r", "r", "(a1+a2)", "(b1*b2)", "(1/(a1*a2))", "g"])
    force.setEnergyFunction(text)
    force.addPerParticleParameter("a")
    force.addPerParticleParameter("b")
    force.addGlobalParameter("g", parameter(rng))
    for _ in range(N):
        force.addParticle([parameter(rng), parameter(rng)])
    force.addExclusion(0, 1)
    force.setNonbondedMethod(int(rng.choice([force.NoCutoff, force.CutoffNonPeriodic, force.CutoffPeriodic])))
    force.setCutoffDistance(0.6)
    force.setSwitchingDistance(0.35)
    force.setUseSwitchingFunction(bool(rng.random() < 0.5) and force.getNonbondedMethod() != force.NoCutoff)
    return force


def born(rng: np.random.Generator) -> openmm.Force:
    force = openmm.CustomGBForce()
    writer = Writer(rng, with_tables(force, rng))
    pair = int(rng.choice([force.ParticlePair, force.ParticlePairNoExclusions]))
    force.addPerParticleParameter("a")
    force.addGlobalParameter("g", parameter(rng))
    force.addComputedValue("v", writer.text(["r", "a1", "a2", "g"]), pair)
    force.addComputedValue("w", writer.text(["v", "a", "x"]), force.SingleParticle)
    force.addEnergyTerm(writer.text(["w", "v", "a", "y"]), force.SingleParticle)
    force.addEnergyTerm(writer.text(["r", "(v1*v2)", "(w1+w2)", "(a1*a2)"]), pair)
    for _ in range(N):
        force.addParticle([parameter(rng)])
    force.addExclusion(1, 2)
    force.setNonbondedMethod(int(rng.choice([force.NoCutoff, force.CutoffNonPeriodic, force.CutoffPeriodic])))
    force.setCutoffDistance(0.6)
    return force


def collective(rng: np.random.Generator) -> openmm.Force:
    force = openmm.CustomCVForce(Writer(rng).text(["one", "two", "g"]))
    force.addCollectiveVariable("one", bonded("Bond", 2, ["r"])(rng))
    force.addCollectiveVariable("two", openmm.CustomExternalForce("x*y"))
    force.getCollectiveVariable(1).addParticle(0, [])
    force.addGlobalParameter("g", parameter(rng))
    return force


FORCES: dict[str, Callable[[np.random.Generator], openmm.Force]] = {
    "bond": bonded("Bond", 2, ["r"]),
    "angle": bonded("Angle", 3, ["theta"]),
    "torsion": bonded("Torsion", 4, ["theta"]),
    "external": external,
    "compound": compound,
    "nonbonded": nonbonded,
    "Born": born,
    "collective": collective,
}


def random_system(kind: str, seed: int) -> tuple[openmm.System, str]:
    """Five particles under one random force and a bond beside it; the force's expressions."""
    rng = np.random.default_rng([list(FORCES).index(kind), seed])
    force = FORCES[kind](rng)
    bond = openmm.HarmonicBondForce()
    bond.addBond(3, 4, 0.2, 100.0)
    if isinstance(force, openmm.CustomGBForce):
        texts = [force.getComputedValueParameters(i)[1] for i in range(2)]
        texts += [force.getEnergyTermParameters(i)[0] for i in range(2)]
    else:
        texts = [force.getEnergyFunction()]
    return build(N, force, bond), " | ".join(texts)
