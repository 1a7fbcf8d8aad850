# %% [markdown]
"""
# Stochastic layers
A stochastic normalizing flow on a double well: affine couplings alone, and with Markov kernels between them.

**What you will learn:** why continuous invertible layers leave a bridge between two wells, how Markov kernels between
the layers remove it, and that the weights of the paths remain exact (Wu, Köhler & Noé 2020, arXiv 2002.06707).

All flows are trained by reverse KL and on the paths of samples of the wells. We compare the effective sample size, the
free-energy profile along x₁ and the free-energy difference of the wells.

    python examples/05_stochastic_flow_double_well.py              # one to two minutes on one core
    python examples/05_stochastic_flow_double_well.py --steps 3    # a quick test

The script writes stochastic_flow.png.
"""

# %%
import argparse
import sys

import torch
from matplotlib import pyplot as plt

from boltzflow.core import Chain, Domain, StochasticFlow, importance, kernels, layers, nets, objectives
from boltzflow.core.distributions import DiagonalNormal, targets

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=200)
args = parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has no arguments

# %% [markdown]
# ## The target and the flows
# U(x) = x₁ − 3x₁² + x₁⁴/4 + x₂²/2 in kT: two wells in x₁. Three blocks of two affine couplings each are too stiff to
# split a normal density in two. A kernel after each block leaves a density between base and target invariant: a
# Metropolis random walk, or Langevin steps that follow the gradient.

# %%
PLANE = Domain.real(2)
TARGET = targets.DoubleWell()
BLOCKS = 3


def couplings():
    """Two affine couplings, one for each coordinate."""
    return [
        layers.AffineCoupling(PLANE, [i == 0, i == 1], conditioner=lambda inputs: nets.MLP(inputs, (32, 32)))
        for i in range(2)
    ]


KERNELS = {
    "couplings alone": None,
    "with Metropolis": lambda fraction: layers.KernelLayer(kernels.RandomWalk(PLANE, 0.5, steps=20), fraction),
    "with Langevin": lambda fraction: layers.KernelLayer(
        kernels.Langevin(PLANE, 0.2, steps=10, adjusted=False, max_score=100.0, trainable=True), fraction
    ),
}

# %% [markdown]
# ## Training
# The loss is half reverse KL, half likelihood of samples of both wells. Both wells have the same number of samples,
# unlike in equilibrium: it suffices that samples exist, because the weights correct the populations. A path has no
# density log q(x). The ratio of its forward and backward probabilities takes that place in both losses.


# %%
def samples_of_the_wells():
    """Samples (2000, 2) of short chains from the two minima: as many in either well, unlike in equilibrium."""
    start = torch.tensor([[x, 0.0] for x in TARGET.minima]).repeat(1000, 1)
    return kernels.RandomWalk(PLANE, 0.3, steps=100)(start, TARGET.log_prob).x.detach()


def likelihood_loss(flow, x):
    """−log-density of the paths from data back to the base: the mean over paths bounds −log q(x) from above."""
    z, log_ratio = flow.transform.inverse(x)
    return -(flow.base.log_prob(z) + log_ratio).mean()


def train(kernel):
    """A stochastic flow: blocks of couplings, each followed by a kernel nearer to the target."""
    torch.manual_seed(0)
    chain = []
    for block in range(BLOCKS):
        chain += couplings()
        if kernel is not None:
            chain.append(kernel((block + 1) / BLOCKS))
    flow = StochasticFlow(DiagonalNormal(PLANE), Chain(chain), TARGET)
    data = samples_of_the_wells()
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    for _ in range(args.steps):
        optimizer.zero_grad()
        reverse = objectives.reverse_kl(flow, TARGET, n=256).value
        (0.5 * reverse + 0.5 * likelihood_loss(flow, data[torch.randint(len(data), (256,))])).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    return flow


# %% [markdown]
# ## Comparison with the exact answer

