# %% [markdown]
"""
# Which training method when
Six trainings of one small flow on a double well in the plane, for which all answers are known.

**What you will learn:** which part of the target reverse KL, a hot start, the α-divergence and maximum likelihood learn
from, what each of them loses, and why the effective sample size alone does not show it.

    python examples/15_training_methods.py             # about a minute on one core
    python examples/15_training_methods.py --steps 2   # a quick test

The script writes training_methods.png and training_methods_ess.png.
"""

# %%
import argparse
import sys

import numpy as np
import torch
from matplotlib import pyplot as plt

import boltzflow as bf
from boltzflow.core import importance, recipes
from boltzflow.core.distributions import targets
from boltzflow.training import AlphaDivergence, DensityModel, Phases, ReverseKL

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=300, help="of each training")
args = parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has no arguments

# %% [markdown]
# ## The target
# U = x/2 − 3x² + 0.15x⁴ + y²/2 in kT: two wells, the right one rare, separated by a barrier that no normal density
# spans. The exact population of the right well comes from quadrature, exact samples from rejection sampling.

# %%
target = targets.DoubleWell(linear=0.5, quadratic=-3.0, quartic=0.15)
x = torch.linspace(-7.0, 7.0, 1401, dtype=torch.float64)
density = target.log_prob(torch.stack([x, torch.zeros_like(x)], 1)).exp()
exact = (density[x > 0].sum() / density.sum()).item()
print(f"minima at x = {target.minima[0]:.2f} and {target.minima[1]:.2f}, population of the right well {exact:.4f}")


def new_model():
    """A flow whose first samples lie between the wells, and its target."""
    return DensityModel(recipes.spline_flow(target.domain, layers=4, hidden=(32, 32), bound=8.0), target)


# %% [markdown]
# ## The methods
# | method | learns from | when to use it |
# | --- | --- | --- |
# | reverse KL at the target's temperature | its own samples | never alone if there are several basins |
# | reverse KL, hot start | its own samples, of a flattened target at first | first, and for most of the steps |
# | α-divergence, hot start | the same; heavy samples count more | if basins are undersampled; noisier |
# | reverse KL, then α = 1 | both | the default of `boltzflow train` |
# | maximum likelihood | samples of the equilibrium, no energies | if a simulation has visited everything |
# | maximum likelihood of one well | samples of a simulation that never crossed | never: shown as a warning |

# %%
cold = {"hot_temperature": 300.0}
METHODS = {
    "reverse KL, no hot start": ReverseKL(**cold),
    "reverse KL, hot start": ReverseKL(),
    "α = 0.5, hot start": AlphaDivergence(alpha=0.5),
    "reverse KL, then α = 1": Phases((ReverseKL(), AlphaDivergence(alpha=1.0, **cold)), (0.75, 0.25)),
}
random = torch.Generator().manual_seed(0)
equilibrium, _ = target.sample(20_000, generator=random)  # exact: the test set for trained flows
data, _ = target.sample(5000, generator=random)
DATA = {"likelihood, good data": data, "likelihood, one well": data[data[:, 0] < 0.0]}


