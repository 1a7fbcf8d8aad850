"""Hydrogens that a structure lacks."""

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
    """The structure with all hydrogens that its residues have at this pH, by OpenMM's Modeller.

    The same structure gives the same hydrogens: the Modeller draws their first places from Python's random numbers,
    whose state is left as it was.

    Raises:
        OptionError: if the pH is not one, from 0 to 14.
        TemplateError: if the Modeller does not know a residue, or heavy atoms are missing.
    """
    check_ph(ph)
    modeller = app.Modeller(topology, positions)
    state = random.getstate()
    random.seed(0)
    try:
        modeller.addHydrogens(field, pH=ph, platform=openmm.Platform.getPlatformByName("Reference"))
    except Exception as error:  # OpenMM raises plain exceptions
        raise TemplateError(f"Hydrogens could not be added: {one_line(error)}.") from None
    finally:
        random.setstate(state)
    return modeller.topology, modeller.positions


def check_ph(ph: float) -> None:
    """Raise unless it is a pH.

    Raises:
        OptionError: saying so.
    """
    if not 0.0 <= ph <= 14.0:
        raise OptionError(f"Expected a pH from 0 to 14; got {ph:g}.")
