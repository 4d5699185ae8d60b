"""Which orders of the diffuse intensity are summed."""

from __future__ import annotations

import operator

from onephonon.core.errors import InputError

#: The sum of all orders, as `orders`.
ALL = "all"

#: Largest number of orders; 'all' is as cheap, and no order beyond is of any size.
MAX_ORDERS = 50


def check_orders(orders: int | str) -> int | None:
    """Check which orders are summed.

    Parameters
    ----------
    orders : int or str
        Number of orders, from the first; 'all' for the sum of all of them. Digits may be text.

    Returns
    -------
    int or None
        Number of orders; None for all.

    Raises
    ------
    InputError
        For anything else.
    """
    if isinstance(orders, str) and orders == ALL:
        return None
    number = _whole(orders)
    if number is None or not 1 <= number <= MAX_ORDERS:
        raise InputError(
            f"orders {orders!r}: give how many orders to sum, 1 (one phonon) to {MAX_ORDERS}, or "
            f"{ALL!r}"
        )
    return number


def _whole(value: object) -> int | None:
    """A whole number, also as digits; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        return None
    try:
        return int(value) if isinstance(value, str) else operator.index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # also more digits than Python reads
        return None
