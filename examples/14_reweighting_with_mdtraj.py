# %% [markdown]
"""
# Reweighted analyses with mdtraj
Boltzmann averages of anything that mdtraj computes for a frame: distances, torsions, couplings, hydrogen bonds,
densities and representative structures of alanine dipeptide.

**What you will learn:** how to average functions of a trajectory with weights, where unweighted means go wrong, how to
get densities and structures, what errors mean, and how to make frames of equal weight for other programs.

    python examples/14_reweighting_with_mdtraj.py                   # about half a minute on one core
    python examples/14_reweighting_with_mdtraj.py --samples 300     # a quick test

The script writes reweighted_densities.png, reweighted_structures.png and reweighted_convergence.png, and frames for
other programs into reweighted_frames/.
"""

# %%
import argparse
import sys

import mdtraj
import numpy as np
from matplotlib import pyplot as plt

import boltzflow as bf
from boltzflow.analysis import (
    Axis,
    backbone_torsions,
    circular_mean,
    diagnose,
    histogram,
    hydrogen_bonds,
    j_couplings,
    kernel_density,
    means,
    population,
    representatives,
    smooth,
)
from boltzflow.analysis.report.plots.style import BLUE, GREY, ORANGE

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--samples", type=int, default=20_000)
args = parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has no arguments

# %% [markdown]
# ## Samples
# `bf.Ensemble.load("DIRECTORY")` reads the samples of a run, `ensemble.save` writes samples. Frames whose energy could
# not be evaluated have weight zero; `used` excludes them.

# %%
generator = bf.BoltzmannGenerator.load(bf.available_systems()["alanine_dipeptide"] / "generator.safetensors")
ensemble = generator.sample(args.samples, seed=1)
used = ensemble[ensemble.weights > 0]
trajectory = used.to_mdtraj()
print(diagnose(ensemble).verdict)

# %% [markdown]
# ## Averages, with and without weights
# `mean` accepts a function of a trajectory, or numbers. Booleans give populations. Without weights you get the average
# over the generator's own distribution: a wrong number with a small error bar.

# %%
ends = mdtraj.compute_distances(trajectory, [[1, 18]])[:, 0]
contact = mdtraj.compute_distances(trajectory, [[5, 17]])[:, 0] < 0.25  # O of ACE and H of NME
plain = used.with_log_weights(np.zeros(len(used)))
observables = {
    "end-to-end distance, nm": ends,
    "radius of gyration, nm": mdtraj.compute_rg,
    "O(ACE)···H(NME) below 0.25 nm": contact,
    "surface of ALA, nm²": lambda t: mdtraj.shrake_rupley(t, mode="residue")[:, 1],
    "potential energy, kJ/mol": used.energies,
}
print(f"{'':32}{'reweighted':>22}{'unweighted':>22}")
for name, observable in observables.items():
    columns = (f"{found.value:.5f} ± {found.error:.5f}" for found in (used.mean(observable), plain.mean(observable)))
    print(f"{name:32}" + "".join(f"{column:>22}" for column in columns))

# %% [markdown]
# Angles have no arithmetic mean: −179° and 179° would give 0°. Medians and other quantiles use the weights as well. The
# bootstrap estimates the error in another way and should agree.

# %%
phi, psi = (torsion.values for torsion in backbone_torsions(trajectory)[:2])
for name, angle in (("φ", phi), ("ψ", psi)):
    mean = circular_mean(used, angle)
    print(f"mean direction of {name}: {np.degrees(mean.value):6.1f} ± {np.degrees(mean.error):.1f}°, ", end="")
    print(f"arithmetic mean {np.degrees(used.mean(angle).value):6.1f}°")
median = used.quantile(ends)
print(f"median end-to-end distance {median.value:.4f} ± {median.error:.4f} nm")
jackknife, replicates = used.mean(ends), used.mean(ends, error="bootstrap")
print(f"error of its mean: {jackknife.error:.5f} by the jackknife, {replicates.error:.5f} by bootstrap")

# %% [markdown]
# ## Couplings and hydrogen bonds by name

# %%
for name, found in {**means(used, j_couplings), **means(used, lambda t: j_couplings(t, "HN CB"))}.items():
    print(f"{name:22} {found.value:7.3f} ± {found.error:.3f} Hz")
bonds = means(used, hydrogen_bonds)
for name, found in sorted(bonds.items(), key=lambda item: -item[1].value)[:3]:
    print(f"{name:22} {found.value:7.4f} ± {found.error:.4f} of the time")

# %% [markdown]
# ## Densities
# Use histograms if there are bounds, and kernel estimates for a smooth curve: Gaussians on a line, von Mises densities
# on a circle, where −180° equals 180°. Bands show two standard errors.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.6), layout="constrained")
axis = Axis(0.4, 0.8, bins=40, unit="nm")
bars, without = histogram(used, ends, axis), histogram(plain, ends, axis)
left.stairs(without.values, axis.edges, color=GREY, fill=True, alpha=0.4, label="unweighted")
left.stairs(bars.values, axis.edges, color=BLUE, linewidth=1.5, label="reweighted")
left.errorbar(axis.centers, bars.values, 2 * bars.errors, fmt="none", color=BLUE, linewidth=1.0)
left.set(xlabel="end-to-end distance (nm)", ylabel="density (1/nm)", xlim=(0.4, 0.8))
left.legend(frameon=False)
circle = Axis.torsion(bins=120)
for angle, name, colour in ((phi, "φ", BLUE), (psi, "ψ", ORANGE)):
    curve = kernel_density(used, angle, circle)
    degrees, values, errors = np.degrees(circle.centers), np.radians(curve.values), np.radians(curve.errors)
    right.fill_between(degrees, values - 2 * errors, values + 2 * errors, color=colour, alpha=0.3, linewidth=0)
    right.plot(degrees, values, color=colour, label=name)
