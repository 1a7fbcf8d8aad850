"""Generalized Born implicit solvent, in all forms that OpenMM's force fields use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from boltzflow.core.functional import stored
from boltzflow.energies.forcefield.pairs import Pairs, PairTerm, of_pairs
from boltzflow.energies.forcefield.term import column

PROBE_RADIUS = 0.14
"""Radius of the solvent probe of the surface-area term, nm."""


@dataclass(frozen=True)
class BornModel:
    """The parameters of a generalized Born model. Lengths in nm, energies in kJ/mol, charges in e.

    Attributes:
        charge, offset_radius, scaled_radius: one number per atom.
        offset: the atom's radius minus `offset_radius`.
        tanh: per-atom coefficients (α, β, γ) of tanh(αψ − βψ² + γψ³), or None for the form of Hawkins, Cramer
            and Truhlar, 1/B = 1/radius − I.
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


class GeneralizedBorn(PairTerm):
    """Generalized Born energy with its surface-area term.

    Born radii come from pairwise descreening (Hawkins, Cramer, Truhlar 1996) with the corrections of Onufriev,
    Bashford and Case (2004) and the neck correction of Mongan et al. (2007).
    """

    charge: Tensor
    self_charge: Tensor
    own_radius: Tensor
    own_inverse: Tensor
    scaled_radius: Tensor
    scaled_radius_squared: Tensor
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
        # With salt, the solvent's contribution to the screening depends on the distance.
        self.kappa, self.screening = model.kappa, model.solute_dielectric / model.solvent_dielectric
        solute = -model.coulomb / model.solute_dielectric * (1.0 if self.kappa else 1 - self.screening)
        self.register_buffer("charge", of_pairs(solute * charge * charge.T))
        self.register_buffer("self_charge", 0.5 * solute * charge * charge)
        self.register_buffer("own_radius", own)
        self.register_buffer("own_inverse", 1 / own)
        # An atom without a radius does not descreen itself.
        scaled_radius = column(model.scaled_radius).T.repeat(n, 1).fill_diagonal_(0.0)[..., None]
        self.has_negative_radii = bool((scaled_radius < 0).any())
        self.register_buffer("scaled_radius", scaled_radius)
        self.register_buffer("scaled_radius_squared", scaled_radius.square())
        self.has_tanh, self.has_neck = model.tanh is not None, model.neck is not None
        if model.tanh is not None:
            # Powers of the offset radius turn polynomials in ψ = I · offset radius into polynomials in I.
            powers = own[:, 0] ** torch.arange(1, 4, dtype=torch.float64)[:, None]
            self.register_buffer("tanh", (powers * torch.tensor(model.tanh, dtype=torch.float64).T)[..., None])
            self.register_buffer("tanh_scale", 1 / radius)
        if model.neck is not None:
            scale, cutoff, position, height = model.neck
            self.register_buffer("neck_position", position[..., None])
            self.register_buffer("neck_height", (4 * scale * height).fill_diagonal_(0.0)[..., None])
            self.register_buffer("neck_cutoff", (radius + radius.T + cutoff)[..., None])
        self.has_surface = model.surface_tension != 0
        self.register_buffer("surface", model.surface_tension * (radius + PROBE_RADIUS) ** 2 * radius**6)
        self.engulfed = model.engulfed

    def forward(self, pairs: Pairs, r_squared: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        descreening, slope = self._descreening(pairs.ordered(r_squared), pairs.ordered(inverse))
        curvature, curvature_slope = self._curvature(0.25 * descreening.sum(1))
        energy, weight, per_logarithm = self._polarization(pairs, r_squared, curvature)
        if self.has_surface:
            surface = self.surface * curvature**6
            energy = energy + surface.sum(0)
            per_logarithm = per_logarithm + 6 * surface
        chain = stored(0.25 * per_logarithm * curvature_slope / curvature)[:, None] * slope
        return energy, weight + pairs.both(stored(chain))

    def _descreening(self, r_squared: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        """Four times the contribution of atom j to the integral of atom i, and −1/r times its derivative with respect
        to r, (N, N, batch) each.

        With L and U the smallest and the largest distance from i that the sphere of j covers, and s its radius, twice:
        1/L − 1/U + (r − s²/r)(1/U² − 1/L²)/4 + ln(L/U)/(2r).
        """
        own, other = self.own_radius[:, None], self.scaled_radius
        r = r_squared * inverse
        distance = r - other
        # The floors have no effect if j reaches i. Otherwise they make L = U, and the contribution is zero.
        far, near = torch.maximum(r + other, own), torch.maximum(distance.abs(), own)
        inverse_area = 1 / (far * near)
        upper, lower = near * inverse_area, far * inverse_area  # 1/U and 1/L by one division
        difference = upper - lower
        squares = difference * (upper + lower)
        logarithm = torch.log(near * upper) * inverse
        reduced = self.scaled_radius_squared * inverse
        value = torch.addcmul(torch.sub(logarithm, difference, alpha=2), r - reduced, squares, value=0.5)
        slope = torch.addcmul(logarithm, r + reduced, squares, value=-0.5)
        inside = -distance > own  # atom i lies inside atom j
        if self.engulfed:
            value = value + torch.where(inside, 4 * (self.own_inverse[:, None] - lower), 0.0)
        else:
            slope = torch.addcmul(slope, torch.where(inside, lower * lower, 0.0), r, value=-4)
        if self.has_negative_radii:  # sulphur in GBn2: then the floors do not make L = U
            reached = r + other >= own
            value, slope = torch.where(reached, value, 0.0), torch.where(reached, slope, 0.0)
        slope = slope * (inverse * inverse)
        if self.has_neck:
            neck, neck_slope = self._neck(r)
            value, slope = value + neck, slope - neck_slope * inverse
        return stored(value), stored(slope)

    def _neck(self, r: Tensor) -> tuple[Tensor, Tensor]:
        shift = r - self.neck_position
        square = shift * shift
        fourth = square * square
        denominator = 1 / (1 + 100 * square + 0.3e6 * fourth * square)
        value = torch.where(r <= self.neck_cutoff, self.neck_height * denominator, 0.0)
        return value, -value * denominator * shift * (200 + 1.8e6 * fourth)

    def _curvature(self, integral: Tensor) -> tuple[Tensor, Tensor]:
        """Inverse Born radii c = 1/B and their derivatives with respect to the integral I: (N, batch)."""
        if not self.has_tanh:
            return stored(self.own_inverse - integral), -torch.ones_like(integral)
        alpha, beta, gamma = self.tanh
        tanh = stored(torch.tanh(integral * (alpha - integral * (beta - gamma * integral))))
        inner = alpha - integral * (2 * beta - 3 * gamma * integral)
        return stored(self.own_inverse - tanh * self.tanh_scale), (tanh * tanh - 1) * inner * self.tanh_scale

    def _polarization(self, pairs: Pairs, r_squared: Tensor, curvature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Energy (batch,), weights of the pairs (P + 1, batch), c · d(energy)/dc (N, batch)."""
        product = pairs.product(curvature)
        ratio = -0.25 * r_squared * product
        overlap = torch.exp(ratio)
        term = overlap / product
        inverse = torch.rsqrt(r_squared + term)  # 1/f
        energy, slope = self._screened(self.charge, inverse)
        self_energy, self_slope = self._screened(self.self_charge, curvature)
        per_square = slope * (inverse * inverse)  # −2 d(energy)/d(f²)
        weight = torch.addcmul(per_square, per_square, overlap, value=-0.25)
        per_logarithm = per_square * torch.addcmul(term, term, ratio, value=-1)
        of_atoms = 0.5 * stored(pairs.ordered(stored(per_logarithm))).sum(1) + self_slope
        return energy.sum(0) + self_energy.sum(0), weight, of_atoms

    def _screened(self, charge: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        """The energy of charges at the effective distance f (given 1/f), and −f times its derivative."""
        energy = charge * inverse
        if not self.kappa:
            return energy, energy
        screening = self.screening * torch.exp(-self.kappa / inverse)
        energy = energy * (1 - screening)
        return energy, energy - self.kappa * screening * charge
