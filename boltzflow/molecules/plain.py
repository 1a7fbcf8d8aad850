"""Converts molecules to plain data, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import openmm
from openmm import app

from boltzflow.arrays import Array
from boltzflow.energies.system_xml import load_system_xml, system_to_xml
from boltzflow.errors import BoltzflowError, FileFormatError


def system_to_plain(
    topology: app.Topology, system: openmm.System, positions: Array, temperature: float, name: str
) -> dict[str, Any]:
    """See `MolecularSystem.specification`."""
    return {
        "name": name,
        "temperature": temperature,
        "topology": topology_to_plain(topology),
        "system": system_to_xml(system),
        "positions": positions.tolist(),
    }


def system_from_plain(plain: Mapping[str, Any]) -> tuple[app.Topology, openmm.System, Any, float, str]:
    """Topology, System, positions in nm, temperature in K and name; see `MolecularSystem.from_specification`."""
    if not (isinstance(plain["name"], str) and np.isfinite(plain["positions"]).all()):
        raise FileFormatError("Expected a name and finite positions.")
    topology, system = topology_from_plain(plain["topology"]), system_from_xml(plain["system"])
    return topology, system, plain["positions"], plain["temperature"], plain["name"]


def copy_topology(topology: app.Topology) -> app.Topology:
    """A copy that shares nothing; `copy.deepcopy` leaves the bonds of OpenMM before 8.5 between the old atoms."""
    copy = app.Topology()
    chains = [copy.addChain(chain.id) for chain in topology.chains()]
    residues = [copy.addResidue(r.name, chains[r.chain.index], r.id, r.insertionCode) for r in topology.residues()]
    atoms = [copy.addAtom(a.name, a.element, residues[a.residue.index], a.id, a.formalCharge) for a in topology.atoms()]
    for bond in topology.bonds():
        copy.addBond(atoms[bond.atom1.index], atoms[bond.atom2.index], bond.type, bond.order)
    copy.setPeriodicBoxVectors(topology.getPeriodicBoxVectors())
    return copy


def topology_to_plain(topology: app.Topology) -> dict[str, Any]:
    """Chains, residues, atoms and bonds as JSON-serialisable lists."""
    return {
        "chains": [chain.id for chain in topology.chains()],
        "residues": [[r.name, r.id, r.insertionCode, r.chain.index] for r in topology.residues()],
        "atoms": [[a.name, a.element.symbol if a.element else None, a.residue.index] for a in topology.atoms()],
        "bonds": [[bond.atom1.index, bond.atom2.index] for bond in topology.bonds()],
    }


def topology_from_plain(plain: Mapping[str, Any]) -> app.Topology:
    """The inverse of `topology_to_plain`.

    Raises:
        TypeError: if a name is not a string. OpenMM would accept it, but other programs fail on it.
    """
    topology = app.Topology()
    names = [name for kind, count in (("residues", 3), ("atoms", 1)) for row in plain[kind] for name in row[:count]]
    if not all(isinstance(name, str) for name in (*plain["chains"], *names)):
        raise TypeError("names of chains, residues and atoms must be strings")
    chains = [topology.addChain(name) for name in plain["chains"]]
    residues = [topology.addResidue(name, chains[chain], key, code) for name, key, code, chain in plain["residues"]]
    atoms = [
        topology.addAtom(name, app.Element.getBySymbol(symbol) if symbol else None, residues[residue])
        for name, symbol, residue in plain["atoms"]
    ]
    for i, j in plain["bonds"]:
        topology.addBond(atoms[i], atoms[j])
    return topology


def system_from_xml(xml: str) -> openmm.System:
    """An `openmm.System` from its XML.

    Raises:
        FileFormatError: if the XML is damaged.
        UnsupportedForceError: if it could run code; see `load_system_xml`.
    """
    try:
        system = load_system_xml(xml)
    except BoltzflowError:
        raise
    except (openmm.OpenMMException, ValueError) as error:
        raise FileFormatError(f"Expected the XML of an openmm.System; reading it failed: {error}.") from None
    if not isinstance(system, openmm.System):
        raise FileFormatError(f"Expected the XML of an openmm.System; got that of a {type(system).__name__}.")
    return system
