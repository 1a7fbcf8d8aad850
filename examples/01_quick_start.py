# %% [markdown]
"""
# Quick start
Alanine dipeptide in implicit water at 300 K: samples with exact weights, an average with its error, a free-energy
surface; then a generator of your own from the force field alone.

**What you will learn:** how to draw weighted samples from a trained generator, average over them with mdtraj, see
whether the numbers can be trusted, and start a training.

    python examples/01_quick_start.py                                     # about a minute on one core
    python examples/01_quick_start.py --steps 5000 --layers 10            # a useful generator: about ten minutes on two
    python examples/01_quick_start.py --steps 2 --samples 64 --layers 1   # only to see that it runs

The script writes quick_start_ramachandran.png and quick_start_training.png.
"""

# %%
import argparse
import sys

import mdtraj
import numpy as np
from matplotlib import pyplot as plt

import boltzflow as bf
from boltzflow.analysis import backbone_torsions, diagnose, free_energy_surface, population
from boltzflow.analysis.report.plots.style import BLUE, GREY

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=100, help="of the training")
parser.add_argument("--samples", type=int, default=20_000)
parser.add_argument("--layers", type=int, default=4, help="of the generator that is trained")
args = parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has no arguments

# %% [markdown]
# ## Samples from the trained generator that comes with boltzflow
# Each sample is drawn for itself: no chain, no equilibration. Its weight says how often the Boltzmann distribution
# has it beside how often the generator draws it.

# %%
trained = bf.BoltzmannGenerator.load(bf.available_systems()["alanine_dipeptide"] / "generator.safetensors")
ensemble = trained.sample(args.samples, seed=1)
print(f"effective sample size: {ensemble.ess:.1%} of {len(ensemble)}, {ensemble.failed} failed")
print(f"log Z = {ensemble.log_z.value:.3f} ± {ensemble.log_z.error:.3f}")
print(diagnose(ensemble).verdict)

# %% [markdown]
# ## Averages
# `ensemble.mean` takes any function of an mdtraj trajectory, and gives the Boltzmann average with its standard error.
# A population also counts the effective samples that it rests on. The rare basin at φ > 0 is the hard part of this
# molecule; parallel tempering with 1.0e8 energies gives its share as 0.00250 ± 0.00011.

# %%
used = ensemble[ensemble.weights > 0]
phi, psi = (torsion.values for torsion in backbone_torsions(used.to_mdtraj())[:2])
distance = ensemble.mean(lambda t: mdtraj.compute_distances(t, [[1, 18]])[:, 0])
basin = population(used, phi, 0.0, 2.2)
print(f"end-to-end distance: {distance.value:.4f} ± {distance.error:.4f} nm")
print(f"share of 0 < φ < 2.2 rad: {basin.value:.5f} ± {basin.error:.5f} ({basin.verdict})")

# %% [markdown]
# ## The free-energy surface

# %%
surface = free_energy_surface(used, phi, psi, bins=48, replicates=2)
figure, panel = plt.subplots(figsize=(5.4, 4.4), layout="constrained")
edges = np.degrees(surface.x.edges), np.degrees(surface.y.edges)
mesh = panel.pcolormesh(*edges, np.ma.masked_invalid(surface.kj_per_mol[0].T), cmap="viridis", vmin=0, vmax=25)
panel.set(xlabel="φ (°)", ylabel="ψ (°)", aspect="equal", xticks=range(-180, 181, 90), yticks=range(-180, 181, 90))
figure.colorbar(mesh, label="free energy (kJ/mol)", extend="max")
figure.savefig("quick_start_ramachandran.png", dpi=150)

# %% [markdown]
# ## Train one
# Three lines make a generator. This training is far too short and its flow too small, so that the notebook stays
# quick: watch the effective sample size rise from what the force field's terms give alone, and read the verdict.

# %%
system = bf.load_system("alanine_dipeptide")
generator = bf.BoltzmannGenerator.for_system(system, layers=args.layers, hidden=(192, 192))
options = {"batch_size": 512, "warmup": args.steps // 5, "log_every": 1, "progress": False}
worthwhile = args.steps > 500  # compilation takes a minute, and makes steps several times faster
history = bf.train(generator, "reverse_kl", steps=args.steps, compile=worthwhile, **options)
own = generator.sample(args.samples, seed=1)
print(f"after {args.steps} steps: effective sample size {own.ess:.1%} of {len(own)}")
print(diagnose(own).verdict)

steps = [record.step for record in history.records]
figure, (above, below) = plt.subplots(2, 1, figsize=(6.0, 4.6), sharex=True, layout="constrained")
above.plot(steps, [100 * record.ess for record in history.records], color=BLUE)
above.set(ylabel="ESS of the batch (%)")
below.plot(steps, [record.temperature_K for record in history.records], color=GREY)
below.set(xlabel="step", ylabel="temperature (K)")
figure.savefig("quick_start_training.png", dpi=150)

# %% [markdown]
# ## What to check
# - **The verdict of the weights**: of the short training it says that the effective sample size falls as n grows, so
#   the largest weights are yet to come. That of a single batch is too high for the same reason.
# - **Effective samples in the region you ask about**, not in all: the rare basin rests on a dozen of them here, too
#   few for its error bar. More samples help as 1/√n.
# - **Basins that were lost** do not show in weights. `boltzflow train alanine_dipeptide` ends with a search for them,
#   and 13_alanine_dipeptide_in_depth shows it.
# - **Next:** 11_own_molecule takes a molecule of your own, 15_training_methods says how to train.
