"""The time of one training step of a spline flow, against normflows and against its own matrix products.

pip install normflows; python benchmarks/flow_step.py

The step: draw a batch, log q, reverse KL to a normal target, backward, Adam. Both packages get 12 couplings of
60 real coordinates, 8 bins, and the same conditioner: a linear layer to 256, one residual block of two 256 × 256
layers, a linear layer to 30 × 25 spline parameters (normflows asks for 23 of them with linear tails).

normflows' wrapper also sends the identity half of each coupling through a spline without conditioner. Its variant
"no unconditional spline" leaves that out, by assembling the same coupling from normflows' lower-level class: then
both do the same work. The "mixed domain" variants have 7 circles among the 60 coordinates, which is what a molecule
asks for: there normflows needs its circular wrapper, with a bound for each coordinate. Each variant runs in a
process of its own, one after the other, in `--rounds` rounds; what is printed is the median over rounds of each
process's median step. "kept memory" says that glibc was told to keep freed blocks, as boltzflow's command line
does: normflows is measured with and without it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

DIMENSIONS, COUPLINGS, HIDDEN, BINS, BATCH = 60, 12, 256, 8, 1024
CIRCLES = 7  # in the mixed variants, as in alanine dipeptide

VARIANTS = {
    "boltzflow compiled, kept memory": ("boltzflow", True, True),
    "boltzflow eager, kept memory": ("boltzflow", False, True),
    "normflows wrapper": ("normflows", True, False),
    "normflows wrapper, kept memory": ("normflows", True, True),
    "normflows no unconditional spline": ("normflows", False, False),
    "normflows no unconditional spline, kept memory": ("normflows", False, True),
    "boltzflow compiled, mixed domain, kept memory": ("boltzflow", "mixed", True),
    "normflows circular wrapper, mixed domain": ("normflows", "mixed", False),
    "normflows circular wrapper, mixed domain, kept memory": ("normflows", "mixed", True),
    "matrix products alone, kept memory": ("products", False, True),
}


def boltzflow_step(option: bool | str) -> Callable[[], None]:
    import torch

    from boltzflow.core import Domain, objectives, recipes
    from boltzflow.core.distributions import Independent

    circles = CIRCLES if option == "mixed" else 0
    domain = Domain.circle(circles) + Domain.real(DIMENSIONS - circles)
    flow = recipes.spline_flow(domain, layers=COUPLINGS, hidden=(HIDDEN,), bins=BINS, net="residual", bound=3.0)
    if option:
        flow.compile_layers()
    target = Independent(domain, torch.full((DIMENSIONS,), 0.3), torch.full((DIMENSIONS,), 0.5))
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        objectives.reverse_kl(flow, target, BATCH).value.backward()
        optimizer.step()

    return step


def normflows_step(option: bool | str) -> Callable[[], None]:
    import normflows
    import torch
    from normflows.flows.neural_spline.coupling import PiecewiseRationalQuadraticCoupling
    from normflows.nets.resnet import ResidualNet
    from normflows.utils.masks import create_alternating_binary_mask

    class Coupling(normflows.flows.Flow):
        """The wrapper's coupling without the spline on the identity half."""

        def __init__(self, flip: bool) -> None:
            super().__init__()
            self.coupling = PiecewiseRationalQuadraticCoupling(
                mask=create_alternating_binary_mask(DIMENSIONS, even=flip),
                transform_net_create_fn=lambda inputs, outputs: ResidualNet(inputs, outputs, HIDDEN, num_blocks=1),
                num_bins=BINS,
                tails="linear",
                tail_bound=3.0,
            )

        def forward(self, z, context=None):
            z, log_det = self.coupling.inverse(z, context)
            return z, log_det.view(-1)

    def wrapper(flip: bool) -> normflows.flows.Flow:
        return normflows.flows.CoupledRationalQuadraticSpline(DIMENSIONS, 1, HIDDEN, num_bins=BINS, reverse_mask=flip)

    def circular(flip: bool) -> normflows.flows.Flow:
        bounds = torch.full((DIMENSIONS,), 3.0)
        bounds[:CIRCLES] = torch.pi
        mask = create_alternating_binary_mask(DIMENSIONS, even=flip)
        return normflows.flows.CircularCoupledRationalQuadraticSpline(
            DIMENSIONS, 1, HIDDEN, ind_circ=list(range(CIRCLES)), num_bins=BINS, tail_bound=bounds, mask=mask
        )

    make = {True: wrapper, False: Coupling, "mixed": circular}[option]
    target = normflows.distributions.DiagGaussian(DIMENSIONS, trainable=False)
    target.loc.fill_(0.3)
    target.log_scale.fill_(-0.7)
    base = normflows.distributions.DiagGaussian(DIMENSIONS, trainable=False)
    if option == "mixed":
        base = normflows.distributions.UniformGaussian(DIMENSIONS, list(range(CIRCLES)), torch.full((DIMENSIONS,), 1.0))
    model = normflows.NormalizingFlow(base, [make(i % 2 == 1) for i in range(COUPLINGS)], target)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        model.reverse_kld(BATCH).backward()
        optimizer.step()

    return step


def products_step() -> Callable[[], None]:
    import torch

    sizes = [(DIMENSIONS, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, DIMENSIONS // 2 * (3 * BINS + 1))]
    pairs = [(torch.randn(BATCH, a), torch.randn(a, b), torch.randn(BATCH, b)) for a, b in sizes]

    def step() -> None:
        for _ in range(COUPLINGS):
            for x, weight, gradient in pairs:
                torch.mm(x, weight)
                torch.mm(gradient, weight.T)
                torch.mm(x.T, gradient)

    return step


def measure(package: str, option: bool | str, kept: bool, threads: int, steps: int) -> dict[str, float]:
    """Median and minimum step time in ms, in this process."""
    if kept:
        from boltzflow.process import keep_freed_memory

        keep_freed_memory()
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    step = (
        {"boltzflow": boltzflow_step, "normflows": normflows_step}[package](option)
        if package != "products"
        else products_step()
    )
    start = time.perf_counter()
    step()
    first = time.perf_counter() - start
    for _ in range(2):
        step()
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    return {"median_ms": statistics.median(times), "min_ms": min(times), "first_step_s": first}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=7, help="timed steps in each process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant", choices=VARIANTS, help="measure one, in this process")
    args = parser.parse_args()
    if args.variant:
        print(json.dumps(measure(*VARIANTS[args.variant], args.threads, args.steps)))
        return
    results: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for _ in range(args.rounds):
        for name in VARIANTS:
            command = [
                sys.executable,
                __file__,
                "--variant",
                name,
                "--threads",
                str(args.threads),
                "--steps",
                str(args.steps),
            ]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            results[name].append(json.loads(output.splitlines()[-1]))
    medians = {name: statistics.median(r["median_ms"] for r in rounds) for name, rounds in results.items()}
    ours = medians["boltzflow compiled, kept memory"]
    for name, rounds in results.items():
        row = {
            "benchmark": "flow_step",
            "variant": name,
            "median_ms": round(medians[name], 1),
            "min_ms": round(min(r["min_ms"] for r in rounds), 1),
            "first_step_s": round(statistics.median(r["first_step_s"] for r in rounds), 1),
            "ratio_to_boltzflow": round(medians[name] / ours, 2),
            "threads": args.threads,
            "rounds": args.rounds,
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
