"""Every part of `boltzflow.core`: a new part is one line in a file of its family and gets every check."""

from tests.core.registry import couplings, distributions, flows, linear, planar, residual, stochastic, targets

BIJECTIONS = couplings.BIJECTIONS | linear.BIJECTIONS | planar.BIJECTIONS | residual.BIJECTIONS
DENSITIES = distributions.DENSITIES
TARGETS = targets.TARGETS
FLOWS = flows.FLOWS
KERNELS, STOCHASTIC = stochastic.KERNELS, stochastic.STOCHASTIC
