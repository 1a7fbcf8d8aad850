"""Four classic layers compared: planar and radial maps, NICE and RealNVP, at several depths K, on five targets.

After Rezende & Mohamed 2015 (arXiv 1505.05770): K layers map a normal base to each target. They are trained by reverse
KL; the weight of the energy, beta, grows to 1. The normalisation of the targets is known, so KL(q‖p) itself is printed
instead of a bound. Writes classic_flows.png.

python examples/03_planar_radial_nice_realnvp.py              # K = 2 and 8: about four minutes on two cores
python examples/03_planar_radial_nice_realnvp.py --full       # K = 2, 8 and 32, four times the steps
python examples/03_planar_radial_nice_realnvp.py --steps 3    # a quick test
"""

import argparse

import torch
from matplotlib import pyplot as plt

from boltzflow.core import Chain, Domain, Flow, layers, nets, objectives
from boltzflow.core.distributions import DiagonalNormal, targets

torch.set_num_threads(1)  # small nets gain nothing from a second thread
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int)
parser.add_argument("--full", action="store_true")
args = parser.parse_args()
steps = args.steps or (4000 if args.full else 1000)
depths = (2, 8, 32) if args.full else (2, 8)

PLANE = Domain.real(2)
TARGETS = {
    "two moons": targets.TwoMoons(),
    "wave": targets.Sinusoidal(),
    "wave with a gap": targets.Sinusoidal(branch="gap"),
    "wave that splits": targets.Sinusoidal(branch="split"),
    "smiley": targets.Smiley(),
}


def coupling(scale, number):
    """An affine coupling that moves the first coordinate given the second, or the second given the first."""
    mask = [number % 2 == 0, number % 2 == 1]
    return layers.AffineCoupling(PLANE, mask, scale=scale, conditioner=lambda inputs: nets.MLP(inputs, (32, 32)))


LAYERS = {
    "planar": lambda k: [layers.Planar(PLANE) for _ in range(k)],
    "radial": lambda k: [layers.Radial(PLANE) for _ in range(k)],
    # Additive couplings keep volumes: a last layer that scales each coordinate belongs to NICE.
    "NICE": lambda k: [*(coupling("additive", i) for i in range(k)), layers.ElementwiseAffine(PLANE)],
    "RealNVP": lambda k: [coupling("exp", i) for i in range(k)],
}


def train(target, make, depth):
    """A trained flow, KL(q‖p) and its standard error."""
    torch.manual_seed(depth)
    flow = Flow(DiagonalNormal(PLANE), Chain(make(depth)))
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        optimizer.zero_grad()
        beta = min(1.0, 0.3 + 2.0 * step / steps)
        objectives.reverse_kl(flow, target, n=256, beta=beta).value.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        terms = target.log_z - objectives.reverse_kl(flow, target, n=50_000).log_weights
    return flow, terms.mean().item(), terms.std().item() / len(terms) ** 0.5


columns = [(name, depth) for depth in depths for name in LAYERS]
figure, panels = plt.subplots(
    len(TARGETS), 1 + len(columns), figsize=(1.6 * (1 + len(columns)), 8.4), layout="constrained"
)
axis = torch.linspace(-4.5, 4.5, 120)
grid = torch.cartesian_prod(axis, axis)


def draw(panel, density, title):
    """A density on the grid, with a title where it is in the first row."""
    # Far out, the exponential scales of RealNVP overflow in the inverse. Such points stay blank, like zeros.
    values = density.exp().nan_to_num(0.0).detach().view(len(axis), len(axis))
    panel.pcolormesh(axis, axis, values.T, rasterized=True)
    panel.set(xticks=[], yticks=[], aspect="equal")
    if panel in panels[0]:
        panel.set_title(title, fontsize=10)


print(f"KL(q‖p) in nats\n{'':18}" + "".join(f"{name + ' ' + str(depth):>19}" for name, depth in columns))
for row, (label, target) in zip(panels, TARGETS.items(), strict=True):
    draw(row[0], target.log_prob(grid), "target")
    row[0].set_ylabel(label)
    cells = []
    for panel, (name, depth) in zip(row[1:], columns, strict=True):
        flow, kl, error = train(target, LAYERS[name], depth)
        draw(panel, flow.log_prob(grid), f"{name}, K = {depth}")
        panel.set_xlabel(f"{kl:.2f}", fontsize=8)
        cells.append(f"{kl:.3f} ± {error:.3f}")
    print(f"{label:18}" + "".join(f"{cell:>19}" for cell in cells), flush=True)
figure.savefig("classic_flows.png", dpi=120)
