"""Units: nm, ps, kJ/mol, K, rad. The one gas constant comes from OpenMM."""

from __future__ import annotations

from typing import TypeAlias

import openmm.unit as u

from boltzflow.errors import OptionError

GAS_CONSTANT: float = u.MOLAR_GAS_CONSTANT_R.value_in_unit(u.kilojoule_per_mole / u.kelvin)
"""R in kJ/(mol K), to all the digits that OpenMM uses."""

Temperature: TypeAlias = float | u.Quantity
"""A temperature argument: a number in K, or a Quantity."""

_COLDEST, _HOTTEST = 1e-6, 1e9  # K


def value_in(quantity: float | u.Quantity, unit: u.Unit) -> float:
    """A plain number: an ``openmm.unit.Quantity`` is converted to `unit`; a number is assumed to be in `unit`.

    Raises:
        OptionError: if it is neither, or has another dimension.
    """
    try:
        return float(quantity.value_in_unit(unit) if isinstance(quantity, u.Quantity) else quantity)
    except (TypeError, ValueError):
        raise OptionError(f"Expected a number or a Quantity in {unit.get_name()}; got {quantity!r}.") from None


def checked_temperature(temperature: Temperature) -> float:
    """The temperature in K.

    Raises:
        OptionError: if it is not positive and finite, or if energies in kT would overflow.
    """
    kelvin = value_in(temperature, u.kelvin)
    if not _COLDEST <= kelvin <= _HOTTEST:
        raise OptionError(f"Expected a positive temperature from {_COLDEST:g} to {_HOTTEST:g} K; got {kelvin:g}.")
    return kelvin


def thermal_energy(temperature: Temperature) -> float:
    """kT per mole, that is RT, in kJ/mol.

    >>> round(thermal_energy(300.0), 4)
    2.4943
    """
    return GAS_CONSTANT * checked_temperature(temperature)
