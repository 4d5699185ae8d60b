"""Voxels, background and stored amplitudes that fits of components share."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from onephonon.compare.comparison import with_cell
from onephonon.core.progress import Progress, ProgressLike
from onephonon.crystal.reindexing import Reindexing
from onephonon.maps.diffuse import DiffuseMap
from onephonon.model.one_phonon import OnePhonon

from ..background import Background
from ..fit import choose_indexing, is_absolute, make_objective, with_orders
from ..forward import VoxelModel
from ..settings import FitSettings
from ..voxels import FitVoxels, select_voxels
from .projection import Measurements


@dataclass(frozen=True, eq=False)
class MapProblem:
    """A map, prepared for fits of any components.

    Parameters
    ----------
    model : OnePhonon
    voxels : FitVoxels
    forward : VoxelModel
        Nodes of the voxels, and the amplitudes of the model's bodies there.
    background : Background
    absolute : bool
        Whether intensities are in e^2 per cell.
    reindexing : Reindexing
        From the data's indices to the model's.
    messages : tuple of str
        Assumptions and decisions.
    """

    model: OnePhonon
    voxels: FitVoxels
    forward: VoxelModel
    background: Background
    absolute: bool
    reindexing: Reindexing
    messages: tuple[str, ...] = ()

    def measurements(self) -> Measurements:
        """Data and weights of all voxels."""
        like = self.model.bodies.U
        sigma = torch.from_numpy(self.voxels.sigma).to(like)
        used = torch.ones(self.voxels.n, dtype=torch.bool, device=like.device)
        data = torch.from_numpy(self.voxels.data).to(like)
        return Measurements(data, sigma**-2.0, used, self.background)


def prepare(
    model: OnePhonon,
    data: DiffuseMap,
    settings: FitSettings | None = None,
    progress: ProgressLike | None = None,
) -> MapProblem:
    """Choose indexing, voxels, averages and background as `fit_springs` does.

    Parameters
    ----------
    model : OnePhonon
        Its orders are those of the lattice and of liquid-like motions.
    data : DiffuseMap
        On a grid.
    settings : FitSettings, optional
        Those of voxels, averages, scale and background are used.
    progress : Progress or callable, optional

    Raises
    ------
    InputError
        As `fit_springs` raises it.
    """
    settings, progress = settings or FitSettings(), Progress.of(progress)
    data = with_cell(data, model.crystal.cell.parameters)
    reindexing, indexing = choose_indexing(model, data, settings, progress)
    voxels = select_voxels(data, model.crystal, reindexing, settings)
    decision = indexing.decision if indexing else "the lattice allows no other indexing"
    messages = (decision, *voxels.messages)
    for line in messages:
        progress.message(line)
    voxels, _ = with_orders(model, data, voxels, settings)
    absolute = is_absolute(data, settings)
    objective, _ = make_objective(model, data, voxels, settings, absolute, progress)
    return MapProblem(
        model, voxels, objective.forward, objective.background, absolute, reindexing, messages
    )
