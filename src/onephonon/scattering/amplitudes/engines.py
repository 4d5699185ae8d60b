"""Ways to the amplitudes G: the direct sum over atoms, or densities on a mesh."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from onephonon.core.errors import InputError
from onephonon.network.bodies import Bodies

ENGINES = ("auto", "direct", "mesh")

#: Seconds that costs are counted in, measured on two cores of a small machine. Only ratios matter.
DIRECT_WAVE = 25e-9  # an atom's wave at one q
GRID_POINT = 500e-9  # a body at one point of a regular grid, on the mesh
LIST_POINT = 3.5e-6  # a body at one q of a list, on the mesh
DEPOSITED_ATOM = 5e-4  # an atom on the mesh, and the transforms that its body needs

#: Direct sums cheaper than this (s) are not worth an approximation.
QUICK = 1.0

#: How many times cheaper the mesh must look before it is taken unasked.
MARGIN = 2.0


@dataclass(frozen=True)
class Engine:
    """A way to G, and why it was taken.

    Parameters
    ----------
    name : {'direct', 'mesh'}
        'direct' is exact to rounding and differentiable at will; 'mesh' is exact to `rtol` times
        the rms intensity and has first derivatives.
    rtol : float
        Zero for the direct sum.
    reason : str
    """

    name: str
    rtol: float
    reason: str

    def __str__(self) -> str:
        how = "direct sum" if self.name == "direct" else f"mesh to {self.rtol:g} of the rms"
        return f"{how} ({self.reason})"


def choose_engine(asked: str, rtol: float, bodies: Bodies, n_points: int, on_grid: bool) -> Engine:
    """Take the engine that was asked for, or the cheaper one.

    Parameters
    ----------
    asked : {'auto', 'direct', 'mesh'}
    rtol : float
        Accuracy of the mesh.
    bodies : Bodies
    n_points : int
        Number of q.
    on_grid : bool
        Whether they form a regular grid.
    """
    if asked == "direct":
        return Engine("direct", 0.0, "as asked")
    if asked == "mesh":
        return Engine("mesh", rtol, "as asked")
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return Engine("direct", 0.0, "inside torch.func")
    direct = DIRECT_WAVE * bodies.n_cell_atoms * n_points
    per_point = GRID_POINT if on_grid else LIST_POINT
    mesh = per_point * bodies.n_bodies * n_points + DEPOSITED_ATOM * bodies.n_cell_atoms
    what = f"{n_points:.3g} q and {bodies.n_cell_atoms} atoms in {bodies.n_bodies} bodies"
    if direct < QUICK or direct < MARGIN * mesh:
        return Engine("direct", 0.0, what)
    return Engine("mesh", rtol, what)


def take_engine(engine: str) -> str:
    """Refuse an engine that is not known."""
    if engine not in ENGINES:
        raise InputError(f"engine={engine!r} is not one of {', '.join(ENGINES)}")
    return engine


def take_rtol(rtol: float) -> float:
    """Refuse an accuracy that means nothing or cannot be reached."""
    if not 1e-12 <= rtol <= 1e-2:
        raise InputError(
            f"rtol={rtol!r}: the mesh is good for 1e-12 to 1e-2 of the rms intensity; "
            "engine='direct' is exact to rounding"
        )
    return float(rtol)
