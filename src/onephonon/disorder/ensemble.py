"""`Ensemble`: alternative structures, each with its probability (Guinier's equation)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.crystal.crystal import Crystal
from onephonon.network.bodies import Bodies, gather_bodies
from onephonon.scattering.amplitudes.choice import choose_engine
from onephonon.scattering.numerics import Numerics
from onephonon.scattering.points import QPoints

from .amount import check_names
from .component import Parameter
from .notation import component_text
from .sums import NUMBERS_AT_A_TIME, at_valid_points

COHERENT = ("asu", "cell")


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Alternative structures of parts of the crystal.

    ``I = sum_g [sum_c p_c |F_c|^2 - |sum_c p_c F_c|^2]`` over the independent groups g of states
    c, such as the conformers of one residue, or whole models. A part that all states share drops
    out.

    Parameters
    ----------
    crystal : Crystal
        The atoms of all states, one state after another; occupancies are those within a state, U
        that of the state, in its Debye-Waller factor.
    state : tuple of int, length n_atoms
        The state of each atom.
    group : tuple of int, length n_states
        The group of each state.
    probability : Tensor, shape (n_states,)
        In each group at most 1 together; the rest is a state without atoms.
    coherent : {'asu', 'cell'}
        Whether each copy of the asymmetric unit has its state independently of the others, or all
        those of a cell have the same. Cells are independent.
    options : mapping of str to str
        What the text says beside `coherent`.
    numerics : Numerics

    Raises
    ------
    InputError
        If lengths disagree, or a probability cannot be.

    Notes
    -----
    The states stand beside the U of the file: an ensemble takes nothing of it, and has no
    Debye-Waller factor for the motion of other components. It has no orders: its whole intensity
    counts with the first.
    """

    name: ClassVar[str] = "ensemble"

    crystal: Crystal
    state: tuple[int, ...]
    group: tuple[int, ...]
    probability: Tensor
    coherent: str = "asu"
    options: Mapping[str, str] = field(default_factory=dict)
    numerics: Numerics = field(default_factory=Numerics, repr=False)

    def __post_init__(self) -> None:
        if self.coherent not in COHERENT:
            choices = ", ".join(COHERENT)
            raise InputError(f"ensemble: coherent={self.coherent!r} is not one of {choices}")
        n = len(self.group)
        if len(self.state) != self.crystal.n_atoms or self.probability.shape != (n,):
            raise InputError(
                f"ensemble: {len(self.state)} atoms have a state and {len(self.probability)} "
                f"states a probability; there are {self.crystal.n_atoms} atoms and {n} states"
            )
        if sorted(set(self.state)) != list(range(n)):
            raise InputError(f"ensemble: every one of its {n} states needs an atom")
        p = self.probability.detach()
        of_group = p.new_zeros(self.n_groups).index_add(0, self._index(), p)
        if bool((p < 0).any()) or bool((of_group > 1 + 1e-6).any()):
            raise InputError(
                f"ensemble: probabilities of a group add up to {float(of_group.max()):g}, the "
                f"smallest is {float(p.min()):g}; give numbers from 0 that add up to 1 at most"
            )

    @property
    def n_groups(self) -> int:
        """Number of groups of states."""
        return len(set(self.group))

    def _index(self) -> Tensor:
        """Group of each state, counted from 0, shape (n_states,)."""
        number = {g: i for i, g in enumerate(dict.fromkeys(self.group))}
        return torch.tensor([number[g] for g in self.group], device=self.probability.device)

    @property
    def text(self) -> str:
        """As it is written."""
        coherent = None if self.coherent == "asu" else self.coherent
        return component_text(self.name, {**self.options, "coherent": coherent})

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """None."""
        return {}

    def with_parameters(self, values: Mapping[str, Tensor]) -> Self:
        """The same, since there are no parameters; see `Component.with_parameters`."""
        check_names(self, values)
        return self

    def displacements(self, bodies: Bodies) -> Tensor:
        """Zero: the states stand beside the U of the file."""
        return torch.zeros_like(bodies.U)

    def intensity(
        self,
        bodies: Bodies,  # noqa: ARG002  (the states have their own atoms)
        points: QPoints,
        U: Tensor,  # noqa: ARG002  (and their own U)
        order: int | None,  # noqa: ARG002
        progress: Progress | None = None,
    ) -> Tensor:
        """Variance of the scattered amplitude; see `Component.intensity`.

        Differentiable in the probabilities, the crystal of the states, and q.
        """
        states = gather_bodies(self.crystal, self.state)
        numerics, n = self.numerics, int(points.valid.sum())
        engine = choose_engine(numerics.engine, numerics.rtol, states, n, False, 0)
        group, p, n_groups = self._index(), self.probability, self.n_groups

        def variance(q: Tensor) -> Tensor:
            F = engine.moments(states, q, states.U, 0, 1.0)[:, :, 0]
            F = F.reshape(len(q), states.n_ops, len(p))
            if self.coherent == "cell":
                F = F.sum(1, keepdim=True)
            mean = F.new_zeros(*F.shape[:2], n_groups).index_add(2, group, p * F)
            squares = p * (F.real.square() + F.imag.square())
            return squares.sum((1, 2)) - (mean.real.square() + mean.imag.square()).sum((1, 2))

        size = numerics.batch_size or max(1, NUMBERS_AT_A_TIME // (8 * states.n_bodies))
        return at_valid_points(points, variance, size, "ensemble", progress)
