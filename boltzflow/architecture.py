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
"""The target acceptance of stochastic layers."""

_PART_OF_A_RANGE = 0.08  # the scale of steps of a coordinate without a width: half a radian of a circle

_IN_FILES = {"kernel": "stochastic", "every": "stochastic_every", "steps": "stochastic_steps"}


class Architecture(Settings):
    """The options from which the flow of a generator is built for its coordinates."""

    heading: ClassVar[str] = "Flow"

    layers: Count = Field(16, json_schema_extra={"default": "by preset"})
    """Number of spline couplings."""

    hidden: tuple[Count, ...] = Field(
        (128, 128), min_length=1, examples=[(256, 256)], json_schema_extra={"default": "by preset"}
    )
    """Widths of the hidden layers of each coupling's conditioner network, separated by commas."""

    bins: Count = 8
    """Number of bins of each spline."""

    harmonics: Count = 4
    """Number of cosines and sines of each torsion, of the angle and its multiples, that a conditioner network gets."""

    splines: Count | None = Field(None, json_schema_extra={"default": "by preset"})
    """Number of the couplings, the last ones, that transform all coordinates by splines.

    The earlier ones shift and scale lengths, angles and stiff torsions, whose densities are nearly normal, and
    transform only the others by splines. They cost less. None has splines everywhere.
    """

    net: Literal["mlp", "residual"] = "mlp"
    """Kind of conditioner network; a residual network has blocks of equal width."""

    start: Literal["sampled", "bonded", "plain"] = "sampled"
    """The initial base.

    "bonded" uses each coordinate's Boltzmann density under the bonded terms, without evaluating the whole energy.
    "sampled" also refines the torsions' densities by short Gibbs sampling, with 4096 energy evaluations each. "plain"
    uses normal and uniform densities.
    """

    seed: Seed = 0
    """Seed of masks, initial weights and the Gibbs sampling."""

    temperatures: tuple[Kelvin, Kelvin] | None = Field(None, examples=[(300, 600)])
    """Lowest and highest temperature in K, such as 300,600, of one flow that covers the range.

    The system's own temperature lies between them. The couplings are conditioned on each sample's temperature. The
    initial base uses the densities at the highest temperature, which cover the others. None makes a generator for the
    system's temperature alone.
    """

    stochastic: Kernel | None = None
    """Markov steps between blocks of couplings: random walks, or Langevin steps with forces.

    This makes a stochastic normalizing flow (Wu et al. 2020, arXiv 2002.06707). The steps leave intermediate densities
    between the base and the molecule's density invariant. Weights stay exact; there is no `log_prob`. Step sizes are
    adapted to a target acceptance when the generator is made, and then fixed.
    """

    stochastic_every: Count = 4
    """Number of couplings in a block; with an even number each block moves each coordinate."""

    stochastic_steps: Count = 5
    """Number of Markov steps between two blocks; each needs one energy evaluation, and the first one more."""

    @model_validator(mode="after")
    def _has_two_blocks(self) -> Self:
        # A preset that has yet to set the layers cannot be checked.
        if self.stochastic and "layers" in self.model_fields_set and self.stochastic_every >= self.layers:
            raise ValueError(
                "Expected at least two blocks of couplings, with stochastic layers between them; got "
                f"{self.layers} couplings in blocks of {self.stochastic_every}"
            )
        return self

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Self:
        """The architecture from a generator's file; older files have no `start`, which was plain, and one harmonic.

        Raises:
            OptionError: if a value is invalid; names it.
        """
        values = {"start": "plain", "harmonics": 1, **header}
        if "stochastic" in values:
            kernel = values.pop("stochastic")
            values |= {ours: kernel[theirs] for theirs, ours in _IN_FILES.items()}
        return cls.of(**values)

    @property
    def header(self) -> dict[str, Any]:
        """The mapping in a generator's file; JSON-serialisable, without options that are None."""
        values = self.model_dump(mode="json", exclude_none=True)
        if self.harmonics == 1:  # as in older files, which have no such entry
            del values["harmonics"]
        kernel = {theirs: values.pop(ours, None) for theirs, ours in _IN_FILES.items()}
        return values if self.stochastic is None else values | {"stochastic": kernel}


def build_flow(coordinates: MolecularCoordinates, architecture: Architecture) -> Flow:
    """Build a generator's untrained flow, a density over these coordinates; stochastic layers are not yet bound."""
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
        harmonics=architecture.harmonics,
        affine=0 if architecture.splines is None else max(0, architecture.layers - architecture.splines),
    )

    def conditioned(layer: Layer) -> Layer:
        return layer if temperatures is None else LogContext(layer, *temperatures)

    if architecture.stochastic is None:
        return Flow(flow.base, conditioned(flow.transform))
    assert isinstance(flow.transform, Chain)
    couplings = list(flow.transform)
    blocks = [couplings[i : i + every] for i in range(0, len(couplings), every)]
    chain = [conditioned(Chain(blocks[0]))]
    for number, block in enumerate(blocks[1:], 1):
        chain += [_kernel_layer(coordinates, architecture, number / len(blocks)), conditioned(Chain(block))]
    return Flow(flow.base, Chain(chain))


def check_sizes(architecture: Architecture, tensors: Iterable[Tensor]) -> None:
    """Check, before the flow is built, that these tensors hold enough numbers for it.

    Raises:
        FileFormatError: if they hold too few; names the sizes and the number.
    """
    layers, bins, hidden = architecture.layers, architecture.bins, architecture.hidden
    # Weights between neighbouring layers, a bias for each unit, and at least one output for each bin.
    least = layers * (sum(a * b for a, b in pairwise(hidden)) + sum(hidden) + bins)
    held = sum(tensor.numel() for tensor in tensors)
    if least > held:
        sizes = reprlib.repr([layers, bins, *hidden])
        raise FileFormatError(f"Expected at least {least:,} numbers for a flow of sizes {sizes}; got {held:,}.")


def _kernel_layer(coordinates: MolecularCoordinates, architecture: Architecture, fraction: float) -> KernelLayer:
    domain, steps = coordinates.domain, architecture.stochastic_steps
    scales = _scales(domain, coordinates.widths.float()) / len(domain) ** 0.5
    kernel = RandomWalk if architecture.stochastic == "metropolis" else Langevin
    return KernelLayer(kernel(domain, scales, steps), fraction, stop_gradient=True)


def _scales(domain: Domain, widths: Tensor) -> Tensor:
    """The scale of each coordinate's step (D,), up to a common factor: its width, or a fraction of its range."""
    ranges = domain.highs(widths) - domain.lows(widths)
    return torch.where(widths.isfinite(), widths, _PART_OF_A_RANGE * ranges)


def checked_range(temperatures: Sequence[Temperature], own: float) -> list[float]:
    """The lowest and highest temperature of a generator in K.

    Raises:
        OptionError: if they are not two ascending temperatures with the system's own between them, or exceed the
            temperature that the bounds of the coordinates cover.
    """
    kelvins = [checked_temperature(temperature) for temperature in temperatures]
    if len(kelvins) != 2 or not kelvins[0] < kelvins[1]:
        raise OptionError(f"Expected temperatures (lowest, highest) in K; got {tuple(kelvins)}.")
    low, high = kelvins
    if not low <= own <= high:
        raise OptionError(
            f"Expected a range of temperatures that contains the system's own, {own:g} K; got {low:g} to {high:g} K."
        )
    hottest = max(HOTTEST, own)
    if high > hottest:
        raise OptionError(
            f"Expected temperatures up to {hottest:g} K, which the coordinates' bounds cover; got {high:g} K."
        )
    return kelvins
