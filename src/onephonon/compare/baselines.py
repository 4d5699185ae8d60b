"""Null models beside a comparison: what a model of springs has to be better than.

A correlation with data means little without that of models that know nothing of springs: rigid
molecules that move independently have the transform of the molecule, which by itself explains most
of what a lattice of rigid molecules does. All are of the first order, with the Debye-Waller factors
of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.core.progress import ProgressLike
from onephonon.disorder.component import Component
from onephonon.disorder.rigid import Rigid
from onephonon.model.one_phonon import OnePhonon
from onephonon.model.voxels import average_of, points_at
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.points import QPoints
from onephonon.scattering.quadrature import Quadrature
from onephonon.scattering.voxel_orientations import (
    equivalent_operators,
    find_orientations,
    unique_voxels,
)

from .agreement import Agreement, BaselineAgreement
from .settings import Settings
from .statistics import BlockSums
from .target import Target
from .trials import error_of_difference

Float64 = NDArray[np.float64]

#: Null models are computed at so many nodes at most: of larger maps at a random part of the
#: voxels.
MAX_NODES = 400_000


@dataclass(frozen=True)
class NullModel:
    """A model without springs.

    Parameters
    ----------
    name, meaning : str
        For tables.
    intensity : callable
        From a `OnePhonon`, which defines the structure, and points to intensities (n_q,); NaN where
        not valid.
    """

    name: str
    meaning: str
    intensity: Callable[[OnePhonon, QPoints], Tensor]


def null_models(liquid: Component | None = None) -> tuple[NullModel, ...]:
    """The usual null models.

    Parameters
    ----------
    liquid : Component, optional
        Liquid-like motions, such as those of all atoms of the crystal over 8 Å.

    Returns
    -------
    tuple of NullModel
        Rigid molecules that translate independently of one another; and liquid-like motions, if
        given.
    """
    found = [
        NullModel("independent molecules", "rigid translations of each, no springs", of_molecules)
    ]
    if liquid is not None:
        found.append(NullModel("liquid-like motions", liquid.text, of_component(liquid)))
    return tuple(found)


def of_molecules(model: OnePhonon, points: QPoints) -> Tensor:
    """Intensity of the copies of the asymmetric unit, each translating by itself."""
    bodies = model.bodies if model.group_by == "asu" else gather_bodies(model.crystal, "asu")
    return Rigid(numerics=model.bound.numerics).intensity(bodies, points, bodies.U, 1)


def of_component(component: Component) -> Callable[[OnePhonon, QPoints], Tensor]:
    """Intensity of a component of disorder, to first order."""

    def intensity(model: OnePhonon, points: QPoints) -> Tensor:
        return component.intensity(model.bodies, points, model.bodies.U, 1)

    return intensity


def compare_baselines(
    nulls: Sequence[NullModel],
    model: OnePhonon,
    agreement: Agreement,
    target: Target,
    settings: Settings,
    operators: Sequence[Float64],
    quadrature: Quadrature | None,
    progress: ProgressLike | None = None,
) -> tuple[BaselineAgreement, ...]:
    """Agreement of null models at the voxels of a comparison, and the difference from the model.

    Parameters
    ----------
    nulls : sequence of NullModel
    model : OnePhonon
        Defines the structure.
    agreement : Agreement
        Of the model.
    target : Target
        The data of the comparison.
    settings : Settings
        Of the comparison.
    operators : sequence of ndarray, shape (3, 3)
        Between voxels that are not independent; see `Target.blocks`.
    quadrature : Quadrature, optional
        How the model was averaged over voxels; at their centres if not given.
    progress : Progress or callable, optional
    """
    # The model's values at the voxels of the target, which it may lack at some.
    own = agreement.model.intensity.reshape(-1)[target.voxel_index].astype(np.float64)
    chosen = _chosen(target.hkl(), agreement, model, quadrature)
    block = target.blocks(operators)
    found = []
    for null in nulls:
        values = np.full(target.n, np.nan)
        values[chosen] = _at_voxels(
            null, model, target.hkl()[chosen], agreement, quadrature, progress
        )
        both = np.isfinite(values) & np.isfinite(own)
        sums = [_sums(np.where(both, x, np.nan), target, settings, block) for x in (values, own)]
        found.append(
            BaselineAgreement(
                name=null.name,
                meaning=null.meaning,
                n=int(both.sum()),
                cc_anisotropic=sums[0].cc,
                error=sums[0].error,
                difference=sums[1].cc - sums[0].cc,
                difference_error=error_of_difference(sums[1], sums[0]),
            )
        )
    return tuple(found)


def _sums(
    values: Float64, target: Target, settings: Settings, block: NDArray[np.int64]
) -> BlockSums:
    """Sums over blocks of the anisotropic parts, where there are values."""
    pairs, own = target.pair(values, settings.isotropic), block[np.isfinite(values)]
    x, y = pairs.model_anisotropic, pairs.data_anisotropic
    known = np.isfinite(x) & np.isfinite(y)
    n_blocks = int(block.max()) + 1
    return BlockSums.of(x[known], y[known], pairs.weight[known], own[known], n_blocks)


def _step(quadrature: Quadrature | None) -> tuple[float, float, float] | None:
    return None if quadrature is None else quadrature.step


def _unique(
    hkl: Float64, agreement: Agreement, model: OnePhonon, quadrature: Quadrature | None
) -> tuple[Float64, NDArray[np.int64], Float64]:
    """Voxels without their equivalents, where each belongs, and the rotation of their boxes."""
    laue = model.crystal.laue_operators.astype(np.float64)
    step = _step(quadrature)
    orientation = find_orientations([agreement.reindexing], laue, step)[0]
    unique, back = unique_voxels(hkl, equivalent_operators(orientation, laue, step))
    return unique, back, orientation.rotation


def _chosen(
    hkl: Float64, agreement: Agreement, model: OnePhonon, quadrature: Quadrature | None
) -> NDArray[np.bool_]:
    """Voxels at which null models are computed: whole sets of equivalent ones, (N,)."""
    unique, back, _ = _unique(hkl, agreement, model, quadrature)
    per_voxel = 1 if quadrature is None else quadrature.order**3
    most = max(1, MAX_NODES // per_voxel)
    keep = np.ones(len(unique), dtype=bool)
    if len(unique) > most:
        keep[np.random.default_rng(0).permutation(len(unique))[most:]] = False
    return np.asarray(keep[back])


@torch.no_grad()
def _at_voxels(
    null: NullModel,
    model: OnePhonon,
    hkl: Float64,
    agreement: Agreement,
    quadrature: Quadrature | None,
    progress: ProgressLike | None,
) -> Float64:
    """A null model at voxels, as the model was averaged over them, shape (N,)."""
    unique, back, rotation = _unique(hkl, agreement, model, quadrature)

    def intensity(points: QPoints) -> Tensor:
        return null.intensity(model, points)

    if quadrature is None:
        points = points_at(model, torch.from_numpy(np.ascontiguousarray(unique @ rotation)))
        values = intensity(points)
    else:
        values = average_of(
            intensity,
            model,
            unique,
            quadrature.step,
            quadrature.order,
            leave_out=quadrature.leave_out,
            matrix=rotation.T,
            progress=progress,
        )
    return np.asarray(values.to("cpu", torch.float64).numpy()[back])
