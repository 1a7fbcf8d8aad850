"""Parameters of small molecules: GAFF with AM1-BCC charges, by the programs of AmberTools."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from openmm import app

from boltzflow.arrays import Array
from boltzflow.errors import ConvergenceError, EvaluationError, MissingDependencyError, OptionError, TemplateError
from boltzflow.molecules.bonds import LONGEST, stretch_of_bonds
from boltzflow.molecules.parametrize import Constraints
from boltzflow.molecules.readers.amber import from_amber
from boltzflow.molecules.readers.conformers import conformer_of
from boltzflow.molecules.readers.molecule import RESIDUE, topology_of
from boltzflow.molecules.readers.reading import Parts, system_options

GaffVersion = Literal["gaff2", "gaff"]
ChargeModel = Literal["AM1-BCC", "Gasteiger"]
LigandSolvent = Literal["OBC2", "none"]
"""Sander and OpenMM agree on these; on GBn2 they disagree for sulfur."""

_NUMBERS = {"gaff2": "2", "gaff": "1"}
"""Parmchk2's numbers of the force fields. Given a name, its version 26 reads gaff.dat for gaff2, or not, at random."""

_CHARGES = {"AM1-BCC": "bcc", "Gasteiger": "gas"}
_RADII = "mbondi2"  # those that OBC2 was fitted with

_PROGRAMS = ("antechamber", "sqm", "parmchk2", "tleap")
_FIXED = "qm_theory='AM1', scfconv=1.d-10, ndiis_attempts=700, maxcyc=0,"
"""Keywords of sqm for a structure that is not optimised; antechamber's own otherwise."""

_ROUNDING = 0.02  # e, of all charges together


def check_options(
    forcefield: GaffVersion, charges: ChargeModel, implicit_solvent: LigandSolvent, constraints: Constraints | None
) -> None:
    """Raise an OptionError if an option is unknown, or a MissingDependencyError if AmberTools is not installed."""
    if forcefield not in _NUMBERS:
        raise OptionError(f"Expected the force field {' or '.join(_NUMBERS)}; got {forcefield!r}.")
    if charges not in _CHARGES:
        raise OptionError(f"Expected the charges {' or '.join(_CHARGES)}; got {charges!r}.")
    if implicit_solvent not in ("OBC2", "none"):
        raise OptionError(f"Expected the implicit solvent OBC2 or none; got {implicit_solvent!r}.")
    system_options(constraints)
    for program in _PROGRAMS:
        _program(program)


def parametrised(
    molecule: Any,
    positions: Array,
    forcefield: GaffVersion,
    charges: ChargeModel,
    implicit_solvent: LigandSolvent,
    constraints: Constraints | None,
) -> Parts:
    """Parametrise a molecule by antechamber, parmchk2 and tleap; the charges are those of one conformer.

    Args:
        molecule: an RDKit molecule with all hydrogens.
        positions: the conformer (N, 3) that the charges are computed for, nm.
        forcefield: the version of GAFF.
        charges: the model of the charges; they sum to the formal charge.
        implicit_solvent: the solvent model.
        constraints: the kind of constraints.

    Raises:
        TemplateError: if GAFF lacks parameters; names the atom types.
        ConvergenceError: if the quantum-mechanical calculation does not converge.
        EvaluationError: if a program fails for another reason.
    """
    topology = topology_of(molecule)
    with TemporaryDirectory(prefix="boltzflow-") as name:
        folder = Path(name)
        _write_charged(folder, molecule, positions, forcefield, charges, topology)
        options = ("-i", "typed.mol2", "-f", "mol2", "-o", "frcmod", "-s", _NUMBERS[forcefield])
        run_program(folder, "frcmod", "parmchk2", *options)
        check_complete((folder / "frcmod").read_text(encoding="utf-8"), forcefield)
        (folder / "leap.in").write_text(
            f"source leaprc.{forcefield}\nset default PBRadii {_RADII}\nloadamberparams frcmod\n"
            "molecule = loadmol2 charged.mol2\nsaveamberparm molecule prmtop inpcrd\nquit\n",
            encoding="utf-8",
        )
        run_program(folder, "prmtop", "tleap", "-f", "leap.in")
        parts = from_amber(folder / "prmtop", folder / "inpcrd", implicit_solvent, constraints)
    if _content(parts.topology) != _content(topology):
        raise EvaluationError("Expected the atoms and bonds of the molecule from AmberTools; it returned others.")
    return Parts(topology, parts.system, parts.positions)


def with_exact_sum(charges: Sequence[float], total: int) -> list[float]:
    """Charges that sum to the total; the difference, due to rounding, is spread evenly, so that symmetry remains.

    Raises:
        EvaluationError: if the difference cannot be due to rounding.

    >>> [round(charge, 6) for charge in with_exact_sum([0.4, 0.4, -0.802], 0)]
    [0.400667, 0.400667, -0.801333]
    """
    excess = sum(charges) - total
    if abs(excess) > _ROUNDING:
        raise EvaluationError(
            f"Expected charges that sum to the formal charge {total:+d}; antechamber's differ by {excess:.3f}."
        )
    return [charge - excess / len(charges) for charge in charges]


