"""The scattering density of bodies on a regular mesh, so that its transforms are fast.

Every atom is a sum of Gaussians: its scattering factor, spread by its displacements, and by a
known extra blur that keeps the mesh's alias images out and is divided out of the transform.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from .bodies import Bodies
from .errors import GradientError, InputError
from .units import EIGHT_PI_SQUARED, TWO_PI

#: ``B / BLUR_UNIT`` multiplies |q|^2 in a Debye-Waller factor.
BLUR_UNIT = 16.0 * math.pi**2

#: Largest alias image beside an amplitude, in rtol: ``dI = 2 |G| dG``, and some for the rest.
ALIAS_SHARE = 0.1

#: Height, times the blur divided out, at which Gaussians may be cut, in rtol. The steps of a cut
#: scatter mostly elsewhere: errors found are 0.003 to 0.03 of this height.
CUT_SHARE = 0.5

#: Largest power of e that dividing the blur out may cost: it multiplies rounding, too.
AMPLIFICATION = {torch.float64: 6.0, torch.float32: 3.0}

#: Smallest rtol that rounding leaves room for.
FINEST = {torch.float64: 1e-12, torch.float32: 1e-6}

#: Where scattering factors are looked at for whether they rise, 1/Å.
RISING_Q = torch.linspace(0.0, 6.0, 25, dtype=torch.float64)

#: A domain is taken to reach this far at least, 1/Å: meshes coarser than 10 Å gain nothing.
LEAST_Q = 0.3

#: Gaussians whose radii differ by less than this factor share a stencil.
LEVEL = 1.05

#: Gaussians (atoms x mesh points) formed at a time: 8 MB an array.
GAUSSIANS_AT_A_TIME = 1_000_000

#: Smallest extent of a domain along a mesh axis, in its largest |q|.
LEAST_REACH = 0.4

#: Oversampling factors tried, in units of the Nyquist rate.
OVERSAMPLING = tuple(1.1 + 0.05 * i for i in range(59))


@dataclass(frozen=True)
class Domain:
    """The q for which a density must serve.

    Parameters
    ----------
    corners : Tensor, shape (n, 3)
        q of the corners of a parallelepiped around them, 1/Å.
    q_max : float
        Largest |q|, 1/Å.
    """

    corners: Tensor
    q_max: float

    def reach(self, direction: Tensor) -> float:
        """Largest component along a unit vector, of either sign."""
        return min(self.q_max, float((self.corners @ direction).abs().max()))


@dataclass(frozen=True)
class Mesh:
    """Where densities are sampled, and how they are blurred.

    Mesh points are ``steps @ m`` for integers m, so one mesh serves all bodies.

    Parameters
    ----------
    steps : Tensor, shape (3, 3)
        Columns are the steps along the mesh's axes, Å. A density is differentiable in it.
    blur : float
        B-factor added to every atom, Å^2.
    reach : float
        Where Gaussians are cut, in standard deviations.
    """

    steps: Tensor
    blur: float
    reach: float

    def sharpen(self, q_squared: Tensor) -> Tensor:
        """What takes the blur out of a transform at ``|q|^2``."""
        return torch.exp((self.blur / BLUR_UNIT) * q_squared)


@dataclass(frozen=True)
class Box:
    """The part of a mesh that a body fills: points ``start`` to ``start + shape - 1``."""

    start: tuple[int, int, int]
    shape: tuple[int, int, int]

    @property
    def size(self) -> int:
        """Number of mesh points."""
        return math.prod(self.shape)


def choose_mesh(
    directions: Tensor, domain: Domain, rtol: float, least_B: float, extent: float
) -> Mesh:
    """Coarsest mesh and least blur that keep a transform within a tolerance.

    A mesh sees, beside the density's transform at q, its images at ``q + g`` for every g of the
    mesh's reciprocal lattice. Blurred by B, an image is smaller than the transform itself by
    ``exp(-B (|q + g|^2 - |q|^2)/16 pi^2)`` or more, since scattering factors fall with |q|.
    Finer meshes need less blur and so smaller boxes; the one with the fewest points wins.

    Parameters
    ----------
    directions : Tensor, shape (3, 3)
        Columns point along the mesh's axes.
    domain : Domain
    rtol : float
        Wanted relative accuracy of intensities.
    least_B : float
        Smallest B-factor of the atoms, Å^2: blur that is there already.
    extent : float
        Size of the body, Å, for the number of mesh points.

    Raises
    ------
    InputError
        If no mesh reaches the tolerance in this dtype.
    """
    dtype = directions.dtype
    if rtol < FINEST[dtype]:
        raise InputError(
            f"rtol={rtol:g} is beyond {dtype}, whose rounding is multiplied by sharpening; give "
            f"{FINEST[dtype]:g} or more, or compute in float64"
        )
    domain = replace(domain, q_max=max(domain.q_max, LEAST_Q))
    unit = (directions / torch.linalg.vector_norm(directions, dim=0)).detach()
    # Reciprocal axes of unit steps: alias vectors of a mesh are their multiples.
    reciprocal = TWO_PI * torch.linalg.inv(unit)
    heights = torch.linalg.vector_norm(reciprocal, dim=1)
    # A plane or a line of q has no extent along some axis; Gaussians must be resolved all the same.
    least = LEAST_REACH * domain.q_max
    reaches = [max(least, domain.reach(reciprocal[i] / heights[i])) for i in range(3)]
    signs = torch.tensor([m for m in product((-1, 0, 1), repeat=3) if any(m)]).to(unit)
    wanted = -math.log(ALIAS_SHARE * rtol)
    best: tuple[float, Mesh] | None = None
    for sigma in OVERSAMPLING:
        # Alias distance along each axis: 2 sigma times the largest q along it.
        per_axis = torch.tensor([2 * sigma * r for r in reaches]).to(unit) / heights
        aliases = (signs * per_axis) @ reciprocal
        length = torch.linalg.vector_norm(aliases, dim=1)
        gap = min(
            float(d) * (float(d) - 2 * domain.reach(a / d))
            for a, d in zip(aliases, length, strict=True)
        )
        if gap <= 0:
            continue
        blur = max(0.0, wanted * BLUR_UNIT / gap - least_B)
        cost = blur * domain.q_max**2 / BLUR_UNIT
        if cost > AMPLIFICATION[dtype]:
            continue
        reach = math.sqrt(2 * max(4.0, cost - math.log(CUT_SHARE * rtol)))
        steps = unit / per_axis
        width = math.sqrt((blur + least_B) / EIGHT_PI_SQUARED)
        spacing = torch.linalg.vector_norm(steps, dim=0)
        points = float(((extent + 2 * reach * width) / spacing).prod())
        if best is None or points < best[0]:
            best = points, Mesh(steps, blur, reach)
    if best is None:
        raise InputError(f"rtol={rtol:g} is out of reach of {dtype}; use float64 or the direct sum")
    return best[1]


def wary(rtol: float, bodies: Bodies) -> float:
    """Tolerance of a mesh for these atoms.

    Images are smaller than the transform because scattering factors fall with |q|. Those that
    rise, for the solvent that is displaced, or of both signs, for neutrons, let G nearly cancel
    where images do not: errors found were up to 3 rtol, so a tenth of it is aimed at.
    """
    with torch.no_grad():
        f = bodies.crystal.form_factors.evaluate(RISING_Q.to(bodies.positions) ** 2)
    rising = bool((f.amax(0) > 1.001 * f[0]).any()) or float(f[0].min() * f[0].max()) < 0
    return max(0.1 * rtol, FINEST[bodies.positions.dtype]) if rising else rtol


def least_B(U: Tensor) -> float:
    """Smallest B-factor along any direction of any atom, Å^2."""
    symmetric = 0.5 * (U + U.mT).detach()
    return max(0.0, EIGHT_PI_SQUARED * float(torch.linalg.eigvalsh(symmetric).min()))


def extent(bodies: Bodies) -> float:
    """Mean size of a body, Å."""
    furthest = torch.zeros(bodies.n_bodies, dtype=bodies.offsets.dtype).to(bodies.offsets)
    away = bodies.offsets.detach().abs().max(1).values
    furthest = furthest.scatter_reduce(0, bodies.body, away, "amax")
    return 2.0 * float(furthest.mean())


def deposit(bodies: Bodies, body: int, mesh: Mesh, U: Tensor) -> tuple[Tensor, Box]:
    """Blurred scattering density of one body, and its first moments about the body's centroid.

    Its transform, sharpened, is ``sum_j w_j occ_j f_j(|q|) exp(-q^T U_j q / 2) exp(i q.r_j)``
    with ``w_j = 1, x_j, y_j, z_j``: what the body's amplitudes G are made of.

    Parameters
    ----------
    bodies : Bodies
    body : int
        Of the cell.
    mesh : Mesh
    U : Tensor, shape (n_cell_atoms, 3, 3)
        Mean-square displacements in the Debye-Waller factors, Å^2.

    Returns
    -------
    density : Tensor, shape (n_weights, n_1, n_2, n_3)
        Times the volume of a mesh step. One weight for single atoms, four otherwise. First
        derivatives in the crystal's coordinates, cell and occupancies, U and the mesh's steps.
    box : Box
        Where on the mesh.
    """
    atoms = bodies.table[body]
    atoms = atoms[atoms < bodies.n_cell_atoms]
    r = bodies.positions[atoms]
    weight = torch.ones_like(r[:, :1])
    if bodies.width > 3:
        weight = torch.cat([weight, bodies.offsets[atoms]], dim=1)
    asu = bodies.asu_atom[atoms]
    factors = bodies.crystal.form_factors
    kind = factors.kind[asu]
    a = torch.cat([factors.a, factors.c[:, None]], dim=1)[kind]
    b = torch.cat([factors.b, torch.zeros_like(factors.c)[:, None]], dim=1)[kind]
    strength = a * bodies.crystal.occupancies[asu][:, None]
    spread = 0.5 * (U + U.mT)[atoms]
    widest = _radii(spread.detach(), b.detach(), mesh).max(1).values
    box = _box_around(r.detach(), widest, mesh)
    density: Tensor = _Deposit.apply(r, spread, strength, b, weight, mesh.steps, mesh, box)
    return density, box


def _radii(spread: Tensor, b: Tensor, mesh: Mesh) -> Tensor:
    """Where each Gaussian of each atom is cut, Å, shape (n, n_gauss)."""
    largest = torch.linalg.eigvalsh(spread)[:, 2:]
    return mesh.reach * torch.sqrt(largest + (b + mesh.blur) / EIGHT_PI_SQUARED)


def _box_around(r: Tensor, radius: Tensor, mesh: Mesh) -> Box:
    """Mesh points within each atom's radius, along every axis."""
    inverse = torch.linalg.inv(mesh.steps.detach())
    centre = r @ inverse.T
    margin = LEVEL * radius[:, None] + _half_diagonal(mesh)
    margin = margin * torch.linalg.vector_norm(inverse, dim=1)
    first = torch.floor((centre - margin).min(0).values).long() - 1
    last = torch.ceil((centre + margin).max(0).values).long() + 1
    start, shape = first.tolist(), (last - first + 1).tolist()
    return Box((start[0], start[1], start[2]), (shape[0], shape[1], shape[2]))


