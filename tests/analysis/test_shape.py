"""Rings, hydrogen bonds and sizes in a report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import boltzflow as bf
from boltzflow.analysis.report.shape import Shape


@pytest.mark.parametrize(("name", "rings"), [("cyclohexane", 1), ("butane", 0), ("alanine_dipeptide", 0)])
def test_the_summary_contains_rings_and_sizes(name: str, rings: int, tmp_path: Path, unrendered: None) -> None:
    generator = bf.BoltzmannGenerator.for_system(bf.load_system(name), layers=1, hidden=(8,), start="bonded")
    ensemble = generator.sample(400, seed=1)
    found = Shape.of(ensemble)
    assert len(found.puckers) == rings
    for states in found.puckers.values():
        assert sum(state.value for state in states.values()) == pytest.approx(1.0)
        assert {"chair +", "chair −"} <= states.keys()
    masses = np.array([atom.element.mass for atom in ensemble.topology.atoms])
    centers = np.einsum("a,nax->nx", masses, ensemble.positions) / masses.sum()
    squares = np.square(ensemble.positions - centers[:, None]).sum(-1) @ masses / masses.sum()
    mean = float(ensemble.weights @ np.sqrt(squares))
    assert found.sizes["radius of gyration"].value == pytest.approx(mean, rel=1e-4)
    bf.analyze(ensemble, generator.system, tmp_path)
    document = json.loads((tmp_path / "summary.json").read_text())
    assert document["sizes_nm"].keys() == found.sizes.keys()
    assert list(document["puckers"]) == list(found.puckers)
    assert "radius of gyration" in (tmp_path / "report.html").read_text()
    assert dict(found.rows).keys() >= {"radius of gyration", "end-to-end distance"}
