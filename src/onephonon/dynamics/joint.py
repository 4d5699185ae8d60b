"""Joint displacements of neighbouring bodies, molecules and atoms of a crystal.

Of two of them, a in cell 0 and b in cell R, the covariance of displacements is
``C_ab(R) = <u_a(0) u_b(R)^T>``: 6 x 6 for translations and librations. Its translational part
is the joint ADP ``U_ab``, the covariance of what an ADP is the variance of, and what diffuse
Patterson maps show (Meisburger, Case & Ando, Nature Communications 14, 1228 (2023)). The motion of
one relative to the other is ``<(u_a - u_b)(u_a - u_b)^T> = U_aa + U_bb - U_ab - U_ab^T``.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.memory import state_memory
from onephonon.core.progress import Progress, ProgressLike
from onephonon.network.bodies import Bodies
from onephonon.network.contacts import Contacts
from onephonon.network.force_constants import contact_vectors
from onephonon.network.interfaces import (
    PairOperators,
    contact_keys,
    find_interfaces,
    pair_operators,
)

from .elastic import elasticity
from .lattice_model import HasLattice, LatticeModel, lattice_of
from .pair_covariance import (
    Pairs,
    atoms_of_blocks,
    body_pairs_of_atoms,
    own_images,
    pair_covariances,
    separating_mesh,
)
from .solvers.choice import MAX_DENSE_DOF

#: Pairs are listed within this many times the largest distance of bodies in contact: the second
#: neighbours too, or the first only where there are many degrees of freedom.
REACH, REACH_OF_MANY = 2.0, 1.0

#: Margin of meshes (see `separating_mesh`), up to so many degrees of freedom; none beyond.
MARGIN, MARGIN_DOF = 1.6, 1000

#: Bytes of a pair while pairs are listed.
PAIR_BYTES = 500

#: Distances are compared with this tolerance, Å.
ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class JointDisplacements:
    """Covariances of pairs, the first in a copy of the asymmetric unit and its cell.

    Parameters
    ----------
    names : tuple of pair of str, length n
        The two bodies or atoms of the asymmetric unit; empty for copies as wholes.
    operators : PairOperators
        Operator that maps the first copy onto the second, for each pair.
    second : Tensor, shape (n,), int64
        Number of the second among all of the unit cell: copies, bodies or atoms.
    cell : Tensor, shape (n, 3), int64
        Cell of the second relative to the first's.
    vector : Tensor, shape (n, 3), Å
        From the first to the second: centroids, or atoms.
    C : Tensor, shape (n, w, w)
        ``<u_a(0) u_b(R)^T>`` of Cartesian translations (Å) and, if w is 6, librations (rad).
    U_first, U_second : Tensor, shape (n, 3, 3), Å^2
        Mean-square displacements of the two by themselves.
    touching : Tensor, shape (n,), bool
        Whether contacts join the two.
    """

    names: tuple[tuple[str, str], ...]
    operators: PairOperators
    second: Tensor
    cell: Tensor
    vector: Tensor
    C: Tensor
    U_first: Tensor
    U_second: Tensor
    touching: Tensor

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return len(self.C)

    @property
    def distance(self) -> Tensor:
        """Lengths of the vectors, Å, shape (n,)."""
        return torch.linalg.vector_norm(self.vector, dim=1)

    @property
    def U(self) -> Tensor:
        """Joint ADPs ``<u_a u_b^T>``, Å^2, (n, 3, 3); of different bodies not symmetric."""
        return self.C[:, :3, :3]

    @property
    def symmetric_U(self) -> Tensor:
        """``(U + U^T)/2``, (n, 3, 3): what intensities and Patterson maps depend on, q^T U q."""
        return 0.5 * (self.U + self.U.mT)

    @property
    def relative(self) -> Tensor:
        """Mean-square displacements of one relative to the other, Å^2, (n, 3, 3)."""
        return self.U_first + self.U_second - 2.0 * self.symmetric_U

    @property
    def correlation(self) -> Tensor:
        """``tr U_ab / (tr U_aa tr U_bb)^1/2``, (n,): 1 where two move as one."""
        joint, first, second = (_trace(x) for x in (self.U, self.U_first, self.U_second))
        return joint / (first * second).sqrt()

    def along(self, tensors: Tensor) -> tuple[Tensor, Tensor]:
        """Parts of tensors (n, 3, 3) parallel and perpendicular to the vectors, each (n,).

        ``n^T U n``, and the mean over the two directions across. Of a pair without distance both
        are ``tr U / 3``.
        """
        length = self.distance
        apart = length > ROUNDING
        n = self.vector / torch.where(apart, length, 1.0)[:, None]
        mean = _trace(tensors) / 3.0
        parallel = torch.where(apart, torch.einsum("nx,nxy,ny->n", n, tensors, n), mean)
        return parallel, 0.5 * (_trace(tensors) - parallel)


@dataclass(frozen=True, eq=False)
class Joint:
    """Joint displacements of molecules, bodies and atoms of one model.

    Parameters
    ----------
    molecules : JointDisplacements
        Copies of the asymmetric unit, each by the mean displacement of its atoms; every operator
        within a distance, the reverse ones too. The first is copy 1, as in the file.
    continuum : Tensor, shape (n_molecules, 3, 3), Å^2
        Joint ADPs of an elastic continuum with the elastic constants of the crystal
        (`Elasticity.continuum`), which those of distant molecules approach; NaN for a molecule
        itself.
    bodies : JointDisplacements
        Bodies, likewise; those of copy 1 come first in each pair.
    contacts : JointDisplacements
        Atoms of different bodies in contact, one pair for each symmetry-unique contact, named as in
        tables of contacts.
    molecules_within, bodies_within : float
        Distances between centroids up to which pairs are listed, Å.
    mesh : tuple of three int
        Of the Brillouin zone.
    """

    molecules: JointDisplacements
    continuum: Tensor
    bodies: JointDisplacements
    contacts: JointDisplacements
    molecules_within: float
    bodies_within: float
    mesh: tuple[int, int, int]

    @property
    def has_parts(self) -> bool:
        """Whether a molecule has several bodies."""
        return len({first for first, _ in self.bodies.names}) > 1


def joint_displacements(
    model: LatticeModel | HasLattice,
    within: float | None = None,
    mesh: tuple[int, int, int] | None = None,
    progress: ProgressLike | None = None,
) -> Joint:
    """Joint displacements of neighbours.

    Parameters
    ----------
    model : LatticeModel, or OnePhonon
    within : float, optional
        Largest distance between centroids, Å, of copies and of bodies. By default twice the largest
        one of copies, and of bodies, in contact; once with more than 150 degrees of freedom, for
        which finer meshes take long. Of a supercell, only those nearer than their images in it.
    mesh : three int, optional
        See `pair_covariances`.
    progress : Progress or callable, optional

    Returns
    -------
    Joint
        Differentiable in springs, thermal scale, positions and cell.

    Raises
    ------
    InputError
        If the distance is not positive, or the mesh too coarse for it.
    """
    lattice = lattice_of(model)
    bodies, contacts = lattice.bodies, lattice.contacts
    if within is not None and not (math.isfinite(within) and within > 0):
        raise InputError(f"within {within:g} Å is not a distance; give a positive one")
    wholes = _whole_copies(bodies)
    apart = [
        _contact_distances(bodies, contacts, centres) for centres in (wholes, bodies.centroids)
    ]
    factor = REACH if bodies.n_dof <= MAX_DENSE_DOF else REACH_OF_MANY
    copies_within, bodies_within = (
        (factor * x + ROUNDING if within is None else within) for x in apart
    )
    molecules = _neighbours(bodies, wholes, copies_within, whole_copies=True)
    neighbours = _neighbours(bodies, bodies.centroids, bodies_within, whole_copies=False)
    if lattice.zone_average == "supercell":
        # In a periodic box farther ones are nearer images of others.
        molecules, neighbours = (
            pairs.select(own_images(bodies, pairs, mesh or lattice.mesh))
            for pairs in (molecules, neighbours)
        )
    i, j, cell, names = _unique_contacts(bodies, contacts)
    met, row = body_pairs_of_atoms(bodies, i, j, cell)
    own = (
        torch.arange(bodies.n_bodies, device=i.device),
        torch.arange(bodies.n_ops, device=i.device),
    )
    alone = [_each_alone(x, whole) for x, whole in zip(own, (False, True), strict=True)]
    wanted = [molecules, neighbours, met, *alone]
    margin = MARGIN if bodies.n_dof <= MARGIN_DOF else 1.0
    samples = separating_mesh(lattice, wanted, margin=margin) if mesh is None else mesh
    C_copies, C_bodies, C_met, U_bodies, U_copies = pair_covariances(
        lattice, wanted, samples, Progress.of(progress)
    )
    of_atoms = atoms_of_blocks(bodies, i, j, C_met[row])
    U_i, U_j = (atoms_of_blocks(bodies, x, x, U_bodies[bodies.body[x]]) for x in (i, j))
    copy = bodies.copy
    of_copies = _joined(bodies, contacts, molecules, (), wholes, C_copies, U_copies)
    return Joint(
        molecules=of_copies,
        continuum=_continuum(lattice, of_copies),
        bodies=_joined(
            bodies, contacts, neighbours, bodies.names, bodies.centroids, C_bodies, U_bodies
        ),
        contacts=JointDisplacements(
            names,
            pair_operators(bodies, copy[i], copy[j], cell),
            j,
            cell,
            contact_vectors(bodies, i, j, cell),
            of_atoms,
            U_i,
            U_j,
            torch.ones_like(i, dtype=torch.bool),
        ),
        molecules_within=copies_within,
        bodies_within=bodies_within,
        mesh=samples,
    )


def _continuum(lattice: LatticeModel, pairs: JointDisplacements) -> Tensor:
    """Joint ADPs of an elastic continuum; NaN for pairs without distance."""
    apart = pairs.distance > ROUNDING
    # Not a vector of length zero, whose gradient would be NaN.
    vectors = torch.where(apart[:, None], pairs.vector, 1.0)
    found = elasticity(lattice).continuum(vectors)
    return torch.where(apart[:, None, None], found, math.nan)


def _whole_copies(bodies: Bodies) -> Tensor:
    """Centroids of the copies, by shares of alternative conformers, (n_ops, 3)."""
    share, n = bodies.shares[:, None], bodies.n_ops
    weighted = (share * bodies.positions).reshape(n, -1, 3).sum(1)
    return weighted / share.reshape(n, -1, 1).sum(1)


def _each_alone(number: Tensor, whole_copies: bool) -> Pairs:
    """Each with itself, in the same cell."""
    return Pairs(number, number, number.new_zeros(len(number), 3), whole_copies)


@torch.no_grad()
def _contact_distances(bodies: Bodies, contacts: Contacts, centres: Tensor) -> float:
    """Largest distance between the centres of two bodies or copies that contacts join, Å."""
    each = bodies.n_bodies // len(centres)
    a, b, cell = contacts.block_a // each, contacts.block_b // each, contacts.block_cell
    other = (a != b) | (cell != 0).any(1)
    if not bool(other.any()):
        return max(bodies.crystal.cell.parameters[:3])
    matrix = bodies.crystal.cell.matrix
    vector = centres[b] - centres[a] + cell.to(matrix) @ matrix.T
    return float(torch.linalg.vector_norm(vector[other], dim=1).max())


@torch.no_grad()
def _neighbours(bodies: Bodies, centres: Tensor, within: float, whole_copies: bool) -> Pairs:
    """Pairs within a distance of the first copy's own, sorted by distance."""
    cell = bodies.crystal.cell
    matrix, n_first = cell.matrix, len(centres) // bodies.n_ops
    volume = float(torch.linalg.det(matrix).abs())
    expected = n_first * (1 + len(centres) * (4 / 3) * math.pi * within**3 / volume)
    state_memory(
        PAIR_BYTES * expected,
        f"about {expected:.2g} pairs within {within:g} Å",
        "take a smaller distance",
    )
    frac = centres @ cell.inverse.T
    spread = frac[None] - frac[:n_first, None]
    reach = within / cell.spacings
    low = torch.ceil(-reach - spread.amax((0, 1))).long().tolist()
    high = torch.floor(reach - spread.amin((0, 1))).long().tolist()
    found, lengths = [], []
    for R in itertools.product(*(range(a, b + 1) for a, b in zip(low, high, strict=True))):
        shift = matrix @ matrix.new_tensor(R)
        length = torch.cdist(centres[:n_first], centres + shift)
        a, b = (length <= within + ROUNDING).nonzero(as_tuple=True)
        found.append(torch.cat([a[:, None], b[:, None], a.new_tensor(R).expand(len(a), 3)], dim=1))
        lengths.append(length[a, b])
    rows, length = torch.cat(found), torch.cat(lengths)
    order = torch.argsort(torch.round(length / ROUNDING), stable=True)
    rows = rows[order]
    return Pairs(rows[:, 0], rows[:, 1], rows[:, 2:], whole_copies)


