"""Starts from the force field: tables against integrals that are known, and what the first samples are worth."""

import math
from collections import Counter
from itertools import pairwise

import mdtraj
import numpy as np
import openmm
import pytest
import torch
from openmm import app
from scipy import integrate, special

import boltzflow as bf
from boltzflow.errors import OptionError
from boltzflow.molecules import informed
from boltzflow.molecules.informed import (
    KNOTS,
    Tables,
    bonded_tables,
    ring_systems,
    sampled_tables,
    tabulated_base,
    with_puckers,
)
from boltzflow.units import thermal_energy

from .test_symmetry import molecule as molecule_of

KT = thermal_energy(300.0)


def chain(n_atoms: int) -> app.Topology:
    topology = app.Topology()
    residue = topology.addResidue("CHN", topology.addChain())
    carbon = app.Element.getBySymbol("C")
    atoms = [topology.addAtom(f"C{i}", carbon, residue) for i in range(n_atoms)]
    for one, other in pairwise(atoms):
        topology.addBond(one, other)
    return topology


def molecule(n_atoms: int, *forces: openmm.Force) -> bf.MolecularSystem:
    """A chain of carbon atoms with stiff bonds of 0.15 nm and angles about 2 rad."""
    system = openmm.System()
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    for i in range(n_atoms):
        system.addParticle(12.0)
        if i > 0:
            bonds.addBond(i - 1, i, 0.15, 20_000.0)
        if i > 1:
            angles.addAngle(i - 2, i - 1, i, 2.0, 300.0)
    for force in (bonds, angles, *forces):
        system.addForce(force)
    zigzag = [[0.13 * i, 0.08 * (i % 2), 0.05 * (i == 3)] for i in range(n_atoms)]
    return bf.MolecularSystem(chain(n_atoms), system, zigzag, name="chain")


def tables_of(system: bf.MolecularSystem) -> Tables:
    return bonded_tables(system.openmm_system, system.coordinates(), torch.tensor(system.positions)[None], 300.0)


def density(tables: Tables, row: int) -> tuple[torch.Tensor, torch.Tensor]:
    knots, values = tables.knots[row], tables.values[row]
    return knots, values / torch.trapezoid(values, knots)


def test_bonds_angles_and_torsions_have_their_boltzmann_densities() -> None:
    torsion = openmm.PeriodicTorsionForce()
    torsion.addTorsion(0, 1, 2, 3, 3, 0.4, 5.0)
    pair = openmm.NonbondedForce()
    for _ in range(4):
        pair.addParticle(3.0, 0.3, 10.0)  # of no account
    for i, j in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]:
        pair.addException(i, j, 0.0, 0.3, 0.0)
    system = molecule(4, torsion, pair)
    tables, domain = tables_of(system), system.coordinates().domain
    energies = {
        "bond": (lambda b: 10_000.0 * (b - 0.15) ** 2, lambda b: b * b),
        "angle": (lambda a: 150.0 * (a - 2.0) ** 2, math.sin),
        "torsion": (lambda t: 5.0 * (1 + math.cos(3 * t - 0.4)), lambda _: 1.0),
    }
    assert tables.knots.shape == tables.values.shape == (6, KNOTS)
    for row, coordinate in enumerate(domain):
        energy, volume = energies[coordinate.name.split()[0]]
        knots, found = density(tables, row)

        def weight(x: float, energy=energy, volume=volume) -> float:
            return volume(x) * math.exp(-energy(x) / KT)

        breaks = knots[1:-1].tolist()
        total = integrate.quad(weight, float(knots[0]), float(knots[-1]), points=breaks, limit=500)[0]
        exact = torch.tensor([weight(x) / total for x in knots.tolist()], dtype=torch.float64)
        # Exact at the knots up to the factor by which straight lines between them miss the area.
        factor = found[exact > 1e-9] / exact[exact > 1e-9]
        torch.testing.assert_close(factor, factor.mean().expand_as(factor), rtol=1e-6, atol=0, msg=str(coordinate))
        assert abs(float(factor.mean()) - 1) < 0.02, coordinate


