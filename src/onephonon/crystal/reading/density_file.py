"""Electron densities from files: map coefficients (MTZ, structure-factor mmCIF) or a CCP4 map."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import torch

from onephonon.core.errors import InputError
from onephonon.core.safe_reading import check_input, reading

from ..cell import UnitCell
from ..electron_density import ElectronDensity, density_of_structure_factors

#: Amplitudes and phases in the order in which they are looked for: coefficients of the 2mFo-DFc
#: map of refinement programs, then measured amplitudes with phases of the model, of MTZ files...
MTZ_COLUMNS = (
    ("FWT", "PHWT"),
    ("2FOFCWT", "PH2FOFCWT"),
    ("2FOFCWT_fill", "PH2FOFCWT_fill"),
    ("2FOFCWT_no_fill", "PH2FOFCWT_no_fill"),
    ("F-obs-filtered", "PHIF-model"),
    ("F-obs", "PHIF-model"),
    ("FP", "PHIC"),
    ("FP", "PHIC_ALL"),
    ("FOBS", "PHIC"),
    ("F", "PHIC"),
    ("FP", "PHIB"),
)

#: ... and of structure-factor mmCIF.
CIF_COLUMNS = (("pdbx_FWT", "pdbx_PHWT"), ("F_meas_au", "phase_calc"), ("F_meas", "phase_calc"))

#: Grid points per d of the data: twice the least, and finer, since bodies are cut out of it.
SAMPLE_RATE = 3.0

#: Endings of files.
MTZ, CIF, MAP = (".mtz",), (".cif", ".ent", ".mmcif"), (".ccp4", ".map", ".mrc")

ENDINGS = (*MTZ, *CIF, *MAP)


def read_electron_density(
    path: str | os.PathLike[str], columns: str | Sequence[str] | None = None
) -> ElectronDensity:
    """Read an electron density.

    Parameters
    ----------
    path : path
        An MTZ or structure-factor mmCIF file with amplitudes and phases, or a CCP4 map of the
        whole cell or of an asymmetric unit; mmCIF and maps also as .gz.
    columns : str or pair of str, optional
        Names of the columns of amplitudes and phases, such as ``'FWT,PHWT'``; by default those
        of the 2mFo-DFc map that refinement programs write, or else measured amplitudes with phases
        of the model.

    Returns
    -------
    ElectronDensity

    Raises
    ------
    MapFileError
        If the file is damaged or of another kind.
    InputError
        If it lacks such columns.
    """
    path = check_input(path, "an electron density")
    ending = "".join(Path(path.name.lower().removesuffix(".gz")).suffixes[-1:])
    if ending not in ENDINGS:
        raise InputError(
            f"{path}: an electron density is read from {', '.join(ENDINGS)}, not from "
            f"{ending or 'a file without an ending'}"
        )
    names = _names(columns)
    known: tuple[tuple[str, str], ...]
    if ending in MAP:
        if names:
            raise InputError(f"{path}: a map has no columns {','.join(names)}; leave them out")
        return _read_map(path)
    if ending in MTZ:
        with reading(path, "an MTZ file"):
            file: Any = gemmi.read_mtz_file(str(path))
            labels, known = file.column_labels(), MTZ_COLUMNS
    else:
        with reading(path, "a structure-factor mmCIF file"):
            file = _first_merged(path)
            labels, known = file.column_labels(), CIF_COLUMNS
    amplitude, phase = _choose(path, labels, names, known)
    with reading(path, "structure factors"):
        return _from_coefficients(path, file, amplitude, phase)


def _names(columns: str | Sequence[str] | None) -> tuple[str, str] | None:
    if columns is None:
        return None
    parts = columns.split(",") if isinstance(columns, str) else list(columns)
    names = [str(part).strip() for part in parts]
    if len(names) != 2 or not all(names):
        raise InputError(
            f"columns {columns!r}: give the names of two, of amplitudes and of phases, such as "
            "FWT,PHWT"
        )
    return names[0], names[1]


def _choose(
    path: Path,
    labels: Sequence[str],
    names: tuple[str, str] | None,
    known: Sequence[tuple[str, str]],
) -> tuple[str, str]:
    """The columns of amplitudes and phases."""
    has = f"its columns are {', '.join(labels)}"
    if names:
        missing = [name for name in names if name not in labels]
        if missing:
            raise InputError(f"{path} has no column {' or '.join(missing)}; {has}")
        return names
    for pair in known:
        if set(pair) <= set(labels):
            return pair
    raise InputError(
        f"{path}: no columns with the names that refinement programs give to amplitudes and "
        f"phases of a map, such as {','.join(known[0])}; name them; {has}"
    )


def _first_merged(path: Path) -> Any:
    document = gemmi.cif.read(str(path))
    blocks = [block for block in gemmi.as_refln_blocks(document) if block.is_merged()]
    if not blocks:
        raise InputError("it has no merged structure factors")
    return blocks[0]


def _from_coefficients(path: Path, file: Any, amplitude: str, phase: str) -> ElectronDensity:
    """The density of map coefficients."""
    values = file.get_f_phi(amplitude, phase)
    if not len(values):
        raise InputError(f"{path}: {amplitude} and {phase} have no values")
    d_min = float(np.min(values.make_d_array()))
    size = file.get_size_for_hkl(sample_rate=SAMPLE_RATE)
    grid = file.get_f_phi_on_grid(amplitude, phase, size)
    F = np.array(grid.array, dtype=np.complex128)
    F[~np.isfinite(F)] = 0.0
    source = f"{path.name} ({amplitude}, {phase})"
    return density_of_structure_factors(F, _cell(file.cell), d_min, source)


def _read_map(path: Path) -> ElectronDensity:
    """A map; where it holds an asymmetric unit, its group generates the rest."""
    with reading(path, "a CCP4 map"):
        file = gemmi.read_ccp4_map(str(path))
        file.setup(float("nan"))
        values = np.array(file.grid.array, dtype=np.float64)
        cell = _cell(file.grid.unit_cell)
    if not np.isfinite(values).all():
        share = float(np.isfinite(values).mean())
        raise InputError(
            f"{path} holds {100 * share:.3g} % of its cell, and its space group does not give the "
            "rest; give a map of the whole cell"
        )
    steps = torch.linalg.vector_norm(cell.matrix, dim=0) / torch.tensor(values.shape)
    d_min = 2.0 * float(steps.max())
    return ElectronDensity(torch.from_numpy(values), cell, d_min, path.name)


def _cell(cell: gemmi.UnitCell) -> UnitCell:
    return UnitCell(torch.tensor(cell.orth.mat.tolist(), dtype=torch.float64))
