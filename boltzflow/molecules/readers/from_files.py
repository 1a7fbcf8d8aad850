"""Reads a molecular system from files of other programs, or builds it from a sequence or a SMILES string."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import openmm
from openmm import app

from boltzflow.molecules.forcefields import DEFAULT_FORCEFIELD, ForceFieldFiles, file_names, read_forcefield
from boltzflow.molecules.parametrize import Constraints
from boltzflow.molecules.readers.amber import from_amber
from boltzflow.molecules.readers.charmm import from_charmm
from boltzflow.molecules.readers.gaff import ChargeModel, GaffVersion, LigandSolvent
from boltzflow.molecules.readers.gromacs import from_gromacs
from boltzflow.molecules.readers.ligand import from_molfile, from_smiles
from boltzflow.molecules.readers.openmm_xml import from_openmm_xml
from boltzflow.molecules.readers.pdb import from_structure
from boltzflow.molecules.readers.reading import ImplicitSolvent
from boltzflow.molecules.readers.sequence import from_sequence
from boltzflow.units import Temperature, checked_temperature


class FromFiles(ABC):
    """The class methods of `MolecularSystem` that read files."""

    @abstractmethod
    def __init__(
        self,
        topology: app.Topology,
        system: openmm.System,
        positions: Any,
        temperature: Temperature = 300.0,
        name: str = "",
    ) -> None:
        """See `MolecularSystem`."""

    @classmethod
    def from_pdb(
        cls,
        path: str | Path,
        forcefield: ForceFieldFiles = DEFAULT_FORCEFIELD,
        temperature: Temperature = 300.0,
        constraints: Constraints | None = None,
        name: str = "",
        hydrogens_at_ph: float | None = None,
    ) -> Self:
        """Read a molecule from a PDB file; the System has no cutoff.

        Args:
            path: the PDB file; its positions are the reference structure.
            forcefield: OpenMM force-field files, by name or path; by default Amber ff14SB with the OBC2 solvent.
            temperature: in K, or a Quantity.
            constraints: "HBonds", "AllBonds", "HAngles" or "none".
            name: the file's stem if not given.
            hydrogens_at_ph: the pH at which missing hydrogens are added; None adds none.

        Raises:
            SystemNotFoundError: if the file does not exist.
            FileFormatError: if it is not a PDB file, an atom name is repeated in a residue, or positions are in nm.
            TemplateError: if the force field has no template for a residue; names it and says what to do.
            TopologyError: if residues are missing within a chain, or an atom is misplaced; names the atoms.
            ForceFieldNotFoundError: if a force-field file does not exist.
            OptionError: if the force field, the constraints or the temperature is invalid.

        If the file has several models, the first is read. If a residue has alternate locations, the one with the
        highest occupancy is read. Both give a warning.
        """
        files = file_names(forcefield)
        field = read_forcefield(files)
        parts = from_structure(path, "PDB", field, files, constraints, hydrogens_at_ph)
        return cls(*parts, checked_temperature(temperature), name or Path(path).stem)

    @classmethod
    def from_mmcif(
        cls,
        path: str | Path,
        forcefield: ForceFieldFiles = DEFAULT_FORCEFIELD,
        temperature: Temperature = 300.0,
        constraints: Constraints | None = None,
        name: str = "",
        hydrogens_at_ph: float | None = None,
    ) -> Self:
        """Read a molecule from a PDBx/mmCIF file; arguments and errors are those of `from_pdb`."""
        files = file_names(forcefield)
        field = read_forcefield(files)
        parts = from_structure(path, "mmCIF", field, files, constraints, hydrogens_at_ph)
        return cls(*parts, checked_temperature(temperature), name or Path(path).stem)

    @classmethod
    def from_amber(
        cls,
        prmtop: str | Path,
        coordinates: str | Path,
        temperature: Temperature = 300.0,
        implicit_solvent: ImplicitSolvent = "none",
        constraints: Constraints | None = None,
        name: str = "",
    ) -> Self:
        """Read a molecule from Amber files; the System has no cutoff, and a periodic box is ignored.

        Args:
            prmtop: parameters and topology.
            coordinates: inpcrd or rst7, text or NetCDF; the reference structure.
            temperature: in K, or a Quantity.
            implicit_solvent: "none", "HCT", "OBC1", "OBC2", "GBn" or "GBn2".
            constraints: as in `from_pdb`.
            name: the file's stem if not given.

        Raises:
            SystemNotFoundError, FileFormatError: if a file is missing or damaged, or OpenMM cannot use its contents.
            ShapeError, TopologyError: if the positions are those of other atoms; names the first that differs.
            OptionError: if an option is invalid.
        """
        parts = from_amber(prmtop, coordinates, implicit_solvent, constraints)
        return cls(*parts, checked_temperature(temperature), name or Path(prmtop).stem)

    @classmethod
    def from_gromacs(
        cls,
        top: str | Path,
        gro: str | Path,
        temperature: Temperature = 300.0,
        include_folder: str | Path | None = None,
        constraints: Constraints | None = None,
        name: str = "",
    ) -> Self:
        """Read a molecule from GROMACS files; the System has no cutoff, and a periodic box is ignored.

        Args:
            top: topology.
            gro: the reference structure.
            temperature: in K, or a Quantity.
            include_folder: the folder of GROMACS' own force fields (share/gromacs/top), if the topology includes them.
            constraints: as in `from_pdb`.
            name: the file's stem if not given.

        Raises:
            SystemNotFoundError, FileFormatError: if a file is missing or damaged, or OpenMM cannot use its contents.
            ShapeError, TopologyError: if the positions are those of other atoms; names the first that differs.
            OptionError: if an option is invalid.
        """
        parts = from_gromacs(top, gro, include_folder, constraints)
        return cls(*parts, checked_temperature(temperature), name or Path(top).stem)

    @classmethod
    def from_charmm(
        cls,
        psf: str | Path,
        structure: str | Path,
        parameters: Sequence[str | Path],
        temperature: Temperature = 300.0,
        implicit_solvent: ImplicitSolvent = "none",
        constraints: Constraints | None = None,
        name: str = "",
    ) -> Self:
        """Read a molecule from CHARMM files; the System has no cutoff.

        Args:
            psf: CHARMM's (or NAMD's) protein structure file.
            structure: positions as PDB or CRD; the reference structure.
            parameters: rtf, prm and str files.
            temperature: in K, or a Quantity.
            implicit_solvent: as in `from_amber`.
            constraints: as in `from_pdb`.
            name: the file's stem if not given.

        Raises:
            SystemNotFoundError, FileFormatError: if a file is missing or damaged, or parameters are missing.
            ShapeError, TopologyError: if the positions are those of other atoms; names the first that differs.
            OptionError: if an option is invalid.
        """
        parts = from_charmm(psf, structure, parameters, implicit_solvent, constraints)
        return cls(*parts, checked_temperature(temperature), name or Path(psf).stem)

    @classmethod
    def from_openmm_xml(
        cls, xml: str | Path, structure: str | Path, temperature: Temperature = 300.0, name: str = ""
    ) -> Self:
        """Read an `openmm.System` as written by `openmm.XmlSerializer`, with the topology and positions of a structure.

        Args:
            xml: the System.
            structure: PDB or mmCIF file with the same atoms in the same order; the reference structure.
            temperature: in K, or a Quantity.
            name: the file's stem if not given.

        Raises:
            SystemNotFoundError, FileFormatError: if a file is missing or damaged.
            UnsupportedForceError: if the System could run code.
            ShapeError: if the files differ in the number of atoms.
            OptionError: if the temperature is invalid.
        """
        parts = from_openmm_xml(xml, structure)
        return cls(*parts, checked_temperature(temperature), name or Path(xml).stem)

    @classmethod
    def from_sequence(
        cls,
        letters: str,
        forcefield: ForceFieldFiles = DEFAULT_FORCEFIELD,
        caps: bool = True,
        temperature: Temperature = 300.0,
        constraints: Constraints | None = None,
        name: str = "",
        ph: float = 7.0,
    ) -> Self:
        """Build a peptide: an extended chain of ideal geometry, minimised; all residues L, all peptide bonds trans.

        Args:
            letters: one-letter codes of amino acids, such as "AAA".
            forcefield: names of OpenMM force-field files.
            caps: acetyl and methylamide at the ends (ACE, NME) instead of charged ends.
            temperature: in K, or a Quantity.
            constraints: as in `from_pdb`.
            name: the letters if not given.
            ph: the pH that sets the protonation states.

        Raises:
            OptionError: if a letter is not one of the twenty, or an option is invalid.
            MissingDependencyError: if PeptideBuilder is not installed (the extra "sequence").

        >>> import boltzflow as bf
        >>> bf.MolecularSystem.from_sequence("AAA")  # doctest: +SKIP
        MolecularSystem('AAA', 42 atoms, 300 K)
        """
        parts = from_sequence(letters, caps, forcefield, constraints, ph)
        return cls(*parts, checked_temperature(temperature), name or letters)

    @classmethod
    def from_smiles(
        cls,
        smiles: str,
        forcefield: GaffVersion = "gaff2",
        temperature: Temperature = 300.0,
        implicit_solvent: LigandSolvent = "OBC2",
        constraints: Constraints | None = None,
        name: str = "",
        charges: ChargeModel = "AM1-BCC",
    ) -> Self:
        """Build a small organic molecule from SMILES, with GAFF (Wang et al. 2004, doi 10.1002/jcc.20035).

        Of 20 conformers (ETKDGv3), minimised in the force field, the one with the lowest energy is the reference
        structure. The charges are those of the most extended conformer. The molecule is used exactly as written,
        including its protonation state. The same SMILES always gives the same System and positions.

        Args:
            smiles: of one molecule of H, C, N, O, F, P, S, Cl, Br and I, with its stereochemistry and formal charges.
            forcefield: "gaff2" or "gaff".
            temperature: in K, or a Quantity.
            implicit_solvent: "OBC2" (water, as in `from_sequence`) or "none" (vacuum).
            constraints: as in `from_pdb`.
            name: the SMILES if not given.
            charges: "AM1-BCC" (Jakalian et al. 2002, doi 10.1002/jcc.10128), or "Gasteiger" (fast and inaccurate).

        Raises:
            OptionError: if the SMILES is invalid, leaves a stereocentre or a double bond undefined (the isomers are
                listed), or is no single closed-shell molecule of these elements; or if an option is invalid.
            TemplateError: if GAFF lacks parameters; names the atom types.
            TopologyError: if the minimised structure is another stereoisomer.
            ConvergenceError, EvaluationError: if no conformer is found, or a program of AmberTools fails.
            MissingDependencyError: if RDKit or AmberTools is not installed (the extra "ligands").

        Warnings name groups that are neutral as written, but charged in water at pH 7, and double bonds with E and Z
        isomers, both of which a generator samples.

        >>> import boltzflow as bf
        >>> bf.MolecularSystem.from_smiles("Cc1ccccc1O")  # doctest: +SKIP
        MolecularSystem('Cc1ccccc1O', 16 atoms, 300 K)
        """
        parts = from_smiles(smiles, forcefield, charges, implicit_solvent, constraints)
        return cls(*parts, checked_temperature(temperature), name or smiles)

    @classmethod
    def from_molfile(
        cls,
        path: str | Path,
        forcefield: GaffVersion = "gaff2",
        temperature: Temperature = 300.0,
        implicit_solvent: LigandSolvent = "OBC2",
        constraints: Constraints | None = None,
        name: str = "",
        charges: ChargeModel = "AM1-BCC",
        add_hydrogens: bool = False,
    ) -> Self:
        """Read a small organic molecule from an SDF, MOL or MOL2 file, and parametrise it as `from_smiles` does.

        Args:
            path: the file; its positions are the reference structure, and its formal charges are used.
            forcefield, temperature, implicit_solvent, constraints, charges: as in `from_smiles`.
            name: the file's stem if not given.
            add_hydrogens: add missing hydrogens, in ideal geometry and for the formal charges of the file.

        Raises:
            SystemNotFoundError: if the file does not exist.
            FileFormatError: if it cannot be read, or its positions are two-dimensional or in nm.
            TopologyError: if an atom is misplaced; names the atoms.
            OptionError: if hydrogens are missing, or as in `from_smiles`.
            TemplateError, ConvergenceError, EvaluationError, MissingDependencyError: as in `from_smiles`.

        If the file contains several molecules, the first is read, with a warning.
        """
        parts = from_molfile(path, add_hydrogens, forcefield, charges, implicit_solvent, constraints)
        return cls(*parts, checked_temperature(temperature), name or Path(path).stem)
