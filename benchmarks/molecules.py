"""Untuned generators of small molecules: effective sample size, check for lost basins, rotamers against a simulation.

python benchmarks/molecules.py [val ser phe pro trp his o_cresol aspirin ibuprofen glucose crown …] [--preset standard]

The names are those below and of the library; SMILES need `pip install "boltzflow[ligands]"`. `benchmarks/gallery.py`
makes docs/gallery.md from the results.

Each molecule is trained with a preset and nothing else. 200 000 samples give the ESS and the populations of the
rotamers (the `torsion_states` of each of `named_torsions`). A parallel tempering of another seed, which never sees the
flow, gives the same populations, with errors from its ladders. Hotelling's T² of all populations together, with their
correlations, gives a p-value. A line of JSON for each goes to `--out`. A molecule whose training has ended is not
trained again. Training times are wall times over all parts of a training that was resumed.
"""

import argparse
import json
import platform
import resource
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import f

import boltzflow as bf
from boltzflow.analysis import check_collapse, diagnose, population_of
from boltzflow.analysis.estimates import torsion_states
from boltzflow.molecules import named_torsions, torsion_values
from boltzflow.simulation import Langevin, ParallelTempering, Particles, TemperingOptions

EXAMPLES = Path(__file__).parent.parent / "examples"
SOURCES: dict[str, dict[str, Any]] = {
    "val": {"sequence": "V"},
    "ser": {"sequence": "S"},
    "phe": {"sequence": "F"},
    "trp": {"sequence": "W"},
    "pro": {"sequence": "P"},
    "his": {"sequence": "H", "hydrogens_at_ph": 4.0},
    "o_cresol": {
        "source": EXAMPLES / "own_molecule" / "o_cresol.pdb",
        "forcefield": [EXAMPLES / "own_molecule" / "forcefield.xml"],
    },
    "aspirin": {"smiles": "CC(=O)Oc1ccccc1C(=O)O"},
    "ibuprofen": {"smiles": "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O"},
    "glucose": {"smiles": "OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O"},
    "crown": {"smiles": "C1COCCOCCOCCO1"},
}
"""Arguments of `read_molecule`. Glucose is β-D-glucopyranose, the crown ether 12-crown-4, a macrocycle."""

DEFAULT = ("val", "ser", "phe", "pro", "o_cresol", "cyclohexane")
SAMPLES = 200_000
REFERENCE_SEED = 1234
_NO_SCATTER = 1e-3  # of the largest eigenvalue


def system_of(name: str) -> bf.MolecularSystem:
    return bf.read_molecule(**SOURCES[name]) if name in SOURCES else bf.load_system(name)


def cpu_seconds() -> float:
    """Of this process and its children, which compile."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def reference_of(system: bf.MolecularSystem, picoseconds: float) -> bf.Ensemble:
    """Frames at the system's temperature, from ladders that never saw a flow."""
    constrained = system.openmm_system.getNumConstraints() > 0
    particles, timestep = Particles.of(system, 3.0), 0.004 if constrained else 0.002
    dynamics = Langevin(system.potential(), particles, friction=2.0, timestep=timestep)
    # At 900 K a chair of cyclohexane keeps its sign for 20 ps, and the initial structure is not forgotten.
    temperatures = np.geomspace(system.temperature, 1200.0, 8).tolist()
    sampler = ParallelTempering(dynamics, temperatures, 64, keep=[0], topology=system.mdtraj_topology)
    options = TemperingOptions(picoseconds, picoseconds / 4, swap_every=0.2, record_every=0.4, seed=REFERENCE_SEED)
    return sampler.run(torch.from_numpy(system.positions).float(), options).ensemble(temperatures[0])


Rotamers = dict[str, tuple[float, float, str]]


Indicators = dict[str, NDArray[np.bool_]]


def rotamer_indicators(system: bf.MolecularSystem, ensembles: tuple[bf.Ensemble, bf.Ensemble]) -> list[Indicators]:
    """Which frames of each ensemble are in each state of each torsion; the states are those of both together."""
    torsions = named_torsions(system)
    angles = [torsion_values(torch.from_numpy(e.positions), torsions).double().numpy() for e in ensembles]
    weights = np.concatenate([e.weights for e in ensembles])
    found: list[Indicators] = [{}, {}]
    for k, torsion in enumerate(torsions):
        states = torsion_states(torsion, np.concatenate([values[:, k] for values in angles]), weights)
        for side, values in zip(found, angles, strict=True):
            labels = states.labels(values[:, k])
            side |= {f"{torsion.name} {name}": labels == state for state, name in enumerate(states.names)}
    return found


