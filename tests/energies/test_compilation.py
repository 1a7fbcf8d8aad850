"""Compilation where it works, eager code where it does not."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from boltzflow.core import compilation


@pytest.fixture(autouse=True)
def _fresh_answer() -> Iterator[None]:
    ask = compilation.compiler_works  # which tests replace
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BOLTZFLOW_COMPILE")
        ask.cache_clear()
        yield
        ask.cache_clear()


@pytest.fixture
def broken_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_nothing(fn: object, **options: object) -> Callable[..., Tensor]:
        def call(*args: object) -> Tensor:
            raise RuntimeError("no g++ found\nsecond line")

        return call

    monkeypatch.setattr(torch, "compile", compile_nothing)


@pytest.mark.usefixtures("broken_compiler")
def test_falls_back_to_eager_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    double = compilation.compiled(lambda x: 2 * x)
    with caplog.at_level(logging.WARNING):
        assert [double(torch.ones(1)).item() for _ in range(3)] == [2.0, 2.0, 2.0]
    assert [r.getMessage() for r in caplog.records] == [
        "No working compiler for torch.compile on cpu, so code runs eagerly: no g++ found"
    ]


@pytest.mark.usefixtures("broken_compiler")
def test_module_stays_eager_without_compiler() -> None:
    module = nn.Linear(2, 2)
    compilation.compile_method(module, "forward")
    assert module(torch.ones(1, 2)).shape == (1, 2)


def test_environment_turns_it_off(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("BOLTZFLOW_COMPILE", "0")
    assert not compilation.compiler_works()
    assert not caplog.records


def test_a_trial_that_ran_eagerly_is_no_compiler(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch, "compile", lambda fn, **_: fn)  # what PyTorch's own switches come to
    with caplog.at_level(logging.WARNING):
        assert [compilation.compiler_works() for _ in range(2)] == [False, False]
    assert [r.getMessage() for r in caplog.records] == [
        "No working compiler for torch.compile on cpu, so code runs eagerly: PyTorch's own switches turn it off "
        "(TORCH_COMPILE_DISABLE, TORCHDYNAMO_DISABLE)"
    ]


def test_a_compiler_that_fails_later_is_given_up_and_said_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as on a disk that is full by then; an error of the function's own is no such failure."""
    calls = []

    def compile_nothing(fn: object, **options: object) -> Callable[..., Tensor]:
        def call(*args: object) -> Tensor:
            calls.append(args)
            raise PermissionError(13, "Permission denied", "cache")

        return call

    monkeypatch.setattr(compilation, "compiler_works", lambda *_: True)
    monkeypatch.setattr(compilation, "_failed", set())
    monkeypatch.setattr(torch, "compile", compile_nothing)
    double = compilation.compiled(lambda x: 2 * x)
    module = nn.Linear(2, 2)
    compilation.compile_method(module, "forward")
    with caplog.at_level(logging.WARNING):
        assert [double(torch.ones(1)).item() for _ in range(2)] == [2.0, 2.0]
        assert module(torch.ones(1, 2)).shape == (1, 2)
    assert len(calls) == len(caplog.records) == 1
    assert caplog.records[0].getMessage().endswith("so code runs eagerly: [Errno 13] Permission denied: 'cache'")

    monkeypatch.setattr(compilation, "_failed", set())
    monkeypatch.setattr(torch, "compile", lambda fn, **_: fn)

    def refuses(x: Tensor) -> Tensor:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        compilation.compiled(refuses)(torch.ones(1))
    assert not compilation._failed


def test_nothing_is_compiled_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(compilation, "compiler_works", lambda *_: True)
    monkeypatch.setattr(torch, "compile", lambda fn, **_: asked.append(fn) or fn)
    double = compilation.compiled(lambda x: 2 * x)
    module = nn.Linear(2, 2)
    compilation.compile_method(module, "forward")
    assert not asked
    double(torch.ones(1)), double(torch.ones(1)), module(torch.ones(1, 2))
    assert len(asked) == 2


def test_what_is_never_compiled_runs_in_python_within_compiled_code() -> None:
    seen = []

    @compilation.never_compiled
    def count(x: Tensor) -> Tensor:
        seen.append(torch.compiler.is_compiling())
        return x

    double = torch.compile(lambda x: 2 * count(x), backend="eager")
    assert double(torch.ones(1)).item() == 2.0
    assert seen == [False]


def test_compiles_a_method_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "compiler_works", lambda *_: True)
    module = nn.Linear(2, 3)
    keys = list(module.state_dict())
    x = torch.ones(1, 2)
    expected = module(x)
    compilation.compile_method(module, "forward", backend="eager")
    torch.testing.assert_close(module(x), expected)
    assert list(module.state_dict()) == keys


def test_a_copy_of_a_compiled_module_uses_its_own_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "compiler_works", lambda *_: True)
    module = nn.Linear(2, 3)
    compilation.compile_method(module, "forward", backend="eager")
    twin = copy.deepcopy(module)
    nn.init.zeros_(twin.weight)
    x = torch.ones(1, 2)
    torch.testing.assert_close(twin(x), twin.bias[None])
    assert not torch.equal(module(x), twin(x))


def test_closures_of_one_line_do_not_share_a_recompile_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "compiler_works", lambda *_: True)

    def scale(k: int) -> Callable[[Tensor], Tensor]:
        return compilation.compiled(lambda x: k * x, backend="eager", fullgraph=True)

    for k in range(12):  # more than the limit of eight
        torch.testing.assert_close(scale(k)(torch.ones(k + 2)), torch.full((k + 2,), float(k)))
