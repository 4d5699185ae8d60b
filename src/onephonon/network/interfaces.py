"""Interfaces: symmetry-unique pairs of neighbouring copies, and the contacts in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from typing import Any

import gemmi
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .bodies import Bodies
from .contacts import Contacts

Index = NDArray[np.int64]

#: Name of the class of contacts within a copy of the asymmetric unit.
WITHIN = "within"


@dataclass(frozen=True)
class Interfaces:
    """The interface each contact belongs to.

    Two pairs of copies form the same interface if an operator of the crystal maps one pair onto
    the other. The name of an interface is the operator, with its lattice vector, that maps the
    first copy onto the second.

    Parameters
    ----------
    index : Tensor, shape (n_contacts,), int64
        0 for contacts within a copy; interfaces are numbered from 1.
    forward : Tensor, shape (n_contacts,), bool
        True if atom i is in the first copy and atom j in the second.
    names : tuple of str
        ``within``, then the operators as coordinate triplets.
    own_inverse : tuple of bool
        True if the operator is its own inverse: it exchanges the two copies.
    """

    index: Tensor
    forward: Tensor
    names: tuple[str, ...]
    own_inverse: tuple[bool, ...]


def find_interfaces(bodies: Bodies, contacts: Contacts) -> Interfaces:
    """Assign each contact to an interface; nothing here is differentiable."""
    copy = bodies.copy
    operators, inverse = _pair_operators(bodies, copy[contacts.i], copy[contacts.j], contacts.cell)
    numbers: dict[_Operator, int] = {_IDENTITY: 0}
    own = [True]
    index_of, forward_of = [], []
    for g in operators:
        back = g.inverse()
        one = min(g, back, key=_Operator.order)
        if one not in numbers:
            numbers[one] = len(numbers)
            own.append(g == back)
        index_of.append(numbers[one])
        forward_of.append(g == one)
    device = contacts.i.device
    return Interfaces(
        index=torch.tensor(index_of, device=device)[inverse],
        forward=torch.tensor(forward_of, device=device)[inverse],
        names=(WITHIN, *(op.name for op in list(numbers)[1:])),
        own_inverse=tuple(own),
    )


@dataclass(frozen=True)
class PairOperators:
    """Symmetry of pairs of copies of the asymmetric unit.

    Parameters
    ----------
    operator : tuple of str, length n
        The operator, with its lattice vector, that maps the first copy onto the second, as
        coordinate triplets of the first copy's own axes: ``x+1,y,z``.
    interface : tuple of str, length n
        Equal for a pair and its reverse: the one of the two operators that `Interfaces` uses, and
        ``within`` for a copy with itself.
    """

    operator: tuple[str, ...]
    interface: tuple[str, ...]


def pair_operators(bodies: Bodies, first: Tensor, second: Tensor, cell: Tensor) -> PairOperators:
    """Operators that relate pairs of copies.

    Parameters
    ----------
    bodies : Bodies
    first, second : Tensor, shape (n,), int64
        Numbers of the two copies.
    cell : Tensor, shape (n, 3), int64
        Cell of the second relative to that of the first.
    """
    operators, inverse = _pair_operators(bodies, first, second, cell)
    names = [g.name for g in operators]
    canonical = [min(g, g.inverse(), key=_Operator.order) for g in operators]
    classes = [WITHIN if one == _IDENTITY else one.name for one in canonical]
    rows = inverse.tolist()
    return PairOperators(tuple(names[i] for i in rows), tuple(classes[i] for i in rows))


def _pair_operators(
    bodies: Bodies, first: Tensor, second: Tensor, cell: Tensor
) -> tuple[list[_Operator], Tensor]:
    """Distinct operators that map first copies onto second ones, and the index of each pair's."""
    keys = torch.cat([first[:, None], second[:, None], cell], dim=1).numpy(force=True)
    unique, inverse = np.unique(keys, axis=0, return_inverse=True)
    own = _crystal_operators(bodies)
    found = [own[a].inverse() @ own[b].moved(R) for a, b, *R in unique.tolist()]
    return found, torch.from_numpy(inverse.reshape(-1)).to(first.device)


