"""The HTML report of a run: one file that includes its figures and a molecule viewer."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup

from boltzflow.analysis.estimates.clusters import representatives
from boltzflow.analysis.estimates.rotamers import Rotamers, conformations
from boltzflow.analysis.estimates.structures import shape_features, superposed_pdb
from boltzflow.analysis.report.numbers import told
from boltzflow.analysis.report.symbols import with_symbols
from boltzflow.ensemble import Ensemble
from boltzflow.storage import replace_file
from boltzflow.verdict import Trust, headline, level_of, unchecked

PAGE = "report.html"

FILES = Path(__file__).parent / "page"
_LARGE = 300  # atoms: larger molecules are shown as ribbons
_CLUSTERED, _SHOWN = 1000, 5  # resampled frames, and representative structures
_NAMED = 4  # torsions in the name of a structure


class Picture(NamedTuple):
    """A figure of the report: its file, title and caption."""

    file: str
    title: str
    caption: str


PICTURES = (
    Picture(
        "ramachandran.png",
        "Free energy over φ and ψ",
        "From weighted samples; zero at the smoothed minimum. Hatched: bins with fewer than four effective samples; "
        "white: none. Numbers: ramachandran.csv.",
    ),
    Picture(
        "profiles.png",
        "Free-energy profiles",
        "Along each torsion about a rotatable bond, with bands of two standard errors. Shaded: the rare basin at "
        "positive φ; dotted: between the states of the others. Points: fewer than four effective samples. Numbers: "
        "profiles.csv.",
    ),
    Picture(
        "torsion_pairs.png",
        "Free energy over the most strongly coupled torsions",
        "The pairs with the largest mutual information of their histograms (nats, without what independent torsions "
        "would show), besides φ and ψ of one residue. Numbers: torsion_pairs.csv.",
    ),
    Picture(
        "ramachandran_comparison.png",
        "Ramachandran surfaces compared with the reference",
        "Right: the difference, where its error is below 1 kT.",
    ),
    Picture(
        "distances.png",
        "Every bond, angle and torsion compared with the reference",
        "Wasserstein distances of the marginals (around the circle for torsions), and the values expected from finite "
        "samples alone. Points in the band agree.",
    ),
    Picture(
        "marginals.png",
        "Marginals compared with the reference",
        "The energy, torsions about rotatable bonds, and the coordinates with the most significant differences.",
    ),
    Picture(
        "weights.png",
        "Importance weights",
        "Left: histogram. Right: as a function of the energy. A few weights far above the mean make averages noisy.",
    ),
    Picture("energies.png", "Potential energies", "Unweighted samples of the generator, and reweighted."),
    Picture("training.png", "Training", "The losses of the first steps are not shown. Numbers: metrics.csv."),
)


def write_page(
    directory: Path,
    title: str,
    summary: Mapping[str, Any],
    verdicts: Mapping[str, str],
    ensemble: Ensemble | None,
    states: Sequence[Rotamers],
) -> None:
    """Write report.html with the figures in the directory.

    Args:
        directory: of the run.
        title: of the page.
        summary: the content of summary.json.
        verdicts: verdict sentences, by subject.
        ensemble: samples of positive weight, for structures; None if there are none.
        states: of their torsions, which name the structures.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FILES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["symbols"] = with_symbols
    environment.filters["told"] = lambda value, form: told(value, form).replace("-", "−")
    found = [(name, sentence, level_of(sentence)) for name, sentence in verdicts.items()]
    pictures = [
        (picture, base64.b64encode((directory / picture.file).read_bytes()).decode())
        for picture in PICTURES
        if (directory / picture.file).is_file()
    ]
    page = environment.get_template("report.html").render(
        title=title,
        summary=summary,
        verdicts=found,
        level=headline(verdicts).trust,
        unchecked=unchecked(verdicts),
        pictures=pictures,
        facts=list(_facts(summary["run"])),
        structures={} if ensemble is None else _structures(ensemble, states),
        rotamers=list(_rotamers(summary["populations"])),
        style=_file("style.css"),
        library=_file("3dmol/3Dmol-min.js"),
        viewer=_file("viewer.js"),
    )
    replace_file(directory / PAGE, page)


def _structures(ensemble: Ensemble, states: Sequence[Rotamers]) -> dict[str, Any]:
    """Representative structures for the viewer."""
    drawn = ensemble.resample(_CLUSTERED)
    features = shape_features(drawn.to_mdtraj())
    found = representatives(drawn, min(_SHOWN, len(np.unique(features, axis=0))), lambda _: features)
    names = conformations(found.representatives, states, _NAMED)
    shares = [population.value for population in found.states.populations.values()]
    return {
        "labels": [
            ", ".join([f"{share:.0%}", *map(with_symbols, words)]) for share, words in zip(shares, names, strict=True)
        ],
        "pdb": superposed_pdb(found.representatives),
        "ribbon": ensemble.positions.shape[1] > _LARGE,
    }


def _rotamers(populations: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[Mapping[str, Any], Trust | None]]]]:
    """The torsions of a summary with their states, and the level of trust of each."""
    for torsion, members in groupby(populations.values(), lambda found: found.get("torsion")):
        if torsion is not None:
            yield torsion, [(found, level_of(found["verdict"])) for found in members]


def _facts(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The facts about a run that are not shown elsewhere on the page."""
    for name, value in run.items():
        if not isinstance(value, Mapping):
            text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
            yield name.replace("_", " "), text


def _file(name: str) -> Markup:
    """The content of a package file, inserted unchanged."""
    return Markup((FILES / name).read_text(encoding="utf-8"))
