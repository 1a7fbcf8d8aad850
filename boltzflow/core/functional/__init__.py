"""Pure tensor functions: the hot kernels."""

from boltzflow.core.functional.permutation import permute_rows
from boltzflow.core.functional.rational_quadratic import parameter_count, rational_quadratic_spline

__all__ = ["parameter_count", "permute_rows", "rational_quadratic_spline"]
