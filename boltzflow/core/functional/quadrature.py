"""Quadrature rules."""

from __future__ import annotations

import torch
from torch import Tensor


def gauss_legendre(order: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights (order,) on [0, 1], float64, from the eigenvectors of the Jacobi matrix (Golub & Welsch 1969).

    >>> nodes, weights = gauss_legendre(3)
    >>> (weights * nodes**5).sum().round(decimals=10)
    tensor(0.1667, dtype=torch.float64)
    """
    k = torch.arange(1, order, dtype=torch.float64)
    beside = k / (4.0 * k.square() - 1.0).sqrt()
    nodes, vectors = torch.linalg.eigh(beside.diag(1) + beside.diag(-1))
    return (nodes + 1.0) / 2.0, vectors[0].square()
