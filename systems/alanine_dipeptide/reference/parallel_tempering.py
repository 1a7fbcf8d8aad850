"""The reference ensemble of alanine dipeptide: many independent parallel-tempering ladders on batched energies.

python systems/alanine_dipeptide/reference/parallel_tempering.py --out systems/alanine_dipeptide/reference

Each ladder has one replica at each temperature; neighbours try to swap every 100 steps. Dynamics between swaps
is Langevin (BAOAB splitting, Leimkuhler & Matthews 2013, arXiv 1203.5428). An umbrella −depth·exp(κ(cos(φ − φ₀) − 1))
holds the rare basin at φ > 0 as populated as the others, so that its share has a small error; the averages are
reweighted by exp(V/kT). Ladders never meet, so errors come from the scatter between them (jackknife over ladders).
The run can be stopped at any time: what it has is on disk.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import openmm.unit as u
import torch

import boltzflow as bf
from boltzflow.coordinates.geometry import dihedral
from boltzflow.core.distributions import Independent
from boltzflow.units import GAS_CONSTANT

PHI, PSI = (4, 6, 8, 14), (6, 8, 14, 16)
BASIN = (0.0, 2.2)  # of φ, in rad
UMBRELLA_CENTER, UMBRELLA_SHARPNESS = 1.05, 3.0  # rad, 1


def start_structures(system: bf.MolecularSystem, n: int, random: torch.Generator) -> torch.Tensor:
    """n structures (n, N, 3) with random torsions, the least strained of many: no basin is favoured."""
    coordinates = system.coordinates()
    base = Independent(coordinates.domain, coordinates.centers, coordinates.widths)
    internals, _ = base.sample(64 * n, generator=random)
    positions, _ = coordinates(internals)
    energies = system.potential(backend="torch").energy(positions.float())
    return positions[energies.argsort()[: 8 * n]][torch.randperm(8 * n, generator=random)[:n]].float()


def umbrella(phi: torch.Tensor, depth: float) -> torch.Tensor:
    """The bias V(φ) in kJ/mol."""
    return -depth * (UMBRELLA_SHARPNESS * ((phi - UMBRELLA_CENTER).cos() - 1.0)).exp()


def biased(potential: bf.energies.Potential, x: torch.Tensor, depth: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Energy (batch,) and forces (batch, N, 3), umbrella included."""
    energy, force = potential.energy_and_forces(x)
    four = x[:, PHI].detach().requires_grad_()
    bias = umbrella(dihedral(*four.unbind(1)), depth)
    (gradient,) = torch.autograd.grad(bias.sum(), four)
    force = force.index_add(1, torch.tensor(PHI), -gradient)
    return energy + bias.detach(), force


def torsions(positions: torch.Tensor) -> torch.Tensor:
    """φ and ψ (batch, 2) in rad."""
    return torch.stack([dihedral(*(positions[:, i] for i in atoms)) for atoms in (PHI, PSI)], 1)


