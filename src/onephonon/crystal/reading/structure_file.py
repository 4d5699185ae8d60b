"""Opening a structure file: PDB, mmCIF, plain or gzipped, of any age."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

import gemmi

from onephonon.core.errors import StructureError

from .residue_order import separated

#: Columns 73-80 of old PDB files: the entry's code and the record's number.
_LEGACY_COLUMNS = re.compile(r"^[0-9][A-Z0-9]{3} {0,3}[0-9]{1,4}$")


def open_structure(path: Path) -> gemmi.Structure:
    """Parse the file; refuse what is not a structure with atoms."""
    if not path.is_file():
        raise StructureError(f"{path}: there is no such file; check the path")
    try:
        # Chains as they stand in the file: what is polymer is decided residue by residue, and
        # TER may separate molecules of one name.
        if _is_legacy_pdb(path):
            return _read_pdb(path, 72)
        structure = gemmi.read_structure(str(path), merge_chain_parts=False)
        if structure.input_format == gemmi.CoorFormat.Pdb:
            structure = _read_pdb(path, 0)
    except (RuntimeError, ValueError, OSError, EOFError, IndexError, zlib.error) as error:
        raise StructureError(
            f"{path}: cannot be read as a structure ({error}); give a PDB or mmCIF file"
        ) from error
    if not any(True for model in structure for _ in model.all()):
        raise StructureError(
            f"{path}: holds no atoms; give a PDB or mmCIF file with coordinates "
            "(.pdb, .ent or .cif, optionally .gz)"
        )
    return structure


def _read_pdb(path: Path, columns: int) -> gemmi.Structure:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", errors="replace") as file:
        text = "\n".join(separated(file.read().split("\n")))
    return gemmi.read_pdb_string(text, max_line_length=columns, split_chain_on_ter=True)


def _is_legacy_pdb(path: Path) -> bool:
    """Whether columns 73-80 hold record numbers instead of element and charge."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", errors="replace") as file:
        for line in file:
            if line.startswith(("ATOM", "HETATM")):
                return bool(_LEGACY_COLUMNS.match(line[72:80].rstrip()))
    return False
