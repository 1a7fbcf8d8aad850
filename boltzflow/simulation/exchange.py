"""Exchange of replicas between neighbouring temperatures, for many ladders."""

from __future__ import annotations

import torch
from torch import Tensor


def exchange(
    reduced: Tensor, inverse_temperatures: Tensor, first: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """One round of swaps between the temperatures (first, first + 1), (first + 2, first + 3), … of each ladder.

    A swap is accepted with probability min(1, exp[(βᵢ − βⱼ)(Uᵢ − Uⱼ)]) (Swendsen & Wang 1986, DOI
    10.1103/PhysRevLett.57.2607). Energies that are NaN never swap.

    Args:
        reduced: energies (T, L), in the inverse unit of β.
        inverse_temperatures: β, (T,).
        first: 0 or 1.
        generator: the random number generator.

    Returns:
        For each temperature and ladder, the index of the temperature from which its replica comes, (T, L); and whether
        each pair was swapped, (pairs, L).
    """
    n = reduced.shape[0]
    cold, hot = slice(first, n - 1, 2), slice(first + 1, n, 2)
    energy, beta = reduced.double(), inverse_temperatures.double()[:, None]
    log_ratio = (beta[cold] - beta[hot]) * (energy[cold] - energy[hot])
    uniform = torch.rand(log_ratio.shape, generator=generator, dtype=torch.float64, device=log_ratio.device)
    swapped = uniform.log() < log_ratio
    source = torch.arange(n, device=reduced.device)[:, None].repeat(1, reduced.shape[1])
    down, up = source[hot], source[cold]
    source[cold], source[hot] = torch.where(swapped, down, up), torch.where(swapped, up, down)
    return source, swapped


def turned(heading: Tensor) -> tuple[Tensor, Tensor]:
    """Tracks round trips from the coldest temperature to the hottest and back.

    heading: (T, L), 1 if a replica was last at the cold end, −1 if it has been at the hot end since, 0 if it has been
    at neither. Returns the updated headings, and the number of round trips that have just ended, (L,).
    """
    ended = heading[0] == -1
    hot_end = torch.where(heading[-1] == 1, -1, heading[-1])
    return torch.cat([torch.ones_like(heading[:1]), heading[1:-1], hot_end[None]]), ended.long()
