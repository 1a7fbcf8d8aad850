"""Peptides from their sequence: an extended chain of ideal geometry, all residues L, all peptide bonds trans."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from openmm import app

from boltzflow.errors import MissingDependencyError, OptionError
from boltzflow.molecules.forcefields import ForceFieldFiles, file_names, read_forcefield
from boltzflow.molecules.parametrize import Constraints, create_system
from boltzflow.molecules.readers.hydrogens import with_hydrogens
from boltzflow.molecules.readers.minimum import minimised
from boltzflow.molecules.readers.reading import Parts

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
"""One-letter codes of the twenty amino acids."""

STRETCHED = (-120.0, 130.0)
"""φ and ψ of an extended strand, in degrees."""


def from_sequence(
    sequence: str,
    caps: bool,
    forcefield: ForceFieldFiles,
    constraints: Constraints | None,
    ph: float,
) -> Parts:
    """See `MolecularSystem.from_sequence`."""
    files = file_names(forcefield)
    field = read_forcefield(files)
    heavy = heavy_atoms(sequence, caps)
    topology, positions = with_hydrogens(heavy.topology, heavy.positions, field, ph)
    system = create_system(topology, field, files, constraints)
    return Parts(topology, system, minimised(system, positions).positions)


def heavy_atoms(sequence: str, caps: bool, backbone: Sequence[tuple[float, float]] | None = None) -> app.PDBFile:
    """All heavy atoms in ideal geometry, ω = 180° (PeptideBuilder, Tien et al. 2013, doi 10.7717/peerj.80).

    Args:
        sequence: one-letter codes.
        caps: adds an N-terminal acetyl and a C-terminal methylamide, each cut from a glycine.
        backbone: φ and ψ of each residue, in degrees; an extended chain by default.

    Raises:
        OptionError: if a letter is not one of the twenty; names it and its position.
        MissingDependencyError: if PeptideBuilder is not installed.
    """
    if not sequence:
        raise OptionError("Expected a sequence of one-letter codes; got an empty one.")
    for place, letter in enumerate(sequence, 1):
        if letter not in LETTERS:
            raise OptionError(f"Expected one-letter amino-acid codes ({LETTERS}); got {letter!r} at position {place}.")
    try:
        import PeptideBuilder
        from PeptideBuilder import Geometry
    except ImportError:
        raise MissingDependencyError(
            'A structure from a sequence needs PeptideBuilder: pip install "boltzflow[sequence]".'
        ) from None
    angles = list(backbone or [STRETCHED] * len(sequence))
    letters = f"G{sequence}G" if caps else sequence
    angles = [STRETCHED, *angles, STRETCHED] if caps else angles
    chain = PeptideBuilder.initialize_res(Geometry.geometry(letters[0]))
    for letter, (_, psi), (phi, _) in zip(letters[1:], angles, angles[1:], strict=False):
        PeptideBuilder.add_residue(chain, Geometry.geometry(letter), phi, psi)
    if not caps:
        PeptideBuilder.add_terminal_OXT(chain)
    return app.PDBFile(io.StringIO(_pdb(list(chain.get_residues()), caps)))


def _pdb(residues: list[Any], caps: bool) -> str:
    lines: list[str] = []
    for number, residue in enumerate(residues):
        name, kept = residue.get_resname(), {atom.get_name(): atom.get_name() for atom in residue}
        if caps and number == 0:
            name, kept = "ACE", {"CA": "CH3", "C": "C", "O": "O"}
        elif caps and number == len(residues) - 1:
            name, kept = "NME", {"N": "N", "CA": "C"}
        for atom in residue:
            if label := kept.get(atom.get_name()):
                x, y, z = atom.get_coord()
                lines.append(
                    f"ATOM  {len(lines) + 1:5d}  {label:<3s} {name} A{number + 1:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
                    f"  1.00  0.00          {label[0]:>2s}"
                )
    return "\n".join([*lines, "TER", "END"])
