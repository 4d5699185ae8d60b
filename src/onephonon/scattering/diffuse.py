"""The diffuse intensity of a lattice model, at a list of points or on a grid."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.symmetry import FRIEDEL
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.dynamics.normal_modes import Modes

from .amplitudes.base import AmplitudeEngine, amplitudes_at
from .amplitudes.choice import choose_engine, grid_engine
from .grid_intensity import GridIntensity, largest_q_of_grid, map_intensity
from .grid_symmetry import Symmetry, find_symmetry
from .intensity import mode_intensity, one_phonon_intensity
from .laue_symmetry import has_laue_symmetry
from .multiphonon.higher_orders import HigherOrders, largest_q
from .multiphonon.pairs import BodyPairs
from .numerics import Numerics
from .points import QPoints

#: Quantities that gradients may treat as constant.
HOLDABLE = ("adp", "scale")


def displacements_and_scale(
    lattice: LatticeModel,
    use_data_adp: bool = False,
    hold: Collection[str] = (),
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor]:
    """U of every atom of the cell, (n_cell_atoms, 3, 3), and s; those named in `hold` are detached.

    Raises
    ------
    InputError
        If `hold` contains anything other than 'adp' and 'scale'.
    """
    unknown = [name for name in hold if name not in HOLDABLE]
    if unknown or isinstance(hold, str):
        raise InputError(f"hold={hold!r}: give a collection of {' and '.join(HOLDABLE)}")
    U, scale = lattice.displacements_and_scale(use_data_adp, progress)
    return (
        U.detach() if "adp" in hold else U,
        scale.detach() if "scale" in hold else scale,
    )


def engine_for(
    lattice: LatticeModel,
    numerics: Numerics,
    n_points: int,
    on_grid: bool = False,
    degree: int | None = None,
) -> AmplitudeEngine:
    """The engine used for this number of points, and why; see `choose_engine`."""
    rtol = numerics.rtol
    return choose_engine(numerics.engine, rtol, lattice.bodies, n_points, on_grid, degree)


def point_amplitudes(
    lattice: LatticeModel, points: QPoints, U: Tensor, numerics: Numerics | None = None
) -> Tensor:
    """G at every point, shape (n_q, D), zero where not valid.

    Parameters
    ----------
    lattice : LatticeModel
    points : QPoints
    U : Tensor, shape (n_cell_atoms, 3, 3)
        For the Debye-Waller factors, Å^2.
    numerics : Numerics, optional
    """
    numerics = numerics or Numerics()
    engine = engine_for(lattice, numerics, points.n_q)
    return amplitudes_at(engine, lattice.bodies, points, U, numerics.batch_size)


def point_intensity(
    lattice: LatticeModel,
    points: QPoints,
    numerics: Numerics | None = None,
    *,
    use_data_adp: bool = False,
    ranks: Sequence[int] | None = None,
    modes: Modes | None = None,
    G: Tensor | None = None,
    pairs: BodyPairs | None = None,
    order: int | None = 1,
    hold: Collection[str] = (),
    progress: Progress | None = None,
) -> Tensor:
    """Diffuse intensity at listed points.

    Parameters
    ----------
    lattice : LatticeModel
    points : QPoints
    numerics : Numerics, optional
    use_data_adp : bool
        Debye-Waller factors from the file's U instead of the model's.
    ranks : sequence of int, optional
        Modes to sum, counted from the softest at each wavevector; all if not given.
    modes : Modes, optional
        Modes at the zone points of `points`; needed with `ranks`.
    G : Tensor, shape (n_q, D), optional
        Stored amplitudes, with their own Debye-Waller factors.
    pairs : BodyPairs, optional
        Covariances for orders beyond the first; needed if `order` is not 1.
    order : int, optional
        Sum the orders up to this one; all if None.
    hold : collection of {'adp', 'scale'}
        Quantities that gradients treat as constant.
    progress : callable, optional
        Called with (stage, steps done, total).

    Returns
    -------
    Tensor, shape (n_q,), e^2 per cell
        NaN where not valid; see `one_phonon_intensity`.
    """
    numerics = numerics or Numerics()
    wanted = (points.n_q, lattice.bodies.n_dof)
    if G is not None and (G.shape != wanted or not G.is_complex()):
        raise InputError(
            f"G has shape {tuple(G.shape)} and dtype {G.dtype}; these points need complex "
            f"{wanted}, from this model's amplitudes()"
        )
    U, scale = displacements_and_scale(lattice, use_data_adp or G is not None, hold, progress)
    if pairs is not None:
        first = point_intensity(
            lattice, points, numerics, use_data_adp=use_data_adp, hold=hold, progress=progress
        )
        q_max = largest_q(points.q, points.valid)
        higher = HigherOrders.prepare(pairs, order, q_max, numerics.rtol)
        engine = engine_for(lattice, numerics, points.n_q, degree=higher.degree)
        return first + higher.at_points(engine, points, U, numerics.batch_size, progress)
    if G is None and engine_for(lattice, numerics, points.n_q).has_grid:
        G = point_amplitudes(lattice, points, U, numerics)
    bodies, size = lattice.bodies, numerics.batch_size
    if ranks is None:
        return one_phonon_intensity(
            bodies,
            lattice.force_constants,
            points,
            U,
            scale,
            G=G,
            batch_size=size,
            progress=progress,
            solver=lattice.solving(scale),
        )
    if modes is None:
        raise InputError("ranks are given without modes; give the modes at the points' zone points")
    return mode_intensity(
        bodies, modes, points, U, scale, rank=ranks, G=G, batch_size=size, progress=progress
    )


def higher_orders_on_grid(
    lattice: LatticeModel,
    grid: HklGrid,
    numerics: Numerics,
    res_limit: float = 0.0,
    pairs: BodyPairs | None = None,
    order: int | None = 1,
) -> HigherOrders | None:
    """The orders beyond the first on a grid, up to `order` or all if it is None.

    None without `pairs` of bodies.
    """
    if pairs is None:
        return None
    q_max = largest_q_of_grid(grid, lattice.crystal.cell, res_limit)
    return HigherOrders.prepare(pairs, order, q_max, numerics.rtol)


def grid_rows(
    lattice: LatticeModel,
    grid: HklGrid,
    U: Tensor,
    scale: Tensor,
    numerics: Numerics,
    res_limit: float = 0.0,
    bragg_tolerance: float | None = None,
    higher: HigherOrders | None = None,
) -> GridIntensity:
    """The intensity on a grid, from densities on a mesh, computed in blocks of rows.

    With `higher_orders_on_grid`, of these orders, too.
    """
    return GridIntensity.prepare(
        lattice.bodies,
        lattice.force_constants,
        grid,
        U,
        scale,
        engine=grid_engine(lattice.bodies, numerics.rtol),
        solver=lattice.solving(scale),
        res_limit=res_limit,
        bragg_tolerance=bragg_tolerance,
        higher=higher,
    )


def grid_symmetry(
    lattice: LatticeModel,
    grid: HklGrid,
    U: Tensor,
    scale: Tensor | float,
    numerics: Numerics,
    res_limit: float = 0.0,
    higher: HigherOrders | None = None,
    unique: bool = True,
) -> Symmetry:
    """Independent part of a grid, and the operators that generate the rest.

    Parameters
    ----------
    lattice, grid, scale, numerics, res_limit, higher
        As for `grid_rows`.
    U : Tensor, shape (n_cell_atoms, 3, 3)
        For the Debye-Waller factors; copies may differ if the zone mesh breaks the symmetry.
    unique : bool
        Use the symmetry of the crystal; otherwise only ``I(-q) = I(q)``.
    """
    operators = FRIEDEL
    # The gradient for the nine elements of the cell does not have the symmetry of the map.
    if unique and not torch.is_grad_enabled():
        q_max = largest_q_of_grid(grid, lattice.crystal.cell, res_limit)
        if has_laue_symmetry(lattice, U, scale, higher, q_max, numerics.rtol):
            operators = lattice.crystal.laue_operators
    return find_symmetry(operators, grid)


def grid_map(
    lattice: LatticeModel,
    grid: HklGrid,
    numerics: Numerics | None = None,
    *,
    use_data_adp: bool = False,
    res_limit: float = 0.0,
    bragg_tolerance: float | None = None,
    pairs: BodyPairs | None = None,
    order: int | None = 1,
    hold: Collection[str] = (),
    progress: Progress | None = None,
) -> Tensor:
    """Diffuse intensity at every point of a grid, from densities on a mesh.

    Parameters
    ----------
    lattice, numerics, use_data_adp, pairs, order, hold, progress
        As for `point_intensity`.
    grid : HklGrid
    res_limit : float
        Points of smaller d (Å) are masked.
    bragg_tolerance : float, optional
        See `is_bragg`.

    Returns
    -------
    Tensor, shape (n_points,), e^2 per cell
        NaN beyond the resolution limit and at Bragg points.
    """
    U, scale = displacements_and_scale(lattice, use_data_adp, hold, progress)
    numerics = numerics or Numerics()
    higher = higher_orders_on_grid(lattice, grid, numerics, res_limit, pairs, order)
    symmetry = grid_symmetry(lattice, grid, U, scale, numerics, res_limit, higher)
    limits = res_limit, bragg_tolerance
    rows = grid_rows(lattice, grid, U, scale, numerics, *limits, higher)
    return map_intensity(rows.within(symmetry.region), symmetry, progress).reshape(-1)


def grid_amplitudes(
    lattice: LatticeModel,
    grid: HklGrid,
    U: Tensor,
    numerics: Numerics | None = None,
    res_limit: float = 0.0,
    bragg_tolerance: float | None = None,
) -> Tensor:
    """G at every point of a grid, from densities on a mesh, shape (n_points, D)."""
    one = torch.ones_like(U[0, 0, 0])
    rows = grid_rows(lattice, grid, U, one, numerics or Numerics(), res_limit, bragg_tolerance)
    return rows.amplitudes.all_points()
