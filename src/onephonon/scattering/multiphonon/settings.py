"""Which orders of the diffuse intensity are summed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onephonon.core.arguments import as_whole
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
    if not isinstance(value, str):
        return as_whole(value)
    try:
        return int(value) if value.isascii() and value.isdigit() else None
    except ValueError:  # more digits than Python reads
        return None


@dataclass(frozen=True)
class Orders:
    """Which orders of the diffuse intensity are summed, and the mesh of their covariances.

    Parameters
    ----------
    number : int, optional
        Number of orders, from the first; None for the sum of all.
    mesh : three int, optional
        Mesh of the Brillouin zone for the covariances of orders beyond the first; by default
        that of the ADPs.
    """

    number: int | None = 1
    mesh: tuple[int, int, int] | None = None

    @property
    def first_only(self) -> bool:
        """Whether only the one-phonon intensity is computed."""
        return self.number == 1

    @property
    def name(self) -> int | str:
        """What `check_orders` reads: a number, or 'all'."""
        return ALL if self.number is None else self.number

    def with_number(self, orders: int | str | None) -> Orders:
        """Other orders with the same mesh; the same orders if None."""
        return self if orders is None else replace(self, number=check_orders(orders))

    def check_first_only(self, what: str) -> None:
        """Raise `InputError` if something that only the first order has is asked for."""
        if not self.first_only:
            raise InputError(
                f"{what} belongs to the one-phonon intensity, but orders={self.name!r}; give "
                "orders=1"
            )
