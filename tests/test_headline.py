"""The verdict on samples as a whole: no better than its worst part, and never Trust by weights alone."""

from __future__ import annotations

from itertools import product

import pytest

from boltzflow.verdict import Trust, headline, level_of, unchecked

SENTENCES = {
    None: "Not checked: no native energies.",
    Trust.TRUST: "Trust: all is well.",
    Trust.WITH_CARE: "With care: a tail.",
    Trust.DO_NOT_USE: "Do not use: lost.",
}


@pytest.mark.parametrize("levels", [*product(SENTENCES, repeat=3)], ids=str)
def test_the_headline_is_the_worst_of_all(levels: tuple[Trust | None, ...]) -> None:
    """Weights, lost basins and other seeds at all levels; a check may be missing or may not have been made."""
    weights, *checks = levels
    verdicts = {"weights": SENTENCES[weights or Trust.TRUST]}
    verdicts |= {name: SENTENCES[level] for name, level in zip(("lost basins", "other seeds"), checks, strict=True)}
    found = headline(verdicts)
    stated = [level for level in (weights or Trust.TRUST, *checks) if level is not None]
    nothing_else = all(level is None for level in checks)
    assert found.trust == max([*stated, Trust.WITH_CARE] if nothing_else else stated)
    assert ("lost basins" in unchecked(verdicts)) == (checks[0] is None)
    assert ", ".join(unchecked(verdicts)) in found.reason
    assert "reference" in found.reason
    if found.trust is Trust.DO_NOT_USE:
        assert "lost" in found.reason
    assert level_of(str(found)) is found.trust


def test_all_checks_leave_no_remark() -> None:
    verdicts = dict.fromkeys(("weights", "lost basins", "reference", "other seeds"), SENTENCES[Trust.TRUST])
    assert str(headline(verdicts)) == "Trust: checked: weights, lost basins, reference, other seeds."