def is_zwitterion(molecule: Any) -> bool:
    """Whether a molecule has both charges, on atoms that are not bonded to each other (those of a nitro group are)."""
    left = [
        atom.GetFormalCharge()
        for atom in molecule.GetAtoms()
        if all(atom.GetFormalCharge() * other.GetFormalCharge() >= 0 for other in atom.GetNeighbors())
    ]
    return bool(min(left) < 0 < max(left))


def _write_charged(
    folder: Path, molecule: Any, positions: Array, forcefield: GaffVersion, charges: ChargeModel, topology: app.Topology
) -> None:
    """Write typed.mol2 (antechamber's) and charged.mol2 (with charges that sum to the formal charge).

    AM1 optimises the structure in vacuum. There, the charged groups of a zwitterion attract each other and may exchange
    a proton; other groups do so rarely. The charges would be those of another molecule. The structure then is fixed.
    """
    from rdkit import Chem

    total = Chem.GetFormalCharge(molecule)
    copy = Chem.Mol(molecule)
    copy.RemoveAllConformers()
    copy.AddConformer(conformer_of(10.0 * positions))
    Chem.MolToMolFile(copy, str(folder / "molecule.sdf"))
    zwitterion = is_zwitterion(molecule)
    _antechamber(folder, forcefield, charges, total, is_fixed=zwitterion)
    if charges == "AM1-BCC" and not zwitterion and _rearranged(folder, topology):
        _antechamber(folder, forcefield, charges, total, is_fixed=True)
    lines = (folder / "typed.mol2").read_text(encoding="utf-8").splitlines()
    start, end = lines.index("@<TRIPOS>ATOM") + 1, lines.index("@<TRIPOS>BOND")
    rows = [line.rsplit(maxsplit=1) for line in lines[start:end]]
    exact = with_exact_sum([float(charge) for _, charge in rows], total)
    lines[start:end] = [f"{row[0]} {charge:.10f}" for row, charge in zip(rows, exact, strict=True)]
    (folder / "charged.mol2").write_text("\n".join([*lines, ""]), encoding="utf-8")


def _antechamber(folder: Path, forcefield: GaffVersion, charges: ChargeModel, total: int, is_fixed: bool) -> None:
    run_program(
        folder,
        "typed.mol2",
        "antechamber",
        *("-i", "molecule.sdf", "-fi", "sdf", "-o", "typed.mol2", "-fo", "mol2", "-rn", RESIDUE),
        *("-at", forcefield, "-c", _CHARGES[charges], "-nc", str(total), "-eq", "1", "-dr", "no"),
        *(("-ek", _FIXED) if is_fixed else ()),
    )


def _rearranged(folder: Path, topology: app.Topology) -> bool:
    """Whether a bond of the molecule is broken in the structure that sqm has optimised."""
    lines = (folder / "sqm.pdb").read_text(encoding="utf-8").splitlines()
    positions = np.array([[float(line[i : i + 8]) for i in (30, 38, 46)] for line in lines if line.startswith("ATOM")])
    _, stretches = stretch_of_bonds(topology, positions / 10.0)
    return bool((stretches > LONGEST).any())


def check_complete(frcmod: str, forcefield: GaffVersion) -> None:
    """Raise a TemplateError if parmchk2 has found no value for a parameter, which then is zero."""
    lacking = [re.split(r"\s{2,}", line.strip())[0] for line in frcmod.splitlines() if "ATTN" in line]
    if lacking:
        raise TemplateError(f"Expected parameters of {forcefield} for all atom types; it has none for {lacking[0]}.")


def _content(topology: app.Topology) -> tuple[list[Any], set[frozenset[int]]]:
    elements = [atom.element for atom in topology.atoms()]
    return elements, {frozenset((bond.atom1.index, bond.atom2.index)) for bond in topology.bonds()}


def _program(name: str) -> str:
    """The path of a program of AmberTools, in the environment of this Python or on the path."""
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    found = shutil.which(name, path=places)
    if found is None:
        raise MissingDependencyError(
            f"Parameters of small molecules need AmberTools, whose program {name} is missing: pip install "
            '"boltzflow[ligands]".'
        )
    return found


def run_program(folder: Path, product: str, program: str, *arguments: str) -> None:
    """Run a program of AmberTools in a folder, in one thread, so that sums are always in the same order.

    Raises:
        ConvergenceError: if sqm, which antechamber calls, does not converge.
        EvaluationError: if the program does not write its product for another reason.
    """
    (folder / product).unlink(missing_ok=True)  # of an earlier run
    done = subprocess.run(
        [_program(program), *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        check=False,
    )
    if (folder / product).is_file():
        return
    sqm = folder / "sqm.out"
    said = sqm.read_text(encoding="utf-8", errors="replace") if sqm.is_file() else ""
    if said and "Calculation Completed" not in said:
        raise ConvergenceError(f"Expected AM1 charges of the molecule; sqm did not converge: {_last(said)}.")
    raise EvaluationError(f"Expected {product} from {program}; it wrote none: {_last(done.stdout)}.")


def _last(text: str) -> str:
    """The last line that says something."""
    return next(
        (" ".join(line.split()).rstrip(".") for line in reversed(text.splitlines()) if line.strip()), "no reason"
    )
