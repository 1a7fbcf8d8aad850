"""What a generator starts with: samples of the informed bases against those of the plain one, for every system.

    python benchmarks/start.py [--systems NAME …] [--samples 20000] [--seeds 3]

Prints one JSON line for each system and start: the effective sample size (Kish's, unclipped, in samples, not as a
fraction), u − u_min in kT (mean over the samples below 1e6 kT, median, ninth decile; u_min is that of the reference
structure), the share of samples within 10 kT a coordinate of it, and what the start cost. The effective sample size of
an untrained generator of a large molecule is 1 to a few whatever it starts with: its energies say more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import torch

import boltzflow as bf
from boltzflow.molecules import available_systems
from boltzflow.units import thermal_energy

STARTS = ("sampled", "bonded", "plain")
CLASH = 1e6  # kT


def measure(system: bf.MolecularSystem, start: str, samples: int, seed: int) -> dict[str, float]:
    """One generator, freshly made, and its first samples."""
    began = time.perf_counter()
    generator = bf.BoltzmannGenerator.for_system(system, layers=1, hidden=(8,), start=start, seed=seed)  # type: ignore[arg-type]
    took, spent = time.perf_counter() - began, generator.potential.evaluations
    ensemble = generator.sample(samples, seed=seed, batch_size=min(samples, 1024))
    lowest = float(generator.potential.energy(torch.tensor(system.positions)[None])[0])
    above = (ensemble.energies - lowest) / thermal_energy(system.temperature)
    return {
        "ess": samples * ensemble.ess,
        "mean": float(above[above < CLASH].mean()),
        "median": float(np.median(above)),
        "ninth_decile": float(np.quantile(above, 0.9)),
        "share_below_1e6_kT": float((above < CLASH).mean()),
        "share_near": float((above < 10 * len(generator.flow.domain)).mean()),
        "evaluations": spent,
        "seconds": took,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--systems", nargs="+", default=sorted(available_systems()), help="names of the library")
    parser.add_argument("--samples", type=int, default=20_000, help="samples of each generator")
    parser.add_argument("--seeds", type=int, default=3, help="generators of each kind; medians are printed")
    options = parser.parse_args()
    for name in options.systems:
        system = bf.load_system(name)
        for start in STARTS:
            runs = [measure(system, start, options.samples, seed) for seed in range(options.seeds)]
            medians = {key: float(f"{statistics.median(run[key] for run in runs):.4g}") for key in runs[0]}
            size = {"system": name, "coordinates": len(system.coordinates().domain), "start": start}
            print(json.dumps(size | medians | {"samples": options.samples, "seeds": options.seeds}), flush=True)


if __name__ == "__main__":
    main()
