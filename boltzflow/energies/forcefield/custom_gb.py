"""Any CustomGBForce: per-particle values computed from pairs, and energies that are functions of these values."""

from __future__ import annotations

from collections.abc import Mapping

import openmm
import openmm.unit as u
import torch
from torch import Tensor

from boltzflow.energies.expressions import Expression, Program, constant
from boltzflow.energies.forcefield.custom_nonbonded import pair_parameters
from boltzflow.energies.forcefield.pair_expression import truncated
from boltzflow.energies.forcefield.term import (
    Box,
    Named,
    Term,
    masked,
    pair_displacements,
    pair_forces,
    unsupported,
)
from boltzflow.energies.forcefield.translation import Translation

_AXES = ("x", "y", "z")


class ComputedValues(Term):
    """An energy of per-particle values: v₁ᵢ = Σⱼ f(rᵢⱼ), vₖ = gₖ(v₁ … vₖ₋₁), E = Σᵢ h(vᵢ) + Σᵢ<ⱼ e(r, vᵢ, vⱼ).

    Args:
        pair_value: name and expression of v₁, a sum over the other particles j of an expression of r and of
            parameters with the suffixes 1 (of i) and 2 (of j); or None.
        values: names and expressions of the values that follow.
        single: the energy of one particle, kJ/mol.
        pair: the energy of a pair, kJ/mol; names of values and parameters have the suffixes 1 and 2.
        parameters: (N,) by name.
        value_pairs, energy_pairs: (N, N) bool: the ordered pairs of v₁; how often each pair's energy is counted.
        box: the periodic box, or None.
    """

    value_pairs: Tensor
    energy_pairs: Tensor
    identity: Tensor
    box: Box | None

    def __init__(
        self,
        pair_value: tuple[str, Expression] | None,
        values: Mapping[str, Expression],
        single: Expression,
        pair: Expression,
        parameters: Mapping[str, Tensor],
        value_pairs: Tensor,
        energy_pairs: Tensor,
        box: Box | None,
    ) -> None:
        super().__init__()
        first, integral = pair_value or ("", constant(0.0))
        self.first = first
        self.names = [*([first] if first else []), *values]
        self.integral = Program([integral, integral.derivative("r")])
        earlier = [[*_AXES, *self.names[: self.names.index(name)]] for name in values]
        self.values = torch.nn.ModuleDict(
            {
                f"of_{name}": Program([value, *(value.derivative(other) for other in known)])
                for (name, value), known in zip(values.items(), earlier, strict=True)
            }
        )
        variables = [*_AXES, *self.names]
        self.single = Program([single, *(single.derivative(name) for name in variables)])
        of_pair = [f"{name}{end}" for name in self.names for end in "12"]
        self.pair = Program([pair, pair.derivative("r"), *(pair.derivative(name) for name in of_pair)])
        self.constants = Named({name: value[:, None] for name, value in parameters.items()})
        self.register_buffer("value_pairs", value_pairs[..., None])
        self.register_buffer("energy_pairs", energy_pairs[..., None])
        self.register_buffer("identity", torch.eye(len(value_pairs), dtype=torch.float64)[..., None])
        self.register_buffer("box", box)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        d, r_squared = pair_displacements(x, self.box)
        r = (r_squared + self.identity).sqrt()
        particles: dict[str, Tensor | float] = {**self.constants.as_dict(), "x": x[0], "y": x[1], "z": x[2]}
        zero = torch.zeros_like(x[0])
        integral_slope = zero
        if self.first:
            integral, slope_of_pair = self.integral({"r": r, **_both_ends(particles)})
            integral_slope = masked(self.value_pairs, slope_of_pair, r)
            particles[self.first] = masked(self.value_pairs, integral, r).sum(1) + zero
        slopes_of_values = {}
        for key, program in self.values.items():
            value, *slopes_of_values[key] = program(particles)
            particles[key.removeprefix("of_")] = value + zero

        energy, *slopes = self.single(particles)
        by = {name: slope + zero for name, slope in zip([*_AXES, *self.names], slopes, strict=True)}
        pair, pair_slope, *ends = self.pair({"r": r, **_both_ends(particles)})
        total = (energy + zero).sum(0) + masked(self.energy_pairs, pair, r).sum((0, 1))
        weight = masked(self.energy_pairs, pair_slope, r) / r
        for name, at_first, at_second in zip(self.names, ends[::2], ends[1::2], strict=True):
            by[name] = by[name] + masked(self.energy_pairs, at_first, r).sum(1)
            by[name] = by[name] + masked(self.energy_pairs, at_second, r).sum(0)

        # Chain rule, from the last value to the first: each passes its derivative to those that it depends on.
        for key in reversed(list(self.values)):
            known = [*_AXES, *self.names[: self.names.index(key.removeprefix("of_"))]]
            for name, slope in zip(known, slopes_of_values[key], strict=True):
                by[name] = by[name] + by[key.removeprefix("of_")] * slope
        if self.first:
            # A particle without neighbours has no force, even if the derivative of its energy is infinite.
            chain = by[self.first][:, None] * integral_slope / r
            weight = weight + torch.where(integral_slope == 0.0, 0.0, chain)
        forces = pair_forces(-weight - weight.transpose(0, 1), d)
        return total, forces - torch.stack([by[axis] for axis in _AXES])


