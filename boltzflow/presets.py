"""Default sizes and budgets for any molecule, from its number of coordinates."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

import torch

from boltzflow.core.precision import Precision
from boltzflow.errors import OptionError

PresetName = Literal["quick", "standard", "best"]

_DIPEPTIDE = 60  # coordinates of alanine dipeptide, at which the presets were measured
_PATIENCE = 6  # parts of a training
_LEAST_PATIENCE = 100  # steps
_SPLINES = 4  # couplings, the last ones
_PRODUCT, _REPEATS = (512, 192, 768), 3  # a typical matrix product, for timing
_OUTPUTS = 5  # of a coupling's network, for each coordinate: the mean of harmonics and splines


class Preset(NamedTuple):
    """The budget of a preset for a molecule with 60 coordinates.

    Attributes:
        evaluations: number of energy evaluations.
        layers: number of couplings.
        width: of the two hidden layers of each coupling's conditioner network.
    """

    evaluations: float
    layers: int
    width: int


PRESETS: dict[PresetName, Preset] = {
    "quick": Preset(5e5, 12, 96),
    "standard": Preset(3.072e6, 16, 128),
    "best": Preset(1.2e7, 20, 192),
}
"""A first look in minutes; results to work with; the best results, in hours of CPU time."""

DEFAULT: PresetName = "standard"
"""The default preset of the command line, of a new generator and of its training."""


def preset_named(name: str) -> Preset:
    """A preset by its name.

    Raises:
        OptionError: if there is no such preset.
    """
    for known, preset in PRESETS.items():
        if name == known:
            return preset
    raise OptionError(f"Expected one of the presets {', '.join(PRESETS)}; got {name!r}.")


def flow_settings(name: str, coordinates: int) -> dict[str, Any]:
    """Sizes of a flow with this many coordinates, by the names of `Architecture`.

    Widths grow with the square root of the number of coordinates.

    >>> flow_settings("standard", 60)
    {'layers': 16, 'splines': 4, 'hidden': (128, 128)}
    """
    preset = preset_named(name)
    width = 32 * round(preset.width * math.sqrt(_size(coordinates)) / 32)
    return {"layers": preset.layers, "splines": _SPLINES, "hidden": (width, width)}


def training_settings(
    name: str,
    coordinates: int,
    device: str,
    devices: int,
    given: Mapping[str, Any],
    *,
    patient: bool = True,
    path: bool = False,
) -> dict[str, Any]:
    """The method and budget of a training, by the names of `TrainingOptions`; unset options are filled from the preset.

    The number of evaluations grows with the number of coordinates. A GPU gets larger batches, because small ones
    leave it idle. A short measurement decides whether networks use bfloat16; with several devices, each of which
    would measure for itself, they use float32. SOAP reached a higher ESS than Adam in the same time on alanine
    dipeptide, but not with networks of 32 hidden units.

    Args:
        name: name of the preset.
        coordinates: number of coordinates of the flow.
        device: type of the device, such as "cuda".
        devices: number of devices.
        given: explicit options, which override the preset.
        patient: whether the training may end early; not for a range of temperatures, where a step's ESS is not that of
            one temperature.
        path: whether the flow has stochastic layers, which only reverse KL can train.

    >>> chosen = training_settings("standard", 60, "cpu", 1, {"batch_size": 1024})
    >>> chosen["method"], chosen["optimizer"], chosen["steps"], chosen["batch_size"]
    ('reverse_then_forward', 'soap', 3000, 1024)
    """
    evaluations = preset_named(name).evaluations * _size(coordinates)
    batch_size = given.get("batch_size") or devices * (2048 if device == "cuda" else -(-512 // devices))
    steps = given.get("steps") or max(1, int(evaluations / batch_size))
    patience = steps // _PATIENCE
    enough = max(_LEAST_PATIENCE, 2 * given.get("log_every", 0))  # one below two records is refused
    chosen = {
        "method": "reverse_kl" if path else "reverse_then_forward",
        "batch_size": batch_size,
        "steps": steps,
        "optimizer": "soap",
        "patience": patience if patient and patience >= enough else 0,
    }
    if "precision" not in given:
        chosen["precision"] = faster_precision(device) if devices == 1 else "float32"
    return {**chosen, **given}


def _size(coordinates: int) -> float:
    return max(1.0, coordinates / _DIPEPTIDE)


def preset_for(minutes: float, coordinates: int, device: str) -> PresetName:
    """The largest preset whose training would take about this long or less on this machine, or the smallest one.

    Only its sizes matter: the number of steps follows from timed steps. The estimate counts matrix products, which are
    about half of a step.

    Args:
        minutes: for the training.
        coordinates: number of coordinates of the flow.
        device: type of the device, such as "cuda".
    """
    times = _times_of_products(device)
    of_multiplication = min(times.values()) / math.prod(_PRODUCT)
    for name in reversed(PRESETS):
        width = flow_settings(name, coordinates)["hidden"][0]
        of_sample = PRESETS[name].layers * width * (width + _OUTPUTS * coordinates)
        seconds = 2 * 3 * of_sample * PRESETS[name].evaluations * _size(coordinates) * of_multiplication
        if seconds <= 60 * minutes:
            return name
    return name


def faster_precision(device: str) -> Precision:
    """The faster precision of matrix products on a device, measured with a product of typical size."""
    times = _times_of_products(device)
    # A small gain in speed is not worth the loss of precision.
    return "bfloat16" if times["bfloat16"] < 0.6 * times["float32"] else "float32"


@cache
def _times_of_products(device: str) -> dict[Precision, float]:
    """Seconds of a matrix product of typical size on a device, in each precision."""
    times: dict[Precision, float] = {}
    precisions: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    for name, dtype in precisions.items():
        rows, inner, columns = _PRODUCT
        a, b = (torch.ones(shape, device=device, dtype=dtype) for shape in ((rows, inner), (inner, columns)))
        runs = []
        for _ in range(7):
            started = time.perf_counter()
            for _ in range(_REPEATS):
                product = a @ b
            product[0, 0].item()  # waits for a GPU
            runs.append((time.perf_counter() - started) / _REPEATS)
        times[name] = min(runs)
    return times
