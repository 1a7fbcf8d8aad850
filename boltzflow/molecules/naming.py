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
    """A name for each residue, such as "ALA2"; with the chain in front if there are several chains: "B:ALA2".

    The chain's id is meant, or its number from 1 where ids do not tell them apart.
    """
    chains = [chain.chain_id for chain in topology.chains]
    if None in chains or len(set(chains)) < len(chains):
        chains = [str(number) for number in range(1, len(chains) + 1)]
    before = [f"{chain}:" if len(chains) > 1 else "" for chain in chains]
    return [f"{before[residue.chain.index]}{residue}" for residue in topology.residues]


def standard_names(residue: str, atom: str) -> tuple[str, str]:
    """The names of a residue and of one of its atoms as OpenMM's readers translate them: HN of any peptide is H.

    >>> standard_names("HSD", "HN")
    ('HIS', 'H')
    """
    app.PDBFile._loadNameReplacementTables()
    name = app.PDBFile._residueNameReplacements.get(residue, residue)
    return name, app.PDBFile._atomNameReplacements.get(name, {}).get(atom, atom)
