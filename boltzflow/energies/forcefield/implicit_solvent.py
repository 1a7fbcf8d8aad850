"""Generalized Born implicit solvent in all the forms that OpenMM's force fields use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import openmm
import openmm.unit as u
import torch
from torch import Tensor

from boltzflow.energies.expressions import constant, parse
from boltzflow.energies.forcefield.born_expressions import read_custom_gb
from boltzflow.energies.forcefield.custom_gb import ComputedValues, computed_values
from boltzflow.energies.forcefield.nonbonded import COULOMB_CONSTANT
from boltzflow.energies.forcefield.pair_expression import truncated
from boltzflow.energies.forcefield.term import Box, Term, column, pair_displacements, pair_forces, stored
from boltzflow.energies.forcefield.translation import Translation

PROBE_RADIUS = 0.14
"""Radius of the solvent probe of the surface-area term, nm."""


@dataclass(frozen=True)
class BornModel:
    """The parameters of a generalized Born model. Lengths in nm, energies in kJ/mol, charges in e.

    Attributes:
        charge, offset_radius, scaled_radius: one number an atom.
        offset: what `offset_radius` lacks of the atom's radius.
        tanh: coefficients (α, β, γ) an atom of tanh(αψ − βψ² + γψ³), or None for the form of Hawkins,
            Cramer and Truhlar, 1/B = 1/radius − I.
        coulomb: 1/(4π ε₀).
        solute_dielectric, solvent_dielectric: relative permittivities.
        kappa: inverse Debye length, 1/nm.
        surface_tension: 4π times the surface energy, kJ/(mol nm²).
        engulfed: whether a descreening atom that contains the descreened one adds 1/radius − 1/L to I.
        neck: scale, cutoff length, and matrices (N, N) of positions and heights of the neck correction.
    """

    charge: Sequence[float]
    offset_radius: Sequence[float]
    scaled_radius: Sequence[float]
    offset: float
    tanh: Sequence[tuple[float, float, float]] | None
    coulomb: float
    solute_dielectric: float
    solvent_dielectric: float
    kappa: float = 0.0
    surface_tension: float = 0.0
    engulfed: bool = False
    neck: tuple[float, float, Tensor, Tensor] | None = None


class GeneralizedBorn(Term):
    """Generalized Born energy with its surface-area term.

    Born radii by pairwise descreening (Hawkins, Cramer, Truhlar 1996) with the corrections of Onufriev,
    Bashford and Case (2004) and the neck of Mongan et al. (2007).
    """

    charge: Tensor
    identity: Tensor
    own_radius: Tensor
    own_inverse: Tensor
    scaled_radius: Tensor
    tanh: Tensor
    tanh_scale: Tensor
    surface: Tensor
    neck_position: Tensor
    neck_height: Tensor
    neck_cutoff: Tensor

    def __init__(self, model: BornModel) -> None:
        super().__init__()
        n = len(model.charge)
        charge, own = column(model.charge), column(model.offset_radius)
        radius = own + model.offset
        self.register_buffer("charge", (model.coulomb * charge * charge.T)[..., None])
        self.register_buffer("identity", torch.eye(n, dtype=torch.float64)[..., None])
        self.register_buffer("own_radius", own)
        self.register_buffer("own_inverse", 1 / own)
        # A descreening radius of −10 nm on the diagonal puts an atom outside its own range.
        scaled_radius = column(model.scaled_radius).T.repeat(n, 1).fill_diagonal_(-10.0)
        self.register_buffer("scaled_radius", scaled_radius[..., None])
        self.has_tanh, self.has_neck = model.tanh is not None, model.neck is not None
        if model.tanh is not None:
            # Powers of the offset radius turn polynomials in ψ = I · offset radius into polynomials in I.
            powers = own[:, 0] ** torch.arange(1, 4, dtype=torch.float64)[:, None]
            self.register_buffer("tanh", (powers * torch.tensor(model.tanh, dtype=torch.float64).T)[..., None])
            self.register_buffer("tanh_scale", 1 / radius)
        if model.neck is not None:
            scale, cutoff, position, height = model.neck
            self.register_buffer("neck_position", position[..., None])
            self.register_buffer("neck_height", (scale * height).fill_diagonal_(0.0)[..., None])
            self.register_buffer("neck_cutoff", (radius + radius.T + cutoff)[..., None])
        self.has_surface = model.surface_tension != 0
        self.register_buffer("surface", model.surface_tension * (radius + PROBE_RADIUS) ** 2 * radius**6)
        self.solute = 1 / model.solute_dielectric
        self.solvent = 1 / model.solvent_dielectric
        self.kappa = model.kappa
        self.engulfed = model.engulfed

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        d, r_squared = pair_displacements(x)
        descreening, descreening_slope = self._descreening(r_squared)
        curvature, curvature_slope = self._curvature(descreening.sum(1))
        energy, weight, per_logarithm = self._polarization(r_squared, curvature)
        if self.has_surface:
            surface = self.surface * curvature**6
            energy = energy + surface.sum(0)
            per_logarithm = per_logarithm + 6 * surface
        chain = stored(per_logarithm * curvature_slope / curvature)[:, None] * descreening_slope
        weight = weight + chain + chain.transpose(0, 1)
        return energy, pair_forces(-weight, d)

    def _descreening(self, r_squared: Tensor) -> tuple[Tensor, Tensor]:
        """What atom j takes from the integral of atom i, and (1/r) times its derivative by r: (N, N, batch)."""
        inverse = torch.rsqrt(r_squared + self.identity)
        r = (r_squared + self.identity) * inverse
        own, other = self.own_radius[:, None], self.scaled_radius
        distance = r - other
        # The floors change nothing where j reaches i, and keep logarithms real where it does not.
        far, near = torch.maximum(r + other, own), torch.maximum(distance.abs(), own)
        inverse_area = 1 / (far * near)
        upper, lower = near * inverse_area, far * inverse_area  # 1/U and 1/L by one division
        squares = 0.25 * (upper - lower) * (upper + lower)
        reduced = other * other * inverse
        logarithm = 0.5 * torch.log(near * upper) * inverse
        value = 0.5 * (lower - upper + (r - reduced) * squares + logarithm)
        slope = 0.5 * ((1 + reduced * inverse) * squares - logarithm * inverse)
        inside = -distance > own  # atom i lies inside atom j
        if self.engulfed:
            value = value + torch.where(inside, self.own_inverse[:, None] - lower, 0.0)
        else:
            slope = slope + torch.where(inside, lower * lower, 0.0)
        reached = r + other >= own
        value, slope = torch.where(reached, value, 0.0), torch.where(reached, slope * inverse, 0.0)
        if self.has_neck:
            neck, neck_slope = self._neck(r)
            value, slope = value + neck, slope + neck_slope * inverse
        return stored(value), stored(slope)

    def _neck(self, r: Tensor) -> tuple[Tensor, Tensor]:
        shift = r - self.neck_position
        square = shift * shift
        fourth = square * square
        denominator = 1 / (1 + 100 * square + 0.3e6 * fourth * square)
        value = torch.where(r <= self.neck_cutoff, self.neck_height * denominator, 0.0)
        return value, -value * denominator * shift * (200 + 1.8e6 * fourth)

    def _curvature(self, integral: Tensor) -> tuple[Tensor, Tensor]:
        """Inverse Born radii c = 1/B and their derivatives by the integral I: (N, batch)."""
        if not self.has_tanh:
            return stored(self.own_inverse - integral), -torch.ones_like(integral)
        alpha, beta, gamma = self.tanh
        tanh = stored(torch.tanh(integral * (alpha - integral * (beta - gamma * integral))))
        inner = alpha - integral * (2 * beta - 3 * gamma * integral)
        return stored(self.own_inverse - tanh * self.tanh_scale), (tanh * tanh - 1) * inner * self.tanh_scale

    def _polarization(self, r_squared: Tensor, curvature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Energy (batch,), weights of the displacements (N, N, batch), c · d(energy)/dc (N, batch).

        The diagonal, where r = 0 and f = B, is the self-energy.
        """
        product = curvature[:, None] * curvature
        ratio = 0.25 * r_squared * product
        overlap = torch.exp(-ratio)
        term = overlap / product
        inverse = torch.rsqrt(r_squared + term)  # 1/f
        charge = self.charge * inverse
        if self.kappa:
            screening = self.solvent * torch.exp(-self.kappa / inverse)
            pair = -charge * (self.solute - screening)
            slope = -inverse * (pair + self.kappa * screening * self.charge)  # d(pair)/df
        else:
            pair = (self.solvent - self.solute) * charge
            slope = -inverse * pair
        per_square = 0.5 * slope * inverse  # d(pair)/d(f²)
        weight = 2 * per_square * (1 - 0.25 * overlap)
        return 0.5 * pair.sum((0, 1)), weight, -(per_square * term * (1 + ratio)).sum(1)


