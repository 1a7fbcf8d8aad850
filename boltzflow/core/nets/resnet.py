"""Residual nets (He et al. 2016, arXiv 1603.05027: pre-activation blocks)."""

from __future__ import annotations

from torch import Tensor, nn


class ResidualNet(nn.Module):
    """A linear layer, then blocks h + W₂ a(W₁ a(h)), then an activation and optionally a last linear layer.

    A gated block adds u · σ(v) with (u, v) = W₂ a(W₁ a(h)) (Dauphin et al. 2017, arXiv 1612.08083).

    The second layer of each block is initially near zero, so that a deep net is initially close to a shallow one.

    Args:
        in_features: size of the input.
        width: size of every hidden layer.
        blocks: number of residual blocks.
        out_features: size of the output; None makes the last activation the output.
        activation: class of the activation.
        gated: whether blocks are gated.
        dropout: fraction of the hidden units of each block that are dropped in training.

    Shapes:
        x (batch, in_features) → (batch, out_features or width).

    >>> ResidualNet(3, 16, blocks=2, out_features=2)
    ResidualNet(3 → 16 ×2 blocks → 2)
    """

    def __init__(
        self,
        in_features: int,
        width: int,
        blocks: int = 2,
        out_features: int | None = None,
        activation: type[nn.Module] = nn.SiLU,
        gated: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.first = nn.Linear(in_features, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                activation(),
                nn.Linear(width, width),
                activation(),
                *([nn.Dropout(dropout)] if dropout else []),
                nn.Linear(width, 2 * width if gated else width),
                *([nn.GLU()] if gated else []),
            )
            for _ in range(blocks)
        )
        for block in self.blocks:
            last = block[-2] if gated else block[-1]  # type: ignore[index]
            nn.init.uniform_(last.weight, -1e-3, 1e-3)
            nn.init.zeros_(last.bias)
        self.activation = activation()
        self.last = nn.Identity() if out_features is None else nn.Linear(width, out_features)
        self.out_features = width if out_features is None else out_features

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h)
        out: Tensor = self.last(self.activation(h))
        return out

    def __repr__(self) -> str:
        width = self.first.out_features
        tail = "" if isinstance(self.last, nn.Identity) else f" → {self.out_features}"
        return f"ResidualNet({self.first.in_features} → {width} ×{len(self.blocks)} blocks{tail})"
