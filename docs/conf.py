"""The documentation site: sphinx-build -W --keep-going -b html docs build/docs."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]
# The molecules of this checkout, wherever the package that is imported has its own.
os.environ.setdefault("BOLTZFLOW_SYSTEMS", str(DOCS.parent / "systems"))

from sphinx.application import Sphinx  # noqa: E402
from sphinx.domains.python import PyObject  # noqa: E402

import boltzflow  # noqa: E402
from boltzflow.settings import Settings  # noqa: E402
from name_links import link_literals, link_to_public_path  # noqa: E402
from papers import papers_table  # noqa: E402
from public_names import is_public  # noqa: E402
from reference_pages import plain, reference_pages  # noqa: E402
from repository_pages import contents, index_of_systems, pages, relinked  # noqa: E402

project = "boltzflow"
author = project_copyright = "The boltzflow developers"
release = version = boltzflow.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are shown with the outputs that they were stored with

autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False  # what a method overrides is described once, where it is defined
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("Array", "ArrayLike", "Temperature")}
autosummary_generate = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 88
default_role = "py:obj"
add_module_names = False
toc_object_entries_show_parents = "hide"

for field in PyObject.doc_field_types:
    if field.name == "variable":
        field.label = "Attributes"  # as the docstrings have it

html_theme = "furo"
html_title = f"boltzflow {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False


def write_pages() -> None:
    """Write the pages that are made of the code and of other files; those that stay the same are left alone."""
    written = {DOCS / "reference" / f"{name}.rst": text for name, text in reference_pages().items()}
    written[DOCS / "systems" / "index.md"] = index_of_systems()
    for source, page in pages().items():
        written[page] = relinked(source.read_text(encoding="utf-8"), source, page)
    written[DOCS / "notebooks" / "index.md"] += contents("notebooks", ":hidden:")
    for folder in {path.parent for path in written}:
        folder.mkdir(exist_ok=True)
        for stale in {path for path in folder.iterdir() if path not in written}:
            stale.unlink()
    for path, text in written.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def complete_page(app: Sphinx, name: str, content: list[str]) -> None:
    """Put what is generated where a page asks for it, and links where the site has their targets."""
    page = DOCS / f"{name}.md"
    if not page.is_file() or page in pages().values():
        return
    text = content[0]
    if "<!-- generated: papers -->" in text:
        text = text.replace("<!-- generated: papers -->", papers_table())
    content[0] = relinked(text, page, page)


def escape(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Take a docstring as the plain text that it is."""
    lines[:] = plain("\n".join(lines)).splitlines()


def shorten(
    app: Sphinx, what: str, name: str, value: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Write a default that is made anew for each object as Sphinx can read it, and settings by their defaults."""
    if inspect.isclass(value) and issubclass(value, Settings):
        fields = [name if f.is_required() else f"{name}={f.default!r}" for name, f in value.model_fields.items()]
        return f"(*, {', '.join(fields)})", None
    return signature and signature.replace("<factory>", "..."), returns


def leave_out_private(app: Sphinx, name: str, value: object, options: object, bases: list[type]) -> None:
    """Name only those base classes that the reference has."""
    bases[:] = [base for base in bases if is_public(base)]


def is_field_of_a_tuple(app: Sphinx, what: str, name: str, value: object, skip: bool, options: object) -> bool | None:
    """Leave out the fields of named tuples, whose own docstrings say nothing."""
    return True if (getattr(value, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    """Connect the parts above."""
    write_pages()
    app.connect("source-read", complete_page)
    app.connect("autodoc-process-docstring", escape, priority=400)  # before napoleon makes markup of it
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-process-bases", leave_out_private)
    app.connect("autodoc-skip-member", is_field_of_a_tuple)
    app.connect("missing-reference", link_to_public_path)
    app.connect("doctree-read", link_literals)
