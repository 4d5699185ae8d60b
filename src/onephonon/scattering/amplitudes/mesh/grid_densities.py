"""Densities of all bodies on one mesh along the cell's axes, for a grid of hkl."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.crystal.cell import UnitCell
from onephonon.crystal.grid import HklGrid
from onephonon.network.bodies import Bodies

from ..monomials import amplitude_degree, check_moments
from .density import Box, Domain, Mesh, choose_mesh, mean_extent, mesh_tolerance, smallest_B
from .deposit import deposit_body


@dataclass(frozen=True)
class GridDensities:
    """Densities of the bodies on one mesh along the cell's axes.

    Parameters
    ----------
    mesh : Mesh
    fractions : tuple of three float
        Steps of the mesh in fractional coordinates.
    density : tuple of Tensor
        Density of each body, shape (n_monomials(degree), n_1, n_2, n_3).
    boxes : tuple of Box
    degree : int
        Largest degree of the moments.
    length : float
        Unit of the offsets in the moments, Å.
    """

    mesh: Mesh
    fractions: tuple[float, float, float]
    density: tuple[Tensor, ...]
    boxes: tuple[Box, ...]
    degree: int
    length: float


def grid_densities(
    bodies: Bodies,
    grid: HklGrid,
    U: Tensor,
    rtol: float,
    q_max: float = math.inf,
    degree: int | None = None,
    length: float = 1.0,
) -> GridDensities:
    """Sample the density of every body on a mesh that is accurate enough for a grid of hkl.

    Parameters
    ----------
    bodies : Bodies
    grid : HklGrid
    U : Tensor, shape (n_cell_atoms, 3, 3)
        Mean-square displacements in the Debye-Waller factors, Å^2.
    rtol : float
        Requested accuracy of intensities, relative to the rms of the map.
    q_max : float
        Largest |q| needed, 1/Å.
    degree : int, optional
        Largest degree of the moments; if not given, that of amplitudes.
    length : float
        Unit of the offsets in the moments, Å.

    Raises
    ------
    InputError
        If the degree or the length cannot be, or amplitudes need a higher degree.
    """
    degree = amplitude_degree(bodies) if degree is None else degree
    check_moments(degree, length)
    if degree < amplitude_degree(bodies):
        raise InputError(
            f"degree={degree}: amplitudes of bodies with librations need moments of degree 1"
        )
    cell = bodies.crystal.cell
    mesh = mesh_for_grid(bodies, grid, U, rtol, q_max)
    lengths = torch.linalg.vector_norm(cell.matrix.detach(), dim=0)
    fractions = torch.linalg.vector_norm(mesh.steps, dim=0) / lengths
    # Fixed in fractional coordinates, so that phases do not depend on the cell.
    mesh = Mesh(cell.matrix * fractions, mesh.blur, mesh.reach)
    density, boxes = zip(
        *(deposit_body(bodies, body, mesh, U, degree, length) for body in range(bodies.n_bodies)),
        strict=True,
    )
    f = fractions.tolist()
    return GridDensities(mesh, (f[0], f[1], f[2]), density, boxes, degree, length)


def mesh_for_grid(bodies: Bodies, grid: HklGrid, U: Tensor, rtol: float, q_max: float) -> Mesh:
    """The mesh that `grid_densities` uses."""
    matrix = bodies.crystal.cell.matrix.detach()
    ends = [torch.from_numpy(axis[[0, -1]]) for axis in grid.axes]
    corners = UnitCell(matrix).q_from_hkl(torch.cartesian_prod(*ends).to(matrix))
    q_max = min(q_max, float(torch.linalg.vector_norm(corners, dim=1).max()))
    domain = Domain(corners, q_max)
    return choose_mesh(
        matrix, domain, mesh_tolerance(rtol, bodies), smallest_B(U), mean_extent(bodies)
    )
