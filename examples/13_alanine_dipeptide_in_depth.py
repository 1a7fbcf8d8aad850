# %% [markdown]
"""
# Alanine dipeptide in depth
This notebook compares the generator that comes with boltzflow with parallel tempering, for the standard benchmark
molecule of Boltzmann generators: weights, the φ–ψ plane, basins, energies, and a search for lost basins.

**What you will learn:** what a generator consists of, how to interpret its weights, how to compare a surface,
populations and energies with a reference and its errors, and how to search for a lost basin.

    python examples/13_alanine_dipeptide_in_depth.py                                        # about a minute on one core
    python examples/13_alanine_dipeptide_in_depth.py --samples 300 --picoseconds 0.4        # a quick test

The script writes dipeptide_weights.png, dipeptide_ramachandran.png and dipeptide_energies.png.
"""

# %%
import argparse
import json
import math
import sys

import numpy as np
from matplotlib import pyplot as plt

import boltzflow as bf
from boltzflow.analysis import (
    arc,
    backbone_torsions,
    check_collapse,
    diagnose,
    state_populations,
    total_variation,
)
from boltzflow.analysis.report.plots.style import BLUE, GREY, ORANGE

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--samples", type=int, default=50_000)
parser.add_argument("--picoseconds", type=float, default=4.0, help="of the search for lost basins")
args = parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has no arguments

# %% [markdown]
# ## Molecule, coordinates, flow
# The molecule has 22 atoms, Amber ff96 in implicit water (OBC1), 300 K, no constraints. The flow uses 60 internal
# coordinates: bond lengths and angles in intervals, and one circle for each rotatable bond. The log-volume of the map
# to positions is part of every weight.

# %%
folder = bf.available_systems()["alanine_dipeptide"]
generator = bf.BoltzmannGenerator.load(folder / "generator.safetensors")
system = generator.system
print(system)
domain = generator.flow.domain
print(f"{len(domain)} coordinates, from {domain.names[0]} to {domain.names[-1]}")
print(f"{sum(p.numel() for p in generator.flow.parameters()):,} parameters")

# %% [markdown]
# ## Samples and their weights
# A weight is p/q, the Boltzmann density over the density of the generator. A narrow distribution is good. A tail to the
# right is bad, because averages then rest on few samples. A tail to the left costs little. If the effective sample size
# falls as n grows, the largest weights have not been sampled yet.

# %%
ensemble = generator.sample(args.samples, seed=1)
found = diagnose(ensemble)
print(f"effective sample size {found.ess:.1%} of {found.frames:,}, Pareto k {found.pareto_k:.2f}")
print(f"{found.failed} failed")
print(f"log Z = {found.log_z.value:.4f} ± {found.log_z.error:.4f}")
print(found.verdict)

figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.4), layout="constrained")
relative = (ensemble.log_weights - found.log_z.value) / math.log(10)
left.hist(relative.clip(min=-4.0), bins=80, color=BLUE)
left.axvline(0.0, color=ORANGE, label="mean weight")
left.set(xlabel="log$_{10}$ weight / mean weight (smaller ones at −4)", ylabel="samples", yscale="log")
left.legend(frameon=False)
sizes, sample_sizes = zip(*found.ess_by_size, strict=True)
right.plot(sizes, 100 * np.array(sample_sizes), "o-", color=BLUE, markersize=4)
right.set(xlabel="samples n", ylabel="ESS of parts of n samples (%)", xscale="log", ylim=(0, 100))
figure.savefig("dipeptide_weights.png", dpi=150)

# %% [markdown]
# ## The φ–ψ plane: unweighted, reweighted, and by parallel tempering
# The reference has 64 independent ladders of 6 temperatures and 1.0e8 energies; the system's `README.md` describes it.
# Even two finite samples of one distribution differ. The total variation expected from the noise of both is the floor.

# %%
used = ensemble[ensemble.weights > 0]
phi, psi = (torsion.values for torsion in backbone_torsions(used.to_mdtraj())[:2])
reference = np.load(folder / "reference" / "torsions.npz")
expected, noise = reference["histogram_2d"][0], reference["histogram_2d_error"][0]
edges = np.linspace(-np.pi, np.pi, len(expected) + 1)
drawn, reweighted = (
    np.histogram2d(phi, psi, bins=(edges, edges), weights=weights)[0] for weights in (None, used.weights)
)
floor = math.sqrt(0.5 / math.pi) * np.sqrt(noise**2 + expected / (used.ess * len(used))).sum()
print(f"total variation from the reference: unweighted {total_variation(expected, drawn):.4f}, ", end="")
print(f"reweighted {total_variation(expected, reweighted):.4f}; expected from the noise of both {floor:.4f}")

