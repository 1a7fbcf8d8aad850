"""`boltzflow reference`: what it writes, how it goes on, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openmm
import pytest
import torch
from openmm import app
from typer.testing import CliRunner

import boltzflow as bf
from boltzflow.analysis import as_reference
from boltzflow.analysis.checks.references import check_same_molecule
from boltzflow.analysis.estimates.internals import internal_observables
from boltzflow.cli import app as commands
from boltzflow.errors import RunDirectoryError
from boltzflow.molecules import available_systems
from boltzflow.simulation import NamedTorsion, TemperingResult, named_torsions, torsion_values
from boltzflow.simulation.frames import Frames
from boltzflow.units import GAS_CONSTANT
from boltzflow.workflows.config import ReferenceConfig
from boltzflow.workflows.reference import check_recorded, reference_run, write_reference

SYSTEM = "alanine_dipeptide_vacuum"
TINY = ["--ladders", 3, "--temperatures", 2, "--hottest", 400, "--picoseconds", 0.6, "--equilibration", 0.2]
FILES = {"checkpoints", "config.yaml", "frames", "reference.json", "samples.dcd", "topology.pdb", "torsions.npz"}


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(commands, ["reference", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "tiny"
    shown = call(SYSTEM, *TINY, "--umbrella", 13, "--out", folder)
    assert "0 < phi ALA2 < 2.2 rad" in shown
    return folder


def found_in(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "reference.json").read_text()))


def test_what_is_written(directory: Path) -> None:
    assert {path.name for path in directory.iterdir()} == FILES | {"weights.npz"}
    found = found_in(directory)
    assert found["temperatures_K"] == pytest.approx([300.0, 400.0])
    assert found["settings"]["umbrella"] == 13.0
    assert (found["ladders"], found["lost_ladders"], found["frames_per_temperature"]) == (3, 0, 9)
    assert len(found["swap_acceptance"]) == 1
    assert found["energy_evaluations"] == 6 * 800
    share = found["populations"]["0 < phi ALA2 < 2.2 rad"]
    assert len(share["population"]) == len(share["standard_error"]) == len(share["first_half"]) == 2
    assert all(np.isfinite(found["potential_energy_kJ_mol"]["standard_error"]))

    ensemble = bf.Ensemble.load(directory)
    assert (len(ensemble), ensemble.temperature) == (9, 300.0)
    potential = bf.load_system(SYSTEM).potential(backend="torch", compile=False)
    np.testing.assert_allclose(ensemble.energies, potential.energy(torch.tensor(ensemble.positions)), atol=1e-2)

    torsions = np.load(directory / "torsions.npz")
    assert torsions["names"].tolist() == ["omega ACE1", "phi ALA2", "psi ALA2", "omega ALA2"]
    values = torsion_values(torch.tensor(ensemble.positions), named_torsions(bf.load_system(SYSTEM)))
    np.testing.assert_allclose(torsions["torsions_rad"], values, atol=3e-3)
    np.testing.assert_allclose(torsions["histogram"].sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(torsions["histogram_2d"][0].sum(1), torsions["histogram"][1], atol=1e-6)
    np.testing.assert_allclose(torsions["histogram_2d"][0].sum(0), torsions["histogram"][2], atol=1e-6)
    np.testing.assert_allclose(torsions["weights"] / torsions["weights"].sum(), ensemble.weights, rtol=1e-4)


def test_a_longer_run_by_resuming(directory: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = [SYSTEM, *TINY, "--seed", 2]
    call(*options, "--out", whole)
    call(*options, "--picoseconds", 0.4, "--out", parts)
    call(SYSTEM, "--resume", "--picoseconds", 0.6, "--out", parts)
    one, other = found_in(whole), found_in(parts)
    assert one["energy_evaluations"] == 6 * 800
    for name in ("potential_energy_kJ_mol", "populations", "swap_acceptance", "frames_per_temperature"):
        assert one[name] == other[name]
    assert np.array_equal(bf.Ensemble.load(whole).positions, bf.Ensemble.load(parts).positions)
    call(SYSTEM, "--resume", "--picoseconds", 0.2, "--out", parts)  # evaluates what is there
    assert found_in(parts)["settings"]["picoseconds"] == pytest.approx(0.6)
    assert found_in(parts)["energy_evaluations"] == 6 * 800


def test_interrupt_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("boltzflow.simulation.tempering_run.TemperingRun._round", interrupted)
    message = call(SYSTEM, *TINY, "--out", tmp_path / "run", code=130)
    assert f"boltzflow reference --out {tmp_path / 'run'} --resume" in message
    monkeypatch.undo()
    call(SYSTEM, "--resume", "--out", tmp_path / "run")


def test_frames_of_other_torsions_are_refused(directory: Path) -> None:
    """Earlier versions recorded φ and ψ alone: columns would be taken for other torsions."""
    torsions = named_torsions(bf.load_system(SYSTEM))
    check_recorded(directory / "frames", torsions)
    check_recorded(directory / "none", torsions)
    for others in (torsions[1:3], torsions[::-1]):
        with pytest.raises(RunDirectoryError, match="other torsions"):
            check_recorded(directory / "frames", others)


def test_refusals(directory: Path, tmp_path: Path) -> None:
    assert "already contains a run" in call(SYSTEM, *TINY, "--out", directory, code=1)
    assert "has ladders 3; got 4" in call(SYSTEM, "--resume", "--ladders", 4, "--out", directory, code=1)
    assert "'ladders'" in call(SYSTEM, "--ladders", 1, "--out", tmp_path / "one", code=1)
    assert "a hottest temperature above" in call(SYSTEM, "--hottest", 200, "--out", tmp_path / "cold", code=1)
    assert "contains no run" in call(SYSTEM, "--resume", "--out", tmp_path / "none", code=1)
    message = call(SYSTEM, *TINY, "--picoseconds", 0.2, "--out", tmp_path / "short", code=1)
    assert "at least 0.4 picoseconds, for two frames; got 0.2" in message
    message = call("butane", "--umbrella", 5, "--out", tmp_path / "butane", code=1)
    assert "a torsion φ for the umbrella; butane has none" in message


def test_populations_and_weights_of_a_known_distribution(tmp_path: Path) -> None:
    """Exact draws of a φ with U = −6 cos φ kJ/mol, biased by −4 kJ/mol in the basin: 1600 frames of 16 ladders."""
    random = np.random.default_rng(0)
    grid = np.linspace(-np.pi, np.pi, 100_001)
    inside = (grid > 0) & (grid < 2.2)
    energy, bias = -6.0 * np.cos(grid), np.where(inside, -4.0, 0.0)
    kelvins, shape = (300.0, 500.0), (100, 2, 16)
    places = np.empty(shape, dtype=int)
    for t, kelvin in enumerate(kelvins):
        weight = np.exp(-(energy + bias) / (GAS_CONSTANT * kelvin))
        places[:, t] = random.choice(len(grid), (100, 16), p=weight / weight.sum())
    record = {
        "energies": torch.tensor(energy[places]),
        "bias": torch.tensor(bias[places]),
        "observables": torch.tensor(grid[places])[..., None],
        "positions": torch.zeros(100, 1, 16, 4, 3),
    }
    topology = bf.load_system("butane").mdtraj_topology.subset(range(4))
    lost = torch.zeros(16, dtype=torch.bool)
    result = TemperingResult(kelvins, Frames(chunks=(record,)), lost, (0,), (0.5,), 3, topology)
    found = write_reference(result, [NamedTorsion("phi X1", (0, 1, 2, 3))], tmp_path, {})
    (share,) = found["populations"].values()
    for t, kelvin in enumerate(kelvins):
        weight = np.exp(-energy / (GAS_CONSTANT * kelvin))
        exact = weight[inside].sum() / weight.sum()
        assert abs(share["population"][t] - exact) / share["standard_error"][t] < 4.5
        assert share["standard_error"][t] < 0.1 * exact
    torsions = np.load(tmp_path / "torsions.npz")
    weight = np.exp(-energy / (GAS_CONSTANT * 300.0))
    exact, _ = np.histogram(grid, 36, (-np.pi, np.pi), weights=weight / weight.sum())
    seen = torsions["histogram_error"][0] > 0
    z = (torsions["histogram"][0] - exact)[seen] / torsions["histogram_error"][0][seen]
    assert seen.sum() > 25
    assert np.abs(z).max() < 6.0  # errors of few counts are themselves uncertain
    assert 0.5 < np.sqrt((z**2).mean()) < 2.0


def test_rotamers_of_a_known_distribution(tmp_path: Path) -> None:
    """Exact draws of butane's torsion with U = 4 cos 3θ + 2 cos(θ + 1) kJ/mol at two temperatures; z of all states."""
    random = np.random.default_rng(1)
    grid = np.linspace(-np.pi, np.pi, 100_001)
    energy = 4.0 * np.cos(3 * grid) + 2.0 * np.cos(grid + 1.0)
    kelvins, shape = (300.0, 500.0), (100, 2, 16)
    places = np.empty(shape, dtype=int)
    for t, kelvin in enumerate(kelvins):
        weight = np.exp(-energy / (GAS_CONSTANT * kelvin))
        places[:, t] = random.choice(len(grid), (100, 16), p=weight / weight.sum())
    record = {
        "energies": torch.tensor(energy[places]),
        "bias": torch.zeros(shape, dtype=torch.float64),
        "observables": torch.tensor(grid[places])[..., None],
        "positions": torch.zeros(100, 1, 16, 14, 3),
    }
    system = bf.load_system("butane")
    lost = torch.zeros(16, dtype=torch.bool)
    result = TemperingResult(kelvins, Frames(chunks=(record,)), lost, (0,), (0.5,), 3, system.mdtraj_topology)
    (torsion,) = named_torsions(system)
    found = write_reference(result, [torsion], tmp_path, {})
    assert found["states_deg"][torsion.name]["gauche+"] == [0.0, 120.0]
    degrees = np.degrees(grid)
    inside = {
        "gauche-": (degrees >= -120) & (degrees < 0),
        "gauche+": (degrees >= 0) & (degrees < 120),
        "trans": (degrees < -120) | (degrees >= 120),
    }
    assert list(found["populations"]) == [f"{torsion.name} {state}" for state in inside]
    for t, kelvin in enumerate(kelvins):
        weight = np.exp(-energy / (GAS_CONSTANT * kelvin))
        total = 0.0
        for state, mask in inside.items():
            share = found["populations"][f"{torsion.name} {state}"]
            exact = weight[mask].sum() / weight.sum()
            assert abs(share["population"][t] - exact) / share["standard_error"][t] < 4.0
            assert share["standard_error"][t] < 0.05
            total += share["population"][t]
        assert total == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("name", sorted(available_systems()))