def fit(model, samples):
    """Maximum likelihood. For a molecule this is `ForwardKL(directory)`, with the ensemble in that directory."""
    optimizer = torch.optim.Adam(model.flow.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    for _ in range(args.steps):
        batch = samples[torch.randint(len(samples), (256,), generator=random)]
        optimizer.zero_grad()
        (-model.flow.log_prob(batch).mean()).backward()
        optimizer.step()
        schedule.step()


models = {}
for name, method in METHODS.items():
    models[name] = new_model()
    options = {"steps": args.steps, "batch_size": 256, "learning_rate": 3e-3, "warmup": 50}
    bf.train(models[name], method, **options, compile=False, progress=False)
for name, samples in DATA.items():
    models[name] = new_model()
    fit(models[name], samples)

# %% [markdown]
# ## Results
# The **effective sample size** comes from the flow's own samples. The **forward** one comes from samples of the
# equilibrium and includes regions that the flow never samples. The population of the right well is reweighted, from
# 20 000 samples of each flow.

# %%
print(f"{'':26}{'energies':>9}{'ESS':>8}{'forward':>9}   population of the right well, exactly {exact:.4f}")
scores = {}
with torch.no_grad():
    for name, model in models.items():
        used = model.evaluations
        drawn, log_q = model.flow.sample(20_000, generator=random)
        log_weights = target.log_prob(drawn) - log_q
        share, error = importance.weighted_mean(drawn[:, 0] > 0.0, log_weights)
        backwards = target.log_prob(equilibrium) - model.flow.log_prob(equilibrium)
        forward = importance.forward_effective_sample_size(backwards, target.log_z)
        scores[name] = importance.effective_sample_size(log_weights), forward
        print(f"{name:26}{used:9,}{scores[name][0]:8.1%}{forward:9.2%}   {share.item():.5f} ± {error.item():.5f}")

figure, panels = plt.subplots(1, 2, figsize=(8.6, 3.2), sharey=True, layout="constrained")
places = np.arange(len(scores))
for panel, title, column in zip(
    panels, ("from the flow's own samples", "from samples of the equilibrium"), (0, 1), strict=True
):
    values = [100 * score[column] for score in scores.values()]
    bars = panel.barh(places, values, color=("#0072B2", "#D55E00")[column])
    panel.bar_label(bars, [f"{value:.0f}" if value >= 0.5 else "0" for value in values], padding=3)
    panel.set(xlabel="effective sample size (%)", title=title, xlim=(0, 115), yticks=places)
panels[0].set_yticklabels(list(scores))
panels[0].invert_yaxis()
figure.savefig("training_methods_ess.png", dpi=150)

# %% [markdown]
# Without a hot start, reverse KL settles in one well. So does maximum likelihood on data from one well. Both have the
# best effective sample sizes from their own samples, and a population of zero with a small error bar. Samples of the
# equilibrium show that they are useless. α = 1 gives large weights to few samples and is noisy; in such a short
# training it can end below plain reverse KL. On alanine dipeptide, 5500 steps of it raised the effective sample size
# from 70 to 79 % (docs/methods-compared.md).
#
# ## The densities
# The panels show −log q of each flow, in kT above its minimum, and that of the target. White areas are above 14.

# %%
grid = torch.linspace(-6.0, 6.0, 121), torch.linspace(-4.0, 4.0, 81)
points = torch.cartesian_prod(*grid)
with torch.no_grad():
    surfaces = {"the target": -target.log_prob(points)}
    surfaces |= {name: -model.flow.log_prob(points) for name, model in models.items()}
figure, panels = plt.subplots(2, 4, figsize=(12.0, 5.4), sharex=True, sharey=True, layout="constrained")
panels.flat[-1].set_visible(False)
for panel, (name, values) in zip(panels.flat, surfaces.items(), strict=False):
    height = (values - values.min()).view(121, 81).T
    mesh = panel.contourf(*grid, height, levels=range(0, 15, 1), cmap="viridis")
    panel.axvline(0.0, color="#8C8C8C", linewidth=0.8, linestyle=":")
    panel.set_title(name)
for panel in panels[-1]:
    panel.set_xlabel("x")
panels[0, 3].set_xlabel("x")
panels[0, 3].xaxis.set_tick_params(labelbottom=True)
panels[0, 0].set_xticks([-5, 0, 5])
for panel in panels[:, 0]:
    panel.set_ylabel("y")
figure.colorbar(mesh, ax=list(panels.flat), label="−log density (kT)")
figure.savefig("training_methods.png", dpi=150)

# %% [markdown]
# ## What to check
# - **The forward effective sample size, compared with the usual one.** If it is far lower, a basin is lost, and error
#   bars of populations do not show it. For molecules, `check_collapse(generator, ensemble)` makes the samples for this.
# - **The population of each known basin**, compared with that of another method.
# - **The coverage of data.** Maximum likelihood on one well learns one well, and its weights look perfect.
# - Each result is one run of a small flow, so differences of a few percent between methods mean nothing.
#   docs/methods-compared.md has targets of up to 60 dimensions; docs/training.md lists all methods and their costs.
