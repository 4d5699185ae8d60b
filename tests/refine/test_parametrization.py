"""Families of springs: free numbers, what they mean, and how one rung goes on from another."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import scipy.linalg
import torch

from crystals import made_up
from onephonon.core.errors import InputError
from onephonon.network.bodies import gather_bodies
from onephonon.network.contacts import find_contacts
from onephonon.refine import RUNGS, make_family
from onephonon.refine.parametrization import N_STIFFNESS, family_basis, find_rungs

CUTOFF = 6.5
START = 3.0

#: Two float64 routes to one number through a few matrices of condition below 1e4.
ROUNDING = 1e-10


@pytest.fixture(scope="module", params=["P 1", "P 1 21 1", "P 21 21 21"])
def parts(request):
    bodies = gather_bodies(made_up(request.param))
    return bodies, find_contacts(bodies, CUTOFF)


def family_of(parts, name, start=START):
    return make_family(find_rungs((name,))[0], *parts, start)


def random_x(n, seed=0, size=0.5):
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(n, generator=generator, dtype=torch.float64)


def assert_same(ours, theirs, tolerance=ROUNDING):
    """Relative to the largest number: symmetry makes some vanish."""
    assert ours.shape == theirs.shape
    assert float(theirs.abs().max()) > 0
    assert float((ours - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


@pytest.mark.parametrize("name", [rung.name for rung in RUNGS])
def test_every_rung_starts_from_the_same_springs(parts, name):
    family = family_of(parts, name)
    zero = torch.zeros(family.n, dtype=torch.float64)
    assert len(family.names) == len(set(family.names)) == family.n == len(family.values(zero))
    if name != "stiffness":
        assert_same(family.values(zero), torch.full_like(zero, START), 1e-15)
        springs = family.springs(zero)
        assert_same(springs.k_par, springs.k_perp, 1e-15)


@pytest.mark.parametrize("name", [rung.name for rung in RUNGS])
def test_slopes_are_those_of_autograd(parts, name):
    family = family_of(parts, name)
    n = family.n
    first = torch.zeros(n, dtype=torch.float64)
    first[:N_STIFFNESS] = random_x(n, 1)[:N_STIFFNESS]
    for x in (random_x(n), torch.zeros(n, dtype=torch.float64), first):
        expected = torch.autograd.functional.jacobian(family.values, x)
        assert_same(family.slopes(x), expected)


def test_slopes_are_exact_where_eigenvalues_coincide_or_nearly(parts):
    family = family_of(parts, "stiffness")
    rows, columns = torch.triu_indices(6, 6)
    Q = torch.linalg.qr(random_x(36, 2).reshape(6, 6))[0]
    for gap in (0.0, 1e-9, 1e-5, 1e-3):
        e = torch.tensor([0.4, 0.4 + gap, 0.4 - gap, -1.0, -1.0, 2.0], dtype=torch.float64)
        X = Q @ torch.diag(e) @ Q.T
        one = X[rows, columns] * torch.where(rows == columns, 1.0, 2.0**0.5)
        x = one.repeat(family.n // N_STIFFNESS)
        expected = torch.autograd.functional.jacobian(family.values, x)
        assert_same(family.slopes(x), expected)


def test_length_of_x_is_the_affine_invariant_distance(parts):
    family = family_of(parts, "stiffness")
    x = random_x(family.n)
    S0, S = family.stiffness(torch.zeros_like(x)), family.stiffness(x)
    for a, b, own in zip(S0, S, x.reshape(-1, N_STIFFNESS), strict=True):
        # Pennec's distance by the generalized eigenvalues, which need no root at all.
        logs = torch.from_numpy(scipy.linalg.eigh(b.numpy(), a.numpy(), eigvals_only=True)).log()
        assert_same(own.norm(), logs.norm(), 1e-9)


@pytest.mark.parametrize("change", ["nm", "origin", "axes"])
def test_length_of_x_depends_on_no_unit_origin_or_axes(parts, change):
    family = family_of(parts, "stiffness")
    hybrid = family_of(parts, "hybrid")
    y = random_x(hybrid.n, 3)
    x = family.begin(hybrid, y)
    M = torch.eye(6, dtype=torch.float64)
    if change == "nm":  # kT/Å^2 and kT/Å to kT/nm^2 and kT/nm
        M[:3, :3] *= 10.0
    elif change == "origin":  # t at another point is t + l x arm
        a, b, c = 3.0, -5.0, 2.0
        M[3:, :3] = torch.tensor([[0, -c, b], [c, 0, -a], [-b, a, 0]], dtype=torch.float64)
    else:
        turn = torch.linalg.qr(random_x(9, 4).reshape(3, 3))[0]
        M[:3, :3] = M[3:, 3:] = turn

    def changed(*_):
        return M @ family.stiffness(x) @ M.T

    S0 = family.root @ family.root.mT
    other = replace(
        family,
        root=torch.linalg.cholesky(M @ S0 @ M.T),
        module=SimpleNamespace(from_springs=changed),
    )
    z = other.begin(hybrid, y)
    lengths = [v.reshape(-1, N_STIFFNESS).norm(dim=1) for v in (z, x)]
    # M and the stiffness have conditions of some 1e3 together with rounding.
    assert_same(*lengths, 1e-8)
    if change == "axes":
        assert float((z - x).abs().max()) > 0.01  # the numbers themselves do change


def test_log_ratios_do_not_know_the_unit(parts):
    coarse = family_of(parts, "interface")
    x = random_x(coarse.n)
    ours = family_of(parts, "hybrid").begin(coarse, x)
    # The same springs and the same start in another unit.
    theirs = family_of(parts, "hybrid", 100 * START).begin(
        family_of(parts, "interface", 100 * START), x
    )
    assert_same(theirs, ours, 1e-12)


CLIMBS = [("global", "interface"), ("interface", "hybrid"), ("hybrid", "residue")]


@pytest.mark.parametrize(("coarse", "fine"), CLIMBS)
def test_a_finer_rung_begins_with_the_coarser_rungs_springs(parts, coarse, fine):
    below, above = family_of(parts, coarse), family_of(parts, fine, 0.2 * START)
    x = random_x(below.n)
    start = above.begin(below, x)
    ours, theirs = (f.constants(f.values(v)) for f, v in ((above, start), (below, x)))
    assert_same(ours.onsite, theirs.onsite)
    assert_same(ours.coupling, theirs.coupling)


def test_a_coarser_rung_takes_the_mean_of_logarithms(parts):
    above, below = family_of(parts, "global"), family_of(parts, "hybrid")
    x = random_x(below.n)
    springs = below.springs(x)
    mean = torch.cat([springs.k_par, springs.k_perp]).log().mean()
    assert_same(above.values(above.begin(below, x)).log(), mean[None])


def test_matrices_begin_as_near_the_springs_as_they_come(parts):
    below, above = family_of(parts, "hybrid"), family_of(parts, "stiffness", 0.5 * START)
    x = random_x(below.n)
    S = above.stiffness(above.begin(below, x))
    assert_same(S, above.module.from_springs(*parts, below.springs(x)))
    # From there to themselves nothing changes; back to springs nothing is known.
    z = random_x(above.n)
    assert_same(above.begin(above, z), z, 1e-15)
    assert float(below.begin(above, z).abs().max()) == 0


@pytest.mark.parametrize("name", [rung.name for rung in RUNGS])
def test_force_constants_are_linear_in_the_values(parts, name):
    family = family_of(parts, name)
    v, w = (family.values(random_x(family.n, seed)) for seed in (5, 6))
    both, one, two = (family.constants(u) for u in (2 * v - 3 * w, v, w))
    assert_same(both.onsite, 2 * one.onsite - 3 * two.onsite)
    assert_same(both.coupling, 2 * one.coupling - 3 * two.coupling)
    # So a basis of one constant at a time gives them all.
    again = family_basis(family).constants(v)
    assert_same(again.onsite, one.onsite)
    assert_same(again.coupling, one.coupling)


@pytest.mark.parametrize("names", [("global", "atom"), (), ("",)])
def test_unknown_rungs_are_refused(names):
    with pytest.raises(InputError, match=r"ladder .*: give one or more of global, interface"):
        find_rungs(names)


def test_matrices_need_rigid_copies():
    bodies = gather_bodies(made_up("P 1 21 1", n_atoms=6), "residue")
    with pytest.raises(InputError, match="group_by='asu'"):
        family_of((bodies, find_contacts(bodies, CUTOFF)), "stiffness")
