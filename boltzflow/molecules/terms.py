"""The individual terms of a System, so that a System of only some atoms can be built."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import openmm
import openmm.unit as u

from boltzflow.energies import Potential
from boltzflow.molecules.potentials import eager_potential

LISTED = (
    openmm.HarmonicBondForce,
    openmm.HarmonicAngleForce,
    openmm.PeriodicTorsionForce,
    openmm.RBTorsionForce,
    openmm.CMAPTorsionForce,
    openmm.CustomBondForce,
    openmm.CustomAngleForce,
    openmm.CustomTorsionForce,
    openmm.CustomCompoundBondForce,
)
"""Forces that are lists of terms on a few atoms each."""

_PAIRWISE = (openmm.NonbondedForce, openmm.CustomNonbondedForce)
_LISTS = ("Bonds", "Angles", "Torsions")
_LEFT_OUT = ("Exceptions", "Exclusions")
_OFFSETS = ("ParticleOffsets", "ExceptionOffsets")
_OF_ATOMS = ("Particles", "InteractionGroups", *_OFFSETS)
_ATOM = re.compile(r"(p|a|b)\d+")  # the attributes of a term that are atoms; a and b are those of a correction map


class Term(NamedTuple):
    """One term: the index of its force, its atoms, and its XML."""

    force: int
    atoms: tuple[int, ...]
    element: ElementTree.Element


@dataclass(frozen=True)
class _Force:
    """A force without its terms: its XML, and which child elements contain the terms."""

    element: ElementTree.Element
    part: str


class Terms:
    """The terms of a System's forces that are lists of terms, and its pair forces."""

    def __init__(self, system: openmm.System) -> None:
        self.n_atoms = system.getNumParticles()
        self.terms: list[Term] = []
        self._forces: list[_Force] = []
        self._pairs: list[_PairForce] = []
        self._potentials: dict[str, Potential] = {}
        for force in system.getForces():
            if isinstance(force, LISTED):
                element = _xml(force)
                part = next(name for name in _LISTS if element.find(name) is not None)
                self.terms += [Term(len(self._forces), _atoms(term), term) for term in element.findall(f"{part}/*")]
                self._forces.append(_Force(_without(element, part), part))
            elif isinstance(force, _PAIRWISE):
                self._pairs.append(_PairForce(_xml(force)))
        self._box = [vector.value_in_unit(u.nanometer) for vector in system.getDefaultPeriodicBoxVectors()]

    @cached_property
    def _of_atom(self) -> list[list[int]]:
        """The indices of the terms of each atom."""
        found: list[list[int]] = [[] for _ in range(self.n_atoms)]
        for number, term in enumerate(self.terms):
            for atom in set(term.atoms):
                found[atom].append(number)
        return found

    def acting(self, atoms: Sequence[int]) -> list[Term]:
        """The terms that change with the distance of two atoms, or with the angle of three."""
        ends, near = {atoms[0], atoms[-1]}, (self.terms[number] for number in self._of_atom[atoms[0]])
        return [
            term
            for term in near
            if ends <= set(term.atoms)
            and (set(term.atoms) <= set(atoms) or self.kind(term) == "CustomCompoundBondForce")
        ]

    def kind(self, term: Term) -> str:
        """The class name of the force that a term belongs to."""
        return self._forces[term.force].element.attrib["type"]

    def pairs_within(self, atoms: Sequence[int]) -> bool:
        """Whether a pair force acts between two of the atoms: neither excluded nor an exception without energy."""
        return any(force.acts_within(atoms) for force in self._pairs)

    def potential(self, atoms: Sequence[int], terms: Iterable[Term], pairs: bool = False) -> Potential:
        """The potential of some atoms in a given order: some of their terms, and optionally their pair forces.

        Identical potentials, as of equal residues, share one cached object.
        """
        xml = self._xml(atoms, terms, pairs)
        if xml not in self._potentials:
            self._potentials[xml] = eager_potential(openmm.XmlSerializer.deserialize(xml))
        return self._potentials[xml]

    def _xml(self, atoms: Sequence[int], terms: Iterable[Term], pairs: bool) -> str:
        """The XML of a System with these atoms and terms."""
        place = {atom: i for i, atom in enumerate(atoms)}
        root = ElementTree.Element("System", {"openmmVersion": openmm.__version__, "type": "System", "version": "1"})
        box = ElementTree.SubElement(root, "PeriodicBoxVectors")
        for name, vector in zip("ABC", self._box, strict=True):
            ElementTree.SubElement(box, name, {axis: repr(x) for axis, x in zip("xyz", vector, strict=True)})
        particles = ElementTree.SubElement(root, "Particles")
        for _ in atoms:
            ElementTree.SubElement(particles, "Particle", {"mass": "1"})
        ElementTree.SubElement(root, "Constraints")
        forces = ElementTree.SubElement(root, "Forces")
        made: dict[int, ElementTree.Element] = {}
        for term in terms:
            if term.force not in made:
                force = self._forces[term.force]
                made[term.force] = ElementTree.Element(force.part)
                copied = ElementTree.SubElement(forces, "Force", force.element.attrib)
                copied.extend([*force.element, made[term.force]])
            made[term.force].append(_renumbered(term.element, place))
        if pairs:
            forces.extend(force.of(atoms, place) for force in self._pairs)
        return ElementTree.tostring(root, encoding="unicode")


