"""Ensembles in the formats of other programs: nothing of the weights is lost on the way."""

from __future__ import annotations

import sys

import mdtraj
import numpy as np
import pytest

import boltzflow as bf
from boltzflow.analysis import free_energy_profile, state_populations
from boltzflow.ensemble import Ensemble
from boltzflow.errors import DataError, MissingDependencyError, OptionError, ShapeError
from boltzflow.mbar import load_pymbar
from boltzflow.units import thermal_energy


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    """Shaken copies of alanine dipeptide with absolute weights; the fourth has failed."""
    system, rng = bf.load_system("alanine_dipeptide"), np.random.default_rng(0)
    positions = system.positions + rng.normal(scale=0.01, size=(60, system.n_atoms, 3))
    energies, log_q = rng.normal(-50.0, 3.0, size=60), rng.normal(size=60)
    positions[3], energies[3] = np.nan, np.inf
    logs = -energies / thermal_energy(300.0) - log_q
    return Ensemble(positions, energies, 300.0, logs, log_q, topology=system.mdtraj_topology)


def phi(t: mdtraj.Trajectory) -> np.ndarray:
    return mdtraj.compute_phi(t)[1][:, 0]


def test_columns_are_those_of_the_ensemble(ensemble):
    found = ensemble.columns({"phi": phi, "inside": lambda t: phi(t) > 0})
    assert list(found) == ["energy", "log_weight", "weight", "log_q", "phi", "inside"]
    assert np.isnan(found["phi"]).sum() == np.isnan(found["inside"]).sum() == 1
    assert np.isnan(found["phi"][3])
    good = ensemble.weights > 0
    assert found["weight"][good] @ found["phi"][good] == pytest.approx(ensemble.mean(phi).value)
    assert "energy" not in Ensemble(np.zeros((2, 1, 3)), None, 300.0).columns()
    assert list(ensemble[:5].replace(groups=[0, 0, 1, 1, 2]).columns())[-1] == "group"
    with pytest.raises(OptionError, match="'weight'"):
        ensemble.columns({"weight": phi})


def test_pandas(ensemble):
    pytest.importorskip("pandas")
    frame = ensemble.to_pandas({"phi": phi})
    assert frame.shape == (60, 5)
    assert (frame["weight"] * frame["phi"]).sum() == pytest.approx(ensemble.mean(phi).value)
    assert frame.attrs["temperature"] == 300.0
    with pytest.raises(ShapeError, match="one number"):
        ensemble.to_pandas({"x": np.zeros((60, 2))})


def test_pandas_tables_of_results(ensemble):
    pytest.importorskip("pandas")
    used = ensemble[ensemble.weights > 0]
    left = used.positions[:, 0, 0] > np.median(used.positions[:, 0, 0])
    states = state_populations(used, {"left": left, "right": ~left})
    table = states.to_pandas()
    assert list(table.index) == ["left", "right"]
    assert table.loc["left", "population"] == states.populations["left"].value
    assert table.loc["left", "verdict"] == str(states.populations["left"].verdict)
    profile = free_energy_profile(used, phi, 12)
    table = profile.to_pandas()
    assert len(table) == 12
    np.testing.assert_array_equal(table["free_energy"], profile.values)


def test_xarray_averages_with_weights(ensemble):
    pytest.importorskip("xarray")
    data = ensemble.to_xarray({"phi": phi, "box": lambda t: t.xyz[:, 0]}, positions=True)
    assert float(data["phi"].weighted(data["weight"]).mean()) == pytest.approx(ensemble.mean(phi).value)
    assert data["box"].dims == ("frame", "box_1")
    assert data["positions"].dims == ("frame", "atom", "axis")
    assert data["positions"].attrs["units"] == "nm"
    assert data["energy"].attrs["units"] == "kJ/mol"
    assert str(data["atom_name"].values[8]) == "ALA2-CA"
    assert data.attrs["temperature"] == 300.0
    assert np.shares_memory(data["positions"].values, ensemble.positions)
    assert "positions" not in ensemble.to_xarray()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_mdanalysis_has_the_same_molecule(ensemble):
    pytest.importorskip("MDAnalysis")
    from MDAnalysis.lib.distances import calc_dihedrals

    universe = ensemble.to_mdanalysis()
    assert len(universe.trajectory) == 60
    assert list(universe.atoms.names) == [atom.name for atom in ensemble.topology.atoms]
    assert len(universe.bonds) == ensemble.topology.n_bonds
    assert universe.select_atoms("resname ALA and name CA").n_atoms == 1
    assert universe.atoms.total_mass() == pytest.approx(sum(a.element.mass for a in ensemble.topology.atoms))
    expected = phi(ensemble[7:8].to_mdtraj())[0]
    universe.trajectory[7]
    four = universe.atoms[mdtraj.compute_phi(ensemble[7:8].to_mdtraj())[0][0]].positions
    assert calc_dihedrals(*four) == pytest.approx(expected, abs=1e-4)
    np.testing.assert_allclose(universe.atoms.positions, 10 * ensemble.positions[7], rtol=1e-6)


