"""Every method of training on four targets, with one network and one budget for each target.

python benchmarks/quality.py [--targets double_well,alanine_dipeptide] [--methods reverse_kl,fab] [--seeds 0]

Targets: a mixture of 40 Gaussians in the plane and a product of 16 double wells (Midgley et al. 2023, arXiv
2208.01893), one double well (Noé et al. 2019), and alanine dipeptide in implicit water at 300 K. All methods train the
same flow with the same number of gradient steps, batch and learning rate, and settings chosen so that each takes about
the stated number of energy evaluations; defaults otherwise. Schedules of temperature begin at four times the target's
own. "forward KL" learns from fresh exact samples (targets without a molecule), which cost nothing here.

Each training runs in a process of its own with one thread, `--jobs` of them at a time; the time is that of its
training alone, compilation included. A line of JSON for each goes to `--out`; what is there already is not run again,
and the tables are made from it; `--page docs/methods-compared.md` puts them there too. ESS and log Z are from 100 000
samples. "forward ESS" is 1/E_p[p/q] by exact samples of the target, and sees lost modes, which ESS does not; for
alanine dipeptide the Ramachandran plane and the rare basin at 0 < φ < 2.2 rad say it.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

TARGETS = {
    # steps, batch, energy evaluations, layers, hidden
    "forty_modes": (2000, 256, 500_000, 8, (96, 96)),
    "many_well_32": (2000, 256, 500_000, 8, (96, 96)),
    "double_well": (600, 256, 150_000, 8, (96, 96)),
    "alanine_dipeptide": (1000, 512, 500_000, 10, (128, 128)),
}
METHODS = (
    "reverse KL, 300 K",
    "reverse KL",
    "reverse KL with its score term",
    "alpha = 0.5",
    "log-dispersion, L1",
    "log-dispersion, L2",
    "temperature annealing",
    "temperature annealing, LDR",
    "FAB",
    "constrained transport",
    "constrained transport, LDR",
    "reverse KL, then transport",
    "forward KL",
)
SAMPLES = 100_000
TITLES = {
    "forty_modes": "40 Gaussians in the plane",
    "many_well_32": "16 double wells, 32 coordinates",
    "double_well": "A double well in the plane",
    "alanine_dipeptide": "Alanine dipeptide, implicit water, 300 K",
}
BEGIN, END = "<!-- quality: begin -->", "<!-- quality: end -->"


def method_of(name: str, steps: int, batch: int, evaluations: int):
    """The method, with settings that take about so many energy evaluations in so many steps."""
    from boltzflow.training import (
        FAB,
        AlphaDivergence,
        ConstrainedTransport,
        LogDispersion,
        Phases,
        ReverseKL,
        TemperatureAnnealing,
    )

    draws = 20
    fab = FAB(levels=4, leapfrog_steps=3)
    rounds = evaluations / (batch * (fab.levels * (fab.leapfrog_steps + 2) + 2))
    annealing = TemperatureAnnealing(samples=(evaluations - steps // 2 * batch) // 10)
    transport = ConstrainedTransport(samples=evaluations // draws, every=steps // draws)
    return {
        "reverse KL, 300 K": ReverseKL(hot_temperature=300.0),
        "reverse KL": ReverseKL(),
        "reverse KL with its score term": ReverseKL(path_gradient=False),
        "alpha = 0.5": AlphaDivergence(alpha=0.5),
        "log-dispersion, L1": LogDispersion(order=1),
        "log-dispersion, L2": LogDispersion(order=2),
        "temperature annealing": annealing,
        "temperature annealing, LDR": replace(annealing, dispersion=0.1),
        "FAB": replace(fab, every=max(1, round(steps / (rounds - fab.first_batches)))),
        "constrained transport": transport,
        "constrained transport, LDR": replace(transport, dispersion=0.1),
        "reverse KL, then transport": Phases(
            (ReverseKL(), replace(transport, samples=evaluations // 4 // 5, every=steps // 20)), (0.75, 0.25)
        ),
    }[name]


def target_of(name: str):
    """An exact target, and the flow's first guess of where it lies."""
    from boltzflow.core.distributions import targets

    return {
        "forty_modes": lambda: (targets.forty_modes(), 20.0, 3.0),
        "many_well_32": lambda: (targets.ManyWell(32), 1.0, 5.0),
        "double_well": lambda: (targets.DoubleWell(), 2.0, 4.0),
    }[name]()


