"""Systems that hold Python code: evaluated where they were made, never copied, written or read."""

from __future__ import annotations

import copy
import pickle

import openmm
import openmm.unit as u
import pytest
import torch
from openmm import app

import boltzflow as bf
from boltzflow.energies import OpenMMPotential, TorchPotential
from boltzflow.energies.system_xml import _DATA_ALONE, copy_system, holds_python, load_system_xml
from boltzflow.errors import EvaluationError, TopologyError, UnsupportedForceError
from boltzflow.testing import check_potential

from .conftest import Array, dipeptide, make_system

needs_python_force = pytest.mark.skipif(not hasattr(openmm, "PythonForce"), reason="this OpenMM has no PythonForce")


def springs(stiffness: float = 50.0) -> openmm.Force:
    """U = k Σ x², by a function that cannot be pickled. It refuses frames whose first coordinate is 9."""

    def compute(state: openmm.State) -> tuple[float, Array]:
        x = state.getPositions(asNumpy=True).value_in_unit(u.nanometer)
        if x[0, 0] == 9.0:
            raise ValueError("the model has not learnt that")
        return stiffness * (x**2).sum(), -2.0 * stiffness * x

    return openmm.PythonForce(compute)


def springs_of_openmm(stiffness: float = 50.0) -> openmm.Force:
    force = openmm.CustomExternalForce(f"{stiffness}*(x^2+y^2+z^2)")
    for i in range(2):
        force.addParticle(i)
    return force


def system_with(force: openmm.Force) -> openmm.System:
    system = openmm.System()
    for _ in range(2):
        system.addParticle(1.0)
    system.addForce(force)
    return system


def quadratic(state: openmm.State) -> tuple[float, Array]:
    x = state.getPositions(asNumpy=True).value_in_unit(u.nanometer)
    return 50.0 * (x**2).sum(), -100.0 * x


def nested() -> openmm.Force:
    """The same inside another force, where OpenMM copies it: a function that can be pickled."""
    outer = openmm.CustomCVForce("2*u")
    outer.addCollectiveVariable("u", openmm.PythonForce(quadratic))
    return outer


