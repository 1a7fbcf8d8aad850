"""The force-field-informed base: one-dimensional Boltzmann densities of internal coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, product
from typing import NamedTuple

import networkx
import openmm
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from boltzflow.coordinates import MolecularCoordinates
from boltzflow.coordinates.profile import Energies
from boltzflow.core.distributions import Distribution, Independent, Mixture, Product, Tabulated
from boltzflow.core.domain import Domain
from boltzflow.energies import Potential
from boltzflow.molecules.conditional import ConditionalDensities, normalised
from boltzflow.units import thermal_energy

KNOTS = 64
"""Knots of each table."""

_GRIDS = 4  # rounds of adapting the knots to the density
_SPREAD = 0.15  # fraction of the knots that stay evenly spaced, so that no peak is missed; the same in the tails
_WIDER = 1 / 9  # exponent; a normal density raised to it is three times as wide
_FINER = 16  # cells of the base for each cell of a table
_LEAST = 1e-26  # relative to the maximum of a density; lower values are too small to interpolate their logarithm
_FLOOR = 1e-6  # weight of a uniform density that is mixed in, so that the base is positive in the whole domain
_CHAINS = 32  # of Gibbs sampling
_NARROW = 0.3  # rad; narrower torsions are determined by ring closure, which a move of a single torsion would break
_SWEEPS = 2
_MOST_SYSTEMS = 3  # of rings, all combinations of whose puckers are components of the base


class Tables(NamedTuple):
    """One tabulated density for each of the D coordinates of a domain that are intervals or circles.

    knots: (D, K), ascending, from bound to bound. values: (D, K), the unnormalised densities at the knots.
    """

    knots: Tensor
    values: Tensor


def bonded_tables(
    system: openmm.System,
    coordinates: MolecularCoordinates,
    positions: Tensor,
    temperature: float,
    energies: Energies | None = None,
) -> Tables:
    """The Boltzmann density of each internal coordinate, all others fixed, averaged over several structures.

    Only bonded terms count, including pairs three bonds apart if they are exceptions of a NonbondedForce. The volume
    element is included. Ring torsions therefore keep the ring closed, a methyl torsion has three minima, and the
    direction from one molecule to another is uniform on the sphere.

    Args:
        system: the Hamiltonian.
        coordinates: of this system.
        positions: structures (n, N, 3), nm: the reference, and others with equivalent atoms exchanged.
        temperature: K.
        energies: along lengths and angles, for those without a bonded term.
    """
    bounded = _bounded(coordinates.domain)
    if not bounded:
        return _uniform(coordinates.domain)  # empty tables
    knots = _even_knots(coordinates.domain)
    densities = ConditionalDensities(system, coordinates, positions, temperature, energies)
    values = torch.empty_like(knots)
    place = {number: i for i, number in enumerate(bounded)}
    for numbers in densities.rows(bounded):
        some = [place[number] for number in numbers]
        for _ in range(_GRIDS):
            knots[some] = _adapted_knots(knots[some], densities(numbers, knots[some]))
        values[some] = densities(numbers, knots[some])
    return Tables(knots, values)


def sampled_tables(
    tables: Tables, potential: Potential, coordinates: MolecularCoordinates, temperature: float, seed: int
) -> Tables:
    """`bonded_tables` with better densities for the flexible torsions (not stiff, not in a ring).

    These densities come from griddy Gibbs sampling (Ritter & Tanner 1992, doi 10.1080/01621459.1992.10475289) with the
    full energy. Chains start from the tables. In each chain, each coordinate in turn is resampled from its density
    conditional on all others. The table is the mean of these densities over the chains in the last of two sweeps.
    This costs 4096 energy evaluations per coordinate.

    Args:
        tables: from `bonded_tables`, with one pucker of each flexible ring, which it keeps.
        potential: the full energy.
        coordinates: of the same molecule.
        temperature: K.
        seed: the random seed.
    """
    random = torch.Generator().manual_seed(seed)
    kt, values = thermal_energy(temperature), tables.values.clone()
    rings = {i for system in ring_systems(coordinates) for i in system}
    chains = tabulated_base(coordinates, [tables]).sample(_CHAINS, generator=random)[0]
    for _ in range(_SWEEPS):
        for row, i in enumerate(_bounded(coordinates.domain)):
            knots = tables.knots[row]
            if i in rings or torch.isfinite(coordinates.widths[i]) or _extent(knots, tables.values[row]) < _NARROW:
                continue
            given = _densities(potential, coordinates, kt, chains, [i], knots[None])
            values[row] = given.mean(0)
            steps = torch.nn.functional.pad(knots.diff(), (1, 1)).unfold(0, 2, 1).sum(1)
            chains[:, i] = knots[torch.multinomial(given * steps, 1, generator=random)[:, 0]].to(chains)
    return Tables(tables.knots, values)


def with_puckers(coordinates: MolecularCoordinates, tables: Tables) -> list[Tables]:
    """Tables for each combination of the puckers of flexible rings, those of the structure first.

    The torsions of a ring system have the tables, or their mirror image about the flat ring, all together: puckers
    chosen torsion by torsion would rarely close a ring. More than three ring systems are mirrored one by one.
    """
    bounded, found = _bounded(coordinates.domain), []
    for mirrored in _puckers(coordinates):
        rows = [row for row, i in enumerate(bounded) if i in mirrored]
        knots, values = tables.knots.clone(), tables.values.clone()
        knots[rows] = (knots[rows, :1] + knots[rows, -1:] - knots[rows]).flip(1)  # the flat ring is in the middle
        values[rows] = values[rows].flip(1)
        found.append(Tables(knots, values))
    return found


def tabulated_base(coordinates: MolecularCoordinates, puckers: Sequence[Tables] = ()) -> Distribution:
    """A base distribution: tables for all intervals and circles, normal densities for real coordinates.

    Kinks and heavy tails of the base persist through the flow and reduce the quality of the weights. The tables are
    therefore interpolated smoothly, and almost nothing is added in their tails.

    With flexible rings the base is a mixture of all their puckers. A flow of a base with one of them never samples the
    others.

    Args:
        coordinates: bounded or unbounded.
        puckers: tables for the bounded coordinates, as from `with_puckers`; empty for uniform tables, into which a
            state dict can be loaded.
    """
    if puckers:
        components = [_product(coordinates, _refined(coordinates, tables)) for tables in puckers]
    else:
        components = [_product(coordinates, _uniform(coordinates.domain)) for _ in _puckers(coordinates)]
    return components[0] if len(components) == 1 else Mixture(components)


def _product(coordinates: MolecularCoordinates, tables: Tables) -> Distribution:
    """The product of tables, and of normal densities for real coordinates."""
    domain, (knots, values) = coordinates.domain, tables
    densities = values / torch.trapezoid(values, knots, dim=1)[:, None]
    densities = (1 - _FLOOR) * densities + _FLOOR / (knots[:, -1:] - knots[:, :1])
    parts: list[Distribution] = []
    row = 0
    for kind_is_real, group in groupby(range(len(domain)), lambda i: domain.coordinates[i].kind == "real"):
        run = list(group)
        if kind_is_real:
            parts.append(Independent(domain[run], coordinates.centers[run], coordinates.widths[run]))
        else:
            rows = slice(row, row + len(run))
            parts.append(Tabulated(domain[run], knots[rows], densities[rows]))
            row += len(run)
    return parts[0] if len(parts) == 1 else Product(parts)


def _uniform(domain: Domain) -> Tables:
    knots = _even_knots(domain)
    return Tables(knots, torch.ones_like(knots))


def _refined(coordinates: MolecularCoordinates, tables: Tables) -> Tables:
    """Tables with more knots, by interpolating log(density / volume element) with monotone cubics.

    The volume element is divided out because the density vanishes with it near a pole, where a cubic is a poor fit to
    the logarithm of the density.
    """
    weight = torch.arange(_FINER, dtype=torch.float64) / _FINER
    inner = torch.lerp(tables.knots[:, :-1, None], tables.knots[:, 1:, None], weight).flatten(1)
    knots = torch.cat([inner, tables.knots[:, -1:]], 1)
    log_values = tables.values.clamp(min=_LEAST * tables.values.amax(1, keepdim=True)).log()
    rows = []
    for i, coarse, values, fine in zip(_bounded(coordinates.domain), tables.knots, log_values, knots, strict=True):
        smooth = values - coordinates.log_volume_along(i, coarse)
        found = torch.from_numpy(PchipInterpolator(coarse.numpy(), smooth.numpy())(fine.numpy()))
        rows.append(found + coordinates.log_volume_along(i, fine))
    return Tables(knots, torch.stack(rows).exp() if rows else knots)


def _extent(knots: Tensor, values: Tensor) -> float:
    """The exponential of a density's entropy: the length of the interval whose uniform density has this entropy."""
    density = values / torch.trapezoid(values, knots)
    return float(torch.trapezoid(torch.special.entr(density), knots).exp())


