"""The spline as a custom operator: one compiled kernel for all layers, with an explicit gradient.

Automatic differentiation and the compiler treat it as a single operation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import Library, register_autograd, register_fake, register_vmap

from boltzflow.core.compilation import compiled
from boltzflow.core.functional.rational_quadratic import spline, spline_gradient


def rational_quadratic_spline(
    x: Tensor,
    parameters: Tensor,
    low: Tensor,
    high: Tensor,
    *,
    real: Tensor,
    circle: Tensor,
    inverse: bool = False,
    fast: bool = False,
) -> tuple[Tensor, Tensor]:
    """A monotone map of [low, high] onto itself, element by element.

    Zeros as parameters give the identity. Bins are never narrower than `MIN_BIN` of the range, slopes never
    below `MIN_SLOPE`. Twice differentiable with respect to x and the parameters, but not the bounds.

    Args:
        x: any shape S. Outside [low, high] a real coordinate is unchanged with slope 1, an interval is
            clamped to its edge, a circle is taken modulo its circumference.
        parameters: (3K + 1, *S): K logits of widths, K of heights, K + 1 raw slopes.
        low, high: bounds, broadcastable to S. For a circle, low is the seam.
        real: bool, broadcastable to S: the slopes at both ends are 1, so that the identity continues them.
        circle: bool, broadcastable to S: the two end slopes are equal. Neither real nor circle: an interval,
            whose end slopes are free.
        inverse: whether to apply the inverse map.
        fast: whether to compile the kernel, if a compiler works: about ten seconds once, then several times faster.

    Returns:
        (y, log dy/dx), both of shape S.
    """
    y, log_slope = torch.ops.boltzflow.spline(x, parameters, low, high, real, circle, inverse, fast)
    return y, log_slope


_ONE_LOOP = {"max_fusion_size": 1024, "cpp.max_horizontal_fusion_size": 1024}  # fuse everything into one loop
_fast_spline = compiled(spline, options=_ONE_LOOP)
_fast_gradient = compiled(spline_gradient, options=_ONE_LOOP)


def _spline_op(
    x: Tensor, parameters: Tensor, low: Tensor, high: Tensor, real: Tensor, circle: Tensor, inverse: bool, fast: bool
) -> tuple[Tensor, Tensor]:
    with torch.no_grad(), _below_autograd():
        flat = _flatten(x, parameters, low, high, real, circle)
        y, log_slope = (_fast_spline if fast else spline)(*flat, inverse=inverse)
    return y.view(x.shape), log_slope.view(x.shape)


def _gradient_op(
    grad: Tensor,
    grad_log: Tensor,
    x: Tensor,
    parameters: Tensor,
    low: Tensor,
    high: Tensor,
    real: Tensor,
    circle: Tensor,
    inverse: bool,
    fast: bool,
) -> tuple[Tensor, Tensor]:
    with torch.no_grad(), _below_autograd():
        flat = _flatten(x, parameters, low, high, real, circle)
        kernel = _fast_gradient if fast else spline_gradient
        by_x, by_parameters = kernel(grad.reshape(-1), grad_log.reshape(-1), *flat, inverse=inverse)
    return by_x.view(x.shape), by_parameters.view(parameters.shape)


def _below_autograd() -> Any:
    """The same dispatcher state for every caller, so that a kernel is not compiled a second time for another state."""
    return torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.ADInplaceOrView))


def _flatten(x: Tensor, parameters: Tensor, *others: Tensor) -> list[Tensor]:
    """Flattens all arguments to one dimension, because only then the compiler fuses all operations into one loop."""
    return [x.reshape(-1), parameters.reshape(len(parameters), -1), *(t.expand(x.shape).reshape(-1) for t in others)]


# Registered without the checks of `torch.library.custom_op`, which take as long as a small kernel.
_operators = Library("boltzflow", "DEF")
_operators.define(
    "spline(Tensor x, Tensor p, Tensor lo, Tensor hi, Tensor r, Tensor c, bool inverse, bool fast) -> (Tensor, Tensor)"
)
_operators.define(
    "spline_gradient(Tensor g, Tensor gl, Tensor x, Tensor p, Tensor lo, Tensor hi, Tensor r, Tensor c,"
    " bool inverse, bool fast) -> (Tensor, Tensor)"
)
_operators.impl("spline", _spline_op, "CompositeExplicitAutograd")
_operators.impl("spline_gradient", _gradient_op, "CompositeExplicitAutograd")


@register_fake("boltzflow::spline")
def _(x: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


@register_fake("boltzflow::spline_gradient")
def _(_grad: Tensor, _log: Tensor, x: Tensor, parameters: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), parameters.new_empty(parameters.shape)


def _keep_for_gradient(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, *rest, ctx.inverse, ctx.fast = inputs
    ctx.save_for_backward(output[0] if ctx.inverse else x, *rest)


def _backward(ctx: Any, grad: Tensor, grad_log: Tensor) -> tuple[Tensor | None, ...]:
    by_x, by_parameters = torch.ops.boltzflow.spline_gradient(grad, grad_log, *ctx.saved_tensors, ctx.inverse, ctx.fast)
    return by_x, by_parameters, None, None, None, None, None, None


def _keep_for_second_gradient(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
    *tensors, ctx.inverse, _ = inputs
    ctx.save_for_backward(*tensors)


def _second_backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    """By automatic differentiation of the gradient's formula: slower, but rarely needed."""
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in ctx.saved_tensors[:4]]
        outputs = spline_gradient(*leaves, *ctx.saved_tensors[4:], inverse=ctx.inverse)
        second = torch.autograd.grad(outputs, leaves, grads)
    return (*second, None, None, None, None, None, None)


register_autograd("boltzflow::spline", _backward, setup_context=_keep_for_gradient)
register_autograd("boltzflow::spline_gradient", _second_backward, setup_context=_keep_for_second_gradient)


@register_vmap("boltzflow::spline")
def _(info: Any, dims: tuple[int | None, ...], x: Tensor, parameters: Tensor, *rest: Any) -> Any:
    """The kernel takes points of any shape, so a mapped dimension is put first; bounds are not mapped."""
    at_x, at_parameters, *_ = dims
    size, shape = info.batch_size, x.shape if at_x is None else x.movedim(at_x, 0).shape[1:]
    x = x.expand(size, *shape) if at_x is None else x.movedim(at_x, 0)
    parameters = parameters.unsqueeze(1) if at_parameters is None else parameters.movedim(at_parameters, 1)
    return torch.ops.boltzflow.spline(x, parameters.expand(-1, size, *shape), *rest), (0, 0)
