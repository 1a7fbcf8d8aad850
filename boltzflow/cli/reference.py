"""boltzflow reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from boltzflow.cli.options import (
    ForceFieldFiles,
    Molecule,
    molecule_settings,
    on_command_line,
    resumed,
    tell_interrupted,
)
from boltzflow.cli.progress import tempering_progress
from boltzflow.cli.root import INTERRUPTED, app
from boltzflow.workflows.config import ReferenceConfig
from boltzflow.workflows.reference import reference_run

REFERENCE = ReferenceConfig(system="-")


@app.command()
def reference(
    ctx: typer.Context,
    system: Molecule,
    out: Annotated[
        Path | None, typer.Option(help="Output directory; runs/NAME-reference if not given.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the directory's last checkpoint.")] = False,
    picoseconds: Annotated[float, typer.Option(help="Recorded time of each replica, in ps.")] = REFERENCE.picoseconds,
    equilibration: Annotated[
        float, typer.Option(help="Equilibration time before that, in ps.")
    ] = REFERENCE.equilibration,
    ladders: Annotated[int, typer.Option(help="Number of independent ladders.")] = REFERENCE.ladders,
    temperatures: Annotated[int, typer.Option(help="Number of temperatures in a ladder.")] = REFERENCE.temperatures,
    hottest: Annotated[float, typer.Option(help="The highest temperature, in K.")] = REFERENCE.hottest,
    umbrella: Annotated[
        float, typer.Option(help="Depth in kJ/mol of a bias towards φ > 0, removed by reweighting; 0 for none.")
    ] = REFERENCE.umbrella,
    timestep: Annotated[
        float | None,
        typer.Option(help="Time step in ps; if not given 0.001, or 0.002 with constraints.", show_default=False),
    ] = REFERENCE.timestep,
    hydrogen_mass: Annotated[
        float | None,
        typer.Option(
            help="In dalton, repartitioned from bonded atoms; 3 allows longer time steps.", show_default=False
        ),
    ] = REFERENCE.hydrogen_mass,
    friction: Annotated[float, typer.Option(help="Langevin friction in 1/ps.")] = REFERENCE.friction,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="The lowest temperature in K; if not given the system's own, or 300 K for a PDB file.",
            show_default=False,
        ),
    ] = None,
    forcefield: ForceFieldFiles = None,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = REFERENCE.seed,
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
    directory = out or Path("runs") / f"{Path(system).stem}-reference"
    asked: dict[str, Any] = molecule_settings(system, forcefield, temperature) | {
        "picoseconds": picoseconds,
        "equilibration": equilibration,
        "ladders": ladders,
        "temperatures": temperatures,
        "hottest": hottest,
        "umbrella": umbrella,
        "timestep": timestep,
        "hydrogen_mass": hydrogen_mass,
        "friction": friction,
        "seed": seed,
    }
    config = ReferenceConfig.of(**asked)
    if resume:
        given = {name for name in asked if on_command_line(ctx, name)}
        stored = resumed(config, directory, given - {"picoseconds"})
        config = stored.model_copy(update={"picoseconds": picoseconds}) if "picoseconds" in given else stored
    try:
        with tempering_progress() as told:
            found = reference_run(config, directory, resume, told)
    except KeyboardInterrupt:
        tell_interrupted(f"boltzflow reference {system}", directory)
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
