"""Slow reference calculation: an explicit supercell, its full stiffness matrix, a direct sum.

In NumPy, atom by atom and cell by cell; it shares no dynamics, contacts or sums with the fast
implementation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from onephonon.core.errors import InputError, NetworkError
from onephonon.crystal.crystal import Crystal

from .alternatives import Alternatives

Array = NDArray[np.float64]
Index = NDArray[np.int64]

#: Spring constants (k_par, k_perp) of contacts, from the two atoms of the unit cell, the cell of
#: the second relative to the first, and whether they belong to one copy.
SpringRule = Callable[[Index, Index, Index, NDArray[np.bool_]], tuple[Array, Array]]

#: Largest order of the full stiffness matrix; beyond it takes minutes and gigabytes.
MAX_ORDER = 9000

#: Tolerance of the cutoff (Å), the same as in the model.
ROUNDING = 1e-7

#: Relative size below which an eigenvalue of the stiffness matrix is a zero.
ZERO = 1e-10


@dataclass(frozen=True)
class Supercell:
    """All atoms of a periodic box of cells, and the covariance of their displacements.

    Parameters
    ----------
    size : tuple of three int
        Cells along each axis.
    positions : ndarray, shape (n, 3)
        Positions of all atoms of the box, Cartesian.
    atom : ndarray, shape (n,)
        Index in the unit cell of each atom.
    body : ndarray, shape (n,)
        The body of each atom.
    basis : ndarray, shape (n, 3, w)
        Displacement of each atom by its body's rigid motions, orthonormal over the body's
        atoms, alternatives by their shares; w is 3 if every body is one atom, or the alternatives
        of one, else 6.
    covariance : ndarray, shape (w n_bodies, w n_bodies)
        Pseudo-inverse of the stiffness matrix, Å^2 at s = 1.
    shares : ndarray, shape (n_cell_atoms,)
        Share of each atom of the unit cell among its alternative conformers.
    crystal : Crystal
    """

    size: tuple[int, int, int]
    positions: Array
    atom: Index
    body: Index
    basis: Array
    covariance: Array
    shares: Array
    crystal: Crystal

    @property
    def n_cells(self) -> int:
        """Number of cells in the box."""
        return self.size[0] * self.size[1] * self.size[2]

    @property
    def U(self) -> Array:
        """Mean-square displacements of the first cell's atoms at s = 1, shape (n_cell_atoms, 3, 3).

        The mean displacement of all atoms of the box is constrained to zero; alternatives of an
        atom count by their shares.
        """
        n = len(self.atom) // self.n_cells
        w = self.basis.shape[2]
        blocks = self.covariance.reshape(len(self.covariance) // w, w, -1, w)
        own = blocks[self.body[:n], :, self.body[:n], :]
        return self.basis[:n] @ own @ self.basis[:n].transpose(0, 2, 1)

    @property
    def file_U(self) -> Array:
        """The file's mean-square displacements, rotated with each copy, (n_cell_atoms, 3, 3)."""
        matrix = self.crystal.cell.matrix.numpy(force=True)
        U = self.crystal.U.numpy(force=True)
        copies = []
        for rotation in self.crystal.rotations.numpy(force=True):
            cartesian_rotation = matrix @ rotation @ np.linalg.inv(matrix)
            copies.append(cartesian_rotation @ U @ cartesian_rotation.T)
        return np.concatenate(copies)

    def intensity(self, q: Array, U: Array) -> Array:
        """One-phonon intensity per cell at s = 1.

        Parameters
        ----------
        q : ndarray, shape (n_q, 3)
            1/Å, 2*pi included; hkl * size must be whole numbers.
        U : ndarray, shape (n_cell_atoms, 3, 3)
            Mean-square displacements in the Debye-Waller factors, Å^2.

        Returns
        -------
        ndarray, shape (n_q,), e^2 per cell

        Raises
        ------
        InputError
            If a q is not a wavevector of the box.
        """
        self.check_waves(q)
        f = self.form_factors(q)
        result = np.empty(len(q))
        w = self.basis.shape[2]
        n_bodies = len(self.covariance) // w
        for i, vector in enumerate(q):
            debye_waller = np.exp(-0.5 * np.einsum("x,jxy,y->j", vector, U, vector))
            strength = (f[i] * debye_waller)[self.atom]
            wave = strength * np.exp(1j * self.positions @ vector)
            along = np.einsum("jxa,x->ja", self.basis, vector)
            g = np.zeros((n_bodies, w), dtype=complex)
            np.add.at(g, self.body, wave[:, None] * along)
            flat = g.reshape(-1)
            result[i] = (flat.conj() @ (self.covariance @ flat)).real / self.n_cells
        return result

    def check_waves(self, q: Array) -> None:
        """Raise an `InputError` if a q, shape (n_q, 3), is not a wavevector of the box."""
        matrix = self.crystal.cell.matrix.numpy(force=True)
        waves = q @ matrix / (2 * np.pi) * np.array(self.size)
        if len(q) and np.abs(waves - np.round(waves)).max() > 1e-6:
            raise InputError(
                f"a supercell of {self.size} cells has only waves with whole hkl * size; "
                "give such q"
            )

    def form_factors(self, q: Array) -> Array:
        """Occupancy times form factor of the unit cell's atoms, shape (n_q, n_cell_atoms)."""
        crystal = self.crystal
        table = crystal.form_factors
        a, b, c = (t.numpy(force=True) for t in (table.a, table.b, table.c))
        s_squared = (q**2).sum(1)[:, None, None] / (4 * np.pi) ** 2
        f = (a * np.exp(-b * s_squared)).sum(-1) + c
        f = f[:, table.kind.numpy(force=True)] * crystal.occupancies.numpy(force=True)
        return np.tile(f, (1, crystal.n_ops))


