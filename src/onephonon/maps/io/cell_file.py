"""Cell and space group from a file: a structure, an MTZ, a map, or mdx2's geometry."""

from __future__ import annotations

from pathlib import Path

import gemmi
import h5py

from onephonon.core.errors import FileError, StructureError
from onephonon.core.safe_reading import check_input, reading
from onephonon.crystal.cell import check_cell
from onephonon.crystal.reading.lattice import read_lattice
from onephonon.crystal.remarks import Remark
from onephonon.crystal.symmetry import spacegroup_name

from . import hdf5_kind

STRUCTURES = (".pdb", ".ent", ".cif", ".mmcif", ".pdbx")
HDF5 = (".nxs", ".h5", ".hdf5", ".nx5", ".nc")


def read_cell(path: Path) -> tuple[tuple[float, ...], str, tuple[Remark, ...]]:
    """Cell parameters, Hermann-Mauguin symbol ("" if there is none) of a file, remarks on them.

    Parameters
    ----------
    path : path
        .pdb, .ent, .cif, .mmcif (plain or .gz), .mtz, or NeXus and mdx-lib files with a crystal
        (.nxs, .h5), such as mdx2's geometry.nxs.

    Raises
    ------
    FileError
        If the file is missing, damaged or contains no cell.
    """
    check_input(path, "a file with a cell")
    endings = [x.lower() for x in path.suffixes]
    ending = endings[-2] if endings[-1:] == [".gz"] and len(endings) > 1 else path.suffix.lower()
    if ending in STRUCTURES:
        try:
            return read_lattice(path)
        except StructureError as error:
            raise FileError(str(error)) from error
    with reading(path, "a file with a cell"):
        if ending in HDF5:
            with h5py.File(path, "r") as file:
                found = hdf5_kind.crystal(file)
            if found is None:
                raise FileError(f"{path}: it contains no cell; give the file of the structure")
            cell, group = found
        elif ending == ".mtz":
            mtz = gemmi.read_mtz_file(str(path), with_data=False)
            cell, group = mtz.cell.parameters, mtz.spacegroup_name
        else:
            raise FileError(
                f"{path}: ending {path.suffix!r} is not one from which a cell is read "
                f"({', '.join((*STRUCTURES, '.mtz', *HDF5))})"
            )
        checked = check_cell(cell)
        return checked, spacegroup_name(group, checked) if group else "", ()
