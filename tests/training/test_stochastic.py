"""Generators with stochastic layers: exact weights of paths, what the layers bring and cost, files, refusals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import boltzflow as bf
from boltzflow.core import StochasticFlow
from boltzflow.errors import FileFormatError, IntractableDensityError, OptionError
from boltzflow.training import FAB, AlphaDivergence, ConstrainedTransport, LogDispersion, Method, ReverseKL
from boltzflow.training.methods import StepInfo
from tests.analysis.exact import chain

from .test_methods import dihedral, share_of_deep_well
from .test_temperatures import OPTIONS, Exact

KERNELS = ["metropolis", "langevin"]
ONE_IS_SLOW = ["metropolis", pytest.param("langevin", marks=pytest.mark.slow)]


def make(stochastic: str | None, **options: object) -> bf.BoltzmannGenerator:
    """A generator of the chain that starts with a uniform torsion: two blocks of two couplings."""
    chosen = {"layers": 4, "hidden": (32,), "bins": 6, "start": "plain", "stochastic_every": 2} | options
    return bf.BoltzmannGenerator.for_system(chain(), stochastic=stochastic, **chosen)  # type: ignore[arg-type]


def check_exact(ensemble: bf.Ensemble) -> None:
    """z-scores against quadrature: log Z, the mean energy, and the share of the deep well."""
    exact = Exact.at(ensemble.temperature)
    assert ensemble.log_q is None
    assert ensemble.failed == 0
    for found, expected in ((ensemble.log_z, exact.log_z), (ensemble.mean(ensemble.energies), exact.energy)):
        assert abs(found.value - expected) < 4 * found.error
    assert ensemble.log_z.error < 0.02
    if ensemble.temperature == 300.0:
        deep = ensemble.mean(lambda t: abs(dihedral(t)) < math.pi / 2)
        assert abs(deep.value - share_of_deep_well()) < 4 * deep.error
        assert deep.error < 0.01


@pytest.mark.parametrize("kernel", ONE_IS_SLOW)
def test_weights_of_paths_are_exact_before_and_after_training(kernel: str) -> None:
    """20 000 samples; ESS from about 30 % to above 50 % in 120 steps."""
    generator = make(kernel)
    before = generator.sample(20_000, seed=1)
    check_exact(before)
    history = bf.train(generator, steps=120, **OPTIONS)  # type: ignore[arg-type]
    assert history.last.skipped_steps == 0
    after = generator.sample(20_000, seed=2)
    check_exact(after)
    assert before.ess < 0.4 < 0.5 < after.ess


@pytest.mark.parametrize("kernel", ONE_IS_SLOW)
def test_the_layers_raise_the_sample_size_of_an_untrained_flow(kernel: str) -> None:
    """ESS of 20 000 samples: 24 % without layers, 28 to 31 % with 5 steps of one, 34 to 41 % with three layers."""
    without = make(None).sample(20_000, seed=1).ess
    one = make(kernel).sample(20_000, seed=1).ess
    three = make(kernel, stochastic_every=1).sample(20_000, seed=1).ess
    assert without + 0.02 < one < one + 0.02 < three


def test_energies_of_the_layers_are_counted() -> None:
    """A sample: one at its end, and for each of two layers its start and five steps; in training one more each."""
    generator = make("metropolis", layers=6)
    before = generator.evaluations
    generator.sample(100, seed=0, batch_size=50)
    assert generator.evaluations - before == 100 * (1 + 2 * 6)
    history = bf.train(generator, steps=3, **OPTIONS)  # type: ignore[arg-type]
    assert history.last.energy_evaluations == 3 * 128 * (1 + 2 * 7)


@pytest.mark.parametrize("kernel", KERNELS)
def test_states_stay_in_the_domain_and_steps_are_accepted(kernel: str) -> None:
    generator = make(kernel)
    with torch.no_grad():
        z, _ = generator.flow.sample(2000, generator=torch.Generator().manual_seed(0))
    assert generator.flow.domain.contains(z).all()
    assert isinstance(generator.flow, StochasticFlow)
    (layer,) = generator.flow.transform.stochastic_layers
    wanted = 0.3 if kernel == "metropolis" else 0.6
    assert layer.acceptance is not None
    assert abs(layer.acceptance.item() - wanted) < 0.1


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_file_holds_the_layers(kernel: str, tmp_path: Path) -> None:
    generator = make(kernel)
    bf.train(generator, steps=5, **OPTIONS)  # type: ignore[arg-type]
    generator.save(tmp_path / "chain.safetensors")
    again = bf.BoltzmannGenerator.load(tmp_path / "chain.safetensors")
    one, two = generator.sample(500, seed=3), again.sample(500, seed=3)
    assert np.array_equal(one.positions, two.positions)
    assert np.array_equal(one.log_weights, two.log_weights)
    assert np.array_equal(one.energies, two.energies)


def test_a_training_is_resumed_only_with_the_same_layers(tmp_path: Path) -> None:
    """Fewer steps of the layers leave the parameters' names as they are."""
    options = OPTIONS | {"batch_size": 32, "steps": 2}
    bf.train(make("metropolis"), directory=tmp_path, **options)  # type: ignore[arg-type]
    with pytest.raises(FileFormatError, match="molecule"):
        bf.train(make("metropolis", stochastic_steps=3), directory=tmp_path, resume=True, **options)  # type: ignore[arg-type]


