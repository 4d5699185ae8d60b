"""Rigid bodies: the atoms of one unit cell, grouped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.crystal.crystal import Crystal

from .residue_ranges import named_ranges

GROUPINGS = ("asu", "chain", "residue", "atom")

GroupBy = str | Sequence[int] | None

#: A body whose second-largest gyration radius is below this (Å) is a line: turning about its own
#: axis moves no atom, and it has five degrees of freedom. Coordinates have three decimals.
LINE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Bodies:
    """All atoms of one unit cell, and the displacements that their rigid bodies allow.

    Symmetry copies follow one another, each in the order of the asymmetric
    unit: atom ``op * n_atoms + atom``, body ``op * n_bodies_asu + body``.

    A body moves by a translation t and a libration l about its centroid o:
    ``u_j = t + l x (r_j - o)``. One-atom bodies have t alone.

    Parameters
    ----------
    positions : Tensor, shape (n_cell_atoms, 3)
        Cartesian, Å; copies as the operators generate them, not moved into the cell.
    U : Tensor, shape (n_cell_atoms, 3, 3)
        The file's mean-square displacements, rotated with each copy, Å^2.
    body : Tensor, shape (n_cell_atoms,), int64
    offsets : Tensor, shape (n_cell_atoms, 3)
        Positions relative to the body's centroid, Å.
    axes : Tensor, shape (n_bodies, 3, 3)
        Columns are the libration axes; zero where the body has no such axis.
    dof : Tensor, shape (n_dof,), int64
        Index of each degree of freedom in the padded layout [n_bodies * width].
    width : int
        Degrees of freedom reserved per body: 3 if all bodies are single atoms, else 6.
    table : Tensor, shape (n_bodies, max_atoms), int64
        The atoms of each body, filled up with ``n_cell_atoms``.
    n_ops : int
    names : tuple of str, length n_bodies / n_ops
        Names of the bodies of the asymmetric unit in reports.
    crystal : Crystal
    """

    positions: Tensor
    U: Tensor
    body: Tensor
    offsets: Tensor
    axes: Tensor
    dof: Tensor
    width: int
    table: Tensor
    n_ops: int
    names: tuple[str, ...]
    crystal: Crystal

    @property
    def n_cell_atoms(self) -> int:
        """Number of atoms in the unit cell."""
        return int(self.positions.shape[0])

    @property
    def n_bodies(self) -> int:
        """Number of bodies in the unit cell."""
        return int(self.axes.shape[0])

    @property
    def n_dof(self) -> int:
        """Number of degrees of freedom in the unit cell, D."""
        return int(self.dof.shape[0])

    @property
    def asu_atom(self) -> Tensor:
        """Index in the asymmetric unit of each atom of the cell, shape (n_cell_atoms,)."""
        n = self.n_cell_atoms // self.n_ops
        return torch.arange(self.n_cell_atoms, device=self.positions.device) % n

    @property
    def copy(self) -> Tensor:
        """Index of the operator that generates each atom of the cell, shape (n_cell_atoms,)."""
        n = self.n_cell_atoms // self.n_ops
        return torch.arange(self.n_cell_atoms, device=self.positions.device) // n

    @property
    def masses(self) -> Tensor:
        """Atom masses in dalton, shape (n_cell_atoms,)."""
        return self.crystal.masses[self.asu_atom]

    def name(self, body: int) -> str:
        """Name of a body of the cell for reports."""
        op, within = divmod(body, len(self.names))
        return self.names[within] if self.n_ops == 1 else f"{self.names[within]} (copy {op + 1})"

    def displacements(self) -> Tensor:
        """Displacement of each atom by its body's padded (t, l), shape (n_cell_atoms, 3, width).

        The A_j of the equations; differentiable in the positions.
        """
        eye = torch.eye(3, dtype=self.positions.dtype, device=self.positions.device)
        translation = eye.expand(self.n_cell_atoms, 3, 3)
        if self.width == 3:
            return translation
        axes = self.axes[self.body]
        libration = torch.linalg.cross(axes, self.offsets[:, :, None].expand_as(axes), dim=1)
        return torch.cat([translation, libration], dim=2)

    def displacement_matrix(self) -> Tensor:
        """Displacement of each copy's atoms by its degrees of freedom, (n_ops, 3 n_atoms, d)."""
        A = self.displacements()
        n = self.n_bodies // self.n_ops
        full = A.new_zeros(self.n_cell_atoms, 3, n, self.width)
        atom = torch.arange(self.n_cell_atoms, device=A.device)
        full[atom, :, self.body % n] = A
        exists = self.dof[self.dof < n * self.width]
        return full.reshape(self.n_ops, -1, n * self.width).index_select(2, exists)

    def gather(self, padded: Tensor, dim: int = -1) -> Tensor:
        """Keep the degrees of freedom that exist along a padded dimension."""
        if self.n_dof == self.n_bodies * self.width:
            return padded
        return padded.index_select(dim, self.dof)

    def scatter(self, values: Tensor, dim: int = -1) -> Tensor:
        """Inverse of `gather`: zeros where a body lacks a degree of freedom."""
        if self.n_dof == self.n_bodies * self.width:
            return values
        shape = list(values.shape)
        shape[dim] = self.n_bodies * self.width
        return values.new_zeros(shape).index_copy(dim, self.dof, values)

    def mass_matrix(self) -> Tensor:
        """Mass matrix of each body, ``sum_j A_j^T m_j A_j``, shape (n_bodies, width, width)."""
        return self._sum_squares(self.masses)

    def metric(self) -> Tensor:
        """``sum_j A_j^T A_j`` of each body, shape (n_bodies, width, width).

        The squared displacement of a body's atoms as a quadratic form of its (t, l).
        """
        return self._sum_squares(torch.ones_like(self.masses))

    def _sum_squares(self, weights: Tensor) -> Tensor:
        a = self.displacements()
        squares = torch.einsum("jia,j,jib->jab", a, weights, a)
        total = squares.new_zeros(self.n_bodies, self.width, self.width)
        return total.index_add(0, self.body, squares)


