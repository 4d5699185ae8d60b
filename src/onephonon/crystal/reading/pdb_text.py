"""Records of PDB files: what is written in their columns, checked before they are parsed.

The parser behind reads fixed columns leniently: a number that is none becomes 0, or is cut where
it stops to be one. Here each such field is an error that names the line.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import gemmi

from onephonon.core.errors import StructureError
from onephonon.core.text import counted
from onephonon.crystal.remarks import Remark

#: B-factor of atoms for which the file has none, Å^2.
ASSUMED_B = 20.0

#: Numbers of an atom: name, first and last column counted from 0.
COORDINATES = (("x", 30, 38), ("y", 38, 46), ("z", 46, 54))
OCCUPANCY = ("occupancy", 54, 60)
B_FACTOR = ("B-factor", 60, 66)
ANISOU = tuple(
    (f"U{ij}", 28 + 7 * i, 35 + 7 * i) for i, ij in enumerate(("11", "22", "33", "12", "13", "23"))
)
MATRIX = (("element 1", 10, 20), ("element 2", 20, 30), ("element 3", 30, 40), ("shift", 45, 55))
CELL = (
    ("a", 6, 15), ("b", 15, 24), ("c", 24, 33),
    ("alpha", 33, 40), ("beta", 40, 47), ("gamma", 47, 54),
)  # fmt: skip

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

#: Names of four letters of GROMOS (protonation) and AMBER (ends of chains), and the residues that
#: they are. Their last letter stands in column 21, where two-letter names of chains begin.
FOUR_LETTERS = {
    **dict.fromkeys(("HISA", "HISB", "HISH", "HIS1", "HIS2", "HISD", "HISE", "HISP"), "HIS"),
    **dict.fromkeys(("CYSH", "CYS1", "CYS2", "CYSX"), "CYS"),
    **dict.fromkeys(("LYSH", "LYSN"), "LYS"),
    "ARGN": "ARG",
    "ASPH": "ASP",
    "GLUH": "GLU",
    **{
        end + name: name
        for end in "NC"
        for name in gemmi.expand_one_letter_sequence("ARNDCQEGHILKMFPSTWYV", gemmi.ResidueKind.AA)
    },
}

#: Columns 73-80 of old PDB files: the entry's code, or a number for it, and the record's number.
_LEGACY = re.compile(r"(?=.*[A-Z0-9])[A-Z0-9 ]{4} {0,3}[0-9]{1,4}")


@dataclass(frozen=True)
class PdbText:
    """A PDB file that is safe to parse.

    Parameters
    ----------
    lines : list of str
        As in the file, but for what `remarks` names.
    remarks : tuple of Remark
    """

    lines: list[str]
    remarks: tuple[Remark, ...]


def looks_like_pdb(text: str) -> bool:
    """Whether some line is an atom or a cell of a PDB file."""
    return re.search(r"^(ATOM  |HETATM|CRYST1)", text, re.MULTILINE) is not None


def check_pdb(text: str, path: Path) -> PdbText:
    """Check every number of a PDB file, and complete what is absent.

    Raises
    ------
    StructureError
        Naming the line, if a number is none.
    """
    lines = text.split("\n")
    found: Counter[str] = Counter()
    renamed = _rename_four_letters(lines)
    ended = False
    for i, line in enumerate(lines):
        record = line[:6].upper().rstrip()
        if record in ("ATOM", "HETATM"):
            found["after END"] += ended
            lines[i] = _atom(line, i + 1, path, found)
        elif record == "ANISOU":
            _check_ascii(line, i + 1, path)
            lines[i] = _without_legacy(line, found)
            for field in ANISOU:
                _number(line, field, i + 1, path)
        elif record[:5] in ("SCALE", "MTRIX") and line[10:].strip():
            for field in MATRIX:
                _number(line, field, i + 1, path)
        elif not line.isascii():
            # A title in another language: nothing that is computed from.
            lines[i] = line.encode("ascii", "replace").decode()
        ended = ended or record == "END"
    return PdbText(lines, (*renamed, *_remarks(found)))


def _rename_four_letters(lines: list[str]) -> list[Remark]:
    """Give residues with known names of four letters their standard names, in place.

    A letter in column 21 is part of the name if that is so of every residue with the same columns
    21-22; otherwise these are the name of a chain.
    """
    names: dict[str, set[str]] = {}
    at: list[int] = []
    for i, line in enumerate(lines):
        if line[20:21].strip() and line[:6].upper().rstrip() in ("ATOM", "HETATM", "ANISOU", "TER"):
            names.setdefault(line[20:22], set()).add(line[17:21])
            at.append(i)
    known = {columns for columns, found in names.items() if found <= FOUR_LETTERS.keys()}
    renamed = {name: None for i in at if lines[i][20:22] in known for name in (lines[i][17:21],)}
    for i in at:
        if lines[i][20:22] in known:
            lines[i] = f"{lines[i][:17]}{FOUR_LETTERS[lines[i][17:21]]} {lines[i][21:]}"
    if not renamed:
        return []
    return [Remark("read", ", ".join(f"{name} as {FOUR_LETTERS[name]}" for name in renamed))]


def number_in(line: str, first: int, last: int) -> float | None:
    """Number in the columns of a record; None if it is none."""
    text = line[first:last].strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def _atom(line: str, at: int, path: Path, found: Counter[str]) -> str:
    """An atom's record with its numbers checked and the absent ones assumed."""
    _check_ascii(line, at, path)
    for field in COORDINATES:
        _number(line, field, at, path)
    line = _without_legacy(line, found)
    for field, value in ((OCCUPANCY, "  1.00"), (B_FACTOR, f"{ASSUMED_B:6.2f}")):
        name, first, last = field
        if line[first:last].strip():
            _number(line, field, at, path)
        else:
            found[f"no {name}"] += 1
            line = f"{line:<80}"[:first] + value + f"{line:<80}"[last:]
    if not line[76:78].strip():
        found["no element"] += 1
    return line


