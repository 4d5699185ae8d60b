"""The folder of a fit: saved and newly fitted levels."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onephonon.core.errors import FileError

if TYPE_CHECKING:
    from onephonon.maps.diffuse import DiffuseMap
    from onephonon.refine.model_series import LevelFit, SavedLevel
    from onephonon.refine.settings import FitSettings

#: File from which an interrupted fit continues.
STATE = "state.json"


class FitFolder:
    """The folder of a fit, in which every level is saved as soon as it is fitted.

    Parameters
    ----------
    path : Path
    fingerprint : str
        Hash of the data, structure and settings of the fit in this folder.
    saved_levels : dict of str to SavedLevel
        Levels fitted before.
    """

    def __init__(self, path: Path, fingerprint: str, saved_levels: dict[str, SavedLevel]) -> None:
        self.path, self.fingerprint, self.saved_levels = path, fingerprint, saved_levels
        self.fitted_levels: dict[str, SavedLevel] = {}

    @classmethod
    def open(
        cls,
        path: Path,
        structure: Path,
        data: DiffuseMap,
        settings: FitSettings,
        arguments: dict[str, Any],
        force: bool,
    ) -> FitFolder:
        """Create the folder, or continue the fit that is in it.

        Raises
        ------
        FileError
            If the folder contains other files, or a fit with other data or options.
        """
        from onephonon.refine.state import fingerprint, read_fit_state

        if path.exists() and not path.is_dir():
            raise FileError(f"{path} is a file; name a folder for the results")
        fingerprinted = asdict(settings) | arguments
        # A longer series has the same first levels if both begin, or neither begins, with "global".
        fingerprinted["levels"] = settings.levels[0] == "global"
        for name in ("patience", "max_steps"):
            fingerprinted.pop(name)
        own = fingerprint(structure, data, fingerprinted)
        saved_levels: dict[str, SavedLevel] = {}
        state = path / STATE
        if state.exists() and not force:
            other, saved_levels = read_fit_state(state)
            if other != own:
                raise FileError(
                    f"{path} contains a fit with other data, another structure or other options; "
                    "choose another folder, or overwrite it with --force"
                )
        elif path.is_dir() and any(path.iterdir()) and not force:
            raise FileError(
                f"{path} is not empty and contains no fit to continue; choose another folder, or "
                "write into it with --force"
            )
        path.mkdir(parents=True, exist_ok=True)
        return cls(path, own, saved_levels)

    def save(self, fitted: LevelFit | None = None, complete: bool = False) -> None:
        """Save a fitted level, or mark the fit as complete."""
        from onephonon.refine.model_series import SavedLevel
        from onephonon.refine.state import write_fit_state

        if fitted is not None:
            self.fitted_levels[fitted.level.name] = SavedLevel.of(fitted)
        write_fit_state(
            self.path / STATE,
            self.fingerprint,
            self.saved_levels | self.fitted_levels,
            complete=complete,
        )
