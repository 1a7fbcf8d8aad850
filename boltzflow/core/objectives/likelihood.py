"""Objectives and measures from samples of the target."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from boltzflow.core.objectives.loss import Loss, path_log_ratio, recorded, smallest
from boltzflow.core.protocols import Model, Target
from boltzflow.errors import OptionError, ShapeError


def forward_kl(
    flow: Model,
    x: Tensor,
    *,
    weights: Tensor | None = None,
    context: Tensor | None = None,
    target: Target | None = None,
    path_gradient: bool = False,
    gradient_limit: float = math.inf,
    drop_largest: float = 0.0,
) -> Loss:
    """KL(p ‖ q) from samples of p: −Σ w log q(x), or Σ w (log p(x) − log q(x)), with normalised weights.

    Without a target this is KL up to the entropy of p; without weights too, maximum likelihood.

    With a path gradient it is the reverse KL of the target, pulled back through the transform T, from the base q₀:
    the mean of log p(T(z)) + log|det ∂T/∂z| − log q₀(z) over z = T⁻¹(x), in which the parameters of T act through z
    alone (L. Vaitl, L. Winkler, L. Richter, P. Kessel, ICLR 2024, arXiv 2403.15881). The expected gradient is that of
    maximum likelihood. It uses the target's gradient at the samples, its noise vanishes at q = p, and it overfits far
    less. It costs one more pass and one evaluation of the target. Parameters of q₀ itself keep their direct gradient.

    Args:
        flow: q.
        x: (batch, *shape) samples of p, or of another density with importance weights.
        weights: (batch,) non-negative, normalised here; None for equal weights.
        context: (batch, C) for flow and target, or None.
        target: p, up to a factor; needed for a path gradient.
        path_gradient: whether to use the path gradient.
        gradient_limit: bound on the influence of each sample on a path gradient: the gradient of its term with respect
            to z is scaled down to this many times the median of the batch. Samples where q is far too small have
            gradients so large that a single one can destroy what was learned.
        drop_largest: with a target, the fraction of largest terms log p − log q that is left out of the mean.

    Returns:
        The loss. Its `log_weights` are log p − log q of the samples, or −log q without a target. Samples outside the
        flow's domain, or where the target is not finite, are left out of a loss with a target.

    Raises:
        ShapeError: if there is not one weight for each sample.
        OptionError: if a weight is negative or none is positive, a path gradient or `drop_largest` is requested
            without a target, `drop_largest` is not in [0, 1), or `gradient_limit` is not positive.
        UnsupportedCombinationError: if a path gradient is requested with stochastic layers or dropout.

    >>> from boltzflow.core import Domain, distributions, recipes
    >>> flow = recipes.spline_flow(Domain.interval(0.0, 1.0, 2), layers=2, hidden=(8,))
    >>> forward_kl(flow, torch.rand(16, 2)).value.abs().item() < 1e-5
    True
    >>> target = distributions.Independent(Domain.interval(0.0, 1.0, 2))
    >>> loss = forward_kl(flow, torch.rand(16, 2), target=target, path_gradient=True)
    >>> loss.value.abs().item() < 1e-5
    True
    """
    if target is None and (path_gradient or drop_largest):
        raise OptionError("forward_kl: expected a target for path_gradient and drop_largest; got none.")
    if not 0.0 <= drop_largest < 1.0:
        raise OptionError(f"forward_kl: expected drop_largest in [0, 1); got {drop_largest:g}.")
    if not gradient_limit > 0.0:
        raise OptionError(f"forward_kl: expected a positive gradient_limit; got {gradient_limit:g}.")
    if weights is not None:
        _check_weights(weights, len(x))
    if path_gradient:
        assert target is not None
        terms = path_log_ratio(flow, target, x, context, gradient_limit, "forward_kl")
    else:
        terms = -flow.log_prob(x, context)
        if target is not None:
            with torch.no_grad():
                log_p = target.log_prob(x, context)
            terms = log_p + terms
    given = torch.ones_like(terms) if weights is None else weights
    # A sample of weight zero does not contribute, even if log q is −inf.
    keep = given > 0.0
    if target is not None:
        keep = smallest(torch.where(keep, terms, torch.nan), drop_largest)
    value = torch.where(keep, given * terms, 0.0).sum() / torch.where(keep, given, 0.0).sum()
    return Loss(value, terms.detach() if target is None else recorded(terms))


def _check_weights(weights: Tensor, n: int) -> None:
    if weights.shape != (n,):
        raise ShapeError(f"forward_kl: expected weights of shape ({n},); got {tuple(weights.shape)}.")
    if bool((weights < 0.0).any()) or not bool(weights.sum() > 0.0):
        raise OptionError("forward_kl: expected non-negative weights with a positive sum; got others.")


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
