"""Names of residues that tell them apart."""

from __future__ import annotations

import mdtraj


def residue_names(topology: mdtraj.Topology) -> list[str]:
    """A name for each residue, such as "ALA2"; with the chain in front if there are several chains: "B:ALA2".

    The chain's id is meant, or its number from 1 where ids do not tell them apart.
    """
    chains = [chain.chain_id for chain in topology.chains]
    if None in chains or len(set(chains)) < len(chains):
        chains = [str(number) for number in range(1, len(chains) + 1)]
    before = [f"{chain}:" if len(chains) > 1 else "" for chain in chains]
    return [f"{before[residue.chain.index]}{residue}" for residue in topology.residues]
