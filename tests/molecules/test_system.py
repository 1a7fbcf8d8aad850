"""MolecularSystem: energies of the benchmark's Hamiltonian, units, copies, and errors that say what to do."""

from pathlib import Path

import openmm
import openmm.unit as u
import pytest
import torch
from openmm import app

import boltzflow as bf
from boltzflow.errors import (
    FileFormatError,
    NonFiniteError,
    OptionError,
    ShapeError,
    SystemNotFoundError,
    TemplateError,
    TopologyError,
    UnsupportedForceError,
)
from boltzflow.molecules import MolecularSystem, available_systems
from boltzflow.molecules.parameters import angle_terms, bond_terms

# The positions of openmmtools' AlanineDipeptideImplicit, nm, to all the digits of its coordinate file.
OPENMMTOOLS_POSITIONS = [
    [0.2000001, 0.1000000, -0.0000001],
    [0.2000001, 0.2090000, 0.0000000],
    [0.1486264, 0.2453849, 0.0889824],
    [0.1486259, 0.2453852, -0.0889820],
    [0.3427420, 0.2640795, -0.0000003],
    [0.4390580, 0.1877406, -0.0000007],
    [0.3555375, 0.3969649, -0.0000003],
    [0.2733120, 0.4556160, -0.0000001],
    [0.4853262, 0.4613925, -0.0000004],
    [0.5407596, 0.4315539, 0.0889815],
    [0.5661304, 0.4220842, -0.1232148],
    [0.5123262, 0.4521363, -0.2131202],
    [0.6630484, 0.4718935, -0.1205791],
    [0.5808540, 0.3140872, -0.1241385],
    [0.4712676, 0.6129419, 0.0000001],
    [0.3600645, 0.6652703, 0.0000006],
    [0.5846053, 0.6834883, 0.0000003],
    [0.6737001, 0.6359162, -0.0000000],
    [0.5846055, 0.8283884, 0.0000006],
    [0.4818576, 0.8647735, 0.0000010],
    [0.6359798, 0.8647731, 0.0889828],
    [0.6359790, 0.8647735, -0.0889819],
]
IMPLICIT, VACUUM = ["amber96.xml", "implicit/obc1.xml"], ["amber96.xml"]
TOPOLOGY = available_systems()["alanine_dipeptide"] / "topology.pdb"


@pytest.fixture(scope="module")
def dipeptide():
    return bf.load_system("alanine_dipeptide")


def reference_energy(system, positions):
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    return context.getState(energy=True).getPotentialEnergy().value_in_unit(u.kilojoule_per_mole)


@pytest.mark.parametrize(("forcefield", "published"), [(IMPLICIT, -138.9697), (VACUUM, -88.0886)])
def test_energy_of_the_published_benchmark(forcefield, published):
    system = MolecularSystem.from_pdb(TOPOLOGY, forcefield)
    assert reference_energy(system.openmm_system, OPENMMTOOLS_POSITIONS) == pytest.approx(published, abs=1e-4)
    native = system.potential(backend="torch").energy(torch.tensor([OPENMMTOOLS_POSITIONS], dtype=torch.float64))
    assert native.item() == pytest.approx(published, abs=1e-4)


def test_the_librarys_dipeptide(dipeptide):
    assert dipeptide.n_atoms == 22
    assert dipeptide.temperature == 300.0
    assert [dipeptide.atom_names[i] for i in (4, 6, 8, 14, 16)] == ["ACE1-C", "ALA2-N", "ALA2-CA", "ALA2-C", "NME3-N"]
    assert len(dipeptide.bonds) == 21
    assert dipeptide.openmm_system.getNumConstraints() == 0
    assert dipeptide.mdtraj_topology.n_atoms == 22
    assert reference_energy(dipeptide.openmm_system, dipeptide.positions) == pytest.approx(-173.17, abs=0.02)


