"""Systems as XML: what executes code when it is loaded is neither written nor read."""

from __future__ import annotations

import copy
import html

import openmm

from boltzflow.errors import UnsupportedForceError


def holds_python(system: openmm.System) -> bool:
    """Whether a PythonForce is among the forces of a System, or inside one of them."""
    return any(_is_python(force) for force in system.getForces())


def _is_python(force: openmm.Force) -> bool:
    if isinstance(force, openmm.CustomCVForce):
        return any(_is_python(force.getCollectiveVariable(i)) for i in range(force.getNumCollectiveVariables()))
    if isinstance(force, openmm.ATMForce):
        return any(_is_python(force.getForce(i)) for i in range(force.getNumForces()))
    return type(force).__name__ == "PythonForce"  # OpenMM has it since 8.5


def copy_system(system: openmm.System) -> openmm.System:
    """A copy; the System itself if it holds a PythonForce, whose function OpenMM can only copy by pickling it."""
    return system if holds_python(system) else copy.deepcopy(system)


def system_to_xml(system: openmm.System) -> str:
    """The XML of a System.

    Raises:
        UnsupportedForceError: if it would execute code when it is loaded.
    """
    if holds_python(system):
        raise UnsupportedForceError(
            "The System holds a PythonForce, which cannot be saved or sent: its XML executes code when it is loaded."
        )
    xml: str = openmm.XmlSerializer.serialize(system)
    return xml


def load_system_xml(xml: str) -> openmm.System:
    """The System written in `xml`, which is refused before it is parsed if it could execute code.

    Raises:
        UnsupportedForceError: if it names a PythonForce or a TorchForce.
    """
    refuse_code(xml)
    return openmm.XmlSerializer.deserialize(xml)


def refuse_code(xml: str) -> None:
    """Raises UnsupportedForceError if the text names a force whose XML holds a program.

    A PythonForce is unpickled when it is loaded; the TorchScript of openmm-torch's TorchForce runs with every energy.
    """
    for name in ("PythonForce", "TorchForce"):
        if name in html.unescape(xml):
            raise UnsupportedForceError(f"The System holds a {name}, whose XML executes code when it is loaded.")
