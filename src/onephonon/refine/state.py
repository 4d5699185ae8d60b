"""Saved state of a fit: the minimizations already done, to continue an interrupted fit."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onephonon.core.errors import FileError
from onephonon.core.files import replacing
from onephonon.core.hashing import digest
from onephonon.core.safe_reading import READ_ERRORS

if TYPE_CHECKING:
    from onephonon.maps.diffuse import DiffuseMap

    from .minimizations import SavedMinimum

#: Version of the file layout.
VERSION = 3


@dataclass(frozen=True, eq=False)
class FitState:
    """What is saved of a fit.

    Parameters
    ----------
    made_with : dict of str to str
        Digests of what determines the fit, by name.
    minimizations : tuple of SavedMinimum
        In their order.
    complete : bool
        Whether the fit has ended and its results were written.
    """

    made_with: Mapping[str, str]
    minimizations: tuple[SavedMinimum, ...]
    complete: bool


def fit_inputs(structure: Path, data: DiffuseMap, settings: dict[str, Any]) -> dict[str, str]:
    """Digests of everything that determines a fit, by name: contents of files, and settings."""
    from onephonon import __version__

    described = (data.grid, data.cell, data.spacegroup, data.units)
    found = {
        "the structure": digest(Path(structure).read_bytes()),
        "the data": digest(repr(described), dict(data.arrays)),
        "the version of onephonon": __version__,
    }
    return found | {
        name: json.dumps(value, sort_keys=True, default=str) for name, value in settings.items()
    }


def write_fit_state(path: str | os.PathLike[str], state: FitState) -> None:
    """Save the state of a fit, replacing an earlier one."""
    content = {
        "format": "onephonon fit",
        "version": VERSION,
        "made_with": dict(state.made_with),
        "complete": state.complete,
        "minimizations": [
            {
                "level": saved.level,
                "prior": saved.prior,
                "x": saved.x.tolist(),
                "n_steps": saved.n_steps,
                "largest_change": saved.largest_change,
                "converged": saved.converged,
                "reason": saved.reason,
                "max_steps": saved.max_steps,
            }
            for saved in state.minimizations
        ],
    }
    with replacing(path, force=True) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_fit_state(path: str | os.PathLike[str]) -> FitState:
    """Read the state of a fit.

    Raises
    ------
    FileError
        If the file is not the state of a fit, or is damaged.
    """
    try:
        state = json.loads(Path(path).read_text(encoding="utf-8"))
        if state["format"] != "onephonon fit" or state["version"] != VERSION:
            raise ValueError("another format or version")
        made_with = {str(name): str(value) for name, value in state["made_with"].items()}
        return FitState(made_with, _minimizations(state["minimizations"]), bool(state["complete"]))
    except READ_ERRORS as error:
        raise FileError(
            f"{path} is not the state of a fit ({error}); remove it to start again"
        ) from error


def _minimizations(items: Sequence[Mapping[str, Any]]) -> tuple[SavedMinimum, ...]:
    import torch

    from .minimizations import SavedMinimum

    return tuple(
        SavedMinimum(
            level=str(item["level"]),
            prior=float(item["prior"]),
            x=torch.tensor(item["x"], dtype=torch.float64).reshape(-1),
            n_steps=int(item["n_steps"]),
            largest_change=float(item["largest_change"]),
            converged=bool(item["converged"]),
            reason=str(item["reason"]),
            max_steps=int(item["max_steps"]),
        )
        for item in items
    )