# %%
# The exact profile, and the exact difference, by quadrature along x₁; x₂ is normal and independent.
axis = torch.linspace(-4.0, 4.0, 8001, dtype=torch.float64)
log_p = TARGET.log_prob(torch.stack([axis, torch.zeros_like(axis)], 1))
log_p = log_p - torch.trapezoid(log_p.exp(), axis).log()
right = torch.trapezoid(torch.where(axis > 0.0, log_p.exp(), 0.0), axis).item()
exact = -torch.tensor(right / (1.0 - right)).log().item()

edges = torch.linspace(-4.0, 4.0, 61, dtype=torch.float64)
middles = 0.5 * (edges[1:] + edges[:-1])
figure, panels = plt.subplots(2, len(KERNELS), figsize=(4.0 * len(KERNELS), 6.4), sharex=True, layout="constrained")
print(f"free-energy difference of the wells, exact: {exact:.3f} kT")
for (name, kernel), (above, below) in zip(KERNELS.items(), panels.T, strict=True):
    flow = train(kernel)
    with torch.no_grad():
        x, log_weights = flow.log_weights(20_000)
    # Populations of the wells and of the bins; the error of the logarithm is that of the population, divided by it.
    in_right, in_bin = (x[:, :1] > 0.0).double(), torch.bucketize(x[:, 0].double(), edges)
    share, share_error = importance.weighted_mean(in_right, log_weights)
    difference, error = -(share / (1.0 - share)).log().item(), (share_error / (share * (1.0 - share))).item()
    found = f"difference {difference:.3f} ± {error:.3f} kT" if 0.0 < share < 1.0 else "one well was never visited"
    print(f"{name:16} effective sample size {importance.effective_sample_size(log_weights):6.1%}   {found}", flush=True)
    members = torch.nn.functional.one_hot(in_bin, len(edges) + 1)[:, 1:-1].double()
    share, share_error = importance.weighted_mean(members, log_weights)
    share[members.sum(0) < 10] = torch.nan  # too few samples for an error bar
    profile, band = -(share / (edges[1] - edges[0])).log(), share_error / share
    above.plot(*x[:5000].T, ".", markersize=1.5, alpha=0.5)
    above.set(title=name, ylim=(-4.5, 4.5), ylabel="$x_2$, unweighted samples")
    below.plot(axis, -log_p, "k", linewidth=1, label="exact")
    below.plot(middles, profile, label="reweighted")
    below.fill_between(middles, profile - 2 * band, profile + 2 * band, alpha=0.3, label="± 2 standard errors")
    below.set(xlabel="$x_1$", ylabel="free energy (kT)", xlim=(-4.0, 4.0), ylim=(-1.0, 17.0))
panels[1, 0].legend(frameon=False)
figure.savefig("stochastic_flow.png", dpi=120)

# %% [markdown]
# The upper row shows unweighted samples, the lower row reweighted profiles. Couplings alone leave a bridge between the
# wells, whose samples have almost no weight. Kernels move these samples into the wells. That alone does not raise the
# effective sample size, because kernels of so few steps hardly cross the barrier. The right well keeps the population
# that couplings and training data gave it, many times that of equilibrium, and the weights have to correct it. They do:
# each flow finds the difference within its error. The profile on the barrier is known only where there are samples: the
# flow with the bridge has some there, that with Metropolis steps does not.
#
# Kernels cost energies: 20 Metropolis steps after each block take some 60 energies per sample, 10 Langevin steps some
# 30 with gradients.
#
# The generator of a molecule gets such layers by `bf.BoltzmannGenerator.for_system(system, stochastic="metropolis")`,
# which also adapts their steps.
#
# ## What to check
# - **The free-energy difference agrees with the exact one** within about two standard errors, for every flow whose
#   effective sample size is not tiny. An error bar only describes what was sampled.
# - **Both wells contain samples** before reweighting: a well without samples has no error bar at all.
# - **The cost of a kernel:** compare effective samples at equal numbers of energies, not of samples.
# - Averages of stochastic flows use weights of paths; `flow.log_prob` raises an error for them.