def _joined(
    bodies: Bodies,
    contacts: Contacts,
    pairs: Pairs,
    names: tuple[str, ...],
    centres: Tensor,
    C: Tensor,
    own: Tensor,
) -> JointDisplacements:
    """Covariances with the names, operators and vectors of their pairs."""
    matrix = bodies.crystal.cell.matrix
    a, b = pairs.first, pairs.second
    first, second = pairs.copies(bodies)
    numbers = zip(a.tolist(), b.tolist(), strict=True) if names else ()
    called = [(names[i % len(names)], names[j % len(names)]) for i, j in numbers]
    each = bodies.n_bodies // len(centres)
    met = {
        (i // each, j // each, *R)
        for i, j, R in zip(
            contacts.block_a.tolist(),
            contacts.block_b.tolist(),
            contacts.block_cell.tolist(),
            strict=True,
        )
    }
    met |= {(j, i, *(-x for x in R)) for i, j, *R in met}
    keys = torch.cat([a[:, None], b[:, None], pairs.cell], dim=1).tolist()
    itself = [i == j and not any(R) for i, j, *R in keys]
    touching = [tuple(key) in met and not same for key, same in zip(keys, itself, strict=True)]
    return JointDisplacements(
        tuple(called),
        pair_operators(bodies, first, second, pairs.cell),
        b,
        pairs.cell,
        centres[b] - centres[a] + pairs.cell.to(matrix) @ matrix.T,
        C,
        own[a][:, :3, :3],
        own[b][:, :3, :3],
        torch.tensor(touching, dtype=torch.bool, device=a.device),
    )


def _unique_contacts(
    bodies: Bodies, contacts: Contacts
) -> tuple[Tensor, Tensor, Tensor, tuple[tuple[str, str], ...]]:
    """Atoms i in copy 1, j and its cell, of each unique contact of two bodies, and their names.

    Of the equivalents of a contact the one that is named as in tables of contacts.
    """
    interfaces = find_interfaces(bodies, contacts)
    keys = contact_keys(bodies, contacts, interfaces)
    labels = [str(label) for label in bodies.crystal.labels]
    asu, copy, body = (x.tolist() for x in (bodies.asu_atom, bodies.copy, bodies.body))
    i, j, cell = (x.tolist() for x in (contacts.i, contacts.j, contacts.cell))
    forward = interfaces.forward.tolist()
    either = [interfaces.own_inverse[x] for x in interfaces.index.tolist()]
    found: dict[tuple[str, str, str], tuple[int, int, list[int]]] = {}
    for n, key in enumerate(keys):
        p, q, R = i[n], j[n], cell[n]
        if key in found or (body[p] == body[q] and not any(R)):
            continue
        ways = [(p, q, R, forward[n]), (q, p, [-x for x in R], not forward[n])]
        for first, second, vector, right in ways:
            named = (labels[asu[first]], labels[asu[second]]) == key[:2]
            if copy[first] == 0 and (right or either[n]) and named:
                found[key] = first, second, vector
                break
    device = contacts.i.device
    rows = torch.tensor([[a, b, *R] for a, b, R in found.values()], device=device).reshape(-1, 5)
    return rows[:, 0], rows[:, 1], rows[:, 2:], tuple((a, b) for a, b, _ in found)


def _trace(x: Tensor) -> Tensor:
    return x.diagonal(dim1=-2, dim2=-1).sum(-1)
