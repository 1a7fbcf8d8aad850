"""Whether results can be trusted: weights, lost basins, simulation frames, replicas, references, geometry."""

from boltzflow.analysis.checks.collapse import CollapseCheck, check_collapse
from boltzflow.analysis.checks.comparison import Comparison, Distance, compare
from boltzflow.analysis.checks.diagnostics import WeightDiagnostics, diagnose
from boltzflow.analysis.checks.distances import jensen_shannon, kl_divergence, total_variation, wasserstein
from boltzflow.analysis.checks.forward import ForwardCheck, check_forward
from boltzflow.analysis.checks.geometry import GeometryCheck, check_geometry, inverted_chirality
from boltzflow.analysis.checks.references import Reference, as_reference
from boltzflow.analysis.checks.replicas import ReplicaCheck, compare_replicas

__all__ = [
    "CollapseCheck",
    "Comparison",
    "Distance",
    "ForwardCheck",
    "GeometryCheck",
    "Reference",
    "ReplicaCheck",
    "WeightDiagnostics",
    "as_reference",
    "check_collapse",
    "check_forward",
    "check_geometry",
    "compare",
    "compare_replicas",
    "diagnose",
    "inverted_chirality",
    "jensen_shannon",
    "kl_divergence",
    "total_variation",
    "wasserstein",
]
