"""The functions that translate OpenMM forces, by class name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import openmm

from boltzflow.energies.forcefield.bonded import (
    harmonic_angles,
    harmonic_bonds,
    periodic_torsions,
    ryckaert_bellemans_torsions,
)
from boltzflow.energies.forcefield.collective import custom_cv
from boltzflow.energies.forcefield.correction_maps import correction_maps
from boltzflow.energies.forcefield.custom_bonded import (
    custom_angles,
    custom_bonds,
    custom_centroid_bonds,
    custom_compound_bonds,
    custom_external,
    custom_torsions,
)
from boltzflow.energies.forcefield.custom_nonbonded import custom_nonbonded
from boltzflow.energies.forcefield.implicit_solvent import custom_gb, gbsa_obc
from boltzflow.energies.forcefield.nonbonded import nonbonded
from boltzflow.energies.forcefield.pairs import sharing_pairs
from boltzflow.energies.forcefield.term import Term, unsupported
from boltzflow.energies.forcefield.translation import Translation
from boltzflow.energies.forcefield.virtual_sites import VirtualSites
from boltzflow.errors import OptionError


def _no_terms(_force: openmm.Force, _system: Translation) -> list[Term]:
    """A force without energy: it changes the dynamics, not the Boltzmann distribution."""
    return []


TRANSLATORS: dict[str, Callable[[Any, Translation], list[Term]]] = {
    "HarmonicBondForce": harmonic_bonds,
    "HarmonicAngleForce": harmonic_angles,
    "PeriodicTorsionForce": periodic_torsions,
    "RBTorsionForce": ryckaert_bellemans_torsions,
    "CMAPTorsionForce": correction_maps,
    "NonbondedForce": nonbonded,
    "GBSAOBCForce": gbsa_obc,
    "CustomBondForce": custom_bonds,
    "CustomAngleForce": custom_angles,
    "CustomTorsionForce": custom_torsions,
    "CustomExternalForce": custom_external,
    "CustomCompoundBondForce": custom_compound_bonds,
    "CustomCentroidBondForce": custom_centroid_bonds,
    "CustomNonbondedForce": custom_nonbonded,
    "CustomGBForce": custom_gb,
    "CustomCVForce": custom_cv,
    "CMMotionRemover": _no_terms,
    "AndersenThermostat": _no_terms,
}
"""From the class name of a force to ``translate(force, system) -> terms``."""

_REASONS = {
    "AmoebaMultipoleForce": "induced dipoles need a self-consistent solution for every frame",
    "AmoebaVdwForce": "AMOEBA force fields are not translated",
    "DrudeForce": "Drude particles need a self-consistent solution for every frame",
    "HippoNonbondedForce": "induced dipoles need a self-consistent solution for every frame",
    "MonteCarloBarostat": "it changes the volume of the box, but a potential has a fixed box",
    "MonteCarloAnisotropicBarostat": "it changes the volume of the box, but a potential has a fixed box",
    "MonteCarloMembraneBarostat": "it changes the volume of the box, but a potential has a fixed box",
    "MonteCarloFlexibleBarostat": "it changes the volume of the box, but a potential has a fixed box",
    "PythonForce": "it is Python code, not a formula",
    "TorchForce": "it contains a TorchScript model",
}


class Translated(NamedTuple):
    """An ``openmm.System`` translated to torch."""

    terms: list[Term]
    virtual_sites: VirtualSites | None


def translate(system: openmm.System, globals: Mapping[str, float] | None = None) -> Translated:
    """The native terms of an ``openmm.System``.

    Args:
        system: the System.
        globals: values of global parameters that differ from their defaults.

    Raises:
        UnsupportedForceError: if a force has no translation; names the force and the reason.
        OptionError: if a global parameter is given that no force has.
    """
    context = Translation(system, _terms, globals)
    terms = [term for force in system.getForces() for term in _terms(force, context)]
    unused = set(context.globals) - context.globals_used
    if unused:
        known = ", ".join(sorted(context.globals_used)) or "none"
        raise OptionError(f"Expected global parameters of the forces ({known}); got {min(unused)!r}.")
    has_sites = any(system.isVirtualSite(i) for i in range(system.getNumParticles()))
    terms = sharing_pairs(terms, context.n_atoms)
    return Translated(terms, VirtualSites(system) if has_sites else None)


def _terms(force: openmm.Force, context: Translation) -> list[Term]:
    kind = type(force).__name__
    translator = TRANSLATORS.get(kind)
    if translator is None:
        raise unsupported(force, _REASONS.get(kind, f"only {', '.join(TRANSLATORS)} have one"))
    return translator(force, context)
