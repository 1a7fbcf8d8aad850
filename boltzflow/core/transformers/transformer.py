"""The element-wise maps inside couplings and autoregressive layers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from boltzflow.core.domain import Domain


class Transformer(nn.Module, ABC):
    """A family of monotone maps of each coordinate of a domain onto itself, whose parameters come from a net.

    Zeros as parameters give the identity, or nearly so where the class says it. Transformers hold no parameters
    of their own: a net computes them.

    States of a flat domain come with the batch last, ``(d, batch)``: each parameter is then one contiguous row,
    and a compiler vectorises over the batch. States of an array domain (images) come batch-first,
    ``(batch, *shape)``. Parameters carry their number in front, ``(P, d, batch)`` or ``(P, batch, *shape)``.

    Args:
        domain: the d coordinates that are transformed, or an array.
        parameter_count: the number P of parameters for each coordinate.
    """

    def __init__(self, domain: Domain, parameter_count: int) -> None:
        super().__init__()
        self.domain = domain
        self.parameter_count = parameter_count

    @abstractmethod
    def forward(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The image of z and log d image/dz, both of the shape of z."""

    @abstractmethod
    def inverse(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The z whose image is x and log dz/dx, both of the shape of x."""

    def compile_kernel(self) -> None:
        """Compile what is an operator of its own, where there is one; called by the layer that is compiled."""

    @abstractmethod
    def select(self, index: Tensor) -> Transformer:
        """The same family for some of the coordinates of a flat domain. index: (k,) int64."""
