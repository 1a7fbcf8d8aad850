"""The whole analysis: numbers, files, and the facts of a run that a second analysis keeps."""

import json

import numpy as np
import pytest

import boltzflow as bf
from boltzflow.analysis import Trust
from boltzflow.analysis.report.plots import style
from boltzflow.ensemble import Ensemble
from boltzflow.errors import SystemNotFoundError

PLOTS = ["ramachandran.png", "profiles.png", "weights.png", "energies.png"]


@pytest.fixture(scope="module")
def dipeptide():
    return bf.load_system("alanine_dipeptide")


@pytest.fixture(scope="module")
def ensemble(dipeptide):
    """Jittered copies of the minimum; the last two frames have failed."""
    rng = np.random.default_rng(0)
    positions = dipeptide.positions + rng.normal(scale=2e-3, size=(300, 22, 3))
    energies = rng.normal(-120.0, 10.0, 300)
    energies[-2:], positions[-2:] = np.inf, np.nan
    return Ensemble(positions, energies, 300.0, rng.normal(size=300), topology=dipeptide.mdtraj_topology)


@pytest.fixture
def coarse(monkeypatch):
    """Figures are rendered, but coarsely, and without fonts in their files."""
    monkeypatch.setitem(style._STYLE, "savefig.dpi", 20)
    monkeypatch.setitem(style._STYLE, "pdf.fonttype", 3)


def test_analysis_of_an_ensemble(ensemble, dipeptide, tmp_path):
    summary = bf.analyze(ensemble, dipeptide, tmp_path, run={"seed": 7}, replicates=10)
    assert summary.ess == ensemble.ess
    assert summary.failed_frames == 2
    assert summary.wrong_handed_frames == 0
    for name in PLOTS:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / name).with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert stored["version"] == 1
    assert stored["ess"] == summary.ess
    assert stored["log_z"] == {"value": summary.log_z.value, "error": summary.log_z.error}
    assert stored["verdict"] == str(summary.verdict)
    assert summary.verdict.trust is Trust.WITH_CARE  # some 110 effective samples
    assert stored["run"] == {"seed": 7}
    basin = stored["populations"]["0 < phi ALA2 < 2.2 rad"]
    assert basin["value"] == 0.0
    assert basin["free_energy"] is None
    assert stored["geometry"]["sigmas"] == 6.0
    assert "torch" in stored["versions"]


@pytest.mark.usefixtures("unrendered")
def test_analysis_without_energies(ensemble, dipeptide, tmp_path):
    """Everything but the energies' pictures, and by groups; the last frames have no weight."""
    whole = ensemble.replace(groups=np.arange(300) // 3)
    frames = whole[:298].to_mdtraj()
    bare = Ensemble.from_mdtraj(frames, whole.log_weights[:298], whole.groups[:298])
    summary = bf.analyze(bare, dipeptide, tmp_path, replicates=10)
    for name in set(PLOTS) - {"energies.png"}:
        assert (tmp_path / name).is_file()
    assert not (tmp_path / "energies.png").exists()
    assert summary.populations == bf.analyze(whole, dipeptide).populations
    assert "independent groups" in summary.verdict.reason


@pytest.mark.usefixtures("unrendered")
def test_analysis_of_a_directory_keeps_the_facts_of_the_run(ensemble, dipeptide, tmp_path):
    ensemble.save(tmp_path)
    first = bf.analyze(ensemble, None, tmp_path, run={"training_energy_evaluations": 10**6}, replicates=10)
    again = bf.analyze(tmp_path, replicates=10)
    assert again.run == first.run == {"training_energy_evaluations": 10**6}
    assert again.geometry is None  # no generator tells the force field
    assert again.ess == first.ess


def test_analysis_writes_nothing_unasked(ensemble, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bf.analyze(ensemble, replicates=10)
    assert not list(tmp_path.iterdir())


def test_no_samples(tmp_path):
    with pytest.raises(SystemNotFoundError, match=r"samples\.dcd is missing"):
        bf.analyze(tmp_path)


KINDS = ["one", "two", "three", "ruled", "ruled outside", "equal", "dead", "nowhere"]
BACKBONE = [pytest.param(k, "alanine_dipeptide", marks=[] if k == "two" else pytest.mark.slow) for k in KINDS]


@pytest.mark.parametrize(("kind", "name"), [*BACKBONE, *((kind, "butane") for kind in KINDS)])
@pytest.mark.usefixtures("coarse")
def test_whatever_the_numbers_all_files_are_written(kind, name, tmp_path):
    """A single sample, one that has all the weight, none that has any: what is not known is said in words."""
    system = bf.load_system(name)
    n = {"one": 1, "two": 2, "three": 3}.get(kind, 200)
    random = np.random.default_rng(0)
    positions = system.positions + random.normal(scale=2e-3, size=(n, system.n_atoms, 3))
    energies, logs = np.linspace(0.0, 9.0, n), random.normal(size=n)
    if kind.startswith("ruled"):
        logs[-1 if kind == "ruled outside" else 5] = 900.0
    elif kind == "equal":
        positions[:], energies[:], logs[:] = system.positions, 1.0, 0.0
    elif kind in ("dead", "nowhere"):
        energies[:] = np.inf
        positions[:] = np.nan if kind == "nowhere" else positions
    ensemble = Ensemble(positions, energies, 300.0, logs, np.zeros(n), system.mdtraj_topology)
    ensemble.save(tmp_path)
    summary = bf.analyze(ensemble, system, tmp_path, replicates=10)
    dead = kind in ("dead", "nowhere")
    pictures = [] if dead else PLOTS if name == "alanine_dipeptide" else PLOTS[1:]
    for file in (*pictures, "summary.json", "report.html", "samples.dcd", "topology.pdb", "weights.npz"):
        assert (tmp_path / file).is_file()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    known = np.isfinite(summary.log_z.error)
    assert known == (kind not in ("one", "dead", "nowhere", "ruled", "ruled outside"))
    assert ("± not determined" in page) == (not known)
    assert ("structure of the molecule" in page.lower()) == (not dead)
    if dead:
        assert str(summary.verdict) == f"Do not use: none of {n} samples has a positive weight."


@pytest.mark.usefixtures("coarse")
def test_a_name_is_no_formula(tmp_path):
    system = bf.load_system("butane")
    system.name = "x$^$_5"
    one = Ensemble(np.repeat(system.positions[None], 30, 0), np.arange(30.0), 300.0, topology=system.mdtraj_topology)
    bf.analyze(one, system, tmp_path)
    assert (tmp_path / "weights.png").is_file()
