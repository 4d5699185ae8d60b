"""The pictures of the page, or a line that explains why one is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onephonon.core.errors import InputError
from onephonon.maps.diffuse import DiffuseMap
from onephonon.refine.model_series import LevelFit
from onephonon.refine.predictions import Predictions
from onephonon.refine.profile import Profile
from onephonon.refine.result import Fit
from onephonon.refine.table import SpringRow

from .. import plot
from .html import Markup, paragraph, picture

#: Number of close-ups of halos.
N_HALOS = 4

#: Minimum number of voxels per Miller index, along each axis, to show a halo.
MIN_VOXELS_PER_INDEX = 1.99

#: Minimum fraction of valid voxels of a drawn layer.
MIN_COVERAGE = 0.1

#: Names of the maps that are compared.
NAMES = ("model", "data")


def drawn(draw: Callable[[], Any], alt_text: str, caption: str = "") -> Markup:
    """A picture, or the reason why there is none."""
    try:
        return picture(plot.to_svg(draw()), alt_text, caption)
    except InputError as error:
        return paragraph(f"{alt_text}: not drawn, because {error}.", kind="faint")


def series_picture(fit: Fit) -> Markup:
    """Chi-square and CC of each level."""
    alt_text = "Chi-square and anisotropic CC of each level"
    return drawn(lambda: plot.draw_series(fit.series), alt_text)


def shell_picture(fit: Fit) -> Markup:
    """Chi-square and CC by shell."""
    alt_text = "Chi-square and anisotropic CC in shells of resolution"
    return drawn(lambda: plot.draw_fit_shells(fit.series.start, fit.best), alt_text)


def spring_picture(rows: Sequence[SpringRow]) -> Markup:
    """Springs with intervals."""
    caption = (
        "Springs with 68 % intervals; grey lines: the starting springs. Filled symbols: "
        "determined by the data more than by the prior. Blue: along contacts, in all directions, "
        "or translation; orange: across contacts, or libration."
    )
    return drawn(lambda: plot.draw_springs(rows), "Spring constants with intervals", caption)


def profile_pictures(profiles: Sequence[Profile]) -> Markup:
    """Profiles of springs."""
    return drawn(lambda: plot.draw_spring_profiles(profiles), "Profiles of springs")


def spectrum_picture(r: LevelFit) -> Markup:
    """The sloppiness spectrum."""
    alt_text = "Information of the data on each direction of the springs"
    return drawn(lambda: plot.draw_spectrum(r.uncertainty), alt_text)


def agreement_pictures(fit: Fit) -> Markup:
    """Means over shells of data, model and background."""
    what = fit.best.voxel_results
    label = plot.intensity_label(fit.data, "mean I")
    return drawn(
        lambda: plot.draw_fit_profile(fit.voxels.s, what.data, what.model, what.background, label),
        "Mean intensities of data, model and background by resolution",
    )


def map_pictures(model: DiffuseMap, data: DiffuseMap) -> list[Markup]:
    """A layer of the map, and its anisotropic part."""
    plane, covered = _fullest_layer(data)
    if covered < MIN_COVERAGE:
        return []
    parts = []
    for anisotropic, what in ((False, "whole intensities"), (True, "without isotropic parts")):
        parts.append(
            drawn(
                lambda a=anisotropic: plot.draw_comparison(  # type: ignore[misc]
                    model, data, [plane], names=NAMES, factor=1.0, anisotropic=a
                ),
                f"Model, data and difference, {what}",
                f"{what.capitalize()}.",
            )
        )
    return parts


def _fullest_layer(data: DiffuseMap) -> tuple[plot.Plane, float]:
    """The central layer, or a much more complete one, and its fraction of valid voxels."""
    grid, _ = data.require_grid()
    shares = np.isfinite(data.volume).mean(axis=(0, 1))
    plane = plot.central_plane(data, 2)
    share = float(np.isfinite(plot.cut(data, plane).values).mean())
    if share < 0.5 * shares.max():
        best = int(shares.argmax())
        plane, share = plot.Plane.normal_to(2, float(grid.axes[2][best])), float(shares[best])
    return plane, share


def halo_pictures(fit: Fit, model: DiffuseMap, data: DiffuseMap) -> list[Markup]:
    """Close-ups of the strongest halos, if voxels are fine enough to show any."""
    grid, _ = data.require_grid()
    if max(grid.step) * MIN_VOXELS_PER_INDEX > 1:
        return [paragraph("The voxels are too coarse to show single halos.", kind="faint")]

    def draw() -> Any:
        return plot.draw_halo_comparison(model, data, _strongest(fit, data), names=NAMES)

    return [drawn(draw, "Close-ups of halos", "The strongest halos, in the data's indices.")]


def _strongest(fit: Fit, data: DiffuseMap) -> np.ndarray:
    """Halos of the greatest mean that lie well inside the map, in the data's indices."""
    voxels = fit.voxels
    grid, _ = data.require_grid()
    total = np.bincount(voxels.halo, voxels.data, voxels.n_halos)
    mean = total / np.maximum(np.bincount(voxels.halo, minlength=voxels.n_halos), 1)
    back = np.linalg.inv(fit.reindexing.matrix)
    found = []
    for i in np.argsort(-mean, kind="stable"):
        peak = np.rint(back @ voxels.peaks[i]).astype(np.int64)
        inside = (peak - 0.5 >= grid.origin) & (peak + 0.5 <= grid.end)
        if inside.all():
            found.append(peak)
        if len(found) == N_HALOS:
            break
    if not found:
        raise InputError("no halo lies completely inside the map")
    return np.array(found)


def b_factor_picture(fit: Fit, found: Predictions) -> Markup:
    """B-factors against the file's."""
    return drawn(
        lambda: plot.draw_b_factors(
            found.b_factors.value,
            found.b_file,
            fit.model.crystal.labels,
            names=("diffuse fit", "file"),
        ),
        "B-factors predicted from diffuse data against those of the file",
    )


def dispersion_picture(found: Predictions) -> Markup:
    """Dispersion with its bands."""
    w = found.frequencies
    band = (w.low, w.high) if np.isfinite(w.low).all() else None
    return drawn(
        lambda: plot.draw_modes(found.dispersion, temperature=found.temperature, band=band),
        "Dispersion along the standard path, with bands" if band else "Dispersion",
    )


def elastic_picture(fit: Fit, found: Predictions) -> Markup:
    """Speeds of sound and Young's modulus over all directions."""
    return drawn(
        lambda: plot.draw_elasticity(
            found.elasticity, fit.model.crystal, temperature=found.temperature
        ),
        "Speeds of sound and Young's modulus against direction",
    )


def joint_picture(found: Predictions) -> Markup:
    """Joint displacements against distance, and relative motion in contacts."""
    assert found.joint is not None
    joint = found.joint
    return drawn(lambda: plot.draw_joint(joint), "Joint displacements against distance")


#: The model on the data's scale, with the background, and the data.
Maps = tuple[DiffuseMap, DiffuseMap]
