"""How a model is put onto the voxels of data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from ..groups import OptionGroup


@dataclass(frozen=True)
class VoxelOptions(OptionGroup):
    """How a model is averaged over the voxels of data, and in which indices."""

    panel: ClassVar[str] = "Voxels and indexing"

    average: Annotated[
        int | None,
        typer.Option(
            metavar="ORDER",
            help="Average the model over each voxel, with this many nodes along an axis (2 or "
            "more), or take it at the centres of voxels (0).",
            show_default="2 for voxels of half an index or more, else 0",
        ),
    ] = None
    leave_out: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Leave out of the average the part of a voxel within this share of the way from "
            "its Bragg point to its faces, for data whose Bragg peaks were removed.",
        ),
    ] = 0.0
    reindex: Annotated[
        str,
        typer.Option(
            metavar="auto|best|none|OP",
            help="Of the ways of indexing that the lattice allows, take one that is clearly better "
            "than the data's own (auto), the best one, none but the data's own, or an operator "
            "such as k,h,-l (the model's indices in terms of the data's).",
        ),
    ] = "auto"
