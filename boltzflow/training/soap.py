"""Adam in the eigenbasis of the gradients' covariance."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class SOAP(torch.optim.Optimizer):
    """Adam in the slowly rotating eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, arXiv 2409.11321).

    For each weight matrix W with gradient G, running means of GGᵀ and GᵀG are kept. Their eigenvectors rotate G into
    nearly independent coordinates, in which Adam takes its step. Dimensions larger than `largest` are not rotated; nor
    are vectors, for which this is Adam. The bases are updated by one step of orthogonal iteration every `refresh`
    steps.

    Args:
        params: parameters of at most two dimensions; others are treated as vectors.
        lr: the step size, as in Adam.
        betas: decay of the mean and of the mean square of gradients; the latter is also used for GGᵀ and GᵀG.
        eps: added to the root of the mean square.
        refresh: number of steps between two updates of the bases.
        largest: largest dimension of a matrix that gets a basis.

    >>> weight = torch.nn.Parameter(torch.ones(3, 2))
    >>> optimizer = SOAP([weight], lr=0.05)
    >>> for _ in range(200):
    ...     optimizer.zero_grad()
    ...     weight.square().sum().backward()
    ...     optimizer.step()
    >>> bool(weight.abs().max() < 0.05)
    True
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        refresh: int = 10,
        largest: int = 256,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "refresh": refresh, "largest": largest})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step along the present gradients; a closure is not evaluated."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    _step(parameter, parameter.grad, self.state[parameter], group)


def _step(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
    beta, beta_square = group["betas"]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32)
        state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        if parameter.dim() == 2:
            for side, length in enumerate(parameter.shape):
                if length <= group["largest"]:
                    state[f"covariance_{side}"] = _outer(gradient, side)
                    state[f"basis_{side}"] = torch.linalg.eigh(state[f"covariance_{side}"]).eigenvectors
            # In its own bases the first gradient is diagonal apart from rounding, which Adam would scale up.
            return
    state["step"] += 1
    count = int(state["step"])
    turned = _turned(gradient, state)
    state["mean"].lerp_(turned, 1.0 - beta)
    state["square"].lerp_(turned.square_(), 1.0 - beta_square)
    scale = (state["square"] / (1.0 - beta_square**count)).sqrt_().add_(group["eps"])
    update = _turned(state["mean"] / scale, state, back=True)
    parameter.add_(update, alpha=-group["lr"] / (1.0 - beta**count))
    for side in range(2):
        if f"basis_{side}" in state:
            covariance = state[f"covariance_{side}"].lerp_(_outer(gradient, side), 1.0 - beta_square)
            if count % group["refresh"] == 0:
                _turn(side, covariance, state)


def _outer(gradient: Tensor, side: int) -> Tensor:
    return gradient @ gradient.T if side == 0 else gradient.T @ gradient


def _turned(x: Tensor, state: dict[str, Tensor], back: bool = False) -> Tensor:
    """`x` in the bases of both sides, or back from them; always a copy."""
    left, right = state.get("basis_0"), state.get("basis_1")
    x = x.clone() if left is None else (left if back else left.T) @ x
    return x if right is None else x @ (right.T if back else right)


def _turn(side: int, covariance: Tensor, state: dict[str, Tensor]) -> None:
    """Orthogonal iteration, with columns in decreasing order of eigenvalues, as QR needs."""
    old = state[f"basis_{side}"]
    order = (old * (covariance @ old)).sum(0).argsort(descending=True)
    new = torch.linalg.qr(covariance @ old[:, order]).Q
    # The mean is transformed exactly; squares cannot be, and each stays with its direction.
    change = new.T @ old
    state["mean"] = change @ state["mean"] if side == 0 else state["mean"] @ change.T
    state["square"] = state["square"].index_select(side, order)
    state[f"basis_{side}"] = new
