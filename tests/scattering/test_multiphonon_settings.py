"""Which orders are summed."""

import numpy as np
import pytest

from onephonon import InputError
from onephonon.scattering.multiphonon.settings import check_orders


@pytest.mark.parametrize(("orders", "n"), [(1, 1), (4, 4), (np.int64(3), 3), ("2", 2), (50, 50)])
def test_a_number_of_orders(orders, n):
    found = check_orders(orders)
    assert type(found) is int
    assert found == n


def test_all_orders():
    assert check_orders("all") is None


@pytest.mark.parametrize(
    "orders",
    [
        0,
        -1,
        "0",
        "-1",
        1.5,
        2.0,
        True,
        None,
        "",
        "both",
        "²",
        [1],
        np.array([1, 2]),
        51,
        "9" * 5000,
    ],
)
def test_anything_else_is_refused(orders):
    with pytest.raises(InputError, match=r"^orders .*: give how many orders to sum, 1"):
        check_orders(orders)
