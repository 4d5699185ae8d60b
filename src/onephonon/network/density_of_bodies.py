"""The electron density of each body, cut out of that of the cell.

The density of a crystal does not say to which molecule a point belongs. Every point goes to the
body whose atoms' surface is nearest, over all images, with an envelope that ends softly in the
solvent; what is left is the contrast of one molecule, in one piece, as its transform between the
Bragg points needs it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import gemmi
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from onephonon.core.errors import InputError
from onephonon.crystal.cell import lengths_on_grid
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.electron_density import ElectronDensity

from .bodies import Bodies
from .body_density import BodyDensity

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

#: Å from the surface of the atoms: where the envelope of a molecule begins and ends to fall.
EDGE = (0.5, 2.0)

#: Å beyond the envelope from where on a point is bulk solvent.
BULK_MARGIN = 0.5

#: Smallest share of the cell from which the density of the bulk solvent can be read.
MIN_BULK_SHARE = 0.02

#: Å from the surface of the atoms to which all points are distributed without an envelope.
REACH_WITHOUT_EDGE = 12.0

#: Largest distance of an ordered water molecule or ligand atom from its body, Å.
MAX_ORDERED_DISTANCE = 6.0

#: Å: surfaces at equal distances share a point.
TIE = 1e-6

#: Largest difference of cells, relative to lengths, of a density and its structure.
CELL_TOLERANCE = 0.01


@torch.no_grad()
def cut_out_bodies(
    density: ElectronDensity,
    bodies: Bodies,
    *,
    level: float | None = None,
    edge: tuple[float, float] | None = EDGE,
    ordered: Crystal | None = None,
    wrapped: bool = False,
) -> BodyDensity:
    """Distribute the density of a cell among its bodies.

    Parameters
    ----------
    density : ElectronDensity
        In e/Å^3 up to an additive constant, of the crystal of `bodies`.
    bodies : Bodies
    level : float, optional
        Density of the solvent, e/Å^3, on the scale of `density`; by default the mean over the
        bulk solvent. Without bulk solvent, the constant that gives the cell the electrons of its
        atoms, and no solvent.
    edge : pair of float, optional
        Distances from the surface of the atoms (of their van der Waals radii) between which the
        envelope falls from 1 to 0, Å. None: no envelope; all points of the cell are distributed,
        so that the sum over the bodies is the structure factor at every Bragg point.
    ordered : Crystal, optional
        Waters and ligands whose density belongs to the nearest body; atoms of `bodies` among them
        do no harm.
    wrapped : bool
        Leave each point where it is in the cell, so that bodies are torn at its faces: wrong
        between Bragg points, and for comparison only.

    Returns
    -------
    BodyDensity

    Raises
    ------
    InputError
        If the cells differ, the edge cannot be, or there is no bulk solvent to read the level from
        and the structure lacks hydrogens, which makes the number of electrons unknown.
    """
    _check_edge(edge)
    _check_cell(density, bodies)
    matrix = bodies.crystal.cell.matrix.double().cpu().numpy()
    shape = tuple(density.values.shape)
    values = density.values.double().cpu().numpy()
    frac = bodies.positions.double().cpu().numpy() @ np.linalg.inv(matrix).T
    radii = _radii(bodies.crystal)[bodies.asu_atom.cpu().numpy()]
    body = bodies.body.cpu().numpy()
    end = REACH_WITHOUT_EDGE if edge is None else edge[1] + BULK_MARGIN
    extra = _ordered_atoms(ordered, bodies, frac, matrix)
    fields = []
    for b in range(bodies.n_bodies):
        mine, theirs = body == b, extra.body == b
        where = np.concatenate([frac[mine], extra.frac[theirs]])
        sizes = np.concatenate([radii[mine], extra.radii[theirs]])
        fields.append(_surface_distances(where, sizes, matrix, shape, end))
    nearest = np.full(shape, np.inf)
    for start, field in fields:
        np.minimum.at(nearest, _in_cell(start, field.shape, shape), field)
    owners = np.zeros(shape)
    shares = []
    for start, field in fields:
        at = _in_cell(start, field.shape, shape)
        own = np.isfinite(field) & (field <= nearest[at] + TIE)
        np.add.at(owners, at, own)
        shares.append(own)
    bulk = nearest > end if edge is not None else np.zeros(shape, dtype=bool)
    if edge is None and not (owners > 0).all():
        raise InputError(
            f"{density.source}: {int((owners == 0).sum()):,} points are further than {end:g} Å "
            "from all atoms; give an edge"
        )
    solvent_share = float(bulk.mean())
    if level is None:
        level = _level(density, values, bulk, bodies)
    volume = abs(float(np.linalg.det(matrix))) / values.size
    starts, electrons = [], []
    for (start, field), own in zip(fields, shares, strict=True):
        at = _in_cell(start, field.shape, shape)
        weight = np.where(own, _envelope(field, edge), 0.0) / np.maximum(owners[at], 1.0)
        mine = (values[at] - level) * weight * volume
        if wrapped:
            whole = np.zeros(shape)
            np.add.at(whole, at, mine)
            start, mine = np.zeros(3, dtype=np.int64), whole
        start, mine = _cropped(start, mine)
        starts.append(tuple(start.tolist()))
        electrons.append(torch.from_numpy(mine).to(bodies.positions))
    return BodyDensity(
        shape,  # type: ignore[arg-type]
        tuple(starts),
        tuple(electrons),
        density.q_max,
        float(level),
        solvent_share,
        density.source,
    )


def _check_edge(edge: tuple[float, float] | None) -> None:
    if edge is not None and not (len(edge) == 2 and 0 <= edge[0] <= edge[1] < REACH_WITHOUT_EDGE):
        raise InputError(
            f"edge={edge!r}: give two distances in Å, between which the envelope falls, such as "
            f"{EDGE}, or None"
        )


def _check_cell(density: ElectronDensity, bodies: Bodies) -> None:
    own, other = (
        np.asarray(torch.as_tensor(cell.matrix).detach().double().cpu())
        for cell in (bodies.crystal.cell, density.cell)
    )
    if np.abs(own - other).max() > CELL_TOLERANCE * np.linalg.norm(own, axis=0).max():
        cells = bodies.crystal.cell.parameters, density.cell.parameters
        first, second = (", ".join(f"{float(x):g}" for x in cell) for cell in cells)
        raise InputError(
            f"{density.source}: its cell ({second}) is not that of the structure ({first})"
        )


def _radii(crystal: Crystal) -> Float64:
    """Van der Waals radius of each atom of the asymmetric unit, Å."""
    found = {
        name: gemmi.Element(name).vdw_r for name in {label.element for label in crystal.labels}
    }
    return np.array([found[label.element] for label in crystal.labels])


def _surface_distances(
    frac: Float64, radii: Float64, matrix: Float64, shape: Sequence[int], end: float
) -> tuple[Int64, Float64]:
    """Distance of grid points from the surface of some atoms, negative inside; inf beyond `end`.

    Returns the first point of a box, which need not lie in the cell, and the distances in it, Å.
    """
    n = np.asarray(shape)
    widths = np.linalg.norm(np.linalg.inv(matrix), axis=1) * n
    steps = matrix / n
    centre = frac * n
    half = (radii + end)[:, None] * widths
    start = np.floor((centre - half).min(0)).astype(np.int64)
    stop = np.ceil((centre + half).max(0)).astype(np.int64) + 1
    field = np.full(tuple(stop - start), np.inf)
    first, last = np.ceil(centre - half).astype(int), np.floor(centre + half).astype(int) + 1
    for c, r, low, high in zip(centre, radii, first, last, strict=True):
        axes = (np.arange(low[i], high[i]) - c[i] for i in range(3))
        away = lengths_on_grid(steps, *axes) - r
        part = field[tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))]
        np.minimum(part, np.where(away <= end, away, np.inf), out=part)
    return start, field


def _in_cell(start: Int64, box: Sequence[int], shape: Sequence[int]) -> tuple[Int64, ...]:
    """Index in the cell of every point of a box."""
    axes = [(start[i] + np.arange(box[i])) % shape[i] for i in range(3)]
    return np.ix_(*axes)


def _envelope(away: Float64, edge: tuple[float, float] | None) -> Float64:
    """1 up to the begin of the edge, 0 beyond its end, and a half period of a cosine between."""
    if edge is None:
        return np.ones_like(away)
    begin, end = edge
    if begin == end:
        return np.asarray(away <= begin, dtype=np.float64)
    x = np.clip((away - begin) / (end - begin), 0.0, 1.0)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * x))


def _level(
    density: ElectronDensity, values: Float64, bulk: NDArray[np.bool_], bodies: Bodies
) -> float:
    """Density of the solvent, or what gives the cell its electrons if there is none."""
    if bulk.mean() >= MIN_BULK_SHARE:
        return float(values[bulk].mean())
    crystal = bodies.crystal
    elements = [label.element for label in crystal.labels]
    if not {"H", "D"} & set(elements):
        raise InputError(
            f"{density.source}: {100 * float(bulk.mean()):.2g} % of the cell is bulk solvent, too "
            "little to read its density, and without hydrogen atoms the number of electrons of the "
            "cell is unknown; give the level in e/Å^3, or read the structure with hydrogens"
        )
    charges = [gemmi.Element(name).atomic_number for name in elements]
    electrons = crystal.n_ops * float(np.dot(charges, crystal.occupancies.double().cpu().numpy()))
    volume = abs(float(torch.linalg.det(crystal.cell.matrix)))
    return float(values.mean()) - electrons / volume


def _cropped(start: Int64, values: Float64) -> tuple[Int64, Float64]:
    """The smallest box that holds all values other than zero."""
    where = [np.flatnonzero(values.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not all(len(w) for w in where):
        return start, values[:1, :1, :1]
    box = tuple(slice(w[0], w[-1] + 1) for w in where)
    return start + np.array([w[0] for w in where]), np.ascontiguousarray(values[box])


@dataclass(frozen=True)
class _Ordered:
    """Atoms of waters and ligands, each beside the body to which it belongs."""

    frac: Float64
    radii: Float64
    body: Int64


def _ordered_atoms(
    ordered: Crystal | None, bodies: Bodies, frac: Float64, matrix: Float64
) -> _Ordered:
    """Each copy of waters and ligands, moved to the nearest body."""
    if ordered is None:
        return _Ordered(np.empty((0, 3)), np.empty(0), np.empty(0, dtype=np.int64))
    asu = ordered.positions_frac.double().cpu().numpy()
    rotations, translations = (
        x.double().cpu().numpy() for x in (ordered.rotations, ordered.translations)
    )
    every = (np.einsum("oij,aj->oai", rotations, asu) + translations[:, None]).reshape(-1, 3)
    radii = np.tile(_radii(ordered), len(rotations))
    # All atoms of the bodies in the cell and around it.
    inside = frac - np.floor(frac)
    pad = MAX_ORDERED_DISTANCE * np.linalg.norm(np.linalg.inv(matrix), axis=1)
    images, index = [], []
    for shift in product(*(range(-math.ceil(p), math.ceil(p) + 1) for p in pad)):
        moved = inside + shift
        near = ((moved >= -pad) & (moved <= 1 + pad)).all(1)
        images.append(moved[near])
        index.append(np.flatnonzero(near))
    atoms, owner = np.concatenate(images), np.concatenate(index)
    home = every - np.floor(every)
    away, found = cKDTree(atoms @ matrix.T).query(home @ matrix.T)
    near = away <= MAX_ORDERED_DISTANCE
    atom = owner[found[near]]
    moved = home[near] + np.round(frac[atom] - atoms[found[near]])
    return _Ordered(moved, radii[near], bodies.body.cpu().numpy()[atom])
