"""Trainable models: a molecule's generator, or a flow for any density."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from boltzflow.core import Flow
from boltzflow.core.objectives import Target
from boltzflow.errors import DomainError
from boltzflow.units import Temperature, checked_temperature


class Trainable(Protocol):
    """A flow and its target density at any temperature. `BoltzmannGenerator` is one.

    Attributes:
        flow: the flow to be trained.
        provenance: facts about the training, recorded by `boltzflow.train`; JSON-serialisable.
    """

    flow: Flow
    provenance: dict[str, Any]

    @property
    def temperature(self) -> float:
        """The temperature of the target density, in K."""
        ...

    @property
    def temperatures(self) -> tuple[float, float] | None:
        """The lowest and highest temperature in K that the flow covers; None for a single temperature."""
        ...

    @property
    def evaluations(self) -> int:
        """The number of energy evaluations so far."""
        ...

    @property
    def widths(self) -> Tensor:
        """The spread of each coordinate of the flow (D,); infinite if it is unrestricted."""
        ...

    @property
    def identity(self) -> Any:
        """Identifies the target density; JSON-serialisable. A checkpoint of another density is rejected."""
        ...

    def internal_target(self, temperature: float | None = None) -> Target:
        """The target density of the flow's coordinates at a temperature in K, by default the model's own."""
        ...

    def context(self, temperatures: Tensor) -> Tensor | None:
        """The context of flow and `internal_target` for samples at temperatures in K (n,).

        None if the flow does not use temperatures; the target then has a fixed temperature.
        """
        ...

    def evaluate(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Volume element log|det ∂x/∂z| (n,) and U/kT (n,) of states (n, D), at the model's own temperature."""
        ...

    def to(self, device: torch.device) -> Any:
        """Move everything to a device, in place."""
        ...

    def compile(self) -> None:
        """Compile the code of a training step."""
        ...


class DensityModel:
    """A flow and any target density known up to a factor, for training without a molecule.

    The density p is assigned to `temperature`; at another temperature T it is p^(temperature/T).

    Presets are for molecules. `boltzflow.train` trains a density, unless told otherwise, with reverse KL and the
    defaults of `TrainingOptions`, which are Adam, 20 000 steps of 1024 samples, float32, and no early end.

    Args:
        flow: the flow to be trained.
        target: with `log_prob(x)`, on the flow's domain.
        temperature: assigned to the density, K.
        name: of the target, for checkpoints.

    Raises:
        DomainError: if the target has another domain than the flow.
        OptionError: if the temperature is not positive.

    >>> from boltzflow.core import recipes
    >>> from boltzflow.core.distributions import targets
    >>> target = targets.DoubleWell()
    >>> model = DensityModel(recipes.spline_flow(target.domain, layers=2, hidden=(8,)), target)
    >>> z, log_q = model.flow.sample(5)
    >>> model.evaluate(z)[1].shape, model.evaluations
    (torch.Size([5]), 5)
    """

    def __init__(self, flow: Flow, target: Target, *, temperature: Temperature = 300.0, name: str = "") -> None:
        domain = getattr(target, "domain", flow.domain)
        if domain != flow.domain:
            raise DomainError(f"DensityModel: expected a target on the flow's domain {flow.domain}; got {domain}.")
        self.flow, self.target = flow, target
        self.temperature = checked_temperature(temperature)
        self.name = name or type(target).__name__
        self.provenance: dict[str, Any] = {}
        self.evaluations = 0
        self.temperatures: tuple[float, float] | None = None

    @property
    def widths(self) -> Tensor:
        """1 for each coordinate, since the spread is not known."""
        return torch.ones(len(self.flow.domain), device=self.flow.like.device)

    @property
    def identity(self) -> Any:
        """The target's name."""
        return self.name

    def internal_target(self, temperature: float | None = None) -> Target:
        """The density at a temperature in K, up to a factor."""
        return _Flattened(self, 1.0 if temperature is None else self.temperature / checked_temperature(temperature))

    def context(self, temperatures: Tensor) -> None:
        """None, since the flow has a single temperature."""

    def evaluate(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Zeros (n,), and −log p (n,) of states (n, D)."""
        energy = -self.internal_target().log_prob(z)
        return torch.zeros_like(energy), energy

    def to(self, device: torch.device) -> DensityModel:
        """Move the flow to a device, and the target if it is a module; returns itself."""
        for part in (self.flow, self.target):
            if isinstance(part, nn.Module):
                part.to(device)
        return self

    def compile(self) -> None:
        """Compile the flow's layers."""
        self.flow.compile_layers()


class _Flattened:
    """p^β of a model's density; counts evaluations."""

    def __init__(self, model: DensityModel, beta: float) -> None:
        self.model, self.beta = model, beta
        self.domain = model.flow.domain

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.model.evaluations += len(x)
        return self.beta * self.model.target.log_prob(x, context)
