"""`Liquid`: atoms that move like parts of a liquid, the more alike the closer they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.crystal.crystal import mean_square
from onephonon.network.bodies import Bodies
from onephonon.scattering.numerics import Numerics
from onephonon.scattering.points import QPoints

from .component import Parameter
from .correlation import Correlation
from .pair_choice import liquid_intensity
from .pair_motion import PairMotion

Number = float | Tensor

SCOPES = ("crystal", "asu", "body")
AMPLITUDES = ("equal", "atoms")

#: Limits of a parameter are excluded, but a share may be 1.
ABOVE_ONE = math.nextafter(1.0, 2.0)

#: Unit, meaning and upper limit of each parameter; the lower limit is 0.
PARAMETERS = {
    "sigma": ("Å", "rms displacement along one direction", math.inf),
    "sigma_x": ("Å", "rms displacement along x", math.inf),
    "sigma_y": ("Å", "rms displacement along y", math.inf),
    "sigma_z": ("Å", "rms displacement along z", math.inf),
    "share": ("", "share of each atom's mean U", ABOVE_ONE),
    "gamma": ("Å", "correlation length", math.inf),
    "gamma2": ("Å", "second correlation length", math.inf),
    "mix": ("", "share of the second correlation length", 1.0),
}


@dataclass(frozen=True)
class Liquid:
    """Liquid-like motions (LLM).

    ``C_jk(R) = A_j A_k^T Gamma(|r_k + R - r_j|)`` with ``Gamma(r) = exp(-r/gamma)``, or with two
    lengths ``(1 - mix) exp(-r/gamma) + mix exp(-r/gamma2)``.

    Parameters
    ----------
    gamma : float or Tensor
        Correlation length, Å.
    scope : {'crystal', 'asu', 'body'}
        Which atoms move together: all of the crystal, those of one copy of the asymmetric unit, or
        those of one body of the `Bodies` that the methods are given.
    amplitude : {'equal', 'atoms'}, optional
        'equal': all atoms by `sigma`. 'atoms': each by the share of its own mean U in the crystal,
        ``A_j^2 = share tr(U_j)/3``. By default 'equal' if sigma is given.
    sigma : float or Tensor, shape () or (3,), optional
        Root-mean-square displacement along every direction, or along the Cartesian axes x, y, z,
        Å. The axes turn with each copy, ``A = R diag(sigma) R^T``.
    share : float or Tensor, optional
        Share of each atom's mean U, up to 1, which is the default.
    gamma2, mix : float or Tensor, optional
        A second length (Å) and its share of the correlation; both or neither.
    numerics : Numerics
        How the sums are computed: 'direct' pair by pair, exactly; 'mesh' by transforms, to `rtol`.

    Raises
    ------
    InputError
        If a name is unknown, a number is outside its limits, or two options contradict each other.

    Notes
    -----
    The first order with equal sigma is that of Caspar, Clarage, Salunke & Clarage, Nature 332, 659
    (1988); for atoms of different U see Clarage, Clarage, Phillips, Sweet & Caspar, Proteins 12,
    145 (1992).
    """

    name: ClassVar[str] = "liquid"

    gamma: Number
    scope: str = "crystal"
    amplitude: str | None = None
    sigma: Number | None = None
    share: Number | None = None
    gamma2: Number | None = None
    mix: Number | None = None
    numerics: Numerics = field(default_factory=Numerics, repr=False)

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise InputError(f"liquid: scope={self.scope!r} is not one of {', '.join(SCOPES)}")
        if self.amplitude not in (None, *AMPLITUDES):
            raise InputError(
                f"liquid: amplitude={self.amplitude!r} is not one of {', '.join(AMPLITUDES)}"
            )
        if self.sigma is not None and self.share is not None:
            raise InputError(
                f"liquid: sigma={_shown(self.sigma)} and share={_shown(self.share)} both say how "
                "far the atoms move; give one of them"
            )
        if self.sigma is None and self.amplitude == "equal":
            raise InputError(
                "liquid: amplitude=equal needs sigma, the rms displacement of all atoms; give it, "
                "or amplitude=atoms"
            )
        if self.sigma is not None and self.amplitude == "atoms":
            raise InputError(
                f"liquid: amplitude=atoms moves each atom by its own U, and sigma="
                f"{_shown(self.sigma)} all atoms alike; give share instead of sigma"
            )
        if (self.gamma2 is None) != (self.mix is None):
            given, missing = ("mix", "gamma2") if self.gamma2 is None else ("gamma2", "mix")
            raise InputError(
                f"liquid: {given} without {missing}; a second length gamma2 needs its share mix, "
                "give both or neither"
            )
        for key, parameter in self.parameters.items():
            _check(key, parameter.value)

    @property
    def text(self) -> str:
        """As it is written."""
        options: dict[str, Number | None]
        options = {"sigma": self.sigma, "share": self.share, "gamma": self.gamma}
        options |= {"gamma2": self.gamma2, "mix": self.mix}
        given = [f"{key}={_shown(value)}" for key, value in options.items() if value is not None]
        return ",".join([f"liquid:scope={self.scope}", *given])

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """'sigma' or 'share', 'gamma', and with two lengths 'gamma2' and 'mix'."""
        values: dict[str, Number | None] = {"gamma": self.gamma}
        values |= {"gamma2": self.gamma2, "mix": self.mix}
        sigma = None if self.sigma is None else _as_tensor(self.sigma)
        amount: dict[str, Number | None]
        if sigma is None:
            amount = {"share": 1.0 if self.share is None else self.share}
        elif sigma.ndim == 0:
            amount = {"sigma": sigma}
        elif tuple(sigma.shape) == (3,):
            amount = dict(zip(("sigma_x", "sigma_y", "sigma_z"), sigma, strict=True))
        else:
            raise InputError(
                f"liquid: sigma of shape {tuple(sigma.shape)}; give one number, or three along x, "
                "y and z"
            )
        found = {}
        for key, value in (amount | values).items():
            if value is not None:
                unit, meaning, high = PARAMETERS[key]
                found[key] = Parameter(key, _as_tensor(value), unit, meaning, 0.0, high)
        return found

    def with_parameters(self, values: Mapping[str, Tensor]) -> Self:
        """The same with other values of some parameters; see `Component.with_parameters`."""
        known = self.parameters
        for key, value in values.items():
            if key not in known:
                raise InputError(
                    f"{self.text!r} has no parameter {key!r}; there are {', '.join(known)}"
                )
            _check(key, value)
        along = [key for key in known if key.startswith("sigma_")]
        changes = {key: value for key, value in values.items() if key not in along}
        if any(key in values for key in along):
            changes["sigma"] = torch.stack([values.get(key, known[key].value) for key in along])
        return replace(self, **changes)  # type: ignore[arg-type]

    def motion(self, bodies: Bodies) -> PairMotion:
        """What determines the covariance of each pair of atoms; differentiable."""
        value = {key: p.value.to(bodies.U) for key, p in self.parameters.items()}
        law = Correlation(value["gamma"], value.get("gamma2"), value.get("mix"))
        axes = None
        if "share" in value:
            root = _root(value["share"] * mean_square(bodies.U))
        elif "sigma" in value:
            root = value["sigma"].expand(bodies.n_cell_atoms)
        else:
            root = torch.ones_like(bodies.U[:, 0, 0])
            sigma = torch.stack([value[key] for key in ("sigma_x", "sigma_y", "sigma_z")])
            crystal = bodies.crystal
            turn = crystal.cell.matrix @ crystal.rotations @ crystal.cell.inverse
            axes = turn @ torch.diag(sigma) @ turn.mT
        group = {"crystal": None, "asu": bodies.copy, "body": bodies.body}[self.scope]
        return PairMotion(root, axes, law, group)

    def displacements(self, bodies: Bodies) -> Tensor:
        """``A_j A_j^T``; see `Component.displacements`."""
        return self.motion(bodies).displacements(bodies)

    def intensity(
        self,
        bodies: Bodies,
        points: QPoints,
        U: Tensor,
        order: int | None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Intensity of liquid-like motions; see `Component.intensity`.

        Differentiable in the parameters, q, U and the crystal. With gradients, or anisotropic
        displacements, the sum is exact; otherwise as `numerics` says.
        """
        motion = self.motion(bodies)
        return liquid_intensity(bodies, points, U, motion, order, self.numerics, progress)


def _root(square: Tensor) -> Tensor:
    """Square root, with the slope 0 at 0: an atom that does not move."""
    moves = square > 0
    return torch.where(moves, torch.where(moves, square, 1.0).sqrt(), 0.0)


def _as_tensor(value: Number) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return torch.as_tensor(value, dtype=torch.float64)


def _shown(value: Number) -> str:
    """A number or three, with all digits."""
    tensor = _as_tensor(value).detach()
    if tensor.ndim:
        return f"({', '.join(_shown(x) for x in tensor)})"
    return repr(float(tensor)).removesuffix(".0")


def _check(key: str, value: Tensor) -> None:
    """Raise `InputError` for the value of a parameter that is outside its limits."""
    high = PARAMETERS[key][2]
    if value.ndim == 0 and 0.0 < float(value.detach()) < high:
        return
    limit = {math.inf: "above 0", ABOVE_ONE: "above 0 and up to 1"}.get(high, "between 0 and 1")
    given = _shown(value) if value.ndim == 0 else f"of shape {tuple(value.shape)}"
    raise InputError(f"liquid: {key}={given} cannot be; give one number {limit}")
