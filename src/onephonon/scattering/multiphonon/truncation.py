"""How far the series of librations goes for each pair of bodies, and which pairs are left out.

Translations are summed to all orders. What a pair lacks if powers of rho beyond a degree M are left
out is estimated from the norms of its covariance and the atoms' distances r from the centroid:
``e^t sum_(m > M) y^m / m!`` with ``t = q^2 |C_tt|`` and ``y = q^2 (|C_lt| r + |C_ll| r^2)``,
averaged over r, against ``exp(x) - 1`` of single atoms. The amplitudes of the atoms have random
phases, which are the same in both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.tensors import constant_values, values_of_all
from onephonon.network.bodies import Bodies

from .pairs import BodyPairs

#: Largest degree of the series: 1771 moments of each body.
MAX_DEGREE = 20

#: Distances of atoms by which the average is computed.
N_RADII = 24

#: As many atoms of a body are enough for it.
MAX_ATOMS = 1_000_000

#: Share of the squared distance of an atom that is across q, on average over directions of q.
ACROSS = 2.0 / 3.0

#: Terms of a series that are this much smaller than the sum are neglected.
ROUNDING = 1e-17

#: Pairs per batch.
PAIRS_AT_A_TIME = 50_000

#: Steps of the search for a limit of each pair's error, each half of the one before.
HALVINGS = 60


@dataclass(frozen=True)
class Truncation:
    """Degree of the series of each pair.

    Parameters
    ----------
    degrees : Tensor, shape (n_pairs,), int64
        Highest power of rho; -1 where the pair is left out.
    error : float
        Estimated error of the sum, relative to the intensity of all orders; infinite where the
        motions are so large that it overflows.
    """

    degrees: Tensor
    error: float

    @property
    def degree(self) -> int:
        """Largest degree of a pair."""
        return max(0, int(self.degrees.max())) if len(self.degrees) else 0

    @property
    def n_left_out(self) -> int:
        """Number of pairs left out."""
        return int((self.degrees < 0).sum())


@torch.no_grad()
def truncate(pairs: BodyPairs, q_max: float, rtol: float, order: int | None = None) -> Truncation:
    """Choose the degree of each pair's series so that all errors together are within a tolerance.

    Parameters
    ----------
    pairs : BodyPairs
    q_max : float
        Largest |q|, 1/Å.
    rtol : float
        Accepted error, relative to the intensity of all orders.
    order : int, optional
        The highest order that is summed; all by default.
    """
    errors = _errors(pairs, q_max, order)
    total = _own_intensity(pairs, q_max, order)
    weight = _weights(pairs)
    allowed = rtol * total
    limit = allowed
    for _ in range(HALVINGS):
        degree = (errors > limit).sum(1)
        last = degree.clamp(max=errors.shape[1] - 1)
        lost = float((weight * errors.gather(1, last[:, None]).squeeze(1)).sum())
        if lost <= allowed or bool((degree > last).all()):
            break
        limit *= 0.5
    return Truncation((last - 1).to(pairs.index.device), _relative(lost, total))


@torch.no_grad()
def truncation_error(
    pairs: BodyPairs, degrees: Tensor, q_max: float, order: int | None = None
) -> float:
    """Estimated error of the sum with given degrees, relative to the intensity of all orders.

    Parameters
    ----------
    pairs, q_max, order
        As for `truncate`.
    degrees : Tensor, shape (n_pairs,), int64
        Highest power of rho of each pair; -1 where it is left out.
    """
    errors = _errors(pairs, q_max, order)
    last = (degrees.cpu() + 1).clamp(max=errors.shape[1] - 1)
    lost = _weights(pairs) * errors.gather(1, last[:, None]).squeeze(1)
    return _relative(float(lost.sum()), _own_intensity(pairs, q_max, order))


def _relative(lost: float, total: float) -> float:
    """Error relative to the intensity; infinite where either is not known."""
    if not (math.isfinite(lost) and math.isfinite(total)):
        return math.inf
    return lost / total if total else (math.inf if lost else 0.0)


def _weights(pairs: BodyPairs) -> Tensor:
    """Weight of each pair's error in the sum.

    Of atoms with random phases, those of a pair add up to the square root of their number.
    """
    a, b, _ = pairs.index.cpu().unbind(1)
    n_atoms = _atoms_of(pairs.bodies)
    return torch.from_numpy(constant_values(pairs.weight)) * (n_atoms[a] * n_atoms[b]).sqrt()


def _errors(pairs: BodyPairs, q_max: float, order: int | None) -> Tensor:
    """Error of each pair if it is left out, or its series ends at degree 0, 1, ...; (n, m)."""
    t, coupling, libration = _norms(pairs, q_max)
    top = 0 if pairs.blocks.shape[1] == 3 else min(MAX_DEGREE, order or MAX_DEGREE)
    radii = _radii(pairs.bodies)
    found = []
    for part in torch.arange(len(t)).split(PAIRS_AT_A_TIME):
        of_a, of_b = (radii[x] for x in pairs.index.cpu()[part, :2].unbind(1))
        y = coupling[part, None] * 0.5 * (of_a + of_b) + libration[part, None] * of_a * of_b
        lost = _exponential(t[part, None] + y, 2, order)
        # Orders n - m of the translations accompany the power m of the librations.
        rest, term, columns = _exponential(t[part, None] + y, 0, order), torch.ones_like(y), [lost]
        for m in range(top + 1):
            left = None if order is None else order - m
            rest = rest - term * _exponential(t[part, None], 0, left)
            # The first order is not part of the sum: it is computed without a series.
            columns.append((rest - y if m == 0 else rest).clamp(min=0.0))
            term = term * y / (m + 1)
        if order is not None and top == order:
            columns[-1] = torch.zeros_like(y)  # nothing is left out
        each = torch.stack([c.mean(1) for c in columns], dim=1)
        # Where exponentials overflow the differences of infinities are not numbers.
        found.append(each.nan_to_num(nan=math.inf, posinf=math.inf))
    return torch.cat(found) if found else torch.zeros(0, top + 2, dtype=torch.float64)


def _own_intensity(pairs: BodyPairs, q_max: float, order: int | None) -> float:
    """``exp(x) - 1`` of single atoms, summed over all of them."""
    t, _, libration = (x[pairs.own.cpu()] for x in _norms(pairs, q_max, mean=True))
    body = pairs.index.cpu()[pairs.own.cpu(), 0]
    r = _radii(pairs.bodies)[body]
    x = t[:, None] + libration[:, None] * r * r
    return float((_atoms_of(pairs.bodies)[body] * _exponential(x, 1, order).mean(1)).sum())


def _norms(pairs: BodyPairs, q_max: float, mean: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Norms of each pair's covariances times q^2: of t with t, of t with l and of l with l.

    Inside `torch.vmap` one choice serves all members: errors are the largest of them, and the
    intensity (`mean`) the smallest.
    """
    C = torch.from_numpy(values_of_all(pairs.blocks)) * q_max**2

    def norm(block: Tensor) -> Tensor:
        if mean:
            return (block.diagonal(dim1=-2, dim2=-1).sum(-1) / 3.0).amin(0)
        # Between the mean over directions and the largest value.
        return (torch.linalg.matrix_norm(block) / math.sqrt(3.0)).amax(0)

    t = norm(C[..., :3, :3])
    if C.shape[-1] == 3:
        return t, torch.zeros_like(t), torch.zeros_like(t)
    coupling = torch.maximum(norm(C[..., :3, 3:]).abs(), norm(C[..., 3:, :3]).abs())
    return t, coupling, norm(C[..., 3:, 3:])


