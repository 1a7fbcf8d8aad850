"""Whether a number can be trusted: one of three levels, and the reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


_OF_OLDER_FILES = {"No sign of a lost basin": Trust.TRUST, "Trainings with other seeds agree": Trust.TRUST}
_COVERAGE = ("lost basins", "reference", "other seeds")
"""Subjects that tell whether regions are missing, which weights cannot."""


def level_of(sentence: str) -> Trust | None:
    """The level of trust of a sentence; None if it states none, such as for a check that was not made.

    >>> level_of("Do not use: a basin is lost."), level_of("Not checked: no native energies.")
    (<Trust.DO_NOT_USE: 2>, None)
    """
    beginnings = {f"{word}:": level for level, word in _WORDS.items()} | _OF_OLDER_FILES
    return next((level for beginning, level in beginnings.items() if sentence.startswith(beginning)), None)


def unchecked(verdicts: Mapping[str, str]) -> list[str]:
    """The checks for regions that are never sampled that were not made."""
    return [subject for subject in _COVERAGE if level_of(verdicts.get(subject, "")) is None]


def headline(verdicts: Mapping[str, str]) -> Verdict:
    """One verdict on samples: the worst of all, its reasons, and what was and was not checked.

    It is "Trust" only if a check besides the weights was made, since weights cannot reveal regions that are never
    sampled.

    Args:
        verdicts: sentences, by subject: "weights", "lost basins", "reference", "other seeds" and others.

    >>> print(headline({"weights": "Trust: 900 effective samples of 1,000."}))
    With care: nothing but the weights was checked (not checked: lost basins, reference, other seeds).
    >>> print(headline({"weights": "Trust: even.", "lost basins": "Do not use: a basin is lost."}))
    Do not use: lost basins: a basin is lost (not checked: reference, other seeds).
    """
    levels = {subject: level for subject, text in verdicts.items() if (level := level_of(text)) is not None}
    missing = unchecked(verdicts)
    remark = f" (not checked: {', '.join(missing)})" if missing else ""
    trust = max(levels.values(), default=Trust.WITH_CARE)
    if trust is Trust.TRUST and len(missing) < len(_COVERAGE):
        return Verdict(trust, f"checked: {', '.join(levels)}{remark}")
    if len(missing) == len(_COVERAGE) and trust is not Trust.DO_NOT_USE:
        reasons = ["nothing but the weights was checked"]
    else:
        reasons = []
    reasons += [
        f"{subject}: {verdicts[subject].partition(': ')[2].rstrip('.')}"
        for subject, level in levels.items()
        if level == trust > Trust.TRUST
    ]
    return Verdict(max(trust, Trust.WITH_CARE), "; ".join(reasons) + remark)
