"""Puckers of rings: Cremer and Pople's definition, ideal shapes, names, and populations."""

from __future__ import annotations

from itertools import combinations, pairwise

import mdtraj
import numpy as np
import pytest

import boltzflow as bf
from boltzflow.analysis import cremer_pople, pucker_populations, ring_puckers, rings
from boltzflow.errors import ShapeError
from boltzflow.generator import BoltzmannGenerator

SUGARS = {"pyranose": ("O5", "C1", "C2", "C3", "C4", "C5"), "furanose": ("O4'", "C1'", "C2'", "C3'", "C4'")}


def ring_of(names, order=None, bonds=None) -> mdtraj.Topology:
    """One residue of named atoms in an order of indices; bonds are pairs of names, by default around the ring."""
    topology = mdtraj.Topology()
    residue = topology.add_residue("RNG", topology.add_chain(), resSeq=1)
    made = {
        names[i]: topology.add_atom(names[i], mdtraj.element.get_by_symbol(names[i][0]), residue)
        for i in (range(len(names)) if order is None else order)
    }
    for a, b in bonds or [*pairwise(names), (names[-1], names[0])]:
        topology.add_bond(made[a], made[b])
    return topology


def puckered(q: float, phase: float, theta: float | None = None, size: int = 6, radius: float = 0.145):
    """Positions (size, 3) that have these coordinates by definition, on a circle that is numbered clockwise."""
    turn = 2 * np.pi * np.arange(size) / size
    flat = q if theta is None else q * np.sin(theta)
    z = np.sqrt(2 / size) * flat * np.cos(phase + 2 * turn)
    if theta is not None:
        z += q * np.cos(theta) / np.sqrt(size) * (-1.0) ** np.arange(size)
    return np.stack([radius * np.cos(turn), -radius * np.sin(turn), z], 1)


def state_of(names, x) -> str:
    (pucker,) = ring_puckers(mdtraj.Trajectory(x[None], ring_of(names)))
    assert sum(there[0] for there in pucker.states.values()) == 1
    return next(name for name, there in pucker.states.items() if there[0])


@pytest.mark.parametrize("size", [5, 6])
def test_coordinates_are_those_of_the_papers_formulas(size):
    for x in np.random.default_rng(size).normal(size=(20, size, 3)):
        amplitude, phase, theta = cremer_pople(x[None])
        r = x - x.mean(0)
        one = sum(r[j] * np.sin(2 * np.pi * j / size) for j in range(size))
        two = sum(r[j] * np.cos(2 * np.pi * j / size) for j in range(size))
        normal = np.cross(one, two) / np.linalg.norm(np.cross(one, two))
        z = [r[j] @ normal for j in range(size)]
        cosine = np.sqrt(2 / size) * sum(z[j] * np.cos(4 * np.pi * j / size) for j in range(size))
        sine = -np.sqrt(2 / size) * sum(z[j] * np.sin(4 * np.pi * j / size) for j in range(size))
        q2 = np.hypot(cosine, sine)
        assert amplitude[0] == pytest.approx(np.sqrt(np.square(z).sum()))
        assert q2 * np.exp(1j * phase[0]) == pytest.approx(cosine + 1j * sine)
        if size == 6:
            q3 = sum((-1) ** j * z[j] for j in range(size)) / np.sqrt(6)
            assert amplitude[0] * np.cos(theta[0]) == pytest.approx(q3)
            assert amplitude[0] * np.sin(theta[0]) == pytest.approx(q2)


@pytest.mark.parametrize(("size", "theta"), [(5, None), (6, 0.4), (6, 1.6), (6, 2.9)])
def test_coordinates_of_a_ring_built_from_them(size, theta):
    for phase in np.linspace(0.0, 2 * np.pi, 17, endpoint=False):
        found = cremer_pople(puckered(0.05, phase, theta, size)[None])
        assert found[0][0] == pytest.approx(0.05)
        assert np.exp(1j * found[1][0]) == pytest.approx(np.exp(1j * phase))
        assert theta is None or found[2][0] == pytest.approx(theta)