def read_colvar(path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """By PLUMED's rules: comments that begin with "#! FIELDS" and "#! SET"."""
    lines = path.read_text(encoding="utf-8").splitlines()
    fields = lines[0].removeprefix("#! FIELDS ").split()
    constants = dict(line.split()[2:4] for line in lines if line.startswith("#! SET"))
    numbers = np.array([line.split() for line in lines if not line.startswith("#")], float)
    return constants, dict(zip(fields, numbers.T, strict=True))


def test_colvar_gives_back_the_weights(ensemble, tmp_path):
    ensemble.write_colvar(tmp_path / "COLVAR", {"phi": phi}, periodic=["phi"])
    constants, columns = read_colvar(tmp_path / "COLVAR")
    assert list(columns) == ["time", "phi", "energy", "logweight", "bias"]
    assert constants.keys() == {"kT", "min_phi", "max_phi"}
    assert (constants["min_phi"], constants["max_phi"]) == ("-pi", "pi")
    kt = float(constants["kT"])
    assert kt == pytest.approx(thermal_energy(300.0), rel=1e-9)
    assert 3 not in columns["time"]
    assert len(columns["time"]) == 59
    weights = np.exp(columns["bias"] / kt - (columns["bias"] / kt).max())
    assert weights @ columns["phi"] / weights.sum() == pytest.approx(ensemble.mean(phi).value, rel=1e-6)
    np.testing.assert_allclose(columns["logweight"], ensemble.log_weights[columns["time"].astype(int)], rtol=1e-9)


def test_colvar_refuses_names_that_it_cannot_hold(ensemble, tmp_path):
    for names, match in ((["a b"], "without spaces"), (["bias"], "bias"), (["x#"], "without spaces")):
        with pytest.raises(OptionError, match=match):
            ensemble.write_colvar(tmp_path / "C", dict.fromkeys(names, phi))
    with pytest.raises(OptionError, match="psi"):
        ensemble.write_colvar(tmp_path / "C", {"phi": phi}, periodic=["psi"])
    with pytest.raises(ShapeError, match="one number"):
        ensemble.write_colvar(tmp_path / "C", {"x": np.zeros((60, 2))})
    assert not (tmp_path / "C").exists()


def test_pymbar_finds_log_z_and_averages(ensemble):
    u_kn, counts = ensemble.to_pymbar(temperatures=[320.0])
    assert u_kn.shape == (3, 60)
    assert counts.tolist() == [60, 0, 0]
    mbar = load_pymbar().MBAR(u_kn, counts)
    found = mbar.compute_free_energy_differences()
    assert found["Delta_f"][0, 1] == pytest.approx(-ensemble.log_z.value)
    # pymbar's error is asymptotic, ours that of 60 frames: they differ in the order of 1/ESS = 1/14.
    assert found["dDelta_f"][0, 1] == pytest.approx(ensemble.log_z.error, rel=0.1)
    values = np.nan_to_num(ensemble.columns({"phi": phi})["phi"])
    averages = mbar.compute_expectations(values)["mu"]
    assert averages[1] == pytest.approx(ensemble.mean(phi).value)
    assert averages[2] == pytest.approx(ensemble.at(320.0).mean(phi).value)


def test_pymbar_gets_independent_frames_only(ensemble):
    with pytest.raises(DataError, match="independent"):
        ensemble.resample(100).to_pymbar()
    with pytest.raises(DataError, match="energies"):
        Ensemble(np.zeros((2, 1, 3)), None, 300.0).to_pymbar()
    u_kn, _ = ensemble.replace(log_q=None, absolute=False).to_pymbar()
    assert np.isfinite(u_kn[0]).all()


@pytest.mark.parametrize(
    ("package", "call"),
    [("pandas", Ensemble.to_pandas), ("xarray", Ensemble.to_xarray), ("MDAnalysis", Ensemble.to_mdanalysis)],
)
def test_without_the_package_there_is_a_sentence(ensemble, package, call, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"{package}.*boltzflow\[interop\]"):
        call(ensemble)
