"""Virtual sites: massless particles whose positions are computed from other particles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import openmm
import openmm.unit as u
import torch
from torch import Tensor, nn

from boltzflow.core.functional.rows import Rows
from boltzflow.energies.forcefield.term import cross, dot
from boltzflow.errors import UnsupportedForceError


class VirtualSites(nn.Module):
    """Places virtual sites: linear combinations of up to three atoms, their vector product, or local frames.

    One formula covers all kinds. A site has up to M parents p with weights a (origin), b (x direction) and c (y
    direction). Its position is the origin Σ a p, plus the local position in the frame that b and c span, plus
    w (p₂ − p₁) × (p₃ − p₁).

    Raises:
        UnsupportedForceError: if the kind of a site is unknown, or a site depends on another site.
    """

    origin: Tensor
    across: Tensor
    local: Tensor
    frame_x: Tensor
    frame_y: Tensor

    def __init__(self, system: openmm.System) -> None:
        super().__init__()
        n = system.getNumParticles()
        self.sites = [i for i in range(n) if system.isVirtualSite(i)]
        described = [_describe(i, system.getVirtualSite(i)) for i in self.sites]
        for index, site in zip(self.sites, described, strict=True):
            between = set(site.parents) & set(self.sites)
            if between:
                raise UnsupportedForceError(
                    f"Expected virtual sites that depend on atoms only; site {index} depends on site {min(between)}."
                )
        width = self.width = max(len(site.parents) for site in described)
        rows = [(site.parents * width)[k] for k in range(width) for site in described]
        self.parents = Rows(rows, n)
        places = {site: n + k for k, site in enumerate(self.sites)}
        self.join = Rows([places.get(i, i) for i in range(n)], n + len(self.sites))

        for name in ("origin", "frame_x", "frame_y"):
            rows_of = [[*getattr(site, name), *[0.0] * width][:width] for site in described]
            weights = torch.tensor(rows_of, dtype=torch.float64)
            self.register_buffer(name, weights.T[:, None, :, None])  # (width, 1, sites, 1)
        across, local = ([getattr(site, name) for site in described] for name in ("across", "local"))
        self.register_buffer("across", torch.tensor(across, dtype=torch.float64)[None, :, None])
        self.register_buffer("local", torch.tensor(local, dtype=torch.float64).T[:, None, :, None])
        self.has_across = bool(self.across.any())
        self.has_frames = bool(self.local.any())

    def forward(self, x: Tensor) -> Tensor:
        """Positions x: (3, N, batch) → the same with the virtual sites placed; their input positions are ignored."""
        parents = torch.stack(self.parents(x).chunk(self.width, 1))
        placed = (self.origin * parents).sum(0)
        if self.has_across and self.width >= 3:
            placed = placed + self.across * cross(parents[1] - parents[0], parents[2] - parents[0])
        if self.has_frames:
            along = (self.frame_x * parents).sum(0)
            # Sites without a frame get an arbitrary one, which has no effect because their local position is zero.
            spare = (self.frame_x == 0).all(0).to(x.dtype)
            axes = torch.eye(3, dtype=x.dtype, device=x.device)[:, :, None, None]
            along = along + spare * axes[0]
            normal = cross(along, (self.frame_y * parents).sum(0) + spare * axes[1])
            along, normal = along / dot(along, along).sqrt(), normal / dot(normal, normal).sqrt()
            frame = torch.stack([along, cross(normal, along), normal])
            placed = placed + (self.local * frame).sum(0)
        joined: Tensor = self.join(torch.cat([x, placed], 1))
        return joined


class _Site(NamedTuple):
    """Weights of the parents for the origin and for the frame's x and y directions; that of the vector product."""

    parents: list[int]
    origin: Sequence[float]
    frame_x: Sequence[float] = ()
    frame_y: Sequence[float] = ()
    across: float = 0.0
    local: tuple[float, ...] = (0.0, 0.0, 0.0)


def _describe(index: int, site: Any) -> _Site:
    kind = type(site).__name__
    parents = [site.getParticle(k) for k in range(site.getNumParticles())]
    if kind in ("TwoParticleAverageSite", "ThreeParticleAverageSite"):
        return _Site(parents, [site.getWeight(k) for k in range(len(parents))])
    if kind == "OutOfPlaneSite":
        w12, w13 = site.getWeight12(), site.getWeight13()
        return _Site(parents, [1.0 - w12 - w13, w12, w13], across=site.getWeightCross())
    if kind == "LocalCoordinatesSite":
        local = tuple(float(v) for v in site.getLocalPosition().value_in_unit(u.nanometer))
        return _Site(parents, site.getOriginWeights(), site.getXWeights(), site.getYWeights(), local=local)
    raise UnsupportedForceError(f"Particle {index} is a {kind}, which the native torch terms do not place.")
