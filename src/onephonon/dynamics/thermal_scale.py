"""The thermal scale at which modes with a given occupation have the displacements of a structure.

In classical motion displacements are proportional to s. With quantum occupation they also depend
on the frequencies, which s sets (`occupation`): the equation ``U(s) = U_file`` is solved by
Newton's method for the logarithms. U grows with s at a power between 1/2 (zero-point motion) and 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from onephonon.core.errors import InputError

#: Maximum number of steps; two to four are enough.
MAX_STEPS = 60

#: A step of the logarithm below this is the last but one: the error after it is about its square.
LAST_STEP = 1e-5

#: Longest step of the logarithm, and least power of s: below it s is not determined.
LONGEST_STEP = 5.0
LEAST_POWER = 1e-3


def self_consistent_scale(mean: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    """The thermal scale s with ``mean(s) = target``.

    Parameters
    ----------
    mean : callable
        Mean-square displacement as a function of s, Å^2.
    target : Tensor, 0-d
        That of the structure, Å^2.

    Returns
    -------
    Tensor, 0-d
        Once differentiable in the target and in all tensors that `mean` depends on, exactly: the
        last Newton step is recorded.

    Raises
    ------
    InputError
        If there is no such s.
    """
    s = torch.ones_like(target.detach())
    goal = target.detach().log()
    for _ in range(MAX_STEPS):
        value, slope = _with_slope(mean, s, record=False)
        power = float(slope * s / value)
        if not (power > LEAST_POWER and float(value) > 0):
            break
        step = (goal - value.log()) / power
        s = s * torch.exp(step.clamp(-LONGEST_STEP, LONGEST_STEP))
        if abs(float(step)) <= LAST_STEP:
            value, slope = _with_slope(mean, s, record=torch.is_grad_enabled())
            return s - (value - target) / slope
    raise InputError(
        f"no thermal scale gives the modes at this temperature the mean U of the crystal, "
        f"{float(target.detach()):g} Å^2; give thermal_scale"
    )


def _with_slope(mean: Callable[[Tensor], Tensor], s: Tensor, record: bool) -> tuple[Tensor, Tensor]:
    """``mean(s)``, with its graph if it is recorded, and its derivative, a constant."""
    with torch.enable_grad():
        leaf = s.detach().requires_grad_()
        value = mean(leaf)
        slope = torch.autograd.grad(value, leaf, retain_graph=record)[0]
    return (value if record else value.detach()), slope
