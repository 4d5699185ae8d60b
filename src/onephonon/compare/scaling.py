"""A model's map on the voxels, in the indices and on the scale of data."""

from __future__ import annotations

from dataclasses import dataclass

from onephonon.core.errors import InputError
from onephonon.maps.arithmetic import scale
from onephonon.maps.diffuse import DiffuseMap

from .comparison import compare_maps
from .settings import Settings


@dataclass(frozen=True, eq=False)
class ScaledPair:
    """Data and a model at the same voxels.

    Parameters
    ----------
    data : DiffuseMap
        With the space group of the model if its file has none.
    model : DiffuseMap
        On the scale of the data; missing where it has no value.
    factor : float
        By which the model was multiplied: that of least squares of the anisotropic parts.
    cc : float
        Correlation of the anisotropic parts.
    decision : str
        Which indexing was used, and why.
    """

    data: DiffuseMap
    model: DiffuseMap
    factor: float
    cc: float
    decision: str


def scaled_pair(
    data: DiffuseMap, model: DiffuseMap, settings: Settings | None = None
) -> ScaledPair:
    """Put a model on the voxels, in the indices and on the scale of data.

    Parameters
    ----------
    data, model : DiffuseMap
        On grids; see `compare_maps`.
    settings : Settings, optional

    Returns
    -------
    ScaledPair

    Raises
    ------
    InputError
        As for `compare_maps`, or if the two do not correlate, so that there is no scale.
    """
    data.require_grid()
    found = compare_maps(model, data, settings)
    factor = found.scale_anisotropic
    if not factor > 0:
        raise InputError(
            "the anisotropic parts of model and data correlate at "
            f"{found.overall.cc_anisotropic:.3f}, so that the model has no scale; give the right "
            "indexing (reindex) or another model"
        )
    known = found.data.spacegroup or model.spacegroup
    return ScaledPair(
        found.data.changed("space group of the model", spacegroup=known),
        scale(found.model, factor).changed("units of the data", units=found.data.units),
        factor,
        found.overall.cc_anisotropic,
        found.decision,
    )
