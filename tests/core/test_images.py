"""Flows of images: squeezing, couplings, levels, temperature."""

import math

import pytest
import torch

from boltzflow.core import Domain, Inverse, MultiscaleFlow, distributions, layers, nets, objectives, recipes
from boltzflow.errors import DomainError, OptionError, ShapeError
from boltzflow.testing import random_states, randomize_parameters

IMAGE = Domain.real((4, 4, 4))
LABELS = torch.eye(3)


def small_net(inputs, outputs):
    return nets.ConvNet(inputs, (8, 8), outputs)


def small_glow(**options):
    return disturb(recipes.glow(Domain.real((1, 8, 8)), levels=2, blocks=2, net=small_net, **options))


def disturb(flow):
    """A double-precision flow in evaluation mode whose couplings do something: their nets start at zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return flow.eval().double()


def test_a_squeeze_makes_each_square_of_pixels_the_channels_of_one():
    layer = layers.Squeeze(Domain.real((1, 4, 4)))
    x = torch.arange(16.0).view(1, 1, 4, 4)
    z, _ = layer.inverse(x)
    assert z[0, :, 0, 1].tolist() == [2.0, 3.0, 6.0, 7.0]
    with pytest.raises(DomainError, match="H and W multiples of 3"):
        layers.Squeeze(Domain.real((1, 4, 6)), factor=3)


@pytest.mark.parametrize("split", ["channel", "checkerboard"])
def test_a_coupling_and_its_flip_move_complementary_halves(split):
    moved = []
    for flip in (False, True):
        layer = layers.ImageCoupling(IMAGE, split=split, flip=flip, net=small_net)
        z = random_states(IMAGE, 3, dtype=torch.float32)
        assert torch.equal(layer(z)[0], z), "a coupling starts as the identity"
        randomize_parameters(layer, scale=0.1)
        moved.append((layer(z)[0] != z).all(0))
    assert torch.equal(moved[0], ~moved[1])
    assert moved[0].sum() == 32
    first = moved[0][:, 0, 0] if split == "channel" else moved[0][0, 0]
    assert first.tolist() == ([True, True, False, False] if split == "channel" else [True, False, True, False])


def test_an_odd_number_of_channels_is_split_too():
    domain = Domain.real((3, 2, 2))
    for flip, count in ((False, 4), (True, 8)):
        layer = layers.ImageCoupling(domain, flip=flip, net=small_net)
        randomize_parameters(layer)
        z = random_states(domain, 2, dtype=torch.float32)
        assert (layer(z)[0] != z)[0].sum() == count


def test_the_context_reaches_the_net_of_a_coupling():
    layer = layers.ImageCoupling(IMAGE, net=small_net, context_size=3)
    randomize_parameters(layer)
    z = random_states(IMAGE, 1, dtype=torch.float32).expand(3, -1, -1, -1)
    x, _ = layer(z, LABELS)
    assert (x[0] - x[1]).abs().max() > 1e-3
    with pytest.raises(OptionError, match="ImageCoupling: expected a context of size 3; got none"):
        layer(z)
    with pytest.raises(ShapeError, match=r"expected a context of shape \(3, 3\); got \(3, 2\)"):
        layer(z, LABELS[:, :2])


def test_a_net_that_sees_positions_tells_equal_pixels_apart():
    even = torch.ones(1, 2, 5, 7)
    for positions in (False, True):
        net = nets.ConvNet(2, (8,), 1, kernels=(1, 1), positions=positions)
        randomize_parameters(net)
        assert (net(even).flatten().unique().numel() > 1) == positions


def test_dropout_of_a_net_acts_in_training_only():
    net = nets.ConvNet(1, (16,), 1, kernels=(1, 1), dropout=0.5)
    randomize_parameters(net)
    x = torch.ones(1, 1, 3, 3)
    assert (net(x) != net(x)).any()
    net.eval()
    assert torch.equal(net(x), net(x))


def test_wrong_images_and_options_are_refused():
    with pytest.raises(DomainError, match=r"ImageCoupling: expected a real domain of shape \(C, H, W\)"):
        layers.ImageCoupling(Domain.real(4))
    with pytest.raises(OptionError, match="at least 2 channels"):
        layers.ImageCoupling(Domain.real((1, 4, 4)))
    with pytest.raises(OptionError, match="'channel' or 'checkerboard'; got 'rows'"):
        layers.ImageCoupling(IMAGE, split="rows")
    with pytest.raises(OptionError, match=r"expected 2 odd kernels; got \(3, 2\)"):
        nets.ConvNet(1, (4,), 1, kernels=(3, 2))
    with pytest.raises(OptionError, match="odd kernel; got 2"):
        nets.ConvResidualNet(1, 4, 1, 1, kernel=2)
    with pytest.raises(OptionError, match="at least one level and one step; got 0 and 2"):
        recipes.glow(IMAGE, levels=0, blocks=2)
    with pytest.raises(DomainError, match="Reshape: expected domains of equal size"):
        layers.Reshape(Domain.real(5), IMAGE)


def test_levels_that_do_not_fit_are_refused():
    shallow = layers.Squeeze(Domain.real((1, 8, 8)))
    with pytest.raises(DomainError, match="the input of level 1 to have more channels"):
        layers.Multiscale([layers.Squeeze(Domain.real((4, 4, 4))), shallow])
    with pytest.raises(DomainError, match="the same pixels"):
        layers.Multiscale([layers.Squeeze(Domain.real((2, 8, 8))), shallow])
    to_line = Inverse(layers.ToInterval(Domain.interval(0.0, 1.0, 4)))
    with pytest.raises(DomainError, match="expected real coordinates; got interval"):
        layers.Multiscale([layers.ElementwiseAffine(Domain.real(2)), to_line])
    bases = [distributions.DiagonalNormal(Domain.real(shape)) for shape in ((8, 2, 2), (4, 4, 4))]
    with pytest.raises(DomainError, match=r"expected bases on .*real\(2, 4, 4\).*; got .*real\(4, 4, 4\)"):
        MultiscaleFlow(bases, [layers.Squeeze(Domain.real((2, 4, 4))), shallow])


def test_levels_by_hand_give_the_same_density():
    """Two levels unrolled: what leaves meets its own base, the rest goes deeper."""
    flow = small_glow()
    deep, shallow = flow.transform.levels
    deep_base, shallow_base = flow.base.bases
    x = random_states(flow.domain, 7)
    h, first = shallow.inverse(x)
    z, second = deep.inverse(h[:, :2])
    by_hand = deep_base.log_prob(z) + shallow_base.log_prob(h[:, 2:]) + first + second
    assert torch.allclose(flow.log_prob(x), by_hand)


def test_samples_carry_their_density_at_each_temperature():
    flow = small_glow(context_size=3, front=[layers.Logit(Domain.real((1, 8, 8)))])
    context = LABELS.double()
    x, log_q = flow.sample(3, context, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(flow.log_prob(x, context), log_q)
    cool, log_cool = flow.sample(3, context, temperature=0.7, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(flow.tempered(0.7).log_prob(cool, context), log_cool)
    assert not torch.allclose(flow.log_prob(cool, context), log_cool)
    z, _ = flow.transform.inverse(x, context)
    z_cool, _ = flow.transform.inverse(cool, context)
    mean = torch.cat([base.moments(context)[0].expand(3, *base.domain.shape).flatten(1) for base in flow.base.bases], 1)
    assert torch.allclose(z_cool - mean, 0.7 * (z - mean), atol=1e-8)


def test_a_tempered_flow_shares_its_parameters_and_bad_temperatures_are_refused():
    flow = small_glow()
    cool = flow.tempered(0.5)
    assert {p.data_ptr() for p in cool.parameters()} == {p.data_ptr() for p in flow.parameters()}
    with pytest.raises(OptionError, match="positive temperature; got 0"):
        flow.sample(1, temperature=0.0)
    other = MultiscaleFlow(
        [distributions.Independent(Domain.real(4))], [layers.Reshape(Domain.real(4), Domain.real((1, 2, 2)))]
    )
    with pytest.raises(OptionError, match="normal bases, which have a temperature; got Independent"):
        other.sample(1, temperature=0.5)


def test_a_multiscale_density_integrates_to_one():
    """Importance sampling of ∫ q = 1 from wide normals in 8 dimensions: z-score of 50 000 samples."""
    domain = Domain.real((2, 2, 2))
    levels = [layers.Squeeze(Domain.real((1, 2, 2))), layers.glow_block(domain, net=small_net)]
    bases = [distributions.GlowNormal(Domain.real(shape)) for shape in ((4, 1, 1), (1, 2, 2))]
    flow = disturb(MultiscaleFlow(bases, levels))
    wide = distributions.DiagonalNormal(domain, scale=torch.tensor(1.5)).double()
    x, log_wide = wide.sample(50_000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        weights = (flow.log_prob(x) - log_wide).exp()
    error = weights.std() / len(weights) ** 0.5
    assert error < 0.02
    assert ((weights.mean() - 1.0) / error).abs() < 4.5


def test_maximum_likelihood_learns_two_classes_of_images():
    """Bright and dark stripes: each class's images become likelier under its own label than under the other."""
    generator = torch.Generator().manual_seed(0)
    domain = Domain.real((1, 4, 4))
    stripes = torch.tensor([1.0, -1.0]).repeat(8).view(1, 4, 4)
    labels = torch.arange(128) % 2
    x = stripes * (1.0 - 2.0 * labels.view(-1, 1, 1, 1)) + 0.3 * torch.randn(128, 1, 4, 4, generator=generator)
    context = torch.eye(2)[labels]
    flow = recipes.glow(domain, levels=2, blocks=1, net=small_net, context_size=2)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    first = objectives.forward_kl(flow, x, context=context).value.item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = objectives.forward_kl(flow, x, context=context).value
        loss.backward()
        optimizer.step()
    flow.eval()
    gap = flow.log_prob(x, context) - flow.log_prob(x, context.flip(1))
    assert (gap > 0.0).all()
    entropy = 16 * (0.5 + 0.5 * math.log(2.0 * math.pi) + math.log(0.3))
    assert first > entropy + 10.0
    assert loss.item() < entropy + 1.0


def test_a_flow_of_images_takes_the_state_dict_of_another():
    first, second = small_glow(seed=0), small_glow(seed=1)
    x = random_states(first.domain, 2)
    assert not torch.allclose(first.log_prob(x), second.log_prob(x))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.log_prob(x), second.log_prob(x))