def test_coordinates_reach_back_to_the_reference(dipeptide):
    coordinates = dipeptide.coordinates()
    assert len(coordinates.domain) == 60
    assert len(coordinates.domain.indices("circle")) == 7
    internals, _ = coordinates.inverse(torch.from_numpy(dipeptide.positions)[None])
    assert coordinates.domain.contains(internals).all()
    # Start widths come from the force field: σ = √(kT/k).
    i, j, length, stiffness = bond_terms(dipeptide.openmm_system)[0]
    names = {f"bond {dipeptide.atom_names[a]} {dipeptide.atom_names[b]}" for a, b in ((i, j), (j, i))}
    (place,) = [k for k, name in enumerate(coordinates.domain.names) if name in names]
    assert coordinates.centers[place].item() == pytest.approx(length)
    assert coordinates.widths[place].item() == pytest.approx((8.314462618e-3 * 300 / stiffness) ** 0.5)


def test_quantities_are_taken(dipeptide):
    system = MolecularSystem(
        dipeptide.topology, dipeptide.openmm_system, dipeptide.positions * 10 * u.angstrom, 350 * u.kelvin
    )
    assert system.temperature == 350.0
    assert abs(system.positions - dipeptide.positions).max() < 1e-12
    assert bf.load_system("alanine_dipeptide", temperature=350.0).temperature == 350.0


def test_nothing_is_shared_with_the_caller(dipeptide):
    hamiltonian, positions = dipeptide.openmm_system, dipeptide.positions
    system = MolecularSystem(dipeptide.topology, hamiltonian, positions)
    hamiltonian.removeForce(0)
    system.openmm_system.removeForce(0)
    positions[:] = 0.0
    system.positions[:] = 0.0
    assert system.openmm_system.getNumForces() == dipeptide.openmm_system.getNumForces()
    assert (system.positions == dipeptide.positions).all()


def test_specification_rebuilds_the_system(dipeptide):
    again = MolecularSystem.from_specification(dipeptide.specification)
    assert again.specification == dipeptide.specification
    assert again.atom_names == dipeptide.atom_names
    assert again.coordinates().domain == dipeptide.coordinates().domain


def test_xml_that_would_run_code_is_refused(dipeptide):
    specification = dipeptide.specification
    specification["system"] = specification["system"].replace('type="HarmonicBondForce"', 'type="PythonForce"')
    with pytest.raises(UnsupportedForceError, match="PythonForce"):
        MolecularSystem.from_specification(specification)
    with pytest.raises(FileFormatError, match="reading it failed"):
        MolecularSystem.from_specification({**specification, "system": "<System>"})


def test_terms_on_the_same_atoms_are_added_up():
    system = openmm.System()
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    for parameters in ((0, 1, 0.1, 100.0), (1, 0, 0.2, 300.0), (1, 2, 0.1, 0.0)):
        bonds.addBond(*parameters)
    angles.addAngle(2, 1, 0, 1.9, 50.0)
    system.addForce(bonds)
    system.addForce(angles)
    assert bond_terms(system) == [(0, 1, pytest.approx(0.175), 400.0)]
    assert angle_terms(system) == [(0, 1, 2, 1.9, 50.0)]


def test_the_target_has_the_systems_temperature(dipeptide):
    assert dipeptide.target().temperature == 300.0
    assert dipeptide.target(500 * u.kelvin).temperature == 500.0


def test_auto_falls_back_on_openmm_with_a_warning(dipeptide):
    hamiltonian = dipeptide.openmm_system
    hamiltonian.addForce(openmm.RMSDForce(1.5 * dipeptide.positions))
    system = MolecularSystem(dipeptide.topology, hamiltonian, dipeptide.positions)
    with pytest.warns(UserWarning, match="RMSDForce"):
        potential = system.potential()
    energy = potential.energy(torch.from_numpy(system.positions)[None]).item()
    assert energy == pytest.approx(reference_energy(hamiltonian, system.positions), abs=0.01)


def test_chains_are_named_when_there_are_several():
    topology = app.Topology()
    for name in "AB":
        residue = topology.addResidue("HOH", topology.addChain(name))
        topology.addAtom("O", app.element.oxygen, residue)
    hamiltonian = openmm.System()
    for _ in range(2):
        hamiltonian.addParticle(16.0)
    system = MolecularSystem(topology, hamiltonian, [[0, 0, 0], [1, 0, 0]])
    assert system.atom_names == ("A:HOH1-O", "B:HOH2-O")


# -- errors ----------------------------------------------------------------------------------------