def ring_systems(coordinates: MolecularCoordinates) -> list[list[int]]:
    """The torsions of flexible rings among the D coordinates, one list for each system of connected rings."""
    torsions = {
        i: coordinate.name.split()[2:4]  # the bond about which it turns
        for i, coordinate in enumerate(coordinates.domain)
        if coordinate.kind == "interval"
        and coordinate.name.startswith("torsion ")
        and not torch.isfinite(coordinates.widths[i])
    }
    bonds = networkx.Graph(tuple(bond) for bond in torsions.values())
    systems = sorted(networkx.connected_components(bonds), key=lambda atoms: min(map(str, atoms)))
    return [[i for i, bond in torsions.items() if bond[0] in atoms] for atoms in systems]


def _puckers(coordinates: MolecularCoordinates) -> list[set[int]]:
    """The coordinates that each component of a base has mirrored; none in the first."""
    systems = ring_systems(coordinates)
    if len(systems) > _MOST_SYSTEMS:  # there would be too many combinations
        return [set(), *map(set, systems)]
    chosen = product((False, True), repeat=len(systems))
    return [
        {i for system, is_mirrored in zip(systems, some, strict=True) if is_mirrored for i in system} for some in chosen
    ]


def _bounded(domain: Domain) -> list[int]:
    return [i for i, coordinate in enumerate(domain) if coordinate.kind != "real"]


