"""What docs/coordinates.md states as a table: the molecules' numbers, and what errors say."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from .test_molecules import NAMES, forcefield, load

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "coordinates.md").read_text(encoding="utf-8")
COLUMNS = "| molecule | what it shows | atoms | D | circles | force field |"
SHORT = {
    "amber14/protein.ff14SB.xml": "Amber ff14SB",
    "amber14/RNA.OL3.xml": "Amber OL3",
    "amber14/DNA.OL15.xml": "Amber OL15",
    "amber14/tip3p.xml": "TIP3P",
}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a line of column names."""
    _, table = PAGE.split(f"{heading}\n")
    lines = table.split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


MOLECULES = rows(COLUMNS)


def names(pattern: str) -> list[str]:
    return [name for name in NAMES if fnmatch(name, pattern.strip("`"))]


def span(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}–{high}"


def test_every_structure_has_one_row() -> None:
    assert sorted(name for row in MOLECULES for name in names(row[0])) == NAMES


@pytest.mark.parametrize("row", MOLECULES, ids=lambda row: row[0])
def test_numbers_are_those_of_the_molecules(row: list[str]) -> None:
    pattern, _, *stated, field = row
    systems = [load(name) for name in names(pattern)]
    domains = [system.coordinates().domain for system in systems]
    circles = [sum(coordinate.kind == "circle" for coordinate in domain) for domain in domains]
    found = [span([system.n_atoms for system in systems]), span([len(domain) for domain in domains]), span(circles)]
    assert stated == found
    shipped = {(forcefield(name) or [""])[0] for name in names(pattern)}
    assert {SHORT.get(file, "–") for file in shipped} == {field}


def test_errors_say_what_the_page_quotes() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "boltzflow").rglob("*.py")))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # strings over several lines
    quotes = [quote for row in rows("| | what the error says |") for quote in re.findall("“(.+?)”", row[1])]
    assert len(quotes) >= 10
    for quote in quotes:
        assert quote in source