def test_pairs_three_bonds_apart_count_where_they_are_exceptions() -> None:
    pair = openmm.NonbondedForce()
    for _ in range(4):
        pair.addParticle(0.0, 0.3, 0.0)
    for i, j in [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]:
        pair.addException(i, j, 0.0, 0.3, 0.0)
    pair.addException(0, 3, 0.3, 0.25, 0.5)
    system = molecule(4, pair)
    knots, found = density(tables_of(system), 5)
    coordinates = system.coordinates()
    z = coordinates.inverse(torch.tensor(system.positions)[None])[0].repeat(KNOTS, 1)
    z[:, 5] = knots
    x, _ = coordinates(z)
    r = (x[:, 0] - x[:, 3]).norm(dim=1)
    energy = 138.93545764438198 * 0.3 / r + 2.0 * ((0.25 / r) ** 12 - (0.25 / r) ** 6)
    ratio = found.log() + energy / KT
    torch.testing.assert_close(ratio, ratio.mean().expand(KNOTS), rtol=0, atol=1e-6)


def test_gibbs_sampling_finds_the_marginals_of_coupled_torsions() -> None:
    """Energy a cos φ₁ + k cos(φ₁ − φ₂): φ₁ is von Mises, ⟨cos φ₂⟩ = ⟨cos φ₁⟩·(−I₁(k)/I₀(k)); z of 24 seeds."""
    a, k = 0.9, 1.1  # in kT
    coupled = openmm.CustomCompoundBondForce(
        5,
        f"{a * KT}*cos(dihedral(p1,p2,p3,p4)) + {k * KT}*cos(dihedral(p1,p2,p3,p4) - dihedral(p2,p3,p4,p5))",
    )
    coupled.addBond(list(range(5)), [])
    system = molecule(5, coupled)
    coordinates, potential, start = system.coordinates(), system.potential(), tables_of(system)
    circles = coordinates.domain.indices("circle")
    assert len(circles) == 2
    torsions = coordinates.zmatrix.rows[3:]
    found = []
    for seed in range(24):
        tables = sampled_tables(start, potential, coordinates, 300.0, seed)
        cosines = {}
        for row, circle in enumerate(circles):
            knots, values = density(tables, circle)
            atoms = set(torsions[row])
            cosines[4 in atoms] = float(torch.trapezoid(values * knots.cos(), knots))
        found.append([cosines[False], cosines[True]])
    mean_ratio = [special.ive(1, x) / special.ive(0, x) for x in (a, k)]
    exact = torch.tensor([-mean_ratio[0], mean_ratio[0] * mean_ratio[1]])
    values = torch.tensor(found)
    z = (values.mean(0) - exact) / (values.std(0) / math.sqrt(len(values)))
    assert float(z.abs().max()) < 4.5, z
    assert float(values.std(0).max()) < 0.25


def test_the_first_samples_of_a_dipeptide() -> None:
    """At least 9 of 10 start within 10 kT a coordinate of the minimum (2000 samples); without sampling fewer do."""
    system = bf.load_system("alanine_dipeptide")
    potential, n_coordinates = system.potential(), len(system.coordinates().domain)
    lowest = float(potential.energy(torch.tensor(system.positions)[None])[0])
    shares, spent = {}, {}
    for start in ("sampled", "bonded", "plain"):
        generator = bf.BoltzmannGenerator.for_system(system, layers=2, hidden=(8,), start=start)
        spent[start] = generator.potential.evaluations
        energies = torch.tensor(generator.sample(2000, seed=0).energies)
        shares[start] = float((energies - lowest < 10 * n_coordinates * KT).float().mean())
    assert shares["sampled"] > 0.97 > 0.92 > shares["bonded"] > 0.8 > 0.75 > shares["plain"]
    assert spent == {"sampled": 2 * 32 * KNOTS * 7, "bonded": 0, "plain": 0}


def test_the_base_follows_a_density_far_into_its_tails() -> None:
    """A harmonic bond has the density r² exp(−k (r − r₀)²/2kT): its logarithm within 0.05, up to 4.5 σ."""
    system = molecule(3)
    base = tabulated_base(system.coordinates(), [tables_of(system)])
    place = next(i for i, c in enumerate(base.domain) if c.name.startswith("bond"))
    sigma = math.sqrt(KT / 20_000.0)
    z = base.sample(1, generator=torch.Generator().manual_seed(0))[0].repeat(801, 1)
    z[:, place] = 0.15 + sigma * torch.linspace(-4.5, 4.5, 801)
    exact = 2 * z[:, place].log() - ((z[:, place] - 0.15) / sigma).square() / 2
    found = base.log_prob(z)
    torch.testing.assert_close(found - found[400], exact - exact[400], rtol=0, atol=0.05)


