"""The flow of a generator, from the options that its file holds."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from boltzflow.coordinates import MolecularCoordinates
from boltzflow.coordinates.bounds import HOTTEST
from boltzflow.core import Chain, Domain, Flow, recipes
from boltzflow.core.kernels import Langevin, RandomWalk
from boltzflow.core.layer import Layer
from boltzflow.core.layers import KernelLayer, LogContext
from boltzflow.errors import FileFormatError, OptionError
from boltzflow.molecules.informed import tabulated_base
from boltzflow.settings import Count, Kelvin, Seed, Settings
from boltzflow.units import Temperature, checked_temperature

__all__ = ["Architecture"]

Kernel = Literal["metropolis", "langevin"]

ACCEPTANCE: dict[Kernel, float] = {"metropolis": 0.3, "langevin": 0.6}
"""What the step sizes of stochastic layers are adapted to."""

_PART_OF_A_RANGE = 0.08  # the scale of steps where a coordinate may be anywhere: half a radian of a circle

_IN_FILES = {"kernel": "stochastic", "every": "stochastic_every", "steps": "stochastic_steps"}


class Architecture(Settings):
    """What rebuilds the flow of a generator for its coordinates."""

    heading: ClassVar[str] = "Flow"

    layers: Count = Field(16, json_schema_extra={"default": "by preset"})
    """Spline couplings of the flow."""

    hidden: tuple[Count, ...] = Field(
        (128, 128), min_length=1, examples=[(256, 256)], json_schema_extra={"default": "by preset"}
    )
    """Hidden sizes of each coupling's net, with commas."""

    bins: Count = 8
    """Bins of each spline."""

    net: Literal["mlp", "residual"] = "mlp"
    """Kind of each coupling's net; hidden sizes of residual ones are equal, each that of a block."""

    start: Literal["sampled", "bonded", "plain"] = "sampled"
    """What the first samples are drawn from.

    "bonded" takes each coordinate's Boltzmann density by the bonded terms, without an evaluation of the whole energy;
    "sampled" lets short Gibbs sampling mend those of torsions, at 4096 energies each; "plain" takes normal and uniform
    densities.
    """

    seed: Seed = 0
    """Of masks, initial weights and that sampling."""

    temperatures: tuple[Kelvin, Kelvin] | None = Field(None, examples=[(300, 600)])
    """Lowest and highest in K, such as 300,600, for one flow for all of them.

    The system's own temperature is between them. Couplings are shown each sample's temperature, and the flow starts
    from the densities of the highest one, which cover those of all. None: the system's temperature alone.
    """

    stochastic: Kernel | None = None
    """Markov steps between blocks of couplings, by random walks or with forces.

    A stochastic normalizing flow (Wu et al. 2020, arXiv 2002.06707). The steps leave densities on the way from the base
    to the molecule's invariant. Weights stay exact; there is no `log_prob`. Step sizes are adapted to an acceptance
    when the generator is made, and stay.
    """

    stochastic_every: Count = 4
    """Couplings in such a block; an even number moves each coordinate in each block."""

    stochastic_steps: Count = 5
    """Markov steps between two blocks, each for an energy; their start costs one more."""

    @model_validator(mode="after")
    def _has_two_blocks(self) -> Self:
        # Where a preset has yet to choose the layers it is too early to say.
        if self.stochastic and "layers" in self.model_fields_set and self.stochastic_every >= self.layers:
            raise ValueError(
                "Expected more couplings than one block of them, for stochastic layers to stand between; got "
                f"{self.layers} couplings in blocks of {self.stochastic_every}"
            )
        return self

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Self:
        """From what `header` gives.

        Files of before there were tables do not say how they started.

        Raises:
            OptionError: naming what is wrong.
        """
        values = {"start": "plain", **header}
        if "stochastic" in values:
            kernel = values.pop("stochastic")
            values |= {ours: kernel[theirs] for theirs, ours in _IN_FILES.items()}
        return cls.of(**values)

    @property
    def header(self) -> dict[str, Any]:
        """As a generator's file holds it, JSON-able, without what there is not."""
        values = self.model_dump(mode="json", exclude_none=True)
        kernel = {theirs: values.pop(ours, None) for theirs, ours in _IN_FILES.items()}
        return values if self.stochastic is None else values | {"stochastic": kernel}


