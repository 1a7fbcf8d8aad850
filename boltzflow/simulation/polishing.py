"""Minimisation of many structures in parallel to a small force, by L-BFGS."""

from __future__ import annotations

import torch
from torch import Tensor

from boltzflow.energies import Potential
from boltzflow.simulation.langevin import batch_first, batch_last
from boltzflow.simulation.minimization import Minimum, checked_particles
from boltzflow.simulation.particles import Particles

_HISTORY = 12  # pairs of steps and changes of the gradient
_LARGEST_MOVE = 0.01  # nm, of an atom in a step
_FIRST = 1e-6  # nm² mol/kJ, the inverse curvature assumed at first: less than that of a bond
_DECREASE, _SHORTER, _SHORTEST = 1e-4, 0.25, 1e-5  # of the line search
_ROUNDING = 1e-12  # relative increase of the energy that counts as rounding
_ROUND = 25  # steps between convergence checks


@torch.no_grad()
def polish(
    potential: Potential,
    positions: Tensor,
    particles: Particles | None = None,
    *,
    tolerance: float = 0.1,
    max_steps: int = 5000,
) -> Minimum:
    """Minimise the energy of each structure independently, by L-BFGS with a backtracking line search.

    Liu & Nocedal 1989, DOI 10.1007/BF01589116. Near a minimum it needs a small fraction of the steps of `minimize`,
    which is safer for structures with clashes: call that one first, with a tolerance of about 1000. With constraints,
    gradients and steps are projected onto them, and each step ends on them.

    Args:
        potential: what to minimise.
        positions: (batch, N, 3) in nm, of finite energy; use float64 for tolerances below 1.
        particles: masses and constraints; constraints are kept, and particles of mass 0 stay where they are.
        tolerance: for the largest force on an atom, projected onto the constraints, kJ/(mol nm).
        max_steps: the maximum number of steps, each with one evaluation.

    Raises:
        OptionError: if the tolerance or the number of steps is not positive.
        ShapeError: if positions, particles and potential do not fit.
        ConvergenceError: if constraints cannot be satisfied.

    >>> import openmm
    >>> from boltzflow.energies import TorchPotential
    >>> system = openmm.System()
    >>> _ = [system.addParticle(1.0) for _ in range(2)]
    >>> bond = openmm.HarmonicBondForce()
    >>> _ = bond.addBond(0, 1, 0.1, 1000.0), system.addForce(bond)
    >>> start = torch.tensor([[[0.0, 0.0, 0.0], [0.11, 0.0, 0.0]]], dtype=torch.float64)
    >>> found = polish(TorchPotential(system, compile=False), start, tolerance=1e-6)
    >>> found.positions.diff(dim=1).norm(dim=2).round(decimals=8)
    tensor([[0.1000]], dtype=torch.float64)
    """
    particles = checked_particles(potential, positions, particles, tolerance, max_steps)
    run = _Descent(potential, particles)
    state = run.start(positions.detach())
    for step in range(0, max_steps, _ROUND):
        open_ = (largest_force(state["gradient"]) > tolerance).nonzero().flatten()
        if not len(open_):
            break
        part = {name: tensor[open_] for name, tensor in state.items()}
        for _ in range(min(_ROUND, max_steps - step)):
            part = run.step(part)
        state = {name: tensor.index_copy(0, open_, part[name]) for name, tensor in state.items()}
    largest = largest_force(state["gradient"])
    placed = batch_first(particles.placed(batch_last(state["x"])))
    return Minimum(placed, state["energy"], largest, largest <= tolerance)


def largest_force(gradient: Tensor) -> Tensor:
    """The largest force on an atom (batch,), from gradients (batch, N, 3)."""
    return gradient.square().sum(2).amax(1).sqrt()


