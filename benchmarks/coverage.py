"""Whether 95 % intervals that come with "Trust" hold: repeated ensembles whose truth is known in closed form.

Targets are D springs at kT = 1 with U ~ Gamma(D/2), drawn by a Gaussian that is too narrow or too wide; log-normal and
Pareto weights; correlated groups. `python benchmarks/coverage.py --ensembles 400 --sizes 1000 10000 100000` appends a
line for each cell to coverage.jsonl, leaves out those that are there, and `--page` prints the tables.
"""

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binom, gamma, norm

from boltzflow.analysis import absolute_free_energy, heat_capacity, mbar, population_of, temperature_series
from boltzflow.ensemble import Ensemble
from boltzflow.estimate import Estimate
from boltzflow.units import GAS_CONSTANT, thermal_energy
from boltzflow.verdict import Trust

KELVIN, HOTTER = 300.0, 330.0
KT, R = thermal_energy(KELVIN), 1e3 * GAS_CONSTANT
RESULTS = Path(__file__).with_suffix(".jsonl")
DIMENSIONS, WIDTHS = (1, 10, 30, 60), (0.6, 0.7, 0.8, 0.87, 0.93, 0.97, 1.03, 1.1, 1.25, 1.4)

# (quantity, trusted, held, true tail index of the integrand)
Outcome = tuple[str, bool, bool, float]


def outcome(name: str, estimate: Estimate, trust: Trust, truth: float, index: float) -> Outcome:
    low, high = estimate.interval(0.95)
    return name, trust is Trust.TRUST, bool(low <= truth <= high), index


def weighted(name: str, estimate: Estimate, truth: float, index: float) -> Outcome:
    return outcome(name, estimate, estimate.verdict.trust, truth, index)


def ensemble(energies: np.ndarray, log_weights: np.ndarray, groups: np.ndarray | None = None) -> Ensemble:
    n = len(energies)
    return Ensemble(np.zeros((n, 1, 3)), energies, KELVIN, log_weights, log_q=np.zeros(n), groups=groups)


