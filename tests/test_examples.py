"""Each example runs, in its short mode."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SHORT: dict[str, tuple[list[str], str]] = {
    # file: (arguments of its short mode, what it must print)
    "01_quick_start.py": (["--steps", "2", "--samples", "64", "--layers", "1"], "after 2 steps: effective sample size"),
    "02_flow_on_a_cylinder.py": (["--steps", "5"], "KL(p‖q) ="),
    "03_planar_radial_nice_realnvp.py": (["--steps", "3"], "KL(q‖p) in nats"),
    "04_bases_for_two_moons.py": (["--steps", "5"], "KL(p ‖ q) ="),
    "05_stochastic_flow_double_well.py": (["--steps", "3"], "with Langevin"),
    "06_residual_flow.py": (["--steps", "5"], "held-out NLL"),
    "07_glow_on_digits.py": (["--steps", "2", "--draws", "2"], "bits per dimension"),
    "08_vae_with_flow_posterior.py": (["--steps", "5"], "paired difference"),
    "09_conditional_flow.py": (["--steps", "5"], "exact entropy"),
    "10_xtb_and_force_field.py": (["--steps", "2"], "GFN2-xTB      C7ax"),
    "11_own_molecule.py": (["--steps", "2", "--samples", "64", "--layers", "1"], "population with the hydroxyl"),
    "12_free_energies.py": (["--samples", "300", "--steps", "1"], "population of gauche"),
    "13_alanine_dipeptide_in_depth.py": (["--samples", "300", "--picoseconds", "0.4"], "from its frames"),
    "14_reweighting_with_mdtraj.py": (["--samples", "300"], "frames of equal weight"),
    "15_training_methods.py": (["--steps", "2"], "likelihood, one well"),
}
NEEDS = {"10_xtb_and_force_field.py": "tblite"}


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("[0-9]*.py")} == set(SHORT)


@pytest.mark.parametrize("name", SHORT)
def test_example(name, tmp_path):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    arguments, printed = SHORT[name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BOLTZFLOW_COMPILE": "0", "MPLBACKEND": "Agg"}
    command = [sys.executable, EXAMPLES / name, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    assert printed in result.stdout
