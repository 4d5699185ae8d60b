"""Writing the report of a fit."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from onephonon.core.errors import FileError
from onephonon.core.files import check_writable, replacing
from onephonon.maps.io.registry import write_map
from onephonon.refine.null_fits import NullFit
from onephonon.refine.predictions import Predictions
from onephonon.refine.profile import Profile
from onephonon.refine.result import Fit

from .encoding import csv_bytes, json_bytes, npz_bytes
from .numbers import ReportData, tables, to_json_types, voxel_arrays
from .page import MAP_FILES, report_page
from .pictures import Maps


def write_report(
    fit: Fit,
    folder: str | os.PathLike[str],
    predictions: Predictions | None = None,
    profiles: Sequence[Profile] = (),
    command: str = "",
    force: bool = False,
    maps: Maps | None = None,
    nulls: Sequence[NullFit] = (),
) -> list[Path]:
    """Write the results of a fit: an HTML page, all numbers as files, and maps.

    ``report.html`` is self-contained. ``fit.json`` has all numbers except those of the voxels,
    which are in ``voxels.npz``; tables are CSV. ``model.h5`` is the calculated map without the
    background, on the data's scale; ``background.h5`` the background; ``total.h5`` their sum.

    Parameters
    ----------
    fit : Fit
    folder : path
        Created if missing.
    predictions : Predictions, optional
        By default the page and the tables contain no predictions.
    profiles : sequence of Profile, optional
    command : str
        The command that made the fit, to be shown on the page.
    force : bool
        Overwrite existing files.
    maps : pair of DiffuseMap, optional
        Maps to draw instead of those of the fit: model with background, and data.
    nulls : sequence of NullFit
        Null models at the same voxels, for ``fit.json``.

    Returns
    -------
    list of Path
        The written files, the page first.

    Raises
    ------
    FileError
        If a file exists and `force` is not set, or cannot be written.
    """
    folder = Path(folder)
    report_data = ReportData.of(fit, predictions, profiles, command, nulls)
    rows = tables(report_data)
    names = ["report.html", "fit.json", *rows, "voxels.npz", *MAP_FILES]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder} cannot be created ({error}); choose another folder") from error
    paths = {name: check_writable(folder / name, force) for name in names}
    contents: dict[str, Callable[[], bytes]] = {
        "report.html": lambda: report_page(report_data, tuple(names), maps).encode("utf-8"),
        "fit.json": lambda: json_bytes(to_json_types(report_data)),
        "voxels.npz": lambda: npz_bytes(voxel_arrays(fit)),
    }
    for name in names[: -len(MAP_FILES)]:
        content = contents[name]() if name in contents else csv_bytes(rows[name])
        with replacing(paths[name], force) as temporary:
            temporary.write_bytes(content)
    calculated = fit.maps()
    for name, part in zip(MAP_FILES, ("model", "background", "total"), strict=True):
        write_map(getattr(calculated, part), paths[name], force)
    return list(paths.values())
