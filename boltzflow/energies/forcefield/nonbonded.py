"""Lennard-Jones and Coulomb interactions."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations_with_replacement

import openmm
import openmm.unit as u
import torch
from torch import Tensor

from boltzflow.energies.expressions import parse
from boltzflow.energies.forcefield.expression_term import ExpressionTerm
from boltzflow.energies.forcefield.measures import Measure
from boltzflow.energies.forcefield.pair_expression import PairExpression, switched, truncated
from boltzflow.energies.forcefield.pairs import AllPairs, Pairs, PairTerm, of_pairs
from boltzflow.energies.forcefield.term import Gather, Term, unsupported
from boltzflow.energies.forcefield.translation import Translation

COULOMB_CONSTANT = 138.93545764438198
"""1/(4π ε₀) in kJ nm/(mol e²), the value that OpenMM's kernels use."""

LENNARD_JONES = parse("4*epsilon*((sigma/r)^12 - (sigma/r)^6)")

Values = tuple[float, float, float]
"""Charge (e) or product of charges (e²), σ (nm), ε (kJ/mol)."""


class Nonbonded(PairTerm):
    """4 ε ((σ/r)¹² − (σ/r)⁶) + q_i q_j/(4π ε₀ r) over all pairs.

    Each matrix is (N, N) and symmetric, with exceptions included as ordinary entries.

    charge: products q_i q_j/(4π ε₀), kJ nm/mol; sigma: nm; epsilon: kJ/mol.
    """

    charge: Tensor
    sigma_squared: Tensor
    depth: Tensor

    def __init__(self, charge: Tensor, sigma: Tensor, epsilon: Tensor) -> None:
        super().__init__()
        self.register_buffer("charge", of_pairs(charge))
        self.register_buffer("sigma_squared", of_pairs(sigma.square()))
        self.register_buffer("depth", of_pairs(4 * epsilon))

    def forward(self, pairs: Pairs, r_squared: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        inverse_squared = inverse * inverse
        ratio = self.sigma_squared * inverse_squared
        sixth = ratio * ratio * ratio
        attraction = self.depth * sixth
        well = torch.addcmul(attraction, attraction, sixth, value=-1)  # minus the Lennard-Jones energy
        coulomb = self.charge * inverse
        slope = torch.add(coulomb, torch.sub(attraction, well, alpha=2), alpha=6)
        return (coulomb - well).sum(0), slope * inverse_squared


class Constant(Term):
    """An energy that does not depend on the positions, kJ/mol."""

    energy: Tensor

    def __init__(self, energy: float) -> None:
        super().__init__()
        self.register_buffer("energy", torch.tensor(energy, dtype=torch.float64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.energy.expand(x.shape[-1]), torch.zeros_like(x)


def nonbonded(force: openmm.NonbondedForce, system: Translation) -> list[Term]:
    """Translates a NonbondedForce without cutoff, or with a cutoff and a reaction field."""
    method = force.getNonbondedMethod()
    if method not in (force.NoCutoff, force.CutoffNonPeriodic, force.CutoffPeriodic):
        raise unsupported(force, "sums over periodic images (Ewald, PME, LJPME) are not translated")
    particles, exceptions = _particles(force, system), _exceptions(force, system)
    q, s, e = (torch.tensor(values, dtype=torch.float64) for values in zip(*particles, strict=True))
    charge, sigma, epsilon = q[:, None] * q, (s[:, None] + s) / 2, (e[:, None] * e).sqrt()
    if method != force.NoCutoff:
        return _with_cutoff(force, system, (charge, sigma, epsilon), exceptions, particles)
    for (i, j), (product, length, depth) in exceptions.items():
        charge[i, j] = charge[j, i] = product
        sigma[i, j] = sigma[j, i] = length
        epsilon[i, j] = epsilon[j, i] = depth
    return [AllPairs([Nonbonded(COULOMB_CONSTANT * charge, sigma, epsilon)], system.n_atoms)]


def _particles(force: openmm.NonbondedForce, system: Translation) -> list[Values]:
    """Charge, σ and ε of each particle, parameter offsets included."""
    scales = system.global_parameters(force)
    values = [tuple(v._value for v in force.getParticleParameters(i)) for i in range(system.n_atoms)]
    for index in range(force.getNumParticleParameterOffsets()):
        name, i, *offsets = force.getParticleParameterOffset(index)
        values[i] = tuple(v + scales[name] * offset for v, offset in zip(values[i], offsets, strict=True))
    return values


def _exceptions(force: openmm.NonbondedForce, system: Translation) -> dict[tuple[int, int], Values]:
    """Product of charges, σ and ε of the exceptions, parameter offsets included."""
    scales = system.global_parameters(force)
    entries = [force.getExceptionParameters(i) for i in range(force.getNumExceptions())]
    values = [tuple(v._value for v in entry[2:]) for entry in entries]
    for index in range(force.getNumExceptionParameterOffsets()):
        name, i, *offsets = force.getExceptionParameterOffset(index)
        values[i] = tuple(v + scales[name] * offset for v, offset in zip(values[i], offsets, strict=True))
    return {(entry[0], entry[1]): value for entry, value in zip(entries, values, strict=True)}


def _with_cutoff(
    force: openmm.NonbondedForce,
    system: Translation,
    matrices: tuple[Tensor, Tensor, Tensor],
    exceptions: dict[tuple[int, int], Values],
    particles: list[Values],
) -> list[Term]:
    """Pairs within the cutoff, with a reaction field beyond it, and exceptions, to which no cutoff applies."""
    charge, sigma, epsilon = matrices
    n, cutoff = system.n_atoms, force.getCutoffDistance().value_in_unit(u.nanometer)
    start = force.getSwitchingDistance().value_in_unit(u.nanometer) if force.getUseSwitchingFunction() else None
    dielectric = force.getReactionFieldDielectric()
    field = (dielectric - 1) / (2 * dielectric + 1) / cutoff**3
    shift = 3 * dielectric / (2 * dielectric + 1) / cutoff
    counts = torch.ones(n, n, dtype=torch.float64).triu(1)
    for i, j in exceptions:
        counts[min(i, j), max(i, j)] = 0.0
    energy = switched(LENNARD_JONES, start, cutoff) + parse(f"charge*(1/r + {field!r}*r^2 - {shift!r})")
    parameters = {"charge": COULOMB_CONSTANT * charge, "sigma": sigma, "epsilon": epsilon}
    within = truncated(energy, cutoff, inclusive=True)
    terms: list[Term] = [PairExpression(within, parameters, counts, system.box_of(force))]
    own = {pair: values for pair, values in exceptions.items() if values[0] or values[2]}
    if own:
        columns = {
            "charge": [COULOMB_CONSTANT * v[0] for v in own.values()],
            "sigma": [v[1] for v in own.values()],
            "epsilon": [v[2] for v in own.values()],
        }
        box = system.box if force.getExceptionsUsePeriodicBoundaryConditions() else None
        energy = LENNARD_JONES + parse("charge/r")
        terms.append(ExpressionTerm(Gather(list(own), n), {"r": Measure("distance", (0, 1))}, energy, columns, box))
    if force.usesPeriodicBoundaryConditions() and force.getUseDispersionCorrection():
        terms.append(Constant(_dispersion(particles, cutoff, start) / float(torch.linalg.det(system.box))))
    return terms


def _dispersion(particles: list[Values], cutoff: float, start: float | None) -> float:
    """Lennard-Jones energy beyond the cutoff for a uniform density, times the volume: kJ nm³/mol.

    Shirts et al., J. Phys. Chem. B 111, 13052 (2007), doi 10.1021/jp0735987.
    """
    kinds = Counter((s, e) for _, s, e in particles)
    twelfth = sixth = between = 0.0
    for (one, n_one), (two, n_two) in combinations_with_replacement(kinds.items(), 2):
        pairs = n_one * (n_one + 1) / 2 if one == two else n_one * n_two
        sigma, epsilon = (one[0] + two[0]) / 2, math.sqrt(one[1] * two[1])
        twelfth += pairs * epsilon * sigma**12
        sixth += pairs * epsilon * sigma**6
        if start is not None:
            between += pairs * epsilon * _lost_by_switching(sigma, start, cutoff)
    n = len(particles)
    sums = twelfth / (9 * cutoff**9) - sixth / (3 * cutoff**3) + between
    return 8 * n**2 * math.pi * sums / (n * (n + 1) / 2)


def _lost_by_switching(sigma: float, start: float, cutoff: float) -> float:
    """∫ (1 − S(r)) (σ¹²/r¹² − σ⁶/r⁶) r² dr between the start of the switch and the cutoff."""
    from scipy.integrate import quad

    def lost(r: float) -> float:
        t = (r - start) / (cutoff - start)
        return t**3 * (10 + t * (6 * t - 15)) * ((sigma / r) ** 12 - (sigma / r) ** 6) * r**2

    return float(quad(lost, start, cutoff)[0])
