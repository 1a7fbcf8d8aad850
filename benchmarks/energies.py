"""Energies and forces of molecules: native torch against the best that OpenMM does on the same cores.

    python benchmarks/energies.py [--systems NAME …] [--batch 1024] [--repeats 15] [--threads 2]

Prints one JSON line a result. "Operations" are the elements that torch's own operations write for one frame, sums
counted by what they read; a transcendental function counts as one, so the rate is a lower bound. The machine's rate
beside it is that of large float32 matrix products on all threads.

All contenders take turns within each repeat, so that whatever else the machine does hits them alike; medians over
the repeats are reported. This script (never the library) sets glibc's allocator to keep freed memory, torch's number
of threads, and OMP_WAIT_POLICY=PASSIVE: a thread that waits for another one by spinning may hold the very core that
the other one needs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform as machine
import resource
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import openmm
import openmm.unit as u
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import boltzflow as bf
from boltzflow.energies import OpenMMPotential, TorchPotential
from boltzflow.process import keep_freed_memory

SYSTEMS = ("alanine_dipeptide", "alanine_dipeptide_vacuum", "ala5", "chignolin")


def thermal_frames(system: openmm.System, positions: np.ndarray, n: int) -> np.ndarray:
    """`n` frames of dynamics at 300 K, nm."""
    integrator = openmm.LangevinMiddleIntegrator(300.0, 5.0, 0.001)
    integrator.setRandomNumberSeed(1)
    properties = {"Threads": "1"}
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"), properties)
    context.setPositions(positions)
    context.setVelocitiesToTemperature(300.0, 1)
    frames = []
    for _ in range(n):
        integrator.step(5)
        frames.append(context.getState(getPositions=True).getPositions(asNumpy=True).value_in_unit(u.nanometer))
    return np.array(frames)


def openmm_loop(system: openmm.System, platform: str, properties: dict[str, str]) -> Callable[[np.ndarray], object]:
    """The plain loop over a persistent Context."""
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(platform), properties
    )

    def evaluate(frames: np.ndarray) -> float:
        total = 0.0
        for frame in frames:
            context.setPositions(frame)
            state = context.getState(getEnergy=True, getForces=True)
            total += state.getPotentialEnergy()._value + state.getForces(asNumpy=True)._value[0, 0]
        return total

    return evaluate


def seconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def benchmark(name: str, batch: int, repeats: int, threads: int) -> None:
    """Prints the results of one system."""
    molecule = bf.load_system(name)
    system = molecule.openmm_system
    frames = thermal_frames(system, molecule.positions, batch)
    tasks: dict[str, Callable[[], object]] = {}

    potential, eager = TorchPotential(system), TorchPotential(system, compile=False)
    singles = torch.tensor(frames, dtype=torch.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first_call = seconds(lambda: potential.energy_and_forces(singles))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    operations = count_operations(eager, singles[:2]) / 2
    report(
        system=name,
        what="cost of native float32",
        atoms=system.getNumParticles(),
        operations_per_frame=round(operations),
        first_call_s=round(first_call, 1),
        peak_memory_mib=round(grown),
    )
    for dtype in (torch.float32, torch.float64):
        x = singles.to(dtype)
        tasks[f"native {str(dtype).removeprefix('torch.')}"] = lambda x=x: potential.energy_and_forces(x)
    tasks["native float32, not compiled"] = lambda: eager.energy_and_forces(singles)
    loops = {"OpenMM Reference, 1 process": ("Reference", {})}
    loops |= {f"OpenMM CPU, 1 process, threads {t}": ("CPU", {"Threads": str(t)}) for t in range(1, threads + 1)}
    for label, (platform, properties) in loops.items():
        loop = openmm_loop(system, platform, properties)
        tasks[label] = lambda loop=loop: loop(frames)
    with ExitStack() as stack:
        doubles = torch.tensor(frames, dtype=torch.float64)
        for platform in ("Reference", "CPU"):
            for workers in range(1, threads + 1):
                bridge = stack.enter_context(OpenMMPotential(system, platform=platform, workers=workers))
                tasks[f"OpenMM {platform}, workers {workers}"] = lambda b=bridge: b.energy_and_forces(doubles)
        for task in tasks.values():  # compile, start processes
            task()
        times: dict[str, list[float]] = {label: [] for label in tasks}
        for _ in range(repeats):
            for label, task in tasks.items():
                # The native task is short: the best of many calls would flatter it, so their mean counts.
                calls = 20 if label in ("native float32", "native float64") else 1
                times[label].append(sum(seconds(task) for _ in range(calls)) / calls)
    medians = {label: 1e6 * statistics.median(values) / batch for label, values in times.items()}
    report(
        system=name,
        what="rate of native float32",
        gigaoperations_per_s=round(1e-3 * operations / medians["native float32"], 1),
    )
    for label, value in medians.items():
        spread = [round(1e6 * q / batch, 3) for q in (min(times[label]), max(times[label]))]
        report(system=name, what=label, microseconds_per_frame=round(value, 3), range=spread, batch=batch)
    best = min((label for label in medians if label.startswith("OpenMM")), key=medians.__getitem__)
    reference = min(value for label, value in medians.items() if label.startswith("OpenMM Reference, 1"))
    for label in (label for label in medians if label.startswith("native")):
        report(
            system=name,
            what=f"ratio of {label}",
            best_openmm=best,
            to_best_openmm=round(medians[best] / medians[label], 1),
            to_reference_platform=round(reference / medians[label], 1),
        )


class _Counter(TorchDispatchMode):
    """Counts the elements that operations write, and those that reductions read."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.pointwise in func.tags:
            self.count += result.numel()
        elif func.overloadpacket in (torch.ops.aten.sum, torch.ops.aten.mm, torch.ops.aten.bmm):
            self.count += args[0].numel()
        return result


def count_operations(potential: TorchPotential, frames: torch.Tensor) -> int:
    with torch.no_grad(), _Counter() as counter:
        potential.energy_and_forces(frames)
    return counter.count


def matrix_product_rate() -> float:
    """Operations a second of large float32 matrix products."""
    matrix = torch.randn(2048, 2048)
    matrix @ matrix
    return 2 * 2048**3 / min(seconds(lambda: matrix @ matrix) for _ in range(5))


def report(**values: object) -> None:
    print(json.dumps(values), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--systems", nargs="+", default=SYSTEMS, help="names of the library")
    parser.add_argument("--batch", type=int, default=1024, help="frames a batch")
    parser.add_argument("--repeats", type=int, default=15, help="repeats, each with all contenders")
    parser.add_argument("--threads", type=int, default=2, help="cores to use, for every contender")
    options = parser.parse_args()
    kept = keep_freed_memory()
    torch.set_num_threads(options.threads)
    report(
        what="settings",
        keep_freed_memory=kept,
        omp_wait_policy=os.environ.get("OMP_WAIT_POLICY"),
        threads=options.threads,
        repeats=options.repeats,
        torch=torch.__version__,
        openmm=openmm.__version__,
        machine=machine.machine(),
        vector_instructions=torch.backends.cpu.get_cpu_capability(),
        matrix_products_gflops=round(matrix_product_rate() / 1e9, 1),
    )
    for name in options.systems:
        benchmark(name, options.batch, options.repeats, options.threads)


if __name__ == "__main__":
    if "OMP_WAIT_POLICY" not in os.environ:  # OpenMP reads it when torch is loaded, so the program starts anew
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"})
    main()
