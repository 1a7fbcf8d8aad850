"""Pure tensor functions: the hot kernels."""

from boltzflow.core.functional.rational_quadratic import parameter_count, rational_quadratic_spline

__all__ = ["parameter_count", "rational_quadratic_spline"]