def gaussian(rng: np.random.Generator, n: int, dimensions: int, width: float, groups: int = 0) -> Iterator[Outcome]:
    """Springs: x ~ N(0, width²) in each of D dimensions, p = N(0, 1). In `groups`: half is shared."""
    if groups:
        shared = np.repeat(rng.normal(size=(groups, dimensions)), -(-n // groups), axis=0)[:n]
        half = 0.5 * np.square((shared + rng.normal(size=shared.shape)) / math.sqrt(2.0)).sum(1)
    else:
        half = rng.gamma(dimensions / 2, 1.0, n)
    u = width**2 * half
    log_weights = half - u + dimensions * math.log(width) + dimensions / 2 * math.log(2 * math.pi)
    members = np.arange(n) // -(-n // groups) if groups else None
    samples, shape, index = ensemble(KT * u, log_weights, members), dimensions / 2, max(0.0, 1 - width**2)
    log_z = shape * math.log(2 * math.pi)
    yield weighted("mean energy", samples.mean(samples.energies), KT * shape, index)
    yield weighted("heat capacity", heat_capacity(samples), R * shape, index)
    found = absolute_free_energy(samples)
    yield outcome("log Z", found.log_z, found.verdict.trust, log_z, index)
    edge = gamma.ppf(0.9, shape)
    share = population_of(samples, u > edge)
    low, high = share.interval(0.95)
    yield "population", share.verdict.trust is Trust.TRUST, low <= 0.1 <= high, index
    if dimensions == 10:  # the dearest, by bisection
        yield weighted("quantile", samples.quantile(u, 0.9), edge, index)
    series, ratio = temperature_series(samples, [HOTTER]), HOTTER / KELVIN
    there, trust = max(0.0, 1 - width**2 / ratio), series.verdicts[0].trust
    log_z_there = log_z + shape * math.log(ratio)
    truths = {
        "F at T′": (series.free_energy, -GAS_CONSTANT * HOTTER * log_z_there),
        "S at T′": (series.entropy, R * (shape + log_z_there)),
        "C at T′": (series.heat_capacity, R * shape),
    }
    for name, (estimate, truth) in truths.items():
        (low,), (high,) = estimate.interval(0.95)
        yield name, trust is Trust.TRUST, bool(low <= truth <= high), there


def tails(
    rng: np.random.Generator, n: int, log_weights: np.ndarray, log_mean: float, index: float
) -> Iterator[Outcome]:
    """An observable that weights know nothing of."""
    x = rng.normal(size=n)
    samples = ensemble(KT * x, log_weights)
    yield weighted("mean energy", samples.mean(samples.energies), 0.0, index)
    yield weighted("log Z", samples.log_z, log_mean, index)
    share = population_of(samples, x > 1.0)
    low, high = share.interval(0.95)
    yield "population", share.verdict.trust is Trust.TRUST, bool(low <= norm.sf(1.0) <= high), index
    yield weighted("quantile", samples.quantile(x, 0.9), norm.ppf(0.9), index)


def log_normal(rng: np.random.Generator, n: int, sigma: float) -> Iterator[Outcome]:
    return tails(rng, n, sigma * rng.normal(size=n), sigma**2 / 2, 0.0)


def pareto(rng: np.random.Generator, n: int, index: float) -> Iterator[Outcome]:
    return tails(rng, n, index * rng.exponential(size=n), -math.log(1 - index), index)


def differences(rng: np.random.Generator, n: int, dimensions: int, stiffness: float) -> Iterator[Outcome]:
    """Springs of stiffness 1 and another, and one between: samples of the first, of both, of all three."""
    springs = np.array([1.0, stiffness, math.sqrt(stiffness)])
    for name, counts in (("ΔF one-sided", (n, 0)), ("ΔF BAR", (n, n)), ("ΔF MBAR", (n, n, n))):
        k = springs[: len(counts)]
        half = np.concatenate([rng.gamma(dimensions / 2, 1.0, m) / own for m, own in zip(counts, k, strict=True)])
        labels = [f"{spring:g}" for spring in range(len(k))]
        found = mbar(np.outer(k, half), list(counts), names=labels, temperatures=[KELVIN] * len(k))
        truth = dimensions / 2 * math.log(stiffness)
        index = max(0.0, 1 - stiffness) if name == "ΔF one-sided" else 0.0
        yield outcome(name, found.between("0", "1"), found.verdict.trust, truth, index)


def cells(sizes: list[int]) -> Iterator[tuple[str, int, object]]:
    for n in sizes:
        for d in DIMENSIONS:
            for width in WIDTHS:
                yield f"springs D {d} width {width:g}", n, lambda rng, n, d=d, w=width: gaussian(rng, n, d, w)
        for d, width in ((1, 0.93), (10, 0.97), (10, 1.1)):
            for groups in (100, 500):
                name = f"springs D {d} width {width:g} in {groups} groups"
                yield name, n, lambda rng, n, d=d, w=width, g=groups: gaussian(rng, n, d, w, g)
        for sigma in (0.2, 0.5, 1.0, 1.5):
            yield f"log-normal weights {sigma:g}", n, lambda rng, n, s=sigma: log_normal(rng, n, s)
        for index in (0.1, 0.2, 0.3, 0.5, 0.7):
            yield f"Pareto weights {index:g}", n, lambda rng, n, k=index: pareto(rng, n, k)
        for d in (1, 10):
            for stiffness in (0.5, 0.8, 0.9, 1.25, 2.0):
                name = f"springs D {d} stiffness {stiffness:g}"
                yield name, n, lambda rng, n, d=d, k=stiffness: differences(rng, n, d, k)


def run(sizes: list[int], ensembles: int) -> None:
    known = {(row["cell"], row["n"]) for row in rows()}
    for place, (name, n, make) in enumerate(cells(sizes)):
        if (name, n) in known:
            continue
        start, found = time.process_time(), defaultdict(lambda: [0, 0, 0, 0, 0.0])
        for seed in range(ensembles):
            for quantity, trusted, held, index in make(np.random.default_rng([seed, place]), n):
                tally = found[quantity]
                tally[0] += 1
                tally[1] += trusted
                tally[2] += trusted and held
                tally[3] += held
                tally[4] = index
        names = ("ensembles", "trusted", "held", "held_of_all", "index")
        row = {"cell": name, "n": n, "seconds": round(time.process_time() - start, 1)}
        row["quantities"] = {q: dict(zip(names, tally, strict=True)) for q, tally in found.items()}
        with RESULTS.open("a") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        print(n, name, {q: (t[1], t[2]) for q, t in found.items()}, flush=True)


def rows() -> list[dict]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def page() -> None:
    """Cells with 200 trusted intervals by themselves, smaller ones pooled; Holm's test over all against 90 %."""
    tests, pooled = [], defaultdict(lambda: np.zeros(2, int))
    table: dict[tuple[str, int], np.ndarray] = defaultdict(lambda: np.zeros(4, int))
    for row in rows():
        for quantity, tally in row["quantities"].items():
            table[quantity, row["n"]] += [tally["ensembles"], tally["held_of_all"], tally["trusted"], tally["held"]]
            if tally["trusted"] >= 200:
                tests.append((f"{row['n']} {row['cell']}: {quantity}", tally["held"], tally["trusted"]))
            else:
                pooled[quantity, row["n"]] += [tally["held"], tally["trusted"]]
    tests += [(f"{n} small cells: {q}", *counts) for (q, n), counts in pooled.items() if counts[1]]
    print("| quantity | n | intervals | hold | with Trust | of these hold |\n| --- | --- | --- | --- | --- | --- |")
    for (quantity, n), (total, held, trusted, right) in sorted(table.items(), key=lambda item: item[0]):
        of_trusted = f"{right / trusted:.1%}" if trusted else "–"
        print(f"| {quantity} | {n:,} | {total:,} | {held / total:.1%} | {trusted / total:.1%} | {of_trusted} |")
    order = sorted((binom.cdf(held, trusted, 0.9), name, held, trusted) for name, held, trusted in tests)
    rejected = [t for k, t in enumerate(order) if t[0] < 0.01 / (len(order) - k)]
    low = [t for t in order if t[2] / t[3] < 0.88]
    print(f"\n{len(order)} tests; {len(rejected)} reject 'holds in ≥ 90 %' at 0.01 (Holm); {len(low)} lie below 88 %:")
    for p, name, held, trusted in order[: max(5, len(low))]:
        print(f"  {name}: {held} of {trusted} ({held / trusted:.1%}), p = {p:.2g}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ensembles", type=int, default=400)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--page", action="store_true", help="print the tables instead")
    arguments = parser.parse_args()
    if arguments.page:
        page()
    else:
        run(arguments.sizes, arguments.ensembles)
