"""Opening a structure file: PDB or mmCIF, of any age, encoding and line ends."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import gemmi

from onephonon.core.errors import StructureError
from onephonon.core.text import counted
from onephonon.core.units import EIGHT_PI_SQUARED
from onephonon.crystal.remarks import Remark

from . import declarations
from .declarations import Declarations
from .file_text import READABLE, read_text
from .pdb_text import ASSUMED_B, check_pdb, looks_like_pdb
from .residue_order import separate_rows, separated

#: What the parser raises on damaged files.
PARSER_ERRORS = (RuntimeError, ValueError, OSError, EOFError, IndexError, TypeError, OverflowError)


@dataclass(frozen=True)
class StructureFile:
    """A parsed structure file.

    Parameters
    ----------
    structure : gemmi.Structure
    declared : Declarations
    remarks : tuple of Remark
        What was assumed or ignored so far.
    """

    structure: gemmi.Structure
    declared: Declarations
    remarks: tuple[Remark, ...]


def open_structure(path: Path) -> StructureFile:
    """Parse the file; refuse what is not a structure with atoms.

    Raises
    ------
    StructureError
    """
    text = read_text(path)
    try:
        opened = _open_mmcif(text, path) if _is_mmcif(text) else _open_pdb(text, path)
    except StructureError:
        raise
    except PARSER_ERRORS as error:
        raise _unreadable(path, error) from error
    if not any(True for model in opened.structure for _ in model.all()):
        raise StructureError(
            f"{path}: holds no atoms; give a PDB or mmCIF file with coordinates "
            "(.pdb, .ent or .cif, optionally .gz)"
        )
    return opened


def read_declarations(path: Path) -> Declarations:
    """What a structure file declares; it need not hold atoms.

    Raises
    ------
    StructureError
    """
    text = read_text(path)
    if not _is_mmcif(text):
        if not looks_like_pdb(text):
            raise _unreadable(path, "no line is an atom or a cell")
        return declarations.of_pdb(text.split("\n"), path)
    try:
        document = gemmi.cif.read_string(text)
        blocks = [block for block in document if declarations.has_cell(block)]
        return declarations.of_mmcif((blocks or list(document))[0])
    except PARSER_ERRORS as error:
        raise _unreadable(path, error) from error


def _is_mmcif(text: str) -> bool:
    """Whether the first line with content, after comments, begins a block of a CIF."""
    start = re.search(r"^\s*[^#\s].*", text, re.MULTILINE)
    return start is not None and start[0].lstrip().lower().startswith(("data_", "global_"))


def _open_pdb(text: str, path: Path) -> StructureFile:
    if not looks_like_pdb(text):
        raise _unreadable(path, "no line is an atom or a cell")
    checked = check_pdb(text, path)
    declared = declarations.of_pdb(checked.lines, path)
    # The cell is taken from the declarations: its record may be in free format.
    lines = [line for line in checked.lines if not line.startswith(("CRYST1", "SCALE"))]
    # Chains as they stand in the file: TER may separate molecules of one name.
    structure = gemmi.read_pdb_string("\n".join(separated(lines)), split_chain_on_ter=True)
    return StructureFile(structure, declared, (*declared.remarks, *checked.remarks))


def _open_mmcif(text: str, path: Path) -> StructureFile:
    document = gemmi.cif.read_string(text)
    held = [block for block in document if block.find_values("_atom_site.Cartn_x")]
    if not held:
        small = any(block.find_values("_atom_site_label") for block in document)
        kind = "a small-molecule CIF, with other names than mmCIF" if small else "a CIF"
        raise StructureError(f"{path}: {kind}: it holds no atoms that are read; {READABLE}")
    block = held[0]
    remarks = []
    others = [other.name for other in document if other.name != block.name]
    if others:
        text = f"data blocks {', '.join(others)}; the atoms are those of {block.name}"
        remarks.append(Remark("ignored", text, matters=len(held) > 1))
    separate_rows(block)
    structure = gemmi.make_structure_from_block(block)
    remarks += _absent(block, structure)
    return StructureFile(structure, declarations.of_mmcif(block), tuple(remarks))


def _absent(block: gemmi.cif.Block, structure: gemmi.Structure) -> list[Remark]:
    """Complete B-factors that the file lacks: from U where it has that."""
    n = len(block.find_values("_atom_site.Cartn_x"))
    remarks = []

    def given(tag: str) -> list[bool]:
        column = list(block.find_values(f"_atom_site.{tag}"))
        return [not gemmi.cif.is_null(x) for x in column] if column else [False] * n

    if missing := n - sum(given("occupancy")):
        remarks.append(Remark("assumed", f"occupancy 1 for {counted(missing, 'atom')} without one"))
    with_b = given("B_iso_or_equiv")
    u_values = list(block.find_values("_atom_site.U_iso_or_equiv")) or ["?"] * n
    ids = block.find_values("_atom_site.id")
    from_u = {
        ids.str(i): EIGHT_PI_SQUARED * gemmi.cif.as_number(u)
        for i, u in enumerate(u_values)
        if not with_b[i] and not gemmi.cif.is_null(u)
    }
    if from_u:
        for model in structure:
            for found in model.all():
                B = from_u.get(str(found.atom.serial))
                if B is not None:
                    found.atom.b_iso = B
        remarks.append(Remark("read", f"B = 8 π² U of {counted(len(from_u), 'atom')} with U"))
    if missing := n - sum(with_b) - len(from_u):
        text = f"B = {ASSUMED_B:g} Å² for {counted(missing, 'atom')} without one"
        remarks.append(Remark("assumed", text, matters=True))
    if block.find_values("_atom_site_anisotrop.B[1][1]"):
        remarks.append(Remark("ignored", "anisotropic B (not U) in the file", matters=True))
    return remarks


def _unreadable(path: Path, reason: object) -> StructureError:
    said = " ".join(str(reason).split())[:300]
    return StructureError(f"{path}: cannot be read as a structure ({said}); {READABLE}")
