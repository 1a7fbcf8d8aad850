"""Systems as XML. XML that would execute code when loaded is neither written nor read."""

from __future__ import annotations

import copy
from xml.etree import ElementTree

import openmm

from boltzflow.errors import FileFormatError, UnsupportedForceError

# fmt: off
_DATA_ALONE = frozenset(
    [
        "System", "AmoebaGeneralizedKirkwoodForce", "AmoebaMultipoleForce", "AmoebaTorsionTorsionForce",
        "AmoebaVdwForce", "AmoebaWcaDispersionForce", "AndersenThermostat", "ATMForce", "CMAPTorsionForce",
        "CMMotionRemover", "ConstantPotentialForce", "CustomAngleForce", "CustomBondForce",
        "CustomCentroidBondForce", "CustomCompoundBondForce", "CustomCVForce", "CustomExternalForce",
        "CustomGBForce", "CustomHbondForce", "CustomManyParticleForce", "CustomNonbondedForce",
        "CustomTorsionForce", "CustomVolumeForce", "DrudeForce", "GayBerneForce", "GBSAOBCForce",
        "HarmonicAngleForce", "HarmonicBondForce", "HippoNonbondedForce", "LCPOForce",
        "MonteCarloAnisotropicBarostat", "MonteCarloBarostat", "MonteCarloFlexibleBarostat",
        "MonteCarloMembraneBarostat", "NonbondedForce", "OrientationRestraintForce", "PeriodicTorsionForce",
        "RBTorsionForce", "RGForce", "RMSDForce", "RPMDMonteCarloBarostat", "Continuous1DFunction",
        "Continuous2DFunction", "Continuous3DFunction", "Discrete1DFunction", "Discrete2DFunction",
        "Discrete3DFunction",
    ]
)
# fmt: on
"""Classes that the XML of a System may contain: those of OpenMM 8 whose XML has only numbers and formulas."""


def holds_python(system: openmm.System) -> bool:
    """Whether a System contains a PythonForce, directly or inside another force."""
    return any(_is_python(force) for force in system.getForces())


def _is_python(force: openmm.Force) -> bool:
    if isinstance(force, openmm.CustomCVForce):
        return any(_is_python(force.getCollectiveVariable(i)) for i in range(force.getNumCollectiveVariables()))
    if isinstance(force, openmm.ATMForce):
        return any(_is_python(force.getForce(i)) for i in range(force.getNumForces()))
    return type(force).__name__ == "PythonForce"  # since OpenMM 8.5


def copy_system(system: openmm.System) -> openmm.System:
    """A copy; the System itself if it contains a PythonForce, which OpenMM can only copy by pickling its function."""
    return system if holds_python(system) else copy.deepcopy(system)


def system_to_xml(system: openmm.System) -> str:
    """The XML of a System.

    Raises:
        UnsupportedForceError: if `load_system_xml` would refuse it.
    """
    if holds_python(system):
        raise UnsupportedForceError(
            "Expected a System without PythonForce; its XML would execute code when loaded, so it cannot be saved."
        )
    xml: str = openmm.XmlSerializer.serialize(system)
    _refuse_foreign(ElementTree.fromstring(xml))
    return xml


def load_system_xml(xml: str) -> openmm.System:
    """Load a System from XML; XML that could execute code is refused before OpenMM reads it.

    Raises:
        FileFormatError: if it is not XML.
        UnsupportedForceError: if it contains a class that is not part of OpenMM itself, or a PythonForce.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise FileFormatError(f"Expected the XML of an openmm.System; reading it failed: {error}.") from None
    _refuse_foreign(root)
    # OpenMM gets the checked tree, serialised again: its parser might read the original text differently.
    return openmm.XmlSerializer.deserialize(ElementTree.tostring(root, encoding="unicode"))


def _refuse_foreign(root: ElementTree.Element) -> None:
    """Raise an UnsupportedForceError if an element has a class that is not known to be pure data.

    OpenMM creates an object of any class that an attribute `type` names, including classes of plugins. Some of them run
    code from the file: a PythonForce is unpickled, a TorchForce runs a program, a PlumedForce a script.
    """
    for element in root.iter():
        name = element.get("type")
        if name is not None and name not in _DATA_ALONE and not name.isdecimal():  # numeric types are kinds of terms
            raise UnsupportedForceError(
                f"Expected a System with only OpenMM's own forces; its XML has a {name} in <{element.tag}>, which is "
                "refused because it might execute code when loaded."
            )
