"""Linear, element-wise, normalisation and reshaping layers, and blocks for images."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from boltzflow.core import Chain, Domain, Inverse, layers, nets, transformers
from tests.core.registry.case import Case

FLAT = Domain.real(5)
IMAGE = Domain.real((3, 2, 4))
BOUNDED = partial(transformers.Affine, scale="sigmoid")
MIXED = Domain.real(1) + Domain.circle(1, 0.0, 1.0) + Domain.interval(-2.0, 5.0) + Domain.circle(1)


def _small_net(inputs: int, outputs: int, **options: bool) -> nets.ConvNet:
    return nets.ConvNet(inputs, (6, 6), outputs, activation=nn.SiLU, **options)


def _residual_net(inputs: int, outputs: int, width: int) -> nets.ConvResidualNet:
    return nets.ConvResidualNet(inputs, width, 1, outputs, activation=nn.SiLU)


def _coupling(**options: object) -> layers.ImageCoupling:
    return layers.ImageCoupling(IMAGE, **({"net": _small_net} | options))  # type: ignore[arg-type]


def _multiscale(context_size: int = 0) -> layers.Multiscale:
    deep, shallow = (
        layers.ImageCoupling(Domain.real(shape), transformer=BOUNDED, net=_small_net, context_size=context_size)
        for shape in ((4, 1, 2), (3, 2, 4))
    )
    return layers.Multiscale([Chain([deep, layers.Squeeze(Domain.real((1, 2, 4)))]), shallow])


def _batch_norm(domain: Domain) -> layers.BatchNorm:
    """One that has seen data."""
    layer = layers.BatchNorm(domain, momentum=1.0)
    layer.inverse(2.0 + 3.0 * torch.randn(50, *domain.shape, generator=torch.Generator().manual_seed(0)))
    return layer.eval()


BIJECTIONS: dict[str, Case] = {
    "permutation, reverse": Case(lambda: layers.Permutation(MIXED, "reverse")),
    "permutation, shuffle": Case(lambda: layers.Permutation(Domain.real(2) + MIXED)),
    "permutation of channels": Case(lambda: layers.Permutation(IMAGE, [2, 0, 1])),
    "LU linear": Case(lambda: layers.LULinear(FLAT)),
    "LU linear, context": Case(lambda: layers.LULinear(FLAT, context_size=3), context_size=3),
    "invertible linear": Case(lambda: layers.InvertibleLinear(FLAT)),
    "invertible linear, context": Case(lambda: layers.InvertibleLinear(FLAT, context_size=3), context_size=3),
    "Householder": Case(lambda: layers.Householder(FLAT, reflections=3)),
    "Householder, context": Case(lambda: layers.Householder(FLAT, reflections=2, context_size=3), context_size=3),
    "1x1 convolution": Case(lambda: layers.Invertible1x1Conv(IMAGE, lu=False)),
    "1x1 convolution, LU": Case(lambda: layers.Invertible1x1Conv(IMAGE)),
    "1x1 convolution, context": Case(lambda: layers.Invertible1x1Conv(IMAGE, lu=False, context_size=3), context_size=3),
    "1x1 convolution, LU, context": Case(lambda: layers.Invertible1x1Conv(IMAGE, context_size=3), context_size=3),
    "element-wise affine": Case(lambda: layers.ElementwiseAffine(FLAT)),
    "element-wise affine, fixed": Case(
        lambda: layers.ElementwiseAffine(FLAT, torch.rand(5) + 0.5, torch.randn(5), trainable=False)
    ),
    "element-wise affine, channels, context": Case(
        lambda: layers.ElementwiseAffine(IMAGE, torch.ones(3, 1, 1), torch.zeros(4), context_size=3), context_size=3
    ),
    "element-wise spline": Case(lambda: layers.Elementwise(transformers.RationalQuadratic(MIXED, bins=2))),
    "element-wise spline, context": Case(
        lambda: layers.Elementwise(transformers.RationalQuadratic(MIXED, bins=2), context_size=3), context_size=3
    ),
    "element-wise affine transformer of an image": Case(lambda: layers.Elementwise(transformers.Affine(IMAGE))),
    "to interval": Case(lambda: layers.ToInterval(MIXED)),
    "from interval": Case(lambda: Inverse(layers.ToInterval(MIXED + Domain.interval(100.0, 100.5)))),
    "wrap": Case(lambda: layers.Wrap(MIXED)),
    "actnorm": Case(lambda: layers.ActNorm(FLAT)),
    "actnorm, not training": Case(lambda: layers.ActNorm(FLAT).eval()),
    "actnorm, context": Case(lambda: layers.ActNorm(FLAT, context_size=3), context_size=3),
    "actnorm of an image": Case(lambda: layers.ActNorm(IMAGE)),
    "batch norm": Case(lambda: layers.BatchNorm(FLAT).eval()),
    "batch norm of an image": Case(lambda: _batch_norm(IMAGE)),
    "batch norm, context": Case(lambda: layers.BatchNorm(FLAT, context_size=3).eval(), context_size=3),
    "reshape": Case(lambda: layers.Reshape(Domain.real(24), IMAGE)),
    "squeeze": Case(lambda: layers.Squeeze(Domain.real((2, 2, 4)))),
    "squeeze by three": Case(lambda: layers.Squeeze(Domain.real((1, 3, 6)), factor=3)),
    "image coupling": Case(lambda: _coupling()),
    "image coupling, flip": Case(lambda: _coupling(flip=True)),
    "image coupling, checkerboard": Case(lambda: _coupling(split="checkerboard")),
    "image coupling, checkerboard, flip, context": Case(
        lambda: _coupling(split="checkerboard", flip=True, context_size=3), context_size=3
    ),
    "image coupling, additive": Case(lambda: _coupling(transformer=partial(transformers.Affine, scale="additive"))),
    "image coupling, sigmoid, context": Case(lambda: _coupling(transformer=BOUNDED, context_size=3), context_size=3),
    "image coupling, positions": Case(lambda: _coupling(net=partial(_small_net, positions=True))),
    "image coupling, residual net": Case(lambda: _coupling(net=partial(_residual_net, width=6))),
    "Glow block": Case(lambda: layers.glow_block(IMAGE, net=_small_net)),
    "Glow block, normalised net, context": Case(
        lambda: layers.glow_block(IMAGE, net=partial(_small_net, normalize=True), lu=False, context_size=3),
        context_size=3,
    ),
    "multiscale": Case(lambda: _multiscale()),
    "multiscale, context": Case(lambda: _multiscale(context_size=3), context_size=3),
}
