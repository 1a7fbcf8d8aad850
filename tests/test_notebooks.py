"""Each notebook is its script, run to the end, with pictures. `examples/make_notebooks.py` makes them."""

from pathlib import Path

import jupytext
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
ASKED_FOR = {"01", "05", "11", "13", "14", "15"}


def test_there_is_a_notebook_of_each_script_with_cells_of_text():
    scripts = [path for path in EXAMPLES.glob("[0-9]*.py") if "# %% [markdown]" in path.read_text(encoding="utf-8")]
    assert {path.stem for path in scripts} == {path.stem for path in NOTEBOOKS}
    assert {path.name[:2] for path in NOTEBOOKS} >= ASKED_FOR


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_its_script_run_to_the_end(path):
    notebook, script = jupytext.read(path), jupytext.read(path.with_suffix(".py"))
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in script.cells
    ], "the script has changed: run examples/make_notebooks.py"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert path.stat().st_size < 1e6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_what_one_learns_and_what_to_check(path):
    first, *_, last = jupytext.read(path).cells
    assert first.source.startswith("# ")
    assert "**What you will learn:**" in first.source
    assert "## What to check" in last.source
