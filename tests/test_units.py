"""What temperatures may be, wherever one is asked for."""

import inspect
from importlib import import_module

import openmm.unit as u
import pytest

from boltzflow.errors import OptionError
from boltzflow.units import checked_temperature, thermal_energy
from public_names import PACKAGES, names_of


def temperatures() -> dict[str, str]:
    """The annotation of every temperature that a public function, class or method takes, by where it is."""
    found = {}
    for package in PACKAGES:
        for name in names_of(package):
            value = getattr(import_module(package), name)
            methods = (
                [m for _, m in inspect.getmembers(value, inspect.isroutine)] if inspect.isclass(value) else [value]
            )
            for method in methods:
                try:
                    parameters = inspect.signature(method).parameters
                except (TypeError, ValueError):  # written in C, or no function
                    continue
                for parameter in ("temperature", "temperatures"):
                    if parameter in parameters:
                        where = f"{package}.{name}.{method.__name__}({parameter})"
                        found[where] = str(parameters[parameter].annotation)
    return found


def test_every_temperature_says_what_it_may_be() -> None:
    vague = {where: kind for where, kind in temperatures().items() if "object" in kind or "Any" in kind}
    assert not vague
    assert sum("Temperature" in kind for kind in temperatures().values()) > 20


def test_a_temperature_is_a_number_in_kelvin_or_a_quantity() -> None:
    assert checked_temperature(300.0 * u.kelvin) == checked_temperature(300) == 300.0
    assert thermal_energy(300.0 * u.kelvin) == thermal_energy(300.0)
    for wrong in (1.0 * u.nanometer, "warm", None, float("nan"), 0.0):
        with pytest.raises(OptionError):
            checked_temperature(wrong)
