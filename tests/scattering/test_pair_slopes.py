"""Derivatives of the pair sums by the covariances: compiled loops against torch and differences."""

from dataclasses import replace

import pytest
import torch

from crystals import made_up
from onephonon import OnePhonon
from onephonon.scattering.multiphonon.pair_sums import pair_slopes, pair_sums
from onephonon.scattering.multiphonon.pairs import BodyPairs, body_pairs


def case(group_by="asu", order=None):
    """Some pairs with random covariances of all elements, and what `pair_sums` needs of them."""
    model = OnePhonon(made_up("P 1 21 1"), group_by=group_by, gnm_cutoff=8.0, mesh=(2, 2, 2))
    generator = torch.Generator().manual_seed(0)
    bodies = model.bodies
    pairs = body_pairs(model.lattice, (1, 2, 1))
    some = pairs.index[:: max(1, pairs.n_pairs // 9)]
    w = pairs.blocks.shape[1]

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    blocks = 0.05 * random(len(some), w, w)
    pairs = BodyPairs(bodies, some, pairs.cells, torch.rand_like(blocks[:, 0, 0]) + 1, blocks)
    # Left out, and series of every length.
    degrees = torch.arange(len(some)) % 5 - 1 if w == 6 else torch.arange(len(some)) % 2 - 1
    n_q = 11  # not a multiple of the loops' lanes
    q, hkl = random(n_q, 3), random(n_q, 3)
    count = 20 if w == 6 else 1
    moments = torch.complex(
        random(n_q, bodies.n_bodies, count), random(n_q, bodies.n_bodies, count)
    )
    tangents = random(4, *blocks.shape)
    return pairs, tangents, (q, hkl, moments, 2.0, degrees, order)


CASES = [("asu", None), ("asu", 2), ("asu", 4), ("atom", None), ("atom", 3)]


@pytest.mark.parametrize(("group_by", "order"), CASES)
def test_slopes_are_those_of_torch(group_by, order):
    pairs, tangents, rest = case(group_by, order)
    sums, slopes = pair_slopes(pairs, tangents, *rest)
    # Inside torch.func the sums are computed by torch.
    by_block = torch.func.jacrev(lambda b: pair_sums(replace(pairs, blocks=b), *rest))(pairs.blocks)
    expected = torch.einsum("qpij,tpij->qt", by_block, tangents)
    size = float(expected.abs().max())
    torch.testing.assert_close(slopes, expected, rtol=1e-10, atol=1e-12 * size)
    torch.testing.assert_close(sums, pair_sums(pairs, *rest), rtol=1e-10, atol=1e-12 * size)


@pytest.mark.parametrize(("group_by", "order"), CASES)
def test_gradients_by_the_covariances_alone_are_those_of_all_and_differences(group_by, order):
    pairs, tangents, (q, hkl, moments, *rest) = case(group_by, order)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(len(q), dtype=torch.float64, generator=generator)
    leaf, other = pairs.blocks.clone().requires_grad_(), moments.clone().requires_grad_()

    def total(blocks, moments):
        return pair_sums(replace(pairs, blocks=blocks), q, hkl, moments, *rest) @ weight

    (alone,) = torch.autograd.grad(total(leaf, moments), leaf)
    together, _ = torch.autograd.grad(total(leaf, other), (leaf, other))
    size = float(together.abs().max())
    torch.testing.assert_close(alone, together, rtol=1e-10, atol=1e-12 * size)
    h = 1e-5
    for tangent in tangents:
        ends = [total(pairs.blocks + sign * h * tangent, moments) for sign in (1, -1)]
        expected = float((ends[0] - ends[1]) / (2 * h))
        # Central differences err by h^2 of third derivatives, which are large, and by 1e-16/h.
        assert float((alone * tangent).sum()) == pytest.approx(expected, rel=1e-5)
