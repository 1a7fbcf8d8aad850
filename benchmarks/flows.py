"""Sampling, density and training step of five architectures, against normflows, zuko and nflows.

pip install -e ".[peers]"; python benchmarks/flows.py

Real coordinates, batch 1024, 2 threads. Every package gets the same architecture: the number of layers, the hidden
sizes, the bins, and, where its own class allows it, the same kind of net (ReLU; one residual block for splines in
boltzflow, normflows and nflows, a plain net of as many layers in zuko). Peers' couplings that always carry more
(normflows' coupling spline sends the other half through a spline as well) are measured as their users get them;
"no unconditional spline" is the same from normflows' lower-level class. normflows' affine autoregressive layer runs
in the other direction and is reversed, so that all have a density in one pass.

Training step: maximum likelihood of a batch, gradients, fused Adam. Each package and architecture has a process of
its own, all with freed memory kept (boltzflow's command line does that; it helps all). Rounds are interleaved; the
figure is the median over rounds of each process's median. Peak memory: the growth of the process's resident
set by building the model and running all three tasks, compilation included.

"products" is the floor: only the matrix products of boltzflow's nets, forward for density and sampling, with those
of both gradients for training. Inverting an autoregressive layer takes D passes of smaller products, so there the
floor of sampling is not shown.

Residual layers: normflows estimates the density by a series, in training with a random number of terms, in
evaluation with 20 terms; boltzflow is given the same estimator in training, above 8 coordinates, and is exact in
evaluation. normflows stops its inverse at 1e-5, boltzflow at rounding.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BINS, BOUND = 8, 3.0
LIPSCHITZ = 0.9  # of each of the three linear layers of a residual layer's net


@dataclass(frozen=True)
class Size:
    dimensions: int
    layers: int
    hidden: int


SIZES = {"small": Size(16, 8, 64), "large": Size(60, 8, 256)}


def boltzflow_model(architecture: str, size: Size) -> Any:
    from functools import partial

    from torch import nn

    from boltzflow.core import Chain, Domain, Flow, layers, nets, transformers
    from boltzflow.core.distributions import Independent
    from boltzflow.core.functional import alternating_mask

    domain = Domain.real(size.dimensions)
    hidden = (size.hidden,) * 2
    spline = partial(transformers.RationalQuadratic, domain, bins=BINS, bound=BOUND)

    def layer(i: int) -> Any:
        mask = alternating_mask(size.dimensions) ^ (i % 2 == 1)
        order = range(size.dimensions)[:: 1 if i % 2 == 0 else -1]
        if architecture == "realnvp":
            trunk = partial(nets.MLP, hidden=hidden, activation=nn.ReLU)
            return layers.AffineCoupling(domain, mask, conditioner=trunk)
        if architecture == "coupling spline":
            trunk = partial(nets.ResidualNet, width=size.hidden, blocks=1, activation=nn.ReLU)
            return layers.Coupling(spline(), mask, conditioner=trunk)
        if architecture == "maf":
            return layers.Autoregressive(transformers.Affine(domain), hidden=hidden, order=order, activation=nn.ReLU)
        if architecture == "autoregressive spline":
            wide = (size.hidden,) * 3
            return layers.Autoregressive(spline(), hidden=wide, order=order, residual=True, activation=nn.ReLU)
        estimator = layers.LogDetEstimator() if size.dimensions > 8 else None
        return layers.Residual(
            domain, nets.LipschitzMLP(size.dimensions, hidden, lipschitz=LIPSCHITZ**3), estimator=estimator
        )

    flow = Flow(Independent(domain), Chain([layer(i) for i in range(size.layers)]))
    flow.compile_layers(together=True)
    return flow, lambda x: flow.log_prob(x), lambda n: flow.sample(n)[0]


def normflows_model(architecture: str, size: Size) -> Any:
    import normflows as nf
    from normflows.flows.neural_spline.coupling import PiecewiseRationalQuadraticCoupling
    from normflows.nets.resnet import ResidualNet
    from normflows.utils.masks import create_alternating_binary_mask

    d, h = size.dimensions, size.hidden

    class SplineCoupling(nf.flows.Flow):
        """normflows' coupling spline without the spline on the other half."""

        def __init__(self, even: bool) -> None:
            super().__init__()
            self.coupling = PiecewiseRationalQuadraticCoupling(
                mask=create_alternating_binary_mask(d, even=even),
                transform_net_create_fn=lambda a, b: ResidualNet(a, b, h, num_blocks=1),
                num_bins=BINS,
                tails="linear",
                tail_bound=BOUND,
            )

        def forward(self, z, context=None):
            z, log_det = self.coupling.inverse(z, context)
            return z, log_det.view(-1)

        def inverse(self, z, context=None):
            z, log_det = self.coupling(z, context)
            return z, log_det.view(-1)

    def layer(i: int) -> list[Any]:
        if architecture == "realnvp":
            net = nf.nets.MLP([d // 2, h, h, d], init_zeros=True)
            return [nf.flows.AffineCouplingBlock(net), nf.flows.Permute(d, mode="swap")]
        if architecture == "coupling spline":
            return [nf.flows.CoupledRationalQuadraticSpline(d, 1, h, num_bins=BINS, reverse_mask=i % 2 == 1)]
        if architecture == "coupling spline, no unconditional spline":
            return [SplineCoupling(i % 2 == 1)]
        if architecture == "maf":
            one = nf.flows.MaskedAffineAutoregressive(d, h, num_blocks=1, use_residual_blocks=False)
            return [nf.flows.Reverse(one), nf.flows.Permute(d, mode="swap")]
        if architecture == "autoregressive spline":
            return [nf.flows.AutoregressiveRationalQuadraticSpline(d, 1, h, num_bins=BINS)]
        net = nf.nets.LipschitzMLP([d, h, h, d], init_zeros=True, lipschitz_const=LIPSCHITZ)
        return [nf.flows.Residual(net)]

    model = nf.NormalizingFlow(nf.distributions.DiagGaussian(d), [f for i in range(size.layers) for f in layer(i)])
    if architecture == "residual":  # normflows' norms are those of the last call of this function
        model.before_step = lambda: nf.utils.update_lipschitz(model, 5)
    return model, model.log_prob, lambda n: model.sample(n)[0]


def zuko_model(architecture: str, size: Size) -> Any:
    import zuko

    d, hidden = size.dimensions, [size.hidden] * 2
    if architecture == "realnvp":
        flow = zuko.flows.RealNVP(d, transforms=size.layers, hidden_features=hidden)
    elif architecture == "maf":
        flow = zuko.flows.MAF(d, transforms=size.layers, hidden_features=hidden)
    else:
        passes = 2 if architecture == "coupling spline" else None
        flow = zuko.flows.NSF(d, transforms=size.layers, bins=BINS, hidden_features=[size.hidden] * 3, passes=passes)
    return flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,))