@dataclass(frozen=True)
class _Operator:
    """A symmetry operation in integers: rotation, and translation in 24ths of the cell."""

    rotation: tuple[int, ...]
    translation: tuple[int, ...]

    def __matmul__(self, other: _Operator) -> _Operator:
        r = np.array(self.rotation).reshape(3, 3)
        return _operator(
            r @ np.array(other.rotation).reshape(3, 3),
            r @ np.array(other.translation) + np.array(self.translation),
        )

    def inverse(self) -> _Operator:
        r = np.rint(np.linalg.inv(np.array(self.rotation).reshape(3, 3))).astype(int)
        return _operator(r, -r @ np.array(self.translation))

    def moved(self, cell: list[int]) -> _Operator:
        move = gemmi.Op.DEN * np.array(cell)
        return _operator(np.array(self.rotation).reshape(3, 3), np.array(self.translation) + move)

    def order(self) -> tuple[Any, ...]:
        """Sort key: the shorter translation first, then the positive one."""
        size = sum(abs(x) for x in self.translation)
        return size, tuple(-x for x in self.translation), self.rotation

    @property
    def name(self) -> str:
        op = gemmi.Op()
        op.rot = (np.array(self.rotation).reshape(3, 3) * gemmi.Op.DEN).tolist()
        op.tran = list(self.translation)
        return str(op.triplet())


def _operator(rotation: Any, translation: Any) -> _Operator:
    return _Operator(
        tuple(int(x) for x in np.asarray(rotation).reshape(-1)),
        tuple(int(x) for x in np.asarray(translation)),
    )


_IDENTITY = _operator(np.eye(3), np.zeros(3))


def _crystal_operators(bodies: Bodies) -> list[_Operator]:
    crystal = bodies.crystal
    rotations = np.rint(crystal.rotations.numpy(force=True))
    translations = np.rint(crystal.translations.numpy(force=True) * gemmi.Op.DEN)
    return [_operator(r, t) for r, t in zip(rotations, translations, strict=True)]


@dataclass(frozen=True)
class ContactFeatures:
    """Features of contacts for spring functions; equal for symmetry-related contacts.

    Parameters
    ----------
    distance : Tensor, shape (n_contacts,), Å
    same_copy : Tensor, shape (n_contacts,), bool
    interface : Tensor, shape (n_contacts,), int64
        0 within a copy; see `interface_names`.
    residue_types : Tensor, shape (n_contacts, 2), int64
        Sorted; see `residue_names`.
    interface_names, residue_names : tuple of str
    """

    distance: Tensor
    same_copy: Tensor
    interface: Tensor
    residue_types: Tensor
    interface_names: tuple[str, ...]
    residue_names: tuple[str, ...]


def contact_features(bodies: Bodies, contacts: Contacts, interfaces: Interfaces) -> ContactFeatures:
    """Collect the features of the contacts."""
    labels = bodies.crystal.labels
    names = tuple(sorted({label.residue_name for label in labels}))
    kind = torch.tensor([names.index(label.residue_name) for label in labels])
    kind = kind.to(contacts.i.device)[bodies.asu_atom]
    pair = torch.stack([kind[contacts.i], kind[contacts.j]], dim=1)
    return ContactFeatures(
        distance=contacts.distance,
        same_copy=contacts.same_copy,
        interface=interfaces.index,
        residue_types=pair.sort(dim=1).values,
        interface_names=interfaces.names,
        residue_names=names,
    )


