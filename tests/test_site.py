"""What the documentation site is made of, without building it: names, papers, links and tables."""

import doctest
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import papers
import public_names
import reference_pages
import repository_pages
from boltzflow.presets import PRESETS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
COMING_FROM = [DOCS / "coming-from-bgflow.md", DOCS / "coming-from-openmm.md"]
ROOTS = {package.removeprefix("boltzflow.").removeprefix("core.") for package in public_names.PACKAGES}
FILES = (".png", ".csv", ".dcd", ".json", ".md")
NOT_IN_THE_REFERENCE = {"boltzflow.cli"}  # `boltzflow --help` is its documentation


def tables(page: str) -> list[list[str]]:
    """The rows of all tables, without headings' lines."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    return [row for row in rows if not set(row[0]) <= set(" -") or row[0] == ""]


def code_names(text: str) -> set[str]:
    return set(re.findall(r"`([A-Za-z_][\w.]*)(?:\([^`]*\))?`", text))


def is_attribute(owner: object, name: str) -> bool:
    """Whether objects of a class have it, be it set by its constructor."""
    return hasattr(owner, name) or f"self.{name}" in inspect.getsource(owner) or name in owner.__annotations__


def exists(name: str) -> bool:
    """Whether a name of the documentation means something public, an attribute of it, or a package."""
    if public_names.resolve(name) is not None or name in {*ROOTS, *public_names.PACKAGES}:
        return True
    path = public_names.resolve(name.rpartition(".")[0])
    found = [public.value for public in public_names.public_names() if public.path == path]
    return any(inspect.isclass(value) and is_attribute(value, name.rpartition(".")[2]) for value in found)


def modules_with_public_names() -> list[str]:
    """All modules that say which of their names are public."""
    found = [path for path in (ROOT / "boltzflow").rglob("*.py") if "\n__all__ = " in path.read_text(encoding="utf-8")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in found]
    return sorted(set(names) - NOT_IN_THE_REFERENCE)


def test_every_public_name_has_one_place_in_the_reference():
    text = "\n".join(reference_pages.reference_pages().values())
    entries = re.findall(r"^\.\. (?:auto\w+|py:data):: (\S+)$", text, flags=re.MULTILINE)
    assert len(entries) == len(set(entries)) > 250
    documented = {(name.module, name.short) for name in public_names.public_names() if name.path in entries}
    values = {id(name.value) for name in public_names.public_names() if name.path in entries}
    assert len(documented) == len(entries)
    for module in modules_with_public_names():
        for name in importlib.import_module(module).__all__:
            value = getattr(importlib.import_module(module), name)
            is_no_entry = isinstance(value, ModuleType) or name == "__version__"
            assert is_no_entry or id(value) in values, f"{module}.{name} has no place"


def test_a_new_package_needs_a_page():
    missing = set(modules_with_public_names()) - {"boltzflow", *public_names.PACKAGES}
    assert not missing, "put them into PAGES of docs/public_names.py"


def test_names_are_understood_as_texts_write_them():
    for text, path in {
        "bf.train": "boltzflow.training.train",
        "layers.Planar": "boltzflow.core.layers.Planar",
        "targets.Cylinder": "boltzflow.core.distributions.targets.Cylinder",
        "boltzflow.core.layers.planar.Planar": "boltzflow.core.layers.Planar",
        "Ensemble.mean": "boltzflow.ensemble.Ensemble.mean",
    }.items():
        assert public_names.resolve(text) == path
    for text in ("Langevin", "Ensemble.nothing", "nothing", "numpy"):  # two have the first name
        assert public_names.resolve(text) is None


@pytest.mark.parametrize("module", [papers, public_names, reference_pages])
def test_examples_of_the_docstrings(module):
    assert doctest.testmod(module).failed == 0


def test_every_paper_has_its_authors():
    table = papers.papers_table()
    assert table.count("](https://") > 100
    assert not re.findall(r"(?:\||;) (\[[^\]]*\])\(https", table), "authors and year belong before the identifier"
    assert "Durkan et al. 2019, [arXiv 1906.04032](https://arxiv.org/abs/1906.04032)" in table
    assert "Eckart 1935, [doi 10.1103/PhysRev.47.552]" in table  # authors, journal, year in brackets


@pytest.mark.parametrize("page", COMING_FROM, ids=lambda page: page.stem)
def test_every_counterpart_exists(page):
    rows = [row for row in tables(page.read_text(encoding="utf-8")) if row[1] != "here"]
    assert len(rows) > 15
    for row in rows:
        assert code_names(row[1]) or row[1] in ("–", "`boltzflow reference`"), f"{row[0]} has no counterpart"
        for name in code_names(row[1]):
            assert exists(name), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_name_with_a_package_exists(page):
    """Names such as `analysis.population`, in the text and in the columns that speak of boltzflow."""
    text = page.read_text(encoding="utf-8")
    if page.stem.startswith("coming-from"):
        text = re.sub(r"^\|[^|]*\|", "", text, flags=re.MULTILINE)
    for name in code_names(text):
        package = name.rpartition(".")[0].removeprefix("boltzflow.").removeprefix("core.")
        # `ensemble.mean` is code with a variable.
        if package in ROOTS - {"ensemble"} and not name.endswith(FILES):
            assert exists(name), name


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    made = {DOCS / "systems" / "index.md", DOCS / "reference" / "index.rst"}
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)  # SMILES look like links
    for _, target in re.findall(r"\[([^\]]*)\]\(([^)\s#]+)[^)]*\)", prose):
        if "://" not in target:
            path = page.parent / target
            assert path.exists() or path in made, target


def test_links_to_files_elsewhere_lead_to_their_pages():
    text = (
        "[a](../systems/butane/README.md#how) [b](training.md) [c](../examples/11_own_molecule.py) [d](https://x.org)"
    )
    page = DOCS / "my-molecule.md"
    assert repository_pages.relinked(text, page, page) == text.replace(
        "../systems/butane/README.md", "systems/butane.md"
    )
    back = repository_pages.relinked(
        "[a](../../docs/training.md)", ROOT / "systems" / "x" / "y", DOCS / "systems" / "x.md"
    )
    assert back == "[a](../training.md)"


def test_every_page_is_in_the_contents():
    contents = re.findall(r"<([\w/-]+)>", (DOCS / "index.md").read_text(encoding="utf-8"))
    assert len(contents) == len(set(contents))
    assert {page.stem for page in PAGES} - {"index"} <= set(contents)


def test_the_table_of_presets_is_that_of_the_code():
    rows = [
        row for row in tables((DOCS / "what-will-it-cost.md").read_text(encoding="utf-8")) if row[0][1:-1] in PRESETS
    ]
    written = {row[0][1:-1]: (float(row[1]), int(row[2]), row[3]) for row in rows}
    assert written == {name: (p.evaluations, p.layers, f"{p.width}·{p.width}") for name, p in PRESETS.items()}