def measure(args: argparse.Namespace) -> dict[str, object]:
    import torch

    import boltzflow as bf
    from boltzflow.core import importance, recipes
    from boltzflow.training import DensityModel
    from boltzflow.training.methods.drawing import draw

    torch.set_num_threads(1)
    steps, batch, evaluations, layers, hidden = TARGETS[args.targets]
    random = torch.Generator().manual_seed(args.seed + 1000)
    shape = {"layers": layers, "hidden": hidden, "seed": args.seed}
    if args.targets == "alanine_dipeptide":
        exact = None
        model = bf.BoltzmannGenerator.for_system(bf.load_system(args.targets), **shape)
    else:
        exact, width, bound = target_of(args.targets)
        widths = torch.full((len(exact.domain),), width)
        flow = recipes.spline_flow(exact.domain, width=widths, location=0 * widths, bound=bound, **shape)
        model = DensityModel(flow, exact)
    started = time.monotonic()
    if args.methods == "forward KL":
        used = likelihood(model, exact, steps, batch, args.seed)
    else:
        method = method_of(args.methods, steps, batch, evaluations)
        options = {
            "steps": steps,
            "batch_size": batch,
            "seed": args.seed,
            "optimizer": "adam",
            "precision": "float32",
            "patience": 0,
            "learning_rate": 1e-3,
            "progress": False,
        }
        used = bf.train(model, method, **options).last.energy_evaluations
    seconds = time.monotonic() - started
    result = {
        "target": args.targets,
        "method": args.methods,
        "seed": args.seed,
        "evaluations": used,
        "steps": steps,
        "seconds": round(seconds),
        "hardware": f"1 thread, {processor()}",
    }
    if exact is None:
        ensemble = model.sample(SAMPLES, seed=args.seed + 1000)
        log_weights = torch.from_numpy(ensemble.log_weights)
        result |= ramachandran(ensemble)
    else:
        log_weights = draw(model, SAMPLES, 4096, random).log_weights(model.temperature)
        x, log_p = exact.sample(20_000, generator=random)
        with torch.no_grad():
            excess = log_p - exact.log_z - model.flow.log_prob(x)
        result["forward_ess"] = math.exp(-(excess.double().logsumexp(0).item() - math.log(len(x))))
        result["exact_log_z"] = exact.log_z
    log_z, error = importance.log_mean_weight(log_weights)
    return result | {
        "ess": importance.effective_sample_size(log_weights),
        "ess_clipped": importance.effective_sample_size(importance.clipped(log_weights)),
        "pareto_k": importance.pareto_shape(log_weights),
        "log_z": log_z,
        "log_z_error": error,
    }


def likelihood(model, exact, steps: int, batch: int, seed: int) -> int:
    """Maximum likelihood on fresh exact samples in each step: what a method without data may hope for."""
    import torch

    from boltzflow.training import WarmupCosine

    random, rate = torch.Generator().manual_seed(seed), WarmupCosine(1e-3)
    optimizer = torch.optim.Adam(model.flow.parameters(), fused=True)
    model.compile()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        x, _ = exact.sample(batch, generator=random)
        optimizer.zero_grad()
        log_q = model.flow.log_prob(x)
        (-torch.where(log_q.isfinite(), log_q, 0.0).mean()).backward()
        optimizer.step()
    return 0


def ramachandran(ensemble) -> dict[str, float]:
    """The plane of φ and ψ against the reference, and the share of the rare basin, with errors."""
    import numpy as np

    from boltzflow.analysis import backbone_torsions, kl_divergence, population, total_variation
    from boltzflow.molecules import available_systems

    reference = np.load(available_systems()["alanine_dipeptide"] / "reference" / "torsions.npz")
    phi, psi = (torsion.values for torsion in backbone_torsions(ensemble.to_mdtraj())[:2])
    bins = reference["histogram_2d"].shape[1]
    grid = np.linspace(-math.pi, math.pi, bins + 1)
    found, _, _ = np.histogram2d(phi, psi, bins=(grid, grid), weights=ensemble.weights)
    expected, error = reference["histogram_2d"][0], reference["histogram_2d_error"][0]
    share = population(ensemble, phi, 0.0, 2.2)
    return {
        "ramachandran_kl": kl_divergence(expected, found)[0],
        "ramachandran_tv": total_variation(expected, found),
        "reference_tv_noise": float(0.5 * math.sqrt(2 / math.pi) * error.sum()),
        "share": share.value,
        "share_error": share.error,
    }


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def run(target: str, method: str, seed: int, out: Path) -> None:
    command = [sys.executable, __file__, "--worker", "--targets", target, "--methods", method, "--seed", str(seed)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}
    )
    if done.returncode:
        print(f"{target}, {method}, seed {seed} failed:\n{done.stderr[-2000:]}", file=sys.stderr, flush=True)
        return
    line = done.stdout.strip().splitlines()[-1]
    with out.open("a") as file:
        file.write(line + "\n")
    print(line, file=sys.stderr, flush=True)


