"""The monotone rational-quadratic spline: one kernel for real lines, intervals and circles.

Gregory & Delbourgo (1982); as a flow: Durkan et al. 2019, arXiv 1906.04032; on circles: Rezende et al. 2020,
arXiv 2002.02428.

The loop over bins is unrolled and everything is element-wise, so that a compiler turns the kernel into one
pass over the parameters: no sort, no gather, no boolean-mask indexing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from boltzflow.core.domain import wrap

MIN_BIN = 1e-3
"""The least width and height of a bin, as a share of the whole range."""

MIN_SLOPE = 1e-3
"""The least slope at a knot."""

_UNIT_SLOPE = math.log(math.expm1(1.0 - MIN_SLOPE))  # the raw slope that stands for 1


def parameter_count(bins: int) -> int:
    """Numbers that describe one spline: widths, heights, and a slope at each knot."""
    return 3 * bins + 1


def rational_quadratic_spline(
    x: Tensor,
    parameters: Tensor,
    low: Tensor,
    high: Tensor,
    *,
    real: Tensor,
    circle: Tensor,
    inverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """A monotone map of [low, high] onto itself, element by element.

    Zeros as parameters give the identity. Bins are never narrower than `MIN_BIN` of the range, slopes never
    below `MIN_SLOPE`.

    Args:
        x: any shape S. Outside [low, high] a real coordinate is left alone with slope 1, an interval is
            clamped to its edge, a circle is taken modulo its circumference.
        parameters: (3K + 1, *S): K logits of widths, K of heights, K + 1 raw slopes.
        low, high: bounds, broadcastable to S. For a circle, low is the seam.
        real: bool, broadcastable to S: the slopes at both ends are 1, so that the identity continues them.
        circle: bool, broadcastable to S: the two end slopes are one. Neither real nor circle: an interval,
            whose end slopes are free.
        inverse: whether to apply the inverse map.

    Returns:
        (y, log dy/dx), both of shape S.
    """
    bins = (parameters.shape[0] - 1) // 3
    rows = parameters.unbind(0)
    widths = _bin_sizes(rows[:bins])
    heights = _bin_sizes(rows[bins : 2 * bins])
    slopes = [softplus(raw + _UNIT_SLOPE) + MIN_SLOPE for raw in rows[2 * bins :]]
    slopes[0] = torch.where(real, torch.ones_like(slopes[0]), slopes[0])
    slopes[-1] = torch.where(real, slopes[0], torch.where(circle, slopes[0], slopes[-1]))

    length = high - low
    unit = (torch.where(circle, wrap(x, low, high), x) - low) / length
    inside = unit.clamp(0.0, 1.0)

    # Walk through the bins and keep the one that holds the point.
    edge_x, edge_y = torch.zeros_like(inside), torch.zeros_like(inside)
    left, bottom, width, height = edge_x, edge_y, widths[0], heights[0]
    slope_left, slope_right = slopes[0], slopes[1]
    for k in range(1, bins):
        edge_x, edge_y = edge_x + widths[k - 1], edge_y + heights[k - 1]
        here = inside >= (edge_y if inverse else edge_x)
        # The last bin takes what is left, so that the end is hit exactly.
        w, h = (1.0 - edge_x, 1.0 - edge_y) if k == bins - 1 else (widths[k], heights[k])
        left, bottom = torch.where(here, edge_x, left), torch.where(here, edge_y, bottom)
        width, height = torch.where(here, w, width), torch.where(here, h, height)
        slope_left = torch.where(here, slopes[k], slope_left)
        slope_right = torch.where(here, slopes[k + 1], slope_right)

    mean_slope = height / width
    bend = slope_left + slope_right - 2.0 * mean_slope
    if inverse:
        rise = inside - bottom
        a = height * (mean_slope - slope_left) + rise * bend
        b = height * slope_left - rise * bend
        c = -mean_slope * rise
        root = (b.square() - 4.0 * a * c).clamp(min=0.0).sqrt()
        t = (2.0 * c / (-b - root)).clamp(0.0, 1.0)
        image = left + t * width
    else:
        t = ((inside - left) / width).clamp(0.0, 1.0)
    s = t * (1.0 - t)
    denominator = mean_slope + bend * s
    if not inverse:
        image = bottom + height * (mean_slope * t.square() + slope_left * s) / denominator
    numerator = slope_right * t.square() + 2.0 * mean_slope * s + slope_left * (1.0 - t).square()
    log_slope = 2.0 * (mean_slope / denominator).log() + numerator.log()

    outside = real & (unit != inside)
    y = torch.where(outside, x, low + image * length)
    log_slope = torch.where(outside, torch.zeros_like(log_slope), log_slope)
    return y, -log_slope if inverse else log_slope


def _bin_sizes(logits: tuple[Tensor, ...]) -> list[Tensor]:
    """Positive bin sizes that add up to 1: a softmax over the rows with a floor."""
    peak = logits[0]
    for row in logits[1:]:
        peak = torch.maximum(peak, row)
    powers = [(row - peak.detach()).exp() for row in logits]
    total = powers[0]
    for power in powers[1:]:
        total = total + power
    share = (1.0 - MIN_BIN * len(logits)) / total
    return [MIN_BIN + power * share for power in powers]
