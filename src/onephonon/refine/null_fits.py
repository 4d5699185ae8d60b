"""Null models beside a fit: scale and background are fitted to them, and nothing else.

Springs have explained something only if the fit is better on held-out voxels than a model that
knows nothing of springs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.compare.baselines import NullModel, null_models
from onephonon.compare.statistics import BlockSums
from onephonon.compare.trials import error_of_difference
from onephonon.core.progress import Progress, ProgressLike
from onephonon.model.one_phonon import OnePhonon

from .forward import VoxelModel
from .quality import Gain, VoxelResults, gain
from .result import Fit
from .voxels import FitVoxels

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class NullFit:
    """A null model at the held-out voxels of a fit, beside the chosen level.

    Parameters
    ----------
    name, meaning : str
    chi2 : float
        Chi-square per held-out voxel.
    cc_anisotropic, error : float
        Correlation at held-out voxels, and its standard error by leaving out blocks of voxels; NaN
        for too few.
    gain : Gain
        Decrease of chi-square per held-out voxel by the springs.
    difference, difference_error : float
        Increase of the correlation by the springs, and its error by leaving out the same blocks.
    """

    name: str
    meaning: str
    chi2: float
    cc_anisotropic: float
    error: float
    gain: Gain
    difference: float
    difference_error: float

    @property
    def text(self) -> str:
        """One line."""
        verdict = "better" if self.gain.clear else "not clearly better"
        return (
            f"null model, {self.name} ({self.meaning}): chi-square held out {self.chi2:.3f}, CC "
            f"aniso {self.cc_anisotropic:.3f}; the springs are {verdict}: by {self.gain.value:.3f} "
            f"± {self.gain.error:.3f} and {self.difference:+.3f} ± {self.difference_error:.3f}"
        )


def fit_nulls(
    fit: Fit, nulls: Sequence[NullModel] | None = None, progress: ProgressLike | None = None
) -> tuple[NullFit, ...]:
    """Fit scale and background to null models, at the voxels of a fit.

    Parameters
    ----------
    fit : Fit
    nulls : sequence of NullModel, optional
        By default `null_models()`.
    progress : Progress or callable, optional
    """
    nulls = null_models() if nulls is None else nulls
    held = fit.voxels.held_out
    best = fit.best
    # The share of the motion is free, also where intensities are on an absolute scale.
    objective = replace(fit.objective, fit_scale=True)
    own = _sums(fit.voxels, best.voxel_results, held)
    found = []
    for null in nulls:
        intensity = null_intensity(null, fit.model, fit.objective.forward, progress)
        at = objective.project(best.x, intensity)
        model, background, loss = (
            x.cpu().numpy() for x in (at.scale * at.intensity, at.background, at.loss)
        )
        results = VoxelResults.of(fit.voxels, model, background, loss)
        sums = _sums(fit.voxels, results, held)
        found.append(
            NullFit(
                name=null.name,
                meaning=null.meaning,
                chi2=float(loss[held].mean()),
                cc_anisotropic=sums.cc,
                error=sums.error,
                gain=gain(loss[held], best.voxel_results.loss[held], fit.voxels.orbit[held]),
                difference=own.cc - sums.cc,
                difference_error=error_of_difference(own, sums),
            )
        )
    return tuple(found)


@torch.no_grad()
def null_intensity(
    null: NullModel, model: OnePhonon, forward: VoxelModel, progress: ProgressLike | None = None
) -> Tensor:
    """A null model averaged over the voxels of a fit, shape (N,), e^2 per cell.

    Parameters
    ----------
    null : NullModel
    model : OnePhonon
    forward : VoxelModel
        Defines voxels and nodes.
    progress : Progress or callable, optional
    """
    shown, values, done = Progress.of(progress), [], 0
    for part in forward.parts:
        values.append(part.average(null.intensity(model, part.points)))
        done += len(part.voxels)
        shown.step(null.name, done, forward.n)
    return forward.gather(values)


def _sums(voxels: FitVoxels, results: VoxelResults, keep: NDArray[np.bool_]) -> BlockSums:
    """Sums over blocks for the correlation of anisotropic parts over the voxels kept."""
    x, y = results.model_anisotropic, results.data_anisotropic
    known = keep & np.isfinite(x) & np.isfinite(y)
    _, block = np.unique(voxels.orbit[known], return_inverse=True)
    block = block.reshape(-1)
    n_blocks = int(block.max()) + 1 if len(block) else 0
    return BlockSums.of(x[known], y[known], None, block, n_blocks)