def test_a_residue_without_template_is_named(tmp_path):
    lines = TOPOLOGY.read_text().replace("ALA", "XYZ")
    (tmp_path / "strange.pdb").write_text(lines)
    with pytest.raises(TemplateError, match=r"residue XYZ 2 \(chain A, 10 atoms\) or any residue of that name. Choose"):
        MolecularSystem.from_pdb(tmp_path / "strange.pdb", IMPLICIT)


def test_missing_hydrogens_are_explained(tmp_path):
    lines = [line for line in TOPOLOGY.read_text().splitlines() if line[76:78].strip() != "H" and "CONECT" not in line]
    (tmp_path / "heavy.pdb").write_text("\n".join(lines))
    with pytest.raises(TemplateError, match=r"missing atoms HH31, HH32, HH33.*hydrogens_at_ph"):
        MolecularSystem.from_pdb(tmp_path / "heavy.pdb", IMPLICIT)


def test_unknown_names_are_told_what_there_is(tmp_path):
    with pytest.raises(SystemNotFoundError, match=r"'nonsense'.*alanine_dipeptide"):
        bf.load_system("nonsense")
    with pytest.raises(SystemNotFoundError, match="No such file"):
        MolecularSystem.from_pdb(tmp_path / "none.pdb", IMPLICIT)
    with pytest.raises(OptionError, match=r"nonsense\.xml"):
        MolecularSystem.from_pdb(TOPOLOGY, ["nonsense.xml"])
    with pytest.raises(OptionError, match=r"HBonds.*'Hbond'"):
        MolecularSystem.from_pdb(TOPOLOGY, IMPLICIT, constraints="Hbond")
    with pytest.raises(OptionError, match=r"'auto', 'torch' or 'openmm'"):
        bf.load_system("alanine_dipeptide").potential(backend="jax")


def test_a_file_that_is_no_pdb_is_refused(tmp_path):
    for text in ("", "hello", "REMARK empty\nEND\n"):
        (tmp_path / "text.pdb").write_text(text)
        with pytest.raises(FileFormatError, match="Expected a PDB file in"):
            MolecularSystem.from_pdb(tmp_path / "text.pdb", IMPLICIT)
    (tmp_path / "broken.pdb").write_text(TOPOLOGY.read_text().replace("-4.293", "  x.xx"))
    with pytest.raises(FileFormatError, match="reading it failed"):
        MolecularSystem.from_pdb(tmp_path / "broken.pdb", IMPLICIT)


def test_force_fields_by_path_and_one_alone():
    from_list = MolecularSystem.from_pdb(TOPOLOGY, ["amber14/protein.ff14SB.xml"])
    alone = MolecularSystem.from_pdb(TOPOLOGY, "amber14/protein.ff14SB.xml")
    assert alone.specification["system"] == from_list.specification["system"]
    with pytest.raises(OptionError, match=r"Cannot read the force field .*nowhere\.xml"):
        MolecularSystem.from_pdb(TOPOLOGY, [Path("nowhere.xml")])


@pytest.mark.parametrize("temperature", [-300.0, 0.0, float("nan"), float("inf")])
def test_impossible_temperatures_are_refused(temperature):
    with pytest.raises(OptionError, match="positive temperature"):
        bf.load_system("alanine_dipeptide", temperature=temperature)


def test_positions_must_fit_and_be_finite(dipeptide):
    positions = dipeptide.positions
    with pytest.raises(ShapeError, match="22 particles"):
        MolecularSystem(dipeptide.topology, dipeptide.openmm_system, positions[:5])
    positions[8, 1] = float("nan")
    with pytest.raises(NonFiniteError, match="ALA2-CA"):
        MolecularSystem(dipeptide.topology, dipeptide.openmm_system, positions)


def test_constrained_bonds_have_no_coordinates():
    system = MolecularSystem.from_pdb(TOPOLOGY, IMPLICIT, constraints="HBonds")
    assert system.openmm_system.getNumConstraints() == 12
    coordinates = system.coordinates()
    assert len(coordinates.domain) == 60 - 12
    bonds = [name for name in coordinates.domain.names if name.startswith("bond")]
    assert len(bonds) == 9
    assert not [name for name in bonds if "-H" in name]
    x = torch.tensor(system.positions)[None]
    again, _ = coordinates(coordinates.inverse(x)[0])
    for i in range(12):
        a, b, distance = system.openmm_system.getConstraintParameters(i)
        assert float((again[0, a] - again[0, b]).norm()) == pytest.approx(distance._value)


