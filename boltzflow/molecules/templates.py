"""Why a force field has no template for a residue, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from openmm import app

from boltzflow.molecules.naming import standard_names


def no_template(residue: app.topology.Residue, field: app.ForceField, files: Sequence[str]) -> str:
    """Which atoms a residue lacks, or has too many, beside the nearest template of its name; and what to do.

    Args:
        residue: without template.
        field: the force field.
        files: its names.
    """
    names = {standard_names(residue.name, atom.name)[1] for atom in residue.atoms()}
    where = f"residue {residue.name or 'without a name,'} {residue.id} (chain {residue.chain.id}, {len(names)} atoms)"
    have_not = f"The force field {', '.join(files)} has no template for {where}"
    if not residue.name:
        return f"{have_not}. Give it the name of its template in the file."
    known = dict(_templates(residue.name, field))
    if not known:
        have_not += " or any residue of that name"
        return f"{have_not}. Choose a force field that knows it, or pass a ready openmm.System."
    nearest = min(known, key=lambda name: len(known[name].keys() ^ names))
    missing = sorted(known[nearest][name] for name in known[nearest].keys() - names)
    extra = sorted(names - known[nearest].keys())
    parts = [f"{', '.join(missing)} missing"] if missing else []
    parts += [f"{', '.join(extra)} too many"] if extra else []
    found = " and ".join(parts) or "all atoms there, but other bonds, such as none to the next residue or a disulfide"
    return f"{have_not}: beside its template {nearest} there are {found}. {_advice(missing, extra)}."


def _templates(residue: str, field: app.ForceField) -> Iterable[tuple[str, dict[str, str]]]:
    """The templates of a residue within a chain, at its ends, and with each patch of it: names, and those of atoms."""
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
        except (ValueError, KeyError):  # a patch of an atom that this residue lacks
            continue
        yield f"{residue} with {name}", _atom_names(residue, patched)


def _atom_names(residue: str, template: app.ForceField._TemplateData) -> dict[str, str]:
    """The template's own names of its atoms by those that OpenMM's readers give them."""
    return {standard_names(residue, atom.name)[1]: atom.name for atom in template.atoms}


def _advice(missing: Sequence[str], extra: Sequence[str]) -> str:
    ready = "or pass a ready openmm.System"
    if not missing and not extra:
        return f"Give its bonds in the file (CONECT), name the residue after its protonation state, {ready}"
    if not missing:
        return f"Name the residue after its protonation state, {ready}"
    if not extra and all(name.lstrip("0123456789").startswith("H") for name in missing):
        return (
            "Add the hydrogens: hydrogens_at_ph=7.0 in Python, or boltzflow systems add FILE --hydrogens-at-ph 7 on "
            "the command line"
        )
    return f"Add missing atoms (PDBFixer), name the residue after its protonation state, {ready}"
