"""What commands say of the components of disorder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .terminal import echo, status

if TYPE_CHECKING:
    from onephonon.model.one_phonon import OnePhonon


def show_disorder(model: OnePhonon, quiet: bool) -> None:
    """Write how the file's B-factors are divided among the components, on standard error.

    Also whether atoms would move further than the file's U allows, and, with orders beyond the
    first, what their sum lacks.
    """
    disorder = model.disorder
    if quiet or disorder is None:
        return
    with status("components of disorder", quiet):
        accounts = disorder.accounts(model.bodies)
    echo(f"disorder: {accounts}", err=True)
    for remark in accounts.remarks:
        echo(f"disorder: {remark}", err=True)
    if model.orders != 1 and len(disorder.components) > 1:
        what = "all" if model.orders == "all" else f"1 to {model.orders}"
        echo(
            f"orders: {what} of each component; products of two components are included for each "
            "atom with itself, not for two atoms",
            err=True,
        )
