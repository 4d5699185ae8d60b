"""Quadrature over voxels without nodes on Bragg points, where the intensity diverges.

Beside a Bragg point the intensity goes as ``1/k^2`` times something that depends on direction.
That has a finite average, but product rules converge slowly: their error falls as one over the
number of nodes along an axis. A voxel with a Bragg point in it or on its edge is therefore divided
into the six pyramids between that point and the voxel's faces. Along a pyramid volume grows as
``r^2``, which cancels the pole: the integrand is smooth and Gauss-Legendre nodes converge
fast. No node can lie on the Bragg point. (The substitution is Duffy's, SIAM J. Numer. Anal. 19
(1982) 1260.) A voxel without a Bragg point has Gauss-Legendre nodes along its axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onephonon.core.errors import InputError
from onephonon.crystal.grid import HklGrid

Float64 = NDArray[np.float64]

#: A Bragg point this close to a voxel (Miller indices) counts as on its edge.
EDGE_TOLERANCE = 1e-9

#: Highest order of the quadrature.
MAX_ORDER = 32

#: Step (Miller indices) from which voxels are so large that a model is averaged over them by
#: default.
COARSE_STEP = 0.5

#: Default order of the averages over such voxels.
USUAL_ORDER = 2


@dataclass(frozen=True)
class Quadrature:
    """Method of averaging over voxels.

    Parameters
    ----------
    step : tuple of three float
        Extent of a voxel along h, k and l in Miller indices.
    order : int
        n, 2 or more: n^3 nodes in a voxel without a Bragg point; 6 n^2 max(2, n - 1) in one
        with a Bragg point, and as many in each part of a voxel with several.
    leave_out : float
        Fraction of the distance from a Bragg point to the faces of its voxel that is excluded
        from the average, 0 to less than 1: for data whose Bragg peaks were removed before
        binning into voxels. For other measures of distance from Bragg points see
        `crystal.zone`.

    Raises
    ------
    InputError
        If a number is out of its range.
    """

    step: tuple[float, float, float]
    order: int = 2
    leave_out: float = 0.0

    def __post_init__(self) -> None:
        step = np.asarray(self.step, dtype=np.float64).reshape(-1)
        if step.shape != (3,) or not (np.isfinite(step) & (step > 0)).all():
            raise InputError(f"step {self.step} of voxels is not three positive numbers")
        if self.order != int(self.order) or not 2 <= self.order <= MAX_ORDER:
            raise InputError(
                f"order {self.order} of voxel averages: give a whole number from 2 to {MAX_ORDER}"
            )
        if not 0 <= self.leave_out < 1:
            raise InputError(
                f"leave_out {self.leave_out}: must be a fraction of the voxel, 0 to less than 1"
            )
        object.__setattr__(self, "step", tuple(step.tolist()))

    @property
    def around_bragg(self) -> int:
        """Nodes of a voxel with a Bragg point at its centre."""
        return len(self.nodes(np.zeros((1, 3)))[1])

    @property
    def elsewhere(self) -> int:
        """Nodes of a voxel without a Bragg point."""
        return int(self.order**3)

    def __str__(self) -> str:
        sizes = " x ".join(f"{x:.4g}" for x in self.step)
        others = f", {self.elsewhere} in others" if min(self.step) < 1 else ""
        cut = f", the inner {self.leave_out:g} of the way to its faces left out"
        return (
            f"averaged over each voxel ({sizes} Miller indices), order {self.order}: "
            f"{self.around_bragg} points in a voxel with a Bragg point at its centre, none on it"
            f"{cut if self.leave_out else ''}{others}"
        )

    def nodes(self, hkl: Float64) -> tuple[Float64, Float64, NDArray[np.int64]]:
        """Nodes of voxels, voxel after voxel.

        Parameters
        ----------
        hkl : ndarray, shape (N, 3)
            Centres of the voxels.

        Returns
        -------
        hkl : ndarray, shape (P, 3)
        weight : ndarray, shape (P,)
            Sums to 1 in each voxel.
        voxel : ndarray, shape (P,), int64
            The voxel of each node.
        """
        extent = np.asarray(self.step)
        # A voxel's nodes depend only on the positions of Bragg points in it.
        base = np.rint(hkl)
        place = np.rint((hkl - base) / EDGE_TOLERANCE) * EDGE_TOLERANCE
        special = _holds_bragg(place, extent)
        plain = np.flatnonzero(~special)
        nodes, weights = _product(-0.5 * extent, 0.5 * extent, self.order)
        parts = [_repeated(plain, hkl[plain], nodes, weights / extent.prod())]
        patterns, which = np.unique(place[special], axis=0, return_inverse=True)
        members = np.flatnonzero(special)
        for i, centre in enumerate(patterns):
            own = members[which.reshape(-1) == i]
            nodes, weights = _around_bragg(centre, extent, self.order, self.leave_out)
            parts.append(_repeated(own, base[own], nodes, weights))
        points, weight, voxel = (np.concatenate(p) for p in zip(*parts, strict=True))
        back = np.argsort(voxel, kind="stable")
        return points[back], weight[back], voxel[back]


@dataclass(frozen=True)
class MixedQuadrature:
    """Averages over voxels of one size, with an order for each voxel.

    Parameters
    ----------
    step : tuple of three float
        Extent of a voxel along h, k and l in Miller indices.
    leave_out : float
        See `Quadrature`.
    """

    step: tuple[float, float, float]
    leave_out: float = 0.0

    def nodes(
        self, hkl: Float64, order: NDArray[np.int64]
    ) -> tuple[Float64, Float64, NDArray[np.int64]]:
        """Nodes of voxels, in groups of one order.

        Parameters
        ----------
        hkl : ndarray, shape (N, 3)
            Centres of the voxels.
        order : ndarray, shape (N,), int64
            1 for the centre alone; otherwise as in `Quadrature`.

        Returns
        -------
        hkl : ndarray, shape (P, 3)
        weight : ndarray, shape (P,)
            Sums to 1 in each voxel.
        voxel : ndarray, shape (P,), int64
            The voxel of each node.
        """
        parts = []
        for n in np.unique(order).tolist():
            own = np.flatnonzero(order == n)
            if n == 1:
                parts.append((hkl[own], np.ones(len(own)), own))
                continue
            points, weight, voxel = Quadrature(self.step, n, self.leave_out).nodes(hkl[own])
            parts.append((points, weight, own[voxel]))
        points, weight, voxel = (np.concatenate(p) for p in zip(*parts, strict=True))
        return points, weight, voxel

    def n_nodes(self, hkl: Float64, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of nodes of each voxel, shape (N,)."""
        found = np.asarray(order, dtype=np.int64) ** 3
        held = np.flatnonzero(holds_bragg(hkl, self.step) & (order > 1))
        if len(held):
            _, _, voxel = self.nodes(hkl[held], order[held])
            found[held] = np.bincount(voxel, minlength=len(held))
        return found


