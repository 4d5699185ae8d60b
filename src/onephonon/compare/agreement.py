"""Results of a comparison of a model with data: statistics overall and by resolution shell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onephonon.crystal.reindexing import Reindexing
from onephonon.maps.diffuse import DiffuseMap
from onephonon.maps.isotropic import Isotropic

from .statistics import cc_star, least_squares_scale, pearson, r_factor, weighted_r

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Model and data at the voxels where both have values.

    Parameters
    ----------
    voxel_index : ndarray, shape (N,), int64
        Flat indices of the voxels in the data.
    s : ndarray, shape (N,)
        1/d = |q|/2*pi, 1/Å.
    model, data : ndarray, shape (N,)
        Intensities; the model on its own scale.
    model_anisotropic, data_anisotropic : ndarray, shape (N,)
        The same without their isotropic parts; NaN in shells with too few voxels.
    weight : ndarray, shape (N,)
    multiplicity : ndarray, shape (N,)
        Multiplicity of each voxel; included in the weight.
    halves, halves_anisotropic : ndarray, shape (2, N), or None
        The data's half-sets, NaN where one is missing.
    """

    voxel_index: NDArray[np.int64]
    s: Float64
    model: Float64
    data: Float64
    model_anisotropic: Float64
    data_anisotropic: Float64
    weight: Float64
    multiplicity: Float64
    halves: Float64 | None = None
    halves_anisotropic: Float64 | None = None

    @property
    def n(self) -> int:
        """Number of voxels."""
        return len(self.s)

    def part(self, keep: NDArray[np.bool_]) -> Pairs:
        """Select voxels by a mask, shape (N,), bool."""

        def cut(values: Any) -> Any:
            return None if values is None else values[..., keep]

        return Pairs(**{name: cut(values) for name, values in vars(self).items()})


@dataclass(frozen=True)
class Statistics:
    """Agreement over some voxels.

    Parameters
    ----------
    d_max, d_min : float
        Limits of resolution, Å; d_max may be infinite.
    n : int
        Number of voxels with a value in both.
    cc, cc_anisotropic : float
        Pearson correlation of model and data, and of both without their isotropic parts.
    r, wr, r_anisotropic : float
        R factors of intensities and of anisotropic parts, each with the scale factor over all
        voxels; see `r_factor` and `weighted_r`. Only wr is weighted beyond multiplicities.
    mean_model, mean_data : float
        Weighted means; the model on the data's scale.
    cc_half, cc_star, cc_half_anisotropic, cc_star_anisotropic : float
        From half-sets; NaN without. See `cc_star`.
    """

    d_max: float
    d_min: float
    n: int
    cc: float
    cc_anisotropic: float
    r: float
    wr: float
    r_anisotropic: float
    mean_model: float
    mean_data: float
    cc_half: float = np.nan
    cc_star: float = np.nan
    cc_half_anisotropic: float = np.nan
    cc_star_anisotropic: float = np.nan


@dataclass(frozen=True)
class Trial:
    """Agreement under one indexing.

    Parameters
    ----------
    reindexing : Reindexing
        From the data's indices to the model's.
    n : int
        Number of voxels compared.
    cc, cc_anisotropic : float
    error : float
        Standard error of cc_anisotropic by a jackknife over blocks of voxels; NaN for too few
        blocks.
    behind : float
        Difference of the best cc_anisotropic and this one.
    behind_error : float
        Standard error of that difference, from the same blocks.
    """

    reindexing: Reindexing
    n: int
    cc: float
    cc_anisotropic: float
    error: float
    behind: float
    behind_error: float


@dataclass(frozen=True)
class BaselineAgreement:
    """Agreement of a null model with the data, beside that of the model.

    Parameters
    ----------
    name : str
    meaning : str
        What it assumes.
    n : int
        Number of voxels at which both are compared with the data.
    cc_anisotropic, error : float
        Of the null model, with the standard error by leaving out blocks of voxels.
    difference, difference_error : float
        cc_anisotropic of the model minus that of the null model at the same voxels, and its
        standard error by leaving out the same blocks of both.
    """

    name: str
    meaning: str
    n: int
    cc_anisotropic: float
    error: float
    difference: float
    difference_error: float