def build_supercell(
    crystal: Crystal,
    body_of_atom: Sequence[int],
    cutoff: float,
    springs: SpringRule,
    size: tuple[int, int, int],
) -> Supercell:
    """Create a Born-von Karman box and pseudo-invert its stiffness matrix.

    Parameters
    ----------
    crystal : Crystal
    body_of_atom : sequence of int, length n_atoms
        Index of the body of each atom of the asymmetric unit.
    cutoff : float
        Longest contact, Å.
    springs : callable
        See `SpringRule`.
    size : tuple of three int
        Cells along each axis.

    Raises
    ------
    InputError
        If the box is too large to invert.
    NetworkError
        If the box has free motions other than its three translations.
    """
    numbers = np.unique(np.asarray(body_of_atom), return_inverse=True)[1]
    n_bodies = (int(numbers.max()) + 1) * crystal.n_ops * int(np.prod(size))
    known = Alternatives.of(crystal)
    points = known.hold_one_site(numbers)
    width = 3 if all(points) else 6
    if width * n_bodies > MAX_ORDER:
        raise InputError(
            f"a supercell of {size} cells has a stiffness matrix of order {width * n_bodies}, more "
            f"than {MAX_ORDER}; take fewer cells or larger bodies"
        )
    matrix = crystal.cell.matrix.numpy(force=True)
    one_cell = _cell_atoms(crystal)
    cells = np.array(list(itertools.product(*(range(n) for n in size))))
    positions = (one_cell + (cells @ matrix.T)[:, None, :]).reshape(-1, 3)
    n_cell_atoms = len(one_cell)
    atom = np.tile(np.arange(n_cell_atoms), len(cells))
    copy = np.arange(len(positions)) // crystal.n_atoms  # of the asymmetric unit, in the box
    body = copy * (int(numbers.max()) + 1) + numbers[atom % crystal.n_atoms]
    share = known.shares()[atom % crystal.n_atoms]
    basis = _rigid_motions(positions, share, body, np.tile(points, n_bodies // len(points)), width)

    i, j, wrap = _pairs(positions, matrix * np.array(size), cutoff + ROUNDING)
    cell_of = cells[np.arange(len(positions)) // n_cell_atoms]
    d = cell_of[j] + wrap * np.array(size) - cell_of[i]
    same_copy = (atom[i] // crystal.n_atoms == atom[j] // crystal.n_atoms) & (d == 0).all(1)
    weight = known.weights(atom[i] % crystal.n_atoms, atom[j] % crystal.n_atoms, same_copy)
    k_par, k_perp = springs(atom[i], atom[j], d, same_copy)
    k_par, k_perp = k_par * weight, k_perp * weight
    r = positions[j] + wrap @ (matrix * np.array(size)).T - positions[i]
    length = np.linalg.norm(r, axis=1, keepdims=True)
    n = np.where(length > 1e-3, r / np.maximum(length, 1e-3), 0.0)
    K = _stiffness(basis, body, n_bodies, (i, j), n, k_par, k_perp)
    moves = np.zeros((n_bodies, width), dtype=bool)
    np.logical_or.at(moves, body, basis.any(axis=1))
    covariance = _pseudo_inverse(K, free=3 + int((~moves).sum()))
    shares = share[:n_cell_atoms]
    return Supercell(size, positions, atom, body, basis, covariance, shares, crystal)


def _cell_atoms(crystal: Crystal) -> Array:
    """Cartesian positions of all atoms of one cell, copy after copy."""
    frac = crystal.positions_frac.numpy(force=True)
    matrix = crystal.cell.matrix.numpy(force=True)
    copies = [
        frac @ rotation.T + translation
        for rotation, translation in zip(
            crystal.rotations.numpy(force=True),
            crystal.translations.numpy(force=True),
            strict=True,
        )
    ]
    return np.concatenate(copies) @ matrix.T


def _rigid_motions(
    positions: Array, share: Array, body: Index, points: NDArray[np.bool_], width: int
) -> Array:
    """Orthonormal rigid displacements of each body's atoms, (n, 3, width), zeros for none."""
    basis = np.zeros((len(positions), 3, width))
    order = np.argsort(body, kind="stable")
    ends = np.cumsum(np.bincount(body, minlength=len(points)))[:-1]
    for members, point in zip(np.split(order, ends), points, strict=True):
        rho = positions[members] - positions[members].mean(0)
        motions = np.zeros((len(members), 3, 6))
        for axis in range(3):
            unit = np.eye(3)[axis]
            motions[:, :, axis] = unit
            motions[:, :, 3 + axis] = 0.0 if point else np.cross(unit, rho)
        flat = motions[:, :, :width].reshape(-1, width)
        weight = np.sqrt(np.repeat(share[members], 3))[:, None]
        _, size, right = np.linalg.svd(weight * flat, full_matrices=False)
        # Rotations that move no atom are left out.
        inverse = np.where(size > 1e-6 * size[0], 1 / np.maximum(size, 1e-6 * size[0]), 0.0)
        found = flat @ (right.T * inverse)
        basis[members, :, : found.shape[1]] = found.reshape(len(members), 3, -1)
    return basis


def _pairs(positions: Array, box: Array, cutoff: float) -> tuple[Index, Index, Index]:
    """All directed pairs within the cutoff: atom i, atom j, and the image of the box with j."""
    low, high = positions.min(0) - cutoff, positions.max(0) + cutoff
    # Images of the box that may be in contact: more than needed, then limited by bounding box.
    extent = np.linalg.norm(high - low)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(box), axis=1)
    images = [range(-m, m + 1) for m in np.ceil(extent / heights).astype(int).tolist()]
    found_atoms, found_images = [], []
    for image in itertools.product(*images):
        moved = positions + box @ np.array(image)
        inside = np.flatnonzero(((moved >= low) & (moved <= high)).all(1))
        found_atoms.append(inside)
        found_images.append(np.tile(image, (len(inside), 1)))
    atoms, shifts = np.concatenate(found_atoms), np.concatenate(found_images)
    cloud = positions[atoms] + shifts @ box.T
    neighbours = cKDTree(cloud).query_ball_point(positions, cutoff)
    i = np.repeat(np.arange(len(positions)), [len(x) for x in neighbours])
    near = np.concatenate([np.asarray(x, dtype=np.int64) for x in neighbours])
    j, wrap = atoms[near], shifts[near]
    itself = (i == j) & (wrap == 0).all(1)
    return i[~itself], j[~itself], wrap[~itself]


def _stiffness(
    basis: Array,
    body: Index,
    n_bodies: int,
    pair: tuple[Index, Index],
    n: Array,
    k_par: Array,
    k_perp: Array,
) -> Array:
    """Full stiffness matrix of the box; each directed contact has half the energy."""
    width = basis.shape[2]
    K = np.zeros((n_bodies, n_bodies, width, width))
    for part in np.array_split(np.arange(len(n)), max(1, len(n) // 100_000)):
        i, j = pair[0][part], pair[1][part]
        outer = n[part][:, :, None] * n[part][:, None, :]
        phi = k_perp[part][:, None, None] * np.eye(3)
        phi = phi + (k_par - k_perp)[part][:, None, None] * outer
        for x, y, sign in ((i, i, 0.5), (j, j, 0.5), (i, j, -0.5), (j, i, -0.5)):
            block = sign * basis[x].transpose(0, 2, 1) @ phi @ basis[y]
            np.add.at(K, (body[x], body[y]), block)
    return K.transpose(0, 2, 1, 3).reshape(width * n_bodies, width * n_bodies)


def _pseudo_inverse(K: Array, free: int) -> Array:
    values, vectors = np.linalg.eigh(K)
    zero = values < ZERO * values[-1]
    if int(zero.sum()) != free:
        raise NetworkError(
            f"the supercell's stiffness matrix has {int(zero.sum())} free motions instead of "
            f"{free}; raise gnm_cutoff until all bodies are connected"
        )
    kept = vectors[:, ~zero]
    return np.asarray((kept / values[~zero]) @ kept.T)
