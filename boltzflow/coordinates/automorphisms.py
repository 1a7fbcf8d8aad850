"""Permutations of atoms that preserve a molecule's bond graph."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

Permutation = tuple[int, ...]
"""Entry i is the atom whose position atom i takes."""


def generators(neighbours: Sequence[Sequence[int]], colours: Sequence[Hashable]) -> list[Permutation]:
    """Permutations that generate all automorphisms of a coloured graph; each moves as few atoms as possible.

    They are coset representatives in the stabiliser chain that fixes one atom after another (C. C. Sims 1970), found
    by colour refinement and backtracking (B. D. McKay, Congressus Numerantium 30, 45 (1981)).

    Args:
        neighbours: the neighbours of each atom.
        colours: the colour of each atom; only atoms of one colour are exchanged.

    >>> generators([[1, 2], [0], [0]], "OHH")
    [(0, 2, 1)]
    """
    found = []
    start = atom_classes(neighbours, colours)
    while (cell := _smallest_cell(start)) is not None:
        base, *others = cell
        fixed = _refined(neighbours, _singled_out(start, base))
        # Atoms in the orbit of the base under known generators need no further generator.
        reached = {base}
        here: list[Permutation] = []
        for other in others:
            if other in reached:
                continue
            there = _refined(neighbours, _singled_out(start, other))
            image = next(_isomorphisms(neighbours, fixed, there), None)
            if image is not None:
                here.append(image)
                reached = _orbit(reached, here)
        found += here
        start = fixed
    return found


def atom_classes(neighbours: Sequence[Sequence[int]], colours: Sequence[Hashable]) -> list[int]:
    """A number for each atom, equal for atoms that automorphisms exchange; see `generators`.

    Colour refinement finds them. It cannot tell apart some atoms of regular graphs that no automorphism exchanges.
    Numbers do not depend on the order of atoms.

    >>> atom_classes([[1, 2], [0], [0]], "OHH")
    [1, 0, 0]
    """
    return _refined(neighbours, _ranked(colours))


def _orbit(atoms: set[int], permutations: Sequence[Permutation]) -> set[int]:
    reached, fresh = set(atoms), list(atoms)
    while fresh:
        atom = fresh.pop()
        for permutation in permutations:
            for other in (permutation[atom], permutation.index(atom)):
                if other not in reached:
                    reached.add(other)
                    fresh.append(other)
    return reached


def _isomorphisms(
    neighbours: Sequence[Sequence[int]], one: Sequence[int], other: Sequence[int]
) -> Iterator[Permutation]:
    """Maps of the graph to itself that take the first colouring to the second; those that move few atoms come first."""
    if sorted(one) != sorted(other):
        return
    cell = _smallest_cell(one)
    if cell is None:
        place = {colour: atom for atom, colour in enumerate(other)}
        image = tuple(place[colour] for colour in one)
        if all({image[b] for b in linked} == set(neighbours[image[a]]) for a, linked in enumerate(neighbours)):
            yield image
        return
    colour = one[cell[0]]
    images = [atom for atom, c in enumerate(other) if c == colour]
    # Try to fix each atom first, so that atoms unrelated to the exchange do not move.
    atom = next((a for a in cell if a in images), cell[0])
    fixed = _refined(neighbours, _singled_out(one, atom))
    for image_of in sorted(images, key=lambda a: a != atom):
        yield from _isomorphisms(neighbours, fixed, _refined(neighbours, _singled_out(other, image_of)))


def _refined(neighbours: Sequence[Sequence[int]], colours: Sequence[int]) -> list[int]:
    """The coarsest colouring in which atoms of one colour have neighbours of the same colours.

    Colours are numbered canonically, so that isomorphic colourings get the same numbers.
    """
    colours = list(colours)
    while True:
        finer = _ranked(
            [(c, sorted(colours[b] for b in linked)) for c, linked in zip(colours, neighbours, strict=True)]
        )
        if len(set(finer)) == len(set(colours)):
            return finer
        colours = finer


def _ranked(keys: Sequence[Hashable] | Sequence[tuple[int, list[int]]]) -> list[int]:
    texts = [repr(key) for key in keys]
    number = {text: i for i, text in enumerate(sorted(set(texts)))}
    return [number[text] for text in texts]


def _singled_out(colours: Sequence[int], atom: int) -> list[int]:
    return [2 * colour + (i == atom) for i, colour in enumerate(colours)]


def _smallest_cell(colours: Sequence[int]) -> list[int] | None:
    """The atoms of the smallest class of more than one atom."""
    cells: dict[int, list[int]] = {}
    for atom, colour in enumerate(colours):
        cells.setdefault(colour, []).append(atom)
    several = [cell for cell in cells.values() if len(cell) > 1]
    return min(several, key=lambda cell: (len(cell), colours[cell[0]])) if several else None
