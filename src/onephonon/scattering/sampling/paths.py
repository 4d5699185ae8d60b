"""Lines and paths through reciprocal space, for dispersion curves and cuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.crystal.brillouin_path import points_along
from onephonon.crystal.cell import UnitCell

from .base import QSample, Vector, check_count, check_vector
from .bragg import near_bragg


@dataclass(frozen=True)
class PathSample(QSample):
    """Points along straight segments; `shape` is (n_points,).

    Parameters
    ----------
    distance : Tensor, shape (N,)
        Distance along the path, 1/Å: the abscissa of a plot. Differentiable in the cell.
    corner : Tensor, shape (n_corners,), int64
        Index of each corner in the list.
    labels : tuple of str, length n_corners
        Labels in plots.
    """

    distance: Tensor
    corner: Tensor
    labels: tuple[str, ...]


def path(
    cell: UnitCell,
    corners_hkl: Tensor | Sequence[Sequence[float]],
    points_per_segment: int | Sequence[int] = 50,
    *,
    labels: Sequence[str] | None = None,
    around: Vector = (0.0, 0.0, 0.0),
    bragg_radius: float | None = None,
) -> PathSample:
    """Sample straight lines from corner to corner; two corners make a line.

    Each segment includes its first corner but not its last, which begins the next segment, so no
    corner appears twice; the last corner ends the list.

    Parameters
    ----------
    cell : UnitCell
        Differentiable.
    corners_hkl : array, shape (n_corners, 3)
        In fractional Miller indices; differentiable.
    points_per_segment : int or sequence of int, length n_corners - 1
        Steps along each segment.
    labels : sequence of str, length n_corners, optional
        By default the indices.
    around : array, shape (3,)
        Added to every corner, such as the indices of a Bragg peak to place the path around it.
    bragg_radius : float, optional
        Points nearer to a Bragg peak (1/Å, 2*pi included) are not valid; see `near_bragg`.

    Returns
    -------
    PathSample

    Raises
    ------
    InputError
        If there are fewer than two corners, two successive ones coincide, a segment has no step,
        or the numbers of labels, segments and corners do not match.
    """
    like = cell.matrix
    corners = torch.as_tensor(corners_hkl, dtype=like.dtype, device=like.device)
    if corners.ndim != 2 or corners.shape[1] != 3 or len(corners) < 2:
        raise InputError(
            f"corners_hkl has shape {tuple(corners.shape)}; give two or more corners of three "
            "Miller indices each"
        )
    counts = _counts(points_per_segment, len(corners) - 1)
    names = _labels(labels, corners)
    lengths = torch.linalg.vector_norm(cell.q_from_hkl(corners[1:] - corners[:-1]), dim=1)
    for i, length in enumerate(lengths.detach().tolist()):
        if not length > 0:
            raise InputError(
                f"corners {i} and {i + 1} ({names[i]} and {names[i + 1]}) do not bound a segment; "
                "remove one or correct it"
            )
    along, distance, corner = points_along(cell, corners, counts)
    hkl = along + check_vector("around", around, like)
    q = cell.q_from_hkl(hkl)
    return PathSample(
        q,
        hkl,
        ~near_bragg(cell, q, bragg_radius),
        (len(q),),
        distance,
        corner,
        names,
    )


def _counts(points_per_segment: int | Sequence[int], n_segments: int) -> list[int]:
    if not isinstance(points_per_segment, Sequence):
        return [check_count("points_per_segment", points_per_segment)] * n_segments
    if len(points_per_segment) != n_segments:
        raise InputError(
            f"points_per_segment has {len(points_per_segment)} numbers, the path has "
            f"{n_segments} segments; give one for each, or one for all"
        )
    return [check_count("points_per_segment", n) for n in points_per_segment]


def _labels(labels: Sequence[str] | None, corners: Tensor) -> tuple[str, ...]:
    if labels is None:
        return tuple(" ".join(f"{x:.4g}" for x in hkl) for hkl in corners.detach().tolist())
    if len(labels) != len(corners):
        raise InputError(f"{len(labels)} labels for {len(corners)} corners; give one for each")
    return tuple(labels)