def test_layers_follow_the_temperature_of_a_step() -> None:
    """At 1200 K the layers of a generator for 300 K get the density of 1200 K."""
    generator = make("metropolis")
    context = ReverseKL().context(generator, StepInfo(0, 10, 6, torch.Generator()))
    assert context is not None
    assert torch.equal(context, torch.full((6, 1), 1200.0))
    assert isinstance(generator.flow, StochasticFlow)
    z, _ = generator.flow.base.sample(6, generator=torch.Generator().manual_seed(0))
    found = generator.flow.path.log_prob(z, context, fraction=1.0)
    torch.testing.assert_close(found, generator.internal_target(1200.0).log_prob(z))


def test_a_range_of_temperatures_with_layers(tmp_path: Path) -> None:
    """20 000 samples at two temperatures, before and after a short training and a file."""
    generator = make("metropolis", temperatures=(300.0, 900.0), start="bonded")
    bf.train(generator, steps=30, **OPTIONS)  # type: ignore[arg-type]
    generator.save(tmp_path / "chain.safetensors")
    again = bf.BoltzmannGenerator.load(tmp_path / "chain.safetensors")
    for kelvin in (300.0, 700.0):
        check_exact(again.sample(20_000, temperature=kelvin, seed=4))


def test_there_is_no_density_in_closed_form() -> None:
    generator = make("metropolis")
    with pytest.raises(IntractableDensityError, match="KernelLayer"):
        generator.log_prob(torch.from_numpy(generator.sample(2, seed=0).positions))


@pytest.mark.parametrize("method", [FAB(), ConstrainedTransport(), AlphaDivergence(), LogDispersion()])
def test_methods_that_need_the_density_refuse_it(method: Method) -> None:
    with pytest.raises(OptionError, match="expected a flow with a closed-form density; got one with stochastic layers"):
        bf.train(make("metropolis"), method, steps=1, **OPTIONS)  # type: ignore[arg-type]


def test_impossible_layers_are_refused() -> None:
    with pytest.raises(OptionError, match="'stochastic': input should be 'metropolis' or 'langevin'; got 'magic'"):
        make("magic")
    with pytest.raises(OptionError, match="'stochastic_steps': input should be greater than 0; got 0"):
        make("metropolis", stochastic_steps=0)
    with pytest.raises(OptionError, match="got 4 couplings in blocks of 4"):
        make("metropolis", stochastic_every=4)
