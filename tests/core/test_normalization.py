"""Actnorm and batch norm: what the data set, and when."""

import pytest
import torch

from boltzflow.core import Chain, Domain, Flow, distributions, layers, nets, objectives
from boltzflow.errors import DomainError, OptionError

FLAT = Domain.real(3)
IMAGE = Domain.real((3, 4, 5))


def data(domain, n=64):
    scale = torch.tensor([0.1, 1.0, 20.0]).view(-1, *[1] * (len(domain.shape) - 1))
    noise = torch.randn(n, *domain.shape, generator=torch.Generator().manual_seed(0))
    return 3.0 * scale + scale * noise


def moments(x):
    shared = [0, *range(2, x.dim())]
    return x.mean(shared), x.square().mean(shared).sqrt()


@pytest.mark.parametrize("domain", [FLAT, IMAGE], ids=["flat", "image"])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_the_first_training_batch_comes_out_normalised_in_either_direction(domain, direction):
    layer, x = layers.ActNorm(domain), data(domain)
    run, back = (layer.forward, layer.inverse) if direction == "forward" else (layer.inverse, layer.forward)
    y, log_ratio = run(x)
    mean, width = moments(y)
    assert mean.abs().max() < 1e-5
    assert torch.allclose(width, torch.ones(3), atol=1e-5)
    again, log_back = back(y)
    assert torch.allclose(again, x, rtol=1e-5, atol=1e-5)
    assert torch.allclose(log_back, -log_ratio)
    later, _ = run(5.0 + x)
    assert (moments(later)[0] > 0.1).all(), "a later batch must not set it again"


def test_actnorm_is_the_identity_in_evaluation_mode_until_it_was_trained():
    layer, x = layers.ActNorm(FLAT).eval(), data(FLAT)
    assert torch.equal(layer.inverse(x)[0], x)
    assert not layer.normalizer.initialized
    layer.train().inverse(x)
    y = layer.eval().inverse(x)[0]
    assert moments(y)[0].abs().max() < 1e-5


def test_the_state_dict_says_whether_a_batch_was_seen():
    trained, fresh, x = layers.ActNorm(FLAT), layers.ActNorm(FLAT), data(FLAT)
    trained.inverse(x)
    fresh.load_state_dict(trained.state_dict())
    y = fresh.train().inverse(2.0 * x)[0]
    assert torch.equal(y, trained.inverse(2.0 * x)[0])
    fresh.load_state_dict(layers.ActNorm(FLAT).state_dict())
    assert moments(fresh.inverse(2.0 * x)[0])[0].abs().max() < 1e-5


def test_a_coordinate_that_stands_still_keeps_its_scale():
    layer = layers.ActNorm(FLAT)
    y, log_ratio = layer.inverse(torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 5.0]]))
    assert torch.allclose(y, torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]))
    assert (log_ratio == 0.0).all()


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("unit", [1e-30, 1e-10, 1e-7, 1.0, 1e15])
def test_the_unit_of_the_data_does_not_matter(unit, direction):
    layer, x = layers.ActNorm(FLAT), unit * data(FLAT)
    y, log_ratio = getattr(layer, direction)(x)
    mean, width = moments(y)
    assert mean.abs().max() < 1e-5
    assert torch.allclose(width, torch.ones(3), atol=1e-5)
    assert torch.allclose(log_ratio, -x.double().std(0, correction=0).log().sum().float(), rtol=1e-4)


def test_equal_numbers_keep_their_scale_however_they_are_rounded():
    layer = layers.ActNorm(FLAT)
    y, log_ratio = layer.inverse(torch.tensor([0.1, 1e-9, 12345.678]).expand(77, 3))
    assert (y == 0.0).all()
    assert (log_ratio == 0.0).all()


@pytest.mark.parametrize("make", [layers.ActNorm, layers.BatchNorm])
@pytest.mark.parametrize("rows", [0, 1])
def test_a_batch_without_a_spread_is_passed_over(make, rows):
    layer, x = make(FLAT), data(FLAT)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    z, log_ratio = layer.inverse(x[:rows])
    assert torch.allclose(z, x[:rows], rtol=1e-4)
    assert (log_ratio.abs() < 1e-4).all()
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    mean, width = moments(layer.inverse(x)[0])
    assert mean.abs().max() < 1e-5
    assert torch.allclose(width, torch.ones(3), atol=1e-3)


@pytest.mark.parametrize("make", [layers.ActNorm, layers.BatchNorm])
def test_a_single_image_has_a_spread(make):
    mean, width = moments(make(IMAGE).inverse(data(IMAGE, 1))[0])
    assert mean.abs().max() < 1e-5
    assert torch.allclose(width, torch.ones(3), atol=1e-2)


