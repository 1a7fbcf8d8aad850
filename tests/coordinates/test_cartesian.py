"""Cartesian, mixed and mean-free coordinates: volume elements, round trips, and one log Z in all of them."""

from __future__ import annotations

import math

import mdtraj
import numpy as np
import openmm
import pytest
import torch
from openmm import app
from torch import Tensor

import boltzflow as bf
from boltzflow.coordinates import (
    CartesianCoordinates,
    MeanFreeCoordinates,
    MixedCoordinates,
    MolecularCoordinates,
    coordinates_from_specification,
    coverage,
)
from boltzflow.errors import InsufficientDataError, NonFiniteError, OptionError, ShapeError, TopologyError
from boltzflow.molecules.placing.cartesian import harmonic_covariance
from boltzflow.simulation import minimize
from boltzflow.units import thermal_energy

from .conftest import ROOT
from .test_internal import distances, rotation, states

TEMPERATURE = 300.0
RIGID = torch.tensor([0.3, -0.2, 0.5, 0.7, 1.1, -2.0], dtype=torch.float64)


def chain(n: int = 4, torsion: float = 8.0) -> bf.MolecularSystem:
    """A bent chain with stiff bonds, soft angles and a soft torsion."""
    topology = app.Topology()
    residue = topology.addResidue("CHA", topology.addChain())
    atoms = [topology.addAtom(f"C{i}", app.element.carbon, residue) for i in range(n)]
    system, bonds = openmm.System(), openmm.HarmonicBondForce()
    angles, torsions = openmm.HarmonicAngleForce(), openmm.PeriodicTorsionForce()
    for i in range(n):
        system.addParticle(12.0)
        if i > 0:
            topology.addBond(atoms[i - 1], atoms[i])
            bonds.addBond(i - 1, i, 0.15, 3e4)
        if i > 1:
            angles.addAngle(i - 2, i - 1, i, 1.9, 150.0)
        if i > 2:
            torsions.addTorsion(i - 3, i - 2, i - 1, i, 1, 0.6, -torsion)
    for force in (bonds, angles, torsions):
        system.addForce(force)
    x = [[0.0, 0.0, 0.0], [0.15, 0.0, 0.0], [0.2, 0.14, 0.0], [0.33, 0.16, 0.06], [0.39, 0.29, 0.05]][:n]
    return bf.MolecularSystem(topology, system, x, TEMPERATURE, "chain")


@pytest.fixture(scope="module")
def dipeptide() -> bf.MolecularSystem:
    return bf.load_system("alanine_dipeptide")


@pytest.fixture(scope="module", params=["all", "backbone", "mean-free"])
def coordinates(dipeptide: bf.MolecularSystem, request: pytest.FixtureRequest) -> MolecularCoordinates:
    if request.param == "mean-free":
        return MeanFreeCoordinates(dipeptide.n_atoms)
    return dipeptide.coordinates(core=request.param)


