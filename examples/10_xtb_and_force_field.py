"""Conformers of alanine dipeptide in a force field and in GFN2-xTB, each minimised in both.

Needs tblite: pip install "boltzflow[tblite]"

python examples/10_xtb_and_force_field.py                  # about a minute
python examples/10_xtb_and_force_field.py --steps 2        # a quick test
"""

import argparse
import functools

import ase
import mdtraj
import numpy as np
import torch
from tblite.ase import TBLite

import boltzflow as bf
from boltzflow.energies import ASEPotential, Potential
from boltzflow.simulation import minimize

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=1000, help="at most so many of each minimisation")
args = parser.parse_args()

system = bf.load_system("alanine_dipeptide_vacuum")
coordinates = system.coordinates()
molecule = ase.Atoms([atom.element.atomic_number for atom in system.topology.atoms()], 10.0 * system.positions)  # Å
potentials: dict[str, Potential] = {
    "force field": system.potential("openmm", platform="Reference"),
    "GFN2-xTB": ASEPotential(functools.partial(TBLite, method="GFN2-xTB", verbosity=0), molecule),
}


def conformer(phi: float, psi: float) -> torch.Tensor:
    """The reference structure (N, 3) in nm, with other torsions φ and ψ (degrees)."""
    internal = coordinates.inverse(torch.tensor(system.positions)[None])[0]
    names = coordinates.domain.names
    internal[:, names.index("torsion ACE1-C ALA2-N ALA2-CA ALA2-C")] = np.radians(phi)
    internal[:, names.index("torsion NME3-N ALA2-C ALA2-CA ALA2-N")] = np.radians(psi)
    return coordinates(internal)[0][0]


def torsions(structure: torch.Tensor) -> str:
    trajectory = mdtraj.Trajectory(structure.numpy(), system.mdtraj_topology)
    phi, psi = (np.degrees(f(trajectory)[1].item()) for f in (mdtraj.compute_phi, mdtraj.compute_psi))
    return f"{phi:6.0f} {psi:6.0f}"


conformers = {"C5": (-155.0, 160.0), "C7eq": (-80.0, 70.0), "C7ax": (70.0, -60.0)}
starts = torch.stack([conformer(phi, psi) for phi, psi in conformers.values()])
print("minimum in    conformer     φ      ψ  relative energy in kJ/mol:", *potentials, sep="  ")
for where, potential in potentials.items():
    found = minimize(potential, starts, max_steps=args.steps)
    relative = {name: other.energy(found.positions) for name, other in potentials.items()}
    for i, name in enumerate(conformers):
        shifted = [f"{(energy[i] - energy.min()).item():11.2f}" for energy in relative.values()]
        warning = "" if found.converged[i] else "  (not converged)"
        print(f"{where:13} {name:9} {torsions(found.positions[i])}", " " * 24, *shifted, warning)
print({name: potential.evaluations for name, potential in potentials.items()}, "evaluations")