def build_flow(coordinates: MolecularCoordinates, architecture: Architecture) -> Flow:
    """The untrained flow of a generator, a density of these coordinates. Stochastic layers are made unbound."""
    temperatures, every = architecture.temperatures, architecture.stochastic_every
    flow = recipes.spline_flow(
        coordinates.domain,
        layers=architecture.layers,
        hidden=architecture.hidden,
        bins=architecture.bins,
        net=architecture.net,
        location=coordinates.centers,
        width=coordinates.widths,
        context_size=0 if temperatures is None else 1,
        seed=architecture.seed,
        base=None if architecture.start == "plain" else tabulated_base(coordinates),
    )

    def shown(layer: Layer) -> Layer:
        return layer if temperatures is None else LogContext(layer, *temperatures)

    if architecture.stochastic is None:
        return Flow(flow.base, shown(flow.transform))
    assert isinstance(flow.transform, Chain)
    couplings = list(flow.transform)
    blocks = [couplings[i : i + every] for i in range(0, len(couplings), every)]
    chain = [shown(Chain(blocks[0]))]
    for number, block in enumerate(blocks[1:], 1):
        chain += [_kernel_layer(coordinates, architecture, number / len(blocks)), shown(Chain(block))]
    return Flow(flow.base, Chain(chain))


def check_sizes(architecture: Architecture, tensors: Iterable[Tensor]) -> None:
    """Raise unless a flow of this architecture may have so few numbers as these tensors hold, before it is built.

    Raises:
        FileFormatError: naming the sizes and how many there are.
    """
    layers, bins, hidden = architecture.layers, architecture.bins, architecture.hidden
    # A conditioner has a weight for each two units of neighbouring layers, a bias for each unit, and what it gives.
    least = layers * (sum(a * b for a, b in pairwise(hidden)) + sum(hidden) + bins)
    held = sum(tensor.numel() for tensor in tensors)
    if least > held:
        sizes = reprlib.repr([layers, bins, *hidden])
        raise FileFormatError(f"Expected the numbers of a flow of sizes {sizes}; got {held:,}, which are too few.")


def _kernel_layer(coordinates: MolecularCoordinates, architecture: Architecture, fraction: float) -> KernelLayer:
    domain, steps = coordinates.domain, architecture.stochastic_steps
    scales = _scales(domain, coordinates.widths.float()) / len(domain) ** 0.5
    kernel = RandomWalk if architecture.stochastic == "metropolis" else Langevin
    return KernelLayer(kernel(domain, scales, steps), fraction, stop_gradient=True)


def _scales(domain: Domain, widths: Tensor) -> Tensor:
    """How far each coordinate goes in a step (D,), up to a common factor: its width, or a part of its range."""
    ranges = domain.highs(widths) - domain.lows(widths)
    return torch.where(widths.isfinite(), widths, _PART_OF_A_RANGE * ranges)


def checked_range(temperatures: Sequence[Temperature], own: float) -> list[float]:
    """The lowest and the highest temperature of a generator in K.

    Raises:
        OptionError: if they are not two ascending temperatures with the system's own between them, or beyond what the
            bounds of the coordinates are made for.
    """
    kelvins = [checked_temperature(temperature) for temperature in temperatures]
    if len(kelvins) != 2 or not kelvins[0] < kelvins[1]:
        raise OptionError(f"Expected temperatures (lowest, highest) in K; got {tuple(kelvins)}.")
    low, high = kelvins
    if not low <= own <= high:
        raise OptionError(
            f"Expected a range of temperatures that holds the system's own, {own:g} K; got {low:g} to {high:g} K."
        )
    hottest = max(HOTTEST, own)
    if high > hottest:
        raise OptionError(
            f"Expected temperatures up to {hottest:g} K, which the coordinates' bounds are made for; got {high:g} K."
        )
    return kelvins
