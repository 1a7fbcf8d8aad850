"""Recognises the generalized Born models that OpenMM's application layer writes as a CustomGBForce.

The expressions must match exactly (except for spaces and the values of named constants). Any other model is evaluated
from its expressions (`custom_gb`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import openmm
import torch
from torch import Tensor

_DESCREENING = "select(step(r+sr2-or1),0.5*(1/L-1/U+0.25*(r-sr2^2/r)*(1/(U^2)-1/(L^2))+0.5*log(L/U)/r),0)"
_BOUNDS = {"U": "r+sr2", "L": "max(or1,D)", "D": "abs(r-sr2)"}
_NECK = "Ivdw+neckScale*Ineck"
_NECK_PARTS = _BOUNDS | {
    "Ivdw": _DESCREENING,
    "Ineck": "step(radius1+radius2+neckCut-r)*getm0(radindex1,radindex2)/(1+100*(r-getd0(radindex1,radindex2))^2+"
    "0.3*1000000*(r-getd0(radindex1,radindex2))^6)",
    "radius1": "or1+offset",
    "radius2": "or2+offset",
}
_RADIUS = {"radius": "or+offset"}
_PSI = {"psi": "I*or"}
_TANH: dict[str, tuple[float | str, ...]] = {
    "0.8*psi+2.909125*psi^3": (0.8, 0.0, 2.909125),
    "psi-0.8*psi^2+4.85*psi^3": (1.0, 0.8, 4.85),
    "1.09511284*psi-1.907992938*psi^2+2.50798245*psi^3": (1.09511284, 1.907992938, 2.50798245),
    "alpha*psi-beta*psi^2+gamma*psi^3": ("alpha", "beta", "gamma"),
}
_COULOMB = 138.935485
_DIELECTRICS = "(1/soluteDielectric-1/solventDielectric)"
_DISTANCE = {"f": "sqrt(r^2+B1*B2*exp(-r^2/(4*B1*B2)))"}
_SELF = "-0.5*138.935485*{}*charge^2/B"
_PAIR = "-138.935485*{}*charge1*charge2/f"
_SURFACE_TENSION = 28.3919551
_SURFACE = "28.3919551*(radius+0.14)^2*(radius/B)^6"


class _Expression(NamedTuple):
    """A parsed formula: the formula itself, its named subexpressions, the values of its named constants."""

    formula: str
    parts: dict[str, str]
    constants: dict[str, float]


class _UnknownModelError(Exception):
    """An expression is not one of the known ones."""


def read_custom_gb(force: openmm.CustomGBForce, n_atoms: int) -> dict[str, Any] | None:
    """The fields of a `BornModel`, read from a CustomGBForce; None if an expression is not one of the known ones."""
    try:
        return _read(force, n_atoms)
    except _UnknownModelError:
        return None


def _read(force: openmm.CustomGBForce, n_atoms: int) -> dict[str, Any]:
    names = [force.getPerParticleParameterName(i) for i in range(force.getNumPerParticleParameters())]
    atoms = [dict(zip(names, force.getParticleParameters(i), strict=True)) for i in range(n_atoms)]
    integral, radius = _computed_values(force)
    terms = _energy_terms(force)
    salt = _SELF.format(_DIELECTRICS) not in terms
    constants = _merged_constants([integral, radius, *terms.values()])
    return {
        "charge": [atom["charge"] for atom in atoms],
        "offset_radius": [atom["or"] for atom in atoms],
        "scaled_radius": [atom["sr"] for atom in atoms],
        "offset": constants.get("offset", 0.0),
        "tanh": _tanh(radius, atoms),
        "coulomb": _COULOMB,
        "solute_dielectric": constants["soluteDielectric"],
        "solvent_dielectric": constants["solventDielectric"],
        "kappa": constants["kappa"] if salt else 0.0,
        "surface_tension": _SURFACE_TENSION if _SURFACE in terms else 0.0,
        "neck": _neck(force, integral, atoms, constants),
    }


def _computed_values(force: openmm.CustomGBForce) -> list[_Expression]:
    """The expressions of I and B."""
    values = [force.getComputedValueParameters(i) for i in range(force.getNumComputedValues())]
    expected = [("I", openmm.CustomGBForce.ParticlePairNoExclusions), ("B", openmm.CustomGBForce.SingleParticle)]
    if [(name, kind) for name, _, kind in values] != expected:
        raise _UnknownModelError
    integral, radius = (_take_apart(force, expression) for _, expression, _ in values)
    plain = integral.formula == _DESCREENING and integral.parts == _BOUNDS
    if not plain and not (integral.formula == _NECK and integral.parts == _NECK_PARTS):
        raise _UnknownModelError
    return [integral, radius]


def _energy_terms(force: openmm.CustomGBForce) -> dict[str, _Expression]:
    """The expressions of the energy terms (self, pair and optional surface term), by formula; all of one model."""
    terms: dict[str, _Expression] = {}
    kinds: dict[str, int] = {}
    for i in range(force.getNumEnergyTerms()):
        text, kind = force.getEnergyTermParameters(i)
        expression = _take_apart(force, text)
        if expression.formula in terms:
            raise _UnknownModelError
        terms[expression.formula], kinds[expression.formula] = expression, kind
    for screening in (_DIELECTRICS, "(1/soluteDielectric-exp(-kappa*{})/solventDielectric)"):
        known = {
            _SELF.format(screening.format("B")): ({}, openmm.CustomGBForce.SingleParticle),
            _PAIR.format(screening.format("f")): (_DISTANCE, openmm.CustomGBForce.ParticlePairNoExclusions),
        }
        if _SURFACE in terms:
            known[_SURFACE] = (_RADIUS, openmm.CustomGBForce.SingleParticle)
        if known == {formula: (terms[formula].parts, kinds[formula]) for formula in terms}:
            return terms
    raise _UnknownModelError


def _tanh(radius: _Expression, atoms: list[dict[str, float]]) -> list[tuple[float, ...]] | None:
    """Coefficients (α, β, γ) of each atom, or None if B has no tanh."""
    if radius.formula == "1/(1/or-I)" and not radius.parts:
        return None
    for polynomial, coefficients in _TANH.items():
        if radius.formula == f"1/(1/or-tanh({polynomial})/radius)" and radius.parts == _PSI | _RADIUS:
            return [tuple(atom[c] if isinstance(c, str) else c for c in coefficients) for atom in atoms]
    raise _UnknownModelError


def _neck(
    force: openmm.CustomGBForce, integral: _Expression, atoms: list[dict[str, float]], constants: dict[str, float]
) -> tuple[float, float, Tensor, Tensor] | None:
    """Scale, cutoff, positions and heights of the neck correction, if the model has one."""
    if integral.formula != _NECK:
        return None
    index = torch.tensor([int(atom["radindex"]) for atom in atoms])
    tables = {}
    for i in range(force.getNumTabulatedFunctions()):
        table = force.getTabulatedFunction(i)
        if not isinstance(table, openmm.Discrete2DFunction):
            raise _UnknownModelError
        columns, rows, values = table.getFunctionParameters()
        # In OpenMM's tables the first argument runs fastest.
        matrix = torch.tensor(values, dtype=torch.float64).view(rows, columns).T
        tables[force.getTabulatedFunctionName(i)] = matrix[index[:, None], index]
    return constants["neckScale"], constants["neckCut"], tables["getd0"], tables["getm0"]


def _merged_constants(expressions: list[_Expression]) -> dict[str, float]:
    """The named constants of all expressions; constants with the same name must agree."""
    merged: dict[str, float] = {}
    for expression in expressions:
        for name, value in expression.constants.items():
            if merged.setdefault(name, value) != value:
                raise _UnknownModelError
    return merged


def _take_apart(force: openmm.CustomGBForce, text: str) -> _Expression:
    """Splits ``formula; name=part; name=number``; global parameters are constants at their default values."""
    formula, *definitions = (part for part in text.replace(" ", "").split(";") if part)
    parts: dict[str, str] = {}
    constants = {
        force.getGlobalParameterName(i): force.getGlobalParameterDefaultValue(i)
        for i in range(force.getNumGlobalParameters())
    }
    for definition in definitions:
        name, _, value = definition.partition("=")
        try:
            constants[name] = float(value)
        except ValueError:
            parts[name] = value
    return _Expression(formula, parts, constants)
