"""Which orders of the scattering are summed: the words of every function and command."""

from __future__ import annotations

import operator

from onephonon.core.errors import InputError

#: The word for the sum of all orders.
ALL = "all"

#: Largest order by number; beyond it 'all' is cheaper.
MAX_ORDER = 12

Orders = int | str


def check_orders(orders: Orders) -> int | None:
    """Check the orders to sum: a number, or 'all'.

    Parameters
    ----------
    orders : int or 'all'
        1: the one-phonon intensity; n: the sum of the first n orders; 'all': of every order.

    Returns
    -------
    int or None
        None for all orders.

    Raises
    ------
    InputError
        If it is neither.
    """
    if isinstance(orders, str):
        if orders == ALL:
            return None
        try:
            orders = int(orders)
        except ValueError:
            raise InputError(f"orders={orders!r}: give 1, 2, 3, ... or 'all'") from None
    try:
        number = operator.index(orders)
    except TypeError:
        raise InputError(f"orders={orders!r}: give 1, 2, 3, ... or 'all'") from None
    if not 1 <= number <= MAX_ORDER or isinstance(orders, bool):
        raise InputError(
            f"orders={orders!r}: give a number from 1 (one phonon) to {MAX_ORDER}, or 'all'"
        )
    return number
