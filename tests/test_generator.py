"""The Boltzmann generator: weights, densities, files."""

import numpy as np
import openmm
import pytest
import torch
from openmm import app

import boltzflow as bf
from boltzflow.errors import FileFormatError, OptionError
from boltzflow.molecules import available_systems
from boltzflow.testing import randomize_parameters
from boltzflow.units import GAS_CONSTANT


@pytest.fixture(scope="module")
def generator():
    generator = bf.BoltzmannGenerator.for_system(bf.load_system("alanine_dipeptide"), layers=2, hidden=(16,), bins=4)
    randomize_parameters(generator.flow, scale=0.1)
    return generator


BOND, ANGLE = 5e4, 100.0  # kJ/mol/nm², kJ/mol/rad²


def water() -> bf.MolecularSystem:
    """A bent triatomic with harmonic bonds and angle only: its log Z is a product of one-dimensional integrals."""
    topology = app.Topology()
    residue = topology.addResidue("TRI", topology.addChain())
    atoms = [topology.addAtom(name, app.element.carbon, residue) for name in ("A", "B", "C")]
    system, bonds, angles = openmm.System(), openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    for _ in atoms:
        system.addParticle(12.0)
    for i in (0, 2):
        topology.addBond(atoms[i], atoms[1])
        bonds.addBond(i, 1, 0.1, BOND)
    angles.addAngle(0, 1, 2, 1.8, ANGLE)
    system.addForce(bonds)
    system.addForce(angles)
    return bf.MolecularSystem(topology, system, [[0.1, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.1, 0.0]], temperature=300.0)


def test_log_weights_are_target_over_proposal(generator) -> None:
    ensemble = generator.sample(50, seed=0)
    assert ensemble.log_q is not None
    expected = -ensemble.energies / (GAS_CONSTANT * 300.0) - ensemble.log_q
    assert np.allclose(ensemble.log_weights, expected, rtol=1e-5, atol=1e-3)
    assert ensemble.temperature == 300.0


def test_log_q_of_samples_is_that_of_log_prob(generator) -> None:
    """The density of what was sampled, asked again from the positions alone, turned and moved."""
    double = bf.BoltzmannGenerator.for_system(generator.system, layers=2, hidden=(16,), bins=4).to(dtype=torch.float64)
    double.flow.load_state_dict(generator.flow.state_dict())
    with torch.no_grad():
        internals, log_q = double.flow.sample(20, generator=torch.Generator().manual_seed(0))
        positions, log_volume = double.coordinates(internals)
        rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
        rotation[:, 0] *= torch.linalg.det(rotation)
        moved = positions @ rotation.T + torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
        assert torch.allclose(double.log_prob(moved), log_q - log_volume, atol=1e-6)


def test_sampling_is_repeatable_and_independent_of_the_batch_it_ends_in(generator) -> None:
    one, two = (generator.sample(n, seed=1, batch_size=16) for n in (20, 33))
    assert np.array_equal(one.positions, two.positions[:20])
    assert len(two) == 33
    assert not np.array_equal(generator.sample(20, seed=2, batch_size=16).positions, one.positions)
    with pytest.raises(OptionError, match="positive"):
        generator.sample(0)


def test_a_file_holds_everything(generator, tmp_path) -> None:
    path = tmp_path / "aldp.safetensors"
    generator.provenance = {"steps": 7}
    generator.save(path)
    again = bf.BoltzmannGenerator.load(path)
    assert again.provenance == {"steps": 7}
    assert again.system.atom_names == generator.system.atom_names
    one, two = generator.sample(10, seed=0), again.sample(10, seed=0)
    assert np.array_equal(one.positions, two.positions)
    assert np.array_equal(one.log_weights, two.log_weights)


def test_rounded_weights_halve_the_file_and_stay_exact(generator, tmp_path) -> None:
    """The loaded generator is another density, close to the first, whose samples have its own log q."""
    paths = [tmp_path / name for name in ("whole", "rounded")]
    generator.save(paths[0])
    generator.save(paths[1], weights="bfloat16")
    matrices = sum(p.numel() for p in generator.flow.parameters() if p.dim() == 2)
    assert paths[0].stat().st_size - paths[1].stat().st_size == pytest.approx(2 * matrices, rel=0.02)
    again = bf.BoltzmannGenerator.load(paths[1])
    assert again.like.dtype == torch.float32
    ensemble, before = again.sample(50, seed=0), generator.sample(50, seed=0)
    assert ensemble.log_q is not None
    found = again.log_prob(torch.from_numpy(ensemble.positions)).detach().numpy()
    assert found == pytest.approx(ensemble.log_q, abs=0.05)
    assert not np.array_equal(ensemble.positions, before.positions)
    assert np.abs(ensemble.positions - before.positions).mean() < 0.01
    with pytest.raises(OptionError, match="one of float32, bfloat16; got 'bf16'"):
        generator.save(tmp_path / "other", weights="bf16")


