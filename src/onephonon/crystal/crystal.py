"""The crystal: atoms of one asymmetric unit, the cell, and the space group's operators."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gemmi
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.tensors import map_tensors
from onephonon.core.units import EIGHT_PI_SQUARED

from .cell import UnitCell
from .form_factors import FormFactors, form_factors
from .remarks import Remark, remarks_text
from .symmetry import check_symmetry, laue_group, pure_translations, symmetry_operators

#: Fractional coordinates up to this are taken: none is so far from the origin, and double
#: precision still has 1e-12 of a cell there.
MAX_CELLS = 1e4


@dataclass(frozen=True)
class AtomLabel:
    """Name of an atom in reports.

    Parameters
    ----------
    chain : str
        Name by which chains are told apart: that of the file, or its segment identifier, with a
        number (``A#2``) for the second molecule of the same name.
    residue_number : str
        As in the file, with the insertion code: 60, -5, 60A.
    residue_name, atom_name, element : str
    altloc : str
        Letter of an alternative conformer that excludes others; empty where one conformer stands
        for the residue.
    occurrence : int
        Counts the residues that have this number in this chain, from 1 in the order of the file:
        numbers of waters start again after 9999.
    """

    chain: str
    residue_number: str
    residue_name: str
    atom_name: str
    element: str
    altloc: str = ""
    occurrence: int = 1

    @property
    def residue_id(self) -> tuple[str, str, int]:
        """What tells residues apart; the same for alternative types of one residue."""
        return self.chain, self.residue_number, self.occurrence

    @property
    def residue(self) -> str:
        """Chain, residue type and number."""
        again = f"#{self.occurrence}" if self.occurrence > 1 else ""
        return f"{self.chain or '_'}/{self.residue_name} {self.residue_number}{again}"

    def __str__(self) -> str:
        where = f"{self.residue}/{self.atom_name}"
        return f"{where}.{self.altloc}" if self.altloc else where


@dataclass(frozen=True)
class Crystal:
    """One asymmetric unit, the cell and the symmetry operators.

    Parameters
    ----------
    cell : UnitCell
    spacegroup : str
        Hermann-Mauguin symbol.
    rotations : Tensor, shape (n_ops, 3, 3)
        Rotation parts of the operators in fractional coordinates; the first is the identity.
    translations : Tensor, shape (n_ops, 3)
        Translation parts, centring included.
    positions_frac : Tensor, shape (n_atoms, 3)
    U : Tensor, shape (n_atoms, 3, 3)
        Mean-square displacements, Cartesian, Å^2.
    occupancies : Tensor, shape (n_atoms,)
    masses : Tensor, shape (n_atoms,)
        In dalton; they enter frequencies only, never intensities.
    form_factors : FormFactors
    labels : tuple of AtomLabel, length n_atoms
    remarks : tuple of Remark
        Differences between the file and this crystal.
    """

    cell: UnitCell
    spacegroup: str
    rotations: Tensor
    translations: Tensor
    positions_frac: Tensor
    U: Tensor
    occupancies: Tensor
    masses: Tensor
    form_factors: FormFactors
    labels: tuple[AtomLabel, ...]
    remarks: tuple[Remark, ...] = ()

    @classmethod
    def from_atoms(
        cls,
        cell: Sequence[float] | Tensor | UnitCell,
        spacegroup: str,
        elements: Sequence[str],
        positions_frac: Tensor | Sequence[Sequence[float]],
        *,
        B: Tensor | Sequence[float] | float = 10.0,
        U: Tensor | None = None,
        occupancies: Tensor | Sequence[float] | float = 1.0,
        labels: Sequence[AtomLabel] | None = None,
        radiation: str = "xray",
    ) -> Crystal:
        """Create a crystal from arrays.

        Parameters
        ----------
        cell : UnitCell or six numbers
            Lengths in Å and angles in degrees.
        spacegroup : str
            Hermann-Mauguin symbol in any setting gemmi knows.
        elements : sequence of str, length n_atoms
        positions_frac : array, shape (n_atoms, 3)
        B : float or array, shape (n_atoms,)
            Isotropic B-factors in Å^2, used where `U` is not given.
        U : Tensor, shape (n_atoms, 3, 3), optional
            Cartesian mean-square displacements in Å^2.
        occupancies : float or array, shape (n_atoms,)
            Warned of if all are 0.
        labels : sequence of AtomLabel, optional
            By default every atom belongs to residue 1 of chain A.
        radiation : {'xray', 'electron', 'neutron'}

        Raises
        ------
        InputError
            If the arrays' lengths disagree or a number is not finite.
        StructureError
            If the space group or an element is unknown.
        """
        given = cell if isinstance(cell, UnitCell) else UnitCell.from_parameters(cell)
        unit_cell = given.to(None, None)
        like = unit_cell.matrix
        n = len(elements)
        x = torch.as_tensor(positions_frac, dtype=like.dtype, device=like.device)
        occ = torch.as_tensor(occupancies, dtype=like.dtype, device=like.device).expand(n)
        b = torch.as_tensor(B, dtype=like.dtype, device=like.device).expand(n)
        U = isotropic_U(b) if U is None else U
        for name, value, shape in (
            ("positions_frac", x, (n, 3)),
            ("B", b, (n,)),
            ("U", U, (n, 3, 3)),
            ("occupancies", occ, (n,)),
        ):
            if value.shape != shape:
                raise InputError(
                    f"{name} has shape {tuple(value.shape)}; {n} elements need {shape}"
                )
            check_finite(name, value)
        check_finite("cell", like)
        far = float(x.detach().abs().max()) if n else 0.0
        if far > MAX_CELLS:
            raise InputError(
                f"positions_frac contains {far:.3g}, a place that many cells away; give fractions "
                "of the cell, up to some cells from the origin"
            )
        if n and not bool(occ.detach().any()):
            warnings.warn("all occupancies are 0: the crystal scatters nothing", stacklevel=2)
        if labels is None:
            labels = [AtomLabel("A", "1", "UNK", f"{e}{i + 1}", e) for i, e in enumerate(elements)]
        rotations, translations = symmetry_operators(spacegroup)
        check_symmetry(unit_cell, spacegroup, rotations)
        masses = torch.tensor([gemmi.Element(e).weight for e in elements], dtype=torch.float64)
        return cls(
            cell=unit_cell,
            spacegroup=spacegroup,
            rotations=torch.from_numpy(rotations).to(like),
            translations=torch.from_numpy(translations).to(like),
            positions_frac=x,
            U=U,
            occupancies=occ,
            masses=masses.to(like),
            form_factors=form_factors(elements, radiation),
            labels=tuple(labels),
        ).to(like.device, like.dtype)

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the asymmetric unit."""
        return int(self.positions_frac.shape[0])

    @property
    def n_ops(self) -> int:
        """Number of symmetry operators, centring included."""
        return int(self.rotations.shape[0])

    @property
    def laue_operators(self) -> NDArray[np.int64]:
        """Rotations of the Laue group, ``hkl' = hkl @ R``, shape (n, 3, 3), the identity first."""
        return laue_group(self.rotations.detach().cpu().numpy())

    @property
    def centring(self) -> NDArray[np.float64]:
        """Translations of the operators without rotation, fractional, in [0, 1), shape (n, 3)."""
        parts = (self.rotations, self.translations)
        return pure_translations(*(x.detach().cpu().double().numpy() for x in parts))

    @property
    def positions(self) -> Tensor:
        """Cartesian coordinates in Å, shape (n_atoms, 3)."""
        return self.positions_frac @ self.cell.matrix.T

    @property
    def B(self) -> Tensor:
        """Isotropic equivalent B-factors in Å^2, shape (n_atoms,)."""
        return EIGHT_PI_SQUARED * mean_square(self.U)

    def report(self) -> str:
        """What was read, changed, dropped, assumed and ignored, one line each."""
        return remarks_text(self.remarks)

    def replace(self, **changes: Any) -> Crystal:
        """Return a copy with some fields replaced; differentiable in the new values."""
        return dataclasses.replace(self, **changes)

    def with_tensors(
        self,
        *,
        positions: Tensor | None = None,
        B: Tensor | None = None,
        U: Tensor | None = None,
        occupancies: Tensor | None = None,
        cell: Tensor | None = None,
    ) -> Crystal:
        """Return the crystal with the caller's tensors, used without copying.

        Parameters
        ----------
        positions : Tensor, shape (n_atoms, 3)
            Cartesian, Å, in the new cell if one is given too.
        B : Tensor, shape (n_atoms,)
            Isotropic B-factors, Å^2.
        U : Tensor, shape (n_atoms, 3, 3)
            Cartesian mean-square displacements, Å^2.
        occupancies : Tensor, shape (n_atoms,)
        cell : Tensor, shape (6,) or (3, 3)
            a, b, c, alpha, beta, gamma, or the matrix whose columns are the axes. Fractional
            coordinates and Cartesian U stay constant.

        Returns
        -------
        Crystal
            Gradients flow to the tensors passed in.

        Raises
        ------
        InputError
            If a shape does not fit, or both B and U are given.
        """
        if B is not None and U is not None:
            raise InputError("both B and U were given; U includes the isotropic part, so give one")
        n = self.n_atoms
        for name, value, shapes in (
            ("positions", positions, ((n, 3),)),
            ("B", B, ((n,),)),
            ("U", U, ((n, 3, 3),)),
            ("occupancies", occupancies, ((n,),)),
            ("cell", cell, ((6,), (3, 3))),
        ):
            if value is not None and tuple(value.shape) not in shapes:
                wanted = " or ".join(str(s) for s in shapes)
                raise InputError(f"{name} has shape {tuple(value.shape)}; give {wanted}")
        changes: dict[str, Any] = {}
        unit_cell = self.cell
        if cell is not None:
            unit_cell = (
                UnitCell.from_parameters(cell) if tuple(cell.shape) == (6,) else UnitCell(cell)
            )
            changes["cell"] = unit_cell
        if positions is not None:
            changes["positions_frac"] = positions @ unit_cell.inverse.T
        if B is not None:
            U = isotropic_U(B)
        if U is not None:
            changes["U"] = U
        if occupancies is not None:
            changes["occupancies"] = occupancies
        return self.replace(**changes)

    def tensors(self) -> list[Tensor]:
        """All tensors that may require gradients."""
        f = self.form_factors
        own = [self.positions_frac, self.U, self.occupancies, self.masses]
        return [self.cell.matrix, *own, f.a, f.b, f.c]

    def select(self, keep: Sequence[bool] | Tensor) -> Crystal:
        """Return the crystal with a selection of its atoms.

        Parameters
        ----------
        keep : sequence of bool or bool Tensor, length n_atoms
            For example ``[label.atom_name == "CA" for label in crystal.labels]``.
        """
        mask = torch.as_tensor(keep, dtype=torch.bool, device=self.U.device)
        if mask.shape != (self.n_atoms,) or not bool(mask.any()):
            raise InputError(
                f"keep has shape {tuple(mask.shape)} and {int(mask.sum())} atoms to keep; give one "
                f"bool for each of {self.n_atoms} atoms, some of them true"
            )
        f = self.form_factors
        return self.replace(
            positions_frac=self.positions_frac[mask],
            U=self.U[mask],
            occupancies=self.occupancies[mask],
            masses=self.masses[mask],
            form_factors=dataclasses.replace(f, kind=f.kind[mask]),
            labels=tuple(x for x, k in zip(self.labels, mask.tolist(), strict=True) if k),
        )

    def in_p1(self) -> Crystal:
        """The same atoms as the content of a whole cell in P 1, without other operators."""
        eye = torch.eye(3).to(self.rotations)[None]
        return self.replace(
            spacegroup="P 1", rotations=eye, translations=torch.zeros_like(eye[:, 0])
        )

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Crystal:
        """Return the same crystal on another device or in another dtype."""
        return map_tensors(
            self, lambda t: t.to(device=device, dtype=dtype if t.is_floating_point() else None)
        )


def check_finite(name: str, values: Tensor) -> None:
    """Name the first value of an array that is not a finite number.

    Raises
    ------
    InputError
    """
    if not values.is_floating_point():
        return
    wrong = ~torch.isfinite(values.detach())
    if bool(wrong.any()):
        first = tuple(wrong.nonzero()[0].tolist())
        raise InputError(
            f"{name} contains a value that is not finite: {float(values.detach()[first])} at "
            f"{list(first)} ({int(wrong.sum())} such values); correct it"
        )


def isotropic_U(B: Tensor) -> Tensor:
    """Convert B-factors (Å^2), shape (n,), to ``U = B/(8 pi^2) 1``, shape (n, 3, 3)."""
    eye = torch.eye(3, dtype=B.dtype, device=B.device)
    return (B / EIGHT_PI_SQUARED)[:, None, None] * eye


def mean_square(U: Tensor) -> Tensor:
    """Mean-square displacement along one direction, ``tr(U)/3``, shape (...)."""
    return U.diagonal(dim1=-2, dim2=-1).sum(-1) / 3.0