class _PairForce:
    """A NonbondedForce or CustomNonbondedForce with parameters for each particle; parameter offsets are ignored."""

    def __init__(self, element: ElementTree.Element) -> None:
        self._part = next(name for name in _LEFT_OUT if element.find(name) is not None)
        self._element = _without(element, self._part, *_OF_ATOMS)
        self._element.extend(ElementTree.Element(name) for name in _OFFSETS if element.find(name) is not None)
        self._particles = element.findall("Particles/Particle")
        self._left_out = {frozenset(_atoms(pair)): pair for pair in element.findall(f"{self._part}/*")}
        self._groups = element.findall("InteractionGroups/InteractionGroup")
        self._has_groups = element.find("InteractionGroups") is not None

    def acts_within(self, atoms: Sequence[int]) -> bool:
        pairs = {frozenset((i, j)) for i in atoms for j in atoms if i != j}
        return any(pair not in self._left_out or _has_energy(self._left_out[pair]) for pair in pairs)

    def of(self, atoms: Sequence[int], place: dict[int, int]) -> ElementTree.Element:
        force = ElementTree.Element("Force", self._element.attrib)
        force.extend(self._element)
        ElementTree.SubElement(force, "Particles").extend([self._particles[atom] for atom in atoms])
        left_out = [pair for pair in self._left_out if pair <= set(atoms)]
        ElementTree.SubElement(force, self._part).extend(
            [_renumbered(self._left_out[pair], place) for pair in left_out]
        )
        if self._has_groups:
            groups = ElementTree.SubElement(force, "InteractionGroups")
            for group in self._groups:
                copied = ElementTree.SubElement(groups, "InteractionGroup")
                for side in group:
                    chosen = [i for p in side if (i := place.get(int(p.get("index", "-1")), -1)) >= 0]
                    members = ElementTree.SubElement(copied, side.tag)
                    for i in chosen:
                        ElementTree.SubElement(members, "Particle", {"index": str(i)})
        return force


def _xml(force: openmm.Force) -> ElementTree.Element:
    return ElementTree.fromstring(openmm.XmlSerializer.serialize(force))


def _has_energy(pair: ElementTree.Element) -> bool:
    """Whether an exception has an energy, and is not just an exclusion."""
    return any(float(pair.get(name, "0")) != 0 for name in ("q", "eps"))


def _atoms(term: ElementTree.Element) -> tuple[int, ...]:
    return tuple(int(value) for name, value in term.attrib.items() if _ATOM.fullmatch(name))


def _renumbered(term: ElementTree.Element, place: dict[int, int]) -> ElementTree.Element:
    changed = {name: str(place[int(v)]) if _ATOM.fullmatch(name) else v for name, v in term.attrib.items()}
    return ElementTree.Element(term.tag, changed)


def _without(element: ElementTree.Element, *parts: str) -> ElementTree.Element:
    """An element without some of its children."""
    kept = ElementTree.Element(element.tag, element.attrib)
    kept.extend(part for part in element if part.tag not in parts)
    return kept
