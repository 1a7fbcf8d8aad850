"""Energies that are arbitrary functions of the distance of two particles, summed over all pairs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from boltzflow.energies.expressions import Expression, Program, call, constant, parse, variable
from boltzflow.energies.expressions.functions import FUNCTIONS, SELECT
from boltzflow.energies.forcefield.term import Box, Named, Term, masked, pair_displacements, pair_forces


class PairExpression(Term):
    """An expression summed over pairs of particles; the first of a pair is particle 1 of the expression.

    Args:
        energy: the energy of a pair, kJ/mol; a function of r (nm) and of the names in `parameters`.
        parameters: for each name a matrix (N, N), or one row or column that is broadcast.
        counts: (N, N): how often each ordered pair is counted.
        box: the periodic box, or None.
    """

    counted: Tensor
    counts: Tensor
    identity: Tensor
    box: Box | None

    def __init__(
        self, energy: Expression, parameters: Mapping[str, Tensor], counts: Tensor, box: Box | None = None
    ) -> None:
        super().__init__()
        self.program = Program([energy, energy.derivative("r")])
        self.constants = Named({name: v[..., None] for name, v in parameters.items() if name in energy.variables})
        self.register_buffer("counts", counts.double()[..., None])
        self.register_buffer("counted", (counts != 0)[..., None])
        self.register_buffer("identity", torch.eye(len(counts), dtype=torch.float64)[..., None])
        self.register_buffer("box", box)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        d, r_squared = pair_displacements(x, self.box)
        r = (r_squared + self.identity).sqrt()
        energy, slope = self.program({"r": r, **self.constants.as_dict()})
        energy = self.counts * masked(self.counted, energy, r)
        weight = -self.counts * masked(self.counted, slope, r) / r
        return energy.sum((0, 1)), pair_forces(weight + weight.transpose(0, 1), d)


def truncated(energy: Expression, cutoff: float | None, *, inclusive: bool = False) -> Expression:
    """An energy of r that is zero beyond a cutoff in nm; None means no cutoff.

    OpenMM's standard forces include pairs at exactly the cutoff (`inclusive`); its custom forces do not.
    """
    if cutoff is None:
        return energy
    step, r, zero = FUNCTIONS["step"], variable("r"), constant(0.0)
    if inclusive:
        return call(SELECT, call(step, cutoff - r), energy, zero)
    return call(SELECT, call(step, r - cutoff), zero, energy)


def switched(energy: Expression, start: float | None, cutoff: float | None) -> Expression:
    """An energy of r that is switched smoothly to zero between two distances in nm; `start=None` means no switch."""
    if start is None or cutoff is None:
        return energy
    t = f"(r - {start!r}) / {cutoff - start!r}"
    return energy * parse(f"select(step(r - {start!r}), 1 + t^3*(-10 + t*(15 - 6*t)), 1); t = {t}")
