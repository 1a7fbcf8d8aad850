"""A soft triatomic molecule with exact Cartesian averages, sampled through internal coordinates.

Three atoms on springs of zero length are a Gaussian in Cartesian space: all its averages, and its log Z, are known.
"""

import math

import numpy as np
import openmm
import pytest
import torch
from openmm import app

import boltzflow as bf
from boltzflow.analysis import temperature_series
from boltzflow.coordinates import InternalCoordinates, build_zmatrix
from boltzflow.core import Domain, Flow, layers
from boltzflow.core.distributions import Independent
from boltzflow.energies import pullback

SPRING = 500.0  # kJ/mol/nm²
TEMPERATURE = 300.0


@pytest.fixture(scope="module")
def system() -> bf.MolecularSystem:
    topology = app.Topology()
    residue = topology.addResidue("TRI", topology.addChain())
    atoms = [topology.addAtom(name, app.element.carbon, residue) for name in ("A", "B", "C")]
    force = openmm.HarmonicBondForce()
    hamiltonian = openmm.System()
    for _ in atoms:
        hamiltonian.addParticle(12.0)
    for i, j in ((0, 1), (1, 2)):
        topology.addBond(atoms[i], atoms[j])
        force.addBond(i, j, 0.0, SPRING)
    hamiltonian.addForce(force)
    positions = [[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.1, 0.1, 0.0]]
    return bf.MolecularSystem(topology, hamiltonian, positions, temperature=TEMPERATURE)


@pytest.mark.parametrize("lengths", ["bounded", "unbounded"])
def test_averages_and_log_z(system: bf.MolecularSystem, lengths: str) -> None:
    n = 200_000
    variance = bf.units.thermal_energy(TEMPERATURE) / SPRING  # of each Cartesian component of a spring
    sigma = math.sqrt(variance)
    physical = Domain.interval(1e-4, 8 * sigma, 2) + Domain.interval(1e-4, math.pi - 1e-4)
    zmatrix = build_zmatrix(system.bonds, system.positions, [6, 6, 6], system.atom_names)
    centers, widths = [1.6 * sigma, 1.6 * sigma, math.pi / 2], [0.9 * sigma, 0.9 * sigma, 0.9]
    coordinates = InternalCoordinates(zmatrix, physical, centers, widths, lengths).double()
    mask = [True, True, True]
    base = Independent(coordinates.domain, coordinates.centers, coordinates.widths).double()
    flow = Flow(base, layers.SplineCoupling(coordinates.domain, mask)).double()  # the identity, inside a flow
    target = pullback(system.target(), coordinates)
    with torch.no_grad():
        internals, log_q = flow.sample(n, generator=torch.Generator().manual_seed(5))
        log_p, energies = target.evaluate(internals)
        positions, log_volume = coordinates(internals)
    ensemble = bf.Ensemble(positions, energies, TEMPERATURE, log_p - log_q, log_q - log_volume)
    assert ensemble.ess > 0.1

    exact_log_z = 3.0 * math.log(2.0 * math.pi * variance) - math.log(8.0 * math.pi**2)
    assert abs(ensemble.log_z.value - exact_log_z) / ensemble.log_z.error < 4.0
    x = positions.numpy()
    squares = [((x[:, i] - x[:, j]) ** 2).sum(1) for i, j in ((0, 1), (1, 2), (0, 2))]
    for values, exact in zip(squares, (3 * variance, 3 * variance, 6 * variance), strict=True):
        estimate = ensemble.mean(values)
        assert abs(estimate.value - exact) / estimate.error < 4.0
        assert estimate.error < 0.02 * exact
    energy = ensemble.mean(np.asarray(energies))
    assert abs(energy.value - 3.0 * bf.units.thermal_energy(TEMPERATURE)) / energy.error < 4.0
    # Functions of temperature by the same weights: six harmonic degrees of freedom.
    kelvins = np.array([270.0, 330.0])
    series = temperature_series(ensemble, kelvins)
    kt = bf.units.GAS_CONSTANT * kelvins
    log_z = 3.0 * np.log(2.0 * math.pi * kt / SPRING) - math.log(8.0 * math.pi**2)
    exact = {
        "free_energy": -kt * log_z,
        "energy": 3.0 * kt,
        "entropy": 1e3 * bf.units.GAS_CONSTANT * (3.0 + log_z),
        "heat_capacity": np.full(2, 3e3 * bf.units.GAS_CONSTANT),
    }
    for name, values in exact.items():
        estimate = getattr(series, name)
        assert (np.abs(estimate.value - values) < 4.0 * estimate.error).all(), name
