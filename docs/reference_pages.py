"""The pages of the API reference, written from the code: a page for each package, a section for each of its files."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import groupby, pairwise

import boltzflow
from public_names import PACKAGES, PAGES, PublicName, handed_on_by, is_public, public_names

INDEX = "index"

_ACRONYM = 3  # letters at most: KL, FAB, VAE, MLP

_DOCTEST = re.compile(r"^ *>>> .*?(?=^ *$|\Z)", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)[^`]+?\1")
_MARKUP = re.compile(r"([*|]|(?<=\w)_(?!\w))")


def plain(text: str) -> str:
    """A docstring in reStructuredText: backticks and doctests are markup, stars, bars and underscores are not.

    >>> print(plain("|x| of states (n, *shape) as `log_prob_` has it"))
    \\|x\\| of states (n, \\*shape) as `log_prob_` has it
    """
    kept = sorted((*_DOCTEST.finditer(text), *_CODE.finditer(text)), key=lambda match: match.start())
    parts, end = [], 0
    for match in kept:
        if match.start() >= end:
            parts += [_MARKUP.sub(r"\\\1", text[end : match.start()]), match[0]]
            end = match.end()
    return "".join([*parts, _MARKUP.sub(r"\\\1", text[end:])])


def page_name(package: str) -> str:
    """Such as "core.layers" for "boltzflow.core.layers"."""
    return package.removeprefix("boltzflow.")


def reference_pages() -> dict[str, str]:
    """Text in reStructuredText, as docstrings are, by name of the page."""
    return {INDEX: _index()} | {page_name(package): _page(package) for package in PACKAGES}


def _index() -> str:
    lines = [*_title("Reference", "="), "All public names, generated from the docstrings of the code.", ""]
    for group, packages in PAGES.items():
        lines += [".. toctree::", "   :maxdepth: 1", f"   :caption: {group}", ""]
        lines += [f"   {page_name(package)} <{page_name(package)}>" for package in packages] + [""]
    lines += [*_title("The names of ``import boltzflow as bf``", "-"), *_summary(_top_level())]
    return "\n".join(lines) + "\n"


def _top_level() -> list[str]:
    return [name.path for name in public_names() if name.short in boltzflow.__all__]


def _page(package: str) -> str:
    names = [name for name in public_names() if name.package == package]
    lines = [*_title(package, "="), f".. py:module:: {package}", "", *_docstring(package)]
    if handed_on_by(package):
        lines += [f"All names can be imported from ``{handed_on_by(package)}``.", ""]
    if len(names) > 1:
        lines += _summary([name.short for name in names])
    by_file = sorted(names, key=lambda name: name.module)
    for module, group in groupby(by_file, key=lambda name: name.module):
        if module != package:
            lines += [*_title(_words(module), "-"), *_docstring(module)]
        for name in group:
            lines += _entry(name)
    return "\n".join(lines) + "\n"


def _title(text: str, line: str) -> list[str]:
    return [text, line * len(text), ""]


def _words(module: str) -> str:
    """A title from the name of a file."""
    words = module.rpartition(".")[2].split("_")
    words = [word.upper() if len(word) <= _ACRONYM else word for word in words]
    return " ".join([words[0][0].upper() + words[0][1:], *words[1:]])


def _docstring(module: str) -> list[str]:
    return [*plain(inspect.getdoc(import_module(module)) or "").splitlines(), ""]


def _summary(names: list[str]) -> list[str]:
    return [".. autosummary::", "   :nosignatures:", "", *(f"   ~{name}" for name in names), ""]


def _entry(name: PublicName) -> list[str]:
    if inspect.isclass(name.value):
        kind = "exception" if issubclass(name.value, Exception) else "class"
        options = ["   :show-inheritance:"] if any(map(is_public, name.value.__bases__)) else []
        return [f".. auto{kind}:: {name.path}", *options, ""]
    if inspect.isfunction(name.value):
        return [f".. autofunction:: {name.path}", ""]
    return [f".. py:data:: {name.path}", "", *(f"   {line}" for line in _constant_docstring(name)), ""]


def _constant_docstring(name: PublicName) -> Iterator[str]:
    """The lines of the string that follows a constant's definition."""
    body = ast.parse(inspect.getsource(import_module(name.module))).body
    for definition, after in pairwise(body):
        targets = definition.targets if isinstance(definition, ast.Assign) else [getattr(definition, "target", None)]
        is_it = any(isinstance(target, ast.Name) and target.id == name.short for target in targets)
        if is_it and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            yield from plain(inspect.cleandoc(str(after.value.value))).splitlines()