def nflows_model(architecture: str, size: Size) -> Any:
    from nflows import distributions, flows, transforms
    from nflows.nn.nets import MLP, ResidualNet
    from nflows.utils.torchutils import create_alternating_binary_mask
    from torch.nn import functional

    d, h = size.dimensions, size.hidden

    def layer(i: int) -> list[Any]:
        mask = create_alternating_binary_mask(d, even=i % 2 == 0)
        if architecture == "realnvp":

            def net(a: int, b: int) -> Any:
                mlp = MLP((a,), (b,), [h, h])
                forward = mlp.forward
                mlp.forward = lambda x, _=None: forward(x)
                return mlp

            return [transforms.AffineCouplingTransform(mask, net)]
        if architecture == "coupling spline":
            return [
                transforms.PiecewiseRationalQuadraticCouplingTransform(
                    mask,
                    lambda a, b: ResidualNet(a, b, h, num_blocks=1, activation=functional.relu),
                    num_bins=BINS,
                    tails="linear",
                    tail_bound=BOUND,
                )
            ]
        swap = [transforms.ReversePermutation(d)]
        if architecture == "maf":
            one = transforms.MaskedAffineAutoregressiveTransform(d, h, num_blocks=1, use_residual_blocks=False)
        else:
            one = transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                d, h, num_blocks=1, num_bins=BINS, tails="linear", tail_bound=BOUND
            )
        return [one, *swap]

    chain = transforms.CompositeTransform([t for i in range(size.layers) for t in layer(i)])
    flow = flows.Flow(chain, distributions.StandardNormal([d]))
    return flow, flow.log_prob, flow.sample


