"""Observables with weights: each line of docs/observables.md, and the ones that mdtraj gives in a form of their own."""

from __future__ import annotations

import re
from pathlib import Path

import mdtraj
import numpy as np
import pytest

import boltzflow as bf
from boltzflow import analysis
from boltzflow.analysis import circular_mean, hydrogen_bonds, j_couplings, means, secondary_structure
from boltzflow.analysis.estimates.internals import internal_observables
from boltzflow.ensemble import Ensemble
from boltzflow.estimate import Estimate
from tests.analysis.weighted import equal, weighted

PAGE = (Path(__file__).parents[2] / "docs" / "observables.md").read_text(encoding="utf-8")
LINES = re.findall(r"^\| [^|]+ \| `([^|]+)` \|$", PAGE, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    """Shaken copies of trialanine; one frame has failed."""
    system, rng = bf.load_system("ala3"), np.random.default_rng(0)
    positions = system.positions + rng.normal(scale=0.01, size=(60, system.n_atoms, 3))
    energies = rng.normal(size=60)
    positions[3], energies[3] = np.nan, np.inf
    return Ensemble(positions, energies, 300.0, rng.normal(size=60), topology=system.mdtraj_topology)


@pytest.fixture(scope="module")
def names(ensemble) -> dict[str, object]:
    """What the page's first block makes."""
    used = ensemble[ensemble.weights > 0]
    phi, psi = (torsion.values for torsion in analysis.backbone_torsions(used.to_mdtraj())[:2])
    return {
        **{name: getattr(analysis, name) for name in analysis.__all__},
        **{"md": mdtraj, "np": np, "ensemble": ensemble, "reference": used.to_mdtraj()[0], "used": used},
        **{"phi": phi, "psi": psi, "logs": used.log_weights, "kelvin": used.temperature},
    }


def test_the_page_has_its_lines():
    assert len(LINES) == sum(line.startswith("| ") and "`" in line for line in PAGE.splitlines()) > 30


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_page_runs_on_samples_of_which_one_has_failed(line, names):
    found = eval(line, names)
    for estimate in [found] if isinstance(found, Estimate) else found.values() if isinstance(found, dict) else []:
        assert np.isfinite(np.asarray(estimate.value)).all()
        assert (np.asarray(estimate.error) >= 0).all()


def test_positions_stay_where_they_are(ensemble, names):
    before = ensemble.positions.copy()
    ensemble.mean(lambda t: t.center_coordinates().xyz.sum((1, 2)))
    np.testing.assert_array_equal(ensemble.positions, before)


def test_shares_of_hydrogen_bonds_are_mdtrajs_for_equal_weights(ensemble):
    good = ensemble[np.isfinite(ensemble.energies)]
    equal = Ensemble(good.positions, good.energies, 300.0, topology=good.topology)
    frames = equal.to_mdtraj()
    shares = [share.value for share in means(equal, hydrogen_bonds).values()]
    assert len(shares) >= 2
    for frequency in (0.1, 0.3, 0.5, 0.7):
        bonds = mdtraj.baker_hubbard(frames, freq=frequency, periodic=False)
        assert sum(share > frequency + 1e-9 for share in shares) == len(bonds)
    listed = hydrogen_bonds(frames, "Wernet-Nilsson").values
    np.testing.assert_array_equal(listed.sum(1), [len(b) for b in mdtraj.wernet_nilsson(frames, periodic=False)])


def test_a_hydrogen_bond_counts_by_the_weight_of_its_frames(ensemble):
    one = ensemble[:3]
    bonds = hydrogen_bonds(one.to_mdtraj())
    weighted = means(one, hydrogen_bonds)
    for name, column in zip(bonds.names, bonds.values.T, strict=True):
        assert weighted[name].value == pytest.approx(one.weights[column].sum())


def test_without_hydrogen_bonds_there_are_no_names():
    system = bf.load_system("butane")
    one = Ensemble(system.positions[None].repeat(3, 0), np.zeros(3), 300.0, topology=system.mdtraj_topology)
    assert means(one, hydrogen_bonds) == {}
    assert means(one, lambda t: hydrogen_bonds(t, "Wernet-Nilsson")) == {}
    assert means(one, secondary_structure) == {}


def test_secondary_structure_of_known_codes(ensemble, monkeypatch):
    """Codes of three frames, by hand; ends of the chain have none."""
    codes = np.array([["NA", "H", "C", "E", "NA"], ["NA", "H", "C", "C", "NA"], ["NA", "C", "C", "E", "NA"]])
    monkeypatch.setattr(mdtraj, "compute_dssp", lambda *_, **__: codes)
    one = Ensemble(ensemble.positions[:3], np.zeros(3), 300.0, np.log([0.5, 0.25, 0.25]), topology=ensemble.topology)
    found = {name: share.value for name, share in means(one, secondary_structure).items()}
    assert len(found) == 9
    assert found["H ALA2"] == pytest.approx(0.75)
    assert found["C ALA3"] == 1.0
    assert found["E ALA4"] == pytest.approx(0.75)


def test_couplings_are_those_of_their_residue(ensemble):
    frames = ensemble[:3].to_mdtraj()
    for kind in ("HN HA", "HN CB", "HN C"):
        names, values = j_couplings(frames, kind)
        assert names == [f"J({kind}) ALA{k}" for k in (2, 3, 4)]
        assert values.shape == (3, 3)


def test_the_circular_mean_does_not_mind_the_seam():
    """A wrapped normal about π, σ = 0.8, weighted back from uniform angles; an undirected one says so."""
    z = []
    for seed in range(60):
        angle = np.random.default_rng(seed).uniform(-np.pi, np.pi, 2000)
        found = circular_mean(weighted(np.cos(angle - np.pi)), angle)
        z.append(np.angle(np.exp(1j * (found.value - np.pi))) / found.error)
    assert np.abs(z).max() < 4.0
    assert 0.6 < np.var(z) < 1.5
    assert circular_mean(equal(1000), np.linspace(-np.pi, np.pi, 1000, endpoint=False)).error > 1.0


def test_two_chains_of_one_peptide_are_told_apart():
    system = bf.load_system("alanine_dipeptide")
    pair = system.mdtraj_topology.join(system.mdtraj_topology)
    mirrored = system.positions * [-1.0, 1.0, 1.0] + 3.0
    two = Ensemble(np.vstack([system.positions, mirrored])[None], [0.0], 300.0, topology=pair)
    torsions = {torsion.name: torsion.values[0] for torsion in analysis.backbone_torsions(two.to_mdtraj())}
    assert list(torsions) == ["phi 1:ALA2", "psi 1:ALA2", "phi 2:ALA2", "psi 2:ALA2"]
    assert torsions["phi 2:ALA2"] == pytest.approx(-torsions["phi 1:ALA2"], abs=1e-3)
    assert list(means(two, j_couplings)) == ["J(HN HA) 1:ALA2", "J(HN HA) 2:ALA2"]
    assert secondary_structure(two.to_mdtraj()).names[::3] == ["H 1:ALA2", "H 2:ALA2"]
    found = [observable.name for observable in internal_observables(pair)]
    assert len(found) == len(set(found))
    chains = list(pair.chains)
    chains[0].chain_id, chains[1].chain_id = "A", "B"
    assert analysis.backbone_torsions(two.to_mdtraj())[2].name == "phi B:ALA2"