@dataclass(frozen=True, eq=False)
class Agreement:
    """A comparison of a model with data.

    Parameters
    ----------
    overall : Statistics
    shells : tuple of Statistics
        From low to high resolution, of equal width in 1/d, including those without voxels.
    scale, scale_anisotropic : float
        Least-squares scale factors of the model, from intensities and from anisotropic parts.
    reindexing : Reindexing
        From the data's indices to the model's, as used.
    trials : tuple of Trial
        All indexings that were tried, that of the data first.
    decision : str
        Why this indexing was used.
    isotropic : Isotropic
    weighting : str
    quadrature : str
        How the model was evaluated at the voxels.
    notes : tuple of str
        Remarks needed to interpret the numbers.
    pairs : Pairs
    model, data : DiffuseMap
        The maps that were compared, on the points and in the indices of the data.
    baselines : tuple of BaselineAgreement
        Null models at the same voxels, if they were compared.
    """

    overall: Statistics
    shells: tuple[Statistics, ...]
    scale: float
    scale_anisotropic: float
    reindexing: Reindexing
    trials: tuple[Trial, ...]
    decision: str
    isotropic: Isotropic
    weighting: str
    quadrature: str
    notes: tuple[str, ...]
    pairs: Pairs
    model: DiffuseMap
    data: DiffuseMap
    baselines: tuple[BaselineAgreement, ...] = ()

    @property
    def error(self) -> float:
        """Standard error of the overall CC of the anisotropic parts."""
        return next(t.error for t in self.trials if t.reindexing is self.reindexing)

    @property
    def has_halves(self) -> bool:
        """Whether the data have half-sets."""
        return self.pairs.halves is not None

    @property
    def contrast(self) -> float:
        """Factor that gives the scaled anisotropic model the standard deviation of the data.

        It is for pictures, because a least-squares scale makes a poor model look flat.
        """
        model = self.scale_anisotropic * self.pairs.model_anisotropic
        spread = float(np.nanstd(model))
        return float(np.nanstd(self.pairs.data_anisotropic)) / spread if spread > 0 else 1.0

    def anisotropic_maps(self) -> tuple[DiffuseMap, DiffuseMap]:
        """Anisotropic parts of model (on the data's scale) and data as maps, for pictures."""
        found = []
        for source, values, factor in (
            (self.model, self.pairs.model_anisotropic, self.scale_anisotropic),
            (self.data, self.pairs.data_anisotropic, 1.0),
        ):
            whole = np.full(source.intensity.size, np.nan)
            whole[self.pairs.voxel_index] = factor * values
            step = f"anisotropic part: {self.isotropic}"
            shaped = whole.reshape(source.intensity.shape)
            found.append(source.changed(step, {"intensity": shaped}))
        return found[0], found[1]


def shell_statistics(
    pairs: Pairs, limits: tuple[float, float], n_shells: int, scales: tuple[float, float]
) -> Iterator[Statistics]:
    """Statistics of shells of equal width in s, from low to high resolution."""
    edges = np.linspace(*limits, n_shells + 1)
    # A voxel on an edge belongs to the outer shell; the last shell includes both its edges.
    bounds = np.searchsorted(pairs.s, edges)
    bounds[-1] = pairs.n
    for i in range(n_shells):
        keep = np.zeros(pairs.n, dtype=bool)
        keep[bounds[i] : bounds[i + 1]] = True
        yield statistics(pairs.part(keep), (edges[i], edges[i + 1]), scales)


def statistics(
    pairs: Pairs, limits: tuple[float, float], scales: tuple[float, float]
) -> Statistics:
    """Agreement over the voxels between two s (1/Å), with given scale factors."""
    weight, model = pairs.weight, scales[0] * pairs.model
    known = np.isfinite(pairs.model_anisotropic) & np.isfinite(pairs.data_anisotropic)
    rest = pairs.part(known)
    rest_model = scales[1] * rest.model_anisotropic
    total = weight.sum()
    with np.errstate(divide="ignore"):
        d_max, d_min = np.divide(1.0, limits)
    return Statistics(
        d_max=float(d_max),
        d_min=float(d_min),
        n=pairs.n,
        cc=pearson(pairs.model, pairs.data, weight),
        cc_anisotropic=pearson(rest.model_anisotropic, rest.data_anisotropic, rest.weight),
        r=r_factor(model, pairs.data, pairs.multiplicity),
        wr=weighted_r(model, pairs.data, weight),
        r_anisotropic=r_factor(rest_model, rest.data_anisotropic, rest.multiplicity),
        mean_model=float(weight @ model / total) if total > 0 else np.nan,
        mean_data=float(weight @ pairs.data / total) if total > 0 else np.nan,
        **_half_statistics(pairs),
    )


def _half_statistics(pairs: Pairs) -> dict[str, float]:
    """CC_half and CC* by name, of intensities and of anisotropic parts."""
    found: dict[str, float] = {}
    if pairs.halves is None or pairs.halves_anisotropic is None:
        return found
    for halves, ending in ((pairs.halves, ""), (pairs.halves_anisotropic, "_anisotropic")):
        both = np.isfinite(halves).all(axis=0)
        half = pearson(halves[0, both], halves[1, both], pairs.multiplicity[both])
        found[f"cc_half{ending}"], found[f"cc_star{ending}"] = half, cc_star(half)
    return found


def scales_of(pairs: Pairs) -> tuple[float, float]:
    """Least-squares scale factors of the model: for intensities and for anisotropic parts."""
    known = np.isfinite(pairs.model_anisotropic) & np.isfinite(pairs.data_anisotropic)
    rest = pairs.part(known)
    return (
        least_squares_scale(pairs.model, pairs.data, pairs.weight),
        least_squares_scale(rest.model_anisotropic, rest.data_anisotropic, rest.weight),
    )
