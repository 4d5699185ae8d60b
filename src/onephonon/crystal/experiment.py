"""Experimental conditions from a structure file."""

from __future__ import annotations

import os

import gemmi


def measured_temperature(path: str | os.PathLike[str]) -> float | None:
    """The temperature at which the crystal was measured, K; None if not in the file.

    From REMARK 200 of PDB files and _diffrn.ambient_temp of mmCIF. Errors in the file are ignored
    here; `read_crystal` reports them.
    """
    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, OSError, EOFError, IndexError):
        return None
    temperatures = [
        d.temperature for crystal in structure.meta.crystals for d in crystal.diffractions
    ]
    return next((float(t) for t in temperatures if t > 0), None)
