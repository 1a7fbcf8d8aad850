"""The element-wise maps inside couplings and autoregressive layers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from boltzflow.core.domain import Domain


class Transformer(nn.Module, ABC):
    """A family of monotone maps of each coordinate of a domain onto itself; a net computes the parameters.

    Zeros as parameters give the identity, or nearly the identity if the docstring of the class says so. Transformers
    have no learned parameters.

    States of a flat domain have the batch last, ``(d, batch)``: each parameter is then one contiguous row,
    and a compiler vectorises over the batch. States of an array domain (images) are batch-first,
    ``(batch, *shape)``. The first axis of parameters is their number, ``(P, d, batch)`` or ``(P, batch, *shape)``.

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
        """Compile the custom operator, if there is one; called when the layer is compiled."""

    @abstractmethod
    def select(self, index: Tensor) -> Transformer:
        """The same family for some of the coordinates of a flat domain. index: (k,) int64."""
