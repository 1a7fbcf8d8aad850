"""The Boltzmann distribution of a potential, in Cartesian and in internal coordinates."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from boltzflow.core.domain import Domain
from boltzflow.core.layer import Bijection
from boltzflow.energies.potential import Potential
from boltzflow.errors import DomainError, OptionError, ShapeError
from boltzflow.units import GAS_CONSTANT, Temperature, checked_temperature


class BoltzmannTarget(nn.Module):
    """The Boltzmann distribution, unnormalised: log p(x) = −U(x)/kT.

    Args:
        potential: U in kJ/mol.
        temperature: K, a number or a Quantity.

    Raises:
        OptionError: if the temperature is not positive and finite.
    """

    def __init__(self, potential: Potential, temperature: Temperature = 300.0) -> None:
        super().__init__()
        self.potential = potential
        self.temperature = checked_temperature(temperature)
        self.domain = Domain.real((potential.n_atoms, 3))

    def log_prob(self, positions: Tensor, context: Tensor | None = None) -> Tensor:
        """Unnormalised log-density −U/kT.

        positions: (batch, N, 3) nm. context: temperatures in K, (batch,) or (batch, 1), which replace the
        target's own. Returns (batch,); −inf if the energy is +inf.

        Raises:
            ShapeError: if positions or context have another shape.
            OptionError: if a temperature in the context is not positive.
        """
        return -self.reduced(self.potential(positions), context)

    def reduced(self, energy: Tensor, context: Tensor | None = None) -> Tensor:
        """U/kT. energy: (batch,) kJ/mol; context: temperatures in K, (batch,) or (batch, 1); returns (batch,)."""
        if context is None:
            return energy / (GAS_CONSTANT * self.temperature)
        if tuple(context.shape) not in ((len(energy),), (len(energy), 1)):
            raise ShapeError(
                f"BoltzmannTarget: expected one temperature per sample, ({energy.shape[0]},) or "
                f"({energy.shape[0]}, 1); got {tuple(context.shape)}."
            )
        if not bool((context > 0.0).all()):
            raise OptionError("BoltzmannTarget: expected positive temperatures in K as context; got others.")
        return energy / (GAS_CONSTANT * context.reshape(energy.shape).to(energy.dtype))

    def at(self, temperature: Temperature) -> BoltzmannTarget:
        """The same potential at another temperature in K; the potential is shared, not copied."""
        sibling = copy.copy(self)
        sibling.temperature = checked_temperature(temperature)
        return sibling


class PulledBackTarget(nn.Module):
    """A target's density in the latent coordinates of a transform: log p(x(z)) + log|det ∂x/∂z|.

    Args:
        target: the density of x.
        transform: z → x.

    Raises:
        DomainError: if the transform's output domain is not the target's domain.
    """

    def __init__(self, target: BoltzmannTarget, transform: Bijection) -> None:
        super().__init__()
        if transform.data_domain != target.domain:
            raise DomainError(
                f"Expected a transform with the output domain {target.domain}; {type(transform).__name__} has "
                f"{transform.data_domain}."
            )
        self.target = target
        self.transform = transform
        self.domain = transform.latent_domain

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Unnormalised log-density of z (batch, D) → (batch,). context: temperatures in K, one per sample."""
        return self.evaluate(z, context)[0]

    def evaluate(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Unnormalised log-density (batch,) of z (batch, D), and the potential energy (batch,) in kJ/mol."""
        positions, log_ratio = self.transform(z)
        energy = self.target.potential(positions)
        return log_ratio - self.target.reduced(energy, context), energy

    def at(self, temperature: Temperature) -> PulledBackTarget:
        """The same density at another temperature in K."""
        return PulledBackTarget(self.target.at(temperature), self.transform)


def pullback(target: BoltzmannTarget, transform: Bijection) -> PulledBackTarget:
    """The density of `target` in the latent coordinates of `transform`."""
    return PulledBackTarget(target, transform)