def test_damaged_and_foreign_files_are_refused(generator, tmp_path) -> None:
    path = tmp_path / "aldp.safetensors"
    generator.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(FileFormatError, match="is damaged"):
        bf.BoltzmannGenerator.load(path)
    path.write_bytes(content.replace(b'"format_version":"3"', b'"format_version":"9"'))
    with pytest.raises(FileFormatError, match="newer"):
        bf.BoltzmannGenerator.load(path)
    with pytest.raises(FileFormatError, match="does not exist"):
        bf.BoltzmannGenerator.load(tmp_path / "nothing.safetensors")


def test_bounded_and_unbounded_lengths_have_the_same_log_z() -> None:
    """A soft pair of bonds: two start distributions, one configuration integral; z-score of 2 × 100 000 samples."""
    estimates = []
    for lengths in ("bounded", "unbounded"):
        generator = bf.BoltzmannGenerator.for_system(water(), layers=2, hidden=(8,), lengths=lengths)
        estimates.append(generator.sample(100_000, seed=3).log_z)
    one, two = estimates
    assert max(one.error, two.error) < 0.02
    assert abs(one.value - two.value) / (one.error**2 + two.error**2) ** 0.5 < 4.0


def test_log_z_of_a_bent_triatomic_is_exact() -> None:
    """The whole generator against quadrature: log ∫ b₁² b₂² sin θ exp(−U/kT), z-score of 100 000 samples."""
    ensemble = bf.BoltzmannGenerator.for_system(water(), layers=2, hidden=(8,)).sample(100_000, seed=4)
    kt = GAS_CONSTANT * 300.0
    b = np.linspace(0.0, 0.5, 20_001)
    theta = np.linspace(0.0, np.pi, 20_001)
    length = np.trapezoid(b**2 * np.exp(-0.5 * BOND * (b - 0.1) ** 2 / kt), b)
    angle = np.trapezoid(np.sin(theta) * np.exp(-0.5 * ANGLE * (theta - 1.8) ** 2 / kt), theta)
    exact = 2.0 * np.log(length) + np.log(angle)
    assert abs(ensemble.log_z.value - exact) / ensemble.log_z.error < 4.0
    assert ensemble.log_z.error < 0.01
    assert ensemble.ess > 0.9


def test_log_q_of_an_ensemble_is_asked_again_from_its_positions(generator) -> None:
    """The sign of the volume element in `sample` against that in `log_prob`; positions are stored in float32."""
    double = bf.BoltzmannGenerator.for_system(generator.system, layers=2, hidden=(16,), bins=4).to(dtype=torch.float64)
    ensemble = double.sample(20, seed=0)
    with torch.no_grad():
        again = double.log_prob(torch.from_numpy(ensemble.positions).double()).numpy()
    assert np.allclose(ensemble.log_q, again, atol=0.05)


def test_a_frame_that_is_not_finite_has_density_zero(generator) -> None:
    positions = torch.from_numpy(generator.sample(2, seed=0).positions).clone()
    positions[1, 3] = torch.nan
    with torch.no_grad():
        log_q = generator.log_prob(positions)
    assert log_q[0].isfinite()
    assert log_q[1] == -torch.inf


def test_a_double_precision_generator_keeps_its_digits(generator, tmp_path) -> None:
    double = bf.BoltzmannGenerator.for_system(generator.system, layers=1, hidden=(8,)).to(dtype=torch.float64)
    randomize_parameters(double.flow)
    double.save(tmp_path / "double.safetensors")
    again = bf.BoltzmannGenerator.load(tmp_path / "double.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(double.flow.parameters(), again.flow.parameters(), strict=True))


@pytest.mark.usefixtures("compiler")
def test_the_generator_that_comes_with_alanine_dipeptide() -> None:
    """Its weights are good and its log Z is that of its README's record of 1e6 samples (z-score of 4096 samples)."""
    path = available_systems()["alanine_dipeptide"] / "generator.safetensors"
    ensemble = bf.BoltzmannGenerator.load(path).sample(4096, seed=0)
    assert ensemble.failed == 0
    assert ensemble.ess > 0.9
    assert abs(ensemble.log_z.value - -178.6853) / ensemble.log_z.error < 4.0
