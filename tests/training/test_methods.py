"""Every method of training learns a small molecule, remembers what it must, and refuses what it cannot do."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import mdtraj
import numpy as np
import pytest
import torch
from safetensors import safe_open
from scipy import integrate

import boltzflow as bf
from boltzflow.analysis import unfold
from boltzflow.core import importance
from boltzflow.errors import FileFormatError, OptionError
from boltzflow.simulation import ParallelTempering
from boltzflow.training import (
    FAB,
    AlphaDivergence,
    ConstrainedTransport,
    ForwardKL,
    LogDispersion,
    Method,
    Mixture,
    Phases,
    ReverseKL,
    SimulateAndLearn,
    TemperatureAnnealing,
    TrainingOptions,
)
from boltzflow.training.cost import estimate_cost
from boltzflow.training.methods import METHODS, StepInfo, method_named
from boltzflow.training.methods.drawing import draw
from boltzflow.units import thermal_energy
from tests.molecules.ethane import ethane

OPTIONS = {"batch_size": 128, "log_every": 1, "compile": False, "progress": False, "warmup": 5, "learning_rate": 1e-2}
OPTIONS |= {"optimizer": "adam", "precision": "float32"}

SIMULATION = SimulateAndLearn(ladders=8, rungs=2, hottest=600.0, rounds=40, every=6, jump_every=12)
TO_THE_WEIGHTS = AlphaDivergence(alpha=1.0, hot_share=0.0, cooling_share=0.0)

CASES: dict[str, Method] = {
    "reverse_then_forward": method_named("reverse_then_forward"),
    "reverse_kl": ReverseKL(),
    "alpha_divergence": AlphaDivergence(hot_temperature=600.0),
    "log_dispersion": LogDispersion(hot_temperature=600.0),
    "fab": FAB(every=4, levels=2, leapfrog_steps=2, first_batches=2, batches=16),
    "temperature_annealing": TemperatureAnnealing(hot=ReverseKL(hot_temperature=600.0), rungs=2, samples=2000),
    "constrained_transport": ConstrainedTransport(samples=2000, every=40, trust_region=1.0),
    "constrained_transport, dispersion": ConstrainedTransport(samples=2000, every=40, dispersion=0.1),
    "phases": Phases((ReverseKL(), ConstrainedTransport(samples=2000, every=50)), (0.6, 0.4)),
    "simulate_and_learn": SIMULATION,
    "simulation, then alpha": Phases(
        (SIMULATION, AlphaDivergence(alpha=1.0, hot_share=0.0, cooling_share=0.0)), (0.8, 0.2)
    ),
    "mixture": Mixture((ReverseKL(), ConstrainedTransport(samples=2000, every=50)), (1.0, 0.0), (0.5, 0.5)),
}


def share_of_deep_well() -> float:
    """Of |phi| < π/2, by quadrature: lengths and angles do not depend on the torsion."""
    kt = thermal_energy(300.0)

    def weight(phi: float) -> float:
        return math.exp(-(6.0 * (1 + math.cos(2 * phi - math.pi)) + 2.5 * (1 + math.cos(phi - math.pi))) / kt)

    return 2 * integrate.quad(weight, 0, math.pi / 2)[0] / (2 * integrate.quad(weight, 0, math.pi)[0])


def test_every_method_of_the_command_line_is_tested() -> None:
    assert set(METHODS) <= set(CASES)


@pytest.mark.filterwarnings("ignore:The simulation has not mixed")
@pytest.mark.parametrize("name", CASES)
def test_a_method_learns_both_wells(small: bf.BoltzmannGenerator, name: str) -> None:
    """ESS from below 50 % to above 70 %, the share of the deep well within 4 standard errors; 20 000 samples."""
    before = small.sample(4000, seed=1).ess
    history = bf.train(small, CASES[name], steps=160, **OPTIONS)
    assert history.last.temperature_K == pytest.approx(300.0)
    ensemble = small.sample(20_000, seed=2)
    assert before < 0.5 < 0.7 < ensemble.ess
    phi = ensemble.mean(lambda t: abs(dihedral(t)) < math.pi / 2)
    assert abs(phi.value - share_of_deep_well()) < 4 * phi.error
    assert phi.error < 0.01


def dihedral(trajectory: mdtraj.Trajectory) -> np.ndarray:
    """Of the four atoms (n,)."""
    return mdtraj.compute_dihedrals(trajectory, [[0, 1, 2, 3]])[:, 0]


@pytest.mark.filterwarnings("ignore:The simulation has not mixed")
@pytest.mark.parametrize("name", CASES)
def test_a_resumed_training_goes_on_as_if_nothing_had_happened(small, tmp_path, monkeypatch, name: str) -> None:
    """Ctrl-C at the 13th gradient of 20: the same records and weights."""
    options = OPTIONS | {"batch_size": 32, "steps": 20, "seed": 3}
    start = {k: v.clone() for k, v in small.flow.state_dict().items()}
    whole = bf.train(small, CASES[name], directory=tmp_path / "whole", **options)
    expected = {k: v.clone() for k, v in small.flow.state_dict().items()}

    small.flow.load_state_dict(start)
    backward, calls = torch.Tensor.backward, []

    def interrupted(self, *arguments, **keywords):
        calls.append(1)
        if len(calls) == 13:
            raise KeyboardInterrupt
        return backward(self, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bf.train(small, CASES[name], directory=tmp_path / "cut", **options)
    small.flow.load_state_dict(start)
    resumed = bf.train(small, CASES[name], directory=tmp_path / "cut", resume=True, **options)
    for key, tensor in small.flow.state_dict().items():
        assert torch.equal(tensor, expected[key]), key
    for one, two in zip(whole.records, resumed.records, strict=True):
        assert (one.loss, one.ess, one.energy_evaluations) == (two.loss, two.ess, two.energy_evaluations)


def test_a_simulation_that_has_not_mixed_is_said(small: bf.BoltzmannGenerator) -> None:
    method = replace(SIMULATION, rounds=4)
    with pytest.warns(UserWarning, match=r"mixed: about \d+ independent values of torsion C0 .* 8 ladders"):
        bf.train(small, method, steps=1, **OPTIONS)
    facts = small.provenance["simulation"]
    assert facts["slowest_torsion"].startswith("torsion C0")
    assert facts["independent_values"] < 100


@pytest.mark.filterwarnings("ignore:The simulation has not mixed")
def test_the_cost_of_a_simulation_is_that_of_the_training(small: bf.BoltzmannGenerator) -> None:
    """All evaluations but those of the minimisation before it; the estimate itself says nothing of mixing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cost = estimate_cost(small, SIMULATION, TrainingOptions(steps=26, batch_size=32))
    assert cost.evaluations == SIMULATION.evaluations(26, 32)
    history = bf.train(small, SIMULATION, steps=26, **OPTIONS | {"batch_size": 32})
    assert 0 < history.last.energy_evaluations - cost.evaluations < 5001
    assert 0 < SIMULATION.preparation(26, 32) < cost.evaluations