right.set(xlabel="torsion (°)", ylabel="density (1/°)", xlim=(-180, 180), ylim=(0, None), xticks=range(-180, 181, 90))
right.legend(frameon=False)
figure.savefig("reweighted_densities.png", dpi=150)

# %% [markdown]
# ## Representative structures
# Frames are clustered in cosines and sines of φ and ψ, and each frame counts by its weight. Each representative is a
# sample with the population of its cluster. You choose the number of clusters. Errors assume fixed clusters.

# %%
clusters = representatives(used, 4)
for (name, share), frame in zip(clusters.states.populations.items(), clusters.frames, strict=True):
    place = f"φ {np.degrees(phi[frame]):4.0f}°, ψ {np.degrees(psi[frame]):4.0f}°"
    print(f"{name}: {share.value:.4f} ± {share.error:.4f}, {place}")

figure, panel = plt.subplots(figsize=(5.6, 4.6), layout="constrained")
colours = (BLUE, ORANGE, "#009E73", "#CC79A7")  # Okabe & Ito's palette
shown = np.random.default_rng(0).choice(len(used), 4000, p=used.weights)
for k, colour in enumerate(colours):
    members = shown[clusters.labels[shown] == k]
    panel.plot(np.degrees(phi[members]), np.degrees(psi[members]), ".", color=colour, markersize=2, alpha=0.5)
    frame = clusters.frames[k]
    panel.plot(np.degrees(phi[frame]), np.degrees(psi[frame]), "o", color=colour, markeredgecolor="black", markersize=9)
    panel.annotate(f" {k + 1}", (np.degrees(phi[frame]), np.degrees(psi[frame])), fontsize=13, weight="bold")
panel.set(
    xlabel="φ (°)", ylabel="ψ (°)", xlim=(-180, 180), ylim=(-180, 180), aspect="equal", xticks=range(-180, 181, 90)
)
panel.set_yticks(range(-180, 181, 90))
figure.savefig("reweighted_structures.png", dpi=150)

# %% [markdown]
# ## How many samples are enough?
# As long as the weights are good, errors fall as 1/√n. Estimates from growing parts should fluctuate within their error
# bars. (The parts are nested: the last point contains the samples of all others.) The rare basin shows what happens
# with too few frames. If only a few frames contribute, the heavy ones are still missing. The population is then too
# small and its error bar too short. The verdict on a population therefore counts its effective frames.

# %%
share = (phi > 0.0) & (phi < 2.2)
sizes = [len(used) >> halvings for halvings in range(5, -1, -1)]
parts = [used[:size].mean(share[:size]) for size in sizes]
values, errors = (np.array(column) for column in zip(*parts, strict=True))
for size in sizes:
    print(f"{size:6,} samples: {population(used[:size], phi[:size], 0.0, 2.2).verdict}")
figure, panel = plt.subplots(figsize=(6.0, 3.6), layout="constrained")
panel.axhspan(0.00250 - 2 * 0.00011, 0.00250 + 2 * 0.00011, color=GREY, alpha=0.3, label="parallel tempering ± 2 SE")
panel.errorbar(sizes, values, 2 * errors, fmt="o-", color=BLUE, capsize=3, label="reweighted ± 2 SE")
panel.set(xscale="log", xlabel="samples n", ylabel="population of 0 < φ < 2.2 rad", ylim=(0, None))
panel.legend(frameon=False)
figure.savefig("reweighted_convergence.png", dpi=150)

# %% [markdown]
# ## Large weights, and programs without weights
# Pareto smoothing replaces the largest weights by expected values from a fit of their tail. This reduces the scatter at
# the cost of a small bias. It is meant for weights that are nearly good; for bad weights it hides the problem.
# `resample` returns frames of equal weight for other programs. Copies of a frame form a group, so errors remain
# correct.

# %%
before, after = (len(used) * part.largest_weight for part in (used, smooth(used)))
print(f"largest weight {before:.1f} times the mean, smoothed {after:.1f}")
equal = used.resample(min(1000, len(used)), seed=0)
again = equal.mean(lambda t: mdtraj.compute_distances(t, [[1, 18]])[:, 0])
print(f"end-to-end distance from {len(equal)} frames of equal weight: {again.value:.4f} ± {again.error:.4f} nm")
equal.save("reweighted_frames", overwrite=True)

# %% [markdown]
# ## What to check
# - **The verdict on the weights first**, then the effective samples in each region that a number rests on.
# - **Averages with and without weights:** if they differ strongly, the generator is far from equilibrium, and the
#   number depends on the weights alone.
# - **Angles are averaged on the circle**, and densities of torsions are periodic at ±180°.
# - **The two errors agree**, from the jackknife and from the bootstrap. Neither includes regions that were never
#   sampled.
# - **A quantity converges with n within its error bars**, and agrees with another method if there is one.
