"""The optimiser SOAP: Adam for vectors, indifferent to the basis of a matrix, resumable."""

from __future__ import annotations

import pytest
import torch

import boltzflow as bf
from boltzflow.training import SOAP

from .conftest import double_well, interrupted_in_step

OPTIONS = {"steps": 24, "batch_size": 64, "warmup": 5, "compile": False, "progress": False, "optimizer": "soap"}


def test_vectors_take_the_steps_of_adam() -> None:
    start = torch.linspace(-1, 1, 5, dtype=torch.float64)
    one, two = (torch.nn.Parameter(start.clone()) for _ in range(2))
    soap, adam = SOAP([one], lr=0.1), torch.optim.Adam([two], lr=0.1, betas=(0.95, 0.95))
    for _ in range(20):
        for parameter, optimizer in ((one, soap), (two, adam)):
            optimizer.zero_grad()
            (parameter**4 - parameter).sum().backward()
            optimizer.step()
    torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 6), (9, 6)], ids=["both sides", "one side"])
def test_it_does_not_matter_in_which_basis_a_matrix_is_given(shape) -> None:
    """Training f(A W B) with orthogonal A, B takes the same steps as f(W); of a side without a basis A is 1."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=random)

    rows, columns = shape
    right = torch.linalg.qr(normal(columns, columns)).Q
    # The first gradient is of full rank, so that its covariances have but one eigenbasis.
    left = torch.linalg.qr(normal(rows, rows)).Q if rows == columns else torch.eye(rows, dtype=torch.float64)
    start, inputs, wanted = normal(rows, columns), normal(columns, 60), normal(rows, 60)
    inputs *= torch.logspace(1, -1, columns, dtype=torch.float64)[:, None]

    def loss(weight: torch.Tensor, step: int) -> torch.Tensor:
        batch = slice(step % 3, None, 3)  # the same gradient twice would be diagonal in its own bases, but for rounding
        return (weight @ inputs[:, batch] - wanted[:, batch]).pow(4).mean()

    plain, turned = torch.nn.Parameter(start.clone()), torch.nn.Parameter(left.T @ start @ right.T)
    for parameter, out in ((plain, lambda w: w), (turned, lambda w: left @ w @ right)):
        optimizer = SOAP([parameter], lr=0.02, largest=columns, refresh=3)
        for step in range(30):
            optimizer.zero_grad()
            loss(out(parameter), step).backward()
            optimizer.step()
    torch.testing.assert_close(left @ turned @ right, plain, rtol=1e-6, atol=1e-6)


def test_correlated_inputs_cost_it_fewer_steps_than_adam() -> None:
    random = torch.Generator().manual_seed(1)
    mixing = torch.linalg.qr(torch.randn(16, 16, generator=random)).Q * torch.logspace(0, -2, 16)
    inputs = mixing @ torch.randn(16, 512, generator=random)
    true = torch.randn(8, 16, generator=random)
    ends = {}
    for kind in (SOAP, torch.optim.Adam):
        weight = torch.nn.Parameter(torch.zeros(8, 16))
        optimizer = kind([weight], lr=0.03)
        for _ in range(300):
            optimizer.zero_grad()
            loss = ((weight - true) @ inputs).square().mean()
            loss.backward()
            optimizer.step()
        ends[kind] = loss.item()
    assert ends[SOAP] < 0.1 * ends[torch.optim.Adam]


def test_resumed_is_as_uninterrupted(tmp_path, monkeypatch) -> None:
    whole, cut, resumed = double_well(), double_well(), double_well()
    for other in (cut, resumed):
        other.flow.load_state_dict(whole.flow.state_dict())
    bf.train(whole, **OPTIONS)
    with interrupted_in_step(14, monkeypatch):
        bf.train(cut, directory=tmp_path, **OPTIONS)
    bf.train(resumed, directory=tmp_path, resume=True, **OPTIONS)
    for name, tensor in whole.flow.state_dict().items():
        assert torch.equal(tensor, resumed.flow.state_dict()[name]), name
