"""What a structure file declares of the crystal, before anything is concluded from it.

A PDB file says it in CRYST1, SCALE and REMARK records, an mmCIF file in _cell, _symmetry,
_space_group and _atom_sites. In NumPy, and without the atoms.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import StructureError
from onephonon.crystal.remarks import Remark
from onephonon.crystal.symmetry import find_spacegroup

from .pdb_text import CELL, MATRIX, number_in

#: Operators of REMARK 290, such as "REMARK 290       2555   -X,Y+1/2,-Z".
_REMARK_290 = re.compile(r"REMARK 290 +\d+555 +([-+XYZ0-9/, ]+)$")

#: Lines that say that B are without the TLS part.
_RESIDUAL = re.compile(r"RESIDUAL (U|B) FACTORS ONLY|(U|B) VALUES *: *RESIDUAL ONLY", re.IGNORECASE)


@dataclass(frozen=True)
class Declarations:
    """Cell, space group and kind of B-factors in the words of the file.

    Parameters
    ----------
    cell : tuple of six float or None
        Lengths in Å, angles in degrees; None without a record.
    scale : ndarray, shape (3, 4), or None
        SCALE records or _atom_sites.fract_transf: ``x_frac = scale[:, :3] @ x + scale[:, 3]``.
    symbol : str
        Hermann-Mauguin symbol of the space group; "" without one.
    number : int or None
        Number of the space group in the International Tables.
    operators : tuple of str
        Symmetry operators listed in the file, such as "-x,y+1/2,-z".
    b_factors : {'', 'residual', 'unverified'}
        Whether the file says that TLS motion is not in its B-factors, or that it may not be.
    remarks : tuple of Remark
    """

    cell: tuple[float, ...] | None
    scale: NDArray[np.float64] | None
    symbol: str
    number: int | None
    operators: tuple[str, ...]
    b_factors: str
    remarks: tuple[Remark, ...] = ()


def of_pdb(lines: list[str], path: Path) -> Declarations:
    """Declarations of a PDB file.

    Raises
    ------
    StructureError
        If CRYST1 is no cell, or several differ.
    """
    cells: dict[tuple[tuple[float, ...], str], int] = {}
    remarks: list[Remark] = []
    scale = np.full((3, 4), np.nan)
    operators, b_factors = [], ""
    for i, line in enumerate(lines):
        if line.startswith("CRYST1"):
            cell, symbol, free = _cryst1(line, i + 1, path)
            if free and not cells:
                remarks.append(Remark("read", f"CRYST1 in free format: {_shown(cell)}, {symbol!r}"))
            cells.setdefault((cell, symbol), i + 1)
        elif line.startswith("SCALE") and line[5:6] in ("1", "2", "3"):
            numbers = [number_in(line, first, last) for _, first, last in MATRIX]
            scale[int(line[5]) - 1] = [math.nan if x is None else x for x in numbers]
        elif line.startswith("REMARK 290"):
            if match := _REMARK_290.fullmatch(line.rstrip()):
                operators.append(match[1].replace(" ", "").lower())
        elif line.startswith("REMARK   3") and _RESIDUAL.search(line):
            b_factors = "residual"
    if len(cells) > 1:
        (first, at), (second, again), *_ = cells.items()
        raise StructureError(
            f"{path}: two CRYST1 records differ: {_shown(first[0])}, {first[1]!r} in line {at} and "
            f"{_shown(second[0])}, {second[1]!r} in line {again}; leave the one of this crystal"
        )
    only = next(iter(cells), None)
    return Declarations(
        cell=None if only is None else only[0],
        scale=scale if np.isfinite(scale).all() and scale[:, :3].any() else None,
        symbol="" if only is None else only[1],
        number=None,
        operators=tuple(operators),
        b_factors=b_factors,
        remarks=tuple(remarks),
    )


def of_mmcif(block: gemmi.cif.Block) -> Declarations:
    """Declarations of a block of an mmCIF file, or of a small-molecule CIF."""

    def text(*tags: str) -> str:
        values = [gemmi.cif.as_string(_value(block, tag)).strip() for tag in tags]
        return next((value for value in values if value), "")

    def number(tag: str) -> float:
        return float(gemmi.cif.as_number(_value(block, tag)))

    names = [f"_cell.{x}" for x in ("length_a", "length_b", "length_c")]
    names += [f"_cell.angle_{x}" for x in ("alpha", "beta", "gamma")]
    cell = tuple(number(name) for name in names)
    matrix = [
        [number(f"_atom_sites.fract_transf_matrix[{i}][{j}]") for j in (1, 2, 3)]
        + [number(f"_atom_sites.fract_transf_vector[{i}]")]
        for i in (1, 2, 3)
    ]
    scale = np.array(matrix)
    scale[:, 3] = np.nan_to_num(scale[:, 3])
    it_number = text("_space_group.IT_number", "_symmetry.Int_Tables_number")
    flag = text("_refine.pdbx_TLS_residual_ADP_flag").upper()
    residual = flag == "LIKELY RESIDUAL" or _RESIDUAL.search(text("_refine.details"))
    return Declarations(
        cell=None if all(math.isnan(x) for x in cell) else cell,
        scale=scale if np.isfinite(scale).all() and scale[:, :3].any() else None,
        symbol=text("_symmetry.space_group_name_H-M", "_space_group.name_H-M_alt"),
        number=int(it_number) if it_number.isdecimal() else None,
        operators=tuple(_listed_operators(block)),
        b_factors="residual" if residual else "unverified" if flag == "UNVERIFIED" else "",
    )


def has_cell(block: gemmi.cif.Block) -> bool:
    """Whether a block of a CIF declares a cell."""
    return _value(block, "_cell.length_a") != "?"


def _value(block: gemmi.cif.Block, tag: str) -> str:
    """Value of an item; small-molecule files write its name with "_" in place of the point."""
    return block.find_value(tag) or block.find_value(tag.replace(".", "_")) or "?"


def _listed_operators(block: gemmi.cif.Block) -> list[str]:
    for tag in ("_space_group_symop.operation_xyz", "_symmetry_equiv.pos_as_xyz"):
        for name in (tag, tag.replace(".", "_")):
            if values := [gemmi.cif.as_string(x) for x in block.find_values(name)]:
                return [value.replace(" ", "").lower() for value in values]
    return []


def _cryst1(line: str, at: int, path: Path) -> tuple[tuple[float, ...], str, bool]:
    """Cell and symbol of a CRYST1 record, and whether it is in free format."""
    fixed = [number_in(line, first, last) for _, first, last in CELL]
    words = line[6:].split()
    free = [number_in(word, 0, len(word)) for word in words[:6]]
    columns = tuple(x for x in fixed if x is not None)
    spaced = tuple(x for x in free if x is not None)
    # Words and columns agree in good records, but for numbers without a blank between them.
    if len(columns) == 6 and (columns == spaced or len(spaced) < 6):
        return columns, _symbol(line[55:]), False
    if len(spaced) == 6 and len(columns) < 6:
        return spaced, _symbol(" ".join(words[6:])), True
    if len(spaced) == 6:
        raise StructureError(
            f"{path}, line {at}: CRYST1 says {_shown(columns)} by its columns and {_shown(spaced)} "
            "by its words; move the numbers to columns 7-54"
        )
    raise StructureError(
        f"{path}, line {at}: CRYST1 {line[6:66].strip()!r} holds no six numbers of a cell; "
        "write a, b, c, alpha, beta, gamma to columns 7-54"
    )


def _symbol(text: str) -> str:
    """Symbol of a space group in columns 56-66, without the number Z that follows.

    Longer symbols, such as 'P 21 21 2 (a)', run over into the columns of Z.
    """
    words = text[:17].split()
    choices = (text[:11].strip(), " ".join(words), " ".join(words[:-1]))
    return next((name for name in choices if find_spacegroup(name) is not None), choices[0])


def _shown(cell: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{x:g}" for x in cell) + ")"
