"""The generator's density on frames of a simulation."""

from __future__ import annotations

import numpy as np
import pytest

import boltzflow as bf
from boltzflow.analysis import as_reference, check_forward
from boltzflow.analysis.checks.forward import _check_same_energies
from boltzflow.ensemble import Ensemble
from boltzflow.errors import OptionError
from boltzflow.verdict import Trust
from tests.analysis.exact import chain


@pytest.fixture(scope="module")
def good() -> bf.BoltzmannGenerator:
    """Untrained: what the force field says of each coordinate alone is nearly all there is to this chain."""
    return bf.BoltzmannGenerator.for_system(chain(), layers=2, hidden=(8,), bins=6, start="bonded")


def test_the_density_on_frames_of_the_target(good: bf.BoltzmannGenerator) -> None:
    """The generator's own samples, reweighted, are such frames: both directions agree."""
    ensemble, other = good.sample(5000, seed=1), good.sample(5000, seed=2)
    found = check_forward(good, ensemble, as_reference(other, 300.0))
    assert found is not None
    assert found.verdict.trust == Trust.TRUST
    assert (found.frames, found.outside.value) == (5000, 0.0)
    assert found.ess == pytest.approx(ensemble.ess, abs=0.1)
    assert other.log_q is not None
    nll, kl = other.mean(-other.log_q), other.mean(other.log_weights - ensemble.log_z.value)
    assert found.nll.value == pytest.approx(nll.value, abs=1e-2)
    assert found.kl.value == pytest.approx(kl.value, abs=1e-2)
    kl_error = np.hypot(kl.error, ensemble.log_z.error)
    for mine, right in ((found.nll.error, nll.error), (found.kl.error, kl_error)):
        assert 0.5 < mine / right < 1.6  # 64 pieces
    assert found.document()["nll"] == {"value": found.nll.value, "error": found.nll.error}


def test_frames_outside_the_domain_are_counted(good: bf.BoltzmannGenerator) -> None:
    ensemble = good.sample(1000, seed=1)
    positions = ensemble.positions.copy()
    positions[::5, 3] += 1.0  # in every block
    far = as_reference(Ensemble(positions, ensemble.energies, 300.0, topology=ensemble.topology).to_mdtraj(), 300.0)
    found = check_forward(good, ensemble, far)
    assert found is not None
    assert found.outside.value == pytest.approx(0.2)
    assert found.ess == 0.0
    assert found.verdict.trust == Trust.DO_NOT_USE
    assert np.isfinite(found.nll.value)


def test_another_force_field_is_refused(good: bf.BoltzmannGenerator) -> None:
    ensemble = good.sample(100, seed=1)
    energies = ensemble.energies + np.linspace(0, 10, 100)
    other = as_reference(Ensemble(ensemble.positions, energies, 300.0, topology=ensemble.topology), 300.0)
    with pytest.raises(OptionError, match="the generator's force field"):
        check_forward(good, ensemble, other)
    shifted = as_reference(
        Ensemble(ensemble.positions, ensemble.energies + 5.0, 300.0, topology=ensemble.topology), 300.0
    )
    assert check_forward(good, ensemble, shifted) is not None  # a constant is no matter


def test_the_error_of_log_z_is_part_of_that_of_kl(good: bf.BoltzmannGenerator) -> None:
    few, other = good.sample(30, seed=1), good.sample(5000, seed=2)
    found = check_forward(good, few, as_reference(other, 300.0))
    assert found is not None
    assert found.kl.error > few.log_z.error > 0


def test_a_failed_frame_hides_no_other_force_field(good: bf.BoltzmannGenerator) -> None:
    ensemble = good.sample(100, seed=1)
    energies = ensemble.energies + np.linspace(0, 10, 100)
    with pytest.raises(OptionError, match="differ by up to"):
        _check_same_energies(np.append(energies, np.inf), np.append(ensemble.energies, np.inf))
    with pytest.raises(OptionError, match="no frame has a finite energy"):
        _check_same_energies(np.full(3, np.inf), np.zeros(3))
    energies[0] = np.inf
    failed = as_reference(Ensemble(ensemble.positions, energies, 300.0, topology=ensemble.topology), 300.0)
    with pytest.raises(OptionError, match="the generator's force field"):
        check_forward(good, ensemble, failed)


def test_a_failed_frame_of_the_reference_is_left_out(good: bf.BoltzmannGenerator) -> None:
    ensemble = good.sample(200, seed=1)
    positions, energies = ensemble.positions.copy(), ensemble.energies.copy()
    positions[0], energies[0] = 0.0, np.inf
    failed = Ensemble(positions, energies, 300.0, ensemble.log_weights, ensemble.log_q, ensemble.topology)
    found = check_forward(good, ensemble, as_reference(failed, 300.0))
    assert found is not None
    assert found.frames == 199
    assert found.ess > 0


def test_other_temperatures_are_refused(good: bf.BoltzmannGenerator) -> None:
    ensemble = good.sample(100, seed=1)
    hot = as_reference(ensemble.at(330.0), 330.0)
    with pytest.raises(OptionError, match="reference at 300 K; got one at 330 K"):
        check_forward(good, ensemble, hot)
    with pytest.raises(OptionError, match=r"own temperature, 300 K; got some at 330 K"):
        check_forward(good, ensemble.at(330.0), as_reference(ensemble, 300.0))


def test_nothing_thin_is_bounded_by_the_pieces_that_were_looked_at(good: bf.BoltzmannGenerator) -> None:
    ensemble = good.sample(90, seed=1)
    pieces = np.arange(90) // 10
    partly = ensemble.with_log_weights(np.where(pieces < 5, ensemble.log_weights, -np.inf))
    found = check_forward(good, ensemble, as_reference(partly, 300.0, pieces=pieces))
    assert found is not None
    assert found.thin == (0.0, 3 / 5)
    assert "too few independent blocks to tell: none of the reference" in found.verdict.reason
