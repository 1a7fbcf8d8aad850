"""Fully connected nets: the conditioner networks of couplings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with an activation after each hidden one.

    Args:
        in_features: size of the input.
        hidden: sizes of the hidden layers.
        out_features: size of the output; None makes the last activation the output, for a net whose
            user adds the last linear layer.
        activation: class of the activation.
        dropout: fraction of the hidden units that are dropped in training.

    Shapes:
        x (batch, in_features) → (batch, out_features or hidden[-1]).

    >>> MLP(3, (16, 16), 2)
    MLP(3 → 16 → 16 → 2)
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_features: int | None = None,
        activation: type[nn.Module] = nn.SiLU,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = [in_features, *hidden]
        steps: list[nn.Module] = []
        for before, after in pairwise(sizes):
            steps += [nn.Linear(before, after), activation()]
            if dropout:
                steps.append(nn.Dropout(dropout))
        if out_features is not None:
            steps.append(nn.Linear(sizes[-1], out_features))
            sizes.append(out_features)
        self.sizes = tuple(sizes)
        self.out_features = sizes[-1]
        self.steps = nn.Sequential(*steps)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.steps(x)
        return out

    def __repr__(self) -> str:
        return f"MLP({' → '.join(map(str, self.sizes))})"