def holds_bragg(hkl: Float64, step: Sequence[float]) -> NDArray[np.bool_]:
    """Which voxels have a Bragg point in them or on their edge, shape (N,).

    Parameters
    ----------
    hkl : ndarray, shape (N, 3)
        Centres of the voxels.
    step : three float
        Extent of a voxel along h, k and l.
    """
    return _holds_bragg(hkl - np.rint(hkl), np.asarray(step, dtype=np.float64))


def is_coarse(grid: HklGrid | None) -> bool:
    """Whether voxels extend over half a Miller index or more along an axis; a list has none."""
    return grid is not None and max(grid.step) >= COARSE_STEP


def choose_quadrature(
    grid: HklGrid | None, average: int | None = None, leave_out: float = 0.0
) -> Quadrature | None:
    """How a model is evaluated at the voxels of data, from the option `average`.

    Parameters
    ----------
    grid : HklGrid, optional
        Grid of the data; None for a list of q-vectors, which has no voxels.
    average : int, optional
        Order of the average over each voxel, 2 or more; 0 evaluates the model at the centres.
        By default order 2 for voxels of half an index or more along an axis or with `leave_out`,
        else the centres.
    leave_out : float
        See `Quadrature`.

    Returns
    -------
    Quadrature or None
        None to evaluate at the centres.

    Raises
    ------
    InputError
        If a list is to be averaged, `leave_out` is given without an average, or a number is out
        of its range.
    """
    if average is None:
        average = USUAL_ORDER if is_coarse(grid) or (leave_out and grid is not None) else 0
    if average:
        if grid is None:
            raise InputError(
                "the data are a list of q-vectors; there are no voxels to average over"
            )
        return Quadrature(grid.step, average, leave_out)
    if leave_out:
        raise InputError("leave_out needs voxel averages; set average to 2 or more")
    return None


