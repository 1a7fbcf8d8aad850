"""From samples to a summary, plots and an HTML report in one call."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import mdtraj
import numpy
import openmm
import torch

from boltzflow.analysis.checks.diagnostics import diagnose
from boltzflow.analysis.checks.geometry import GeometryCheck, check_geometry, inverted_chirality
from boltzflow.analysis.estimates.basins import POSITIVE_PHI, positive_phi
from boltzflow.analysis.estimates.couplings import couplings
from boltzflow.analysis.estimates.observables import Torsion, backbone_torsions
from boltzflow.analysis.estimates.populations import Population
from boltzflow.analysis.estimates.profiles import free_energy_profile, free_energy_surface
from boltzflow.analysis.estimates.rotamers import Rotamers, angles_of, rotamers
from boltzflow.analysis.estimates.torus import torus_density
from boltzflow.analysis.report import plots
from boltzflow.analysis.report.html import write_page
from boltzflow.analysis.report.run_facts import check_run
from boltzflow.analysis.report.shape import Shape
from boltzflow.analysis.report.torsions import as_rotamer, most_telling, region_name
from boltzflow.arrays import Array
from boltzflow.ensemble import Ensemble
from boltzflow.estimate import Estimate
from boltzflow.generator import KIND, VERSION, BoltzmannGenerator
from boltzflow.molecules import MolecularSystem, NamedTorsion
from boltzflow.molecules.same_atoms import check_same_atoms
from boltzflow.storage import reading, replace_file
from boltzflow.tensorfile import read_tensors
from boltzflow.verdict import Verdict, headline
from boltzflow.version import __version__

SUMMARY, GENERATOR, METRICS = "summary.json", "generator.safetensors", "metrics.csv"

_MANY = 50_000  # effective samples, for surfaces with bins of 5° instead of 10°

_EVALUATED = {"comparison": "reference", "forward": "density at the reference"}


@dataclass(frozen=True)
class Summary:
    """The result of `analyze`.

    Attributes:
        temperature: in K.
        frames: the number of samples n.
        failed_frames: number of samples whose energy could not be evaluated.
        ess: effective sample size as a fraction of n, unclipped.
        ess_clipped: the same with the top 1e-4 of weights clipped.
        pareto_k: shape of the weights' tail: above 0.7 averages cannot be trusted.
        log_z: log of the mean weight and its error.
        verdict: whether averages can be trusted, as far as weights can tell (see `diagnose`).
        populations: of 0 < φ < 2.2 rad of each residue, and of the states of all other torsions, such as
            "chi1 VAL2 trans".
        geometry: bonds and angles compared with the force field; None without a system.
        wrong_handed_frames: number of samples of positive weight with an amino acid of inverted chirality.
        run: facts about the run that made the samples.
        versions: of Python and of the libraries.
        rotamers: the states of all torsions.
        shape: rings, hydrogen bonds and sizes; None without samples of positive weight.
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
    rotamers: tuple[Rotamers, ...] = field(repr=False, compare=False)
    shape: Shape | None = field(repr=False, compare=False)

    @property
    def document(self) -> dict[str, Any]:
        """The content of summary.json; numbers that are not finite become None."""
        found = {"version": 1, "headline": str(self.headline), **as_document(self)}
        found["log_z"] = as_document(self.log_z._asdict())
        found |= as_document(self.shape.document) if self.shape is not None else {}
        states = {
            region_name(one, name): as_rotamer(one, state)
            for one in self.rotamers
            for state, name in enumerate(one.arcs.names)
        }
        for name, population in self.populations.items():
            numbers = found["populations"][name]
            first = {key: numbers.pop(key) for key in ("value", "error", "frames")}
            verdict = {"verdict": str(population.verdict)}
            found["populations"][name] = states.get(name, {}) | first | verdict | numbers
        return found

    @property
    def basins(self) -> dict[str, Population]:
        """The populations of 0 < φ < 2.2 rad alone."""
        return {name: found for name, found in self.populations.items() if name.endswith("rad")}

    @property
    def headline(self) -> Verdict:
        """The worst of all verdicts, with the reasons, and what was and was not checked."""
        return headline(self.verdicts)

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict sentences on the samples, by subject."""
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
    """Analyze samples: weights, free energies along torsions, populations and geometry; writes plots and report.html.

    Files are always written; if no weight is positive, there are no plots and no structures.

    Args:
        source: an ensemble, or the directory in which one was saved.
        system: gives the force field for the check of bonds and angles. By default that of the directory's generator.
        directory: where to write plots (PNG and PDF), summary.json and report.html. By default the source, if that is a
            directory; otherwise nothing is written.
        run: facts about the run (energy evaluations, wall time, seed, …) for the summary. By default those of the
            directory's earlier summary.
        replicates: number of bootstrap replicates.
        seed: of the bootstrap.

    Raises:
        SystemNotFoundError: if the directory contains no samples.
        ShapeError: if the samples belong to another molecule than the system.
        DataError: if they have no topology.
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

    if system is not None and ensemble.topology is not None:
        check_same_atoms(system.mdtraj_topology, ensemble.topology, "samples", "the system")
    found = diagnose(ensemble)
    used = None if found.log_z.value == -math.inf else ensemble[ensemble.weights > 0]
    torsions, populations, states, geometry, inverted, shape = [], {}, [], None, 0, None
    if used is not None:
        trajectory = used.to_mdtraj()
        torsions = backbone_torsions(trajectory)
        inverted = int(inverted_chirality(trajectory).sum())
        geometry = check_geometry(used, system) if system else None
        low, high = POSITIVE_PHI
        populations = {
            f"{low:g} < phi {residue} < {high:g} rad": share
            for residue, share in positive_phi(used, torsions, low, high).items()
        }
        states = rotamers(used)
        shape = Shape.of(used)
        populations |= {
            region_name(one, name): share
            for one in states
            if one.torsion.kind != "phi"
            for name, share in one.states.populations.items()
        }
    summary = Summary(
        temperature=ensemble.temperature,
        frames=len(ensemble),
        failed_frames=ensemble.failed,
        ess=ensemble.ess,
        ess_clipped=ensemble.ess_clipped(),
        pareto_k=ensemble.pareto_k,
        log_z=found.log_z,
        verdict=found.verdict,
        populations=populations,
        geometry=geometry,
        wrong_handed_frames=inverted,
        run=dict(run or {}),
        versions=_versions(),
        rotamers=tuple(states),
        shape=shape,
    )
    if directory is not None:
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        title = plot_title(system, ensemble)
        if (folder / METRICS).is_file():  # first, since it may be damaged
            plots.training(folder / METRICS, title, folder / "training.png")
        if used is not None:
            _plot(ensemble, used, torsions, states, title, folder, replicates, seed)
        summary.write(folder / SUMMARY)
        name = system.name.replace("_", " ") if system else ""
        write_page(folder, name or "Samples", summary.document, summary.verdicts, used, states)
    return summary


