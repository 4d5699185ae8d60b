"""The scattering density of bodies on a regular mesh, so that its transforms are fast.

Every atom is a sum of Gaussians: its scattering factor, convoluted with its displacements and with
an additional blur that suppresses the alias images of the mesh and is divided out of the transform.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.units import EIGHT_PI_SQUARED, TWO_PI
from onephonon.network.bodies import Bodies

#: A Debye-Waller factor is ``exp(-|q|^2 B / BLUR_UNIT)``.
BLUR_UNIT = 16.0 * math.pi**2

#: Largest alias image relative to an amplitude, in units of rtol (``dI = 2 |G| dG``, with margin).
ALIAS_SHARE = 0.1

#: Height at which Gaussians may be truncated, times the sharpening factor, in units of rtol.
#: Truncation errors reach far in q: at ten times this value, derivatives along q next to Bragg
#: points were wrong by 2.6 rtol.
CUT_SHARE = 0.001

#: Largest exponent of the sharpening factor, which also multiplies rounding errors.
AMPLIFICATION = {torch.float64: 6.0, torch.float32: 3.0}

#: Smallest rtol that rounding allows.
MIN_RTOL = {torch.float64: 1e-12, torch.float32: 1e-6}

#: |q| at which scattering factors are tested for an increase with |q|, 1/Å.
RISING_Q = torch.linspace(0.0, 6.0, 25, dtype=torch.float64)

#: Minimum |q| of a domain, 1/Å: meshes coarser than 10 Å gain nothing.
MIN_Q = 0.3

#: Smallest extent of a domain along a mesh axis, relative to its largest |q|.
MIN_REACH = 0.4

#: Oversampling factors tried, in units of the Nyquist rate.
OVERSAMPLING = tuple(1.1 + 0.05 * i for i in range(59))


@dataclass(frozen=True)
class Domain:
    """Region of q in which a transform must be accurate.

    Parameters
    ----------
    corners : Tensor, shape (n, 3)
        Corners of a parallelepiped that contains the region, 1/Å.
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
    """Mesh on which densities are sampled, and the blur of the densities.

    Mesh points are ``steps @ m`` for integers m: all bodies use the same mesh.

    Parameters
    ----------
    steps : Tensor, shape (3, 3)
        Columns are the steps along the mesh's axes, Å. Densities are differentiable in it.
    blur : float
        B-factor added to every atom, Å^2.
    reach : float
        Radius at which Gaussians are truncated, in standard deviations.
    """

    steps: Tensor
    blur: float
    reach: float

    def sharpen(self, q_squared: Tensor) -> Tensor:
        """Factor that removes the blur from a transform at ``|q|^2``."""
        return torch.exp((self.blur / BLUR_UNIT) * q_squared)


@dataclass(frozen=True)
class Box:
    """Part of a mesh that contains a body: points ``start`` to ``start + shape - 1``."""

    start: tuple[int, int, int]
    shape: tuple[int, int, int]

    @property
    def size(self) -> int:
        """Number of mesh points."""
        return math.prod(self.shape)


def choose_mesh(
    directions: Tensor, domain: Domain, rtol: float, min_B: float, extent: float
) -> Mesh:
    """Coarsest mesh and least blur that keep a transform within a tolerance.

    The transform of the mesh at q also contains images from ``q + g`` for every g of the mesh's
    reciprocal lattice. With a blur of B, an image is smaller than the transform itself by
    ``exp(-B (|q + g|^2 - |q|^2)/16 pi^2)`` or more, since scattering factors decrease with |q|.
    Finer meshes need less blur and so smaller boxes; the one with the fewest points is chosen.

    Parameters
    ----------
    directions : Tensor, shape (3, 3)
        Columns point along the mesh's axes.
    domain : Domain
    rtol : float
        Requested relative accuracy of intensities.
    min_B : float
        Smallest B-factor of the atoms, Å^2: blur that is already present.
    extent : float
        Size of the body, Å, to estimate the number of mesh points.

    Raises
    ------
    InputError
        If no mesh reaches the tolerance in this dtype.
    """
    dtype = directions.dtype
    if rtol < MIN_RTOL[dtype]:
        raise InputError(
            f"rtol={rtol:g} is too small for {dtype}, whose rounding errors are amplified; give "
            f"{MIN_RTOL[dtype]:g} or more, or compute in float64"
        )
    domain = replace(domain, q_max=max(domain.q_max, MIN_Q))
    unit = (directions / torch.linalg.vector_norm(directions, dim=0)).detach()
    # Reciprocal axes of unit steps: alias vectors of a mesh are their multiples.
    reciprocal = TWO_PI * torch.linalg.inv(unit)
    heights = torch.linalg.vector_norm(reciprocal, dim=1)
    # A plane or line of q has no extent along some axis, but Gaussians must still be resolved.
    min_reach = MIN_REACH * domain.q_max
    reaches = [max(min_reach, domain.reach(reciprocal[i] / heights[i])) for i in range(3)]
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
        blur = max(0.0, wanted * BLUR_UNIT / gap - min_B)
        cost = blur * domain.q_max**2 / BLUR_UNIT
        if cost > AMPLIFICATION[dtype]:
            continue
        reach = math.sqrt(2 * max(4.0, cost - math.log(CUT_SHARE * rtol)))
        steps = unit / per_axis
        width = math.sqrt((blur + min_B) / EIGHT_PI_SQUARED)
        spacing = torch.linalg.vector_norm(steps, dim=0)
        points = float(((extent + 2 * reach * width) / spacing).prod())
        if best is None or points < best[0]:
            best = points, Mesh(steps, blur, reach)
    if best is None:
        raise InputError(f"rtol={rtol:g} is not possible in {dtype}; use float64 or the direct sum")
    return best[1]


def mesh_tolerance(rtol: float, bodies: Bodies) -> float:
    """Tolerance for which to choose a mesh, for these atoms.

    Images are smaller than the transform because scattering factors decrease with |q|. If they
    increase (displaced solvent) or have both signs (neutrons), G may nearly cancel where images
    do not: errors of up to 3 rtol were observed, so a tenth of rtol is requested.
    """
    with torch.no_grad():
        f = bodies.crystal.form_factors.evaluate(RISING_Q.to(bodies.positions) ** 2)
    rising = bool((f.amax(0) > 1.001 * f[0]).any()) or float(f[0].min() * f[0].max()) < 0
    return max(0.1 * rtol, MIN_RTOL[bodies.positions.dtype]) if rising else rtol


def smallest_B(U: Tensor) -> float:
    """Smallest B-factor along any direction of any atom, Å^2."""
    symmetric = 0.5 * (U + U.mT).detach()
    return max(0.0, EIGHT_PI_SQUARED * float(torch.linalg.eigvalsh(symmetric).min()))


def mean_extent(bodies: Bodies) -> float:
    """Mean size of a body, Å."""
    furthest = torch.zeros(bodies.n_bodies, dtype=bodies.offsets.dtype).to(bodies.offsets)
    away = bodies.offsets.detach().abs().max(1).values
    furthest = furthest.scatter_reduce(0, bodies.body, away, "amax")
    return 2.0 * float(furthest.mean())
