"""Parametrization of springs: spring constants as functions of free parameters.

Each free parameter is the logarithm of a ratio to the starting springs, which are equal for all
contacts. So zero is the start, and the squared length is the squared distance from it, independent
of units and origin: for scalars the log ratio, for a 6 x 6 stiffness S the affine-invariant
distance ``|log(S0^-1/2 S S0^-1/2)|`` (Pennec, Fillard and Ayache, Int. J. Comput. Vision 66 (2006)
41).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.network.bodies import Bodies
from onephonon.network.contacts import Contacts
from onephonon.network.force_constants import ForceConstants, Springs, force_constants
from onephonon.network.interface_stiffness import InterfaceStiffness
from onephonon.network.springs import ClassSprings, SpringPlan
from onephonon.scattering.jacobian import SpringBasis, spring_basis

#: Free parameters of a symmetric 6 x 6 matrix.
N_STIFFNESS = 21


@dataclass(frozen=True)
class Level:
    """A level of the series of models: which contacts share a spring, and its kind.

    Parameters
    ----------
    name : str
        Name in the settings and in tables.
    by, kind : str
        See `SpringPlan`.
    description : str
        Description in messages and reports.
    """

    name: str
    by: str
    kind: str
    description: str


#: All levels, in the order of the series.
LEVELS = (
    Level("global", "global", "gaussian", "one Gaussian spring for all contacts"),
    Level("interface", "interface", "gaussian", "a Gaussian spring per interface"),
    Level("hybrid", "interface", "hybrid", "springs along and across contacts per interface"),
    Level("residue", "residue", "hybrid", "springs along and across per pair of residues"),
    Level("stiffness", "interface", "stiffness", "a 6 x 6 stiffness per interface"),
)


def find_levels(names: tuple[str, ...]) -> tuple[Level, ...]:
    """Levels by name.

    Raises
    ------
    InputError
        If a name is unknown, or no name is given.
    """
    known = {level.name: level for level in LEVELS}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise InputError(
            f"levels {' '.join(names) or '(empty)'}: give one or more of {', '.join(known)}"
        )
    return tuple(known[name] for name in names)


@dataclass(frozen=True, eq=False)
class LogSprings:
    """Spring constants ``start * exp(x)`` shared within classes of contacts.

    Parameters
    ----------
    level : Level
    bodies : Bodies
    contacts : Contacts
    module : ClassSprings
        Defines the classes; its values are not used.
    start : float
        The starting spring constant, equal for every contact, along and across.
    """

    level: Level
    bodies: Bodies
    contacts: Contacts
    module: ClassSprings
    start: float

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each free parameter."""
        if self.n_constants == 1:
            return self.module.names
        return tuple(
            f"{name} {direction}" for name in self.module.names for direction in ("along", "across")
        )

    @property
    def n_constants(self) -> int:
        """Constants of a class: 1, or 2 along and across."""
        return int(self.module.free.shape[1])

    @property
    def n(self) -> int:
        """Number of free parameters."""
        return int(self.module.free.numel())

    @property
    def common(self) -> Tensor:
        """Direction of the free parameters that multiplies all springs, shape (n,), length 1."""
        return self.contacts.distance.new_full((self.n,), self.n**-0.5)

    def values(self, x: Tensor) -> Tensor:
        """Spring constants, shape (n,); differentiable."""
        return self.start * torch.exp(x)

    def slopes(self, x: Tensor) -> Tensor:
        """Derivative of `values`, shape (n, n)."""
        return torch.diag(self.values(x.detach()))

    def springs(self, x: Tensor) -> Springs:
        """Springs of each contact; differentiable."""
        return self.module.springs(self.values(x).reshape(-1, self.n_constants))

    def constants(self, values: Tensor) -> ForceConstants:
        """Force constants of spring constants (n,), in which they are linear."""
        springs = self.module.springs(values.reshape(-1, self.n_constants))
        return force_constants(self.bodies, self.contacts, springs)

    def initial_values(self, other: LogSprings | MatrixSprings, x: Tensor) -> Tensor:
        """Free parameters closest to the springs of another parametrization.

        A class gets the mean of the logarithms over its contacts; zeros if the other is a stiffness
        matrix, which does not define single contacts.
        """
        if isinstance(other, MatrixSprings):
            return torch.zeros_like(self.contacts.distance[:1]).repeat(self.n)
        springs = other.springs(x.detach())
        index = self.module.contact_class
        logs = torch.stack([springs.k_par, springs.k_perp], dim=1).log() - math.log(self.start)
        if self.n_constants == 1:
            logs = logs.mean(1, keepdim=True)
        n_classes = len(self.module.names)
        total = logs.new_zeros(n_classes, logs.shape[1]).index_add(0, index, logs)
        return (total / torch.bincount(index, minlength=n_classes)[:, None]).reshape(-1)


