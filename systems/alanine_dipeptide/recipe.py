"""The training behind `generator.safetensors`, from energies alone, in two parts.

python systems/alanine_dipeptide/recipe.py --out aldp.safetensors

1. Reverse KL with its score term, 1200 K for 30 % of 14 000 steps of 512, then down to 300 K over 40 %, seed 0.
2. Forward KL by the flow's own weights (α-divergence with α = 1) at 300 K, 5500 steps of 512, seed 3, bfloat16 nets.

Checkpoints are kept in `--runs DIR`, from which the same command goes on. `--share` takes a part of the steps.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import boltzflow as bf
from boltzflow.process import keep_freed_memory
from boltzflow.training import AlphaDivergence, Method, ReverseKL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("aldp.safetensors"), help="file of the trained generator")
    parser.add_argument("--runs", type=Path, default=Path("runs/recipe"), help="directory of the checkpoints")
    parser.add_argument("--share", type=float, default=1.0, help="of the steps")
    args = parser.parse_args()
    keep_freed_memory()

    generator = bf.BoltzmannGenerator.for_system(bf.load_system("alanine_dipeptide"), layers=10, hidden=(192, 192))
    parts: dict[str, tuple[Method, dict[str, object]]] = {
        "1_reverse_kl": (
            ReverseKL(path_gradient=False, hot_share=0.3),
            {"steps": 14_000, "seed": 0, "learning_rate": 1e-3, "precision": "float32"},
        ),
        "2_forward_kl": (
            AlphaDivergence(alpha=1.0, hot_temperature=300.0),
            {"steps": 5_500, "seed": 3, "learning_rate": 8e-4, "precision": "bfloat16"},
        ),
    }
    evaluations, seconds = 0, 0.0
    for name, (method, options) in parts.items():
        options["steps"] = max(1, round(float(str(options["steps"])) * args.share))
        directory = args.runs / name
        resume = (directory / "checkpoints" / "last.safetensors").exists()
        history = bf.train(generator, method, directory=directory, resume=resume, batch_size=512, **options)
        evaluations += history.last.energy_evaluations
        print(
            f"{name}: {history.last.energy_evaluations:,} energy evaluations, {history.last.seconds / 60:.1f} minutes"
        )
    generator.provenance |= {
        "energy_evaluations": evaluations,
        "seconds": round(seconds, 1),
        "recipe": "systems/alanine_dipeptide/recipe.py",
    }
    generator.save(args.out)
    ensemble = generator.sample(max(1000, round(200_000 * args.share)), seed=11)
    print(f"ESS {ensemble.ess:.1%} of {len(ensemble):,} samples; {evaluations:,} energy evaluations in all")


if __name__ == "__main__":
    main()
