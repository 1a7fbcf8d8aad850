"""Puckers of rings: Cremer and Pople's coordinates, and the populations of chairs, boats and envelopes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import mdtraj
import numpy as np

from boltzflow.analysis.estimates.populations import Mask, States, arc, state_populations
from boltzflow.analysis.estimates.ring_atoms import Ring, rings
from boltzflow.arrays import Array
from boltzflow.ensemble import Ensemble
from boltzflow.errors import ShapeError

_PLANAR = 0.02  # nm: aromatic rings at 300 K have amplitudes up to this, 0.007 in the median; chairs 0.055 to 0.063
_FIFTH = np.pi / 5
_BOATS, _FORMS = 12, 20  # forms on the circle of φ


@dataclass(frozen=True)
class Pucker:
    """The Cremer–Pople coordinates of one ring in every frame, and the state of each frame.

    Attributes:
        ring: its name, such as "PRO2 N-CA-CB-CG-CD", and its atoms in canonical order; see `Ring`.
        amplitude: (n,) the total amplitude Q, nm; q₂ of a ring of five.
        phase: (n,) φ₂, rad, in [0, 2π).
        theta: (n,) θ, rad, in [0, π]; None for a ring of five.
        states: for each state booleans (n,), whether the frame is in it. Every frame is in exactly one.
    """

    ring: Ring
    amplitude: Array
    phase: Array
    theta: Array | None
    states: dict[str, Mask]

    @property
    def pseudorotation(self) -> Array | None:
        """The pseudorotation phase P of a furanose, (n,) rad in [0, 2π); None for another ring.

        P = φ₂ + 90° with the ring oxygen as the first atom, so that C3'-endo of a D-ribose has P = 18° and C2'-endo
        162° (Altona & Sundaralingam 1972, DOI 10.1021/ja00778a043).
        """
        if self.ring.first_carbon is None or len(self.ring.atoms) != 5:
            return None
        phase: Array = np.mod(self.phase + np.pi / 2, 2 * np.pi)
        return phase


def cremer_pople(positions: Array) -> tuple[Array, Array, Array | None]:
    """Amplitude (n,) in the unit of the positions, φ₂ (n,) and θ (n,) of rings of five or six atoms.

    Cremer & Pople 1975, DOI 10.1021/ja00839a011. Displacements z from the mean plane are positive on the side from
    which the numbering runs clockwise. In a ring of five, z of atom j is √(2/5) q₂ cos(φ₂ + 4π(j − 1)/5). In a ring of
    six, (Q, θ, φ₂) are spherical coordinates with q₂ = Q sin θ and q₃ = Q cos θ; at θ = 0 atoms 1, 3 and 5 are above.

    Args:
        positions: (n, 5, 3) or (n, 6, 3), atoms in order around the ring.

    Returns:
        θ is None for rings of five. φ₂ is in [0, 2π), and has no meaning at the poles of a ring of six.

    Raises:
        ShapeError: if there are not five or six atoms.

    >>> angle = np.arange(6) * np.pi / 3
    >>> chair = np.stack([np.cos(angle), -np.sin(angle), 0.1 * (-1.0) ** np.arange(6)], 1)[None]
    >>> amplitude, _, theta = cremer_pople(chair)
    >>> amplitude.round(4), theta.round(4)
    (array([0.2449]), array([0.]))
    """
    x = np.asarray(positions, np.float64)
    if x.ndim != 3 or x.shape[1] not in (5, 6) or x.shape[2] != 3:
        raise ShapeError(f"Expected positions (n, 5, 3) or (n, 6, 3) of a ring; got {x.shape}.")
    size = x.shape[1]
    turn = 2 * np.pi * np.arange(size) / size
    x = x - x.mean(1, keepdims=True)
    normal = np.cross(np.sin(turn) @ x, np.cos(turn) @ x)
    z = np.einsum("nai,ni->na", x, normal / np.linalg.norm(normal, axis=1, keepdims=True))
    # q₂ exp(−iφ₂), up to the sign convention of Cremer and Pople: cosine positive, sine negative
    wave = np.sqrt(2.0 / size) * z @ np.exp(-2j * turn)
    phase = np.mod(np.angle(wave), 2 * np.pi)
    q2 = np.abs(wave)
    if size == 5:
        return q2, phase, None
    q3 = z @ (-1.0) ** np.arange(size) / np.sqrt(size)
    return np.hypot(q2, q3), phase, np.arctan2(q2, q3)


def ring_puckers(trajectory: mdtraj.Trajectory) -> list[Pucker]:
    """The pucker of every ring of five or six atoms in every frame, in the order of `rings`.

    Every ring is "planar" where its amplitude is below 0.02 nm, as aromatic rings at 300 K are in more than 99 % of
    frames. Otherwise a ring of six has the states

    - "4C1" and "1C4" in a pyranose (or "5C2", "2C5"; recognised by the names O5, C1 … C5 or O6, C2 … C6), "chair +" and
      "chair −" in other rings: θ < 36° and θ > 144°. In "chair +" the first atom of the ring is above the plane. It
      is above if the numbering runs clockwise when it is seen from there.
    - "half-chair": 36° to 72° from a pole. This includes envelopes, whose ideal θ is 55° (half-chairs: 51°).
    - "boat" and "twist-boat": θ from 72° to 108°, φ₂ within 15° of a multiple of 60°, and the rest.

    A ring of five has the twenty canonical forms, 18° of φ₂ each: "E CG+" is an envelope with CG above the plane,
    "T CB+ CG−" a twist with CB above and CG below. A furanose (O4', C1' … C4', with or without prime) has "north" and
    "south" instead: P within 90° of 0° or of 180°. In D-sugars C3'-endo is north, C2'-endo south.

    Args:
        trajectory: n frames, whose topology has bonds.

    >>> import boltzflow as bf
    >>> system = bf.load_system("cyclohexane")
    >>> (pucker,) = ring_puckers(mdtraj.Trajectory(system.positions, system.mdtraj_topology))
    >>> print(f"{pucker.amplitude[0]:.3f} nm", [name for name, there in pucker.states.items() if there[0]])
    0.058 nm ['chair −']
    """
    found = []
    for ring in rings(trajectory.topology):
        amplitude, phase, theta = cremer_pople(trajectory.xyz[:, ring.atoms])
        flat = amplitude < _PLANAR
        forms = _of_five(ring, phase) if theta is None else _of_six(ring, theta, phase)
        states = {name: there & ~flat for name, there in forms.items()} | {"planar": flat}
        found.append(Pucker(ring, amplitude, phase, theta, states))
    return found


def pucker_populations(ensemble: Ensemble) -> dict[str, States]:
    """The populations of each ring's puckers, with errors and verdicts, by the name of the ring.

    The states are those of `ring_puckers`. A state without frames is left out, except that a chair is listed with its
    counterpart, and north with south: an empty one may have been lost. Rings that are planar in all frames are left
    out.

    Args:
        ensemble: with a topology.

    Raises:
        DataError: if the ensemble has no topology.
        NonFiniteError: if no weight is positive.

    >>> import boltzflow as bf
    >>> system = bf.load_system("cyclohexane")
    >>> both = np.stack([system.positions, -system.positions])  # the mirror image is the other chair
    >>> states = pucker_populations(Ensemble(both, [0.0, 0.0], 300.0, topology=system.mdtraj_topology))
    >>> {name: found.value for name, found in states["CHX1 C1-C2-C3-C4-C5-C6"].populations.items()}
    {'chair +': 0.5, 'chair −': 0.5}
    """
    used = ensemble[ensemble.weights > 0]
    found = {}
    for pucker in ring_puckers(used.to_mdtraj()):
        occupied = {name for name, there in pucker.states.items() if there.any()}
        if occupied == {"planar"}:
            continue
        counterparts = {"north", "south"} if pucker.pseudorotation is not None else set(_chairs(pucker.ring))
        if occupied & counterparts:
            occupied |= counterparts
        states = {name: there for name, there in pucker.states.items() if name in occupied}
        found[pucker.ring.name] = state_populations(used, states)
    return found


def _chairs(ring: Ring) -> tuple[str, str]:
    first = ring.first_carbon
    return ("chair +", "chair −") if first is None else (f"{first + 3}C{first}", f"{first}C{first + 3}")


def _of_six(ring: Ring, theta: Array, phase: Array) -> dict[str, Mask]:
    zone = np.minimum((theta / _FIFTH).astype(int), 4)
    boat = np.rint(phase / (2 * np.pi / _BOATS)).astype(int) % 2 == 0
    above, below = _chairs(ring)
    return {
        above: zone == 0,
        below: zone == 4,
        "half-chair": (zone == 1) | (zone == 3),
        "boat": (zone == 2) & boat,
        "twist-boat": (zone == 2) & ~boat,
    }


def _of_five(ring: Ring, phase: Array) -> dict[str, Mask]:
    if ring.first_carbon is not None:
        north = arc(phase + np.pi / 2, -np.pi / 2, np.pi / 2)
        return {"north": north, "south": ~north}
    form = np.rint(phase / (2 * np.pi / _FORMS)).astype(int) % _FORMS
    return {_form_name(ring, number): form == number for number in range(_FORMS)}


def _form_name(ring: Ring, number: int) -> str:
    """The envelope or twist at φ₂ = 18° · number."""
    z = np.cos(2 * np.pi * number / _FORMS + 4 * np.pi * np.arange(5) / 5)
    if number % 2 == 0:
        flap = int(np.abs(z).argmax())
        return f"E {ring.atom_names[flap]}{_side(z[flap])}"
    # The two atoms farthest from the plane are neighbours, on opposite sides.
    bonds = [*pairwise(range(5)), (4, 0)]
    apart = [abs(z[i] - z[j]) for i, j in bonds]
    pair = sorted(bonds[int(np.argmax(apart))], key=lambda atom: -z[atom])
    return "T " + " ".join(f"{ring.atom_names[atom]}{_side(z[atom])}" for atom in pair)


def _side(z: float) -> str:
    return "+" if z > 0 else "−"
