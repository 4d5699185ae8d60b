"""How much of the atoms' motion a component is: a share of the mean U, or an rms displacement."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from onephonon.core.errors import InputError

from .component import Component, Parameter

Number = float | Tensor


def amount_parameters(sigma: Number | None, share: Number | None, of: str) -> dict[str, Parameter]:
    """The parameter 'sigma' if it is given, otherwise 'share', 1 unless given.

    Parameters
    ----------
    sigma, share
        As for `check_amount`.
    of : str
        What the share is one of, for its meaning.
    """
    if sigma is not None:
        meaning = "rms displacement along one direction"
        return {"sigma": Parameter("sigma", as_tensor(sigma), "Å", meaning, 0.0, math.inf)}
    value = as_tensor(1.0 if share is None else share)
    return {"share": Parameter("share", value, "", f"share of {of}", 0.0, math.inf)}


def check_amount(name: str, sigma: Number | None, share: Number | None) -> None:
    """Check the amount of a component.

    Parameters
    ----------
    name : str
        Of the component.
    sigma : float or Tensor, optional
        Root-mean-square displacement along one direction, Å.
    share : float or Tensor, optional
        Share of the mean U.

    Raises
    ------
    InputError
        If both are given, or one is not a number above 0.
    """
    if sigma is not None and share is not None:
        raise InputError(
            f"{name}: sigma={as_tensor(sigma).detach():g} and share={as_tensor(share).detach():g} "
            "both say how far it moves; "
            "give one of them"
        )
    for key, value in (("sigma", sigma), ("share", share)):
        if value is not None:
            check_value(name, key, value, 0.0, math.inf)


def check_value(name: str, key: str, value: Number, low: float, high: float) -> None:
    """Raise `InputError` for the value of a parameter that is not between its limits."""
    tensor = as_tensor(value).detach()
    if tensor.ndim or not low < float(tensor) < high or not math.isfinite(float(tensor)):
        limit = f"above {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
        given = f"{float(tensor):g}" if not tensor.ndim else f"of shape {tuple(tensor.shape)}"
        raise InputError(f"{name}: {key}={given} cannot be; give one number {limit}")


def check_names(component: Component, values: Mapping[str, Tensor]) -> None:
    """Check new values of parameters.

    Raises
    ------
    InputError
        If there is no such parameter, or its value is outside its limits.
    """
    known = component.parameters
    for key, value in values.items():
        if key not in known:
            there = f"there are {', '.join(known)}" if known else "it has none"
            raise InputError(f"{component.text!r} has no parameter {key!r}; {there}")
        check_value(component.name, key, value, known[key].low, known[key].high)


def as_tensor(value: Number) -> Tensor:
    """A number as a 0-d tensor in float64; a tensor as it is."""
    if isinstance(value, Tensor):
        return value
    return torch.tensor(float(value), dtype=torch.float64)
