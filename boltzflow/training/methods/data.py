"""Forward KL on data: maximum likelihood, or path gradients."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import mdtraj
import torch

from boltzflow.core import importance
from boltzflow.core.objectives import Loss, forward_kl
from boltzflow.energies.potential import energies_of_frames
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError, NonFiniteError, OptionError, UnsupportedCombinationError
from boltzflow.generator import BoltzmannGenerator
from boltzflow.molecules.same_atoms import check_same_atoms
from boltzflow.training.methods.drawing import draw, fit_to_memory, internals_of
from boltzflow.training.methods.method import Memory, Method, StepInfo
from boltzflow.training.trainable import Trainable

_SAME_TEMPERATURE = 0.01  # K


@dataclass(frozen=True)
class ForwardKL(Method):
    """Forward KL on weighted frames: by maximum likelihood, or by path gradients, which use forces at the frames.

    Maximum likelihood needs no energy evaluations. A path gradient needs one for each frame of a batch, has no noise
    where the flow is right, and overfits far less (L. Vaitl et al., ICLR 2024, arXiv 2403.15881); alone it can diverge,
    because frames where the flow is far too small give very large gradients, so combine it with `ReverseKL` in a
    `Mixture`. Either covers the regions that the data cover. The generator misses regions that the simulation missed.
    The weights of its samples still refer to the Boltzmann distribution within the regions that it samples.

    Frames outside the domain of the generator's coordinates are left out, with a warning that says how many. All others
    are kept in the checkpoints, so a training can be resumed when the data are gone.

    Attributes:
        data: an `Ensemble` at the generator's temperature or reweighted to it, a directory written by `Ensemble.save`
            (samples.dcd, topology.pdb, weights.npz), such as a run of `boltzflow reference`, or an unbiased
            `mdtraj.Trajectory` at the generator's temperature. Of data in memory the training's settings record a
            fingerprint.
        path_gradient: whether to use path gradients.
        gradient_limit: bound on the influence of each frame on a path gradient, in medians of a batch (see
            `boltzflow.core.objectives.forward_kl`).
        dispersion: weight of log-dispersion regularisation (see `fit`), 0 for none; not with a path gradient. It uses
            the energies of the ensemble, which must be those of the generator's Hamiltonian; a trajectory's are
            evaluated.
        dispersion_order: 1 or 2.
        watch: number of steps between two batches that are sampled from the flow to monitor it.
    """

    data: str | Ensemble | mdtraj.Trajectory
    path_gradient: bool = False
    gradient_limit: float = 5.0
    dispersion: float = 0.0
    dispersion_order: int = 1
    watch: int = 100

    def __post_init__(self) -> None:
        if self.watch < 1:
            raise OptionError(f"ForwardKL: expected a positive number of steps between two batches; got {self.watch}.")
        if self.path_gradient and self.dispersion:
            raise OptionError("ForwardKL: expected a path gradient or a dispersion; got both.")

    def temperature(self, model: Trainable, info: StepInfo) -> float:
        return model.temperature

    def loss(self, model: Trainable, info: StepInfo, memory: Memory) -> Loss:
        if not memory:
            if not isinstance(model, BoltzmannGenerator):
                raise UnsupportedCombinationError(
                    f"ForwardKL: expected a BoltzmannGenerator; got a {type(model).__name__}."
                )
            memory.update(self._latent(model))
        is_fresh = info.step % self.watch == 0 or "log_weights" not in memory
        if is_fresh:
            drawn = draw(model, info.batch_size, info.batch_size, info.random)
            memory["log_weights"] = drawn.log_weights(model.temperature)
        if self.path_gradient:
            chosen = torch.multinomial(memory["weights"], info.batch_size, replacement=True, generator=info.random)
            value = forward_kl(
                model.flow,
                memory["z"][chosen],
                target=model.internal_target(),
                path_gradient=True,
                gradient_limit=self.gradient_limit,
            ).value
        else:
            value = fit_to_memory(model, info, memory, self.dispersion, self.dispersion_order)
        return Loss(value, memory["log_weights"], is_fresh)

    def evaluations(self, steps: int, batch_size: int) -> int:
        return (-(-steps // self.watch) + (steps if self.path_gradient else 0)) * batch_size

    def _frames(self, generator: BoltzmannGenerator) -> Ensemble:
        """The data as an ensemble of the generator's molecule.

        Raises:
            DataError: if they are at another temperature.
            ShapeError: if they belong to another molecule.
        """
        data, where = self.data, "the data"
        if isinstance(data, mdtraj.Trajectory):
            data = Ensemble(data.xyz, None, generator.temperature, topology=data.topology)
        elif isinstance(data, str):
            where = data
            data = Ensemble.load(where)
        if abs(data.temperature - generator.temperature) > _SAME_TEMPERATURE:
            raise DataError(
                f"ForwardKL: expected data at the generator's temperature, {generator.temperature:g} K; "
                f"got {data.temperature:g} K in {where}."
            )
        if data.topology is None:
            raise DataError("ForwardKL: expected an ensemble with a topology; got one without.")
        check_same_atoms(generator.system.mdtraj_topology, data.topology, "data", "the generator")
        return data

    @torch.no_grad()
    def _latent(self, generator: BoltzmannGenerator) -> Memory:
        """The frames inside the coordinates' domain, their weights, and the target log-densities, 0 if not needed.

        Raises:
            NonFiniteError: if no frame of positive weight lies inside.
        """
        ensemble = self._frames(generator)
        x = torch.from_numpy(ensemble.positions).to(generator.like)
        z, log_ratio, inside = internals_of(generator, x)
        log_weights = torch.from_numpy(ensemble.log_weights).to(x.device)
        positive = log_weights.isfinite()
        missed = float(torch.where(positive, (log_weights - log_weights.max()).exp(), 0.0)[~inside].sum())
        missed /= float((log_weights - log_weights.max()).exp().sum()) or 1.0
        chosen = inside & positive
        if not bool(chosen.any()):
            raise NonFiniteError(
                f"Expected frames inside the coordinates' domain; all {len(ensemble)} frames lie outside."
            )
        if missed > 0:
            warnings.warn(
                f"{missed:.2%} of the data's weight lies outside the coordinates' domain and is left out "
                f"({int((~inside).sum())} of {len(ensemble)} frames).",
                stacklevel=2,
            )
        log_target = torch.zeros_like(log_ratio[chosen])
        if self.dispersion:
            if isinstance(self.data, mdtraj.Trajectory):
                energies = energies_of_frames(generator.potential, ensemble.positions, like=x)
            else:
                energies = ensemble.energies_for("training by frames")
            reduced = generator.internal_target().target.reduced(torch.from_numpy(energies).to(x)[chosen])
            log_target = -log_ratio[chosen] - reduced
        weights = importance.normalized_weights(log_weights[chosen])
        return {"z": z[chosen], "weights": weights, "log_target": log_target}
