"""Absolute free energies, their differences, and their temperature dependence."""

from boltzflow.analysis.free_energies.differences import FreeEnergyDifferences, free_energy_differences, mbar
from boltzflow.analysis.free_energies.targeted import LatentMap, Mapped, targeted_differences
from boltzflow.analysis.free_energies.thermodynamics import (
    AbsoluteFreeEnergy,
    TemperatureSeries,
    absolute_free_energy,
    heat_capacity,
    temperature_series,
)

__all__ = [
    "AbsoluteFreeEnergy",
    "FreeEnergyDifferences",
    "LatentMap",
    "Mapped",
    "TemperatureSeries",
    "absolute_free_energy",
    "free_energy_differences",
    "heat_capacity",
    "mbar",
    "targeted_differences",
    "temperature_series",
]
