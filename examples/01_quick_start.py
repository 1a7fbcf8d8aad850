# %% [markdown]
"""
# Quick start
Alanine dipeptide in implicit water at 300 K: samples with exact weights, an average with its error, and a free-energy
surface. Then you train your own generator from the force field alone.

**What you will learn:** how to generate weighted samples with a trained generator, average over them with mdtraj, check
whether the numbers can be trusted, and start a training.

    python examples/01_quick_start.py                                     # about a minute on one core
    python examples/01_quick_start.py --steps 5000 --layers 10            # a useful generator: about ten minutes on two
    python examples/01_quick_start.py --steps 2 --samples 64 --layers 1   # a quick test

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
# Samples are independent: there is no chain and no equilibration. The weight of a sample is the ratio of its Boltzmann
# probability to its probability under the generator.

# %%
trained = bf.BoltzmannGenerator.load(bf.available_systems()["alanine_dipeptide"] / "generator.safetensors")
ensemble = trained.sample(args.samples, seed=1)
print(f"effective sample size: {ensemble.ess:.1%} of {len(ensemble)}, {ensemble.failed} failed")
print(f"log Z = {ensemble.log_z.value:.3f} ± {ensemble.log_z.error:.3f}")
print(diagnose(ensemble).verdict)

# %% [markdown]
# ## Averages
# `ensemble.mean` accepts any function of an mdtraj trajectory and returns the Boltzmann average with its standard
# error. A population also counts the effective samples that it rests on. The rare basin at φ > 0 is the difficult part
# of this molecule. Parallel tempering with 1.0e8 energies gives it a population of 0.00250 ± 0.00011.

# %%
used = ensemble[ensemble.weights > 0]
phi, psi = (torsion.values for torsion in backbone_torsions(used.to_mdtraj())[:2])
distance = ensemble.mean(lambda t: mdtraj.compute_distances(t, [[1, 18]])[:, 0])
basin = population(used, phi, 0.0, 2.2)
print(f"end-to-end distance: {distance.value:.4f} ± {distance.error:.4f} nm")
print(f"population of 0 < φ < 2.2 rad: {basin.value:.5f} ± {basin.error:.5f} ({basin.verdict})")

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
# ## Train a generator
# Three lines make a generator. To keep the notebook fast, this training is far too short and its flow too small. Watch
# the effective sample size rise from that of the force-field-informed base, and read the verdict. A real training is
# `bf.BoltzmannGenerator.for_system(system, preset="standard")` and `bf.train(generator, preset="standard")`.

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
# - **The verdict on the weights.** For the short training it says that the effective sample size falls with n, so the
#   largest weights have not been sampled yet. The value of a single batch is too high for the same reason.
# - **The effective samples in the region of interest**, not in total. The rare basin rests on two dozen of them here,
#   and its verdict is “With care”. The error falls as 1/√n.
# - **Lost basins** do not show in the weights. `boltzflow train alanine_dipeptide` ends with a search for them;
#   13_alanine_dipeptide_in_depth shows it.
# - **Next:** 11_own_molecule uses your own molecule, 15_training_methods compares training methods.
