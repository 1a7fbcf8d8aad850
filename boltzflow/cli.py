"""The command line: boltzflow train | sample | analyze | reference | systems."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import boltzflow
from boltzflow import runs
from boltzflow.analysis import Summary, analyze
from boltzflow.analysis.report import GENERATOR
from boltzflow.config import ReferenceConfig, RunConfig, SystemConfig
from boltzflow.errors import BoltzflowError, OptionError, RunDirectoryError
from boltzflow.generator import BoltzmannGenerator
from boltzflow.molecules import SystemDescription, available_systems
from boltzflow.process import keep_freed_memory
from boltzflow.reference import reference_run
from boltzflow.simulation import Progress as Tempering

DEFAULTS = RunConfig(system="-")
REFERENCE = ReferenceConfig(system="-")
INTERRUPTED = 130  # the shell's exit code for Ctrl-C

Molecule = Annotated[
    str, typer.Argument(metavar="SYSTEM|FILE.pdb", help="A system's name, or a PDB file with all hydrogens.")
]
ForceFieldFiles = Annotated[
    list[str] | None,
    typer.Option(
        help=f"OpenMM force-field file, repeatable; for a PDB file. Default: {' '.join(runs.PDB_FORCEFIELD)}."
    ),
]


class _Commands(typer.core.TyperGroup):
    """Commands whose errors are one sentence, without traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BoltzflowError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(1) from None
        except OSError as error:
            typer.echo(f"Error: cannot read or write: {error}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(boltzflow.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Independent equilibrium samples of molecules, each with its exact weight.

    A normalizing flow learns a molecule's Boltzmann distribution from its
    force field alone; no simulation is needed. Begin with:

        boltzflow systems
        boltzflow train alanine_dipeptide --out runs/first
        boltzflow sample runs/first -n 10000 --out more
    """


@app.command()
def train(
    ctx: typer.Context,
    system: Molecule,
    out: Annotated[Path | None, typer.Option(help="Run directory; runs/NAME if not given.", show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run directory's last checkpoint.")] = False,
    method: Annotated[str, typer.Option(help="Method of training.")] = DEFAULTS.method,
    steps: Annotated[int, typer.Option(help="Gradient steps.")] = DEFAULTS.steps,
    batch_size: Annotated[int, typer.Option(help="Samples in a step.")] = DEFAULTS.batch_size,
    learning_rate: Annotated[float, typer.Option("--lr", help="Peak learning rate.")] = DEFAULTS.learning_rate,
    layers: Annotated[int, typer.Option(help="Spline couplings of the flow.")] = DEFAULTS.layers,
    hidden: Annotated[str, typer.Option(help="Hidden sizes of each coupling's net, with commas.")] = ",".join(
        map(str, DEFAULTS.hidden)
    ),
    bins: Annotated[int, typer.Option(help="Bins of each spline.")] = DEFAULTS.bins,
    temperature: Annotated[
        float | None,
        typer.Option(help="In K; the system's own if not given, 300 K for a PDB file.", show_default=False),
    ] = None,
    forcefield: ForceFieldFiles = None,
    samples: Annotated[int, typer.Option(help="Structures to draw when the training is done.")] = DEFAULTS.samples,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = DEFAULTS.seed,
) -> None:
    """Train a generator, draw reweighted samples, and analyze them.

    The run directory then holds config.yaml, metrics.csv, checkpoints/,
    generator.safetensors, samples.dcd with topology.pdb and weights.npz,
    plots (PNG), and summary.json.

    Examples:

        boltzflow train alanine_dipeptide --out runs/aldp
        boltzflow train alanine_dipeptide --out runs/aldp --resume
        boltzflow train my.pdb --temperature 310 --forcefield amber14-all.xml
    """
    directory = out or Path("runs") / Path(system).stem
    asked: dict[str, Any] = _molecule(system, forcefield, temperature) | {
        "method": method,
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "layers": layers,
        "hidden": _sizes(hidden),
        "bins": bins,
        "samples": samples,
        "seed": seed,
    }
    config = RunConfig.of(**asked)
    if resume:
        given = {name for name in asked if _on_command_line(ctx, name)}
        config = _resumed(config, directory, given)
    try:
        with _progress("sampling", config.samples) as drawn:
            summary = runs.train_run(config, directory, resume, drawn)
    except KeyboardInterrupt:
        command = f"boltzflow train {system} --out {directory} --resume"
        typer.echo(f"Interrupted. The last checkpoint is kept; go on with: {command}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    _tell(summary, directory)


@app.command()
def sample(
    source: Annotated[
        str,
        typer.Argument(metavar="SYSTEM|GENERATOR|DIR", help="A system's name, a generator's file, or a run directory."),
    ],
    n: Annotated[int, typer.Option("-n", "--samples", help="Structures to draw.")] = 10_000,
    out: Annotated[Path, typer.Option(help="Directory for the samples and their analysis.")] = Path("samples"),
    seed: Annotated[
        int | None, typer.Option(help="Seed of the random numbers; fresh ones if not given.", show_default=False)
    ] = None,
) -> None:
    """Draw samples from a trained generator and analyze them.

    Writes samples.dcd with topology.pdb (for mdtraj, MDAnalysis, VMD, PyMOL),
    weights.npz (energies and log-weights), plots and summary.json.
    Averages need the weights: exp(log_weights), normalised.

    Examples:

        boltzflow sample runs/aldp -n 100000 --out more
        boltzflow sample aldp.safetensors --seed 1
    """
    runs.check_unused(out)
    generator = BoltzmannGenerator.load(runs.find_generator(source))
    with _progress("sampling", n) as drawn:
        summary = runs.sample_run(generator, n, out, seed, drawn=drawn)
    generator.save(out / GENERATOR)
    _tell(summary, out)


@app.command(name="analyze")
def analyze_directory(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A directory that train or sample has written.")],
) -> None:
    """Analyze samples again: plots and summary.json.

    Effective sample size, log Z, free energies along the backbone torsions,
    the population of the rare basin at 0 < φ < 2.2 rad with its error, and
    whether bonds, angles and chirality are sound.

    Example:

        boltzflow analyze runs/aldp
    """
    _tell(analyze(directory), directory)


@app.command()
def reference(
    ctx: typer.Context,
    system: Molecule,
    out: Annotated[
        Path | None, typer.Option(help="Directory; runs/NAME-reference if not given.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the directory's last checkpoint.")] = False,
    picoseconds: Annotated[float, typer.Option(help="Recorded time of each replica.")] = REFERENCE.picoseconds,
    equilibration: Annotated[float, typer.Option(help="Picoseconds before that.")] = REFERENCE.equilibration,
    ladders: Annotated[int, typer.Option(help="Independent ladders.")] = REFERENCE.ladders,
    temperatures: Annotated[int, typer.Option(help="Temperatures of a ladder.")] = REFERENCE.temperatures,
    hottest: Annotated[float, typer.Option(help="The highest of them, in K.")] = REFERENCE.hottest,
    umbrella: Annotated[
        float, typer.Option(help="Depth in kJ/mol of a bias towards φ > 0, taken out by weights; 0 for none.")
    ] = REFERENCE.umbrella,
    timestep: Annotated[
        float | None, typer.Option(help="In ps; 0.001, and 0.002 with constraints, if not given.", show_default=False)
    ] = REFERENCE.timestep,
    hydrogen_mass: Annotated[
        float | None,
        typer.Option(help="In dalton, taken from bonded atoms: 3 allows longer time steps.", show_default=False),
    ] = REFERENCE.hydrogen_mass,
    friction: Annotated[float, typer.Option(help="In 1/ps.")] = REFERENCE.friction,
    temperature: Annotated[
        float | None,
        typer.Option(help="The lowest, in K; the system's own if not given, 300 K for a PDB file.", show_default=False),
    ] = None,
    forcefield: ForceFieldFiles = None,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = REFERENCE.seed,
) -> None:
    """Make a reference ensemble by parallel tempering.

    Independent ladders of replicas are simulated at once on batched energies.
    Errors come from the scatter between ladders. The directory then holds
    reference.json (energies and populations with errors), torsions.npz
    (histograms and frames), and samples.dcd with topology.pdb and weights.npz
    of the lowest temperature.

    Examples:

        boltzflow reference alanine_dipeptide --umbrella 13 --out runs/reference
        boltzflow reference alanine_dipeptide --out runs/reference --resume
    """
    directory = out or Path("runs") / f"{Path(system).stem}-reference"
    asked: dict[str, Any] = _molecule(system, forcefield, temperature) | {
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
        given = {name for name in asked if _on_command_line(ctx, name)}
        stored = _resumed(config, directory, given - {"picoseconds"})
        config = stored.model_copy(update={"picoseconds": picoseconds}) if "picoseconds" in given else stored
    try:
        with _tempering_progress() as told:
            found = reference_run(config, directory, resume, told)
    except KeyboardInterrupt:
        command = f"boltzflow reference {system} --out {directory} --resume"
        typer.echo(f"Interrupted. What was sampled is kept; go on with: {command}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    _tell_reference(found, directory)


@app.command()
def systems() -> None:
    """List the systems of the library.

    More of them are found in the folders of $BOLTZFLOW_SYSTEMS, each with
    NAME/system.yaml and NAME/topology.pdb.
    """
    for name, folder in available_systems().items():
        trained = " (trained generator)" if (folder / GENERATOR).is_file() else ""
        typer.echo(f"{name:24} {SystemDescription.read(folder / 'system.yaml').description}{trained}")


def main() -> None:
    """The entry point of the `boltzflow` command."""
    keep_freed_memory()
    warnings.formatwarning = lambda message, *_, **__: f"Warning: {message}\n"
    app()


def _on_command_line(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise OptionError(f"Expected --hidden as numbers with commas, such as 256,256; got {text!r}.") from None


def _molecule(system: str, forcefield: list[str] | None, temperature: float | None) -> dict[str, Any]:
    """The settings that say which molecule."""
    pdb = runs.is_pdb(system)
    return {
        "system": str(Path(system).resolve()) if pdb else system,
        "forcefield": forcefield or (runs.PDB_FORCEFIELD if pdb else ()),
        "temperature": temperature,
    }


Config = TypeVar("Config", bound=SystemConfig)


def _resumed(config: Config, directory: Path, given: set[str]) -> Config:
    """The settings of the run in `directory`, which the options given must agree with."""
    if not (directory / runs.CONFIG).is_file():
        raise RunDirectoryError(f"{directory} holds no run to go on with: {runs.CONFIG} is missing.")
    stored = type(config).read(directory / runs.CONFIG)
    for name in sorted(given):
        if getattr(stored, name) != getattr(config, name):
            raise OptionError(
                f"The run in {directory} has {name} {getattr(stored, name)}; got {getattr(config, name)}: "
                "resume with its own settings, or start anew in another --out."
            )
    return stored


@contextmanager
def _progress(what: str, total: int) -> Iterator[runs.Progress]:
    """A progress bar that appears with the first call."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task(what, total=total)

    def drawn(done: int) -> None:
        bar.start()
        bar.update(task, completed=done)

    try:
        yield drawn
    finally:
        if bar.live.is_started:  # else stopping would print an empty line
            bar.stop()


@contextmanager
def _tempering_progress() -> Iterator[Callable[[Tempering], None]]:
    """A progress bar in picoseconds, with speeds, that appears with the first call."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, TextColumn("{task.fields[state]}"), console=Console(stderr=True))
    task = bar.add_task("sampling, ps", total=None, state="")
    began: list[tuple[float, Tempering]] = []

    def told(now: Tempering) -> None:
        bar.start()
        began.append((time.monotonic(), now))
        del began[1:-1]
        (start, first), (moment, last) = began[0], began[-1]
        seconds = max(moment - start, 1e-9)
        days = (last.picoseconds - first.picoseconds) * last.replicas * 1e-3 * 86400 / seconds
        rate = (last.evaluations - first.evaluations) / seconds
        state = f"{days:,.0f} ns/day  {rate:,.0f} frames/s  {now.acceptance:.0%} of swaps"
        bar.update(task, total=round(now.total), completed=round(now.picoseconds, 1), state=state)

    try:
        yield told
    finally:
        if bar.live.is_started:
            bar.stop()


def _tell_reference(found: dict[str, Any], directory: Path) -> None:
    """The main results at the lowest temperature in a few lines."""
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


def _tell(summary: Summary, directory: Path) -> None:
    """The main results in a few lines."""
    rows = {
        "samples": f"{summary.frames:,} ({summary.failed_frames:,} failed) at {summary.temperature:g} K",
        "ESS": f"{summary.ess:.2%} ({summary.ess_clipped:.2%} with the top 1e-4 of weights clipped)",
        "Pareto k": f"{summary.pareto_k:.2f} (averages are not to be trusted above 0.7)",
        "log Z": f"{summary.log_z.value:.4f} ± {summary.log_z.error:.4f}",
    }
    for region, found in summary.populations.items():
        rows[region] = f"{found.value:.5f} ± {found.error:.5f} ({found.frames:,} samples)"
    if summary.geometry is not None:
        check = summary.geometry
        rows["bonds and angles"] = (
            f"{check.share_outside:.2%} of the weight beyond {check.sigmas:g} σ; "
            f"most spread: {check.worst}, {check.worst_rms:.2f} σ"
        )
    if summary.wrong_handed_frames:
        rows["wrong-handed"] = f"{summary.wrong_handed_frames:,} samples"
    rows["written to"] = str(directory)
    for label, text in rows.items():
        typer.echo(f"{label:24} {text}")
