"""Constraints: distances, tangents, momentum, and what cannot be satisfied."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from boltzflow.errors import ConvergenceError, OptionError, ShapeError
from boltzflow.simulation import Particles
from boltzflow.simulation.constraints import TOLERANCE, Constraints

from .conftest import dipeptide

DTYPES = [torch.float32, torch.float64]


def thermal(constraints: str, dtype: torch.dtype, n: int = 32) -> tuple[Constraints, Particles, Tensor, Tensor]:
    """ACE-ALA-NME on its constraints after a random push, and velocities of 600 K; (3, N, n)."""
    system = dipeptide(constraints)
    random = torch.Generator().manual_seed(0)
    x = torch.tensor(system.positions, dtype=dtype).T[..., None].repeat(1, 1, n)
    particles = Particles.of(system).like(x)
    found = particles.constraints
    assert found is not None
    assert len(found) == system.openmm_system.getNumConstraints()
    noise = torch.randn(2, *x.shape, generator=random, dtype=dtype)
    v = noise[0] * (5.0 * particles.inverse_masses[:, None]).sqrt()
    return found, particles, found.satisfied(x + 0.004 * noise[1]), v


def deviation(constraints: Constraints, x: Tensor) -> float:
    """The largest relative error of a distance, computed in double precision."""
    lengths = constraints.vectors(x.double()).norm(dim=0)
    return float((lengths / constraints.lengths.double() - 1).abs().max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["HBonds", "AllBonds", "HAngles"])
def test_drift_and_tangent(kind: str, dtype: torch.dtype) -> None:
    """Distances to the tolerance (and the rounding of positions), no momentum made, tangent velocities tangent."""
    constraints, particles, x, v = thermal(kind, dtype)
    rounding = 20 * torch.finfo(dtype).eps
    assert deviation(constraints, x) < TOLERANCE[dtype] + rounding
    flown, lead = constraints.drift(x, v, 0.001)
    assert deviation(constraints, flown) < TOLERANCE[dtype] + rounding
    assert deviation(constraints, x + 0.001 * v) > 1e-4
    torch.testing.assert_close(flown, x + 0.001 * lead, rtol=0, atol=10 * torch.finfo(dtype).eps)
    masses = particles.masses[:, None]
    torch.testing.assert_close((masses * lead).sum(1), (masses * v).sum(1), rtol=1e-4, atol=1e-4)
    tangent = constraints.tangent(x, v)
    stretching = (constraints.vectors(x) * constraints.vectors(tangent)).sum(0) / constraints.lengths
    assert float(stretching.abs().max()) < 100 * TOLERANCE[dtype]
    torch.testing.assert_close((masses * tangent).sum(1), (masses * v).sum(1), rtol=1e-4, atol=1e-4)
    # Projection in the metric of masses: what was taken off is orthogonal to what is left.
    overlap = (masses * (v - tangent) * tangent).sum((0, 1)) / (masses * v * v).sum((0, 1))
    assert float(overlap.abs().max()) < 100 * TOLERANCE[dtype]


def test_drift_takes_off_what_points_out_of_the_constraints() -> None:
    """So velocities need no projection before a drift."""
    constraints, _, x, v = thermal("AllBonds", torch.float64)
    one, other = constraints.drift(x, v, 0.001), constraints.drift(x, constraints.tangent(x, v), 0.001)
    torch.testing.assert_close(one[0], other[0], rtol=0, atol=1e-8)
    torch.testing.assert_close(one[1], other[1], rtol=0, atol=1e-5)


def test_drift_is_reversible() -> None:
    constraints, _, x, v = thermal("HBonds", torch.float64)
    there, lead = constraints.drift(x, constraints.tangent(x, v), 0.001)
    back, _ = constraints.drift(there, -constraints.tangent(there, lead), 0.001)
    wrong = there - 0.001 * lead
    # To the order of the scheme: the tangent at the end turns the velocity by the curvature.
    assert float((back - x).abs().max()) < 1e-5
    torch.testing.assert_close(wrong, x, rtol=0, atol=1e-12)


def test_an_exploded_replica_disturbs_no_other() -> None:
    constraints, _, x, v = thermal("HBonds", torch.float64)
    broken = v.clone()
    broken[:, 3, 5] = torch.nan
    whole, hurt = constraints.drift(x, v, 0.001)[0], constraints.drift(x, broken, 0.001)[0]
    others = [i for i in range(32) if i != 5]
    torch.testing.assert_close(whole[..., others], hurt[..., others], rtol=0, atol=1e-9)
    assert hurt[..., 5].isnan().any()


def test_redundant_constraints_are_taken() -> None:
    """Five points in a plane, all distances: ten constraints for seven degrees of freedom."""
    plane = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0.1, 0.1, 0], [0.05, 0.2, 0]], dtype=torch.float64)
    pairs = [(i, j) for i in range(5) for j in range(i)]
    lengths = [float((plane[i] - plane[j]).norm()) for i, j in pairs]
    constraints = Constraints(pairs, lengths, torch.ones(5), plane)
    v = torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    v[2] = 0.0
    moved, _ = constraints.drift(plane.T[..., None].repeat(1, 1, 4), v, 0.01)
    assert deviation(constraints, moved) < 1e-8


def test_refusals() -> None:
    reference = torch.eye(3)
    with pytest.raises(ShapeError, match=r"Expected constraints \(n, 2\)"):
        Constraints([(0, 1)], [0.1, 0.2], torch.ones(3), reference)
    with pytest.raises(OptionError, match=r"got -0\.1 nm between atoms 0 and 1"):
        Constraints([(0, 1)], [-0.1], torch.ones(3), reference)
    with pytest.raises(OptionError, match="of which at least one can move"):
        Constraints([(0, 1)], [0.1], torch.tensor([0.0, 0.0, 1.0]), reference)
    with pytest.raises(ShapeError, match="reference structure"):
        Particles([1.0, 1.0], [(0, 1)], [0.1])
    with pytest.raises(OptionError, match="one of them positive"):
        Particles([0.0, 0.0])
    with pytest.raises(OptionError, match="Expected masses"):
        Particles([1.0, -1.0])


def test_what_cannot_be_satisfied_is_an_error_that_names_the_atoms() -> None:
    constraints = Constraints([(0, 1)], [0.1], torch.ones(2, dtype=torch.float64), torch.eye(3)[:2])
    x = torch.tensor([[0.0, 0.1], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)[..., None].repeat(1, 1, 2)
    v = torch.zeros_like(x)
    v[1, 0, 1] = 1.0
    with pytest.raises(ConvergenceError, match=r"error between atoms 0 and 1 is .* in replica 1\. A smaller time step"):
        constraints.drift(x, v, 0.09995)  # replica 1 turns by almost a right angle
    moved, _ = constraints.drift(x, v, 0.11)  # there is no way back: the replica explodes, and is found by its numbers
    assert moved[..., 0].isfinite().all()
    assert not moved[..., 1].isfinite().all()
