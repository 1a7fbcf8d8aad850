"""Translation of generalized Born forces."""

from __future__ import annotations

import openmm
import openmm.unit as u
import torch

from boltzflow.energies.expressions import constant, parse
from boltzflow.energies.forcefield.born_expressions import read_custom_gb
from boltzflow.energies.forcefield.custom_gb import ComputedValues, computed_values
from boltzflow.energies.forcefield.generalized_born import PROBE_RADIUS, BornModel, GeneralizedBorn
from boltzflow.energies.forcefield.nonbonded import COULOMB_CONSTANT
from boltzflow.energies.forcefield.pair_expression import truncated
from boltzflow.energies.forcefield.pairs import AllPairs
from boltzflow.energies.forcefield.term import Box, Term
from boltzflow.energies.forcefield.translation import Translation


def custom_gb(force: openmm.CustomGBForce, system: Translation) -> list[Term]:
    """Translates a CustomGBForce: known models to an optimised kernel, all others from their expressions."""
    if force.getNonbondedMethod() == force.NoCutoff and not system.globals:
        model = read_custom_gb(force, system.n_atoms)
        if model is not None:
            return [AllPairs([GeneralizedBorn(BornModel(**model))], system.n_atoms)]
    return [computed_values(force, system)]


def gbsa_obc(force: openmm.GBSAOBCForce, system: Translation) -> list[Term]:
    """Translates a GBSAOBCForce (Onufriev, Bashford, Case 2004, model II)."""
    offset = 0.009
    particles = [force.getParticleParameters(i) for i in range(system.n_atoms)]
    radii = [p[1].value_in_unit(u.nanometer) - offset for p in particles]
    model = BornModel(
        charge=[p[0].value_in_unit(u.elementary_charge) for p in particles],
        offset_radius=radii,
        scaled_radius=[p[2] * radius for p, radius in zip(particles, radii, strict=True)],
        offset=offset,
        tanh=[(1.0, 0.8, 4.85)] * system.n_atoms,
        coulomb=COULOMB_CONSTANT,
        solute_dielectric=force.getSoluteDielectric(),
        solvent_dielectric=force.getSolventDielectric(),
        surface_tension=4
        * torch.pi
        * force.getSurfaceAreaEnergy().value_in_unit(u.kilojoule_per_mole / u.nanometer**2),
        engulfed=True,
    )
    if force.getNonbondedMethod() == force.NoCutoff:
        return [AllPairs([GeneralizedBorn(model)], system.n_atoms)]
    return [_with_cutoff(model, force.getCutoffDistance().value_in_unit(u.nanometer), system.box_of(force))]


_INTEGRAL = """select(step(r+other2-own1), 0.5*(1/L-1/U+0.25*(r-other2^2/r)*(1/U^2-1/L^2)+0.5*log(L/U)/r)+inside, 0);
inside = step(other2-r-own1)*(1/own1-1/L); U = r+other2; L = max(own1, abs(r-other2))"""
_RADIUS = "1/(1/own-tanh(psi-0.8*psi^2+4.85*psi^3)/(own+offset)); psi = I*own"
_SELF = "-0.5*scale*charge^2/B+tension*(own+offset+probe)^2*((own+offset)/B)^6"
_PAIR = "-scale*charge1*charge2*(1/sqrt(r^2+B1*B2*exp(-r^2/(4*B1*B2)))-1/cutoff)"


def _with_cutoff(model: BornModel, cutoff: float, box: Box | None) -> Term:
    """The model of a GBSAOBCForce with a cutoff, which shifts each pair's energy by that of an unscreened pair."""
    n = len(model.charge)
    numbers = {
        "scale": model.coulomb * (1 / model.solute_dielectric - 1 / model.solvent_dielectric),
        "tension": model.surface_tension,
        "offset": model.offset,
        "probe": PROBE_RADIUS,
        "cutoff": cutoff,
    }
    integral, radius, single, pair = (
        parse(text).replace({name: constant(number) for name, number in numbers.items()})
        for text in (_INTEGRAL, _RADIUS, _SELF, _PAIR)
    )
    columns = {"charge": model.charge, "own": model.offset_radius, "other": model.scaled_radius}
    others = ~torch.eye(n, dtype=torch.bool)
    return ComputedValues(
        ("I", truncated(integral, cutoff, inclusive=True)),
        {"B": radius},
        single,
        truncated(pair, cutoff, inclusive=True),
        {name: torch.tensor(values, dtype=torch.float64) for name, values in columns.items()},
        others,
        others.triu(1),
        box,
    )