def tables(results: list[dict]) -> str:
    """Markdown: a heading and a table for each target, a line for each training."""
    parts = []
    for target, (steps, batch, _, layers, hidden) in TARGETS.items():
        rows = [r for r in results if r["target"] == target]
        rows.sort(key=lambda r: (METHODS.index(r["method"]), r["seed"]))
        part = [f"### {TITLES[target]}"]
        about = f"{layers} couplings of {'·'.join(map(str, hidden))}, {steps} steps of {batch}."
        if rows and "share" in rows[0]:
            about += f" The reference's own noise in the total variation is {rows[0]['reference_tv_noise']:.4f}."
        elif rows:
            about += f" Exact log Z {rows[0]['exact_log_z']:.4f}."
        part.append(about + "\n")
        if rows:
            lines = [cells_of(r) for r in rows]
            part += [f"| {' | '.join(line)} |" for line in ([*lines[0]], ["---"] * len(lines[0]))]
            part += [f"| {' | '.join(line.values())} |" for line in lines]
        missing = [m for m in methods_for(target) if m not in {r["method"] for r in rows}]
        if missing:
            part.append(f"\nNot run: {'; '.join(missing)}.")
        parts.append("\n".join(part))
    return "\n\n".join(parts)


def cells_of(r: dict) -> dict[str, str]:
    """What a table says of a training, by its columns."""
    quality = {"forward ESS": f"{r['forward_ess']:.1%}"} if "forward_ess" in r else {}
    if "share" in r:
        quality = {
            "Ramachandran KL": f"{r['ramachandran_kl']:.4f}",
            "TV": f"{r['ramachandran_tv']:.4f}",
            "population of 0 < φ < 2.2 rad": f"{r['share']:.5f} ± {r['share_error']:.5f}",
        }
    digits = 3 if "share" in r else 4
    return {
        "method": r["method"],
        "seed": str(r["seed"]),
        "energy evaluations": f"{r['evaluations']:,}" if r["evaluations"] else "none",
        "wall time / s": str(r["seconds"]),
        "ESS": f"{r['ess']:.1%}",
        "top 1e-4 clipped": f"{r['ess_clipped']:.1%}",
        "k̂": f"{r['pareto_k']:.2f}",
        **quality,
        "log Z": f"{r['log_z']:.{digits}f} ± {r['log_z_error']:.{digits}f}",
    }


def methods_for(target: str) -> list[str]:
    """A molecule has no exact samples to learn from."""
    return [m for m in METHODS if not (m == "forward KL" and target == "alanine_dipeptide")]


def fill(page: Path, text: str) -> None:
    """Put the tables between the page's marks."""
    before, rest = page.read_text().split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--methods", help="with semicolons between; all if not given")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("quality.jsonl"))
    parser.add_argument("--page", type=Path, help="a page of Markdown whose marked part becomes all results of --out")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        from boltzflow.process import keep_freed_memory

        keep_freed_memory()
        print(json.dumps(measure(args)))
        return
    known = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    done = {(r["target"], r["method"], r["seed"]) for r in known}
    wanted = [
        (target, method, int(seed))
        for target in args.targets.split(",")
        for method in (args.methods.split(";") if args.methods else methods_for(target))
        for seed in args.seeds.split(",")
    ]
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda key: run(*key, args.out), [key for key in wanted if key not in done]))
    results = [json.loads(line) for line in args.out.read_text().splitlines()]
    print(tables([r for r in results if (r["target"], r["method"], r["seed"]) in set(wanted)]))
    if args.page:
        fill(args.page, tables(results))


if __name__ == "__main__":
    main()
