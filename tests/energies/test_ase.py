"""Calculators of ASE behind the protocol of potentials."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from boltzflow.energies import ASEPotential
from boltzflow.errors import EvaluationError, MissingDependencyError, NonFiniteError, OptionError
from boltzflow.testing import check_potential

ase = pytest.importorskip("ase")
from ase.build import molecule  # noqa: E402
from ase.calculators.calculator import CalculationFailed, Calculator  # noqa: E402
from ase.calculators.emt import EMT  # noqa: E402
from ase.calculators.lj import LennardJones  # noqa: E402

KJ_PER_MOL = 96.48533212
"""In one eV: the elementary charge times Avogadro's number (SI 2019), in kJ/mol."""

argon_force_field = functools.partial(LennardJones, sigma=3.4, epsilon=0.0104, rc=1000.0)


def argon() -> Any:
    return ase.Atoms("Ar4", [[0.0, 0.0, 0.0], [3.8, 0.0, 0.0], [0.0, 3.9, 0.0], [0.1, 0.2, 3.7]])


def around(atoms: Any, n: int, width: float = 0.01) -> torch.Tensor:
    """n structures near that of the atoms, in nm."""
    noise = torch.randn(n, len(atoms), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.tensor(atoms.positions / 10.0) + width * noise


def lennard_jones(x: torch.Tensor) -> torch.Tensor:
    """What OpenMM would say: sigma 0.34 nm."""
    i, j = torch.triu_indices(4, 4, 1)
    inverse = (0.34 / (x[:, i] - x[:, j]).norm(dim=2)) ** 6
    return 4.0 * 0.0104 * KJ_PER_MOL * (inverse**2 - inverse).sum(1)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_units_are_nm_and_kj_per_mol(workers: int, dtype: torch.dtype) -> None:
    x = around(argon(), 10).to(dtype).requires_grad_()
    expected = lennard_jones(x)
    (slope,) = torch.autograd.grad(expected.sum(), x)
    with ASEPotential(argon_force_field, argon(), workers) as potential:
        energy, forces = potential.energy_and_forces(x)
        torch.testing.assert_close(potential.energy(x), energy, rtol=0, atol=0)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-6  # of ASE's constants, which are those of 2014
    torch.testing.assert_close(energy, expected, rtol=tolerance, atol=0)
    torch.testing.assert_close(forces, -slope, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("calculator", "atoms"),
    [(argon_force_field(), argon()), (EMT, molecule("H2O")), (EMT(), ase.Atoms("Cu2", [[0, 0, 0], [2.3, 0, 0]]))],
    ids=["lennard-jones", "emt-class", "emt"],
)
def test_conformance(calculator: Any, atoms: Any) -> None:
    check_potential(ASEPotential(calculator, atoms), around(atoms, 4, width=0.002))


def test_the_cell_is_that_of_the_atoms() -> None:
    atoms = argon()
    atoms.set_cell([9.0, 10.0, 11.0])
    atoms.pbc = True
    potential = ASEPotential(LennardJones(sigma=3.4, epsilon=0.0104, rc=4.4), atoms)
    x = around(atoms, 3)
    moved = x.clone()
    moved[:, 2] += torch.tensor([0.9, -1.0, 1.1], dtype=x.dtype)
    torch.testing.assert_close(potential.energy(moved), potential.energy(x), rtol=1e-9, atol=1e-9)


def test_atoms_are_left_alone_and_their_constraints_aside() -> None:
    from ase.constraints import FixAtoms

    atoms = argon()
    atoms.set_constraint(FixAtoms([0, 1]))
    x = around(atoms, 2)
    potential = ASEPotential(argon_force_field, atoms)
    torch.testing.assert_close(potential.energy(x), lennard_jones(x), rtol=1e-6, atol=0)
    assert (potential.energy_and_forces(x)[1][:, :2] != 0.0).all()
    assert atoms.calc is None
    assert len(atoms.constraints) == 1
    assert np.array_equal(atoms.positions, argon().positions)


class Moody(Calculator):
    """U = the sum of the coordinates in eV; what is to happen stands in the first one."""

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = ()) -> None:
        super().calculate(atoms, properties, system_changes)
        x = self.atoms.positions
        if self.parameters.get("spoilt") or x[0, 0] == 90.0:
            self.parameters.spoilt = True
            raise CalculationFailed("no convergence")
        if x[0, 0] == 80.0:
            raise TypeError("a mistake in the calculator")
        total = np.nan if x[0, 0] == 70.0 else x.sum()
        self.results = {"energy": total + 1.0, "free_energy": total, "forces": -np.ones_like(x)}