@pytest.mark.filterwarnings("ignore:The simulation has not mixed")
def test_an_interrupted_simulation_goes_on(small: bf.BoltzmannGenerator, tmp_path, monkeypatch) -> None:
    """Ctrl-C in its tenth round: the frames, records and weights are those of an uninterrupted training."""
    options = OPTIONS | {"batch_size": 32, "steps": 3, "seed": 3}
    start = {k: v.clone() for k, v in small.flow.state_dict().items()}
    whole = bf.train(small, SIMULATION, directory=tmp_path / "whole", **options)
    expected = {k: v.clone() for k, v in small.flow.state_dict().items()}
    advance, calls = ParallelTempering.advance, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return advance(*arguments)

    small.flow.load_state_dict(start)
    with monkeypatch.context() as patch:
        patch.setattr(ParallelTempering, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bf.train(small, SIMULATION, directory=tmp_path / "cut", **options)
    assert not (tmp_path / "cut" / "checkpoints").exists()
    resumed = bf.train(small, SIMULATION, directory=tmp_path / "cut", **options)
    assert all(torch.equal(tensor, expected[key]) for key, tensor in small.flow.state_dict().items())
    assert [r.loss for r in whole.records] == [r.loss for r in resumed.records]
    assert resumed.last.energy_evaluations >= SIMULATION.evaluations(3, 32)


def test_a_lost_replica_never_jumps(small: bf.BoltzmannGenerator) -> None:
    """One of the cold replicas has exploded: the others take proposals, and it stays lost."""
    random = torch.Generator().manual_seed(7)
    sampler = SIMULATION._sampler(small)
    state = sampler.dynamics.start(torch.from_numpy(small.sample(16, seed=5).positions), random)
    broken = torch.arange(16) == 3
    state = replace(
        state,
        positions=torch.where(broken[:, None, None], torch.nan, state.positions),
        energies=torch.where(broken, torch.nan, state.energies),
        lost=broken,
    )
    after = SIMULATION._jumped(small, sampler, state, 32, random)
    assert after.lost.tolist() == broken.tolist()
    assert after.positions[3].isnan().all()
    moved = (after.positions != state.positions).flatten(1).any(1) & ~broken
    assert 0 < moved.sum() < 8
    with pytest.raises(OptionError, match="a batch of at least a sample and a frame; got a batch of 1"):
        bf.train(small, SIMULATION, steps=1, **OPTIONS | {"batch_size": 1})


def test_jumps_leave_the_distribution_as_it_is(small: bf.BoltzmannGenerator) -> None:
    """Replicas drawn from the target itself, by weights, are offered samples of a poor flow: the population of the
    deep well stays, although most have jumped."""
    method = replace(SIMULATION, ladders=4000, proposals=3)
    drawn = small.sample(60_000, seed=5)
    random = torch.Generator().manual_seed(6)
    chosen = importance.resample(torch.from_numpy(drawn.log_weights), 2 * 4000, random)
    chosen = chosen[torch.randperm(len(chosen), generator=random)]
    sampler = method._sampler(small)
    before = sampler.dynamics.start(torch.from_numpy(drawn.positions)[chosen], random)
    after = method._jumped(small, sampler, before, 500, random)
    moved = (after.positions != before.positions).flatten(1).any(1)
    assert 0.3 < moved[:4000].double().mean() < 1.0
    assert not moved[4000:].any()
    cold = mdtraj.Trajectory(after.positions[:4000].numpy(), small.system.mdtraj_topology)
    deep = np.abs(dihedral(cold)) < math.pi / 2
    expected = share_of_deep_well()
    # Errors of a draw of 4000, and of the resampling before it.
    error = math.sqrt(expected * (1 - expected) * (1 / 4000 + 1 / (60_000 * drawn.ess)))
    assert abs(deep.mean() - expected) < 4 * error
    energies, forces = small.potential.energy_and_forces(after.positions)
    assert torch.allclose(after.energies, energies, atol=1e-3)
    assert torch.allclose(after.forces, forces, atol=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ladders": 1}, "ladders of at least 2; got 1"),
        ({"forward": 1.0}, r"in \(0, 1\); got 1"),
        ({"hottest": 300.0}, "highest temperature above the generator's, 300 K; got 300 K"),
    ],
)
def test_an_impossible_simulation_is_refused(small: bf.BoltzmannGenerator, options, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        bf.train(small, SimulateAndLearn(**options), steps=1, **OPTIONS)


def test_maximum_likelihood_on_data(small: bf.BoltzmannGenerator, tmp_path) -> None:
    """20 000 weighted frames teach it both wells; the share of the data outside the domain is named."""
    teacher = small.sample(20_000, seed=7)
    teacher.save(tmp_path / "data")
    history = bf.train(small, ForwardKL(str(tmp_path / "data"), dispersion=0.1), steps=160, **OPTIONS)
    assert history.last.energy_evaluations == 2 * 128  # only to watch
    ensemble = small.sample(20_000, seed=2)
    assert ensemble.ess > 0.7
    deep = ensemble.mean(lambda t: abs(dihedral(t)) < math.pi / 2)
    assert abs(deep.value - share_of_deep_well()) < 4 * deep.error

    teacher.positions[0, 3] += 0.1  # a bond far too long
    teacher.save(tmp_path / "broken")
    with pytest.warns(UserWarning, match=r"of the data's weight lies outside .* \(1 of 20000 frames\)"):
        bf.train(small, ForwardKL(str(tmp_path / "broken")), steps=1, **OPTIONS)


@pytest.mark.parametrize("path_gradient", [False, True])
def test_data_in_memory(small: bf.BoltzmannGenerator, tmp_path, path_gradient: bool) -> None:
    """An ensemble, its resampled trajectory, and a directory teach the same; a run records what it has seen."""
    teacher = small.sample(20_000, seed=7)
    teacher.save(tmp_path / "data")
    start = {k: v.clone() for k, v in small.flow.state_dict().items()}
    losses, methods = [], {}
    for name, data in {"ensemble": teacher, "directory": str(tmp_path / "data")}.items():
        small.flow.load_state_dict(start)
        methods[name] = ForwardKL(data, path_gradient=path_gradient)
        history = bf.train(small, methods[name], steps=20, directory=tmp_path / name, **OPTIONS)
        losses.append([record.loss for record in history.records])
        assert history.last.energy_evaluations == methods[name].evaluations(20, 128)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert "20000 frames, sha256" in history_settings(tmp_path / "ensemble")

    other = small.sample(20_000, seed=8)
    with pytest.raises(FileFormatError, match="other settings"):
        bf.train(
            small,
            ForwardKL(other, path_gradient=path_gradient),
            steps=20,
            directory=tmp_path / "ensemble",
            resume=True,
            **OPTIONS,
        )

    small.flow.load_state_dict(start)
    frames = teacher.resample(20_000, seed=9).to_mdtraj()
    mixed = Mixture((ReverseKL(hot_temperature=300.0), ForwardKL(frames, path_gradient=path_gradient)), (0.5, 0.5))
    bf.train(small, mixed, steps=160, **OPTIONS)
    ensemble = small.sample(20_000, seed=2)
    assert ensemble.ess > 0.7
    deep = ensemble.mean(lambda t: abs(dihedral(t)) < math.pi / 2)
    assert abs(deep.value - share_of_deep_well()) < 4 * deep.error


def test_data_with_other_labels_are_relabelled() -> None:
    """Frames of all copies teach what those of the domain teach; no frame is left out."""
    system = ethane()
    generator = bf.BoltzmannGenerator.for_system(system, layers=1, hidden=(8,), start="plain")
    teacher = generator.sample(500, seed=1)
    free = unfold(teacher, system.symmetry().copies(generator.coordinates), seed=2)
    found = [
        ForwardKL(data).loss(generator, StepInfo(0, 1, 64, torch.Generator().manual_seed(0)), {}).value
        for data in (teacher, free)
    ]
    assert float(found[0].isfinite())
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=0)


