"""The whole analysis: numbers, files, and the facts of a run that a second analysis keeps."""

import json
import re
from pathlib import Path

import mdtraj
import numpy as np
import pytest

import boltzflow as bf
from boltzflow.analysis import Trust, plots, rotamers
from boltzflow.analysis.report.plots import style
from boltzflow.analysis.report.torsions import comparison_rows, most_telling, rotamer_rows
from boltzflow.ensemble import Ensemble
from boltzflow.errors import SystemNotFoundError
from boltzflow.molecules import rotatable_torsions

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


def turned(positions, topology, torsion, angles):
    """Copies of a structure (n, N, 3) with one side of a bond turned by angles (n,)."""
    _, j, k, _ = torsion.atoms
    bonds = [{bond.atom1.index, bond.atom2.index} for bond in topology.bonds]
    side, grown = set(), {k}
    while grown != side:
        side, grown = grown, grown | {a for bond in bonds if bond & grown and bond != {j, k} for a in bond}
    x = positions - positions[:, [k]]
    axis = x[:, [k]] - x[:, [j]]
    axis /= np.linalg.norm(axis, axis=2, keepdims=True)
    sine, cosine = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
    along = (x * axis).sum(2, keepdims=True) * axis
    moved = along + cosine * (x - along) + sine * np.cross(axis, x)
    return np.where(np.isin(np.arange(x.shape[1]), list(side))[:, None], moved, x)


@pytest.fixture(scope="module")
def aspirin():
    """Its ester and its acid turn together; equally weighted."""
    structure = mdtraj.load(str(Path(__file__).parents[1] / "molecules" / "structures" / "aspirin.pdb"))
    random, n = np.random.default_rng(0), 1500
    ester, acid = (t for t in rotatable_torsions(structure.topology) if t.atoms[1:3] in ((4, 3), (9, 10)))
    first = random.choice([-1.2, 1.2], n) + 0.2 * random.normal(size=n)
    second = np.where(first > 0, 0.0, np.pi) + 0.2 * random.normal(size=n)
    x = np.repeat(structure.xyz.astype(float), n, 0) + random.normal(scale=1e-3, size=(n, structure.n_atoms, 3))
    for torsion, angles in ((ester, first), (acid, second)):
        x = turned(x, structure.topology, torsion, angles)
    return Ensemble(x, None, 300.0, topology=structure.topology)


@pytest.mark.usefixtures("coarse")
def test_every_molecule_has_profiles_populations_and_pairs(aspirin, tmp_path):
    summary = bf.analyze(aspirin, None, tmp_path, replicates=10)
    for name in ("profiles", "torsion_pairs"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "ramachandran.png").exists()
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert list(stored["populations"]) == list(summary.populations)
    counts = {}
    for found in summary.rotamers:
        entries = [entry for entry in stored["populations"].values() if entry["torsion"] == found.torsion.name]
        assert [entry["state"] for entry in entries] == list(found.arcs.names)
        assert sum(entry["value"] for entry in entries) == pytest.approx(1.0)
        for entry in entries:
            assert list(entry)[:8] == ["torsion", "state", "from_deg", "to_deg", "value", "error", "frames", "verdict"]
        counts[found.torsion.name] = len(entries)
    assert counts == {
        "torsion O1 C2 O2 C3": 1,
        "torsion C4 C3 O2 C2": 2,
        "torsion C3 C8 C9 O3": 2,
        "torsion O3 C9 O4 H8": 1,
    }
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Populations of the torsions’ states" in page
    labels = json.loads(re.search(r'id="structures">(.*?)</script>', page, re.DOTALL)[1])["labels"]
    assert all(label.count("torsion") == 2 for label in labels)  # those that differ
    rows = dict(rotamer_rows(summary.rotamers))
    assert list(rows) == ["torsion C4 C3 O2 C2", "torsion C3 C8 C9 O3", "in one state only"]
    assert " ± " in rows["torsion C4 C3 O2 C2"]


def test_coupled_torsions_are_drawn_and_others_are_not(aspirin, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "torsion_pairs", lambda *given: drawn.append(given[1]))
    for name in ("profiles", "weights"):
        monkeypatch.setattr(plots, name, lambda *_: None)
    bf.analyze(aspirin, None, tmp_path, replicates=2)
    assert drawn[0][0] == ("torsion C4 C3 O2 C2", "torsion C3 C8 C9 O3")


def test_a_report_shows_the_most_telling_torsions_and_says_so(tmp_path):
    """Chignolin has 48: φ and ψ first, then side chains."""
    system = bf.load_system("chignolin")
    positions = system.positions + np.random.default_rng(0).normal(scale=2e-3, size=(40, system.n_atoms, 3))
    found = rotamers(Ensemble(positions, None, 300.0, topology=system.mdtraj_topology))
    chosen = most_telling(found)
    assert (len(found), len(chosen)) == (48, 24)
    kinds = [one.torsion.kind for one in chosen]
    assert set(kinds[:18]) == {"phi", "psi"}
    assert all(kind.startswith("chi") for kind in kinds[18:])
    ((label, text),) = rotamer_rows(found)
    assert label == "in one state only"
    assert text.endswith("and 24 more")


def test_a_summary_of_an_earlier_version_is_read(ensemble, dipeptide, tmp_path):
    """Without populations of rotamers, in itself and in its comparison with a reference."""
    estimate = {"value": 0.1, "error": 0.01}
    distance = {
        "observable": "phi ALA2",
        "measure": "Wasserstein",
        "unit": "rad",
        "value": 0.1,
        "floor": 0.1,
        "noise": 0.1,
    }
    comparison = {
        "verdict": "Trust: they agree.",
        "p_value": 0.5,
        "frames": 10,
        "reference_frames": 10,
        "reference_pieces": 10,
        "basins": {"ALA2": {"samples": estimate, "reference": estimate, "sigmas": 0.0}},
        "distances": [distance],
    }
    ensemble.save(tmp_path)
    run = {"seed": 1, "evaluation": {"comparison": comparison, "forward": None}}
    (tmp_path / "summary.json").write_text(json.dumps({"version": 1, "populations": {}, "run": run}))
    summary = bf.analyze(tmp_path, dipeptide, replicates=2)
    assert summary.run == run
    assert list(comparison_rows(summary.run)) == []
    assert "Of 0 &lt; φ &lt; 2.2 rad." in (tmp_path / "report.html").read_text(encoding="utf-8")


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