figure, panels = plt.subplots(1, 3, figsize=(12.0, 3.9), sharey=True, layout="constrained")
ticks = range(-180, 181, 90)
titles = ("unweighted", "reweighted", "parallel tempering")
for panel, title, shares in zip(panels, titles, (drawn, reweighted, expected), strict=True):
    energy = -np.ma.log(shares / shares.max())  # empty bins are masked
    mesh = panel.pcolormesh(np.degrees(edges), np.degrees(edges), energy.T, cmap="viridis", vmin=0, vmax=10)
    panel.set(title=title, xlabel="φ (°)", aspect="equal", xticks=ticks, yticks=ticks)
panels[0].set_ylabel("ψ (°)")
figure.colorbar(mesh, ax=list(panels), label="free energy (kT)", extend="max")
figure.savefig("dipeptide_ramachandran.png", dpi=150)

# %% [markdown]
# White bins contain no sample. The reference visits nearly all bins thanks to its umbrella and hot replicas. For this
# generator the weights change the φ–ψ plane by no more than the noise. They do change the mean energy, as shown below.
#
# ## Basins
# The errors of the free energies between basins include the correlation of their populations. The reference gives
# 0.00250 ± 0.00011 for the population of 0 < φ < 2.2 rad.

# %%
rare = arc(phi, 0.0, 2.2)
helical = arc(psi, -2.1, 0.9)
regions = {"αR": helical & ~rare, "β, PII": ~helical & ~rare, "φ > 0": rare}
states = state_populations(used, regions)
for k, (name, share) in enumerate(states.populations.items()):
    print(f"{name:6} population {share.value:.5f} ± {share.error:.5f} ({share.verdict})")
    print(f"       F − F(β, PII) = {states.differences[1, k]:.2f} ± {states.errors[1, k]:.2f} kJ/mol")

document = json.loads((folder / "reference" / "reference.json").read_text(encoding="utf-8"))
known = document["populations"]["0 < phi ALA2 < 2.2 rad"]
rare_share = states.populations["φ > 0"]
sigmas = (rare_share.value - known["population"][0]) / math.hypot(rare_share.error, known["standard_error"][0])
print(f"φ > 0 and the reference are {sigmas:+.1f} standard errors apart")

# %% [markdown]
# ## Energies
# The mean energy depends on every coordinate, so it is a stricter test than two torsions. Without weights it is wrong
# by many standard errors.

# %%
plain, mean = (part.mean(used.energies) for part in (used.with_log_weights(np.zeros(len(used))), used))
value, error = (document["potential_energy_kJ_mol"][key][0] for key in ("mean", "standard_error"))
print(f"mean energy, unweighted: {plain.value:.2f} ± {plain.error:.2f} kJ/mol")
print(f"reweighted: {mean.value:.2f} ± {mean.error:.2f} kJ/mol")
sigmas = (mean.value - value) / math.hypot(mean.error, error)
print(f"by parallel tempering: {value:.2f} ± {error:.2f} kJ/mol, deviation {sigmas:+.1f} standard errors")

figure, panel = plt.subplots(figsize=(6.0, 3.6), layout="constrained")
bins = np.linspace(-140.0, -40.0, 81)
panel.hist(used.energies, bins, density=True, color=GREY, alpha=0.5, label="unweighted")
panel.hist(used.energies, bins, weights=used.weights, density=True, histtype="step", color=BLUE, label="reweighted")
panel.axvline(value, color=ORANGE, linestyle="--", label="mean by parallel tempering")
panel.set(xlabel="potential energy (kJ/mol)", ylabel="density (mol/kJ)")
panel.legend(frameon=False)
figure.savefig("dipeptide_energies.png", dpi=150)

# %% [markdown]
# ## Is a basin lost?
# Weights cannot reveal regions that are never sampled. `check_collapse` starts a short parallel tempering from the
# generator's own samples and checks whether its frames lie in regions that the generator undersamples. `boltzflow
# train` ends with such a check of 20 ps; this one is shorter.

# %%
check = check_collapse(generator, ensemble, picoseconds=args.picoseconds, ladders=32, compile=False)
print(check.verdict)
print(f"effective sample size from its frames: {check.forward_ess:.0%}, from the generator's own: {ensemble.ess:.0%}")

# %% [markdown]
# ## What to check
# - **Weights:** the verdict is “Trust”, Pareto k is below 0.5, and the effective sample size does not change with n.
# - **Distances from a reference, compared with their floor:** a total variation of a few hundredths means nothing by
#   itself.
# - **z-scores instead of agreement by eye:** populations and energies agree within two or three standard errors,
#   including both errors.
# - **The rarest region that you report** has 20 effective samples or more, and another method confirms it.
# - **The search for lost basins** finds nothing missing. It also states how small a basin it could have missed.