def history_settings(directory) -> str:
    """The settings of a training, as its checkpoint has them."""
    with safe_open(directory / "checkpoints" / "last.safetensors", "pt") as file:
        return str(file.metadata())


def test_a_path_gradient_excludes_dispersion() -> None:
    with pytest.raises(OptionError, match="a path gradient or a dispersion; got both"):
        ForwardKL("data", path_gradient=True, dispersion=0.1)


def test_data_at_another_temperature_are_refused(small: bf.BoltzmannGenerator, tmp_path) -> None:
    drawn = small.sample(100, seed=7)
    bf.Ensemble(drawn.positions, drawn.energies, 600.0, topology=drawn.topology).save(tmp_path)
    with pytest.raises(OptionError, match=r"expected data at the generator's temperature, 300 K; got 600 K"):
        bf.train(small, ForwardKL(str(tmp_path)), steps=1, **OPTIONS)


def test_a_weight_changes_once_however_often_its_sample_is_drawn(small: bf.BoltzmannGenerator) -> None:
    """Of 64 samples in the buffer of FAB four have a weight, so a batch draws each many times."""
    random = torch.Generator().manual_seed(0)
    z, log_q = small.flow.sample(64, generator=random)
    log_weights = torch.full((64,), -torch.inf)
    log_weights[:4] = torch.tensor([0.3, 0.1, 0.2, 0.0])
    memory = {"z": z.detach(), "log_q": log_q.detach() + 0.7, "log_weights": log_weights, "of_flow": log_weights}
    FAB().loss(small, StepInfo(1, 10, 64, random), memory)
    # log q has fallen by 0.7 since they were made, so their weights for p²/q have risen by it.
    torch.testing.assert_close(memory["log_weights"][:4], log_weights[:4] + 0.7, rtol=0, atol=1e-3)
    assert memory["log_weights"][4:].isneginf().all()


