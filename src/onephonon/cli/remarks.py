"""What was read from a structure and differs from its file, and bodies that were proposed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .terminal import echo

if TYPE_CHECKING:
    from onephonon.crystal.crystal import Crystal
    from onephonon.network.bodies import Bodies


def show_remarks(crystal: Crystal, name: str, quiet: bool) -> None:
    """Write one line on standard error: what was read, changed, dropped, assumed and ignored.

    What would change the intensity unasked has been warned of, and is not repeated.
    """
    from onephonon.crystal.remarks import remarks_text

    said = remarks_text(remark for remark in crystal.remarks if not remark.matters)
    if said and not quiet:
        echo(f"{name}: {'. '.join(said.splitlines())}".replace(": read: ", ": ", 1), err=True)


def show_bodies(bodies: Bodies, group_by: str, quiet: bool) -> None:
    """Write what the bodies are on standard error, where options leave it open.

    The ranges of blocks of 'auto:N', as an option to copy and edit; and how a measured density was
    divided among the bodies.
    """
    from onephonon.network.domains import automatic_number

    if quiet:
        return
    if automatic_number(group_by) is not None:
        echo(f"bodies: --group-by '{' '.join(bodies.names)}'", err=True)
    if bodies.density is not None:
        echo(str(bodies.density), err=True)
