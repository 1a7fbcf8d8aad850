"""Lennard-Jones and Coulomb interactions of all pairs, without cutoff."""

from __future__ import annotations

import openmm
import openmm.unit as u
import torch
from torch import Tensor

from boltzflow.energies.forcefield.term import Term, pair_displacements, pair_forces, unsupported

COULOMB_CONSTANT = 138.93545764438198
"""1/(4π ε₀) in kJ nm/(mol e²), the value that OpenMM's kernels use."""


class Nonbonded(Term):
    """4 ε ((σ/r)¹² − (σ/r)⁶) + q_i q_j/(4π ε₀ r) over all pairs.

    Every matrix is (N, N), symmetric, with nothing on the diagonal; exceptions are entries like all others.

    charge: products q_i q_j/(4π ε₀), kJ nm/mol; sigma: nm; epsilon: kJ/mol.
    """

    charge: Tensor
    sigma_squared: Tensor
    depth: Tensor
    identity: Tensor

    def __init__(self, charge: Tensor, sigma: Tensor, epsilon: Tensor) -> None:
        super().__init__()
        self.register_buffer("charge", charge[..., None])
        self.register_buffer("sigma_squared", sigma.square()[..., None])
        self.register_buffer("depth", 4 * epsilon[..., None])
        self.register_buffer("identity", torch.eye(len(charge), dtype=torch.float64)[..., None])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        d, r_squared = pair_displacements(x)
        inverse = torch.rsqrt(r_squared + self.identity)
        inverse_squared = inverse * inverse
        ratio = self.sigma_squared * inverse_squared
        sixth = ratio * ratio * ratio
        attraction = self.depth * sixth
        repulsion = attraction * sixth
        coulomb = self.charge * inverse
        # Each pair stands in the matrices twice.
        energy = 0.5 * (repulsion - attraction + coulomb).sum((0, 1))
        weight = (12 * repulsion - 6 * attraction + coulomb) * inverse_squared
        return energy, pair_forces(weight, d)


def nonbonded(force: openmm.NonbondedForce, n_atoms: int) -> list[Term]:
    """Translates a NonbondedForce without cutoff."""
    if force.getNonbondedMethod() != openmm.NonbondedForce.NoCutoff:
        raise unsupported(force, "only the method NoCutoff is translated")
    if force.getNumParticleParameterOffsets() or force.getNumExceptionParameterOffsets():
        raise unsupported(force, "it has parameter offsets")
    particles = [force.getParticleParameters(i) for i in range(n_atoms)]
    q = torch.tensor([p[0].value_in_unit(u.elementary_charge) for p in particles], dtype=torch.float64)
    s = torch.tensor([p[1].value_in_unit(u.nanometer) for p in particles], dtype=torch.float64)
    e = torch.tensor([p[2].value_in_unit(u.kilojoule_per_mole) for p in particles], dtype=torch.float64)
    charge, sigma, epsilon = q[:, None] * q, (s[:, None] + s) / 2, (e[:, None] * e).sqrt()
    for matrix in (charge, epsilon):
        matrix.fill_diagonal_(0.0)
    for index in range(force.getNumExceptions()):
        i, j, product, length, depth = force.getExceptionParameters(index)
        charge[i, j] = charge[j, i] = product.value_in_unit(u.elementary_charge**2)
        sigma[i, j] = sigma[j, i] = length.value_in_unit(u.nanometer)
        epsilon[i, j] = epsilon[j, i] = depth.value_in_unit(u.kilojoule_per_mole)
    return [Nonbonded(COULOMB_CONSTANT * charge, sigma, epsilon)]
