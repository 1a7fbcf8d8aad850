"""A scale and a shift that are initialised by the first batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boltzflow.core.functional import shared_moments
from boltzflow.core.nets.context import ContextParameter


class DataNormalizer(nn.Module):
    """(x − shift)/scale; the first batch in training mode sets both, so that its output is normalised.

    Kingma & Dhariwal 2018, arXiv 1807.03039 ("actnorm"). Afterwards, shift and log scale are learned like other
    parameters. Until a batch has set them, also in evaluation mode, the map is the identity. A batch with fewer than
    two values for each number is ignored; in data-parallel training the batches of all processes are combined. The
    state dict records whether the normaliser was initialised.

    Args:
        shape: of shift and scale; axes of length 1 are shared: (C, 1, 1) for one number per channel.
        context_size: size of the context on which both depend linearly; 0 for none.

    Shapes:
        x (batch, *event) → (batch, *event), where `shape` broadcasts to the event.

    >>> normalizer = DataNormalizer((2,))
    >>> z = normalizer(torch.tensor([[1.0, 5.0], [3.0, 9.0]]))
    >>> z.tolist(), normalizer.initialized
    ([[-1.0, -1.0], [1.0, 1.0]], True)
    """

    def __init__(self, shape: tuple[int, ...], context_size: int = 0) -> None:
        super().__init__()
        self.log_scale = ContextParameter(torch.zeros(shape), context_size)
        self.shift = ContextParameter(torch.zeros(shape), context_size)
        self.initialized = False

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.see(x)
        out: Tensor = (x - self.shift(context)) * (-self.log_scale(context)).exp()
        return out

    def see(self, x: Tensor, *, undo: bool = False) -> None:
        """Initialise scale and shift from x if it is the first batch in training mode.

        Args:
            x: (batch, *event).
            undo: whether to normalise the output of the inverse, z·scale + shift, with x as z.
        """
        if self.initialized or not self.training:
            return
        with torch.no_grad():
            shape = self.shift.value.shape
            shared = [0, *(i + 1 for i, n in enumerate(shape) if n == 1 and x.shape[i + 1] != 1)]
            mean, deviation, count = shared_moments(x, shared)
            if count < 2:  # the spread cannot be estimated
                return
            self.initialized = True
            # A coordinate that is constant up to rounding keeps its scale.
            deviation = torch.where(deviation > torch.finfo(x.dtype).eps * mean.abs(), deviation, 1.0)
            if undo:
                mean, deviation = -mean / deviation, 1.0 / deviation
            self.shift.value.copy_(mean.view(shape))
            self.log_scale.value.copy_(deviation.log().view(shape))

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.initialized)

    def set_extra_state(self, state: Tensor) -> None:
        self.initialized = bool(state)
