"""Elastic constants of the crystal, from the stiffness against homogeneous deformation.

Deformed by ``u(r) = e r``, a crystal whose bodies are in equilibrium has the energy per volume
``1/2 e_xa e_yb S_xa,yb``. The elastic tensor is its part for strains, ``e = e^T``. A real crystal
may be rotated without any energy, and so may one whose springs act along contacts (k_perp = 0);
springs across contacts resist rotation as well. Then waves are faster than the elastic tensor
tells, since a shear wave is half strain and half rotation: speeds of sound are from S itself.

Springs are at rest in the crystal, so that there is no stress. Motion is classical.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.units import thermal_speed

from .lattice_model import HasLattice, LatticeModel, lattice_of
from .long_waves import deformation_stiffness
from .solvers.choice import make_solver

#: Pairs of axes in Voigt's order: xx, yy, zz, yz, xz, xy.
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))

#: Directions of the half circle in `Elasticity.continuum`: the integrand is smooth.
N_CIRCLE = 36


@dataclass(frozen=True, eq=False)
class Elasticity:
    """Elastic properties of a crystal.

    Parameters
    ----------
    deformation : Tensor, shape (3, 3, 3, 3), kT/Å^3
        S[x, a, y, b], for displacements along x and y and positions along a and b, Cartesian (a
        along x, b in the xy plane).
    density : Tensor, 0-d, Da/Å^3
        Of the model's atoms.
    """

    deformation: Tensor
    density: Tensor

    @property
    def tensor(self) -> Tensor:
        """Elastic tensor ``C_xayb``, kT/Å^3, (3, 3, 3, 3), symmetric in each pair."""
        S = self.deformation
        S = 0.5 * (S + S.transpose(0, 1))
        return 0.5 * (S + S.transpose(2, 3))

    @property
    def voigt(self) -> Tensor:
        """Elastic constants C11 to C66 in kT/Å^3, shape (6, 6): xx, yy, zz, yz, xz, xy.

        Energy per volume of strains with engineering shears, ``1/2 e^T C e``.
        """
        C, (i, j) = self.tensor, zip(*VOIGT, strict=True)
        rows, columns = torch.tensor(i), torch.tensor(j)
        return C[rows, columns][:, rows, columns]

    @property
    def compliance(self) -> Tensor:
        """Inverse of `voigt`, Å^3/kT, shape (6, 6)."""
        return torch.linalg.inv(self.voigt)

    @property
    def rotation(self) -> Tensor:
        """Stiffness against a rotation of the whole crystal, kT/Å^3, (3, 3), for an axis in rad.

        Zero in nature, and for springs along contacts.
        """
        cross = _levi_civita(self.deformation)
        # u = w x r: e_xa = eps_xwa w.
        return torch.einsum("xwa,yvb,xayb->wv", cross, cross, self.deformation)

    @property
    def rotation_share(self) -> Tensor:
        """Energy of the rotation in a simple shear, relative to that of its strain, 0-d.

        A simple shear is strain and rotation, each by half its angle. For the axis of the largest
        stiffness against rotation, and the mean shear modulus: 0 in nature, about 1 for springs
        that are as stiff across contacts as along them.
        """
        return torch.linalg.eigvalsh(self.rotation)[-1] / (4.0 * self.shear_modulus[0])

    @property
    def bulk_modulus(self) -> tuple[Tensor, Tensor]:
        """Voigt's and Reuss's averages of the bulk modulus, kT/Å^3: bounds for a polycrystal."""
        return self.voigt[:3, :3].mean(), 1.0 / self.compliance[:3, :3].sum()

    @property
    def shear_modulus(self) -> tuple[Tensor, Tensor]:
        """Voigt's and Reuss's averages of the shear modulus, kT/Å^3."""
        C, s = self.voigt, self.compliance
        trace, both, shears = (f(C) for f in (_stretches, _pairs, _shears))
        of_voigt = (trace - both + 3.0 * shears) / 15.0
        trace, both, shears = (f(s) for f in (_stretches, _pairs, _shears))
        return of_voigt, 15.0 / (4.0 * trace - 4.0 * both + 3.0 * shears)

    @property
    def youngs_modulus(self) -> Tensor:
        """Young's modulus of a polycrystal, from the means of the bounds (Hill), kT/Å^3."""
        K, G = (0.5 * (a + b) for a, b in (self.bulk_modulus, self.shear_modulus))
        return 9.0 * K * G / (3.0 * K + G)

    def young(self, directions: Tensor) -> Tensor:
        """Young's modulus along directions (n, 3) of unit length, kT/Å^3, shape (n,)."""
        n = directions
        pairs = torch.stack([n[:, i] * n[:, j] for i, j in VOIGT], dim=1)
        # Compliances are of engineering shears: n_y n_z counts twice in a symmetric tensor, and
        # each shear strain is twice the component, so products appear as they are.
        return 1.0 / torch.einsum("ni,ij,nj->n", pairs, self.compliance, pairs)

    def christoffel(self, directions: Tensor) -> Tensor:
        """Christoffel tensors ``S_xayb n_a n_b / density`` of unit vectors (n, 3), kT/Da."""
        n = directions.to(self.deformation)
        return torch.einsum("na,nb,xayb->nxy", n, n, self.deformation) / self.density

    def speeds(self, directions: Tensor, temperature: float) -> Tensor:
        """Speeds of sound along unit vectors (n, 3) in m/s, shape (n, 3), the slowest first."""
        squared = torch.linalg.eigvalsh(self.christoffel(directions))
        return squared.clamp(min=0.0).sqrt() * thermal_speed(temperature)

    def continuum(self, vectors: Tensor) -> Tensor:
        """Joint displacements ``<u(0) u(r)^T>`` of an elastic continuum, Å^2.

        Green's function of static elasticity, of degree -1 in the distance, times kT: the limit of
        the crystal's covariance for long vectors.

        Parameters
        ----------
        vectors : Tensor, shape (n, 3), Å
            Not zero.

        Returns
        -------
        Tensor, shape (n, 3, 3)
            Differentiable in the springs and the vectors.

        References
        ----------
        Synge, The Hypercircle in Mathematical Physics (1957); Barnett, Phys. Status Solidi B 49,
        741 (1972).
        """
        r = torch.linalg.vector_norm(vectors, dim=1)
        n = vectors / r[:, None]
        axis = torch.eye(3, dtype=n.dtype, device=n.device)[n.detach().abs().argmin(1)]
        first = torch.linalg.cross(n, axis)
        first = first / torch.linalg.vector_norm(first, dim=1, keepdim=True)
        second = torch.linalg.cross(n, first)
        total = torch.zeros_like(first[:, :, None] * first[:, None, :])
        for i in range(N_CIRCLE):
            angle = math.pi * i / N_CIRCLE
            m = math.cos(angle) * first + math.sin(angle) * second
            total = total + torch.linalg.inv(self.density * self.christoffel(m))
        return total / (4.0 * math.pi * N_CIRCLE * r[:, None, None])