def test_rotation_and_translation_change_nothing_and_a_mirror_inverts():
    rng = np.random.default_rng(0)
    for size in (5, 6):
        x = rng.normal(size=(50, size, 3))
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        turned = x @ (q * np.sign(np.linalg.det(q))) + rng.normal(size=3)
        one, two, mirrored = cremer_pople(x), cremer_pople(turned), cremer_pople(-x)
        np.testing.assert_allclose(one[0], two[0])
        np.testing.assert_allclose(np.exp(1j * one[1]), np.exp(1j * two[1]))
        np.testing.assert_allclose(one[0], mirrored[0])
        np.testing.assert_allclose(np.exp(1j * one[1]), -np.exp(1j * mirrored[1]))
        if size == 6:
            np.testing.assert_allclose(one[2], two[2])
            np.testing.assert_allclose(one[2], np.pi - mirrored[2])


@pytest.mark.parametrize(
    ("theta", "phase", "name"),
    [
        (0, 0, "4C1"),
        (180, 0, "1C4"),
        (90, 0, "boat"),
        (90, 60, "boat"),
        (90, 30, "twist-boat"),
        (90, 330, "twist-boat"),
        (50.8, 30, "half-chair"),
        (125.3, 0, "half-chair"),
    ],
)
def test_ideal_shapes_of_six(theta, phase, name):
    x = puckered(0.06, np.radians(phase), np.radians(theta))
    assert state_of(SUGARS["pyranose"], x) == name
    plain = {"4C1": "chair +", "1C4": "chair −"}.get(name, name)
    assert state_of([f"C{k}" for k in range(1, 7)], x) == plain
    assert state_of(SUGARS["pyranose"], 0.2 * x + [0, 0, 1]) in (name, "planar")
    assert state_of(SUGARS["pyranose"], x * [1, 1, 0.2]) == "planar"


def test_chair_4c1_has_c4_above_and_c1_below():
    """By IUPAC's rule, without the coordinates: seen from above, O5, C1, C2, … run clockwise."""
    x = puckered(0.06, 0.0, 0.0)
    names = SUGARS["pyranose"]
    four = [names.index(name) for name in ("C2", "C3", "C5", "O5")]
    middle = x[four].mean(0)
    area = sum(np.cross(x[a] - middle, x[b] - middle) for a, b in zip(four, four[1:] + four[:1], strict=True))
    clockwise_from = -area / np.linalg.norm(area)
    assert (x[names.index("C4")] - middle) @ clockwise_from > 0.01
    assert (x[names.index("C1")] - middle) @ clockwise_from < -0.01


def test_names_do_not_depend_on_the_order_of_atoms():
    x = puckered(0.06, 1.0, 0.1)
    for names in (SUGARS["pyranose"], ("O6", "C2", "C3", "C4", "C5", "C6"), ("N1", "C2", "C3", "N4", "C5", "C6")):
        seen = set()
        for seed in range(10):
            order = np.random.default_rng(seed).permutation(6)
            (pucker,) = ring_puckers(mdtraj.Trajectory(x[None, order], ring_of(names, order)))
            assert pucker.ring.atom_names == names
            seen.add(next(name for name, there in pucker.states.items() if there[0]))
        assert seen == {{"O5": "4C1", "O6": "5C2"}.get(names[0], "chair +")}


def test_envelopes_and_twists_are_named_by_the_atoms_off_the_plane():
    names = ("N", "CA", "CB", "CG", "CD")
    found = [state_of(names, puckered(0.04, np.radians(18 * k), size=5)) for k in range(20)]
    assert len(set(found)) == 20
    for name, k in zip(found, range(20), strict=True):
        z = puckered(0.04, np.radians(18 * k), size=5)[:, 2]
        kind, *atoms = name.split()
        assert (kind, len(atoms)) == (("E", 1) if k % 2 == 0 else ("T", 2))
        for atom in atoms:
            assert np.sign(z[names.index(atom[:-1])]) == (1 if atom[-1] == "+" else -1)
        # In an envelope the four other atoms lie in a plane; in a twist the three others, with the middle of the two.
        x = puckered(0.04, np.radians(18 * k), size=5)
        off = [names.index(atom[:-1]) for atom in atoms]
        rest = np.delete(x, off, axis=0)
        if kind == "T":
            rest = np.vstack([rest, x[off].mean(0)])
        thickness = np.linalg.svd(rest - rest.mean(0), compute_uv=False)[-1]
        assert thickness < 2e-3


