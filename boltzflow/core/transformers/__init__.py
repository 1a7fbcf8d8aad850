"""The element-wise maps inside couplings and autoregressive layers."""

from boltzflow.core.transformers.affine import Affine, Scale
from boltzflow.core.transformers.rational_quadratic import RationalQuadratic
from boltzflow.core.transformers.transformer import Transformer

__all__ = ["Affine", "RationalQuadratic", "Scale", "Transformer"]