def _half_diagonal(mesh: Mesh) -> float:
    """Farthest that an atom is from the nearest mesh point, Å."""
    return 0.5 * float(torch.linalg.vector_norm(mesh.steps.detach().abs().sum(1)))


def _stencil(radius: float, mesh: Mesh) -> tuple[Tensor, tuple[int, int, int]]:
    """Mesh points around one that may lie within a radius of a point in its voxel.

    Returns
    -------
    points : Tensor, shape (n, 3)
        They fill a parallelepiped, the last index fastest.
    half : tuple of three int
        How far it goes on either side.
    """
    radius = radius + _half_diagonal(mesh)
    inverse = torch.linalg.inv(mesh.steps.detach())
    half = torch.floor(radius * torch.linalg.vector_norm(inverse, dim=1)).long().tolist()
    ranges = [torch.arange(-m, m + 1, device=inverse.device) for m in half]
    return torch.cartesian_prod(*ranges), (half[0], half[1], half[2])


@dataclass(frozen=True)
class _Batch:
    """Atoms whose Gaussians fit one stencil."""

    atoms: Tensor
    gaussians: Tensor
    stencil: Tensor
    half: tuple[int, int, int]


def _batches(spread: Tensor, b: Tensor, mesh: Mesh) -> Iterator[_Batch]:
    """Gather (atom, Gaussian) pairs of about the same radius."""
    radii = _radii(spread, b, mesh)
    level = torch.ceil(torch.log(radii) / math.log(LEVEL)).long()
    for value in torch.unique(level).tolist():
        stencil, half = _stencil(LEVEL**value, mesh)
        atoms, gaussians = (level == value).nonzero().unbind(1)
        step = max(1, GAUSSIANS_AT_A_TIME // len(stencil))
        for some, which in zip(atoms.split(step), gaussians.split(step), strict=True):
            yield _Batch(some, which, stencil, half)


@dataclass(frozen=True)
class _Gaussians:
    """Gaussians of a batch, each normalized to a mesh step's volume, on their stencils.

    ``d = away + o`` leads from a centre to the mesh point o steps from the nearest one.
    """

    value: Tensor  # (n, n_points)
    nearest: Tensor  # (n, 3), mesh points
    away: Tensor  # (n, 3), Å, from the centre to the nearest mesh point
    precision: Tensor  # (n, 3, 3), inverse covariances
    monomials: Tensor  # (10, n_points): 1, o and the products of its components

    @classmethod
    def of(
        cls, r: Tensor, spread: Tensor, b: Tensor, steps: Tensor, mesh: Mesh, batch: _Batch
    ) -> _Gaussians:
        centre, atoms = r[batch.atoms], batch.atoms
        nearest = torch.round(centre @ torch.linalg.inv(steps).T)
        eye = torch.eye(3, dtype=r.dtype, device=r.device)
        width = (b[atoms, batch.gaussians] + mesh.blur) / EIGHT_PI_SQUARED
        covariance = spread[atoms] + width[:, None, None] * eye
        precision = torch.linalg.inv(covariance)
        away = nearest @ steps.T - centre
        x, y, z = (batch.stencil.to(r) @ steps.T).T
        monomials = torch.stack(
            [torch.ones_like(x), x, y, z, x * x, y * y, z * z, y * z, x * z, x * y]
        )
        # -d^T P d / 2 and the logarithm of the height, for all points: one matrix product.
        pull = (precision @ away[:, :, None]).squeeze(2)
        log_height = torch.log(torch.linalg.det(steps).abs()) - 0.5 * torch.log(
            TWO_PI**3 * torch.linalg.det(covariance)
        )
        constant = log_height - 0.5 * (pull * away).sum(1)
        squares = -0.5 * precision[:, (0, 1, 2), (0, 1, 2)]
        products = -precision[:, (1, 0, 0), (2, 2, 1)]
        coefficients = torch.cat([constant[:, None], -pull, squares, products], dim=1)
        value = (coefficients @ monomials).exp_()
        return cls(value, nearest.long(), away, precision, monomials)

    def moments(self, along: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sums of ``along * value`` times 1, d and d d^T: (n,), (n, 3) and (n, 3, 3)."""
        found = (along * self.value) @ self.monomials.T
        zeroth, about, a = found[:, 0], found[:, 1:4], self.away
        xx, yy, zz, yz, xz, xy = found[:, 4:].unbind(1)
        second = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], dim=1).reshape(-1, 3, 3)
        cross = about[:, :, None] * a[:, None]
        second = second + cross + cross.mT + (zeroth[:, None] * a)[:, :, None] * a[:, None]
        return zeroth, about + zeroth[:, None] * a, second


def _windows(nearest: Tensor, batch: _Batch, box: Box) -> list[tuple[slice, ...]]:
    """The part of a box that each Gaussian's stencil covers."""
    half, start = batch.half, box.start
    return [
        tuple(slice(m - h - s, m + h - s + 1) for m, h, s in zip(point, half, start, strict=True))
        for point in nearest.tolist()
    ]


class _Deposit(torch.autograd.Function):
    """Sum of Gaussians on a box, whose backward pass forms them anew."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        r, spread, strength, b, weight, steps, mesh, box = inputs
        ctx.save_for_backward(r, spread, strength, b, weight, steps)
        ctx.mesh, ctx.box = mesh, box
        density = r.new_zeros(weight.shape[1], *box.shape)
        for batch in _batches(spread, b, mesh):
            made = _Gaussians.of(r, spread, b, steps, mesh, batch)
            shape = [2 * h + 1 for h in batch.half]
            height = weight[batch.atoms] * strength[batch.atoms, batch.gaussians][:, None]
            windows = _windows(made.nearest, batch, box)
            for window, v, w in zip(windows, made.value, height, strict=True):
                density[:, *window] += w[:, None, None, None] * v.reshape(shape)
        return density

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """By the moments of the gradient under each Gaussian.

        Of ``L = sum_p along_p s g(d_p)``, s the strength and g a normalized Gaussian of covariance
        C and inverse P, with ``S0, S1, S2`` the sums over p of ``along g`` times 1, d and d d^T:

            dL/ds = S0,   dL/dr = s P S1,   dL/dC = s (P S2 P - S0 P) / 2

        and by the mesh's steps, ``d = steps m - r`` and the volume of a step,
        ``(s S0 - s P (S2 + S1 r^T)) steps^-T``.
        """
        if torch.is_grad_enabled():
            raise GradientError(
                "transforms on a mesh have first derivatives only; use engine='direct' for more"
            )
        r, spread, strength, b, weight, steps = ctx.saved_tensors
        total = [torch.zeros_like(x) for x in (r, spread, strength, b, weight, steps)]
        g_r, g_spread, g_strength, g_b, g_weight, g_steps = total
        unit = torch.eye(3, dtype=r.dtype, device=r.device)
        for batch in _batches(spread, b, ctx.mesh):
            made = _Gaussians.of(r, spread, b, steps, ctx.mesh, batch)
            atoms, which, P = batch.atoms, batch.gaussians, made.precision
            windows = _windows(made.nearest, batch, ctx.box)
            cut = torch.stack([grad[:, *window].flatten(1) for window in windows])
            along = (weight[atoms][:, None] @ cut).squeeze(1)
            S0, S1, S2 = made.moments(along)
            s = strength[atoms, which]
            by_r = s[:, None] * (P @ S1[:, :, None]).squeeze(2)
            by_C = 0.5 * s[:, None, None] * (P @ S2 @ P - S0[:, None, None] * P)
            by_weight = s[:, None] * (cut @ made.value[:, :, None]).squeeze(2)
            moved = P @ S2 + (P @ S1[:, :, None]) * r[atoms][:, None]
            g_r.index_add_(0, atoms, by_r)
            g_spread.index_add_(0, atoms, by_C)
            g_strength.index_put_((atoms, which), S0, accumulate=True)
            g_b.index_put_((atoms, which), _trace(by_C) / EIGHT_PI_SQUARED, accumulate=True)
            g_weight.index_add_(0, atoms, by_weight)
            g_steps += (s[:, None, None] * (S0[:, None, None] * unit - moved)).sum(0)
        g_steps = g_steps @ torch.linalg.inv(steps).T
        total[-1] = g_steps
        needed = zip(total, ctx.needs_input_grad, strict=False)
        return (*(g if need else None for g, need in needed), None, None)


def _trace(matrix: Tensor) -> Tensor:
    return torch.diagonal(matrix, dim1=-2, dim2=-1).sum(-1)