def test_unbounded_lengths_and_rings_and_frozen_parts_have_a_base() -> None:
    ring = bf.load_system("cyclohexane")
    for system, lengths in ((ring, "unbounded"), (bf.load_system("butane").freeze([0, 1, 2, 3]), "bounded")):
        coordinates = system.coordinates(lengths=lengths)
        tables = bonded_tables(system.openmm_system, coordinates, torch.tensor(system.positions)[None], 300.0)
        base = tabulated_base(coordinates, with_puckers(coordinates, tables))
        assert base.domain == coordinates.domain
        x, log_prob = base.sample(100, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(base.log_prob(x), log_prob)
        again = tabulated_base(coordinates)
        again.load_state_dict(base.state_dict())
        torch.testing.assert_close(again.log_prob(x), log_prob, rtol=0, atol=0)


def ring_signs(x: np.ndarray) -> Counter[str]:
    """The signs of cyclohexane's ring torsions; those of a chair alternate."""
    carbons = [0, 3, 6, 9, 12, 15]
    rings = [[carbons[(i + j) % 6] for j in range(4)] for i in range(6)]
    trajectory = mdtraj.Trajectory(x, bf.load_system("cyclohexane").mdtraj_topology)
    signs = mdtraj.compute_dihedrals(trajectory, rings) > 0
    return Counter("".join("-+"[int(s)] for s in row) for row in signs)


@pytest.mark.parametrize("start", ["sampled", "bonded"])
def test_a_flexible_ring_starts_with_both_puckers(start: str) -> None:
    """Both chairs of cyclohexane, each in half of the samples: z of 4000; a few are broken by the angles."""
    ring = bf.load_system("cyclohexane")
    generator = bf.BoltzmannGenerator.for_system(ring, layers=1, hidden=(8,), start=start)
    found = ring_signs(generator.sample(4000, seed=1).positions)
    one, other = found["+-+-+-"], found["-+-+-+"]
    assert one + other > 3900
    assert abs(one - other) < 4 * math.sqrt(4000)


def test_many_rings_are_mirrored_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    coordinates = bf.load_system("cyclohexane").coordinates()
    (system,) = ring_systems(coordinates)
    assert len(system) == 5  # three of the ring, and the first hydrogens at the two ends of the opened bond
    monkeypatch.setattr(informed, "ring_systems", lambda _: [[i] for i in system])
    assert len(tabulated_base(coordinates).components) == 1 + 5
    monkeypatch.setattr(informed, "ring_systems", lambda _: [[i] for i in system[:3]])
    assert len(tabulated_base(coordinates).components) == 2**3


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("dipeptide_pro", [4]), ("dipeptide_trp", []), ("dipeptide_phe", []), ("cyclo_gpfgpf", [4, 4]), ("caffeine", [])],
)
def test_torsions_of_flexible_rings_are_not_stiff(name: str, sizes: list[int]) -> None:
    """They have no thermal width, so that every coupling transforms them by splines; flat rings have one."""
    coordinates = molecule_of(name).coordinates()
    systems = ring_systems(coordinates)
    assert list(map(len, systems)) == sizes
    for i, coordinate in enumerate(coordinates.domain):
        is_wide = coordinate.kind == "circle" or any(i in system for system in systems)
        assert bool(coordinates.widths[i].isinf()) == is_wide, coordinate


@pytest.mark.parametrize("start", ["sampled", "bonded"])
def test_coordinates_that_are_all_real_have_nothing_to_tabulate(start: str) -> None:
    system = molecule(4)
    coordinates = system.coordinates(core="all")
    made, plain = (
        bf.BoltzmannGenerator.for_system(system, coordinates=coordinates, layers=2, hidden=(8,), start=one)
        for one in (start, "plain")
    )
    np.testing.assert_array_equal(made.sample(100, seed=1).log_weights, plain.sample(100, seed=1).log_weights)


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(OptionError, match="'start': input should be 'sampled', 'bonded' or 'plain'; got 'warm'"):
        bf.BoltzmannGenerator.for_system(bf.load_system("butane"), start="warm")
