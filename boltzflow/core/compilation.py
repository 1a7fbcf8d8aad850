"""Uses torch.compile if a working compiler exists, and runs the same code eagerly otherwise.

The compiler is not imported before it is needed.
"""

from __future__ import annotations

import functools
import logging
import os
import tempfile
import types
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

_logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_SHAPES = 64  # variants of one function
_CACHE = "TORCHINDUCTOR_CACHE_DIR"

_failed: set[str] = set()
"""Device types whose compiler failed after a successful trial, for example because the disk is full."""


@functools.cache
def compiler_works(device_type: str = "cpu") -> bool:
    """Whether `torch.compile` works for this device type; tested once, by compiling a small function.

    The environment variable ``BOLTZFLOW_COMPILE=0`` turns compilation off.
    """
    if os.environ.get("BOLTZFLOW_COMPILE", "1") == "0":
        return False
    try:
        load_compiler()
        with torch.compiler.set_stance("default"):  # uses the compiler, even if the caller has changed the stance
            was_compiled = bool(torch.compile(_trial)(torch.zeros(8, device=device_type)).all())
    except Exception as error:  # backends raise different types: no compiler, no headers, no Triton
        _say_eager(device_type, error)
        return False
    if not was_compiled:
        _say_eager(device_type, "PyTorch's own switches turn it off (TORCH_COMPILE_DISABLE, TORCHDYNAMO_DISABLE)")
    return was_compiled


def compiled(fn: Callable[P, R], **options: Any) -> Callable[P, R]:
    """`fn` under `torch.compile` if the compiler works for the device of its first tensor, else `fn` itself.

    Compilation, and the test of the compiler, are deferred to the first call. `options` are passed to `torch.compile`.

    >>> double = compiled(lambda x: 2 * x)
    >>> double(torch.ones(2))
    tensor([2., 2.])
    """
    return _compiled_later(fn, lambda: torch.compile(_with_own_code(fn), **options))


def compile_method(module: nn.Module, name: str, **options: Any) -> None:
    """Compile one method of `module` in place, as with `compiled`.

    Parameters and state-dict keys do not change, copies of the module keep the compiled method, and modules of
    one class and shape share their compiled code.
    """
    method = getattr(type(module), name)
    setattr(module, name, types.MethodType(_compiled_later(method, lambda: torch.compile(method, **options)), module))


@functools.cache
def load_compiler() -> None:
    """Import PyTorch's compiler even if the folder of its cache cannot be created.

    PyTorch's optimisers import it even if nothing is compiled, and a failed import leaves it broken.
    """
    wanted = os.environ.get(_CACHE)
    if wanted is not None:
        try:
            Path(wanted).mkdir(parents=True, exist_ok=True)
        except OSError:
            with tempfile.TemporaryDirectory() as folder:
                os.environ[_CACHE] = folder
                try:
                    import_module("torch._dynamo")
                finally:
                    os.environ[_CACHE] = wanted
    config = import_module("torch._dynamo").config
    # Couplings of several shapes share their code, and each shape is compiled for both directions of a gradient, for
    # samples without one, and for each size of a batch. Beyond the limit, code runs eagerly.
    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    setattr(config, name, max(_SHAPES, getattr(config, name)))


def never_compiled(fn: Callable[P, R]) -> Callable[P, R]:
    """`fn`, excluded from compilation, for example because the number of iterations of a loop depends on the data.

    Like `torch.compiler.disable`, but without importing the compiler immediately.
    """

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            plain: Callable[P, R] = torch.compiler.disable(fn)  # type: ignore[no-untyped-call]
            return plain(*args, **kwargs)
        return fn(*args, **kwargs)

    return call


def _compiled_later(fn: Callable[P, R], build: Callable[[], Callable[P, R]]) -> Callable[P, R]:
    """The result of `build`, called when first needed; `fn` if the compiler does not work or fails."""
    build = functools.cache(build)

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():  # becomes part of the function that is being compiled
            return fn(*args, **kwargs)
        device = next((a.device.type for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), "cpu")
        if not compiler_works(device) or device in _failed:
            return fn(*args, **kwargs)
        try:
            return build()(*args, **kwargs)
        except (OSError, torch._dynamo.exc.BackendCompilerFailed) as error:
            _failed.add(device)
            _say_eager(device, error)
        return fn(*args, **kwargs)

    return call


def _say_eager(device_type: str, reason: Exception | str) -> None:
    first_line = next(iter(str(reason).strip().splitlines()), type(reason).__name__)
    _logger.warning("No working compiler for torch.compile on %s, so code runs eagerly: %s", device_type, first_line)


def _with_own_code(fn: Callable[P, R]) -> Callable[P, R]:
    """`fn` with its own code object.

    The compiler limits recompilations per code object, and closures created by the same line share one.
    """
    if not isinstance(fn, types.FunctionType):
        return fn
    copy = types.FunctionType(fn.__code__.replace(), fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    copy.__kwdefaults__ = fn.__kwdefaults__
    return copy


def _trial(x: Tensor) -> Tensor:
    """Returns ones for zeros if it is compiled, else zeros."""
    return x.cos() if torch.compiler.is_compiling() else x.sin()