def summarize(series: np.ndarray, temperatures: np.ndarray, depth: float) -> dict[str, object]:
    """Share of the φ > 0 basin at each temperature, umbrella removed, with its error. series: (frames, T, L, 2)."""
    phi = series[..., 0]
    inside = (phi > BASIN[0]) & (phi < BASIN[1])
    bias = umbrella(torch.from_numpy(phi), depth).numpy()
    weights = np.exp(bias / (GAS_CONSTANT * temperatures[:, None]))
    ladders, half = phi.shape[2], len(phi) // 2

    def share(frames: slice) -> np.ndarray:
        return (weights * inside)[frames].sum((0, 2)) / weights[frames].sum((0, 2))

    above, below = (weights * inside).sum(0), weights.sum(0)  # (T, L)
    without = (above.sum(1, keepdims=True) - above) / (below.sum(1, keepdims=True) - below)
    error = np.sqrt((ladders - 1) * without.var(1))
    return {
        "basin_phi_rad": BASIN,
        "temperatures_K": temperatures.tolist(),
        "population": share(slice(None)).tolist(),
        "standard_error": error.tolist(),
        "first_half": share(slice(half)).tolist(),
        "second_half": share(slice(half, None)).tolist(),
        "share_with_umbrella": inside.mean((0, 2)).tolist(),
        "frames_per_temperature": int(phi.shape[0] * ladders),
        "ladders": ladders,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picoseconds", type=float, default=150.0)
    parser.add_argument("--equilibration", type=float, default=20.0, help="ps that are thrown away")
    parser.add_argument("--ladders", type=int, default=64)
    parser.add_argument("--temperatures", type=int, default=8)
    parser.add_argument("--hottest", type=float, default=1200.0, help="K")
    parser.add_argument("--timestep", type=float, default=0.001, help="ps")
    parser.add_argument("--friction", type=float, default=2.0, help="1/ps")
    parser.add_argument("--depth", type=float, default=13.0, help="of the umbrella, kJ/mol")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    system = bf.load_system("alanine_dipeptide")
    random = torch.Generator().manual_seed(args.seed)
    ladder = np.geomspace(system.temperature, args.hottest, args.temperatures)
    shape = (args.temperatures, args.ladders)
    kt = torch.tensor(ladder * GAS_CONSTANT, dtype=torch.float32).repeat_interleave(args.ladders)[:, None, None]
    masses = [system.openmm_system.getParticleMass(i).value_in_unit(u.dalton) for i in range(system.n_atoms)]
    mass = torch.tensor(masses, dtype=torch.float32)[None, :, None]

    potential = system.potential(backend="torch")
    x = start_structures(system, args.temperatures * args.ladders, random)
    dt, decay = args.timestep, float(np.exp(-args.friction * args.timestep))
    noise_width = (1.0 - decay**2) ** 0.5 * (kt / mass).sqrt()
    v = (kt / mass).sqrt() * torch.randn(x.shape, generator=random)
    energy, force = biased(potential, x, args.depth)
    for _ in range(200):  # relax the strain of the start
        x = x + (1e-6 * force).clamp(-1e-3, 1e-3)
        energy, force = biased(potential, x, args.depth)

    steps, swap_every, record_every = round(args.picoseconds / dt), 100, 200
    skipped = round(args.equilibration / dt)
    series: list[torch.Tensor] = []
    attempts = accepted = 0
    began = time.monotonic()
    for step in range(1, steps + 1):
        v = v + 0.5 * dt * force / mass
        x = x + 0.5 * dt * v
        v = decay * v + noise_width * torch.randn(x.shape, generator=random)
        x = x + 0.5 * dt * v
        energy, force = biased(potential, x, args.depth)
        v = v + 0.5 * dt * force / mass
        if step % swap_every == 0:
            beta = (1.0 / kt.flatten()).view(shape)
            u_now = energy.view(shape)
            order = torch.arange(x.shape[0]).view(shape)
            first = (step // swap_every) % 2
            low, high = slice(first, shape[0] - 1, 2), slice(first + 1, shape[0], 2)
            log_ratio = (beta[low] - beta[high]) * (u_now[low] - u_now[high])
            swap = torch.rand(log_ratio.shape, generator=random).log() < log_ratio
            attempts, accepted = attempts + swap.numel(), accepted + int(swap.sum())
            down, up = order[low].clone(), order[high].clone()
            order[low], order[high] = torch.where(swap, up, down), torch.where(swap, down, up)
            moved = order.flatten()
            v = v[moved] * (kt / kt[moved]).sqrt()
            x, energy, force = x[moved], energy[moved], force[moved]
        if step > skipped and step % record_every == 0:
            series.append(torsions(x).view(*shape, 2))
        if series and (step % 5000 == 0 or step == steps):
            recorded = torch.stack(series).numpy()
            summary = summarize(recorded, ladder, args.depth) | {
                "settings": {name: value for name, value in vars(args).items() if name != "out"},
                "picoseconds_done": step * dt,
                "swap_acceptance": accepted / attempts,
                "energy_evaluations": potential.evaluations,
                "wall_seconds": time.monotonic() - began,
            }
            args.out.mkdir(parents=True, exist_ok=True)
            (args.out / "populations.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
            cold = recorded[:, 0].reshape(-1, 2)
            weights = (umbrella(torch.from_numpy(cold[:, 0]), args.depth) / kt[0, 0, 0]).exp().numpy()
            np.savez_compressed(args.out / "phi_psi_300K.npz", phi_psi_rad=cold.astype("f2"), weights=weights)
            population, error = summary["population"], summary["standard_error"]
            print(f"{step * dt:.0f} ps  {population[0]:.5f} ± {error[0]:.5f}", flush=True)  # type: ignore[index]


if __name__ == "__main__":
    main()