def test_rigid_dynamics_factor_of_a_chain_of_three():
    system = openmm.System()
    masses = (12.0, 16.0, 1.0)
    for mass in masses:
        system.addParticle(mass)
    system.addConstraint(0, 1, 0.14)
    system.addConstraint(1, 2, 0.10)
    topology = app.Topology()
    residue = topology.addResidue("COH", topology.addChain())
    atoms = [topology.addAtom(s, app.Element.getBySymbol(s), residue) for s in "COH"]
    topology.addBond(atoms[0], atoms[1])
    topology.addBond(atoms[1], atoms[2])
    molecule = MolecularSystem(topology, system, [[0, 0, 0], [0.14, 0, 0], [0.18, 0.09, 0]])
    coordinates = molecule.coordinates()
    assert coordinates.domain.names == ("angle COH1-H COH1-O COH1-C",)
    theta = torch.tensor([[1.0], [1.8], [2.5]], dtype=torch.float64)
    x, _ = coordinates(theta)
    a, b, c = (1 / m for m in masses)
    expected = 0.5 * ((a + b) * (b + c) - (b * theta[:, 0].cos()) ** 2).log()
    assert molecule.rigid_dynamics_log_factor(x) == pytest.approx(expected)
    free = bf.load_system("alanine_dipeptide").rigid_dynamics_log_factor(torch.zeros(2, 22, 3))
    assert free.tolist() == [0.0, 0.0]


def test_frozen_atoms_have_no_coordinates():
    system = bf.load_system("alanine_dipeptide")
    held = system.freeze("not (resname ACE)")
    coordinates = held.coordinates()
    assert len(coordinates.domain) == 18
    z = coordinates.inverse(torch.tensor(system.positions)[None])[0]
    x, _ = coordinates(z + 0.01)
    moved = (x[0] - torch.tensor(system.positions)).norm(dim=1) > 1e-6
    assert moved.nonzero().flatten().tolist() == list(range(6))
    with pytest.raises(OptionError, match=r"mdtraj selection; got 'resname \('"):
        system.freeze("resname (")
    with pytest.raises(OptionError, match="got 0 with 'resname XYZ'"):
        system.freeze("resname XYZ")
    with pytest.raises(OptionError, match="got 22"):
        system.freeze("all")


def test_restraints_in_space_need_frozen_atoms():
    molecule = bf.load_system("alanine_dipeptide")
    system = molecule.openmm_system
    force = openmm.CustomExternalForce("500*x^2")
    force.addParticle(0, [])
    system.addForce(force)
    restrained = MolecularSystem(molecule.topology, system, molecule.positions)
    with pytest.raises(TopologyError, match="energy that is invariant under translation and rotation"):
        restrained.coordinates()
    assert len(restrained.freeze([8, 6, 14]).coordinates().domain) == 57


def test_options_of_a_potential_need_its_backend():
    """A platform that was asked for is never ignored."""
    system = bf.load_system("alanine_dipeptide")
    with pytest.raises(OptionError, match="backend 'torch' or 'openmm' for the options platform; got 'auto'"):
        system.potential(platform="Reference")


def test_a_temperature_that_is_no_number_is_refused():
    with pytest.raises(OptionError, match="Expected a number or a Quantity in kelvin; got 'hot'"):
        bf.load_system("alanine_dipeptide", temperature="hot")


def test_a_system_keeps_a_whole_copy_of_its_topology() -> None:
    """Bonds too are between the copy's atoms, so that what is done to the original later changes nothing."""
    source = bf.load_system("alanine_dipeptide")
    original = source.topology
    for bond in original.bonds():
        bond.order = 1
    made = bf.MolecularSystem(original, source.openmm_system, source.positions)
    atoms = set(map(id, made.topology.atoms()))
    assert all({id(bond.atom1), id(bond.atom2)} <= atoms for bond in made.topology.bonds())
    assert not atoms & set(map(id, original.atoms()))
    assert [(a.name, a.id, a.residue.name, a.residue.id, a.residue.chain.id) for a in made.topology.atoms()] == [
        (a.name, a.id, a.residue.name, a.residue.id, a.residue.chain.id) for a in original.atoms()
    ]
    assert [bond.order for bond in made.topology.bonds()] == [1] * made.topology.getNumBonds()
