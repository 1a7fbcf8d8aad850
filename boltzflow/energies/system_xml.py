"""Systems as XML: what executes code when it is loaded is neither written nor read."""

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
"""What the XML of a System may be made of: the classes of OpenMM 8 whose XML holds numbers and formulas."""


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
        UnsupportedForceError: if `load_system_xml` would refuse it.
    """
    if holds_python(system):
        raise UnsupportedForceError(
            "The System holds a PythonForce, which cannot be saved or sent: its XML executes code when it is loaded."
        )
    xml: str = openmm.XmlSerializer.serialize(system)
    _refuse_foreign(ElementTree.fromstring(xml))
    return xml


def load_system_xml(xml: str) -> openmm.System:
    """The System written in `xml`, which is refused before OpenMM sees it if it could execute code.

    Raises:
        FileFormatError: if it is no XML.
        UnsupportedForceError: if it names a class that OpenMM does not bring itself, or a PythonForce.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise FileFormatError(f"Expected the XML of an openmm.System; reading it failed: {error}.") from None
    _refuse_foreign(root)
    # OpenMM gets what was checked, written anew: another parser might see another element in the text as it came.
    return openmm.XmlSerializer.deserialize(ElementTree.tostring(root, encoding="unicode"))


def _refuse_foreign(root: ElementTree.Element) -> None:
    """Raise UnsupportedForceError if an element asks for a class that is not among those known to be data alone.

    OpenMM makes an object of whatever class an attribute `type` names, of plugins too, wherever it expects one. Some
    of these run what they read: a PythonForce is unpickled, a TorchForce evaluates a program, a PlumedForce a script.
    """
    for element in root.iter():
        name = element.get("type")
        if name is not None and name not in _DATA_ALONE and not name.isdecimal():  # numbers are kinds of terms
            raise UnsupportedForceError(
                f"Expected a System of OpenMM's own forces; its XML has a {name} in <{element.tag}>, which is "
                "refused in case it executes code when it is loaded."
            )