@dataclass(frozen=True, eq=False)
class MatrixSprings:
    """A stiffness ``S = R exp(X) R^T`` per interface, where ``R R^T`` is the start.

    X is symmetric; its diagonal and sqrt(2) times its upper triangle are the free parameters, so
    that their squared length is that of X.

    Parameters
    ----------
    level : Level
    bodies : Bodies
    contacts : Contacts
    module : InterfaceStiffness
        Defines the interfaces; its values are not used.
    start : float
        The starting spring constant, equal for every contact, along and across.
    root : Tensor, shape (n_interfaces, 6, 6)
        R, lower triangular.
    """

    level: Level
    bodies: Bodies
    contacts: Contacts
    module: InterfaceStiffness
    start: float
    root: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each free parameter: interface and entry of X, as in ``tx.ly``."""
        axes = ("tx", "ty", "tz", "lx", "ly", "lz")
        rows, columns = _upper()
        entries = [f"{axes[i]}.{axes[j]}" for i, j in zip(rows, columns, strict=True)]
        return tuple(f"{name} {entry}" for name in self.module.names for entry in entries)

    @property
    def n(self) -> int:
        """Number of free parameters."""
        return N_STIFFNESS * len(self.root)

    @property
    def common(self) -> Tensor:
        """Direction of the free parameters that multiplies all springs, shape (n,), length 1."""
        entry = [float(i == j) for i, j in zip(*_upper(), strict=True)]
        found = self.root.new_tensor(entry * len(self.root))
        return found / torch.linalg.vector_norm(found)

    def values(self, x: Tensor) -> Tensor:
        """Upper triangle of each S, shape (n,); differentiable."""
        S = self.root @ torch.linalg.matrix_exp(_symmetric(x)) @ self.root.mT
        return S[:, *_upper()].reshape(-1)

    def slopes(self, x: Tensor) -> Tensor:
        """Derivative of `values`, shape (n, n).

        By the eigenvectors of X (Daleckii and Krein's formula), exact also where eigenvalues
        coincide.
        """
        e, Q = torch.linalg.eigh(_symmetric(x.detach()))
        mean, half = 0.5 * (e[:, :, None] + e[:, None]), 0.5 * (e[:, :, None] - e[:, None])
        # (exp a - exp b)/(a - b) = exp(mean) sinh(half)/half.
        small = half.abs() < 1e-4
        safe = torch.where(small, 1.0, half)
        divided = torch.exp(mean) * torch.where(small, 1 + half**2 / 6, torch.sinh(safe) / safe)
        unit = _symmetric(torch.eye(N_STIFFNESS, dtype=x.dtype, device=x.device).reshape(-1))
        rotated = Q.mT[:, None] @ unit @ Q[:, None]
        change = self.root[:, None] @ Q[:, None] @ (divided[:, None] * rotated)
        change = change @ Q.mT[:, None] @ self.root.mT[:, None]
        by_entry = change[:, :, *_upper()].mT
        return torch.block_diag(*by_entry)

    def stiffness(self, x: Tensor) -> Tensor:
        """S of each interface, shape (n_interfaces, 6, 6); differentiable."""
        return self._full(self.values(x))

    def constants(self, values: Tensor) -> ForceConstants:
        """Force constants of upper triangles (n,), in which they are linear."""
        return self.module.constants(self.bodies, self._full(values))

    def initial_values(self, other: LogSprings | MatrixSprings, x: Tensor) -> Tensor:
        """Free parameters closest to the springs of another parametrization."""
        if isinstance(other, MatrixSprings):
            return x.detach().clone()
        springs = other.springs(x.detach())
        S = self.module.from_springs(self.bodies, self.contacts, springs)
        middle = torch.linalg.solve_triangular(self.root, S, upper=False)
        middle = torch.linalg.solve_triangular(self.root, middle.mT, upper=False)
        e, Q = torch.linalg.eigh(0.5 * (middle + middle.mT))
        return _packed(Q @ torch.diag_embed(e.log()) @ Q.mT)

    def _full(self, values: Tensor) -> Tensor:
        return _from_upper(values.reshape(-1, N_STIFFNESS))


Parametrization = LogSprings | MatrixSprings


def make_parametrization(
    level: Level, bodies: Bodies, contacts: Contacts, start: float
) -> Parametrization:
    """The parametrization of a level.

    Parameters
    ----------
    level : Level
    bodies : Bodies
    contacts : Contacts
    start : float
        The starting spring constant, equal for every contact, along and across.

    Raises
    ------
    InputError
        If such springs are not possible for the bodies.
    """
    if level.kind != "stiffness":
        plan = SpringPlan(by=level.by, kind=level.kind, start=start)
        return LogSprings(level, bodies, contacts, ClassSprings(bodies, contacts, plan), start)
    module = InterfaceStiffness(bodies, contacts)
    same = torch.full_like(contacts.distance, start)
    root = torch.linalg.cholesky(module.from_springs(bodies, contacts, Springs(same, same)))
    return MatrixSprings(level, bodies, contacts, module, start, root)


def parametrization_basis(parametrization: Parametrization) -> SpringBasis:
    """Derivative of the force constants by each spring constant."""
    like = parametrization.contacts.distance.new_zeros(parametrization.n)
    return spring_basis(parametrization.constants, like)


def _upper() -> tuple[list[int], list[int]]:
    """Rows and columns of the upper triangle."""
    rows, columns = torch.triu_indices(6, 6).tolist()
    return rows, columns


def _from_upper(upper: Tensor) -> Tensor:
    """Symmetric matrices (n, 6, 6) of upper triangles (n, 21)."""
    rows, columns = torch.triu_indices(6, 6, device=upper.device)
    which = torch.arange(len(upper), device=upper.device)[:, None]
    S = upper.new_zeros(len(upper), 6, 6).index_put((which, rows, columns), upper)
    return S + S.mT - torch.diag_embed(S.diagonal(dim1=1, dim2=2))


def _weights(like: Tensor) -> Tensor:
    """Divisors that convert free parameters to entries of X."""
    rows, columns = _upper()
    off = torch.tensor([i != j for i, j in zip(rows, columns, strict=True)], device=like.device)
    return torch.where(off, like.new_tensor(2.0).sqrt(), 1.0)


def _symmetric(x: Tensor) -> Tensor:
    """X of free parameters, shape (n, 6, 6)."""
    return _from_upper(x.reshape(-1, N_STIFFNESS) / _weights(x))


def _packed(X: Tensor) -> Tensor:
    """Free parameters of X."""
    return (X[:, *_upper()] * _weights(X)).reshape(-1)
