"""The tree of errors: what it promises to those who catch by meaning."""

from __future__ import annotations

import inspect
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import boltzflow as bf
from boltzflow import analysis, errors, simulation
from boltzflow.analysis.report import plots
from boltzflow.coordinates.cartesian import CartesianCoordinates
from boltzflow.core import Domain, distributions, importance, objectives, recipes
from boltzflow.storage import read_json
from boltzflow.training.checkpoint import load_checkpoint
from boltzflow.training.methods import FAB, ForwardKL
from boltzflow.workflows.config import ReferenceConfig, RunConfig
from boltzflow.workflows.training import find_generator, find_reference

PACKAGE = Path(bf.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "errors.md").read_text(encoding="utf-8")
TREE = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)}
WITHOUT_RAISE = {"BoltzflowError"}
"""What is there to be caught: each of its raises is one of a class below it."""


@pytest.fixture(scope="module", autouse=True)
def eager() -> Iterator[None]:
    """Code that is compiled for one call costs minutes, and is tested elsewhere."""
    with torch.compiler.set_stance("force_eager"):
        yield


@pytest.fixture(scope="module")
def system() -> bf.MolecularSystem:
    return bf.load_system("butane")


@pytest.fixture(scope="module")
def generator(system) -> bf.BoltzmannGenerator:
    return bf.BoltzmannGenerator.for_system(system, layers=1, hidden=(8,), start="plain")


@pytest.fixture(scope="module")
def ensemble(generator) -> bf.Ensemble:
    return generator.sample(60, seed=0)


# -- the tree ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TREE.values(), ids=TREE)
def test_every_error_says_what_it_is_and_travels_between_processes(kind) -> None:
    assert issubclass(kind, errors.BoltzflowError)
    assert kind.__doc__.endswith((".", "…"))
    error = pickle.loads(pickle.dumps(kind("what was expected; what came")))
    assert type(error) is kind
    assert str(error) == "what was expected; what came"


def test_the_page_has_the_whole_tree_and_its_bases() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", PAGE, flags=re.MULTILINE))
    assert list(rows) == list(TREE)
    for name, bases in rows.items():
        assert re.findall(r"`(\w+)`", bases) == [base.__name__ for base in TREE[name].__bases__]


def test_every_error_is_raised_somewhere() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py") if path.name != "errors.py")
    used = set(re.findall(r"(?:raise |kind = |return )(\w+Error)\b", code))
    assert set(TREE) - used == WITHOUT_RAISE


def test_what_older_code_catches_is_caught() -> None:
    for name in ("ShapeError", "DomainError", "DataError", "UnsupportedCombinationError", "ForceFieldNotFoundError"):
        assert issubclass(TREE[name], errors.OptionError), name
    assert issubclass(errors.MissingFileError, errors.FileFormatError)
    assert issubclass(errors.MissingFileError, FileNotFoundError)


# -- files that are missing ---------------------------------------------------------------------------


