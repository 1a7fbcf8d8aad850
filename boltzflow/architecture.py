"""The flow of a generator, from the options that its file holds."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from boltzflow.coordinates import MolecularCoordinates
from boltzflow.coordinates.bounds import HOTTEST
from boltzflow.core import Chain, Domain, Flow, recipes
from boltzflow.core.kernels import Langevin, RandomWalk
from boltzflow.core.layer import Layer
from boltzflow.core.layers import KernelLayer, LogContext
from boltzflow.errors import FileFormatError, OptionError
from boltzflow.molecules.informed import tabulated_base
from boltzflow.units import Temperature, checked_temperature

Kernel = Literal["metropolis", "langevin"]

ACCEPTANCE: dict[str, float] = {"metropolis": 0.3, "langevin": 0.6}
"""What the step sizes of stochastic layers are adapted to."""

_PART_OF_A_RANGE = 0.08  # the scale of steps where a coordinate may be anywhere: half a radian of a circle


def build_flow(coordinates: MolecularCoordinates, architecture: dict[str, Any]) -> Flow:
    """The untrained flow of a generator.

    Args:
        coordinates: that it is a density of.
        architecture: the options of `BoltzmannGenerator.for_system`. Files of before there were tables do not say how
            they started; those of one temperature do not name `temperatures`, those without stochastic layers do not
            name `stochastic`. Stochastic layers are made unbound.
    """
    options = architecture.copy()
    informed = options.pop("start", "plain") != "plain"
    temperatures = options.pop("temperatures", None)
    stochastic = options.pop("stochastic", None)
    if stochastic is not None:
        stochastic = checked_stochastic(**stochastic, couplings=options["layers"])
    flow = recipes.spline_flow(
        coordinates.domain,
        location=coordinates.centers,
        width=coordinates.widths,
        base=tabulated_base(coordinates) if informed else None,
        context_size=0 if temperatures is None else 1,
        **options,
    )

    def shown(layer: Layer) -> Layer:
        return layer if temperatures is None else LogContext(layer, *temperatures)

    if stochastic is None:
        return Flow(flow.base, shown(flow.transform))
    assert isinstance(flow.transform, Chain)
    couplings = list(flow.transform)
    blocks = [couplings[i : i + stochastic["every"]] for i in range(0, len(couplings), stochastic["every"])]
    chain = [shown(Chain(blocks[0]))]
    for number, block in enumerate(blocks[1:], 1):
        chain += [_kernel_layer(coordinates, stochastic, number / len(blocks)), shown(Chain(block))]
    return Flow(flow.base, Chain(chain))


def check_sizes(architecture: dict[str, Any], tensors: Iterable[Tensor]) -> None:
    """Raise unless a flow of this architecture may have so few numbers as these tensors hold, before it is built.

    Raises:
        FileFormatError: naming the sizes and how many there are.
    """
    layers, bins, hidden = architecture["layers"], architecture["bins"], architecture["hidden"]
    sizes = [layers, bins, *hidden]
    shown = reprlib.repr(sizes)
    if not all(type(size) is int and size > 0 for size in sizes):
        raise FileFormatError(f"Expected positive whole numbers as layers, bins and hidden sizes; got {shown}.")
    # A conditioner has a weight for each two units of neighbouring layers, a bias for each unit, and what it gives.
    least = layers * (sum(a * b for a, b in pairwise(hidden)) + sum(hidden) + bins)
    held = sum(tensor.numel() for tensor in tensors)
    if least > held:
        raise FileFormatError(f"Expected the numbers of a flow of sizes {shown}; got {held:,}, which are too few.")


def checked_stochastic(kernel: str, every: int, steps: int, couplings: int) -> dict[str, Any]:
    """The options of stochastic layers.

    Raises:
        OptionError: if the kernel is unknown, a number is not positive, or there is but one block of couplings.
    """
    if kernel not in get_args(Kernel):
        raise OptionError(f"Expected stochastic layers 'metropolis' or 'langevin'; got {kernel!r}.")
    if every < 1 or steps < 1:
        raise OptionError(f"Expected positive stochastic_every and stochastic_steps; got {every} and {steps}.")
    if every >= couplings:
        raise OptionError(
            f"Expected more couplings than one block of them, for stochastic layers to stand between; got {couplings} "
            f"couplings in blocks of {every}."
        )
    return {"kernel": kernel, "every": every, "steps": steps}


def _kernel_layer(coordinates: MolecularCoordinates, stochastic: dict[str, Any], fraction: float) -> KernelLayer:
    domain, steps = coordinates.domain, stochastic["steps"]
    scales = _scales(domain, coordinates.widths.float()) / len(domain) ** 0.5
    kernel = RandomWalk if stochastic["kernel"] == "metropolis" else Langevin
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
