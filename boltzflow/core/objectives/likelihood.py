"""Objectives and measures from samples of the target."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boltzflow.core.objectives.loss import Loss
from boltzflow.core.protocols import Model
from boltzflow.errors import OptionError, ShapeError


def forward_kl(flow: Model, x: Tensor, *, weights: Tensor | None = None, context: Tensor | None = None) -> Loss:
    """KL(p ‖ q) up to the entropy of p, from samples of p: −Σ w log q(x), with normalised weights.

    Without weights this is maximum likelihood.

    Args:
        flow: q.
        x: (batch, *shape) samples of p, or of another density with importance weights.
        weights: (batch,) non-negative, normalised here; None for equal weights.
        context: (batch, C) or None.

    Returns:
        The loss; its `log_weights` are −log q of the samples, because p is unknown.

    Raises:
        ShapeError: if there is not one weight for each sample.
        OptionError: if a weight is negative or none is positive.

    >>> from boltzflow.core import Domain, recipes
    >>> flow = recipes.spline_flow(Domain.interval(0.0, 1.0, 2), layers=2, hidden=(8,))
    >>> forward_kl(flow, torch.rand(16, 2)).value.abs().item() < 1e-5
    True
    """
    log_q = flow.log_prob(x, context)
    if weights is None:
        return Loss(-log_q.mean(), -log_q.detach())
    if weights.shape != log_q.shape:
        raise ShapeError(f"forward_kl: expected weights of shape {tuple(log_q.shape)}; got {tuple(weights.shape)}.")
    if bool((weights < 0.0).any()) or not bool(weights.sum() > 0.0):
        raise OptionError("forward_kl: expected non-negative weights with a positive sum; got others.")
    # A sample of weight zero does not contribute, even if log q is −inf.
    terms = torch.where(weights > 0.0, weights * log_q, 0.0)
    return Loss(-terms.sum() / weights.sum(), -log_q.detach())


def bits_per_dimension(log_prob: Tensor, dimensions: int, *, levels: int = 256) -> Tensor:
    """Bits per dimension of images with integer values 0 … levels − 1, from a density on the unit cube.

    The convention is that of Theis et al. 2016 (arXiv 1511.01844): a grey value k is dequantised as x = (k + u)/levels
    with u uniform on [0, 1). Then −log₂ of the density of x, on the scale of the grey values, is on average an upper
    bound of the bits needed to encode the discrete image. All other preprocessing (a logit, a shift) must be part of
    the flow, as layers whose log-ratios are included. A uniform density gives log₂(levels).

    Args:
        log_prob: (…) log-densities of images on the unit cube, in nats.
        dimensions: the number of values in an image: C·H·W.
        levels: the number of grey values; 1 for continuous data.

    Returns:
        Bits per dimension (…); papers report the mean over images and draws of u.

    Raises:
        OptionError: if `dimensions` or `levels` is not positive.

    >>> bits_per_dimension(torch.zeros(2), 3 * 32 * 32)
    tensor([8., 8.])
    """
    if dimensions < 1 or levels < 1:
        raise OptionError(
            f"bits_per_dimension: expected positive numbers; got {dimensions} dimensions and {levels} levels."
        )
    return math.log2(levels) - log_prob / (dimensions * math.log(2.0))
