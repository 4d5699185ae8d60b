"""Saved state of a fit: the levels already fitted, to continue an interrupted fit."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onephonon.core.errors import FileError
from onephonon.core.files import replacing
from onephonon.core.safe_reading import READ_ERRORS

if TYPE_CHECKING:
    from onephonon.maps.diffuse import DiffuseMap

    from .model_series import SavedLevel

#: Version of the file layout.
VERSION = 2


def fingerprint(structure: Path, data: DiffuseMap, settings: dict[str, Any]) -> str:
    """Hash of everything that determines a fit: structure, data and settings."""
    digest = hashlib.sha256(Path(structure).read_bytes())
    for name, values in sorted(data.arrays.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    digest.update(repr((data.grid, data.cell, data.spacegroup, data.units)).encode())
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def write_fit_state(
    path: str | os.PathLike[str], mark: str, levels: dict[str, SavedLevel], *, complete: bool
) -> None:
    """Save the levels fitted so far, replacing an earlier state."""
    state = {
        "format": "onephonon fit",
        "version": VERSION,
        "fingerprint": mark,
        "complete": complete,
        "levels": {
            name: {
                "x": saved_levels.x.tolist(),
                "prior": saved_levels.prior,
                "tried": saved_levels.tried,
            }
            for name, saved_levels in levels.items()
        },
    }
    with replacing(path, force=True) as temporary:
        temporary.write_text(json.dumps(state, indent=1), encoding="utf-8")


def read_fit_state(path: str | os.PathLike[str]) -> tuple[str, dict[str, SavedLevel]]:
    """Fingerprint and fitted levels of a saved fit.

    Raises
    ------
    FileError
        If the file is not the state of a fit, or is damaged.
    """
    import torch

    from .model_series import SavedLevel

    try:
        state = json.loads(Path(path).read_text(encoding="utf-8"))
        if state["format"] != "onephonon fit" or state["version"] != VERSION:
            raise ValueError("another format or version")
        levels = {
            str(name): SavedLevel(
                torch.tensor(saved["x"], dtype=torch.float64).reshape(-1),
                float(saved["prior"]),
                tuple((float(a), float(b), float(c)) for a, b, c in saved["tried"]),
            )
            for name, saved in state["levels"].items()
        }
        return str(state["fingerprint"]), levels
    except READ_ERRORS as error:
        raise FileError(
            f"{path} is not the state of a fit ({error}); remove it to start again"
        ) from error
