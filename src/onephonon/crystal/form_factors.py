"""Scattering factors of the elements as sums of Gaussians, for X-rays, electrons and neutrons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import gemmi
import torch
from torch import Tensor

from onephonon.core.errors import InputError, StructureError

RADIATIONS = ("xray", "electron", "neutron")


@dataclass(frozen=True)
class FormFactors:
    """``f(q) = sum_g a_g exp(-b_g (|q|/4 pi)^2) + c`` for each kind of scatterer.

    Parameters
    ----------
    a, b : Tensor, shape (n_kinds, n_gauss)
        Amplitudes (e for X-rays, Å for electrons, fm for neutrons) and widths (Å^2).
    c : Tensor, shape (n_kinds,)
    kind : Tensor, shape (n_atoms,), int64
        The kind of each atom.
    radiation : {'xray', 'electron', 'neutron'}
    """

    a: Tensor
    b: Tensor
    c: Tensor
    kind: Tensor
    radiation: str = "xray"

    def evaluate(self, q_squared: Tensor) -> Tensor:
        """Scattering factor of each kind at ``|q|^2`` (1/Å^2), shape (..., n_kinds).

        Differentiable in `q_squared` and in the coefficients.
        """
        s_squared = q_squared[..., None, None] / (16.0 * math.pi**2)
        return (self.a * torch.exp(-self.b * s_squared)).sum(-1) + self.c


def form_factors(elements: Sequence[str], radiation: str = "xray") -> FormFactors:
    """Look up the scattering factors of elements in gemmi's tables.

    Parameters
    ----------
    elements : sequence of str, length n_atoms
        Element symbols; neutral atoms.
    radiation : {'xray', 'electron', 'neutron'}
        X-rays: International Tables C 6.1.1.4 (1992), four Gaussians and a constant; electrons:
        IT C 4.3.2.2, five Gaussians; neutrons: bound coherent lengths (Neutron News 3, 1992).

    Raises
    ------
    InputError
        If `radiation` is not one of the three.
    StructureError
        If a table has no entry for an element.
    """
    if radiation not in RADIATIONS:
        raise InputError(f"radiation {radiation!r} is not one of {', '.join(RADIATIONS)}")
    names = sorted(set(elements))
    rows = [_coefficients(name, radiation) for name in names]
    number = {name: i for i, name in enumerate(names)}
    a, b, c = (torch.tensor(x, dtype=torch.float64) for x in zip(*rows, strict=True))
    return FormFactors(a, b, c, torch.tensor([number[e] for e in elements]), radiation)


def _coefficients(name: str, radiation: str) -> tuple[list[float], list[float], float]:
    """Amplitudes, widths and constant of one element."""
    element = gemmi.Element(name)
    unknown = element.atomic_number == 0
    if radiation == "neutron":
        length = None if unknown else element.neutron92.get_coefs()[0]
        if length:
            return [0.0], [1.0], float(length)
    else:
        table = element.it92 if radiation == "xray" else element.c4322
        if table is not None and not unknown:
            constant = float(getattr(table, "c", 0.0))  # only the X-ray table has a constant
            return list(table.a), list(table.b), constant
    raise StructureError(
        f"there is no {radiation} scattering factor for element {name!r}; correct the element "
        "column of the file or leave the atoms out"
    )
