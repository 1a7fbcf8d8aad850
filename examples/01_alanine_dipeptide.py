"""Alanine dipeptide from its force field alone: train, sample, reweight.

python examples/01_alanine_dipeptide.py                       # about ten minutes on two cores
python examples/01_alanine_dipeptide.py --steps 5 --samples 200 --layers 2      # only to see that it runs
"""

import argparse

import mdtraj

import boltzflow as bf

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=5000)
parser.add_argument("--samples", type=int, default=100_000)
parser.add_argument("--layers", type=int, default=10)
args = parser.parse_args()

system = bf.load_system("alanine_dipeptide")
generator = bf.BoltzmannGenerator.for_system(system, layers=args.layers, hidden=(192, 192))
bf.train(generator, method="reverse_kl", steps=args.steps, batch_size=512)
ensemble = generator.sample(args.samples, seed=1)


def in_rare_basin(trajectory: mdtraj.Trajectory):
    """1 where 0 < φ < 2.2 rad."""
    phi = mdtraj.compute_phi(trajectory)[1][:, 0]
    return (phi > 0.0) & (phi < 2.2)


population, distance = (
    ensemble.mean(in_rare_basin),
    ensemble.mean(lambda t: mdtraj.compute_distances(t, [[1, 18]])[:, 0]),
)
print(f"effective sample size: {ensemble.ess:.1%} of {len(ensemble)}, {ensemble.failed} failed")
print(f"log Z = {ensemble.log_z.value:.3f} ± {ensemble.log_z.error:.3f}")
print(f"share of 0 < φ < 2.2 rad: {population.value:.4f} ± {population.error:.4f}")
print(f"end-to-end distance: {distance.value:.4f} ± {distance.error:.4f} nm")
