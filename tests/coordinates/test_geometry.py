from __future__ import annotations

import math

import mdtraj
import numpy as np
import pytest
import torch

from boltzflow.coordinates.geometry import angle, dihedral, distance, turn
from boltzflow.core.functional.rows import Rows


def test_agrees_with_mdtraj() -> None:
    points = torch.randn(500, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    trajectory = mdtraj.Trajectory(points.numpy(), None)
    a, b, c, d = points.unbind(1)
    exact = {"opt": False, "periodic": False}
    np.testing.assert_allclose(distance(a, b), mdtraj.compute_distances(trajectory, [[0, 1]], **exact)[:, 0], atol=1e-6)
    np.testing.assert_allclose(angle(a, b, c), mdtraj.compute_angles(trajectory, [[0, 1, 2]], **exact)[:, 0], atol=1e-3)
    reference = torch.as_tensor(mdtraj.compute_dihedrals(trajectory, [[0, 1, 2, 3]], **exact)[:, 0])
    off = torch.remainder(dihedral(a, b, c, d) - reference + math.pi, 2 * math.pi) - math.pi
    assert off.abs().max() < 1e-4


@pytest.mark.parametrize("value", [1e-4, 0.3, math.pi / 2, math.pi - 1e-4])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_accurate_to_rounding_near_the_edges(value: float, sign: float, dtype: torch.dtype) -> None:
    eps = 4 * torch.finfo(dtype).eps
    x, o = torch.tensor([1.0, 0.0, 0.0], dtype=dtype), torch.zeros(3, dtype=dtype)
    z = torch.tensor([0.0, 0.0, 1.0], dtype=dtype)
    end = torch.tensor([math.cos(value), sign * math.sin(value), 0.0], dtype=torch.float64).to(dtype)
    assert angle(x, o, end).dtype == dtype
    assert abs(angle(x, o, end).item() - value) < eps
    assert abs(dihedral(x, o, z, z + end).item() - sign * value) < eps


def test_gradients_agree_with_finite_differences() -> None:
    points = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    for measure, n in ((distance, 2), (angle, 3), (dihedral, 4)):
        assert torch.autograd.gradcheck(lambda p, f=measure, k=n: f(*p[:k]), points)


def test_any_axis_may_hold_the_components() -> None:
    points = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(dihedral(*points), dihedral(*points.transpose(1, 2), dim=0))


def test_turn_ignores_parts_along_the_axis() -> None:
    start, axis, end = torch.randn(3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(turn(start + 2 * axis, axis, end - axis), turn(start, axis, end))


def test_rows_have_the_gradient_of_indexing() -> None:
    index = [2, 0, 2, 2, 3]
    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(Rows(index, 5)(x), x[:, index])
    assert torch.autograd.gradcheck(Rows(index, 5), x)
    assert torch.autograd.gradgradcheck(Rows(index, 5), x)


def test_gradients_stay_finite_where_points_meet(dtype: torch.dtype) -> None:
    o = torch.zeros(3, dtype=dtype, requires_grad=True)
    distance(torch.zeros(3, dtype=dtype), o).backward()
    assert o.grad is not None
    assert o.grad.tolist() == [0.0, 0.0, 0.0]
