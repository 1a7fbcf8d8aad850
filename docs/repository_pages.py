"""Pages of the repository that stand outside of docs/, and links between all of them as the site has them."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

_LINK = re.compile(r"(?P<mark>!?)\[(?P<text>[^\]]*)\]\((?P<path>[^)\s#:]+)(?P<anchor>#[^)]*)?\)")


def pages() -> dict[Path, Path]:
    """File of each page of the site that is copied from elsewhere, by the file it comes from."""
    systems = {path: DOCS / "systems" / f"{path.parent.name}.md" for path in ROOT.glob("systems/*/README.md")}
    own_molecule = ROOT / "examples" / "own_molecule" / "README.md"
    project = {
        ROOT / f"{name}.md": DOCS / "project" / f"{name.lower()}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")
    }
    examples = {path: DOCS / "notebooks" / path.name for path in ROOT.glob("examples/*.ipynb")}
    examples[ROOT / "examples" / "README.md"] = DOCS / "notebooks" / "index.md"
    return {**systems, own_molecule: DOCS / "systems" / "o_cresol.md", **project, **examples}


def relinked(text: str, source: Path, page: Path) -> str:
    """A page's text with each link to a file or picture of the repository as the page of the site needs it.

    Args:
        text: Markdown.
        source: the file that its links are relative to.
        page: where it is to stand.
    """
    copied = pages()

    def of_the_site(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(source.parent / link["path"]))
        if not target.is_file():
            return link[0]
        path = os.path.relpath(copied.get(target, target), page.parent)
        return f"{link['mark']}[{link['text']}]({path}{link['anchor'] or ''})"

    return _LINK.sub(of_the_site, text)


def index_of_systems() -> str:
    """The page that lists the molecules."""
    lines = [
        "# Molecules that come with boltzflow",
        "",
        "Each comes with its force field and an independent reference.",
    ]
    return "\n".join(lines) + contents("systems")


def contents(folder: str, *options: str) -> str:
    """The contents of a folder of copied pages, but for its index."""
    names = sorted({page.stem for page in pages().values() if page.parent.name == folder} - {"index"})
    return "\n".join(["", "", "```{toctree}", ":maxdepth: 1", *options, "", *names, "```", ""])