def _both_ends(particles: Mapping[str, Tensor | float]) -> dict[str, Tensor | float]:
    """Per-particle values (N, batch) as those of the first and of the second particle of each pair."""
    ends: dict[str, Tensor | float] = {}
    for name, value in particles.items():
        assert isinstance(value, Tensor)
        ends[f"{name}1"], ends[f"{name}2"] = value[:, None], value[None]
    return ends


def computed_values(force: openmm.CustomGBForce, system: Translation) -> Term:
    """The term of a CustomGBForce of any kind."""
    n = system.n_atoms
    has_cutoff = force.getNonbondedMethod() != force.NoCutoff
    cutoff = force.getCutoffDistance().value_in_unit(u.nanometer) if has_cutoff else None
    names = [force.getPerParticleParameterName(i) for i in range(force.getNumPerParticleParameters())]
    rows = [force.getParticleParameters(i) for i in range(n)]
    parameters = {name: torch.tensor([row[i] for row in rows], dtype=torch.float64) for i, name in enumerate(names)}
    others = ~torch.eye(n, dtype=torch.bool)
    included = others.clone()
    for index in range(force.getNumExclusions()):
        i, j = force.getExclusionParticles(index)
        included[i, j] = included[j, i] = False

    values = [force.getComputedValueParameters(i) for i in range(force.getNumComputedValues())]
    pair_value, value_pairs, singles = None, others, dict[str, Expression]()
    for name, text, kind in values:
        expression = system.expression(force, text)
        if kind == force.SingleParticle:
            singles[name] = expression
        else:
            pair_value = name, truncated(expression, cutoff)
            value_pairs = others if kind == force.ParticlePairNoExclusions else included
            pair_parameters(force, expression, parameters)
    single, pair = constant(0.0), {True: constant(0.0), False: constant(0.0)}
    for index in range(force.getNumEnergyTerms()):
        text, kind = force.getEnergyTermParameters(index)
        expression = system.expression(force, text)
        if kind == force.SingleParticle:
            single = single + expression
        else:
            is_everywhere = kind == force.ParticlePairNoExclusions
            pair[is_everywhere] = pair[is_everywhere] + expression
    known = set(names) | set(_AXES) | {name for name, _, _ in values}
    unknown = single.variables - known
    if unknown:
        raise unsupported(force, f"its expression contains the unknown name {min(unknown)}")
    if pair[True].number != 0.0 and pair[False].number != 0.0 and force.getNumExclusions():
        raise unsupported(force, "it has pair energies with and without exclusions")
    energy_pairs = included if pair[False].number != 0.0 else others
    energy = truncated(pair[True] + pair[False], cutoff)
    return ComputedValues(
        pair_value, singles, single, energy, parameters, value_pairs, energy_pairs.triu(1), system.box_of(force)
    )