def custom_gb(force: openmm.CustomGBForce, system: Translation) -> list[Term]:
    """Translates a CustomGBForce: models of OpenMM's force fields by a kernel of their own, all others as written."""
    if force.getNonbondedMethod() == force.NoCutoff and not system.globals:
        model = read_custom_gb(force, system.n_atoms)
        if model is not None:
            return [GeneralizedBorn(BornModel(**model))]
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
        return [GeneralizedBorn(model)]
    return [_with_cutoff(model, force.getCutoffDistance().value_in_unit(u.nanometer), system.box_of(force))]


_INTEGRAL = """select(step(r+other2-own1), 0.5*(1/L-1/U+0.25*(r-other2^2/r)*(1/U^2-1/L^2)+0.5*log(L/U)/r)+inside, 0);
inside = step(other2-r-own1)*(1/own1-1/L); U = r+other2; L = max(own1, abs(r-other2))"""
_RADIUS = "1/(1/own-tanh(psi-0.8*psi^2+4.85*psi^3)/(own+offset)); psi = I*own"
_SELF = "-0.5*scale*charge^2/B+tension*(own+offset+probe)^2*((own+offset)/B)^6"
_PAIR = "-scale*charge1*charge2*(1/sqrt(r^2+B1*B2*exp(-r^2/(4*B1*B2)))-1/cutoff)"


def _with_cutoff(model: BornModel, cutoff: float, box: Box | None) -> Term:
    """The model of a GBSAOBCForce with a cutoff, where each pair's energy is shifted by that of a bare pair."""
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
        ("I", truncated(integral, cutoff)),
        {"B": radius},
        single,
        truncated(pair, cutoff),
        {name: torch.tensor(values, dtype=torch.float64) for name, values in columns.items()},
        others,
        others.triu(1),
        box,
    )