PDB = PACKAGE.parent / "systems" / "alanine_dipeptide" / "topology.pdb"
FILES: dict[str, Callable[[Path], object]] = {
    "generator": lambda gone: bf.BoltzmannGenerator.load(gone),
    "generator by name": lambda gone: find_generator(str(gone)),
    "ensemble": lambda gone: bf.Ensemble.load(gone),
    "config": lambda gone: RunConfig.read(gone),
    "config of a reference": lambda gone: ReferenceConfig.read(gone),
    "below a file": lambda gone: RunConfig.read(PDB / gone.name),
    "checkpoint": lambda gone: load_checkpoint(
        gone, FLOW, torch.optim.SGD(FLOW.parameters()), torch.Generator(), {}, {}, 0
    ),
    "json": lambda gone: read_json(gone),
    "metrics": lambda gone: plots.training(gone, "", gone.with_name("metrics.png")),
    "reference": lambda gone: analysis.as_reference(gone, 300.0),
    "system": lambda gone: bf.load_system(gone.name),
    "PDB": lambda gone: bf.MolecularSystem.from_pdb(gone, "amber96.xml"),
    "mmCIF": lambda gone: bf.MolecularSystem.from_mmcif(gone, "amber96.xml"),
    "Amber": lambda gone: bf.MolecularSystem.from_amber(gone, PDB),
    "GROMACS": lambda gone: bf.MolecularSystem.from_gromacs(gone, PDB),
    "CHARMM": lambda gone: bf.MolecularSystem.from_charmm(gone, PDB, [PDB]),
    "force field": lambda gone: bf.MolecularSystem.from_pdb(PDB, gone),
    "one of several force fields": lambda gone: bf.MolecularSystem.from_pdb(PDB, ["amber96.xml", gone.name]),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_missing_is_a_missing_file(kind, tmp_path) -> None:
    with pytest.raises(errors.MissingFileError) as found:
        FILES[kind](tmp_path / "gone")
    assert isinstance(found.value, FileNotFoundError)


def test_a_training_without_its_data_or_its_reference_is_told_so(generator, tmp_path) -> None:
    with pytest.raises(errors.MissingFileError):
        bf.train(
            generator, method=ForwardKL(str(tmp_path / "gone")), steps=1, batch_size=8, compile=False, progress=False
        )
    with pytest.raises(errors.MissingFileError):
        find_reference(str(tmp_path / "gone"), generator)


@pytest.mark.parametrize("file", ["topology.pdb", "field.xml", "system.xml"])
def test_every_file_of_a_system_is_missed(file, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(PDB.parent, folder, ignore=shutil.ignore_patterns("*.safetensors", "reference"))
    description = (folder / "system.yaml").read_text(encoding="utf-8")
    if file.endswith(".xml"):
        wanted = "forcefield: [field.xml]" if file == "field.xml" else "openmm_system: system.xml"
        description = re.sub(r"^forcefield:.*\n(?:  ?- .*\n)*", wanted + "\n", description, flags=re.MULTILINE)
        assert wanted in description
        (folder / "system.yaml").write_text(description, encoding="utf-8")
    else:
        (folder / file).unlink()
    monkeypatch.setenv("BOLTZFLOW_SYSTEMS", str(tmp_path))
    with pytest.raises(errors.MissingFileError, match=file):
        bf.load_system("mine")


# -- arrays of the wrong shape ------------------------------------------------------------------------


FLOW = recipes.spline_flow(Domain.real(2), layers=2, hidden=(8,))
WEIGHTS = torch.zeros(5)
ATOMS = 14  # of butane
AXIS = analysis.Axis(0.0, 1.0, 2)
SHORT = np.zeros(3)
CORE: dict[str, Callable[[], object]] = {
    "Flow.log_prob": lambda: FLOW.log_prob(torch.zeros(3)),
    "Flow.log_prob of an array": lambda: FLOW.log_prob(np.zeros((3, 2))),
    "DiagonalNormal.log_prob": lambda: distributions.DiagonalNormal(Domain.real(2)).log_prob(torch.zeros(3)),
    "FullNormal": lambda: distributions.FullNormal(Domain.real(2), torch.eye(3)),
    "GaussianMixture": lambda: distributions.GaussianMixture(Domain.real(2), torch.zeros(2, 3), torch.ones(2)),
    "forward_kl": lambda: objectives.forward_kl(FLOW, torch.zeros(3, 5)),
    "forward_kl, weights": lambda: objectives.forward_kl(FLOW, torch.zeros(3, 2), weights=torch.ones(4)),
    "normalized_weights": lambda: importance.normalized_weights(torch.zeros(3, 2)),
    "effective_sample_size": lambda: importance.effective_sample_size(torch.zeros(3, 2)),
    "log_mean_weight": lambda: importance.log_mean_weight(WEIGHTS, torch.zeros(4, dtype=torch.int64)),
    "weighted_mean": lambda: importance.weighted_mean(torch.zeros(3), WEIGHTS),
    "weighted_covariance": lambda: importance.weighted_covariance(torch.zeros(3, 2), WEIGHTS),
    "weighted_quantile": lambda: importance.weighted_quantile(torch.zeros(3), WEIGHTS, 0.5),
    "resample": lambda: importance.resample(torch.zeros(3, 2), 2),
    "clipped": lambda: importance.clipped(torch.zeros(3, 2)),
    "pareto_shape": lambda: importance.pareto_shape(torch.zeros(3, 2)),
    "Ensemble, positions": lambda: bf.Ensemble(np.zeros((3, 2)), SHORT, 300.0),
    "Ensemble, ragged": lambda: bf.Ensemble([[0.0], [0.0, 1.0]], SHORT, 300.0),
    "Ensemble, text": lambda: bf.Ensemble([["a"]], SHORT, 300.0),
    "Ensemble, energies": lambda: bf.Ensemble(np.zeros((4, 2, 3)), SHORT, 300.0),
    "Ensemble, groups": lambda: bf.Ensemble(np.zeros((3, 2, 3)), SHORT, 300.0, groups=SHORT),
    "Particles": lambda: simulation.Particles(torch.ones(2, 2)),
    "CartesianCoordinates": lambda: CartesianCoordinates.from_frames(np.zeros((3, 2))),
    "total_variation": lambda: analysis.total_variation([1.0, 2.0], SHORT),
    "kl_divergence": lambda: analysis.kl_divergence([1.0, 2.0], SHORT),
    "jensen_shannon": lambda: analysis.jensen_shannon([1.0, 2.0], SHORT),
    "wasserstein": lambda: analysis.wasserstein([1.0, 2.0], SHORT, 1.0),
    "statistical_inefficiency": lambda: analysis.statistical_inefficiency(np.zeros((2, 2))),
    "mbar": lambda: analysis.mbar(np.zeros((2, 3)), [1, 1], names=["a", "b"], temperatures=[300.0, 300.0]),
}
OF_SAMPLES: dict[str, Callable[[bf.Ensemble], object]] = {
    "with_log_weights": lambda e: e.with_log_weights(SHORT),
    "mean": lambda e: e.mean(SHORT),
    "mean of text": lambda e: e.mean(np.array(["a"] * len(e))),
    "mean of a number": lambda e: e.mean(lambda _: 1.0),
    "quantile": lambda e: e.quantile(SHORT, 0.5),
    "replace": lambda e: e.replace(energies=SHORT),
    "decorrelated": lambda e: analysis.decorrelated(e, SHORT),
    "histogram": lambda e: analysis.histogram(e, SHORT, AXIS),
    "kernel_density": lambda e: analysis.kernel_density(e, SHORT, AXIS),
    "free_energy_profile": lambda e: analysis.free_energy_profile(e, SHORT, AXIS),
    "free_energy_surface": lambda e: analysis.free_energy_surface(e, SHORT, SHORT, AXIS, AXIS),
    "population": lambda e: analysis.population(e, SHORT, 0.0, 1.0),
    "population_of": lambda e: analysis.population_of(e, SHORT),
    "state_populations": lambda e: analysis.state_populations(e, {"a": SHORT > 0}),
    "circular_mean": lambda e: analysis.circular_mean(e, SHORT),
    "principal_components": lambda e: analysis.principal_components(e, np.zeros(len(e))),
    "representatives": lambda e: analysis.representatives(e, 2, np.zeros(len(e))),
    "as_reference": lambda e: analysis.as_reference(e, e.temperature, pieces=SHORT),
    "check_geometry": lambda e: analysis.check_geometry(e, bf.load_system("alanine_dipeptide")),
}
OF_A_MOLECULE: dict[str, Callable[[bf.BoltzmannGenerator], object]] = {
    "log_prob": lambda g: g.log_prob(torch.zeros(2, ATOMS + 1, 3)),
    "log_prob of one frame": lambda g: g.log_prob(torch.zeros(ATOMS, 3)),
    "log_prob of an array": lambda g: g.log_prob(np.zeros((2, ATOMS, 3))),
    "evaluate": lambda g: g.evaluate(torch.zeros(2, 3)),
    "coordinates": lambda g: g.coordinates(torch.zeros(2, 3)),
    "coordinates, inverse": lambda g: g.coordinates.inverse(torch.zeros(2, 3)),
    "energy": lambda g: g.potential.energy(torch.zeros(ATOMS, 3)),
    "energy of an array": lambda g: g.potential.energy(np.zeros((1, ATOMS, 3))),
    "energy_and_forces": lambda g: g.potential.energy_and_forces(torch.zeros(1, ATOMS + 1, 3)),
    "target": lambda g: g.system.target().log_prob(torch.zeros(1, ATOMS, 2)),
    "log_weights_of": lambda g: analysis.log_weights_of(g, np.zeros((2, 2))),
    "reweight": lambda g: analysis.reweight(np.zeros((2, ATOMS, 3)), state(g), energies=SHORT),
    "reduced_energies": lambda g: analysis.reduced_energies([state(g)], [np.zeros((3, 3))]),
    "minimize": lambda g: simulation.minimize(g.potential, torch.zeros(ATOMS, 3)),
    "Langevin": lambda g: simulation.Langevin.of(g.system, g.potential, compile=False).start(torch.zeros(ATOMS, 3)),
    "torsion_values": lambda g: simulation.torsion_values(torch.zeros(ATOMS, 3), simulation.named_torsions(g.system)),
    "MolecularSystem": lambda g: bf.MolecularSystem(g.system.topology, g.system.openmm_system, np.zeros((3, 3))),
}


def state(generator: bf.BoltzmannGenerator) -> analysis.BoltzmannState:
    return analysis.BoltzmannState(generator.potential, 300.0, "here")


@pytest.mark.parametrize("name", CORE)
def test_wrong_shapes_are_refused(name) -> None:
    with pytest.raises(errors.ShapeError):
        CORE[name]()


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_wrong_numbers_of_values_are_refused(name, ensemble) -> None:
    with pytest.raises(errors.ShapeError):
        OF_SAMPLES[name](ensemble)


@pytest.mark.parametrize("name", OF_A_MOLECULE)
def test_wrong_numbers_of_atoms_are_refused(name, generator) -> None:
    with pytest.raises(errors.ShapeError):
        OF_A_MOLECULE[name](generator)


# -- the other branches -------------------------------------------------------------------------------


def test_samples_that_do_not_answer_are_told_from_too_few(ensemble) -> None:
    without = bf.Ensemble(ensemble.positions, None, 300.0)
    for ask in (without.to_mdtraj, lambda: without.energies, lambda: analysis.heat_capacity(without)):
        with pytest.raises(errors.DataError) as found:
            ask()
        assert not isinstance(found.value, errors.InsufficientDataError)
    for ask in (
        lambda: analysis.smooth(ensemble[:10]),
        lambda: analysis.free_energy_profile(ensemble, np.full(len(ensemble), 9.0), AXIS),
        lambda: CartesianCoordinates.from_frames(ensemble.positions[:3]),
    ):
        with pytest.raises(errors.InsufficientDataError):
            ask()


def test_what_cannot_be_done_is_not_supported(system) -> None:
    stochastic = bf.BoltzmannGenerator.for_system(
        system, layers=2, hidden=(8,), start="plain", stochastic="langevin", stochastic_every=1, stochastic_steps=1
    )
    with pytest.raises(errors.NotSupportedError):
        stochastic.log_prob(torch.from_numpy(system.positions[None]))
    with pytest.raises(errors.NotSupportedError) as found:
        bf.train(stochastic, method=FAB(), steps=1, compile=False, progress=False)
    assert isinstance(found.value, errors.OptionError)
