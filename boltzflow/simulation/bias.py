"""Biases: energies that are added to a potential during sampling and removed by reweighting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import openmm
import torch
from torch import Tensor

from boltzflow.energies import Potential, TorchPotential
from boltzflow.errors import OptionError
from boltzflow.molecules import MolecularSystem, named_torsions

Bias = Potential | Callable[[Tensor], Tensor]
"""Positions (batch, N, 3) in nm → (batch,) in kJ/mol, differentiable."""


class BiasedPotential(Potential):
    """The sum of a potential and a bias.

    Args:
        potential: the potential.
        bias: another potential, or any differentiable function of positions (batch, N, 3) in nm to (batch,) kJ/mol.

    >>> import openmm
    >>> free = openmm.System()
    >>> _ = free.addParticle(1.0)
    >>> biased = BiasedPotential(TorchPotential(free, compile=False), lambda x: x.square().sum((1, 2)))
    >>> biased.energy_and_forces(torch.full((1, 1, 3), 2.0))
    (tensor([12.]), tensor([[[-4., -4., -4.]]]))
    """

    def __init__(self, potential: Potential, bias: Bias) -> None:
        super().__init__(potential.n_atoms)
        self.potential, self.bias = potential, bias

    def _energy_and_forces(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        energy, forces = self.potential.energy_and_forces(positions)
        bias, more = self._bias_and_forces(positions)
        return energy + bias, forces + more

    def _energy(self, positions: Tensor) -> Tensor:
        return self.potential.energy(positions) + self.bias(positions)

    def _bias_and_forces(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(self.bias, Potential):
            return self.bias.energy_and_forces(positions)
        with torch.enable_grad():
            x = positions.detach().requires_grad_()
            bias = self.bias(x)
            (gradient,) = torch.autograd.grad(bias.sum(), x)
        return bias.detach(), -gradient


def torsion_umbrella(
    torsions: Sequence[Sequence[int]],
    n_atoms: int,
    depth: float,
    center: float = 1.05,
    sharpness: float = 3.0,
    *,
    compile: bool = True,
) -> TorchPotential:
    """A bias that deepens one basin of torsions: Σ −depth·exp(sharpness·(cos(φ − center) − 1)).

    With a depth of 13 kJ/mol and the defaults, the rare basin of an amino acid at φ > 0 becomes about as populated as
    the other basins.

    Args:
        torsions: the four atoms of each torsion.
        n_atoms: N of the whole molecule.
        depth: in kJ/mol.
        center: in rad.
        sharpness: the inverse of the basin's squared width in rad.
        compile: as in `TorchPotential`.

    Raises:
        OptionError: if there is no torsion.

    >>> umbrella = torsion_umbrella([(0, 1, 2, 3)], 4, depth=10.0, center=0.0, compile=False)
    >>> cis = torch.tensor([[[1.0, 0, 0], [0, 0, 0], [0, 1.0, 0], [1.0, 1.0, 0]]])
    >>> umbrella.energy(cis)
    tensor([-10.])
    """
    if not torsions:
        raise OptionError("Expected at least one torsion for an umbrella; got none.")
    force = openmm.CustomTorsionForce("-depth*exp(sharpness*(cos(theta-center)-1))")
    for name, value in (("depth", depth), ("center", center), ("sharpness", sharpness)):
        force.addGlobalParameter(name, value)
    for atoms in torsions:
        force.addTorsion(*atoms)
    system = openmm.System()
    for _ in range(n_atoms):
        system.addParticle(1.0)
    system.addForce(force)
    return TorchPotential(system, compile=compile)


def phi_umbrella(system: MolecularSystem, depth: float) -> TorchPotential | None:
    """A `torsion_umbrella` on every φ of a molecule; None if its depth is 0.

    Raises:
        OptionError: if there is no φ.
    """
    if depth == 0.0:
        return None
    phi = [torsion.atoms for torsion in named_torsions(system) if torsion.kind == "phi"]
    if not phi:
        raise OptionError(f"Expected a molecule with a torsion φ for the umbrella; {system.name} has none.")
    return torsion_umbrella(phi, system.n_atoms, depth)
