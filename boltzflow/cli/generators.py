"""boltzflow train, sample, analyze and evaluate."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from boltzflow.analysis import Summary, analyze
from boltzflow.analysis.report.numbers import told
from boltzflow.analysis.report.torsions import comparison_rows, rotamer_rows
from boltzflow.cli.fields import Given, with_settings
from boltzflow.cli.launch import end_with_launcher, launch
from boltzflow.cli.options import Molecule, name_of, resumed, tell_interrupted
from boltzflow.cli.progress import progress
from boltzflow.cli.root import INTERRUPTED, app
from boltzflow.generator import BoltzmannGenerator
from boltzflow.settings import SEEDS
from boltzflow.storage import claimed
from boltzflow.training.distributed import check_shares, started
from boltzflow.workflows import training as runs
from boltzflow.workflows.config import RunConfig

Source = Annotated[
    str,
    typer.Argument(metavar="SYSTEM|GENERATOR|DIR", help="A system's name, a generator's file, or a run directory."),
]
Seed = Annotated[
    int | None,
    typer.Option(help="Seed of the random numbers; random if not given.", show_default=False, min=0, max=SEEDS - 1),
]


@app.command()
@with_settings(RunConfig)
def train(
    given: Given,
    system: Molecule = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; runs/NAME if not given.", show_default=False)] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the run directory's last checkpoint.")
    ] = False,
) -> None:
    """Train a generator, draw reweighted samples, and analyze them.

    The run directory then holds config.yaml, metrics.csv, checkpoints/,
    generator.safetensors, samples.dcd with topology.pdb and weights.npz,
    plots (PNG and PDF), report.html, and summary.json, which reports whether
    a basin is lost.

    Examples:

        boltzflow train alanine_dipeptide --preset quick --out runs/aldp
        boltzflow train alanine_dipeptide --out runs/aldp --resume
        boltzflow train my.pdb --temperature 310 --hydrogens-at-ph 7
        boltzflow train ligand.prmtop --coordinates ligand.inpcrd --preset quick
        boltzflow train --sequence AVS
        boltzflow train --smiles 'CC(=O)Oc1ccccc1C(=O)O' --out runs/aspirin
        boltzflow train chignolin --accelerator cuda --devices 4
    """
    directory = out or Path("runs") / name_of(system, given)
    if system is not None:
        given["system"] = system
    config = RunConfig.of(**given)
    if resume:
        config = resumed(config, directory, given)
    rank, processes = started()
    if config.devices > 1 and processes == 1:
        # Reported here once, not by each process.
        if "batch_size" in config.given:
            check_shares(config.batch_size, config.devices)
        if not resume:
            runs.check_unused(directory)
        launch(config.devices, directory / runs.CHECKPOINT)
        return
    end_with_launcher()
    try:
        with progress("sampling", config.samples) as drawn:
            summary = runs.train_run(config, directory, resume, drawn, partial(typer.echo, err=True))
    except KeyboardInterrupt:
        if rank == 0:
            tell_interrupted("boltzflow train", directory)
        raise typer.Exit(INTERRUPTED) from None
    if summary is not None:
        _tell(summary, directory)


@app.command()
def sample(
    source: Source,
    n: Annotated[int, typer.Option("-n", "--samples", min=1, help="Number of structures to sample.")] = 10_000,
    out: Annotated[Path, typer.Option(help="Directory for the samples and their analysis.")] = Path("samples"),
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Temperature in K, for a generator that covers a range; its own if not given.", show_default=False
        ),
    ] = None,
    seed: Seed = None,
    check_ps: Annotated[
        float,
        typer.Option(
            help="Length in ps of a simulation that searches for lost basins, such as 20; 0 for none.", min=0.0
        ),
    ] = 0.0,
) -> None:
    """Draw samples from a trained generator and analyze them.

    The verdict names what was checked. Weights alone cannot reveal a lost
    basin: add --check-ps 20, or compare with a reference (boltzflow evaluate).

    Writes samples.dcd with topology.pdb (for mdtraj, MDAnalysis, VMD, PyMOL),
    weights.npz (energies and log-weights), plots, summary.json and report.html.
    Averages need the weights: exp(log_weights), normalised.

    Examples:

        boltzflow sample runs/aldp -n 100000 --out more
        boltzflow sample aldp.safetensors --seed 1
        boltzflow sample runs/range --temperature 450
    """
    generator = BoltzmannGenerator.load(runs.find_generator(source))
    with progress("sampling", n) as drawn:
        summary = runs.sample_run(generator, n, out, seed, drawn, temperature, check_picoseconds=check_ps)
    _tell(summary, out)


@app.command(name="analyze")
def analyze_directory(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A directory written by train or sample.")],
) -> None:
    """Analyze samples again: plots, summary.json and report.html.

    Effective sample size, log Z, free energies along the backbone torsions,
    the population of the rare basin at 0 < φ < 2.2 rad with its error, and
    checks of bonds, angles and chirality.

    Example:

        boltzflow analyze runs/aldp
    """
    with claimed(directory, lambda _: True):
        _tell(analyze(directory), directory)


@app.command()
def evaluate(
    source: Source,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|TRAJECTORY",
            help="A directory written by 'boltzflow reference', or an unbiased trajectory of the same atoms; "
            "if not given the library's reference of the system.",
            show_default=False,
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", "--samples", min=1, help="Number of structures to sample.")] = 100_000,
    out: Annotated[Path, typer.Option(help="Directory for the samples, their analysis and the comparison.")] = Path(
        "evaluation"
    ),
    seed: Seed = None,
) -> None:
    """Draw samples and compare them with a reference.

    Compares Ramachandran surfaces, every bond, angle and torsion, and the
    energy, each with the noise expected for this number of frames, and the
    generator's density at the reference's frames. Writes the files of
    'sample', and the comparison to summary.json, plots and report.html.

    Examples:

        boltzflow evaluate alanine_dipeptide --out runs/evaluation
        boltzflow evaluate runs/aldp --reference runs/reference -n 200000
        boltzflow evaluate aldp.safetensors --reference simulation.xtc
    """
    generator = BoltzmannGenerator.load(runs.find_generator(source))
    found = runs.find_reference(reference, generator)
    with progress("sampling", n) as drawn:
        summary = runs.sample_run(generator, n, out, seed, drawn=drawn, reference=found)
    _tell(summary, out)


def _tell(summary: Summary, directory: Path) -> None:
    """Print the main results."""
    rows = {
        "verdict": str(summary.headline),
        "samples": f"{summary.frames:,} ({summary.failed_frames:,} failed) at {summary.temperature:g} K",
        "ESS": f"{summary.ess:.2%} ({summary.ess_clipped:.2%} with the top 1e-4 of weights clipped)",
        "Pareto k": f"{told(summary.pareto_k, '.2f')} (do not trust averages above 0.7)",
        "log Z": f"{told(summary.log_z.value, '.4f')} ± {told(summary.log_z.error, '.4f')}",
    }
    for region, found in summary.basins.items():
        rows[region] = f"{found.value:.5f} ± {told(found.error, '.5f')} ({found.frames:,} samples)"
    rows |= rotamer_rows(summary.rotamers)
    rows |= summary.shape.rows if summary.shape is not None else {}
    if summary.geometry is not None:
        check = summary.geometry
        rows["bonds and angles"] = (
            f"{check.share_outside:.2%} of the weight beyond {check.sigmas:g} σ; "
            f"largest RMS deviation: {check.worst}, {check.worst_rms:.2f} σ"
        )
    if summary.wrong_handed_frames:
        rows["inverted chirality"] = f"{summary.wrong_handed_frames:,} samples"
    if summary.run.get("stopped_early") and "steps" in summary.run:
        rows["stopped early"] = f"after {summary.run['steps']:,} steps, because the ESS stopped rising"
    rows |= comparison_rows(summary.run)
    rows |= summary.verdicts
    rows["written to"] = str(directory)
    for label, text in rows.items():
        typer.echo(f"{label:24} {text}")
