"""A simulation beside the training: reverse KL on the flow's samples, forward KL on fresh frames."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from boltzflow.core.objectives import EnergyCap, Loss, forward_kl, reverse_kl
from boltzflow.errors import NonFiniteError, OptionError, UnsupportedCombinationError
from boltzflow.generator import BoltzmannGenerator
from boltzflow.simulation import (
    Langevin,
    ParallelTempering,
    Particles,
    Progress,
    TemperingOptions,
    minimize,
    named_torsions,
    phi_umbrella,
    torsion_values,
)
from boltzflow.simulation.langevin import State
from boltzflow.simulation.tempering_run import TemperingRun
from boltzflow.training.methods.drawing import draw, in_whole_batches, internals_of
from boltzflow.training.methods.method import Memory, Method, StepInfo
from boltzflow.training.trainable import Trainable
from boltzflow.units import thermal_energy

_STEPS = 50  # of dynamics between swaps and records
_FEWEST_ROUNDS, _SAMPLES_OF_A_ROUND = 4, 4000
_STATE = "replicas."
_FEW = 100  # independent values of the slowest torsion, below which the simulation has not mixed


@dataclass(frozen=True)
class SimulateAndLearn(Method):
    """Learns at the target temperature from its own samples and from a simulation that runs beside the training.

    Parallel tempering in independent ladders runs first, and then on beside the training, so that frames are fresh. A
    step is reverse KL on samples of the flow, and forward KL on frames, both with path gradients (L. Vaitl et al.,
    ICLR 2024, arXiv 2403.15881). What the replicas hold, the flow must cover; the phase at high temperatures with which
    `ReverseKL` finds the basins is not needed. Once the flow is good it helps the simulation: each replica at the
    lowest temperature is offered independent samples of the flow, which it takes by the Metropolis rule (M. Gabrié, G.
    Rotskoff, E. Vanden-Eijnden, PNAS 2022, arXiv 2105.12603).

    These replicas are therefore not independent of the flow: the check for lost basins, and a reference, need a
    simulation of their own. Energies of the simulation count as evaluations.

    Attributes:
        ladders: number of independent ladders.
        rungs: number of temperatures in each, geometric from the generator's to the highest.
        hottest: the highest temperature, in K.
        rounds: of the simulation before the training. In a round each replica takes 50 steps of dynamics, may exchange
            its temperature, and records a frame. None is one round for every 4000 samples of the training, at least 4.
            A quarter as many precede them for equilibration, the first half at the highest temperature.
        timestep: in ps; None is 0.004 for a system with constraints, otherwise 0.002.
        hydrogen_mass: in dalton, repartitioned from bonded atoms; allows such time steps.
        umbrella: depth in kJ/mol of a bias towards φ > 0, for barriers that tempering crosses too slowly; removed by
            weights.
        every: number of training steps between two further rounds of the simulation; 0 for none.
        jump_every: number of training steps between two rounds of proposals by the flow; 0 for none.
        proposals: number that each replica gets in a round.
        frames: the number of frames that are kept, the latest.
        forward: weight of forward KL, from 0 to 1; that of reverse KL is the rest.
        gradient_limit: bound on the influence of each frame, in medians of a batch (see
            `boltzflow.core.objectives.forward_kl`).
        cap, drop_largest: of reverse KL, as in `ReverseKL`.
    """

    ladders: int = 64
    rungs: int = 6
    hottest: float = 900.0
    rounds: int | None = None
    timestep: float | None = None
    hydrogen_mass: float = 3.0
    umbrella: float = 0.0
    every: int = 20
    jump_every: int = 200
    proposals: int = 4
    frames: int = 100_000
    forward: float = 0.5
    gradient_limit: float = 5.0
    cap: float = 1000.0
    drop_largest: float = 0.02

    def __post_init__(self) -> None:
        least = {"ladders": 2, "rungs": 2, "rounds": 1, "every": 0, "jump_every": 0, "proposals": 1, "frames": 1}
        for name, bound in least.items():
            if getattr(self, name) is not None and getattr(self, name) < bound:
                raise OptionError(f"SimulateAndLearn: expected {name} of at least {bound}; got {getattr(self, name)}.")
        if not 0.0 < self.forward < 1.0:
            raise OptionError(f"SimulateAndLearn: expected a weight of forward KL in (0, 1); got {self.forward:g}.")

    def check(self, model: Trainable) -> None:
        super().check(model)
        if not isinstance(model, BoltzmannGenerator):
            raise UnsupportedCombinationError(
                f"SimulateAndLearn: expected a BoltzmannGenerator; got a {type(model).__name__}."
            )
        if (molecules := len(model.system.bond_graph.parts())) > 1:
            raise UnsupportedCombinationError(
                f"SimulateAndLearn: expected one molecule; got {molecules}, which would drift apart beyond the bounds "
                "of their distances (use ReverseKL)."
            )
        if not self.hottest > model.temperature:
            raise OptionError(
                f"SimulateAndLearn: expected a highest temperature above the generator's, {model.temperature:g} K; got "
                f"{self.hottest:g} K."
            )

    def temperature(self, model: Trainable, info: StepInfo) -> float:
        return model.temperature

    def prepare(
        self,
        model: Trainable,
        info: StepInfo,
        memory: Memory,
        directory: Path | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> dict[str, Any]:
        """Simulate before the training; see `Method.prepare`."""
        assert isinstance(model, BoltzmannGenerator)
        if info.batch_size < 2:
            raise OptionError("SimulateAndLearn: expected a batch of at least a sample and a frame; got a batch of 1.")
        seed = int(torch.randint(2**31, (1,), generator=info.random, device=info.random.device))
        sampler = self._sampler(model)
        interval = _STEPS * sampler.dynamics.timestep
        before, rounds = self._rounds(info.steps, info.batch_size)
        options = TemperingOptions(rounds * interval, before * interval, interval, interval, seed)
        run = TemperingRun(sampler, options, directory)
        start = torch.from_numpy(model.system.positions).to(model.like)
        lowest = minimize(
            model.potential, start[None], sampler.dynamics.particles, generator=torch.Generator().manual_seed(seed)
        )
        run.begin(lowest.positions[0], resume=True)
        run.go(progress)
        result = run.result()
        ensemble = result.ensemble(result.temperatures[0])
        positions = torch.from_numpy(ensemble.positions).to(model.like)
        log_weights = torch.from_numpy(ensemble.log_weights).to(model.like)
        memory.update(_stored(run.now.state), rounds=torch.tensor(run.now.rounds))
        z, _, inside = internals_of(model, positions)
        if not bool(inside.any()):
            raise NonFiniteError("Expected frames inside the coordinates' domain; all of the simulation lie outside.")
        memory.update(z=z[inside][-self.frames :], log_frame_weights=log_weights[inside][-self.frames :])
        name, independent = _slowest_torsion(model, positions, len(result.lost) - int(result.lost.sum()))
        outside = float((~inside).double().mean())
        if independent < _FEW or result.round_trips < len(result.lost):
            warnings.warn(
                f"The simulation has not mixed: about {independent:.0f} independent values of {name}, "
                f"{result.round_trips} round trips of {len(result.lost)} ladders. Basins may be missing, and the "
                "training may learn their populations wrongly; a longer or hotter simulation may help.",
                stacklevel=2,
            )
        if outside > 0.0:
            warnings.warn(
                f"{outside:.2%} of the frames lie outside the coordinates' domain and are left out.", stacklevel=2
            )
        return {
            "round_trips": result.round_trips,
            "lost_ladders": int(result.lost.sum()),
            "slowest_torsion": name,
            "independent_values": round(independent, 1),
            "outside": outside,
        }

    def shortened(self) -> SimulateAndLearn:
        return replace(self, rounds=2)

    def preparation(self, steps: int, batch_size: int) -> int:
        return self.ladders * self.rungs * _STEPS * sum(self._rounds(steps, batch_size))

    def _rounds(self, steps: int, batch_size: int) -> tuple[int, int]:
        """The numbers of rounds of equilibration, and after it."""
        rounds = self.rounds or max(_FEWEST_ROUNDS, round(steps * batch_size / _SAMPLES_OF_A_ROUND))
        return -(-rounds // 4), rounds

    def evaluations(self, steps: int, batch_size: int) -> int:
        replicas = self.ladders * self.rungs
        rounds = (steps - 1) // self.every if self.every else 0
        jumps = (steps - 1) // math.lcm(self.every, self.jump_every) if self.every and self.jump_every else 0
        samples = batch_size - self._on_frames(batch_size)
        offered = in_whole_batches(self.ladders * self.proposals, samples) + self.ladders
        return self.preparation(steps, batch_size) + rounds * replicas * _STEPS + jumps * offered + steps * batch_size

    def loss(self, model: Trainable, info: StepInfo, memory: Memory) -> Loss:
        assert isinstance(model, BoltzmannGenerator)
        if info.step and self.every and info.step % self.every == 0:
            self._advance(model, info, memory)
        target, on_frames = model.internal_target(), self._on_frames(info.batch_size)
        reverse = reverse_kl(
            model.flow,
            target,
            info.batch_size - on_frames,
            generator=info.random,
            path_gradient=True,
            cap=EnergyCap(self.cap),
            drop_largest=self.drop_largest,
        )
        weights = memory["log_frame_weights"].softmax(0)
        chosen = torch.multinomial(weights, on_frames, replacement=True, generator=info.random)
        forward = forward_kl(
            model.flow, memory["z"][chosen], target=target, path_gradient=True, gradient_limit=self.gradient_limit
        )
        value = (1.0 - self.forward) * reverse.value + self.forward * forward.value
        return Loss(value, reverse.log_weights)

    def _on_frames(self, batch_size: int) -> int:
        """The number of frames in a batch; the others are samples."""
        return min(max(1, round(self.forward * batch_size)), batch_size - 1)

    def _sampler(self, generator: BoltzmannGenerator) -> ParallelTempering:
        """The ladders of a generator; made once, because compiling their parts takes time."""
        made: dict[tuple[Any, ...], ParallelTempering] = _SAMPLERS.setdefault(generator, {})
        key = (self.ladders, self.rungs, self.hottest, self.timestep, self.hydrogen_mass, self.umbrella)
        if key not in made:
            system = generator.system
            constrained = system.openmm_system.getNumConstraints() > 0
            timestep = self.timestep or (0.004 if constrained else 0.002)
            particles = Particles.of(system, self.hydrogen_mass)
            made[key] = ParallelTempering(
                Langevin(generator.potential, particles, friction=2.0, timestep=timestep),
                np.geomspace(generator.temperature, self.hottest, self.rungs).tolist(),
                self.ladders,
                bias=phi_umbrella(system, self.umbrella),
                keep=[0],
                topology=system.mdtraj_topology,
            )
        return made[key]

    @torch.no_grad()
    def _advance(self, generator: BoltzmannGenerator, info: StepInfo, memory: Memory) -> None:
        """Continue the simulation; its frames at the lowest temperature replace the oldest."""
        sampler, random = self._sampler(generator), info.random
        state = _restored(memory)
        if self.jump_every and info.step % self.jump_every == 0:
            state = self._jumped(generator, sampler, state, info.batch_size - self._on_frames(info.batch_size), random)
        rounds = memory["rounds"] + 1
        state, _, _ = sampler.advance(state, _STEPS, int(rounds) % 2, random)
        memory.update(_stored(state), rounds=rounds)
        cold = state.positions[: self.ladders]
        z, _, inside = internals_of(generator, cold.to(generator.like))
        log_weights = sampler.bias_of(cold) / thermal_energy(generator.temperature)
        new = inside & ~state.lost.view(sampler.shape).any(0)
        memory["z"] = torch.cat([memory["z"], z[new]])[-self.frames :]
        memory["log_frame_weights"] = torch.cat([memory["log_frame_weights"], log_weights[new].to(z)])[-self.frames :]

    def _jumped(
        self,
        generator: BoltzmannGenerator,
        sampler: ParallelTempering,
        state: State,
        batch_size: int,
        random: torch.Generator,
    ) -> State:
        """The replicas at the lowest temperature after Metropolis steps whose proposals are samples of the flow."""
        kt, cold = thermal_energy(generator.temperature), slice(0, self.ladders)
        positions = generator.fold(state.positions[cold])
        log_weights = -state.energies[cold] / kt - _log_q(generator, positions, batch_size)
        drawn = draw(generator, self.ladders * self.proposals, batch_size, random)
        offered = generator.coordinates(drawn.z)[0]
        proposed = drawn.log_weights(generator.temperature) - sampler.bias_of(offered) / kt
        moved = torch.zeros_like(state.lost[cold])
        rounds = zip(*(torch.split(t, self.ladders) for t in (offered, proposed)), strict=True)
        for x, offer in rounds:
            uniform = torch.rand(len(x), generator=random, dtype=x.dtype, device=x.device)
            taken = uniform.log() < offer - log_weights
            positions = torch.where(taken[:, None, None], x, positions)
            log_weights = torch.where(taken, offer, log_weights)
            moved = moved | taken
        jumped = moved.nonzero()[:, 0]  # never a lost replica, whose log-weight is not a number
        if not len(jumped):
            return state
        fresh = sampler.dynamics.at(generator.temperature).start(positions[jumped], random)
        return State(*(old.index_copy(0, jumped, new) for old, new in zip(_parts(state), _parts(fresh), strict=True)))


_SAMPLERS: WeakKeyDictionary[BoltzmannGenerator, dict[tuple[Any, ...], ParallelTempering]] = WeakKeyDictionary()


def _log_q(generator: BoltzmannGenerator, positions: Tensor, batch_size: int) -> Tensor:
    """log q (n,) of positions, in batches of one size, for which code may have been compiled."""
    n = len(positions)
    rows = torch.arange(-(-n // batch_size) * batch_size, device=positions.device) % n
    return torch.cat([generator.log_prob(positions[part]) for part in torch.split(rows, batch_size)])[:n]


def _parts(state: State) -> tuple[Tensor, ...]:
    return tuple(vars(state).values())


def _stored(state: State) -> Memory:
    return {_STATE + name: tensor for name, tensor in vars(state).items()}


def _restored(memory: Memory) -> State:
    return State(**{name: memory[_STATE + name] for name in State.__dataclass_fields__})


def _slowest_torsion(generator: BoltzmannGenerator, positions: Tensor, ladders: int) -> tuple[str, float]:
    """The torsion with the fewest independent values, and their number, from the scatter between ladders.

    Positions (n·L, N, 3), ordered by frame.
    """
    torsions = named_torsions(generator.system)
    angles = torsion_values(positions, torsions)
    if not torsions:
        return "", math.inf
    values = torch.stack([angles.cos(), angles.sin()]).double()
    values = values.view(2, -1, ladders, len(torsions))
    of_means = values.mean(1).var(1) / ladders
    independent = (values.flatten(1, 2).var(1) / of_means.clamp_min(1e-30)).amin(0)
    slowest = int(independent.argmin())
    return torsions[slowest].name, float(independent[slowest])
