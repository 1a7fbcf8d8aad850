"""The flow library by itself: a density on a line and a circle, learned from its formula.

python examples/02_flow_on_a_cylinder.py
python examples/02_flow_on_a_cylinder.py --steps 5            # only to see that it runs
"""

import argparse
import math

import torch

from boltzflow.core import Domain, importance, objectives, recipes


class Cylinder:
    """N(x | 0, 1) · von Mises(φ | 3x, 1): normalised, so the exact log Z is 0."""

    def log_prob(self, x, context=None):
        """Log-density (batch,) of x (batch, 2)."""
        normal = -0.5 * x[:, 0].square() - 0.5 * math.log(2.0 * math.pi)
        return normal + (x[:, 1] - 3.0 * x[:, 0]).cos() - math.log(2.0 * math.pi * 1.2660658777520084)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=1000)
args = parser.parse_args()

domain = Domain.real(1, names=["x"]) + Domain.circle(1, names=["phi"])
flow = recipes.spline_flow(domain, layers=8, hidden=(64, 64), bins=10)
optimizer = torch.optim.Adam(flow.parameters(), lr=2e-3)
random = torch.Generator().manual_seed(0)
for step in range(args.steps):
    optimizer.zero_grad()
    loss = objectives.reverse_kl(flow, Cylinder(), n=512, generator=random)
    loss.value.backward()
    optimizer.step()
    if step % 100 == 0:
        print(f"step {step:5d}  KL {loss.value.item():.4f}")

with torch.no_grad():
    log_weights = objectives.reverse_kl(flow, Cylinder(), n=50_000, generator=random).log_weights
log_z, error = importance.log_mean_weight(log_weights)
print(f"effective sample size {importance.effective_sample_size(log_weights):.1%}, log Z = {log_z:.4f} ± {error:.4f}")
