"""What a report says about rings, hydrogen bonds and the size of a molecule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from boltzflow.analysis.estimates.intramolecular import hydrogen_bond_populations
from boltzflow.analysis.estimates.populations import Population
from boltzflow.analysis.estimates.puckers import pucker_populations
from boltzflow.analysis.estimates.sizes import end_to_end_distance, radius_of_gyration
from boltzflow.ensemble import Ensemble
from boltzflow.estimate import Estimate

_MOST = 12  # hydrogen bonds that are printed


@dataclass(frozen=True)
class Shape:
    """Rings, hydrogen bonds and size.

    Attributes:
        puckers: the populations of each ring's puckers, by the names of ring and pucker.
        hydrogen_bonds: populations of hydrogen bonds within the molecule, from 1 %, the most populated first.
        sizes: mean radius of gyration, and end-to-end distance of a single chain of at least two heavy atoms, nm.
    """

    puckers: dict[str, dict[str, Population]]
    hydrogen_bonds: dict[str, Population]
    sizes: dict[str, Estimate]

    @classmethod
    def of(cls, ensemble: Ensemble) -> Shape:
        """Of samples with a topology, one of them at least with positive weight."""
        sizes = {"radius of gyration": ensemble.mean(radius_of_gyration)}
        topology = ensemble[:1].to_mdtraj().topology
        if topology.n_chains == 1 and len(topology.select("not element H")) > 1:
            sizes["end-to-end distance"] = ensemble.mean(end_to_end_distance)
        return cls(
            {ring: dict(states.populations) for ring, states in pucker_populations(ensemble).items()},
            hydrogen_bond_populations(ensemble),
            sizes,
        )

    @property
    def document(self) -> dict[str, Any]:
        """For summary.json."""
        return {
            "puckers": {ring: _documents(states) for ring, states in self.puckers.items()},
            "hydrogen_bonds": _documents(self.hydrogen_bonds),
            "sizes_nm": {
                name: {"value": size.value, "error": size.error, "verdict": str(size.verdict)}
                for name, size in self.sizes.items()
            },
        }

    @property
    def rows(self) -> Iterator[tuple[str, str]]:
        """Lines for print."""
        for ring, states in self.puckers.items():
            yield (
                f"ring {ring}",
                ", ".join(f"{name} {Estimate(found.value, found.error)}" for name, found in states.items()),
            )
        for bond, found in list(self.hydrogen_bonds.items())[:_MOST]:
            yield f"hydrogen bond {bond}", str(Estimate(found.value, found.error))
        if len(self.hydrogen_bonds) > _MOST:
            yield "other hydrogen bonds", f"{len(self.hydrogen_bonds) - _MOST} more in summary.json"
        for name, size in self.sizes.items():
            yield name, f"{size} nm"


def _documents(populations: dict[str, Population]) -> dict[str, dict[str, Any]]:
    return {
        name: {"value": found.value, "error": found.error, "frames": found.frames, "verdict": str(found.verdict)}
        for name, found in populations.items()
    }
