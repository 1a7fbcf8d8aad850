# %% [markdown]
"""
# Free energies and their differences
Absolute free energies, and differences between states, temperatures, force fields and alchemical states.

**What you will learn:** how to compute each of them with its error from weighted samples, and how the verdict tells you
that weights or overlap are insufficient.

The first example is a set of springs with an exact answer. The second is alanine dipeptide, whose trained generator
comes with boltzflow. The last is a generator of butane, trained here and compared with parallel tempering.
docs/free-energies.md explains all of them.

    python examples/12_free_energies.py                                # some minutes, most of them to train butane
    python examples/12_free_energies.py --samples 300 --steps 1        # a quick test

The script writes free_energies.png.
"""

# %%
import argparse
import math
import sys

import mdtraj
import numpy as np
import openmm
from matplotlib import pyplot as plt

import boltzflow as bf
from boltzflow.analysis import (
    BoltzmannState,
    GeneratorState,
    Trust,
    absolute_free_energy,
    diagnose,
    free_energy_differences,
    mbar,
    population,
    temperature_series,
)
from boltzflow.analysis.report.plots.style import BLUE, GREY

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--samples", type=int, default=20_000)
parser.add_argument("--steps", type=int, default=600, help="of butane's training")
args = parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has no arguments

# %% [markdown]
# ## Thirty springs that become 20 % stiffer: exactly ΔF = 15 log 1.2 kT

# %%
rng = np.random.default_rng(0)
soft, stiff = rng.normal(size=(1000, 30)), rng.normal(size=(1000, 30)) / math.sqrt(1.2)
squares = np.square(np.concatenate([soft, stiff])).sum(1)
springs = mbar(np.stack([squares / 2, 0.6 * squares]), [1000, 1000], names=["soft", "stiff"], temperatures=[300.0] * 2)
value, error = springs.between("soft", "stiff")
print(f"thirty springs: ΔF = {value:.3f} ± {error:.3f} kT, exactly {15 * math.log(1.2):.3f}")

# %% [markdown]
# ## Alanine dipeptide: absolute free energy, and the rare basin against the rest

# %%
generator = bf.BoltzmannGenerator.load(bf.available_systems()["alanine_dipeptide"] / "generator.safetensors")
system = generator.system
ensemble = generator.sample(args.samples, seed=1)
free_energy = absolute_free_energy(ensemble)
print(f"alanine dipeptide: F = {free_energy.value:.3f} ± {free_energy.error:.3f} kJ/mol ({free_energy.verdict})")
phi = mdtraj.compute_phi(ensemble.to_mdtraj())[1][:, 0]
basin = population(ensemble, phi, 0.0, 2.2)
print(
    f"0 < φ < 2.2 rad: population {basin.value:.5f} ± {basin.error:.5f}, {basin.effective_frames:.0f} effective samples"
)
if basin.free_energy is not None:
    print(f"  its ΔF against the rest: {basin.free_energy:.2f} ± {basin.free_energy_error:.2f} kJ/mol")

# %% [markdown]
# ## The same samples at other temperatures: weights stay exact but become uneven

# %%
series = temperature_series(ensemble, [270.0, 300.0, 330.0, 400.0, 600.0])
print("    T / K   F / kJ/mol            S / J/(mol K)       C / J/(mol K)")
for k, kelvin in enumerate(series.temperatures):
    columns = (series.free_energy, series.entropy, series.heat_capacity)
    numbers = "".join(f"{column.value[k]:11.2f} ± {column.error[k]:<6.2f}" for column in columns)
    print(f"{kelvin:9.0f}{numbers}  {series.verdicts[k]}")

used = np.array([verdict.trust < Trust.DO_NOT_USE for verdict in series.verdicts])
kelvins = np.array(series.temperatures)
figure, panels = plt.subplots(1, 3, figsize=(11.0, 3.2), layout="constrained")
labels = ("free energy (kJ/mol)", "entropy (J/(mol K))", "heat capacity (J/(mol K))")
for panel, label, column in zip(
    panels, labels, (series.free_energy, series.entropy, series.heat_capacity), strict=True
):
    value, error = np.array(column.value), 2 * np.array(column.error)
    panel.errorbar(kelvins[used], value[used], error[used], fmt="o-", color=BLUE, capsize=3, label="± 2 SE")
    panel.plot(kelvins[~used], value[~used], "x", color=GREY, label="do not use")
    panel.set(xlabel="temperature (K)", ylabel=label)