def elasticity(model: LatticeModel | HasLattice) -> Elasticity:
    """Elastic properties of a model, by the method of long waves.

    Parameters
    ----------
    model : LatticeModel, or OnePhonon

    Returns
    -------
    Elasticity
        With the thermal scale; differentiable in springs, scale, positions and cell.

    References
    ----------
    Born & Huang, Dynamical Theory of Crystal Lattices (1954), chapter 5.
    """
    lattice = lattice_of(model)
    bodies, matrix = lattice.bodies, lattice.crystal.cell.matrix
    volume = torch.linalg.det(matrix).abs()
    D = deformation_stiffness(make_solver(bodies, lattice.force_constants))
    # e R with R = A d: D is of the components of d, so that lattice vectors are taken back by A.
    S = torch.einsum("ia,jb,axby->xiyj", matrix, matrix, D)
    return Elasticity(S / (volume * lattice.thermal_scale), bodies.masses.sum() / volume)


def symmetry_error(model: LatticeModel | HasLattice, found: Elasticity) -> float:
    """Largest deviation of the elastic tensor from the symmetry of the crystal, relative.

    Rounding, or what rounded cell parameters lack of the symmetry.
    """
    crystal = lattice_of(model).crystal
    matrix = crystal.cell.matrix.detach()
    C = found.tensor.detach()
    turned = matrix @ crystal.rotations @ torch.linalg.inv(matrix)
    every = torch.einsum("oxi,oaj,oyk,obl,ijkl->oxayb", turned, turned, turned, turned, C)
    return float((every - C).abs().max() / C.abs().max())


def half_sphere(n: int) -> Tensor:
    """About n evenly spaced directions with z >= 0, a spiral from the pole, shape (n, 3)."""
    if n < 1:
        raise InputError(f"{n} directions; give at least one")
    z = 1.0 - (torch.arange(n, dtype=torch.float64) + 0.5) / n
    angle = math.pi * (3.0 - math.sqrt(5.0)) * torch.arange(n, dtype=torch.float64)
    r = (1.0 - z * z).sqrt()
    return torch.stack([r * torch.cos(angle), r * torch.sin(angle), z], dim=1)


def speed_range(found: Elasticity, temperature: float, directions: Tensor) -> Sequence[float]:
    """Slowest and fastest speed of sound over directions (n, 3), m/s."""
    speeds = found.speeds(directions, temperature)
    return float(speeds[:, 0].min()), float(speeds[:, 2].max())


def _levi_civita(like: Tensor) -> Tensor:
    """``eps_xwa``: the displacement along x of a rotation about w at a position along a."""
    eps = like.new_zeros(3, 3, 3)
    for x, w, a in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        eps[x, w, a], eps[a, w, x] = 1.0, -1.0
    return eps


def _stretches(C: Tensor) -> Tensor:
    return C[0, 0] + C[1, 1] + C[2, 2]


def _pairs(C: Tensor) -> Tensor:
    return C[0, 1] + C[0, 2] + C[1, 2]


def _shears(C: Tensor) -> Tensor:
    return C[3, 3] + C[4, 4] + C[5, 5]
