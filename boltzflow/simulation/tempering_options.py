"""When parallel tempering does what, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass

from boltzflow.errors import OptionError


@dataclass(frozen=True)
class TemperingOptions:
    """When parallel tempering does what.

    Attributes:
        picoseconds: recorded time of each replica.
        equilibration: in ps, before that and not recorded: in its first half all replicas are at the hottest
            temperature, so that they forget where they came from; in its second half each is at its own.
        swap_every: in ps.
        record_every: in ps, a multiple of `swap_every`.
        seed: of all random numbers.
    """

    picoseconds: float = 100.0
    equilibration: float = 20.0
    swap_every: float = 0.1
    record_every: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.picoseconds > 0 and self.equilibration >= 0 and self.swap_every > 0 and self.record_every > 0):
            raise OptionError(f"Expected positive times in ps; got {self}.")
        if self.rounds(self.record_every) < 1:
            raise OptionError(
                "Expected to record no more often than to swap; got a record every "
                f"{self.record_every:g} ps and swaps every {self.swap_every:g} ps."
            )

    @property
    def total(self) -> float:
        """Equilibration and recorded time, ps."""
        return self.equilibration + self.picoseconds

    @property
    def records(self) -> int:
        """The number of frames of each replica."""
        return self.rounds(self.picoseconds) // self.rounds(self.record_every)

    def rounds(self, picoseconds: float) -> int:
        """Rounds of swaps in a time."""
        return round(picoseconds / self.swap_every)


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        picoseconds: done, equilibration included.
        total: ps in all.
        replicas: their number.
        evaluations: of energies and forces so far, by this program.
        acceptance: share of accepted swaps so far.
    """

    picoseconds: float
    total: float
    replicas: int
    evaluations: int
    acceptance: float
