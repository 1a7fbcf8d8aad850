"""The flow of a generator, from the options that its file holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from boltzflow.coordinates import MolecularCoordinates
from boltzflow.coordinates.bounds import HOTTEST
from boltzflow.core import Flow, recipes
from boltzflow.core.layers import LogContext
from boltzflow.errors import OptionError
from boltzflow.molecules.informed import tabulated_base
from boltzflow.units import checked_temperature


def build_flow(coordinates: MolecularCoordinates, architecture: dict[str, Any]) -> Flow:
    """The untrained flow of a generator.

    Args:
        coordinates: that it is a density of.
        architecture: the options of `BoltzmannGenerator.for_system`. Files of before there were tables do not say how
            they started; those of one temperature do not name `temperatures`.
    """
    options = architecture.copy()
    informed = options.pop("start", "plain") != "plain"
    temperatures = options.pop("temperatures", None)
    flow = recipes.spline_flow(
        coordinates.domain,
        location=coordinates.centers,
        width=coordinates.widths,
        base=tabulated_base(coordinates) if informed else None,
        context_size=0 if temperatures is None else 1,
        **options,
    )
    return flow if temperatures is None else Flow(flow.base, LogContext(flow.transform, *temperatures))


def checked_range(temperatures: Sequence[object], own: float) -> list[float]:
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
    if high > HOTTEST:
        raise OptionError(
            f"Expected temperatures up to {HOTTEST:g} K, which the coordinates' bounds are made for; got {high:g} K."
        )
    return kelvins