def test_the_phase_of_a_furanose_is_that_of_altona_and_sundaralingam():
    """tan P = (ν₄ + ν₁ − ν₃ − ν₀) / (2 ν₂ (sin 36° + sin 72°)) with the endocyclic torsions in degrees."""
    names = SUGARS["furanose"]
    for phase in np.linspace(0.1, 2 * np.pi, 24, endpoint=False):
        one = mdtraj.Trajectory(puckered(0.038, phase, size=5, radius=0.124)[None], ring_of(names))
        ring = [(4, 0, 1, 2), (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 0), (3, 4, 0, 1)]
        nu = mdtraj.compute_dihedrals(one, ring, periodic=False)[0]
        expected = np.arctan2(
            nu[4] + nu[1] - nu[3] - nu[0], 2 * nu[2] * (np.sin(np.radians(36)) + np.sin(np.radians(72)))
        )
        (pucker,) = ring_puckers(one)
        assert np.angle(np.exp(1j * (pucker.pseudorotation[0] - expected))) == pytest.approx(0.0, abs=np.radians(2))
    for endo, state in (("C3'", "north"), ("C2'", "south")):
        above = puckered(0.038, np.radians({"C3'": 288, "C2'": 72}[endo]), size=5)
        assert np.argmax(above[:, 2]) == names.index(endo)
        assert state_of(names, above) == state


def test_rings_of_fused_systems_and_of_other_sizes():
    names = [f"C{k}" for k in range(1, 11)]
    naphthalene = [(names[i], names[j]) for i, j in [*((k, k + 1) for k in range(9)), (9, 0), (4, 9)]]
    found = rings(ring_of(names, bonds=naphthalene))
    assert [len(ring.atoms) for ring in found] == [6, 6]
    assert found[0].atoms[0] == 0
    for a, b in combinations(found, 2):
        assert len(set(a.atoms) & set(b.atoms)) == 2
    assert rings(ring_of(names[:7])) == []
    assert rings(bf.load_system("butane").mdtraj_topology) == []


def test_two_chairs_of_cyclohexane_are_half_each():
    """2000 samples of the base, before any training, with equal weights."""
    system = bf.load_system("cyclohexane")
    samples = BoltzmannGenerator.for_system(system, preset="quick", seed=0).sample(2000, seed=1)
    finite = samples[samples.weights > 0].replace(log_weights=None)
    (states,) = pucker_populations(finite).values()
    chairs = [states.populations[name] for name in ("chair +", "chair −")]
    assert sum(chair.value for chair in chairs) > 0.95
    for chair in chairs:
        assert abs(chair.value - 0.5) < 4 * chair.error < 0.05
    assert sum(state.value for state in states.populations.values()) == pytest.approx(1.0)
    assert states.unassigned == states.overlap == 0.0


def test_an_empty_chair_is_listed_and_flat_rings_are_not():
    system = bf.load_system("cyclohexane")
    one = bf.Ensemble(system.positions[None].repeat(30, 0), None, 300.0, topology=system.mdtraj_topology)
    (states,) = pucker_populations(one).values()
    assert states.populations["chair +"].value == 0.0
    assert "would not be detected" in str(states.verdict)
    flat = bf.Ensemble(puckered(0.0, 0.0, 0.0)[None], None, 300.0, topology=ring_of([f"C{k}" for k in range(6)]))
    assert pucker_populations(flat) == {}


def test_other_sizes_are_refused():
    with pytest.raises(ShapeError, match="5, 3"):
        cremer_pople(np.zeros((2, 7, 3)))
