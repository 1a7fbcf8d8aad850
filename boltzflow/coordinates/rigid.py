"""The difference between the distributions of constrained dynamics and of fixed coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def rigid_dynamics_log_factor(
    positions: Tensor, constraints: Sequence[tuple[int, int, float]], masses: Sequence[float]
) -> Tensor:
    """½ log det Z of constrained distances: the log-ratio of the densities of constrained dynamics and fixed values.

    Fixed coordinates have the density e^{−u} δ(b − b₀) dx, the limit of stiff springs. Constrained dynamics (SHAKE,
    CCMA) also fixes the velocities along the constraints. It samples this density times √det Z, with
    Z_st = Σ_k (∂b_s/∂x_k)·(∂b_t/∂x_k) / m_k (M. Fixman, Proc. Natl. Acad. Sci. 71, 3050 (1974),
    doi 10.1073/pnas.71.8.3050). Add or subtract this term to convert log-weights from one density to the other.

    Args:
        positions: (batch, N, 3), nm.
        constraints: (i, j, distance in nm).
        masses: one for each atom, dalton; an atom of mass 0 does not move.

    Returns:
        (batch,), in nats; zero without constraints.

    >>> x = torch.tensor([[[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.0, 0.1, 0.0]]])
    >>> rigid_dynamics_log_factor(x, [(0, 1, 0.1), (0, 2, 0.1)], [1.0, 1.0, 1.0])  # a right angle: Z = 2
    tensor([0.6931])
    """
    if not constraints:
        return positions.new_zeros(len(positions))
    i, j = [c[0] for c in constraints], [c[1] for c in constraints]
    inverse = positions.new_tensor([1 / m if m else 0.0 for m in masses])
    directions = torch.nn.functional.normalize(positions[:, i] - positions[:, j], dim=-1)
    # The incidence matrix of constraints and atoms: +1 for the first atom, −1 for the second.
    signs = positions.new_zeros(len(constraints), positions.shape[1])
    rows = torch.arange(len(constraints), device=positions.device)
    signs[rows, i] = 1.0
    signs[rows, j] = -1.0
    coupling = (signs * inverse) @ signs.T
    logarithm: Tensor = torch.linalg.slogdet(coupling * (directions @ directions.transpose(1, 2)))[1]
    return 0.5 * logarithm
