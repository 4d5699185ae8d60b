"""How far the series of each pair goes: the errors that are left, and their estimates."""

from functools import cache
from itertools import pairwise

import pytest
import torch

from crystals import made_up
from onephonon import OnePhonon
from onephonon.scattering.multiphonon import truncation as module
from onephonon.scattering.multiphonon.settings import Orders
from onephonon.scattering.multiphonon.truncation import truncate

#: Crystals by code, their bodies, and a mesh.
CASES = {"2ol9": ("asu", (3, 3, 2)), "5zck": ("asu", (3, 2, 2)), "5wkd": ("residue", (1, 2, 1))}

RTOLS = (1e-3, 1e-4, 1e-5, 1e-6)

#: Errors are relative to the intensity of atoms with random phases, from which that of few bodies
#: at low resolution differs, and along a soft direction a covariance is larger than its norm.
LARGEST = 4.0


def directions(n=40):
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(n, 3, dtype=torch.float64, generator=generator)
    return u / torch.linalg.vector_norm(u, dim=1, keepdim=True)


@pytest.fixture(scope="module")
def model_at(peptide):
    """A model at q of one length, in all directions."""

    @cache
    def make(code, d):
        group_by, mesh = CASES[code]
        q = directions() * 2 * torch.pi / d
        options = {"group_by": group_by, "mesh": mesh, "engine": "direct", "rtol": 1e-12}
        return OnePhonon(peptide(code), q_vectors=q, **options)

    return make


def pairs_of(model):
    with torch.no_grad():
        return model.bound.pairs(Orders(None))


@pytest.mark.parametrize("orders", ["all", 3])
@pytest.mark.parametrize("d", [6.0, 3.0, 2.3])
@pytest.mark.parametrize("code", CASES)
@torch.no_grad()
def test_errors_are_within_the_tolerance(model_at, code, d, orders):
    model = model_at(code, d)
    pairs, q_max = pairs_of(model), 2 * torch.pi / d
    number = None if orders == "all" else orders
    model.rtol = 1e-12
    assert truncate(pairs, q_max, 1e-12, number).error < 1e-7
    exact = model(orders=orders)
    for rtol in RTOLS:
        model.rtol = rtol
        found = truncate(pairs, q_max, rtol, number)
        assert found.error <= rtol
        error = float((model(orders=orders) - exact).square().mean().sqrt() / exact.mean())
        assert error < LARGEST * rtol
        # And the estimate is one: not too small, nor is much computed for nothing.
        if error > 1e-11:
            assert error / LARGEST < found.error < 40 * error


@pytest.mark.parametrize("code", CASES)
@torch.no_grad()
def test_more_accuracy_takes_more_terms(model_at, code):
    model = model_at(code, 3.0)
    pairs = pairs_of(model)
    found = [truncate(pairs, 2.0, rtol) for rtol in RTOLS]
    for coarse, fine in pairwise(found):
        assert bool((fine.degrees >= coarse.degrees).all())
        assert fine.degree > 0
        assert fine.error <= coarse.error
    assert found[-1].degree > found[0].degree
    # And so does a larger q.
    assert bool((truncate(pairs, 4.0, 1e-4).degrees >= found[1].degrees).all())


@torch.no_grad()
def test_a_pair_that_is_left_out_is_small():
    # On a mesh of many cells most pairs are far apart, and at low resolution orders beyond the
    # first are small.
    crystal = made_up("P 1", n_atoms=4)
    q = directions(20) * 0.2
    options = {"q_vectors": q, "gnm_cutoff": 6.5, "mesh": (7, 7, 7), "engine": "direct"}
    model = OnePhonon(crystal, zone_average="supercell", rtol=1e-12, **options)
    exact, pairs = model(orders="all"), pairs_of(model)
    model.rtol = 3e-3
    found = truncate(pairs, 0.2, 3e-3)
    assert pairs.n_pairs / 4 < found.n_left_out < pairs.n_pairs
    assert not bool((found.degrees[pairs.own] < 0).any())
    error = float((model(orders="all") - exact).square().mean().sqrt() / exact.mean())
    assert 1e-5 < error < LARGEST * 3e-3
    # The largest of them is smaller than any of the others.
    size = torch.linalg.matrix_norm(pairs.blocks[:, :3, :3])
    left_out = found.degrees < 0
    assert float(size[left_out].max()) < 2 * float(size[~left_out].min())


@torch.no_grad()
def test_single_atoms_have_no_series():
    model = OnePhonon(made_up("P 1"), group_by="atom", gnm_cutoff=6.5, mesh=(2, 2, 2))
    found = truncate(pairs_of(model), 3.0, 1e-12)
    assert found.degree == 0
    assert found.error <= 1e-12


@torch.no_grad()
def test_a_few_orders_need_no_more_than_their_degree():
    model = OnePhonon(made_up("P 1 21 1"), gnm_cutoff=6.5, mesh=(2, 2, 2))
    for order in (2, 3, 5):
        found = truncate(pairs_of(model), 6.0, 1e-12, order)
        assert found.degree == order
        assert found.error == 0.0


@torch.no_grad()
def test_a_series_that_is_too_long_says_so(monkeypatch):
    model = OnePhonon(made_up("P 1 21 1"), gnm_cutoff=6.5, mesh=(2, 2, 2))
    pairs = pairs_of(model)
    assert truncate(pairs, 3.0, 1e-6).error <= 1e-6
    monkeypatch.setattr(module, "MAX_DEGREE", 2)
    found = truncate(pairs, 3.0, 1e-6)
    assert found.degree == 2
    assert found.error > 1e-4


@torch.no_grad()
def test_bodies_of_different_sizes(peptide):
    # The librations of the small body are large, but its atoms are close to its centroid.
    bodies = [0] * 45 + [1] * 6
    q = directions() * 2 * torch.pi / 1.8
    model = OnePhonon(peptide("2ol9"), q_vectors=q, group_by=bodies, mesh=(2, 2, 2), rtol=1e-12)
    pairs, exact = pairs_of(model), model(orders="all")
    for rtol in RTOLS:
        model.rtol = rtol
        error = float((model(orders="all") - exact).square().mean().sqrt() / exact.mean())
        found = truncate(pairs, 2 * torch.pi / 1.8, rtol)
        assert error < LARGEST * rtol
        assert error / LARGEST < found.error < 10 * error
    # With the large body's radius the small one would need 20 and more.
    assert found.degree < 15


@torch.no_grad()
def test_nothing_to_sum():
    model = OnePhonon(made_up("P 1"), gnm_cutoff=6.5, mesh=(2, 2, 2))
    found = truncate(pairs_of(model), 0.0, 1e-6)
    assert found.error == 0.0
