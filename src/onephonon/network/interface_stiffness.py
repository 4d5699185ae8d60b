"""A full 6 x 6 stiffness for each interface between rigid copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onephonon.core.errors import InputError
from onephonon.core.tensors import first_of_each, map_tensors

from .bodies import Bodies
from .contacts import Contacts, check_any
from .force_constants import ForceConstants, Springs, contact_directions
from .interfaces import Interfaces, find_interfaces
from .springs import check_names

#: Ridge added to the starting stiffness, relative to its mean for translations and for librations,
#: so that an interface with few contacts also has a Cholesky factor.
RIDGE = 1e-2

#: Largest asymmetry of a matrix, relative to its largest element.
SYMMETRIC = 1e-8


@dataclass(frozen=True)
class CopyPairs:
    """Neighbouring copies, each pair once.

    Parameters
    ----------
    a, b : Tensor, shape (n_pairs,), int64
        Copies, of one body each.
    cell : Tensor, shape (n_pairs, 3), int64
        The cell of the second.
    interface : Tensor, shape (n_pairs,), int64
        Counted from 0.
    forward : Tensor, shape (n_pairs,), bool
        True if `a` is the first copy of the interface.
    own_inverse : Tensor, shape (n_pairs,), bool
    contact : Tensor, shape (n_inter,), int64
        The contacts between copies.
    pair : Tensor, shape (n_inter,), int64
        The pair of each of them.
    """

    a: Tensor
    b: Tensor
    cell: Tensor
    interface: Tensor
    forward: Tensor
    own_inverse: Tensor
    contact: Tensor
    pair: Tensor


class InterfaceStiffness(nn.Module):
    """Energy ``1/2 x^T S x`` of the relative rigid motion x of two copies at their interface.

    x is the translation and libration of the first copy relative to the second, at the centre of
    their contacts, in the frame of the asymmetric unit; symmetry operators map S onto the other
    pairs of the same interface. Where an operator exchanges the two copies, only the part of S
    that is invariant under the exchange has an effect. A common motion of both copies needs no
    energy, so the crystal does not resist a rotation as a whole; springs within a (rigid) copy
    have no effect.

    Parameters
    ----------
    bodies : Bodies
        One body, not a line or a point, per copy (group_by 'asu').
    contacts : Contacts
    start : float
        Constant of the springs along the contacts from which the starting S follows.

    Attributes
    ----------
    free : nn.Parameter, shape (n_interfaces, 6, 6)
        Unconstrained. The lower triangle is the Cholesky factor of S, with logarithms on the
        diagonal; the upper triangle is not used. S is in kT/Å^2, kT/Å and kT up to the thermal
        scale.
    names : tuple of str
        Names of the interfaces.

    Raises
    ------
    InputError
        If the bodies are not rigid copies with six degrees of freedom each.
    """

    def __init__(self, bodies: Bodies, contacts: Contacts, start: float = 1.0) -> None:
        super().__init__()
        if bodies.n_bodies != bodies.n_ops or bodies.n_dof != 6 * bodies.n_bodies:
            raise InputError(
                "a 6 x 6 stiffness joins rigid copies: use group_by='asu' and an asymmetric unit "
                "of more than a line of atoms"
            )
        if not start > 0:
            raise InputError(f"start {start}: give a positive spring constant")
        check_any(bodies, contacts)
        found = find_interfaces(bodies, contacts)
        self.names = found.names[1:]
        self._pairs = _copy_pairs(bodies, contacts, found)
        with torch.no_grad():
            centre = _centres(bodies, contacts, self._pairs, len(self.names))
            self.centre: Tensor
            self.register_buffer("centre", centre, persistent=False)
            along = torch.full_like(contacts.distance, start)
            S = self.from_springs(bodies, contacts, Springs(along, torch.zeros_like(along)))
            factor = torch.linalg.cholesky(S)
            diagonal = factor.diagonal(dim1=1, dim2=2)
            self.free = nn.Parameter(torch.tril(factor, -1) + torch.diag_embed(diagonal.log()))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> InterfaceStiffness:
        super()._apply(fn, recurse)
        self._pairs = map_tensors(self._pairs, fn)
        return self

    def get_extra_state(self) -> dict[str, Any]:
        """The interfaces' names, saved with their stiffness."""
        return {"names": list(self.names)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Check that the saved matrices belong to the same interfaces."""
        check_names(state["names"], self.names)

    def from_springs(self, bodies: Bodies, contacts: Contacts, springs: Springs) -> Tensor:
        """S that corresponds to springs on the contacts, shape (n_interfaces, 6, 6).

        An approximation: both atoms of a contact are placed at its middle, which omits the
        resistance of springs across contacts to a rotation of the whole crystal, and a small
        ridge is added.
        """
        return _contact_stiffness(bodies, contacts, self._pairs, self.centre, springs)

    def values(self) -> Tensor:
        """S of each interface, shape (n_interfaces, 6, 6), positive definite; differentiable."""
        return self.from_free(self.free)

    def from_free(self, free: Tensor) -> Tensor:
        """S from unconstrained numbers."""
        diagonal = torch.diag_embed(free.diagonal(dim1=1, dim2=2).exp())
        factor = torch.tril(free, -1) + diagonal
        return factor @ factor.mT

    def set_values(self, values: Tensor) -> None:
        """Set the stiffness of each interface, (n_interfaces, 6, 6).

        Raises
        ------
        InputError
            If the shape is wrong or a matrix is not symmetric and positive definite.
        """
        S = torch.as_tensor(values, dtype=self.free.dtype, device=self.free.device)
        if S.shape != self.free.shape:
            raise InputError(
                f"stiffness of shape {tuple(S.shape)} for {len(self.names)} interfaces; give 6 x 6 "
                "for each"
            )
        factor, info = torch.linalg.cholesky_ex(S)
        lopsided = (S - S.mT).abs().amax((1, 2)) > SYMMETRIC * S.abs().amax((1, 2))
        bad = (info != 0) | lopsided | ~torch.isfinite(S).all(2).all(1)
        if bool(bad.any()):
            name = self.names[int(bad.nonzero()[0])]
            raise InputError(
                f"the stiffness of interface {name} is not symmetric and positive definite, so "
                "some displacement would need no energy; give another matrix"
            )
        diagonal = factor.diagonal(dim1=1, dim2=2)
        with torch.no_grad():
            self.free.copy_(torch.tril(factor, -1) + torch.diag_embed(diagonal.log()))

    def contact_springs(self, bodies: Bodies, contacts: Contacts) -> None:  # noqa: ARG002
        """None, since contacts have no springs here."""
        return

    def classes(self) -> None:
        """None, since there are no classes of springs."""
        return

    def force_constants(self, bodies: Bodies, contacts: Contacts) -> ForceConstants:  # noqa: ARG002
        """Force constants between the copies."""
        return self.constants(bodies, self.values())

    forward = force_constants

    def constants(self, bodies: Bodies, S: Tensor) -> ForceConstants:
        """Force constants from a stiffness for each interface, (n_interfaces, 6, 6)."""
        pairs = self._pairs
        ends = [(pairs.a, torch.zeros_like(pairs.cell)), (pairs.b, pairs.cell)]
        first, second = (
            _seen_from(bodies, pairs, S, self.centre, *end) for end in (ends[0], ends[1])
        )
        both = pairs.own_inverse[:, None, None]
        onward = pairs.forward[:, None, None]

        def combine(x: Tensor, y: Tensor) -> Tensor:
            return torch.where(both, 0.5 * (x + y), torch.where(onward, x, y))

        aa, bb, ab = (combine(x, y) for x, y in zip(first, second, strict=True))
        onsite = aa.new_zeros(bodies.n_bodies, 6, 6)
        onsite = onsite.index_add(0, pairs.a, aa).index_add(0, pairs.b, bb)
        return ForceConstants(onsite, -ab, pairs.a, pairs.b, pairs.cell)


def _copy_pairs(bodies: Bodies, contacts: Contacts, found: Interfaces) -> CopyPairs:
    """Pairs of copies in contact; (a, a, d) and (a, a, -d) are one pair."""
    contact = (found.index > 0).nonzero().squeeze(1)
    copy = bodies.copy
    a, b = copy[contacts.i[contact]], copy[contacts.j[contact]]
    cell, forward = contacts.cell[contact], found.forward[contact]
    sign = (cell * torch.tensor([10**12, 10**6, 1], device=cell.device)).sum(1)
    flip = (a == b) & (sign < 0)
    cell = torch.where(flip[:, None], -cell, cell)
    forward = forward ^ flip
    keys = torch.cat([torch.stack([a, b], dim=1), cell], dim=1)
    unique, pair = torch.unique(keys, dim=0, return_inverse=True)
    first = first_of_each(pair, len(unique))
    interface = found.index[contact][first] - 1
    own = torch.tensor(found.own_inverse[1:], device=keys.device)[interface]
    return CopyPairs(
        unique[:, 0], unique[:, 1], unique[:, 2:], interface, forward[first], own, contact, pair
    )


def _centres(bodies: Bodies, contacts: Contacts, pairs: CopyPairs, n: int) -> Tensor:
    """Centre of each interface's contacts, fractional, in the frame of the asymmetric unit."""
    crystal = bodies.crystal
    inverse = crystal.cell.inverse.T
    i, j = contacts.i[pairs.contact], contacts.j[pairs.contact]
    cell = contacts.cell[pairs.contact].to(inverse)
    frac_i, frac_j = bodies.positions[i] @ inverse, bodies.positions[j] @ inverse + cell
    # Positions relative to `a`; if the pair was reversed, atom i is in its second copy.
    is_reversed = (bodies.copy[i] == bodies.copy[j]) & (
        contacts.cell[pairs.contact] != pairs.cell[pairs.pair]
    ).any(1)
    middle = 0.5 * (frac_i + frac_j) - torch.where(is_reversed[:, None], cell, 0.0)
    weight = contacts.weight[pairs.contact]
    none = middle.new_zeros(len(pairs.a))
    total = none[:, None].expand(-1, 3).index_add(0, pairs.pair, middle * weight[:, None])
    mean = total / none.index_add(0, pairs.pair, weight)[:, None]
    op = torch.where(pairs.forward, pairs.a, pairs.b)
    shift = torch.where(pairs.forward[:, None], 0, pairs.cell).to(mean)
    moved = mean - shift - crystal.translations[op]
    standard = torch.linalg.solve(crystal.rotations[op], moved[:, :, None]).squeeze(2)
    # All pairs of an interface give the same centre; use the first.
    first = first_of_each(pairs.interface, n)
    return standard[first]


def _contact_stiffness(
    bodies: Bodies, contacts: Contacts, pairs: CopyPairs, centre: Tensor, springs: Springs
) -> Tensor:
    """S of springs on the contacts, by interface, with a small ridge."""
    crystal = bodies.crystal
    matrix = crystal.cell.matrix
    i, j, cell = (x[pairs.contact] for x in (contacts.i, contacts.j, contacts.cell))
    n = contact_directions(bodies, i, j, cell)
    middle = bodies.positions[i] + 0.5 * (
        bodies.positions[j] + cell.to(matrix) @ matrix.T - bodies.positions[i]
    )
    # Each interface is represented by its first pair.
    interface = pairs.interface[pairs.pair]
    chosen = first_of_each(pairs.interface, len(centre))
    own = pairs.pair == chosen[interface]
    is_reversed = (bodies.copy[i] == bodies.copy[j]) & (cell != pairs.cell[pairs.pair]).any(1)
    middle = middle - torch.where(is_reversed[:, None], cell.to(matrix), 0.0) @ matrix.T
    op = torch.where(pairs.forward, pairs.a, pairs.b)[pairs.pair]
    shift = torch.where(pairs.forward[:, None], 0, pairs.cell)[pairs.pair].to(matrix)
    cartesian_rotation = matrix @ crystal.rotations[op] @ crystal.cell.inverse
    place = (crystal.rotations[op] @ centre[interface][:, :, None]).squeeze(2)
    place = (place + crystal.translations[op] + shift) @ matrix.T
    arm = torch.linalg.solve(cartesian_rotation, (middle - place)[:, :, None]).squeeze(2)
    n = torch.linalg.solve(cartesian_rotation, n[:, :, None]).squeeze(2)
    along = torch.cat([n, torch.linalg.cross(arm, n)], dim=1)
    k_par, k_perp = (
        (k * contacts.weight)[pairs.contact][:, None, None] for k in (springs.k_par, springs.k_perp)
    )
    across = _carry(arm)[:, :3]
    each = k_perp * (across.mT @ across)
    each = each + (k_par - k_perp) * along[:, :, None] * along[:, None, :]
    S = along.new_zeros(len(centre), 6, 6).index_add(0, interface[own], each[own])
    size = S.diagonal(dim1=1, dim2=2).reshape(-1, 2, 3).mean(2).repeat_interleave(3, dim=1)
    # A single contact has no lever arm; 1 Å is used.
    size = torch.maximum(size, size[:, :1])
    return S + RIDGE * torch.diag_embed(size)


def _seen_from(
    bodies: Bodies, pairs: CopyPairs, S: Tensor, centre: Tensor, copy: Tensor, cell: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Blocks (aa, bb, ab) of each pair if `copy` in `cell` is the interface's first copy."""
    crystal = bodies.crystal
    matrix = crystal.cell.matrix
    rotation = crystal.rotations[copy]
    place = (rotation @ centre[pairs.interface][:, :, None]).squeeze(2)
    place = (place + crystal.translations[copy] + cell.to(matrix)) @ matrix.T
    cartesian_rotation = matrix @ rotation @ crystal.cell.inverse
    cartesian_rotation = torch.stack(
        [
            cartesian_rotation,
            torch.linalg.det(cartesian_rotation)[:, None, None] * cartesian_rotation,
        ]
    )  # l is axial
    T = cartesian_rotation.new_zeros(len(copy), 6, 6)
    T[:, :3, :3], T[:, 3:, 3:] = cartesian_rotation[0], cartesian_rotation[1]
    stiffness = T @ S[pairs.interface] @ T.mT
    origin = bodies.positions - bodies.offsets
    at_copy = torch.stack([origin[bodies.copy == c][0] for c in range(bodies.n_bodies)])
    M_a = _carry(place - at_copy[pairs.a])
    M_b = _carry(place - pairs.cell.to(matrix) @ matrix.T - at_copy[pairs.b])
    return M_a.mT @ stiffness @ M_a, M_b.mT @ stiffness @ M_b, M_a.mT @ stiffness @ M_b


def _carry(arm: Tensor) -> Tensor:
    """(t, l) at a body's centroid to (t + l x arm, l) at a point, shape (n, 6, 6)."""
    x, y, z = arm.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, z, -y, -z, zero, x, y, -x, zero], dim=1).reshape(-1, 3, 3)
    eye = torch.eye(3, dtype=arm.dtype, device=arm.device).expand_as(cross)
    top = torch.cat([eye, cross], dim=2)
    bottom = torch.cat([torch.zeros_like(eye), eye], dim=2)
    return torch.cat([top, bottom], dim=1)
