"""How to train a molecule that nobody has tuned: sizes and budgets from its number of coordinates."""

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


class Preset(NamedTuple):
    """What a preset spends on a molecule of 60 coordinates.

    evaluations: energies. layers: couplings. width: of the two hidden layers of each coupling's net.
    """

    evaluations: float
    layers: int
    width: int


PRESETS: dict[PresetName, Preset] = {
    "quick": Preset(5e5, 12, 96),
    "standard": Preset(3.072e6, 16, 128),
    "best": Preset(1.2e7, 20, 192),
}
"""A first look in minutes; numbers to work with; more, for hours of a CPU."""

DEFAULT: PresetName = "standard"
"""The preset where none is named: on the command line, of a new generator and of its training."""


def preset_named(name: str) -> Preset:
    """A preset by its name.

    Raises:
        OptionError: if there is no such preset.
    """
    for known, preset in PRESETS.items():
        if name == known:
            return preset
    raise OptionError(f"Expected a preset out of {', '.join(PRESETS)}; got {name!r}.")


def flow_settings(name: str, coordinates: int) -> dict[str, Any]:
    """Sizes of a flow with so many coordinates, by the names of `Architecture`.

    Widths grow with the root of the number of coordinates: more of them depend on each other.

    >>> flow_settings("standard", 60)
    {'layers': 16, 'hidden': (128, 128)}
    """
    preset = preset_named(name)
    width = 32 * round(preset.width * math.sqrt(_size(coordinates)) / 32)
    return {"layers": preset.layers, "hidden": (width, width)}


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
    """The method and the budget of a training, by the names of `TrainingOptions`: what is given, and the preset's rest.

    Evaluations grow with the number of coordinates. A GPU gets larger batches, with which alone it is fast. Nets are
    bfloat16 where that is faster, found out by trying; several devices, each of which would find out for itself, get
    float32. SOAP took alanine dipeptide farther than Adam in the same time; on nets of 32 hidden units it does not.

    Args:
        name: of the preset.
        coordinates: number of the flow's.
        device: type of the device, such as "cuda".
        devices: their number.
        given: what was asked for, which goes before the preset.
        patient: whether the training may end early: not for a range of temperatures, where the ESS of a step, over
            several of them, says too little.
        path: whether the flow has stochastic layers, which only reverse KL trains.

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


@cache
def faster_precision(device: str) -> Precision:
    """Of the products of nets: found out by a product of a usual size."""
    times: dict[Precision, float] = {}
    precisions: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    for name, dtype in precisions.items():
        a, b = (torch.ones(shape, device=device, dtype=dtype) for shape in ((512, 192), (192, 768)))
        runs = []
        for _ in range(7):
            started = time.perf_counter()
            for _ in range(3):
                product = a @ b
            product[0, 0].item()  # waits for a GPU
            runs.append(time.perf_counter() - started)
        times[name] = min(runs)
    # A little faster is not worth the digits.
    return "bfloat16" if times["bfloat16"] < 0.6 * times["float32"] else "float32"
