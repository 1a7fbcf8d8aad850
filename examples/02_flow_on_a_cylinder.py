"""A density on a cylinder, learned from its formula: N(x | 0, 1) · von Mises(φ | 3x, 1), x on a line, φ on a circle.

The example of Stimper et al. 2023 (normflows, arXiv 2302.12014). The domain states what each coordinate is; base,
couplings and networks follow it. Training is by reverse KL with path gradients, whose noise vanishes as the flow
approaches the target. Writes cylinder.png.

python examples/02_flow_on_a_cylinder.py                      # about a minute on two cores
python examples/02_flow_on_a_cylinder.py --steps 5            # a quick test
"""

import argparse
import math
import time

import torch
from matplotlib import colormaps
from matplotlib import pyplot as plt

from boltzflow.core import importance, objectives, recipes
from boltzflow.core.distributions import targets

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=1500)
args = parser.parse_args()

torch.set_num_threads(1)  # nets as small as these gain nothing from a second thread, and lose by waiting for it
target = targets.Cylinder()
flow = recipes.spline_flow(target.domain, layers=4, hidden=(64, 64), bins=10)
flow.compile_layers()
optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
random = torch.Generator().manual_seed(0)

start = time.perf_counter()
for step in range(args.steps):
    optimizer.zero_grad()
    loss = objectives.reverse_kl(flow, target, n=512, generator=random, path_gradient=True)
    loss.value.backward()
    optimizer.step()
    schedule.step()
    if step % 250 == 0:
        print(f"step {step:5d}: KL(q‖p) = {loss.value.item():.4f}")
print(f"trained {args.steps} steps in {time.perf_counter() - start:.0f} s")

torch.compiler.set_stance("force_eager")  # what follows comes in other shapes, once each: not worth compiling
with torch.no_grad():
    x, log_p = target.sample(100_000, generator=random)
    log_ratio = log_p - flow.log_prob(x)
    log_weights = objectives.reverse_kl(flow, target, n=100_000, generator=random).log_weights
error = log_ratio.std().item() / len(x) ** 0.5
print(f"KL(p‖q) = {log_ratio.mean().item():.5f} ± {error:.5f} nats, from {len(x)} exact samples")
log_z, error = importance.log_mean_weight(log_weights)
print(f"effective sample size {importance.effective_sample_size(log_weights):.2%}, log Z = {log_z:.4f} ± {error:.4f}")

# The picture: density of target and flow, unrolled and on the cylinder.
nodes = 200
line, angle = torch.linspace(-3.0, 3.0, nodes), torch.linspace(-math.pi, math.pi, nodes)
grid = torch.cartesian_prod(line, angle)
figure = plt.figure(figsize=(10, 8), layout="constrained")
with torch.no_grad():
    densities = {"target": target.log_prob(grid).exp(), "flow": flow.log_prob(grid).exp()}
highest = densities["target"].max().item()
for column, (name, density) in enumerate(densities.items()):
    density = density.view(nodes, nodes)
    plane = figure.add_subplot(2, 2, column + 1, title=name, xlabel="x", ylabel="φ")
    plane.pcolormesh(line, angle, density.T, vmin=0.0, vmax=highest, rasterized=True)
    round_ = figure.add_subplot(2, 2, column + 3, projection="3d", xlabel="x", yticks=[], zticks=[])
    x, phi = torch.meshgrid(line, angle, indexing="ij")
    colors = colormaps["viridis"]((density / highest).clamp(max=1.0).numpy())
    round_.plot_surface(
        x.numpy(), phi.cos().numpy(), phi.sin().numpy(), facecolors=colors, rstride=2, cstride=2, shade=False
    )
    round_.set_box_aspect((2, 1, 1), zoom=1.15)
figure.savefig("cylinder.png", dpi=150)
