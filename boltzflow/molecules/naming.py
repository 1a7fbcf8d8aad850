"""Names of residues and atoms."""

from __future__ import annotations

import mdtraj
from openmm import app


def atom_names(topology: app.Topology) -> tuple[str, ...]:
    """See `MolecularSystem.atom_names`."""
    chains = topology.getNumChains() > 1
    return tuple(
        f"{a.residue.chain.id + ':' if chains else ''}{a.residue.name}{a.residue.id}-{a.name}" for a in topology.atoms()
    )


def residue_names(topology: mdtraj.Topology) -> list[str]:
    """A name for each residue, such as "ALA2"; with a chain prefix if there are several chains: "B:ALA2".

    The prefix is the chain's id, or its number (from 1) if the ids are not unique.
    """
    chains = [chain.chain_id for chain in topology.chains]
    if None in chains or len(set(chains)) < len(chains):
        chains = [str(number) for number in range(1, len(chains) + 1)]
    before = [f"{chain}:" if len(chains) > 1 else "" for chain in chains]
    return [f"{before[residue.chain.index]}{residue}" for residue in topology.residues]


def standard_names(residue: str, atom: str) -> tuple[str, str]:
    """A residue's name and an atom's name as OpenMM's readers standardise them: HN in a peptide becomes H.

    >>> standard_names("HSD", "HN")
    ('HIS', 'H')
    """
    app.PDBFile._loadNameReplacementTables()
    name = app.PDBFile._residueNameReplacements.get(residue, residue)
    return name, app.PDBFile._atomNameReplacements.get(name, {}).get(atom, atom)