def test_failures_are_counted_once(small: bf.BoltzmannGenerator, monkeypatch) -> None:
    """A tenth of the samples of constrained transport fail; another method goes on drawing beside it."""
    energy, first = small.potential.energy, []

    def failing(positions: torch.Tensor) -> torch.Tensor:
        values = energy(positions)
        if not first:
            first.append(True)
            values[:10] = torch.inf
        return values

    monkeypatch.setattr(small.potential, "energy", failing)
    method = Mixture((ConstrainedTransport(samples=128, every=1000), LogDispersion()), (1.0, 1.0))
    history = bf.train(small, method, steps=4, **OPTIONS)
    assert [record.failed_frames for record in history.records] == [10] * 4


def test_what_an_inner_method_forgets_is_forgotten(small: bf.BoltzmannGenerator) -> None:
    memory: dict[str, torch.Tensor] = {}
    transport = ConstrainedTransport(samples=64, every=1000)
    method = Mixture((Phases((transport, ReverseKL()), (0.5, 0.5)),), (1.0,))
    random = torch.Generator().manual_seed(0)
    method.loss(small, StepInfo(0, 4, 64, random), memory)
    assert "0.0.z" in memory
    method.loss(small, StepInfo(2, 4, 64, random), memory)
    assert not memory


def test_energies_are_counted_where_samples_are_drawn(small: bf.BoltzmannGenerator) -> None:
    history = bf.train(small, ConstrainedTransport(samples=300, every=4), steps=9, **OPTIONS)
    # Batches have one size, so three of 128 make 300 samples.
    assert [r.energy_evaluations for r in history.records] == [384] * 4 + [768] * 4 + [1152]


