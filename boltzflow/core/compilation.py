"""torch.compile where a working compiler exists, the same code run eagerly where none does."""

from __future__ import annotations

import functools
import logging
import os
import types
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

_logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


@functools.cache
def compiler_works(device_type: str = "cpu") -> bool:
    """Whether `torch.compile` can build code for this kind of device; found out once, by trying.

    The environment variable ``BOLTZFLOW_COMPILE=0`` turns compilation off.
    """
    if os.environ.get("BOLTZFLOW_COMPILE", "1") == "0":
        return False
    try:
        torch.compile(_trial)(torch.zeros(8, device=device_type))
    except Exception as error:  # each backend fails in its own way: no compiler, no headers, no Triton
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        _logger.warning("No working compiler for torch.compile on %s, so code runs eagerly: %s", device_type, reason)
        return False
    return True


def compiled(fn: Callable[P, R], **options: Any) -> Callable[P, R]:
    """`fn` under `torch.compile` if the compiler works for the device of its first tensor, else `fn` itself.

    Nothing is compiled, and no compiler looked for, before the first call. `options` go to `torch.compile`.

    >>> double = compiled(lambda x: 2 * x)
    >>> double(torch.ones(2))
    tensor([2., 2.])
    """
    fast: Callable[P, R] = torch.compile(_with_own_code(fn), **options)

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next((a.device.type for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), "cpu")
        return fast(*args, **kwargs) if compiler_works(device) else fn(*args, **kwargs)

    return call


def compile_method(module: nn.Module, name: str, **options: Any) -> None:
    """Compiles one method of `module` in place if the compiler works.

    Parameters and state-dict keys stay as they are, copies of the module keep the compiled method, and modules of
    one class and shape share their compiled code.
    """
    device = next((t.device.type for t in (*module.parameters(), *module.buffers())), "cpu")
    if compiler_works(device):
        fast = torch.compile(getattr(type(module), name), **options)
        setattr(module, name, types.MethodType(fast, module))


def _with_own_code(fn: Callable[P, R]) -> Callable[P, R]:
    """`fn` with a code object of its own.

    The compiler counts recompilations by code object; closures that one line of code has made share theirs, and
    would share its limit as well.
    """
    if not isinstance(fn, types.FunctionType):
        return fn
    copy = types.FunctionType(fn.__code__.replace(), fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    copy.__kwdefaults__ = fn.__kwdefaults__
    return copy


def _trial(x: Tensor) -> Tensor:
    return x.sin() + 1
