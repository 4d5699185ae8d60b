"""Moments of the bodies' waves: every engine against a plain loop over atoms."""

import math
from dataclasses import replace

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from crystals import made_up, split
from onephonon import Crystal, InputError
from onephonon.crystal.grid import HklGrid
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.amplitudes import (
    DirectEngine,
    MeshEngine,
    choose_engine,
    exponents,
    moments,
    monomials,
    n_monomials,
    transform,
)
from onephonon.scattering.amplitudes.mesh import gridded, scattered
from onephonon.scattering.grid_rows import GridRows
from onephonon.scattering.points import grid_points

RTOL = 1e-8

LENGTH = 1.7

#: Both engines, and how far moments may be from exact: rounding of sums in another order, and the
#: tolerance of the mesh.
ENGINES = [(DirectEngine(), 1e-13), (MeshEngine(RTOL), RTOL)]


def with_alternates():
    """Four residues in two chains; the second atom in two conformers at different places."""
    crystal = split(made_up("P 1 21 1"), [("A", 0.6), ("B", 0.4)], which={1})
    moved = crystal.positions_frac.clone()
    moved[2] += 0.05
    return crystal.replace(positions_frac=moved)


def line():
    """Three atoms on a line, in a space group with two copies."""
    places = [[0.1, 0.2, 0.3], [0.15, 0.25, 0.4], [0.2, 0.3, 0.5]]
    cell = (5.1, 6.3, 7.7, 90.0, 107.0, 90.0)
    return Crystal.from_atoms(cell, "P 1 21 1", ["C", "N", "O"], places, B=[8.0, 12.0, 9.0])


#: Bodies of several kinds: whole copies, residues with alternatives, single atoms, lines.
BODIES = {
    "asu": lambda: gather_bodies(made_up("P 21 21 21"), "asu"),
    "residue": lambda: gather_bodies(with_alternates(), "residue"),
    "atom": lambda: gather_bodies(made_up("P 1 21 1"), "atom"),
    "line": lambda: gather_bodies(line(), "asu"),
}