def test_shipped_references_are_those_of_their_molecules(name: str) -> None:
    """Also those that list other torsions than a reference of today."""
    reference = as_reference(available_systems()[name] / "reference", bf.load_system(name).temperature)
    topology = bf.load_system(name).mdtraj_topology
    check_same_molecule(topology, reference)
    known = [observable for observable in internal_observables(topology) if reference.holds(observable)]
    assert reference.torsions is not None
    assert len(known) == len(reference.torsions)
    assert np.isfinite(reference.values(known)).all()


def test_torsions_of_what_is_no_peptide() -> None:
    names = [torsion.name.split()[0] for torsion in named_torsions(bf.load_system("butane"))]
    assert names == ["torsion"]
    assert len(named_torsions(bf.load_system("cyclohexane"))) == 6  # about each bond of the ring
    assert torsion_values(torch.zeros(2, 3, 3), []).shape == (2, 0)


def test_a_molecule_without_torsions(tmp_path: Path) -> None:
    """Hydrogen peroxide's heavy atoms have no torsion: energies are found all the same."""
    topology = app.Topology()
    residue = topology.addResidue("HOO", topology.addChain())
    for name, element in (("O1", app.element.oxygen), ("O2", app.element.oxygen)):
        topology.addAtom(name, element, residue)
    topology.addBond(*topology.atoms())
    hamiltonian = openmm.System()
    bond = openmm.HarmonicBondForce()
    bond.addBond(0, 1, 0.15, 1e5)
    for _ in range(2):
        hamiltonian.addParticle(16.0)
    hamiltonian.addForce(bond)
    system = bf.MolecularSystem(topology, hamiltonian, [[0.0, 0.0, 0.0], [0.15, 0.0, 0.0]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("boltzflow.workflows.reference.build_system", lambda *_: system)
        config = ReferenceConfig.of(
            system="oxygen", picoseconds=4.0, equilibration=1.0, ladders=8, temperatures=2, hottest=400.0
        )
        found = reference_run(config, tmp_path, resume=False)
    energy = found["potential_energy_kJ_mol"]
    for mean, error, kelvin in zip(*energy.values(), found["temperatures_K"], strict=True):
        assert abs(mean - 0.5 * GAS_CONSTANT * kelvin) / error < 4.5
    assert found["populations"] == {}
    assert np.load(tmp_path / "torsions.npz")["names"].shape == (0,)
