"""The molecule and the neighbours that contacts join it to, as one structure."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.network.interfaces import pair_operators

from ..trajectory.mode_trajectory import Block
from ..trajectory.structure_files import CIF_CHAIN_NAME, chain_names


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Copy 1 of the asymmetric unit, as in the structure, and the copies that touch it.

    Parameters
    ----------
    block : Block
        All atoms, copy 1 first.
    operators, interfaces : tuple of str, one for each neighbour
        Operator of the neighbour, and the name of its interface; see `pair_operators`.
    copies : Tensor, shape (n, 4), int64
        Number of the copy and its cell, of each neighbour.
    centres : Tensor, shape (1 + n, 3), Å
        Centroids, that of copy 1 first.
    n_contacts : tuple of int
        Contacts of copy 1 with each neighbour.
    """

    block: Block
    operators: tuple[str, ...]
    interfaces: tuple[str, ...]
    copies: Tensor
    centres: Tensor
    n_contacts: tuple[int, ...]

    @property
    def chains(self) -> list[tuple[str, ...]]:
        """Names of the chains of copy 1 and of each neighbour, as they are written."""
        names = chain_names(self.block, CIF_CHAIN_NAME)
        n = len(self.block.crystal.labels)
        return [tuple(dict.fromkeys(names[i : i + n])) for i in range(0, len(names), n)]


def find_neighbours(lattice: LatticeModel) -> Neighbourhood:
    """The neighbours of copy 1 and their atoms."""
    bodies, matrix = lattice.bodies, lattice.crystal.cell.matrix.detach()
    _, second, cell, _, _ = contacts_of_first_copy(lattice)
    other = bodies.copy[second]
    keys = torch.cat([other[:, None], cell], dim=1)
    outside = (keys != 0).any(1)
    copies, counts = torch.unique(keys[outside], dim=0, return_counts=True)
    named = pair_operators(bodies, copies[:, 0] * 0, copies[:, 0], copies[:, 1:])
    n = bodies.n_cell_atoms // bodies.n_ops
    own = torch.cat([copies.new_zeros(1, 4), copies])
    by_copy = bodies.positions.detach().reshape(bodies.n_ops, n, 3)
    positions = by_copy[own[:, 0]] + (own[:, 1:].to(matrix) @ matrix.T)[:, None]
    every = torch.arange(n, device=own.device).repeat(len(own))
    copy, at = own[:, :1].repeat_interleave(n, 0)[:, 0], own[:, 1:].repeat_interleave(n, 0)
    flat = positions.reshape(-1, 3)
    cell_of = lattice.crystal.cell
    block = Block(lattice.crystal, cell_of, (1, 1, 1), flat, every, copy, at, torch.zeros_like(at))
    return Neighbourhood(
        block,
        named.operator,
        named.interface,
        copies,
        positions.mean(1),
        tuple(counts.tolist()),
    )


def contacts_of_first_copy(
    lattice: LatticeModel,
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[str]]:
    """Contacts of different bodies with an atom in copy 1 and cell 0, seen from there.

    Returns
    -------
    first, second : Tensor, shape (n,), int64
        Atoms; the first in copy 1.
    cell : Tensor, shape (n, 3), int64
        Cell of the second.
    contact : Tensor, shape (n,), int64
        Index of the contact.
    interfaces : list of str
        Interface of each; 'within' for two atoms of copy 1.
    """
    bodies, contacts = lattice.bodies, lattice.contacts
    i, j, cell = contacts.i, contacts.j, contacts.cell
    number = torch.arange(len(i), device=i.device)
    forward = bodies.copy[i] == 0
    # Of contacts within copy 1 one direction is enough.
    backward = (bodies.copy[j] == 0) & ~contacts.same_copy
    first, second = torch.cat([i[forward], j[backward]]), torch.cat([j[forward], i[backward]])
    R = torch.cat([cell[forward], -cell[backward]])
    contact = torch.cat([number[forward], number[backward]])
    elastic = (bodies.body[first] != bodies.body[second]) | (R != 0).any(1)
    first, second, R, contact = (x[elastic] for x in (first, second, R, contact))
    named = pair_operators(bodies, bodies.copy[first], bodies.copy[second], R)
    return first, second, R, contact, list(named.interface)
