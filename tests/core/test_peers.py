"""The same numbers as other packages where their formulas are the same, with their parameters copied from ours.

Each test runs where the other package is installed: ``pip install -e ".[peers]"``.
"""

import copy

import pytest
import torch
from torch import Tensor, nn

from boltzflow.core import Domain, layers, nets, transformers
from boltzflow.core.functional import alternating_mask
from boltzflow.core.functional.rational_quadratic import _UNIT_SLOPE
from boltzflow.testing import randomize_parameters

SIZE, BINS, BOUND, HIDDEN = 6, 5, 3.0, 20


def close(got: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other.view(one.shape), rtol=1e-6, atol=1e-6)


def spline_coupling() -> layers.SplineCoupling:
    layer = layers.SplineCoupling(
        Domain.real(SIZE), alternating_mask(SIZE), bins=BINS, bound=BOUND, conditioner=lambda n: nets.MLP(n, (HIDDEN,))
    )
    randomize_parameters(layer, scale=0.7)
    return layer.double()


class CopiedNet(nn.Module):
    """The net of our coupling with the other's inputs and order of outputs: for each coordinate its parameters."""

    hidden_features = 1  # they divide the logits by its root

    def __init__(self, layer: layers.SplineCoupling) -> None:
        super().__init__()
        self.layer = copy.deepcopy(layer)

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        x = kept.new_zeros(len(kept), SIZE)
        x[:, ~alternating_mask(SIZE)] = kept
        head = self.layer.head
        raw = head(self.layer.trunk(self.layer.features(x))).view(len(kept), -1, self.layer.moved)
        widths, heights, slopes = raw.split([BINS, BINS, BINS + 1], 1)
        # Theirs have no slopes at the ends, where both packages ask for 1, and no shift that makes zeros a slope of 1.
        return torch.cat([widths, heights, slopes[:, 1:-1] + _UNIT_SLOPE], 1).transpose(1, 2).flatten(1)


POINTS = 2.5 * torch.randn(200, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("package", ["normflows", "nflows"])
def test_spline_coupling(package: str) -> None:
    pytest.importorskip(package)
    if package == "normflows":
        from normflows.flows.neural_spline.coupling import PiecewiseRationalQuadraticCoupling as Theirs
    else:
        from nflows.transforms import PiecewiseRationalQuadraticCouplingTransform as Theirs
    ours = spline_coupling()
    theirs = Theirs(
        alternating_mask(SIZE).double(), lambda *_: CopiedNet(ours), num_bins=BINS, tails="linear", tail_bound=BOUND
    ).double()
    assert (POINTS.abs() > BOUND).any()
    close(ours(POINTS), theirs(POINTS))
    close(ours.inverse(POINTS), theirs.inverse(POINTS))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_masked_affine_autoregressive() -> None:
    pytest.importorskip("normflows")
    from normflows.flows.affine.autoregressive import MaskedAffineAutoregressive

    torch.manual_seed(0)
    theirs = MaskedAffineAutoregressive(SIZE, HIDDEN, num_blocks=1, use_residual_blocks=False).double()
    randomize_parameters(theirs, scale=0.7)
    ours = layers.Autoregressive(
        transformers.Affine(Domain.real(SIZE), "sigmoid"), hidden=(HIDDEN,), activation=nn.ReLU
    ).double()
    made = theirs.autoregressive_net
    first, second, last = made.initial_layer, made.blocks[0].linear, made.final_layer
    # They have no activation after the first layer, so that it and the second are one; units are in another order.
    order = second.degrees.argsort(stable=True)
    with torch.no_grad():
        weight = second.weight * second.mask
        ours.net.first.weight.copy_((weight @ (first.weight * first.mask))[order])
        ours.net.first.bias.copy_((weight @ first.bias + second.bias)[order])
        assert torch.equal((second.degrees[order][:, None] >= torch.arange(1, SIZE + 1)).cpu(), ours.net.first.mask)
        rows = torch.arange(2 * SIZE).view(SIZE, 2).flip(1).T.flatten()  # theirs: scale, shift for each coordinate
        ours.net.head.weight.copy_((last.weight * last.mask)[rows][:, order])
        ours.net.head.bias.copy_(last.bias[rows])
    points = 0.5 * POINTS
    close(ours.inverse(points), theirs(points))
    close(ours(points), theirs.inverse(points))
