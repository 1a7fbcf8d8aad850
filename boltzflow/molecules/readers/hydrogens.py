"""Adds missing hydrogens to a structure."""

from __future__ import annotations

import random

import openmm
import openmm.unit as u
from openmm import app

from boltzflow.errors import OptionError, TemplateError
from boltzflow.molecules.forcefields import one_line


def with_hydrogens(
    topology: app.Topology, positions: u.Quantity, field: app.ForceField, ph: float
) -> tuple[app.Topology, u.Quantity]:
    """Add all hydrogens that the residues have at this pH, with OpenMM's Modeller.

    The result is reproducible: Python's random state, from which the Modeller draws initial positions, is seeded and
    then restored.

    Raises:
        OptionError: if the pH is not between 0 and 14.
        TemplateError: if the Modeller does not know a residue, or heavy atoms are missing.
    """
    check_ph(ph)
    modeller = app.Modeller(topology, positions)
    state = random.getstate()
    random.seed(0)
    try:
        modeller.addHydrogens(field, pH=ph, platform=openmm.Platform.getPlatformByName("Reference"))
    except Exception as error:  # OpenMM raises plain exceptions
        raise TemplateError(f"Cannot add hydrogens: {one_line(error)}.") from None
    finally:
        random.setstate(state)
    return modeller.topology, modeller.positions


def check_ph(ph: float) -> None:
    """Check that the pH is valid.

    Raises:
        OptionError: if it is not between 0 and 14.
    """
    if not 0.0 <= ph <= 14.0:
        raise OptionError(f"Expected a pH from 0 to 14; got {ph:g}.")
