"""The settings of a run, as written to `config.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from boltzflow.architecture import Architecture
from boltzflow.documents import Document
from boltzflow.molecules.forcefields import DEFAULT_FORCEFIELD
from boltzflow.molecules.parametrize import Constraints
from boltzflow.molecules.readers.reading import ImplicitSolvent
from boltzflow.molecules.sources import FILES
from boltzflow.presets import DEFAULT, PresetName, flow_settings, preset_for, training_settings
from boltzflow.settings import Count, Kelvin, Seed, Time, TimeOrNone, within
from boltzflow.training.methods import FORWARD_KL, METHODS
from boltzflow.training.options import TrainingOptions

_FOR_TRAINING = 0.8  # of a run's time, about


def _resolved(path: str) -> str:
    return str(Path(path).resolve())


def _resolved_file(source: str) -> str:
    """A file's full path; the name of a system as it is."""
    return _resolved(source) if Path(source).suffix.lower() in FILES else source


Place = Annotated[str, AfterValidator(_resolved)]


class SystemConfig(Document):
    """Which molecule: the arguments of `read_molecule`."""

    heading: ClassVar[str] = "Molecule"

    system: Annotated[str, Field(min_length=1), AfterValidator(_resolved_file)] | None = None
    """A system's name, or a file: pdb, cif, prmtop, top, psf, sdf, mol, mol2, or xml of an openmm.System."""

    sequence: str | None = None
    """One-letter codes of a peptide, such as AVS, instead of a name or file."""

    smiles: str | None = None
    """SMILES of a small molecule, instead of a name or file."""

    caps: bool | None = Field(None, json_schema_extra={"default": "caps"})
    """Whether a sequence has ACE and NME at its ends."""

    coordinates: Place | None = None
    """Positions for a prmtop (inpcrd, rst7), top (gro), psf (crd, pdb) or xml (pdb, cif)."""

    parameters: tuple[Place, ...] = ()
    """CHARMM rtf, prm or str file for a psf; may be repeated."""

    forcefield: tuple[str, ...] = Field((), json_schema_extra={"default": " ".join(DEFAULT_FORCEFIELD)})
    """OpenMM force-field file for a pdb, cif or sequence, may be repeated; for a small molecule gaff2 or gaff."""

    implicit_solvent: ImplicitSolvent | None = Field(
        None, json_schema_extra={"default": "none; OBC2 for a small molecule"}
    )
    """Implicit solvent for a prmtop, psf or small molecule."""

    include_folder: Place | None = None
    """Folder of GROMACS' own force fields, for a top."""

    hydrogens_at_ph: Annotated[float, within(0.0, 14.0)] | None = None
    """Add missing hydrogens of a PDB or mmCIF file at this pH; the pH of a sequence (7 if not given)."""

    add_hydrogens: bool | None = None
    """Add missing hydrogens of an sdf, mol or mol2, for its formal charges."""

    constraints: Constraints = "none"
    """Constraints of bonds and angles, for files and sequences."""

    temperature: Kelvin | None = None
    """Temperature in K; if not given the library system's own, or 300 K."""


class RunConfig(TrainingOptions, Architecture, SystemConfig):
    """Everything that `boltzflow train` needs; written into the run directory and read by `--resume`.

    `completed` fills unset options from the preset; before that they hold placeholders.

    >>> RunConfig.of(system="alanine_dipeptide", steps=100).completed(60).hidden
    (128, 128)
    """

    heading: ClassVar[str] = "Run"

    preset: PresetName = DEFAULT
    """Preset that fills unset options."""

    minutes: Annotated[float, within(1.0, 1e6, "minutes")] | None = None
    """Time for the whole run, instead of --steps: sizes and number of steps are chosen for this machine."""

    method: str = Field(
        "reverse_then_forward",
        description=f"Method of training: {', '.join((*METHODS, FORWARD_KL))}.",
        json_schema_extra={"default": "reverse_then_forward; reverse_kl with stochastic layers"},
    )

    data: Place | None = None
    """Directory of samples for forward_kl, such as a reference."""

    tensorboard: bool = False
    """Also write files for TensorBoard."""

    accelerator: Literal["cpu", "cuda"] = "cpu"
    """Device for training and sampling."""

    devices: Count = 1
    """Number of processes that divide each step, one per device; started here unless torchrun or srun did."""

    samples: Count = 100_000
    """Number of structures to sample after the training."""

    check_picoseconds: TimeOrNone = Field(20.0, json_schema_extra={"option": "--check-ps"})
    """Length in ps of the final simulation that searches for lost basins; 0 for none."""

    seed: Seed = 0
    """Seed of all random numbers."""

    @model_validator(mode="before")
    @classmethod
    def _nothing_asked_for(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Drop None, which in older files means that the preset sets the option."""
        return {name: value for name, value in values.items() if value is not None}

    @model_validator(mode="after")
    def _times_one_device(self) -> Self:
        if self.minutes is not None and self.devices > 1:
            raise ValueError(f"Expected --minutes on one device; got {self.devices} devices")
        return self

    def completed(self, coordinates: int) -> Self:
        """The settings with unset options filled from the preset, for a flow with this many coordinates.

        If there are minutes, but neither steps nor a preset, the preset is the largest for that time.
        """
        if self.minutes is not None and not self.given.keys() & {"preset", "steps"}:
            fitting = preset_for(_FOR_TRAINING * self.minutes, coordinates, self.accelerator)
            return type(self).of(**self.given, preset=fitting).completed(coordinates)
        chosen = training_settings(
            self.preset,
            coordinates,
            self.accelerator,
            self.devices,
            self.given,
            patient=self.temperatures is None,
            path=self.stochastic is not None,
        )
        return type(self).of(**(flow_settings(self.preset, coordinates) | chosen))


class ReferenceConfig(SystemConfig):
    """Everything that `boltzflow reference` needs; written into its directory and read by `--resume`.

    >>> ReferenceConfig.of(system="alanine_dipeptide", umbrella=13.0).ladders
    64
    """

    heading: ClassVar[str] = "Simulation"

    temperature: Kelvin | None = None
    """Lowest temperature in K; if not given the library system's own, or 300 K."""

    picoseconds: Time = 200.0
    """Recorded time of each replica, in ps."""

    equilibration: TimeOrNone = 50.0
    """Equilibration time before that, in ps.

    In its first half all replicas are at the highest temperature.
    """

    ladders: int = Field(64, ge=2, lt=2**63)
    """Number of independent ladders; their scatter gives the errors."""

    temperatures: int = Field(8, ge=2, lt=2**63)
    """Number of temperatures in a ladder, geometric from the system's to the highest."""

    hottest: Kelvin = 1200.0
    """Highest temperature, in K."""

    umbrella: Annotated[float, within(1e-3, 1e4, "kJ/mol", zero=True)] = 0.0
    """Depth in kJ/mol of a bias towards φ > 0, removed by reweighting; 0 for none."""

    timestep: Annotated[float, within(1e-5, 0.1, "ps")] | None = None
    """Time step in ps; if not given 0.001, or 0.002 with constraints."""

    hydrogen_mass: Annotated[float, within(0.1, 100.0, "dalton")] | None = None
    """Mass of hydrogens in dalton, repartitioned from bonded atoms; 3 allows longer time steps."""

    friction: Annotated[float, within(1e-3, 1e5, "1/ps")] = 2.0
    """Langevin friction in 1/ps."""

    seed: Seed = 0
    """Seed of all random numbers."""
