"""Make the notebooks: a script with cells of text (`# %% [markdown]`) is run cell by cell and kept with its outputs.

The scripts are the source: change them, never the notebooks, and run this again. Needs the extra "examples".

python examples/make_notebooks.py          # all of them: some ten minutes on one core
python examples/make_notebooks.py 11 15    # those whose names begin so
"""

import os
import sys
import tempfile
from pathlib import Path
from shutil import copytree

import jupytext
import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent


def scripts() -> list[Path]:
    """Those of which there is a notebook."""
    found = sorted(EXAMPLES.glob("[0-9]*.py"))
    return [script for script in found if "# %% [markdown]" in script.read_text(encoding="utf-8")]


def executed(script: Path) -> nbformat.NotebookNode:
    """The script as a notebook, with the outputs of a fresh kernel; what it writes is thrown away."""
    notebook = jupytext.read(script)
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # the same each time, so that only what has changed differs
        cell.metadata = {}
    with tempfile.TemporaryDirectory() as folder:
        copytree(EXAMPLES, folder, dirs_exist_ok=True)
        NotebookClient(notebook, timeout=None, record_timing=False, resources={"metadata": {"path": folder}}).execute()
    return notebook


if __name__ == "__main__":
    os.environ.setdefault("BOLTZFLOW_COMPILE", "0")  # building code takes longer than these short runs gain by it
    for script in scripts():
        if len(sys.argv) == 1 or script.name.startswith(tuple(sys.argv[1:])):
            print(script.name, flush=True)
            nbformat.write(executed(script), script.with_suffix(".ipynb"))
