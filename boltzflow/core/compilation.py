"""torch.compile where a working compiler exists, the same code run eagerly where none does.

Nothing of the compiler is loaded before something is to be compiled.
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

_CACHE = "TORCHINDUCTOR_CACHE_DIR"

_failed: set[str] = set()
"""Kinds of device whose compiler has failed after its trial: a disk is full now, say."""


@functools.cache
def compiler_works(device_type: str = "cpu") -> bool:
    """Whether `torch.compile` can build code for this kind of device; found out once, by trying.

    The environment variable ``BOLTZFLOW_COMPILE=0`` turns compilation off.
    """
    if os.environ.get("BOLTZFLOW_COMPILE", "1") == "0":
        return False
    try:
        load_compiler()
        with torch.compiler.set_stance("default"):  # asks for the compiler, whatever the caller wants of it now
            was_compiled = bool(torch.compile(_trial)(torch.zeros(8, device=device_type)).all())
    except Exception as error:  # each backend fails in its own way: no compiler, no headers, no Triton
        _say_eager(device_type, error)
        return False
    if not was_compiled:
        _say_eager(device_type, "PyTorch's own switches turn it off (TORCH_COMPILE_DISABLE, TORCHDYNAMO_DISABLE)")
    return was_compiled


def compiled(fn: Callable[P, R], **options: Any) -> Callable[P, R]:
    """`fn` under `torch.compile` if the compiler works for the device of its first tensor, else `fn` itself.

    Nothing is compiled, and no compiler looked for, before the first call. `options` go to `torch.compile`.

    >>> double = compiled(lambda x: 2 * x)
    >>> double(torch.ones(2))
    tensor([2., 2.])
    """
    return _compiled_later(fn, lambda: torch.compile(_with_own_code(fn), **options))


def compile_method(module: nn.Module, name: str, **options: Any) -> None:
    """Compiles one method of `module` in place; it is as `compiled` says from then on.

    Parameters and state-dict keys stay as they are, copies of the module keep the compiled method, and modules of
    one class and shape share their compiled code.
    """
    method = getattr(type(module), name)
    setattr(module, name, types.MethodType(_compiled_later(method, lambda: torch.compile(method, **options)), module))


@functools.cache
def load_compiler() -> None:
    """Import PyTorch's compiler where it could not import itself: the folder of its cache cannot be made.

    PyTorch's optimisers need it whether anything is compiled or not, and once half imported it stays broken.
    """
    wanted = os.environ.get(_CACHE)
    if wanted is None:
        return
    try:
        Path(wanted).mkdir(parents=True, exist_ok=True)
    except OSError:
        with tempfile.TemporaryDirectory() as folder:
            os.environ[_CACHE] = folder
            try:
                import_module("torch._dynamo")
            finally:
                os.environ[_CACHE] = wanted


def never_compiled(fn: Callable[P, R]) -> Callable[P, R]:
    """`fn`, which compiled code that calls it leaves to Python: a loop whose length the data decide, say.

    As `torch.compiler.disable`, which would load the compiler at once.
    """

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            plain: Callable[P, R] = torch.compiler.disable(fn)  # type: ignore[no-untyped-call]
            return plain(*args, **kwargs)
        return fn(*args, **kwargs)

    return call


def _compiled_later(fn: Callable[P, R], build: Callable[[], Callable[P, R]]) -> Callable[P, R]:
    """What `build` gives at the first call that can use it; `fn` where the compiler does not work, or fails."""
    build = functools.cache(build)

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():  # becomes a part of what is being compiled
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
    """Of zeros: ones from compiled code, zeros from any other."""
    return x.cos() if torch.compiler.is_compiling() else x.sin()
