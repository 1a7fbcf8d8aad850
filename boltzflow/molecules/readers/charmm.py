"""Reads CHARMM files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from openmm import app

from boltzflow.molecules.parametrize import Constraints
from boltzflow.molecules.readers.fit import check_positions
from boltzflow.molecules.readers.reading import (
    ImplicitSolvent,
    Parts,
    explained,
    read_file,
    read_structure_file,
    require,
    solvent_model,
    system_options,
)


def from_charmm(
    psf: str | Path,
    structure: str | Path,
    parameters: Sequence[str | Path],
    implicit_solvent: ImplicitSolvent,
    constraints: Constraints | None,
) -> Parts:
    """Read a molecule from a CHARMM structure file, positions (PDB or CRD) and parameter files (rtf, prm, str)."""
    options = {**system_options(constraints), "implicitSolvent": solvent_model(implicit_solvent)}
    molecule = read_file(psf, app.CharmmPsfFile, "a CHARMM psf")
    if Path(structure).suffix.lower() == ".pdb":
        pdb = read_structure_file(structure, "PDB")
        positions, names = pdb.positions, [(atom.residue.name, atom.name) for atom in pdb.topology.atoms()]
    else:
        crd = read_file(structure, app.CharmmCrdFile, "a CHARMM crd")
        positions, names = crd.positions, list(zip(crd.resname, crd.attype, strict=True))
    check_positions(molecule.topology, positions, names, psf, structure)
    for path in parameters:
        require(path)
    with explained(f"CHARMM parameters that fit {psf} in {', '.join(map(str, parameters)) or 'no files'}"):
        system = molecule.createSystem(app.CharmmParameterSet(*map(str, parameters)), **options)
    return Parts(molecule.topology, system, positions)
