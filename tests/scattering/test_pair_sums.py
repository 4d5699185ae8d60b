"""Sums over pairs of bodies against the double sum over their atoms, and their derivatives."""

import math
from dataclasses import replace

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from crystals import made_up
from onephonon import Crystal
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.amplitudes import DirectEngine
from onephonon.scattering.multiphonon import pair_sums as module
from onephonon.scattering.multiphonon.lanes import LANES
from onephonon.scattering.multiphonon.pair_sums import directions_across, pair_sums
from onephonon.scattering.multiphonon.pairs import BodyPairs

# torch 2.13 itself scripts functions when forward-mode differentiation is first used.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")

#: Two float64 sums of the same numbers: some 1e3 terms, of which many cancel in the sum.
ROUNDING = 1e-12

#: Central differences in numbers of order one: truncated at 1e-12, rounded at 1e-14/1e-6 = 1e-8.
STEP = {"eps": 1e-6, "atol": 1e-6, "rtol": 1e-5}

LENGTH = 1.3


def random(*shape, seed=0, size=1.0):
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(*shape, dtype=torch.float64, generator=generator)


def line():
    """Three atoms on a line, in a space group with two copies."""
    places = [[0.1, 0.2, 0.3], [0.15, 0.25, 0.4], [0.2, 0.3, 0.5]]
    return Crystal.from_atoms((5.1, 6.3, 7.7, 90, 107, 90), "P 1 21 1", "CNO", places, B=9.0)


#: Whole copies; a body of two atoms, of two, and a single atom; single atoms; lines.
BODIES = {
    "asu": lambda: gather_bodies(made_up("P 1 21 1"), "asu"),
    "mixed": lambda: gather_bodies(made_up("P 1 21 1"), [0, 0, 1, 2, 2]),
    "atom": lambda: gather_bodies(made_up("P 1 21 1", n_atoms=3), "atom"),
    "line": lambda: gather_bodies(line(), "asu"),
}


def some_pairs(bodies, seed=0, n=7):
    """Pairs, cells and covariances at random: of any two bodies, and without any symmetry."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.tensor([[0, 0, 0], [1, 0, -1], [0, 2, 1]])
    index = torch.randint(0, bodies.n_bodies, (n, 3), generator=generator)
    index[:, 2] = torch.arange(n) % 3
    index[0, 1] = index[0, 0]
    w = bodies.width
    blocks = random(n, w, w, seed=seed, size=0.04)
    blocks[:, 3:] *= 0.3  # rad, where translations are in Å
    blocks[:, :, 3:] *= 0.3
    weight = torch.rand(n, dtype=torch.float64, generator=generator) + 0.5
    return BodyPairs(bodies, index, cells, weight, blocks)


def some_q(bodies, n=LANES + 3, size=1.2):
    """More than fill the lanes of the compiled loops."""
    q = random(n, 3, seed=3, size=size)
    return q, bodies.crystal.cell.hkl_from_q(q)


def moments(bodies, q, degree, length=LENGTH):
    return DirectEngine().moments(bodies, q, bodies.U, degree, length)


def bracket(x, order):
    """Orders 2 to `order` of exp(x) - 1, or all beyond the first."""
    if order is None:
        return torch.exp(x) - 1 - x
    return sum((x**n / math.factorial(n) for n in range(2, order + 1)), torch.zeros_like(x))


def truncated(c, a, b, d, degree, order):
    """The same for x = c + a + b + d, but without powers of rho_j or rho_k beyond a degree.

    a is proportional to rho_j, b to rho_k and d to both.
    """
    total = torch.zeros_like(c + a + b + d)
    for i in range(degree + 1):
        for j in range(degree + 1):
            for k in range(degree + 1 - max(i, j)):
                n = i + j + k
                translations = sum(
                    (c**m / math.factorial(m) for m in range(max(0, 2 - n), (order or 20) - n + 1)),
                    torch.zeros_like(c),
                )
                powers = a**i * b**j * d**k
                total = total + powers * translations / math.prod(map(math.factorial, (i, j, k)))
    return total


def by_hand(pairs, q, hkl, order=None, degrees=None):
    """The double sum over the atoms of each pair of bodies, pair by pair, q by q."""
    bodies = pairs.bodies
    f = bodies.crystal.form_factors.evaluate((q * q).sum(1))
    kind = bodies.crystal.form_factors.kind[bodies.asu_atom]
    strength = f[:, kind] * bodies.crystal.occupancies[bodies.asu_atom]
    total = torch.zeros(len(q), dtype=torch.float64)
    for n, one in enumerate(q):
        W = 0.5 * torch.einsum("x,jxy,y->j", one, bodies.U, one)
        wave = strength[n] * torch.exp(-W + 1j * (bodies.positions @ one))
        for p, (a, b, row) in enumerate(pairs.index.tolist()):
            of_a, of_b = ((bodies.body == x).nonzero().squeeze(1) for x in (a, b))
            C = pairs.blocks[p]
            # u = t + l x rho, so that q.u = q.t + (rho x q).l
            torque_a, torque_b = (
                torch.linalg.cross(bodies.offsets[x], one.expand(len(x), 3)) for x in (of_a, of_b)
            )
            if len(C) == 3:
                torque_a, torque_b, C = 0 * torque_a, 0 * torque_b, torch.block_diag(C, 0 * C)
            c = (one @ C[:3, :3] @ one).expand(len(of_a), len(of_b))
            left = (torque_a @ C[3:, :3] @ one)[:, None].expand_as(c)
            right = (torque_b @ C[:3, 3:].T @ one).expand_as(c)
            both = torque_a @ C[3:, 3:] @ torque_b.T
            if degrees is None:
                value = bracket(c + left + right + both, order)
            else:
                value = truncated(c, left, right, both, int(degrees[p]), order)
            phase = torch.exp(2j * torch.pi * (hkl[n] @ pairs.cells[row].double()))
            summed = wave[of_a].conj() @ value.to(wave) @ wave[of_b]
            total[n] += (pairs.weight[p] * phase * summed).real
    return total


def by_torch(*args):
    """`pair_sums` as inside torch.func."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "inside_functorch", lambda: True)
        return pair_sums(*args)