def _even_knots(domain: Domain) -> Tensor:
    steps = torch.linspace(0.0, 1.0, KNOTS, dtype=torch.float64)
    bounded = domain[_bounded(domain)]
    low, high = bounded.lows(steps)[:, None], bounded.highs(steps)[:, None]
    return low + (high - low) * steps


def _densities(
    potential: Potential,
    coordinates: MolecularCoordinates,
    kt: float,
    frames: Tensor,
    numbers: Sequence[int],
    knots: Tensor,
) -> Tensor:
    """Densities of some coordinates at knots (len(numbers), K), conditional on all others in frames (n, D).

    Uniform if no energy is finite.

    Returns:
        (len(numbers)·n, K), float64, ordered by coordinate and then by frame.
    """
    n, n_knots = len(frames), knots.shape[1]
    z = frames.repeat(len(numbers), 1)[:, None].repeat(1, n_knots, 1)
    for row, i in enumerate(numbers):
        z[row * n : (row + 1) * n, :, i] = knots[row].to(z)
    x, log_volume = coordinates(z.flatten(0, 1))
    log_values = (log_volume - potential.energy(x) / kt).double().view(-1, n_knots)
    return normalised(log_values, knots.repeat_interleave(n, 0))


def _adapted_knots(knots: Tensor, values: Tensor) -> Tensor:
    """Knots (D, K) at quantiles of a mixture of the density, a broadened copy of it and a uniform density."""
    low, high = knots[:, :1], knots[:, -1:]
    wide = values**_WIDER
    wide = wide / torch.trapezoid(wide, knots, dim=1)[:, None]
    mixed = (1 - 2 * _SPREAD) * values + _SPREAD * wide + _SPREAD / (high - low)
    below = torch.cumulative_trapezoid(mixed, knots, dim=1)
    below = torch.cat([torch.zeros_like(low), below / below[:, -1:]], 1)
    fractions = torch.linspace(0.0, 1.0, knots.shape[1], dtype=torch.float64)[1:-1].expand(len(knots), -1).contiguous()
    cell = torch.searchsorted(below, fractions).clamp(1, knots.shape[1] - 1) - 1
    start, end = (torch.gather(below, 1, cell + i) for i in (0, 1))
    left, right = (torch.gather(knots, 1, cell + i) for i in (0, 1))
    inner = left + (right - left) * (fractions - start) / (end - start)
    return torch.cat([low, inner, high], 1)
