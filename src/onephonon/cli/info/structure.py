"""Description of a structure: cell, symmetry, atoms, and what was made of the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

if TYPE_CHECKING:
    from onephonon.crystal.crystal import Crystal

    from .facts import Rows


def print_structure(file: Path, crystal: Crystal) -> None:
    """Print the properties of a crystal, and its report."""
    from rich.table import Table
    from rich.text import Text

    from ..console import SafeConsole

    console = SafeConsole()
    console.print(Text.assemble((file.name, "bold"), ": structure"), soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in structure_facts(crystal):
        table.add_row(name, Text(value))
    console.print(table)


def structure_facts(crystal: Crystal) -> Rows:
    """Cell, symmetry, content and displacements, and the remarks by their kinds."""
    from onephonon.crystal.remarks import RemarkKind

    a, b, c, *angles = crystal.cell.parameters
    edges, corners = (", ".join(f"{x:.6g}" for x in numbers) for numbers in ((a, b, c), angles))
    volume = float(crystal.cell.matrix.det())
    anisotropic = float(
        (crystal.U - crystal.U[:, :1, :1] * crystal.U.new_ones(3).diag()).abs().max()
    )
    kind = "isotropic" if anisotropic == 0 else "anisotropic"
    B = crystal.B
    rows = [
        ("cell", f"{edges} Å; {corners}°; {volume:.6g} Å³"),
        ("space group", f"{crystal.spacegroup}, {crystal.n_ops} operators"),
        (
            "B",
            f"mean {float(B.mean()):.4g} Å², {float(B.min()):.4g} to {float(B.max()):.4g}, {kind}",
        ),
    ]
    for kind in get_args(RemarkKind):
        said = [remark.text for remark in crystal.remarks if remark.kind == kind]
        rows += [("" if i else kind, text) for i, text in enumerate(said)]
    return rows
