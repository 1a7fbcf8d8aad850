"""The element-wise maps inside couplings and autoregressive layers."""

from boltzflow.core.transformers.transformer import Transformer

__all__ = ["Transformer"]
