"""The documentation names what exists, names everything, and its code runs."""

import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
from pathlib import Path

import pytest
import torch

import boltzflow.core
import boltzflow.core.distributions.targets
import boltzflow.core.functional

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FLOWS = (ROOT / "docs" / "flows.md").read_text(encoding="utf-8")
NORMFLOWS = (ROOT / "docs" / "coming-from-normflows.md").read_text(encoding="utf-8")
ROOTS = (*boltzflow.core.__all__, "functional", "targets")
PACKAGES = ("layers", "transformers", "nets", "distributions", "kernels", "samplers", "objectives", "recipes")


def resolve(name: str) -> object:
    """What a dotted name means, relative to `boltzflow.core`; its `targets` are those of `distributions`."""
    here: object = boltzflow.core
    for part in ("distributions." + name if name.startswith("targets.") else name).split("."):
        here = getattr(here, part)
    return here


def cells(page: str, column: int) -> list[str]:
    """The cells of one column of all tables of a page, without headings."""
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("|")]
    return [row[column].strip() for row in rows if not set(row[0]) <= set(" -")]


def code_names(text: str) -> set[str]:
    return set(re.findall(r"`([A-Za-z_][\w.]*)(?:\([^`]*\))?`", text))


@pytest.mark.parametrize("page", [FLOWS, NORMFLOWS], ids=["flows", "coming-from-normflows"])
def test_every_name_exists(page: str) -> None:
    ours = page if page is FLOWS else "\n".join(cells(page, 1) + cells(page, 2))
    names = {name for name in code_names(ours) if name.split(".")[0] in ROOTS}
    assert len(names) > 40
    for name in sorted(names):
        resolve(name)


def test_every_counterpart_of_normflows_is_a_name_that_exists() -> None:
    for left, right in zip(cells(NORMFLOWS, 0), cells(NORMFLOWS, 1), strict=True):
        if left == "normflows":
            continue
        assert right == "–" or code_names(right), f"{left} has no counterpart"
        for name in code_names(right):
            resolve(name)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_the_overview(package: str) -> None:
    names = {f"{package}.{name}" for name in getattr(boltzflow.core, package).__all__}
    assert not names - code_names(FLOWS), "missing in docs/flows.md"


def test_every_target_is_in_the_overview() -> None:
    names = {f"targets.{name}" for name in boltzflow.core.distributions.targets.__all__}
    assert not names - code_names(FLOWS)


@pytest.mark.skipif(importlib.util.find_spec("normflows") is None, reason="normflows is not installed")
def test_nothing_of_normflows_is_left_out() -> None:
    import normflows

    listed = {name.split(".")[-1] for cell in cells(NORMFLOWS, 0) for name in code_names(cell)}
    for module in pkgutil.walk_packages(normflows.__path__, "normflows."):
        if "test" in module.name:
            continue
        loaded = importlib.import_module(module.name)
        own = {
            name
            for name, value in vars(loaded).items()
            if (inspect.isclass(value) or inspect.isfunction(value))
            and value.__module__ == loaded.__name__
            and not name.startswith("_")
        }
        assert not own - listed, f"{module.name}: {sorted(own - listed)} missing in docs/coming-from-normflows.md"


def python_blocks(page: Path) -> list[tuple[int, str]]:
    """Line numbers and code of the blocks that are to be run.

    A comment before a block says what tests do with it: `<!-- not run: reason -->`, or `<!-- in tests: long -> short;
    … -->`, which shortens a computation. With BOLTZFLOW_DOCS=full nothing is shortened.
    """
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"(?:<!-- (not run|in tests): ([^\n]+) -->\n)?```python\n(.*?)```", text, flags=re.DOTALL)
    blocks = []
    for match in found:
        mark, said, code = match.groups()
        if mark == "in tests" and os.environ.get("BOLTZFLOW_DOCS") != "full":
            code = shortened(code, said)
        if mark != "not run":
            blocks.append((text[: match.start(3)].count("\n"), code))
    return blocks


def shortened(code: str, replacements: str) -> str:
    """Code with each "long -> short" of a comment applied, once each."""
    for replacement in replacements.split("; "):
        long, short = replacement.split(" -> ")
        assert code.count(long) == 1, f"expected {long!r} once in a block; got {code.count(long)}"
        code = code.replace(long, short)
    return code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page in order, in one namespace, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    with torch.compiler.set_stance("force_eager"):  # compiled code is tested elsewhere; making it took most of the time
        for line, code in python_blocks(page):
            exec(compile("\n" * line + code, str(page), "exec"), namespace)
