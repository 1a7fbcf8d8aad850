"""The generator's density on frames of a simulation."""

from __future__ import annotations

import numpy as np
import pytest

import boltzflow as bf
from boltzflow.analysis import as_reference, check_forward
from boltzflow.analysis.verdict import Trust
from boltzflow.ensemble import Ensemble
from boltzflow.errors import OptionError
from tests.training.conftest import chain


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
    for mine, right in ((found.nll, nll), (found.kl, kl)):
        assert 0.5 < mine.error / right.error < 1.6  # 64 pieces
    assert found.document()["nll"] == {"value": found.nll.value, "error": found.nll.error}


def test_frames_outside_the_domain_are_counted(good: bf.BoltzmannGenerator) -> None:
    ensemble = good.sample(1000, seed=1)
    positions = ensemble.positions.copy()
    positions[:200, 3] += 1.0
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
