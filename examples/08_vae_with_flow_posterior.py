"""A variational autoencoder of handwritten digits, with and without a flow for its posterior.

The posterior of a plain autoencoder is a normal density with independent coordinates for each image. Couplings that are
conditioned on the image can give it any shape (Rezende & Mohamed 2015, arXiv 1505.05770). Both posteriors have about
the same number of parameters; prior, decoder, training and random numbers are the same. They are compared on held-out
images by the importance-weighted bound of log p(x) (Burda et al. 2016, arXiv 1509.00519).

python examples/08_vae_with_flow_posterior.py
python examples/08_vae_with_flow_posterior.py --steps 5            # a quick test
"""

import argparse
import math

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits

from boltzflow.core import Chain, Domain, FlowVAE, layers, nets
from boltzflow.core.distributions import ConditionalBernoulli, ConditionalNormal, DiagonalNormal

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=2000)
args = parser.parse_args()

SEEDS, SAMPLES = 3, 50
PIXELS, LATENT = Domain.real(64), Domain.real(10)
grey = torch.tensor(load_digits().data, dtype=torch.float32) / 16.0
grey = grey[torch.randperm(len(grey), generator=torch.Generator().manual_seed(0))]
train_grey, test_grey = grey[:1437], grey[1437:]
# A grey pixel is the probability of a white one: fresh draws in training, one fixed draw of each held-out image.
test = torch.bernoulli(test_grey, generator=torch.Generator().manual_seed(1))


def make_vae(with_flow):
    size, width = len(LATENT), 64 if with_flow else 140
    encoder = ConditionalNormal(LATENT, nets.MLP(64, (width, width), 2 * size))
    decoder = ConditionalBernoulli(PIXELS, nets.MLP(size, (64, 64), 64))
    masks = [[(i + j) % 2 == 0 for j in range(size)] for i in range(4)] if with_flow else []
    couplings = [
        layers.AffineCoupling(LATENT, mask, conditioner=lambda n: nets.MLP(n, (64,)), context_size=64) for mask in masks
    ]
    return FlowVAE(DiagonalNormal(LATENT), encoder, decoder, Chain(couplings) if with_flow else None)


def train(with_flow, seed):
    """Maximises the lower bound; β grows to 1 in the first fifth, so that no latent coordinate is given up early."""
    torch.manual_seed(seed)
    vae, random = make_vae(with_flow), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(vae.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    for step in range(args.steps):
        x = train_grey[torch.randint(len(train_grey), (128,), generator=random)]
        x = torch.bernoulli(x, generator=random)
        optimizer.zero_grad()
        (-vae.elbo(x, beta=min(1.0, 5 * step / args.steps), generator=random).mean()).backward()
        optimizer.step()
        schedule.step()
    return vae


def describe(name, values):
    """Mean over held-out images with its standard error."""
    print(f"{name:22s} {values.mean():8.3f} ± {values.std() / math.sqrt(len(values)):.3f}", flush=True)


bounds = {False: [], True: []}
for with_flow in bounds:
    for seed in range(SEEDS):
        vae = train(with_flow, seed)
        with torch.no_grad():
            bounds[with_flow].append(
                vae.importance_weighted_bound(test, SAMPLES, generator=torch.Generator().manual_seed(2))
            )
    posterior = sum(p.numel() for part in (vae.encoder, vae.flow) if part is not None for p in part.parameters())
    print(f"{'with' if with_flow else 'without'} flow: {posterior} parameters of the posterior")
    describe("bound of log p(x), nats", torch.stack(bounds[with_flow]).mean(0))
each = torch.stack(bounds[True]) - torch.stack(bounds[False])
describe("paired difference", each.mean(0))
print("difference of each seed: " + ", ".join(f"{d:.3f}" for d in each.mean(1)))

with torch.no_grad():
    _, z = vae.sample(16, generator=torch.Generator().manual_seed(3))
    rows = {
        "held-out": test_grey[:16],
        "binary": test[:16],
        "restored": vae.decoder.logits(vae(test[:16], generator=torch.Generator().manual_seed(3))[0][:, 0]).sigmoid(),
        "new": vae.decoder.logits(z).sigmoid(),
    }
figure, axes = plt.subplots(len(rows), 16, figsize=(12, 3.4))
for line, (name, images) in zip(axes, rows.items(), strict=True):
    for axis, image in zip(line, images, strict=True):
        axis.imshow(image.view(8, 8), cmap="gray", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
    line[0].set_ylabel(name)
figure.tight_layout()
figure.savefig("vae_with_flow_posterior.png", dpi=150)
