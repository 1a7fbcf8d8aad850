"""The bridge to OpenMM: platforms, workers, failures, refusals."""

from __future__ import annotations

import pickle

import openmm
import pytest
import torch

from boltzflow.energies import OpenMMPotential, TorchPotential
from boltzflow.energies.openmm_bridge import load_system_xml
from boltzflow.errors import OptionError, UnsupportedForceError

from .conftest import Array


@pytest.mark.parametrize(("platform", "tolerance"), [("Reference", 1e-9), ("CPU", 1e-4), (None, 1e-4)])
def test_agrees_with_native_terms(obc1: openmm.System, thermal: Array, platform: str | None, tolerance: float) -> None:
    x = torch.tensor(thermal[:10])
    potential = OpenMMPotential(obc1, platform=platform, threads=1 if platform == "CPU" else None)
    energy, forces = potential.energy_and_forces(x)
    expected, expected_forces = TorchPotential(obc1, compile=False).energy_and_forces(x)
    torch.testing.assert_close(energy, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(forces, expected_forces, rtol=tolerance, atol=100 * tolerance)
    torch.testing.assert_close(potential.energy(x), energy, rtol=tolerance, atol=tolerance)


def test_workers_share_the_frames_in_order(vacuum: openmm.System, thermal: Array) -> None:
    x = torch.tensor(thermal[:21])
    x[4] = torch.nan
    expected, expected_forces = OpenMMPotential(vacuum, platform="Reference").energy_and_forces(x)
    with OpenMMPotential(vacuum, platform="Reference", workers=2) as potential:
        for _ in range(2):  # the second time the workers are there already
            energy, forces = potential.energy_and_forces(x)
            torch.testing.assert_close(energy, expected, rtol=0, atol=0)
            torch.testing.assert_close(forces, expected_forces, rtol=0, atol=0)
        assert potential.failed == 2
        assert energy[4] == torch.inf
        processes = list(potential._pool._processes.values())  # type: ignore[union-attr]
        assert 1 <= len(processes) <= 2
        assert all(p.is_alive() for p in processes)
    assert not any(p.is_alive() for p in processes)


def test_workers_stop_with_their_potential(vacuum: openmm.System, thermal: Array) -> None:
    potential = OpenMMPotential(vacuum, workers=1)
    potential.energy(torch.tensor(thermal[:2]))
    processes = list(potential._pool._processes.values())  # type: ignore[union-attr]
    del potential
    assert not any(p.is_alive() for p in processes)


def test_failed_frames_are_counted(obc1: openmm.System, thermal: Array) -> None:
    potential = OpenMMPotential(obc1, platform="CPU", threads=1)
    x = torch.tensor(thermal[:3])
    x[1, 0] = torch.nan
    assert torch.isfinite(potential.energy(x)).tolist() == [True, False, True]
    assert potential.failed == 1


def test_system_is_never_changed(obc1: openmm.System, thermal: Array) -> None:
    before = openmm.XmlSerializer.serialize(obc1)
    OpenMMPotential(obc1, platform="Reference").energy(torch.tensor(thermal[:1]))
    assert openmm.XmlSerializer.serialize(obc1) == before


def test_pickle_keeps_the_system_and_the_options(vacuum: openmm.System, thermal: Array) -> None:
    potential = OpenMMPotential(vacuum, platform="Reference")
    x = torch.tensor(thermal[:2])
    expected = potential.energy(x)
    twin = pickle.loads(pickle.dumps(potential))
    torch.testing.assert_close(twin.energy(x), expected, rtol=0, atol=0)


def test_closed_potential_can_be_used_again(vacuum: openmm.System, thermal: Array) -> None:
    potential = OpenMMPotential(vacuum, platform="Reference")
    x = torch.tensor(thermal[:2])
    expected = potential.energy(x)
    potential.close()
    potential.close()
    torch.testing.assert_close(potential.energy(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"platform": "Abacus"}, "no platform 'Abacus' here; available: .*Reference"),
        ({"platform": "Reference", "precision": "double"}, "Reference has no choice of precision"),
        ({"platform": "Reference", "threads": 2}, "Reference has no choice of threads"),
        ({"precision": "double"}, "Expected a platform together with precision"),
        ({"workers": -1}, "workers ≥ 0"),
        ({"threads": 0, "platform": "CPU"}, "threads ≥ 1"),
    ],
)
def test_refuses_impossible_options(vacuum: openmm.System, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        OpenMMPotential(vacuum, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["PythonForce", "&#80;ythonForce", "&#x50;ythonForce"])
def test_refuses_xml_that_executes_code(name: str) -> None:
    with pytest.raises(UnsupportedForceError, match="executes code"):
        load_system_xml(f'<System><Forces><Force type="{name}"/></Forces></System>')


def test_loads_harmless_xml(vacuum: openmm.System) -> None:
    assert load_system_xml(openmm.XmlSerializer.serialize(vacuum)).getNumParticles() == 22