def products_model(architecture: str, size: Size) -> Any:
    import torch
    from torch import nn

    flow, _, _ = boltzflow_model(architecture, size)
    matrices = nn.ParameterList(p for p in flow.parameters() if p.dim() == 2)
    inputs = {width: torch.randn(4096, width) for width in {matrix.shape[1] for matrix in matrices}}

    def multiply(n: int) -> torch.Tensor:
        with_gradients = torch.is_grad_enabled()
        with torch.no_grad():
            for matrix in matrices:
                x = inputs[matrix.shape[1]][:n]
                y = x @ matrix.T
                if with_gradients:
                    _ = y @ matrix, y.T @ x
        return matrices[0][0, 0].expand(n)

    return matrices, lambda x: multiply(len(x)), multiply


ALL = ["realnvp", "maf", "coupling spline", "autoregressive spline"]
MODELS: dict[str, tuple[Callable[[str, Size], Any], list[str]]] = {
    "boltzflow": (boltzflow_model, [*ALL, "residual"]),
    "normflows": (normflows_model, [*ALL, "coupling spline, no unconditional spline", "residual"]),
    "zuko": (zuko_model, ALL),
    "nflows": (nflows_model, ALL),
    "products": (products_model, ALL),
}
TASKS = ("sample", "density", "train")


def measure(package: str, architecture: str, size: Size, batch: int, threads: int, seconds: float) -> dict[str, float]:
    """Median time of each task in ms and peak memory in MiB, in this process."""
    from boltzflow.process import keep_freed_memory

    keep_freed_memory()
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    module, log_prob, sample = MODELS[package][0](architecture, size)
    x = 0.5 * torch.randn(batch, size.dimensions)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-4, fused=True)

    update = getattr(module, "before_step", lambda: None)

    def train() -> None:
        update()
        optimizer.zero_grad()
        (-log_prob(x).mean()).backward()
        optimizer.step()

    def density() -> None:
        with torch.no_grad():
            log_prob(x)

    def draw() -> None:
        with torch.no_grad():
            sample(batch)

    result = {}
    for name, task in (("train", train), ("density", density), ("sample", draw)):
        module.train(name == "train")
        task()
        task()
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            task()
            times.append(1e3 * (time.perf_counter() - start))
        result[name] = statistics.median(times)
    result["peak_mib"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="timed in each process, for each task")
    parser.add_argument("--only", help="architectures that begin with this")
    parser.add_argument("--variant", nargs=2, metavar=("PACKAGE", "ARCHITECTURE"), help="measure one, in this process")
    args = parser.parse_args()
    if args.variant:
        package, architecture = args.variant
        size = SIZES[args.size]
        print(json.dumps(measure(package, architecture, size, args.batch, args.threads, args.seconds)))
        return
    variants = [(p, a) for p, (_, names) in MODELS.items() for a in names if a.startswith(args.only or "")]
    results: dict[tuple[str, str], list[dict[str, float]]] = {variant: [] for variant in variants}
    passed = ["--size", args.size, "--batch", str(args.batch), "--threads", str(args.threads)]
    for _ in range(args.rounds):
        for variant in variants:
            command = [sys.executable, __file__, *passed, "--seconds", str(args.seconds), "--variant", *variant]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            results[variant].append(json.loads(output.splitlines()[-1]))
            print(*variant, output.splitlines()[-1], file=sys.stderr, flush=True)
    medians = {
        variant: {key: statistics.median(r[key] for r in rounds) for key in (*TASKS, "peak_mib")}
        for variant, rounds in results.items()
    }
    for (package, architecture), figures in medians.items():
        ours = medians["boltzflow", architecture.split(",")[0]]
        row = {"benchmark": "flows", "size": args.size, "architecture": architecture, "package": package}
        row |= {f"{task}_ms": round(figures[task], 2) for task in TASKS}
        row |= {f"{task}_ratio": round(figures[task] / ours[task], 2) for task in TASKS}
        row |= {"peak_mib": round(figures["peak_mib"]), "rounds": args.rounds, "threads": args.threads}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