ROUTES = {"compiled": pair_sums, "torch": by_torch}


def error(found, expected):
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


# ---- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("length", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("kind", BODIES)
def test_all_orders_are_the_double_sum_over_atoms(kind, length, route):
    bodies = BODIES[kind]()
    pairs = some_pairs(bodies)
    q, hkl = some_q(bodies)
    expected = by_hand(pairs, q, hkl)
    degree = 0 if bodies.width == 3 else 12
    degrees = torch.full((pairs.n_pairs,), degree)
    found = ROUTES[route](pairs, q, hkl, moments(bodies, q, degree, length), length, degrees)
    assert error(found, expected) < ROUNDING


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("kind", BODIES)
def test_few_orders_are_exact_at_their_degree(kind, order, route):
    bodies = BODIES[kind]()
    pairs = some_pairs(bodies, seed=1)
    q, hkl = some_q(bodies)
    expected = by_hand(pairs, q, hkl, order)
    for degree in (order, order + 1, order + 3):
        degrees = torch.full((pairs.n_pairs,), degree)
        found = ROUTES[route](pairs, q, hkl, moments(bodies, q, degree), LENGTH, degrees, order)
        assert error(found, expected) < ROUNDING
    # And not before, or the comparison would say little.
    if bodies.width > 3:
        degrees = torch.full((pairs.n_pairs,), order - 1)
        found = ROUTES[route](pairs, q, hkl, moments(bodies, q, order - 1), LENGTH, degrees, order)
        assert error(found, expected) > 1e-6


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("order", [None, 2, 3, 5])
@pytest.mark.parametrize("kind", ["asu", "mixed", "line"])
def test_a_degree_of_each_pair(kind, order, route):
    bodies = BODIES[kind]()
    pairs = some_pairs(bodies, seed=2)
    q, hkl = some_q(bodies)
    degrees = torch.tensor([0, 1, 2, 3, 4, -1, 1])
    expected = by_hand(pairs, q, hkl, order, degrees)
    # More moments than are needed make no difference.
    for degree in (4, 6):
        found = ROUTES[route](pairs, q, hkl, moments(bodies, q, degree), LENGTH, degrees, order)
        assert error(found, expected) < ROUNDING
    without = replace(pairs, weight=pairs.weight * (degrees >= 0))
    assert torch.equal(by_hand(without, q, hkl, order, degrees.clamp(min=0)), expected)


