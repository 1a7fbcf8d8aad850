"""From samples to a summary, plots and a page, in one call."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import mdtraj
import numpy
import openmm
import torch

import boltzflow
from boltzflow.analysis import plots
from boltzflow.analysis.basins import POSITIVE_PHI, positive_phi
from boltzflow.analysis.free_energy import free_energy_profile, free_energy_surface
from boltzflow.analysis.geometry import GeometryCheck, check_geometry, wrong_handed
from boltzflow.analysis.html import write_page
from boltzflow.analysis.observables import backbone_torsions
from boltzflow.analysis.populations import Population
from boltzflow.analysis.verdict import Verdict
from boltzflow.analysis.weights import diagnose
from boltzflow.ensemble import Ensemble, Estimate
from boltzflow.generator import BoltzmannGenerator
from boltzflow.molecules import MolecularSystem
from boltzflow.storage import read_json, reading, replace_file

SUMMARY, GENERATOR, METRICS = "summary.json", "generator.safetensors", "metrics.csv"

_EVALUATED = {"comparison": "reference", "forward": "density at the reference"}


@dataclass(frozen=True)
class Summary:
    """What `analyze` finds.

    Attributes:
        temperature: in K.
        frames: the number of samples n.
        failed_frames: samples whose energy could not be evaluated.
        ess: unclipped effective sample size, fraction of n.
        ess_clipped: the same with the top 1e-4 of weights clipped.
        pareto_k: shape of the weights' tail: averages are not to be trusted above 0.7.
        log_z: log of the mean weight and its error.
        verdict: whether averages can be trusted, as far as weights can tell (see `diagnose`).
        populations: weighted share of 0 < φ < 2.2 rad of each residue.
        geometry: bonds and angles against the force field; None without a system.
        wrong_handed_frames: samples of positive weight that hold an amino acid which is not left-handed.
        run: what the run that made the samples says of itself.
        versions: of Python and of the libraries.
    """

    temperature: float
    frames: int
    failed_frames: int
    ess: float
    ess_clipped: float
    pareto_k: float
    log_z: Estimate
    verdict: Verdict
    populations: dict[str, Population]
    geometry: GeometryCheck | None
    wrong_handed_frames: int
    run: dict[str, Any]
    versions: dict[str, str]

    @property
    def document(self) -> dict[str, Any]:
        """As JSON has it; numbers that are not finite become null."""
        return {"version": 1, **as_document(self), "log_z": as_document(self.log_z._asdict())}

    @property
    def verdicts(self) -> dict[str, str]:
        """The sentences that say whether to trust the samples, by what they are about."""
        found = {"weights": str(self.verdict)}
        checks = {"lost basins": "collapse_check", "other seeds": "replica_check"}
        found |= {name: self.run[key]["verdict"] for name, key in checks.items() if key in self.run}
        for name, part in self.run.get("evaluation", {}).items():
            if part is not None:
                found[_EVALUATED[name]] = part["verdict"]
        return found

    def write(self, path: Path) -> None:
        """Write the summary as JSON."""
        replace_file(path, json.dumps(self.document, indent=2, allow_nan=False) + "\n")


def analyze(
    source: Ensemble | str | Path,
    system: MolecularSystem | None = None,
    directory: str | Path | None = None,
    run: Mapping[str, Any] | None = None,
    replicates: int = 200,
    seed: int = 0,
) -> Summary:
    """Weights, free energies along φ and ψ, populations, sanity of the geometry; plots, summary.json and report.html.

    Args:
        source: an ensemble, or the directory where one was saved.
        system: gives the force field for the check of bonds and angles; that of the directory's generator if not given.
        directory: where plots (PNG and PDF), summary.json and report.html go; the source, if that is a directory; none,
            if not given.
        run: facts about the run (energy evaluations, wall time, seed, …) for the summary; those of the directory's
            earlier summary if not given.
        replicates: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        SystemNotFoundError: if the directory holds no samples.
        NonFiniteError: if no weight is positive.
        FileFormatError: if samples or summary are damaged.
    """
    if isinstance(source, Ensemble):
        ensemble = source
    else:
        ensemble = Ensemble.load(source)
        directory = source if directory is None else directory
        if system is None and (Path(source) / GENERATOR).is_file():
            system = BoltzmannGenerator.load(Path(source) / GENERATOR).system
        if run is None and (Path(source) / SUMMARY).is_file():
            run = _earlier_run(Path(source) / SUMMARY)

    used = ensemble[ensemble.weights > 0]
    trajectory = used.to_mdtraj()
    torsions = backbone_torsions(trajectory)
    low, high = POSITIVE_PHI
    summary = Summary(
        temperature=ensemble.temperature,
        frames=len(ensemble),
        failed_frames=ensemble.failed,
        ess=ensemble.ess,
        ess_clipped=ensemble.ess_clipped(),
        pareto_k=ensemble.pareto_k,
        log_z=ensemble.log_z,
        verdict=diagnose(ensemble).verdict,
        populations={
            f"{low:g} < phi {residue} < {high:g} rad": found
            for residue, found in positive_phi(
                torsions, used.log_weights, used.temperature, low, high, used.groups
            ).items()
        },
        geometry=check_geometry(used, system) if system else None,
        wrong_handed_frames=int(wrong_handed(trajectory).sum()),
        run=dict(run or {}),
        versions=_versions(),
    )
    if directory is not None:
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        name = system.name.replace("_", " ") if system else ""
        title = plot_title(system, ensemble)
        options: Any = {"replicates": replicates, "seed": seed, "groups": used.groups}
        logs, kelvin = used.log_weights, used.temperature
        if torsions:
            pairs = list(zip(torsions[::2], torsions[1::2], strict=True))
            surfaces = [free_energy_surface(a.values, b.values, logs, kelvin, **options) for a, b in pairs]
            profiles = [free_energy_profile(t.values, logs, kelvin, **options) for t in torsions]
            plots.ramachandran(surfaces, [a.residue for a, _ in pairs], title, folder / "ramachandran.png")
            plots.profiles(profiles, torsions, POSITIVE_PHI, title, folder / "profiles.png")
        plots.weights(ensemble, title, folder / "weights.png")
        plots.energies(ensemble, title, folder / "energies.png")
        if (folder / METRICS).is_file():
            plots.training(folder / METRICS, title, folder / "training.png")
        summary.write(folder / SUMMARY)
        write_page(folder, name or "Samples", summary.document, summary.verdicts, used)
    return summary


def plot_title(system: MolecularSystem | None, ensemble: Ensemble) -> str:
    """What stands above the plots of an ensemble."""
    name = f"{system.name.replace('_', ' ')}, " if system else ""
    return f"{name}{ensemble.temperature:g} K, {len(ensemble):,} samples"


def add_to_summary(directory: Path, name: str, value: Any) -> None:
    """Add a fact about the run to the summary in a directory.

    Raises:
        FileFormatError: if there is no sound summary.
    """
    path = directory / SUMMARY
    document = read_json(path)
    with reading(path, "{} is no summary, which 'boltzflow analyze' makes"):
        document["run"][name] = as_document(value)
    replace_file(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def _earlier_run(path: Path) -> dict[str, Any]:
    with reading(path, "{} is damaged (delete it to analyze the samples anew)"):
        return dict(json.loads(path.read_text(encoding="utf-8")).get("run") or {})


def _versions() -> dict[str, str]:
    libraries = (boltzflow, torch, openmm, mdtraj, numpy)
    return {"python": platform.python_version()} | {library.__name__: str(library.__version__) for library in libraries}


def as_document(value: Any) -> Any:
    """What JSON has room for: a dataclass as a mapping, a verdict as its sentence, numbers that are not finite as null.

    >>> from boltzflow.analysis.verdict import Trust
    >>> as_document({"verdict": Verdict(Trust.TRUST, "all is well"), "error": math.inf})
    {'verdict': 'Trust: all is well.', 'error': None}
    """
    if isinstance(value, Verdict):
        return str(value)
    if is_dataclass(value):
        return {field.name: as_document(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: as_document(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_document(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