def populations(ensemble: bf.Ensemble, indicators: Indicators) -> Rotamers:
    """Population, error and verdict of each rotamer."""
    found = {}
    for name, inside in indicators.items():
        share = population_of(ensemble, inside)
        found[name] = (share.value, share.error, str(share.verdict.trust))
    return found


def joint(ensemble: bf.Ensemble, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Weighted means (k,) of values (n, k), their covariance between groups, and the number of groups."""
    weights = ensemble.weights[:, None]
    means = (weights * values).sum(0)
    parts = weights * (values - means)
    if ensemble.groups is not None:
        _, group = np.unique(ensemble.groups, return_inverse=True)
        parts = np.stack([np.bincount(group, column) for column in parts.T], 1)
    number = len(parts)
    return means, parts.T @ parts * number / (number - 1), number


def agreement(ours: bf.Ensemble, theirs: bf.Ensemble, indicators: list[Indicators]) -> dict[str, float]:
    """Hotelling's T² of all populations from 1 % to 99 %, with the correlations between them, and its p-value.

    Rotamers of one torsion sum to 1, and those of a ring change together: directions without scatter are left out.
    """
    mine, reference = indicators
    means = [joint(e, np.stack(list(i.values()), 1).astype(float)) for e, i in ((ours, mine), (theirs, reference))]
    (a, of_a, _), (b, of_b, ladders) = means
    chosen = np.maximum(np.minimum(a, 1 - a), np.minimum(b, 1 - b)) > 0.01
    if not chosen.any():
        return {"t2": 0.0, "directions": 0, "p": 1.0}
    covariance = (of_a + of_b)[np.ix_(chosen, chosen)]
    scale = np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    kept = values > _NO_SCATTER * values.max()
    t2 = float((((a - b)[chosen] / scale @ vectors)[kept] ** 2 / values[kept]).sum())
    k = int(kept.sum())
    p = f.sf(t2 * (ladders - k) / (k * (ladders - 1)), k, ladders - k)
    return {"t2": t2, "directions": k, "p": float(p)}


def measure(name: str, arguments: argparse.Namespace) -> dict[str, object]:
    system = system_of(name)
    started = cpu_seconds()
    generator = bf.BoltzmannGenerator.for_system(system, preset=arguments.preset, seed=arguments.seed)
    directory = Path(arguments.runs) / f"{name}-{arguments.preset}-{arguments.seed}"
    resume = (directory / "checkpoints" / "last.safetensors").exists()
    history = bf.train(
        generator, preset=arguments.preset, seed=arguments.seed, directory=directory, resume=resume, progress=False
    )
    trained = cpu_seconds() - started
    generator.save(directory / "generator.safetensors")
    ensemble = generator.sample(SAMPLES, seed=arguments.seed + 1)
    weights = diagnose(ensemble)
    collapse = check_collapse(generator, ensemble, seed=arguments.seed + 2)
    reference = reference_of(system, arguments.picoseconds)
    indicators = rotamer_indicators(system, (ensemble, reference))
    ours, theirs = populations(ensemble, indicators[0]), populations(reference, indicators[1])
    return {
        "molecule": name,
        "atoms": system.n_atoms,
        "coordinates": len(generator.flow.domain),
        "preset": arguments.preset,
        "seed": arguments.seed,
        "steps": history.last.step,
        "energy_evaluations": history.last.energy_evaluations,
        "sample_gradients": history.last.step * generator.provenance["batch_size"],
        "training_seconds": round(history.last.seconds),
        "cpu_seconds": None if resume else round(trained),
        "ess": weights.ess,
        "ess_clipped": weights.ess_clipped,
        "pareto_k": weights.pareto_k,
        "log_z": [weights.log_z.value, weights.log_z.error],
        "verdict": str(weights.verdict),
        "lost_basins": str(collapse.verdict),
        "rotamers": ours,
        "reference": theirs,
        "largest_relative_error": max(error / share for share, error, _ in ours.values() if share > 0.01),
        **agreement(ensemble, reference, indicators),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("molecules", nargs="*", default=DEFAULT)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picoseconds", type=float, default=200.0, help="length of the reference")
    parser.add_argument("--runs", default="runs/molecules")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/molecules.jsonl"))
    arguments = parser.parse_args()
    for name in arguments.molecules:
        row = measure(name, arguments)
        with arguments.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print({key: value for key, value in row.items() if key not in ("rotamers", "reference")}, flush=True)


if __name__ == "__main__":
    main()
