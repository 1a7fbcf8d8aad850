"""Masked nets whose outputs depend only on earlier inputs (Germain et al. 2015, arXiv 1502.03509: MADE)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from boltzflow.core.functional import linear_rows
from boltzflow.core.nets.context import checked_context
from boltzflow.errors import OptionError


class MaskedLinear(nn.Linear):
    """A linear layer in which output j depends on input i only where the mask is true.

    Args:
        mask: (out_features, in_features) bool.

    Shapes:
        x (batch, in_features) → (batch, out_features).
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    @property
    def masked_weight(self) -> Tensor:
        """The weight, zero where the mask is false."""
        return self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.masked_weight, self.bias)


class MADE(nn.Module):
    """A net whose outputs of degree k depend on the inputs of degree < k, and on the context.

    Hidden units have degrees too, spread evenly and in ascending order, so that outputs can also be computed
    degree by degree at the total cost of one pass (`steps`).

    Args:
        input_degrees: the degree of each input, 0 … K − 1.
        output_degrees: the degree of each output, 0 … K − 1.
        hidden: sizes of the hidden layers.
        residual: whether each pair of hidden layers after the first is a residual block, h + W₂ a(W₁ a(h)).
            Then all sizes must be equal and their number odd.
        dropout: fraction of the hidden units that are dropped in training.
        activation: class of the activation.
        context_size: size of the context, on which every hidden unit may depend; 0 for none.

    Raises:
        OptionError: if the sizes are invalid for a residual net.

    Shapes:
        x (batch, inputs), context (batch, C) → (batch, outputs). The last layer is initially zero.

    >>> net = MADE([0, 1, 2], [0, 1, 2], hidden=(8, 8))
    >>> net(torch.ones(4, 3)).shape
    torch.Size([4, 3])
    """

    def __init__(
        self,
        input_degrees: Sequence[int],
        output_degrees: Sequence[int],
        hidden: Sequence[int],
        *,
        residual: bool = False,
        dropout: float = 0.0,
        activation: type[nn.Module] = nn.SiLU,
        context_size: int = 0,
    ) -> None:
        super().__init__()
        if not hidden or (residual and (len(set(hidden)) > 1 or len(hidden) % 2 == 0)):
            raise OptionError(
                f"MADE: expected hidden sizes (an odd number of equal ones for a residual net); got {hidden}."
            )
        self.residual = residual
        self.context_size = context_size
        inputs, outputs = torch.as_tensor(input_degrees), torch.as_tensor(output_degrees)
        self.degrees = int(max(inputs.max(), outputs.max())) + 1
        # A hidden unit of degree k depends on inputs of degree < k; one of degree 0 only on the context.
        lowest = 0 if context_size or self.degrees == 1 else 1
        units = [_spread(lowest, self.degrees, size) for size in hidden]
        self.first = MaskedLinear(units[0][:, None] > inputs)
        self.further = nn.ModuleList(MaskedLinear(b[:, None] >= a) for a, b in pairwise(units))
        self.head = MaskedLinear(outputs[:, None] >= units[-1])
        self.context = nn.Linear(context_size, hidden[0], bias=False) if context_size else None
        self.activation = activation()
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if residual:
            for block in self.further[1::2]:
                nn.init.uniform_(block.weight, -1e-3, 1e-3)  # type: ignore[arg-type]
                nn.init.zeros_(block.bias)  # type: ignore[arg-type]
        self._inputs = [(inputs == k).nonzero().squeeze(1).tolist() for k in range(self.degrees)]
        self._outputs = [(outputs == k).nonzero().squeeze(1).tolist() for k in range(self.degrees)]
        self._units = [[int((u <= k).sum()) for k in range(-1, self.degrees)] for u in units]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.rows(x, context).T

    def rows(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The outputs with the batch last: (outputs, batch)."""
        h = self.first(x)
        if self.context is not None:
            h = h + self.context(checked_context(context, x.shape[0], self.context_size, "MADE"))
        if self.residual:
            for one, two in zip(self.further[::2], self.further[1::2], strict=True):
                h = h + two(self.dropout(self.activation(one(self.activation(h)))))
        else:
            for layer in self.further:
                h = layer(self.dropout(self.activation(h)))
        return linear_rows(self.activation(h), self.head.masked_weight, self.head.bias)

    @property
    def hidden_layers(self) -> list[MaskedLinear]:
        """The layers before the last, in their order."""
        return [self.first, *cast(list[MaskedLinear], self.further)]

    def steps(self, batch: int, context: Tensor | None = None) -> Steps:
        """The net evaluated degree by degree."""
        return Steps(self, batch, context)

    def __repr__(self) -> str:
        sizes = [self.first.in_features, self.first.out_features, *(layer.out_features for layer in self.further)]
        kind = ", residual" if self.residual else ""
        return f"MADE({' → '.join(map(str, [*sizes, self.head.out_features]))}, {self.degrees} degrees{kind})"


class Steps:
    """One pass through a `MADE`, degree by degree; each unit is computed once, as soon as its inputs are known.

    The batch comes last. Call `outputs` for degrees 0, 1, … in turn, and `feed` the inputs of each degree before the
    outputs of the next.
    """

    def __init__(self, net: MADE, batch: int, context: Tensor | None) -> None:
        self.net = net
        self.degree = 0
        order = [i for members in net._inputs for i in members]
        rows = [i for members in net._outputs for i in members]
        self._weights = [layer.masked_weight for layer in net.hidden_layers]
        self._weights[0] = self._weights[0][:, order]
        self._head = net.head.masked_weight[rows], net.head.bias[rows]
        self._row = 0
        self._seen: list[list[Tensor]] = [[net.head.weight.new_zeros(0, batch)] for _ in range(len(net.further) + 2)]
        self._context = None
        if net.context is not None:
            checked = checked_context(context, batch, net.context_size, "MADE")
            self._context = net.context.weight @ checked.T

    def feed(self, inputs: Tensor) -> None:
        """Add the inputs of the current degree (n, batch), in their order."""
        self._seen[0].append(inputs)
        self.degree += 1

    def outputs(self) -> Tensor:
        """The outputs of the current degree (m, batch), in their order."""
        net, k = self.net, self.degree
        residual: Tensor | None = None
        layers = net.hidden_layers
        for number, layer in enumerate(layers):
            start, stop = net._units[number][k], net._units[number][k + 1]
            if start == stop:
                continue
            h = self._linear(number, self._weights[number][start:stop], layer.bias[start:stop])
            if number == 0 and self._context is not None:
                h = h + self._context[start:stop]
            if net.residual:
                if number % 2 == 0:
                    h = residual = h if residual is None else residual + h
                    h = net.activation(h)
                else:
                    h = net.dropout(net.activation(h))
            else:
                h = net.activation(h)
                h = h if number == len(layers) - 1 else net.dropout(h)
            self._seen[number + 1].append(h)
        count = len(net._outputs[k])
        weight, bias = (part[self._row : self._row + count] for part in self._head)
        self._row += count
        return self._linear(len(layers), weight, bias)

    def _linear(self, number: int, weight: Tensor, bias: Tensor) -> Tensor:
        """The values of some units of a layer from all inputs that they depend on: the first columns of the weights."""
        if len(self._seen[number]) > 1:
            self._seen[number] = [torch.cat(self._seen[number])]
        x = self._seen[number][0]
        return torch.addmm(bias[:, None], weight[:, : x.shape[0]], x)


def _spread(low: int, high: int, size: int) -> Tensor:
    """Degrees low … high − 1 in ascending order, each about equally often: (size,)."""
    return low + torch.arange(size) * (high - low) // size
