"""The monotone rational-quadratic spline on real lines, intervals and circles, and its gradient.

Gregory & Delbourgo (1982); as a flow: Durkan et al. 2019, arXiv 1906.04032; on circles: Rezende et al. 2020,
arXiv 2002.02428.

The loop over bins is unrolled and all operations are element-wise: no sort, no gather, no boolean-mask indexing. The
gradient is implemented explicitly, because it needs only the parameters and the point; automatic differentiation would
store about fifty numbers for each spline.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

MIN_BIN = 1e-3
"""The minimum width and height of a bin, as a fraction of the whole range."""

MIN_SLOPE = 1e-3
"""The minimum slope at a knot."""

_UNIT_SLOPE = math.log(math.expm1(1.0 - MIN_SLOPE))  # the raw slope that gives a slope of 1


def parameter_count(bins: int) -> int:
    """The number of parameters of one spline: widths, heights, and a slope at each knot."""
    return 3 * bins + 1


class _Bin(NamedTuple):
    """The bin that contains a point, in units of the whole range, and its position among the bins."""

    left: Tensor
    bottom: Tensor
    width: Tensor
    height: Tensor
    raw_slope_left: Tensor
    raw_slope_right: Tensor
    beyond: list[Tensor]  # whether the point lies beyond knots 1 … K − 1
    width_fractions: list[Tensor]  # of each bin, without the minimum size
    height_fractions: list[Tensor]


def _find_bin(point: Tensor, parameters: Tensor, real: Tensor, circle: Tensor, by_height: bool) -> _Bin:
    bins = (parameters.shape[0] - 1) // 3
    rows = parameters.unbind(0)
    widths, heights, slopes = _bin_fractions(rows[:bins]), _bin_fractions(rows[bins : 2 * bins]), list(rows[2 * bins :])
    slopes[0] = torch.where(real, 0.0, slopes[0])
    slopes[-1] = torch.where(real, 0.0, torch.where(circle, slopes[0], slopes[-1]))
    edge_x, edge_y = torch.zeros_like(point), torch.zeros_like(point)
    left, bottom, width, height = edge_x, edge_y, MIN_BIN + widths[0], MIN_BIN + heights[0]
    slope_left, slope_right = slopes[0], slopes[1]
    beyond = []
    for k in range(1, bins):
        edge_x, edge_y = edge_x + (MIN_BIN + widths[k - 1]), edge_y + (MIN_BIN + heights[k - 1])
        here = point >= (edge_y if by_height else edge_x)
        # The last bin takes the remainder, so that the end is reached exactly.
        last = k == bins - 1
        w, h = (1.0 - edge_x, 1.0 - edge_y) if last else (MIN_BIN + widths[k], MIN_BIN + heights[k])
        left, bottom = torch.where(here, edge_x, left), torch.where(here, edge_y, bottom)
        width, height = torch.where(here, w, width), torch.where(here, h, height)
        slope_left = torch.where(here, slopes[k], slope_left)
        slope_right = torch.where(here, slopes[k + 1], slope_right)
        beyond.append(here)
    return _Bin(left, bottom, width, height, slope_left, slope_right, beyond, widths, heights)


def _fraction_of_range(x: Tensor, low: Tensor, length: Tensor, circle: Tensor) -> Tensor:
    """The relative position between low and high; on circles in [0, 1], even if rounding puts it before the seam."""
    turned = x - length * torch.floor((x - low) / length)
    unit = (torch.where(circle, turned, x) - low) / length
    return torch.where(circle, unit - unit.floor(), unit)


def _bin_fractions(logits: tuple[Tensor, ...]) -> list[Tensor]:
    """A softmax over the rows, scaled so that the sum is 1 after adding `MIN_BIN` to each."""
    peak = logits[0]
    for row in logits[1:]:
        peak = torch.maximum(peak, row)
    powers = [(row - peak).exp() for row in logits]
    total = powers[0]
    for power in powers[1:]:
        total = total + power
    scale = (1.0 - MIN_BIN * len(logits)) / total
    return [power * scale for power in powers]


def spline(
    x: Tensor, parameters: Tensor, low: Tensor, high: Tensor, real: Tensor, circle: Tensor, *, inverse: bool
) -> tuple[Tensor, Tensor]:
    """The map and its log-slope, see `rational_quadratic_spline`."""
    length = high - low
    unit = _fraction_of_range(x, low, length, circle)
    inside = unit.clamp(0.0, 1.0)
    own_bin = _find_bin(inside, parameters, real, circle, by_height=inverse)
    slope_left = softplus(own_bin.raw_slope_left + _UNIT_SLOPE) + MIN_SLOPE
    slope_right = softplus(own_bin.raw_slope_right + _UNIT_SLOPE) + MIN_SLOPE
    mean_slope = own_bin.height / own_bin.width
    bend = slope_left + slope_right - 2.0 * mean_slope
    if inverse:
        rise = inside - own_bin.bottom
        a = own_bin.height * (mean_slope - slope_left) + rise * bend
        b = own_bin.height * slope_left - rise * bend
        c = -mean_slope * rise
        root = (b * b - 4.0 * a * c).clamp(min=0.0).sqrt()
        t = (2.0 * c / (-b - root)).clamp(0.0, 1.0)
        image = own_bin.left + t * own_bin.width
    else:
        t = ((inside - own_bin.left) / own_bin.width).clamp(0.0, 1.0)
    s = t * (1.0 - t)
    denominator = mean_slope + bend * s
    if not inverse:
        image = own_bin.bottom + own_bin.height * (mean_slope * t * t + slope_left * s) / denominator
    numerator = slope_right * t * t + 2.0 * mean_slope * s + slope_left * (1.0 - t) * (1.0 - t)
    ratio = mean_slope / denominator
    log_slope = (ratio * ratio * numerator).log()
    outside = real & (unit != inside)
    # Rounding must not leave the range: the image of a state on a bound is on a bound, not beyond it.
    y = torch.where(outside, x, (low + image * length).clamp(low, high))
    log_slope = torch.where(outside, 0.0, log_slope)
    return y, -log_slope if inverse else log_slope


def spline_gradient(
    grad: Tensor,
    grad_log: Tensor,
    x: Tensor,
    parameters: Tensor,
    low: Tensor,
    high: Tensor,
    real: Tensor,
    circle: Tensor,
    *,
    inverse: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients with respect to the input and the parameters.

    x is the argument of the spline: the input, or the output of the inverse. The gradients of the inverse follow from
    those of the spline by the implicit function theorem.
    """
    length = high - low
    unit = _fraction_of_range(x, low, length, circle)
    inside = unit.clamp(0.0, 1.0)
    own_bin = _find_bin(inside, parameters, real, circle, by_height=False)
    left, width, height = own_bin.left, own_bin.width, own_bin.height
    d0 = softplus(own_bin.raw_slope_left + _UNIT_SLOPE) + MIN_SLOPE
    d1 = softplus(own_bin.raw_slope_right + _UNIT_SLOPE) + MIN_SLOPE
    m = height / width
    bend = d0 + d1 - 2.0 * m
    t = ((inside - left) / width).clamp(0.0, 1.0)
    s, turn = t * (1.0 - t), 1.0 - 2.0 * t
    denominator = m + bend * s
    rise = (m * t * t + d0 * s) / denominator  # relative height of the point in its bin
    numerator = d1 * t * t + 2.0 * m * s + d0 * (1.0 - t) * (1.0 - t)
    denominator_t, numerator_t = bend * turn, 2.0 * (d1 * t + m * turn - d0 * (1.0 - t))

    outside = real & (unit != inside)
    grad_log = torch.where(outside, 0.0, -grad_log if inverse else grad_log)
    grad_y = torch.where(outside, 0.0, grad * length)
    if inverse:
        ratio = m / denominator
        slope = ratio * ratio * numerator
        log_slope_x = (numerator_t / numerator - 2.0 * denominator_t / denominator) / width
        grad_input = (grad_y + grad_log * log_slope_x) / slope
        grad_y = -grad_input

    # y = bottom + height · N / D and log slope = 2 log m + log numerator − 2 log D: the factors of N, D, numerator.
    by_n = grad_y * height / denominator
    by_d = -by_n * rise - 2.0 * grad_log / denominator
    by_numerator = grad_log / numerator
    grad_t = by_n * (2.0 * m * t + d0 * turn) + by_d * denominator_t + by_numerator * numerator_t
    grad_m = by_n * t * t + by_d * (1.0 - 2.0 * s) + by_numerator * 2.0 * s + 2.0 * grad_log / m
    grad_d0 = (by_n + by_d) * s + by_numerator * (1.0 - t) * (1.0 - t)
    grad_d1 = by_d * s + by_numerator * t * t
    grad_left = -grad_t / width
    if not inverse:
        grad_input = torch.where(unit != inside, 0.0, -grad_left)  # beyond an interval, where the image is constant
    grad_x = torch.where(outside, grad, grad_input / length)

    floor = MIN_BIN * sum(here.to(x.dtype) for here in own_bin.beyond)
    by_width = -(grad_m * m + grad_t * t) / width
    by_height = grad_y * rise + grad_m / width
    rows = [
        *_size_gradients(own_bin.width_fractions, own_bin.beyond, grad_left, by_width, left - floor, width - MIN_BIN),
        *_size_gradients(
            own_bin.height_fractions, own_bin.beyond, grad_y, by_height, own_bin.bottom - floor, height - MIN_BIN
        ),
        *_slope_gradients(
            own_bin.beyond,
            grad_d0 * torch.sigmoid(own_bin.raw_slope_left + _UNIT_SLOPE),
            grad_d1 * torch.sigmoid(own_bin.raw_slope_right + _UNIT_SLOPE),
            real,
            circle,
        ),
    ]
    return grad_x, torch.stack(rows)