@pytest.mark.parametrize("route", ROUTES)
def test_any_number_of_q_and_pairs(route):
    bodies = BODIES["mixed"]()
    pairs = some_pairs(bodies)
    q, hkl = some_q(bodies, 2 * LANES + 1)
    degrees = torch.full((pairs.n_pairs,), 2)
    mu = moments(bodies, q, 2)
    whole = ROUTES[route](pairs, q, hkl, mu, LENGTH, degrees)
    for n in (0, 1, LANES - 1, LANES, LANES + 1):
        found = ROUTES[route](pairs, q[:n], hkl[:n], mu[:n], LENGTH, degrees)
        torch.testing.assert_close(found, whole[:n], rtol=ROUNDING, atol=0)
    none = BodyPairs(bodies, pairs.index[:0], pairs.cells, pairs.weight[:0], pairs.blocks[:0])
    assert torch.equal(
        ROUTES[route](none, q, hkl, mu, LENGTH, degrees[:0]), torch.zeros(len(q)).double()
    )
    assert not ROUTES[route](pairs, q, hkl, mu, LENGTH, degrees - 3).any()


def test_in_several_threads():
    bodies = BODIES["mixed"]()
    pairs = some_pairs(bodies)
    q, hkl = some_q(bodies, 90)
    degrees = torch.full((pairs.n_pairs,), 3)
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            leaves = [x.clone().requires_grad_() for x in (q, hkl, moments(bodies, q, 3))]
            blocks = pairs.blocks.clone().requires_grad_()
            value = pair_sums(replace(pairs, blocks=blocks), *leaves, LENGTH, degrees)
            found.append([value, *torch.autograd.grad(value.sum(), [*leaves, blocks])])
        finally:
            torch.set_num_threads(1)
    for one, other in zip(*found, strict=True):
        assert error(other, one) < ROUNDING


def test_pairs_in_batches_by_torch(monkeypatch):
    bodies = BODIES["mixed"]()
    pairs = some_pairs(bodies)
    q, hkl = some_q(bodies)
    degrees = torch.full((pairs.n_pairs,), 3)
    args = (pairs, q, hkl, moments(bodies, q, 3), LENGTH, degrees)
    whole = by_torch(*args)
    monkeypatch.setattr(module, "NUMBERS_AT_A_TIME", 1)
    assert error(by_torch(*args), whole) < ROUNDING


@pytest.mark.parametrize("route", ROUTES)
def test_single_precision(route):
    bodies = BODIES["mixed"]()
    pairs = some_pairs(bodies)
    q, hkl = some_q(bodies)
    degrees = torch.full((pairs.n_pairs,), 6)
    mu = moments(bodies, q, 6)
    expected = pair_sums(pairs, q, hkl, mu, LENGTH, degrees)
    single = replace(pairs, blocks=pairs.blocks.float(), weight=pairs.weight.float())
    args = [x.float().requires_grad_() for x in (q, hkl)] + [mu.to(torch.complex64)]
    found = ROUTES[route](single, *args, LENGTH, degrees)
    assert found.dtype == torch.float32
    # float32 has 7 digits; hkl of 5 and phases of 30 rounded to them.
    assert error(found.double(), expected) < 1e-4
    slopes = torch.autograd.grad(found.sum(), args[:2])
    assert all(x.dtype == torch.float32 and bool(x.isfinite().all()) for x in slopes)


# ---- directions across q -----------------------------------------------------------------------

#: On every axis, with two equal components, in a plane, and so small that nothing is left.
SPECIAL_Q = [
    [1.1, 0.0, 0.0], [0.0, 1.1, 0.0], [0.0, 0.0, 1.1], [-0.8, 0.0, 0.0], [0.7, 0.7, 0.7],
    [0.9, 0.0, 0.9], [0.0, -0.6, 0.6], [1e-5, 0.0, 0.0], [1e-5, -2e-5, 1e-5], [0.3, 1e-9, -1e-9],
]  # fmt: skip


def test_directions_across_q():
    q = torch.cat([torch.tensor(SPECIAL_Q, dtype=torch.float64), random(5, 3)])
    across = directions_across(q)
    unit = q / torch.linalg.vector_norm(q, dim=1, keepdim=True)
    frame = torch.cat([across, unit[:, None]], dim=1)
    eye = torch.eye(3, dtype=torch.float64).expand_as(frame)
    torch.testing.assert_close(frame @ frame.mT, eye, rtol=0, atol=1e-15)
    torch.testing.assert_close(torch.linalg.det(frame), torch.ones(len(q)).double())


