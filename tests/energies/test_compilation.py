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
    compilation.compiler_works.cache_clear()
    yield
    compilation.compiler_works.cache_clear()


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
