"""Agreement of trainings that differ in their seeds: honest errors agree, a lost basin does not."""

from __future__ import annotations

import numpy as np
import pytest

from boltzflow.analysis import Trust, compare_replicas
from boltzflow.ensemble import Ensemble
from boltzflow.errors import OptionError
from tests.analysis.weighted import one_atom


def replica(seed: int, n: int = 20_000, lost: float = 0.0, spread: float = 0.5) -> Ensemble:
    """Log-normal weights of mean 1 − lost."""
    noise = np.random.default_rng(seed).normal(size=n)
    log_weights = spread * noise - spread**2 / 2 + np.log1p(-lost)
    return Ensemble(np.zeros((n, 2, 3)), np.zeros(n), 300.0, log_weights=log_weights, absolute=True)


def test_p_values_of_replicas_that_agree_are_uniform() -> None:
    """Of 200 threesomes; Kolmogorov's distance from the uniform distribution at a level of 0.1 %."""
    found = [compare_replicas([replica(3 * k + i, n=2000) for i in range(3)]).p_value for k in range(200)]
    steps = np.arange(1, 201) / 200
    assert np.abs(np.sort(found) - steps).max() < 1.95 / np.sqrt(200)


def test_a_lost_basin_shows_where_it_can() -> None:
    kept, lost = [replica(0), replica(1)], replica(2, lost=0.05)
    check = compare_replicas([*kept, lost])
    assert check.p_value < 1e-4
    assert check.verdict.trust is Trust.DO_NOT_USE
    agreed = compare_replicas([*kept, replica(3)])
    assert agreed.verdict.trust is Trust.TRUST
    # By the spread of the weights; the alarm is at p = 1 %, 2.58 errors of a difference, and 1.64 more are 95 % sure.
    error = np.sqrt(2) * np.sqrt((np.exp(0.25) - 1) / 20_000)
    assert agreed.detectable == pytest.approx((2.576 + 1.645) * error, rel=0.05)


def test_what_is_said_to_be_detectable_is_detected() -> None:
    """A loss of that size, 100 times: 95 alarms are expected, and fewer than 88 come once in 500."""
    size = compare_replicas([replica(0, 8000), replica(1, 8000)]).detectable
    pairs = ([replica(2 * k, 8000), replica(2 * k + 1, 8000, lost=size)] for k in range(1, 101))
    assert sum(compare_replicas(pair).verdict.trust > Trust.TRUST for pair in pairs) >= 88


def test_agreement_that_would_not_see_a_loss_is_taken_with_care() -> None:
    check = compare_replicas([replica(0, 500), replica(1, 500)])
    assert check.detectable > 0.05
    assert check.verdict.trust is Trust.WITH_CARE


def test_agreement_by_weights_of_no_use_is_refused() -> None:
    def dominated(seed: int) -> Ensemble:
        log_weights = replica(seed, 1000).log_weights
        log_weights[0] = 20.0
        return Ensemble(np.zeros((1000, 2, 3)), np.zeros(1000), 300.0, log_weights=log_weights, absolute=True)

    check = compare_replicas([replica(0), dominated(1)])
    assert check.verdict.trust is Trust.DO_NOT_USE
    assert "weights of training 2:" in compare_replicas([dominated(0), dominated(1)]).verdict.reason


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(OptionError, match="at least two ensembles"):
        compare_replicas([replica(0)])
    other = Ensemble(np.zeros((3, 5, 3)), np.zeros(3), 300.0)
    with pytest.raises(OptionError, match="5 atoms at 300 K"):
        compare_replicas([replica(0), other])
    # Their log Z would be 0 ± 0 each, in perfect agreement.
    simulated = [Ensemble(np.zeros((500, 2, 3)), np.zeros(500), 300.0) for _ in range(2)]
    for equal in (simulated, [replica(k, 500).resample(500) for k in range(2)]):
        with pytest.raises(OptionError, match="of ensemble 1 are known only up to a factor"):
            compare_replicas(equal)


def test_replicas_of_the_same_frames_are_refused(tmp_path) -> None:
    """The same object, a copy, a part, in another order, from a file: all agree at p = 1."""
    pair = one_atom().join(one_atom())
    one = replica(0, 500).replace(
        positions=np.random.default_rng(0).normal(size=(500, 2, 3)),
        topology=pair,
        absolute=True,
    )
    one.save(tmp_path / "run")
    others = {
        "itself": one,
        "copy": one.replace(),
        "part": one[:400],
        "order": one[np.random.default_rng(1).permutation(500)],
        "file": Ensemble.load(tmp_path / "run"),
    }
    for name, other in others.items():
        with pytest.raises(OptionError, match="1 and 3 hold the same frames"):
            compare_replicas([one, replica(1, 500), other])
        assert other.absolute, name
