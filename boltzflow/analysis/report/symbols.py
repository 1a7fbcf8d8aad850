"""Names of torsions and states as people write them."""

from __future__ import annotations

import re

_GREEK = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "epsilon": "ε",
    "zeta": "ζ",
    "phi": "φ",
    "psi": "ψ",
    "omega": "ω",
    "chi": "χ",
}
_WORD = re.compile(rf"\b({'|'.join(_GREEK)})(?=\d?\b)")


def with_symbols(text: str) -> str:
    """Greek letters and minus signs for their plain names.

    >>> with_symbols("chi1 VAL2 gauche-"), with_symbols("psi ALA2 -80°")
    ('χ1 VAL2 gauche−', 'ψ ALA2 −80°')
    """
    greek = _WORD.sub(lambda found: _GREEK[found[1]], text)
    return re.sub(r"gauche-|-(?=\d+°)", lambda found: found[0].replace("-", "−"), greek)
