"""Two maps to be shown together, read from files and brought to the same indices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onephonon.core.errors import InputError

from .options.map_reading import MapReadingOptions
from .options.voxels import IndexingOptions
from .terminal import echo

if TYPE_CHECKING:
    from onephonon.maps.diffuse import DiffuseMap


@dataclass(frozen=True, eq=False)
class ShownMaps:
    """One map, or two with the same indices.

    Parameters
    ----------
    first : DiffuseMap
    second : DiffuseMap or None
    names : tuple of two str
        Names of the files, the first with its own indices if they were changed; the second is
        empty if there is only one map.
    """

    first: DiffuseMap
    second: DiffuseMap | None
    names: tuple[str, str]


def read_maps(
    file: Path,
    against: Path | None,
    reading: MapReadingOptions,
    indexing: IndexingOptions,
    quiet: bool,
) -> ShownMaps:
    """Read one map or two; the first is put into the indices of the second, as `compare` does.

    Raises
    ------
    InputError
        If the cells of the maps differ, or an indexing is requested for a single map.
    """
    first, second = reading.read_pair(file, against)
    if against is None or second is None:
        if indexing.reindex != IndexingOptions.reindex:
            raise InputError(
                f"--reindex {indexing.reindex} relates the indices of two maps; give a second one"
            )
        return ShownMaps(first, None, (file.name, ""))
    names = _distinct_names(file, against)
    if first.grid is None or second.grid is None:
        return ShownMaps(first, second, names)
    from onephonon.compare.indexing import in_same_indices

    pair = in_same_indices(first, second, indexing.reindex)
    if pair.decision and not quiet:
        echo(f"indexing: {pair.decision}")
    own = "" if pair.reindexing.is_identity else f" at its {pair.reindexing.name}"
    return ShownMaps(pair.first, pair.second, (names[0] + own, names[1]))


def _distinct_names(first: Path, second: Path) -> tuple[str, str]:
    """Names of two files; with their folders if the names are equal."""
    if first.name != second.name:
        return first.name, second.name
    return f"{first.resolve().parent.name}/{first.name}", (
        f"{second.resolve().parent.name}/{second.name}"
    )
