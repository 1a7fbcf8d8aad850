"""One generator for a range of temperatures: effective sample sizes, mean energies and heat capacities across it.

    python benchmarks/temperatures.py [--system alanine_dipeptide] [--temperatures 300 600] [--steps 14000] …

Prints one JSON line for each of five temperatures (evenly spaced): the effective sample size (Kish's, unclipped, and
with the top 1e-4 of weights clipped), Pareto k, log Z, the mean energy, and the configurational heat capacity twice, by
fluctuations, and by the difference of mean energies a bit colder and warmer (--difference, but within the range), each
from samples of its own. The difference over a finite interval has a bias of its own: the fluctuations are therefore
averaged over three temperatures by Simpson's rule, which leaves no more than a fifth power. With standard errors, and
the z-score of the two. --quick is a smoke test.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

import numpy as np

import boltzflow as bf
from boltzflow.analysis import heat_capacity
from boltzflow.ensemble import Ensemble
from boltzflow.estimate import Estimate

POINTS = 5


def energy(ensemble: Ensemble) -> Estimate:
    return ensemble.mean(ensemble.energies)


def slope(cold: Ensemble, hot: Ensemble) -> Estimate:
    """The mean heat capacity between two temperatures by their energies, J/(mol K)."""
    scale = 1e3 / (hot.temperature - cold.temperature)
    one, two = energy(cold), energy(hot)
    return Estimate(scale * (two.value - one.value), scale * math.hypot(one.error, two.error))


def mean_capacity(cold: Ensemble, middle: Ensemble, hot: Ensemble) -> Estimate:
    """The same by fluctuations at both ends and in the middle."""
    parts = [heat_capacity(e) for e in (cold, middle, hot)]
    weights = (1 / 6, 4 / 6, 1 / 6)
    value = sum(w * part.value for w, part in zip(weights, parts, strict=True))
    return Estimate(value, math.hypot(*(w * part.error for w, part in zip(weights, parts, strict=True))))


def rounded(estimate: Estimate) -> list[float]:
    return [float(f"{number:.6g}") for number in estimate]


def measure(generator: bf.BoltzmannGenerator, kelvin: float, difference: float, samples: int, seed: int) -> None:
    assert generator.temperatures is not None
    low, high = generator.temperatures
    centre = min(max(kelvin, low + difference), high - difference)
    # Independent ensembles: energies and fluctuations of one would be correlated.
    at = [kelvin, centre - difference, centre + difference, centre - difference, centre, centre + difference]
    ensembles = [generator.sample(samples, temperature=t, seed=seed + i) for i, t in enumerate(at)]
    here, by_energies, by_fluctuations = ensembles[0], slope(*ensembles[1:3]), mean_capacity(*ensembles[3:])
    error = math.hypot(by_energies.error, by_fluctuations.error)
    line = {
        "temperature": kelvin,
        "samples": samples,
        "ess": round(here.ess, 4),
        "ess_clipped": round(here.ess_clipped(), 4),
        "pareto_k": round(here.pareto_k, 3),
        "log_z": rounded(here.log_z),
        "energy_kj_per_mol": rounded(energy(here)),
        "heat_capacity_j_per_mol_k": rounded(heat_capacity(here)),
        "between": [centre - difference, centre + difference],
        "heat_capacity_by_fluctuations": rounded(by_fluctuations),
        "heat_capacity_by_energies": rounded(by_energies),
        "z_score": round((by_energies.value - by_fluctuations.value) / error, 2),
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", default="alanine_dipeptide")
    parser.add_argument("--temperatures", nargs=2, type=float, default=[300.0, 600.0], metavar=("LOW", "HIGH"))
    parser.add_argument("--method", default="reverse_kl")
    parser.add_argument("--steps", type=int, default=14_000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--hidden", type=int, nargs="+", default=[192, 192])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=100_000, help="of each ensemble")
    parser.add_argument("--difference", type=float, default=15.0, help="half of the interval of energies, K")
    parser.add_argument("--save", type=Path, help="file for the trained generator")
    parser.add_argument("--load", type=Path, help="measure this generator, without training")
    parser.add_argument("--directory", type=Path, help="of checkpoints; a training there is gone on with")
    parser.add_argument("--quick", action="store_true", help="50 steps, 2000 samples, a small net, nothing compiled")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.batch, options.layers, options.hidden, options.samples = 50, 64, 4, [32], 2000
    if options.load is not None:
        generator = bf.BoltzmannGenerator.load(options.load)
    else:
        generator = bf.BoltzmannGenerator.for_system(
            bf.load_system(options.system),
            layers=options.layers,
            hidden=options.hidden,
            seed=options.seed,
            temperatures=tuple(options.temperatures),
        )
        began = time.perf_counter()
        history = bf.train(
            generator,
            options.method,
            directory=options.directory,
            resume=options.directory is not None and (options.directory / "checkpoints").exists(),
            compile=not options.quick,
            steps=options.steps,
            batch_size=options.batch,
            learning_rate=options.lr,
            optimizer="adam",
            precision="float32",
            seed=options.seed,
        )
        facts = {"evaluations": history.last.energy_evaluations, "seconds": round(time.perf_counter() - began, 1)}
        settings = {name: value for name, value in vars(options).items() if not isinstance(value, Path)}
        print(json.dumps(settings | facts), flush=True)
        if options.save is not None:
            generator.save(options.save)
    if generator.temperatures is None:
        sys.exit(f"Expected a generator for a range of temperatures; {options.load} is for one.")
    for i, kelvin in enumerate(np.linspace(*generator.temperatures, POINTS).tolist()):
        measure(generator, kelvin, options.difference, options.samples, options.seed + 100 * (i + 1))


if __name__ == "__main__":
    main()
