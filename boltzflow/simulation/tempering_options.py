"""Times of a parallel tempering run, and its progress."""

from __future__ import annotations

from dataclasses import dataclass

from boltzflow.errors import OptionError


@dataclass(frozen=True)
class TemperingOptions:
    """Times and seed of a parallel tempering run.

    Attributes:
        picoseconds: recorded time of each replica.
        equilibration: time in ps before recording starts. In its first half all replicas are at the hottest
            temperature, to decorrelate them from the initial structure; in its second half each is at its own.
        swap_every: time between swaps, in ps.
        record_every: time between records, in ps, a multiple of `swap_every`.
        seed: the random seed.
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
        """The sum of equilibration and recorded time, ps."""
        return self.equilibration + self.picoseconds

    @property
    def records(self) -> int:
        """The number of frames of each replica."""
        return self.rounds(self.picoseconds) // self.rounds(self.record_every)

    def rounds(self, picoseconds: float) -> int:
        """The number of rounds of swaps in a time."""
        return round(picoseconds / self.swap_every)


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        picoseconds: simulated time so far, equilibration included.
        total: the total time, ps.
        replicas: the number of replicas.
        evaluations: the number of energy and force evaluations so far, in this process.
        acceptance: fraction of accepted swaps so far.
    """

    picoseconds: float
    total: float
    replicas: int
    evaluations: int
    acceptance: float
