"""Two moons from three bases: no bijection splits one mode in two, so a base with two modes fits better.

The same RealNVP learns the same samples by maximum likelihood with three bases: a normal density, a mixture of two, and
a resampled base, whose learned acceptance splits the normal density (Stimper et al. 2022, arXiv 2110.15828).

python examples/04_bases_for_two_moons.py
python examples/04_bases_for_two_moons.py --steps 5            # a quick test
"""

import argparse
import math

import matplotlib.pyplot as plt
import torch

from boltzflow.core import Chain, Domain, Flow, layers, nets, objectives
from boltzflow.core.distributions import DiagonalNormal, GaussianMixture, Resampled, targets

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=1000)
args = parser.parse_args()

plane, moons = Domain.real(2), targets.TwoMoons()
BASES = {
    "normal": lambda: DiagonalNormal(plane, trainable=True),
    "mixture of two": lambda: GaussianMixture(
        plane, torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), torch.tensor(0.5), trainable=True
    ),
    "resampled": lambda: Resampled(DiagonalNormal(plane), nets.MLP(2, (64, 64), 1), estimate_size=2048),
}


def train(base, random):
    """RealNVP on a base, by maximum likelihood; returns the flow and the error of its log-density."""
    couplings = [
        layers.AffineCoupling(plane, [i % 2 == 0, i % 2 == 1], conditioner=lambda n: nets.MLP(n, (64, 64)))
        for i in range(6)
    ]
    flow = Flow(base, Chain(couplings))
    optimizer = torch.optim.Adam(flow.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    for _ in range(args.steps):
        x = data[torch.randint(len(data), (512,), generator=random)]
        optimizer.zero_grad()
        objectives.forward_kl(flow, x).value.backward()
        optimizer.step()
        schedule.step()
    flow.eval()
    # A resampled base is normalised by an estimate, whose error every log-density shares.
    error = base.estimate_normalization(1_000_000, generator=random)[1] if isinstance(base, Resampled) else 0.0
    return flow, error


data, _ = moons.sample(100_000, generator=torch.Generator().manual_seed(0))
test, log_p = moons.sample(100_000, generator=torch.Generator().manual_seed(1))
grid = torch.linspace(-3, 3, 300)
points = torch.cartesian_prod(grid, grid).flip(1)
figure, axes = plt.subplots(1, 4, figsize=(14, 3.7), sharex=True, sharey=True)


def show(axis, log_density, title):
    axis.imshow(log_density.exp().view(300, 300), origin="lower", extent=(-3, 3, -3, 3), vmin=0, vmax=1.2)
    axis.set_title(title)


show(axes[0], moons.log_prob(points) - moons.log_z, "target")
for axis, (name, make) in zip(axes[1:], BASES.items(), strict=True):
    torch.manual_seed(0)  # the same couplings and the same samples for each base
    flow, error = train(make(), torch.Generator().manual_seed(0))
    with torch.no_grad():
        terms = log_p - moons.log_z - flow.log_prob(test)
        show(axis, flow.log_prob(points), name)
        bridge = (flow.sample(100_000, generator=torch.Generator().manual_seed(2))[0][:, 0].abs() < 0.7).float().mean()
    kl, error = terms.mean().item(), math.hypot(terms.std().item() / math.sqrt(len(terms)), error)
    print(f"{name:15s} KL(p ‖ q) = {kl:.4f} ± {error:.4f}   mass between the moons {bridge:.2%}", flush=True)
with torch.no_grad():
    bridge = (test[:, 0].abs() < 0.7).float().mean()
print(f"{'target':15s} KL(p ‖ p) = 0                 mass between the moons {bridge:.2%}")
figure.tight_layout()
figure.savefig("bases_for_two_moons.png", dpi=150)
