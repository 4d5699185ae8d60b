"""Models built from the options of a command."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .terminal import echo, progress

if TYPE_CHECKING:
    from onephonon.model.one_phonon import OnePhonon

#: Points this close to a Bragg point (in Miller indices) cause a warning: rounding of q to four
#: decimals gives 1e-3.
NEAR_BRAGG = 1e-3

#: Default tolerance within which points are Bragg points.
BRAGG = 1e-6


class DescribesModel(Protocol):
    """A group of options with keywords of a model."""

    def model_arguments(self) -> dict[str, Any]:
        """Keywords of `OnePhonon`."""


def model_arguments(*groups: DescribesModel) -> dict[str, Any]:
    """Keywords of `OnePhonon` from several groups, as recorded in calculated maps."""
    merged: dict[str, Any] = {}
    for group in groups:
        merged |= group.model_arguments()
    return merged


def build_model(structure: Path, arguments: dict[str, Any], **points: Any) -> OnePhonon:
    """Build a model, and warn of points very close to Bragg points.

    Parameters
    ----------
    structure : Path
    arguments : dict
        Keywords of `OnePhonon`.
    **points
        Samplings or q_vectors; without them the model has no q-vectors.
    """
    import torch

    from onephonon.model.one_phonon import OnePhonon

    with torch.no_grad():
        model = OnePhonon(structure, **arguments, **points)
        _warn_of_near_bragg_points(model)
    return model


def lattice_alone(model: OnePhonon, structure: Path, arguments: dict[str, Any]) -> OnePhonon:
    """The lattice of a model with other components of disorder, at its share of the motion."""
    from onephonon.model.bound_sum import BoundSum

    bound = model.bound
    if not isinstance(bound, BoundSum):
        return model
    scale = float(bound.of_lattice().lattice.thermal_scale.detach())
    return build_model(structure, arguments | {"disorder": None, "thermal_scale": scale})


def show_zone_average(model: OnePhonon, quiet: bool) -> None:
    """Write the mesh of the zone average and its estimated error on standard error."""
    if quiet or not model.has_lattice:
        return
    lattice = model.lattice
    if lattice.fixed_scale is not None:
        return
    with progress(quiet):
        error = lattice.zone_average_error()
    mesh = " x ".join(str(n) for n in lattice.mesh)
    # One digit: an estimate is right within a factor of two or so.
    echo(
        f"displacements: mean over {mesh} wavevectors of the {lattice.zone_average}, "
        f"about {max(100 * error, 0.001):.1g} % from its limit for a crystal",
        err=True,
    )


def _warn_of_near_bragg_points(model: OnePhonon) -> None:
    """Warn of points very close to Bragg points, as in lists rounded to a few decimals."""
    from onephonon.crystal.zone import is_bragg

    if not model.n_points:
        return
    if model.grid is not None:
        near, exact = (
            math.prod(int((abs(axis - axis.round()) < within).sum()) for axis in model.grid.axes)
            for within in (NEAR_BRAGG, model.bragg_tolerance or BRAGG)
        )
        near -= exact
    else:
        near = int((is_bragg(model.hkl_grid, NEAR_BRAGG) & model.valid).sum())
    if near:
        warnings.warn(
            f"{near} points are within {NEAR_BRAGG:g} of a Bragg point, where the intensity "
            "diverges as 1/k²; if they are rounded Bragg points, mask them with "
            f"--bragg-tolerance {NEAR_BRAGG:g}",
            stacklevel=2,
        )
