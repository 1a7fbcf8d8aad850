"""How to train a molecule that nobody has tuned: sizes and budgets from its number of coordinates."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch

PresetName = Literal["quick", "standard", "best"]

_DIPEPTIDE = 60  # coordinates of alanine dipeptide, at which the presets were measured


class Preset(NamedTuple):
    """What a preset spends on a molecule of 60 coordinates.

    evaluations: energies. layers: couplings. width: of the two hidden layers of each coupling's net.
    """

    evaluations: float
    layers: int
    width: int


PRESETS: dict[PresetName, Preset] = {
    "quick": Preset(1.5e6, 12, 96),
    "standard": Preset(1e7, 16, 128),
    "best": Preset(4e7, 20, 192),
}
"""A first look; numbers to work with; as good as is known to be reached on a CPU in hours."""


def settings(name: PresetName, coordinates: int, device: str | None = None) -> dict[str, Any]:
    """Method, sizes and budget of a training, by the names of `RunConfig`.

    Evaluations grow with the number of coordinates, widths with its root: a larger molecule couples more of them. A GPU
    gets larger batches, in which alone it is fast.

    Args:
        name: of the preset.
        coordinates: of the flow.
        device: type of the device, such as "cuda"; by default what is there.

    >>> chosen = settings("standard", 60, "cpu")
    >>> chosen["layers"], chosen["hidden"], chosen["steps"] * chosen["batch_size"]
    (16, (128, 128), 9999872)
    """
    preset = PRESETS[name]
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    size = max(1.0, coordinates / _DIPEPTIDE)
    width = 32 * round(preset.width * math.sqrt(size) / 32)
    batch_size = 2048 if kind == "cuda" else 512
    return {
        "method": "reverse_kl",
        "layers": preset.layers,
        "hidden": (width, width),
        "batch_size": batch_size,
        "steps": int(preset.evaluations * size / batch_size),
        "learning_rate": 1e-3,
    }