@pytest.mark.parametrize("route", ROUTES)
def test_q_of_special_directions(route):
    bodies = BODIES["mixed"]()
    pairs = some_pairs(bodies)
    q = torch.tensor(SPECIAL_Q, dtype=torch.float64)
    hkl = bodies.crystal.cell.hkl_from_q(q)
    expected = by_hand(pairs, q, hkl, 3)
    degrees = torch.full((pairs.n_pairs,), 3)
    found = ROUTES[route](pairs, q, hkl, moments(bodies, q, 3), LENGTH, degrees, 3)
    large = torch.linalg.vector_norm(q, dim=1) > 1e-3
    assert error(found[large], expected[large]) < ROUNDING
    # The rest is of order q^4: what remains of sums of f^2 is rounding.
    assert float((found - expected)[~large].detach().abs().max()) < 1e-13 * 200


# ---- derivatives -------------------------------------------------------------------------------


def leaves_of(pairs, q, hkl, degree):
    mu = torch.view_as_real(moments(pairs.bodies, q, degree))
    return tuple(x.detach().clone().requires_grad_() for x in (q, hkl, mu, pairs.blocks))


def function_of(pairs, degrees, order, route=pair_sums):
    """Sums as a function of q, hkl, moments and blocks, divided by their size."""

    def value(q, hkl, mu, blocks):
        mu = torch.view_as_complex(mu.contiguous())
        return route(replace(pairs, blocks=blocks), q, hkl, mu, LENGTH, degrees, order) / 100.0

    return value


@pytest.mark.parametrize("order", [None, 2, 3])
@pytest.mark.parametrize("kind", BODIES)
def test_every_derivative(kind, order):
    bodies = BODIES[kind]()
    pairs = some_pairs(bodies, n=4)
    q, hkl = some_q(bodies, 2)
    degrees = torch.tensor([2, 1, 3, 0]) if bodies.width > 3 else torch.tensor([0, 0, 0, -1])
    leaves = leaves_of(pairs, q, hkl, int(degrees.max()))
    assert gradcheck(function_of(pairs, degrees, order), leaves, **STEP)


@pytest.mark.parametrize("kind", BODIES)
def test_derivatives_in_all_lanes(kind):
    bodies = BODIES[kind]()
    pairs = some_pairs(bodies)
    q, hkl = some_q(bodies)
    degree = 5 if bodies.width > 3 else 0
    degrees = torch.full((pairs.n_pairs,), degree)
    leaves = leaves_of(pairs, q, hkl, degree)
    assert gradcheck(function_of(pairs, degrees, None), leaves, fast_mode=True, **STEP)
    pull = random(len(q), seed=5)
    found = [
        torch.autograd.grad(function_of(pairs, degrees, None, route)(*leaves), leaves, pull)
        for route in ROUTES.values()
    ]
    for ours, theirs in zip(*found, strict=True):
        assert error(ours, theirs) < ROUNDING


@pytest.mark.parametrize("order", [None, 3])
def test_derivatives_at_special_q(order):
    bodies = BODIES["mixed"]()
    pairs = some_pairs(bodies)
    q = torch.tensor(SPECIAL_Q[:7], dtype=torch.float64)
    degrees = torch.full((pairs.n_pairs,), 3)
    leaves = leaves_of(pairs, q, bodies.crystal.cell.hkl_from_q(q), 3)
    assert gradcheck(function_of(pairs, degrees, order), leaves, fast_mode=True, **STEP)


def test_derivatives_at_tiny_q():
    bodies = BODIES["mixed"]()
    pairs = some_pairs(bodies)
    q = torch.tensor([[0.02, 0.0, 0.0], [0.02, -0.03, 0.02]], dtype=torch.float64)
    hkl = bodies.crystal.cell.hkl_from_q(q)
    degrees = torch.full((pairs.n_pairs,), 2)
    leaves = leaves_of(pairs, q, hkl, 2)
    (slope,) = torch.autograd.grad(function_of(pairs, degrees, 2)(*leaves).sum(), leaves[0])
    # Euler, for a given hkl and moments: order 2 is homogeneous of degree 4 in q, since moments in
    # fixed axes are multiplied by (q, rho x q) four times.
    along = (slope * q).sum(1)
    value = function_of(pairs, degrees, 2)(*leaves).detach()
    # A sum of f^2 subtracted from itself: 1e-16 against (q^2 C)^2 of 1e-10.
    torch.testing.assert_close(along, 4 * value, rtol=1e-5, atol=0)


