"""All of the coordinates' promises on many kinds of molecules; the table of docs/coordinates.md is made from them."""

from __future__ import annotations

import math
from pathlib import Path

import openmm
import pytest
import torch
from openmm import app
from torch import Tensor

import boltzflow as bf
from boltzflow.coordinates.geometry import dihedral
from boltzflow.molecules.informed import bonded_tables, sampled_tables, tabulated_base, with_puckers
from boltzflow.units import thermal_energy

from .test_internal import distances, rotation, states

STRUCTURES = Path(__file__).parents[1] / "molecules" / "structures"
FORCEFIELDS = {
    "dipeptide": ["amber14/protein.ff14SB.xml", "implicit/obc2.xml"],
    "cyclo": ["amber14/protein.ff14SB.xml", "implicit/obc2.xml"],
    "disulfide": ["amber14/protein.ff14SB.xml", "implicit/obc2.xml"],
    "rna": ["amber14/RNA.OL3.xml", "implicit/obc2.xml"],
    "dna": ["amber14/DNA.OL15.xml", "implicit/obc2.xml"],
    "water": ["amber14/tip3p.xml"],
}
"""Force fields that OpenMM ships, by the beginning of a structure's name; all others are tested as geometry alone."""

NAMES = sorted(path.stem for path in STRUCTURES.glob("*.pdb"))


def forcefield(name: str) -> list[str] | None:
    return FORCEFIELDS.get(name.split("_")[0])


def load(name: str) -> bf.MolecularSystem:
    path = STRUCTURES / f"{name}.pdb"
    if forcefield(name):
        return bf.MolecularSystem.from_pdb(path, forcefield(name))
    pdb, system = app.PDBFile(str(path)), openmm.System()
    for atom in pdb.topology.atoms():
        system.addParticle(atom.element.mass)
    return bf.MolecularSystem(pdb.topology, system, pdb.positions, name=name)


@pytest.fixture(scope="module", params=NAMES)
def system(request: pytest.FixtureRequest) -> bf.MolecularSystem:
    return load(request.param)


def test_there_are_enough_of_each_kind() -> None:
    assert len(NAMES) >= 45
    assert sum(name.startswith("dipeptide") for name in NAMES) == 20
    assert sum(forcefield(name) is not None for name in NAMES) >= 25


def test_every_atom_is_placed_once_and_the_reference_comes_back(system: bf.MolecularSystem) -> None:
    coordinates = system.coordinates()
    assert sorted(row[0] for row in coordinates.zmatrix.rows) == list(range(system.n_atoms))
    assert len(coordinates.domain) == 3 * system.n_atoms - 6
    x = torch.tensor(system.positions)[None]
    # In any orientation, for lines and planes may lie along an axis.
    turned = torch.cat(
        [x @ rotation(torch.tensor(angles, dtype=torch.float64)).T for angles in ([0.0, 0.0, 0.0], [0.3, 1.1, -0.7])]
    )
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        z, log_ratio = coordinates.inverse(turned.to(dtype))
        assert coordinates.domain.contains(z.double()).all()
        again, log_back = coordinates(z)
        assert (distances(again) - distances(x)).abs().max() < tolerance
        assert torch.isfinite(log_ratio + log_back).all()


def test_any_point_of_the_domain_comes_back(system: bf.MolecularSystem) -> None:
    coordinates = system.coordinates()
    z = states(coordinates, 200)
    x, log_ratio = coordinates(z)
    again, log_back = coordinates.inverse(x)
    assert coordinates.domain.difference(again, z).abs().max() < 1e-6
    assert (log_ratio + log_back).abs().max() < 1e-6
    assert coordinates.domain.contains(coordinates.domain.wrap(again)).float().mean() > 0.99  # up to rounding at bounds


def test_the_volume_element_is_that_of_the_full_jacobian(system: bf.MolecularSystem) -> None:
    if system.n_atoms > 50:
        pytest.skip("the Jacobian of a smaller molecule shows the same")
    coordinates = system.coordinates()
    rigid = torch.tensor([0.3, -0.2, 0.5, 0.7, 1.1, -2.0], dtype=torch.float64)

    def cartesian(full: Tensor) -> Tensor:
        x = coordinates(full[None, 6:])[0][0]
        return (x @ rotation(full[3:6]).T + full[:3]).flatten()

    z = states(coordinates, 1)[0]
    jacobian = torch.autograd.functional.jacobian(cartesian, torch.cat([rigid, z]), vectorize=True)
    expected = torch.linalg.slogdet(jacobian)[1] - rigid[4].sin().log()
    torch.testing.assert_close(coordinates(z[None])[1][0], expected, rtol=0, atol=1e-7)


def test_the_order_around_every_bond_is_kept(system: bf.MolecularSystem) -> None:
    """In 10 000 random points of the domain: so stereocentres and hydrogen labels stay as they are."""
    coordinates = system.coordinates()
    rows, heads = coordinates.zmatrix.rows, {head for head, _ in coordinates.zmatrix.links}
    n = 10_000 if system.n_atoms < 90 else 1000
    x = torch.cat([torch.tensor(system.positions)[None], coordinates(states(coordinates, n))[0]]).float()
    for row, relation in zip(rows[3:], coordinates.zmatrix.relations, strict=True):
        if relation.second >= 0 and row[0] not in heads:
            turns = [dihedral(*x[:, list(r)].unbind(1)).remainder(2 * math.pi) for r in (rows[relation.second], row)]
            order = turns[0] < turns[1]
            assert (order == order[0]).all(), [system.atom_names[i] for i in row]


@pytest.mark.parametrize("name", [name for name in NAMES if forcefield(name)])
def test_the_start_is_near_and_keeps_chirality(name: str) -> None:
    """u − u_min < 10 D for 9 of 10 of 2000 samples, 7 of 10 for dinucleotides; all centres as in the reference."""
    system = load(name)
    coordinates, potential = system.coordinates(), system.potential("torch", compile=False)
    x0 = torch.tensor(system.positions)[None]
    tables = bonded_tables(system.openmm_system, coordinates, x0, 300.0)
    puckers = [sampled_tables(t, potential, coordinates, 300.0, seed=0) for t in with_puckers(coordinates, tables)]
    base = tabulated_base(coordinates, puckers)
    x, _ = coordinates(base.sample(2000, generator=torch.Generator().manual_seed(0))[0].double())
    above = (potential.energy(x) - potential.energy(x0)) / thermal_energy(300.0)
    assert (above < 10 * len(coordinates.domain)).float().mean() >= (0.7 if name in ("rna_au", "dna_gc") else 0.9)

    neighbours: dict[int, list[int]] = {}
    for one, other in system.bonds:
        neighbours.setdefault(one, []).append(other)
        neighbours.setdefault(other, []).append(one)
    for centre, around in neighbours.items():
        if len(around) == 4:
            arms = [x[:, around[k]] - x[:, around[0]] for k in (1, 2, 3)]
            arms0 = [x0[:, around[k]] - x0[:, around[0]] for k in (1, 2, 3)]
            kept = torch.linalg.det(torch.stack(arms, 1)) * torch.linalg.det(torch.stack(arms0, 1)) > 0

            assert kept.float().mean() > 0.99, system.atom_names[centre]