def _size_gradients(
    fractions: list[Tensor], beyond: list[Tensor], by_edge: Tensor, by_size: Tensor, before: Tensor, own: Tensor
) -> list[Tensor]:
    """Gradients of the logits of bin sizes, from those of the lower edge and the size of the point's bin.

    before, own: the size fractions of the bins before it, and its own.
    """
    mean = (by_edge * before + by_size * own) / (1.0 - MIN_BIN * len(fractions))
    first, last = by_edge - mean, by_size - mean
    out = []
    for j, fraction in enumerate(fractions):
        gradient = last if j == 0 else torch.where(beyond[j - 1], last, -mean)
        gradient = torch.where(beyond[j], first, gradient) if j < len(beyond) else gradient
        out.append(fraction * gradient)
    return out


def _slope_gradients(
    beyond: list[Tensor], by_left: Tensor, by_right: Tensor, real: Tensor, circle: Tensor
) -> list[Tensor]:
    """Gradients of the raw slopes at all knots, from those at the two ends of the point's bin."""
    knots = len(beyond) + 1
    out = [torch.where(beyond[0], 0.0, by_left)]
    for j in range(1, knots):
        gradient = by_right if j == 1 else torch.where(beyond[j - 2], by_right, 0.0)
        gradient = torch.where(beyond[j - 1], by_left, gradient)
        out.append(torch.where(beyond[j], 0.0, gradient) if j < knots - 1 else gradient)
    end = torch.where(beyond[-1], by_right, 0.0)
    out[0] = torch.where(real, 0.0, out[0] + torch.where(circle, end, 0.0))
    return [*out, torch.where(real | circle, 0.0, end)]
