"""The settings of a run, as `config.yaml` keeps them."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from boltzflow.documents import Document
from boltzflow.molecules.parametrize import Constraints


class RunConfig(Document):
    """Everything that `boltzflow train` needs; written into the run directory and read by `--resume`.

    Attributes:
        system: a name of the library, or the path of a PDB file.
        forcefield: OpenMM force-field files, for a PDB file; empty for a system of the library.
        constraints: for a PDB file.
        temperature: in K; None takes the system's own (300 K for a PDB file).
        method: of training.
        steps, batch_size, learning_rate: of training.
        layers, hidden, bins: size of the flow.
        samples: number of structures drawn in the end.
        seed: of everything.

    >>> RunConfig.of(system="alanine_dipeptide", steps=100).hidden
    (256, 256)
    """

    system: str = Field(min_length=1)
    forcefield: tuple[str, ...] = ()
    constraints: Constraints = "none"
    temperature: PositiveFloat | None = None
    method: str = "reverse_kl"
    steps: PositiveInt = 20_000
    batch_size: PositiveInt = 1024
    learning_rate: PositiveFloat = 1e-3
    layers: PositiveInt = 12
    hidden: tuple[PositiveInt, ...] = Field((256, 256), min_length=1)
    bins: PositiveInt = 8
    samples: PositiveInt = 100_000
    seed: NonNegativeInt = 0
