"""Generalized Born implicit solvent in all the forms that OpenMM's force fields use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import openmm
import openmm.unit as u
import torch
from torch import Tensor

from boltzflow.energies.forcefield.born_expressions import read_custom_gb
from boltzflow.energies.forcefield.nonbonded import COULOMB_CONSTANT
from boltzflow.energies.forcefield.term import Term, column, pair_displacements, unsupported

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

    radius: Tensor
    offset_radius: Tensor
    scaled_radius: Tensor
    charge: Tensor
    identity: Tensor
    tanh: Tensor
    neck_position: Tensor
    neck_height: Tensor
    neck_cutoff: Tensor

    def __init__(self, model: BornModel) -> None:
        super().__init__()
        n = len(model.charge)
        charge, offset_radius = column(model.charge), column(model.offset_radius)
        # A descreening radius of −10 nm on the diagonal puts an atom outside its own range.
        scaled_radius = column(model.scaled_radius).T.repeat(n, 1).fill_diagonal_(-10.0)
        self.register_buffer("radius", offset_radius + model.offset)
        self.register_buffer("offset_radius", offset_radius)
        self.register_buffer("scaled_radius", scaled_radius[..., None])
        self.register_buffer("charge", (model.coulomb * charge * charge.T)[..., None])
        self.register_buffer("identity", torch.eye(n, dtype=torch.float64)[..., None])
        self.has_tanh, self.has_neck = model.tanh is not None, model.neck is not None
        if model.tanh is not None:
            self.register_buffer("tanh", torch.tensor(model.tanh, dtype=torch.float64).T[..., None])
        if model.neck is not None:
            scale, cutoff, position, height = model.neck
            radius = (offset_radius + model.offset)[:, 0]
            self.register_buffer("neck_position", position[..., None])
            self.register_buffer("neck_height", (scale * height).fill_diagonal_(0.0)[..., None])
            self.register_buffer("neck_cutoff", (radius[:, None] + radius + cutoff)[..., None])
        self.solute = 1 / model.solute_dielectric
        self.solvent = 1 / model.solvent_dielectric
        self.kappa = model.kappa
        self.surface_tension = model.surface_tension
        self.engulfed = model.engulfed

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        d, r_squared = pair_displacements(x)
        descreening, descreening_slope = self._descreening(r_squared)
        born, born_slope = self._born_radii(descreening.sum(1))
        energy, weight, per_born = self._polarization(r_squared, born)
        if self.surface_tension:
            surface = self.surface_tension * (self.radius + PROBE_RADIUS) ** 2 * (self.radius / born) ** 6
            energy = energy + surface.sum(0)
            per_born = per_born - 6 * surface / born
        chain = (per_born * born_slope)[:, None] * descreening_slope
        weight = weight + chain + chain.transpose(0, 1)
        return energy, -(weight * d).sum(2)

    def _descreening(self, r_squared: Tensor) -> tuple[Tensor, Tensor]:
        """What atom j takes from the integral of atom i, and (1/r) times its derivative by r: (N, N, batch)."""
        inverse = torch.rsqrt(r_squared + self.identity)
        r = (r_squared + self.identity) * inverse
        own, other = self.offset_radius[:, None], self.scaled_radius
        distance = r - other
        # The floors change nothing where j reaches i, and keep logarithms real where it does not.
        upper = 1 / torch.maximum(r + other, own)
        lower = 1 / torch.maximum(distance.abs(), own)
        squares = 0.25 * (upper - lower) * (upper + lower)
        reduced = other * other * inverse
        logarithm = 0.5 * torch.log(upper / lower) * inverse
        value = 0.5 * (lower - upper + (r - reduced) * squares + logarithm)
        slope = 0.5 * ((1 + reduced * inverse) * squares - logarithm * inverse)
        inside = -distance > own  # atom i lies inside atom j
        if self.engulfed:
            value = value + torch.where(inside, 1 / own - lower, 0.0)
        else:
            slope = slope + torch.where(inside, lower * lower, 0.0)
        reached = r + other >= own
        value, slope = torch.where(reached, value, 0.0), torch.where(reached, slope * inverse, 0.0)
        if self.has_neck:
            neck, neck_slope = self._neck(r)
            value, slope = value + neck, slope + neck_slope * inverse
        return value, slope

    def _neck(self, r: Tensor) -> tuple[Tensor, Tensor]:
        shift = r - self.neck_position
        square = shift * shift
        fourth = square * square
        denominator = 1 / (1 + 100 * square + 0.3e6 * fourth * square)
        value = torch.where(r <= self.neck_cutoff, self.neck_height * denominator, 0.0)
        return value, -value * denominator * shift * (200 + 1.8e6 * fourth)

    def _born_radii(self, integral: Tensor) -> tuple[Tensor, Tensor]:
        """Born radii and their derivatives by the integral I: (N, batch)."""
        if not self.has_tanh:
            born = 1 / (1 / self.offset_radius - integral)
            return born, born * born
        alpha, beta, gamma = self.tanh
        psi = integral * self.offset_radius
        tanh = torch.tanh(psi * (alpha - psi * (beta - gamma * psi)))
        born = 1 / (1 / self.offset_radius - tanh / self.radius)
        inner = alpha - psi * (2 * beta - 3 * gamma * psi)
        return born, born * born * (1 - tanh * tanh) * inner * self.offset_radius / self.radius

    def _polarization(self, r_squared: Tensor, born: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Energy (batch,), weights of the displacements (N, N, batch), derivatives by the Born radii (N, batch).

        The diagonal, where r = 0 and f = B, is the self-energy.
        """
        product = born[:, None] * born
        ratio = 0.25 * r_squared / product
        overlap = torch.exp(-ratio)
        inverse = torch.rsqrt(r_squared + product * overlap)  # 1/f
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
        per_born = (per_square * overlap * (1 + ratio) * born).sum(1)
        return 0.5 * pair.sum((0, 1)), weight, per_born


def custom_gb(force: openmm.CustomGBForce, n_atoms: int) -> list[Term]:
    """Translates a CustomGBForce that holds one of the models of OpenMM's force fields."""
    if force.getNonbondedMethod() != openmm.CustomGBForce.NoCutoff:
        raise unsupported(force, "only the method NoCutoff is translated")
    return [GeneralizedBorn(BornModel(**read_custom_gb(force, n_atoms)))]


def gbsa_obc(force: openmm.GBSAOBCForce, n_atoms: int) -> list[Term]:
    """Translates a GBSAOBCForce (Onufriev, Bashford, Case 2004, model II)."""
    if force.getNonbondedMethod() != openmm.GBSAOBCForce.NoCutoff:
        raise unsupported(force, "only the method NoCutoff is translated")
    offset = 0.009
    particles = [force.getParticleParameters(i) for i in range(n_atoms)]
    radii = [p[1].value_in_unit(u.nanometer) - offset for p in particles]
    model = BornModel(
        charge=[p[0].value_in_unit(u.elementary_charge) for p in particles],
        offset_radius=radii,
        scaled_radius=[p[2] * radius for p, radius in zip(particles, radii, strict=True)],
        offset=offset,
        tanh=[(1.0, 0.8, 4.85)] * n_atoms,
        coulomb=COULOMB_CONSTANT,
        solute_dielectric=force.getSoluteDielectric(),
        solvent_dielectric=force.getSolventDielectric(),
        surface_tension=4
        * torch.pi
        * force.getSurfaceAreaEnergy().value_in_unit(u.kilojoule_per_mole / u.nanometer**2),
        engulfed=True,
    )
    return [GeneralizedBorn(model)]
