"""Springs on the contacts, and the resulting force constants between bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError

from .bodies import Bodies
from .contacts import Contacts

SPRING_MODELS = ("gnm", "anm", "hybrid")

#: A spring constant: one value, or two as (within a copy, between copies).
SpringValue = float | Tensor | Sequence[float | Tensor]

#: Number of contacts per batch while blocks are summed; limits memory in large networks.
CONTACT_CHUNK = 200_000

#: Atoms closer than this (Å) coincide: the last decimal of a coordinate.
COINCIDING = 1e-3


@dataclass(frozen=True)
class Springs:
    """Spring constants of each contact, in kT/Å^2 up to the thermal scale.

    The energy of a contact is ``w/2 (u_i-u_j)^T [k_perp 1 + (k_par-k_perp) n n^T] (u_i-u_j)``, w
    its weight in `Contacts`: 1, or less between alternative conformers.

    Parameters
    ----------
    k_par, k_perp : Tensor, shape (n_contacts,)
        Constants along and across the contact.
    """

    k_par: Tensor
    k_perp: Tensor


@dataclass(frozen=True)
class ForceConstants:
    """Force-constant blocks between bodies, in the padded layout of `Bodies`.

    Parameters
    ----------
    onsite : Tensor, shape (n_bodies, width, width)
        Block of each body with itself: a sum over its contacts.
    coupling : Tensor, shape (n_blocks, width, width)
        ``-sum A_i^T Phi A_j`` for each coupled pair; the transpose is the block in reverse order.
    a, b : Tensor, shape (n_blocks,), int64
        The two bodies of each pair.
    cell : Tensor, shape (n_blocks, 3), int64
        The cell of the second.
    """

    onsite: Tensor
    coupling: Tensor
    a: Tensor
    b: Tensor
    cell: Tensor


def assign_springs(
    contacts: Contacts,
    model: str = "gnm",
    *,
    gamma_intra: float | Tensor = 1.0,
    gamma_inter: float | Tensor = 1.0,
    k_par: SpringValue | None = None,
    k_perp: SpringValue | None = None,
) -> Springs:
    """Assign spring constants to each contact.

    Parameters
    ----------
    contacts : Contacts
    model : {'gnm', 'anm', 'hybrid'}
        Gaussian network (``k_perp = k_par = gamma``), anisotropic network (``k_perp = 0``,
        ``k_par = gamma``), or both constants free.
    gamma_intra, gamma_inter : float or Tensor
        For 'gnm' and 'anm': between atoms of one copy of the asymmetric unit, and between copies.
    k_par, k_perp : float, Tensor or pair of them
        For 'hybrid': one value, or (within a copy, between copies).

    Returns
    -------
    Springs
        Differentiable in every constant given.

    Raises
    ------
    InputError
        If the model is unknown or its constants are missing or superfluous.
    """
    if model not in SPRING_MODELS:
        raise InputError(f"model {model!r} is not one of {', '.join(SPRING_MODELS)}")
    if model == "hybrid":
        if k_par is None or k_perp is None:
            raise InputError("model 'hybrid' needs both k_par and k_perp")
        return Springs(
            _per_contact(contacts, "k_par", k_par), _per_contact(contacts, "k_perp", k_perp)
        )
    if k_par is not None or k_perp is not None:
        raise InputError(
            f"k_par and k_perp belong to model 'hybrid'; model {model!r} has gamma_intra and "
            "gamma_inter"
        )
    gamma = _per_contact(contacts, "gamma_intra, gamma_inter", (gamma_intra, gamma_inter))
    return Springs(gamma, gamma if model == "gnm" else torch.zeros_like(gamma))


def _per_contact(contacts: Contacts, name: str, value: SpringValue) -> Tensor:
    """Expand one value, or one within and one between copies, to all contacts."""
    like = contacts.distance
    if isinstance(value, Tensor):
        if value.ndim > 1 or value.numel() not in (1, 2):
            raise InputError(f"{name} has {value.numel()} values; give one, or (intra, inter)")
        pair = value.to(like).expand(2)
    else:
        parts = list(value) if isinstance(value, Sequence) else [value, value]
        if len(parts) != 2:
            raise InputError(f"{name} has {len(parts)} values; give one, or (intra, inter)")
        pair = torch.stack([_number(v, like) for v in parts])
    return torch.where(contacts.same_copy, pair[0], pair[1])


def check_springs(springs: Springs, where: str) -> None:
    """Check that no spring constant is negative or not finite.

    Functions that compute with springs do not check them, so that they can be traced and batched.

    Raises
    ------
    InputError
        Names the worst value.
    """
    for name, k in (("k_par", springs.k_par), ("k_perp", springs.k_perp)):
        bad = k.detach()[~(torch.isfinite(k.detach()) & (k.detach() >= 0))]
        if len(bad):
            raise InputError(
                f"{where}: {len(bad)} contacts have {name} = {float(bad[0]):g}; spring constants "
                "must be finite and not negative"
            )


def _number(value: float | Tensor, like: Tensor) -> Tensor:
    """Convert a number to the required dtype (torch's default would round it to float32)."""
    if isinstance(value, Tensor):
        return value.to(like)
    return torch.tensor(value, dtype=like.dtype, device=like.device)


def force_constants(bodies: Bodies, contacts: Contacts, springs: Springs) -> ForceConstants:
    """Project the springs onto the degrees of freedom of the bodies and sum them.

    Each contact adds ``A_i^T Phi A_i`` and ``A_j^T Phi A_j`` to the blocks of its two bodies and
    ``-A_i^T Phi A_j`` to the block that couples them, ``Phi = w [k_perp 1 + (k_par-k_perp) n n^T]``
    with the weight w of the contact. Of a contact within a body only the difference of the two
    displacements is taken: its terms would cancel in K(k) but for rounding, which in single
    precision is larger than the stiffness between bodies.

    Returns
    -------
    ForceConstants
        Differentiable in the springs, the positions and the cell.
    """
    displacement = bodies.displacements()
    w = bodies.width
    onsite = displacement.new_zeros(bodies.n_bodies, w, w)
    coupling = displacement.new_zeros(len(contacts.block_a), w, w)
    for part in torch.arange(contacts.n_contacts, device=contacts.i.device).split(CONTACT_CHUNK):
        i, j = contacts.i[part], contacts.j[part]
        a_i, a_j = displacement[i], displacement[j]
        weight = contacts.weight[part]
        k_par, k_perp = springs.k_par[part] * weight, springs.k_perp[part] * weight
        n = contact_directions(bodies, i, j, contacts.cell[part])
        along_i = torch.einsum("cx,cxa->ca", n, a_i)
        along_j = torch.einsum("cx,cxa->ca", n, a_j)

        def project(
            a: Tensor, b: Tensor, na: Tensor, nb: Tensor, par: Tensor, perp: Tensor
        ) -> Tensor:
            across = torch.einsum("cxa,cxb->cab", a, b)
            return perp[:, None, None] * across + torch.einsum("c,ca,cb->cab", par - perp, na, nb)

        body_i, body_j = bodies.body[i], bodies.body[j]
        within = (body_i == body_j) & (contacts.cell[part] == 0).all(1)
        change = torch.where(within[:, None, None], a_i - a_j, a_i)
        along_change = torch.einsum("cx,cxa->ca", n, change)
        onsite = onsite.index_add(
            0, body_i, project(change, change, along_change, along_change, k_par, k_perp)
        )
        between = [torch.where(within, 0.0, k) for k in (k_par, k_perp)]
        onsite = onsite.index_add(0, body_j, project(a_j, a_j, along_j, along_j, *between))
        coupling = coupling.index_add(
            0, contacts.block[part], -project(a_i, a_j, along_i, along_j, *between)
        )
    return ForceConstants(onsite, coupling, contacts.block_a, contacts.block_b, contacts.block_cell)


def contact_directions(bodies: Bodies, i: Tensor, j: Tensor, cell: Tensor) -> Tensor:
    """Unit vectors from atom i to atom j of cell `cell`, zero where the two coincide.

    Atoms on a symmetry element coincide with their copies; such a contact has no direction, and
    only its k_perp matters.
    """
    r = contact_vectors(bodies, i, j, cell)
    squared = (r * r).sum(1, keepdim=True)
    apart = squared > COINCIDING**2
    # The inner `where` keeps the square root away from zero, whose gradient would be infinite.
    return torch.where(apart, r / torch.sqrt(torch.where(apart, squared, 1.0)), 0.0)


def contact_vectors(bodies: Bodies, i: Tensor, j: Tensor, cell: Tensor) -> Tensor:
    """Vectors from atom i to atom j of cell `cell`, Å, shape (n, 3)."""
    matrix = bodies.crystal.cell.matrix
    return bodies.positions[j] - bodies.positions[i] + cell.to(matrix.dtype) @ matrix.T


def contact_lengths(bodies: Bodies, i: Tensor, j: Tensor, cell: Tensor) -> Tensor:
    """Lengths of contacts at the present positions, Å, shape (n,); differentiable."""
    squared = contact_vectors(bodies, i, j, cell).square().sum(1)
    apart = squared > COINCIDING**2
    return torch.where(apart, torch.sqrt(torch.where(apart, squared, 1.0)), 0.0)
