"""Segments of a molecule, between which covariances of motion are estimated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.crystal.crystal import Crystal
from onephonon.network.bodies import gather_bodies

#: Atoms of the backbone of proteins.
BACKBONE = ("N", "CA", "C", "O", "OXT")

#: Named divisions.
DIVISIONS = ("residue", "backbone")


@dataclass(frozen=True)
class Segments:
    """A division of the atoms of the asymmetric unit into segments.

    Parameters
    ----------
    numbers : tuple of int, length n_atoms
        Segment of each atom, from 0.
    names : tuple of str, length n_segments
    """

    numbers: tuple[int, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, crystal: Crystal, by: str = "residue") -> Segments:
        """Divide the asymmetric unit of a crystal.

        Parameters
        ----------
        crystal : Crystal
        by : {'residue', 'backbone'}, 'N pieces' as '24', or ranges
            Each residue; the backbone and the side chain of each residue; a number of pieces of
            each of about the same number of residues, in the order of the file; or ranges of
            residues such as 'A:1-60 A:61-129'.

        Raises
        ------
        InputError
            If there are more pieces than residues, or ranges are not valid.
        """
        if by.isascii() and by.isdigit():
            return cls._pieces(crystal, int(by))
        if by == "backbone":
            keys = [
                f"{label.residue} {'backbone' if label.atom_name in BACKBONE else 'side chain'}"
                for label in crystal.labels
            ]
            return cls._numbered(keys)
        bodies = gather_bodies(crystal, by)
        n = crystal.n_atoms
        return cls(tuple(bodies.body[:n].tolist()), bodies.names)

    @classmethod
    def _numbered(cls, keys: list[str]) -> Segments:
        number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        return cls(tuple(number[key] for key in keys), tuple(number))

    @classmethod
    def _pieces(cls, crystal: Crystal, n: int) -> Segments:
        residues = cls.of(crystal, "residue")
        if not 1 <= n <= residues.n:
            raise InputError(
                f"{n} segments of {residues.n} residues: give 1 to {residues.n}, or by=backbone"
            )
        piece = [i * n // residues.n for i in range(residues.n)]
        first = [piece.index(p) for p in range(n)]
        last = [residues.n - 1 - piece[::-1].index(p) for p in range(n)]
        names = tuple(
            residues.names[a] if a == b else f"{residues.names[a]} to {residues.names[b]}"
            for a, b in zip(first, last, strict=True)
        )
        return cls(tuple(piece[number] for number in residues.numbers), names)

    @property
    def n(self) -> int:
        """Number of segments."""
        return len(self.names)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the atoms of each segment, (n_atoms, ...) to (n, ...)."""
        number = torch.tensor(self.numbers, device=values.device)
        count = torch.bincount(number, minlength=self.n).to(values)
        total = values.new_zeros(self.n, *values.shape[1:]).index_add(0, number, values)
        return total / count.reshape(-1, *(1,) * (values.ndim - 1))

    def centroids(self, crystal: Crystal) -> Tensor:
        """Mean position of the atoms of each segment, shape (n, 3), Å."""
        return self.mean(crystal.positions)

    def closest(self, crystal: Crystal) -> Tensor:
        """Shortest distance between atoms of two segments, shape (n, n), Å; 0 within one."""
        x = crystal.positions.detach()
        order = np.argsort(self.numbers, kind="stable")
        first = np.searchsorted(np.asarray(self.numbers)[order], np.arange(self.n))
        between = torch.cdist(x, x).cpu().numpy()[order][:, order]
        for axis in (0, 1):
            between = np.minimum.reduceat(between, first, axis=axis)
        return torch.from_numpy(between).to(x)
