"""Each example runs, in its short mode."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from matplotlib import pyplot

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
FIRST = "01_quick_start.py"
NEEDS = {"10_xtb_and_force_field.py": "tblite"}


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("[0-9]*.py")} == set(SHORT)


def test_the_first_example_as_a_program(tmp_path):
    arguments, printed = SHORT[FIRST]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    command = [sys.executable, EXAMPLES / FIRST, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    assert printed in result.stdout


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # as Python does, outside of tests
@pytest.mark.parametrize("name", sorted(SHORT.keys() - {FIRST}))
def test_example(name, tmp_path, monkeypatch, capsys):
    """As a script, but in this process, which has loaded the libraries already; what it sets is set back."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    arguments, printed = SHORT[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    pyplot.switch_backend("Agg")
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng():
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    finally:
        torch.compiler.set_stance("default")
        torch.set_num_threads(threads)
        pyplot.close("all")
    assert printed in capsys.readouterr().out
