from __future__ import annotations

import json
import math

import openmm
import pytest
import torch
from torch import Tensor

from boltzflow.coordinates import InternalCoordinates
from boltzflow.coordinates.geometry import dihedral
from boltzflow.errors import OptionError, ShapeError
from boltzflow.testing import random_states
from boltzflow.units import thermal_energy

from .conftest import TOLERANCE, Molecule


def states(coordinates: InternalCoordinates, n: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return random_states(coordinates.domain, n, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def distances(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x[:, :, None] - x[:, None], dim=-1)


def rotation(angles: Tensor) -> Tensor:
    """Rotation by Euler angles (α, β, γ) about z, y, z; its volume element is sin β, in total 8π²."""
    (ca, cb, cg), (sa, sb, sg) = angles.cos(), angles.sin()
    zero, one = torch.zeros_like(ca), torch.ones_like(ca)
    first = torch.stack([ca, -sa, zero, sa, ca, zero, zero, zero, one]).view(3, 3)
    second = torch.stack([cb, zero, sb, zero, one, zero, -sb, zero, cb]).view(3, 3)
    third = torch.stack([cg, -sg, zero, sg, cg, zero, zero, zero, one]).view(3, 3)
    return first @ second @ third


def test_volume_element_is_that_of_the_full_jacobian(dipeptide: Molecule, lengths: str) -> None:
    coordinates = dipeptide.coordinates(lengths=lengths)
    rigid = torch.tensor([0.3, -0.2, 0.5, 0.7, 1.1, -2.0], dtype=torch.float64)

    def cartesian(full: Tensor) -> Tensor:
        x = coordinates(full[None, 6:])[0][0]
        return (x @ rotation(full[3:6]).T + full[:3]).flatten()

    for z in states(coordinates, 3):
        jacobian = torch.autograd.functional.jacobian(cartesian, torch.cat([rigid, z]))
        expected = torch.linalg.slogdet(jacobian)[1] - rigid[4].sin().log()
        torch.testing.assert_close(coordinates(z[None])[1][0], expected, rtol=0, atol=1e-8)


def test_round_trip_from_anywhere_in_the_domain(molecule: Molecule, lengths: str, dtype: torch.dtype) -> None:
    coordinates = molecule.coordinates(lengths=lengths)
    # Where neighbouring angles come near 0 or π a torsion is hardly defined, so float32 is asked of positions only.
    z = states(coordinates, 64, dtype)
    x, log_ratio = coordinates(z)
    again, log_back = coordinates.inverse(x)
    assert x.dtype == log_ratio.dtype == again.dtype == log_back.dtype == dtype
    assert x.shape == (64, len(molecule.names), 3)
    if dtype == torch.float64:
        assert coordinates.domain.difference(again, z).abs().max() < 1e-8
    scale = log_ratio.abs().clamp(min=1.0)
    assert ((log_back + log_ratio).abs() / scale).max() < TOLERANCE[dtype]


def test_round_trip_of_thermal_positions(molecule: Molecule, lengths: str, dtype: torch.dtype) -> None:
    coordinates = molecule.coordinates(lengths=lengths)
    noise = torch.randn(4, *molecule.positions.shape, generator=torch.Generator().manual_seed(1))
    x = (molecule.positions + 0.004 * noise).to(dtype)
    z, _ = coordinates.inverse(x)
    again, _ = coordinates(z)
    assert (distances(again) - distances(x)).abs().max() < (1e-5 if dtype == torch.float32 else 1e-12)


def test_reference_and_start_values_lie_inside(molecule: Molecule, lengths: str) -> None:
    coordinates = molecule.coordinates(lengths=lengths)
    assert coordinates.domain.contains(coordinates.inverse(molecule.positions[None])[0]).all()
    assert coordinates.domain.contains(coordinates.centers[None]).all()
    assert len(coordinates.domain) == 3 * len(molecule.names) - 6


def test_inverse_ignores_place_and_orientation(dipeptide: Molecule) -> None:
    coordinates = dipeptide.coordinates()
    turned = dipeptide.positions @ rotation(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)).T + 5.0
    torch.testing.assert_close(coordinates.inverse(turned[None])[0], coordinates.inverse(dipeptide.positions[None])[0])


def test_seed_frame(dipeptide: Molecule) -> None:
    coordinates = dipeptide.coordinates()
    x, _ = coordinates(states(coordinates, 5))
    first, second, third = x[:, list(coordinates.zmatrix.order[:3])].unbind(1)
    assert (first == 0).all()
    assert (second[:, 0] > 0).all()
    assert (second[:, 1:] == 0).all()
    assert (third[:, 1] > 0).all()
    assert (third[:, 2] == 0).all()


def test_gradients_in_both_directions(dipeptide: Molecule, lengths: str) -> None:
    coordinates = dipeptide.coordinates(lengths=lengths)
    z = coordinates.inverse(dipeptide.positions[None])[0].requires_grad_()
    assert torch.autograd.gradcheck(coordinates, z)
    assert torch.autograd.gradcheck(coordinates.inverse, dipeptide.positions[None].clone().requires_grad_())


def test_second_derivatives() -> None:
    peroxide = torch.tensor([[0.1, 0.01, 0.0], [0.0, 0.0, 0.0], [0.0, 0.14, 0.0], [0.03, 0.16, 0.09]])
    coordinates = InternalCoordinates.from_structure([(0, 1), (1, 2), (2, 3)], peroxide, [1, 8, 8, 1], list("abcd"))
    z = coordinates.inverse(peroxide.double()[None])[0].requires_grad_()
    assert torch.autograd.gradgradcheck(coordinates, z)


def test_gradients_are_kept_in_float32(molecule: Molecule, dtype: torch.dtype) -> None:
    coordinates = molecule.coordinates()
    z = coordinates.inverse(molecule.positions[None])[0]
    weights = torch.randn(molecule.positions.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def gradient(state: Tensor) -> Tensor:
        state = state.detach().requires_grad_()
        (coordinates(state)[0] * weights.to(state)).sum().backward()
        assert state.grad is not None
        return state.grad

    exact = gradient(z)
    assert (gradient(z.to(dtype)) - exact).abs().max() < TOLERANCE[dtype] * exact.abs().max()


def test_handedness_and_hydrogen_labels_hold_everywhere(molecule: Molecule) -> None:
    """The order of an atom's children around its bond is that of the reference, for any point of the domain."""
    coordinates = molecule.coordinates()
    rows = coordinates.zmatrix.rows
    x = torch.cat([molecule.positions[None], coordinates(states(coordinates, 10_000 if len(rows) < 50 else 500))[0]])
    centres = 0
    for row, relation in zip(rows[3:], coordinates.zmatrix.relations, strict=True):
        if relation.second < 0:
            continue
        centres += 1
        turns = [dihedral(*x[:, list(r)].unbind(1)).remainder(2 * math.pi) for r in (rows[relation.second], row)]
        order = turns[0] < turns[1]
        assert (order == order[0]).all()
    parents = [row[1] for row in rows[2:]]
    assert centres == sum(parents.count(p) == 3 for p in set(parents)) > 3


def test_flat_centres_stay_within_a_right_angle_of_flat(dipeptide: Molecule) -> None:
    coordinates = dipeptide.coordinates()
    i = coordinates.domain.names.index("torsion ALA2-O ALA2-C ALA2-CA NME3-N")
    bounds = coordinates.domain.coordinates[i]
    assert (bounds.low, bounds.high) == pytest.approx((math.pi / 2, 3 * math.pi / 2))


def test_edges_of_the_domain_are_finite(molecule: Molecule, dtype: torch.dtype) -> None:
    coordinates = molecule.coordinates()
    like = torch.empty(0, dtype=dtype)
    z = torch.stack([coordinates.domain.lows(like), coordinates.domain.highs(like)]).requires_grad_()
    x, log_ratio = coordinates(z)
    (x.sum() + log_ratio.sum()).backward()
    assert torch.isfinite(x).all()
    assert torch.isfinite(log_ratio).all()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_unbounded_lengths_are_positive(dipeptide: Molecule, dtype: torch.dtype) -> None:
    coordinates = dipeptide.coordinates(lengths="unbounded")
    n = len(dipeptide.names) - 1
    assert coordinates.domain.indices("real") == tuple(range(n))
    assert coordinates.centers[:n].eq(0).all()
    assert coordinates.widths[:n].eq(1).all()
    bounded = dipeptide.coordinates()
    z = coordinates.centers[None].repeat(3, 1).to(dtype)
    z[:, :n] = torch.tensor([-300.0, 0.0, 300.0])[:, None]
    x, log_ratio = coordinates(z)
    found, _ = bounded.inverse(x)
    assert (found[:, :n] > 0).all()
    assert torch.isfinite(log_ratio).all()
    torch.testing.assert_close(found[1, :n].double(), bounded.centers[:n], rtol=1e-5, atol=0)


def test_widths_are_thermal(dipeptide: Molecule) -> None:
    cold, hot = dipeptide.coordinates(temperature=300.0), dipeptide.coordinates(temperature=1200.0)
    i, j, length, k = dipeptide.bond_terms[0]
    names = [f"bond {dipeptide.names[a]} {dipeptide.names[b]}" for a, b in ((i, j), (j, i))]
    (place,) = [cold.domain.names.index(n) for n in names if n in cold.domain.names]
    assert cold.widths[place].item() == pytest.approx(math.sqrt(thermal_energy(300.0) / k))
    assert cold.centers[place].item() == pytest.approx(length)
    circles = list(cold.domain.indices("circle"))
    assert cold.widths[circles].isinf().all()
    finite = cold.widths.isfinite()
    assert finite.sum() == len(cold.domain) - len(circles)
    torch.testing.assert_close(hot.widths[finite], 2 * cold.widths[finite])
    assert hot.domain == cold.domain


def test_start_values_close_the_rings(peptide: Molecule) -> None:
    coordinates = peptide.coordinates()
    x, _ = coordinates(coordinates.centers[None])
    placed = {frozenset(row[:2]) for row in coordinates.zmatrix.rows[1:]}
    closures = [b for b in peptide.bonds if frozenset(b) not in placed]
    assert len(closures) == 6  # two in tryptophan
    for i, j in closures:
        assert abs(distances(x)[0, i, j] - distances(peptide.positions[None])[0, i, j]) < 0.02


@pytest.mark.parametrize("lengths_", ["bounded", "unbounded"])
def test_rebuilt_from_json(dipeptide: Molecule, lengths_: str) -> None:
    coordinates = dipeptide.coordinates(lengths=lengths_)
    rebuilt = InternalCoordinates.from_specification(json.loads(json.dumps(coordinates.specification, allow_nan=False)))
    assert rebuilt.domain == coordinates.domain
    assert rebuilt.domain.names == coordinates.domain.names
    assert rebuilt.zmatrix == coordinates.zmatrix
    assert torch.equal(rebuilt.centers, coordinates.centers)
    assert torch.equal(rebuilt.widths, coordinates.widths)
    z = states(coordinates, 4)
    for one, other in zip(rebuilt(z), coordinates(z), strict=True):
        assert torch.equal(one, other)
    assert not coordinates.state_dict()


# torch makes the context of a custom gradient by a call that torch itself calls deprecated.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_one_graph_in_both_directions(dipeptide: Molecule) -> None:
    coordinates = dipeptide.coordinates()
    z = states(coordinates, 4, torch.float32).requires_grad_()
    forward = torch.compile(coordinates.forward, fullgraph=True, backend="eager")
    inverse = torch.compile(coordinates.inverse, fullgraph=True, backend="eager")
    x, log_ratio = forward(z)
    torch.testing.assert_close(x, coordinates(z)[0])
    again, log_back = inverse(x)
    (again.sum() + log_ratio.sum() + log_back.sum()).backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_a_broken_frame_stays_alone(dipeptide: Molecule) -> None:
    coordinates = dipeptide.coordinates()
    x = dipeptide.positions.repeat(3, 1, 1)
    x[1, 4, 0] = math.nan
    z, log_ratio = coordinates.inverse(x)
    assert log_ratio.isnan().tolist() == [False, True, False]
    assert coordinates.domain.contains(z).tolist() == [True, False, True]


def test_bad_input_is_refused(dipeptide: Molecule) -> None:
    coordinates = dipeptide.coordinates()
    with pytest.raises(ShapeError, match=r"forward: expected states of shape \(batch, 60\).*got \(2, 59\)"):
        coordinates(torch.zeros(2, 59))
    with pytest.raises(ShapeError, match=r"inverse: expected states of shape \(batch, 22, 3\)"):
        coordinates.inverse(torch.zeros(2, 21, 3))
    with pytest.raises(OptionError, match="got 'free'"):
        dipeptide.coordinates(lengths="free")
    with pytest.raises(ShapeError, match="Expected 60 bounds"):
        InternalCoordinates(coordinates.zmatrix, coordinates.domain[:59], [0.1] * 60, [0.1] * 60)


def dynamics(molecule: Molecule, temperature: float, frames: int) -> Tensor:
    """Frames of Langevin dynamics from eight places of the φ, ψ map, φ > 0 among them."""
    coordinates = molecule.coordinates()
    names = coordinates.domain.names
    phi = names.index("torsion ACE1-C ALA2-N ALA2-CA ALA2-C")
    psi = names.index("torsion NME3-N ALA2-C ALA2-CA ALA2-N")
    starts = [(-80, 150), (-80, -40), (-150, 150), (60, 40), (60, -130), (70, -60), (-120, 0), (160, 180)]
    step = 0.001 if temperature < 600 else 0.0005
    integrator = openmm.LangevinMiddleIntegrator(temperature, 2.0, step)
    integrator.setRandomNumberSeed(1)
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(molecule.system, integrator, platform, {"Threads": "1"})
    found = []
    for start in starts:
        z, _ = coordinates.inverse(molecule.positions[None])
        z[0, phi], z[0, psi] = math.radians(start[0]), math.radians(start[1])
        context.setPositions(coordinates(z)[0][0].numpy())
        openmm.LocalEnergyMinimizer.minimize(context, maxIterations=20)
        context.setVelocitiesToTemperature(temperature, 1)
        integrator.step(100)
        for _ in range(frames // len(starts)):
            integrator.step(4)
            found.append(torch.tensor(context.getState(getPositions=True).getPositions(asNumpy=True)._value))
    return torch.stack(found)


@pytest.mark.parametrize("temperature", [300.0, 1200.0])
def test_dynamics_stays_in_the_domain(dipeptide: Molecule, temperature: float) -> None:
    coordinates = dipeptide.coordinates()
    z, _ = coordinates.inverse(dynamics(dipeptide, temperature, 800))
    assert coordinates.domain.contains(z).all()
    phi = z[:, coordinates.domain.names.index("torsion ACE1-C ALA2-N ALA2-CA ALA2-C")]
    psi = z[:, coordinates.domain.names.index("torsion NME3-N ALA2-C ALA2-CA ALA2-N")]
    assert ((phi > 0.0) & (phi < 2.2)).sum() >= 50  # the rare basin was there
    assert ((phi < 0.0) & (psi > -1.6) & (psi < 0.3)).sum() >= 50  # and α_R


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [300.0, 1200.0])
def test_long_dynamics_stays_in_the_domain(dipeptide: Molecule, temperature: float) -> None:
    coordinates = dipeptide.coordinates()
    z, _ = coordinates.inverse(dynamics(dipeptide, temperature, 200_000))
    assert coordinates.domain.contains(z).double().mean() >= 0.9999
