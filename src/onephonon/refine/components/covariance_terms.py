"""Flexible components of a regression, from the options with which they are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.solvent import WATER_DENSITY, with_solvent
from onephonon.disorder.notation import ComponentSpec
from onephonon.disorder.segments import Segments

from .liquid_ladder import Ladder, liquid_features
from .segment_pairs import SegmentPrior, segment_features
from .voxel_frame import VoxelFrame

#: 1/Å: how far in 1/d the strength of a covariance is similar. Narrower predicts more and is less
#: of a model: a strength that is free at every |q| is not that of any one covariance.
WIDTH = 0.1


class CovarianceTerm(Protocol):
    """A component whose intensity is Gaussian with a prior covariance."""

    @property
    def start(self) -> float:
        """Weight from which the search starts, relative to the variance of the data."""

    def kernel(self, crystal: Crystal, frame: VoxelFrame, progress: Progress | None) -> Tensor:
        """Prior covariance of the intensities at the voxels, (N, N), float32, on any scale."""


@dataclass(frozen=True)
class LiquidTerm:
    """Liquid-like motions of the crystal with a free correlation against distance.

    Parameters
    ----------
    width : float
        1/Å; see `WIDTH`.
    ladder : Ladder
    """

    width: float = WIDTH
    ladder: Ladder = field(default_factory=Ladder)
    start: float = 19.0

    def kernel(self, crystal: Crystal, frame: VoxelFrame, progress: Progress | None) -> Tensor:
        """Of all steps of the ladder, each with the same expected strength."""
        features = liquid_features(_without_solvent(crystal), frame, self.ladder, progress)
        return (features @ features.T) * strength(frame, self.width)


@dataclass(frozen=True)
class SegmentTerm:
    """Motion of segments of the molecule.

    Parameters
    ----------
    by : str
        See `Segments.of`.
    prior : SegmentPrior
    width : float
        1/Å; see `WIDTH`.
    """

    by: str = "residue"
    prior: SegmentPrior = field(default_factory=SegmentPrior)
    width: float = WIDTH
    start: float = 0.7

    def kernel(self, crystal: Crystal, frame: VoxelFrame, progress: Progress | None) -> Tensor:
        """Of all pairs of segments, with solvent displaced by the atoms."""
        segments = Segments.of(crystal, self.by)
        if not _has_solvent(crystal):
            crystal = with_solvent(crystal, WATER_DENSITY)
        total = torch.zeros(frame.n, frame.n, dtype=torch.float32)
        for features in segment_features(crystal, segments, frame, self.prior, progress):
            total.addmm_(features, features.T)
        return total * strength(frame, self.width)


def strength(frame: VoxelFrame, width: float) -> Tensor:
    """Prior covariance of the strength of first-order scattering at two voxels, (N, N).

    ``s^2 s'^2 exp(-(s - s')^2 / (2 width^2))`` with s = 1/d.
    """
    s = frame.s.to(torch.float32)
    apart = (s[:, None] - s) / width
    return (s[:, None] * s).square() * torch.exp(-0.5 * apart.square())


def covariance_term(spec: ComponentSpec) -> CovarianceTerm:
    """The term of a component that exists in fits only.

    Raises
    ------
    InputError
        If its options cannot be combined, or it cannot be fitted.
    """
    options = dict(spec.options)
    width = float(options.pop("width", WIDTH))
    if spec.name == "liquid":
        options.pop("kernel")
        scope = options.pop("scope", "crystal")
        if scope != "crystal":
            raise InputError(
                f"liquid:kernel=free,scope={scope}: a free correlation is fitted for all atoms of "
                "the crystal; leave scope out"
            )
        if options:
            raise InputError(
                f"liquid:kernel=free has no {', '.join(options)}: lengths and amplitudes are free; "
                "leave that out"
            )
        return LiquidTerm(width)
    n, by = options.pop("n", None), options.pop("by", None)
    if n is not None and by is not None:
        raise InputError(f"segments: n={n} and by={by} both divide the molecule; give one")
    default = SegmentPrior()
    prior = SegmentPrior(
        reach=float(options.pop("reach", default.reach)),
        smooth=float(options.pop("smooth", default.smooth)),
        motion=str(options.pop("motion", default.motion)),
        functions=int(options.pop("functions", default.functions)),
    )
    return SegmentTerm(str(n) if n is not None else str(by or "residue"), prior, width)


def _without_solvent(crystal: Crystal) -> Crystal:
    """Raise if solvent was taken off already: the ladder has atoms with and without it."""
    if _has_solvent(crystal):
        raise InputError(
            "liquid:kernel=free has atoms with and without displaced solvent itself; give the "
            "structure without solvent"
        )
    return crystal


def _has_solvent(crystal: Crystal) -> bool:
    """Whether displaced solvent was subtracted: one of an atom's Gaussians is negative."""
    return bool((crystal.form_factors.a < 0).any())
