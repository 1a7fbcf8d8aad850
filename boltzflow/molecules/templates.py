"""Explains why a force field has no template for a residue, and says what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from openmm import app

from boltzflow.molecules.naming import standard_names


def no_template(residue: app.topology.Residue, field: app.ForceField, files: Sequence[str]) -> str:
    """A message: missing and extra atoms of a residue, compared with the nearest template of its name; and what to do.

    Args:
        residue: a residue without a matching template.
        field: the force field.
        files: the names of its files.
    """
    names = {standard_names(residue.name, atom.name)[1] for atom in residue.atoms()}
    where = f"residue {residue.name or 'without a name,'} {residue.id} (chain {residue.chain.id}, {len(names)} atoms)"
    have_not = f"The force field {', '.join(files)} has no template for {where}"
    if not residue.name:
        return f"{have_not}. Set the residue name in the file to the name of its template."
    known = dict(_templates(residue.name, field))
    if not known:
        have_not += " or any residue of that name"
        return f"{have_not}. Choose a force field that has one, or pass a ready-made openmm.System."
    nearest = min(known, key=lambda name: len(known[name].keys() ^ names))
    missing = sorted(known[nearest][name] for name in known[nearest].keys() - names)
    extra = sorted(names - known[nearest].keys())
    parts = [f"missing atoms {', '.join(missing)}"] if missing else []
    parts += [f"extra atoms {', '.join(extra)}"] if extra else []
    found = " and ".join(parts) or "the same atoms but different bonds (to the next residue, or of a disulfide?)"
    return f"{have_not}: compared with the template {nearest}, it has {found}. {_advice(missing, extra)}."


def _templates(residue: str, field: app.ForceField) -> Iterable[tuple[str, dict[str, str]]]:
    """Templates of a residue in a chain, at its ends, and with each patch: the template's name and its atom names."""
    is_amino_acid = len(residue) == 3
    ends = [f"N{residue}", f"C{residue}"] if is_amino_acid else [f"{residue}5", f"{residue}3", f"{residue}N"]
    for name in (residue, *ends):
        if name in field._templates:
            yield name, _atom_names(residue, field._templates[name])
    if residue not in field._templates:
        return
    for name, _ in sorted(field._templatePatches.get(residue, ())):
        patch = field._patches[name]
        if patch.numResidues > 1:
            continue
        try:
            (patched,) = patch.createPatchedTemplates([field._templates[residue]])
        except (ValueError, KeyError):  # the patch acts on an atom that this residue lacks
            continue
        yield f"{residue} with {name}", _atom_names(residue, patched)


def _atom_names(residue: str, template: app.ForceField._TemplateData) -> dict[str, str]:
    """The template's atom names, keyed by the names that OpenMM's readers give them."""
    return {standard_names(residue, atom.name)[1]: atom.name for atom in template.atoms}


def _advice(missing: Sequence[str], extra: Sequence[str]) -> str:
    ready = "or pass a ready-made openmm.System"
    if not missing and not extra:
        return f"Add its bonds to the file (CONECT), name the residue after its protonation state, {ready}"
    if not missing:
        return f"Name the residue after its protonation state, {ready}"
    if not extra and all(name.lstrip("0123456789").startswith("H") for name in missing):
        return "Add the hydrogens: --hydrogens-at-ph 7 on the command line, hydrogens_at_ph=7.0 in Python"
    return f"Add missing atoms (PDBFixer), name the residue after its protonation state, {ready}"