class _Descent:
    """Steps of L-BFGS. A state has tensors whose first axis is the batch.

    x, energy and gradient; the last steps and changes of the gradient, (batch, history, N, 3), the newest last;
    curvature, 1/(step · change) or 0 for pairs that do not exist; scale, the initial inverse Hessian; and length, the
    fraction of the next step to take.
    """

    def __init__(self, potential: Potential, particles: Particles) -> None:
        self.potential, self.constraints = potential, particles.constraints
        self.inverse_masses = particles.inverse_masses[:, None]

    def start(self, x: Tensor) -> dict[str, Tensor]:
        x = self.satisfied(x)
        energy, gradient = self.evaluate(x)
        past = x.new_zeros(len(x), _HISTORY, *x.shape[1:])
        one = torch.ones_like(energy)
        return {
            **{"x": x, "energy": energy, "gradient": gradient, "steps": past, "changes": past},
            **{"curvature": past[:, :, 0, 0], "scale": _FIRST * one, "length": one},
        }

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (batch,) and gradients (batch, N, 3), projected onto the constraints."""
        energy, forces = self.potential.energy_and_forces(x)
        gradient = self.tangent(x, -self.inverse_masses * forces) / self.inverse_masses
        return energy, torch.where(self.inverse_masses > 0, gradient, 0.0)

    def tangent(self, x: Tensor, move: Tensor) -> Tensor:
        """Moves (batch, N, 3) without their components that change constrained distances."""
        if self.constraints is None:
            return move
        return batch_first(self.constraints.tangent(batch_last(x), batch_last(move)))

    def satisfied(self, x: Tensor) -> Tensor:
        """Positions (batch, N, 3) on the constraints."""
        return x if self.constraints is None else batch_first(self.constraints.satisfied(batch_last(x)))

    def step(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """One evaluation: a step that lowers the energy is taken, otherwise a shorter one is tried next."""
        x, energy, gradient = state["x"], state["energy"], state["gradient"]
        direction = -self.tangent(x, self.newton(state))
        uphill = _dot(direction, gradient) >= 0.0
        direction = torch.where(uphill[:, None, None], -_FIRST * self.tangent(x, gradient), direction)
        move = direction * (_LARGEST_MOVE / largest_force(direction)).clamp(max=1.0)[:, None, None]
        new_x = self.satisfied(x + state["length"][:, None, None] * move)
        move = new_x - x

        new_energy, new_gradient = self.evaluate(new_x)
        allowed = _DECREASE * _dot(move, gradient) + _ROUNDING * energy.abs()
        taken = new_energy <= energy + allowed
        change = new_gradient - gradient
        product = _dot(move, change)
        learned = taken & (product > 1e-8 * (_dot(move, move) * _dot(change, change)).sqrt())
        # After many rejections the history misleads: it is forgotten.
        lost = ~taken & (state["length"] < _SHORTEST)

        def appended(past: Tensor, new: Tensor) -> Tensor:
            chosen = learned.reshape(-1, *[1] * (past.dim() - 1))
            return torch.where(chosen, torch.cat([past[:, 1:], new[:, None]], 1), past)

        curvature = appended(state["curvature"], 1.0 / torch.where(learned, product, 1.0))
        scale = torch.where(learned, product / _dot(change, change).clamp_min(1e-30), state["scale"])
        length = torch.where(taken | lost, 1.0, _SHORTER * state["length"])
        return {
            "x": torch.where(taken[:, None, None], new_x, x),
            "energy": torch.where(taken, new_energy, energy),
            "gradient": torch.where(taken[:, None, None], new_gradient, gradient),
            "steps": appended(state["steps"], move),
            "changes": appended(state["changes"], change),
            "curvature": torch.where(lost[:, None], 0.0, curvature),
            "scale": torch.where(lost, _FIRST, scale),
            "length": length,
        }

    def newton(self, state: dict[str, Tensor]) -> Tensor:
        """The inverse Hessian times the gradient, (batch, N, 3): the two-loop recursion."""
        pairs = [*zip(state["steps"].unbind(1), state["changes"].unbind(1), state["curvature"].unbind(1), strict=True)]
        found, factors = state["gradient"], []
        for step, change, curvature in reversed(pairs):
            factors.append(curvature * _dot(step, found))
            found = found - factors[-1][:, None, None] * change
        found = state["scale"][:, None, None] * found
        for (step, change, curvature), factor in zip(pairs, reversed(factors), strict=True):
            found = found + (factor - curvature * _dot(change, found))[:, None, None] * step
        return found


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products of two batches (batch, N, 3)."""
    return (a * b).sum((1, 2))
