"""Sums of orders against the double sum over the atoms of a supercell, as `verify` makes it."""

import inspect

import pytest

from crystals import made_up
from onephonon import InputError, OnePhonon
from onephonon.model import verify as module
from onephonon.model.verify import verify

#: Until the model has the argument that is verified here.
sums_orders = pytest.mark.skipif(
    "orders" not in inspect.signature(OnePhonon.apply_disorder).parameters,
    reason="the model sums no orders yet",
)

#: Three cells along h: at k = 1/3 K is not real, so that a forgotten conjugate shows.
SIZE = (3, 2, 1)

#: Central forces need every atom held from three sides; 6.5 Å does it for every crystal here.
CUTOFF = 6.5

OPTIONS = {"size": SIZE, "gnm_cutoff": CUTOFF, "gamma_inter": 0.4, "hkl_range": (-2, 2)}

CHECKS = [
    "grid vs supercell, file's ADPs",
    "arbitrary q vs supercell, file's ADPs",
    "grid vs supercell, model's ADPs",
    "arbitrary q vs supercell, model's ADPs",
]


def of_orders(result, what):
    """The checks of sums of orders, which come last."""
    checks = result.checks[8:]
    assert [check.name for check in checks] == [f"{what}, {name}" for name in CHECKS]
    return checks


def assert_passes(result, what):
    # verify's own tolerance, with its reason there.
    assert {c.name: c.difference for c in of_orders(result, what) if not c.passed} == {}
    assert result.passed


@sums_orders
@pytest.mark.parametrize(("orders", "what"), [(2, "orders 1 to 2"), ("all", "all orders")])
@pytest.mark.parametrize("group_by", ["asu", "residue", "atom"])
@pytest.mark.parametrize("spacegroup", ["P 1", "P 1 21 1", "C 1 2 1", "P 31 2 1"])
def test_made_up_crystal_is_its_supercell(spacegroup, group_by, orders, what):
    crystal = made_up(spacegroup)
    result = verify(crystal, group_by=group_by, n_points=8, orders=orders, **OPTIONS)
    assert all(check.count == 8 for check in of_orders(result, what))
    assert_passes(result, what)


@sums_orders
@pytest.mark.parametrize("orders", [1, 3, "all"])
@pytest.mark.parametrize("code", ["2ol9", "5wkd", "5zck"])
def test_real_crystal_is_its_supercell(peptide, code, orders):
    result = verify(peptide(code), size=SIZE, hkl_range=(-3, 3), n_points=5, orders=orders)
    if orders == 1:
        assert len(result.checks) == 8
    else:
        assert_passes(result, "all orders" if orders == "all" else "orders 1 to 3")


@sums_orders
@pytest.mark.parametrize("orders", [3, "all"])
def test_fails_with_an_order_too_few(monkeypatch, orders):
    right = OnePhonon.apply_disorder

    def short(self, *args, orders, **options):
        return right(self, *args, orders=2 if orders == 3 else 6, **options)

    monkeypatch.setattr(OnePhonon, "apply_disorder", short)
    result = verify(made_up("P 1 21 1"), n_points=8, orders=orders, **OPTIONS)
    assert all(check.passed for check in result.checks[:8])
    # Somewhere order 3 is a tenth of the sum, and orders from 7 on are 1e-3.
    assert all(check.difference > 1e-4 for check in result.checks[8:])


@sums_orders
def test_few_points_of_a_long_double_sum(monkeypatch):
    # 10 atoms in a cell and 60 in the box: 600 pairs.
    monkeypatch.setattr(module, "MAX_PAIRS", 600 * 5)
    result = verify(made_up("P 1 21 1"), n_points=20, orders="all", **OPTIONS)
    assert [check.count for check in of_orders(result, "all orders")] == [5] * 4
    assert result.checks[0].count == 20
    monkeypatch.setattr(module, "MAX_PAIRS", 1)
    result = verify(made_up("P 1 21 1"), n_points=20, orders="all", **OPTIONS)
    assert [check.count for check in of_orders(result, "all orders")] == [3] * 4


@sums_orders
def test_the_box_is_smaller_where_pairs_are_many(monkeypatch):
    options = {name: value for name, value in OPTIONS.items() if name != "size"}
    options |= {"hkl_range": (-1, 1), "n_points": 3}
    assert verify(made_up("P 1"), **options).size == (3, 3, 3)
    # 25 pairs a cell.
    monkeypatch.setattr(module, "MAX_PAIRS", 25 * 3)
    assert verify(made_up("P 1"), **options).size == (3, 3, 3)
    assert verify(made_up("P 1"), orders="all", **options).size == (3, 1, 1)


def test_orders_are_checked_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(module, "gather_bodies", None)
    with pytest.raises(InputError, match="orders 0: give how many orders to sum, 1"):
        verify(made_up("P 1"), orders=0, **OPTIONS)
