"""`HigherOrders`: the orders of a lattice's scattering beyond the first, at any q."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.core.tensors import constant_values, inside_functorch, values_of_all
from onephonon.core.units import TWO_PI
from onephonon.network.bodies import Bodies

from ..amplitudes.base import AmplitudeEngine
from ..amplitudes.monomials import n_monomials
from ..points import QPoints
from .lanes import LANES
from .pair_sums import pair_sums
from .pairs import BodyPairs
from .truncation import Truncation, truncate

#: Numbers per batch of q at a list of points: moments of all bodies.
NUMBERS_AT_A_TIME = 4_000_000

#: An estimated error that exceeds rtol by this factor, and this size, is warned of.
ERROR_FACTOR, LARGE_ERROR = 10.0, 1e-3

#: Above this estimated error the sum is refused: compared with double sums over atoms, the true
#: error is then 3 to 50 % of the intensity, and soon far more than all of it.
TOO_LARGE = 1.0

#: Smallest batch: engines set up each batch.
MIN_BATCH = 512


class SeriesWarning(UserWarning):
    """Bodies librate so far that the series of a sum of orders is not accurate to `rtol`."""


class SeriesError(InputError):
    """Bodies move too far for the series of a sum of orders."""


@dataclass(frozen=True, eq=False)
class HigherOrders:
    """The orders of a lattice's scattering beyond the first.

    Parameters
    ----------
    pairs : BodyPairs
    order : int, optional
        The highest order; all if None.
    truncation : Truncation
        How far the series of librations goes for each pair.
    length : float
        Unit of the moments, Å.
    """

    pairs: BodyPairs
    order: int | None
    truncation: Truncation
    length: float

    @classmethod
    def prepare(
        cls, pairs: BodyPairs, order: int | None, q_max: float, rtol: float
    ) -> HigherOrders:
        """Choose how far each pair's series goes.

        Parameters
        ----------
        pairs : BodyPairs
        order : int, optional
            Sum the orders 2 to this one, or all.
        q_max : float
            Largest |q|, 1/Å.
        rtol : float
            Accepted error, relative to the intensity of all orders.

        Raises
        ------
        SeriesError
            If more than all of the intensity would be left out. From a smaller error on that
            exceeds `rtol`, a `SeriesWarning`.
        """
        chosen = truncate(pairs, q_max, rtol, order)
        if not chosen.error <= TOO_LARGE:
            atom, rms = largest_motion(pairs)
            raise SeriesError(
                f"orders={order or 'all'}: atoms move too far for the sum of orders at d = "
                f"{TWO_PI / q_max:.2g} Å, {atom} by {rms:.2g} Å (root mean square): what the "
                "series of librations leaves out may be more than the whole intensity; take "
                "stiffer springs, a smaller thermal scale (or B-factors), or only lower resolution"
            )
        warn_of_error(chosen, q_max, rtol)
        return cls(pairs, order, chosen, mean_radius(pairs.bodies))

    @property
    def degree(self) -> int:
        """Largest degree of the moments that are needed."""
        return self.truncation.degree

    def with_pairs(self, pairs: BodyPairs) -> HigherOrders:
        """The same series with other covariances of the same pairs."""
        return replace(self, pairs=pairs)

    def memory_bytes(self) -> int:
        """Approximate number of bytes of the pairs and of the sums over them."""
        pairs, threads = self.pairs, torch.get_num_threads()
        held = (pairs.blocks, pairs.index, pairs.weight, self.truncation.degrees)
        n_plane = (self.degree + 1) * (self.degree + 2) // 2
        sums = n_plane * (n_plane + 2 * pairs.bodies.n_bodies) + 2 * len(pairs.cells)
        return 2 * sum(x.numel() * x.element_size() for x in held) + 8 * LANES * threads * sums

    def at(self, q: Tensor, hkl: Tensor, moments: Tensor) -> Tensor:
        """Intensity of these orders at a list of q from moments; see `pair_sums`."""
        degrees = self.truncation.degrees
        return pair_sums(self.pairs, q, hkl, moments, self.length, degrees, self.order)

    def at_points(
        self,
        engine: AmplitudeEngine,
        points: QPoints,
        U: Tensor,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Intensity of these orders at points.

        Parameters
        ----------
        engine : AmplitudeEngine
            Computes the moments.
        points : QPoints
        U : Tensor, shape (n_cell_atoms, 3, 3)
            For the Debye-Waller factors, Å^2.
        batch_size : int, optional
            Maximum number of q per batch.
        progress : callable, optional

        Returns
        -------
        Tensor, shape (n_q,), e^2 per cell
            Zero where not valid. Differentiable like `pair_sums` and the engine's moments; the
            backward pass recomputes each batch.
        """
        where = points.valid.nonzero().squeeze(1)
        bodies, values, done = self.pairs.bodies, [], 0

        def share(part: Tensor) -> Tensor:
            q = points.q[part]
            moments = engine.moments(bodies, q, U, self.degree, self.length, batch_size)
            return self.at(q, points.hkl[part], moments)

        for part in where.split(batch_size or self.batch(engine)):
            if torch.is_grad_enabled() and not inside_functorch():
                values.append(checkpoint(share, part, use_reentrant=False))
            else:
                values.append(share(part))
            done += len(part)
            if progress:
                progress("higher orders", done, len(where))
        result = torch.zeros_like(points.q[:, 0])
        return result.index_put((where,), torch.cat(values)) if values else result

    def batch(self, engine: AmplitudeEngine) -> int:
        """Number of q per batch."""
        per_q = n_monomials(self.degree) * self.pairs.bodies.n_bodies
        return max(MIN_BATCH, _numbers_at_a_time(engine) // per_q)


def at_points_bytes(engine: AmplitudeEngine) -> int:
    """About how many bytes `at_points` needs, without the pairs: three copies of the moments."""
    return 3 * 16 * _numbers_at_a_time(engine)


def _numbers_at_a_time(engine: AmplitudeEngine) -> int:
    """Moments per batch of q; the mesh sets up densities for each, so more at once."""
    return NUMBERS_AT_A_TIME * (8 if engine.has_grid else 1)


def warn_of_error(chosen: Truncation, q_max: float, rtol: float) -> None:
    """Give a `SeriesWarning` if the estimated error of a sum far exceeds `rtol`."""
    if chosen.error <= max(ERROR_FACTOR * rtol, LARGE_ERROR):
        return
    error = f"{chosen.error:.1g}" if chosen.error <= TOO_LARGE else "more than all"
    warnings.warn(
        f"bodies move so far that the series of their librations, to degree {chosen.degree}, does "
        f"not give the sum of orders at d = {TWO_PI / q_max:.2g} Å: its estimated error is {error} "
        "of the intensity; compute lower resolution only, or take stiffer springs, smaller "
        "B-factors or smaller bodies",
        SeriesWarning,
        stacklevel=3,
    )


def largest_motion(pairs: BodyPairs) -> tuple[str, float]:
    """Atom with the largest motion, and its root-mean-square displacement, Å."""
    bodies, own = pairs.bodies, pairs.own.cpu().numpy()
    C = np.nan_to_num(values_of_all(pairs.blocks)[:, own], nan=np.inf).max(0)
    A = np.broadcast_to(np.eye(3), (bodies.n_cell_atoms, 3, 3))
    if bodies.width == 6:
        offsets = constant_values(bodies.offsets)[: bodies.n_cell_atoms, None]
        A = np.concatenate([A, np.cross(np.eye(3), offsets).swapaxes(1, 2)], axis=2)
    row = np.empty(bodies.n_bodies, dtype=np.int64)
    row[pairs.index[:, 0].cpu().numpy()[own]] = np.arange(int(own.sum()))
    at = row[bodies.body[: bodies.n_cell_atoms].cpu().numpy()]
    square = np.einsum("jxa,jab,jxb->j", A, C[at], A)
    atom = int(np.nan_to_num(square, nan=np.inf).argmax())
    label = bodies.crystal.labels[int(bodies.asu_atom[atom])]
    return str(label), float(np.sqrt(square[atom]))


def mean_radius(bodies: Bodies) -> float:
    """Root-mean-square distance of atoms from their centroids, Å; 1 for single atoms."""
    if bodies.width == 3:
        return 1.0
    return float(np.sqrt((constant_values(bodies.offsets) ** 2).sum(1).mean()))


def largest_q(q: Tensor, valid: Tensor) -> float:
    """Largest |q| of valid points, 1/Å; 0 if there is none."""
    chosen = torch.linalg.vector_norm(q.detach(), dim=1)[valid]
    return float(chosen.max()) if len(chosen) else 0.0
