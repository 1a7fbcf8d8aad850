"""What holds for all tests, those of the docstrings too."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# Where each core has a process of its own, threads would only wait for each other; programs that tests start too.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Compiling the energies of one more molecule takes seconds, and most tests need them a few times. Tests of compiled
# code ask for the fixture `compiler`; BOLTZFLOW_COMPILE=1 compiles in all tests what users have compiled.
os.environ.setdefault("BOLTZFLOW_COMPILE", "0")

# A shell starts its background jobs with Ctrl-C ignored, and programs that such a job starts ignore it too; tests of
# what Ctrl-C does need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """No process beside this one for tests of a single file: to load the libraries once more takes longer than most."""
    files = {argument.split("::")[0] for argument in config.args}
    return 0 if len(files) == 1 and Path(config.invocation_params.dir, *files).is_file() else None


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not rendered, which takes seconds for each analysis: files hold their format's signature."""

    def save(_: object, path: str | Path, **__: object) -> None:
        Path(path).write_bytes({".png": b"\x89PNG", ".pdf": b"%PDF"}[Path(path).suffix])

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", save)


@pytest.fixture
def compiler() -> Iterator[None]:
    """PyTorch's compiler, also in programs that the test starts."""
    from boltzflow.core.compilation import compiler_works  # loads torch, which not every test needs

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BOLTZFLOW_COMPILE")
        compiler_works.cache_clear()
        if not compiler_works():
            pytest.skip("needs a compiler")
        yield
        compiler_works.cache_clear()