@dataclass(frozen=True)
class ContactRow:
    """One symmetry-unique contact: a row of a contact table.

    `weight` multiplies the spring constants: 1, or less between alternative conformers.
    """

    atom_1: str
    atom_2: str
    operator: str
    lattice_vector: str
    distance: float
    multiplicity: int
    spring_class: str
    k_par: float
    k_perp: float
    weight: float = 1.0

    @property
    def key(self) -> tuple[str, str, str]:
        """Key of the contact in a saved table."""
        return self.atom_1, self.atom_2, self.operator


class ContactTable(list[ContactRow]):
    """A list of contact rows that prints as aligned columns."""

    def __str__(self) -> str:
        names = [field.name for field in fields(ContactRow)]
        cells = [names] + [
            [f"{v:.4g}" if isinstance(v, float) else str(v) for v in astuple(row)] for row in self
        ]
        widths = [max(len(row[c]) for row in cells) for c in range(len(names))]
        lines = ("  ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)) for row in cells)
        return "\n".join(line.rstrip() for line in lines)


def contact_rows(
    bodies: Bodies,
    contacts: Contacts,
    interfaces: Interfaces,
    classes: list[str],
    constants: Mapping[str, Tensor],
) -> ContactTable:
    """One row per symmetry-unique contact.

    Parameters
    ----------
    classes : list of str, length n_contacts
        Spring class of each contact.
    constants : mapping
        ``k_par`` and ``k_perp``, each of shape (n_contacts,).
    """
    rows: dict[tuple[str, str, str], list[int]] = {}
    for c, key in enumerate(contact_keys(bodies, contacts, interfaces)):
        rows.setdefault(key, []).append(c)
    k_par, k_perp = (constants[k].detach().tolist() for k in ("k_par", "k_perp"))
    distance, weight = contacts.distance.tolist(), contacts.weight.tolist()
    table = ContactTable()
    for (first, second, operator), members in rows.items():
        c = members[0]
        table.append(
            ContactRow(
                first,
                second,
                operator,
                _lattice_vector(operator),
                round(distance[c], 4),
                len(members),
                classes[c],
                k_par[c],
                k_perp[c],
                round(weight[c], 6),
            )
        )
    return table


def contact_keys(
    bodies: Bodies, contacts: Contacts, interfaces: Interfaces
) -> list[tuple[str, str, str]]:
    """First atom, second atom and operator of each contact; equal where symmetry relates them."""
    names = [str(label) for label in bodies.crystal.labels]
    return [
        (names[i], names[j], interfaces.names[interface])
        for i, j, interface in _oriented(bodies, contacts, interfaces, names)
    ]


def residue_pairs(
    bodies: Bodies, contacts: Contacts, interfaces: Interfaces
) -> list[tuple[str, str, str]]:
    """First residue, second residue and operator of each contact."""
    names = [label.residue for label in bodies.crystal.labels]
    return [
        (names[i], names[j], interfaces.names[interface])
        for i, j, interface in _oriented(bodies, contacts, interfaces, names)
    ]


def _oriented(
    bodies: Bodies, contacts: Contacts, interfaces: Interfaces, names: list[str]
) -> list[tuple[int, int, int]]:
    """The two atoms of the asymmetric unit, that of the first copy first, and the interface."""
    asu = bodies.asu_atom
    columns = zip(
        asu[contacts.i].tolist(),
        asu[contacts.j].tolist(),
        interfaces.index.tolist(),
        interfaces.forward.tolist(),
        strict=True,
    )
    out = []
    for atom_i, atom_j, interface, forward in columns:
        i, j = (atom_i, atom_j) if forward else (atom_j, atom_i)
        if interfaces.own_inverse[interface] and (names[j], j) < (names[i], i):
            i, j = j, i  # the operator exchanges the copies: sort by name
        out.append((i, j, interface))
    return out


def _lattice_vector(operator: str) -> str:
    if operator == WITHIN:
        return "0 0 0"
    translation = gemmi.Op(operator).tran
    return " ".join(str(x // gemmi.Op.DEN) for x in translation)