@pytest.mark.parametrize("order", [None, 2, 3])
def test_derivatives_of_tiny_and_vanishing_covariances(order):
    bodies = BODIES["mixed"]()
    q, hkl = some_q(bodies, 3)
    pairs = some_pairs(bodies)
    blocks = pairs.blocks.clone()
    blocks[0] = 0.0  # nothing moves
    blocks[1, 3:] = blocks[1, :, 3:] = 0.0  # no libration
    blocks[2, :3] = blocks[2, :, :3] = 0.0  # no translation
    blocks[3] *= 1e-12
    pairs = replace(pairs, blocks=blocks)
    degrees = torch.full((pairs.n_pairs,), 3)
    leaves = leaves_of(pairs, q, hkl, 3)
    value = function_of(pairs, degrees, order)
    assert gradcheck(value, leaves, **STEP)
    still = replace(pairs, blocks=torch.zeros_like(blocks))
    # Rounding of sums of f^2, that cancel.
    assert float(value(*leaves[:3], still.blocks).detach().abs().max()) < 1e-13 * 200


@pytest.mark.parametrize("order", [None, 3])
@pytest.mark.parametrize("kind", BODIES)
def test_second_derivatives(kind, order):
    bodies = BODIES[kind]()
    pairs = some_pairs(bodies, n=4)
    q, hkl = some_q(bodies, 2)
    degrees = torch.tensor([2, 1, 2, 0]) if bodies.width > 3 else torch.tensor([0, 0, 0, -1])
    leaves = leaves_of(pairs, q, hkl, int(degrees.max()))
    assert gradgradcheck(function_of(pairs, degrees, order), leaves, fast_mode=True, **STEP)


def test_second_derivatives_where_every_pair_is_left_out():
    bodies = BODIES["mixed"]()
    pairs = some_pairs(bodies, n=2)
    leaves = leaves_of(pairs, *some_q(bodies, 2), 0)
    value = function_of(pairs, torch.tensor([-1, -1]), None)(*leaves)
    slopes = torch.autograd.grad(value.sum(), leaves, create_graph=True)
    assert not any(bool(s.any()) for s in slopes)


@pytest.mark.parametrize("wanted", range(4))
def test_a_derivative_by_one_input_alone(wanted):
    bodies = BODIES["mixed"]()
    pairs = some_pairs(bodies)
    degrees = torch.full((pairs.n_pairs,), 2)
    every = leaves_of(pairs, *some_q(bodies), 2)
    value = function_of(pairs, degrees, None)
    expected = torch.autograd.grad(value(*every).sum(), every)[wanted]
    some = [x if n == wanted else x.detach() for n, x in enumerate(every)]
    for again in (False, True):
        (found,) = torch.autograd.grad(value(*some).sum(), some[wanted], create_graph=again)
        assert error(found.detach(), expected) < ROUNDING


def test_inside_torch_func():
    bodies = BODIES["mixed"]()
    pairs = some_pairs(bodies)
    q, hkl = some_q(bodies, 3)
    degrees = torch.full((pairs.n_pairs,), 3)
    leaves = leaves_of(pairs, q, hkl, 3)
    value = function_of(pairs, degrees, None)
    rows = [torch.autograd.grad(x, leaves, retain_graph=True) for x in value(*leaves)]
    inputs = tuple(x.detach() for x in leaves)
    reverse = torch.func.jacrev(value, argnums=(0, 1, 2, 3))(*inputs)
    for n, found in enumerate(reverse):
        assert error(found, torch.stack([row[n] for row in rows])) < ROUNDING
    direction = tuple(random(*x.shape, seed=n) for n, x in enumerate(inputs))
    at, along = torch.func.jvp(value, inputs, direction)
    assert error(at, value(*leaves).detach()) < ROUNDING
    expected = torch.stack(
        [sum((g * d).sum() for g, d in zip(row, direction, strict=True)) for row in rows]
    )
    assert error(along, expected) < ROUNDING
    several = torch.stack([inputs[3], 0.5 * inputs[3], 0 * inputs[3]])
    found = torch.vmap(lambda blocks: value(*inputs[:3], blocks))(several)
    expected = torch.stack([value(*inputs[:3], blocks) for blocks in several])
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)
