"""How to train a molecule that nobody has tuned: sizes and budgets from its number of coordinates."""

from __future__ import annotations

import math
import time
from typing import Any, Literal, NamedTuple

import torch

from boltzflow.training.options import Precision

PresetName = Literal["quick", "standard", "best"]

_DIPEPTIDE = 60  # coordinates of alanine dipeptide, at which the presets were measured
_PATIENCE = 6  # parts of a training
_LOGGED = 100  # steps: a patience below two records is refused


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


def settings(
    name: PresetName,
    coordinates: int,
    device: str,
    devices: int = 1,
    steps: int | None = None,
    batch_size: int | None = None,
    precision: Precision | None = None,
) -> dict[str, Any]:
    """Sizes and budget of a training, by the names of `RunConfig`.

    Evaluations grow with the number of coordinates, widths with its root: more of them depend on each other. A GPU
    gets larger batches, with which alone it is fast. Nets are bfloat16 where that is faster, found out by trying;
    several devices, each of which would find out for itself, get float32. SOAP took alanine dipeptide farther than Adam
    in the same time; on nets of 32 hidden units it does not.

    Args:
        name: of the preset.
        coordinates: number of the flow's.
        device: type of the device, such as "cuda".
        devices: their number.
        steps, batch_size, precision: where they are given already.

    >>> chosen = settings("standard", 60, "cpu")
    >>> chosen["layers"], chosen["hidden"], chosen["steps"] * chosen["batch_size"]
    (16, (128, 128), 3072000)
    """
    preset = PRESETS[name]
    size = max(1.0, coordinates / _DIPEPTIDE)
    width = 32 * round(preset.width * math.sqrt(size) / 32)
    batch_size = batch_size or devices * (2048 if device == "cuda" else -(-512 // devices))
    steps = steps or max(1, int(preset.evaluations * size / batch_size))
    return {
        "layers": preset.layers,
        "hidden": (width, width),
        "batch_size": batch_size,
        "steps": steps,
        "optimizer": "soap",
        "precision": precision or (faster_precision(device) if devices == 1 else "float32"),
        "patience": steps // _PATIENCE if steps // _PATIENCE >= _LOGGED else 0,
    }


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
