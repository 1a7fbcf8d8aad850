"""What a report shows of a molecule's torsions: which of them, in what order, and in which words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from boltzflow.analysis.estimates.populations import Population
from boltzflow.analysis.estimates.rotamers import Rotamers
from boltzflow.estimate import Estimate
from boltzflow.verdict import Trust, Verdict, worst

_RARE, _NEGLIGIBLE = 0.01, 1e-6  # populations

MOST = 24
"""Torsions that are drawn or printed at most."""

_ORDER = ("phi psi", "chi chi1 chi2 chi3 chi4 chi5 alpha beta gamma epsilon zeta", "torsion", "omega")


def most_telling(found: Sequence[Rotamers]) -> list[Rotamers]:
    """At most 24: φ and ψ first, then side chains, then the rest, and ω at last."""
    order = [kinds.split() for kinds in _ORDER]
    rank = {kind: k for k, kinds in enumerate(order) for kind in kinds}
    return sorted(found, key=lambda one: rank[one.torsion.kind])[:MOST]


def region_name(one: Rotamers, state: str) -> str:
    """The name of a state in the summary, such as "chi1 VAL2 trans"."""
    return f"{one.torsion.name} {state}"


def rotamer_rows(found: Sequence[Rotamers]) -> Iterator[tuple[str, str]]:
    """Lines for print: a torsion, and the populations of its states."""
    listed = most_telling([one for one in found if _is_mixed(one) and one.torsion.kind != "phi"])
    for one in listed:
        populations = one.states.populations
        verdict = worst(population.verdict for population in populations.values() if not _is_rare(population))
        yield one.torsion.name, ", ".join(_told(*item) for item in populations.items()) + _remark(verdict)
    single = [one for one in found if not _is_mixed(one)]
    if single:
        states = (region_name(one, _only(one)) for one in single[:MOST])
        more = f" and {len(single) - MOST} more" if len(single) > MOST else ""
        yield "in one state only", ", ".join(states) + more
    left = sum(_is_mixed(one) and one.torsion.kind != "phi" for one in found) - len(listed)
    if left:
        yield "other torsions", f"{left} more in summary.json"


def comparison_rows(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines for print: the populations of samples and reference, if a run has compared them."""
    comparison = (run.get("evaluation") or {}).get("comparison", {})
    found = comparison.get("populations", {})
    several = {name: both for name, both in found.items() if both["sigmas"]}  # neither 0 nor unknown
    listed = sorted(several, key=lambda name: -abs(several[name]["sigmas"]))[:MOST]
    for name in (name for name in several if name in listed):
        samples, reference = (Estimate(*several[name][side].values()) for side in ("samples", "reference"))
        yield f"{name}: reference", f"{reference}; samples {samples}, {several[name]['sigmas']:+.1f} standard errors"
    if found:
        more = f"; the {MOST} most different of {len(several)} are listed" if len(several) > MOST else ""
        beyond = comparison["populations_beyond_3_sigmas"]
        yield "populations", f"{beyond} of {len(found)} differ by more than 3 standard errors{more}"


def as_rotamer(one: Rotamers, state: int) -> dict[str, Any]:
    """A state for summary.json; angles in degrees."""
    low, high = (round(math.degrees(end), 1) for end in one.arcs.ends(state))
    return {"torsion": one.torsion.name, "state": one.arcs.names[state], "from_deg": low, "to_deg": high}


def _told(state: str, population: Population) -> str:
    if population.frames == 0:
        return f"{state} no sample"
    remark = _remark(population.verdict) if _is_rare(population) else ""
    return f"{state} {Estimate(population.value, population.error)}{remark}"


def _is_rare(population: Population) -> bool:
    """Whether a state is so rare that its own verdict says nothing about the others."""
    return population.value < _RARE


def _remark(verdict: Verdict) -> str:
    return "" if verdict.trust is Trust.TRUST else f" ({str(verdict).partition(':')[0].lower()})"


def _is_mixed(one: Rotamers) -> bool:
    """Whether more than one state has a population that is not negligible."""
    return sum(population.value > _NEGLIGIBLE for population in one.states.populations.values()) > 1


def _only(one: Rotamers) -> str:
    populations = one.states.populations
    return max(populations, key=lambda name: populations[name].value)
