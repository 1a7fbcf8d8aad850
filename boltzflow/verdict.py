"""Whether a number can be trusted: one of three levels, and the reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Trust(IntEnum):
    """How far a result can be trusted; a larger value means less trust.

    >>> max(Trust.TRUST, Trust.WITH_CARE).name
    'WITH_CARE'
    """

    TRUST = 0
    WITH_CARE = 1
    DO_NOT_USE = 2


_WORDS = {Trust.TRUST: "Trust", Trust.WITH_CARE: "With care", Trust.DO_NOT_USE: "Do not use"}


@dataclass(frozen=True)
class Verdict:
    """A level of trust, and the reason in one plain sentence without its full stop.

    >>> print(Verdict(Trust.WITH_CARE, "the largest weight is 12 % of all"))
    With care: the largest weight is 12 % of all.
    """

    trust: Trust
    reason: str

    def __str__(self) -> str:
        return f"{_WORDS[self.trust]}: {self.reason}."


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The lowest level of trust among the verdicts, with the reasons of all that have this level.

    Raises:
        ValueError: if there is no verdict.

    >>> print(worst([Verdict(Trust.TRUST, "a"), Verdict(Trust.WITH_CARE, "b"), Verdict(Trust.WITH_CARE, "c")]))
    With care: b; c.
    """
    found = list(verdicts)
    trust = max(verdict.trust for verdict in found)
    return Verdict(trust, "; ".join(verdict.reason for verdict in found if verdict.trust == trust))
