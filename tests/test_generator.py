"""The Boltzmann generator: weights, densities, files."""

import numpy as np
import pytest
import torch

import boltzflow as bf
from boltzflow.errors import FileFormatError, OptionError
from boltzflow.testing import randomize_parameters
from boltzflow.units import GAS_CONSTANT


@pytest.fixture(scope="module")
def generator():
    generator = bf.BoltzmannGenerator.for_system(bf.load_system("alanine_dipeptide"), layers=2, hidden=(16,), bins=4)
    randomize_parameters(generator.flow, scale=0.1)
    return generator


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


def test_damaged_and_foreign_files_are_refused(generator, tmp_path) -> None:
    path = tmp_path / "aldp.safetensors"
    generator.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(FileFormatError, match="is damaged"):
        bf.BoltzmannGenerator.load(path)
    path.write_bytes(content.replace(b'"format_version":"1"', b'"format_version":"9"'))
    with pytest.raises(FileFormatError, match="newer"):
        bf.BoltzmannGenerator.load(path)
    with pytest.raises(FileFormatError, match="no such file"):
        bf.BoltzmannGenerator.load(tmp_path / "nothing.safetensors")


def test_unbounded_lengths_have_the_same_target(generator) -> None:
    """Both kinds of length estimate the same log Z of the same start distribution's support."""
    system = generator.system
    log_z = []
    for lengths in ("bounded", "unbounded"):
        coordinates = system.coordinates(lengths=lengths).double()
        bond = coordinates.domain.names[0]
        assert bond.startswith("bond")
        x = torch.as_tensor(system.positions)[None]
        internals, log_ratio = coordinates.inverse(x)
        positions, log_volume = coordinates(internals)
        assert torch.allclose(log_volume, -log_ratio)
        log_z.append(system.target().log_prob(positions).item())
    assert log_z[0] == pytest.approx(log_z[1], abs=1e-6)