def test_drawn_samples_have_the_generators_own_weights(small: bf.BoltzmannGenerator) -> None:
    drawn = draw(small, 500, 128, torch.Generator().manual_seed(5))
    assert drawn.z.shape == (500, 6)
    target = small.internal_target()
    torch.testing.assert_close(drawn.log_target(300.0), target.log_prob(drawn.z), rtol=0, atol=1e-3)
    torch.testing.assert_close(drawn.log_q, small.flow.log_prob(drawn.z), rtol=0, atol=1e-3)
    difference = drawn.log_weights(600.0) - drawn.log_weights(300.0)
    expected = drawn.reduced_energy * (1 - 300.0 / 600.0)
    torch.testing.assert_close(difference, expected, rtol=1e-4, atol=1e-3)


def test_a_ladder_of_temperatures(small: bf.BoltzmannGenerator) -> None:
    method = TemperatureAnnealing(hot=ReverseKL(hot_temperature=1200.0), hot_share=0.5, rungs=9, samples=100)
    found = [
        round(method.temperature(small, StepInfo(step, 2000, 16, torch.Generator())), 2) for step in range(0, 2000, 50)
    ]
    # The published ladder, ten temperatures, the last one twice.
    ladder = [1200.0, 1028.69, 881.84, 755.95, 648.04, 555.52, 476.22, 408.24, 349.96, 300.0]
    assert sorted(set(found), reverse=True) == pytest.approx(ladder, abs=0.05)
    assert found.count(300.0) == 2 * found.count(found[-5])


def test_phases_give_each_method_its_own_course(small: bf.BoltzmannGenerator) -> None:
    method = Phases((ReverseKL(hot_temperature=900.0), ReverseKL(hot_temperature=600.0)), (0.25, 0.75))
    at = [method.temperature(small, StepInfo(step, 400, 16, torch.Generator())) for step in (0, 99, 100, 399)]
    assert at == pytest.approx([900.0, 300.0, 600.0, 300.0])


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(OptionError, match="Expected one of the methods"):
        method_named("magic")
    with pytest.raises(OptionError, match="Expected a positive fraction for each method; got 1 methods"):
        Phases((ReverseKL(),), (0.5, 0.5))
    with pytest.raises(OptionError, match="Expected fractions of steps with the sum 1"):
        Phases((ReverseKL(), ReverseKL()), (0.5, 0.6))
    with pytest.raises(OptionError, match="Expected one weight for each of 2 methods"):
        Mixture((ReverseKL(), ReverseKL()), (1.0,))
    with pytest.raises(OptionError, match="at least one nonzero weight at start and end"):
        Mixture((ReverseKL(), ReverseKL()), (1.0, 1.0), (0.0, 0.0))
    with pytest.raises(OptionError, match="Expected at least 2 samples"):
        ConstrainedTransport(samples=1)
    with pytest.raises(OptionError, match="Expected hot_share between 0 and 1"):
        TemperatureAnnealing(hot_share=1.0)
