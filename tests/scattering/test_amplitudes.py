"""One interface for amplitudes: every engine against the direct sum."""

import pytest
import torch

from crystals import made_up
from onephonon import InputError
from onephonon.crystal.grid import HklGrid
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.amplitudes import (
    DirectEngine,
    MeshEngine,
    amplitudes_at,
    choose_engine,
    transform,
)
from onephonon.scattering.grid_rows import GridRows
from onephonon.scattering.points import grid_points, list_points

RTOL = 1e-8

#: Both engines, and how far their amplitudes may be from exact: the rounding of batches summed in
#: another order, and the tolerance of the mesh.
ENGINES = [(DirectEngine(), 1e-13), (MeshEngine(RTOL), RTOL)]


def error(got, expected):
    return float((got - expected).abs().max() / expected.abs().square().mean().sqrt())


@pytest.mark.parametrize(("engine", "tolerance"), ENGINES)
@pytest.mark.parametrize("group_by", ["asu", "atom"])
def test_amplitudes_at_the_valid_points(engine, tolerance, group_by):
    bodies = gather_bodies(made_up("P 1 21 1"), group_by)
    generator = torch.Generator().manual_seed(0)
    hkl = 6 * torch.rand(40, 3, dtype=torch.float64, generator=generator) - 3
    hkl[3] = torch.tensor([1.0, -2.0, 0.0])
    cell = bodies.crystal.cell
    points = list_points(cell, cell.q_from_hkl(hkl), res_limit=2.5)
    assert 1 < int(points.valid.sum()) < 39
    assert not points.valid[3]
    G = amplitudes_at(engine, bodies, points, bodies.U, batch_size=7)
    assert not G[~points.valid].any()
    expected = transform(bodies, points.q[points.valid], bodies.U)
    assert error(G[points.valid], expected) < tolerance


@pytest.mark.parametrize("engine", [engine for engine, _ in ENGINES])
def test_amplitudes_of_nothing(engine):
    bodies = gather_bodies(made_up("P 1"), "asu")
    cell = bodies.crystal.cell
    hkl = torch.tensor([[1.0, 0.0, 2.0]], dtype=torch.float64)
    seen = []
    points = list_points(cell, cell.q_from_hkl(hkl))
    G = amplitudes_at(engine, bodies, points, bodies.U, progress=lambda *step: seen.append(step))
    assert G.shape == (1, bodies.n_dof)
    assert not G.any()
    assert not seen
    assert engine.at(bodies, hkl[:0], bodies.U).shape == (0, bodies.n_dof)


def test_the_direct_sum_counts_its_batches():
    bodies = gather_bodies(made_up("P 1"), "asu")
    q = torch.ones(5, 3, dtype=torch.float64)
    seen = []
    DirectEngine().at(bodies, q, bodies.U, 2, lambda *step: seen.append(step))
    assert seen == [("amplitudes", done, 5) for done in (2, 4, 5)]


@pytest.mark.parametrize("region", [None, (slice(2, 7), slice(0, 11), slice(3, 9))])
def test_amplitudes_on_a_grid(region):
    bodies = gather_bodies(made_up("P 1 21 1"), "residue")
    grid = HklGrid.from_sampling((-2, 2, 2), (-2 - 1 / 3, 1, 3), (-1.25, 2, 4))
    rows = GridRows(grid, bodies.crystal.cell, res_limit=2.0)
    amplitudes = MeshEngine(RTOL).on_grid(bodies, rows, bodies.U)
    inside = torch.ones(grid.shape, dtype=torch.bool)
    if region:
        amplitudes = amplitudes.within(region)
        inside[:] = False
        inside[region] = True
    points = grid_points(bodies.crystal.cell, grid, res_limit=2.0)
    wanted = points.valid & inside.reshape(-1)
    assert 0 < int(wanted.sum()) < len(wanted)
    G = amplitudes.all_points()
    assert not G[~wanted].any()
    assert error(G[wanted], transform(bodies, points.q[wanted], bodies.U)) < RTOL


def test_engines_that_do_not_exist():
    bodies = gather_bodies(made_up("P 1"), "asu")
    with pytest.raises(InputError, match="engine='fast' is not one of auto, direct, mesh"):
        choose_engine("fast", RTOL, bodies, 10, on_grid=False)
