"""Free-energy differences by a map between two generators (targeted free-energy perturbation)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boltzflow.analysis.free_energies.differences import FreeEnergyDifferences, mbar
from boltzflow.analysis.weighting.states import Frames, check_drawn, samples_of
from boltzflow.arrays import Array
from boltzflow.core.distributions import cumulative, has_quantiles, quantile
from boltzflow.energies.potential import energies_of_frames, in_parts
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DomainError, InsufficientDataError, UnsupportedCombinationError
from boltzflow.generator import BoltzmannGenerator
from boltzflow.units import thermal_energy


class Mapped(NamedTuple):
    """Frames of one target, mapped to the other.

    Attributes:
        positions: (n, N, 3) in nm; meaningless for a frame outside the first generator's domain.
        log_q: (n,) log-density of the frames under the first generator, −inf outside its domain.
        log_q_images: (n,) log-density of the images under the second generator.
    """

    positions: NDArray[np.float32]
    log_q: Array
    log_q_images: Array

    @property
    def log_jacobian(self) -> Array:
        """log|det ∂y/∂x| (n,), Cartesian measure with rigid motion integrated out; −inf if there is no image."""
        return np.where(np.isneginf(self.log_q), -np.inf, self.log_q - self.log_q_images)


class LatentMap:
    """x → z → y: through the first generator's flow to latent space, and through the second generator's flow to y.

    If the bases differ, each latent coordinate is mapped to the value of equal cumulative probability, given the
    coordinates before it. The map therefore transforms the first generator's density exactly to the second's, and
    log|det ∂y/∂x| = log q₁(x) − log q₂(y).

    Args:
        first, second: generators with the same layout of coordinates, such as those of one molecule in two force fields
            or at two temperatures; made with `start="bonded"` or "sampled", or with identical bases; without stochastic
            layers.

    Raises:
        DomainError, UnsupportedCombinationError: if their latent coordinates do not correspond.
    """

    def __init__(self, first: BoltzmannGenerator, second: BoltzmannGenerator) -> None:
        bases = [generator.flow.base for generator in (first, second)]
        kinds = [[(c.kind, c.name) for c in base.domain] for base in bases]
        if kinds[0] != kinds[1]:
            raise DomainError(
                f"Expected generators with the same layout of coordinates; got {len(kinds[0])} and {len(kinds[1])} "
                "coordinates, which differ in number, order, kinds or names."
            )
        if any(generator.flow.transform.stochastic_layers for generator in (first, second)):
            raise UnsupportedCombinationError("Expected generators without stochastic layers, which are not maps.")
        if not (all(has_quantiles(base) for base in bases) or _same(*bases)):
            raise UnsupportedCombinationError(
                "Expected tabulated bases (start='bonded' or 'sampled') or identical bases; got neither."
            )
        self.first, self.second = first, second

    @torch.no_grad()
    def __call__(self, positions: NDArray[Any]) -> Mapped:
        """Map frames (n, N, 3) in nm from the first generator to the second."""
        parts = [self._carry(x) for x in in_parts(positions, self.first.like)]
        images, log_q, log_q_images = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
        return Mapped(images.float().numpy(), log_q.double().numpy(), log_q_images.double().numpy())

    def _carry(self, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first, second = self.first, self.second
        kelvins = [positions.new_full((len(positions),), g.temperature) for g in (first, second)]
        internals, inward = first.coordinates.inverse(positions)
        inside = first.flow.domain.contains(internals)
        internals = torch.where(inside[:, None], first.flow.domain.wrap(internals), first.flow.domain.middle(internals))
        z, log_ratio = first.flow.transform.inverse(internals, first.context(kelvins[0]))
        base, other = first.flow.base, second.flow.base
        log_q = base.log_prob(z) + log_ratio + inward
        if has_quantiles(base) and has_quantiles(other):
            z = quantile(other, cumulative(base, z))
        out, log_ratio = second.flow.transform(z, second.context(kelvins[1]))
        images, outward = second.coordinates(out)
        return images, torch.where(inside, log_q, -torch.inf), other.log_prob(z) - log_ratio - outward


def targeted_differences(
    first: BoltzmannGenerator,
    second: BoltzmannGenerator,
    *,
    samples: Ensemble | None = None,
    first_frames: Frames | None = None,
    second_frames: Frames | None = None,
    names: tuple[str, str] = ("first", "second"),
) -> FreeEnergyDifferences:
    """The free-energy difference between the targets of two generators, by targeted free-energy perturbation.

    The flows map both targets to one latent space, where they nearly coincide even if they do not overlap in
    configuration space. MBAR combines latent samples with mapped frames of either target (Jarzynski 2002, DOI
    10.1103/PhysRevE.65.046122; Hahn & Then 2009, DOI 10.1103/PhysRevE.79.011113; with flows: Wirnsberger et al. 2020,
    arXiv 2002.04913).

    Args:
        first, second: see `LatentMap`; their potentials and temperatures define the targets.
        samples: samples of the first generator, which are also mapped to the second.
        first_frames, second_frames: independent, equally weighted equilibrium frames of the targets.
        names: of the targets.

    Returns:
        The differences between both targets and, if samples are given, the normalised latent density named "latent".

    Raises:
        DomainError, UnsupportedCombinationError: if coordinates do not correspond.
        InsufficientDataError: if neither samples nor frames are given.
        DataError: if samples are not from the first generator, frames are weighted or at another temperature, or
            samples or frames are in groups.
        NonFiniteError: if a frame has infinite energy.
    """
    there, back = LatentMap(first, second), LatentMap(second, first)
    columns: list[Array] = []
    counts = [0, 0, 0]
    given = (("latent", samples, None), (names[0], first_frames, first.temperature))
    for place, (name, frames, kelvin) in enumerate((*given, (names[1], second_frames, second.temperature))):
        if frames is None:
            continue
        positions = samples_of(name, frames, kelvin)
        here, other, carry = (second, first, back) if place == 2 else (first, second, there)
        found = carry(positions)
        log_q = found.log_q
        if place == 0 and isinstance(frames, Ensemble) and frames.log_q is not None:
            check_drawn(name, frames.log_q, log_q)
            log_q = frames.log_q
        # In the measure of the latent space. A frame outside its generator's domain has no image and counts for its own
        # target alone; a sample without a finite weight counts for the latent density alone.
        mapped = np.isfinite(log_q) & np.isfinite(found.log_q_images)
        energy, image = _reduced(here, positions), _reduced(other, found.positions)
        outside = energy if place else np.full(len(positions), np.inf)
        own = np.where(mapped, energy + log_q, outside)
        pulled = np.where(mapped, image + found.log_q_images, np.inf)
        latent = np.where(mapped | (place == 0), 0.0, np.inf)
        columns.append(np.stack([latent, pulled, own] if place == 2 else [latent, own, pulled]))
        counts[place] = len(positions)
    if not columns:
        raise InsufficientDataError("Expected samples or frames of at least one target; got none.")
    # Frames alone cannot reveal where else the flows place probability, so the latent density is left out.
    kept = slice(0 if counts[0] else 1, 3)
    return mbar(
        np.concatenate(columns, 1)[kept],
        counts[kept],
        names=["latent", *names][kept],
        temperatures=[first.temperature, first.temperature, second.temperature][kept],
        normalised=[0] if counts[0] else [],
        ordered=[k for k, n in enumerate(counts[kept]) if n and (k or not counts[0])],
    )


def _reduced(generator: BoltzmannGenerator, positions: NDArray[Any]) -> Array:
    energies = energies_of_frames(generator.potential, positions, like=generator.like)
    return energies / thermal_energy(generator.temperature)


def _same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return (
        type(first) is type(second)
        and list(ours) == list(theirs)
        and all(torch.equal(a, b) for a, b in zip(ours.values(), theirs.values(), strict=True))
    )
