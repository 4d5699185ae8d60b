"""Families of springs: free parameters, what they mean, and how one level goes on from another."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import scipy.linalg
import torch

from crystals import made_up
from onephonon.core.errors import InputError
from onephonon.network.bodies import gather_bodies
from onephonon.network.contacts import find_contacts
from onephonon.refine import LEVELS, make_parametrization
from onephonon.refine.parametrization import N_STIFFNESS, find_levels, parametrization_basis

CUTOFF = 6.5
START = 3.0

#: Two float64 routes to one number through a few matrices of condition below 1e4.
ROUNDING = 1e-10


@pytest.fixture(scope="module", params=["P 1", "P 1 21 1", "P 21 21 21"])
def parts(request):
    bodies = gather_bodies(made_up(request.param))
    return bodies, find_contacts(bodies, CUTOFF)


def parametrization_of(parts, name, start=START):
    return make_parametrization(find_levels((name,))[0], *parts, start)


def random_x(n, seed=0, size=0.5):
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(n, generator=generator, dtype=torch.float64)


def assert_same(ours, theirs, tolerance=ROUNDING):
    """Relative to the largest number: symmetry makes some vanish."""
    assert ours.shape == theirs.shape
    assert float(theirs.abs().max()) > 0
    assert float((ours - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


@pytest.mark.parametrize("name", [level.name for level in LEVELS])
def test_every_level_starts_from_the_same_springs(parts, name):
    parametrization = parametrization_of(parts, name)
    zero = torch.zeros(parametrization.n, dtype=torch.float64)
    assert (
        len(parametrization.names)
        == len(set(parametrization.names))
        == parametrization.n
        == len(parametrization.values(zero))
    )
    if name != "stiffness":
        assert_same(parametrization.values(zero), torch.full_like(zero, START), 1e-15)
        springs = parametrization.springs(zero)
        assert_same(springs.k_par, springs.k_perp, 1e-15)


@pytest.mark.parametrize("name", [level.name for level in LEVELS])
def test_slopes_are_those_of_autograd(parts, name):
    parametrization = parametrization_of(parts, name)
    n = parametrization.n
    first = torch.zeros(n, dtype=torch.float64)
    first[:N_STIFFNESS] = random_x(n, 1)[:N_STIFFNESS]
    for x in (random_x(n), torch.zeros(n, dtype=torch.float64), first):
        expected = torch.autograd.functional.jacobian(parametrization.values, x)
        assert_same(parametrization.slopes(x), expected)


def test_slopes_are_exact_where_eigenvalues_coincide_or_nearly(parts):
    parametrization = parametrization_of(parts, "stiffness")
    rows, columns = torch.triu_indices(6, 6)
    Q = torch.linalg.qr(random_x(36, 2).reshape(6, 6))[0]
    for gap in (0.0, 1e-9, 1e-5, 1e-3):
        e = torch.tensor([0.4, 0.4 + gap, 0.4 - gap, -1.0, -1.0, 2.0], dtype=torch.float64)
        X = Q @ torch.diag(e) @ Q.T
        one = X[rows, columns] * torch.where(rows == columns, 1.0, 2.0**0.5)
        x = one.repeat(parametrization.n // N_STIFFNESS)
        expected = torch.autograd.functional.jacobian(parametrization.values, x)
        assert_same(parametrization.slopes(x), expected)


def test_length_of_x_is_the_affine_invariant_distance(parts):
    parametrization = parametrization_of(parts, "stiffness")
    x = random_x(parametrization.n)
    S0, S = parametrization.stiffness(torch.zeros_like(x)), parametrization.stiffness(x)
    for a, b, own in zip(S0, S, x.reshape(-1, N_STIFFNESS), strict=True):
        # Pennec's distance by the generalized eigenvalues, which need no root at all.
        logs = torch.from_numpy(scipy.linalg.eigh(b.numpy(), a.numpy(), eigvals_only=True)).log()
        assert_same(own.norm(), logs.norm(), 1e-9)


@pytest.mark.parametrize("change", ["nm", "origin", "axes"])
def test_length_of_x_depends_on_no_unit_origin_or_axes(parts, change):
    parametrization = parametrization_of(parts, "stiffness")
    hybrid = parametrization_of(parts, "hybrid")
    y = random_x(hybrid.n, 3)
    x = parametrization.initial_values(hybrid, y)
    M = torch.eye(6, dtype=torch.float64)
    if change == "nm":  # kT/Å^2 and kT/Å to kT/nm^2 and kT/nm
        M[:3, :3] *= 10.0
    elif change == "origin":  # t at another point is t + l x arm
        a, b, c = 3.0, -5.0, 2.0
        M[3:, :3] = torch.tensor([[0, -c, b], [c, 0, -a], [-b, a, 0]], dtype=torch.float64)
    else:
        rotation = torch.linalg.qr(random_x(9, 4).reshape(3, 3))[0]
        M[:3, :3] = M[3:, 3:] = rotation

    def changed(*_):
        return M @ parametrization.stiffness(x) @ M.T

    S0 = parametrization.root @ parametrization.root.mT
    other = replace(
        parametrization,
        root=torch.linalg.cholesky(M @ S0 @ M.T),
        module=SimpleNamespace(from_springs=changed),
    )
    z = other.initial_values(hybrid, y)
    lengths = [v.reshape(-1, N_STIFFNESS).norm(dim=1) for v in (z, x)]
    # M and the stiffness have conditions of some 1e3 together with rounding.
    assert_same(*lengths, 1e-8)
    if change == "axes":
        assert float((z - x).abs().max()) > 0.01  # the numbers themselves do change


def test_log_ratios_are_independent_of_the_unit(parts):
    coarse = parametrization_of(parts, "interface")
    x = random_x(coarse.n)
    ours = parametrization_of(parts, "hybrid").initial_values(coarse, x)
    # The same springs and the same start in another unit.
    theirs = parametrization_of(parts, "hybrid", 100 * START).initial_values(
        parametrization_of(parts, "interface", 100 * START), x
    )
    assert_same(theirs, ours, 1e-12)


CLIMBS = [("global", "interface"), ("interface", "hybrid"), ("hybrid", "residue")]


@pytest.mark.parametrize(("coarse", "fine"), CLIMBS)
def test_a_finer_level_starts_from_the_coarser_springs(parts, coarse, fine):
    below, above = parametrization_of(parts, coarse), parametrization_of(parts, fine, 0.2 * START)
    x = random_x(below.n)
    start = above.initial_values(below, x)
    ours, theirs = (f.constants(f.values(v)) for f, v in ((above, start), (below, x)))
    assert_same(ours.onsite, theirs.onsite)
    assert_same(ours.coupling, theirs.coupling)


def test_a_coarser_level_takes_the_mean_of_logarithms(parts):
    above, below = parametrization_of(parts, "global"), parametrization_of(parts, "hybrid")
    x = random_x(below.n)
    springs = below.springs(x)
    mean = torch.cat([springs.k_par, springs.k_perp]).log().mean()
    assert_same(above.values(above.initial_values(below, x)).log(), mean[None])


def test_matrices_start_closest_to_the_springs(parts):
    below, above = (
        parametrization_of(parts, "hybrid"),
        parametrization_of(parts, "stiffness", 0.5 * START),
    )
    x = random_x(below.n)
    S = above.stiffness(above.initial_values(below, x))
    assert_same(S, above.module.from_springs(*parts, below.springs(x)))
    # From there to themselves nothing changes; back to springs nothing is known.
    z = random_x(above.n)
    assert_same(above.initial_values(above, z), z, 1e-15)
    assert float(below.initial_values(above, z).abs().max()) == 0


@pytest.mark.parametrize("name", [level.name for level in LEVELS])
def test_force_constants_are_linear_in_the_values(parts, name):
    parametrization = parametrization_of(parts, name)
    v, w = (parametrization.values(random_x(parametrization.n, seed)) for seed in (5, 6))
    both, one, two = (parametrization.constants(u) for u in (2 * v - 3 * w, v, w))
    assert_same(both.onsite, 2 * one.onsite - 3 * two.onsite)
    assert_same(both.coupling, 2 * one.coupling - 3 * two.coupling)
    # So a basis of one constant at a time gives them all.
    again = parametrization_basis(parametrization).constants(v)
    assert_same(again.onsite, one.onsite)
    assert_same(again.coupling, one.coupling)


@pytest.mark.parametrize("names", [("global", "atom"), (), ("",)])
def test_unknown_levels_raise(names):
    with pytest.raises(InputError, match=r"levels .*: give one or more of global, interface"):
        find_levels(names)


def test_matrices_need_rigid_copies():
    bodies = gather_bodies(made_up("P 1 21 1", n_atoms=6), "residue")
    with pytest.raises(InputError, match="group_by='asu'"):
        parametrization_of((bodies, find_contacts(bodies, CUTOFF)), "stiffness")
