"""The command line, end to end with a tiny flow, and what it says when something is wrong."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import boltzflow as bf
from boltzflow.cli import app, generators
from boltzflow.ensemble import Ensemble
from boltzflow.molecules import available_systems

ROOT = str(Path(__file__).parent.parent)

TINY = ["--layers", "1", "--hidden", "8", "--bins", "4", "--batch-size", "16", "--samples", "64", "--steps", "3"]
TINY += ["--check-ps", "0"]

RUN_FILES = {
    "checkpoints",
    "config.yaml",
    "energies.pdf",
    "energies.png",
    "generator.safetensors",
    "metrics.csv",
    "profiles.csv",
    "profiles.pdf",
    "profiles.png",
    "ramachandran.csv",
    "ramachandran.pdf",
    "ramachandran.png",
    "report.html",
    "samples.dcd",
    "summary.json",
    "topology.pdb",
    "training.pdf",
    "training.png",
    "weights.npz",
    "weights.pdf",
    "weights.png",
}


def call(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def fails(*arguments):
    """The one sentence that a command fails with."""
    result = call(*arguments)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ")
    return lines[0]


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "tiny"
    result = call("train", "alanine_dipeptide", *TINY, "--check-ps", 0.4, "--seed", 5, "--out", directory)
    assert result.exit_code == 0, result.output
    return directory


@pytest.fixture(autouse=True)
def _quick(run_directory, unrendered):
    """Pictures of the run above are real ones; those of all other commands are not rendered."""


def test_train_fills_the_run_directory(run_directory):
    assert {path.name for path in run_directory.iterdir()} == RUN_FILES
    config = yaml.safe_load((run_directory / "config.yaml").read_text())
    assert (config["version"], config["system"], config["seed"], config["hidden"]) == (1, "alanine_dipeptide", 5, [8])
    summary = json.loads((run_directory / "summary.json").read_text())
    assert summary["frames"] == 64
    assert summary["run"]["training_energy_evaluations"] == 48
    assert summary["geometry"] is not None
    assert "of an independent simulation" in summary["run"]["collapse_check"]["verdict"]
    assert len(bf.Ensemble.load(run_directory)) == 64


def test_the_options_of_training_reach_it(tmp_path):
    options = ["--ema", 0.9, "--precision", "bfloat16", "--patience", 100, "--tensorboard"]
    assert call("train", "butane", *TINY, *options, "--out", tmp_path / "run").exit_code == 0
    settings = bf.BoltzmannGenerator.load(tmp_path / "run" / "generator.safetensors").provenance
    assert (settings["ema"], settings["precision"], settings["patience"]) == (0.9, "bfloat16", 100)
    assert settings["devices"] == 1
    assert [*(tmp_path / "run" / "tensorboard").iterdir()]


def test_a_training_that_stopped_early_is_told(run_directory, capsys):
    summary = bf.analyze(run_directory)
    tell = generators._tell
    tell(summary, run_directory)
    assert "stopped early" not in capsys.readouterr().out
    tell(replace(summary, run={**summary.run, "stopped_early": True, "steps": 1234}), run_directory)
    assert "after 1,234 steps, because the ESS stopped rising" in capsys.readouterr().out


def test_each_verdict_is_told_once(run_directory, capsys):
    summary = bf.analyze(run_directory)
    generators._tell(summary, run_directory)
    told = [line[:25].strip() for line in capsys.readouterr().out.splitlines()]
    assert told[-3:] == [*summary.verdicts, "written to"] == ["weights", "lost basins", "written to"]
    assert len(set(told)) == len(told)


def test_sample_from_a_run_and_from_a_file(run_directory, tmp_path):
    first = call("sample", run_directory, "-n", 32, "--seed", 1, "--out", tmp_path / "one")
    second = call("sample", run_directory / "generator.safetensors", "-n", 32, "--seed", 1, "--out", tmp_path / "two")
    assert first.exit_code == second.exit_code == 0
    one, two = (bf.Ensemble.load(tmp_path / name) for name in ("one", "two"))
    assert (one.log_weights == two.log_weights).all()
    assert "ESS" in first.stdout


def test_samples_without_a_seed_say_which_they_took(run_directory, tmp_path):
    assert call("sample", run_directory, "-n", 32, "--out", tmp_path / "one").exit_code == 0
    seed = json.loads((tmp_path / "one" / "summary.json").read_text())["run"]["sampling_seed"]
    assert call("sample", run_directory, "-n", 32, "--seed", seed, "--out", tmp_path / "two").exit_code == 0
    one, two = (bf.Ensemble.load(tmp_path / name) for name in ("one", "two"))
    assert (one.log_weights == two.log_weights).all()
    assert call("sample", run_directory, "-n", 0, "--out", tmp_path / "none").exit_code == 2
    assert not (tmp_path / "none").exists()


def test_a_generator_is_evaluated(run_directory, tmp_path):
    result = call("evaluate", run_directory, "-n", 200, "--seed", 1, "--out", tmp_path / "library")
    assert result.exit_code == 0, result.output
    assert "reference" in result.stdout
    found = json.loads((tmp_path / "library" / "summary.json").read_text())["run"]["evaluation"]
    assert found["comparison"]["verdict"].startswith(("Do not use", "With care"))
    assert found["forward"] is None  # the library keeps torsions alone
    assert "Ramachandran surfaces compared with the reference" in (tmp_path / "library" / "report.html").read_text()
    trajectory = run_directory / "samples.dcd"
    arguments = ["evaluate", run_directory, "-n", 100, "--seed", 1, "--reference"]
    assert call(*arguments, trajectory, "--out", tmp_path / "own").exit_code == 0
    forward = json.loads((tmp_path / "own" / "summary.json").read_text())["run"]["evaluation"]["forward"]
    assert (forward["frames"], forward["outside"]["value"]) == (64, 0.0)
    assert "found neither" in fails(*arguments, tmp_path, "--out", tmp_path / "none")
    assert "Cannot read" in fails(*arguments, tmp_path / "library" / "summary.json", "--out", tmp_path / "none")
    other = available_systems()["butane"] / "reference"
    assert "torsions are those of another" in fails(*arguments, other, "--out", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_analyze_again_gives_the_same_numbers(run_directory):
    before = json.loads((run_directory / "summary.json").read_text())
    assert call("analyze", run_directory).exit_code == 0
    after = json.loads((run_directory / "summary.json").read_text())
    assert after["run"] == before["run"]
    assert after["populations"] == before["populations"]
    assert after["geometry"]["worst"] == before["geometry"]["worst"]


def test_resume_of_a_finished_run_draws_the_same_samples(run_directory):
    before = bf.Ensemble.load(run_directory).log_weights
    assert call("train", "alanine_dipeptide", "--resume", "--out", run_directory).exit_code == 0
    assert (bf.Ensemble.load(run_directory).log_weights == before).all()


def test_interrupt_keeps_the_run_and_says_how_to_go_on(tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("boltzflow.workflows.training.train", interrupted)
    result = call("train", "alanine_dipeptide", *TINY, "--out", tmp_path / "run")
    assert result.exit_code == 130
    assert f"boltzflow train --out {tmp_path / 'run'} --resume" in result.stderr
    assert "There is no checkpoint yet" in result.stderr
    assert (tmp_path / "run" / "config.yaml").exists()


def test_a_pdb_file_of_ones_own(tmp_path):
    pdb = available_systems()["alanine_dipeptide"] / "topology.pdb"
    options = ["--forcefield", "amber96.xml", "--temperature", "350", "--out", tmp_path / "run"]
    assert call("train", pdb, *TINY, *options).exit_code == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["temperature"] == 350.0


def test_a_range_of_temperatures(tmp_path):
    options = ["--temperatures", "300,600", "--out", tmp_path / "run"]
    assert call("train", "butane", *TINY, *options).exit_code == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["temperature"] == 300.0
    drawn = ["sample", tmp_path / "run", "-n", "20", "--temperature"]
    assert call(*drawn, "450", "--out", tmp_path / "warm").exit_code == 0
    assert bf.Ensemble.load(tmp_path / "warm").temperature == 450.0
    assert "300 to 600 K); got 700 K" in fails(*drawn, "700", "--out", tmp_path / "hot")


def test_systems_are_listed():
    result = call("systems")
    assert result.exit_code == 0
    assert "alanine_dipeptide" in result.stdout
    assert "ff96" in result.stdout


@pytest.mark.parametrize("command", [[], ["train"], ["sample"], ["analyze"], ["evaluate"], ["reference"], ["systems"]])
def test_help_teaches(command):
    result = call(*command, "--help")
    assert result.exit_code == 0
    assert "alanine_dipeptide" in result.stdout or "boltzflow" in result.stdout or "BOLTZFLOW" in result.stdout


def test_version():
    assert call("--version").stdout.strip() == bf.__version__


# -- errors ----------------------------------------------------------------------------------------


def test_unknown_system(tmp_path):
    message = fails("train", "nonsense", "--out", tmp_path / "run")
    assert "'nonsense'" in message
    assert "alanine_dipeptide" in message
    assert not (tmp_path / "run").exists()


def test_residue_without_template(tmp_path):
    text = (available_systems()["alanine_dipeptide"] / "topology.pdb").read_text().replace("ALA", "XYZ")
    (tmp_path / "strange.pdb").write_text(text)
    assert "residue XYZ 2" in fails("train", tmp_path / "strange.pdb", "--out", tmp_path / "run")


def test_negative_temperature(tmp_path):
    message = fails("train", "alanine_dipeptide", "--temperature", "-300", "--out", tmp_path / "run")
    assert "temperature" in message
    assert "-300" in message


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--steps", "0"], "steps"),
        (["--hidden", "a,b"], "--hidden"),
        (["--temperatures", "300;600"], "--temperatures"),
        (["--temperatures", "300,400,500"], "temperatures"),
        (["--temperatures", "400,500"], "contains the system's own, 300 K"),
        (["--method", "magic"], "magic"),
        (["--ema", "1"], "ema"),
        (["--precision", "float16"], "precision"),
        (["--patience", "-1"], "patience"),
        (["--patience", "99"], "at least two records, 100 steps; got 99"),
        (["--accelerator", "tpu"], "accelerator"),
        (["--devices", "0"], "devices"),
        (["--forcefield", "amber96.xml"], "Expected no --forcefield with alanine_dipeptide"),
    ],
)
def test_impossible_options(tmp_path, options, part):
    assert part in fails("train", "alanine_dipeptide", *options, "--out", tmp_path / "run")


def test_directory_that_holds_a_run(run_directory):
    assert "already contains a run" in fails("train", "alanine_dipeptide", "--out", run_directory)
    assert "already contains a run" in fails("sample", run_directory, "--out", run_directory)


def test_resume_of_nothing_and_with_other_settings(run_directory, tmp_path):
    assert "contains no run" in fails("train", "alanine_dipeptide", "--resume", "--out", tmp_path)
    message = fails("train", "alanine_dipeptide", "--resume", "--steps", 99, "--out", run_directory)
    assert "steps 3; got 99" in message


def test_truncated_checkpoint(run_directory, tmp_path):
    shutil.copytree(run_directory, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "last.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert "last.safetensors" in fails("train", "alanine_dipeptide", "--resume", "--out", tmp_path / "run")


def test_damaged_configuration(run_directory, tmp_path):
    (tmp_path / "config.yaml").write_text("version: 1\nsystem: alanine_dipeptide\nstepps: 3\n")
    assert "Unknown key 'stepps'" in fails("train", "alanine_dipeptide", "--resume", "--out", tmp_path)


def test_sources_that_are_none(tmp_path):
    assert "Expected a generator's file, a directory" in fails("sample", "nonsense", "--out", tmp_path / "s")
    assert "samples.dcd is missing" in fails("analyze", tmp_path)


def test_the_command_lets_waiting_threads_sleep_and_the_library_does_not(tmp_path):
    """The setting is there before torch is loaded; importing the library changes nothing."""
    code = (
        "import os, sys, boltzflow.__main__ as m; assert 'torch' not in sys.modules; "
        "import boltzflow.cli; assert 'OMP_WAIT_POLICY' not in os.environ; "
        "sys.argv = ['boltzflow', 'systems']\n"
        "try: m.main()\nfinally: print(os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": ROOT},
    )
    assert result.stdout.splitlines()[-1] == "PASSIVE", result.stderr


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "taken").write_text("mine")
    assert "taken is a file" in fails("train", "alanine_dipeptide", *TINY, "--out", tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_foreign_topology_is_not_overwritten(tmp_path):
    (tmp_path / "topology.pdb").write_text("mine")
    assert "already contains a run (topology.pdb)" in fails("train", "alanine_dipeptide", *TINY, "--out", tmp_path)
    assert (tmp_path / "topology.pdb").read_text() == "mine"


def test_a_damaged_summary_is_named(run_directory, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run_directory, copy)
    (copy / "summary.json").write_text("{")
    assert "summary.json is damaged" in fails("analyze", copy)


def test_replicas_are_compared_and_the_finding_kept(run_directory, tmp_path):
    other = tmp_path / "other"  # as another seed may have made it
    shutil.copytree(run_directory, other)
    drawn = Ensemble.load(other)
    noise = np.random.default_rng(0).normal(size=len(drawn))
    drawn.replace(log_weights=drawn.log_weights + noise, absolute=True).save(other, overwrite=True)
    document = json.loads((other / "summary.json").read_text())
    document["run"]["seed"] = 6
    (other / "summary.json").write_text(json.dumps(document))
    output = call("replicas", run_directory, other).output
    assert "Do not use: weights of training 1:" in output  # 64 samples of a flow that has hardly been trained
    kept = json.loads((other / "summary.json").read_text())["run"]["replica_check"]
    assert kept["verdict"] in output
    assert len(kept["log_z"]) == 2
    assert "at least two ensembles" in fails("replicas", run_directory)


def test_a_training_is_not_compared_with_itself(run_directory, tmp_path):
    """The same directory, by another path; a copy; other samples of the same generator."""
    copy, link, more = tmp_path / "copy", tmp_path / "link", tmp_path / "more"
    shutil.copytree(run_directory, copy)
    link.symlink_to(run_directory)
    call("sample", run_directory, "-n", 64, "--seed", 77, "--out", more)
    assert "twice" in fails("replicas", run_directory, run_directory)
    assert "twice" in fails("replicas", run_directory, link)
    for other in (copy, more):
        assert "both have seed 5" in fails("replicas", run_directory, other)
    for name in ("generator.safetensors", "summary.json"):  # nothing says the seed: the frames do
        (copy / name).unlink()
    assert "hold the same frames" in fails("replicas", run_directory, copy)


def test_maximum_likelihood_learns_from_a_directory(run_directory, tmp_path):
    result = call(
        "train", "alanine_dipeptide", *TINY, "--method", "forward_kl", "--data", run_directory, "--out", tmp_path
    )
    assert result.exit_code == 0, result.output
    assert "Cost estimate for forward_kl, 3 steps of 16 samples with 1 couplings of 8" in result.stderr
    assert "about 16 energy evaluations" in result.stderr  # to watch the flow, none to learn from
    said = fails("train", "alanine_dipeptide", *TINY, "--method", "forward_kl", "--out", tmp_path / "none")
    assert "Expected data (a directory of samples) with the method forward_kl" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--patience", "50"], "Expected a patience of 0 or of at least two records"),
        (["--method", "fab", "--temperatures", "300,600"], "FAB"),
    ],
)
def test_what_is_refused_leaves_no_run_behind(tmp_path, options, said):
    assert said in fails("train", "alanine_dipeptide", *TINY, *options, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