def _atoms_of(bodies: Bodies) -> Tensor:
    """Number of atoms of each body."""
    return torch.bincount(bodies.body.cpu(), minlength=bodies.n_bodies).double()


def _radii(bodies: Bodies) -> Tensor:
    """Typical distances of each body's atoms from its centroid, across q, (n_bodies, n_radii)."""
    if bodies.width == 3:
        return torch.zeros(bodies.n_bodies, 1, dtype=torch.float64)
    at = (torch.arange(N_RADII, dtype=torch.float64) + 0.5) / N_RADII
    if bodies.density is not None:
        return math.sqrt(ACROSS) * _density_radii(bodies, at)
    r = torch.linalg.vector_norm(torch.from_numpy(constant_values(bodies.offsets)), dim=1)
    of_copy = [
        torch.quantile(r[atoms[atoms < bodies.n_cell_atoms]][:MAX_ATOMS], at)
        for atoms in bodies.table[: bodies.n_bodies // bodies.n_ops].cpu()
    ]
    return math.sqrt(ACROSS) * torch.stack(of_copy).repeat(bodies.n_ops, 1)


def _density_radii(bodies: Bodies, at: Tensor) -> Tensor:
    """Distances from the centroid within which these shares of a body's density are."""
    assert bodies.density is not None
    matrix = bodies.crystal.cell.matrix.double().cpu()
    density, found = bodies.density.to(lambda x: x.double().cpu()), []
    for body, centre in enumerate(bodies.centroids.double().cpu()):
        r, size = density.distances(body, centre, matrix)
        order = r.argsort()
        share = size[order].cumsum(0) / size.sum()
        found.append(r[order][torch.searchsorted(share, at).clamp(max=len(r) - 1)])
    return torch.stack(found)


def _exponential(x: Tensor, first: int, last: int | None) -> Tensor:
    """``sum x^n / n!`` from n = first to last (to infinity if None)."""
    if last is None and first < 2:
        return torch.exp(x) if first == 0 else torch.expm1(x)
    term, total = torch.ones_like(x), torch.zeros_like(x)
    n = 0
    while last is None or n <= last:
        if n >= first:
            total = total + term
            largest = float(term.max())
            if largest <= ROUNDING * float(total.max()) or not math.isfinite(largest):
                break
        n += 1
        term = term * x / n
    return total
