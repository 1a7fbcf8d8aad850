"""The papers that docstrings name, by public name: each reference stands in the code alone."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from importlib import import_module
from itertools import groupby
from typing import NamedTuple

from public_names import PublicName, public_names

_IDENTIFIER = re.compile(r"\b(arXiv|doi)[ :]\s*(\d{4}\.\d{4,5}|10\.\d{4,}/[^\s,;]+)", re.IGNORECASE)
_NAME = r"(?:(?:von|van|de|Del) )?[A-Z][\w-]+"
_AUTHORS = rf"({_NAME}(?: et al\.| (?:&|and) (?:[A-Z]\. )?{_NAME})?)"
_WITH_YEAR = re.compile(rf"{_AUTHORS},? \(?(\d{{4}})\b")
_IN_JOURNAL = re.compile(rf"[A-Z]\. {_AUTHORS}, [^;]*\((\d{{4}})\)")


class Paper(NamedTuple):
    """A paper by its identifier.

    Attributes:
        kind: "arXiv" or "doi".
        identifier: such as "1906.04032".
    """

    kind: str
    identifier: str

    @property
    def address(self) -> str:
        """Where it is found."""
        return f"https://{'arxiv.org/abs' if self.kind == 'arXiv' else 'doi.org'}/{self.identifier}"


def papers_in(text: str) -> dict[Paper, str]:
    """Papers that a text names, with their authors and year, which are empty where it does not say them.

    >>> found = papers_in("Splines: Durkan et al. 2019, arXiv 1906.04032; circles: doi 10.1000/182.")
    >>> {paper.address: authors for paper, authors in found.items()}
    {'https://arxiv.org/abs/1906.04032': 'Durkan et al. 2019', 'https://doi.org/10.1000/182': ''}
    """
    text = " ".join(text.split())
    found, end = {}, 0
    for match in _IDENTIFIER.finditer(text):
        kind = "arXiv" if match[1].lower() == "arxiv" else "doi"
        identifier = match[2].rstrip(".:")
        if identifier.count(")") > identifier.count("("):
            identifier = identifier.rstrip(").:")
        before = text[end : match.start()]
        said = [*_IN_JOURNAL.findall(before), *_WITH_YEAR.findall(before)]
        authors = re.sub(r"[A-Z]\. ", "", " ".join(said[-1])).replace(" and ", " & ") if said else ""
        found[Paper(kind, identifier)] = authors
        end = match.end()
    return found


def _docstrings(name: PublicName) -> str:
    """Those of a name, of its own methods, and of the file that it is from where this is about its kind."""
    texts = [inspect.getdoc(name.value) or ""] if callable(name.value) else []
    if inspect.isclass(name.value):
        members = vars(name.value).items()
        texts += [inspect.getdoc(value) or "" for member, value in members if not member.startswith("_")]
    if name.module != name.package:
        texts.append(inspect.getdoc(import_module(name.module)) or "")
    return "\n\n".join(texts)


def papers_table() -> str:
    """Markdown: a table for each package, of its names and their papers."""
    papers = {name.path: papers_in(_docstrings(name)) for name in public_names()}
    said: dict[Paper, Counter[str]] = {}
    for found in papers.values():
        for paper, authors in found.items():
            said.setdefault(paper, Counter())[authors] += 1 if authors else 0
    lines = []
    for package, names in groupby(public_names(), key=lambda name: name.package):
        rows = []
        for name in names:
            entries = [_entry(paper, said[paper].most_common(1)[0][0]) for paper in papers[name.path]]
            if entries:
                rows.append(f"| `{name.path}` | {'; '.join(entries)} |")
        if rows:
            lines += [f"## {package}", "", "| name | papers |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def _entry(paper: Paper, authors: str) -> str:
    link = f"[{paper.kind} {paper.identifier}]({paper.address})"
    return f"{authors}, {link}" if authors else link