def _plot(
    ensemble: Ensemble,
    used: Ensemble,
    torsions: list[Torsion],
    states: list[Rotamers],
    title: str,
    folder: Path,
    replicates: int,
    seed: int,
) -> None:
    """Write the figures of an ensemble; `used` are its samples of positive weight."""
    options: Any = {"replicates": replicates, "seed": seed}
    if torsions:
        pairs = list(zip(torsions[::2], torsions[1::2], strict=True))
        surfaces = [_surface(used, a.values, b.values, options) for a, b in pairs]
        plots.ramachandran(surfaces, [a.residue for a, _ in pairs], title, folder / "ramachandran.png")
    if states:
        drawn = most_telling(states)
        angles = angles_of(used, [one.torsion for one in drawn])
        profiles = [free_energy_profile(used, column, **options) for column in angles.T]
        some = f"; {len(drawn)} of {len(states)} torsions" if len(drawn) < len(states) else ""
        plots.profiles(profiles, drawn, POSITIVE_PHI, title + some, folder / "profiles.png")
        _plot_pairs(used, [one.torsion for one in drawn], angles, title, folder, options)
    plots.weights(ensemble, title, folder / "weights.png")
    if ensemble.has_energies:
        plots.energies(ensemble, title, folder / "energies.png")


def _plot_pairs(
    used: Ensemble, torsions: list[NamedTorsion], angles: Array, title: str, folder: Path, options: Any
) -> None:
    """The pairs of torsions (angles (n, torsions)) with the strongest coupling, besides φ and ψ of one residue."""
    drawn = [
        (i, j)
        for i, j in combinations(range(len(torsions)), 2)
        if {torsions[i].kind, torsions[j].kind} == {"phi", "psi"} and torsions[i].place == torsions[j].place
    ]
    found = couplings(used, angles, without=drawn, seed=options["seed"])
    if found:
        columns = [(angles[:, i], angles[:, j]) for i, j in (coupling.pair for coupling in found)]
        surfaces = [_surface(used, x, y, options) for x, y in columns]
        names = [(torsions[i].name, torsions[j].name) for i, j in (coupling.pair for coupling in found)]
        information = [coupling.information for coupling in found]
        plots.torsion_pairs(surfaces, names, information, title, folder / "torsion_pairs.png")


