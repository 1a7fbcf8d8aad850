"""The element-wise maps inside couplings and autoregressive layers."""

from boltzflow.core.transformers.affine import Affine, Scale
from boltzflow.core.transformers.bernstein import Bernstein
from boltzflow.core.transformers.curve import Curve, CurveTransformer
from boltzflow.core.transformers.interval_affine import IntervalAffine
from boltzflow.core.transformers.monotonic import UnconstrainedMonotonic
from boltzflow.core.transformers.rational_quadratic import RationalQuadratic
from boltzflow.core.transformers.sigmoidal import DeepSigmoidal
from boltzflow.core.transformers.transformer import Transformer

__all__ = [
    "Affine",
    "Bernstein",
    "Curve",
    "CurveTransformer",
    "DeepSigmoidal",
    "IntervalAffine",
    "RationalQuadratic",
    "Scale",
    "Transformer",
    "UnconstrainedMonotonic",
]