def near(coordinates: MolecularCoordinates, n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random states, modes within a few widths, where a core stays a molecule's."""
    z = states(coordinates, n, dtype)
    real = list(coordinates.domain.indices("real"))
    z[:, real] = torch.randn(n, len(real), generator=torch.Generator().manual_seed(1)).to(z)
    return z


def test_volume_element_is_that_of_the_full_jacobian(coordinates: MolecularCoordinates) -> None:
    turns = not isinstance(coordinates, MeanFreeCoordinates)
    rigid = RIGID if turns else RIGID[:3]

    def cartesian(full: Tensor) -> Tensor:
        x = coordinates(full[None, len(rigid) :])[0][0]
        return ((x @ rotation(full[3:6]).T if turns else x) + full[:3]).flatten()

    for z in near(coordinates, 3):
        jacobian = torch.autograd.functional.jacobian(cartesian, torch.cat([rigid, z]), vectorize=True)
        expected = torch.linalg.slogdet(jacobian)[1] - (RIGID[4].sin().log() if turns else math.log(8 * math.pi**2))
        torch.testing.assert_close(coordinates(z[None])[1][0], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_states_and_positions_come_back(coordinates: MolecularCoordinates, dtype: torch.dtype) -> None:
    z = near(coordinates, 64, dtype)
    x, log_ratio = coordinates(z)
    moved = x @ rotation(RIGID[3:]).T.to(x) + RIGID[:3].to(x)
    again, log_back = coordinates.inverse(x if isinstance(coordinates, MeanFreeCoordinates) else moved)
    assert x.dtype == again.dtype == dtype
    if dtype == torch.float64:
        assert coordinates.domain.difference(again, z).abs().max() < 1e-8
        assert (log_ratio + log_back).abs().max() < 1e-8
    assert (distances(coordinates(again)[0]) - distances(x)).abs().max() < (1e-5 if dtype == torch.float32 else 1e-12)


def test_the_inverse_is_differentiable(coordinates: MolecularCoordinates) -> None:
    """In both results, against finite differences, although the superposition itself has no gradient."""
    x = coordinates(near(coordinates, 1))[0]
    direction = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(2))
    x.requires_grad_()
    z, log_ratio = coordinates.inverse(x)
    ahead, behind = (coordinates.inverse(x + step * direction) for step in (1e-7, -1e-7))
    for got, after, before in zip((z, log_ratio), ahead, behind, strict=True):
        if not got.requires_grad:  # a volume that is constant
            assert isinstance(coordinates, MeanFreeCoordinates)
            continue
        along = [torch.autograd.grad(y, x, retain_graph=True)[0].mul(direction).sum() for y in got.flatten()]
        torch.testing.assert_close(torch.stack(along), ((after - before) / 2e-7).flatten(), rtol=1e-4, atol=1e-4)


def test_the_core_is_where_its_modes_say(dipeptide: bf.MolecularSystem) -> None:
    coordinates = dipeptide.coordinates(core="backbone")
    core = dipeptide.mdtraj_topology.select("backbone").tolist()
    assert coordinates.core == tuple(core)
    z = near(coordinates, 20)
    expected = coordinates.cartesian(z[:, : 3 * len(core) - 6])[0]
    assert (distances(coordinates(z)[0][:, core]) - distances(expected)).abs().max() < 1e-10
    others = {dipeptide.atom_names[i] for i in range(22) if i not in core}
    assert {name.split()[1] for name in coordinates.domain.names[18:]} == others


def test_files_hold_them(coordinates: MolecularCoordinates) -> None:
    again = coordinates_from_specification(coordinates.specification)
    z = near(coordinates, 2)
    assert again.domain == coordinates.domain
    assert torch.equal(again.centers, coordinates.centers)
    assert torch.equal(again.widths, coordinates.widths)
    for ours, theirs in zip(again(z), coordinates(z), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_a_frame_that_is_not_finite_spoils_no_other(coordinates: MolecularCoordinates) -> None:
    x = coordinates(near(coordinates, 2))[0].clone()
    expected = coordinates.inverse(x)[0][1]
    x[0, 0, 0] = torch.nan
    z, log_ratio = coordinates.inverse(x)
    assert z[0].isnan().any()
    assert log_ratio[1].isfinite()
    torch.testing.assert_close(z[1], expected)


def test_a_better_superposition_counts_instead() -> None:
    """Structures that another rotation would fit better are left out, so that each shape is counted once."""
    system = chain()
    coordinates = system.coordinates(core="all")
    z = 6 * torch.randn(2000, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, log_ratio = coordinates(z)
    again, _ = coordinates.inverse(x)
    inside = log_ratio > -torch.inf
    same = (again - z).abs().amax(1) < 1e-6
    assert 0.05 < inside.double().mean() < 0.95
    assert torch.equal(inside, same)


def test_modes_are_those_of_the_hessian() -> None:
    """Energies of small amplitudes are Σ w² kT / 2 at a minimum."""
    system = chain(5, torsion=80.0)
    potential = system.potential("torch", compile=False)
    minimum = minimize(potential, torch.tensor(system.positions)[None], tolerance=1e-8).positions[0]
    relaxed = bf.MolecularSystem(system.topology, system.openmm_system, minimum.numpy(), TEMPERATURE)
    coordinates = relaxed.coordinates(core="all")
    w = 0.02 * torch.randn(50, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    energies = potential.energy(coordinates(w)[0]) - potential.energy(minimum[None])
    kt = thermal_energy(TEMPERATURE)
    torch.testing.assert_close(energies, 0.5 * kt * (w**2).sum(1), rtol=0.05, atol=0)
    covariance = harmonic_covariance(potential, minimum, TEMPERATURE)
    assert torch.linalg.matrix_rank(covariance, rtol=1e-9) == 9


def importance(system: bf.MolecularSystem, coordinates: MolecularCoordinates, n: int, wider: float) -> bf.Ensemble:
    """Samples from normal densities around the centers, wider than the widths."""
    from boltzflow.core.distributions import Independent

    base = Independent(coordinates.domain, coordinates.centers, wider * coordinates.widths).double()
    z, log_q = base.sample(n, generator=torch.Generator().manual_seed(3))
    x, log_volume = coordinates(z)
    potential = system.potential("torch", compile=False)
    energies = potential.energy(x.nan_to_num())
    log_weights = -energies / thermal_energy(TEMPERATURE) + log_volume - log_q
    return bf.Ensemble(x.nan_to_num(), energies, TEMPERATURE, log_weights)


def test_log_z_is_the_same_in_all_coordinates() -> None:
    system = chain()
    potential = system.potential("torch", compile=False)
    minimum = minimize(potential, torch.tensor(system.positions)[None], tolerance=1e-6).positions[0]
    system = bf.MolecularSystem(system.topology, system.openmm_system, minimum.numpy(), TEMPERATURE)
    internal = importance(system, system.coordinates(), 100_000, 1.3).log_z
    for coordinates, wider in (
        (system.coordinates(core="all"), 2.0),
        (system.coordinates(core=[0, 1, 2]), 1.3),
        (system.coordinates(core=[1, 2, 3], lengths="unbounded"), 1.3),
    ):
        ensemble = importance(system, coordinates, 100_000, wider)
        error = math.hypot(ensemble.log_z.error, internal.error)
        assert error < 0.1
        assert abs(ensemble.log_z.value - internal.value) < 4 * error, coordinates


def test_log_z_of_a_gaussian_cluster_with_the_mean_removed() -> None:
    """Springs of zero length between three atoms: all is a Gaussian integral."""
    spring, n = 500.0, 50_000
    variance = thermal_energy(TEMPERATURE) / spring
    coordinates = MeanFreeCoordinates(3, scale=0.05)
    z = 1.5 * torch.randn(n, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, log_volume = coordinates(z)
    log_q = (-0.5 * (z / 1.5) ** 2 - math.log(1.5 * math.sqrt(2 * math.pi))).sum(1)
    squares = ((x[:, 0] - x[:, 1]) ** 2).sum(1) + ((x[:, 1] - x[:, 2]) ** 2).sum(1)
    weights = -0.5 * squares / variance + log_volume - log_q
    log_z, error = bf.core.importance.log_mean_weight(weights)
    exact = 3 * math.log(2 * math.pi * variance) - math.log(8 * math.pi**2)
    assert error < 0.02
    assert abs(log_z - exact) < 4 * error


def test_a_trajectory_gives_the_modes() -> None:
    """Whitened: the amplitudes of the frames themselves have mean 0 and covariance 1, wherever the frames lie."""
    system = chain(5)
    random = torch.Generator().manual_seed(4)
    x = system.coordinates(core="all")(torch.randn(500, 9, dtype=torch.float64, generator=random))[0]
    angles = torch.rand(500, 3, dtype=torch.float64, generator=random)
    moved = torch.stack([one @ rotation(turn).T + turn for one, turn in zip(x, angles, strict=True)])
    trajectory = mdtraj.Trajectory(moved.numpy(), system.mdtraj_topology)
    z, _ = system.coordinates(core="all", trajectory=trajectory).inverse(moved)
    assert z.mean(0).abs().max() < 1e-3
    torch.testing.assert_close(z.T.cov(), torch.eye(9, dtype=torch.float64), rtol=0, atol=5e-3)
    with pytest.raises(InsufficientDataError, match="at least 2 for each"):
        system.coordinates(core="all", trajectory=trajectory[:10])
    with pytest.raises(ShapeError, match="trajectory of 5 atoms; got 4"):
        system.coordinates(core="all", trajectory=trajectory.atom_slice(range(4)))


def test_a_generator_in_mixed_coordinates_is_saved_and_loaded(dipeptide: bf.MolecularSystem, tmp_path) -> None:
    generator = bf.BoltzmannGenerator.for_system(
        dipeptide, layers=2, hidden=(16,), start="bonded", coordinates=dipeptide.coordinates(core="backbone")
    )
    ensemble = generator.sample(200, seed=0)
    share = np.mean(ensemble.energies < dipeptide_energy(dipeptide) + 10 * 60 * thermal_energy(TEMPERATURE))
    assert share > 0.5
    generator.save(tmp_path / "generator.safetensors")
    again = bf.BoltzmannGenerator.load(tmp_path / "generator.safetensors")
    assert isinstance(again.coordinates, MixedCoordinates)
    np.testing.assert_allclose(again.sample(200, seed=0).log_weights, ensemble.log_weights, atol=1e-3)
    loss = bf.train(generator, "reverse_kl", steps=3, batch_size=16, optimizer="adam", progress=False)
    assert loss is not None


def dipeptide_energy(system: bf.MolecularSystem) -> float:
    return float(system.potential("openmm").energy(torch.tensor(system.positions)[None]))


def test_what_cannot_be_is_refused(dipeptide: bf.MolecularSystem) -> None:
    with pytest.raises(OptionError, match="at least 3 atoms in the core; got 1"):
        dipeptide.coordinates(core="name CB")
    with pytest.raises(OptionError, match="together with a core"):
        dipeptide.coordinates(trajectory=mdtraj.Trajectory(dipeptide.positions, dipeptide.mdtraj_topology))
    with pytest.raises(TopologyError, match="got both"):
        dipeptide.freeze("resname ALA").coordinates(core="resname ACE")
    constrained = bf.MolecularSystem.from_pdb(
        ROOT / "systems" / "alanine_dipeptide" / "topology.pdb",
        ["amber96.xml", "implicit/obc1.xml"],
        constraints="HBonds",
    )
    assert len(constrained.coordinates(core="backbone").domain) == 48
    with pytest.raises(TopologyError, match=r"bond .* is constrained"):
        constrained.coordinates(core="resname ALA")
    with pytest.raises(TopologyError, match="without constraints"):
        constrained.coordinates(core="all")
    with pytest.raises(TopologyError, match="line"):
        CartesianCoordinates([[0.0, 0, 0], [0.1, 0, 0], [0.2, 0, 0]], torch.eye(9))
    with pytest.raises(NonFiniteError):
        CartesianCoordinates([[0.0, 0, 0], [0.1, 0, 0], [0.2, 0, math.nan]], torch.eye(9))
    with pytest.raises(OptionError):
        MeanFreeCoordinates(1)
    with pytest.raises(ShapeError, match="22 atoms; got coordinates of 4"):
        bf.BoltzmannGenerator.for_system(dipeptide, coordinates=chain().coordinates())
    with pytest.raises(OptionError, match="got both"):
        bf.BoltzmannGenerator.for_system(dipeptide, coordinates=dipeptide.coordinates(), lengths="unbounded")


def test_coverage_says_what_is_cut_off(dipeptide: bf.MolecularSystem) -> None:
    coordinates = dipeptide.coordinates()
    z = states(coordinates, 1000)
    low, high = coordinates.domain.coordinates[3].low, coordinates.domain.coordinates[3].high
    z[:30, 3] = high + 0.1 * (high - low)
    x = coordinates(z)[0]
    found = coverage(coordinates, x)
    name = coordinates.domain.names[3]
    assert found.by_coordinate == pytest.approx({name: 0.03})
    assert found.outside == pytest.approx(0.03)
    assert found.error == pytest.approx(math.sqrt(0.03 * 0.97 / 1000))
    assert next(iter(found.margins.items())) == (name, pytest.approx(-0.2))
    assert "3.00% ± 0.54% of 1000 frames outside" in str(found)
    log_weights = torch.zeros(1000, dtype=torch.float64)
    log_weights[:30] = -math.inf
    assert coverage(coordinates, x, log_weights).outside == 0.0
    inside = coverage(coordinates, mdtraj.Trajectory(x[30:].numpy(), dipeptide.mdtraj_topology))
    assert (inside.outside, inside.error) == (0.0, pytest.approx(3 / 970))
    x[5, 3, 1] = torch.nan
    with pytest.raises(NonFiniteError, match="frame 5"):
        coverage(coordinates, x)
