"""Each example runs, in its short mode."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHORT = {
    "01_alanine_dipeptide.py": ["--steps", "2", "--samples", "64", "--layers", "1"],
    "02_flow_on_a_cylinder.py": ["--steps", "5"],
}


def test_every_example_is_run():
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(SHORT)


@pytest.mark.parametrize("name", SHORT)
def test_example(name, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BOLTZFLOW_COMPILE": "0"}
    command = [sys.executable, ROOT / "examples" / name, *SHORT[name]]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    assert "effective sample size" in result.stdout
