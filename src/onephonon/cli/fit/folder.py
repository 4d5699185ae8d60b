"""The folder of a fit: its state, from which an interrupted fit continues, and its results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onephonon.core.errors import FileError
from onephonon.core.files import locked, make_folder
from onephonon.viz.scenes.names import FILES as SCENE_FILES

if TYPE_CHECKING:
    from onephonon.maps.diffuse import DiffuseMap
    from onephonon.refine.minimizations import SavedMinimum
    from onephonon.refine.settings import FitSettings

#: File from which an interrupted fit continues.
STATE = "state.json"

#: Lock, held while a fit runs.
LOCK = ".lock"

#: All files that a fit may write into its folder.
RESULTS = (
    STATE,
    "report.html",
    "fit.json",
    "levels.csv",
    "shells.csv",
    "springs.csv",
    "b_factors.csv",
    "dispersion.csv",
    "elastic.csv",
    "joint.csv",
    "voxels.npz",
    "model.h5",
    "background.h5",
    "total.h5",
    "contacts.csv",
    "models.csv",
    "held_out.h5",
    "residual.h5",
    *SCENE_FILES,
)


class FitFolder:
    """The folder of a fit, in which every minimization is saved as soon as it is done.

    Parameters
    ----------
    path : Path
    made_with : dict of str to str
        Digests of what determines the fit, by name.
    saved : tuple of SavedMinimum
        Results of an interrupted fit.
    """

    def __init__(
        self, path: Path, made_with: dict[str, str], saved: tuple[SavedMinimum, ...]
    ) -> None:
        self.path, self.made_with, self.saved = path, made_with, saved
        self.done: list[SavedMinimum] = []

    @classmethod
    @contextmanager
    def opened(
        cls,
        path: Path,
        structure: Path,
        data: DiffuseMap,
        settings: FitSettings,
        arguments: dict[str, Any],
        force: bool,
    ) -> Iterator[FitFolder]:
        """Create the folder, or continue the fit that is in it; no other fit can use it meanwhile.

        An exception inside the block gets a note on how to continue.

        Raises
        ------
        FileError
            If the folder cannot be written to, contains other files, or a fit with other data or
            options, or if another program writes into it.
        """
        existed = path.exists()
        make_folder(path)
        try:
            with locked(path / LOCK, str(path)):
                made_with = _made_with(structure, data, settings, arguments)
                saved = () if force else _saved(path, made_with)
                folder = cls(path, made_with, saved)
                try:
                    yield folder
                except BaseException as error:
                    folder._explain(error, force)
                    raise
        finally:
            if not existed:
                with suppress(OSError):
                    path.rmdir()  # if nothing was written into it

    def save(self, minimum: SavedMinimum) -> None:
        """Save the result of a minimization.

        Results that were saved before stay in the file until they are replaced.
        """
        self.done.append(minimum)
        if len(self.done) > len(self.saved):
            self._write(complete=False)

    def finish(self, written: Iterable[Path]) -> None:
        """Mark the fit as complete, and remove results of an earlier fit that it does not have."""
        self._write(complete=True)
        own = {path.name for path in written} | {STATE}
        for name in RESULTS:
            if name not in own:
                (self.path / name).unlink(missing_ok=True)

    def _write(self, complete: bool) -> None:
        from onephonon.refine.state import FitState, write_fit_state

        state = FitState(self.made_with, tuple(self.done), complete)
        write_fit_state(self.path / STATE, state)

    def _explain(self, error: BaseException, force: bool) -> None:
        """Add to an exception how to continue."""
        n = max(len(self.done), len(self.saved))
        if n:
            again = "the command without --force" if force else "the same command"
            error.add_note(
                f"{self.path / STATE} keeps the fit so far ({n} minimizations); repeat {again} to "
                "continue"
            )


def summary(saved: Iterable[SavedMinimum]) -> str:
    """Minimizations done before, by level."""
    counts: dict[str, int] = {}
    for minimum in saved:
        counts[minimum.level] = counts.get(minimum.level, 0) + 1
    return ", ".join(f"{level} ({n})" for level, n in counts.items())


def _made_with(
    structure: Path, data: DiffuseMap, settings: FitSettings, arguments: dict[str, Any]
) -> dict[str, str]:
    """Digests of what determines the fit."""
    from onephonon.refine.state import fit_inputs

    determining = asdict(settings) | arguments
    for name in ("levels", "patience", "max_steps"):  # with others the fit begins in the same way
        determining.pop(name)
    return fit_inputs(structure, data, determining)


def _saved(path: Path, made_with: dict[str, str]) -> tuple[SavedMinimum, ...]:
    """What an interrupted fit has saved in the folder."""
    from onephonon.refine.state import read_fit_state

    if (path / STATE).exists():
        state = read_fit_state(path / STATE)
        before = state.made_with
        changed = [
            name for name in (made_with | dict(before)) if made_with.get(name) != before.get(name)
        ]
        if changed:
            raise FileError(
                f"{path} contains a fit with other data, another structure or other options "
                f"({', '.join(changed)} changed); choose another folder, or overwrite it with "
                "--force"
            )
        return state.minimizations
    if any(item.name != LOCK for item in path.iterdir()):
        raise FileError(
            f"{path} is not empty and contains no fit to continue; choose another folder, or "
            "write into it with --force"
        )
    return ()