panels[0].legend(frameon=False)
figure.savefig("free_energies.png", dpi=150)

# %% [markdown]
# ## Another model of the solvent, on the same topology

# %%
folder = bf.available_systems()["alanine_dipeptide"]
other = bf.MolecularSystem.from_pdb(folder / "topology.pdb", ["amber96.xml", "implicit/obc2.xml"])
changed = ensemble.with_potential(other.potential("torch", compile=False))
difference = changed.log_z.value - ensemble.log_z.value
print(f"OBC1 → OBC2: ΔF = {-difference:.3f} kT ({diagnose(changed).verdict})")


# %% [markdown]
# ## An alchemical change: the charges of a residue are scaled down


# %%
def with_charges(molecule: bf.MolecularSystem, residue: str, scale: float) -> bf.MolecularSystem:
    """The molecule with the charges of a residue scaled, in pairs and in the solvent."""
    factors = [scale if name.startswith(residue) else 1.0 for name in molecule.atom_names]
    hamiltonian = molecule.openmm_system
    for force in hamiltonian.getForces():
        if isinstance(force, openmm.NonbondedForce):
            for i, factor in enumerate(factors):
                charge, *rest = force.getParticleParameters(i)
                force.setParticleParameters(i, charge * factor, *rest)
            for index in range(force.getNumExceptions()):
                i, j, product, *rest = force.getExceptionParameters(index)
                force.setExceptionParameters(index, i, j, product * factors[i] * factors[j], *rest)
        elif isinstance(force, openmm.CustomGBForce):
            for i, factor in enumerate(factors):
                charge, *rest = force.getParticleParameters(i)
                force.setParticleParameters(i, [charge * factor, *rest])
    return bf.MolecularSystem(molecule.topology, hamiltonian, molecule.positions, molecule.temperature)


states = [GeneratorState(generator), BoltzmannState(system.potential("torch", compile=False), 300.0, "scale 1")]
for scale in (0.95, 0.9, 0.8):
    potential = with_charges(system, "ACE1", scale).potential("torch", compile=False)
    states.append(BoltzmannState(potential, 300.0, f"scale {scale:g}"))
part = ensemble[: min(len(ensemble), 5000)]
for state in states[2:]:
    alchemy = free_energy_differences([*states[:2], state], [part, None, None])
    values, errors = alchemy.kj_per_mol
    print(f"charges of ACE, {state.name}: ΔF = {values[1, 2]:.3f} ± {errors[1, 2]:.3f} kJ/mol ({alchemy.verdict})")

# %% [markdown]
# ## n-Butane, trans and gauche, from a generator trained here and from parallel tempering (systems/butane/README.md)

# %%
butane = bf.load_system("butane")
small = bf.BoltzmannGenerator.for_system(butane, layers=6, hidden=(64, 64), bins=8, start="bonded")
bf.train(small, method="reverse_kl", steps=args.steps, batch_size=256)
drawn = small.sample(args.samples, seed=1)
torsion = mdtraj.compute_dihedrals(drawn.to_mdtraj(), [[0, 4, 7, 10]])[:, 0]
gauche = drawn.mean(np.abs(torsion) < 2 * np.pi / 3)
sigmas = (gauche.value - 0.2547) / math.hypot(gauche.error, 0.0114)
print(f"butane: effective sample size {drawn.ess:.1%} ({diagnose(drawn).verdict})")
print(
    f"population of gauche: {gauche.value:.4f} ± {gauche.error:.4f}, "
    f"by parallel tempering 0.2547 ± 0.0114 ({sigmas:+.1f} σ)"
)

# %% [markdown]
# ## What to check
# - **The verdict next to each number**, before the number.
# - **The deviation from an exact answer or another method**, if there is one, in standard errors.
# - **Overlap:** divide a change that is too large for one step into several; each must overlap with the next.