def _number(line: str, field: tuple[str, int, int], at: int, path: Path) -> float:
    name, first, last = field
    value = number_in(line, first, last)
    if value is None:
        text = line[first:last].strip()
        atom = ""
        if line.startswith(("ATOM", "HETATM", "ANISOU")):
            atom = f"atom {line[21:22].strip()}/{line[17:20].strip()} {line[22:27].strip()}/"
            atom += f"{line[12:16].strip()} (serial {line[6:11].strip()}) has "
        raise StructureError(
            f"{path}, line {at}: {atom}{name} {text!r} in columns {first + 1}-{last}, which is not "
            "a number (decimals follow a point); correct or remove the record"
        )
    return value


def _check_ascii(line: str, at: int, path: Path) -> None:
    if not line.isascii():
        column = next(i for i, character in enumerate(line) if not character.isascii())
        raise StructureError(
            f"{path}, line {at}: {line[column]!r} in column {column + 1} of {line[:6].strip()} is "
            "not an ASCII character; correct the record"
        )


def _without_legacy(line: str, found: Counter[str]) -> str:
    """The record without an entry's code and a record's number in columns 73-80."""
    if _LEGACY.fullmatch(line[72:80].rstrip()):
        found["legacy"] += 1
        return line[:72]
    return line


def _remarks(found: Counter[str]) -> list[Remark]:
    remarks = []
    if n := found["no occupancy"]:
        remarks.append(Remark("assumed", f"occupancy 1 for {counted(n, 'atom')} without one"))
    if n := found["no B-factor"]:
        text = f"B = {ASSUMED_B:g} Å² for {counted(n, 'atom')} without one"
        remarks.append(Remark("assumed", text, matters=True))
    if n := found["no element"]:
        remarks.append(Remark("assumed", f"elements of {counted(n, 'atom')} from their names"))
    if n := found["legacy"]:
        remarks.append(
            Remark("ignored", f"columns 73-80 of {counted(n, 'record')}: they number the records")
        )
    if n := found["after END"]:
        remarks.append(Remark("ignored", f"{counted(n, 'atom')} after END", matters=True))
    return remarks
