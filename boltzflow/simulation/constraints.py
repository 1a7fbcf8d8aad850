"""Constrained distances for many replicas, by the constant constraint matrix approximation (CCMA)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from boltzflow.errors import ConvergenceError, OptionError, ShapeError

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-8}
"""Relative tolerance of a constrained distance, by dtype."""

_MAX_ITERATIONS, _MAX_START_ITERATIONS = 150, 3000


class Constraints(nn.Module):
    """Fixed distances between atoms, in the layout (3, N, batch).

    The Lagrange multipliers of all constraints are found together by quasi-Newton steps with a constant matrix, the
    inverse of J M⁻¹ Jᵀ at a reference structure. An iteration is a product with this matrix (Eastman & Pande 2010,
    DOI 10.1021/ct900463w). Iterations act only on the constrained vectors: a multiplier λⱼ moves vector i by
    (D M⁻¹ Dᵀ)ᵢⱼ λⱼ, with D the incidence matrix. Atoms are moved once, at the end.

    Args:
        pairs: (n, 2) indices of atoms.
        lengths: (n,) in nm.
        inverse_masses: (N,) in 1/dalton, 0 for an atom that does not move.
        reference: a structure (N, 3) in nm with approximately correct angles between constraints.

    Raises:
        ShapeError: if pairs, lengths, masses and reference do not fit together.
        OptionError: if a length is not positive, or a constraint joins two atoms that do not move.

    >>> two = Constraints([(0, 1)], [0.1], torch.tensor([1.0, 1.0]), torch.tensor([[0.0, 0, 0], [0.1, 0, 0]])).float()
    >>> x = torch.tensor([[0.0, 0.12], [0.0, 0.0], [0.0, 0.0]])[..., None]
    >>> two.satisfied(x)[0, :, 0]
    tensor([0.0100, 0.1100])
    """

    first: Tensor
    second: Tensor
    lengths: Tensor
    coupling: Tensor
    inverse: Tensor
    spread: Tensor

    def __init__(
        self,
        pairs: Sequence[tuple[int, int]] | Tensor,
        lengths: Sequence[float] | Tensor,
        inverse_masses: Tensor,
        reference: Tensor,
    ) -> None:
        super().__init__()
        atoms, length = torch.as_tensor(pairs), torch.as_tensor(lengths, dtype=torch.float64)
        n, count = len(inverse_masses), len(length)
        if atoms.shape != (count, 2) or count == 0 or reference.shape != (n, 3):
            raise ShapeError(
                f"Expected constraints (n, 2), n ≥ 1, with n lengths, and a reference ({n}, 3) for {n} masses; got "
                f"{tuple(atoms.shape)}, {tuple(length.shape)} and {tuple(reference.shape)}."
            )
        inverse_masses, reference = inverse_masses.double().cpu(), reference.double().cpu()
        for (i, j), distance in zip(atoms.tolist(), length.tolist(), strict=True):
            if not distance > 0.0 or not inverse_masses[i] + inverse_masses[j] > 0.0:
                raise OptionError(
                    f"Expected a positive length between atoms of which at least one can move; got {distance:g} nm "
                    f"between atoms {i} and {j}."
                )
        rows = torch.arange(count)
        incidence = torch.zeros(count, n, dtype=torch.float64)
        incidence[rows, atoms[:, 0]], incidence[rows, atoms[:, 1]] = 1.0, -1.0
        directions = torch.nn.functional.normalize(incidence @ reference, dim=1)
        coupling = (incidence * inverse_masses) @ incidence.T
        self.register_buffer("first", atoms[:, 0].contiguous())
        self.register_buffer("second", atoms[:, 1].contiguous())
        self.register_buffer("lengths", length[:, None])
        self.register_buffer("coupling", coupling)
        # The pseudo-inverse allows redundant constraints, such as the sixth distance of four atoms in a plane.
        self.register_buffer("inverse", torch.linalg.pinv(coupling * (directions @ directions.T)))
        self.register_buffer("spread", (incidence * inverse_masses).T.contiguous())

    def __len__(self) -> int:
        return len(self.lengths)

    def drift(self, x: Tensor, v: Tensor, time: float) -> tuple[Tensor, Tensor]:
        """Free motion on the constraint manifold, from positions that satisfy the constraints.

        The component of v normal to the constraint manifold is removed.

        Args:
            x: (3, N, batch) in nm.
            v: (3, N, batch) in nm/ps.
            time: in ps.

        Returns:
            Positions after `time`, and the velocities that lead there.

        Raises:
            ConvergenceError: if the constraints of a replica with finite positions cannot be satisfied.
        """
        u = self.vectors(x) / self.lengths
        flown = x + time * v
        r = self.vectors(flown)
        pull = torch.zeros_like(r)
        for _ in range(_MAX_ITERATIONS):
            excess = (r.square().sum(0) - self.lengths.square()) / (2 * self.lengths)
            if not (excess.abs() > TOLERANCE[x.dtype] * self.lengths).any():  # NaN is reported elsewhere
                break
            step = u * (self.inverse @ excess)
            r, pull = r - self.coupling @ step, pull - step
        else:
            self._refuse(excess.abs() / self.lengths)
        moved = self.spread @ pull
        return flown + moved, v + moved / time

    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """Velocities without the part that would change a constrained distance. x, v: (3, N, batch).

        Raises:
            ConvergenceError: if the iterations do not converge.
        """
        u = self.vectors(x) / self.lengths
        w = self.vectors(v)
        scale = w.square().sum(0).amax(0).sqrt()
        pull = torch.zeros_like(w)
        for _ in range(_MAX_ITERATIONS):
            stretching = (u * w).sum(0)
            if not (stretching.abs() > 10 * TOLERANCE[x.dtype] * scale).any():
                break
            step = u * (self.inverse @ stretching)
            w, pull = w - self.coupling @ step, pull - step
        else:
            self._refuse(stretching.abs() / scale)
        return v + self.spread @ pull

    def satisfied(self, x: Tensor) -> Tensor:
        """The positions (3, N, batch) projected onto the constraints, from any distance; heavy atoms move least.

        Raises:
            ConvergenceError: if the iterations do not converge.
        """
        r = self.vectors(x)
        pull = torch.zeros_like(r)
        for _ in range(_MAX_START_ITERATIONS):
            length = r.square().sum(0).sqrt()
            excess = length - self.lengths
            if not (excess.abs() > TOLERANCE[x.dtype] * self.lengths).any():
                break
            step = r / length * (self.inverse @ excess)
            r, pull = r - self.coupling @ step, pull - step
        else:
            self._refuse(excess.abs() / self.lengths, _MAX_START_ITERATIONS)
        return x + self.spread @ pull

    def vectors(self, x: Tensor) -> Tensor:
        """The vector of each constraint, first minus second atom: (3, N, batch) → (3, n, batch)."""
        return x.index_select(1, self.first) - x.index_select(1, self.second)

    def _refuse(self, error: Tensor, iterations: int = _MAX_ITERATIONS) -> None:
        constraint, replica = divmod(int(error.nan_to_num(0.0).argmax()), error.shape[1])
        atoms = f"{int(self.first[constraint])} and {int(self.second[constraint])}"
        raise ConvergenceError(
            f"Constraints did not converge in {iterations} iterations: the relative error between atoms {atoms} is "
            f"{float(error[constraint, replica]):.1e} in replica {replica}. A smaller time step may help."
        )
