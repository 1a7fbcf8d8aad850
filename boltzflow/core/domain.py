"""The kind of each coordinate of a state: a real number, a number in an interval, or a point on a circle."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from boltzflow.errors import DomainError, ShapeError

Kind = Literal["real", "interval", "circle"]


@dataclass(frozen=True)
class Coordinate:
    """One coordinate: its kind, its bounds (infinite on the real line) and its name.

    Names are used in error messages and plots; equality ignores them.
    """

    kind: Kind
    low: float = -math.inf
    high: float = math.inf
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        bounded = math.isfinite(self.low) and math.isfinite(self.high)
        if self.kind == "real":
            if math.isfinite(self.low) or math.isfinite(self.high):
                raise DomainError(f"Expected no bounds on a real coordinate; got [{self.low:g}, {self.high:g}].")
        elif self.kind not in ("interval", "circle"):
            raise DomainError(f"Expected kind 'real', 'interval' or 'circle'; got {self.kind!r}.")
        elif not bounded or self.low >= self.high:
            raise DomainError(f"Expected finite bounds low < high for {self}; got [{self.low:g}, {self.high:g}].")

    def __str__(self) -> str:
        bounds = "" if self.kind == "real" else f"({self.low:.4g}, {self.high:.4g})"
        return f"{self.kind}{bounds}" + (f" '{self.name}'" if self.name else "")


@dataclass(frozen=True)
class Domain:
    """The kinds of all coordinates of a state, used by bases, layers, nets, kernels and plots.

    An immutable value without tensors. States of a domain with D coordinates have the shape ``(batch, D)``. A real
    domain may have another event shape (positions ``(N, 3)``, images); then all coordinates are of the same kind.

    >>> domain = Domain.real(1) + Domain.circle(2, names=["phi", "psi"]) + Domain.interval(0.0, 1.0)
    >>> len(domain), domain.indices("circle")
    (4, (1, 2))
    >>> print(domain[1:])
    Domain[circle(-3.142, 3.142) 'phi', circle(-3.142, 3.142) 'psi', interval(0, 1)]
    """

    coordinates: tuple[Coordinate, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if math.prod(self.shape) != len(self.coordinates):
            raise DomainError(
                f"Expected {math.prod(self.shape)} coordinates for shape {self.shape}; got {len(self.coordinates)}."
            )
        if len(self.shape) != 1 and any(c.kind != "real" for c in self.coordinates):
            raise DomainError(f"Expected only real coordinates in an array of shape {self.shape}; got other kinds.")

    # -- construction ------------------------------------------------------------------------------

    @classmethod
    def of(cls, coordinates: Sequence[Coordinate]) -> Domain:
        """A flat domain of these coordinates."""
        return cls(tuple(coordinates), (len(coordinates),))

    @classmethod
    def real(cls, shape: int | Sequence[int] = 1, *, names: Sequence[str] | None = None) -> Domain:
        """Real lines: `shape` is their number, or the event shape of an array."""
        event = (shape,) if isinstance(shape, int) else tuple(shape)
        return cls(_repeat("real", -math.inf, math.inf, math.prod(event), names), event)

    @classmethod
    def interval(cls, low: float, high: float, n: int = 1, *, names: Sequence[str] | None = None) -> Domain:
        """`n` intervals [low, high]."""
        return cls.of(_repeat("interval", low, high, n, names))

    @classmethod
    def circle(
        cls, n: int = 1, low: float = -math.pi, high: float = math.pi, *, names: Sequence[str] | None = None
    ) -> Domain:
        """`n` circles of circumference high − low, cut open at low ≡ high."""
        return cls.of(_repeat("circle", low, high, n, names))

    def __add__(self, other: Domain) -> Domain:
        if len(self.shape) != 1 or len(other.shape) != 1:
            raise DomainError(f"Expected flat domains to join; got shapes {self.shape} and {other.shape}.")
        return Domain.of(self.coordinates + other.coordinates)

    # -- reading -----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.coordinates)

    def __iter__(self) -> Iterator[Coordinate]:
        return iter(self.coordinates)

    def __getitem__(self, index: int | slice | Sequence[int]) -> Domain:
        """The domain of some coordinates: one index, a slice, or a sequence of indices."""
        if isinstance(index, int):
            return Domain.of([self.coordinates[index]])
        chosen = self.coordinates[index] if isinstance(index, slice) else [self.coordinates[i] for i in index]
        return Domain.of(tuple(chosen))

    def __str__(self) -> str:
        if len(self.shape) != 1:
            return f"Domain[real{self.shape}]"
        if len(self) > 8:
            counts = {kind: len(self.indices(kind)) for kind in ("real", "interval", "circle")}
            return f"Domain[{', '.join(f'{n} {kind}' for kind, n in counts.items() if n)}]"
        return f"Domain[{', '.join(map(str, self.coordinates))}]"

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each coordinate, or ``x0``, ``x1``, … if none was given."""
        return tuple(c.name or f"x{i}" for i, c in enumerate(self.coordinates))

    def indices(self, kind: Kind) -> tuple[int, ...]:
        """The indices of the coordinates of this kind."""
        return tuple(i for i, c in enumerate(self.coordinates) if c.kind == kind)

    def lows(self, like: Tensor) -> Tensor:
        """Lower bounds (D,), −inf on real lines; dtype and device of `like`."""
        return like.new_tensor([c.low for c in self.coordinates])

    def highs(self, like: Tensor) -> Tensor:
        """Upper bounds (D,), +inf on real lines; dtype and device of `like`."""
        return like.new_tensor([c.high for c in self.coordinates])

    # -- arithmetic --------------------------------------------------------------------------------

    def check(self, x: Tensor, where: str) -> None:
        """Check that `x` is a batch of states of this domain.

        Raises:
            ShapeError: if it is not; gives `where`, the expected shape and the actual shape.
        """
        if not isinstance(x, Tensor):
            raise ShapeError(f"{where}: expected states as a tensor; got {type(x).__name__}.")
        if x.dim() != len(self.shape) + 1 or tuple(x.shape[1:]) != self.shape:
            expected = ", ".join(("batch", *map(str, self.shape)))
            raise ShapeError(f"{where}: expected states of shape ({expected}) for {self}; got {tuple(x.shape)}.")

    def wrap(self, x: Tensor) -> Tensor:
        """Take circles modulo their circumference into [low, high); other coordinates are unchanged. x: (…, D)."""
        circles = self.indices("circle")
        if not circles:
            return x
        index = torch.tensor(circles, device=x.device)
        part = x.index_select(-1, index)
        return x.index_copy(-1, index, wrap(part, *self[circles]._bounds(x)))

    def contains(self, x: Tensor) -> Tensor:
        """Which states are finite and inside every interval. x: (batch, *shape) → (batch,) bool.

        A circle contains every finite number, modulo the circumference.
        """
        inside = torch.isfinite(x).flatten(1).all(-1)
        intervals = self.indices("interval")
        if intervals:
            part = x[..., list(intervals)]
            low, high = self[intervals]._bounds(x)
            inside = inside & ((part >= low) & (part <= high)).all(-1)
        return inside

    def difference(self, x: Tensor, y: Tensor) -> Tensor:
        """x − y; on circles the shortest difference, in [−half, half) of the circumference."""
        delta = x - y
        circles = self.indices("circle")
        if not circles:
            return delta
        index = torch.tensor(circles, device=x.device)
        low, high = self[circles]._bounds(x)
        half = (high - low) / 2
        return delta.index_copy(-1, index, wrap(delta.index_select(-1, index), -half, half))

    def standardize(self, x: Tensor) -> Tensor:
        """Intervals and circles mapped linearly to [−1, 1]; real coordinates unchanged. x: (…, D)."""
        scale, shift = self.standard_map(x)
        return x * scale + shift

    def features(self, x: Tensor) -> Tensor:
        """Smooth features for a net: intervals mapped to [−1, 1], real lines unchanged, then cos and sin of circles.

        x: (…, D) → (…, F) with F = `feature_size`.
        """
        standard = self.standardize(x)
        circles = list(self.indices("circle"))
        if not circles:
            return standard
        straight = [i for i, c in enumerate(self.coordinates) if c.kind != "circle"]
        angle = standard[..., circles] * math.pi
        return torch.cat([standard[..., straight], angle.cos(), angle.sin()], -1)

    def middle(self, like: Tensor) -> Tensor:
        """A state (*shape) inside the domain: 0 on real lines, the middle of intervals and circles."""
        middles = [0.0 if c.kind == "real" else (c.low + c.high) / 2 for c in self.coordinates]
        return like.new_tensor(middles).view(self.shape)

    @property
    def feature_size(self) -> int:
        """The number of `features`."""
        return len(self) + len(self.indices("circle"))

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return self.lows(like), self.highs(like)

    def standard_map(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The scale and shift (D,) of `standardize`."""
        pairs = [
            (1.0, 0.0) if c.kind == "real" else (2 / (c.high - c.low), -(c.high + c.low) / (c.high - c.low))
            for c in self.coordinates
        ]
        scale, shift = zip(*pairs, strict=True) if pairs else ((), ())
        return like.new_tensor(scale), like.new_tensor(shift)


def wrap(x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """`x` modulo high − low, in [low, high); the gradient is 1."""
    period = high - low
    y = x - period * torch.floor((x - low) / period)
    # Near the seam the quotient may be rounded to an integer, which gives one period too many or too few.
    y = torch.where(y < low, high - (low - y), y)
    return torch.where(y >= high, low + (y - high), y)


def _repeat(kind: Kind, low: float, high: float, n: int, names: Sequence[str] | None) -> tuple[Coordinate, ...]:
    if names is not None and len(names) != n:
        raise DomainError(f"Expected {n} names; got {len(names)}.")
    return tuple(Coordinate(kind, low, high, names[i] if names else "") for i in range(n))
