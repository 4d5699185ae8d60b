"""`Disorder`: several independent components of disorder, and the sum of their scattering."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.crystal.crystal import mean_square
from onephonon.network.bodies import Bodies
from onephonon.scattering.points import QPoints

from .accounts import Accounts, accounts_of
from .atoms import Atoms
from .component import Component
from .sums import products_in_atoms

#: Shares that add up to 1 may miss it by rounding.
ROUNDING = 1e-9


class DisorderWarning(UserWarning):
    """Components of disorder do not fit the displacements of the crystal."""


@dataclass(frozen=True)
class Disorder:
    """Independent components of disorder, whose covariances add.

    Parameters
    ----------
    components : tuple of Component
        A component whose amount is not given (neither share nor sigma) takes what the others
        leave of the crystal's mean U: several such take equal shares of their own, and `Atoms` what
        all the others leave of each atom's U.

    Raises
    ------
    InputError
        If there is no component.

    Notes
    -----
    With ``C = sum_c C_c`` equation (3) has ``exp(sum_c x_c) - 1``. The first order is the sum of
    those of the components. Beyond it there are products such as
    ``(exp(x_a) - 1)(exp(x_b) - 1)`` too, of two motions of the same pair of atoms. Those of an
    atom with itself are included, so that the mean over directions at high resolution,
    ``sum_j f_j^2 [1 - exp(-2 W_j)]``, is right; those of two atoms are not. They are exactly zero
    for `Atoms` beside anything.
    """

    components: tuple[Component, ...]

    def __post_init__(self) -> None:
        if not self.components:
            raise InputError("disorder has no component; give one or more")

    @property
    def text(self) -> str:
        """The components as they are written, joined by ``+``."""
        return "+".join(component.text for component in self.components)

    def intensity(
        self,
        bodies: Bodies,
        points: QPoints,
        order: int | None = 1,
        progress: Progress | None = None,
    ) -> Tensor:
        """Diffuse intensity of all components.

        Parameters
        ----------
        bodies : Bodies
            The atoms of one unit cell; the crystal's U is that of all motion, in the Debye-Waller
            factors of every component.
        points : QPoints
        order : int or None
            Number of orders that are summed, from the first; None for all.
        progress : Progress, optional

        Returns
        -------
        Tensor, shape (n_q,), e^2 per cell
            NaN where the points are not valid. Differentiable as its components are.

        Raises
        ------
        InputError
            As for `settled`.
        """
        components, taken, _ = self._settle(bodies)
        U = bodies.U
        parts = [c.intensity(bodies, points, U, order, progress) for c in components]
        if order != 1 and len(components) > 1:
            parts.append(products_in_atoms(bodies, points, U, taken, order, progress))
        return torch.stack(parts).sum(0)

    def settled(self, bodies: Bodies) -> Disorder:
        """The same with all amounts decided.

        Parameters
        ----------
        bodies : Bodies

        Returns
        -------
        Disorder
            Shares are differentiable in the crystal and in the amounts that were given.

        Raises
        ------
        InputError
            If the components that were given amounts take more than the crystal's mean U.
        """
        return Disorder(self._settle(bodies)[0])

    def accounts(self, bodies: Bodies) -> Accounts:
        """What each component takes of the mean B and of every atom's U, and what is left.

        Parameters
        ----------
        bodies : Bodies

        Raises
        ------
        InputError
            As for `settled`.
        """
        components, taken, remarks = self._settle(bodies)
        return accounts_of(bodies, tuple(c.text for c in components), taken, remarks)

    def check(self, bodies: Bodies) -> Accounts:
        """`accounts`, and a `DisorderWarning` for each of its remarks."""
        found = self.accounts(bodies)
        for remark in found.remarks:
            warnings.warn(remark, DisorderWarning, stacklevel=2)
        return found

    def _settle(
        self, bodies: Bodies
    ) -> tuple[tuple[Component, ...], list[Tensor], tuple[str, ...]]:
        """The components with amounts, their displacements, and remarks."""
        whole = bodies.mean(mean_square(bodies.U))
        if not float(whole.detach()) > 0:
            raise InputError(
                f"the mean U of the crystal is {float(whole.detach()):g} Å^2, so components have "
                "nothing to share; give B-factors"
            )
        components = list(self.components)
        rest = [i for i, c in enumerate(components) if isinstance(c, Atoms) and c.share is None]
        taken = {i: c.displacements(bodies) for i, c in enumerate(components) if i not in rest}
        if len(rest) > 1:
            raise InputError(
                f"disorder {self.text!r}: what is left can be given to atoms only once"
            )
        free = [i for i in taken if takes_what_is_left(components[i])]
        given = [i for i in taken if i not in free]
        remains = 1.0 - sum((bodies.mean(mean_square(taken[i])) for i in given), 0.0) / whole
        self._check_given(bodies, given, taken, float(remains.detach()))
        remarks: list[str] = []
        if free:
            self._check_rest(free, given, float(remains.detach()))
            wanted = sum((bodies.mean(mean_square(taken[i])) for i in free), 0.0) / whole
            share = torch.clamp(remains / wanted, max=1.0)
            rounded = float(share.detach())
            for i in free if rounded < 1 - ROUNDING else []:
                components[i] = components[i].with_parameters({"share": share})
                taken[i] = components[i].displacements(bodies)
                remarks.append(
                    f"the share of {self.components[i].text!r} is set to {rounded:.3g}, so that "
                    "all components together have the mean B of the file"
                )
        for i in rest:
            left_by = sum(taken.values(), torch.zeros_like(bodies.U))
            components[i] = atoms = Atoms(others=left_by)
            taken[i] = atoms.displacements(bodies)
        return tuple(components), [taken[i] for i in range(len(components))], tuple(remarks)

    def _check_given(
        self, bodies: Bodies, given: Sequence[int], taken: dict[int, Tensor], remains: float
    ) -> None:
        if remains >= -ROUNDING:
            return
        texts = tuple(self.components[i].text for i in given)
        found = accounts_of(bodies, texts, [taken[i] for i in given], ())
        parts = ", ".join(
            f"{text!r} {float(B.detach()):.3g}" for text, B in zip(texts, found.B, strict=True)
        )
        worst = bodies.crystal.labels[int(bodies.asu_atom[int(found.smallest.argmin())])]
        raise InputError(
            f"disorder {self.text!r} takes more than there is: of the mean B-factor of "
            f"{float(found.B_of_crystal.detach()):.3g} Å^2, {parts}, together "
            f"{float(found.B.detach().sum()):.3g} Å^2, most beyond what {worst} has; give smaller "
            "shares, or leave one out, which then takes what the others leave"
        )

    def _check_rest(self, free: Sequence[int], given: Sequence[int], remains: float) -> None:
        if remains > ROUNDING:
            return
        left_out = " and ".join(repr(self.components[i].text) for i in free)
        full = ", ".join(repr(self.components[i].text) for i in given)
        raise InputError(
            f"disorder {self.text!r}: {full} takes the whole mean B-factor and leaves nothing for "
            f"{left_out}; give a smaller share"
        )


def takes_what_is_left(component: Component) -> bool:
    """Whether a component has a share that was not given."""
    return "share" in component.parameters and getattr(component, "share", None) is None
