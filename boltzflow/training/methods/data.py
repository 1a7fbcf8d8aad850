"""Maximum likelihood on data."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from boltzflow.core import importance
from boltzflow.core.objectives import Loss
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError, NonFiniteError, OptionError, UnsupportedCombinationError
from boltzflow.generator import BoltzmannGenerator
from boltzflow.molecules.same_atoms import check_same_atoms
from boltzflow.training.methods.drawing import draw, fit_to_memory
from boltzflow.training.methods.method import Memory, Method, StepInfo
from boltzflow.training.trainable import Trainable

_AT_ONCE = 4096  # frames
_SAME_TEMPERATURE = 0.01  # K


@dataclass(frozen=True)
class ForwardKL(Method):
    """Maximum likelihood on the weighted frames of an ensemble (forward KL).

    It needs data but no energy evaluations, and covers the regions that the data cover. The generator misses regions
    that the simulation missed. The weights of its samples still refer to the Boltzmann distribution within the regions
    that it samples.

    Attributes:
        directory: of an ensemble written by `Ensemble.save` (samples.dcd, topology.pdb, weights.npz), such as a run of
            `boltzflow reference`, at the generator's temperature or reweighted to it.
        dispersion: weight of log-dispersion regularisation (see `fit`), 0 for none. It uses the energies of the
            ensemble, which must be those of the generator's Hamiltonian.
        dispersion_order: 1 or 2.
        watch: number of steps between two batches that are sampled from the flow to monitor it.
    """

    directory: str
    dispersion: float = 0.0
    dispersion_order: int = 1
    watch: int = 100

    def __post_init__(self) -> None:
        if self.watch < 1:
            raise OptionError(f"ForwardKL: expected a positive number of steps between two batches; got {self.watch}.")

    def temperature(self, model: Trainable, info: StepInfo) -> float:
        return model.temperature

    def loss(self, model: Trainable, info: StepInfo, memory: Memory) -> Loss:
        if not memory:
            if not isinstance(model, BoltzmannGenerator):
                raise UnsupportedCombinationError(
                    f"ForwardKL: expected a BoltzmannGenerator; got a {type(model).__name__}."
                )
            data = Ensemble.load(self.directory)
            if abs(data.temperature - model.temperature) > _SAME_TEMPERATURE:
                raise DataError(
                    f"ForwardKL: expected data at the generator's temperature, {model.temperature:g} K; "
                    f"got data at {data.temperature:g} K in {self.directory}."
                )
            assert data.topology is not None  # loaded ensembles have one
            check_same_atoms(model.system.mdtraj_topology, data.topology, "data", "the generator")
            memory.update(_latent(model, data))
        is_fresh = info.step % self.watch == 0 or "log_weights" not in memory
        if is_fresh:
            drawn = draw(model, info.batch_size, info.batch_size, info.random)
            memory["log_weights"] = drawn.log_weights(model.temperature)
        value = fit_to_memory(model, info, memory, self.dispersion, self.dispersion_order)
        return Loss(value, memory["log_weights"], is_fresh)

    def evaluations(self, steps: int, batch_size: int) -> int:
        return -(-steps // self.watch) * batch_size


@torch.no_grad()
def _latent(generator: BoltzmannGenerator, ensemble: Ensemble) -> dict[str, Tensor]:
    """The frames inside the coordinates' domain, with weights and target log-densities.

    Raises:
        NonFiniteError: if no frame of positive weight lies inside.
    """
    coordinates, target = generator.coordinates, generator.internal_target().target
    x = torch.from_numpy(ensemble.positions).to(generator.like)
    z, log_ratio = (torch.cat(part) for part in zip(*map(coordinates.inverse, torch.split(x, _AT_ONCE)), strict=True))
    log_weights = torch.from_numpy(ensemble.log_weights).to(x.device)
    inside = coordinates.domain.contains(z) & log_ratio.isfinite()
    positive = log_weights.isfinite()
    missed = float(torch.where(positive, (log_weights - log_weights.max()).exp(), 0.0)[~inside].sum())
    missed /= float((log_weights - log_weights.max()).exp().sum()) or 1.0
    chosen = inside & positive
    if not bool(chosen.any()):
        raise NonFiniteError(f"Expected frames inside the coordinates' domain; all {len(ensemble)} frames lie outside.")
    if missed > 0:
        warnings.warn(
            f"{missed:.2%} of the data's weight lies outside the coordinates' domain and is left out "
            f"({int((~inside).sum())} of {len(ensemble)} frames).",
            stacklevel=2,
        )
    energies = torch.from_numpy(ensemble.energies_for("training by frames")).to(x)[chosen]
    return {
        "z": coordinates.domain.wrap(z[chosen]),
        "weights": importance.normalized_weights(log_weights[chosen]),
        "log_target": -log_ratio[chosen] - target.reduced(energies),
    }