FRAMES = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@needs_python_force
@pytest.mark.parametrize(("make", "stiffness"), [(springs, 50.0), (nested, 100.0)])
@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def test_is_evaluated_in_this_process(make, stiffness: float, platform: str) -> None:
    system = system_with(make())
    potential = OpenMMPotential(system, platform=platform, threads=1 if platform == "CPU" else None)
    expected = OpenMMPotential(system_with(springs_of_openmm(stiffness)), platform="Reference")
    tolerance = 1e-10 if platform == "Reference" else 1e-5
    for one, other in zip(potential.energy_and_forces(FRAMES), expected.energy_and_forces(FRAMES), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    if platform == "Reference":
        check_potential(potential, FRAMES)


@needs_python_force
def test_what_the_function_raises_is_the_fault_of_the_frame_once_another_has_worked() -> None:
    potential = OpenMMPotential(system_with(springs()), platform="Reference")
    x = FRAMES.clone()
    x[2, 0, 0] = 9.0
    assert torch.isinf(potential.energy(x)).tolist() == [False, False, True, False, False]
    assert potential.failed == 1
    with pytest.raises(EvaluationError, match=r"OpenMM failed on the first frame.*the model has not learnt that"):
        OpenMMPotential(system_with(springs()), platform="Reference").energy(x[2:])


@needs_python_force
@pytest.mark.parametrize("make", [springs, nested])
def test_stays_in_its_process(make) -> None:
    system = system_with(make())
    assert holds_python(system)
    assert copy_system(system) is system
    with pytest.raises(UnsupportedForceError, match="got one with a PythonForce: use workers=0"):
        OpenMMPotential(system, workers=1)
    potential = OpenMMPotential(system, platform="Reference")
    expected = potential.energy(FRAMES)
    with pytest.raises(UnsupportedForceError, match=r"without PythonForce.*cannot be saved"):
        pickle.dumps(potential)
    torch.testing.assert_close(copy.deepcopy(potential).energy(FRAMES), expected, rtol=0, atol=0)
    with pytest.raises(UnsupportedForceError, match="PythonForce"):
        TorchPotential(system)


@needs_python_force
def test_a_molecule_keeps_such_a_system_and_refuses_to_save_it() -> None:
    dipeptide = bf.load_system("alanine_dipeptide")
    system = dipeptide.openmm_system
    for index in reversed(range(system.getNumForces())):
        system.removeForce(index)
    system.addForce(springs())
    molecule = bf.MolecularSystem(dipeptide.topology, system, dipeptide.positions)
    assert molecule.openmm_system is system
    x = torch.tensor(dipeptide.positions)[None]
    with pytest.warns(UserWarning, match="OpenMM computes the energies.*PythonForce"):
        energy = molecule.potential().energy(x)
    torch.testing.assert_close(energy, 50.0 * (x**2).sum((1, 2)), rtol=1e-5, atol=0)
    with pytest.raises(TopologyError, match="invariant under translation and rotation"):
        molecule.coordinates()
    with pytest.raises(UnsupportedForceError, match=r"without PythonForce.*cannot be saved"):
        _ = molecule.specification


def test_other_systems_are_copied(vacuum: openmm.System) -> None:
    copied = copy_system(vacuum)
    assert copied is not vacuum
    assert openmm.XmlSerializer.serialize(copied) == openmm.XmlSerializer.serialize(vacuum)


@pytest.mark.parametrize(
    "name", ["PythonForce", "&#80;ythonForce", "&#x50;ythonForce", "TorchForce", "PlumedForce", "Context", "", "x"]
)
@pytest.mark.parametrize(
    "xml",
    [
        '<System type="System"><Forces><Force type="{}"/></Forces></System>',
        '<System type="{}"/>',
        '<System type="System"><Forces><Force type="CustomCVForce"><CollectiveVariables><CollectiveVariable name="u">'
        '<Force type="{}"/></CollectiveVariable></CollectiveVariables></Force></Forces></System>',
        '<System type="System"><Forces><Force type="CustomBondForce"><Functions><Function name="f" type="{}"/>'
        "</Functions></Force></Forces></System>",
        '<!DOCTYPE x [<!ENTITY e "{}">]><System type="System"><Forces><Force type="&e;"/></Forces></System>',
    ],
)
def test_refuses_xml_of_classes_that_may_execute_code(xml: str, name: str) -> None:
    with pytest.raises(UnsupportedForceError, match="execute code"):
        load_system_xml(xml.format(name))


def test_openmm_is_given_what_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No text in which its own parser might see more: no comments, no declarations."""
    given: list[str] = []
    monkeypatch.setattr(openmm.XmlSerializer, "deserialize", given.append)
    load_system_xml(
        '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e "1">]><System type="System"><!-- <a> --><b c="&e;"/></System>'
    )
    assert given == ['<System type="System"><b c="1" /></System>']


def test_each_force_of_openmm_is_known_to_be_data_or_not() -> None:
    """A class that a new OpenMM brings is refused until someone has looked at what loading it does."""
    found = {
        name
        for name, kind in vars(openmm).items()
        if isinstance(kind, type) and issubclass(kind, openmm.Force | openmm.TabulatedFunction)
    }
    assert found - _DATA_ALONE <= {"Force", "TabulatedFunction", "PythonForce"}


def test_loads_harmless_xml(vacuum: openmm.System) -> None:
    assert load_system_xml(openmm.XmlSerializer.serialize(vacuum)).getNumParticles() == 22


def test_systems_of_openmm_ml() -> None:
    """A calculator of ASE through openmm-ml and the bridge, and without them: all atoms, and some of them."""
    openmmml = pytest.importorskip("openmmml")
    ase = pytest.importorskip("ase")
    from ase.calculators.lj import LennardJones

    from boltzflow.energies import ASEPotential

    molecule = bf.load_system("alanine_dipeptide")
    calculator = LennardJones(sigma=2.0, epsilon=0.01, rc=10.0)
    x = torch.tensor(molecule.positions)[None] + 0.005 * torch.randn(
        3, 22, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    numbers = [atom.element.atomic_number for atom in molecule.topology.atoms()]
    atoms = ase.Atoms(numbers, 10.0 * molecule.positions)
    ml = openmmml.MLPotential("ase")
    system = ml.createSystem(molecule.topology, calculator=calculator)
    expected = ASEPotential(calculator, atoms).energy_and_forces(x)
    potential = bf.MolecularSystem(molecule.topology, system, molecule.positions).potential(
        "openmm", platform="Reference"
    )
    for one, other in zip(potential.energy_and_forces(x), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_molecules_of_which_openmm_ml_takes_one() -> None:
    """Two dipeptides, the second machine-learned: its inner energy is the calculator's, all else the force field's."""
    openmmml = pytest.importorskip("openmmml")
    ase = pytest.importorskip("ase")
    from ase.calculators.lj import LennardJones

    from boltzflow.energies import ASEPotential

    calculator = LennardJones(sigma=2.0, epsilon=0.01, rc=10.0)
    one = dipeptide()
    both = app.Modeller(one.topology, one.positions)
    both.add(one.topology, [position + openmm.Vec3(0.7, 0.0, 0.0) * u.nanometer for position in one.positions])
    force_field = app.ForceField("amber96.xml")
    mechanical = force_field.createSystem(both.topology)
    mixed = openmmml.MLPotential("ase").createMixedSystem(
        both.topology, mechanical, range(22, 44), calculator=calculator
    )
    assert holds_python(mixed)

    x = torch.tensor(both.positions.value_in_unit(u.nanometer))[None]
    x = x + 0.005 * torch.randn(3, 44, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    learnt = x[:, 22:]
    atoms = ase.Atoms([atom.element.atomic_number for atom in one.topology.atoms()], 10.0 * learnt[0].numpy())
    expected = (
        OpenMMPotential(mechanical, platform="Reference").energy(x)
        - OpenMMPotential(make_system("vacuum"), platform="Reference").energy(learnt)
        + ASEPotential(calculator, atoms).energy(learnt)
    )
    potential = OpenMMPotential(mixed, platform="Reference")
    torch.testing.assert_close(potential.energy(x), expected, rtol=1e-6, atol=1e-4)
    check_potential(potential, x, tolerance=1e-4)