def one_of_two(rank, folder):
    """A process that sees half of the data; the other one begins with an empty batch."""
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    torch.manual_seed(rank)
    chain = Chain([layers.ActNorm(FLAT), layers.BatchNorm(FLAT), layers.ActNorm(FLAT)])
    part = data(FLAT)[rank * 24 : 24 + 40 * rank]
    chain.inverse(part[: 24 * rank])
    chain.inverse(part)
    torch.save(chain.state_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_start_from_the_batches_of_all(tmp_path):
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    # The last layer is the first one that the data meet: rank 1's rows of the first step are all there were.
    alone = layers.ActNorm(FLAT)
    alone.inverse(data(FLAT)[24:48])
    assert torch.allclose(first["layers.2.normalizer.shift.value"], alone.normalizer.shift.value, rtol=1e-4)
    assert torch.allclose(first["layers.2.normalizer.log_scale.value"], alone.normalizer.log_scale.value, rtol=1e-4)


def test_actnorm_is_started_in_one_graph_under_a_compiler():
    layer, x = layers.ActNorm(FLAT), data(FLAT)
    torch.compiler.reset()
    whole = torch.compile(layer.inverse, fullgraph=True, dynamic=False, backend="aot_eager")
    y, log_ratio = whole(x)
    assert moments(y)[0].abs().max() < 1e-5
    (y.square().sum() - log_ratio.sum()).backward()
    assert layer.normalizer.log_scale.value.grad.isfinite().all()
    assert torch.equal(whole(x + 1.0)[0], layer.inverse(x + 1.0)[0])


def test_hidden_images_of_a_net_are_normalised_by_the_first_batch():
    net = nets.ConvNet(3, (8,), 2, kernels=(3, 3), normalize=True)
    hidden = net.steps[1](net.steps[0](data(IMAGE)))
    mean, width = moments(hidden)
    assert mean.abs().max() < 1e-5
    assert torch.allclose(width, torch.ones(8), atol=1e-4)


@pytest.mark.parametrize("domain", [FLAT, IMAGE], ids=["flat", "image"])
def test_batch_norm_normalises_each_training_batch_and_follows_with_its_averages(domain):
    layer, x = layers.BatchNorm(domain, momentum=0.5), data(domain)
    z, log_ratio = layer.inverse(x)
    mean, width = moments(z)
    assert mean.abs().max() < 1e-5
    assert torch.allclose(width, torch.ones(3), atol=1e-3)  # eps against a variance of 0.01
    mean_of_x = moments(x)[0]
    deviation = (moments(x)[1].square() - mean_of_x.square()).sqrt()
    pixels = len(domain) // 3
    assert torch.allclose(log_ratio, -pixels * (deviation.square() + 1e-5).sqrt().log().sum(), rtol=1e-4)
    assert torch.allclose(layer.mean.flatten(), 0.5 * mean_of_x)
    assert torch.allclose(layer.variance.flatten(), 0.5 + 0.5 * deviation.square(), rtol=1e-4)
    for _ in range(20):
        layer.inverse(x)
    z, log_ratio = layer.eval().inverse(x)
    assert moments(z)[0].abs().max() < 1e-3
    back, log_back = layer(z)
    assert torch.allclose(back, x, atol=1e-4)
    assert torch.allclose(log_back, -log_ratio)


def test_gradients_flow_through_the_batch_of_a_batch_norm():
    """A shift and a scale of the whole batch leave its latent states alone."""
    layer = layers.BatchNorm(FLAT, eps=0.0).double()
    x = data(FLAT).double().requires_grad_()
    z, _ = layer.inverse(x)
    (slope,) = torch.autograd.grad((z**3).sum(), x)
    assert torch.allclose(slope.sum(0), torch.zeros(3, dtype=torch.float64), atol=1e-8)
    assert torch.allclose((slope * (x - x.mean(0))).sum(0), torch.zeros(3, dtype=torch.float64), atol=1e-8)


def test_maximum_likelihood_through_batch_norm_finds_the_scale_of_the_data():
    """−E log q of a normal density is its entropy: within 5 standard errors of 4096 draws after training."""
    x = data(FLAT, 4096)
    flow = Flow(distributions.DiagonalNormal(FLAT), layers.BatchNorm(FLAT))
    for part in x.split(256) * 4:
        objectives.forward_kl(flow, part)
    log_q = flow.eval().log_prob(x)
    entropy = torch.tensor([0.1, 1.0, 20.0]).log().sum() + 1.5 * (1.0 + torch.log(torch.tensor(2.0 * torch.pi)))
    assert (-log_q.mean() - entropy).abs() < 5.0 * (1.5 / 4096) ** 0.5


def test_wrong_domains_and_options_are_refused():
    with pytest.raises(DomainError, match="ActNorm: expected real coordinates; got circle"):
        layers.ActNorm(Domain.real(1) + Domain.circle(1))
    with pytest.raises(OptionError, match=r"BatchNorm: expected a momentum in \(0, 1\]; got 0"):
        layers.BatchNorm(FLAT, momentum=0.0)
