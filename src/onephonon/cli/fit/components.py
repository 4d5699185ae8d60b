"""``onephonon fit --disorder``: components fitted side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..options.fit_disorder import FitDisorderOptions
from ..terminal import echo, progress

if TYPE_CHECKING:
    from onephonon.disorder.notation import ComponentSpec
    from onephonon.maps.diffuse import DiffuseMap
    from onephonon.model.one_phonon import OnePhonon
    from onephonon.refine.settings import FitSettings

    from .folder import FitFolder

#: Groups of options that belong to the fit of springs alone.
FOR_SPRINGS = (
    *("levels", "patience", "max_steps", "prior", "b_uncertainty", "loss", "outlier"),
    *("draws", "profiles"),
)


def fit_components(
    model: OnePhonon,
    data: DiffuseMap,
    second: DiffuseMap | None,
    components: Sequence[ComponentSpec],
    options: FitDisorderOptions,
    settings: FitSettings,
    folder: FitFolder,
    quiet: bool,
) -> None:
    """Fit, write the report, the numbers and the maps, and print what was found."""
    from onephonon.refine.components.explanation import explain
    from onephonon.viz.report.explanation import headline_lines, write_explanation

    with progress(quiet) as shown:
        found = explain(
            model,
            data,
            components,
            settings,
            second=second,
            second_name="" if options.validate is None else options.validate.name,
            controls=not options.no_controls,
            progress=shown,
        )
    command = f"onephonon {' '.join(sys.argv[1:])}"
    written: list[Path] = write_explanation(found, folder.path, command, force=True)
    folder.finish(written)
    if not quiet:
        for line in headline_lines(found):
            echo(line)
        echo(f"wrote {', '.join(str(path) for path in written)}")