def some_q(n=12, q_max=4.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return q_max * (2 * torch.rand(n, 3, dtype=torch.float64, generator=generator) - 1) / 3**0.5


def by_hand(bodies, q, U, degree, length):
    """Moments atom by atom, as they are defined."""
    P = torch.zeros(len(q), bodies.n_bodies, n_monomials(degree), dtype=torch.complex128)
    factors = bodies.crystal.form_factors
    for j in range(bodies.n_cell_atoms):
        asu = int(bodies.asu_atom[j])
        f = factors.evaluate((q * q).sum(1))[:, factors.kind[asu]]
        x, y, z = (float(v) / length for v in bodies.offsets[j])
        for i, one in enumerate(q):
            wave = f[i] * bodies.crystal.occupancies[asu] * torch.exp(-0.5 * one @ U[j] @ one)
            wave = wave * torch.exp(1j * (one @ bodies.positions[j]))
            for n, (a, b, c) in enumerate(exponents(degree)):
                P[i, bodies.body[j], n] += wave * x**a * y**b * z**c
    return P


def error(got, expected):
    """Largest error of a moment of a body, relative to its rms over q."""
    rms = expected.abs().square().mean(0).sqrt()
    # Moments that vanish, such as those of a single atom, in the largest rms.
    rms = torch.where(rms > 1e-6 * rms.max(), rms, rms.max())
    return float(((got - expected).abs().max(0).values / rms).max())


def test_the_order_of_monomials():
    assert exponents(0) == ((0, 0, 0),)
    assert exponents(1)[1:] == ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    names = ["x" * a + "y" * b + "z" * c for a, b, c in exponents(3)]
    assert names[4:10] == ["xx", "xy", "xz", "yy", "yz", "zz"]
    assert names[10:] == ["xxx", "xxy", "xxz", "xyy", "xyz", "xzz", "yyy", "yyz", "yzz", "zzz"]
    assert [n_monomials(degree) for degree in (0, 1, 2, 8)] == [1, 4, 10, 165]
    for degree in range(9):
        found = exponents(degree)
        assert len(set(found)) == len(found) == n_monomials(degree)
        assert found == exponents(degree + 1)[: len(found)]


def test_monomials_and_their_derivatives():
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[0] = 0.0  # powers of zero have derivatives too
    x[1, 2] = 0.0
    x.requires_grad_()
    expected = torch.stack([x[:, 0] ** a * x[:, 1] ** b * x[:, 2] ** c for a, b, c in exponents(3)])
    assert torch.allclose(monomials(x, 3), expected.T, rtol=1e-14, atol=0)
    assert gradcheck(lambda x: monomials(x, 3), x)
    assert gradgradcheck(lambda x: monomials(x, 3), x)


@pytest.mark.parametrize(("engine", "tolerance"), ENGINES)
@pytest.mark.parametrize("kind", BODIES)
def test_moments_are_the_sums_over_atoms(engine, tolerance, kind):
    bodies, q = BODIES[kind](), some_q()
    found = engine.moments(bodies, q, bodies.U, 3, LENGTH)
    assert found.shape == (len(q), bodies.n_bodies, 20)
    assert error(found, by_hand(bodies, q, bodies.U, 3, LENGTH)) < tolerance


@pytest.mark.parametrize(("engine", "tolerance"), ENGINES)
def test_high_moments(engine, tolerance):
    bodies, q = gather_bodies(made_up("P 1", n_atoms=9)), some_q(40)
    radius = float(bodies.offsets.square().sum(1).mean().sqrt())
    found = engine.moments(bodies, q, bodies.U, 8, radius)
    expected = moments(bodies, q, bodies.U, 8, radius)
    assert error(found, expected) < tolerance
    # Those of a lower degree come first.
    assert error(engine.moments(bodies, q, bodies.U, 2, radius), found[:, :, :10]) < 2 * tolerance


@pytest.mark.parametrize(("engine", "tolerance"), ENGINES)
@pytest.mark.parametrize("kind", BODIES)
def test_waves_and_first_moments_give_the_amplitudes(engine, tolerance, kind):
    bodies, q = BODIES[kind](), some_q()
    P = engine.moments(bodies, q, bodies.U, 2, LENGTH)
    wave, first = P[:, :, 0, None], LENGTH * P[:, :, 1:4]
    complex_q = q[:, None].to(P.dtype).expand_as(first)
    torque = torch.linalg.cross(first, complex_q)
    libration = torch.einsum("bxa,qbx->qba", bodies.axes.to(P.dtype), torque)
    G = torch.cat([wave * complex_q, libration], dim=2)[:, :, : bodies.width]
    expected = transform(bodies, q, bodies.U)
    rms = expected.abs().square().mean().sqrt()
    # Times |q| of 4: the error of the moments is relative to themselves.
    assert float((bodies.gather(G.flatten(1)) - expected).abs().max() / rms) < 10 * tolerance


def grid_rows(bodies, region=None):
    """Ranges that begin and end off integers; some points are beyond the resolution limit."""
    grid = HklGrid.from_sampling((-2, 2, 2), (-2 - 1 / 3, 1, 3), (-1.25, 2, 4))
    rows = GridRows(grid, bodies.crystal.cell, res_limit=2.0)
    return replace(rows, region=region) if region else rows


def moments_on_grid(amplitudes):
    """Moments, G and q at all valid points, by their indices on the grid."""
    rows = amplitudes.rows
    index = torch.arange(math.prod(rows.grid.shape)).reshape(rows.grid.shape)
    found = []
    for block in amplitudes.blocks():
        for tile in amplitudes.moment_tiles(block):
            good = tile.in_order(tile.valid)
            where = index[tile.h, tile.k, tile.l[0] : tile.l[1]][good]
            values = [tile.moments.flatten(2), tile.G.mT, tile.q.to(tile.G.dtype)]
            columns = [tile.in_order(c)[good] for c in torch.cat(values, dim=2).unbind(2)]
            found.append((where, torch.stack(columns, dim=1)))
    where = torch.cat([part for part, _ in found])
    assert len(where.unique()) == len(where)
    order = torch.argsort(where)
    every = torch.cat([part for _, part in found])[order]
    n_dof = amplitudes.bodies.n_dof
    P, G, q = every.split([every.shape[1] - n_dof - 3, n_dof, 3], dim=1)
    return where[order], P.unflatten(1, (amplitudes.bodies.n_bodies, -1)), G, q.real


@pytest.mark.parametrize("degree", [1, 4])
@pytest.mark.parametrize("kind", BODIES)
def test_moments_on_a_grid(kind, degree):
    bodies = BODIES[kind]()
    amplitudes = MeshEngine(RTOL).on_grid(bodies, grid_rows(bodies), bodies.U, degree, LENGTH)
    where, P, G, q = moments_on_grid(amplitudes)
    points = grid_points(bodies.crystal.cell, amplitudes.rows.grid, res_limit=2.0)
    assert torch.equal(where, points.valid.nonzero().squeeze(1))
    assert torch.allclose(q, points.q[where], rtol=1e-12, atol=1e-12)
    assert error(P, moments(bodies, q, bodies.U, degree, LENGTH)) < RTOL
    expected = transform(bodies, q, bodies.U)
    rms = expected.abs().square().mean().sqrt()
    assert float((G - expected).abs().max() / rms) < RTOL
    # The same as without moments, from densities of the same mesh: to rounding.
    alone = MeshEngine(RTOL).on_grid(bodies, grid_rows(bodies), bodies.U).all_points()[where]
    assert float((G - alone).abs().max() / rms) < 1e-12
    # Densities with more moments than amplitudes need give them too.
    assert float((G - amplitudes.all_points()[where]).abs().max() / rms) < 1e-12


def test_waves_alone_on_a_grid():
    bodies = BODIES["atom"]()
    amplitudes = MeshEngine(RTOL).on_grid(bodies, grid_rows(bodies), bodies.U, 0, LENGTH)
    _, P, _, q = moments_on_grid(amplitudes)
    assert P.shape[1:] == (bodies.n_bodies, 1)
    assert error(P, moments(bodies, q, bodies.U, 0, LENGTH)) < RTOL


def test_amplitudes_need_first_moments():
    bodies = BODIES["asu"]()
    with pytest.raises(InputError, match="degree=0: amplitudes of bodies with librations"):
        MeshEngine(RTOL).on_grid(bodies, grid_rows(bodies), bodies.U, 0)


@pytest.mark.parametrize(
    "limits", [{"MAX_TILE_NUMBERS": 1}, {"BLOCK_BYTES": 1, "BLOCK_SHARE": 0.0}]
)
def test_tiles_of_any_size_and_parts_of_a_grid(monkeypatch, limits):
    bodies = BODIES["residue"]()
    engine, region = MeshEngine(RTOL), (slice(2, 7), slice(0, 8), slice(3, 9))
    whole = engine.on_grid(bodies, grid_rows(bodies), bodies.U, 2, LENGTH)
    where, P, _, _ = moments_on_grid(whole)
    shape = whole.rows.grid.shape
    inside = torch.zeros(shape, dtype=torch.bool)
    inside[region] = True
    wanted = inside.reshape(-1)[where]
    tiles = [tile.shape[1:] for block in whole.blocks() for tile in whole.moment_tiles(block)]
    assert max(h for h, _ in tiles) > 1
    assert max(k for _, k in tiles) > 1
    for name, value in limits.items():
        monkeypatch.setattr(gridded, name, value)
    part = whole.within(region)
    tiles = [tile.shape[1:] for block in part.blocks() for tile in part.moment_tiles(block)]
    assert max(h for h, _ in tiles) == 1
    here, again, _, _ = moments_on_grid(part)
    assert torch.equal(here, where[wanted])
    # Products of other shapes: rounding.
    assert error(again, P[wanted]) < 1e-12


def test_the_memory_of_moments_is_stated():
    bodies = gather_bodies(made_up("P 1", n_atoms=9))
    rows = replace(grid_rows(bodies), res_limit=0.7)
    stated = [MeshEngine(RTOL).on_grid(bodies, rows, bodies.U, degree, 1.0) for degree in (1, 8)]
    sizes = [sum(8 * d.numel() for d in a.densities.density) for a in stated]
    assert sizes[1] * 4 == sizes[0] * 165
    # Twice the densities: while they are deposited, or copied.
    assert stated[1].memory_bytes() - stated[0].memory_bytes() >= 2 * (sizes[1] - sizes[0])


@pytest.mark.parametrize("engine", [engine for engine, _ in ENGINES])
def test_moments_of_nothing(engine):
    bodies = gather_bodies(made_up("P 1 21 1"))
    q = torch.zeros(0, 3, dtype=torch.float64)
    assert engine.moments(bodies, q, bodies.U, 2, 1.0).shape == (0, 2, 10)


@pytest.mark.parametrize("engine", [engine for engine, _ in ENGINES])
@pytest.mark.parametrize(
    ("degree", "length", "message"),
    [(-1, 1.0, "degree=-1"), (2.0, 1.0, r"degree=2\.0"), (2, 0.0, r"length=0\.0"),
     (2, float("nan"), "length=nan")],
)  # fmt: skip
def test_moments_that_cannot_be(engine, degree, length, message):
    bodies = gather_bodies(made_up("P 1"))
    with pytest.raises(InputError, match=message):
        engine.moments(bodies, some_q(2), bodies.U, degree, length)


def test_densities_transformed_in_parts(monkeypatch):
    bodies, q = BODIES["residue"](), some_q()
    together = MeshEngine(RTOL).moments(bodies, q, bodies.U, 4, LENGTH)
    calls = []
    transform_of = scattered._FourierSums.apply

    def counted(f, x, eps):
        calls.append(len(f))
        return transform_of(f, x, eps)

    monkeypatch.setattr(scattered._FourierSums, "apply", counted)
    monkeypatch.setattr(scattered, "TRANSFORM_BYTES", 1)
    apart = MeshEngine(RTOL).moments(bodies, q, bodies.U, 4, LENGTH)
    # Each body's 35 densities by pairs, and a last one.
    assert calls == bodies.n_bodies * (17 * [2] + [1])
    # Boxes padded to one shape or not: the tolerance of the transform.
    assert error(apart, together) < RTOL


def test_the_engine_is_chosen_by_the_number_of_moments():
    bodies = gather_bodies(made_up("P 1", n_atoms=1000))
    engines = {
        (on_grid, degree): choose_engine("auto", RTOL, bodies, 10**6, on_grid, degree)
        for on_grid in (False, True)
        for degree in (None, 1, 8)
    }
    # Measured for a protein of 1000 atoms, degree 8: the direct sum takes a third of the time of
    # the mesh at scattered q, and three times as long on a grid.
    assert engines[False, 8].name == "direct"
    assert engines[False, 1].name == engines[False, None].name == "mesh"
    assert all(engines[True, degree].name == "mesh" for degree in (None, 1, 8))
    assert engines[True, 8].reason == "1e+06 q and 1000 atoms in 1 bodies, moments to degree 8"


def test_the_direct_sum_in_batches():
    bodies, q = gather_bodies(with_alternates(), "residue"), some_q(5)
    seen = []
    found = DirectEngine().moments(
        bodies, q, bodies.U, 3, LENGTH, 2, lambda *step: seen.append(step)
    )
    assert seen == [("amplitudes", done, 5) for done in (2, 4, 5)]
    assert error(found, moments(bodies, q, bodies.U, 3, LENGTH)) < 1e-13


def test_gradients_of_the_direct_sum():
    bodies, q = gather_bodies(with_alternates(), "residue"), some_q(2, q_max=2.0)
    origins = bodies.positions - bodies.offsets
    leaves = (q, bodies.positions, bodies.U, bodies.crystal.occupancies)

    def found(q, positions, U, occupancies):
        # Centroids are constants of the derivatives, so they may not follow the atoms here.
        crystal = bodies.crystal.replace(occupancies=occupancies)
        moved = replace(bodies, positions=positions, offsets=positions - origins, crystal=crystal)
        return torch.view_as_real(moments(moved, q, U, 2, LENGTH))

    leaves = [x.detach().clone().requires_grad_() for x in leaves]
    assert gradcheck(found, leaves, fast_mode=True)
    assert gradgradcheck(found, leaves, fast_mode=True)


@pytest.mark.parametrize("degree", [0, 4])
def test_gradients_of_the_mesh(degree):
    found = []
    for engine in (DirectEngine(), MeshEngine(RTOL)):
        crystal = with_alternates()
        given = (some_q(20), crystal.positions, crystal.U, crystal.occupancies, crystal.cell.matrix)
        leaves = [x.detach().clone().requires_grad_() for x in given]
        names = ("positions", "U", "occupancies", "cell")
        crystal = crystal.with_tensors(**dict(zip(names, leaves[1:], strict=True)))
        bodies = gather_bodies(crystal, "residue")
        P = engine.moments(bodies, leaves[0], bodies.U, degree, LENGTH)
        pull = torch.cos(torch.arange(2 * P.numel(), dtype=torch.float64))
        total = (pull * torch.view_as_real(P).reshape(-1)).sum()
        found.append(torch.autograd.grad(total, leaves))
    for reference, got in zip(*found, strict=True):
        # A derivative brings down |q| or a width: a few times the error of the moments.
        assert float((got - reference).abs().max() / reference.abs().max()) < 10 * RTOL


def test_gradients_on_a_grid():
    found = []
    for on_grid in (False, True):
        crystal = with_alternates()
        names = ("positions", "U", "occupancies", "cell")
        given = (crystal.positions, crystal.U, crystal.occupancies, crystal.cell.matrix)
        leaves = [x.detach().clone().requires_grad_() for x in given]
        crystal = crystal.with_tensors(**dict(zip(names, leaves, strict=True)))
        bodies = gather_bodies(crystal, "residue")
        rows = grid_rows(bodies)
        if on_grid:
            amplitudes = MeshEngine(RTOL).on_grid(bodies, rows, bodies.U, 3, LENGTH)
            _, P, G, _ = moments_on_grid(amplitudes)
        else:
            points = grid_points(bodies.crystal.cell, rows.grid, res_limit=2.0)
            q = bodies.crystal.cell.q_from_hkl(points.hkl[points.valid])
            P, G = moments(bodies, q, bodies.U, 3, LENGTH), transform(bodies, q, bodies.U)
        every = torch.view_as_real(torch.cat([P.flatten(1), G], dim=1)).reshape(-1)
        pull = torch.cos(torch.arange(every.numel(), dtype=torch.float64))
        found.append(torch.autograd.grad((pull * every).sum(), leaves))
    for reference, got in zip(*found, strict=True):
        # As in `test_gradients_of_the_mesh`.
        assert float((got - reference).abs().max() / reference.abs().max()) < 10 * RTOL


def test_single_precision():
    q = some_q(30)
    bodies = gather_bodies(with_alternates(), "residue")
    expected = moments(bodies, q, bodies.U, 4, LENGTH)
    single = gather_bodies(with_alternates().to(dtype=torch.float32), "residue")
    for engine in (DirectEngine(), MeshEngine(1e-5)):
        got = engine.moments(single, q.float(), single.U, 4, LENGTH)
        assert got.dtype == torch.complex64
        # Phases q.r up to 50 rad, rounded to 6e-8 of that; fourth powers of offsets; rtol.
        assert error(got.to(torch.complex128), expected) < 2e-4
    amplitudes = MeshEngine(1e-5).on_grid(single, grid_rows(single), single.U, 4, LENGTH)
    _, P, G, q = moments_on_grid(amplitudes)
    assert P.dtype == G.dtype == torch.complex64
    expected = moments(bodies, q.double(), bodies.U, 4, LENGTH)
    assert error(P.to(torch.complex128), expected) < 2e-4