def gather_bodies(crystal: Crystal, group_by: GroupBy = "asu") -> Bodies:
    """Generate the atoms of the unit cell and group them into bodies.

    Parameters
    ----------
    crystal : Crystal
    group_by : {'asu', 'chain', 'residue', 'atom', None}, ranges, or sequence of int
        One body per copy of the asymmetric unit, per chain or per residue of it, or every atom
        its own body ('atom' or None). Ranges such as 'A:1-60 A:61-129,B' name the residues of
        each body (`ranges.named_ranges`). A sequence numbers the body of each atom.

    Returns
    -------
    Bodies
        Differentiable in the crystal's coordinates, cell and U. Which body an atom belongs to is
        not; neither are the centroids, on which no intensity or displacement depends.

    Raises
    ------
    InputError
        If `group_by` is none of these.
    """
    numbers, names = _grouping(crystal, group_by)
    n_ops, n_atoms = crystal.n_ops, crystal.n_atoms
    n_bodies = n_ops * len(names)
    matrix = crystal.cell.matrix
    device = matrix.device
    body_asu = torch.tensor(numbers, dtype=torch.int64, device=device)
    op = torch.arange(n_ops, device=device)
    body = (op[:, None] * len(names) + body_asu).reshape(-1)

    frac = torch.einsum("oij,aj->oai", crystal.rotations, crystal.positions_frac)
    frac = frac + crystal.translations[:, None, :]
    positions = frac.reshape(-1, 3) @ matrix.T
    rotation = matrix @ crystal.rotations @ crystal.cell.inverse
    U = torch.einsum("oij,ajk,olk->oail", rotation, crystal.U, rotation).reshape(-1, 3, 3)

    count = torch.bincount(body, minlength=n_bodies)
    with torch.no_grad():
        origins = positions.new_zeros(n_bodies, 3).index_add(0, body, positions)
        origins = origins / count[:, None]
    offsets = positions - origins[body]
    axes = _libration_axes(offsets.detach(), body, n_bodies)
    width = 3 if int(count.max()) == 1 else 6
    exists = torch.ones(n_bodies, width, dtype=torch.bool, device=device)
    exists[:, 3:] = axes.abs().sum(1)[:, : width - 3] > 0

    table = torch.full((n_bodies, int(count.max())), n_ops * n_atoms, device=device)
    order = torch.argsort(body, stable=True)
    start = torch.cumsum(count, 0) - count
    table[body[order], torch.arange(len(order), device=device) - start[body[order]]] = order
    return Bodies(
        positions=positions,
        U=U,
        body=body,
        offsets=offsets,
        axes=axes,
        dof=exists.reshape(-1).nonzero().squeeze(1),
        width=width,
        table=table,
        n_ops=n_ops,
        names=names,
        crystal=crystal,
    )


def _grouping(crystal: Crystal, group_by: GroupBy) -> tuple[list[int], tuple[str, ...]]:
    """Body index of each atom of the asymmetric unit, and the names of the bodies."""
    labels = crystal.labels
    keys: list[object]
    if group_by is None or group_by == "atom":
        return list(range(len(labels))), tuple(str(label) for label in labels)
    if group_by == "asu":
        return [0] * len(labels), ("asymmetric unit",)
    if group_by == "chain":
        keys = [f"chain {label.chain or '_'}" for label in labels]
    elif group_by == "residue":
        keys = [label.residue for label in labels]
    elif isinstance(group_by, str):
        try:
            return named_ranges(crystal, group_by)
        except InputError as error:
            if re.search(r"[\s:;,]", group_by):
                raise
            raise InputError(
                f"group_by {group_by!r} is not one of {', '.join(GROUPINGS)} or None; {error}"
            ) from error
    elif len(group_by) != len(labels):
        raise InputError(f"group_by numbers {len(group_by)} atoms, the crystal has {len(labels)}")
    else:
        keys = [f"body {int(b)}" for b in group_by]
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return [number[key] for key in keys], tuple(str(key) for key in number)


def _libration_axes(offsets: Tensor, body: Tensor, n_bodies: int) -> Tensor:
    """Libration axes of each body: all three, two across a line, none for a point."""
    outer = offsets[:, :, None] * offsets[:, None, :]
    tensor = offsets.new_zeros(n_bodies, 3, 3).index_add(0, body, outer)
    spread, directions = torch.linalg.eigh(tensor)
    is_point = spread[:, 2] < LINE_TOLERANCE**2
    is_line = ~is_point & (spread[:, 1] < LINE_TOLERANCE**2)
    axes = torch.eye(3, dtype=offsets.dtype, device=offsets.device).repeat(n_bodies, 1, 1)
    # The eigenvector of the largest eigenvalue is the line itself; it is dropped.
    across = directions.clone()
    across[:, :, 2] = 0.0
    axes = torch.where(is_line[:, None, None], across, axes)
    return torch.where(is_point[:, None, None], torch.zeros_like(axes), axes)
