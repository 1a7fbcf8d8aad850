"""Internal coordinates ↔ positions of molecules: boltzflow against placement by three earlier atoms.

    python benchmarks/coordinates.py [--molecules NAME …] [--batch 1024] [--rounds 5] [--threads 2] [--dtype float64]

The peer is written here from published formulas, batch first and in plain torch, as packages for Boltzmann generators
have it. Positions: natural extension reference frames (J. Parsons et al., J. Comput. Chem. 26, 1063 (2005), doi
10.1002/jcc.20237) place an atom by its distance, angle and dihedral with three earlier ones. "atom by atom" does so in
a loop over atoms (F. Noé et al., Science 365, eaaw1147 (2019), for molecules without Cartesian atoms). "block by
block" takes at once all atoms whose three earlier ones are there, which is what the packages boltzgen and bgflow do.
Internal coordinates: all atoms at once from gathered positions, angles by acos, dihedrals by atan2. The
log-determinant is the sum of 2 log b + log sin θ, without automatic differentiation. Nothing is normalised twice and
nothing is checked on the way, which the packages do. "functions first" takes, beyond them, sines and cosines of all
atoms before the loop.

Both get structures drawn from the same start density. The peer's z-matrix has a dihedral for each atom against the
same three atoms for all siblings, so its blocks are as few as the tree allows. Before anything is timed, both must
give the same positions and volumes.

Directions: "forward" is internal → positions, "inverse" is back, each with its log-volume; "with gradient" adds the
gradient of both results. Inputs and incoming gradients are batch first and contiguous, which is the peer's layout;
boltzflow's results are views with the batch last, and `transposing_copy_ms` is what it costs to lay positions out
anew. boltzflow compiles `forward` for users, `inverse` it leaves eager; here both are shown both ways. First calls,
which compile, are stated apart; the compiler finds nothing in its cache on disk. The peer is compiled as well, as
contenders of its own, for molecules of at most --compile-peer-up-to atoms: its loops become code of that length.

Contenders take turns in every round, each turn as many calls as fill --seconds; the figures are median and minimum
over rounds. "ratio_to_boltzflow" is the ratio of medians to boltzflow compiled, "cores" the processor time over the
time, which says how many cores a contender used, or got. "ns_per_atom" is for one atom of one structure.

The floor: a structure's coordinates are read and its positions written once, 6 numbers an atom (as many again with
gradients); some 65 sums and products an atom; sine and cosine of angle and rotation, the logarithms of b and sin θ.
A copy of the positions and those six functions are timed as torch does them. "matrix_flops_per_atom" is what
boltzflow's constant matrices add, and "matrix_ms" their time at the machine's rate of large matrix products.

One JSON line a result. This script (never the library) sets glibc's allocator to keep freed memory, torch's number of
threads, and OMP_WAIT_POLICY=PASSIVE, for all contenders.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from energies import matrix_product_rate, report, seconds
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import boltzflow as bf
from boltzflow.coordinates import InternalCoordinates
from boltzflow.coordinates.tree import levels
from boltzflow.core.compilation import compile_method, compiler_works
from boltzflow.core.distributions import Independent
from boltzflow.process import keep_freed_memory

ROOT = Path(__file__).parents[1]
MOLECULES = {
    "alanine_dipeptide": ("systems/alanine_dipeptide/topology.pdb", ["amber96.xml"]),
    "ala5": ("systems/ala5/topology.pdb", ["amber99sbildn.xml"]),
    "chignolin": ("systems/chignolin/topology.pdb", ["amber14/protein.ff14SB.xml"]),
    "twenty_residues": ("tests/coordinates/data/twenty_residues.pdb", ["amber99sbildn.xml"]),
}
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-9}  # nm, and for log-volumes relative
PAIRS = 1000

Map = Callable[[Tensor], tuple[Tensor, Tensor]]


class Peer:
    """Distances, angles and dihedrals (batch, 3N−6) ↔ positions (batch, N, 3), each with its log-volume.

    Args:
        rows: (atom, parent, grandparent, reference) of a z-matrix.
    """

    def __init__(self, rows: Sequence[tuple[int, int, int, int]]) -> None:
        references = {(row[1], row[2]): row[3] for row in reversed(rows[3:])}  # that of the first sibling counts
        absolute = [(a, b, c, references[b, c]) for a, b, c, _ in rows[3:]]
        block = {row[0]: 0 for row in rows[:3]}
        for row in absolute:
            block[row[0]] = 1 + max(block[atom] for atom in row[1:])
        absolute.sort(key=lambda row: block[row[0]])
        self.rows = [*rows[:3], *absolute]
        self.sizes = [list(block.values()).count(i) for i in range(1, max(block.values()) + 1)]
        place = {row[0]: i for i, row in enumerate(self.rows)}
        self.places = torch.tensor([[place[atom] for atom in row[1:]] for row in absolute])
        self.to_atoms = torch.tensor([place[atom] for atom in range(len(rows))])
        self.placements: dict[str, Map] = {
            "atom by atom": self.atom_by_atom,
            "block by block": self.block_by_block,
            "atom by atom, functions first": partial(self.atom_by_atom, functions_first=True),
        }
        self.columns = [torch.tensor([row[k] for row in self.rows[max(k, 1) :]]) for k in range(4)]

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Positions → internal coordinates, all atoms at once."""
        atoms, parents, grandparents, references = (x[:, column] for column in self.columns)
        bonds = atoms - parents
        axes = unit(grandparents - parents[:, 1:])
        lengths = torch.linalg.vector_norm(bonds, dim=-1)
        angles = torch.acos((axes * bonds[:, 1:]).sum(-1) / lengths[:, 1:])
        axes, ends = axes[:, 1:], references - grandparents[:, 1:]
        start = bonds[:, 2:] - (bonds[:, 2:] * axes).sum(-1, keepdim=True) * axes
        end = ends - (ends * axes).sum(-1, keepdim=True) * axes
        sine = (torch.linalg.cross(axes, start) * end).sum(-1)
        dihedrals = torch.atan2(sine, (start * end).sum(-1))
        return torch.cat([lengths, angles, dihedrals], 1), -log_volume(lengths, angles)

    def atom_by_atom(self, z: Tensor, functions_first: bool = False) -> tuple[Tensor, Tensor]:
        """Internal coordinates → positions, in a loop over atoms."""
        points, rest, volume = self._begin(z)
        if functions_first:
            rest = components(*rest)
        for row, *own in zip(self.places.tolist(), *(t.unbind(1) for t in rest), strict=True):
            points.append(place(*(points[i] for i in row), own if functions_first else components(*own)))
        return torch.stack(points, 1)[:, self.to_atoms], volume

    def block_by_block(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Internal coordinates → positions, in a loop over blocks of atoms that can be placed at once."""
        first, rest, volume = self._begin(z)
        points = torch.stack(first, 1)
        for places, *own in zip(self.places.split(self.sizes), *(t.split(self.sizes, 1) for t in rest), strict=True):
            earlier = (points[:, column] for column in places.unbind(1))
            points = torch.cat([points, place(*earlier, components(*own))], 1)
        return points[:, self.to_atoms], volume

    def _begin(self, z: Tensor) -> tuple[list[Tensor], Sequence[Tensor], Tensor]:
        """The first three atoms; length, angle and dihedral (batch, N−3, 1) of all others; the log-volume."""
        n = len(self.rows)
        lengths, angles, dihedrals = z.split([n - 1, n - 2, n - 3], 1)
        zero = torch.zeros_like(lengths[:, 0])
        second = torch.stack([lengths[:, 0], zero, zero], 1)
        along, across = lengths[:, 1] * angles[:, 0].cos(), lengths[:, 1] * angles[:, 0].sin()
        first = [torch.zeros_like(second), second, torch.stack([along, across, zero], 1)]
        rest = [t.unsqueeze(-1) for t in (lengths[:, 2:], angles[:, 1:], dihedrals)]
        return first, rest, log_volume(lengths, angles)


def unit(a: Tensor) -> Tensor:
    return a / torch.linalg.vector_norm(a, dim=-1, keepdim=True)


def log_volume(lengths: Tensor, angles: Tensor) -> Tensor:
    return 2 * lengths.log().sum(1) + angles.sin().log().sum(1)


def components(length: Tensor, angle: Tensor, dihedral: Tensor) -> Sequence[Tensor]:
    """Of atoms, seen from their parents, in the frame of three earlier atoms."""
    out = length * angle.sin()
    return -length * angle.cos(), out * dihedral.cos(), out * dihedral.sin()


def place(parent: Tensor, grandparent: Tensor, reference: Tensor, own: Sequence[Tensor]) -> Tensor:
    """Positions of atoms that have these components in the frame of three earlier ones."""
    axis = unit(parent - grandparent)
    normal = unit(torch.linalg.cross(grandparent - reference, axis))
    along, across, upward = own
    return parent + along * axis + across * torch.linalg.cross(normal, axis) + upward * normal


# -- what is measured ------------------------------------------------------------------------------


def values(task: Map, x: Tensor) -> None:
    with torch.no_grad():
        task(x)


def gradient(task: Map, x: Tensor, weights: tuple[Tensor, Tensor]) -> None:
    x = x.detach().requires_grad_()
    torch.autograd.grad(task(x), x, weights)


def distances(x: Tensor) -> Tensor:
    """Those of random pairs of atoms, the same ones at every call."""
    first, second = torch.randint(x.shape[1], (2, PAIRS), generator=torch.Generator().manual_seed(0))
    return torch.linalg.vector_norm(x[:, first] - x[:, second], dim=-1)


def check(coordinates: InternalCoordinates, peer: Peer, z: Tensor) -> dict[str, float]:
    """The largest differences between both; exits if they are no rounding errors."""
    x, volume = coordinates(z)
    internals, volume_back = peer.inverse(x)
    placed = [task(internals) for task in peer.placements.values()]
    volumes = torch.stack([-volume_back, *(peers_volume for _, peers_volume in placed)])
    found = {
        "distance_nm": largest(torch.stack([distances(y) - distances(x) for y, _ in placed])),
        "position_nm": largest(torch.stack([y - x for y, _ in placed])),  # both begin with the same three atoms
        "log_volume": largest((volumes - volume) / volume),
    }
    if not all(difference < TOLERANCE[z.dtype] for difference in found.values()):
        sys.exit(f"Expected the same positions and volumes from boltzflow and its peer; they differ by {found}.")
    return found


def largest(difference: Tensor) -> float:
    return float(f"{difference.abs().max().item():.2g}")


def round_trip(there: Map, back: Map, x: Tensor) -> float:
    """The largest change of a distance, nm, from positions to internal coordinates and back."""
    return largest(distances(back(there(x)[0])[0]) - distances(x))


def matrix_flops(task: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        task()
    return counter.get_total_flops()


@dataclass
class Turns:
    """Times of one contender: the mean of each turn's calls, s, and what processors spent on all of them."""

    times: list[float] = field(default_factory=list)
    wall: float = 0.0
    cpu: float = 0.0

    @property
    def median_ms(self) -> float:
        return 1e3 * statistics.median(self.times)


def take_turns(tasks: dict[str, Callable[[], object]], options: argparse.Namespace) -> dict[str, Turns]:
    for task in tasks.values():
        task()
    calls = {label: max(1, math.ceil(options.seconds / seconds(task))) for label, task in tasks.items()}
    turns = {label: Turns() for label in tasks}
    for _ in range(options.rounds):
        for label, task in tasks.items():
            turn, start = turns[label], time.process_time()
            wall = sum(seconds(task) for _ in range(calls[label]))
            turn.cpu += time.process_time() - start
            turn.wall += wall
            turn.times.append(wall / calls[label])
    return turns


def benchmark(name: str, options: argparse.Namespace, matrix_rate: float) -> dict[tuple[str, str], float]:
    """Prints the results of one molecule; the time of an atom, ns, by direction and contender."""
    torch.compiler.reset()  # else the molecules would share the limit on compilations of one function
    path, forcefield = MOLECULES[name]
    molecule = bf.MolecularSystem.from_pdb(ROOT / path, forcefield, constraints="none")
    coordinates, compiled = molecule.coordinates(), molecule.coordinates()
    for method in ("forward", "inverse"):
        compile_method(compiled, method, dynamic=False)
    rows = coordinates.zmatrix.rows
    peer = Peer(rows)
    n, batch, dtype = molecule.n_atoms, options.batch, getattr(torch, options.dtype)
    say = partial(report, molecule=name, atoms=n)

    base = Independent(coordinates.domain, coordinates.centers, coordinates.widths)
    exact = base.sample(batch, generator=torch.Generator().manual_seed(0))[0].double()
    z = exact.to(dtype)
    for kind in dict.fromkeys((torch.float64, dtype)):
        say(what=f"largest difference between boltzflow and peer, {kind}", **check(coordinates, peer, exact.to(kind)))
    x = coordinates(z)[0].contiguous()
    own = peer.inverse(x)[0]
    say(
        what=f"round trip in {options.dtype}, largest change of a distance",
        boltzflow_nm=round_trip(coordinates.inverse, coordinates, x),
        peer_nm=round_trip(peer.inverse, peer.atom_by_atom, x),
        boltzflow_forward_alone_nm=largest(distances(x) - distances(coordinates(exact)[0])),
    )
    say(what="steps of placement", boltzflow=max(levels(rows).values()), peer=len(peer.sizes), peer_atoms=n - 3)

    transposed, kept, functions = coordinates(z)[0], torch.empty_like(x), torch.empty_like(x[..., 0])
    angles = torch.rand_like(functions)
    floors = {
        "copy": lambda: kept.copy_(x),
        "transposing copy": lambda: kept.copy_(transposed),
        "functions": lambda: [f(angles, out=functions) for f in (torch.sin, torch.cos, torch.log) * 2],
    }
    floors_ms = {label: round(turns.median_ms, 3) for label, turns in take_turns(floors, options).items()}
    contenders: dict[str, dict[str, tuple[Map, Tensor]]] = {
        "forward": {
            "boltzflow compiled": (compiled.forward, z),
            "boltzflow eager": (coordinates.forward, z),
            **{f"peer, {label}": (task, own) for label, task in peer.placements.items()},
        },
        "inverse": {
            "boltzflow compiled": (compiled.inverse, x),
            "boltzflow eager": (coordinates.inverse, x),
            "peer": (peer.inverse, x),
        },
    }
    if n <= options.compile_peer_up_to:
        for tasks in contenders.values():
            compiled_peers = {
                f"{label}, compiled": (torch.compile(task, dynamic=False), argument)
                for label, (task, argument) in tasks.items()
                if label.startswith("peer")
            }
            tasks.update(compiled_peers)

    per_atom = {}
    for direction, maps in contenders.items():
        result = x if direction == "forward" else z
        weights = (torch.randn(result.shape, dtype=dtype), torch.ones(batch, dtype=dtype))
        for suffix, call in (("", values), (", with gradient", partial(gradient, weights=weights))):
            what = direction + suffix
            tasks = {label: partial(call, *pair) for label, pair in maps.items()}
            for label in tasks:
                if label.endswith("compiled"):
                    say(what=f"first call, {what}", contender=label, first_call_s=round(seconds(tasks[label]), 1))
            flops = matrix_flops(tasks["boltzflow eager"])
            say(
                what=f"floor, {what}",
                bytes_per_atom=6 * x.element_size() * (2 if suffix else 1),
                copy_ms=floors_ms["copy"],
                transposing_copy_ms=floors_ms["transposing copy"],
                functions_ms=floors_ms["functions"],
                matrix_flops_per_atom=round(flops / batch / n),
                matrix_ms=round(1e3 * flops / matrix_rate, 3),
            )
            turns = take_turns(tasks, options)
            ours, eager = turns["boltzflow compiled"].median_ms, turns["boltzflow eager"].median_ms
            for label, own_turns in turns.items():
                median = own_turns.median_ms
                per_atom[what, label] = 1e6 * median / batch / n
                say(
                    what=what,
                    contender=label,
                    median_ms=round(median, 3),
                    min_ms=round(1e3 * min(own_turns.times), 3),
                    cores=round(own_turns.cpu / own_turns.wall, 2),
                    ns_per_atom=round(per_atom[what, label], 2),
                    ratio_to_boltzflow=round(median / ours, 2),
                    ratio_to_boltzflow_eager=round(median / eager, 2),
                )
    return per_atom


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--molecules", nargs="+", choices=MOLECULES, default=list(MOLECULES))
    parser.add_argument("--batch", type=int, default=1024, help="structures a batch")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, each with all contenders")
    parser.add_argument("--seconds", type=float, default=0.1, help="of one contender's turn, at least one call")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--compile-peer-up-to", type=int, default=22, metavar="ATOMS", help="compile the peer as well")
    options = parser.parse_args()
    if not compiler_works():
        sys.exit("Expected a working compiler: what users get is compiled.")
    kept = keep_freed_memory()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rate = matrix_product_rate() / (1 if options.dtype == "float32" else 2)
    report(
        what="settings",
        keep_freed_memory=kept,
        **vars(options),
        torch=torch.__version__,
        vector_instructions=torch.backends.cpu.get_cpu_capability(),
        matrix_products_gflops=round(rate / 1e9, 1),
    )
    found = {name: benchmark(name, options, rate) for name in options.molecules}
    for what, contender in dict.fromkeys(key for results in found.values() for key in results):
        costs = [results[what, contender] for results in found.values() if (what, contender) in results]
        report(
            what=f"cost per atom, {what}",
            contender=contender,
            ns_per_atom=[round(cost, 2) for cost in costs],
            last_to_first=round(costs[-1] / costs[0], 2),
        )


if __name__ == "__main__":
    # OpenMP and the compiler read these when torch is loaded, so the program starts anew.
    wanted = {"OMP_WAIT_POLICY": "PASSIVE", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    if not wanted.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**wanted, **os.environ})
    main()
