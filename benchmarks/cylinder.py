"""The cylinder of Stimper et al. 2023 (arXiv 2302.12014), learned by boltzflow and by normflows: time and KL.

pip install normflows; python benchmarks/cylinder.py

Target: N(x | 0, 1) · von Mises(φ | 3x, 1). Both packages train couplings that alternate between x and φ, with splines
of the same number of bins on [−5, 5] and on the circle, the same conditioner (a linear layer, one residual block of
two layers, a linear layer), base, batch, number of steps, optimiser and learning rate, by the same objective: reverse
KL with the score term. normflows' wrapper also sends the coordinate that a coupling leaves alone through a spline
without conditioner, and does not move the seam of the circle; boltzflow does neither, but moves it.

Each package runs in a process of its own, one after the other. KL(p‖q) is estimated from 100 000 exact samples.
"train_s" is all of training, with compilation; "step_ms" is the median step.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

VARIANTS = ("boltzflow compiled", "boltzflow compiled, path gradient", "boltzflow eager", "normflows")
SAMPLES = 100_000


def boltzflow_parts(args: argparse.Namespace) -> tuple[object, Callable, Callable]:
    """Parameters, the loss of a batch, and log q of samples."""
    import torch

    from boltzflow.core import objectives, recipes
    from boltzflow.core.distributions import targets

    target = targets.Cylinder()
    flow = recipes.spline_flow(
        target.domain, layers=args.layers, hidden=(args.hidden,), bins=args.bins, net="residual", bound=5.0
    )
    if "compiled" in args.variant:
        flow.compile_layers()
    path_gradient = "path" in args.variant

    def log_q(x: torch.Tensor) -> torch.Tensor:
        torch.compiler.set_stance("force_eager")
        return flow.log_prob(x)

    return (
        flow.parameters(),
        lambda: objectives.reverse_kl(flow, target, args.batch, path_gradient=path_gradient).value,
        log_q,
    )


def normflows_parts(args: argparse.Namespace) -> tuple[object, Callable, Callable]:
    import normflows
    import torch

    from boltzflow.core.distributions import targets

    bound = torch.tensor([5.0, math.pi])
    layers = [
        normflows.flows.CircularCoupledRationalQuadraticSpline(
            2,
            1,
            args.hidden,
            ind_circ=[1],
            num_bins=args.bins,
            tail_bound=bound,
            reverse_mask=i % 2 == 1,
        )
        for i in range(args.layers)
    ]
    # Its scale is the full width of the uniform coordinate, and the standard deviation of the other.
    base = normflows.distributions.UniformGaussian(2, [1], torch.tensor([1.0, 2.0 * math.pi]))
    model = normflows.NormalizingFlow(base, layers, targets.Cylinder())
    return model.parameters(), lambda: model.reverse_kld(args.batch), model.log_prob


def measure(args: argparse.Namespace) -> dict[str, float]:
    import torch

    from boltzflow.core.distributions import targets

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    make = normflows_parts if args.variant == "normflows" else boltzflow_parts
    parameters, loss, log_q = make(args)
    optimizer = torch.optim.Adam(parameters, lr=args.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    times = []
    start, start_cpu = time.perf_counter(), time.process_time()
    for _ in range(args.steps):
        begin = time.perf_counter()
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        schedule.step()
        times.append(1e3 * (time.perf_counter() - begin))
    train, train_cpu = time.perf_counter() - start, time.process_time() - start_cpu
    with torch.no_grad():
        x, log_p = targets.Cylinder().sample(SAMPLES, generator=torch.Generator().manual_seed(1))
        log_ratio = (log_p - torch.cat([log_q(part) for part in x.split(10_000)])).double()
    finite = log_ratio.isfinite()  # exact samples to which a model gives no density would make its KL infinite
    return {
        "kl": round(log_ratio[finite].mean().item(), 5),
        "kl_error": round(log_ratio[finite].std().item() / int(finite.sum()) ** 0.5, 5),
        "not_finite": int((~finite).sum()),
        "train_s": round(train, 1),
        "train_cpu_s": round(train_cpu, 1),
        "step_ms": round(statistics.median(times), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--bins", type=int, default=10)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--variant", choices=VARIANTS, help="measure one, in this process")
    args = parser.parse_args()
    settings = {k: v for k, v in vars(args).items() if k != "variant"}
    if args.variant:
        print(json.dumps({"benchmark": "cylinder", "variant": args.variant, **measure(args), **settings}), flush=True)
        return
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    for variant in VARIANTS:
        # Threads that wait sleep, as under boltzflow's command line: the same for every variant.
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
        subprocess.run([sys.executable, __file__, "--variant", variant, *options], check=True, env=environment)


if __name__ == "__main__":
    main()
