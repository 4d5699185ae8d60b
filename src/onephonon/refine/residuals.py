"""What the residuals of a fit say: chi-square against its expectation, and faults with a pattern.

Three faults of data or structure leave patterns that springs cannot: intensity that depends on
|q| alone (rings of ice, water or powder), isolated outliers (spikes), and a trend as of other
B-factors than those of the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from onephonon.core.units import EIGHT_PI_SQUARED
from onephonon.crystal.crystal import mean_square

from .model_series import LevelFit
from .objective import Evaluation, Loss, Objective
from .result import Fit
from .voxels import FitVoxels

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

#: Standard deviations from which a pattern or an excess of chi-square is significant: by chance
#: once in 3000 fits on one side.
SIGNIFICANT = 3.5

#: Width of shells in which rings are looked for, 1/Å: rings of ice are about twice as wide.
RING_WIDTH = 0.005

#: Minimum number of voxels of such a shell, and maximum number of shells.
MIN_RING_VOXELS, MAX_RINGS = 30, 100

#: Minimum number of independent halos for errors from halo to halo.
MIN_HALOS = 8

#: Fraction of the excess of chi-square that shells of |q| hold, from which rings are named: springs
#: that are wrong leave up to a twentieth there.
MIN_RING_SHARE = 0.1

#: A spike is so many standard deviations off, of all residuals and of its neighbours. Of a million
#: normal residuals none is beyond.
SPIKE_SIGMAS = 6.0

#: The same for data without sigma, whose residuals are misfit with longer tails than noise.
SPIKE_SIGMAS_OF_MISFIT = 10.0

#: Fraction of a column below which springs, scale and background explain all of it.
UNDETERMINED = 1e-6

#: Change of B, relative to the file's mean, from which a trend is named.
MIN_B_CHANGE = 0.02


@dataclass(frozen=True)
class ChiSquare:
    """Chi-square per voxel and what noise alone would give.

    Parameters
    ----------
    n : int
        Number of voxels.
    value : float
    expected : float
        Fitted background, scale and springs taken into account.
    error : float
        Standard deviation of the value, for independent voxels.
    """

    n: int
    value: float
    expected: float
    error: float

    def with_others(self, other: ChiSquare) -> ChiSquare:
        """Chi-square of these voxels and others together."""
        n = self.n + other.n
        value, expected = (
            (self.n * a + other.n * b) / n
            for a, b in ((self.value, other.value), (self.expected, other.expected))
        )
        error = math.hypot(self.n * self.error, other.n * other.error) / n
        return ChiSquare(n, value, expected, error)

    @property
    def excess(self) -> float:
        """Difference from the expectation, in standard deviations."""
        return (self.value - self.expected) / self.error if self.error > 0 else math.nan


@dataclass(frozen=True)
class Rings:
    """Residuals that depend on |q| alone.

    Parameters
    ----------
    d : tuple of float
        Where they are largest, Å; the largest first.
    height : tuple of float
        Mean residual there, as fractions of the mean intensity of the data.
    share : float
        Fraction of the excess of chi-square in the means of shells.
    significance : float
        In standard deviations.
    """

    d: tuple[float, ...]
    height: tuple[float, ...]
    share: float
    significance: float


@dataclass(frozen=True)
class Spikes:
    """Isolated outliers.

    Parameters
    ----------
    n : int
    largest : float
        The largest residual, in sigma.
    hkl : tuple of three float
        Where it is, in the model's indices.
    share : float
        Fraction of chi-square in the spikes.
    """

    n: int
    largest: float
    hkl: tuple[float, float, float]
    share: float


@dataclass(frozen=True)
class BChange:
    """Change of the B-factors by which residuals would become smaller.

    Parameters
    ----------
    value, error : float
        Change of all B, Å^2, with springs, scale and background refitted.
    mean_b : float
        Mean B of the file, Å^2.
    """

    value: float
    error: float
    mean_b: float

    @property
    def significance(self) -> float:
        """In standard errors."""
        return abs(self.value) / self.error if self.error > 0 else 0.0


@dataclass(frozen=True)
class Diagnosis:
    """What the residuals of a fit say.

    Parameters
    ----------
    used, held_out : ChiSquare or None
        None if the data have no sigma.
    rings : Rings or None
        None if there are none.
    spikes : Spikes or None
        None if there are none.
    b_change : BChange or None
        None if there is no trend.
    """

    used: ChiSquare | None
    held_out: ChiSquare | None
    rings: Rings | None
    spikes: Spikes | None
    b_change: BChange | None


def diagnose(fit: Fit, level: LevelFit | None = None) -> Diagnosis:
    """Compare the residuals of a level with noise, and look for faults with a pattern.

    Rings and trends are looked for in the fitted voxels, in what no small change of springs, scale
    or background could explain.

    Parameters
    ----------
    fit : Fit
    level : LevelFit, optional
        By default the chosen level.
    """
    level, voxels = level or fit.best, fit.voxels
    at = level.minimum.at
    objective = replace(
        fit.objective,
        parametrization=level.parametrization,
        basis=None,
        prior=level.prior,
        dispersion=level.dispersion,
    ).suited_to(level.x)
    z = _numpy(at.residual) / voxels.sigma
    isolated = isolated_outliers(z, voxels)
    calm = np.ones(voxels.n, dtype=bool)
    calm[isolated] = False
    used = objective.used & torch.from_numpy(calm).to(objective.used.device)
    weight = at.weight * used
    s2, shell = torch.from_numpy(voxels.s**2), torch.from_numpy(ring_shells(voxels.s, calm))
    # exp(-B s^2/2) changes by -s^2/2 times the intensity.
    by_b = -0.5 * s2.to(at.intensity) * at.scale * at.intensity
    rings = torch.nn.functional.one_hot(shell).to(at.intensity)
    columns = torch.cat([at.residual[:, None], by_b[:, None], rings], dim=1)
    rest = _unexplained(objective, at, columns, weight)
    residual, weights = _numpy(rest[:, 0]), _numpy(weight)
    b_change = None
    # Where nothing is left of the column, the data do not tell B from the springs.
    if float(weight @ rest[:, 1] ** 2) > UNDETERMINED * float(weight @ by_b**2):
        b_change = _b_change(fit, residual, _numpy(rest[:, 1]), weights, objective.dispersion)
    if b_change is not None:
        residual = residual - b_change.value * _numpy(rest[:, 1])
    mean_s = np.bincount(shell, voxels.s) / np.bincount(shell)
    level_of_data = float(np.mean(np.abs(voxels.data)))
    known = voxels.sigma_known
    chi_square = _chi_square(fit, level, objective, held_out=False) if known else None
    noise = None if chi_square is None else chi_square.expected
    return Diagnosis(
        used=chi_square,
        held_out=_chi_square(fit, level, objective, held_out=True) if known else None,
        rings=_find_rings(residual, _numpy(rest[:, 2:]), weights, mean_s, level_of_data, noise),
        spikes=_spikes(z, isolated, voxels),
        b_change=b_change,
    )


def _chi_square(fit: Fit, level: LevelFit, objective: Objective, held_out: bool) -> ChiSquare:
    """Chi-square of the fitted or held-out voxels, and its expectation."""
    chosen = torch.from_numpy(fit.voxels.held_out == held_out)
    chosen = chosen.to(objective.data.device)
    n = int(chosen.sum())
    free = 0.0
    if not (held_out and objective.background.shared):
        free += objective.background.n_determined(chosen.to(objective.data))
    if not held_out:
        free += level.uncertainty.n_effective + objective.fit_scale
    mean, variance = expected_loss(objective.loss)
    value = (level.held_out if held_out else level.used).chi2
    n = max(n, 1)
    return ChiSquare(n, value, mean * max(n - free, 0.0) / n, math.sqrt(variance / n))


def expected_loss(loss: Loss) -> tuple[float, float]:
    """Mean and variance of rho of normal residuals."""
    # Gauss-Hermite nodes of a standard normal distribution.
    x, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()
    value = loss.value(torch.from_numpy(x**2)).numpy()
    mean = float(w @ value)
    return mean, float(w @ (value - mean) ** 2)


def ring_shells(s: Float64, calm: NDArray[np.bool_]) -> Index:
    """Shell of |q| of each voxel: of `RING_WIDTH`, joined where they hold too few calm voxels.

    Parameters
    ----------
    s : ndarray, shape (N,)
    calm : ndarray, shape (N,), bool
    """
    width = max(RING_WIDTH, float(np.ptp(s)) / MAX_RINGS)
    narrow = np.floor((s - s.min()) / width).astype(np.int64)
    count = np.bincount(narrow, calm)
    number = np.zeros(len(count), dtype=np.int64)
    current, filled = 0, 0.0
    for i, n in enumerate(count.tolist()):
        number[i] = current
        filled += n
        if filled >= MIN_RING_VOXELS:
            current, filled = current + 1, 0.0
    # The last shell may be too small: it joins the one before.
    return np.asarray(np.minimum(number, max(current - 1, 0))[narrow])


def _find_rings(
    residual: Float64,
    rings: Float64,
    weight: Float64,
    s: Float64,
    unit: float,
    noise: float | None,
) -> Rings | None:
    """Look for residuals that depend on |q| alone, by least squares for a height in each shell.

    Parameters
    ----------
    residual : ndarray, shape (N,)
    rings : ndarray, shape (N, n_shells)
        A unit height in each shell. Both without what springs, scale and background explain.
    weight : ndarray, shape (N,)
    s : ndarray, shape (n_shells,)
        Mean 1/d of each shell.
    unit : float
        Unit of the heights.
    noise : float or None
        Chi-square per voxel that noise would leave; None if sigma are not known.
    """
    n, chi2 = int((weight > 0).sum()), float(weight @ residual**2)
    gram, moments = rings.T @ (weight[:, None] * rings), rings.T @ (weight * residual)
    size = np.sqrt(np.maximum(np.diagonal(gram), 1e-300))
    values, vectors = np.linalg.eigh(gram / size[:, None] / size)
    good = values > 1e-3  # combinations that the background does not explain
    along = vectors[:, good].T @ (moments / size)
    drop, rank = float(along @ (along / values[good])), int(good.sum())
    if not rank or n <= rank or not chi2 > drop:
        return None
    phi = (chi2 - drop) / (n - rank)
    significance = (drop / phi - rank) / math.sqrt(2 * rank)
    by_chance = phi if noise is None else 1.0
    excess = chi2 if noise is None else chi2 - noise * n
    share = min((drop - rank * by_chance) / excess, 1.0) if excess > 0 else 1.0
    if significance < SIGNIFICANT or share < MIN_RING_SHARE:
        return None
    # Shells by what each alone explains; rings add to the data, so those come first.
    score = moments / size
    strongest = np.argsort(-score)[:3]
    strongest = strongest[score[strongest] > max(0.3 * score[strongest[0]], 0.0)]
    if not len(strongest):
        strongest = np.argsort(score)[:1]
    return Rings(
        d=tuple(1 / float(s[i]) for i in strongest),
        height=tuple(float(moments[i] / size[i] ** 2) / unit for i in strongest),
        share=share,
        significance=significance,
    )


def isolated_outliers(z: Float64, voxels: FitVoxels) -> Index:
    """Voxels whose normalized residuals z, shape (N,), are far from all others and the neighbours'.

    Returns
    -------
    ndarray, shape (n,), int64
    """
    limit = SPIKE_SIGMAS if voxels.sigma_known else SPIKE_SIGMAS_OF_MISFIT
    far = np.flatnonzero(np.abs(z) > limit * _spread(z, voxels))
    if not len(far):
        return far
    place = voxels.hkl @ np.linalg.inv(voxels.rotation) / np.asarray(voxels.averaging.step)
    near = cKDTree(place).query_ball_point(place[far], 1.01, p=np.inf)
    alone = [
        _stands_out(z[i], z[[j for j in others if j != i]])
        for i, others in zip(far.tolist(), near, strict=True)
    ]
    return far[np.array(alone)]


def _spikes(z: Float64, isolated: Index, voxels: FitVoxels) -> Spikes | None:
    if not len(isolated):
        return None
    top = int(isolated[np.argmax(np.abs(z[isolated]))])
    h, k, l = voxels.hkl[top].tolist()  # noqa: E741
    share = float((z[isolated] ** 2).sum() / (z @ z))
    return Spikes(len(isolated), float(z[top]), (h, k, l), share)


def _stands_out(z: float, others: Float64) -> bool:
    """Whether a residual is far from those of its neighbours, also if those vary."""
    if len(others) < 2:
        return True
    away = abs(z - float(np.median(others)))
    return away > SPIKE_SIGMAS * float(np.std(others))


def _spread(z: Float64, voxels: FitVoxels) -> float:
    """Standard deviation of residuals without regard to outliers; at least 1 if sigma are known."""
    found = 1.4826 * float(np.median(np.abs(z)))
    return max(1.0, found) if voxels.sigma_known else found


def _b_change(
    fit: Fit, residual: Float64, by_b: Float64, weight: Float64, dispersion: float
) -> BChange | None:
    """Look for a trend of the residuals as of other B-factors, by one Gauss-Newton step for B.

    Both arrays are without what springs, scale and background explain.
    """
    information = float(weight @ by_b**2)
    change = float(weight @ (by_b * residual)) / information
    scores = weight * by_b * (residual - change * by_b)
    used = weight > 0
    _, halo = np.unique(fit.voxels.orbit[used], return_inverse=True)
    sums = np.bincount(halo.reshape(-1), scores[used])
    n = len(sums)
    between = n / (n - 1) * float(sums @ sums) if n >= MIN_HALOS else 0.0
    error = math.sqrt(max(dispersion * information, between)) / information
    mean_b = float(EIGHT_PI_SQUARED * mean_square(fit.model.crystal.U).mean())
    found = BChange(change, error, mean_b)
    named = found.significance > SIGNIFICANT and abs(change) > MIN_B_CHANGE * mean_b
    return found if named else None


def _unexplained(objective: Objective, at: Evaluation, columns: Tensor, weight: Tensor) -> Tensor:
    """The part of columns (N, m) that springs, scale and background do not explain, (N, m).

    Springs are held by the prior.
    """
    parametrization = objective.parametrization
    values, chain = parametrization.values(at.x).detach(), parametrization.slopes(at.x)
    basis = objective.basis_of_springs()
    background, n, m = objective.background, parametrization.n, columns.shape[1]
    inverse = background.inverse_gram(weight)
    total = chain.new_zeros(n + 1, n + 1 + m)
    crossed = chain.new_zeros(*inverse.shape[:2], n + 1 + m)
    for part, intensity, by_value in objective.forward.slopes(basis, values):
        rows = [at.scale * (by_value @ chain), intensity[:, None], columns[part]]
        joined = torch.cat(rows, dim=1)
        weighted = weight[part, None] * joined
        total += joined[:, : n + 1].T @ weighted
        crossed += background.moments(weighted, part)
    total -= torch.einsum("gwi,gwv,gvj->ij", crossed[:, :, : n + 1], inverse, crossed)
    free = n + objective.fit_scale
    matrix = total[:free, :free].clone()
    matrix[range(n), range(n)] += objective.prior * objective.dispersion
    solution = torch.linalg.pinv(matrix, hermitian=True) @ total[:free, n + 1 :]
    rest = columns.clone()
    for part, intensity, by_value in objective.forward.slopes(basis, values):
        rows = [at.scale * (by_value @ chain), intensity[:, None]]
        rest[part] -= torch.cat(rows, dim=1)[:, :free] @ solution
    return rest - background.evaluate(inverse @ background.moments(weight[:, None] * rest))


def _numpy(x: Tensor) -> Float64:
    return np.asarray(x.detach().cpu().double().numpy())
