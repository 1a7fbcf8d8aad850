"""Validation of the facts about a run in a summary, from which the page and the verdicts are made."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

Number = float | None  # None: not finite

_MISSING: Any = None  # a key may be missing; null is refused


class _Judged(BaseModel):
    verdict: str


class _Estimate(BaseModel):
    value: Number
    error: Number


class _Distance(BaseModel):
    observable: str
    measure: str
    value: Number
    floor: Number
    noise: Number
    unit: str


class _Basin(BaseModel):
    samples: _Estimate
    reference: _Estimate


class _Population(_Basin):
    sigmas: Number


class _Comparison(_Judged):
    reference_frames: int
    reference_pieces: int
    p_value: Number
    distances: list[_Distance]
    basins: dict[str, _Basin]
    populations: dict[str, _Population] = _MISSING
    populations_beyond_3_sigmas: int = _MISSING


class _Forward(_Judged):
    ess: Number
    nll: _Estimate


class _Evaluation(BaseModel):
    comparison: _Comparison
    forward: _Forward | None


class _Run(BaseModel):
    collapse_check: _Judged = _MISSING
    replica_check: _Judged = _MISSING
    evaluation: _Evaluation = _MISSING
    stopped_early: bool = False
    steps: int = 0


def check_run(run: dict[str, Any]) -> None:
    """Raise unless the facts have the form that `analyze` writes.

    Raises:
        ValueError: names the first invalid key.

    >>> check_run({"collapse_check": {"verdict": 7}})
    Traceback (most recent call last):
        ...
    ValueError: run.collapse_check.verdict: input should be a valid string; got 7
    """
    try:
        _Run.model_validate(run, strict=True)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(
            f"run.{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}; got {fault['input']!r}"
        ) from None
