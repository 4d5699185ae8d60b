"""Averages over voxels against fine sampling, and their gradients."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from crystals import CELLS, made_up
from onephonon import DiffuseMap, MapGrid, OnePhonon
from onephonon.compare import compare_model, simulate_at
from onephonon.crystal import find_reindexings
from onephonon.model import voxel_average
from onephonon.scattering import Quadrature

SOMEWHERE = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)


@pytest.fixture(scope="module")
def model():
    """A molecule in a triclinic cell, as one body."""
    return OnePhonon(made_up("P 1"), gnm_cutoff=8.0)


def intensities(model, hkl, **run):
    """The model at hkl, shape (..., 3), one by one."""
    flat = torch.as_tensor(np.reshape(hkl, (-1, 3)))
    with torch.no_grad():
        return model(model.crystal.cell.q_from_hkl(flat), **run).numpy().reshape(np.shape(hkl)[:-1])


def midpoints(centre, step, n):
    """Middles of n^3 equal parts of a voxel."""
    offsets = (np.arange(n) + 0.5) / n - 0.5
    grid = np.stack(np.meshgrid(offsets, offsets, offsets, indexing="ij"), -1).reshape(-1, 3)
    return np.asarray(centre) + grid * np.asarray(step)


def slow_average(model, centre, step):
    """Midpoint rule, extrapolated: its error has terms in 1/n (the pole) and 1/n^2.

    With these n the Bragg points of all voxels below are corners of the n^3 parts; elsewhere in
    them the terms would differ from n to n.
    """
    a, b, c = (intensities(model, midpoints(centre, step, n)).mean() for n in (10, 20, 40))
    return (8 * c - 6 * b + a) / 3


VOXELS = [
    ((2, 1, -1), (1, 1, 1)),  # one voxel per hkl
    ((1 / 3, 1, -2), (1 / 3, 1 / 3, 1 / 3)),  # beside a Bragg point
    ((2.0, -1.0, 0.0), (1 / 3, 1 / 2, 1 / 4)),  # around one
    ((1.25, 0.25, 2.25), (0.5, 0.5, 0.5)),  # one in a corner
    ((1.5, 0.0, 1.0), (1, 1, 1)),  # one on each of two faces
    ((1.1, 0.2, 1.3), (1, 1, 1)),  # one off the centre
]


@pytest.mark.parametrize(("centre", "step"), VOXELS)
def test_average_against_fine_sampling(model, centre, step):
    slow = slow_average(model, centre, step)
    found = {n: voxel_average(model, [centre], step, n).item() for n in (2, 3, 6)}
    # What is left of the slow average's error: terms in 1/n^3.
    assert found[6] == pytest.approx(slow, rel=2e-3)
    # What the orders are good for; measured 12 and 5 % at worst, in the long voxel.
    assert found[2] == pytest.approx(found[6], rel=0.15)
    assert found[3] == pytest.approx(found[6], rel=0.06)


def test_product_rules_would_be_slow(model):
    # Why pyramids: 216 product nodes are farther off than 48 in pyramids.
    centre, step = VOXELS[0]
    x, w = np.polynomial.legendre.leggauss(6)
    nodes = np.array(list(itertools.product(x / 2, repeat=3))) + centre
    weights = np.array([np.prod(t) for t in itertools.product(w / 2, repeat=3)])
    product = intensities(model, nodes) @ weights
    exact = voxel_average(model, [centre], step, 6).item()
    pyramids = voxel_average(model, [centre], step, 2).item()
    assert abs(product - exact) > 1.5 * abs(pyramids - exact)


def test_chunks_and_the_model_are_left_alone(model):
    grid = MapGrid((0, 0, 1), (0.5, 0.5, 1), (3, 3, 1))
    model.set_q(SOMEWHERE)
    done = []
    whole = voxel_average(model, grid)
    parts = voxel_average(model, grid, nodes_at_a_time=60, progress=lambda *step: done.append(step))
    assert torch.allclose(whole, parts, rtol=1e-12, atol=0)  # other sums of the same terms
    assert done[-1] == ("voxels", 9, 9)
    assert len(done) > 3
    assert torch.equal(model.q_vectors, SOMEWHERE)
    limited = OnePhonon(made_up("P 1"), gnm_cutoff=8.0, res_limit=4.0)
    d = limited.crystal.cell.resolution(limited.crystal.cell.q_from_hkl(torch.tensor(grid.hkl)))
    found = voxel_average(limited, grid)
    assert bool(torch.isnan(found[d < 3]).all())
    assert voxel_average(model, np.zeros((0, 3)), (1, 1, 1)).shape == (0,)


def test_gradient_through_the_average():
    crystal = made_up("P 1 21 1")
    hkl = [[1.0, 0.0, 2.0], [1.5, 1.0, 0.0]]
    weights = torch.tensor([1.0, -0.3], dtype=torch.float64)
    start = {"gamma_inter": 0.7, "B": crystal.B, "positions": crystal.positions}
    leaves = {
        name: torch.as_tensor(x, dtype=torch.float64).clone().requires_grad_()
        for name, x in start.items()
    }

    def loss(**tensors):
        model = OnePhonon(crystal, gnm_cutoff=8.0, **tensors)
        return weights @ voxel_average(model, hkl, (0.5, 1, 1), use_data_adp=True)

    loss(**leaves).backward()
    generator = torch.Generator().manual_seed(0)
    for name, leaf in leaves.items():
        way = torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
        step = 1e-5
        with torch.no_grad():
            up, down = (loss(**leaves | {name: leaf + x * way}) for x in (step, -step))
        # Central differences: step^2 of the third derivative, and rounding over step.
        assert float((leaf.grad * way).sum()) == pytest.approx(
            float((up - down) / (2 * step)), rel=1e-5
        )


@pytest.mark.parametrize(
    ("spacegroup", "cell", "step"),
    [
        ("P 41", (6.3, 6.3, 8.1, 90, 90, 90), (1, 1, 1)),
        ("P 41", (6.3, 6.3, 8.1, 90, 90, 90), (1, 1 / 2, 1)),  # boxes that do not turn
        ("P 31 2 1", CELLS["P 31 2 1"], (1, 1, 1 / 2)),  # boxes that turned are none
        ("P 1 21 1", (6.0, 6.0, 6.0, 90, 90, 90), (1, 1, 1)),  # twelve ways
        # A hexagonal lattice on orthogonal axes; mmm is no normal subgroup of 6/mmm.
        ("C 2 2 21", (7.0, 7.0 * 3**0.5, 8.1, 90, 90, 90), (1, 1, 1)),
    ],
)
@pytest.mark.parametrize("average", [True, False])
def test_ways_of_indexing_at_once(spacegroup, cell, step, average):
    crystal = made_up(spacegroup, n_atoms=4, cell=cell)
    model = OnePhonon(crystal, (0, 1, 2), (0, 1, 2), (0, 1, 2), gnm_cutoff=8.0)
    rng = np.random.default_rng(1)
    hkl = rng.integers(-2, 3, (7, 3)) * np.array(step) + (0 if average else [0.25, 0.5, 0])
    hkl = np.concatenate([hkl, hkl @ np.diag([-1, -1, 1])])
    ways = find_reindexings(cell, spacegroup)
    assert len(ways) > 1
    rule = Quadrature(step, 2)
    found = simulate_at(model, hkl, ways, rule if average else None)
    nodes, weight, voxel = rule.nodes(hkl)
    for way in ways:
        if average:
            slow = np.bincount(voxel, weight * intensities(model, nodes @ way.operator), len(hkl))
        else:
            slow = intensities(model, hkl @ way.operator)
        # The same terms in another order; symmetry to the rounding of K.
        assert found[way.name] == pytest.approx(slow, rel=1e-7, nan_ok=True)


def test_centres_that_are_no_averages_are_noted(model):
    grid = MapGrid((-0.8, -0.8, -0.8), (0.2, 0.2, 0.2), (9, 9, 9))
    with torch.no_grad():
        values = voxel_average(model, grid, order=3, use_data_adp=True).numpy()
    cell = model.crystal.cell.parameters
    data = DiffuseMap.on_grid(values.reshape(grid.shape), grid, cell, spacegroup="P 1")
    notes = " ".join(compare_model(model, data, use_data_adp=True).notes)
    assert "centres differ from averages" in notes
    # A calculated map has values at points; averages need no note.
    assert "differ" not in " ".join(compare_model(model, data, average=2).notes)
    calculated = replace(data, version="1")
    assert calculated.calculated_at_points
    assert "differ" not in " ".join(compare_model(model, calculated).notes)
    assert not replace(calculated, parameters={"average": 2}).calculated_at_points
