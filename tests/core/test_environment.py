"""Environments in which PyTorch's compiler cannot work: everything else does, eagerly."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import boltzflow as bf
from boltzflow.core import Domain, distributions, recipes
from boltzflow.training import DensityModel

ROOT = Path(__file__).parents[2]
NOWHERE = "/dev/null/folder"
"""Cannot be made, not even by root."""

ENVIRONMENTS = {
    "no home": {"HOME": NOWHERE, "XDG_CACHE_HOME": NOWHERE},
    "no cache": {"TORCHINDUCTOR_CACHE_DIR": NOWHERE},
    "no C++ compiler": {"PATH": str(Path(sys.executable).parent), "CXX": "", "TORCHINDUCTOR_CACHE_DIR": "{empty}"},
    "C locale": {"LC_ALL": "C"},
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "warnings are errors": {"PYTHONWARNINGS": "error"},
    "no cache, warnings are errors": {"TORCHINDUCTOR_CACHE_DIR": NOWHERE, "PYTHONWARNINGS": "error"},
    "switch of compile": {"TORCH_COMPILE_DISABLE": "1"},
    "switch of dynamo": {"TORCHDYNAMO_DISABLE": "1"},
    "switch of boltzflow": {"BOLTZFLOW_COMPILE": "0"},
    "no cache, warnings are errors, switched off": {
        "TORCHINDUCTOR_CACHE_DIR": NOWHERE,
        "PYTHONWARNINGS": "error",
        "BOLTZFLOW_COMPILE": "0",
    },
}
SILENT = {"no home", "C locale", "switch of boltzflow", "no cache, warnings are errors, switched off"}

CODE = """
    import sys, torch
    import boltzflow as bf, boltzflow.core
    assert not any(name.startswith(("torch._dynamo", "torch._inductor")) for name in sys.modules)

    system = bf.load_system("butane")
    frames = torch.tensor(system.positions, dtype=torch.float32).expand(4, -1, -1)
    one, other = (system.potential(backend).energy(frames)[0].item() for backend in ("torch", "openmm"))
    assert abs(one - other) < 1e-3, (one, other)

    from boltzflow.core import Domain, distributions, recipes
    from boltzflow.training import DensityModel
    torch.manual_seed(0)
    flow = recipes.spline_flow(Domain.real(1) + Domain.circle(1), layers=1, hidden=(4,), bins=4)
    model = DensityModel(flow, distributions.targets.Cylinder())
    print(bf.train(model, steps=1, batch_size=16, log_every=1, progress=False).last.loss)
"""


@pytest.fixture(scope="module")
def eager_loss() -> float:
    torch.manual_seed(0)
    flow = recipes.spline_flow(Domain.real(1) + Domain.circle(1), layers=1, hidden=(4,), bins=4)
    model = DensityModel(flow, distributions.targets.Cylinder())
    return bf.train(model, steps=1, batch_size=16, log_every=1, compile=False, progress=False).last.loss


def run(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    chosen = {key: value.format(empty=folder) for key, value in ENVIRONMENTS[name].items()}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **chosen}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "no cache, warnings are errors" else pytest.mark.slow)
        for name in ENVIRONMENTS
    ],
)
def test_energies_and_training_work_and_what_is_missing_is_said_once(name, eager_loss, tmp_path) -> None:
    """The compiler is not even loaded by an import; OpenMM's energies, and the loss of an eager step."""
    done = run(name, tmp_path, "-c", textwrap.dedent(CODE))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(eager_loss, abs=1e-4)
    assert done.stderr.count("so code runs eagerly") == (0 if name in SILENT else 1), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_command_answers(name, tmp_path) -> None:
    for arguments in (["--version"], ["systems"]):
        done = run(name, tmp_path, "-m", "boltzflow", *arguments)
        assert done.returncode == 0, done.stderr
        assert "Error" not in done.stderr
