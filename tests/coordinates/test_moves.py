"""A few atoms, moved with one coordinate, against all atoms placed anew."""

from __future__ import annotations

import pytest
import torch

import boltzflow as bf
from boltzflow.coordinates import InternalCoordinates
from boltzflow.coordinates.moves import Moves

from .test_parts import CASES, coordinates_of


def check(coordinates: InternalCoordinates, reference: torch.Tensor) -> None:
    moves, z = Moves(coordinates), coordinates.inverse(reference[None])[0][0]
    x = coordinates(z[None])[0][0]
    atoms = list(range(len(x)))
    for number, name in enumerate(coordinates.domain.names):
        values = z[number] + torch.tensor([-0.013, 0.0, 0.017], dtype=torch.float64)
        frames = z.repeat(3, 1)
        frames[:, number] = values
        exact, found = coordinates(frames)[0], moves.along(number, z, x, values, atoms)
        assert (torch.cdist(exact, exact) - torch.cdist(found, found)).abs().max() < 1e-9, name
        parts = moves.parts(moves.moving(number), atoms)
        apart = torch.cdist(exact, exact).diff(dim=0).abs().amax(0)
        for i in atoms:
            for j in atoms[:i]:
                assert parts[i] != parts[j] or apart[i, j] < 1e-9, (name, i, j)


@pytest.mark.parametrize("case", CASES)
def test_linear_groups_and_several_molecules(case: str) -> None:
    reference = CASES[case][0]
    noise = torch.randn(reference.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    check(coordinates_of(CASES[case]), reference + 0.003 * noise)


@pytest.mark.parametrize("frozen", ["", "resname ALA"])
def test_rotatable_bonds_and_frozen_atoms(frozen: str) -> None:
    system = bf.load_system("alanine_dipeptide")
    system = system.freeze(frozen) if frozen else system
    coordinates = system.coordinates()
    assert isinstance(coordinates, InternalCoordinates)
    check(coordinates, torch.from_numpy(system.positions))


def test_rings() -> None:
    system = bf.load_system("cyclohexane")
    coordinates = system.coordinates()
    assert isinstance(coordinates, InternalCoordinates)
    check(coordinates, torch.from_numpy(system.positions))
