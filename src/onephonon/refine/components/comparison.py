"""Which of two fits of components explains held-out voxels better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onephonon.compare.trials import error_of_difference
from onephonon.core.errors import InputError

from ..quality import Gain, anisotropic_sums, gain
from .parametric_result import ParametricFit


@dataclass(frozen=True)
class HeldOutGain:
    """Improvement of one fit over another on the voxels that both held out.

    Parameters
    ----------
    chi2 : Gain
        Decrease of chi-square per voxel, and its error from block to block.
    cc, cc_error : float
        Increase of the correlation of anisotropic parts, and its error by leaving out the same
        blocks of both.
    """

    chi2: Gain
    cc: float
    cc_error: float

    @property
    def clear(self) -> bool:
        """Whether chi-square decreases by more than its standard error."""
        return self.chi2.clear


def held_out_gain(before: ParametricFit, after: ParametricFit) -> HeldOutGain:
    """Compare two fits of the same voxels, held out in the same folds.

    Raises
    ------
    InputError
        If the voxels or the folds differ.
    """
    same = before.voxels.n == after.voxels.n and np.array_equal(before.fold, after.fold)
    if not (same and np.array_equal(before.voxels.hkl, after.voxels.hkl)):
        raise InputError(
            "the two fits are of different voxels or folds; fit both to one problem with the same "
            "folds"
        )
    held = np.isfinite(before.held_out) & np.isfinite(after.held_out)
    losses = before.loss_held_out[held], after.loss_held_out[held]
    a, b = (anisotropic_sums(fit.voxels, fit.held_out, fit.voxels.data) for fit in (before, after))
    return HeldOutGain(
        chi2=gain(*losses, before.voxels.orbit[held]),
        cc=b.cc - a.cc,
        cc_error=error_of_difference(a, b),
    )
