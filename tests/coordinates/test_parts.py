"""Linear groups, several molecules, constraints and frozen atoms."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from boltzflow.coordinates import InternalCoordinates
from boltzflow.errors import OptionError, TopologyError

from .test_internal import rotation, states

TURN = rotation(torch.tensor([0.3, 0.7, 0.2], dtype=torch.float64)).T


def points(*rows: tuple[float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


WATER = points((0, 0, 0), (0.096, 0, 0), (-0.024, 0.093, 0)), [(0, 1), (0, 2)], [8, 1, 1]
METHYL = points((-0.036, 0.103, 0), (-0.036, -0.05, 0.089), (-0.036, -0.05, -0.089))
ACETONITRILE = (
    torch.cat([points((0, 0, 0), (0.146, 0, 0), (0.262, 0, 0)), METHYL]),
    [(0, 1), (1, 2), (0, 3), (0, 4), (0, 5)],
    [6, 6, 7, 1, 1, 1],
)
BUTYNE = (
    torch.cat(
        [points((0, 0, 0), (0.146, 0, 0), (0.266, 0, 0), (0.412, 0, 0)), METHYL, METHYL * points((-1, 1, 1)) + 0.412]
    ),
    [(0, 1), (1, 2), (2, 3), (0, 4), (0, 5), (0, 6), (3, 7), (3, 8), (3, 9)],
    [6, 6, 6, 6, 1, 1, 1, 1, 1, 1],
)
BUTYNE[0][7:, 1:] -= 0.412
CARBON_DIOXIDE = points((0, 0, 0), (0.116, 0, 0), (-0.116, 0, 0)), [(0, 1), (0, 2)], [6, 8, 8]
NITROGEN = points((0, 0, 0), (0.11, 0, 0)), [(0, 1)], [7, 7]
SODIUM = points((0, 0, 0)), [], [11]


def together(*molecules: Any) -> tuple[Tensor, list[tuple[int, int]], list[int]]:
    """Molecules side by side, each turned a bit more than the one before."""
    x, bonds, numbers = molecules[0]
    turn = TURN
    for k, (more, more_bonds, more_numbers) in enumerate(molecules[1:], 1):
        bonds = [*bonds, *((i + len(x), j + len(x)) for i, j in more_bonds)]
        x = torch.cat([x, (more + k * points((0.05, 0.4, 0.2))) @ turn])
        numbers, turn = [*numbers, *more_numbers], turn @ TURN
    return x, bonds, numbers


CASES = {
    "acetonitrile": ACETONITRILE,
    "2-butyne": BUTYNE,
    "water dimer": together(WATER, WATER),
    "water and sodium": together(WATER, SODIUM),
    "three sodium": together(SODIUM, SODIUM, SODIUM),
    "two carbon dioxide": together(CARBON_DIOXIDE, CARBON_DIOXIDE),
    "two nitrogen": together(NITROGEN, NITROGEN),
    "acetonitrile and water": together(ACETONITRILE, WATER),
    "two acetonitrile and water": together(ACETONITRILE, ACETONITRILE, WATER),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Tensor, list[tuple[int, int]], list[int]]:
    return CASES[request.param]


def coordinates_of(case: tuple[Tensor, list[tuple[int, int]], list[int]], **options: Any) -> InternalCoordinates:
    x, bonds, numbers = case
    return InternalCoordinates.from_structure(bonds, x, numbers, [f"X{i}" for i in range(len(x))], **options)


def test_volume_element_is_that_of_the_full_jacobian(case: Any, lengths: str) -> None:
    coordinates = coordinates_of(case, lengths=lengths)
    rigid = torch.tensor([0.3, -0.2, 0.5, 0.7, 1.1, -2.0], dtype=torch.float64)

    def cartesian(full: Tensor) -> Tensor:
        x = coordinates(full[None, 6:])[0][0]
        return (x @ rotation(full[3:6]).T + full[:3]).flatten()

    for z in states(coordinates, 3):
        jacobian = torch.autograd.functional.jacobian(cartesian, torch.cat([rigid, z]))
        expected = torch.linalg.slogdet(jacobian)[1] - rigid[4].sin().log()
        torch.testing.assert_close(coordinates(z[None])[1][0], expected, rtol=0, atol=1e-7)


def test_round_trip_and_gradients(case: Any, lengths: str) -> None:
    coordinates = coordinates_of(case, lengths=lengths)
    z = states(coordinates, 16)
    x, log_ratio = coordinates(z)
    again, log_back = coordinates.inverse(x)
    assert coordinates.domain.difference(again, z).abs().max() < 1e-8
    assert (log_ratio + log_back).abs().max() < 1e-8
    assert coordinates.domain.contains(coordinates.inverse(case[0][None])[0]).all()
    assert torch.autograd.gradcheck(coordinates, z[:2].requires_grad_(), atol=1e-4)
    assert torch.autograd.gradcheck(coordinates.inverse, x[:2].detach().requires_grad_(), atol=1e-4)


def test_rebuilt_from_json(case: Any) -> None:
    coordinates = coordinates_of(case)
    rebuilt = InternalCoordinates.from_specification(json.loads(json.dumps(coordinates.specification, allow_nan=False)))
    assert rebuilt.zmatrix == coordinates.zmatrix
    z = states(coordinates, 3)
    assert torch.equal(rebuilt(z)[0], coordinates(z)[0])


def test_atoms_beyond_a_line_do_not_jump_when_it_bends_through_straight() -> None:
    coordinates = coordinates_of(BUTYNE)
    names = coordinates.domain.names
    bend = [i for i, name in enumerate(names) if name.startswith("bend")]
    assert len(bend) == 4
    z = coordinates.inverse(BUTYNE[0][None])[0].repeat(8, 1)
    assert z[:, bend].abs().max() < 1e-6
    around = torch.arange(8, dtype=torch.float64) * math.pi / 4
    for p, q in (bend[::2], bend[1::2]):
        z[:, p], z[:, q] = 1e-5 * around.cos(), 1e-5 * around.sin()
    x, _ = coordinates(z)
    assert (x - x[:1]).abs().max() < 1e-5  # a torsion about a bent line would turn the methyl right round
    straight = torch.zeros_like(z[:1]).copy_(z[:1])
    straight[:, bend] = 0.0
    straight.requires_grad_()
    positions, log_ratio = coordinates(straight)
    (positions.square().sum() + log_ratio.sum()).backward()
    assert straight.grad is not None
    assert torch.isfinite(straight.grad).all()
    assert (positions - x[:1]).abs().max() < 1e-5


def test_a_line_of_the_force_field_has_bends_where_the_reference_is_bent() -> None:
    x, bonds, numbers = ACETONITRILE
    x = x.clone()
    x[2, 1] = 0.04
    names = [f"X{i}" for i in range(6)]
    bent = InternalCoordinates.from_structure(bonds, x, numbers, names)
    assert not bent.zmatrix.linear
    stiff = [(0, 1, 2, math.pi, 500.0)]
    linear = InternalCoordinates.from_structure(bonds, x, numbers, names, angle_terms=stiff)
    assert linear.zmatrix.linear == (5,)
    width = linear.widths[list(linear.domain.names).index("bend X2 X1 X0")]
    assert width == pytest.approx((8.314462618e-3 * 300 / 500) ** 0.5)


def test_a_molecule_moves_as_a_whole_with_its_link() -> None:
    case = CASES["two acetonitrile and water"]
    coordinates = coordinates_of(case)
    domain = coordinates.domain
    rigid = [i for i, c in enumerate(domain) if c.name.startswith("distance")]
    rigid += [i for i, c in enumerate(domain) if c.name.startswith("angle") and c.high > 3.1]
    rigid += list(domain.indices("circle"))
    assert len(rigid) == 12
    z = coordinates.inverse(case[0][None])[0].repeat(6, 1)
    z[1:, rigid] = states(coordinates, 5)[:, rigid]
    x, _ = coordinates(z)
    for part in (slice(0, 6), slice(6, 12), slice(12, 15)):
        inner = torch.cdist(x[:, part], x[:, part])
        assert (inner - inner[:1]).abs().max() < 1e-10
    heads = torch.cdist(x[:, :6], x[:, 6:])
    assert (heads - heads[:1]).abs().amax((1, 2))[1:].min() > 0.05


def test_distances_of_molecules_are_bounded_and_angles_cover_the_sphere() -> None:
    case = CASES["water dimer"]
    coordinates = coordinates_of(case, separation=1.0, lengths="unbounded")
    bounds = {c.name: c for c in coordinates.domain}
    link = bounds["distance X3 X0"]
    reference = float((case[0][3] - case[0][0]).norm())
    assert (link.kind, link.low, link.high) == ("interval", 0.1, pytest.approx(reference + 1.0))
    assert bounds["bond X4 X3"].kind == "real"
    assert bounds["angle X3 X0 X1"].high - bounds["angle X3 X0 X1"].low > math.pi - 0.01
    with pytest.raises(OptionError, match="positive separation"):
        coordinates_of(case, separation=0.0)


def test_volume_of_a_pair_of_points_is_that_of_the_shell() -> None:
    """∫ dz exp(log_ratio) over the link of an ion is the volume of the shell between the bounds."""
    coordinates = coordinates_of(CASES["water and sodium"])
    domain = coordinates.domain
    link = [i for i, name in enumerate(domain.names) if "X3" in name]
    assert [domain.names[i].split()[0] for i in link] == ["distance", "angle", "torsion"]
    n = 200_000
    z = coordinates.inverse(CASES["water and sodium"][0][None])[0].repeat(n, 1)
    z[:, link] = states(coordinates, n)[:, link]
    here = coordinates(z)[1]
    inner = coordinates_of(WATER)
    of_water = inner.inverse(WATER[0][None])[1]
    low, high = domain.coordinates[link[0]].low, domain.coordinates[link[0]].high
    box = math.prod(domain.coordinates[i].high - domain.coordinates[i].low for i in link)
    values = (here + of_water).exp() * box
    expected = 4 / 3 * math.pi * (high**3 - low**3)
    assert abs(values.mean() - expected) / (values.std() / n**0.5) < 4.5


def test_rigid_water_has_no_coordinates_of_its_own() -> None:
    case = CASES["water dimer"]
    x = case[0]
    pairs = [(0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5)]
    constraints = [(i, j, float((x[i] - x[j]).norm())) for i, j in pairs]
    rigid = coordinates_of(case, constraints=constraints)
    flexible = coordinates_of(case)
    assert len(rigid.domain) == 6
    assert not [name for name in rigid.domain.names if name.startswith("bond")]
    z, log_ratio = rigid.inverse(x[None])
    assert torch.allclose(rigid(z)[0], flexible(flexible.inverse(x[None])[0])[0])
    assert torch.allclose(log_ratio, flexible.inverse(x[None])[1])
    assert rigid.inverse(1.01 * x[None])[1].item() == -math.inf
    positions, _ = rigid(states(rigid, 20))
    for i, j, distance in constraints:
        assert (positions[:, i] - positions[:, j]).norm(dim=-1) == pytest.approx(distance)
    assert torch.autograd.gradcheck(rigid, states(rigid, 2).requires_grad_(), atol=1e-4)


def test_constraints_that_are_no_coordinate_are_named() -> None:
    with pytest.raises(TopologyError, match="one between X3 and X4, which closes a ring or joins neighbours"):
        coordinates_of(ACETONITRILE, constraints=[(3, 4, 0.178)])
    with pytest.raises(TopologyError, match="got 3, all fixed by constraints"):
        coordinates_of(WATER, constraints=[(0, 1, 0.1), (0, 2, 0.1), (1, 2, 0.16)])
    with pytest.raises(TopologyError, match="those of X1 and X2 do not"):
        coordinates_of(WATER, constraints=[(0, 1, 0.1), (0, 2, 0.1), (1, 2, 0.3)])


def test_frozen_atoms_stay_where_they_are() -> None:
    case = CASES["two acetonitrile and water"]
    frozen = [0, 1, 3, 12, 13, 14]
    coordinates = coordinates_of(case, frozen=frozen)
    assert len(coordinates.domain) == 3 * (15 - 6)
    z = states(coordinates, 10)
    x, log_ratio = coordinates(z)
    assert (x[:, frozen] - case[0][frozen]).abs().max() < 1e-12
    again, _ = coordinates.inverse(x)
    assert coordinates.domain.difference(again, z).abs().max() < 1e-8
    assert coordinates(coordinates.inverse(case[0][None])[0])[0][0] == pytest.approx(case[0].numpy(), abs=1e-12)
    moving = [i for i in range(15) if i not in frozen]
    constant = log_ratio[0] - jacobian_of(coordinates, z[0], moving)
    for one, ratio in zip(z[1:4], log_ratio[1:4], strict=True):
        assert ratio - jacobian_of(coordinates, one, moving) == pytest.approx(constant.item(), abs=1e-7)


def jacobian_of(coordinates: InternalCoordinates, z: Tensor, atoms: list[int]) -> Tensor:
    moved = torch.autograd.functional.jacobian(lambda one: coordinates(one[None])[0][0, atoms].flatten(), z)
    return torch.linalg.slogdet(moved)[1]


def test_too_few_frozen_atoms_are_refused() -> None:
    with pytest.raises(TopologyError, match=r"at least three frozen atoms.*got 2"):
        coordinates_of(CASES["water dimer"], frozen=[0, 1])
