"""Weighted frames in the formats of other programs: pandas, xarray, MDAnalysis, PLUMED, pymbar.

The methods `to_…` of `Ensemble` and `write_colvar` are the public face. Optional packages are imported when needed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
from numpy.typing import NDArray

from boltzflow.arrays import Array
from boltzflow.errors import MissingDependencyError, OptionError
from boltzflow.storage import replacing
from boltzflow.version import __version__

UNITS = {"energy": "kJ/mol", "log_weight": "1", "weight": "1", "log_q": "1", "group": "1"}
_NM_TO_ANGSTROM = 10.0


def optional(module: str, what: str) -> Any:
    """A module of an optional package of the extra "interop".

    Args:
        module: such as "pandas" or "rdkit.Chem".
        what: the function that needs it, for the message.

    Raises:
        MissingDependencyError: if the package is not installed.

    >>> optional("json", "this example").dumps([1])
    '[1]'
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingDependencyError(
            f'{what} needs {package}, which is not installed: pip install "boltzflow[interop]".'
        ) from error


def data_frame(columns: Mapping[str, NDArray[Any]], temperature: float) -> Any:
    """See `Ensemble.to_pandas`."""
    frame = optional("pandas", "`Ensemble.to_pandas`").DataFrame(dict(columns))
    frame.index.name = "frame"
    frame.attrs["temperature"] = temperature  # K
    return frame


def dataset(
    columns: Mapping[str, NDArray[Any]],
    temperature: float,
    positions: NDArray[np.float32] | None,
    topology: mdtraj.Topology | None,
) -> Any:
    """See `Ensemble.to_xarray`."""
    xarray = optional("xarray", "`Ensemble.to_xarray`")
    found = {}
    for name, values in columns.items():
        rest = [f"{name}_{axis}" for axis in range(1, values.ndim)]
        found[name] = (["frame", *rest], values, {"units": UNITS[name]} if name in UNITS else {})
    coordinates: dict[str, Any] = {"frame": np.arange(len(columns["log_weight"]))}
    if positions is not None:
        found["positions"] = (["frame", "atom", "axis"], positions, {"units": "nm"})
        coordinates["axis"] = ["x", "y", "z"]
        if topology is not None:
            coordinates["atom_name"] = ("atom", [str(atom) for atom in topology.atoms])
    about = {"temperature": temperature, "temperature_units": "K", "source": f"boltzflow {__version__}"}
    return xarray.Dataset(found, coordinates, about)


def universe(positions: NDArray[np.float32], topology: mdtraj.Topology) -> Any:
    """See `Ensemble.to_mdanalysis`."""
    mdanalysis = optional("MDAnalysis", "`Ensemble.to_mdanalysis`")
    atoms, residues, chains = list(topology.atoms), list(topology.residues), list(topology.chains)
    made = mdanalysis.Universe.empty(
        len(atoms),
        len(residues),
        len(chains),
        atom_resindex=[atom.residue.index for atom in atoms],
        residue_segindex=[residue.chain.index for residue in residues],
    )
    symbols = ["" if atom.element is None else atom.element.symbol for atom in atoms]
    masses = [0.0 if atom.element is None else atom.element.mass for atom in atoms]
    for name, values in (
        ("names", [atom.name for atom in atoms]),
        ("elements", symbols),
        ("types", symbols),
        ("masses", masses),
        ("resnames", [residue.name for residue in residues]),
        ("resids", [residue.resSeq for residue in residues]),
        ("segids", [chain.chain_id or str(chain.index) for chain in chains]),
    ):
        made.add_TopologyAttr(name, values)
    made.add_bonds([(bond.atom1.index, bond.atom2.index) for bond in topology.bonds])
    made.load_new(positions * _NM_TO_ANGSTROM, order="fac")
    return made


def write_colvar(
    path: Path, columns: Mapping[str, NDArray[Any]], frames: NDArray[np.int64], kt: float, periodic: Collection[str]
) -> None:
    """See `Ensemble.write_colvar`.

    Args:
        path: of the file.
        columns: numbers (m,) by name, "logweight" among them.
        frames: (m,) the number of each frame, the column "time".
        kt: in kJ/mol.
        periodic: names of columns that are angles in rad.
    """
    if bad := [name for name in columns if not name or any(c.isspace() or c == "#" for c in name)]:
        raise OptionError(f"Expected names without spaces and #, as COLVAR files need them; got {', '.join(bad)}.")
    if unknown := set(periodic) - set(columns):
        raise OptionError(f"Expected periodic columns among {', '.join(columns)}; got {', '.join(sorted(unknown))}.")
    written = {"time": frames, **columns, "bias": kt * columns["logweight"]}
    lines = [f"#! FIELDS {' '.join(written)}", f"#! SET kT {kt:.10g}"]
    for name in columns:
        if name in periodic:
            lines += [f"#! SET min_{name} -pi", f"#! SET max_{name} pi"]
    rows = np.stack([np.asarray(values, np.float64) for values in written.values()], 1)
    lines += [" ".join(f"{number:.10g}" for number in row) for row in rows]
    with replacing(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def mbar_input(log_weights: Array, log_q: Array | None, reduced: Sequence[Array]) -> tuple[Array, NDArray[np.int64]]:
    """See `Ensemble.to_pymbar`.

    Args:
        log_weights: (n,)
        log_q: (n,) if known.
        reduced: energies in kT (n,) of the state that the weights refer to, then of others.
    """
    used = np.isfinite(log_weights)
    # A frame of weight zero counts as a sample; its energy in the sampled state cancels.
    unused = 0.0 if log_q is None else np.where(np.isfinite(log_q), -log_q, 0.0)
    sampled = np.where(used, np.where(used, reduced[0], 0.0) + log_weights, unused)
    rows = [sampled, *(np.where(used, energies, np.inf) for energies in reduced)]
    return np.stack(rows), np.array([len(sampled)] + [0] * len(reduced))
