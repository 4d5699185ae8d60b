"""Choice of the engine: the direct sum over atoms, or densities on a mesh."""

from __future__ import annotations

from onephonon.core.arguments import as_real
from onephonon.core.errors import InputError
from onephonon.core.tensors import inside_functorch
from onephonon.network.bodies import Bodies

from .base import AmplitudeEngine, GridEngine
from .density_engine import DensityEngine
from .direct import DirectEngine
from .mesh.engine import MeshEngine
from .monomials import n_monomials

ENGINES = ("auto", "direct", "mesh")

#: Costs in seconds, measured on two cores. Only ratios matter.
DIRECT_WAVE = 25e-9  # direct sum: one atom at one q
GRID_POINT = 500e-9  # mesh: one body at one point of a regular grid
LIST_POINT = 3.5e-6  # mesh: one body at one q of a list
DEPOSITED_ATOM = 5e-4  # mesh: one atom, with its share of the transforms

#: Further cost of each moment beyond the four sums that amplitudes need, relative to the above.
DIRECT_MOMENT = 0.007
MESH_MOMENT = 0.15

#: The direct sum is used if it takes less than this (s).
MAX_DIRECT_SECONDS = 1.0

#: Estimated speed-up from which 'auto' chooses the mesh.
MIN_SPEEDUP = 2.0


def check_engine(engine: str) -> str:
    """Raise `InputError` unless an engine of this name exists."""
    if engine not in ENGINES:
        raise InputError(f"engine={engine!r} is not one of {', '.join(ENGINES)}")
    return engine


def check_rtol(rtol: float) -> float:
    """Raise `InputError` for an accuracy that is meaningless or cannot be reached."""
    if not 1e-12 <= as_real(rtol) <= 1e-2:
        raise InputError(
            f"rtol={rtol!r}: the accuracy of the mesh is 1e-12 to 1e-2 of the rms intensity; "
            "engine='direct' is exact to rounding"
        )
    return float(rtol)


def choose_engine(
    engine: str,
    rtol: float,
    bodies: Bodies,
    n_points: int,
    on_grid: bool,
    degree: int | None = None,
) -> AmplitudeEngine:
    """Return the requested engine, or the faster one for 'auto'; of a density, its own.

    Parameters
    ----------
    engine : {'auto', 'direct', 'mesh'}
    rtol : float
        Accuracy of the mesh engine.
    bodies : Bodies
    n_points : int
        Number of q.
    on_grid : bool
        Whether they form a regular grid.
    degree : int, optional
        Largest degree of the moments, if they are wanted. Each takes a transform of its own on the
        mesh, and little more time in the direct sum.

    Raises
    ------
    InputError
        If there is no such engine.
    """
    check_engine(engine)
    if bodies.density is not None:
        return DensityEngine()
    if engine == "direct":
        return DirectEngine("as requested")
    if engine == "mesh":
        return MeshEngine(rtol, "as requested")
    if inside_functorch():
        return DirectEngine("inside torch.func")
    further = 0 if degree is None else max(0, n_monomials(degree) - 4)
    direct = DIRECT_WAVE * bodies.n_cell_atoms * n_points * (1 + DIRECT_MOMENT * further)
    per_point = GRID_POINT if on_grid else LIST_POINT
    mesh = per_point * bodies.n_bodies * n_points + DEPOSITED_ATOM * bodies.n_cell_atoms
    mesh *= 1 + MESH_MOMENT * further
    reason = f"{n_points:.3g} q and {bodies.n_cell_atoms} atoms in {bodies.n_bodies} bodies"
    if further:
        reason += f", moments to degree {degree}"
    if direct < MAX_DIRECT_SECONDS or direct < MIN_SPEEDUP * mesh:
        return DirectEngine(reason)
    return MeshEngine(rtol, reason)


def exact_engine(bodies: Bodies) -> AmplitudeEngine:
    """The engine that is exact to rounding, for few points: the sum over atoms, or of a density."""
    return DirectEngine("few points") if bodies.density is None else DensityEngine()


def grid_engine(bodies: Bodies, rtol: float) -> GridEngine:
    """The engine of whole grids: atoms on a mesh of this accuracy, or of a density."""
    return MeshEngine(rtol) if bodies.density is None else DensityEngine()
