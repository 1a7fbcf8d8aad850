"""boltzflow reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from boltzflow.cli.fields import Given, with_settings
from boltzflow.cli.options import Molecule, name_of, resumed, tell_interrupted
from boltzflow.cli.progress import tempering_progress
from boltzflow.cli.root import INTERRUPTED, app
from boltzflow.workflows.config import ReferenceConfig
from boltzflow.workflows.reference import reference_run


@app.command()
@with_settings(ReferenceConfig)
def reference(
    given: Given,
    system: Molecule = None,
    out: Annotated[
        Path | None, typer.Option(help="Output directory; runs/NAME-reference if not given.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the directory's last checkpoint.")] = False,
) -> None:
    """Make a reference ensemble by parallel tempering.

    Independent ladders of replicas are simulated together in batches. Errors
    come from the scatter between ladders. The directory then contains
    reference.json (energies and populations with errors), torsions.npz
    (histograms and frames), and samples.dcd with topology.pdb and weights.npz
    of the lowest temperature.

    Examples:

        boltzflow reference alanine_dipeptide --umbrella 13 --out runs/reference
        boltzflow reference alanine_dipeptide --out runs/reference --resume
    """
    directory = out or Path("runs") / f"{name_of(system, given)}-reference"
    if system is not None:
        given["system"] = system
    config = ReferenceConfig.of(**given)
    if resume:  # for longer, if that is asked for
        longer = {name: given.pop(name) for name in ("picoseconds",) if name in given}
        config = resumed(config, directory, given).model_copy(update=longer)
    try:
        with tempering_progress() as told:
            found = reference_run(config, directory, resume, told)
    except KeyboardInterrupt:
        tell_interrupted("boltzflow reference", directory)
        raise typer.Exit(INTERRUPTED) from None
    _tell_reference(found, directory)


def _tell_reference(found: dict[str, Any], directory: Path) -> None:
    """Print the main results at the lowest temperature."""
    energy = found["potential_energy_kJ_mol"]
    rows = {
        "temperature": f"{found['temperatures_K'][0]:g} K",
        "frames": f"{found['frames_per_temperature']:,} of {found['ladders']} ladders ({found['lost_ladders']} lost)",
        "swaps accepted": ", ".join(f"{share:.0%}" for share in found["swap_acceptance"]),
        "round trips": f"{found['round_trips']:,}",
        "potential energy": f"{energy['mean'][0]:.3f} ± {energy['standard_error'][0]:.3f} kJ/mol",
    }
    for region, share in found["populations"].items():
        rows[region] = f"{share['population'][0]:.5f} ± {share['standard_error'][0]:.5f}"
    rows["written to"] = str(directory)
    for label, text in rows.items():
        typer.echo(f"{label:24} {text}")
