"""Drawing of pictures and animations from the options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from onephonon.core.errors import InputError

from ..options.output import OutputOptions
from ..terminal import progress
from .options import HALOS, PROFILE, SLICES, LookOptions, PictureOptions

if TYPE_CHECKING:
    from onephonon.maps.diffuse import DiffuseMap


def draw_kind(
    kind: str,
    pictures: PictureOptions,
    looks: LookOptions,
    names: str,
    first: DiffuseMap,
    second: DiffuseMap | None,
) -> Any:
    """Draw one kind of picture of one or two maps; `names` is the default heading."""
    from onephonon.maps.isotropic import split_isotropic
    from onephonon.viz import plot

    drawn = looks.arguments(names)
    if kind == PROFILE:
        return _profiles(drawn["title"], first, second)
    planes = [plot.parse_plane(text, (second or first).cell) for text in pictures.planes]
    if kind == SLICES and second is not None:
        return plot.draw_comparison(first, second, planes, anisotropic=looks.anisotropic, **drawn)
    if looks.anisotropic:
        first = split_isotropic(first)[1]
    if kind == HALOS:
        return plot.draw_halos(first, pictures.halos or 1, **drawn)
    return plot.draw_slices(first, planes, **drawn) if planes else plot.draw(first, **drawn)


def _profiles(title: str, first: DiffuseMap, second: DiffuseMap | None) -> Any:
    """Profiles of one map, or of both, the first scaled to the second."""
    from onephonon.maps.arithmetic import scale
    from onephonon.maps.radial import radial_average
    from onephonon.viz.plot.curves import draw_profiles
    from onephonon.viz.plot.slices import match
    from onephonon.viz.plot.style import intensity_label

    if second is None:
        profiles = {"": radial_average(first)}
        return draw_profiles(profiles, title=title, label=intensity_label(first))
    factor, _ = match(first, second)
    profiles = {
        f"model, multiplied by {factor:.4g}": radial_average(scale(first, factor)),
        "data": radial_average(second),
    }
    return draw_profiles(profiles, title=title, label=intensity_label(second))


def write_film(
    film: Path,
    pictures: PictureOptions,
    looks: LookOptions,
    names: str,
    diffuse: DiffuseMap,
    writing: OutputOptions,
) -> int:
    """Write an animation through layers parallel to the first plane; return the number of frames.

    Raises
    ------
    InputError
        If that plane is not one of constant h, k or l.
    """
    from onephonon.maps.isotropic import split_isotropic
    from onephonon.viz.plot.animation import animate
    from onephonon.viz.plot.planes import parse_plane

    axis = 2
    if pictures.planes:
        fixed = parse_plane(pictures.planes[0], diffuse.cell).fixed
        if fixed is None:
            raise InputError(
                f"--animate needs a plane of constant h, k or l, which {pictures.planes[0]} is "
                "not; give --plane hk0, h0l or 0kl first"
            )
        axis = fixed[0]
    if looks.anisotropic:
        diffuse = split_isotropic(diffuse)[1]
    with progress(writing.quiet) as report:
        how = looks.arguments(names)
        return animate(diffuse, film, axis=axis, force=writing.force, progress=report, **how)