def test_frames_fail_alone_and_the_calculator_is_made_anew() -> None:
    made: list[Moody] = []

    def make() -> Moody:
        made.append(Moody())
        return made[-1]

    potential = ASEPotential(make, argon())
    x = torch.ones(6, 4, 3, dtype=torch.float64)
    x[1, 0, 0], x[2, 0, 0], x[4, 0, 0] = 9.0, torch.nan, 7.0
    energy, forces = potential.energy_and_forces(x)
    assert torch.isinf(energy).tolist() == [False, True, True, False, True, False]
    assert not forces[[1, 2, 4]].any()
    # The free energy, to which the forces belong.
    torch.testing.assert_close(energy[[0, 3, 5]], torch.full((3,), 120.0 * KJ_PER_MOL).double(), rtol=1e-6, atol=0)
    assert len(made) == 2  # one more after the failure
    assert (potential.evaluations, potential.failed) == (6, 3)


def test_coincident_atoms_are_infinite_without_a_warning() -> None:
    x = around(argon(), 3)
    x[1, 2] = x[1, 3]
    potential = ASEPotential(argon_force_field, argon())
    assert torch.isinf(potential.energy(x)).tolist() == [False, True, False]
    assert not potential.energy_and_forces(x)[1][1].any()


def test_what_is_no_failure_of_a_frame_is_an_error() -> None:
    x = torch.full((1, 4, 3), 8.0)
    with pytest.raises(TypeError, match="a mistake in the calculator"):
        ASEPotential(Moody, argon()).energy(x)


@pytest.mark.parametrize(
    ("first", "error", "message"),
    [
        (90.0, EvaluationError, "fails on the structure of `atoms`: no convergence"),
        (70.0, NonFiniteError, "with a finite energy; got nan"),
    ],
)
def test_a_calculator_must_work_for_the_structure_it_comes_with(
    first: float, error: type[Exception], message: str
) -> None:
    atoms = argon()
    atoms.positions[0, 0] = first
    with pytest.raises(error, match=message):
        ASEPotential(Moody, atoms).energy(torch.zeros(1, 4, 3))


def test_a_calculator_that_stops_working_is_an_error() -> None:
    calculator = Moody()
    x = torch.ones(6, 4, 3)
    x[3, 0, 0] = 9.0
    with pytest.raises(EvaluationError, match="fails on the structure of `atoms`: no convergence"):
        ASEPotential(calculator, argon()).energy(x)


def test_workers_do_not_share_a_calculator() -> None:
    with pytest.raises(OptionError, match="a function that returns a calculator for each worker; got a calculator"):
        ASEPotential(EMT(), argon(), workers=2)
    with pytest.raises(OptionError, match=r"a function that can be pickled for workers.*lambda"):
        ASEPotential(lambda: EMT(), argon(), workers=2)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ase", None)
    with pytest.raises(MissingDependencyError, match=r"expected the package ase.*install boltzflow\[ase\]"):
        ASEPotential(EMT(), argon())


# -- GFN2-xTB ------------------------------------------------------------------------------------------------


@pytest.fixture
def gfn2() -> Callable[[], Any]:
    tblite = pytest.importorskip("tblite.ase")
    return functools.partial(tblite.TBLite, method="GFN2-xTB", verbosity=0, accuracy=0.001)


def test_energy_of_water_in_gfn2(gfn2: Callable[[], Any]) -> None:
    """As tblite's manual states it: −137.96777594 eV for ASE's water."""
    water = molecule("H2O")
    energy = ASEPotential(gfn2, water).energy(torch.tensor(water.positions)[None] / 10.0)
    assert energy.item() == pytest.approx(-137.96777594361677 * KJ_PER_MOL, rel=1e-7)


def test_conformance_of_gfn2(gfn2: Callable[[], Any]) -> None:
    water = molecule("H2O")
    # Its forces, unlike its energies, repeat to one part in a million only: they are not compared with themselves.
    check_potential(ASEPotential(gfn2, water), around(water, 2, width=0.003), step=3e-5, tolerance=1e-4, gradient=False)


def test_clashes_in_gfn2_fail_alone(gfn2: Callable[[], Any]) -> None:
    water = molecule("H2O")
    x = around(water, 4, width=0.003)
    potential = ASEPotential(gfn2, water)
    expected = potential.energy(x)
    x[1, 0] = x[1, 1]
    x[2, 1] = x[2, 2]
    energy = potential.energy(x)
    assert torch.isinf(energy).tolist() == [False, True, True, False]
    torch.testing.assert_close(energy[[0, 3]], expected[[0, 3]], rtol=1e-9, atol=0)
    assert potential.failed == 2
