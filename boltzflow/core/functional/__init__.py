"""Pure tensor functions, including the performance-critical kernels."""

from boltzflow.core.functional.dequantization import dequantize
from boltzflow.core.functional.held import held
from boltzflow.core.functional.masks import (
    alternating_mask,
    channel_mask,
    checkerboard_mask,
    half_mask,
    random_mask,
)
from boltzflow.core.functional.moments import shared_moments
from boltzflow.core.functional.positive import unit_softplus
from boltzflow.core.functional.rational_quadratic import MIN_BIN, parameter_count
from boltzflow.core.functional.roots import monotone_root
from boltzflow.core.functional.rows import linear_rows, permute_rows
from boltzflow.core.functional.spline_operator import rational_quadratic_spline
from boltzflow.core.functional.stored import stored

__all__ = [
    "MIN_BIN",
    "alternating_mask",
    "channel_mask",
    "checkerboard_mask",
    "dequantize",
    "half_mask",
    "held",
    "linear_rows",
    "monotone_root",
    "parameter_count",
    "permute_rows",
    "random_mask",
    "rational_quadratic_spline",
    "shared_moments",
    "stored",
    "unit_softplus",
]
