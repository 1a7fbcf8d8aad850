"""Whether the domain of some coordinates contains the frames of a trajectory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from boltzflow.coordinates.molecular import MolecularCoordinates
from boltzflow.errors import NonFiniteError, ShapeError

_AT_ONCE = 4096  # frames
_SHOWN = 5  # coordinates, in print


@dataclass(frozen=True)
class Coverage:
    """The fraction of a trajectory that lies outside the domain of some coordinates; a generator cannot sample it.

    Attributes:
        frames: the number of frames.
        outside: the fraction of frames, or of their weight, that lies outside.
        error: its standard error if frames are independent; if no frame is outside, 3/n, an upper bound at 95 %.
        by_coordinate: the fraction outside for each coordinate that any frame violates, by name, largest first.
        margins: for each interval, the smallest distance of any frame to a bound, in half-widths of the interval;
            negative outside; by name, smallest first.
    """

    frames: int
    outside: float
    error: float
    by_coordinate: dict[str, float]
    margins: dict[str, float]

    def __str__(self) -> str:
        value = f"{self.outside:.2%} ± {self.error:.2%}" if self.outside else f"less than {min(self.error, 1.0):.2%}"
        lines = [f"{value} of {self.frames} frames outside"]
        lines += [f"  {name}: {part:.2%}" for name, part in list(self.by_coordinate.items())[:_SHOWN]]
        hidden = len(self.by_coordinate) - _SHOWN
        lines += [f"  … and {hidden} more coordinates"] if hidden > 0 else []
        if self.margins:
            name, margin = next(iter(self.margins.items()))
            lines.append(f"  nearest to a bound: {name}, {margin:.1%} of half its interval")
        return "\n".join(lines)


@torch.no_grad()
def coverage(coordinates: MolecularCoordinates, positions: Any, log_weights: Any = None) -> Coverage:
    """Compare the domain of some coordinates with independent frames, such as those of a simulation.

    Args:
        coordinates: of the same molecule.
        positions: (n, N, 3) in nm, in any place and orientation, or an mdtraj trajectory.
        log_weights: (n,), if the frames are weighted.

    Raises:
        ShapeError: if the frames have another shape, or there are none.
        NonFiniteError: if a position is not finite; names the frame.

    >>> import boltzflow as bf
    >>> system = bf.load_system("alanine_dipeptide")
    >>> print(coverage(system.coordinates(), system.positions[None]))
    less than 100.00% of 1 frames outside
      ...
    """
    frames = torch.as_tensor(getattr(positions, "xyz", positions)).detach().to("cpu", torch.float64)
    coordinates.data_domain.check(frames, "coverage")
    n = len(frames)
    if n == 0:
        raise ShapeError("Expected frames to compare with; got none.")
    broken = (~frames.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
    if broken:
        raise NonFiniteError(f"Expected finite positions; got non-finite ones in frame {broken[0]}.")
    weights = torch.zeros(n) if log_weights is None else torch.as_tensor(log_weights)
    weights = torch.softmax(weights.double(), 0)

    domain = coordinates.domain
    intervals = list(domain.indices("interval"))
    low, high = (bound(frames)[intervals] for bound in (domain.lows, domain.highs))
    parts: list[tuple[Tensor, Tensor]] = []
    for some in torch.split(frames, _AT_ONCE):
        z, log_ratio = coordinates.inverse(some)
        z = z[:, intervals]
        parts.append((2 * torch.minimum(z - low, high - z) / (high - low), log_ratio.isfinite()))
    margins, is_valid = (torch.cat(column) for column in zip(*parts, strict=True))
    missed = weights @ (margins < 0).double()
    fraction = float(weights @ ((margins < 0).any(1) | ~is_valid).double())
    effective = 1 / float((weights**2).sum())
    nearest = margins.amin(0)
    order = missed.argsort(descending=True).tolist()
    names = [domain.coordinates[i].name for i in intervals]
    return Coverage(
        frames=n,
        outside=fraction,
        error=math.sqrt(fraction * (1 - fraction) / effective) if fraction else 3 / effective,
        by_coordinate={names[i]: float(missed[i]) for i in order if nearest[i] < 0},
        margins={names[i]: float(nearest[i]) for i in nearest.argsort().tolist()},
    )