def check_voxels(
    voxels: HklGrid | ArrayLike, step: Sequence[float] | None
) -> tuple[Float64, tuple[float, float, float]]:
    """Check voxels; return their centres, shape (N, 3), and extent.

    Raises
    ------
    InputError
        If hkl are not finite numbers (N, 3), or a step is given for a grid or missing for hkl.
    """
    if isinstance(voxels, HklGrid):
        if step is not None:
            raise InputError("a grid already has a step; give step only with a list of hkl")
        return voxels.hkl, voxels.step
    hkl = np.asarray(voxels, dtype=np.float64)
    if hkl.ndim != 2 or hkl.shape[1] != 3 or not np.isfinite(hkl).all():
        raise InputError(f"hkl of voxels have shape {hkl.shape}; give finite numbers (N, 3)")
    if step is None:
        raise InputError("voxels given by their hkl need their extent; give step")
    return hkl, tuple(step)  # type: ignore[return-value]


def _repeated(
    voxel: NDArray[np.int64], base: Float64, nodes: Float64, weights: Float64
) -> tuple[Float64, Float64, NDArray[np.int64]]:
    """The same nodes in each of several voxels."""
    return (
        (base[:, None] + nodes).reshape(-1, 3),
        np.tile(weights, len(voxel)),
        np.repeat(voxel, len(weights)),
    )


def _holds_bragg(centre: Float64, extent: Float64) -> NDArray[np.bool_]:
    """Which voxels have a Bragg point in them or on their edge, shape (N,)."""
    low, high = centre - 0.5 * extent, centre + 0.5 * extent
    return np.asarray(
        (np.floor(high + EDGE_TOLERANCE) >= np.ceil(low - EDGE_TOLERANCE)).all(axis=1)
    )


def _around_bragg(
    centre: Float64, extent: Float64, order: int, leave_out: float
) -> tuple[Float64, Float64]:
    """Nodes and weights of a voxel with Bragg points, divided so that each part has at most one."""
    low, high = centre - 0.5 * extent, centre + 0.5 * extent
    nodes, weights = [], []
    for sides in itertools.product(*(_cut(a, b) for a, b in zip(low, high, strict=True))):
        a, b = np.array(sides).T
        if _holds_bragg(0.5 * (a + b)[None], b - a)[0]:
            x, w = _pyramids(a, b, order, leave_out)
        else:
            x, w = _product(a, b, order)
        nodes.append(x)
        weights.append(w)
    weight = np.concatenate(weights)
    return np.concatenate(nodes), weight / weight.sum()


def _cut(low: float, high: float) -> list[tuple[float, float]]:
    """Divide an interval halfway between whole numbers if it contains more than one."""
    first, last = math.ceil(low - EDGE_TOLERANCE), math.floor(high + EDGE_TOLERANCE)
    edges = [low, *(i + 0.5 for i in range(first, last)), high]
    return list(itertools.pairwise(edges))


def _gauss(low: float, high: float, n: int) -> tuple[Float64, Float64]:
    """Gauss-Legendre nodes of an interval; the weights sum to its length."""
    x, w = np.polynomial.legendre.leggauss(n)
    half = 0.5 * (high - low)
    return low + half * (x + 1), half * w


def _product(low: Float64, high: Float64, order: int) -> tuple[Float64, Float64]:
    """Gauss-Legendre nodes along the axes of a box; the weights sum to its volume."""
    lines = [_gauss(a, b, order) for a, b in zip(low, high, strict=True)]
    nodes = np.stack(np.meshgrid(*(x for x, _ in lines), indexing="ij"), axis=-1)
    weights = np.einsum("i,j,k->ijk", *(w for _, w in lines))
    return nodes.reshape(-1, 3), weights.reshape(-1)


def _pyramids(low: Float64, high: Float64, order: int, leave_out: float) -> tuple[Float64, Float64]:
    """Nodes of a box in the pyramids between its Bragg point and its faces.

    The weights sum to the volume of the part that is not excluded.
    """
    apex = np.clip(np.ceil(low - EDGE_TOLERANCE), low, high)
    along, share = _gauss(leave_out, 1.0, max(2, order - 1))
    nodes, weights = [], []
    for axis, side in itertools.product(range(3), (low, high)):
        height = abs(side[axis] - apex[axis])
        if height <= EDGE_TOLERANCE:
            continue
        u, v = (axis + 1) % 3, (axis + 2) % 3
        (x, w_x), (y, w_y) = _gauss(low[u], high[u], order), _gauss(low[v], high[v], order)
        base = np.empty((order, order, 3))
        base[..., axis], base[..., u], base[..., v] = side[axis], x[:, None], y
        nodes.append((apex + along[:, None, None, None] * (base - apex)).reshape(-1, 3))
        # The cross section of a pyramid at r is r^2 times its base.
        weights.append(np.einsum("r,i,j->rij", height * along**2 * share, w_x, w_y).reshape(-1))
    return np.concatenate(nodes), np.concatenate(weights)
