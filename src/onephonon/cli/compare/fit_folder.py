"""The maps in the folder of a fit, to be compared with data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from onephonon.core.errors import FileError

if TYPE_CHECKING:
    from onephonon.compare.agreement import Agreement
    from onephonon.compare.settings import Settings
    from onephonon.maps.diffuse import DiffuseMap

#: The calculated map, the first that there is: with the background if one was fitted.
MODELS = ("total.h5", "model.h5")

#: Predictions of voxels by fits that did not use them.
HELD_OUT = "held_out.h5"

#: What every complete fit writes.
NUMBERS = "fit.json"

#: How the two maps are called.
FITTED, LEFT_OUT = "fitted model", "voxels left out of the fit"


@dataclass(frozen=True)
class FittedMaps:
    """Files of maps of a fit.

    Parameters
    ----------
    model : Path
    held_out : Path or None
    """

    model: Path
    held_out: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.model,) if self.held_out is None else (self.model, self.held_out)


def fitted_maps(folder: Path) -> FittedMaps:
    """Find the maps of a fit.

    Raises
    ------
    FileError
        If the folder holds no fit, or one that is not complete.
    """
    from ..fit.folder import STATE  # at the top it would list the command fit before this one

    present = [folder / name for name in MODELS if (folder / name).is_file()]
    if not (folder / NUMBERS).is_file() or not present:
        if (folder / STATE).is_file():
            raise FileError(
                f"{folder} holds a fit that is not complete; repeat its command, which continues it"
            )
        raise FileError(
            f"{folder} is a folder without a fit ({NUMBERS} and {MODELS[1]}); name a map, a "
            "structure, or a folder written by onephonon fit"
        )
    held_out = folder / HELD_OUT
    return FittedMaps(present[0], held_out if held_out.is_file() else None)


def compare_fit(
    maps: FittedMaps, data: DiffuseMap, settings: Settings
) -> tuple[Agreement, Agreement | None]:
    """Compare the calculated map of a fit, and its predictions of voxels left out of it.

    Parameters
    ----------
    maps : FittedMaps
    data : DiffuseMap
        Those of the fit, or of another crystal.
    settings : Settings
        The predictions are indexed as the calculated map is found to be.

    Returns
    -------
    fitted : Agreement
    held_out : Agreement or None
    """
    from onephonon.compare.comparison import compare_maps
    from onephonon.maps.io.registry import read_map

    fitted = compare_maps(read_map(maps.model), data, settings)
    if maps.held_out is None:
        return fitted, None
    indexing = fitted.reindexing
    same = replace(settings, reindex="none" if indexing.is_identity else indexing.name)
    held_out = compare_maps(read_map(maps.held_out), data, same)
    decision = f"{indexing.name}, as of the fitted model"
    return fitted, replace(held_out, decision=decision, trials=held_out.trials[-1:])
