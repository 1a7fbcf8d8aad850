"""Public names in texts and annotations become links to their place in the reference."""

from __future__ import annotations

from docutils.nodes import Element, document, entry, literal, reference, title
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from public_names import resolve


def link_to_public_path(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: Element) -> Element | None:
    """Find what an annotation or a docstring means by a private path or a short name."""
    path = resolve(node.get("reftarget", "")) if node.get("refdomain") == "py" else None
    if path is None:
        return None
    return env.get_domain("py").resolve_xref(env, node["refdoc"], app.builder, "obj", path, node, text)


def link_literals(app: Sphinx, doctree: document) -> None:
    """Make references of the code names in a Markdown page, but for those of another package that a table maps."""
    page = app.env.docname
    for node in list(doctree.findall(literal)):
        if isinstance(node.parent, reference | title | pending_xref):
            continue
        if page.startswith("coming-from") and _is_in_first_column(node):
            continue
        path = resolve(node.astext().partition("(")[0])
        if path is not None:
            link = pending_xref(refdomain="py", reftype="obj", reftarget=path, refdoc=page, refexplicit=True)
            node.replace_self(link)
            link += node


def _is_in_first_column(node: Element) -> bool:
    while node.parent is not None and not isinstance(node, entry):
        node = node.parent
    return isinstance(node, entry) and node.parent.index(node) == 0
