"""Writing modes as NMD, the format of NMWiz and ProDy.

The file has one line per property of the atoms and one per mode: its number, its size, and a unit
vector over all atoms; size times vector is the displacement in Å
(http://www.bahargroup.org/prody/manual/reference/dynamics/nmdfile.html).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from onephonon.core.errors import FileError, InputError
from onephonon.core.files import replacing
from onephonon.core.text import word

from .mode_trajectory import Pattern
from .structure_files import LETTERS, chain_names


def write_nmd(
    patterns: Sequence[Pattern],
    path: str | os.PathLike[str],
    *,
    title: str = "modes",
    force: bool = False,
) -> None:
    """Write standing modes of one block of cells.

    Parameters
    ----------
    patterns : sequence of Pattern
        Modes of the same block; viewers displace the atoms along the real part.
    path : path
        Ending in .nmd.
    title : str
    force : bool
        Overwrite.

    Raises
    ------
    InputError
        If the patterns are of different blocks.
    FileError
        If the ending is another, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".nmd":
        raise FileError(f"{path}: modes for viewers are written as .nmd; name the file so")
    block = patterns[0].block
    if any(p.block.positions.shape != block.positions.shape or p.block.cells != block.cells
           for p in patterns):  # fmt: skip
        raise InputError("modes of different blocks of cells cannot be in one .nmd file")
    atoms = block.atom.tolist()
    labels = [block.crystal.labels[i] for i in atoms]
    number = {name: i for i, name in enumerate(dict.fromkeys(chain_names(block)))}
    B = block.crystal.B.tolist()
    lines = [
        f"name {word(title)}",
        _line("atomnames", (label.atom_name for label in labels)),
        _line("resnames", (label.residue_name for label in labels)),
        # The format has no insertion codes, and one letter for chains.
        _line("resids", (label.residue_number.rstrip(LETTERS[:52]) or "0" for label in labels)),
        _line("chainids", (LETTERS[number[n] % len(LETTERS)] for n in chain_names(block))),
        _line("bfactors", (f"{B[i]:.2f}" for i in atoms)),
        _line("coordinates", (f"{x:.3f}" for x in block.positions.flatten().tolist())),
    ]
    for i, pattern in enumerate(patterns, start=1):
        moved = pattern.displacements.real.numpy(force=True).ravel()
        size = float(np.linalg.norm(moved))
        lines.append(_line(f"mode {i} {size:.6f}", (f"{x:.6f}" for x in moved / size)))
    with replacing(path, force) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(name: str, values: Iterable[str]) -> str:
    return " ".join([name, *map(word, values)])
