"""Options of averages over voxels, and of the indexing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from ..groups import OptionGroup


@dataclass(frozen=True)
class IndexingOptions(OptionGroup):
    """How the indices of data and model belong together."""

    panel: ClassVar[str] = "Indexing"

    reindex: Annotated[
        str,
        typer.Option(
            metavar="auto|best|none|OP",
            help="Indexing of the data: auto changes it if another that the lattice allows is "
            "clearly better, best uses the best, none keeps it; or an operator such as k,h,-l "
            "(the indices of the model in terms of those of the data).",
        ),
    ] = "auto"


@dataclass(frozen=True)
class VoxelOptions(IndexingOptions):
    """How a model is averaged over the voxels of data, and indexed."""

    panel: ClassVar[str] = "Voxels and indexing"

    average: Annotated[
        int | None,
        typer.Option(
            metavar="ORDER",
            help="Average the model over each voxel with this many nodes per axis (2 or more), or "
            "evaluate it at the voxel centres (0).",
            show_default="2 for voxels of half an index or more, else 0",
        ),
    ] = None
    leave_out: Annotated[
        float,
        typer.Option(
            metavar="FRACTION",
            help="Exclude from the average the part of a voxel within this fraction of the "
            "distance from its Bragg point to its faces, for data whose Bragg peaks were removed.",
        ),
    ] = 0.0
