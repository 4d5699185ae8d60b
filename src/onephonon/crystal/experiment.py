"""Experimental conditions from a structure file."""

from __future__ import annotations

import os
from pathlib import Path

from onephonon.core.errors import StructureError

from .reading.structure_file import open_structure


def measured_temperature(path: str | os.PathLike[str]) -> float | None:
    """The temperature at which the crystal was measured, K; None if not in the file.

    From REMARK 200 of PDB files and _diffrn.ambient_temp of mmCIF. Errors in the file are ignored
    here; `read_crystal` reports them.
    """
    try:
        structure = open_structure(Path(path)).structure
    except StructureError:
        return None
    temperatures = [
        d.temperature for crystal in structure.meta.crystals for d in crystal.diffractions
    ]
    return next((float(t) for t in temperatures if t > 0), None)