def _surface(used: Ensemble, x: Array, y: Array, options: Any) -> plots.SurfaceOf:
    bins = 72 if used.ess * len(used) > _MANY else 36
    return plots.SurfaceOf(free_energy_surface(used, x, y, bins, **options), torus_density(used, x, y))


def plot_title(system: MolecularSystem | None, ensemble: Ensemble) -> str:
    """The title of the plots of an ensemble."""
    name = f"{system.name.replace('_', ' ')}, ".replace("$", r"\$") if system else ""  # no formula of matplotlib's
    return f"{name}{ensemble.temperature:g} K, {len(ensemble):,} samples"


def add_to_summaries(directories: Sequence[Path], name: str, value: Any) -> None:
    """Add a fact about the run to the summary in each directory; all are read before any is written.

    Raises:
        FileFormatError: if a directory has no valid summary; none is changed then.
    """
    documents = {}
    for path in (directory / SUMMARY for directory in directories):
        documents[path] = _read_summary(path, "{} is not a summary as written by 'boltzflow analyze'")
    for path, document in documents.items():
        document["run"][name] = as_document(value)
        replace_file(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def training_seed(directory: Path) -> int | None:
    """The seed of the training behind the samples in a directory, from its summary or generator; None if unknown.

    Raises:
        FileFormatError: if one of these files is damaged.
    """
    run = _earlier_run(directory / SUMMARY) if (directory / SUMMARY).is_file() else {}
    if "seed" not in run and (directory / GENERATOR).is_file():
        _, header = read_tensors(directory / GENERATOR, KIND, VERSION)
        run = header.get("provenance", {})
    seed = run.get("seed")
    return None if seed is None else int(seed)


def _earlier_run(path: Path) -> dict[str, Any]:
    return dict(_read_summary(path, "{} is damaged (delete it to analyze the samples again)")["run"])


def _read_summary(path: Path, fault: str) -> dict[str, Any]:
    """The content of a summary file.

    Raises:
        FileFormatError: if it is not valid JSON, contains infinite numbers or NaN, or has invalid facts about the run.
    """

    def refuse(constant: str) -> float:
        raise ValueError(f"expected finite numbers; got {constant}")

    with reading(path, fault):
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
        if not isinstance(document, dict) or not isinstance(document.get("run"), dict):
            raise ValueError("expected a mapping with a mapping 'run'")
        check_run(document["run"])
    return document


def _versions() -> dict[str, str]:
    libraries = (torch, openmm, mdtraj, numpy)
    own = {"python": platform.python_version(), "boltzflow": __version__}
    return own | {library.__name__: str(library.__version__) for library in libraries}


def as_document(value: Any) -> Any:
    """A JSON-serialisable form: dataclasses as mappings, verdicts as sentences, non-finite numbers as None.

    >>> from boltzflow.verdict import Trust
    >>> as_document({"verdict": Verdict(Trust.TRUST, "all is well"), "error": math.inf})
    {'verdict': 'Trust: all is well.', 'error': None}
    """
    if isinstance(value, Verdict):
        return str(value)
    if is_dataclass(value):
        facts = (field.name for field in fields(value) if field.compare)  # the others only support a calculation
        return {name: as_document(getattr(value, name)) for name in facts}
    if isinstance(value, Mapping):
        return {key: as_document(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_document(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
